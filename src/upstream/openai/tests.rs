mod beside;
mod fake;
mod reuse;

use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use self::fake::{Act, Fake};
use super::*;
use crate::dialect::openai::decode_request;
use crate::domain::{
    Address, Answer, AskKind, AttemptNo, Body, CallId, Delta, FinishReason, Request, UsageSource,
};
use crate::upstream::{Onward, Whole};
use crate::upstream::{PieceBody, Pieces, WholeBody};

fn settings() -> Settings {
    Settings { allow_private: true, key: Some("sk-canary-1".to_owned().into()), ..Settings::default() }
}

fn attempt(origin: &str, stream: bool) -> Attempt {
    let body = format!(
        r#"{{"model":"mine","stream":{stream},"messages":[{{"role":"user","content":"hi"}}],"x":1}}"#
    );
    Attempt {
        call: CallId(1),
        no: AttemptNo(0),
        request: Arc::new(Request {
            kind: AskKind::Chat,
            stream,
            stream_usage: true,
            body: Body::OpenAi(body.into()),
            input_tokens: 5,
            forward: vec![("traceparent", "00-1-2-01".to_owned())],
        }),
        upstream_model: Arc::from("theirs"),
        client_model: Arc::from("mine"),
        address: Arc::new(Address { origin: Arc::from(origin), socket: None }),
        timeout: Duration::from_secs(9),
        onward: Onward::default(),
    }
}

async fn call(settings: &Settings, attempt: Attempt) -> Result<Reply, Failure> {
    OpenAi::new(settings).unwrap().call(attempt).await
}

async fn fails(acts: Vec<Act>, stream: bool) -> Failure {
    let fake = Fake::new(acts).await;
    let reply = call(&settings(), attempt(&fake.origin(), stream)).await;
    match reply {
        Err(failure) => failure,
        Ok(Reply::Stream(pieces)) => drain(pieces).await.1.unwrap_err(),
        Ok(Reply::Whole(whole)) => panic!("{whole:?}"),
    }
}

/// All bytes of a stream, and how it ended.
async fn drain(mut pieces: Pieces) -> (String, Result<(), Failure>) {
    let mut text = String::new();
    while let Some(piece) = pieces.0.next().await {
        match piece {
            Ok(piece) => match piece.body {
                PieceBody::Bytes(bytes) => text.push_str(std::str::from_utf8(&bytes).unwrap()),
                PieceBody::Canonical(deltas) => text.push_str(&format!("{deltas:?}")),
            },
            Err(failure) => {
                assert!(pieces.0.next().await.is_none(), "nothing follows a failure");
                return (text, Err(failure));
            }
        }
    }
    (text, Ok(()))
}

async fn stream_of(settings: &Settings, attempt: Attempt) -> Pieces {
    match call(settings, attempt).await {
        Ok(Reply::Stream(pieces)) => pieces,
        other => panic!("{other:?}"),
    }
}

fn send(text: &str) -> Act {
    Act::Send(text.to_owned())
}

fn answer(status: &str, headers: &str, body: &str) -> Act {
    let length = body.len();
    Act::Send(format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}"))
}

const JSON: &str = "content-type: application/json\r\n";
const SSE: &str = "content-type: text/event-stream; charset=utf-8\r\n";
const WHOLE: &str = r#"{"id":"x","model":"theirs","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2},"z":[1.0]}"#;
const TEXT: &str = "data: {\"model\":\"theirs\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":null}]}\n\n";
const STOP: &str =
    "data: {\"model\":\"theirs\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const USAGE: &str =
    "data: {\"model\":\"theirs\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n";
const END: &str = "data: [DONE]\n\n";

/// The head of a stream that ends with its connection.
fn open() -> Act {
    Act::Send(format!("HTTP/1.1 200 OK\r\n{SSE}connection: close\r\n\r\n"))
}

fn mine(text: &str) -> String {
    text.replace("theirs", "mine")
}

