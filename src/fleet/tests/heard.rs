//! What servers say beside their answers.

use super::*;

fn said(limit: u64, remaining: u64) -> Aside {
    let minute = Some(Duration::from_secs(60));
    let requests = Allowance { limit: Some(limit), remaining: Some(remaining), reset: None, window: minute };
    let allowances = Some(Allowances { requests, ..Allowances::default() });
    Aside { allowances, load: None }
}

/// Only the pool `cheap`.
fn cheap_only() -> Catalog {
    let mut c = catalog();
    let cheap = c.models[0].offers[1];
    c.models[0].offers = vec![cheap];
    c
}

#[test]
fn a_provider_that_says_that_nothing_is_left_is_left_alone_until_something_is() {
    let mut w = World::new(catalog(), 1);
    let facts = w.facts(1.0);
    let ticket = w.start_at(&facts, CHEAP, 1.0);
    let only_cheap = CallFacts { hints: Hints { pools: vec!["cheap".into()], ..Hints::default() }, ..facts };
    assert_eq!(w.go(&only_cheap, 1.0).pool, CHEAP, "no report changes nothing");
    w.fleet.heard(&ticket, &said(60, 0), at(1.0));
    let Decision::Wait { until, reason, .. } = w.decide(&only_cheap, &[], 1.0) else { panic!() };
    assert!((until.as_secs_f64() - 2.0).abs() < 1e-6, "{until:?}");
    assert!(reason.contains("used up"), "{reason}");
    assert_eq!(w.go(&only_cheap, 2.1).pool, CHEAP);
    w.end(&only_cheap, ticket, ok(1000, 100), 3.0);
}

#[test]
fn what_one_model_has_left_says_nothing_of_another() {
    let mut w = World::new(catalog(), 1);
    let facts =
        CallFacts { hints: Hints { pools: vec!["cheap".into()], ..Hints::default() }, ..w.facts(1.0) };
    let ticket = w.start(&facts, 1.0);
    w.fleet.heard(&ticket, &said(60, 0), at(1.0));
    assert!(matches!(w.decide(&facts, &[], 1.0), Decision::Wait { .. }));
    let other = CallFacts { model: ModelId(1), ..facts };
    assert_eq!(w.go(&other, 1.0).pool, CHEAP);
    w.end(&other, ticket, ok(1000, 100), 3.0);
}

#[test]
fn calls_that_were_sent_since_are_taken_off_what_was_said() {
    let mut w = World::new(cheap_only(), 1);
    let facts = w.facts(1.0);
    let first = w.start(&facts, 1.0);
    let second = w.start(&facts, 1.1);
    w.fleet.heard(&first, &said(60, 1), at(1.1));
    assert!(matches!(w.decide(&facts, &[], 1.1), Decision::Wait { .. }), "the second has taken the last");
    w.fleet.heard(&second, &said(60, 2), at(1.2));
    assert_eq!(w.go(&facts, 1.2).pool, CHEAP, "newer news counts");
    for ticket in [first, second] {
        w.end(&facts, ticket, ok(1000, 100), 3.0);
    }
}

#[test]
fn a_pool_whose_headers_are_to_be_ignored_is_not_held_to_them() {
    let mut c = cheap_only();
    c.pools[CHEAP.index()].grants.said = SaidGrants::Ignored;
    let mut w = World::new(c, 1);
    let facts = w.facts(1.0);
    let ticket = w.start(&facts, 1.0);
    w.fleet.heard(&ticket, &said(60, 0), at(1.0));
    assert_eq!(w.go(&facts, 1.0).pool, CHEAP);
    w.end(&facts, ticket, ok(1000, 100), 3.0);
}

#[test]
fn the_last_of_what_a_provider_has_left_is_for_those_who_gain_most_by_it() {
    let mut w = World::new(catalog(), 1);
    let facts = w.facts(1.0);
    let metered = CallFacts {
        hints: Hints { pools: vec!["cheap".into(), "dear".into()], ..Hints::default() },
        ..facts
    };
    let ticket = w.start(&metered, 1.0);
    assert_eq!(ticket.dispatch.pool, CHEAP);
    // Enough for a sixth of a minute is enough.
    w.fleet.heard(&ticket, &said(6000, 2000), at(1.0));
    for _ in 0..50 {
        assert_eq!(w.go(&metered, 1.0).pool, CHEAP);
    }
    w.fleet.heard(&ticket, &said(6000, 20), at(1.0));
    assert_eq!(w.go(&metered, 1.0).pool, DEAR);
    w.end(&metered, ticket, ok(1000, 100), 3.0);
}

