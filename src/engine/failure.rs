//! What an engine or its door does to a request, as the failure that a client of it would see: the same over a wire, in
//! this process and in a simulation.

use std::sync::Arc;

use super::{Rejected, Turned};
use crate::domain::{Duration, ErrorDetail, Failure, FailureKind};

/// When a full engine is worth asking again: about an answer's length.
const FULL_RETRY_AFTER: Duration = Duration::from_secs(1);

/// A failure that the pool explains in the words of its dialect.
pub(crate) fn told(
    kind: FailureKind,
    status: u16,
    message: String,
    param: Option<&str>,
    code: Option<&str>,
) -> Failure {
    let detail = ErrorDetail {
        message: message.clone(),
        kind: Some("invalid_request_error".to_owned()),
        param: param.map(str::to_owned),
        code: code.map(str::to_owned),
        raw: None,
    };
    Failure { detail: Some(Arc::new(detail)), ..Failure::new(kind, message).with_status(status) }
}

impl From<Rejected> for Failure {
    fn from(why: Rejected) -> Self {
        match why {
            Rejected::QueueFull => Failure {
                retry_after: Some(FULL_RETRY_AFTER),
                ..Failure::new(FailureKind::Overloaded, why.to_string()).with_status(503)
            },
            Rejected::NeverFits => {
                let code = Some("context_length_exceeded");
                told(FailureKind::ContextTooLong, 400, why.to_string(), None, code)
            }
        }
    }
}

impl From<Turned> for Failure {
    fn from(why: Turned) -> Self {
        match why {
            Turned::Unreachable { opens_in: None } => {
                Failure::new(FailureKind::Connect, "connection refused")
            }
            Turned::Unreachable { opens_in: Some(wait) } => {
                let message = format!("no contact for another {:.0} s", wait.as_secs_f64());
                Failure { retry_after: Some(wait), ..Failure::new(FailureKind::Connect, message) }
            }
            Turned::RateLimited { retry_after } => Failure {
                retry_after: Some(retry_after),
                ..Failure::new(FailureKind::RateLimited, "rate limit reached").with_status(429)
            },
            Turned::QuotaExhausted { retry_after } => Failure {
                retry_after: Some(retry_after),
                ..Failure::new(FailureKind::QuotaExhausted, "the quota of this window is used up")
                    .with_status(429)
            },
            Turned::Error { status } => {
                let (kind, wait) = match status {
                    401 | 403 => (FailureKind::Credentials, None),
                    402 => (FailureKind::QuotaExhausted, None),
                    404 => (FailureKind::ModelMissing, None),
                    413 => (FailureKind::RequestTooLarge, None),
                    429 => (FailureKind::RateLimited, Some(FULL_RETRY_AFTER)),
                    400..500 => (FailureKind::BadRequest, None),
                    503 | 529 => (FailureKind::Overloaded, Some(FULL_RETRY_AFTER)),
                    _ => (FailureKind::ServerError, None),
                };
                Failure { retry_after: wait, ..Failure::new(kind, "simulated error").with_status(status) }
            }
        }
    }
}