#[tokio::test]
async fn p24_a_stream_is_relayed_and_only_our_headers_go_out() {
    let body = [TEXT, STOP, USAGE, END].concat();
    let fake = Fake::new(vec![answer("200 OK", SSE, &body)]).await;
    let pieces = stream_of(&settings(), attempt(&fake.origin(), true)).await;
    let (text, end) = drain(pieces).await;
    assert_eq!((text, end), (mine(&body), Ok(())));
    let request = fake.seen().remove(0);
    let (head, sent) = request.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<&str> = head.lines().collect();
    assert_eq!(lines.remove(0), "POST /v1/chat/completions HTTP/1.1");
    lines.sort_unstable();
    let host = format!("host: {}", fake.socket);
    let length = format!("content-length: {}", sent.len());
    let agent = format!("user-agent: gridtie/{}", env!("CARGO_PKG_VERSION"));
    let mut expected = vec![
        "accept: text/event-stream",
        "accept-encoding: identity",
        "authorization: Bearer sk-canary-1",
        &length,
        "content-type: application/json",
        &host,
        "traceparent: 00-1-2-01",
        &agent,
    ];
    expected.sort_unstable();
    assert_eq!(lines, expected);
    assert_eq!(
        sent,
        r#"{"model":"theirs","stream":true,"messages":[{"role":"user","content":"hi"}],"x":1,"stream_options":{"include_usage":true}}"#
    );
}

#[tokio::test]
async fn a_whole_answer_keeps_its_bytes_but_for_the_model() {
    let fake = Fake::new(vec![answer("200 OK", JSON, WHOLE), Act::Hold]).await;
    let reply = call(&settings(), attempt(&fake.origin(), false)).await;
    let Ok(Reply::Whole(whole)) = reply else { panic!("{reply:?}") };
    let WholeBody::Bytes(bytes) = whole.body else { panic!("bytes in, bytes out") };
    assert_eq!(bytes, mine(WHOLE));
    assert_eq!((whole.usage.output, whole.usage.source), (2, UsageSource::Reported));
}

#[tokio::test]
async fn a_canonical_request_is_written_and_its_answer_read() {
    let ask =
        decode_request(AskKind::Chat, br#"{"messages":[{"role":"user","content":"hi"}],"max_tokens":7}"#)
            .unwrap();
    let canonical = |origin: &str, stream| {
        let plain = attempt(origin, stream);
        let request = Request { body: Body::Canonical(Box::new(ask.clone())), ..(*plain.request).clone() };
        Attempt { request: Arc::new(request), ..plain }
    };
    let settings = Settings { flavour: Flavour::OpenAi, ..settings() };
    let fake = Fake::new(vec![answer("200 OK", JSON, WHOLE)]).await;
    let reply = call(&settings, canonical(&fake.origin(), false)).await.unwrap();
    let Reply::Whole(Whole { body: WholeBody::Canonical(Answer::Generated(said)), .. }) = reply else {
        panic!("canonical in, canonical out")
    };
    assert_eq!(said.choices[0].finish, FinishReason::Stop);
    assert!(fake.seen()[0].contains(r#""max_completion_tokens":7"#));
    let fake = Fake::new(vec![answer("200 OK", SSE, &[TEXT, STOP, USAGE, END].concat())]).await;
    let mut pieces = stream_of(&settings, canonical(&fake.origin(), true)).await;
    let first = pieces.0.next().await.unwrap().unwrap();
    let PieceBody::Canonical(deltas) = first.body else { panic!("canonical in, canonical out") };
    assert!(matches!(&deltas[..], [Delta::Text { .. }, Delta::Finish { .. }]));
    assert_eq!((first.content_events, first.usage.unwrap().input), (1, 3));
    assert!(pieces.0.next().await.is_none());
}

#[tokio::test]
async fn a_refused_connection_is_unprocessed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let failure = call(&settings(), attempt(&origin, true)).await.unwrap_err();
    assert_eq!((failure.kind, failure.unprocessed), (FailureKind::Connect, true));
}

#[tokio::test]
async fn s13_forbidden_addresses_are_refused_where_they_are_dialled() {
    let fake = Fake::new(vec![]).await;
    let public_only = Settings { allow_private: false, ..settings() };
    let failure = call(&public_only, attempt(&fake.origin(), true)).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Connect);
    // A name from the config that resolves to such an address is no better.
    let named = format!("http://localhost:{}", fake.socket.port());
    assert_eq!(call(&public_only, attempt(&named, true)).await.unwrap_err().kind, FailureKind::Connect);
    let metadata = attempt("http://169.254.169.254", true);
    let failure = call(&settings(), metadata).await.unwrap_err();
    assert!(failure.message.contains("may have"), "{}", failure.message);
    assert_eq!(*fake.connections.lock().unwrap(), 0);
}

#[tokio::test]
async fn what_is_not_an_address_is_a_connect_failure() {
    for origin in ["", "nowhere", "ftp://x", "http://user@x", "/path"] {
        let failure = call(&settings(), attempt(origin, true)).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Connect, "{origin}");
    }
}

