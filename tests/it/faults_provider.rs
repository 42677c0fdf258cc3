//! Group P of the faults (docs/faults.md) where it takes the whole router: what providers send that is not what was asked.

use std::time::{Duration, Instant};

use gridtie::app::serve::Descent;

use crate::proxy::{Damage, Proxy};
use crate::wire::{
    Act, BASE, Endpoint, Got, JSON, LONG, Running, STOP, WHOLE, ask, chat, chunk, good, last_chunk, pool,
    response, stream_head, token, tokens,
};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// What a call gets where the first pool does this and the second is well, and what the second was asked.
async fn beside_a_well_one(stream: bool, acts: Vec<Act>) -> (Got, usize) {
    let ill = Endpoint::start(move |_| acts.clone()).await;
    let well = Endpoint::start(good).await;
    let config =
        [BASE.to_owned(), pool("ill", "openai", &[ill.origin()]), pool("well", "openai", &[well.origin()])]
            .concat();
    let gridtie = Running::start(&config).await;
    let got = ask(gridtie.http, chat(stream, "hi")).await;
    gridtie.router.all_closed().await;
    (got, well.asked())
}

/// What a call gets where there is nobody else.
async fn alone(stream: bool, acts: Vec<Act>) -> Got {
    let ill = Endpoint::start(move |_| acts.clone()).await;
    let gridtie = Running::start(&format!("{BASE}{}", pool("ill", "openai", &[ill.origin()]))).await;
    ask(gridtie.http, chat(stream, "hi")).await
}

fn tool(delta: &str, finish: &str) -> Act {
    Act::Send(chunk(format!(
        "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"up\",\"choices\":[{{\"index\":0,\
         \"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
    )))
}

#[tokio::test]
async fn p27_arguments_that_are_cut_off_are_no_tool_call() {
    let begins = r#"{"tool_calls":[{"index":0,"id":"t","type":"function","function":{"name":"f","arguments":"{\"a\":"}}]}"#;
    for end in [vec![last_chunk()], vec![Act::Reset], vec![Act::Close]] {
        let acts = [vec![stream_head(), tool(begins, "null")], end].concat();
        let (got, others) = beside_a_well_one(true, acts).await;
        assert!(got.has_error_event() && !got.text.contains("[DONE]"), "{}", got.text);
        assert!(!got.text.contains("\"finish_reason\":\"tool_calls\""), "{}", got.text);
        assert_eq!(others, 0, "half a tool call was handed over: no second one");
    }
}

