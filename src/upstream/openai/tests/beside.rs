//! What heads say beside their answers.

use super::*;
use crate::domain::{Aside, EngineLoad};

const RATES: &str = "X-RateLimit-Limit-Requests: 60\r\nx-ratelimit-remaining-requests: 12\r\nx-ratelimit-reset-requests: 48s\r\nx-ratelimit-remaining-tokens: -1\r\n";

fn left(aside: Option<Box<Aside>>) -> Option<u64> {
    let allowances = aside?.allowances?;
    assert_eq!(allowances.tokens.remaining, None);
    allowances.requests.remaining
}

#[tokio::test]
async fn streams_whole_answers_and_refusals_all_carry_what_is_left() {
    let events = [TEXT, STOP, END].concat();
    let fake = Fake::new(vec![answer("200 OK", &format!("{SSE}{RATES}"), &events)]).await;
    let pieces = stream_of(&settings(), attempt(&fake.origin(), true)).await;
    assert_eq!(left(pieces.1), Some(12));
    let fake = Fake::new(vec![answer("200 OK", &format!("{RATES}{JSON}"), WHOLE)]).await;
    let Ok(Reply::Whole(whole)) = call(&settings(), attempt(&fake.origin(), false)).await else { panic!() };
    assert_eq!(left(whole.aside), Some(12));
    let failure = fails(vec![answer("429 Too Many Requests", &format!("{RATES}{JSON}"), "{}")], true).await;
    assert_eq!((failure.kind, left(failure.aside)), (FailureKind::RateLimited, Some(12)));
}

#[tokio::test]
async fn a_head_that_says_nothing_beside_carries_nothing() {
    let fake = Fake::new(vec![answer("200 OK", JSON, WHOLE)]).await;
    let Ok(Reply::Whole(whole)) = call(&settings(), attempt(&fake.origin(), false)).await else { panic!() };
    assert_eq!(whole.aside, None);
}

fn asked() -> Settings {
    Settings { metrics: Some("/metrics".to_owned()), ..settings() }
}

async fn load(acts: Vec<Act>) -> (Result<EngineLoad, Failure>, Fake) {
    let fake = Fake::new(acts).await;
    let address = attempt(&fake.origin(), false).address.clone();
    (OpenAi::new(&asked()).unwrap().load(address).await, fake)
}

#[tokio::test]
async fn a_page_of_metrics_is_fetched_and_read() {
    let page = "vllm:num_requests_running{model_name=\"m\"} 3.0\nvllm:num_requests_waiting 1";
    let (said, fake) = load(vec![answer("200 OK", "content-type: text/plain\r\n", page)]).await;
    let said = said.unwrap();
    assert_eq!((said.running, said.waiting, said.kv_permille), (Some(3), Some(1), None));
    let request = fake.seen().remove(0);
    assert!(request.starts_with("GET /metrics HTTP/1.1\r\nhost: 127.0.0.1"), "{request}");
    assert!(request.contains("\r\nauthorization: Bearer sk-canary-1\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\n"), "{request}");
}

#[tokio::test]
async fn what_is_no_page_of_an_engine_is_a_failure_and_is_not_followed() {
    for act in [
        answer("404 Not Found", "", "vllm:num_requests_running 1"),
        answer("302 Found", "location: http://127.0.0.1:1/metrics\r\n", ""),
        answer("200 OK", "content-encoding: gzip\r\n", "vllm:num_requests_running 1"),
        answer("200 OK", "", "process_open_fds 7\n"),
    ] {
        let (said, _) = load(vec![act]).await;
        assert_eq!(said.unwrap_err().kind, FailureKind::BadResponse);
    }
    let flood = format!("vllm:num_requests_running 1\n{}", "#".repeat(2 << 20));
    let (said, _) = load(vec![answer("200 OK", "", &flood)]).await;
    assert_eq!(said.unwrap_err().kind, FailureKind::TooLarge);
}

#[tokio::test]
async fn an_answer_may_say_how_busy_its_engine_is_if_it_is_asked() {
    let orca = "Endpoint-Load-Metrics: TEXT named_metrics.num_requests_waiting=3\r\n";
    let fake = Fake::new(vec![answer("200 OK", &format!("{orca}{JSON}"), WHOLE)]).await;
    let Ok(Reply::Whole(whole)) = call(&asked(), attempt(&fake.origin(), false)).await else { panic!() };
    assert_eq!(whole.aside.unwrap().load.unwrap().waiting, Some(3));
    assert!(fake.seen().remove(0).contains("\r\nendpoint-load-metrics-format: TEXT\r\n"));
}
