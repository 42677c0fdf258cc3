//! Group N of the faults (docs/faults.md): what networks do, with real sockets and a proxy that does it.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use gridtie::domain::PoolId;

use crate::proxy::{Damage, Proxy, black_hole};
use crate::wire::{
    Act, Asked, BASE, Endpoint, Got, Running, STOP, ask, chat, chunk, good, last_chunk, pool, stream_head,
    token, tokens,
};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A router with two pools in this order, of these addresses.
async fn router(first: &str, second: &str) -> Running {
    let config = [
        BASE.to_owned(),
        pool("ill", "openai", &[first.to_owned()]),
        pool("well", "openai", &[second.to_owned()]),
    ];
    Running::start(&config.concat()).await
}

/// The state of the first pool's offer, and of its endpoint.
fn states(gridtie: &Running) -> [&'static str; 2] {
    let now = gridtie.router.clock().now();
    let status = gridtie.router.with_fleet(|fleet| fleet.status(now));
    [status.pools[0].offers[0].state, status.pools[0].endpoints[0].state]
}

#[tokio::test]
async fn n01_where_syns_vanish_three_calls_wait_half_a_second_and_no_more() {
    let Some((dead, _held)) = black_hole().await else { return };
    let well = Endpoint::start(good).await;
    let gridtie = router(&format!("http://{dead}"), &well.origin()).await;
    for nth in 0..6 {
        let asked = Instant::now();
        let got = ask(gridtie.http, chat(nth % 2 == 1, "hi")).await;
        let took = asked.elapsed();
        assert_eq!((got.status, got.header("x-gridtie-pool")), (200, "well"), "{}", got.text);
        let (attempts, limit) = if nth < 3 { (2, ms(1_500)) } else { (1, ms(400)) };
        assert_eq!(got.attempts(), attempts, "call {nth}");
        assert!(took < limit, "call {nth} took {took:?}");
    }
    assert!(states(&gridtie).contains(&"ejected"));
}

#[tokio::test]
async fn n02_a_stream_on_a_connection_that_went_dead_is_broken_within_twelve_seconds() {
    let endpoint = Endpoint::start(|_| tokens("tok", 100_000, ms(20))).await;
    let cluster = Running::start(&format!("{BASE}{}", pool("engines", "openai", &[endpoint.origin()]))).await;
    let proxy = Proxy::before(cluster.grpc, Damage::None).await;
    let region = Running::start(&format!("{BASE}{}", pool("cluster", "grpc", &[proxy.origin()]))).await;
    let dies = async {
        endpoint.has_written(20_000).await;
        proxy.set(Damage::BlackHole);
        Instant::now()
    };
    let (got, died) = tokio::join!(ask(region.http, chat(true, "hi")), dies);
    let took = died.elapsed();
    assert!(got.has_error_event() && !got.text.contains("[DONE]"), "{}", got.text);
    assert!(took < ms(14_000), "found after {took:?}");
    region.router.all_closed().await;
}

#[tokio::test]
async fn n04_what_a_lossy_line_looks_like_costs_time_and_nothing_else() {
    let far = Endpoint::start(|_| tokens("word", 40, ms(1))).await;
    let well = Endpoint::start(good).await;
    // A lost packet is sent again after 200 ms, and what came behind it waits.
    let proxy = Proxy::before(far.address, Damage::Hiccups(20, ms(200))).await;
    let gridtie = router(&proxy.origin(), &well.origin()).await;
    let all = join_all((0..40).map(|_| ask(gridtie.http, chat(true, "hi")))).await;
    for got in all {
        assert_eq!(
            (got.header("x-gridtie-pool"), got.attempts(), got.tokens()),
            ("ill", 1, 40),
            "{}",
            got.text
        );
        assert!(got.is_done());
    }
    assert_eq!(states(&gridtie), ["healthy"; 2]);
}

#[tokio::test]
async fn n05_a_stream_over_a_narrow_line_is_slow_and_not_stalled() {
    let far = Endpoint::start(|_| tokens("word", 80, ms(0))).await;
    let well = Endpoint::start(good).await;
    let proxy = Proxy::before(far.address, Damage::Bandwidth(8_000)).await;
    let base = BASE.replace("short_wait", "idle = \"500ms\"\nshort_wait");
    let config =
        [base, pool("ill", "openai", &[proxy.origin()]), pool("well", "openai", &[well.origin()])].concat();
    let gridtie = Running::start(&config).await;
    let asked = Instant::now();
    let got = ask(gridtie.http, chat(true, "hi")).await;
    assert!(got.is_done() && got.tokens() == 80, "{}", got.text);
    assert!(asked.elapsed() > ms(1_000), "the line is not narrow");
    assert_eq!((got.header("x-gridtie-pool"), well.asked()), ("ill", 0));
    assert_eq!(states(&gridtie), ["healthy"; 2]);
}

