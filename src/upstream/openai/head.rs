//! What the head of an answer says: its class, and where its body ends (RFC 9112, 6.3).

use http::{HeaderMap, HeaderName, HeaderValue};
use httparse::Header;

use super::chunks::Chunks;
use crate::dialect::engine_load::of_header;
use crate::dialect::rate_limit;
use crate::dialect::retry_after::retry_after;
use crate::domain::{Aside, Duration, Failure, FailureKind};

/// What we need of a head.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) content: ContentType,
    /// The body is compressed, which was not asked for.
    pub(super) encoded: bool,
    /// How long to wait, if it is not a success.
    pub(super) retry_after: Option<Duration>,
    /// The connection can be used again.
    pub(super) persistent: bool,
    /// What it says beside the answer.
    pub(super) aside: Option<Box<Aside>>,
}

/// What a body is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ContentType {
    Json,
    Events,
    Other,
    None,
}

/// Where a body ends.
#[derive(Debug)]
pub(super) enum Framing {
    /// So many bytes are still to come.
    Length(u64),
    Chunked(Chunks),
    /// With its connection.
    UntilClosed {
        ended: bool,
    },
}

fn wrong(status: u16, why: &str) -> Failure {
    Failure::new(FailureKind::BadResponse, why).with_status(status)
}

impl Head {
    /// Reads a head that is whole and not interim.
    pub(super) fn read(response: &httparse::Response<'_, '_>) -> Result<(Self, Framing), Failure> {
        let status = response.code.unwrap_or_default();
        let http11 = response.version == Some(1);
        let mut head = Self {
            status,
            content: ContentType::None,
            encoded: false,
            retry_after: None,
            persistent: http11,
            aside: None,
        };
        let mut rates = rate_limit::Reader::default();
        let (mut length, mut coding, mut load) = (None, None, None);
        for Header { name, value } in response.headers.iter() {
            let is = |other: &str| name.eq_ignore_ascii_case(other);
            if is("content-length") {
                let said = number(value).ok_or_else(|| wrong(status, "the answer's length is no number"))?;
                // Two lengths are two answers: what follows the shorter one could be taken for the next answer.
                if length.replace(said).is_some_and(|before| before != said) {
                    return Err(wrong(status, "the answer has two lengths"));
                }
            } else if is("transfer-encoding") {
                if coding.replace(*value).is_some() {
                    return Err(wrong(status, "the answer is encoded twice for its way"));
                }
            } else if is("content-type") {
                head.content = ContentType::of(value);
            } else if is("content-encoding") {
                head.encoded |= !value.eq_ignore_ascii_case(b"identity");
            } else if is("connection") {
                head.persistent &= !has_token(value, b"close");
            } else if is("endpoint-load-metrics") {
                load = load.or_else(|| of_header(value));
            } else {
                rates.field(name, value);
            }
        }
        head.aside = Aside { allowances: rates.finish(), load }.boxed();
        if status != 200 {
            head.retry_after = retry_after(&fields(response.headers));
        }
        let framing = framing(status, http11, length, coding)?;
        Ok((head, framing))
    }
}

fn framing(
    status: u16,
    http11: bool,
    length: Option<u64>,
    coding: Option<&[u8]>,
) -> Result<Framing, Failure> {
    match (coding, length) {
        (Some(_), Some(_)) => Err(wrong(status, "the answer says its length in two ways")),
        (Some(coding), None) if http11 && coding.eq_ignore_ascii_case(b"chunked") => {
            Ok(Framing::Chunked(Chunks::new()))
        }
        (Some(_), None) => {
            Err(wrong(status, "the answer is encoded for its way in a way that was not asked for"))
        }
        (None, _) if matches!(status, 204 | 304) => Ok(Framing::Length(0)),
        (None, Some(length)) => Ok(Framing::Length(length)),
        (None, None) => Ok(Framing::UntilClosed { ended: false }),
    }
}

/// Digits and nothing else: what `parse` takes beside them (`+`) others may not.
fn number(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn has_token(value: &[u8], token: &[u8]) -> bool {
    value.split(|b| *b == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(token))
}

fn fields(headers: &[Header<'_>]) -> HeaderMap {
    let known = headers.iter().filter_map(|field| {
        Some((
            HeaderName::from_bytes(field.name.as_bytes()).ok()?,
            HeaderValue::from_bytes(field.value).ok()?,
        ))
    });
    // The first of a name counts, as before any map was made of them.
    let mut map = HeaderMap::new();
    for (name, value) in known {
        map.append(name, value);
    }
    map
}

impl ContentType {
    fn of(value: &[u8]) -> Self {
        let essence = value.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
        let is = |other: &[u8]| essence.eq_ignore_ascii_case(other);
        let suffix = |n: usize| essence.len().checked_sub(n).map_or(&[][..], |at| &essence[at..]);
        let application = essence.get(..12).is_some_and(|start| start.eq_ignore_ascii_case(b"application/"));
        if is(b"text/event-stream") {
            Self::Events
        } else if is(b"application/json") || (application && suffix(5).eq_ignore_ascii_case(b"+json")) {
            Self::Json
        } else {
            Self::Other
        }
    }
}
