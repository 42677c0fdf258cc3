use super::*;

#[test]
fn b04_a_hung_pool_is_out_after_three_first_token_timeouts() {
    let mut w = World::new(catalog(), 1);
    for i in 0..3 {
        let facts = w.facts(0.0);
        let t = w.start_at(&facts, OWN, 0.0);
        let told = w.end(&facts, t, failed(FailureKind::FirstTokenTimeout), 3.0);
        assert_eq!(tos(&told), if i == 2 { vec!["ejected"] } else { vec![] });
    }
    let facts = w.facts(3.0);
    assert_eq!(w.go(&facts, 3.0).pool, CHEAP);
}

#[test]
fn impatient_clients_cannot_eject_a_pool() {
    let mut w = World::new(catalog(), 1);
    for _ in 0..20 {
        let facts = w.facts(0.0);
        let t = w.start_at(&facts, OWN, 0.0);
        assert_eq!(w.end(&facts, t, failed(FailureKind::FirstTokenTimeout), 0.2), []);
    }
    let facts = w.facts(0.2);
    assert_eq!(w.go(&facts, 0.2).pool, OWN);
}

/// A whole answer that does not come within `deadline` seconds.
fn silent(w: &mut World, now: f64, deadline: f64) -> Vec<&'static str> {
    let facts = CallFacts { stream: false, deadline: at(now + deadline).mono, ..w.facts(now) };
    let t = w.start_at(&facts, OWN, now);
    tos(&w.end(&facts, t, failed(FailureKind::Deadline), now + deadline))
}

#[test]
fn a_pool_that_hangs_on_whole_answers_is_out_after_five_of_their_deadlines() {
    let mut w = World::alone(1);
    for i in 0..5 {
        let told = silent(&mut w, 0.0, 60.0);
        assert_eq!(told, if i == 4 { vec!["ejected"] } else { vec![] }, "{i}");
    }
    // The probe hangs as well.
    let facts = CallFacts { stream: false, ..w.facts(70.0) };
    let t = w.start(&facts, 70.0);
    assert_eq!(tos(&w.end(&facts, t, failed(FailureKind::Deadline), 130.0)), ["ejected"]);
}

#[test]
fn deadlines_that_leave_no_time_for_a_whole_answer_eject_nobody() {
    let mut w = World::alone(1);
    for _ in 0..50 {
        // Twice the time to its first token, and not to its last.
        assert_eq!(silent(&mut w, 0.0, 5.0), [""; 0]);
    }
    for i in 0..100 {
        // Long ones that miss theirs among others that are served: a share is no illness.
        let told = if i % 4 == 0 { tos(&w.serve(OWN, 0.1, 10.0)) } else { silent(&mut w, 10.0, 60.0) };
        assert_eq!(told, [""; 0], "{i}");
    }
}

#[test]
fn b07_an_ejection_is_about_one_model_only() {
    let mut w = World::new(catalog(), 1);
    for _ in 0..5 {
        w.fail(OWN, FailureKind::ServerError, 1.0);
    }
    let facts = w.facts(1.0);
    assert_eq!(w.go(&facts, 1.0).pool, CHEAP);
    let other = CallFacts { model: ModelId(1), ..facts };
    assert_eq!(w.go(&other, 1.0).pool, OWN);
}

#[test]
fn n10_a_refused_connection_takes_the_endpoint_and_leaves_the_pool() {
    let mut w = World::new(catalog(), 3);
    let mut down = None;
    let mut told = Vec::new();
    // One endpoint refuses, the others serve.
    for i in 0..40 {
        let now = f64::from(i) * 0.1;
        let facts = w.facts(now);
        let t = w.start_at(&facts, OWN, now);
        let bad = *down.get_or_insert(t.dispatch.endpoint) == t.dispatch.endpoint;
        let end = if bad { failed(FailureKind::Connect) } else { ok(1000, 10) };
        told.extend(w.end(&facts, t, end, now + 0.01));
    }
    assert_eq!(tos(&told), ["ejected"]);
    assert_eq!((told[0].endpoint, told[0].offer), (down, None));
    let facts = w.facts(4.0);
    assert_eq!(w.go(&facts, 4.0).pool, OWN);
}

