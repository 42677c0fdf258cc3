//! Endpoints and pools are lost, over real sockets: whatever can be tried elsewhere is, and nothing ends in silence.

use std::time::Duration;

use futures_util::future::join_all;

use crate::wire::{
    Act, Asked, BASE, Endpoint, Got, JSON, Running, WHOLE, ask, chat, chunk, good, last_chunk, pool,
    response, stream_head, token, tokens, whole,
};

/// Callers at once. Each has a connection in and one out, with both ends in this process: 800 sockets.
const CALLERS: usize = 200;
/// Calls of each.
const CALLS: usize = 3;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Takes long enough that a loss finds many calls under way.
fn slowly(asked: &Asked) -> Vec<Act> {
    match asked.streams() {
        true => tokens("hello", 20, ms(15)),
        false => vec![Act::Pause(ms(150)), whole()],
    }
}

/// A router that gives up on a hung engine before a test gets long.
fn impatient() -> String {
    BASE.replace("short_wait", "first_token_min = \"150ms\"\nidle = \"1s\"\nshort_wait")
}

fn check(got: &Got, stream: bool) {
    assert_eq!(got.status, 200, "{}", got.text);
    if !stream {
        assert_eq!(got.text, WHOLE.replace("\"up\"", "\"chat\""));
    } else if got.is_done() {
        assert_eq!(got.tokens(), 20, "tokens are missing from a stream that looks whole");
    } else {
        assert!(got.has_error_event(), "a stream ended in silence: {}", got.text);
        assert!(!got.text.contains("[DONE]"), "a broken stream looks whole: {}", got.text);
    }
}

#[tokio::test]
async fn b01_the_loss_of_an_endpoint_and_then_of_its_pool_fails_no_call_and_silences_no_stream() {
    let a = Endpoint::start(slowly).await;
    let b = Endpoint::start(slowly).await;
    let c = Endpoint::start(slowly).await;
    let config = [
        BASE.to_owned(),
        pool("first", "openai", &[a.origin(), b.origin()]),
        pool("second", "openai", &[c.origin()]),
    ];
    let gridtie = Running::start(&config.concat()).await;
    let callers = (0..CALLERS).map(|caller| {
        let stream = caller % 2 == 1;
        async move {
            let mut all = Vec::new();
            for _ in 0..CALLS {
                let got = ask(gridtie.http, chat(stream, "hi")).await;
                check(&got, stream);
                all.push(got);
            }
            all
        }
    });
    let losses = async {
        // Half of the callers' first streams are under way, some of them committed.
        a.has_written(50_000).await;
        a.kill();
        let so_far = b.written();
        b.has_written(so_far + 100_000).await;
        b.kill();
    };
    let (all, ()) = tokio::join!(join_all(callers), losses);
    let all: Vec<Got> = all.into_iter().flatten().collect();
    let moved = all.iter().filter(|got| got.attempts() > 1).count();
    let broken = all.iter().filter(|got| got.has_error_event()).count();
    eprintln!("{} calls, {moved} tried elsewhere, {broken} streams broken and told so", all.len());
    assert_eq!(all.len(), CALLERS * CALLS);
    assert!(moved > 0 && broken > 0, "nothing was under way when the endpoints were lost");
    assert!(c.asked() > 0);
    assert_eq!(all.last().unwrap().header("x-gridtie-pool"), "second");
    gridtie.router.all_closed().await;
}