#[tokio::test]
async fn n06_a_connection_that_breaks_is_told_from_a_stream_that_ends_early() {
    let chunk = |text: &str| send(&format!("{:x}\r\n{text}\r\n", text.len()));
    let chunked = send(&format!("HTTP/1.1 200 OK\r\n{SSE}transfer-encoding: chunked\r\n\r\n"));
    for (acts, kind) in [
        (vec![Act::Reset], FailureKind::Disconnected),
        (vec![], FailureKind::Disconnected),
        (vec![chunked.clone(), chunk(TEXT), send("5\r\nab")], FailureKind::Disconnected),
        (vec![chunked.clone(), chunk(TEXT), Act::Reset], FailureKind::Disconnected),
        (vec![chunked, chunk(TEXT), send("0\r\n\r\n")], FailureKind::Truncated),
        (vec![open(), send(TEXT)], FailureKind::Truncated),
        (vec![open()], FailureKind::Truncated),
        (vec![open(), send(END)], FailureKind::Truncated),
    ] {
        let failure = fails(acts, true).await;
        assert_eq!((failure.kind, failure.unprocessed), (kind, false), "{}", failure.message);
    }
    let cut = send(&format!("HTTP/1.1 200 OK\r\n{JSON}content-length: 999\r\n\r\n{WHOLE}"));
    assert_eq!(fails(vec![cut], false).await.kind, FailureKind::Disconnected);
}

#[tokio::test]
async fn p28_events_that_are_kept_back_are_counted() {
    let fake = Fake::new(vec![open(), send(&[TEXT, "data: {nonsense\n\n", STOP, TEXT, END].concat())]).await;
    let openai = OpenAi::new(&settings()).unwrap();
    let Ok(Reply::Stream(pieces)) = openai.call(attempt(&fake.origin(), true)).await else {
        panic!("no stream")
    };
    assert!(drain(pieces).await.1.is_ok());
    assert_eq!(openai.dropped(), Dropped { unreadable: 1, late: 1 });
}

#[tokio::test]
async fn content_before_a_break_is_handed_on_first() {
    let fake = Fake::new(vec![open(), send(TEXT)]).await;
    let (text, end) = drain(stream_of(&settings(), attempt(&fake.origin(), true)).await).await;
    assert_eq!((text, end.unwrap_err().kind), (mine(TEXT), FailureKind::Truncated));
}

#[tokio::test]
async fn p11_p12_answers_of_the_wrong_kind_never_pass() {
    let html = "content-type: text/html\r\n";
    let gzip = format!("{JSON}content-encoding: gzip\r\n");
    let smuggled = format!("{JSON}transfer-encoding: chunked\r\n");
    let error = r#"{"error":{"code":429,"message":"slow down"}}"#;
    for (act, stream, kind) in [
        (answer("200 OK", html, "<html>"), true, FailureKind::BadResponse),
        (answer("200 OK", html, "<html>"), false, FailureKind::BadResponse),
        (answer("200 OK", "", TEXT), true, FailureKind::BadResponse),
        (answer("200 OK", JSON, WHOLE), true, FailureKind::BadResponse),
        (answer("200 OK", JSON, error), true, FailureKind::RateLimited),
        (answer("200 OK", JSON, error), false, FailureKind::RateLimited),
        (answer("200 OK", JSON, "{}"), false, FailureKind::BadResponse),
        (answer("200 OK", SSE, TEXT), false, FailureKind::BadResponse),
        (answer("200 OK", &gzip, WHOLE), false, FailureKind::BadResponse),
        (answer("204 No Content", JSON, ""), false, FailureKind::BadResponse),
        (answer("200 OK", &smuggled, "0\r\n\r\n"), false, FailureKind::BadResponse),
        (answer("301 Moved", "location: http://127.0.0.1:1/\r\n", ""), true, FailureKind::BadResponse),
        (send("220 smtp.example.com\r\n"), true, FailureKind::BadResponse),
        (answer("200 OK", &format!("x: {}\r\n", "y".repeat(70_000)), ""), true, FailureKind::BadResponse),
        (answer("200 OK", &"x: y\r\n".repeat(101), ""), true, FailureKind::BadResponse),
    ] {
        let Act::Send(text) = &act else { panic!("it sends") };
        let shown = text[..text.len().min(80)].to_owned();
        assert_eq!(fails(vec![act], stream).await.kind, kind, "{shown}");
    }
}

