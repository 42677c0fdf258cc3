//! What a gRPC status of another Gridtie means. A status that came over the wire is its word; one that was made here is
//! about the connection, and its cause is asked.

use std::error::Error as StdError;
use std::sync::Arc;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::dialect::retry_after::RETRY_AFTER_MAX;
use crate::domain::{Duration, ErrorDetail, Failure, FailureKind};

/// Classifies the end of an attempt.
pub(super) fn of(status: &Status) -> Failure {
    if let Some(failure) = lost(status) {
        return failure;
    }
    let details = status.get_error_details();
    let info = details.error_info().filter(|info| info.domain == "gridtie");
    let code = info.and_then(|info| info.metadata.get("reason").cloned());
    let (kind, unprocessed) = match code.as_deref() {
        // A name that this router gave along, or that the client did: not known there, and perhaps elsewhere.
        Some("unknown_class") => (FailureKind::Unsupported, true),
        _ => classify(status.code(), info.map(|info| info.reason.as_str())),
    };
    let mut failure = Failure::new(kind, status.message()).with_status(http_status(status.code()));
    failure.unprocessed = unprocessed;
    failure.retry_after = retry_after(status, &details);
    use FailureKind::{BadRequest, ContentFilter, ContextTooLong, Unsupported};
    if matches!(kind, BadRequest | ContextTooLong | ContentFilter | Unsupported) {
        let field = details.bad_request().and_then(|bad| bad.field_violations.first());
        failure.detail = Some(Arc::new(ErrorDetail {
            message: failure.message.clone(),
            kind: None,
            param: field.map(|violation| violation.field.clone()),
            code,
            raw: None,
        }));
    }
    failure
}

/// The kind, and whether the other side certainly did not begin to work on it.
fn classify(code: Code, reason: Option<&str>) -> (FailureKind, bool) {
    use FailureKind as Kind;
    match (code, reason) {
        // Refused before any attempt over there.
        (_, Some("OVERLOADED" | "NO_POOL" | "DRAINING")) => (Kind::Overloaded, true),
        // Its pools cannot serve this request; ours may.
        (_, Some("NO_POOL_FITS")) => (Kind::Unsupported, true),
        (_, Some("RATE_LIMITED")) => (Kind::RateLimited, true),
        (_, Some("REQUEST_TOO_LARGE")) => (Kind::RequestTooLarge, true),
        (_, Some("UPSTREAM_OVERLOADED")) => (Kind::Overloaded, false),
        (_, Some("UPSTREAM_QUOTA_EXHAUSTED")) => (Kind::QuotaExhausted, false),
        (_, Some("UPSTREAM_MODEL_MISSING")) => (Kind::ModelMissing, false),
        (_, Some("UPSTREAM_BAD_RESPONSE")) => (Kind::BadResponse, false),
        (_, Some("UPSTREAM_TIMEOUT")) => (Kind::FirstTokenTimeout, false),
        (_, Some("CONTEXT_TOO_LONG")) => (Kind::ContextTooLong, false),
        (_, Some("CONTENT_FILTER")) => (Kind::ContentFilter, false),
        (_, Some("STREAM_INTERRUPTED" | "SLOW_READER")) => (Kind::Disconnected, false),
        (Code::Unavailable, None) => (Kind::Overloaded, false),
        (Code::ResourceExhausted, _) => (Kind::RateLimited, false),
        (Code::InvalidArgument, _) => (Kind::BadRequest, false),
        (Code::NotFound, _) => (Kind::ModelMissing, false),
        (Code::DeadlineExceeded, _) => (Kind::Deadline, false),
        (Code::Unauthenticated | Code::PermissionDenied, _) => (Kind::Credentials, false),
        // How a server that goes down ends its streams.
        (Code::Cancelled, _) => (Kind::Disconnected, false),
        (Code::Unimplemented, _) => (Kind::BadResponse, true),
        // A message above our limit.
        (Code::OutOfRange, _) => (Kind::TooLarge, false),
        _ => (Kind::ServerError, false),
    }
}

/// RetryInfo, or the pushback of gRPC's own retry design; never longer than anybody is believed.
fn retry_after(status: &Status, details: &ErrorDetails) -> Option<Duration> {
    let info = details.retry_info().and_then(|info| info.retry_delay);
    let pushback = || {
        let text = status.metadata().get("grpc-retry-pushback-ms")?.to_str().ok()?;
        text.parse().ok().map(Duration::from_millis)
    };
    info.or_else(pushback).map(|wait| wait.min(RETRY_AFTER_MAX))
}

/// The failure of the connection that `status` was made of, if it was.
fn lost(status: &Status) -> Option<Failure> {
    let mut cause = status.source();
    let mut broken: Option<Failure> = None;
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return Some(of_h2(error));
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            let mut failure = Failure::new(FailureKind::Disconnected, format!("connection lost: {error}"));
            // It was never written.
            failure.unprocessed = error.is_canceled();
            broken = Some(failure);
        }
        cause = error.source();
    }
    broken
}

