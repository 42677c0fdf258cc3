use std::sync::Arc;

use super::*;
use crate::domain::{
    Address, AskKind, Capabilities, Class, EnginePrior, Grants, Hours, Model, ModelId, Offer, OfferId, Pool,
    PoolId, Price, Prices, Tenure, Timestamp, Timetable,
};

/// 2026-01-05, 11:59:50 UTC.
const TEN_SECONDS_TO_NOON: u64 = 1_767_571_200_000 + 43_190_000;

fn at(s: f64) -> Now {
    let wall = Timestamp::from_millis(TEN_SECONDS_TO_NOON + (s * 1e3) as u64);
    Now { mono: Instant::from_secs_f64(s), wall }
}

/// One provider, which takes a dollar a million tokens in the morning and three from noon on.
fn catalog() -> Arc<Catalog> {
    let per_million = |usd| Prices { input: Price::per_million(usd), ..Prices::default() };
    let afternoon = Hours { days: Hours::EVERY_DAY, from: 12 * 60, to: 0 };
    let pool = Pool {
        name: "cloud".into(),
        tenure: Tenure::Metered,
        region: None,
        failure_domain: "cloud".into(),
        contact: None,
        lease: None,
        power: None,
        rtt_prior: Duration::ZERO,
        max_in_flight: None,
        grants: Grants::default(),
        order: 0,
        weight: 1.0,
        engine_prior: EnginePrior::default(),
    };
    let offer = Offer {
        pool: PoolId(0),
        model: ModelId(0),
        hours: Some(Timetable::new(per_million(1.0), &[(afternoon, per_million(3.0))], 0)),
        upstream_model: "m".into(),
        prices: per_million(1.0),
        context_window: None,
        capabilities: Capabilities::CHAT_DEFAULT,
    };
    let class = Class { name: "any".into(), ..crate::domain::plain::class() };
    let model = Model { name: "m".into(), aliases: vec![], kind: AskKind::Chat, offers: vec![OfferId(0)] };
    Arc::new(Catalog {
        pools: vec![pool],
        offers: vec![offer],
        models: vec![model],
        classes: vec![class],
        ..Catalog::default()
    })
}

/// The bill of a call that is sent and answered then.
fn bill(sent: f64, answered: f64) -> f64 {
    let catalog = catalog();
    let mut fleet = Fleet::new(Arc::clone(&catalog), Default::default(), at(0.0));
    let address = Arc::new(Address { origin: "http://cloud".into(), socket: None });
    fleet.set_endpoints(PoolId(0), &[address], at(0.0));
    let facts =
        CallFacts { arrived: at(sent).mono, deadline: at(sent + 60.0).mono, ..crate::domain::plain::facts() };
    let mut call = Call::new(facts, 1);
    let step = call.on(Event::Start, &mut fleet, &catalog, at(sent));
    assert!(matches!(step, Step::Send(_)), "{step:?}");
    let usage = Usage { input: 1_000_000, ..Usage::default() };
    let step = call.on(Event::Whole(usage), &mut fleet, &catalog, at(answered));
    assert!(matches!(step, Step::Close(Close::Answered)), "{step:?}");
    call.record().cost.as_dollars()
}

#[test]
fn an_attempt_is_billed_at_the_hour_in_which_it_was_sent() {
    assert_eq!(bill(9.9, 12.0), 1.0);
    assert_eq!(bill(10.0, 12.0), 3.0);
}

/// A call under way since second 0, its limit on first tokens, and what it needs.
fn under_way(deadline_s: f64) -> (Call, Fleet, Arc<Catalog>, f64) {
    let catalog = catalog();
    let mut fleet = Fleet::new(Arc::clone(&catalog), Default::default(), at(0.0));
    let address = Arc::new(Address { origin: "http://cloud".into(), socket: None });
    fleet.set_endpoints(PoolId(0), &[address], at(0.0));
    let facts = CallFacts {
        stream: true,
        arrived: at(0.0).mono,
        deadline: at(deadline_s).mono,
        ..crate::domain::plain::facts()
    };
    let mut call = Call::new(facts, 1);
    let step = call.on(Event::Start, &mut fleet, &catalog, at(0.0));
    let Step::Send(send) = step else { panic!("{step:?}") };
    let limit_s = send.dispatch.ttft_limit.as_secs_f64();
    (call, fleet, catalog, limit_s)
}

#[test]
fn t03_after_a_pause_of_our_own_whoever_is_waited_for_has_its_time_once_more() {
    let (mut call, mut fleet, catalog, limit_s) = under_way(600.0);
    let woken = limit_s + 30.0;
    assert!(matches!(call.on(Event::Tick, &mut fleet, &catalog, at(woken)), Step::Continue));
    assert_eq!(call.wake_at(), at(woken + limit_s).mono);
    // Nor is its silence after the first word held against it.
    assert!(matches!(call.on(Event::FirstContent, &mut fleet, &catalog, at(woken + 0.1)), Step::Commit));
    call.piece(1, None, at(woken + 0.1).mono);
    let due = call.wake_at().as_secs_f64();
    assert!(matches!(call.on(Event::Tick, &mut fleet, &catalog, at(due + 30.0)), Step::Continue));
    let due = call.wake_at().as_secs_f64();
    let step = call.on(Event::Tick, &mut fleet, &catalog, at(due));
    assert!(matches!(step, Step::Close(Close::Broken { .. })), "in time it counts: {step:?}");
}

#[test]
fn t03_an_executor_that_is_always_late_waits_twice_and_not_for_ever() {
    let (mut call, mut fleet, catalog, limit_s) = under_way(600.0);
    assert!(matches!(call.on(Event::Tick, &mut fleet, &catalog, at(limit_s + 1.0)), Step::Continue));
    let due = call.wake_at().as_secs_f64();
    let step = call.on(Event::Tick, &mut fleet, &catalog, at(due + 1.0));
    assert!(matches!(step, Step::Close(Close::Refused(_))), "{step:?}");
}

#[test]
fn t03_a_pause_that_outlasts_deadlines_keeps_them_and_ejects_nobody() {
    let catalog = catalog();
    let mut fleet = Fleet::new(Arc::clone(&catalog), Default::default(), at(0.0));
    let address = Arc::new(Address { origin: "http://cloud".into(), socket: None });
    fleet.set_endpoints(PoolId(0), &[address], at(0.0));
    let mut calls: Vec<Call> = (0..20)
        .map(|id| {
            let facts = CallFacts {
                id: crate::domain::CallId(id),
                arrived: at(0.0).mono,
                deadline: at(10.0).mono,
                ..crate::domain::plain::facts()
            };
            let mut call = Call::new(facts, 1);
            assert!(matches!(call.on(Event::Start, &mut fleet, &catalog, at(0.0)), Step::Send(_)));
            call
        })
        .collect();
    for call in &mut calls {
        let step = call.on(Event::Tick, &mut fleet, &catalog, at(40.0));
        assert!(matches!(step, Step::Close(Close::Refused(Refusal::DeadlineExceeded { .. }))), "{step:?}");
    }
    assert_eq!(fleet.status(at(40.0)).pools[0].offers[0].state, "healthy");
}