#[test]
fn all_endpoints_gone_is_the_pool_gone() {
    let mut w = World::new(catalog(), 2);
    for _ in 0..6 {
        let facts = w.facts(0.0);
        if w.go(&facts, 0.0).pool != OWN {
            break;
        }
        w.fail(OWN, FailureKind::Connect, 0.0);
    }
    let facts = w.facts(0.0);
    assert_eq!(w.go(&facts, 0.0).pool, CHEAP);
}

#[test]
fn a_dead_pool_of_many_endpoints_is_found_out_by_three_calls() {
    let mut w = World::new(catalog(), 16);
    // Held open so that each call goes to another endpoint.
    let calls: Vec<_> = (0..3)
        .map(|_| {
            let facts = w.facts(0.0);
            let t = w.start_at(&facts, OWN, 0.0);
            (facts, t)
        })
        .collect();
    let mut told = Vec::new();
    for (facts, t) in calls {
        told.extend(w.end(&facts, t, failed(FailureKind::Disconnected), 0.5));
    }
    assert_eq!(tos(&told), ["ejected"]);
    assert_eq!((told[0].offer, told[0].endpoint), (Some(OfferId(0)), None));
}

#[test]
fn p07_callers_mistakes_and_limits_are_no_illness() {
    let mut w = World::new(catalog(), 1);
    for kind in [FailureKind::BadRequest, FailureKind::ContentFilter, FailureKind::ContextTooLong] {
        for _ in 0..50 {
            assert_eq!(w.fail(OWN, kind, 0.0), []);
        }
    }
    let facts = w.facts(0.0);
    assert_eq!(w.go(&facts, 0.0).pool, OWN);
}

#[test]
fn b10_probation_is_one_call_then_slow_start() {
    let mut w = World::new(catalog(), 1);
    for _ in 0..5 {
        w.fail(OWN, FailureKind::ServerError, 0.0);
    }
    let facts = w.facts(6.5);
    let probe = w.start(&facts, 6.5);
    assert_eq!(probe.dispatch.pool, OWN);
    let second = w.facts(6.5);
    assert_eq!(w.go(&second, 6.5).pool, CHEAP);
    assert_eq!(tos(&w.end(&facts, probe, ok(1000, 10), 7.0)), ["slow_start"]);
    let mut own = 0;
    for _ in 0..1000 {
        let facts = w.facts(7.0);
        own += u32::from(w.go(&facts, 7.0).pool == OWN);
    }
    assert!((60..140).contains(&own), "a tenth at first: {own}");
    let told = w.fleet.tick(at(37.5));
    assert_eq!(tos(&told), ["healthy"]);
}

#[test]
fn a_pool_with_long_answers_is_back_with_the_first_word_of_its_probe() {
    let mut w = World::alone(1);
    for _ in 0..5 {
        w.fail(OWN, FailureKind::ServerError, 0.0);
    }
    let facts = w.facts(6.5);
    let mut probe = w.start(&facts, 6.5);
    let waiting = w.facts(6.5);
    assert!(matches!(w.decide(&waiting, &[], 6.5), Decision::Wait { .. }));
    assert_eq!(w.fleet.join(&waiting, PLACE, at(0.0)), Ok(()));
    assert_eq!(w.fleet.call_up(), None);
    assert_eq!(tos(&w.fleet.first_token(&facts, &mut probe, at(6.8))), ["slow_start"]);
    assert_eq!(w.fleet.call_up(), Some(waiting.id), "those that wait hear of it");
    assert_eq!(w.go(&waiting, 6.8).pool, OWN);
    // Minutes later: an end like any other, well or not.
    assert_eq!(w.end(&facts, probe, failed(FailureKind::Disconnected), 200.0).len(), 0);
    assert_eq!(w.go(&waiting, 100.0).pool, OWN);
}

