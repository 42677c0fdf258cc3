use super::*;
use crate::domain::{ContactWindow, Instant, ModelId, Price, Prices, Tenure, Timestamp};
use crate::engine::{
    Batching, Block, EnergyPrice, Engine, Event, Job, Opaque, Power, Settings, Speed, What, draw,
};
use crate::sim::traffic::Arrival;

mod bursts;

const MODEL: ModelId = ModelId(0);

/// Prefill of 10 ms and 1 ms a token, decoding of 20 ms a step and 2 ms more for each sequence.
fn machine() -> Batching {
    Batching {
        speed: Speed {
            prefill_floor_s: 0.0,
            prefill_base_s: 0.01,
            prefill_token_s: 1e-3,
            prefill_knee: u32::MAX,
            step_base_s: 0.02,
            step_seq_s: 0.002,
            interference: 2.0,
        },
        max_batch: 4,
        kv_tokens: 100_000,
        queue: 1000,
        prefix_cache: true,
        power: Power::default(),
    }
}

fn owned(engine: Batching, count: usize) -> Pool {
    Pool {
        name: "owned".into(),
        tenure: Tenure::Owned,
        engines: vec![Settings::Batching(engine); count],
        delay: Duration::from_millis(1),
        offers: vec![(MODEL, Prices::default())],
        requests: None,
        tokens: None,
        energy: Default::default(),
        contact: None,
        down: Vec::new(),
        slowest: 1.0,
    }
}

/// A provider that is never late by chance, at a price per million tokens either way.
fn cloud(price: f64) -> Pool {
    let engine =
        Opaque { ttft_median_s: 0.3, ttft_sigma: 0.0, prefill_token_s: 0.0, tpot_s: 0.01, max_jobs: 1000 };
    let each = Price::per_million(price);
    let prices = Prices { input: each, cached: each, cache_write: each, output: each };
    Pool {
        name: "cloud".into(),
        tenure: Tenure::Metered,
        engines: vec![Settings::Opaque(engine)],
        offers: vec![(MODEL, prices)],
        ..owned(machine(), 0)
    }
}

fn class(first_token: Option<f64>, finish: Option<f64>) -> Class {
    let secs = Duration::from_secs_f64;
    Class {
        name: "class".into(),
        first_token: first_token.map(secs),
        finish: finish.map(secs),
        miss_usd: 0.01,
        tries: 1,
    }
}

fn system(pools: Vec<Pool>, classes: Vec<Class>) -> System {
    System { pools, classes, wall: Timestamp::from_millis(0) }
}

fn arrival(at_s: f64, input: u32, output: u32) -> Arrival {
    Arrival {
        at: Instant::from_secs_f64(at_s),
        model: MODEL,
        class: ClassId(0),
        input,
        output,
        stream: true,
        client: 0,
        session: None,
        prefix: [].into(),
    }
}

fn traffic(arrivals: Vec<Arrival>) -> Traffic {
    Traffic { name: "test".into(), arrivals }
}

fn effort(slot_s: f64) -> Effort {
    Effort { slot: Duration::from_secs_f64(slot_s), iterations: 300, ..Effort::default() }
}

fn cost(system: &System, traffic: &Traffic, slot_s: f64) -> Bound {
    bound(system, traffic, Goal::Cost, &effort(slot_s))
}

