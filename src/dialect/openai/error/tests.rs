use super::*;

fn kind(status: u16, body: &str) -> FailureKind {
    decode_error(status, body.as_bytes()).kind
}

#[test]
fn every_envelope_reaches_its_class() {
    use FailureKind as K;
    let vllm_long = r#"{"object":"error","message":"This model's maximum context length is 4096 tokens. However, you requested 5000 tokens","type":"BadRequestError","param":null,"code":400}"#;
    let sglang_long = r#"{"object":"error","message":"The input (9000 tokens) is longer than the model's context length (8192 tokens).","type":"BadRequestError","code":400}"#;
    for (status, body, expected) in [
        (400, vllm_long, K::ContextTooLong),
        (400, sglang_long, K::ContextTooLong),
        (
            400,
            r#"{"error":{"message":"x","type":"invalid_request_error","code":"context_length_exceeded"}}"#,
            K::ContextTooLong,
        ),
        (
            422,
            r#"{"error":"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4000","error_type":"validation"}"#,
            K::ContextTooLong,
        ),
        (
            422,
            r#"{"error":"Input validation error: `temperature` must be strictly positive","error_type":"validation"}"#,
            K::BadRequest,
        ),
        (
            400,
            r#"{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error"}}"#,
            K::ContextTooLong,
        ),
        (
            400,
            r#"{"error":{"message":"bad","type":"invalid_request_error","param":"n","code":null}}"#,
            K::BadRequest,
        ),
        (422, r#"{"detail":[{"loc":["body"],"msg":"field required"}]}"#, K::BadRequest),
        (
            401,
            r#"{"error":{"code":"401","message":"Access denied due to invalid subscription key"}}"#,
            K::Credentials,
        ),
        (403, "", K::Credentials),
        (
            403,
            r#"{"error":{"code":403,"message":"flagged","metadata":{"reasons":["x"],"flagged_input":"..."}}}"#,
            K::ContentFilter,
        ),
        (402, r#"{"error":{"code":402,"message":"Insufficient credits"}}"#, K::QuotaExhausted),
        (
            429,
            r#"{"error":{"message":"x","type":"insufficient_quota","code":"insufficient_quota"}}"#,
            K::QuotaExhausted,
        ),
        (
            429,
            r#"{"error":{"message":"x","type":"x","code":"monthly_spend_limit_exceeded"}}"#,
            K::QuotaExhausted,
        ),
        (429, r#"{"error":{"message":"x","type":"tokens","code":"rate_limit_exceeded"}}"#, K::RateLimited),
        (429, r#"{"error":"Model is overloaded","error_type":"overloaded"}"#, K::RateLimited),
        (404, r#"{"error":{"code":"DeploymentNotFound","message":"x"}}"#, K::ModelMissing),
        (408, "", K::ServerError),
        (409, "", K::RateLimited),
        (413, "<html>413 Request Entity Too Large</html>", K::RequestTooLarge),
        (502, "<html><h1>502 Bad Gateway</h1></html>", K::ServerError),
        (503, "upstream connect error", K::Overloaded),
        (
            529,
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
            K::Overloaded,
        ),
        (500, r#"{"error":{"message":"x","type":"server_error","code":null}}"#, K::ServerError),
        (504, r#"[{"error":{"code":504,"message":"x","status":"DEADLINE_EXCEEDED"}}]"#, K::ServerError),
        (301, "", K::BadResponse),
        (405, "", K::BadResponse),
    ] {
        assert_eq!(kind(status, body), expected, "{status} {body}");
    }
}

#[test]
fn an_error_inside_an_answer_is_classified_by_its_code() {
    use FailureKind as K;
    for (body, expected) in [
        (r#"{"error":{"code":400,"message":"Token limit reached"}}"#, K::BadRequest),
        (r#"{"error":{"code":429,"message":"Provider returned error"}}"#, K::RateLimited),
        (r#"{"error":{"message":"x","type":"server_error","param":null,"code":null}}"#, K::ServerError),
        (r#"{"error":{"code":"content_filter","status":400,"message":"x"}}"#, K::ContentFilter),
        (r#"{"error":{"type":"overloaded_error"}}"#, K::Overloaded),
        (r#"{"error":{"code":"insufficient_quota"}}"#, K::QuotaExhausted),
        (r#"{"error":{"type":"invalid_request_error","code":"tool_use_failed"}}"#, K::BadRequest),
        (r#"{"object":"error","message":"x","code":503}"#, K::Overloaded),
        (r#"{"error":"out of memory"}"#, K::ServerError),
        ("not json", K::ServerError),
    ] {
        assert_eq!(decode_inner_error(body.as_bytes()).kind, expected, "{body}");
    }
}

#[test]
fn a_clients_mistake_keeps_the_providers_words_and_a_log_does_not() {
    let body = r#"{"error":{"message":"my secret prompt is bad","type":"invalid_request_error","param":"messages","code":null}}"#;
    let failure = decode_error(400, body.as_bytes());
    let detail = failure.detail.unwrap();
    assert_eq!(detail.message, "my secret prompt is bad");
    assert_eq!((detail.param.as_deref(), detail.code.as_deref()), (Some("messages"), None));
    assert_eq!(detail.raw.as_deref(), Some(body.as_bytes()));
    assert!(!failure.message.contains("secret"), "{}", failure.message);
}

#[test]
fn s15_a_refused_key_is_never_repeated() {
    let body = r#"{"error":{"message":"Incorrect API key provided: sk-abc","code":"invalid_api_key"}}"#;
    let failure = decode_error(401, body.as_bytes());
    assert_eq!((failure.kind, failure.detail.is_none()), (FailureKind::Credentials, true));
    assert!(!failure.message.contains("sk-abc"));
}

#[test]
fn messages_are_short_and_printable() {
    let body = format!(r#"{{"error":{{"message":"a\u001b[31m{}"}}}}"#, "é".repeat(100_000));
    let failure = decode_error(500, body.as_bytes());
    assert!(failure.message.len() <= crate::domain::outcome::MESSAGE_MAX);
    assert!(!failure.message.contains('\u{1b}'));
}

#[test]
fn our_own_errors_have_openais_shape() {
    assert_eq!(
        error_body("no", "invalid_request_error", Some("n"), None),
        r#"{"error":{"message":"no","type":"invalid_request_error","param":"n","code":null}}"#
    );
    assert_eq!(
        error_event("cut\n", "upstream_error", "stream_interrupted", 7),
        "data: {\"error\":{\"message\":\"cut\\n\",\"type\":\"upstream_error\",\"param\":null,\"code\":\"stream_interrupted\",\"tokens_delivered\":7}}\n\n"
    );
}
