//! The driver with in-memory upstreams and paused time: failover, the commit point, cancellation, shutdown.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::StreamExt;
use gridtie::domain::{Duration, FailureKind, Refusal, Usage};
use gridtie::flow::{Answered, Out, RelayBody, Settings};
use gridtie::upstream::Attempt;
use gridtie::upstream::scripted::{Happening, Script};

use crate::world::{World, inbound, ms, pool_of, world, world_with};

fn good() -> Usage {
    Usage { input: 100, output: 20, ..Usage::default() }
}

/// A router that sends headers after a second, shorter than any limit on first tokens.
fn impatient(play: impl Fn(&Attempt) -> Script + Send + Sync + Clone + 'static) -> World {
    world_with(Settings { hold: Duration::from_secs(1), ..Settings::default() }, play)
}

async fn stream(world: &World) -> RelayBody {
    match world.router.call(inbound(true)).await {
        Ok(Answered::Stream { body, .. }) => body,
        other => panic!("expected a stream, got {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn b01_a_call_is_tried_on_another_pool_when_the_first_refuses_the_connection() {
    let world = world(|a| match pool_of(a) {
        "owned" => Script::failing(ms(1), FailureKind::Connect),
        _ => Script::whole(ms(200), good()),
    });
    let Ok(Answered::Whole { head, bill, .. }) = world.router.call(inbound(false)).await else {
        panic!("the call fails although two pools are well")
    };
    assert_eq!(&*head.pool, "cloud-a");
    assert!(head.attempts >= 2);
    assert_eq!(bill.usage, good());
    assert!(bill.cost > gridtie::domain::Usd::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_knows_what_a_router_behind_this_one_must_know() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let keep = seen.clone();
    let world = world(move |a| {
        keep.lock().unwrap().push(a.onward.clone());
        Script::whole(ms(1), good())
    });
    let mut asked = inbound(false);
    (asked.class, asked.session, asked.client_retry) = (Some("agent".into()), Some("thread".into()), true);
    world.router.call(asked).await.unwrap();
    world.router.call(inbound(false)).await.unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!((seen[0].class.as_deref(), seen[0].client_retry), (Some("agent"), true));
    assert!(seen[0].session.is_some());
    assert_eq!(
        (seen[1].class.clone(), seen[1].session),
        (None, None),
        "a default is for each router to choose"
    );
}

#[tokio::test(start_paused = true)]
async fn a_mistake_of_the_client_is_not_tried_elsewhere() {
    let world = world(|_| Script::failing(ms(5), FailureKind::BadRequest));
    let refused = world.router.call(inbound(false)).await.expect_err("a bad request is refused");
    assert_eq!(refused.attempts, 1);
    assert!(matches!(refused.refusal, Refusal::Upstream(f) if f.kind == FailureKind::BadRequest));
}

#[tokio::test(start_paused = true)]
async fn a_request_without_words_in_one_dialect_is_answered_by_a_pool_of_another() {
    let world = world(|a| match pool_of(a) {
        "owned" => Script::failing(ms(1), FailureKind::Unsupported),
        _ => Script::whole(ms(5), good()),
    });
    assert!(matches!(world.router.call(inbound(false)).await, Ok(Answered::Whole { .. })));
    let world = world_with(Settings::default(), |_| Script::failing(ms(1), FailureKind::Unsupported));
    let refused = world.router.call(inbound(false)).await.expect_err("nobody understands it");
    assert!(matches!(&refused.refusal, Refusal::Upstream(f) if f.kind == FailureKind::Unsupported));
    assert_eq!(gridtie::edge::status::refused(&refused).http.as_u16(), 400, "the client's own, in the end");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_before_its_first_content_goes_on_elsewhere_unnoticed() {
    let world = world(|a| match pool_of(a) {
        "owned" => Script(vec![
            (ms(50), Happening::Open),
            (ms(5), Happening::Fail(gridtie::domain::Failure::new(FailureKind::Truncated, "cut"))),
        ]),
        _ => Script::stream(ms(100), ms(10), 5),
    });
    let outs: Vec<Out> = stream(&world).await.collect().await;
    assert!(matches!(outs.last(), Some(Out::End(bill)) if bill.usage.output == 5), "{outs:?}");
    assert_eq!(world.kept.1.lock().unwrap()[0].results, ["truncated", "ok"]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_after_its_first_content_says_so_and_is_not_tried_again() {
    let world = world(|_| {
        let cut = Happening::Fail(gridtie::domain::Failure::new(FailureKind::Disconnected, "reset"));
        Script::stream(ms(50), ms(10), 50).cut(4, ms(10), cut)
    });
    let outs: Vec<Out> = stream(&world).await.collect().await;
    let Some(Out::Broken(broken)) = outs.last() else { panic!("no honest end: {outs:?}") };
    assert_eq!((broken.code, broken.tokens_delivered), ("stream_interrupted", 3));
    assert_eq!(world.kept.1.lock().unwrap()[0].results, ["disconnected"]);
}

#[tokio::test(start_paused = true)]
async fn p18_a_stall_after_the_first_content_is_found_by_the_idle_limit() {
    let world = world(|_| Script::stream(ms(50), ms(10), 50).cut(3, ms(10), Happening::Silence));
    let started = world.router.clock().mono();
    let outs: Vec<Out> = stream(&world).await.collect().await;
    let Some(Out::Broken(broken)) = outs.last() else { panic!("no honest end: {outs:?}") };
    assert_eq!(broken.failure.as_ref().map(|f| f.kind), Some(FailureKind::Stalled));
    assert!(world.router.clock().mono().since(started) < Duration::from_secs(40));
}

#[tokio::test(start_paused = true)]
async fn b04_a_hung_engine_costs_its_first_token_limit_and_then_another_pool_answers() {
    let world = world(|a| match pool_of(a) {
        "owned" => Script(vec![(ms(1), Happening::Silence)]),
        _ => Script::stream(ms(100), ms(10), 5),
    });
    let outs: Vec<Out> = stream(&world).await.collect().await;
    assert!(matches!(outs.last(), Some(Out::End(_))), "{outs:?}");
    let kept = world.kept.1.lock().unwrap();
    assert_eq!(kept[0].results[0], "first_token_timeout");
}

#[tokio::test(start_paused = true)]
async fn the_only_pool_is_found_out_when_it_hangs_on_whole_answers() {
    let world = world(|_| Script(vec![(ms(1), Happening::Silence)]));
    for cloud in [1, 2] {
        world.router.drain(gridtie::domain::PoolId(cloud));
    }
    // Without a limit on tokens a whole answer is given all the time there is.
    let asked = || gridtie::flow::Inbound { max_tokens: None, ..inbound(false) };
    let calls = (0..12).map(|_| world.router.call(asked()));
    for answered in futures_util::future::join_all(calls).await {
        assert!(matches!(answered.expect_err("it hangs").refusal, Refusal::DeadlineExceeded { .. }));
    }
    let now = world.router.clock().now();
    let status = world.router.with_fleet(|fleet| fleet.status(now));
    let endpoints = status.pools[0].endpoints.iter().map(|e| e.state);
    let states: Vec<_> = endpoints.chain([status.pools[0].offers[0].state]).collect();
    assert!(states.contains(&"ejected"), "{states:?}");
}

#[tokio::test(start_paused = true)]
async fn o10_a_client_that_leaves_cancels_the_attempt_and_closes_the_account_once() {
    let world = world(|_| Script(vec![(ms(1), Happening::Silence)]));
    let gone = tokio::time::timeout(ms(30), world.router.call(inbound(false))).await;
    assert!(gone.is_err());
    assert_eq!(world.router.open_calls(), 0);
    let kept = world.kept.1.lock().unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!((kept[0].ending, kept[0].results.as_slice()), ("client_gone", ["cancelled"].as_slice()));
}

#[tokio::test(start_paused = true)]
async fn o10_a_client_that_leaves_in_mid_stream_stops_the_upstream() {
    let sent = Arc::new(AtomicU32::new(0));
    let counter = sent.clone();
    let world = world(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        Script::stream(ms(10), ms(10), 1_000)
    });
    let mut body = stream(&world).await;
    assert!(matches!(body.next().await, Some(Out::Piece(_))));
    drop(body);
    tokio::time::timeout(ms(50), world.router.all_closed()).await.expect("the account closes at once");
    let kept = world.kept.1.lock().unwrap();
    assert_eq!(kept[0].ending, "client_gone");
    assert!(kept[0].output < 10, "tokens went on after the client had gone: {kept:?}");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_grace_breaks_streams_honestly_and_refuses_what_has_not_begun() {
    let world =
        world(|a| if a.call.0 == 0 { unreachable!() } else { Script::stream(ms(10), ms(100), 1_000) });
    let body = stream(&world).await;
    world.router.start_draining();
    world.router.end_grace();
    let outs: Vec<Out> = body.collect().await;
    assert!(matches!(outs.last(), Some(Out::Broken(b)) if b.code == "draining"), "{outs:?}");
    let refused = world.router.call(inbound(true)).await.expect_err("the grace is over");
    assert!(matches!(refused.refusal, Refusal::Draining));
    world.router.all_closed().await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_holds_back_its_own_stream_and_is_cut_after_the_write_limit() {
    let world = world(|_| Script::stream(ms(10), ms(1), 100_000));
    let mut body = stream(&world).await;
    assert!(matches!(body.next().await, Some(Out::Piece(_))));
    let closed = tokio::time::timeout(Duration::from_secs(120), world.router.all_closed()).await;
    assert!(closed.is_ok(), "the stream of a client that reads nothing goes on for ever");
    let outs: Vec<Out> = body.collect().await;
    assert!(outs.len() < 2_000, "{} pieces were kept for a client that does not read", outs.len());
    assert!(matches!(outs.last(), Some(Out::Broken(b)) if b.code == "slow_reader" || b.code == "deadline"));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_a_call_is_kept_whatever_the_pools_do() {
    let world = world(|_| Script(vec![(ms(1), Happening::Silence)]));
    let started = world.router.clock().mono();
    let mut asked = inbound(false);
    asked.timeout = Some(Duration::from_secs(3));
    let refused = world.router.call(asked).await.expect_err("nobody answers");
    assert!(
        matches!(refused.refusal, Refusal::DeadlineExceeded { .. } | Refusal::Upstream(_)),
        "{:?}",
        refused.refusal
    );
    assert!(world.router.clock().mono().since(started) <= ms(3_002));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_slow_to_begin_gets_its_headers_and_comments_and_then_its_content() {
    let world = impatient(|a| match pool_of(a) {
        "owned" => Script(vec![(ms(1), Happening::Silence)]),
        _ => Script::stream(ms(1_500), ms(10), 3),
    });
    let mut asked = inbound(true);
    asked.class = Some("background".into());
    let Ok(Answered::Stream { head, body }) = world.router.call(asked).await else { panic!("no stream") };
    let outs: Vec<Out> = body.collect().await;
    let comments = outs.iter().take_while(|out| matches!(out, Out::KeepAlive)).count();
    assert!(&*head.pool == "undecided" && comments > 0, "{head:?} {outs:?}");
    assert!(
        outs[comments..].iter().all(|out| !matches!(out, Out::KeepAlive)),
        "a comment after content: {outs:?}"
    );
    assert!(matches!(outs.last(), Some(Out::End(_))), "{outs:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_never_begins_breaks_honestly_after_its_headers() {
    let world = impatient(|_| Script(vec![(ms(1), Happening::Silence)]));
    let Ok(Answered::Stream { body, .. }) = world.router.call(inbound(true)).await else {
        panic!("no headers")
    };
    let outs: Vec<Out> = body.collect().await;
    assert!(matches!(outs.last(), Some(Out::Broken(_))), "{outs:?}");
    world.router.all_closed().await;
    assert_eq!(world.kept.0.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_never_begins_says_why() {
    let full = |_: &Attempt| Script(vec![(ms(1), Happening::Silence)]);
    let settings = Settings { hold: Duration::from_secs(1), ..Settings::default() };
    let world = world_with(settings, full);
    for pool in 0..3 {
        world.router.drain(gridtie::domain::PoolId(pool));
    }
    let refused = world.router.call(inbound(true)).await.expect_err("nobody is there");
    assert!(matches!(refused.refusal, Refusal::NoPool { .. }));
    let limited = |a: &Attempt| match a.no.0 {
        0 => Script::failing(Duration::from_millis(1_500), FailureKind::Overloaded),
        _ => Script::failing(ms(1), FailureKind::Overloaded),
    };
    let world = impatient(limited);
    let Ok(Answered::Stream { body, .. }) = world.router.call(inbound(true)).await else {
        panic!("no headers")
    };
    let outs: Vec<Out> = body.collect().await;
    assert!(matches!(outs.last(), Some(Out::Broken(b)) if b.code != "no_pool"), "{outs:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_before_a_late_stream_begins_closes_the_account() {
    let world = impatient(|_| Script(vec![(ms(1), Happening::Silence)]));
    let Ok(Answered::Stream { body, .. }) = world.router.call(inbound(true)).await else {
        panic!("no headers")
    };
    drop(body);
    tokio::time::timeout(ms(50), world.router.all_closed()).await.expect("the account closes at once");
    assert_eq!(world.kept.1.lock().unwrap()[0].ending, "client_gone");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_model_is_refused_with_the_nearest_name() {
    let world = world(|_| Script::whole(ms(1), good()));
    let mut asked = inbound(false);
    asked.model = "chta".into();
    let refused = world.router.call(asked).await.expect_err("there is no such model");
    assert_eq!(
        refused.refusal,
        Refusal::ModelNotFound { model: "chta".into(), nearest: Some("chat".into()) }
    );
}

#[tokio::test(start_paused = true)]
async fn the_log_has_one_line_a_call_with_every_attempt_in_it() {
    let world = world(|a| match pool_of(a) {
        "owned" => Script::failing(ms(1), FailureKind::ServerError),
        _ => Script::whole(ms(20), good()),
    });
    world.router.call(inbound(false)).await.expect("a cloud answers");
    let log = world.log.take();
    let lines: Vec<serde_json::Value> = log.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 1);
    let results: Vec<&str> =
        lines[0]["attempts"].as_array().unwrap().iter().map(|a| a["result"].as_str().unwrap()).collect();
    assert_eq!(results.first(), Some(&"server_error"));
    assert_eq!(results.last(), Some(&"ok"));
    assert_eq!(lines[0]["ending"], "ok");
}

#[tokio::test(start_paused = true)]
async fn every_account_is_closed_exactly_once_under_random_faults() {
    let world = world(|a| {
        let roll = a.call.0.wrapping_mul(31).wrapping_add(u64::from(a.no.0) * 7) % 10;
        match roll {
            0 => Script::failing(ms(3), FailureKind::Connect),
            1 => Script::failing(ms(30), FailureKind::RateLimited),
            2 => Script(vec![(ms(1), Happening::Silence)]),
            3 => Script::stream(ms(20), ms(5), 20).cut(
                6,
                ms(5),
                Happening::Fail(gridtie::domain::Failure::new(FailureKind::Truncated, "cut")),
            ),
            _ => Script::stream(ms(20), ms(5), 20),
        }
    });
    let calls = (0..200).map(|i| {
        let router = world.router.clone();
        async move {
            tokio::time::sleep(ms(i * 3)).await;
            if let Ok(Answered::Stream { body, .. }) = router.call(inbound(true)).await {
                let outs: Vec<Out> = body.collect().await;
                assert!(matches!(outs.last(), Some(Out::End(_) | Out::Broken(_))), "a silent end");
            }
        }
    });
    futures_util::future::join_all(calls).await;
    world.router.all_closed().await;
    assert_eq!(world.kept.0.lock().unwrap().len(), 200);
    let now = world.router.clock().now();
    let load: u32 = world.router.with_fleet(|f| f.status(now).pools.iter().map(|p| p.in_flight).sum());
    assert_eq!(load, 0, "load is left over from calls that are long closed");
}
