//! What is taken, and what is refused before there is a call.

use super::*;
use crate::edge::room::Rooms;

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
async fn the_sdks_read_timeout_is_a_pause_and_no_deadline_where_the_answer_streams() {
    let address = serve(|inbound| {
        let said = inbound.timeout.map_or(0, |t| t.as_millis());
        Ok(whole(WholeBody::Bytes(said.to_string().into())))
    })
    .await;

    let sdk = ("x-stainless-read-timeout", "20");
    let got = ask(address, request("POST", "/v1/chat/completions", &[sdk], STREAMED)).await;
    assert_eq!((got.status, got.text.as_str()), (200, "0"));
    let headers = [sdk, ("x-gridtie-timeout-ms", "2500")];
    let got = ask(address, request("POST", "/v1/chat/completions", &headers, STREAMED)).await;
    assert_eq!((got.status, got.text.as_str()), (200, "2500"));
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
async fn s07_a_body_beyond_the_limit_is_refused_by_its_length_or_as_it_comes() {
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
async fn bodies_share_one_room() {
    let limits = Limits { bodies: Rooms::new(200 << 10), ..Limits::default() };
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
async fn s06_a_body_that_stops_coming_is_given_up() {
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
async fn s07_only_plain_json_is_taken() {
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
async fn s07_who_is_not_known_is_refused_before_the_body_is_read() {
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
async fn s09_a_body_framed_in_two_ways_carries_one_request_at_most() {
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
