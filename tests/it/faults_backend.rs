//! Groups B, O and T of the faults (docs/faults.md) where they are about how calls fare: the driver with scripted pools,
//! in virtual time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use gridtie::domain::{Duration, Failure, FailureKind, Refusal, Usage};
use gridtie::flow::{Answered, Inbound, Out, Refused};
use gridtie::upstream::Attempt;
use gridtie::upstream::scripted::{Happening, Script};

use crate::world::{World, catalog, inbound, ms, pool_of, world, world_in};

fn good() -> Usage {
    Usage { input: 100, output: 20, ..Usage::default() }
}

/// A lot of this attempt, 0 to 1: the same whenever it is drawn.
fn lot(attempt: &Attempt) -> f64 {
    let mut x = attempt.call.0 ^ (u64::from(attempt.no.0) << 56);
    x = (x ^ (x >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    x = (x ^ (x >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (x >> 11) as f64 / (1_u64 << 53) as f64
}

/// `n` calls, one every `each`; what became of them, in order.
async fn calls(
    world: &World,
    n: u64,
    each: Duration,
    ask: impl Fn(u64) -> Inbound,
) -> Vec<Result<String, Refused>> {
    let all = (0..n).map(|i| {
        let (router, asked) = (world.router.clone(), ask(i));
        async move {
            tokio::time::sleep(each * i as u32).await;
            router.call(asked).await.map(|answered| match answered {
                Answered::Whole { head, .. } | Answered::Stream { head, .. } => head.pool.to_string(),
            })
        }
    });
    join_all(all).await
}

fn attempts(world: &World) -> usize {
    world.kept.1.lock().unwrap().iter().map(|account| account.results.len()).sum()
}

#[tokio::test(start_paused = true)]
async fn b02_half_an_answer_is_waste_and_only_the_whole_one_is_on_the_bill() {
    let world = world(|a| match pool_of(a) {
        "owned" => Script::failing(ms(80), FailureKind::Disconnected),
        _ => Script::whole(ms(50), good()),
    });
    let Ok(Answered::Whole { bill, head, .. }) = world.router.call(inbound(false)).await else {
        panic!("a cloud answers")
    };
    assert_eq!((bill.usage, &*head.pool), (good(), "cloud-a"));
    let kept = world.kept.1.lock().unwrap();
    assert_eq!(kept.len(), 1, "one account");
    assert_eq!((kept[0].results.as_slice(), kept[0].output), (["disconnected", "ok"].as_slice(), 20));
    let text = world.router.metrics_text();
    assert!(text.contains("gridtie_attempts_total{pool=\"owned\",model=\"chat\",result=\"disconnected\"} 1"));
}

#[tokio::test(start_paused = true)]
async fn b03_when_the_largest_pool_dies_calls_go_to_the_next_in_order_and_nothing_is_lost() {
    let died = Arc::new(AtomicU64::new(0));
    let dead = died.clone();
    let world = world(move |a| match pool_of(a) {
        "owned" if dead.load(Ordering::Relaxed) == 1 => Script::failing(ms(1), FailureKind::Connect),
        _ => Script::whole(ms(200), good()),
    });
    let dies = async {
        tokio::time::sleep(Duration::from_secs(25)).await;
        died.store(1, Ordering::Relaxed);
    };
    let (answered, ()) = tokio::join!(calls(&world, 2_000, ms(25), |_| inbound(false)), dies);
    let pools: Vec<String> = answered.into_iter().map(|a| a.expect("no call is lost")).collect();
    assert!(pools[..900].iter().all(|pool| pool == "owned"));
    assert!(pools[1_010..].iter().all(|pool| pool == "cloud-a"), "the cheaper cloud is next, and has room");
    // Some find out, and some probe; nobody else pays.
    assert!(attempts(&world) <= 2_000 + 20, "{} attempts", attempts(&world));
}

#[tokio::test(start_paused = true)]
async fn b05_a_brownout_of_a_quarter_is_not_noticed_and_costs_at_most_a_third() {
    let world = world(|a| match pool_of(a) {
        "owned" if lot(a) < 0.25 => Script::failing(ms(20), FailureKind::ServerError),
        _ => Script::whole(ms(100), good()),
    });
    let answered = calls(&world, 6_000, ms(10), |_| inbound(false)).await;
    let failed = answered.iter().filter(|a| a.is_err()).count();
    let amplification = attempts(&world) as f64 / 6_000.0;
    eprintln!("{failed} of 6000 failed, {amplification:.3} attempts a call");
    assert!(failed <= 6, "{failed} calls failed");
    assert!(amplification <= 1.33, "{amplification}");
}

#[tokio::test(start_paused = true)]
async fn b09_a_pool_that_flaps_is_left_alone_longer_each_time_and_nobody_notices() {
    let began = tokio::time::Instant::now();
    let world = world(move |a| {
        let down = began.elapsed().as_secs() % 4 >= 2;
        match pool_of(a) {
            "owned" if down => Script::failing(ms(5), FailureKind::ServerError),
            _ => Script::whole(ms(100), good()),
        }
    });
    let answered = calls(&world, 6_000, ms(100), |_| inbound(false)).await;
    let failed = answered.iter().filter(|a| a.is_err()).count();
    assert!(failed <= 6, "{failed} of 6000 calls failed");
    let lost = attempts(&world) - 6_000;
    // Half of the time it is down: if it were always tried at once, there would be thousands.
    assert!(lost < 300, "{lost} attempts were lost on it");
}

#[tokio::test(start_paused = true)]
async fn p05_an_overloaded_pool_is_left_for_another_and_if_there_is_none_the_answer_is_503() {
    let world = world(|a| match pool_of(a) {
        "owned" => Script::failing(ms(5), FailureKind::Overloaded),
        _ => Script::whole(ms(50), good()),
    });
    let answered = calls(&world, 3, ms(10), |_| inbound(false)).await;
    assert!(answered.iter().all(|a| matches!(a, Ok(pool) if pool == "cloud-a")), "{answered:?}");
    let world = world_of(|_| Script::failing(ms(5), FailureKind::Overloaded));
    let refused = world.router.call(inbound(false)).await.expect_err("all are overloaded");
    assert_eq!(gridtie::edge::status::refused(&refused).http.as_u16(), 503, "{refused:?}");
}

fn world_of(play: fn(&Attempt) -> Script) -> World {
    world(play)
}

#[tokio::test(start_paused = true)]
async fn p08_what_a_providers_filter_refuses_is_asked_of_nobody_else() {
    let world = world(|_| Script::failing(ms(5), FailureKind::ContentFilter));
    let refused = world.router.call(inbound(false)).await.expect_err("the filter refuses");
    assert_eq!(refused.attempts, 1);
    assert!(matches!(&refused.refusal, Refusal::Upstream(f) if f.kind == FailureKind::ContentFilter));
    let wire = gridtie::edge::status::refused(&refused);
    assert_eq!((wire.http.as_u16(), &*wire.code), (400, "content_filter"));
    let now = world.router.clock().now();
    let state = world.router.with_fleet(|fleet| fleet.status(now).pools[0].offers[0].state);
    assert_eq!(state, "healthy");
}

#[tokio::test(start_paused = true)]
async fn p06_a_refused_key_is_our_trouble_and_never_the_clients_401() {
    let world = world(|a| match pool_of(a) {
        "owned" => Script::failing(ms(5), FailureKind::Credentials),
        _ => Script::whole(ms(50), good()),
    });
    let answered = calls(&world, 5, ms(1_000), |_| inbound(false)).await;
    assert!(answered.iter().all(|a| matches!(a, Ok(pool) if pool == "cloud-a")), "{answered:?}");
    assert_eq!(attempts(&world), 6, "the key is tried once, and not by every call");
    let now = world.router.clock().now();
    assert_eq!(world.router.with_fleet(|fleet| fleet.status(now).pools[0].offers[0].state), "disabled");
    let world = world_of(|_| Script::failing(ms(5), FailureKind::Credentials));
    let refused = world.router.call(inbound(false)).await.expect_err("no key is taken");
    assert_eq!(gridtie::edge::status::refused(&refused).http.as_u16(), 502);
}

#[tokio::test(start_paused = true)]
async fn o08_a_call_whose_deadline_is_too_near_is_sent_to_nobody() {
    let world = world(|_| Script::whole(ms(1), good()));
    // A first token takes 50 ms everywhere; even with luck it would come too late.
    for left in [Duration::from_nanos(1), ms(5)] {
        let asked = Inbound { timeout: Some(left), ..inbound(true) };
        let refused = world.router.call(asked).await.expect_err("too late");
        assert_eq!(refused.attempts, 0);
        assert_eq!(gridtie::edge::status::refused(&refused).http.as_u16(), 504, "{refused:?}");
    }
    assert_eq!(attempts(&world), 0);
}

#[tokio::test(start_paused = true)]
async fn t01_a_wall_clock_that_jumps_moves_no_time_limit() {
    let world = world(|_| Script::stream(ms(50), ms(100), 300));
    let Ok(Answered::Stream { body, .. }) = world.router.call(inbound(true)).await else {
        panic!("a stream")
    };
    let jumps = async {
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            // The system's clock differs from the test's by years: as large a jump as there can be.
            world.router.clock().anchor();
            world.router.tick();
        }
    };
    let (outs, ()) = tokio::join!(body.collect::<Vec<Out>>(), jumps);
    assert!(matches!(outs.last(), Some(Out::End(_))), "{:?}", outs.last());
    let now = world.router.clock().now();
    let status = world.router.with_fleet(|fleet| fleet.status(now));
    assert!(status.pools.iter().all(|p| p.offers[0].state == "healthy"));
}

/// What each pool was asked, by pool.
type Counts = Arc<Mutex<BTreeMap<String, u64>>>;

#[tokio::test(start_paused = true)]
async fn o02_a_retry_storm_ends_with_its_cause_and_adds_little_meanwhile() {
    let counts = Counts::default();
    let (count, began) = (counts.clone(), tokio::time::Instant::now());
    let world = world(move |a| {
        *count.lock().unwrap().entry(pool_of(a).to_owned()).or_default() += 1;
        // Everybody fails for ten seconds: nowhere is better.
        match began.elapsed().as_secs() {
            10..20 => Script::failing(ms(20), FailureKind::ServerError),
            _ => Script::whole(ms(100), good()),
        }
    });
    let sent = Arc::new(AtomicU64::new(0));
    let all = (0..4_000_u32).map(|i| {
        let (router, sent) = (world.router.clone(), sent.clone());
        async move {
            tokio::time::sleep(ms(10) * i).await;
            let mut ended = Err(());
            for nth in 0..4 {
                sent.fetch_add(1, Ordering::Relaxed);
                let asked = Inbound { client_retry: nth > 0, ..inbound(false) };
                if router.call(asked).await.is_ok() {
                    ended = Ok(());
                    break;
                }
            }
            (i, ended)
        }
    });
    let ended = join_all(all).await;
    let late = ended.iter().filter(|(i, e)| *i >= 3_000 && e.is_err()).count();
    assert_eq!(late, 0, "ten seconds after the trouble everybody is served");
    let (sent, arrived) = (sent.load(Ordering::Relaxed), counts.lock().unwrap().values().sum::<u64>());
    eprintln!("{sent} calls of clients, {arrived} attempts");
    assert!((arrived as f64) < 1.1 * sent as f64, "{arrived} attempts for {sent} calls");
}

#[tokio::test(start_paused = true)]
async fn n14_what_ends_without_its_end_is_told_whatever_came_before() {
    let cut = |keep| {
        let lost = Failure::new(FailureKind::Disconnected, "RST_STREAM");
        Script::stream(ms(20), ms(5), 5).cut(keep, ms(5), Happening::Fail(lost))
    };
    for keep in 1..=7 {
        let world =
            world(move |a| if pool_of(a) == "owned" { cut(keep) } else { Script::stream(ms(20), ms(5), 5) });
        let Ok(Answered::Stream { body, .. }) = world.router.call(inbound(true)).await else {
            panic!("a stream")
        };
        let outs: Vec<Out> = body.collect().await;
        // After its open come five tokens and the end.
        let honest = match keep {
            1 => matches!(outs.last(), Some(Out::End(_))),
            2..=6 => matches!(outs.last(), Some(Out::Broken(_))),
            _ => matches!(outs.last(), Some(Out::End(_) | Out::Broken(_))),
        };
        assert!(honest, "kept {keep}: {:?}", outs.last());
    }
}

#[tokio::test(start_paused = true)]
async fn b17_a_request_that_kills_whoever_works_on_it_is_sent_four_times_and_no_more() {
    use gridtie::domain::{Body, Request};
    let poison = |a: &Attempt| matches!(&a.request.body, Body::OpenAi(body) if &body[..] == b"poison");
    let world = world(move |a| match poison(a) {
        true => Script::failing(ms(20), FailureKind::Disconnected),
        false => Script::whole(ms(50), good()),
    });
    let ask = |text: &'static [u8]| {
        let plain = inbound(false);
        let body = Body::OpenAi(bytes::Bytes::from_static(text));
        Inbound { request: Request { body, ..plain.request }, ..plain }
    };
    for nth in 0..10 {
        let refused = world.router.call(ask(b"poison")).await.expect_err("nobody survives it");
        assert_eq!(gridtie::edge::status::refused(&refused).http.as_u16(), 502);
        assert_eq!(refused.attempts, if nth < 2 { 2 } else { 0 }, "call {nth}");
        assert!(world.router.call(ask(b"harmless")).await.is_ok(), "others are served");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // It is tried again when five minutes are over.
    tokio::time::sleep(Duration::from_secs(301)).await;
    assert_eq!(world.router.call(ask(b"poison")).await.expect_err("still deadly").attempts, 2);
}

#[tokio::test(start_paused = true)]
async fn o01_of_three_times_as_much_as_there_is_room_for_all_the_room_is_used_and_the_rest_is_told() {
    // One pool for twenty calls of 200 ms: a hundred a second.
    let mut few = Arc::into_inner(catalog()).expect("fresh");
    few.models[0].offers.truncate(1);
    few.pools[0].max_in_flight = Some(20);
    let world = world_in(Arc::new(few), Default::default(), |_| Script::whole(ms(200), good()));
    let (seconds, rate) = (30, 300);
    let all = (0..seconds * rate).map(|i: u32| {
        let router = world.router.clone();
        async move {
            tokio::time::sleep(Duration::from_secs(1) * i / rate).await;
            let asked = tokio::time::Instant::now();
            let answered = router.call(inbound(false)).await;
            (answered.map(|_| ()), asked.elapsed())
        }
    });
    let ticks = async {
        for _ in 0..2 * (seconds + 4) {
            tokio::time::sleep(ms(500)).await;
            world.router.tick();
        }
    };
    let brownout = |level: u8| {
        let text = world.router.metrics_text();
        assert!(text.contains(&format!("\ngridtie_brownout {level}\n")), "{text}");
    };
    let (all, ()) = tokio::join!(join_all(all), ticks);
    let (served, refused): (Vec<_>, Vec<_>) = all.into_iter().partition(|(answered, _)| answered.is_ok());
    eprintln!("{} served, {} refused", served.len(), refused.len());
    assert!(served.len() as f64 >= 0.95 * 100.0 * f64::from(seconds), "{} were served", served.len());
    // Nobody waits longer than the short wait of every class, and then is told when to come back.
    let longest = served.iter().chain(&refused).map(|(_, took)| *took).max().unwrap();
    assert!(longest <= ms(2_300), "{longest:?}");
    for (answered, _) in &refused {
        let refused = answered.as_ref().unwrap_err();
        assert!(matches!(refused.refusal, Refusal::Overloaded { .. }), "{refused:?}");
    }
    brownout(4);
    let steps = world.router.with_fleet(|fleet| fleet.brownout());
    assert_eq!(steps.iter().map(|taken| taken.step.level()).collect::<Vec<_>>(), [1, 2, 4], "{steps:?}");
    // And it is over half a minute after the last of it.
    for _ in 0..64 {
        tokio::time::sleep(ms(500)).await;
        world.router.tick();
    }
    brownout(0);
}

#[tokio::test(start_paused = true)]
async fn p07_p30_what_no_pool_can_serve_is_the_requests_fault_and_says_what_is_missing() {
    use gridtie::domain::{Capabilities, Request};
    let world = world(|_| Script::whole(ms(50), good()));
    let plain = inbound(false);
    let long = Inbound { request: Request { input_tokens: 20_000, ..plain.request }, ..inbound(false) };
    let sees = Inbound { needs: Capabilities::CHAT.with(Capabilities::IMAGES), ..inbound(false) };
    for (asked, says) in [(long, "the context holds 10000"), (sees, "cannot do images")] {
        let refused = world.router.call(asked).await.expect_err("nobody can");
        let wire = gridtie::edge::status::refused(&refused);
        assert_eq!((wire.http.as_u16(), wire.retry_advice(), refused.attempts), (400, Some("false"), 0));
        assert!(wire.message.contains(says), "{}", wire.message);
    }
    assert_eq!(attempts(&world), 0);
}
