//! The one table from our errors to the wire, for every face.
//!
//! A [`Refusal`] says what happened; a [`Wire`] says it in HTTP, OpenAI and gRPC words. What a client does next hangs
//! on three facts that are decided here and nowhere else: the status, `retry_after` and `should_retry`. SDKs retry
//! 408, 409, 429 and every 5xx on their own unless they are told not to, so an answer that could not get better by
//! asking again says so, or clients would multiply our attempts by three.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;

use crate::domain::names::shown;
use crate::domain::outcome::MESSAGE_MAX;
use crate::domain::{Failure, FailureKind, Refusal};
use crate::flow::{Broken, Refused};

/// A longer wait is not one for a client library: some sleep through any `Retry-After` without a word, so beyond this
/// the caller is told when to come back and not to wait for it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A replica that is going down is replaced within a moment; the next connection reaches another one.
const DRAINING_RETRY: Duration = Duration::from_secs(1);

/// The code and `reason` of a call that a router gave up because it is going down.
pub const DRAINING: &str = "DRAINING";

/// An error as the wires spell it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wire {
    /// The HTTP status.
    pub http: StatusCode,
    /// OpenAI's `error.type`.
    pub kind: &'static str,
    /// OpenAI's `error.code`: a stable word for programs.
    pub code: Cow<'static, str>,
    /// OpenAI's `error.param`: the field that is wrong.
    pub param: Option<String>,
    /// For people.
    pub message: String,
    /// The gRPC code.
    pub grpc: tonic::Code,
    /// `google.rpc.ErrorInfo.reason`.
    pub reason: &'static str,
    /// When to come back.
    pub retry_after: Option<Duration>,
    /// The same request may well succeed if the client sends it again by itself, after `retry_after`.
    pub should_retry: bool,
}

impl Wire {
    fn new(http: StatusCode, grpc: tonic::Code, reason: &'static str) -> Self {
        Self {
            http,
            kind: kind_of(http),
            code: Cow::Borrowed("unknown"),
            param: None,
            message: String::new(),
            grpc,
            reason,
            retry_after: None,
            should_retry: false,
        }
    }

    fn code(mut self, code: &'static str) -> Self {
        self.code = Cow::Borrowed(code);
        self
    }

    fn message(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    /// Come back after this; worth a client's own retry if that is soon.
    fn retry(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self.should_retry = after <= PATIENCE;
        self
    }

    /// Come back after this, but not by a retry of the same request: ours are used up.
    fn exhausted(mut self, after: Option<Duration>) -> Self {
        self.retry_after = after;
        self.should_retry = false;
        self
    }

    /// What `x-should-retry` says. It overrules all that an SDK would do by itself, so `true` is kept for the one case
    /// where a retry is certain to reach somebody else; where a status and `Retry-After` lead to the right
    /// behaviour it is absent.
    pub fn retry_advice(&self) -> Option<&'static str> {
        match (self.should_retry, self.reason == DRAINING) {
            (false, _) => Some("false"),
            (true, true) => Some("true"),
            (true, false) => None,
        }
    }
}

/// OpenAI's `error.type` for a status.
const fn kind_of(http: StatusCode) -> &'static str {
    match http.as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        502 => "upstream_error",
        503 => "overloaded_error",
        504 | 408 => "timeout_error",
        400..=499 => "invalid_request_error",
        _ => "server_error",
    }
}

/// The wire form of the end of a call. After attempts of our own a client's retry would only repeat them, except when
/// this replica is the reason.
pub fn refused(refused: &Refused) -> Wire {
    let mut wire = wire(&refused.refusal);
    if refused.attempts > 0 && !matches!(refused.refusal, Refusal::Draining) {
        wire.should_retry = false;
    }
    wire
}