/// Plays an assignment of calls to pools (or to nobody) with real engines, one of each pool, first come first served,
/// and says what it costs.
fn play(system: &System, traffic: &Traffic, to: &[usize]) -> f64 {
    let mut engines: Vec<Engine> =
        system.pools.iter().map(|p| Engine::new(p.engines[0], Instant::START)).collect();
    let mut jobs = vec![None; to.len()];
    let mut events: Vec<Vec<Event>> = vec![Vec::new(); engines.len()];
    let mut usd = 0.0;
    for (call, arrival) in traffic.arrivals.iter().enumerate() {
        let Some(pool) = system.pools.get(to[call]) else { continue };
        let job = Job {
            input: arrival.input,
            output: arrival.output,
            sequences: 1,
            report_every: 0,
            prefix: arrival.prefix.clone(),
            seed: call as u64,
        };
        engines[to[call]].advance(arrival.at + pool.delay, &mut events[to[call]]);
        jobs[call] = engines[to[call]].submit(job, arrival.at + pool.delay).ok();
        let prices = pool.prices(arrival.model).unwrap();
        let usage = crate::domain::Usage {
            input: arrival.input.into(),
            output: arrival.output.into(),
            ..Default::default()
        };
        usd += prices.cost(&usage).as_dollars();
    }
    for (engine, events) in engines.iter_mut().zip(&mut events) {
        engine.advance(Instant::from_secs_f64(1e5), events);
    }
    for (pool, engine) in system.pools.iter().zip(&engines) {
        let meter = engine.meter(Instant::from_secs_f64(1e5));
        usd += pool.energy.usd(meter.prefill_s, meter.seat_s);
    }
    for (call, arrival) in traffic.arrivals.iter().enumerate() {
        let class = &system.classes[arrival.class.index()];
        let when = |finished: bool| {
            let job = jobs[call]?;
            let is = |what: &What| matches!(what, What::Finished { .. }) == finished;
            let event = events[to[call]].iter().find(|e| e.job == job && is(&e.what))?;
            Some((event.at + system.pools[to[call]].delay).since(arrival.at))
        };
        let within = |at: Option<Duration>, target: Option<Duration>| {
            at.is_some_and(|at| target.is_none_or(|target| at <= target))
        };
        if !within(when(false), class.first_token) || !within(when(true), class.finish) {
            usd += class.miss_usd;
        }
    }
    usd
}

/// Every assignment of `calls` calls to `places` places.
fn assignments(calls: u32, places: usize) -> impl Iterator<Item = Vec<usize>> {
    let digits = move |n: usize| (0..calls).map(|d| n / places.pow(d) % places).collect();
    (0..places.pow(calls)).map(digits)
}

/// Seven calls within two seconds, in three classes, some of them with a common prefix.
fn small(seed: u64) -> (System, Traffic) {
    let classes = vec![class(Some(0.6), None), class(Some(2.0), Some(4.0)), class(None, Some(3.0))];
    let mut engine = machine();
    engine.max_batch = 1 + draw::below(draw::mix(seed, 1), 4) as u32;
    engine.kv_tokens = 500 + draw::below(draw::mix(seed, 2), 2000) as u64;
    let mut pools = vec![owned(engine, 1), cloud(1.0 + 9.0 * draw::unit(seed))];
    if seed % 2 == 1 {
        let slot_usd_per_s = 1e-3 * draw::unit(draw::mix(seed, 3));
        pools[0].energy = EnergyPrice { prefill_usd_per_s: 5e-3, slot_usd_per_s };
    }
    let call = |n: u64| {
        let seed = draw::mix(seed, 100 + n);
        let below = |with, n| draw::below(draw::mix(seed, with), n);
        let mut call = arrival(0.05 * n as f64, 50 + below(1, 400) as u32, 1 + below(2, 80) as u32);
        call.class = ClassId(below(3, 3) as u8);
        let shared = Block { hash: below(4, 2) as u64, tokens: 40 };
        call.prefix = [shared, Block { hash: 10 + shared.hash, tokens: call.input - 40 }].into();
        call
    };
    (system(pools, classes), traffic((0..6).map(call).collect()))
}

#[test]
fn no_assignment_played_by_real_engines_beats_the_bound() {
    for seed in 0..6 {
        let (system, traffic) = small(seed);
        let best = assignments(6, 3).map(|to| play(&system, &traffic, &to)).fold(f64::INFINITY, f64::min);
        for slot_s in [0.1, 0.5, 10.0] {
            let quick = Effort { iterations: 60, ..effort(slot_s) };
            let bound = bound(&system, &traffic, Goal::Cost, &quick);
            assert!(bound.value <= best, "{seed}: {} > {best}", bound.value);
            assert!(bound.value >= bound.trivial, "{seed}");
        }
    }
}

#[test]
fn energy_is_part_of_the_bound() {
    let mut pool = owned(machine(), 1);
    pool.energy = EnergyPrice { prefill_usd_per_s: 1e-3, slot_usd_per_s: 1e-4 };
    let system = system(vec![pool], vec![class(Some(1.0), None)]);
    let bound = cost(&system, &traffic(vec![arrival(0.0, 90, 11)]), 1.0).value;
    // 0.1 s of prefill, then ten steps of 22 ms alone in the batch.
    let usd = 0.1 * 1e-3 + 0.22 * 1e-4;
    assert!((bound - usd).abs() < 1e-9, "{bound} is not {usd}");
}

