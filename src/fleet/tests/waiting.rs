use super::*;

fn limited(after: Option<u64>) -> AttemptEnd {
    AttemptEnd::Failed { kind: FailureKind::RateLimited, retry_after: after.map(Duration::from_secs) }
}

#[test]
fn p01_a_limited_pool_is_left_alone_for_as_long_as_it_asked() {
    let mut w = World::new(catalog(), 1);
    let facts = w.facts(0.0);
    let t = w.start(&facts, 0.0);
    let told = w.end(&facts, t, limited(Some(7)), 0.0);
    assert_eq!(tos(&told), ["cooldown"]);
    let later = w.facts(6.9);
    assert_eq!(w.go(&later, 6.9).pool, CHEAP);
    assert_eq!(tos(&w.fleet.tick(at(10.6))), ["healthy"]);
    let later = w.facts(16.0);
    assert_eq!(w.go(&later, 16.0).pool, OWN);
}

#[test]
fn interactive_calls_wait_for_a_short_cooldown_only() {
    let mut w = World::alone(1);
    let facts = w.facts(0.0);
    let t = w.start(&facts, 0.0);
    w.end(&facts, t, limited(Some(1)), 0.0);
    let Decision::Wait { until, reason, .. } = w.decide(&facts, &[], 0.1) else { panic!() };
    assert!(until >= at(1.0).mono && until <= at(1.5).mono, "{until:?}");
    assert!(reason.starts_with("own: cooling down for"), "{reason}");

    let t = w.start(&facts, 2.0);
    w.end(&facts, t, limited(Some(7)), 2.0);
    let Decision::Shed(Refusal::Overloaded { retry_after, .. }) = w.decide(&facts, &[], 2.0) else {
        panic!()
    };
    assert!(retry_after >= Duration::from_secs(7) && retry_after < Duration::from_secs(11));
    let background = CallFacts { class: BACKGROUND, ..facts };
    assert!(matches!(w.decide(&background, &[], 2.0), Decision::Wait { .. }));
}

#[test]
fn p01_a_limited_call_may_go_back_to_the_only_pool_after_its_cooldown() {
    let mut w = World::alone(1);
    let facts = w.facts(0.0);
    let t = w.start(&facts, 0.0);
    let past = [tried(&t.dispatch, FailureKind::RateLimited, false)];
    w.end(&facts, t, limited(Some(1)), 0.0);
    let Decision::Wait { until, .. } = w.decide(&facts, &past, 0.0) else { panic!() };
    assert!(matches!(w.decide(&facts, &past, until.as_secs_f64() + 0.001), Decision::Dispatch(_)));
}

#[test]
fn a_full_pool_is_waited_for_and_the_freed_place_is_told() {
    let mut c = catalog();
    c.models[0].offers.truncate(1);
    c.pools[0].max_in_flight = Some(1);
    let mut w = World::new(c, 2);
    let facts = w.facts(0.0);
    let t = w.start(&facts, 0.0);
    let Decision::Wait { until, .. } = w.decide(&facts, &[], 0.5) else { panic!() };
    assert_eq!(until, at(2.0).mono);
    assert!(matches!(w.decide(&facts, &[], 2.0), Decision::Shed(Refusal::Overloaded { .. })));
    assert_eq!(w.fleet.join(&facts, PLACE, at(0.0)), Ok(()));
    assert_eq!(w.fleet.call_up(), None);
    w.end(&facts, t, ok(10, 10), 1.0);
    assert_eq!(w.fleet.call_up(), Some(facts.id));
    assert_eq!(w.go(&facts, 1.0).pool, OWN);
}

#[test]
fn own_capacity_that_turned_calls_away_gets_no_more_than_it_held() {
    let mut w = World::alone(1);
    let mut tickets = Vec::new();
    for _ in 0..200 {
        let facts = w.facts(0.0);
        let ticket = w.start(&facts, 0.0);
        tickets.push((facts, ticket));
    }
    let full = AttemptEnd::Failed { kind: FailureKind::Overloaded, retry_after: None };
    for (facts, ticket) in tickets.drain(100..) {
        w.end(&facts, ticket, full, 0.0);
    }
    let status = w.fleet.status(at(0.1));
    assert_eq!(status.pools[0].in_flight, 100);
    let facts = CallFacts { class: BACKGROUND, ..w.facts(20.0) };
    let Decision::Wait { reason, .. } = w.decide(&facts, &[], 20.0) else { panic!("it is full") };
    assert!(reason.starts_with("own:"), "{reason}");
    let (first, ticket) = tickets.pop().unwrap();
    w.end(&first, ticket, ok(10, 10), 20.0);
    assert_eq!(w.go(&facts, 20.0).pool, OWN, "and goes as soon as one has left");
}