/// The wire form of a refusal.
pub fn wire(refusal: &Refusal) -> Wire {
    use tonic::Code;
    match refusal {
        Refusal::Invalid { field, message, code } => {
            let mut wire = Wire::new(StatusCode::BAD_REQUEST, Code::InvalidArgument, "INVALID_REQUEST")
                .code("invalid_request")
                .message(message);
            wire.param.clone_from(field);
            if let Some(code) = code {
                wire.code = Cow::Owned(code.clone());
            }
            wire
        }
        Refusal::Unauthenticated => Wire::new(
            StatusCode::UNAUTHORIZED,
            Code::Unauthenticated,
            "INVALID_API_KEY",
        )
        .code("invalid_api_key")
        .message("No key, or one that this router does not know. Send it as `Authorization: Bearer <key>`."),
        Refusal::Forbidden { message } => {
            Wire::new(StatusCode::FORBIDDEN, Code::PermissionDenied, "FORBIDDEN")
                .code("permission_denied")
                .message(message)
        }
        Refusal::ModelNotFound { model, nearest } => {
            let mut wire = Wire::new(StatusCode::NOT_FOUND, Code::NotFound, "MODEL_NOT_FOUND")
                .code("model_not_found")
                .message(model_not_found(model, nearest.as_deref()));
            wire.param = Some("model".to_owned());
            wire
        }
        Refusal::TooLarge { limit } => {
            Wire::new(StatusCode::PAYLOAD_TOO_LARGE, Code::ResourceExhausted, "REQUEST_TOO_LARGE")
                .code("request_too_large")
                .message(format!("The request is larger than {limit} bytes."))
        }
        Refusal::RateLimited { message, retry_after } => {
            Wire::new(StatusCode::TOO_MANY_REQUESTS, Code::ResourceExhausted, "RATE_LIMITED")
                .code("rate_limit_exceeded")
                .message(message)
                .retry(*retry_after)
        }
        Refusal::Overloaded { retry_after, message } => {
            Wire::new(StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, "OVERLOADED")
                .code("overloaded")
                .message(message)
                .retry(*retry_after)
        }
        Refusal::NoPool { message, retry_after, permanent } => {
            no_pool(*permanent, *retry_after).message(message)
        }
        Refusal::Draining => Wire::new(StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, DRAINING)
            .code("draining")
            .message("This router is going down; another one serves the same request.")
            .retry(DRAINING_RETRY),
        Refusal::DeadlineExceeded { message } => {
            Wire::new(StatusCode::GATEWAY_TIMEOUT, Code::DeadlineExceeded, "DEADLINE_EXCEEDED")
                .code("deadline_exceeded")
                .message(message)
        }
        Refusal::Upstream(failure) => upstream(failure),
        Refusal::Internal { message } => {
            Wire::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Internal, "INTERNAL")
                .code("internal_error")
                .message(message)
        }
    }
}

/// Where nothing but another request (or config) helps, the request is what its sender can change.
fn no_pool(permanent: bool, retry_after: Duration) -> Wire {
    use tonic::Code;
    let wire = |http, grpc, reason| Wire::new(http, grpc, reason).code("no_pool");
    match permanent {
        true => wire(StatusCode::BAD_REQUEST, Code::InvalidArgument, "NO_POOL_FITS"),
        false => wire(StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, "NO_POOL").retry(retry_after),
    }
}