#[test]
fn short_slots_come_close_to_the_best_assignment_of_a_crowd() {
    // Six prompts of 0.41 s at once, in time within 0.95 s: two can be, and four go to the cloud, at $0.004 each.
    let system = system(vec![owned(machine(), 1), cloud(10.0)], vec![class(Some(0.95), None)]);
    let traffic = traffic(vec![arrival(0.0, 399, 1); 6]);
    let best = assignments(6, 3).map(|to| play(&system, &traffic, &to)).fold(f64::INFINITY, f64::min);
    assert!((best - 0.016).abs() < 1e-9, "{best}");
    // Work can be divided in the program: 0.95 s hold 2.3 of them.
    let bound = cost(&system, &traffic, 0.05).value;
    assert!(bound > 0.9 * (6.0 - 0.95 / 0.409) * 0.004 && bound <= best, "{bound}");
}

#[test]
fn without_multipliers_the_bound_is_prices_and_chance() {
    let system = system(vec![cloud(2.0)], vec![class(Some(1.0), None)]);
    let dear = arrival(1.0, 1_000_000, 1);
    let bound = cost(&system, &traffic(vec![arrival(0.0, 900, 100), dear]), 1.0);
    // The first is bought, the second would cost more than its miss.
    assert!((bound.trivial - 0.012).abs() < 1e-6 && bound.value == bound.trivial, "{bound:?}");
    assert_eq!(cost(&system, &traffic(Vec::new()), 1.0).value, 0.0);
}

/// 300 calls that come one every 50 ms, of which little more than a third has room.
fn crowd(engine: Batching, output: u32) -> (System, Traffic) {
    let calls = (0..300).map(|n| arrival(0.05 * f64::from(n), 90, output)).collect();
    (system(vec![owned(engine, 1), cloud(20.0)], vec![class(Some(1.0), None)]), traffic(calls))
}

#[test]
fn where_prefill_is_short_the_bound_is_the_optimum() {
    // 0.1 s each and 15.95 s of time for it: 140 calls go to the cloud.
    let (system, traffic) = crowd(machine(), 1);
    let bound = cost(&system, &traffic, 1.0);
    let optimum = (300.0 - 15.95 / 0.1) * 91.0 * 20e-6;
    assert!(bound.value <= optimum && bound.value > 0.97 * optimum, "{} {optimum}", bound.value);
    // A second endpoint would be worth nearly all of it.
    let worth = &bound.worth[0];
    assert_eq!((&*worth.pool, worth.of), ("owned", More::Endpoint));
    assert!(worth.total > 0.8 * optimum && worth.total < 1.4 * optimum, "{worth:?} {optimum}");
}

#[test]
fn where_seats_are_short_the_bound_knows_what_prefill_slows() {
    // 40 tokens after the first at 7 ms each, and half of 0.1 s of prefill: 0.323 s of a full batch. The last tokens may
    // come long after the last arrival.
    let (system, traffic) = crowd(machine(), 41);
    let bound = cost(&system, &traffic, 1.0);
    let (longest, shortest) = (15.95 + 40.0 * 0.056, 15.0);
    let usd = |seconds: f64| (300.0 - seconds / (40.0 * 0.007 + 0.05)) * 131.0 * 20e-6;
    assert!(bound.value < usd(shortest) && bound.value > 0.95 * usd(longest), "{}", bound.value);
    let seats = bound.rows.iter().find(|r| r.resource == Resource::Seats).unwrap();
    assert!(seats.binding() > 10, "{seats:?}");
}

#[test]
fn a_steady_share_of_a_crowd_played_by_a_real_engine_comes_close_from_above() {
    for output in [1, 21, 41] {
        let (system, traffic) = crowd(machine(), output);
        let share = |of: usize| -> Vec<usize> {
            (0..300).map(|n| usize::from(n * of / 100 == (n + 1) * of / 100)).collect()
        };
        let played = (5..60).map(|of| play(&system, &traffic, &share(of)));
        let best = played.fold(f64::INFINITY, f64::min);
        let bound = cost(&system, &traffic, 1.0).value;
        assert!(bound <= best && bound > 0.85 * best, "{output}: {bound} {best}");
    }
}