#[tokio::test]
async fn errors_carry_their_class_their_wait_and_a_clients_mistake_its_words() {
    let limited = format!("{JSON}retry-after: 7\r\n");
    let failure = fails(vec![answer("429 Too Many", &limited, "{}")], true).await;
    assert_eq!((failure.kind, failure.status), (FailureKind::RateLimited, Some(429)));
    assert_eq!(failure.retry_after, Some(Duration::from_secs(7)));
    let reset = format!("{JSON}x-ratelimit-reset-tokens: 1m6.5s\r\n");
    let failure = fails(vec![answer("429 Too Many", &reset, "{}")], false).await;
    assert_eq!(failure.retry_after, Some(Duration::from_millis(66_500)));
    let body =
        r#"{"error":{"message":"n must be 1","type":"invalid_request_error","param":"n","code":null}}"#;
    let failure = fails(vec![answer("400 Bad", JSON, body)], true).await;
    assert_eq!((failure.kind, failure.retry_after), (FailureKind::BadRequest, None));
    assert_eq!(failure.detail.unwrap().raw.as_deref(), Some(body.as_bytes()));
    let endless =
        format!("HTTP/1.1 503 Busy\r\nretry-after: 2\r\nconnection: close\r\n\r\n{}", "x".repeat(200_000));
    let failure = fails(vec![send(&endless), Act::Hold], true).await;
    assert_eq!((failure.kind, failure.retry_after), (FailureKind::Overloaded, Some(Duration::from_secs(2))));
    let leak = r#"{"error":{"message":"Incorrect API key provided: sk-canary-1"}}"#;
    let failure = fails(vec![answer("401 No", JSON, leak)], true).await;
    assert_eq!(failure.kind, FailureKind::Credentials);
    assert!(!format!("{failure:?}").contains("canary"));
}

#[tokio::test]
async fn p26_interim_responses_are_skipped() {
    let body = [TEXT, STOP, END].concat();
    let early = send("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n");
    let fake = Fake::new(vec![early, answer("200 OK", SSE, &body)]).await;
    let (_, end) = drain(stream_of(&settings(), attempt(&fake.origin(), true)).await).await;
    assert_eq!(end, Ok(()));
}

#[tokio::test]
async fn p17_a_whole_stream_without_done_is_ended_for_it_even_if_the_connection_stays_open() {
    for last in [Act::Hold, send(": ka\n\n")] {
        let fake = Fake::new(vec![open(), send(TEXT), send(STOP), send(USAGE), last, Act::Hold]).await;
        let (text, end) = drain(stream_of(&settings(), attempt(&fake.origin(), true)).await).await;
        assert_eq!(text.replace(": ka\n\n", ""), mine(&[TEXT, STOP, USAGE, END].concat()));
        assert_eq!(end, Ok(()));
    }
}

#[tokio::test]
async fn b16_a_stream_ends_at_done_even_if_the_connection_does_not() {
    let fake = Fake::new(vec![open(), send(&[TEXT, STOP, END].concat()), Act::Hold]).await;
    let (_, end) = drain(stream_of(&settings(), attempt(&fake.origin(), true)).await).await;
    assert_eq!(end, Ok(()));
    fake.hung_up.notified().await;
}

