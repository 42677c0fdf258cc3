use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use smallvec::smallvec;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::domain::{
    Answer, Choice, Delta, Embedded, ErrorDetail, Failure, FailureKind, FinishReason, Generated, Model,
    ModelId, Offer, Usage, UsageSource, Usd,
};
use crate::edge::listen;
use crate::flow::{Bill, Broken, Head};
use crate::upstream::{PieceBody, Whole, WholeBody};

/// A stream that a test feeds.
#[derive(Debug)]
struct Feed(mpsc::UnboundedReceiver<Out>);

impl Stream for Feed {
    type Item = Out;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Out>> {
        self.0.poll_recv(cx)
    }
}

type Handler = Box<dyn Fn(Inbound) -> Result<Answered<Feed>, Refused> + Send + Sync>;

struct Script(Handler);

impl Calls for Script {
    type Relay = Feed;

    async fn call(&self, inbound: Inbound) -> Result<Answered<Feed>, Refused> {
        (self.0)(inbound)
    }

    fn catalog(&self) -> Arc<Catalog> {
        let model = |name: &str, aliases: &[&str], offers| Model {
            name: name.into(),
            aliases: aliases.iter().map(|a| (*a).into()).collect(),
            kind: AskKind::Chat,
            offers,
        };
        let offer = Offer {
            pool: domain::PoolId(0),
            model: ModelId(0),
            upstream_model: "up".into(),
            prices: domain::Prices::default(),
            context_window: Some(8192),
            capabilities: domain::Capabilities::NONE,
        };
        let models =
            vec![model("large", &["vendor/large"], vec![domain::OfferId(0)]), model("small", &[], vec![])];
        Arc::new(Catalog { models, offers: vec![offer], ..Catalog::default() })
    }

    fn next_id(&self) -> CallId {
        CallId(0xfa)
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000)
    }
}

fn open_to_all() -> Auth {
    Arc::new(|_, _| Ok(TenantId(3)))
}

async fn serve_with(limits: Limits, auth: Auth, handler: Handler) -> SocketAddr {
    let face = Face::new(Script(handler), auth, limits);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (settings, shutdown) = (listen::Settings::default(), listen::Shutdown::new());
    tokio::spawn(listen::serve(listener, settings, shutdown, move |peer| face.connection(peer)));
    address
}

async fn serve(
    handler: impl Fn(Inbound) -> Result<Answered<Feed>, Refused> + Send + Sync + 'static,
) -> SocketAddr {
    serve_with(Limits::default(), open_to_all(), Box::new(handler)).await
}

type Sent = BoxBody<Bytes, Infallible>;