#[test]
fn the_first_word_of_a_probe_lets_its_endpoint_back_in() {
    let mut w = World::alone(2);
    let facts = w.facts(0.0);
    let sick = w.go(&facts, 0.0).endpoint;
    let mut told = Vec::new();
    let mut out = 0.0;
    for i in 0..40 {
        let now = f64::from(i) * 0.1;
        let facts = w.facts(now);
        let t = w.start(&facts, now);
        let end = if t.dispatch.endpoint == sick { failed(FailureKind::Connect) } else { ok(1000, 10) };
        told.extend(w.end(&facts, t, end, now + 0.01));
        if told.iter().any(|t| t.to == "ejected") {
            out = now;
            break;
        }
    }
    let now = out + 6.5;
    let mut open = Vec::new();
    let (facts, mut probe) = loop {
        let facts = w.facts(now);
        let t = w.start(&facts, now);
        if t.dispatch.endpoint == sick {
            break (facts, t);
        }
        open.push(t);
        assert!(open.len() < 50, "never probed");
    };
    let told = w.fleet.first_token(&facts, &mut probe, at(now + 0.3));
    assert_eq!(tos(&told), ["slow_start"]);
    assert_eq!((told[0].endpoint, told[0].offer), (Some(sick), None));
    w.end(&facts, probe, ok(1000, 10), now + 60.0);
}

#[test]
fn with_nobody_else_calls_wait_for_the_probe_and_hear_of_its_end() {
    let mut w = World::alone(1);
    for _ in 0..5 {
        w.fail(OWN, FailureKind::ServerError, 0.0);
    }
    let facts = w.facts(6.5);
    let probe = w.start(&facts, 6.5);
    let waiting = w.facts(6.5);
    let Decision::Wait { until, reason, .. } = w.decide(&waiting, &[], 6.5) else { panic!() };
    assert_eq!(until, at(8.5).mono);
    assert!(reason.contains("another call is probing"), "{reason}");
    assert!(
        matches!(w.decide(&waiting, &[], 8.5), Decision::Shed(Refusal::NoPool { .. })),
        "one probe, always"
    );
    assert_eq!(w.fleet.join(&waiting, PLACE, at(0.0)), Ok(()));
    assert_eq!(w.fleet.call_up(), None);
    assert_eq!(w.end(&facts, probe, AttemptEnd::Cancelled, 9.0), []);
    assert_eq!(w.fleet.call_up(), Some(waiting.id));
    assert_eq!(w.go(&waiting, 9.0).pool, OWN);
}

#[test]
fn slow_start_does_not_refuse_when_there_is_nobody_else() {
    let mut w = World::alone(1);
    w.fleet.drain(OWN, at(0.0));
    assert_eq!(tos(&w.fleet.resume(OWN, at(0.0))), ["slow_start"]);
    for _ in 0..50 {
        let facts = w.facts(0.0);
        assert_eq!(w.go(&facts, 0.0).pool, OWN);
    }
}

#[test]
fn a_drained_pool_gets_nothing_until_it_is_resumed() {
    let mut w = World::new(catalog(), 1);
    let waiting = w.facts(0.0);
    assert_eq!(w.fleet.join(&waiting, PLACE, at(0.0)), Ok(()));
    assert_eq!(tos(&w.fleet.drain(OWN, at(0.0))), ["drained"]);
    assert_eq!(w.fleet.drain(OWN, at(0.0)), []);
    for _ in 0..50 {
        let facts = w.facts(0.0);
        assert_ne!(w.go(&facts, 0.0).pool, OWN);
    }
    assert_eq!(w.fleet.call_up(), None);
    w.fleet.resume(OWN, at(0.0));
    assert_eq!(w.fleet.call_up(), Some(waiting.id));
    let facts = w.facts(60.0);
    assert_eq!(w.go(&facts, 60.0).pool, OWN);
}

