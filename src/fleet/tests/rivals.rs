//! The rules of others, under our failover.

use super::*;
use crate::policy::Policy;
use crate::policy::rival::{Place, Rule, Spill};

fn world(rule: Rule) -> World {
    let mut settings = Settings::default();
    settings.choice.policy = Policy::Rival(rule);
    World::with(catalog(), settings, 2)
}

fn pools(w: &mut World, calls: usize) -> Vec<PoolId> {
    (0..calls)
        .map(|i| {
            let facts = w.facts(i as f64);
            let ticket = w.start(&facts, i as f64);
            let pool = ticket.dispatch.pool;
            w.end(&facts, ticket, ok(1000, 100), i as f64 + 0.5);
            pool
        })
        .collect()
}

#[test]
fn a_rival_chooses_and_its_name_is_the_reason() {
    let mut w = world(Rule::RoundRobin);
    let seen = pools(&mut w, 6);
    assert_eq!(seen[..3], seen[3..]);
    let facts = w.facts(9.0);
    let reason = w.go(&facts, 9.0).reason;
    assert_eq!((reason.policy, reason.j_usd), ("round-robin", None));
    let explained = w.fleet.explain(&facts, at(9.0));
    assert!(explained.outcome.contains(&format!("round-robin: {}", reason.pool)), "{}", explained.outcome);
}

#[test]
fn explaining_a_rival_changes_nothing() {
    let (mut a, mut b) = (world(Rule::RoundRobin), world(Rule::RoundRobin));
    let facts = b.facts(0.0);
    a.facts(0.0);
    for _ in 0..5 {
        b.fleet.explain(&facts, at(0.0));
    }
    assert_eq!(pools(&mut a, 6), pools(&mut b, 6));
}

#[test]
fn a_rival_skips_a_pool_that_is_out_and_tries_elsewhere_after_a_failure() {
    for rule in Rule::ALL {
        let mut w = world(rule);
        let facts = w.facts(0.0);
        let first = w.go(&facts, 0.0);
        let past = [tried(&first, FailureKind::ServerError, false)];
        let Decision::Dispatch(second) = w.decide(&facts, &past, 0.1) else { panic!("{rule}") };
        assert_ne!(first.pool, second.pool, "{rule}");
        let _ = w.fleet.drain(second.pool, at(0.2));
        let Decision::Dispatch(third) = w.decide(&facts, &past, 0.3) else { panic!("{rule}") };
        assert!(third.pool != first.pool && third.pool != second.pool, "{rule}");
    }
}

#[test]
fn spilling_follows_the_load_that_this_router_caused() {
    let mut w = world(Rule::Spill(Spill { share: 1.0, backlog_s: 1e9 }));
    let facts = w.facts(0.0);
    let mut held: Vec<Ticket> = (0..128).map(|_| w.start(&facts, 0.0)).collect();
    assert!(held.iter().all(|t| t.dispatch.pool == OWN));
    assert_eq!(w.go(&facts, 0.0).pool, CHEAP);
    w.end(&facts, held.remove(0), ok(1000, 100), 1.0);
    assert_eq!(w.go(&facts, 1.0).pool, OWN);
}

#[test]
fn the_fastest_is_learned_from_first_tokens() {
    let mut w = world(Rule::named("lowest-latency").unwrap());
    for pool in [OWN, CHEAP, DEAR] {
        w.serve(pool, if pool == DEAR { 0.2 } else { 0.6 }, 0.0);
    }
    assert!(pools(&mut w, 1).iter().all(|p| *p == DEAR));
}

fn placed(place: Place, endpoints: usize) -> World {
    let mut settings = Settings::default();
    settings.choice.place = place;
    let mut c = catalog();
    c.models[0].offers.truncate(1);
    World::with(c, settings, endpoints)
}

fn prompt(blocks: &[u64]) -> Arc<[Block]> {
    blocks.iter().map(|&hash| Block { hash, tokens: 512 }).collect()
}

fn of(w: &mut World, blocks: &[u64], now: f64) -> CallFacts {
    let input_tokens = 512 * blocks.len() as u32;
    CallFacts { prefix: prompt(blocks), input_tokens, ..w.facts(now) }
}