#[test]
fn what_a_provider_has_too_much_of_is_not_counted_as_ours() {
    let mut w = World::new(catalog(), 1);
    for _ in 0..3 {
        let facts = w.facts(0.0);
        let ticket = w.start_at(&facts, DEAR, 0.0);
        w.end(&facts, ticket, AttemptEnd::Failed { kind: FailureKind::Overloaded, retry_after: None }, 0.0);
    }
    assert_eq!(w.fleet.pools[DEAR.index()].in_flight.limit(), None);
}

#[test]
fn when_all_the_room_to_wait_for_a_price_is_taken_the_next_goes_at_the_price_of_now() {
    let mut w = World::with(catalog(), Settings { deferred_max: 1, ..Settings::default() }, 1);
    // Own capacity that is all taken is worth more than a first bid.
    for _ in 0..80 {
        let facts = w.facts(0.0);
        let _under_way = w.start_at(&facts, OWN, 0.0);
    }
    let facts = CallFacts { class: BACKGROUND, deadline: at(900.0).mono, ..w.facts(0.0) };
    assert!(matches!(w.decide(&facts, &[], 0.0), Decision::Wait { turn: Turn::Alone, .. }));
    w.fleet.defer();
    let next = CallFacts { id: CallId(999), ..facts.clone() };
    let (decision, record) = w.fleet.decide_on_record(&next, &[], at(0.0), &mut w.rng);
    assert!(matches!(decision, Decision::Dispatch(_)), "{decision:?}");
    let again = crate::policy::record::replay(&record, &crate::policy::record::WhatIf::default()).unwrap();
    assert_eq!(again.outcome.word(), record.outcome.word(), "and its record says why");
    w.fleet.undefer();
    assert!(matches!(w.decide(&next, &[], 0.0), Decision::Wait { turn: Turn::Alone, .. }));
}

#[test]
fn a_call_that_may_wait_outwaits_a_spent_retry_budget() {
    let mut w = World::new(catalog(), 1);
    let facts = CallFacts { class: BACKGROUND, ..w.facts(0.0) };
    let ticket = w.start_at(&facts, OWN, 0.0);
    let past = [tried(&ticket.dispatch, FailureKind::Overloaded, false)];
    w.end(&facts, ticket, failed(FailureKind::Overloaded), 0.0);
    let mut waits = None;
    for _ in 0..50 {
        match w.decide(&facts, &past, 0.0) {
            Decision::Dispatch(_) => {}
            other => {
                waits = Some(other);
                break;
            }
        }
    }
    let Some(Decision::Wait { until, reason, turn: Turn::Alone }) = waits else { panic!("{waits:?}") };
    assert!(reason.contains("retry budget"), "{reason}");
    assert!(until > at(0.0).mono);
    let interactive = CallFacts { class: INTERACTIVE, ..facts.clone() };
    assert!(matches!(w.decide(&interactive, &past, 0.0), Decision::Shed(Refusal::Overloaded { .. })));
    assert!(matches!(w.decide(&facts, &past, 30.0), Decision::Dispatch(_)));
}

#[test]
fn a_pool_out_of_contact_is_waited_for_by_those_who_may() {
    let mut c = catalog();
    c.models[0].offers.truncate(1);
    let anchor = at(0.0).wall;
    let (period, length) = (Duration::from_secs(100), Duration::from_secs(20));
    c.pools[0].contact = Some(ContactWindow { period, length, anchor });
    let mut w = World::new(c, 1);
    let mut facts = CallFacts { class: BACKGROUND, ..w.facts(0.0) };
    facts.deadline = at(1000.0).mono;
    assert_eq!(w.go(&facts, 5.0).pool, OWN);
    let Decision::Wait { until, .. } = w.decide(&facts, &[], 50.0) else { panic!() };
    assert_eq!(until, at(100.0).mono);
    // 256 tokens at 30 ms do not fit into the last five seconds.
    let Decision::Wait { until, reason, .. } = w.decide(&facts, &[], 15.0) else { panic!() };
    assert_eq!(until, at(100.0).mono);
    assert!(reason.contains("contact for 5.0 s more"), "{reason}");
    let interactive = CallFacts { class: INTERACTIVE, ..facts };
    let Decision::Shed(Refusal::NoPool { retry_after, permanent, .. }) = w.decide(&interactive, &[], 50.0)
    else {
        panic!()
    };
    assert_eq!((retry_after, permanent), (Duration::from_secs(50), false));
}

#[test]
fn o08_what_cannot_be_in_time_is_not_sent() {
    let mut w = World::new(catalog(), 1);
    let mut facts = w.facts(0.0);
    facts.deadline = at(0.01).mono;
    assert!(matches!(w.decide(&facts, &[], 0.0), Decision::Shed(Refusal::DeadlineExceeded { .. })));
    assert!(matches!(w.decide(&facts, &[], 0.02), Decision::Shed(Refusal::DeadlineExceeded { .. })));
    facts.deadline = at(0.12).mono;
    assert_eq!(w.go(&facts, 0.0).pool, OWN, "only the own pool may make it");
}

