//! What the headers of a request say about routing, read in one pass.
//!
//! Our own headers are strict: a hint that would be ignored is an error that names it. Other people's headers are
//! lenient: what cannot be read was not said. Nothing else goes along to an upstream, so no client header can carry
//! an identity, a fault, or a key there.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use super::Fault;
use crate::domain::{Hints, Refusal};
use crate::edge::status::HttpFault;

/// A name of a class or a session is no longer than this, in bytes.
const NAME_MAX: usize = 256;

/// A list names at most so many pools or regions.
const LIST_MAX: usize = 32;

/// A day: whoever waits longer has not thought about it.
const TIMEOUT_MAX: Duration = Duration::from_secs(86_400);

/// The W3C's limit on what must be passed on of a `tracestate`.
const TRACESTATE_MAX: usize = 512;

/// What was said.
#[derive(Debug, Default)]
pub(super) struct Hinted {
    pub(super) class: Option<String>,
    pub(super) session: Option<String>,
    pub(super) hints: Hints,
    pub(super) timeout: Option<Duration>,
    /// How long the SDK waits between two reads: for a whole answer the time it has, of a stream only a pause.
    pub(super) read_timeout: Option<Duration>,
    pub(super) client_retry: bool,
    pub(super) forward: Vec<(&'static str, String)>,
}

impl Hinted {
    /// Reads the hints, and refuses bodies that are not plain JSON.
    pub(super) fn read(headers: &HeaderMap) -> Result<Self, Fault> {
        let mut hinted = Self::default();
        for (name, value) in headers {
            let value = value.as_bytes();
            match name.as_str() {
                "content-type" if !is_json(value) => return Err(HttpFault::ContentType.into()),
                "content-encoding" if !value.eq_ignore_ascii_case(b"identity") => {
                    return Err(HttpFault::Encoding.into());
                }
                "x-gridtie-class" => once("x-gridtie-class", &mut hinted.class, name_of, value)?,
                "x-gridtie-session" => once("x-gridtie-session", &mut hinted.session, name_of, value)?,
                "x-gridtie-max-cost-usd" => {
                    once("x-gridtie-max-cost-usd", &mut hinted.hints.max_cost_usd, dollars, value)?;
                }
                "x-gridtie-pools" => list("x-gridtie-pools", &mut hinted.hints.pools, value)?,
                "x-gridtie-regions" => list("x-gridtie-regions", &mut hinted.hints.regions, value)?,
                "x-gridtie-timeout-ms" => once("x-gridtie-timeout-ms", &mut hinted.timeout, millis, value)?,
                "x-stainless-read-timeout" => hinted.read_timeout = seconds(value),
                "x-stainless-retry-count" => {
                    hinted.client_retry =
                        text(value).and_then(|t| t.parse::<u32>().ok()).is_some_and(|n| n > 0);
                }
                "traceparent" => hinted.trace("traceparent", value, is_traceparent(value)),
                "tracestate" => hinted.trace("tracestate", value, value.len() <= TRACESTATE_MAX),
                _ => {}
            }
        }
        Ok(hinted)
    }

    fn trace(&mut self, name: &'static str, value: &[u8], good: bool) {
        let first = !self.forward.iter().any(|(known, _)| *known == name);
        if let (true, true, Some(text)) = (good, first, text(value)) {
            self.forward.push((name, text.to_owned()));
        }
    }
}

fn text(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?.trim();
    (!text.is_empty() && !text.contains(char::is_control)).then_some(text)
}

/// Reads a header of ours that must not come twice.
fn once<T>(
    header: &'static str,
    slot: &mut Option<T>,
    read: fn(&[u8]) -> Result<T, &'static str>,
    value: &[u8],
) -> Result<(), Refusal> {
    if slot.is_some() {
        return Err(bad(header, "came twice; send it once"));
    }
    *slot = Some(read(value).map_err(|must| bad(header, must))?);
    Ok(())
}

fn bad(header: &'static str, must: &str) -> Refusal {
    Refusal::Invalid {
        field: Some(header.to_owned()),
        message: format!("the header `{header}` {must}"),
        code: Some("invalid_header".to_owned()),
    }
}

fn name_of(value: &[u8]) -> Result<String, &'static str> {
    text(value)
        .filter(|name| name.len() <= NAME_MAX)
        .map(str::to_owned)
        .ok_or("must be a name of at most 256 bytes")
}

fn dollars(value: &[u8]) -> Result<f64, &'static str> {
    text(value)
        .and_then(|t| t.parse::<f64>().ok())
        .filter(|usd| usd.is_finite() && *usd >= 0.0)
        .ok_or("must be a number of dollars, such as 0.002")
}

fn millis(value: &[u8]) -> Result<Duration, &'static str> {
    text(value)
        .and_then(|t| t.parse::<u64>().ok())
        .map(Duration::from_millis)
        .filter(|t| !t.is_zero() && *t <= TIMEOUT_MAX)
        .ok_or("must be a number of milliseconds from 1 to 86400000")
}

fn seconds(value: &[u8]) -> Option<Duration> {
    let secs = text(value)?.parse::<f64>().ok().filter(|secs| *secs > 0.0)?;
    Duration::try_from_secs_f64(secs).ok().filter(|t| !t.is_zero()).map(|t| t.min(TIMEOUT_MAX))
}

/// Names with commas between them; several headers make one list.
fn list(header: &'static str, names: &mut Vec<Arc<str>>, value: &[u8]) -> Result<(), Refusal> {
    const MUST: &str = "must be 1 to 32 names with commas between them";
    for name in text(value).ok_or_else(|| bad(header, MUST))?.split(',').map(str::trim) {
        if name.is_empty() || name.len() > NAME_MAX || names.len() == LIST_MAX {
            return Err(bad(header, MUST));
        }
        names.push(name.into());
    }
    Ok(())
}

/// `application/json` or something built on it, whatever its parameters.
fn is_json(value: &[u8]) -> bool {
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let json_suffix = essence.len() >= 5 && essence[essence.len() - 5..].eq_ignore_ascii_case(b"+json");
    essence.eq_ignore_ascii_case(b"application/json") || json_suffix
}

/// `00-<32 hex>-<16 hex>-<2 hex>` (W3C Trace Context, level 1), or a later version that begins so.
fn is_traceparent(value: &[u8]) -> bool {
    const DASHES: [usize; 3] = [2, 35, 52];
    const LENGTH: usize = 55;
    let well_formed = |(at, byte): (usize, &u8)| match DASHES.contains(&at) {
        true => *byte == b'-',
        false => byte.is_ascii_digit() || (b'a'..=b'f').contains(byte),
    };
    value.len() == LENGTH && value.iter().enumerate().all(well_formed)
}
