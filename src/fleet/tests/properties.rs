use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Call { class: u8, tokens: u32, stream: bool, session: u8 },
    Retry(u8),
    FirstToken(u8),
    End(u8, u8),
    Drain(u8),
    Resume(u8),
    Endpoints(u8, u8),
    Pass(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u8..2, 1u32..50_000, any::<bool>(), 0u8..8)
            .prop_map(|(class, tokens, stream, session)| Step::Call { class, tokens, stream, session }),
        2 => any::<u8>().prop_map(Step::Retry),
        4 => any::<u8>().prop_map(Step::FirstToken),
        6 => (any::<u8>(), 0u8..14).prop_map(|(i, k)| Step::End(i, k)),
        1 => (0u8..3).prop_map(Step::Drain),
        1 => (0u8..3).prop_map(Step::Resume),
        1 => (0u8..3, 0u8..5).prop_map(|(p, n)| Step::Endpoints(p, n)),
        4 => (0u16..8000).prop_map(Step::Pass),
    ]
}

fn ending(k: u8) -> AttemptEnd {
    let kinds = [
        FailureKind::Connect,
        FailureKind::Disconnected,
        FailureKind::FirstTokenTimeout,
        FailureKind::ServerError,
        FailureKind::Overloaded,
        FailureKind::RateLimited,
        FailureKind::Credentials,
        FailureKind::BadRequest,
        FailureKind::Stalled,
    ];
    match kinds.get(usize::from(k)) {
        Some(&kind) => {
            AttemptEnd::Failed { kind, retry_after: (k % 2 == 1).then(|| Duration::from_secs(u64::from(k))) }
        }
        None if k == 13 => AttemptEnd::Cancelled,
        None => ok(1000, 50),
    }
}

/// What must hold of a dispatch in a fleet, checked against its public status.
fn check(w: &World, d: &Dispatch, past: &[Tried], patient: bool, now: Now) -> Result<(), TestCaseError> {
    let status = w.fleet.status(now);
    let pool = &status.pools[d.pool.index()];
    prop_assert!(!pool.drained);
    if let Some(max) = pool.max_in_flight {
        prop_assert!(pool.in_flight < max);
    }
    let state = &w.fleet.pools[d.pool.index()];
    let endpoint = state.endpoint(d.endpoint).expect("known");
    prop_assert!(!endpoint.leaving);
    let worked_on = |t: &Tried| !t.unprocessed && t.kind != FailureKind::RateLimited;
    let repeated = past.iter().any(|t| t.endpoint == d.endpoint && worked_on(t));
    prop_assert!(!repeated, "a try that was worked on is never repeated at the same endpoint");
    if patient {
        // Those that may wait are never sent to the ill, last resort or not.
        prop_assert!(endpoint.name(now.mono, &w.fleet.settings.health) != "ejected");
        let offer = &w.fleet.offers[d.offer.index()];
        prop_assert!(!matches!(
            offer.name(now.mono, &w.fleet.settings.health),
            "ejected" | "disabled" | "cooldown"
        ));
    }
    prop_assert!(d.expected_usd >= 0.0 && d.work_s >= 0.0 && d.ttft_limit > Duration::ZERO);
    Ok(())
}

type UnderWay = Vec<(CallFacts, Ticket, Vec<Tried>)>;

fn dispatch(
    w: &mut World,
    on: &mut UnderWay,
    facts: CallFacts,
    past: Vec<Tried>,
    s: f64,
) -> Result<(), TestCaseError> {
    let now = at(s);
    let explained = w.fleet.explain_after(&facts, &past, now);
    match w.decide(&facts, &past, s) {
        Decision::Dispatch(d) => {
            check(w, &d, &past, facts.class == BACKGROUND, now)?;
            // A lot may fall otherwise there, and another pool may be worth waiting for.
            let waits = explained.outcome.starts_with("wait ") && facts.class == BACKGROUND;
            prop_assert!(waits || explained.rows.iter().any(|r| r.chosen), "{}", explained);
            let ticket = w.fleet.started(&facts, d, now);
            on.push((facts, ticket, past));
        }
        Decision::Wait { until, .. } => prop_assert!(until > now.mono && until < facts.deadline),
        Decision::Shed(_) => {}
    }
    Ok(())
}

fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut c = catalog();
    c.pools[1].max_in_flight = Some(4);
    let mut w = World::new(c, 2);
    let (mut on, mut failures): (UnderWay, Vec<(CallFacts, Vec<Tried>)>) = (Vec::new(), Vec::new());
    let mut s = 0.0;
    for step in steps {
        match step {
            Step::Call { class, tokens, stream, session } => {
                let mut facts = w.facts(s);
                (facts.class, facts.input_tokens, facts.stream) = (ClassId(class), tokens, stream);
                facts.session = (session > 4).then_some(SessionKey(u64::from(session)));
                dispatch(&mut w, &mut on, facts, Vec::new(), s)?;
            }
            Step::Retry(i) if !failures.is_empty() => {
                let (facts, past) = failures.swap_remove(usize::from(i) % failures.len());
                dispatch(&mut w, &mut on, facts, past, s)?;
            }
            Step::FirstToken(i) if !on.is_empty() => {
                let i = usize::from(i) % on.len();
                let (facts, ticket, _) = &mut on[i];
                w.fleet.first_token(facts, ticket, at(s));
            }
            Step::End(i, k) if !on.is_empty() => {
                let (facts, ticket, mut past) = on.swap_remove(usize::from(i) % on.len());
                if let AttemptEnd::Failed { kind, .. } = ending(k) {
                    past.push(tried(&ticket.dispatch, kind, kind == FailureKind::Connect));
                    failures.push((facts.clone(), past));
                }
                w.end(&facts, ticket, ending(k), s);
            }
            Step::Drain(p) => drop(w.fleet.drain(PoolId(u16::from(p)), at(s))),
            Step::Resume(p) => drop(w.fleet.resume(PoolId(u16::from(p)), at(s))),
            Step::Endpoints(p, n) => {
                let pool = PoolId(u16::from(p));
                let name = Arc::clone(&w.fleet.catalog.pool(pool).name);
                let addresses: Vec<_> = (0..usize::from(n)).map(|i| address(&name, i)).collect();
                w.fleet.set_endpoints(pool, &addresses, at(s));
            }
            Step::Pass(ms) => {
                s += f64::from(ms) / 1000.0;
                w.fleet.tick(at(s));
            }
            Step::Retry(_) | Step::FirstToken(_) | Step::End(..) => {}
        }
        for pool in &w.fleet.pools {
            let sum: u32 = pool.endpoints.iter().map(|e| e.load.in_flight).sum();
            prop_assert_eq!(sum, pool.in_flight.count());
            let troubled = pool.endpoints.iter().filter(|e| e.troubled && !e.leaving).count();
            prop_assert_eq!(troubled, pool.troubled as usize);
            for e in &pool.endpoints {
                prop_assert!(e.load.backlog.work_s >= 0.0);
            }
        }
        for offer in &w.fleet.offers {
            prop_assert!(offer.breaker.trials() <= w.fleet.settings.health.panic_calls);
        }
    }
    for (facts, ticket, _) in on.drain(..) {
        w.end(&facts, ticket, AttemptEnd::Cancelled, s);
    }
    for pool in &w.fleet.status(at(s)).pools {
        prop_assert_eq!(pool.in_flight, 0);
        for e in &pool.endpoints {
            prop_assert_eq!((e.in_flight, e.work_s), (0, 0.0));
            prop_assert!(e.state != "leaving");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    /// Whatever happens in whatever order: nothing is sent where it may not go, nothing is counted twice or lost.
    #[test]
    fn the_rules_hold_in_any_order_of_events(steps in prop::collection::vec(step(), 1..250)) {
        run(steps)?;
    }
}
