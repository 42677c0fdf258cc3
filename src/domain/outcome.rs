//! What can go wrong, said once: what an upstream did to us ([`Failure`]), and what we tell a client ([`Refusal`]).
//!
//! They are different types because health, retries and clients treat them differently: a failure is about an
//! attempt and may be tried elsewhere; a refusal is the end of a call.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::aside::Aside;

/// Why an attempt failed. Classified by the upstream, because only it knows its dialect; acted on by `health` and
/// `policy`, which know nothing of dialects.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FailureKind {
    /// No connection: refused, unreachable, reset before a byte was answered, DNS.
    Connect,
    /// TLS handshake or certificate.
    Tls,
    /// Connection lost after the request was sent and before the answer was whole.
    Disconnected,
    /// No first token within the limit of the try.
    FirstTokenTimeout,
    /// The call's own deadline passed while the attempt ran.
    Deadline,
    /// The stream went silent for longer than the idle limit.
    Stalled,
    /// The stream ended without its dialect's end.
    Truncated,
    /// Not an answer to what was asked: wrong content type, not JSON, redirect, encoding.
    BadResponse,
    /// An event or body beyond the size limit.
    TooLarge,
    /// 429 that clears by waiting.
    RateLimited,
    /// 429 or 402 that does not clear by waiting: the money or the window is gone.
    QuotaExhausted,
    /// 503, 529 or an overload message.
    Overloaded,
    /// Any other 5xx, or an error event in the stream.
    ServerError,
    /// 401 or 403: our key at the provider, never the client's.
    Credentials,
    /// 404: the provider does not know the model (any more).
    ModelMissing,
    /// The prompt does not fit this offer's context window.
    ContextTooLong,
    /// 413 from the provider.
    RequestTooLarge,
    /// That pool's dialect has no words for the request, or the pool does not know a name in it: another may.
    Unsupported,
    /// The request is wrong (400, 422): it would be wrong everywhere.
    BadRequest,
    /// The provider's content filter refused; asking elsewhere would be going around it.
    ContentFilter,
}

impl FailureKind {
    /// May the call be tried on another pool, as long as nothing was handed to the client?
    pub const fn retryable(self) -> bool {
        !matches!(self, Self::BadRequest | Self::ContentFilter | Self::Deadline)
    }

    /// Does it say something about the health of the (pool, model)? 4xx and 429 never do: a caller's mistake or a
    /// limit is not an illness.
    pub const fn counts_against_health(self) -> bool {
        matches!(
            self,
            Self::Connect
                | Self::Tls
                | Self::Disconnected
                | Self::FirstTokenTimeout
                | Self::Stalled
                | Self::Truncated
                | Self::BadResponse
                | Self::Overloaded
                | Self::ServerError
        )
    }

    /// Did we see it ourselves at the socket (rather than being told by a status)? Trips a breaker sooner.
    pub const fn local_origin(self) -> bool {
        matches!(self, Self::Connect | Self::Tls | Self::Disconnected | Self::FirstTokenTimeout)
    }

    /// The name in logs, metrics and headers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Disconnected => "disconnected",
            Self::FirstTokenTimeout => "first_token_timeout",
            Self::Deadline => "deadline",
            Self::Stalled => "stalled",
            Self::Truncated => "truncated",
            Self::BadResponse => "bad_response",
            Self::TooLarge => "too_large",
            Self::RateLimited => "rate_limited",
            Self::QuotaExhausted => "quota_exhausted",
            Self::Overloaded => "overloaded",
            Self::ServerError => "server_error",
            Self::Credentials => "credentials",
            Self::ModelMissing => "model_missing",
            Self::ContextTooLong => "context_too_long",
            Self::RequestTooLarge => "request_too_large",
            Self::Unsupported => "unsupported",
            Self::BadRequest => "bad_request",
            Self::ContentFilter => "content_filter",
        }
    }
}