/// A stream with letters of several bytes, a comment, and every kind of line end.
fn letters(_: &Asked) -> Vec<Act> {
    let text = [
        token("grüße \u{1f600}").replace('\n', "\r\n"),
        ": a comment\n\n".to_owned(),
        token("zwei"),
        STOP.to_owned(),
        "data: [DONE]\n\n".to_owned(),
    ];
    vec![stream_head(), Act::Send(chunk(text.concat())), last_chunk()]
}

#[tokio::test]
async fn n07_a_stream_in_pieces_of_one_byte_is_the_same_stream() {
    let endpoint = Endpoint::start(letters).await;
    let direct = Running::start(&format!("{BASE}{}", pool("p", "openai", &[endpoint.origin()]))).await;
    let whole = ask(direct.http, chat(true, "hi")).await;
    assert!(whole.is_done() && whole.text.contains("grüße \u{1f600}"), "{}", whole.text);
    for size in [1, 2, 3, 7] {
        let proxy = Proxy::before(endpoint.address, Damage::Slices(size)).await;
        let sliced = Running::start(&format!("{BASE}{}", pool("p", "openai", &[proxy.origin()]))).await;
        let got = ask(sliced.http, chat(true, "hi")).await;
        assert_eq!(got.text, whole.text, "slices of {size}");
    }
}

/// How many bytes the endpoint sends for one answer.
async fn length(endpoint: &Endpoint, stream: bool) -> usize {
    let alone = Running::start(&format!("{BASE}{}", pool("p", "openai", &[endpoint.origin()]))).await;
    let before = endpoint.written();
    assert_eq!(ask(alone.http, chat(stream, "hi")).await.status, 200);
    (endpoint.written() - before) as usize
}

#[tokio::test]
async fn n06_a_reset_anywhere_in_a_stream_is_tried_elsewhere_or_told() {
    let ill = Endpoint::start(|_| tokens("word", 3, ms(0))).await;
    let well = Endpoint::start(|_| tokens("well", 3, ms(0))).await;
    let length = length(&ill, true).await;
    let (mut moved, mut told, mut whole) = (0, 0, 0);
    for after in (1..=length).step_by(13) {
        let proxy = Proxy::before(ill.address, Damage::ResetAfter(after)).await;
        let gridtie = router(&proxy.origin(), &well.origin()).await;
        let got: Got = ask(gridtie.http, chat(true, "hi")).await;
        assert_eq!(got.status, 200, "after {after}: {}", got.text);
        match (got.is_done(), got.has_error_event()) {
            (true, false) if got.text.contains("well") => moved += 1,
            // Its last bytes say only that the connection may be used again.
            (true, false) => whole += 1,
            (false, true) => told += 1,
            _ => panic!("after {after} of {length}: {}", got.text),
        }
        assert!(!got.is_done() || got.tokens() == 3, "after {after}: {}", got.text);
    }
    assert!(moved > 3 && told > 10, "{moved} moved, {told} told, {whole} whole");
}

#[tokio::test]
async fn n08_a_half_closed_connection_gives_its_answer_and_is_not_kept() {
    let endpoint = Endpoint::start(good).await;
    for stream in [false, true] {
        let length = length(&endpoint, stream).await;
        let proxy = Proxy::before(endpoint.address, Damage::HalfCloseAfter(length)).await;
        let gridtie = Running::start(&format!("{BASE}{}", pool("p", "openai", &[proxy.origin()]))).await;
        for _ in 0..20 {
            let got = ask(gridtie.http, chat(stream, "hi")).await;
            assert!(got.status == 200 && (!stream || got.is_done()), "{}", got.text);
        }
        drop(gridtie);
        proxy.is_left().await;
    }
}

#[tokio::test]
async fn n03_answers_that_get_lost_are_waste_and_the_call_is_answered_elsewhere() {
    let deaf = Endpoint::start(good).await;
    let well = Endpoint::start(good).await;
    let proxy = Proxy::before(deaf.address, Damage::OneWay).await;
    let base = BASE.replace("short_wait", "first_token_min = \"150ms\"\nshort_wait");
    let config =
        [base, pool("ill", "openai", &[proxy.origin()]), pool("well", "openai", &[well.origin()])].concat();
    let gridtie = Running::start(&config).await;
    let got = ask(gridtie.http, chat(true, "hi")).await;
    assert_eq!((got.status, got.header("x-gridtie-pool"), got.attempts()), (200, "well", 2), "{}", got.text);
    assert_eq!(deaf.asked(), 1, "the request has arrived");
    let work = gridtie.router.metrics_text();
    let billed = |pool: &str| {
        let series = format!("gridtie_tokens_total{{pool=\"{pool}\",model=\"chat\",kind=\"input\"}} ");
        let line = work.lines().find(|line| line.starts_with(&series));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    assert!(billed("ill") > 0, "work that was done is counted: {work}");
    assert_eq!(gridtie.router.with_fleet(|fleet| fleet.status(gridtie.router.clock().now()).pools[PoolId(0).index()].in_flight), 0);
}