#[test]
fn what_is_told_of_a_drain_begins_with_how_the_pool_was() {
    let mut w = World::new(catalog(), 1);
    assert_eq!(w.fleet.drain(OWN, at(0.0))[0].from, "healthy");
    w.fleet.resume(OWN, at(0.1));
    assert_eq!(w.fleet.drain(OWN, at(0.1))[0].from, "slow_start");
    assert!(w.fleet.serves(at(0.1)), "the other pools do");
    w.fleet.drain(CHEAP, at(0.1));
    w.fleet.drain(DEAR, at(0.1));
    assert!(!w.fleet.serves(at(0.1)));
    w.fleet.resume(CHEAP, at(0.1));
    assert!(w.fleet.serves(at(0.1)));
}

#[test]
fn p09_credentials_quota_and_missing_models_disable_and_say_so() {
    for kind in [FailureKind::Credentials, FailureKind::QuotaExhausted, FailureKind::ModelMissing] {
        let mut w = World::new(catalog(), 1);
        let told = w.fail(OWN, kind, 0.0);
        assert_eq!(tos(&told), ["disabled"]);
        assert!(told[0].reason.contains(kind.name()), "{}", told[0].reason);
        let facts = w.facts(50.0);
        assert_eq!(w.go(&facts, 50.0).pool, CHEAP);
        let facts = w.facts(73.0);
        assert_eq!(w.go(&facts, 73.0).pool, OWN, "a probe after a minute");
    }
}

#[test]
fn b12_when_all_are_ejected_a_few_interactive_calls_still_try_and_background_waits() {
    let mut w = World::new(catalog(), 1);
    for p in [OWN, CHEAP, DEAR] {
        for _ in 0..5 {
            w.fail(p, FailureKind::ServerError, 0.0);
        }
    }
    let mut under_way = Vec::new();
    loop {
        let facts = w.facts(0.5);
        match w.decide(&facts, &[], 0.5) {
            Decision::Dispatch(d) => under_way.push(w.fleet.started(&facts, d, at(0.5))),
            Decision::Shed(Refusal::NoPool { permanent: false, message, .. }) => {
                assert!(message.contains("own: ejected for"), "{message}");
                break;
            }
            other => panic!("{other:?}"),
        }
        assert!(under_way.len() <= 12, "four an offer at most");
    }
    assert_eq!(under_way.len(), 12);
    let background = CallFacts { class: BACKGROUND, ..w.facts(0.5) };
    let Decision::Wait { until, reason, .. } = w.decide(&background, &[], 0.5) else { panic!() };
    assert!(until > at(5.0).mono && until < at(6.1).mono && reason.contains("ejected"), "{reason}");
    // One success is enough to come back by slow start.
    let facts = w.facts(0.5);
    let t = under_way.remove(0);
    assert_eq!(tos(&w.end(&facts, t, ok(10, 10), 1.0)), ["slow_start"]);
}

#[test]
fn b13_a_retry_goes_to_another_failure_domain_then_another_pool_then_another_endpoint() {
    let mut c = catalog();
    c.pools[1].failure_domain = "own".into();
    let mut w = World::new(c, 2);
    let facts = w.facts(0.0);
    let first = w.go(&facts, 0.0);
    let again = |w: &mut World, past: &[Tried]| match w.decide(&facts, past, 0.0) {
        Decision::Dispatch(d) => d,
        other => panic!("{other:?}"),
    };
    let mut past = vec![tried(&first, FailureKind::ServerError, false)];
    let second = again(&mut w, &past);
    assert_eq!((first.pool, second.pool), (OWN, DEAR));
    past.push(tried(&second, FailureKind::ServerError, false));
    let third = again(&mut w, &past);
    assert_eq!(third.pool, CHEAP);

    w.fleet.drain(CHEAP, at(0.0));
    w.fleet.drain(DEAR, at(0.0));
    let second = again(&mut w, &past[..1]);
    assert_eq!(second.pool, OWN);
    assert_ne!(second.endpoint, first.endpoint);
    let past = [past[0], tried(&second, FailureKind::Connect, true)];
    assert!(matches!(w.decide(&facts, &past, 0.0), Decision::Shed(_)));
}