#[tokio::test]
async fn p22_ids_that_change_and_a_second_beginning_change_no_word() {
    let with_id = |id: &str, text: &str| {
        Act::Send(chunk(token(text).replace("\"id\":\"c\"", &format!("\"id\":\"{id}\""))))
    };
    let role = tool(r#"{"role":"assistant","content":""}"#, "null");
    let acts = vec![
        stream_head(),
        role.clone(),
        with_id("two", "one "),
        with_id("one", "two "),
        role,
        with_id("one", "three"),
        Act::Send(chunk([STOP, "data: [DONE]\n\n"].concat())),
        last_chunk(),
    ];
    let (got, others) = beside_a_well_one(true, acts).await;
    assert!(got.is_done() && others == 0, "{}", got.text);
    let words: String =
        got.text.split("\"content\":\"").skip(1).map(|t| t.split('"').next().unwrap()).collect();
    assert_eq!(words, "one two three");
    assert_eq!(got.text.matches("\"finish_reason\":\"stop\"").count(), 1);
}

#[tokio::test]
async fn p25_answers_that_two_readers_read_differently_are_refused_and_their_connection_closed() {
    let length = WHOLE.len();
    let head = |fields: &str| Act::Send(format!("HTTP/1.1 200 OK\r\n{JSON}{fields}\r\n{WHOLE}").into());
    let bad: Vec<(&str, Vec<Act>)> = vec![
        ("two lengths", vec![head(&format!("content-length: {length}\r\ncontent-length: 5\r\n")), Act::Hold]),
        (
            "length and chunks",
            vec![head(&format!("content-length: {length}\r\ntransfer-encoding: chunked\r\n")), Act::Hold],
        ),
        ("a length too long", vec![head("content-length: 9999\r\n"), Act::Close]),
        ("a length that is none", vec![head("content-length: -1\r\n"), Act::Hold]),
        ("a folded field", vec![head(&format!("x: a\r\n b\r\ncontent-length: {length}\r\n")), Act::Hold]),
        (
            "a hundred and one fields",
            vec![head(&format!("{}content-length: {length}\r\n", "x: y\r\n".repeat(101))), Act::Hold],
        ),
        (
            "64 KiB of head",
            vec![head(&format!("x: {}\r\ncontent-length: {length}\r\n", "y".repeat(65 << 10))), Act::Hold],
        ),
        ("a coding nobody asked for", vec![head("transfer-encoding: gzip, chunked\r\n"), Act::Hold]),
    ];
    for (name, acts) in bad {
        let got = alone(false, acts.clone()).await;
        assert_eq!((got.status, got.header("x-should-retry")), (502, "false"), "{name}: {}", got.text);
        let ill = Endpoint::start(move |_| acts.clone()).await;
        let well = Endpoint::start(good).await;
        let config = [
            BASE.to_owned(),
            pool("ill", "openai", &[ill.origin()]),
            pool("well", "openai", &[well.origin()]),
        ]
        .concat();
        let gridtie = Running::start(&config).await;
        for _ in 0..2 {
            let got = ask(gridtie.http, chat(false, "hi")).await;
            assert_eq!((got.status, got.header("x-gridtie-pool")), (200, "well"), "{name}: {}", got.text);
        }
        assert_eq!((ill.asked(), ill.connections()), (2, 2), "{name}: its connection was used again");
    }
    // Too short: what is left over is nobody's answer.
    let short = vec![Act::Send(format!("HTTP/1.1 200 OK\r\n{JSON}content-length: 20\r\n\r\n{WHOLE}").into())];
    assert_eq!(alone(false, short).await.status, 502);
}

#[tokio::test]
async fn p26_a_redirect_is_not_followed_and_an_answer_without_content_is_none() {
    let elsewhere = Endpoint::start(good).await;
    for status in ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let location = format!("location: {}/v1/chat/completions\r\n", elsewhere.origin());
        for stream in [false, true] {
            let got = alone(stream, vec![response(status, &location, "")]).await;
            assert_eq!(got.status, 502, "{status}: {}", got.text);
        }
    }
    assert_eq!(elsewhere.connections(), 0, "the key would have gone along");
    let got = alone(false, vec![Act::Send("HTTP/1.1 204 No Content\r\n\r\n".into())]).await;
    assert_eq!(got.status, 502);
    let early = Act::Send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n".into());
    let got = alone(false, vec![early, response("200 OK", JSON, WHOLE)]).await;
    assert_eq!(got.status, 200, "{}", got.text);
}

#[tokio::test]
async fn p24_an_answer_that_is_packed_is_never_unpacked() {
    let bomb = vec![0_u8; 4096];
    for coding in ["gzip", "br", "zstd", "deflate", "gzip, gzip"] {
        for (stream, kind) in [(false, JSON), (true, "content-type: text/event-stream\r\n")] {
            let fields = format!("{kind}content-encoding: {coding}\r\n");
            let got = alone(stream, vec![response("200 OK", &fields, &bomb)]).await;
            assert_eq!(got.status, 502, "{coding}: {}", got.text);
        }
    }
}

#[tokio::test]
async fn p18_a_stalled_stream_is_broken_and_its_upstream_hears_of_it() {
    let endpoint = Endpoint::start(|_| tokens("word", 1_000, ms(1))).await;
    let proxy = Proxy::before(endpoint.address, Damage::StallAfter(4_000)).await;
    let base = BASE.replace("short_wait", "idle = \"300ms\"\nshort_wait");
    let gridtie = Running::start_with(
        &format!("{base}{}", pool("p", "openai", &[proxy.origin()])),
        |_| (),
        Descent { lame_duck: Duration::ZERO, grace: LONG },
    )
    .await;
    let asked = Instant::now();
    let got = ask(gridtie.http, chat(true, "hi")).await;
    assert!(got.has_error_event() && got.text.contains("(stalled)") && got.tokens() > 5, "{}", got.text);
    assert!(asked.elapsed() < ms(2_000), "{:?}", asked.elapsed());
    endpoint.was_hung_up_on(1).await;
}

#[tokio::test]
async fn p10_a_page_about_a_body_too_large_becomes_json() {
    let page = "<html><h1>413 Request Entity Too Large</h1></html>";
    let got =
        alone(false, vec![response("413 Payload Too Large", "content-type: text/html\r\n", page)]).await;
    assert_eq!((got.status, got.header("x-should-retry")), (413, "false"), "{}", got.text);
    assert!(got.text.starts_with("{\"error\":{") && !got.text.contains("<html>"), "{}", got.text);
}