#[test]
fn a_try_leaves_time_for_another() {
    let mut w = World::new(catalog(), 1);
    let mut facts = w.facts(0.0);
    // Three times the prior's 99th percentile (four times 170 ms); never less than two seconds.
    assert_eq!(w.go(&facts, 0.0).ttft_limit, Duration::from_millis(2040));
    facts.deadline = at(3.0).mono;
    assert_eq!(w.go(&facts, 0.0).ttft_limit, Duration::from_millis(1500));
    facts.hints.pools = vec!["own".into()];
    facts.deadline = at(1.5).mono;
    assert_eq!(w.go(&facts, 0.0).ttft_limit, Duration::from_millis(1500));
    facts.input_tokens = 100_000;
    facts.deadline = at(1000.0).mono;
    let d = w.go(&facts, 0.0);
    assert!(d.ttft_limit > 3 * d.expected_ttft, "{:?}", d.ttft_limit);
    assert_eq!(d.idle_limit, Duration::from_secs(30));
}

#[test]
fn a_whole_answer_is_given_the_time_that_its_tokens_take() {
    let mut w = World::new(catalog(), 1);
    let mut facts = w.facts(0.0);
    (facts.stream, facts.max_tokens) = (false, Some(1000));
    facts.deadline = at(1000.0).mono;
    assert!(w.go(&facts, 0.0).ttft_limit > Duration::from_secs(60));
}

#[test]
fn no_endpoints_is_no_pool_and_not_for_ever() {
    let mut w = World::alone(0);
    let facts = w.facts(0.0);
    let Decision::Shed(Refusal::NoPool { message, permanent, .. }) = w.decide(&facts, &[], 0.0) else {
        panic!()
    };
    assert_eq!((message.as_str(), permanent), ("no pool for large: own: no endpoints known", false));
}

/// One place, four calls a second that each wait for it and are served in turn: a line that moves, with `more` in it.
fn moving_line(more: u64) -> (World, CallFacts) {
    let mut c = catalog();
    c.models[0].offers.truncate(1);
    c.pools[0].max_in_flight = Some(1);
    let mut w = World::new(c, 1);
    let facts = w.facts(0.0);
    let _held = w.start(&facts, 0.0);
    let background = CallFacts { class: BACKGROUND, deadline: at(60.0).mono, ..facts };
    let in_line = |i: u64| CallFacts { id: CallId(1_000 + i), ..background.clone() };
    for i in 0..more + 20 {
        assert_eq!(w.fleet.join(&in_line(i), PLACE, at(0.0)), Ok(()));
    }
    for i in 0..20u64 {
        w.fleet.granted(&in_line(i), at((i + 1) as f64 / 4.0));
    }
    (w, background)
}

#[test]
fn a_call_that_would_wait_twice_as_long_as_it_can_is_turned_away_at_once() {
    // At four a second 400 calls take 100 s; the deadline is in 55 s.
    let (mut w, background) = moving_line(400);
    assert_eq!(w.fleet.join(&background, PLACE, at(5.0)), Ok(()));
    let (mut w, background) = moving_line(500);
    let Err(crowded) = w.fleet.join(&background, PLACE, at(5.0)) else { panic!() };
    assert!(crowded.hopeless);
    let late = Duration::from_secs(30);
    assert_eq!(crowded.retry_after, late, "in 125 s, but nobody waits that long");
    let interactive = CallFacts { class: INTERACTIVE, ..background };
    assert_eq!(
        w.fleet.join(&interactive, PLACE, at(5.0)),
        Ok(()),
        "whoever is called up before them may wait"
    );
}

#[test]
fn who_is_turned_away_hears_when_the_line_will_have_drained_and_not_all_the_same() {
    let (w, background) = moving_line(40);
    let said = |id: u64| {
        let facts = CallFacts { id: CallId(id), ..background.clone() };
        w.fleet.retry_after(&facts, 1_000.0, Duration::from_secs(2), at(5.0)).as_secs_f64()
    };
    let said: Vec<f64> = (0..100).map(said).collect();
    // Forty wait, and four a second find a place.
    assert!(said.iter().all(|s| (9.9..15.4).contains(s)), "{said:?}");
    let (least, most) = said.iter().fold((f64::MAX, 0.0f64), |(a, b), s| (a.min(*s), b.max(*s)));
    assert!(most > 1.3 * least, "{least} to {most}");
    assert!(w.fleet.retry_after(&background, 0.0, Duration::from_secs(2), at(20.0)).as_secs_f64() <= 3.0);
}