#[test]
fn an_unprocessed_try_may_go_to_the_same_endpoint_again_when_there_is_no_other() {
    let mut w = World::alone(1);
    let facts = w.facts(0.0);
    let d = w.go(&facts, 0.0);
    let refused = tried(&d, FailureKind::Disconnected, true);
    assert!(matches!(w.decide(&facts, &[refused], 0.0), Decision::Dispatch(_)));
    assert!(matches!(w.decide(&facts, &[refused; 7], 0.0), Decision::Dispatch(_)));
    assert!(matches!(w.decide(&facts, &[refused; 8], 0.0), Decision::Shed(_)));
    let lost = tried(&d, FailureKind::Disconnected, false);
    assert!(matches!(w.decide(&facts, &[lost], 0.0), Decision::Shed(_)));
}

#[test]
fn three_attempts_and_no_more() {
    let mut w = World::new(catalog(), 4);
    let facts = w.facts(0.0);
    let d = w.go(&facts, 0.0);
    let past = [tried(&d, FailureKind::ServerError, false); 3];
    assert!(matches!(w.decide(&facts, &past[..2], 0.0), Decision::Dispatch(_)));
    assert!(matches!(w.decide(&facts, &past, 0.0), Decision::Shed(_)));
}

#[test]
fn b17_a_call_that_loses_connections_is_stopped_at_the_second() {
    let mut w = World::new(catalog(), 4);
    let facts = w.facts(0.0);
    let d = w.go(&facts, 0.0);
    let past = [tried(&d, FailureKind::Disconnected, false); 2];
    assert!(matches!(w.decide(&facts, &past[..1], 0.0), Decision::Dispatch(_)));
    assert!(matches!(w.decide(&facts, &past, 0.0), Decision::Shed(_)));
}

#[test]
fn p07_a_prompt_that_was_too_long_goes_only_to_a_larger_context() {
    let mut c = catalog();
    c.offers[4].context_window = Some(1_000_000);
    let mut w = World::new(c, 2);
    let facts = w.facts(0.0);
    let d = w.go(&facts, 0.0);
    let past = [tried(&d, FailureKind::ContextTooLong, false)];
    let Decision::Dispatch(d) = w.decide(&facts, &past, 0.0) else { panic!() };
    assert_eq!(d.pool, DEAR);
}

#[test]
fn what_one_pool_has_no_words_for_is_asked_of_another_and_held_against_nobody() {
    let mut w = World::new(catalog(), 2);
    let facts = w.facts(0.0);
    let d = w.go(&facts, 0.0);
    let unsupported = tried(&d, FailureKind::Unsupported, true);
    let Decision::Dispatch(next) = w.decide(&facts, &[unsupported], 0.0) else { panic!() };
    assert_ne!(next.pool, d.pool);
    let price = |w: &World| w.fleet.status(at(0.0)).pools[0].offers[0].p_err;
    let before = price(&w);
    for _ in 0..50 {
        assert_eq!(w.fail(OWN, FailureKind::Unsupported, 0.0), []);
    }
    assert_eq!(price(&w), before, "the next request may be one that it understands");

    let mut w = World::alone(2);
    let Decision::Shed(Refusal::NoPool { message, permanent, .. }) = w.decide(&facts, &[unsupported], 0.0)
    else {
        panic!("it would be asked the same again")
    };
    assert!(permanent && message.contains("cannot be asked this way"), "{message}");
}

#[test]
fn o02_the_retry_budget_bounds_retries_and_spares_what_was_not_worked_on() {
    let mut w = World::new(catalog(), 4);
    let facts = w.facts(0.0);
    let d = w.go(&facts, 0.0);
    let past = [tried(&d, FailureKind::ServerError, false)];
    let free = [tried(&d, FailureKind::Connect, true)];
    for _ in 0..3 {
        assert!(matches!(w.decide(&facts, &past, 0.0), Decision::Dispatch(_)));
    }
    let Decision::Shed(Refusal::Overloaded { message, .. }) = w.decide(&facts, &past, 0.0) else { panic!() };
    assert!(message.contains("retry budget"));
    for _ in 0..50 {
        assert!(matches!(w.decide(&facts, &free, 0.0), Decision::Dispatch(_)));
    }
}