type Fault = (&'static str, fn(&Asked) -> Vec<Act>);

/// What may go wrong before the first content, for a unary call and for a stream.
fn faults() -> Vec<Fault> {
    vec![
        ("hung", |_| vec![Act::Hold]),
        ("reset", |_| vec![Act::Reset]),
        ("closed without a word", |_| vec![Act::Close]),
        ("rate limited", |_| {
            vec![response(
                "429 Too Many Requests",
                "retry-after: 30\r\n",
                r#"{"error":{"message":"slow down"}}"#,
            )]
        }),
        ("error", |_| vec![response("500 Internal Server Error", JSON, "{}")]),
        ("page of a proxy", |_| vec![response("200 OK", "content-type: text/html\r\n", "<html></html>")]),
        ("cut", |asked| match asked.streams() {
            true => vec![stream_head(), Act::Send(chunk(token(""))), last_chunk()],
            false => {
                let half = format!("HTTP/1.1 200 OK\r\n{JSON}content-length: {}\r\n\r\n", WHOLE.len());
                vec![Act::Send(half.into()), Act::Send(WHOLE[..40].into()), Act::Close]
            }
        }),
        ("hung after its head", |asked| match asked.streams() {
            true => vec![stream_head(), Act::Send(chunk(token(""))), Act::Hold],
            false => vec![
                Act::Send(format!("HTTP/1.1 200 OK\r\n{JSON}content-length: 9\r\n\r\n").into()),
                Act::Hold,
            ],
        }),
        ("error in the stream", |asked| match asked.streams() {
            true => vec![
                stream_head(),
                Act::Send(chunk("data: {\"error\":{\"message\":\"no\",\"code\":500}}\n\n")),
                Act::Close,
            ],
            false => vec![response("200 OK", JSON, r#"{"error":{"message":"no","code":500}}"#)],
        }),
        ("nonsense", |_| vec![Act::Send("220 smtp.example.com\r\n".into()), Act::Close]),
    ]
}

#[tokio::test]
async fn p13_a_fault_before_the_first_content_is_not_noticed() {
    for (name, fault) in faults() {
        let ill = Endpoint::start(fault).await;
        let well = Endpoint::start(good).await;
        let config =
            [impatient(), pool("ill", "openai", &[ill.origin()]), pool("well", "openai", &[well.origin()])];
        let gridtie = Running::start(&config.concat()).await;
        for stream in [false, true] {
            let got = ask(gridtie.http, chat(stream, "hi")).await;
            assert_eq!(got.status, 200, "{name}: {}", got.text);
            assert_eq!(got.header("x-gridtie-pool"), "well", "{name}");
            assert!(!stream || got.is_done(), "{name}: {}", got.text);
            // A limit is remembered, so that the second call does not run into it.
            let expected = if name == "rate limited" && stream { 1 } else { 2 };
            assert_eq!(got.attempts(), expected, "{name}, stream: {stream}");
        }
        gridtie.router.all_closed().await;
    }
}

#[tokio::test]
async fn p14_a_fault_after_the_first_content_is_told_and_not_tried_again() {
    let faults: Vec<(&str, Vec<Act>)> = vec![
        ("reset", vec![Act::Reset]),
        ("cut in order", vec![last_chunk()]),
        ("done without an end", vec![Act::Close]),
        (
            "error",
            vec![Act::Send(chunk("data: {\"error\":{\"message\":\"no\",\"code\":500}}\n\n")), Act::Hold],
        ),
        ("nonsense", vec![Act::Send(chunk("data: {]\n\ndata: {]\n\ndata: {]\n\n")), Act::Hold]),
        ("silence", vec![Act::Hold]),
    ];
    for (name, fault) in faults {
        let script = [vec![stream_head(), Act::Send(chunk(token("one")))], fault].concat();
        let ill = Endpoint::start(move |_| script.clone()).await;
        let well = Endpoint::start(good).await;
        let config =
            [impatient(), pool("ill", "openai", &[ill.origin()]), pool("well", "openai", &[well.origin()])];
        let gridtie = Running::start(&config.concat()).await;
        let got = ask(gridtie.http, chat(true, "hi")).await;
        assert_eq!((got.status, got.attempts(), got.tokens()), (200, 1, 1), "{name}: {}", got.text);
        assert!(got.has_error_event() && !got.text.contains("[DONE]"), "{name}: {}", got.text);
        assert!(got.text.contains("\"stream_interrupted\"") && !got.broken, "{name}: {}", got.text);
        assert_eq!(well.asked(), 0, "{name}");
    }
}

#[tokio::test]
async fn p05_when_all_are_down_the_error_is_honest_and_says_not_to_try_again() {
    for (name, fault) in faults() {
        let ill = Endpoint::start(fault).await;
        let worse = Endpoint::start(fault).await;
        let config =
            [impatient(), pool("ill", "openai", &[ill.origin()]), pool("worse", "openai", &[worse.origin()])];
        let gridtie = Running::start(&config.concat()).await;
        // The first meet the fault; the last meet pools that are known to be down. Those that hang take their time.
        let calls = if name.starts_with("hung") { 2 } else { 12 };
        for nth in 0..calls {
            let got = ask(gridtie.http, chat(nth % 2 == 1, "hi")).await;
            let timed_out = name.starts_with("hung") && got.status == 504;
            assert!(
                matches!(got.status, 502 | 503) || timed_out,
                "{name}, call {nth}: {} {}",
                got.status,
                got.text
            );
            let limited = got.attempts() == 0 && !got.header("retry-after").is_empty();
            assert!(
                got.header("x-should-retry") == "false" || limited,
                "{name}, call {nth}: {:?} {}",
                got.headers,
                got.text
            );
            assert!(got.text.starts_with("{\"error\":{"), "{name}: {}", got.text);
        }
    }
}

#[tokio::test]
async fn b01_when_nobody_listens_the_error_comes_at_once() {
    let origins = [Endpoint::nobody().await, Endpoint::nobody().await].map(|a| format!("http://{a}"));
    let config =
        [impatient(), pool("a", "openai", &origins[..1]), pool("b", "openai", &origins[1..])].concat();
    let gridtie = Running::start(&config).await;
    for _ in 0..20 {
        let got = ask(gridtie.http, chat(false, "hi")).await;
        assert!(matches!(got.status, 502 | 503), "{}", got.text);
        assert_eq!(got.header("x-should-retry"), "false", "{:?} {}", got.headers, got.text);
    }
}