async fn client(address: SocketAddr) -> http1::SendRequest<Sent> {
    let socket = TcpStream::connect(address).await.unwrap();
    let (client, connection) = http1::handshake(TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    client
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Request<Sent> {
    let mut builder = Request::builder().method(method).uri(path).header("host", "localhost");
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Full::new(body.into()).boxed()).unwrap()
}

/// What came back: status, headers, text.
struct Got {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("-", |value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    fn error(&self) -> (u16, String, String) {
        let json = self.json();
        let text = |key: &str| json["error"][key].as_str().unwrap_or("-").to_owned();
        (self.status, text("code"), text("param"))
    }
}

async fn ask(address: SocketAddr, request: Request<Sent>) -> Got {
    let response = client(address).await.send_request(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Got { status: head.status.as_u16(), headers: head.headers, text: String::from_utf8(body.into()).unwrap() }
}

const CHAT: &str = r#"{"model":"large","messages":[{"role":"user","content":"hi"}]}"#;
const STREAMED: &str = r#"{"model":"large","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
const JSON: (&str, &str) = ("content-type", "application/json");

async fn post(address: SocketAddr, body: &'static str) -> Got {
    ask(address, request("POST", "/v1/chat/completions", &[JSON], body)).await
}

fn head() -> Head {
    Head {
        call: CallId(0xbeef),
        pool: "owned".into(),
        model: "large".into(),
        attempts: 2,
        cost: Usd::from_nanos(1),
        reason: "price: owned $0.000110 < cloud $0.002400".to_owned(),
    }
}

fn bill() -> Bill {
    let usage = Usage { input: 5, output: 7, source: UsageSource::Reported, ..Usage::default() };
    Bill { usage, cost: Usd::from_nanos(1_250_000) }
}

fn whole(body: WholeBody) -> Answered<Feed> {
    Answered::Whole { head: head(), whole: Whole { body, usage: bill().usage }, bill: bill() }
}

fn bytes(text: &'static str) -> Answered<Feed> {
    whole(WholeBody::Bytes(Bytes::from_static(text.as_bytes())))
}

/// A stream of these, all there at once.
fn stream(outs: Vec<Out>) -> Answered<Feed> {
    let (feed, body) = mpsc::unbounded_channel();
    outs.into_iter().for_each(|out| feed.send(out).unwrap());
    Answered::Stream { head: head(), body: Feed(body) }
}

fn piece(text: &'static str) -> Out {
    Out::Piece(PieceBody::Bytes(Bytes::from_static(text.as_bytes())))
}

fn refuse(refusal: Refusal) -> Refused {
    Refused { call: CallId(0xbeef), pool: None, attempts: 0, refusal }
}

#[tokio::test]
async fn a_whole_answer_comes_as_it_is_and_says_what_happened() {
    let address = serve(|inbound| {
        assert_eq!((inbound.model.as_str(), inbound.tenant), ("large", TenantId(3)));
        Ok(bytes(r#"{"id":"theirs"}"#))
    })
    .await;
    let got = post(address, CHAT).await;
    assert_eq!((got.status, got.text.as_str()), (200, r#"{"id":"theirs"}"#));
    for (name, value) in [
        ("content-type", "application/json"),
        ("content-length", "15"),
        ("x-gridtie-call", "000000000000beef"),
        ("x-request-id", "000000000000beef"),
        ("x-gridtie-pool", "owned"),
        ("x-gridtie-attempts", "2"),
        ("x-gridtie-cost-usd", "0.001250000"),
        ("x-gridtie-reason", "price: owned $0.000110 < cloud $0.002400"),
    ] {
        assert_eq!(got.header(name), value, "{name}");
    }
}

#[tokio::test]
async fn each_path_asks_for_its_kind_and_the_body_arrives_unchanged() {
    let cases = [
        ("/v1/chat/completions", AskKind::Chat, CHAT),
        ("/v1/completions", AskKind::Completion, r#"{"model":"large","prompt":"hi", "x": 1}"#),
        ("/v1/embeddings", AskKind::Embed, r#"{"input":"hi","model":"large"}"#),
    ];
    for (path, kind, body) in cases {
        let address = serve(move |inbound| {
            assert_eq!(inbound.request.kind, kind);
            let domain::Body::OpenAi(got) = inbound.request.body else { panic!("not as it came") };
            assert_eq!(got, body);
            Ok(bytes("{}"))
        })
        .await;
        assert_eq!(ask(address, request("POST", path, &[JSON], body)).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn hints_reach_the_call() {
    let address = serve(|inbound| {
        assert_eq!(inbound.class.as_deref(), Some("agent"));
        assert_eq!(inbound.session.as_deref(), Some("s 1"));
        assert_eq!(inbound.hints.max_cost_usd, Some(0.002));
        assert_eq!(inbound.hints.pools, ["a".into(), "b".into(), "c".into()] as [Arc<str>; 3]);
        assert_eq!(inbound.hints.regions, ["eu".into()] as [Arc<str>; 1]);
        assert_eq!(inbound.timeout, Some(Duration::from_millis(2500)));
        assert!(inbound.client_retry);
        let forward: BTreeMap<_, _> = inbound.request.forward.into_iter().collect();
        assert_eq!(forward["tracestate"], "a=b");
        assert_eq!(forward.len(), 2);
        Ok(bytes("{}"))
    })
    .await;
    let headers = [
        JSON,
        ("x-gridtie-class", "agent"),
        ("X-Gridtie-Session", "s 1"),
        ("x-gridtie-max-cost-usd", "0.002"),
        ("x-gridtie-pools", "a, b"),
        ("x-gridtie-pools", "c"),
        ("x-gridtie-regions", "eu"),
        ("x-gridtie-timeout-ms", "2500"),
        ("x-stainless-read-timeout", "600"),
        ("x-stainless-retry-count", "1"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("tracestate", "a=b"),
        ("x-forwarded-for", "10.0.0.1"),
    ];
    let got = ask(address, request("POST", "/v1/chat/completions", &headers, CHAT)).await;
    assert_eq!(got.status, 200, "{}", got.text);
}

#[tokio::test]
async fn the_sdks_read_timeout_is_a_deadline_and_its_nonsense_is_not_an_error() {
    let address = serve(|inbound| {
        assert!(inbound.request.forward.is_empty());
        let said = inbound.timeout.map_or(0, |t| t.as_millis());
        Ok(whole(WholeBody::Bytes(said.to_string().into())))
    })
    .await;
    for (value, millis) in
        [("600", "600000"), ("0.5", "500"), ("None", "0"), ("-1", "0"), ("inf", "0"), ("1e300", "0")]
    {
        let headers = [
            ("x-stainless-read-timeout", value),
            ("x-stainless-retry-count", "x"),
            ("traceparent", "00-xyz"),
        ];
        let got = ask(address, request("POST", "/v1/chat/completions", &headers, CHAT)).await;
        assert_eq!((got.status, got.text.as_str()), (200, millis), "{value}");
    }
}

#[tokio::test]
async fn a_hint_that_cannot_be_followed_is_named() {
    let address = serve(|_| panic!("must not be called")).await;
    let long = "x".repeat(300);
    let many = vec!["p"; 33].join(",");
    for (header, value) in [
        ("x-gridtie-class", ""),
        ("x-gridtie-session", long.as_str()),
        ("x-gridtie-max-cost-usd", "-1"),
        ("x-gridtie-max-cost-usd", "NaN"),
        ("x-gridtie-max-cost-usd", "cheap"),
        ("x-gridtie-pools", "a,,b"),
        ("x-gridtie-pools", many.as_str()),
        ("x-gridtie-regions", " "),
        ("x-gridtie-timeout-ms", "0"),
        ("x-gridtie-timeout-ms", "1.5"),
        ("x-gridtie-timeout-ms", "99999999999999999999"),
    ] {
        let got = ask(address, request("POST", "/v1/chat/completions", &[(header, value)], CHAT)).await;
        assert_eq!(got.error(), (400, "invalid_header".to_owned(), header.to_owned()), "{value}");
        assert_eq!(got.header("x-should-retry"), "false");
    }
    let twice = [("x-gridtie-class", "a"), ("x-gridtie-class", "b")];
    assert_eq!(ask(address, request("POST", "/v1/completions", &twice, CHAT)).await.status, 400);
}

#[tokio::test]
async fn an_error_says_what_it_is_and_when_to_come_back() {
    let address = serve(|_| {
        let message = "10 requests a minute".to_owned();
        Err(refuse(Refusal::RateLimited { message, retry_after: Duration::from_millis(1500) }))
    })
    .await;
    let got = post(address, CHAT).await;
    assert_eq!(got.error(), (429, "rate_limit_exceeded".to_owned(), "-".to_owned()));
    assert_eq!(got.json()["error"]["type"], "rate_limit_error");
    for (name, value) in [
        ("retry-after", "2"),
        ("retry-after-ms", "1500"),
        ("x-should-retry", "-"),
        ("x-gridtie-call", "000000000000beef"),
        ("x-request-id", "000000000000beef"),
        ("x-gridtie-attempts", "0"),
        ("x-gridtie-cost-usd", "0.000000000"),
        ("x-gridtie-reason", "RATE_LIMITED"),
    ] {
        assert_eq!(got.header(name), value, "{name}");
    }
}

#[tokio::test]
async fn after_our_attempts_the_client_is_told_not_to_make_its_own() {
    let address = serve(|_| {
        let failure = Failure::new(FailureKind::Overloaded, "busy");
        let refusal = Refusal::Upstream(Box::new(failure));
        Err(Refused { pool: Some("cloud".into()), attempts: 3, ..refuse(refusal) })
    })
    .await;
    let got = post(address, CHAT).await;
    assert_eq!((got.status, got.header("x-should-retry")), (503, "false"));
    assert_eq!((got.header("x-gridtie-pool"), got.header("x-gridtie-attempts")), ("cloud", "3"));
}

fn provider_says(kind: FailureKind, raw: &'static str) -> Refused {
    let mut failure = Failure::new(kind, "400").with_status(400);
    let detail =
        ErrorDetail { message: "too long".to_owned(), raw: Some(raw.into()), ..ErrorDetail::default() };
    failure.detail = Some(Arc::new(detail));
    Refused { attempts: 1, ..refuse(Refusal::Upstream(Box::new(failure))) }
}

#[tokio::test]
async fn a_providers_word_on_a_clients_mistake_is_handed_on_and_no_other() {
    const RAW: &str = r#"{"error": {"message":"theirs","code":"x","extra":1}}"#;
    let said = async |kind, raw| {
        let address = serve(move |_| Err(provider_says(kind, raw))).await;
        post(address, CHAT).await
    };
    assert_eq!(said(FailureKind::BadRequest, RAW).await.text, RAW);
    let html = said(FailureKind::ContextTooLong, "<html>413</html>").await;
    assert_eq!(html.error(), (400, "context_length_exceeded".to_owned(), "-".to_owned()));
    let credentials = said(FailureKind::Credentials, RAW).await;
    assert_eq!(credentials.status, 502);
    assert!(!credentials.text.contains("theirs"));
}

#[tokio::test]
async fn a_canonical_answer_is_written_with_our_id_and_the_clients_model() {
    let address = serve(|_| {
        let choice = Choice {
            index: 0,
            parts: vec![domain::request::Part::Text("hello".to_owned())],
            finish: FinishReason::Stop,
            logprobs: None,
        };
        Ok(whole(WholeBody::Canonical(Answer::Generated(Generated { id: None, choices: vec![choice] }))))
    })
    .await;
    let json = post(address, CHAT).await.json();
    assert_eq!(json["id"], "chatcmpl-000000000000beef");
    assert_eq!((&json["model"], &json["created"]), (&json!("large"), &json!(1_700_000_000)));
    assert_eq!(json["choices"][0]["message"]["content"], "hello");
    assert_eq!(json["usage"]["completion_tokens"], 7);
}

#[tokio::test]
async fn canonical_vectors_are_spelt_as_the_client_asked() {
    let address = serve(|_| {
        Ok(whole(WholeBody::Canonical(Answer::Embedded(Embedded { vectors: vec![vec![0.5, 1.0]] }))))
    })
    .await;
    let vector = async |body: &'static str| {
        let got = ask(address, request("POST", "/v1/embeddings", &[JSON], body)).await;
        got.json()["data"][0]["embedding"].clone()
    };
    assert_eq!(vector(r#"{"model":"large","input":"x"}"#).await, json!([0.5, 1.0]));
    let base64 = vector(r#"{"model":"large","input":"x","encoding_format":"base64"}"#).await;
    assert_eq!(base64, json!("AAAAPwAAgD8="));
}

#[tokio::test]
async fn a_relayed_stream_comes_as_it_is_with_the_bill_at_its_end() {
    let address = serve(|inbound| {
        assert!(inbound.request.stream);
        let outs = vec![piece("data: {\"a\":1}\n\n"), piece(""), piece("data: [DONE]\n\n"), Out::End(bill())];
        Ok(stream(outs))
    })
    .await;
    for (te, cost) in [(Some("trailers"), Some("0.001250000")), (None, None)] {
        let headers: Vec<_> = te.map(|te| ("te", te)).into_iter().collect();
        let request = request("POST", "/v1/chat/completions", &headers, STREAMED);
        let response = client(address).await.send_request(request).await.unwrap();
        for (name, value) in [
            ("content-type", "text/event-stream"),
            ("cache-control", "no-cache"),
            ("x-accel-buffering", "no"),
            ("trailer", "x-gridtie-cost-usd"),
            ("x-gridtie-cost-usd", "0.000000001"),
            ("x-gridtie-pool", "owned"),
        ] {
            assert_eq!(response.headers()[name], value, "{name}");
        }
        let collected = response.into_body().collect().await.unwrap();
        let trailer = collected.trailers().map(|t| t["x-gridtie-cost-usd"].clone());
        assert_eq!(trailer.as_ref().map(|t| t.to_str().unwrap()), cost);
        assert_eq!(collected.to_bytes(), "data: {\"a\":1}\n\ndata: [DONE]\n\n");
    }
}

#[tokio::test]
async fn over_http2_the_bill_always_comes_and_errors_do_not_speak_of_connections() {
    let address = serve(|_| Ok(stream(vec![piece("data: [DONE]\n\n"), Out::End(bill())]))).await;
    let socket = TcpStream::connect(address).await.unwrap();
    let (mut client, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    let mut send = async |headers: &[_]| {
        let path = format!("http://{address}/v1/chat/completions");
        let request: Request<Sent> = request("POST", &path, headers, STREAMED);
        client.send_request(request).await.unwrap()
    };
    let collected = send(&[]).await.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["x-gridtie-cost-usd"], "0.001250000");
    let refused = send(&[("content-encoding", "gzip")]).await;
    assert_eq!((refused.status().as_u16(), refused.headers().get("connection")), (415, None));
}

fn text(text: &str) -> Delta {
    Delta::Text { choice: 0, text: text.to_owned(), logprobs: None }
}

#[tokio::test]
async fn a_canonical_stream_is_written_as_chunks_and_ends_with_usage_and_done() {
    let address = serve(|_| {
        let finish = Delta::Finish { choice: 0, reason: FinishReason::Stop };
        let outs = vec![
            Out::Piece(PieceBody::Canonical(smallvec![text("he")])),
            Out::Piece(PieceBody::Canonical(smallvec![text("llo\n\ndata: [DONE]\n\n"), finish])),
            Out::End(bill()),
        ];
        Ok(stream(outs))
    })
    .await;
    const ASKED: &str = r#"{"model":"large","stream":true,"stream_options":{"include_usage":true},
        "messages":[{"role":"user","content":"hi"}]}"#;
    let got = post(address, ASKED).await;
    let events: Vec<_> = got.text.split("\n\n").filter(|e| !e.is_empty()).collect();
    assert_eq!(events.last(), Some(&"data: [DONE]"));
    assert_eq!(events.iter().filter(|e| **e == "data: [DONE]").count(), 1, "{}", got.text);
    let chunks: Vec<Value> = events[..events.len() - 1]
        .iter()
        .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
        .collect();
    let said: String = chunks.iter().filter_map(|c| c["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(said, "hello\n\ndata: [DONE]\n\n");
    assert!(chunks.iter().all(|c| c["id"] == "chatcmpl-000000000000beef" && c["model"] == "large"));
    assert_eq!(chunks.last().unwrap()["usage"]["prompt_tokens"], 5);
    assert!(!post(address, STREAMED).await.text.contains("prompt_tokens"));
}

#[tokio::test]
async fn a_stream_that_broke_ends_with_an_error_and_never_with_done() {
    let broken = || {
        let failure = Some(Failure::new(FailureKind::Disconnected, "reset"));
        Out::Broken(Broken { code: "stream_interrupted", failure, tokens_delivered: 42, bill: bill() })
    };
    let canonical = || Out::Piece(PieceBody::Canonical(smallvec![text("he")]));
    let cases: [(fn() -> Out, Option<fn() -> Out>); 3] = [
        (|| piece("data: {}\n\n"), Some(broken)),
        (canonical, Some(broken)),
        (|| piece("data: {}\n\n"), None),
    ];
    for (first, last) in cases {
        let address =
            serve(move |_| Ok(stream([first()].into_iter().chain(last.map(|last| last())).collect()))).await;
        // Collecting fails unless the body ends properly: the SDK must get to read the error.
        let got = post(address, STREAMED).await;
        assert!(!got.text.contains("[DONE]"), "{}", got.text);
        assert!(!got.text.contains("finish_reason\":\""), "{}", got.text);
        let event = got.text.trim_end().rsplit("\n\n").next().unwrap().strip_prefix("data: ").unwrap();
        let error: Value = serde_json::from_str(event).unwrap();
        assert_eq!(error["error"]["type"], "upstream_error");
        assert_eq!(error["error"]["code"], "stream_interrupted");
        if last.is_some() {
            assert_eq!(error["error"]["tokens_delivered"], 42);
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_stream_with_it() {
    let (give, mut given) = mpsc::channel(1);
    let address = serve(move |_| {
        let (feed, body) = mpsc::unbounded_channel();
        feed.send(piece("data: {}\n\n")).unwrap();
        give.try_send(feed).unwrap();
        Ok(Answered::Stream { head: head(), body: Feed(body) })
    })
    .await;
    let mut sender = client(address).await;
    let mut response =
        sender.send_request(request("POST", "/v1/chat/completions", &[], STREAMED)).await.unwrap();
    response.frame().await.unwrap().unwrap();
    let feed = given.recv().await.unwrap();
    drop((sender, response));
    feed.closed().await;
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_by_its_length_or_as_it_comes() {
    let limits = Limits { body: 1000, ..Limits::default() };
    let address = serve_with(limits, open_to_all(), Box::new(|_| panic!("must not be called"))).await;
    let mut socket = TcpStream::connect(address).await.unwrap();
    // Not a byte of the body is sent, and still there is an answer.
    socket
        .write_all(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 1001\r\n\r\n")
        .await
        .unwrap();
    let mut seen = vec![0; 12];
    socket.read_exact(&mut seen).await.unwrap();
    assert_eq!(seen, b"HTTP/1.1 413");
    let frames =
        (0..3).map(|_| Ok::<_, Infallible>(http_body::Frame::data(Bytes::from_static(&[b' '; 400]))));
    let body = BodyExt::boxed(StreamBody::new(futures_util::stream::iter(frames)));
    let chunked = Request::post("/v1/completions").header("host", "x").body(body).unwrap();
    let got = ask(address, chunked).await;
    assert_eq!(got.error(), (413, "request_too_large".to_owned(), "-".to_owned()));
    assert_eq!(got.header("connection"), "close");
}

#[tokio::test]
async fn large_bodies_share_one_room() {
    let limits = Limits { bodies: 200 << 10, ..Limits::default() };
    let address = serve_with(limits, open_to_all(), Box::new(|_| Ok(bytes("{}")))).await;
    let padded = |kib: usize| format!("{}{}", " ".repeat(kib << 10), CHAT);
    let status =
        async |kib| ask(address, request("POST", "/v1/chat/completions", &[JSON], padded(kib))).await.status;
    assert_eq!(status(150).await, 200);
    assert_eq!(status(150).await, 200, "the room was given back");
    assert_eq!(status(250).await, 503);
    assert_eq!(status(1).await, 200);
}

#[tokio::test]
async fn a_body_that_stops_coming_is_given_up() {
    let limits = Limits { pace: Duration::from_millis(50), ..Limits::default() };
    let address = serve_with(limits, open_to_all(), Box::new(|_| panic!("must not be called"))).await;
    for framing in ["content-length: 100\r\n\r\n{", "transfer-encoding: chunked\r\n\r\n1\r\n{\r\n"] {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let request = format!("POST /v1/completions HTTP/1.1\r\nhost: x\r\n{framing}");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut seen = String::new();
        socket.read_to_string(&mut seen).await.unwrap();
        assert!(seen.starts_with("HTTP/1.1 408") && seen.contains("connection: close"), "{seen}");
    }
}

#[tokio::test]
async fn only_plain_json_is_taken() {
    let address = serve(|_| Ok(bytes("{}"))).await;
    let status = async |name, value| {
        let headers: Vec<_> = Option::into_iter(name).map(|name| (name, value)).collect();
        ask(address, request("POST", "/v1/chat/completions", &headers, CHAT)).await.status
    };
    assert_eq!(status(None, "").await, 200);
    assert_eq!(status(Some("content-type"), "Application/JSON; charset=utf-8").await, 200);
    assert_eq!(status(Some("content-type"), "application/vnd.api+json").await, 200);
    assert_eq!(status(Some("content-type"), "application/x-www-form-urlencoded").await, 415);
    assert_eq!(status(Some("content-type"), "multipart/form-data").await, 415);
    assert_eq!(status(Some("content-encoding"), "gzip").await, 415);
    assert_eq!(status(Some("content-encoding"), "zstd").await, 415);
    assert_eq!(status(Some("content-encoding"), "identity").await, 200);
}

#[tokio::test]
async fn a_body_that_is_no_request_is_an_error_of_the_client() {
    let address = serve(|_| panic!("must not be called")).await;
    for body in ["", "{", "[]", r#"{"messages":[]}"#, r#"{"model":7}"#] {
        let got = post(address, body).await;
        assert_eq!((got.status, got.header("x-should-retry")), (400, "false"), "{body}: {}", got.text);
        assert_eq!(got.header("x-gridtie-call"), "00000000000000fa");
    }
}

#[tokio::test]
async fn who_is_not_known_is_refused_before_the_body_is_read() {
    let auth: Auth = Arc::new(|headers, peer| {
        assert!(peer.address.ip().is_loopback());
        headers.get("authorization").map(|_| TenantId(1)).ok_or(Refusal::Unauthenticated)
    });
    let address = serve_with(Limits::default(), auth, Box::new(|_| Ok(bytes("{}")))).await;
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket
        .write_all(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n")
        .await
        .unwrap();
    let mut seen = vec![0; 12];
    socket.read_exact(&mut seen).await.unwrap();
    assert_eq!(seen, b"HTTP/1.1 401");
    let models = async |headers: &[_]| ask(address, request("GET", "/v1/models", headers, "")).await.status;
    assert_eq!(models(&[]).await, 401);
    assert_eq!(models(&[("authorization", "Bearer k")]).await, 200);
}

#[tokio::test]
async fn unknown_paths_and_methods_say_what_exists() {
    let address = serve(|_| panic!("must not be called")).await;
    let got = ask(address, request("POST", "/chat/completions", &[JSON], CHAT)).await;
    assert_eq!(got.error().0, 404);
    assert!(got.text.contains("Did you mean /v1/chat/completions?"), "{}", got.text);
    let far = ask(address, request("GET", "/", &[], "")).await;
    assert!(far.text.contains("/v1/embeddings"), "{}", far.text);
    let got = ask(address, request("DELETE", "/v1/models/large", &[], "")).await;
    assert_eq!((got.status, got.header("allow")), (405, "GET, HEAD, OPTIONS"));
    let got = ask(address, request("GET", "/v1/chat/completions", &[], "")).await;
    assert_eq!((got.status, got.header("allow")), (405, "POST, OPTIONS"));
    let got = ask(address, request("OPTIONS", "/v1/embeddings", &[], "")).await;
    assert_eq!((got.status, got.header("allow"), got.text.as_str()), (204, "POST, OPTIONS", ""));
    let got = ask(address, request("HEAD", "/v1/models", &[], "")).await;
    assert_eq!((got.status, got.text.as_str()), (200, ""));
    assert_ne!(got.header("content-length"), "0");
}

#[tokio::test]
async fn models_are_listed_with_their_aliases() {
    let address = serve(|_| panic!("must not be called")).await;
    let get = async |path| ask(address, request("GET", path, &[], "")).await;
    let list = get("/v1/models").await.json();
    let ids: Vec<_> = list["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert_eq!((list["object"].as_str(), ids), (Some("list"), vec!["large", "vendor/large", "small"]));
    let large =
        json!({"id": "large", "object": "model", "created": 0, "owned_by": "gridtie", "max_model_len": 8192});
    assert_eq!(get("/v1/models/large").await.json(), large);
    assert_eq!(get("/v1/models/vendor/large").await.json()["id"], "vendor/large");
    assert_eq!(get("/v1/models/vendor%2Flarge").await.json()["id"], "vendor/large");
    let missing = get("/v1/models/smal%0d%0aX:y").await;
    assert_eq!(missing.error(), (404, "model_not_found".to_owned(), "model".to_owned()));
    assert!(get("/v1/models/smal").await.text.contains("Did you mean `small`?"));
}

#[tokio::test]
async fn no_name_can_break_out_of_a_header_or_of_json() {
    const EVIL: &str = "x\r\nset-cookie: a=b\r\n\r\n\"}\u{1b}[31m\u{e9}";
    let address = serve(|inbound| {
        let evil = |name: &str| name.replace("large", EVIL);
        if inbound.model == EVIL {
            return Err(refuse(Refusal::ModelNotFound { model: inbound.model, nearest: None }));
        }
        let head = Head { pool: evil("large").into(), reason: evil("price: large"), ..head() };
        let Answered::Whole { whole, bill, .. } = bytes("{}") else { unreachable!() };
        Ok(Answered::Whole { head, whole, bill })
    })
    .await;
    let got = post(address, CHAT).await;
    assert_eq!(got.header("x-gridtie-pool"), "x??set-cookie: a=b????\"}?[31m?");
    assert!(got.header("x-gridtie-reason").starts_with("price: x??set-cookie"));
    assert_eq!(got.header("set-cookie"), "-");
    let body = json!({"model": EVIL, "messages": [{"role": "user", "content": "hi"}]}).to_string();
    let got = ask(address, request("POST", "/v1/chat/completions", &[JSON], body)).await;
    assert_eq!(got.error().0, 404);
    let message = got.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(!message.contains(char::is_control), "{message}");
}

/// Written apart, the second would wait for the first to be acknowledged wherever Nagle's algorithm is at work.
#[tokio::test]
async fn the_head_and_the_first_event_leave_together() {
    let address = serve(|_| Ok(stream(vec![piece("data: first\n\n"), Out::End(bill())]))).await;
    let mut socket = TcpStream::connect(address).await.unwrap();
    for _ in 0..3 {
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{STREAMED}",
            STREAMED.len()
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut seen = vec![0; 8192];
        let read = socket.read(&mut seen).await.unwrap();
        let seen = String::from_utf8_lossy(&seen[..read]);
        assert!(seen.starts_with("HTTP/1.1 200") && seen.contains("data: first"), "{seen}");
        assert!(seen.ends_with("0\r\n\r\n"), "{seen}");
    }
}

#[tokio::test]
async fn a_bug_costs_one_request() {
    let address =
        serve(|inbound| if inbound.model == "small" { panic!("a bug") } else { Ok(bytes("{}")) }).await;
    let mut client = client(address).await;
    for (model, status) in [("small", 500), ("large", 200)] {
        let body = CHAT.replace("large", model);
        let response =
            client.send_request(request("POST", "/v1/chat/completions", &[JSON], body)).await.unwrap();
        assert_eq!(response.status().as_u16(), status);
        response.into_body().collect().await.unwrap();
    }
}

/// Calls that never end; each gives the test what is dropped with it.
struct Stuck(mpsc::UnboundedSender<oneshot::Receiver<()>>);

impl Calls for Stuck {
    type Relay = Feed;

    async fn call(&self, _: Inbound) -> Result<Answered<Feed>, Refused> {
        let (_held, dropped) = oneshot::channel();
        self.0.send(dropped).unwrap();
        std::future::pending().await
    }

    fn catalog(&self) -> Arc<Catalog> {
        Arc::default()
    }

    fn next_id(&self) -> CallId {
        CallId(0)
    }

    fn wall(&self) -> Timestamp {
        Timestamp::default()
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_ends_its_call() {
    let (calls, mut called) = mpsc::unbounded_channel();
    let face = Face::new(Stuck(calls), open_to_all(), Limits::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (settings, shutdown) = (listen::Settings::default(), listen::Shutdown::new());
    tokio::spawn(listen::serve(listener, settings, shutdown, move |peer| face.connection(peer)));
    for body in [CHAT, STREAMED] {
        let mut over_http1 = client(address).await;
        let asked = tokio::spawn(over_http1.send_request(request("POST", "/v1/chat/completions", &[], body)));
        let dropped = called.recv().await.unwrap();
        asked.abort();
        drop(over_http1);
        assert!(dropped.await.is_err());

        let socket = TcpStream::connect(address).await.unwrap();
        let (mut over_http2, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
        tokio::spawn(connection);
        let path = format!("http://{address}/v1/chat/completions");
        let asked = tokio::spawn(over_http2.send_request(request("POST", &path, &[], body)));
        let dropped = called.recv().await.unwrap();
        // The stream is reset; the connection lives on.
        asked.abort();
        assert!(dropped.await.is_err());
        drop(over_http2);
    }
}

#[tokio::test]
async fn a_body_framed_in_two_ways_carries_one_request_at_most() {
    let address = serve(|_| Ok(bytes("{}"))).await;
    let mut socket = TcpStream::connect(address).await.unwrap();
    let inner = "GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n";
    let outer = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{inner}",
        5 + inner.len()
    );
    socket.write_all(outer.as_bytes()).await.unwrap();
    let mut seen = String::new();
    socket.read_to_string(&mut seen).await.unwrap();
    assert!(!seen.contains("\"object\""), "{seen}");
}