/// The last attempt failed. Its own words go on where they are about the client's request; where they are about our
/// account at the provider they stay here.
fn upstream(failure: &Failure) -> Wire {
    use tonic::Code;
    let kind = failure.kind;
    let blamed = |status, grpc, reason, code: &'static str| Wire::new(status, grpc, reason).code(code);
    let unavailable =
        |reason| blamed(StatusCode::BAD_GATEWAY, Code::Unavailable, reason, upstream_code(kind));
    let busy =
        |reason| blamed(StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, reason, upstream_code(kind));
    let invalid =
        |reason| blamed(StatusCode::BAD_REQUEST, Code::InvalidArgument, reason, upstream_code(kind));
    let wire = match kind {
        FailureKind::Connect | FailureKind::Tls => unavailable("UPSTREAM_UNREACHABLE"),
        FailureKind::Disconnected | FailureKind::Truncated => unavailable("UPSTREAM_DISCONNECTED"),
        FailureKind::BadResponse | FailureKind::TooLarge => unavailable("UPSTREAM_BAD_RESPONSE"),
        FailureKind::ServerError => unavailable("UPSTREAM_ERROR"),
        FailureKind::Credentials => {
            return unavailable("UPSTREAM_CREDENTIALS")
                .message("The last upstream tried does not accept this router's credentials.");
        }
        FailureKind::ModelMissing => unavailable("UPSTREAM_MODEL_MISSING"),
        FailureKind::RateLimited | FailureKind::Overloaded => {
            busy("UPSTREAM_OVERLOADED").exhausted(failure.retry_after)
        }
        FailureKind::QuotaExhausted => {
            return busy("UPSTREAM_QUOTA_EXHAUSTED")
                .message("The quota of the last upstream tried is used up.")
                .exhausted(failure.retry_after);
        }
        FailureKind::FirstTokenTimeout | FailureKind::Deadline | FailureKind::Stalled => blamed(
            StatusCode::GATEWAY_TIMEOUT,
            Code::DeadlineExceeded,
            "UPSTREAM_TIMEOUT",
            upstream_code(kind),
        ),
        FailureKind::RequestTooLarge => blamed(
            StatusCode::PAYLOAD_TOO_LARGE,
            Code::ResourceExhausted,
            "REQUEST_TOO_LARGE",
            upstream_code(kind),
        ),
        FailureKind::ContextTooLong => invalid("CONTEXT_TOO_LONG"),
        FailureKind::Unsupported | FailureKind::BadRequest => invalid("INVALID_REQUEST"),
        FailureKind::ContentFilter => invalid("CONTENT_FILTER"),
    };
    in_their_words(wire, failure)
}

/// Message, code and field of a client's mistake as the provider put them; for anything else just the message.
fn in_their_words(mut wire: Wire, failure: &Failure) -> Wire {
    match (&failure.detail, wire.http.is_client_error()) {
        (Some(detail), true) => {
            wire.message.clone_from(&detail.message);
            wire.param.clone_from(&detail.param);
            if let Some(code) = &detail.code {
                wire.code = Cow::Owned(code.clone());
            }
        }
        _ => wire.message.clone_from(&failure.message),
    }
    if wire.message.is_empty() {
        wire.message = format!("The last upstream tried failed ({}).", failure.kind.name());
    }
    wire
}

/// `error.code` of an upstream's failure.
const fn upstream_code(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Connect => "upstream_unreachable",
        FailureKind::Tls => "upstream_tls",
        FailureKind::Disconnected => "upstream_disconnected",
        FailureKind::FirstTokenTimeout => "upstream_first_token_timeout",
        FailureKind::Deadline => "deadline_exceeded",
        FailureKind::Stalled => "upstream_stalled",
        FailureKind::Truncated => "upstream_truncated",
        FailureKind::BadResponse => "upstream_bad_response",
        FailureKind::TooLarge => "upstream_too_large",
        FailureKind::RateLimited => "upstream_rate_limited",
        FailureKind::QuotaExhausted => "upstream_quota_exhausted",
        FailureKind::Overloaded => "upstream_overloaded",
        FailureKind::ServerError => "upstream_error",
        FailureKind::Credentials => "upstream_credentials",
        FailureKind::ModelMissing => "upstream_model_missing",
        FailureKind::ContextTooLong => "context_length_exceeded",
        FailureKind::RequestTooLarge => "request_too_large",
        FailureKind::Unsupported | FailureKind::BadRequest => "invalid_request",
        FailureKind::ContentFilter => "content_filter",
    }
}