#[test]
fn leaving_an_ejected_pool_costs_no_budget() {
    let mut w = World::new(catalog(), 1);
    let facts = w.facts(0.0);
    let d = w.go(&facts, 0.0);
    for _ in 0..5 {
        w.fail(OWN, FailureKind::ServerError, 0.0);
    }
    for _ in 0..50 {
        let past = [tried(&d, FailureKind::ServerError, false)];
        assert!(matches!(w.decide(&facts, &past, 0.0), Decision::Dispatch(_)));
    }
}

#[test]
fn a_clients_own_retry_is_charged_but_served() {
    let mut w = World::new(catalog(), 1);
    let mut facts = w.facts(0.0);
    facts.client_retry = true;
    for _ in 0..10 {
        w.go(&facts, 0.0);
    }
    let d = w.go(&facts, 0.0);
    let past = [tried(&d, FailureKind::ServerError, false)];
    assert!(matches!(w.decide(&facts, &past, 0.0), Decision::Shed(Refusal::Overloaded { .. })));
}

#[test]
fn o02_a_client_that_repeats_itself_spends_no_budget_but_its_own() {
    let mut c = catalog();
    c.tenants.push(Tenant { name: "loud".into() });
    let mut w = World::new(c, 2);
    let quiet = w.facts(0.0);
    let loud = CallFacts { tenant: TenantId(1), client_retry: true, ..quiet.clone() };
    for _ in 0..1000 {
        w.go(&loud, 0.0);
    }
    let d = w.go(&quiet, 0.0);
    let past = [tried(&d, FailureKind::ServerError, false)];
    assert!(matches!(w.decide(&loud, &past, 0.0), Decision::Shed(Refusal::Overloaded { .. })));
    assert!(matches!(w.decide(&quiet, &past, 0.0), Decision::Dispatch(_)));
}

#[test]
fn when_the_last_resort_is_full_too_the_next_call_is_told_to_come_back() {
    let mut w = World::alone(1);
    for _ in 0..3 {
        w.fail(OWN, FailureKind::Connect, 0.0);
    }
    let mut under_way = Vec::new();
    for _ in 0..4 {
        let facts = w.facts(0.5);
        under_way.push(w.start(&facts, 0.5));
    }
    let facts = w.facts(0.5);
    let Decision::Shed(Refusal::NoPool { permanent, message, .. }) = w.decide(&facts, &[], 0.5) else {
        panic!("a fifth call is sent to an endpoint that is ejected")
    };
    assert!(!permanent && message.contains("ejected"), "permanent: {permanent}, {message}");
}

#[test]
fn an_endpoint_that_fails_while_it_leaves_does_not_hide_that_another_is_ill() {
    let mut w = World::alone(1);
    for _ in 0..3 {
        w.fail(OWN, FailureKind::Connect, 0.0);
    }
    let (ill, well) = (address("own", 0), address("own", 1));
    w.fleet.set_endpoints(OWN, &[Arc::clone(&ill), well], at(0.1));
    let calls: Vec<_> = (0..3).map(|_| w.facts(0.2)).collect();
    let tickets: Vec<_> = calls.iter().map(|facts| w.start(facts, 0.2)).collect();
    w.fleet.set_endpoints(OWN, &[ill], at(0.3));
    for (facts, ticket) in calls.iter().zip(tickets) {
        w.end(facts, ticket, failed(FailureKind::Connect), 0.4);
    }
    assert_eq!(w.fleet.pools[OWN.index()].troubled, 1);
    let facts = CallFacts { class: BACKGROUND, ..w.facts(0.5) };
    let decision = w.decide(&facts, &[], 0.5);
    assert!(matches!(decision, Decision::Wait { .. }), "the ejection is forgotten: {decision:?}");
}