#[test]
fn a_known_prompt_goes_where_it_was_sent_before_and_counts_as_less_work() {
    for place in [Place::Work, Place::LMetric, Place::Mooncake, Place::named("smg-cache-aware").unwrap()] {
        let mut w = placed(place, 4);
        let facts = of(&mut w, &[1, 2, 3, 4], 0.0);
        let first = w.start(&facts, 0.0);
        assert!((first.dispatch.work_s - 0.2048).abs() < 1e-9);
        let home = first.dispatch.endpoint;
        w.end(&facts, first, ok(2048, 100), 1.0);
        let facts = of(&mut w, &[1, 2, 3, 4, 5], 2.0);
        let next = w.go(&facts, 2.0);
        assert_eq!(next.endpoint, home, "{place}");
        assert!((next.work_s - 0.0512).abs() < 1e-9, "{place}: {}", next.work_s);
    }
}

#[test]
fn a_prompt_is_forgotten_when_the_cache_had_room_for_others() {
    let mut w = placed(Place::Work, 1);
    let facts = of(&mut w, &[1, 2], 0.0);
    let t = w.start(&facts, 0.0);
    w.end(&facts, t, ok(1024, 100), 1.0);
    // 100,000 tokens of other prompts.
    for i in 0..50 {
        let other = of(&mut w, &[100 + 10 * i, 101 + 10 * i, 102 + 10 * i, 103 + 10 * i], 2.0);
        let t = w.start(&other, 2.0);
        w.end(&other, t, ok(2048, 10), 3.0);
    }
    let again = w.go(&facts, 4.0);
    assert!((again.work_s - 0.1024).abs() < 1e-9);
}

#[test]
fn a_known_prompt_finds_its_endpoint_among_many_too() {
    let mut w = placed(Place::Work, 60);
    // All of them hold what all prompts begin with.
    for i in 0..300 {
        let facts = of(&mut w, &[1, 2, 1_000 + i], 0.0);
        let t = w.start(&facts, 0.0);
        w.end(&facts, t, ok(1536, 100), 0.0);
    }
    for i in 0..20 {
        let facts = of(&mut w, &[1, 2, 3, 10_000 + i, 20_000 + i], 1.0);
        let first = w.start(&facts, 1.0);
        let home = first.dispatch.endpoint;
        w.end(&facts, first, ok(2560, 100), 1.0);
        let facts = of(&mut w, &[1, 2, 3, 10_000 + i, 20_000 + i, 30_000 + i], 2.0);
        let next = w.start(&facts, 2.0);
        assert_eq!(next.dispatch.endpoint, home);
        w.end(&facts, next, ok(3072, 100), 2.0);
    }
}

#[test]
fn a_call_without_a_chain_leaves_nothing_to_remember() {
    let mut w = placed(Place::Work, 2);
    let facts = w.facts(0.0);
    let t = w.start(&facts, 0.0);
    assert_eq!(w.fleet.prefixes.held(t.dispatch.endpoint, ModelId(0)), 0);
}

#[test]
fn a_rival_places_only_where_the_call_may_go() {
    for place in Place::ALL {
        let mut w = placed(place, 3);
        let facts = w.facts(0.0);
        let first = w.go(&facts, 0.0);
        let past = [tried(&first, FailureKind::ServerError, true)];
        for _ in 0..20 {
            let Decision::Dispatch(second) = w.decide(&facts, &past, 0.1) else { panic!("{place}") };
            assert_ne!(second.endpoint, first.endpoint, "{place}");
        }
        w.fleet.set_endpoints(OWN, &[address("own", 1)], at(1.0));
        let last = w.go(&facts, 1.0);
        assert_eq!(*last.address.origin, *"http://own-1", "{place}");
    }
}

#[test]
fn least_request_spreads_calls_evenly() {
    let mut w = placed(Place::LeastRequest, 4);
    let facts = w.facts(0.0);
    let tickets: Vec<_> = (0..40).map(|_| w.start(&facts, 0.0)).collect();
    for e in 0..4 {
        let there = |t: &&Ticket| *t.dispatch.address.origin == *format!("http://own-{e}");
        assert_eq!(tickets.iter().filter(there).count(), 10);
    }
}

#[test]
fn chwbl_keeps_a_session_at_one_endpoint_while_the_load_is_even() {
    let mut w = placed(Place::named("chwbl").unwrap(), 8);
    let mut ends = std::collections::BTreeSet::new();
    for i in 0..10 {
        let facts = CallFacts { session: Some(SessionKey(77)), ..w.facts(f64::from(i)) };
        let t = w.start(&facts, f64::from(i));
        ends.insert(t.dispatch.endpoint);
        w.end(&facts, t, ok(1000, 100), f64::from(i) + 0.5);
    }
    assert_eq!(ends.len(), 1);
}
