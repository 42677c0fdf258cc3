use std::sync::Arc;

use tonic::Code;

use super::*;
use crate::domain::{CallId, ErrorDetail, Usage, Usd};
use crate::flow::Bill;

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

#[test]
fn every_refusal_has_the_codes_of_the_contract() {
    let said = || "said".to_owned();
    let cases = [
        (
            Refusal::Invalid { field: None, message: said(), code: None },
            400,
            Code::InvalidArgument,
            "invalid_request",
        ),
        (Refusal::Unauthenticated, 401, Code::Unauthenticated, "invalid_api_key"),
        (Refusal::Forbidden { message: said() }, 403, Code::PermissionDenied, "permission_denied"),
        (Refusal::ModelNotFound { model: said(), nearest: None }, 404, Code::NotFound, "model_not_found"),
        (Refusal::TooLarge { limit: 9 }, 413, Code::ResourceExhausted, "request_too_large"),
        (
            Refusal::RateLimited { message: said(), retry_after: secs(9) },
            429,
            Code::ResourceExhausted,
            "rate_limit_exceeded",
        ),
        (Refusal::Overloaded { retry_after: secs(2), message: said() }, 503, Code::Unavailable, "overloaded"),
        (
            Refusal::NoPool { message: said(), retry_after: secs(2), permanent: false },
            503,
            Code::Unavailable,
            "no_pool",
        ),
        (
            Refusal::NoPool { message: said(), retry_after: secs(0), permanent: true },
            400,
            Code::InvalidArgument,
            "no_pool",
        ),
        (Refusal::Draining, 503, Code::Unavailable, "draining"),
        (Refusal::DeadlineExceeded { message: said() }, 504, Code::DeadlineExceeded, "deadline_exceeded"),
        (Refusal::Internal { message: said() }, 500, Code::Internal, "internal_error"),
    ];
    for (refusal, http, grpc, code) in cases {
        let wire = wire(&refusal);
        assert_eq!((wire.http.as_u16(), wire.grpc, &*wire.code), (http, grpc, code), "{refusal:?}");
        assert!(!wire.message.is_empty(), "{refusal:?}");
    }
}

#[test]
fn every_upstream_failure_has_a_code_and_is_not_worth_a_retry_of_the_client() {
    use FailureKind as K;
    let cases = [
        (K::Connect, 502, Code::Unavailable),
        (K::Tls, 502, Code::Unavailable),
        (K::Disconnected, 502, Code::Unavailable),
        (K::FirstTokenTimeout, 504, Code::DeadlineExceeded),
        (K::Deadline, 504, Code::DeadlineExceeded),
        (K::Stalled, 504, Code::DeadlineExceeded),
        (K::Truncated, 502, Code::Unavailable),
        (K::BadResponse, 502, Code::Unavailable),
        (K::TooLarge, 502, Code::Unavailable),
        (K::RateLimited, 503, Code::Unavailable),
        (K::QuotaExhausted, 503, Code::Unavailable),
        (K::Overloaded, 503, Code::Unavailable),
        (K::ServerError, 502, Code::Unavailable),
        (K::Credentials, 502, Code::Unavailable),
        (K::ModelMissing, 502, Code::Unavailable),
        (K::ContextTooLong, 400, Code::InvalidArgument),
        (K::RequestTooLarge, 413, Code::ResourceExhausted),
        (K::BadRequest, 400, Code::InvalidArgument),
        (K::ContentFilter, 400, Code::InvalidArgument),
    ];
    for (kind, http, grpc) in cases {
        let mut failure = Failure::new(kind, "");
        failure.retry_after = Some(secs(1));
        let wire = wire(&Refusal::Upstream(Box::new(failure)));
        assert_eq!((wire.http.as_u16(), wire.grpc), (http, grpc), "{kind:?}");
        assert_eq!(wire.retry_advice(), Some("false"), "{kind:?}");
        assert!(!wire.message.is_empty(), "{kind:?}");
    }
}

#[test]
fn a_wait_of_over_a_minute_is_announced_but_not_waited_for() {
    let limited = |s| wire(&Refusal::RateLimited { message: String::new(), retry_after: secs(s) });
    assert_eq!((limited(60).retry_after, limited(60).retry_advice()), (Some(secs(60)), None));
    assert_eq!((limited(61).retry_after, limited(61).retry_advice()), (Some(secs(61)), Some("false")));
}