#[test]
fn what_an_endpoint_loses_while_it_leaves_is_not_held_against_the_pool() {
    let mut w = World::alone(1);
    let calls: Vec<_> = (0..6).map(|_| w.facts(0.0)).collect();
    let tickets: Vec<_> = calls.iter().map(|facts| w.start(facts, 0.0)).collect();
    // A rollout: the old server is replaced, and takes its calls with it.
    w.fleet.set_endpoints(OWN, &[address("own", 1)], at(0.1));
    for (facts, ticket) in calls.iter().zip(tickets) {
        assert_eq!(tos(&w.end(facts, ticket, failed(FailureKind::Disconnected), 0.2)), [""; 0]);
    }
    let facts = w.facts(0.3);
    assert_eq!(w.go(&facts, 0.3).address, address("own", 1));
}

#[test]
fn a_pool_that_comes_back_in_part_is_back() {
    let mut w = World::new(catalog(), 6);
    let facts = w.facts(0.0);
    let first = w.start(&facts, 0.0);
    let alive = first.dispatch.endpoint;
    w.end(&facts, first, ok(1000, 10), 0.1);
    for _ in 0..30 {
        w.fail(OWN, FailureKind::ServerError, 0.2);
    }
    let mut told = Vec::new();
    // One of six serves again, the others refuse.
    for i in 0..60 {
        let now = 7.0 + f64::from(i) * 0.5;
        let facts = w.facts(now);
        let t = w.start(&facts, now);
        let refused = t.dispatch.pool == OWN && t.dispatch.endpoint != alive;
        let end = if refused { failed(FailureKind::Connect) } else { ok(1000, 10) };
        told.extend(w.end(&facts, t, end, now + 0.1));
    }
    assert!(
        told.iter().any(|t| t.offer.is_some() && t.to == "slow_start"),
        "still out after half a minute: {told:?}"
    );
}

#[test]
fn b08_p10_where_only_long_prompts_fail_they_go_elsewhere_and_short_ones_stay() {
    for kind in [FailureKind::Disconnected, FailureKind::ServerError, FailureKind::RequestTooLarge] {
        let mut w = World::new(catalog(), 1);
        let long = |w: &mut World, now| CallFacts { input_tokens: 70_000, ..w.facts(now) };
        let mut told = Vec::new();
        for i in 0..3 {
            let now = f64::from(i);
            let facts = long(&mut w, now);
            let t = w.start_at(&facts, OWN, now);
            told.extend(w.end(&facts, t, failed(kind), now + 0.1));
            told.extend(w.serve(OWN, 0.1, now + 0.2));
            w.serve(OWN, 0.1, now + 0.3);
        }
        assert_eq!(tos(&told), ["size_limited"], "{kind:?}");
        assert!(told[0].reason.contains("70000 tokens"), "{}", told[0].reason);
        let (facts, short) = (long(&mut w, 4.0), w.facts(4.0));
        assert_ne!(w.go(&facts, 4.0).pool, OWN);
        assert_eq!(w.go(&short, 4.0).pool, OWN);
        // Where there is nobody else it is still tried, and that tells nothing new about its health.
        for _ in 0..20 {
            let t = w.start_at(&facts, OWN, 5.0);
            assert_eq!(w.end(&facts, t, failed(kind), 5.1), []);
        }
        assert_eq!(w.fleet.status(at(5.2)).pools[0].offers[0].state, "healthy");
        // And it is found out when it is over.
        let later = long(&mut w, 400.0);
        assert_eq!(w.go(&later, 400.0).pool, OWN);
    }
}

#[test]
fn p04_where_the_money_is_gone_no_model_of_that_pool_is_asked() {
    let mut w = World::new(catalog(), 1);
    let told = w.fail(CHEAP, FailureKind::QuotaExhausted, 0.0);
    assert_eq!((tos(&told), told[0].offer), (vec!["disabled"], None), "told once, of the pool");
    let states: Vec<_> = w.fleet.status(at(0.1)).pools[1].offers.iter().map(|o| o.state).collect();
    assert_eq!(states, ["disabled", "disabled"], "both models are on the same account");
    assert_eq!(tos(&w.fail(DEAR, FailureKind::ModelMissing, 0.2)), ["disabled"], "one model is no account");
}
