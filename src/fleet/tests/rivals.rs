//! The rules of others, under our failover.

use super::*;
use crate::policy::Policy;
use crate::policy::rival::{Rule, Spill};

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