#[test]
fn p04_a_quota_that_the_provider_calls_used_up_is_empty_until_its_window_ends_or_an_operator_resumes() {
    let mut c = cheap_only();
    let every = Duration::from_secs(18_000);
    c.pools[CHEAP.index()].grants.quota = Some(Quota { tokens: 1_000_000, every, anchor: at(0.0).wall });
    let mut w = World::new(c, 1);
    w.fail(CHEAP, FailureKind::QuotaExhausted, 1.0);
    // Long after the offer itself would be tried again.
    let granted = |w: &mut World, now| {
        let facts = CallFacts { class: BACKGROUND, ..w.facts(now) };
        let facts = CallFacts { deadline: at(1e6).mono, ..facts };
        match w.decide(&facts, &[], now) {
            Decision::Wait { until, .. } => until,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(granted(&mut w, 17_000.0), at(18_000.0).mono);
    let facts = w.facts(18_001.0);
    assert_eq!(w.go(&facts, 18_001.0).pool, CHEAP);
    w.fail(CHEAP, FailureKind::QuotaExhausted, 18_100.0);
    w.fleet.drain(CHEAP, at(35_000.0));
    w.fleet.resume(CHEAP, at(35_000.0));
    let facts = w.facts(35_500.0);
    assert_eq!(w.go(&facts, 35_500.0).pool, CHEAP);
}

fn busy(running: u32, waiting: u32, kv_permille: u16) -> EngineLoad {
    EngineLoad { running: Some(running), waiting: Some(waiting), kv_permille: Some(kv_permille) }
}

/// Where of the two own endpoints ten calls would go at `now`.
fn goes_to(w: &mut World, now: f64) -> Vec<u32> {
    let facts = w.facts(now);
    let mut seen: Vec<u32> = (0..10).map(|_| w.go(&facts, now).endpoint.0).collect();
    seen.sort_unstable();
    seen.dedup();
    seen
}

#[test]
fn what_another_router_sends_to_an_endpoint_is_seen_and_goes_around() {
    let mut w = World::alone(2);
    assert_eq!(goes_to(&mut w, 1.0), [0, 1], "no report changes nothing");
    let (first, second) = (w.fleet.places(OWN)[0].0, w.fleet.places(OWN)[1].0);
    w.fleet.reported(OWN, first, busy(40, 0, 300), at(1.0));
    w.fleet.reported(OWN, second, busy(0, 0, 10), at(1.0));
    assert_eq!(goes_to(&mut w, 1.0), [1]);
    assert_eq!(goes_to(&mut w, 9.0), [1], "old news still counts for something");
    assert_eq!(goes_to(&mut w, 11.1), [0, 1], "and then for nothing");
}

#[test]
fn own_calls_are_not_taken_for_anothers() {
    let mut w = World::alone(2);
    let facts = w.facts(1.0);
    let tickets: Vec<Ticket> = (0..8).map(|_| w.start(&facts, 1.0)).collect();
    for (id, _) in w.fleet.places(OWN) {
        let own = tickets.iter().filter(|t| t.dispatch.endpoint == id).count() as u32;
        assert!(own > 0);
        w.fleet.reported(OWN, id, busy(own, 0, 100), at(1.5));
        let e = w.fleet.pools[OWN.index()].endpoint(id).unwrap();
        assert_eq!(e.load.others().unwrap().calls, 0.0);
        // An engine that has not yet heard of what is on its way has no fewer than none.
        w.fleet.reported(OWN, id, busy(0, 0, 100), at(1.6));
        let e = w.fleet.pools[OWN.index()].endpoint(id).unwrap();
        assert_eq!(e.load.others().unwrap().calls, 0.0);
    }
    for ticket in tickets {
        w.end(&facts, ticket, ok(1000, 100), 3.0);
    }
}

#[test]
fn an_engine_whose_cache_is_full_takes_no_more_at_once_than_it_has() {
    let mut w = World::alone(2);
    let (first, second) = (w.fleet.places(OWN)[0].0, w.fleet.places(OWN)[1].0);
    w.fleet.reported(OWN, first, busy(8, 0, 950), at(1.0));
    w.fleet.reported(OWN, second, busy(12, 0, 500), at(1.0));
    assert_eq!(goes_to(&mut w, 1.0), [1]);
    w.fleet.reported(OWN, first, busy(8, 0, 880), at(1.5));
    assert_eq!(goes_to(&mut w, 1.5), [0]);
}

#[test]
fn a_pool_that_others_fill_is_dear_and_is_left_to_those_who_need_it() {
    let mut w = World::new(catalog(), 1);
    let facts = w.facts(1.0);
    assert_eq!(w.go(&facts, 1.0).pool, OWN);
    let own = w.fleet.places(OWN)[0].0;
    // Its 64 slots are taken and twenty more wait.
    w.fleet.reported(OWN, own, busy(64, 20, 700), at(1.0));
    assert_eq!(w.go(&facts, 1.0).pool, CHEAP);
    let status = w.fleet.status(at(1.5));
    assert!(status.pools[OWN.index()].utilisation.unwrap() > 1.0);
    assert_eq!(status.pools[OWN.index()].endpoints[0].report, Some((busy(64, 20, 700), 0.5)));
    assert_eq!(w.go(&facts, 11.1).pool, OWN, "an engine that no longer says anything is not ill for it");
}

#[test]
fn a_header_with_less_than_a_page_says_leaves_the_rest_as_it_was_known() {
    let mut w = World::alone(2);
    let first = w.fleet.places(OWN)[0].0;
    w.fleet.reported(OWN, first, busy(40, 0, 950), at(1.0));
    let waiting = EngineLoad { waiting: Some(2), ..EngineLoad::default() };
    w.fleet.reported(OWN, first, waiting, at(2.0));
    let others = w.fleet.pools[OWN.index()].endpoint(first).unwrap().load.others().unwrap();
    assert!((others.calls - 36.0).abs() < 1e-6 && others.full, "{others:?}");
}

#[test]
fn a_report_of_an_endpoint_or_a_pool_that_is_gone_is_nothing() {
    let mut w = World::alone(1);
    w.fleet.reported(OWN, EndpointId(99), busy(1, 1, 1), at(1.0));
    w.fleet.reported(PoolId(99), EndpointId(0), busy(1, 1, 1), at(1.0));
    assert!(w.fleet.places(PoolId(99)).is_empty());
}