fn model_not_found(model: &str, nearest: Option<&str>) -> String {
    // Escaping twice would show backslashes that nobody wrote.
    let harmless = model.len() <= 2 * MESSAGE_MAX && !model.contains(char::is_control);
    let model = if harmless { Cow::Borrowed(model) } else { Cow::Owned(shown(model)) };
    match nearest {
        Some(nearest) => format!("The model `{model}` does not exist here. Did you mean `{nearest}`?"),
        None => format!("The model `{model}` does not exist here."),
    }
}

/// The wire form of a stream that broke after the commit point. Its HTTP status was sent long ago; gRPC still has a
/// status to send. Never worth a retry by itself: the client has half an answer and must decide what it is worth.
pub fn broken(broken: &Broken) -> Wire {
    use tonic::Code;
    let (http, grpc, reason) = match broken.code {
        "draining" => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, DRAINING),
        "deadline" => (StatusCode::GATEWAY_TIMEOUT, Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
        "slow_reader" => (StatusCode::REQUEST_TIMEOUT, Code::Aborted, "SLOW_READER"),
        "overloaded" => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, "OVERLOADED"),
        "no_pool" => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, "NO_POOL"),
        "internal_error" => (StatusCode::INTERNAL_SERVER_ERROR, Code::Internal, "INTERNAL"),
        _ => (StatusCode::BAD_GATEWAY, Code::Unavailable, "STREAM_INTERRUPTED"),
    };
    let mut wire = Wire::new(http, grpc, reason).code(broken.code);
    wire.kind = kind_of(StatusCode::BAD_GATEWAY);
    let why = broken.failure.as_ref().map_or(broken.code, |failure| failure.kind.name());
    wire.message(format!(
        "The answer broke off after {} tokens ({why}); it is not whole.",
        broken.tokens_delivered
    ))
}

/// A request that HTTP itself makes wrong, before there is a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HttpFault {
    /// The body came too slowly or stopped coming.
    SlowBody,
    /// The body could not be read: the client broke it off, or its framing is wrong.
    BrokenBody,
    /// A `content-encoding` other than `identity`.
    Encoding,
    /// Not `application/json`.
    ContentType,
    /// The path exists, the method does not: what does.
    Method {
        /// The `allow` header.
        allow: &'static str,
    },
    /// No such path.
    Path {
        /// As asked.
        asked: String,
        /// The nearest that exists, if any is near.
        nearest: Option<&'static str>,
        /// All that exist.
        all: &'static [&'static str],
    },
}

impl HttpFault {
    /// The rest of this request's body will not be read, so the connection cannot carry another one.
    pub const fn closes(&self) -> bool {
        matches!(self, Self::SlowBody | Self::BrokenBody | Self::Encoding)
    }

    /// The wire form.
    pub fn wire(&self) -> Wire {
        use tonic::Code;
        let wire = |status, code| Wire::new(status, Code::InvalidArgument, "HTTP").code(code);
        match self {
            Self::SlowBody => wire(StatusCode::REQUEST_TIMEOUT, "request_timeout")
                .message("The body of the request came too slowly."),
            Self::BrokenBody => wire(StatusCode::BAD_REQUEST, "broken_body")
                .message("The body of the request could not be read."),
            Self::Encoding => wire(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding")
                .message("Compressed requests are not taken: send the body without `content-encoding`."),
            Self::ContentType => wire(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_content_type")
                .message("The body must be JSON: send `content-type: application/json`."),
            Self::Method { allow } => wire(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed")
                .message(format!("This path takes {allow} only.")),
            Self::Path { asked, nearest, all } => {
                let hint = nearest.map_or_else(
                    || format!("There are: {}.", all.join(", ")),
                    |nearest| format!("Did you mean {nearest}?"),
                );
                wire(StatusCode::NOT_FOUND, "unknown_path")
                    .message(format!("There is no `{}` here. {hint}", shown(asked)))
            }
        }
    }
}

#[cfg(test)]
mod tests;