#[tokio::test]
async fn dropping_a_stream_hangs_up() {
    let fake = Fake::new(vec![open(), send(TEXT), Act::Hold]).await;
    let mut pieces = stream_of(&settings(), attempt(&fake.origin(), true)).await;
    assert!(pieces.0.next().await.unwrap().is_ok());
    drop(pieces);
    fake.hung_up.notified().await;
}

#[tokio::test]
async fn a_connection_is_used_again_and_a_stale_one_is_not_a_failure() {
    let whole = answer("200 OK", JSON, WHOLE);
    let fake = Fake::new(vec![whole.clone(), Act::Again, whole]).await;
    let upstream = OpenAi::new(&settings()).unwrap();
    for _ in 0..2 {
        assert!(upstream.call(attempt(&fake.origin(), false)).await.is_ok());
    }
    assert_eq!(*fake.connections.lock().unwrap(), 1);
    // The third finds the connection closed and takes a new one, or loses the race and says what it saw.
    if let Err(failure) = upstream.call(attempt(&fake.origin(), false)).await {
        assert_eq!(failure.kind, FailureKind::Disconnected);
    }
}

#[tokio::test]
async fn two_streams_have_two_connections() {
    let fake = Fake::new(vec![open(), send(TEXT), Act::Hold]).await;
    let upstream = OpenAi::new(&settings()).unwrap();
    let mut kept = Vec::new();
    for _ in 0..2 {
        let Ok(Reply::Stream(mut pieces)) = upstream.call(attempt(&fake.origin(), true)).await else {
            panic!("a stream")
        };
        assert!(pieces.0.next().await.unwrap().is_ok());
        kept.push(pieces);
    }
    assert_eq!(*fake.connections.lock().unwrap(), 2);
}