#[test]
fn where_memory_is_short_the_bound_is_higher_than_seats_alone_would_make_it() {
    let (roomy, traffic) = crowd(machine(), 41);
    let (tight, _) = crowd(Batching { kv_tokens: 140, ..machine() }, 41);
    let (roomy, tight) = (cost(&roomy, &traffic, 1.0), cost(&tight, &traffic, 1.0));
    // One call at a time: 40 steps of 22 ms.
    let optimum = (300.0 - 18.0 / (40.0 * 0.0207 + 0.05)) * 131.0 * 20e-6;
    assert!(
        tight.value > 1.05 * roomy.value && tight.value > 0.9 * optimum,
        "{} {}",
        tight.value,
        roomy.value
    );
    assert!(tight.value < 300.0 * 131.0 * 20e-6);
}

#[test]
fn where_requests_are_limited_the_bound_is_the_optimum() {
    // 300 calls in 15 s; two a second and ten at once are let through, and the rest is missed.
    let mut pool = cloud(1.0);
    pool.requests = Some(Limit::per_minute(120.0, 10.0));
    let system = system(vec![pool], vec![class(Some(1.0), None)]);
    let calls = (0..300).map(|n| arrival(0.05 * f64::from(n), 90, 10)).collect();
    let bound = cost(&system, &traffic(calls), 0.5);
    let (through, each) = (10.0 + 2.0 * 15.95, 1e-4);
    let optimum = through * each + (300.0 - through) * 0.01;
    assert!(bound.value <= optimum && bound.value > 0.9 * optimum, "{} {optimum}", bound.value);
    assert!(bound.worth.iter().any(|w| w.of == More::Requests && w.total > 0.0));
}

#[test]
fn more_of_anything_never_raises_the_bound() {
    let (mut system, traffic) = crowd(machine(), 20);
    system.pools[1].requests = Some(Limit::of_gate(60));
    system.pools[1].tokens = Some(TokenLimit { limit: Limit::per_minute(20_000.0, 3000.0), output: true });
    let less = cost(&system, &traffic, 1.0).value;
    let mut more = [system.clone(), system.clone(), system.clone(), system.clone()];
    more[0].pools[0] = owned(machine(), 2);
    more[1].pools[1].requests = Some(Limit::of_gate(90));
    more[2].pools[1].tokens = None;
    more[3].classes[0].first_token = Some(Duration::from_secs(2));
    for system in &more {
        // What the ascent leaves open is all that may be between them.
        let more = cost(system, &traffic, 1.0).value;
        assert!(more <= 1.005 * less, "{more} {less}");
    }
}

#[test]
fn a_pool_that_is_down_or_out_of_contact_does_nothing() {
    let calls = (0..100).map(|n| arrival(0.2 * f64::from(n), 90, 1)).collect();
    let traffic = traffic(calls);
    let up = system(vec![owned(machine(), 1)], vec![class(Some(0.5), None)]);
    assert!(cost(&up, &traffic, 0.1).value < 1e-6);
    let mut down = up.clone();
    down.pools[0].down = vec![(Instant::from_secs_f64(5.0), Instant::from_secs_f64(10.0))];
    // 25 calls come then, and those of the last half second may still be in time.
    let value = cost(&down, &traffic, 0.1).value;
    assert!(value <= 0.25 && value > 0.2, "{value}");
    let mut away = up;
    away.pools[0].contact = Some(ContactWindow {
        period: Duration::from_secs(10),
        length: Duration::from_secs(5),
        anchor: Timestamp::from_millis(0),
    });
    let value = cost(&away, &traffic, 0.1).value;
    assert!(value <= 0.5 && value > 0.4, "{value}");
}

#[test]
fn misses_of_one_class_are_bounded_as_if_it_were_alone() {
    let (mut system, mut traffic) = crowd(machine(), 1);
    system.pools.truncate(1);
    system.classes.push(class(Some(1.0), None));
    traffic.arrivals.iter_mut().step_by(3).for_each(|a| a.class = ClassId(1));
    let misses = |of| bound(&system, &traffic, Goal::Misses(of), &effort(1.0)).value;
    let (all, first, second) = (misses(None), misses(Some(ClassId(0))), misses(Some(ClassId(1))));
    assert!(all > 0.97 * 140.5 && all <= 140.5, "{all}");
    assert!(first > 0.9 * 40.5 && first <= 40.5, "{first}");
    assert!(second < 1.0, "{second}");
}

