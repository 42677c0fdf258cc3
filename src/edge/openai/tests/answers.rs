//! What comes back, and what happens to a call whose client leaves.

use super::*;

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
    type Made = fn() -> Out;
    let cases: [(Made, Option<Made>); 3] = [
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
async fn s21_no_name_can_break_out_of_a_header_or_of_json() {
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
async fn k07_a_bug_costs_one_request() {
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
