//! Errors, in and out: what a provider's error means for routing, whatever envelope it came in, and our own envelope.
//!
//! A provider's words about a client's mistake are kept for the client ([`ErrorDetail`]); into logs go only its codes,
//! because its words may repeat the prompt or the key.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use crate::domain::{ErrorDetail, Failure, FailureKind};

/// An error body beyond this is not handed on; upstreams have answered with whole web pages.
pub const RAW_MAX: usize = 64 * 1024;

/// Codes and types that no waiting clears: the money or the window is gone.
const QUOTA_WORDS: [&str; 8] = [
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "billing_error",
    "credit_balance_exhausted",
    "spend_limit_exceeded",
    "insufficient_credits",
    "payment_required",
];

/// How servers say that a prompt is too long, in lower case. OpenAI and vLLM, SGLang, TGI, llama.cpp, Anthropic's and
/// Gemini's compatible routes.
const CONTEXT_WORDS: [&str; 9] = [
    "context_length_exceeded",
    "exceed_context_size_error",
    "maximum context length",
    "model's context length",
    "available context size",
    "context window",
    "`max_new_tokens` must be <=",
    "prompt is too long",
    "exceeds the maximum number of tokens",
];

const FILTER_WORDS: [&str; 4] =
    ["content_filter", "content_policy_violation", "responsibleaipolicyviolation", "moderation_blocked"];

const OVERLOAD_WORDS: [&str; 4] = ["overloaded_error", "overloaded", "server_is_overloaded", "unavailable"];

/// An error envelope, read.
#[derive(Debug, Default)]
struct Envelope {
    message: String,
    kind: String,
    code: String,
    param: Option<String>,
    /// The code or a `status` member, if it is an HTTP status.
    status: Option<u16>,
    /// A word from deeper down: Azure's `innererror.code`.
    inner: String,
    /// OpenRouter's moderation verdict.
    moderated: bool,
}

/// What an error answer means, from its status and whatever its body is. The wait is in the headers:
/// [`retry_after`](crate::dialect::retry_after::retry_after).
pub fn decode_error(status: u16, body: &[u8]) -> Failure {
    let envelope = envelope(body).unwrap_or_default();
    failure(Some(status), &envelope, body)
}

/// What an error inside an answer of status 200 means: in an event of a stream, or instead of the answer.
pub fn decode_inner_error(data: &[u8]) -> Failure {
    let envelope = envelope(data).unwrap_or_default();
    failure(None, &envelope, data)
}

fn failure(status: Option<u16>, envelope: &Envelope, body: &[u8]) -> Failure {
    let kind = classify(status.or(envelope.status).unwrap_or_else(|| implied_status(envelope)), envelope);
    let mut failure = Failure::new(kind, message(kind, status, envelope));
    failure.status = status.filter(|s| *s >= 300).or(envelope.status);
    if clients_mistake(kind) {
        failure.detail = Some(Arc::new(ErrorDetail {
            message: bounded(&envelope.message, RAW_MAX),
            kind: some(&envelope.kind),
            param: envelope.param.clone(),
            code: some(&envelope.code),
            raw: (body.len() <= RAW_MAX && !envelope.message.is_empty())
                .then(|| Bytes::copy_from_slice(body)),
        }));
    }
    failure
}

const fn clients_mistake(kind: FailureKind) -> bool {
    matches!(
        kind,
        FailureKind::BadRequest
            | FailureKind::ContextTooLong
            | FailureKind::ContentFilter
            | FailureKind::RequestTooLarge
    )
}

/// For people and logs. The provider's own words only where they cannot repeat a prompt or a key.
fn message(kind: FailureKind, status: Option<u16>, envelope: &Envelope) -> String {
    let word = [&envelope.code, &envelope.kind].into_iter().find(|w| !w.is_empty());
    let mut text = match status {
        Some(status) => format!("the upstream answered {status}"),
        None => "the upstream reported an error in its answer".to_owned(),
    };
    if let Some(word) = word {
        text.push_str(&format!(" ({})", printable(word, 64)));
    }
    let speaks = !clients_mistake(kind) && kind != FailureKind::Credentials && !envelope.message.is_empty();
    if speaks {
        text.push_str(": ");
        text.push_str(&printable(&envelope.message, 300));
    }
    text
}

