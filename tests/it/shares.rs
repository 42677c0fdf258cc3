//! One tenant asks for a hundred times as much as another, and for five times as much as there is: what the other notices
//! of it, in virtual time.

use std::sync::Arc;

use gridtie::call::Record;
use gridtie::domain::catalog::Tenant;
use gridtie::domain::{CallFacts, Catalog, ClassId, Duration, Ending, Instant, ModelId, OfferId, SessionKey};
use gridtie::engine::draw::{mix, unit};
use gridtie::engine::{Door, Opaque, Settings as Engine};
use gridtie::fleet;
use gridtie::sim::{Arrival, PoolSettings, Routers, Setup, Traffic, world};

use crate::world::{POOLS, catalog};

/// Calls that the pool has room for, and how long each takes: a hundred a second.
const ROOM: u32 = 20;
const CALL_S: f64 = 0.2;
const VICTIM_PER_S: f64 = 5.0;
const SECONDS: f64 = 20.0;

const VICTIM: u32 = 1;
const ATTACKER: u32 = 2;

fn one_pool() -> Arc<Catalog> {
    let mut catalog = (*catalog()).clone();
    catalog.models[0].offers = vec![OfferId(0)];
    catalog.pools[0].max_in_flight = Some(ROOM);
    catalog.tenants.extend(["victim", "attacker"].map(|name| Tenant { name: name.into() }));
    Arc::new(catalog)
}

fn setup() -> Setup {
    let engine = Opaque {
        ttft_median_s: CALL_S,
        ttft_sigma: 0.0,
        prefill_token_s: 0.0,
        tpot_s: 0.0,
        max_jobs: 10 * ROOM,
    };
    let pool = |i: usize| PoolSettings {
        engines: vec![Engine::Opaque(engine)],
        addresses: vec![Arc::new(gridtie::domain::Address {
            origin: format!("sim://{}/0", POOLS[i]).into(),
            socket: None,
        })],
        door: Door::default(),
        seed: i as u64,
    };
    Setup {
        catalog: one_pool(),
        routing: fleet::Settings::default(),
        pools: (0..POOLS.len()).map(pool).collect(),
        faults: Vec::new(),
        start: gridtie::domain::Timestamp::from_millis(1_800_000_000_000),
        routers: Routers::default(),
    }
}

/// Calls at random times, so many a second.
fn calls(client: u32, per_s: f64, seed: u64) -> Vec<Arrival> {
    let mut at = 0.0;
    let next = |i: u64| {
        at += -(1.0 - unit(mix(seed, i))).ln() / per_s;
        Arrival {
            at: Instant::from_secs_f64(at),
            model: ModelId(0),
            class: ClassId(0),
            input: 500,
            output: 20,
            stream: true,
            client,
            session: None,
            prefix: Arc::default(),
        }
    };
    (0..).map(next).take_while(|call| call.at < Instant::from_secs_f64(SECONDS)).collect()
}

/// Of the victim's calls: how many, how many without an answer, and what a hundredth waited longer than.
fn victims(calls: impl IntoIterator<Item = Arrival>) -> (usize, usize, Duration) {
    let mut arrivals: Vec<Arrival> = calls.into_iter().collect();
    arrivals.sort_by_key(|call| call.at);
    let traffic = Traffic { name: "flood".to_owned(), arrivals };
    let (mut waits, mut refused) = (Vec::new(), 0);
    world::run_shown(&setup(), &traffic, 1, &mut |facts: &CallFacts, record: &Record| {
        if facts.session == Some(SessionKey(1)) {
            match (record.ending, record.attempts.first()) {
                (Some(Ending::Ok), Some(first)) => waits.push(first.started.since(facts.arrived)),
                _ => refused += 1,
            }
        }
    });
    waits.sort_unstable();
    (waits.len() + refused, refused, waits[waits.len() * 99 / 100])
}

#[test]
fn o03_a_tenant_with_a_hundred_times_the_calls_takes_nothing_from_another() {
    // Sessions mark the victim's calls, so that the same can be asked where both are one tenant.
    let marked =
        |client: u32| calls(client, VICTIM_PER_S, 1).into_iter().map(|a| Arrival { session: Some(1), ..a });
    let flood = |client: u32| calls(client, 100.0 * VICTIM_PER_S, 2);
    let alone = victims(marked(VICTIM));
    let beside = victims(marked(VICTIM).chain(flood(ATTACKER)));
    let as_one = victims(marked(VICTIM).chain(flood(VICTIM)));
    eprintln!("alone {alone:?}, beside the attacker {beside:?}, as one tenant with it {as_one:?}");
    assert_eq!((alone.1, beside.1), (0, 0), "none is refused");
    assert!(beside.0 >= 80 && as_one.1 * 2 > as_one.0, "the flood is no flood: {as_one:?}");
    // A place becomes free every 10 ms; a lap is eight calls.
    assert!(beside.2 < Duration::from_millis(250), "{:?}", beside.2);
}
