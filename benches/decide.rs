//! What a decision costs, view building included: `cargo bench --bench decide`.

#![expect(clippy::panic, reason = "a benchmark")]

use std::sync::Arc;

use divan::{Bencher, black_box};
use gridtie::domain::{
    Address, AskKind, CallFacts, CallId, Capabilities, Catalog, Class, ClassId, Duration, EnginePrior,
    FailureKind, Hints, Instant, Model, ModelId, Now, Offer, OfferId, Pool, PoolId, Price, Prices,
    SessionKey, TenantId, Tenure, Timestamp, Usage,
};
use gridtie::fleet::{AttemptEnd, Decision, Fleet, Settings, Tried};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;

fn main() {
    divan::main();
}

/// Pools, and endpoints of each.
const SIZES: [(u16, usize); 5] = [(4, 4), (16, 1), (16, 16), (64, 1), (64, 64)];

fn at(s: f64) -> Now {
    Now {
        mono: Instant::from_secs_f64(s),
        wall: Timestamp::from_millis(1_800_000_000_000 + (s * 1e3) as u64),
    }
}

fn catalog(pools: u16) -> Catalog {
    let mut c = Catalog::default();
    let mut model =
        Model { name: "chat-large".into(), aliases: vec![], kind: AskKind::Chat, offers: Vec::new() };
    for i in 0..pools {
        let owned = i % 4 == 0;
        let name: Arc<str> = format!("pool-{i}").into();
        c.pools.push(Pool {
            name: Arc::clone(&name),
            tenure: if owned { Tenure::Owned } else { Tenure::Metered },
            region: None,
            failure_domain: name,
            contact: None,
            lease: None,
            power: None,
            rtt_prior: Duration::from_millis(10),
            grants: Default::default(),
            max_in_flight: Some(100_000),
            order: u32::from(i),
            weight: 1.0,
            engine_prior: EnginePrior::default(),
        });
        let price =
            |usd: f64| if owned { Price::FREE } else { Price::per_million(usd + 0.01 * f64::from(i)) };
        let prices =
            Prices { input: price(0.6), cached: price(0.1), cache_write: price(0.6), output: price(2.4) };
        model.offers.push(OfferId(i));
        c.offers.push(Offer {
            pool: PoolId(i),
            model: ModelId(0),
            hours: None,
            upstream_model: "m".into(),
            prices,
            context_window: Some(131_072),
            capabilities: Capabilities::CHAT_DEFAULT,
        });
    }
    c.models.push(model);
    c.classes.push(Class {
        name: "interactive".into(),
        ttft_target: Some(Duration::from_secs(1)),
        finish_target: None,
        miss_usd: 0.01,
        delay_usd_per_s: 0.002,
        deadline: Duration::from_secs(120),
        reserve: 0.0,
        may_wait: false,
        floor: 0.0,
        in_time: None,
    });
    c
}

fn facts(id: u64) -> CallFacts {
    CallFacts {
        id: CallId(id),
        kind: AskKind::Chat,
        model: ModelId(0),
        class: ClassId(0),
        tenant: TenantId(0),
        input_tokens: 1500,
        max_tokens: Some(1024),
        n: 1,
        needs: Capabilities::CHAT.with(Capabilities::STREAM),
        stream: true,
        session: Some(SessionKey(id.wrapping_mul(0x9e37_79b9_7f4a_7c15))),
        prefix: Default::default(),
        hints: Hints::default(),
        // Just now, as all that are measured: whoever has waited for long is looked at in another way.
        arrived: at(20.0).mono,
        deadline: at(1e6).mono,
        client_retry: false,
    }
}

