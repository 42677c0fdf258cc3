//! The way down: not ready at once and still serving, then time for what is open, then an honest end.

use std::time::Duration;

use gridtie::app::serve::Descent;
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use crate::wire::{
    Act, BASE, Client, Endpoint, Got, LONG, Running, ask, chat, chunk, get, pool, stream_head, token, tokens,
    whole,
};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

async fn start(endpoint: &Endpoint, lame_duck: Duration, grace: Duration) -> Running {
    let config = format!("{BASE}{}", pool("pool", "openai", &[endpoint.origin()]));
    Running::start_with(&config, |_| (), Descent { lame_duck, grace }).await
}

/// A stream of which the client has the first token.
async fn begun(client: &mut Client) -> hyper::Response<hyper::body::Incoming> {
    let mut response = client.chat(chat(true, "hi")).await;
    assert_eq!(response.status(), 200);
    let first = response.body_mut().frame().await.unwrap().unwrap();
    assert!(first.data_ref().unwrap().starts_with(b"data: "));
    response
}

#[tokio::test]
async fn k01_an_open_stream_finishes_within_the_grace_and_then_the_router_ends() {
    let endpoint = Endpoint::start(|_| tokens("hello", 20, ms(10))).await;
    let gridtie = start(&endpoint, Duration::ZERO, LONG).await;
    let mut client = Client::connect(gridtie.http).await;
    let stream = begun(&mut client).await;
    gridtie.stop.send(()).unwrap();
    let got = Got::read(stream).await;
    assert!(got.is_done() && !got.broken, "{}", got.text);
    assert_eq!(got.tokens(), 19);
    // The client keeps its connection open; that holds nobody up.
    timeout(ms(2_000), gridtie.ended).await.expect("the router is still there").unwrap();
}

#[tokio::test]
async fn k02_a_stream_that_outlives_the_grace_is_told_so_and_never_looks_whole() {
    let endpoint = Endpoint::start(|_| tokens("hello", 1_000_000, ms(5))).await;
    let gridtie = start(&endpoint, Duration::ZERO, ms(200)).await;
    let mut clients = Vec::new();
    let mut streams = Vec::new();
    for _ in 0..10 {
        let mut client = Client::connect(gridtie.http).await;
        streams.push(begun(&mut client).await);
        clients.push(client);
    }
    gridtie.stop.send(()).unwrap();
    for got in futures_util::future::join_all(streams.into_iter().map(Got::read)).await {
        assert!(
            got.text.contains("\"code\":\"draining\""),
            "{:?}",
            &got.text[got.text.len().saturating_sub(300)..]
        );
        assert!(!got.text.contains("[DONE]") && !got.broken);
    }
    timeout(ms(2_000), gridtie.ended).await.expect("the router is still there").unwrap();
    endpoint.was_hung_up_on(10).await;
}

/// What was queued for a client that reads late, and the reason why no more comes, still reach it.
#[tokio::test]
async fn k02_a_client_that_lags_behind_still_learns_why_its_stream_ends() {
    let text = "x".repeat(4_000);
    let endpoint = Endpoint::start(move |_| {
        vec![stream_head(), Act::Repeat(chunk(token(&text)), 150, ms(0)), Act::Hold]
    })
    .await;
    let gridtie = start(&endpoint, Duration::ZERO, ms(100)).await;
    let mut client = Client::connect(gridtie.http).await;
    let stream = begun(&mut client).await;
    endpoint.has_written(600_000).await;
    gridtie.stop.send(()).unwrap();
    // Longer than the grace: all that is left is what the router does about it at the end.
    gridtie.router.all_closed().await;
    tokio::time::sleep(ms(100)).await;
    let got = Got::read(stream).await;
    assert!(got.text.contains("\"code\":\"draining\""), "{} bytes, broken: {}", got.text.len(), got.broken);
    timeout(ms(2_000), gridtie.ended).await.expect("the router is still there").unwrap();
}

#[tokio::test]
async fn k01_not_ready_at_once_but_calls_are_served_while_balancers_find_out() {
    let endpoint = Endpoint::start(|_| vec![whole()]).await;
    let gridtie = start(&endpoint, ms(600), LONG).await;
    assert_eq!(get(gridtie.admin, "/readyz").await.status, 200);
    let mut kept = Client::connect(gridtie.http).await;
    assert_eq!(Got::read(kept.chat(chat(false, "hi")).await).await.status, 200);
    gridtie.stop.send(()).unwrap();
    while !gridtie.router.draining() {
        tokio::task::yield_now().await;
    }
    assert_eq!(get(gridtie.admin, "/readyz").await.status, 503);
    assert_eq!(get(gridtie.admin, "/livez").await.status, 200);
    assert_eq!(ask(gridtie.http, chat(false, "hi")).await.status, 200, "a new connection");
    assert_eq!(Got::read(kept.chat(chat(false, "hi")).await).await.status, 200, "a kept connection");
    timeout(ms(3_000), gridtie.ended).await.expect("the router is still there").unwrap();
    assert!(tokio::net::TcpStream::connect(gridtie.http).await.is_err(), "somebody listens still");
}

#[tokio::test]
async fn a_unary_call_under_way_is_answered_before_the_end() {
    let endpoint = Endpoint::start(|_| vec![Act::Pause(ms(300)), whole()]).await;
    let gridtie = start(&endpoint, Duration::ZERO, LONG).await;
    let address = gridtie.http;
    let call = tokio::spawn(async move { ask(address, chat(false, "hi")).await });
    endpoint.was_asked(1).await;
    gridtie.stop.send(()).unwrap();
    let got = call.await.unwrap();
    assert_eq!((got.status, got.broken), (200, false), "{}", got.text);
    timeout(ms(2_000), gridtie.ended).await.expect("the router is still there").unwrap();
}

#[tokio::test]
async fn a_call_that_has_no_answer_when_the_grace_ends_is_sent_elsewhere() {
    let endpoint = Endpoint::start(|_| vec![Act::Hold]).await;
    let gridtie = start(&endpoint, Duration::ZERO, ms(100)).await;
    let address = gridtie.http;
    let call = tokio::spawn(async move { ask(address, chat(false, "hi")).await });
    endpoint.was_asked(1).await;
    gridtie.stop.send(()).unwrap();
    let got = call.await.unwrap();
    assert_eq!((got.status, got.header("x-should-retry")), (503, "true"), "{}", got.text);
    assert!(got.text.contains("\"code\":\"draining\""), "{}", got.text);
    timeout(ms(2_000), gridtie.ended).await.expect("the router is still there").unwrap();
}