#[test]
fn only_a_draining_router_asks_for_a_retry() {
    assert_eq!(wire(&Refusal::Draining).retry_advice(), Some("true"));
    let full = Refusal::Overloaded { retry_after: secs(1), message: String::new() };
    assert_eq!(wire(&full).retry_advice(), None);
}

#[test]
fn after_attempts_of_our_own_a_client_is_told_not_to_retry() {
    let after = |attempts, refusal| {
        let end = Refused { call: CallId(1), pool: None, attempts, refusal };
        refused(&end).retry_advice()
    };
    let full = || Refusal::Overloaded { retry_after: secs(1), message: String::new() };
    assert_eq!(after(0, full()), None);
    assert_eq!(after(1, full()), Some("false"));
    assert_eq!(after(2, Refusal::Draining), Some("true"));
}

#[test]
fn a_permanent_lack_of_pools_names_no_time_to_come_back() {
    let none = Refusal::NoPool { message: "x".to_owned(), retry_after: secs(5), permanent: true };
    assert_eq!((wire(&none).retry_after, wire(&none).retry_advice()), (None, Some("false")));
}

#[test]
fn a_clients_mistake_keeps_the_providers_words() {
    let mut failure = Failure::new(FailureKind::ContextTooLong, "400").with_status(400);
    failure.detail = Some(Arc::new(ErrorDetail {
        message: "maximum context length is 8192".to_owned(),
        param: Some("messages".to_owned()),
        code: Some("too_long".to_owned()),
        ..ErrorDetail::default()
    }));
    let wire = wire(&Refusal::Upstream(Box::new(failure)));
    assert_eq!(wire.message, "maximum context length is 8192");
    assert_eq!((wire.param.as_deref(), &*wire.code), (Some("messages"), "too_long"));
}

#[test]
fn p06_what_a_provider_says_about_our_key_or_money_stays_here() {
    for kind in [FailureKind::Credentials, FailureKind::QuotaExhausted] {
        let mut failure = Failure::new(kind, "sk-canary is wrong");
        failure.detail =
            Some(Arc::new(ErrorDetail { message: "sk-canary".to_owned(), ..ErrorDetail::default() }));
        assert!(!wire(&Refusal::Upstream(Box::new(failure))).message.contains("canary"));
    }
}

#[test]
fn s21_a_model_name_is_shown_escaped_and_bounded() {
    let model = format!("gpt\r\nx-evil: 1\u{1b}[31m{}", "x".repeat(1 << 20));
    let wire = wire(&Refusal::ModelNotFound { model, nearest: Some("gpt-4o".to_owned()) });
    assert!(wire.message.len() < 300, "{}", wire.message);
    assert!(!wire.message.chars().any(char::is_control), "{}", wire.message);
    assert!(wire.message.ends_with("Did you mean `gpt-4o`?"), "{}", wire.message);
}

#[test]
fn faults_of_http_have_their_statuses() {
    let cases = [
        (HttpFault::SlowBody, 408),
        (HttpFault::BrokenBody, 400),
        (HttpFault::Encoding, 415),
        (HttpFault::ContentType, 415),
        (HttpFault::Method { allow: "POST" }, 405),
        (HttpFault::Path { asked: "/v2\n".to_owned(), nearest: None, all: &["/v1/models"] }, 404),
    ];
    for (fault, status) in cases {
        let wire = fault.wire();
        assert_eq!(wire.http.as_u16(), status, "{fault:?}");
        assert!(!wire.message.chars().any(char::is_control), "{fault:?}");
    }
}

#[test]
fn a_broken_stream_says_how_much_was_delivered_and_why_it_broke() {
    for (code, grpc) in [
        ("stream_interrupted", Code::Unavailable),
        ("draining", Code::Unavailable),
        ("deadline", Code::DeadlineExceeded),
        ("slow_reader", Code::Aborted),
    ] {
        let failure = Some(Failure::new(FailureKind::Truncated, ""));
        let bill = Bill { usage: Usage::default(), cost: Usd::ZERO };
        let wire = broken(&Broken { code, failure, tokens_delivered: 7, bill });
        assert_eq!((wire.kind, &*wire.code, wire.grpc), ("upstream_error", code, grpc));
        assert!(wire.message.contains("7 tokens (truncated)"), "{}", wire.message);
        assert!(!wire.should_retry || code == "draining");
    }
}