/// A fleet that has seen traffic: estimates are warm and some calls are under way everywhere.
fn fleet((pools, endpoints): (u16, usize)) -> (Fleet, SmallRng) {
    let catalog = Arc::new(catalog(pools));
    let mut fleet = Fleet::new(Arc::clone(&catalog), Settings::default(), at(0.0));
    let mut rng = SmallRng::seed_from_u64(1);
    for (i, pool) in catalog.pools.iter().enumerate() {
        let address =
            |e| Arc::new(Address { origin: format!("http://{}-{e}", pool.name).into(), socket: None });
        let addresses: Vec<_> = (0..endpoints).map(address).collect();
        fleet.set_endpoints(PoolId(i as u16), &addresses, at(0.0));
    }
    for i in 0..u64::from(pools) * 50 {
        let now = 1.0 + i as f64 * 1e-3;
        let mut facts = facts(i);
        facts.hints.pools = vec![Arc::clone(&catalog.pools[i as usize % catalog.pools.len()].name)];
        let Decision::Dispatch(d) = fleet.decide(&facts, &[], at(now), &mut rng) else {
            panic!("no dispatch")
        };
        let mut ticket = fleet.started(&facts, d, at(now));
        fleet.first_token(&facts, &mut ticket, at(now + 0.3));
        if i % 5 != 0 {
            let usage = Usage { input: 1500, output: 200, ..Usage::default() };
            fleet.ended(&facts, ticket, AttemptEnd::Ok { usage }, at(now + 4.0));
        }
    }
    fleet.tick(at(20.0));
    (fleet, rng)
}

#[divan::bench(args = SIZES, sample_count = 1000)]
fn decide(bencher: Bencher<'_, '_>, size: (u16, usize)) {
    let (mut fleet, mut rng) = fleet(size);
    let mut i = 0;
    bencher.bench_local(move || {
        i += 1;
        let facts = facts(1_000_000 + i % 1000);
        black_box(fleet.decide(&facts, &[], at(20.0 + i as f64 * 1e-6), &mut rng))
    });
}

#[divan::bench(args = SIZES, sample_count = 1000)]
fn decide_again_after_a_failure(bencher: Bencher<'_, '_>, size: (u16, usize)) {
    let (mut fleet, mut rng) = fleet(size);
    let call = facts(1);
    let Decision::Dispatch(d) = fleet.decide(&call, &[], at(20.0), &mut rng) else { panic!("no dispatch") };
    let (offer, pool, endpoint) = (d.offer, d.pool, d.endpoint);
    let past = [Tried { offer, pool, endpoint, kind: FailureKind::Connect, unprocessed: true }];
    bencher.bench_local(move || black_box(fleet.decide(&call, &past, at(20.0), &mut rng)));
}

/// Decide, start, first token, end: all that the fleet does for a call.
#[divan::bench(args = SIZES, sample_count = 1000)]
fn whole_call(bencher: Bencher<'_, '_>, size: (u16, usize)) {
    let (mut fleet, mut rng) = fleet(size);
    let mut i = 0;
    bencher.bench_local(move || {
        i += 1;
        let now = 20.0 + i as f64 * 1e-6;
        let facts = facts(1_000_000 + i % 1000);
        let Decision::Dispatch(d) = fleet.decide(&facts, &[], at(now), &mut rng) else {
            panic!("no dispatch")
        };
        let mut ticket = fleet.started(&facts, d, at(now));
        fleet.first_token(&facts, &mut ticket, at(now + 0.3));
        let usage = Usage { input: 1500, output: 200, ..Usage::default() };
        black_box(fleet.ended(&facts, ticket, AttemptEnd::Ok { usage }, at(now + 3.0)))
    });
}

/// Nobody may serve it: the slowest refusal, with all reasons in words.
#[divan::bench(args = SIZES, sample_count = 1000)]
fn shed(bencher: Bencher<'_, '_>, size: (u16, usize)) {
    let (mut fleet, mut rng) = fleet(size);
    let mut call = facts(1);
    call.needs = Capabilities::IMAGES;
    bencher.bench_local(move || black_box(fleet.decide(&call, &[], at(20.0), &mut rng)));
}