/// A stream or a connection that HTTP/2 ended.
fn of_h2(error: &h2::Error) -> Failure {
    let mut failure = Failure::new(FailureKind::Disconnected, format!("connection lost: {error}"));
    let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    // A graceful GOAWAY only ends streams above the last one that the peer looked at.
    let left_out = error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR);
    failure.unprocessed = refused || left_out;
    failure
}

/// The HTTP equivalent, as google.rpc.Code has it.
const fn http_status(code: Code) -> u16 {
    match code {
        Code::Ok => 200,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => 400,
        Code::Unauthenticated => 401,
        Code::PermissionDenied => 403,
        Code::NotFound => 404,
        Code::AlreadyExists | Code::Aborted => 409,
        Code::ResourceExhausted => 429,
        Code::Cancelled => 499,
        Code::Unimplemented => 501,
        Code::Unavailable => 503,
        Code::DeadlineExceeded => 504,
        Code::Unknown | Code::Internal | Code::DataLoss => 500,
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt as _;

    use super::*;

    fn said(code: Code, reason: &str) -> Status {
        let mut details = ErrorDetails::new();
        details.set_error_info(reason, "gridtie", []);
        Status::with_error_details(code, "words", details)
    }

    #[test]
    fn the_reason_says_more_than_the_code() {
        let cases = [
            (Code::Unavailable, "OVERLOADED", FailureKind::Overloaded, true),
            (Code::Unavailable, "DRAINING", FailureKind::Overloaded, true),
            (Code::Unavailable, "STREAM_INTERRUPTED", FailureKind::Disconnected, false),
            (Code::Unavailable, "UPSTREAM_CREDENTIALS", FailureKind::ServerError, false),
            (Code::InvalidArgument, "NO_POOL_FITS", FailureKind::Unsupported, true),
            (Code::ResourceExhausted, "RATE_LIMITED", FailureKind::RateLimited, true),
            (Code::ResourceExhausted, "REQUEST_TOO_LARGE", FailureKind::RequestTooLarge, true),
            (Code::InvalidArgument, "CONTEXT_TOO_LONG", FailureKind::ContextTooLong, false),
            (Code::InvalidArgument, "INVALID_REQUEST", FailureKind::BadRequest, false),
            (Code::DeadlineExceeded, "DEADLINE_EXCEEDED", FailureKind::Deadline, false),
            (Code::DeadlineExceeded, "UPSTREAM_TIMEOUT", FailureKind::FirstTokenTimeout, false),
        ];
        for (code, reason, kind, unprocessed) in cases {
            let failure = of(&said(code, reason));
            assert_eq!((failure.kind, failure.unprocessed), (kind, unprocessed), "{reason}");
        }
    }

    #[test]
    fn a_class_that_is_not_known_there_is_no_mistake_of_the_clients() {
        let mut details = ErrorDetails::new();
        details.set_error_info(
            "INVALID_REQUEST",
            "gridtie",
            [("reason".to_owned(), "unknown_class".to_owned())],
        );
        let failure = of(&Status::with_error_details(Code::InvalidArgument, "no class", details));
        assert_eq!((failure.kind, failure.unprocessed), (FailureKind::Unsupported, true));
        assert_eq!(failure.detail.unwrap().code.as_deref(), Some("unknown_class"));
    }

    #[test]
    fn a_stranger_is_judged_by_its_code() {
        let cases = [
            (Code::Unavailable, FailureKind::Overloaded),
            (Code::Cancelled, FailureKind::Disconnected),
            (Code::NotFound, FailureKind::ModelMissing),
            (Code::PermissionDenied, FailureKind::Credentials),
            (Code::Unimplemented, FailureKind::BadResponse),
            (Code::Internal, FailureKind::ServerError),
        ];
        for (code, kind) in cases {
            assert_eq!(of(&Status::new(code, "")).kind, kind, "{code:?}");
        }
    }

    #[test]
    fn a_wait_is_read_from_either_place_and_capped() {
        let mut details = ErrorDetails::new();
        details.set_retry_info(Some(Duration::from_secs(7)));
        let status = Status::with_error_details(Code::Unavailable, "", details);
        assert_eq!(of(&status).retry_after, Some(Duration::from_secs(7)));
        let pushed = |text: &'static str| {
            let mut status = Status::unavailable("");
            status.metadata_mut().insert("grpc-retry-pushback-ms", text.parse().unwrap());
            of(&status).retry_after
        };
        assert_eq!(pushed("250"), Some(Duration::from_millis(250)));
        assert_eq!(pushed("-1"), None);
        assert_eq!(pushed("99999999999"), Some(RETRY_AFTER_MAX));
    }

    #[test]
    fn a_clients_mistake_keeps_its_field() {
        let mut details = ErrorDetails::new();
        details.add_bad_request_violation("messages[0].role", "say who");
        let failure = of(&Status::with_error_details(Code::InvalidArgument, "say who", details));
        let detail = failure.detail.unwrap();
        assert_eq!(detail.param.as_deref(), Some("messages[0].role"));
        assert_eq!(failure.status, Some(400));
    }
}