/// A failed attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// What kind.
    pub kind: FailureKind,
    /// The upstream's HTTP status (or the HTTP equivalent of its gRPC status), where there was one.
    pub status: Option<u16>,
    /// For people and logs: what happened. Never a key, never prompt text; at most [`MESSAGE_MAX`] bytes.
    pub message: String,
    /// How long the upstream asked us to wait, in whatever spelling; capped by the reader.
    pub retry_after: Option<Duration>,
    /// The upstream's own words about a client's mistake, to hand on.
    pub detail: Option<Arc<ErrorDetail>>,
    /// The upstream certainly did not begin to work on it (REFUSED_STREAM, refused connection): trying again
    /// costs no budget.
    pub unprocessed: bool,
    /// What the head of its answer said beside.
    pub aside: Option<Box<Aside>>,
}

/// No error message is longer than this; upstreams have answered with whole web pages.
pub const MESSAGE_MAX: usize = 512;

impl Failure {
    /// A failure without status, hint or detail.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            status: None,
            message: bounded(message.into()),
            retry_after: None,
            detail: None,
            unprocessed: matches!(kind, FailureKind::Connect | FailureKind::Tls),
            aside: None,
        }
    }

    /// With the upstream's status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }
}

fn bounded(mut text: String) -> String {
    if text.len() > MESSAGE_MAX {
        let mut end = MESSAGE_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}

/// An upstream's error in its own words, canonical in form.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ErrorDetail {
    /// `error.message`.
    pub message: String,
    /// `error.type`, if text.
    pub kind: Option<String>,
    /// `error.param`.
    pub param: Option<String>,
    /// `error.code` as text, whatever it was.
    pub code: Option<String>,
    /// The body as it came, for a face of the same dialect; at most 64 KiB, else absent.
    pub raw: Option<Bytes>,
}

/// Why a client gets no (or no whole) answer. One enum for both faces; `edge/status.rs` is the only place that
/// turns it into wire codes.
#[derive(Clone, PartialEq, Debug)]
pub enum Refusal {
    /// The request is wrong: which field, and what to do about it.
    Invalid {
        /// The field, as the dialect of the face spells it (`messages[2].content`), if it is one field.
        field: Option<String>,
        /// What is wrong and how to mend it.
        message: String,
        /// A stable word for programs (`context_length_exceeded`, `unsupported_parameter`).
        code: Option<String>,
    },
    /// No key, or one that we do not know.
    Unauthenticated,
    /// A known key that may not do this.
    Forbidden {
        /// What is not allowed.
        message: String,
    },
    /// Nobody here serves that model.
    ModelNotFound {
        /// As the client spelt it (bounded).
        model: String,
        /// The nearest name that exists.
        nearest: Option<String>,
    },
    /// The request is bigger than we take.
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The caller's own limit.
    RateLimited {
        /// What limit.
        message: String,
        /// When to come back.
        retry_after: Duration,
    },
    /// Everything eligible is full.
    Overloaded {
        /// When to come back.
        retry_after: Duration,
        /// What is full.
        message: String,
    },
    /// No pool may or can serve it now.
    NoPool {
        /// Each pool with the reason that excludes it, for people.
        message: String,
        /// When to come back.
        retry_after: Duration,
        /// Nothing but a change of config or of the request can help: not worth a retry.
        permanent: bool,
    },
    /// The router is going down.
    Draining,
    /// The time is up: the client's own deadline, or ours.
    DeadlineExceeded {
        /// What it was waiting for.
        message: String,
    },
    /// The last try failed, and there is no other.
    Upstream(Box<Failure>),
    /// Our own mistake.
    Internal {
        /// For people.
        message: String,
    },
}

/// How a call ended: the one word of the log line, the metric and the ledger.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Ending {
    /// The whole answer reached the client.
    Ok,
    /// An error before the first content.
    Failed,
    /// Refused by us before any attempt.
    Refused,
    /// The stream broke after the first content and said so.
    Broken,
    /// The client went away.
    ClientGone,
}

impl Ending {
    /// The name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Broken => "broken",
            Self::ClientGone => "client_gone",
        }
    }
}