fn printable(text: &str, max: usize) -> String {
    bounded(text, max).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn bounded(text: &str, max: usize) -> String {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn classify(status: u16, envelope: &Envelope) -> FailureKind {
    let says = |words: &[&str]| {
        let heads = [&envelope.code, &envelope.kind, &envelope.inner];
        heads.iter().any(|h| words.iter().any(|w| h.to_ascii_lowercase().ends_with(w)))
    };
    let too_long = || {
        let text = format!("{} {} {}", envelope.code, envelope.kind, envelope.message).to_ascii_lowercase();
        CONTEXT_WORDS.iter().any(|w| text.contains(w))
    };
    match status {
        400 | 403 | 413 | 422 if envelope.moderated || says(&FILTER_WORDS) => FailureKind::ContentFilter,
        400 | 413 | 422 | 500 if too_long() => FailureKind::ContextTooLong,
        402 => FailureKind::QuotaExhausted,
        400 | 401 | 403 | 429 if says(&QUOTA_WORDS) => FailureKind::QuotaExhausted,
        401 | 403 => FailureKind::Credentials,
        400 if says(&["invalid_api_key"]) => FailureKind::Credentials,
        404 | 410 => FailureKind::ModelMissing,
        400 if says(&["model_not_found", "deploymentnotfound"]) => FailureKind::ModelMissing,
        // Not the request's fault and not an illness: another try, here later or elsewhere now.
        409 | 425 | 429 => FailureKind::RateLimited,
        413 => FailureKind::RequestTooLarge,
        400 | 422 => FailureKind::BadRequest,
        // It did not finish in its own time, or something behind it did not.
        408 | 424 => FailureKind::ServerError,
        503 | 529 => FailureKind::Overloaded,
        500.. if says(&OVERLOAD_WORDS) => FailureKind::Overloaded,
        500.. => FailureKind::ServerError,
        // Redirects, and statuses that say we speak to something else than we think (405, 415, 426, ...).
        _ => FailureKind::BadResponse,
    }
}

/// The status that an error without one would have had.
fn implied_status(envelope: &Envelope) -> u16 {
    let is = |words: &[&str]| {
        [&envelope.code, &envelope.kind].iter().any(|h| words.iter().any(|w| h.ends_with(w)))
    };
    let limited = ["rate_limit_exceeded", "rate_limit_error", "slow_down", "too_many_requests"];
    if is(&QUOTA_WORDS) || is(&limited) {
        429
    } else if is(&["authentication_error", "invalid_api_key", "permission_error"]) {
        401
    } else if is(&["model_not_found", "not_found_error"]) {
        404
    } else if is(&FILTER_WORDS)
        || is(&["invalid_request_error", "BadRequestError", "validation", "tool_use_failed"])
    {
        400
    } else if is(&OVERLOAD_WORDS) {
        503
    } else {
        500
    }
}

/// Reads any of the envelopes seen: `{"error":{…}}`, `{"error":"…"}`, flat, `{"detail":…}`, and a list of one.
fn envelope(body: &[u8]) -> Option<Envelope> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let value = match &value {
        Value::Array(list) => list.first()?,
        other => other,
    };
    let object = value.as_object()?;
    let inner = match object.get("error") {
        Some(Value::Object(inner)) => inner,
        _ => object,
    };
    let text = |key: &str| inner.get(key).map(plain).unwrap_or_default();
    let mut found = Envelope {
        message: text("message"),
        kind: text("type"),
        code: text("code"),
        param: inner.get("param").filter(|p| !p.is_null()).map(plain),
        ..Envelope::default()
    };
    if let Some(Value::String(message)) = object.get("error") {
        found.message.clone_from(message);
        found.kind = object.get("error_type").or_else(|| object.get("type")).map(plain).unwrap_or_default();
    }
    if found.message.is_empty() {
        found.message = object.get("detail").map(plain).unwrap_or_default();
    }
    let number = |v: Option<&Value>| match v? {
        Value::Number(n) => n.as_u64(),
        Value::String(s) => s.parse().ok(),
        _ => None,
    };
    found.status = [inner.get("code"), inner.get("status"), inner.get("status_code")]
        .into_iter()
        .find_map(|v| number(v).and_then(|n| u16::try_from(n).ok()).filter(|s| (400..600).contains(s)));
    if let Some(code) = inner.get("innererror").and_then(|e| e.get("code")) {
        found.inner = plain(code);
    }
    if let Some(metadata) = inner.get("metadata") {
        found.moderated = metadata.get("flagged_input").is_some();
        if let Some(Value::String(raw)) = metadata.get("raw") {
            found.message = format!("{}: {raw}", found.message);
        }
    }
    Some(found)
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[derive(Serialize)]
struct Outer<'a> {
    error: Inner<'a>,
}

#[derive(Serialize)]
struct Inner<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    param: Option<&'a str>,
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens_delivered: Option<u64>,
}

fn write(inner: Inner<'_>) -> Vec<u8> {
    serde_json::to_vec(&Outer { error: inner }).unwrap_or_default()
}

/// `{"error":{…}}`.
pub fn error_body(message: &str, kind: &str, param: Option<&str>, code: Option<&str>) -> Bytes {
    write(Inner { message, kind, param, code, tokens_delivered: None }).into()
}

/// An honest end of a broken stream: one event, and never `[DONE]`.
pub fn error_event(message: &str, kind: &str, code: &str, tokens_delivered: u64) -> Bytes {
    let inner =
        Inner { message, kind, param: None, code: Some(code), tokens_delivered: Some(tokens_delivered) };
    [b"data: ", write(inner).as_slice(), b"\n\n"].concat().into()
}

#[cfg(test)]
mod tests;
