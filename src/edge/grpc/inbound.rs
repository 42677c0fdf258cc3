//! From a gRPC request to a call: the message, and what its metadata says.

use std::sync::Arc;

use tonic::metadata::MetadataMap;

use crate::dialect::FieldError;
use crate::dialect::gridtie::request::{Asked, Hinted};
use crate::domain::{Body, Duration, Request, TenantId};
use crate::flow::Inbound;

/// Names in metadata are cut off here: longer ones name nothing of ours.
const NAMES_MAX: usize = 64;

/// Puts a call together.
pub(super) fn read(
    asked: Asked,
    hinted: Hinted,
    stream: bool,
    metadata: &MetadataMap,
    tenant: TenantId,
) -> Result<Inbound, FieldError> {
    let hinted = with_metadata(hinted, metadata)?;
    let request = Request {
        kind: asked.kind,
        stream,
        stream_usage: stream,
        body: Body::Canonical(Box::new(asked.ask)),
        input_tokens: asked.input_tokens,
        forward: ["traceparent", "tracestate"]
            .into_iter()
            .filter_map(|name| Some((name, text(metadata, name)?.to_owned())))
            .collect(),
    };
    Ok(Inbound {
        request,
        model: asked.model,
        class: hinted.class,
        tenant,
        session: hinted.session,
        prefix: Arc::default(),
        hints: hinted.hints,
        needs: asked.needs,
        max_tokens: asked.max_tokens,
        n: asked.n,
        timeout: timeout(metadata)?,
        client_retry: text(metadata, "grpc-previous-rpc-attempts").is_some_and(|n| n != "0"),
    })
}

/// Hints of the metadata where the message has none.
fn with_metadata(mut hinted: Hinted, metadata: &MetadataMap) -> Result<Hinted, FieldError> {
    let owned = |name| text(metadata, name).map(str::to_owned);
    hinted.class = hinted.class.or_else(|| owned("x-gridtie-class"));
    hinted.session = hinted.session.or_else(|| owned("x-gridtie-session"));
    if hinted.hints.max_cost_usd.is_none()
        && let Some(text) = text(metadata, "x-gridtie-max-cost-usd")
    {
        let cost = text.parse().ok().filter(|usd: &f64| usd.is_finite() && *usd >= 0.0);
        let cost = cost.ok_or_else(|| {
            FieldError::at("x-gridtie-max-cost-usd", "A cost in dollars is a number, 0 or more.")
        })?;
        hinted.hints.max_cost_usd = Some(cost);
    }
    if hinted.hints.pools.is_empty() {
        hinted.hints.pools = list(metadata, "x-gridtie-pools")?;
    }
    if hinted.hints.regions.is_empty() {
        hinted.hints.regions = list(metadata, "x-gridtie-regions")?;
    }
    Ok(hinted)
}

fn text<'a>(metadata: &'a MetadataMap, name: &str) -> Option<&'a str> {
    metadata.get(name)?.to_str().ok().map(str::trim).filter(|text| !text.is_empty())
}

fn list(metadata: &MetadataMap, name: &'static str) -> Result<Vec<Arc<str>>, FieldError> {
    let names = text(metadata, name).unwrap_or_default().split(',').map(str::trim);
    let names: Vec<Arc<str>> =
        names.filter(|name| !name.is_empty()).take(NAMES_MAX + 1).map(Arc::from).collect();
    if names.len() > NAMES_MAX {
        return Err(FieldError::at(name, format!("At most {NAMES_MAX} names.")));
    }
    Ok(names)
}

/// `grpc-timeout`: at most eight digits and a unit.
fn timeout(metadata: &MetadataMap) -> Result<Option<Duration>, FieldError> {
    let Some(text) = text(metadata, "grpc-timeout") else { return Ok(None) };
    parse_timeout(text)
        .map(Some)
        .ok_or_else(|| FieldError::at("grpc-timeout", "At most eight digits and one of H, M, S, m, u, n."))
}

fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(n * 3_600),
        "M" => Duration::from_secs(n * 60),
        "S" => Duration::from_secs(n),
        "m" => Duration::from_millis(n),
        "u" => Duration::from_micros(n),
        "n" => Duration::from_nanos(n),
        _ => return None,
    })
}

/// A duration of a message; not negative.
pub(crate) fn duration(field: &str, duration: prost_types::Duration) -> Result<Duration, FieldError> {
    Duration::try_from(duration).map_err(|_| FieldError::at(field, "A duration is 0 or more."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_digits_and_a_unit_and_nothing_else() {
        assert_eq!(parse_timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(parse_timeout("99999999H"), Some(Duration::from_secs(99_999_999 * 3_600)));
        assert_eq!(parse_timeout("0n"), Some(Duration::ZERO));
        for wrong in ["", "m", "1", "123456789m", "-1S", "+1S", "1.5S", "1s", "1é", "é"] {
            assert_eq!(parse_timeout(wrong), None, "{wrong}");
        }
    }
}