#[test]
fn chance_counts_and_a_second_try_in_time_makes_it_smaller() {
    let mut pool = cloud(1.0);
    pool.engines = vec![Settings::Opaque(Opaque {
        ttft_median_s: 0.4,
        ttft_sigma: 0.5,
        prefill_token_s: 0.0,
        tpot_s: 0.01,
        max_jobs: 10,
    })];
    pool.delay = Duration::ZERO;
    let mut system = system(vec![pool], vec![class(Some(1.0), None)]);
    let traffic = traffic(vec![arrival(0.0, 999, 1); 1000]);
    // P(LN(0.4, 0.5) > 1) = P(Z > 1.8326) = 0.033431.
    let one = cost(&system, &traffic, 1.0).value;
    assert!((one - 1000.0 * (0.001 + 0.01 * 0.033_431)).abs() < 1e-4, "{one}");
    system.classes[0].tries = 2;
    let two = cost(&system, &traffic, 1.0).value;
    assert!(two < one && two > 1.0, "{two}");
}

#[test]
fn what_was_asked_before_is_cached_and_a_prompts_last_token_never_is() {
    let mut growing = [arrival(0.0, 100, 5), arrival(1.0, 300, 5), arrival(2.0, 200, 5)];
    for call in &mut growing {
        call.prefix = [Block { hash: 7, tokens: call.input }].into();
    }
    let calls = demand::calls(&traffic(growing.to_vec()));
    assert_eq!(calls.iter().map(|c| c.cached).collect::<Vec<_>>(), [0, 100, 199]);
}

#[test]
fn the_latency_floor_is_the_soonest_engines_own_time() {
    let mut provider = cloud(1.0);
    provider.engines = vec![Settings::Opaque(Opaque {
        ttft_median_s: 0.5,
        ttft_sigma: 0.4,
        prefill_token_s: 0.0,
        tpot_s: 0.01,
        max_jobs: 10,
    })];
    let traffic = traffic((0..100).map(|n| arrival(f64::from(n), 100, 10)).collect());
    let classes = vec![class(None, None)];
    let floor = |pools| latency_floor(&system(pools, classes.clone()), &traffic).remove(0);
    // Twice 1 ms on the way, and 110 ms of prefill.
    let alone = floor(vec![owned(machine(), 1)]);
    assert!((alone.p50_s - 0.112).abs() < 1e-5 && (alone.p99_s - 0.112).abs() < 1e-5, "{alone:?}");
    // The 99th percentile of a log-normal is its median times e^(2.3263 sigma).
    let provider = floor(vec![provider]);
    assert!((provider.p50_s - 0.502).abs() < 1e-4, "{provider:?}");
    assert!((provider.p99_s - 0.002 - 0.5 * (0.4f64 * 2.3263).exp()).abs() < 1e-3, "{provider:?}");
}

#[test]
fn calls_thrown_together_lead_to_multipliers_that_hold_for_each() {
    let calls = (0..24_000u32).map(|n| {
        let seed = u64::from(n);
        let size = |with, n| 1 + draw::below(draw::mix(seed, with), n) as u32;
        arrival(f64::from(n) * 0.002, size(1, 60), size(2, 10))
    });
    let traffic = traffic(calls.collect());
    let system = system(vec![owned(machine(), 4), cloud(20.0)], vec![class(Some(1.0), None)]);
    let bound = bound(&system, &traffic, Goal::Cost, &Effort { iterations: 60, ..effort(2.0) });
    assert!(bound.aggregates < 10_000, "{}", bound.aggregates);
    assert!(bound.value > bound.trivial && (bound.aggregated - bound.value).abs() < 0.05 * bound.value);
}

#[test]
fn the_bound_is_the_same_on_any_number_of_threads() {
    let size = |n: u32| 1 + draw::below(u64::from(n), 60) as u32;
    let mut calls: Vec<Arrival> = (0..40_000).map(|n| arrival(f64::from(n) * 0.002, size(n), 5)).collect();
    calls.iter_mut().step_by(3).for_each(|call| call.class = ClassId(1));
    let classes = vec![class(Some(1.0), None), class(None, Some(60.0))];
    let (system, traffic) = (system(vec![owned(machine(), 4), cloud(20.0)], classes), traffic(calls));
    let on =
        |threads| bound(&system, &traffic, Goal::Cost, &Effort { iterations: 8, threads, ..effort(2.0) });
    let one = on(1);
    assert_eq!(one, on(2));
    assert_eq!(one, on(5));
}