#[tokio::test]
async fn a_pinned_address_is_dialled_and_the_origin_stays_the_host() {
    let one = Fake::new(vec![answer("200 OK", JSON, WHOLE), Act::Hold]).await;
    let two = Fake::new(vec![answer("200 OK", JSON, WHOLE), Act::Hold]).await;
    let upstream = OpenAi::new(&settings()).unwrap();
    for fake in [&one, &two] {
        let mut attempt = attempt("http://api.example.invalid:81", false);
        attempt.address =
            Arc::new(Address { origin: Arc::clone(&attempt.address.origin), socket: Some(fake.socket) });
        assert!(upstream.call(attempt).await.is_ok());
        assert!(fake.seen()[0].contains("host: api.example.invalid:81\r\n"));
        assert_eq!(fake.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_proxy_gets_the_whole_uri_or_a_connect() {
    let fake = Fake::new(vec![answer("200 OK", JSON, WHOLE), Act::Hold]).await;
    let settings = Settings { proxy: Some(fake.origin()), allow_private: false, ..settings() };
    assert!(call(&settings, attempt("http://api.example.invalid", false)).await.is_ok());
    assert!(fake.seen()[0].starts_with("POST http://api.example.invalid/v1/chat/completions HTTP/1.1\r\n"));
    let fake = Fake::new(vec![answer("403 No", "", "")]).await;
    let settings = Settings { proxy: Some(fake.origin()), ..settings };
    let failure = call(&settings, attempt("https://api.example.invalid", false)).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Connect);
    let connect = fake.seen().remove(0);
    assert!(connect.starts_with("CONNECT api.example.invalid:443 HTTP/1.1\r\n"), "{connect}");
    assert!(!connect.contains("canary"));
}

/// A private CA, and an acceptor with a certificate of it for `name`.
fn authority(name: &str) -> (String, tokio_rustls::TlsAcceptor) {
    authority_of_years(name, 2020, 4000)
}

/// The same, with a certificate from one year to another.
fn authority_of_years(name: &str, from: i32, to: i32) -> (String, tokio_rustls::TlsAcceptor) {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut leaf = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    leaf.not_before = rcgen::date_time_ymd(from, 1, 1);
    leaf.not_after = rcgen::date_time_ymd(to, 1, 1);
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![leaf.der().clone()],
                rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .unwrap();
    (ca_pem, tokio_rustls::TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test]
async fn n11_certificates_are_checked_against_the_roots_and_the_name() {
    let (ca_pem, acceptor) = authority("pool.internal");
    let (other_pem, _) = authority("pool.internal");
    let fake = Fake::with(vec![answer("200 OK", JSON, WHOLE)], Some(acceptor)).await;
    let secure = |origin: &str| {
        let plain = attempt(origin, false);
        let address = Address { origin: Arc::clone(&plain.address.origin), socket: Some(fake.socket) };
        Attempt { address: Arc::new(address), ..plain }
    };
    let trusting = |pem: &str| Settings { ca_pem: Some(pem.to_owned()), ..settings() };
    assert!(call(&trusting(&ca_pem), secure("https://pool.internal")).await.is_ok());
    for (pem, origin) in [
        (Some(&other_pem), "https://pool.internal"),
        (Some(&ca_pem), "https://other.internal"),
        (None, "https://pool.internal"),
    ] {
        let settings = pem.map_or_else(settings, |p| trusting(p));
        let failure = call(&settings, secure(origin)).await.unwrap_err();
        assert_eq!((failure.kind, failure.unprocessed), (FailureKind::Tls, true), "{}", failure.message);
    }
    assert_eq!(fake.seen().len(), 1, "no request, and no key, went to a stranger");
}

#[tokio::test]
async fn t05_n11_a_certificate_that_is_over_or_has_not_begun_is_refused_and_named() {
    for (from, to, says) in [(2019, 2020, "expired"), (3000, 4000, "not valid yet")] {
        let (ca_pem, acceptor) = authority_of_years("pool.internal", from, to);
        let fake = Fake::with(vec![answer("200 OK", JSON, WHOLE)], Some(acceptor)).await;
        let plain = attempt("https://pool.internal", false);
        let address = Address { origin: Arc::clone(&plain.address.origin), socket: Some(fake.socket) };
        let settings = Settings { ca_pem: Some(ca_pem), ..settings() };
        let failure = call(&settings, Attempt { address: Arc::new(address), ..plain }).await.unwrap_err();
        assert_eq!((failure.kind, failure.unprocessed), (FailureKind::Tls, true));
        assert!(
            failure.message.contains("pool.internal") && failure.message.contains(says),
            "{}",
            failure.message
        );
        assert!(fake.seen().is_empty(), "no request, and no key, without TLS");
    }
}

#[tokio::test]
async fn n12_a_handshake_that_stalls_or_is_not_one_is_a_tls_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("https://{}", listener.local_addr().unwrap());
    let impatient = Settings { handshake_timeout: Duration::from_millis(20), ..settings() };
    let failure = call(&impatient, attempt(&origin, false)).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Tls);
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let _: Result<(), _> = TcpStream::write_all(&mut tcp, b"HTTP/1.1 400 Bad\r\n\r\n").await;
        }
    });
    assert_eq!(call(&settings(), attempt(&origin, false)).await.unwrap_err().kind, FailureKind::Tls);
}

#[test]
fn s15_keys_are_never_shown() {
    let settings = settings();
    assert!(!format!("{settings:?}").contains("canary"));
    assert!(!format!("{:?}", OpenAi::new(&settings).unwrap()).contains("canary"));
    let header = key_header(Auth::Bearer, settings.key.as_ref().unwrap()).unwrap();
    assert!(!format!("{header:?}").contains("canary"));
}

#[test]
fn settings_that_cannot_work_are_refused() {
    for bad in [
        Settings { key: Some("a\nb".to_owned().into()), ..Settings::default() },
        Settings { key: Some(String::new().into()), ..Settings::default() },
        Settings { base_path: Some("v1".to_owned()), ..Settings::default() },
        Settings { base_path: Some("/a b".to_owned()), ..Settings::default() },
        Settings { proxy: Some("proxy".to_owned()), ..Settings::default() },
        Settings { ca_pem: Some("nothing".to_owned()), ..Settings::default() },
    ] {
        assert!(OpenAi::new(&bad).is_err(), "{bad:?}");
    }
}

#[test]
fn flavours_have_their_own_paths_and_keys() {
    for (flavour, name) in Flavour::NAMES {
        assert_eq!(Flavour::by_name(name), Some(flavour));
        assert!(flavour.base_path().starts_with('/'));
    }
    assert_eq!((Flavour::Azure.base_path(), Flavour::Azure.auth()), ("/openai/v1", Auth::ApiKey));
}
