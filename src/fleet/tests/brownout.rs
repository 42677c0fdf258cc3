use super::*;
use crate::fleet::brownout::{Step, StepChange};
use crate::queue;

/// One place and a line of a hundred.
fn world() -> World {
    let mut c = catalog();
    c.models[0].offers.truncate(1);
    c.pools[0].max_in_flight = Some(1);
    c.tenants.push(Tenant { name: "other".into() });
    let settings =
        Settings { queue: queue::Settings { most: 100, ..Default::default() }, ..Settings::default() };
    let mut w = World::with(c, settings, 1);
    let facts = w.facts(0.0);
    let _held = w.start(&facts, 0.0);
    w
}

/// Looks every half second, and what was said.
fn looks(w: &mut World, from: f64, to: f64) -> Vec<(f64, Step, bool)> {
    let mut said = Vec::new();
    for i in (2.0 * from) as u32..(2.0 * to) as u32 {
        let now = f64::from(i) / 2.0;
        for change in w.fleet.feel_pressure(at(now)) {
            said.push(match change {
                StepChange::Taken(taken) => {
                    assert!(taken.since == at(now).wall && !taken.why.is_empty());
                    (now, taken.step, true)
                }
                StepChange::Undone(step) => (now, step, false),
            });
        }
    }
    said
}

fn waiting(w: &mut World, class: ClassId, calls: u64, id: u64) -> Vec<CallFacts> {
    let plain = w.facts(0.0);
    let one = |i| CallFacts { id: CallId(id + i), class, deadline: at(1e6).mono, ..plain.clone() };
    let calls: Vec<CallFacts> = (0..calls).map(one).collect();
    for facts in &calls {
        assert_eq!(w.fleet.join(facts, PLACE, at(0.0)), Ok(()));
    }
    calls
}

#[test]
fn nobody_is_hedged_while_calls_that_cannot_wait_do_and_half_a_minute_longer() {
    let mut w = world();
    assert!(w.fleet.hedges_allowed());
    let calls = waiting(&mut w, INTERACTIVE, 1, 1_000);
    assert_eq!(looks(&mut w, 0.0, 10.0), [(3.0, Step::NoHedges, true)], "once, and after three seconds");
    assert!(!w.fleet.hedges_allowed());
    assert_eq!(w.fleet.brownout_level(), 1);
    assert_eq!(w.fleet.status(at(9.0)).brownout[0].why, "1 calls that cannot wait do");
    w.fleet.leave(&calls[0]);
    assert_eq!(looks(&mut w, 10.0, 30.0), []);
    let again = waiting(&mut w, INTERACTIVE, 1, 2_000);
    assert_eq!(looks(&mut w, 30.0, 31.0), []);
    w.fleet.leave(&again[0]);
    assert_eq!(looks(&mut w, 31.0, 62.0), [(61.0, Step::NoHedges, false)], "the peace begins anew");
    assert!(w.fleet.hedges_allowed());
}

#[test]
fn a_burst_that_is_over_in_time_takes_no_step() {
    let mut w = world();
    let calls = waiting(&mut w, INTERACTIVE, 5, 1_000);
    assert_eq!(looks(&mut w, 0.0, 3.0), []);
    calls.iter().for_each(|facts| w.fleet.leave(facts));
    assert_eq!(looks(&mut w, 3.0, 10.0), []);
}

#[test]
fn while_calls_that_cannot_wait_wait_long_those_that_may_stand_behind_them_without_a_look() {
    let mut w = world();
    let calls = waiting(&mut w, INTERACTIVE, 30, 1_000);
    // Ten a second: the last twenty take two seconds.
    for (i, facts) in calls.iter().take(10).enumerate() {
        w.fleet.granted(facts, at((i + 1) as f64 / 10.0));
    }
    let said = looks(&mut w, 1.0, 5.0);
    assert_eq!(said, [(4.0, Step::NoHedges, true), (4.0, Step::Defer, true)]);
    let background = CallFacts { class: BACKGROUND, deadline: at(1e6).mono, ..w.facts(5.0) };
    let Decision::Wait { reason, turn: Turn::InLine { wish, .. }, .. } = w.decide(&background, &[], 5.0)
    else {
        panic!()
    };
    assert_eq!(reason, "calls that cannot wait go first");
    assert!(wish.cost > 0.0);
    // Nobody waits for another model: there it is a matter of price, as ever.
    let small = CallFacts { model: ModelId(1), ..background.clone() };
    assert!(!matches!(w.decide(&small, &[], 5.0), Decision::Wait { turn: Turn::InLine { .. }, .. }));
    // Those that cannot wait look as ever.
    let interactive = w.facts(5.0);
    let Decision::Wait { reason, .. } = w.decide(&interactive, &[], 5.0) else { panic!() };
    assert!(reason.starts_with("own: "), "{reason}");
    for facts in &calls[10..] {
        w.fleet.leave(facts);
    }
    assert!(
        !matches!(w.decide(&background, &[], 6.0), Decision::Wait { reason, .. } if reason.contains("first"))
    );
    assert_eq!(looks(&mut w, 6.0, 40.0), [(36.0, Step::NoHedges, false), (36.0, Step::Defer, false)]);
}

#[test]
fn while_the_line_is_nearly_full_calls_that_may_wait_are_turned_away_but_for_a_small_tenants() {
    let mut w = world();
    let calls = waiting(&mut w, BACKGROUND, 75, 1_000);
    assert_eq!(looks(&mut w, 0.0, 5.0), [(3.0, Step::Shed, true)]);
    assert_eq!(w.fleet.brownout()[0].why, "the line is 75 % full");
    let background = CallFacts { class: BACKGROUND, deadline: at(1e6).mono, ..w.facts(5.0) };
    let decision = w.decide(&background, &[], 5.0);
    let Decision::Shed(Refusal::Overloaded { retry_after, .. }) = decision else { panic!("{decision:?}") };
    assert!((1.0..=30.0).contains(&retry_after.as_secs_f64()));
    let others = CallFacts { tenant: TenantId(1), ..background.clone() };
    assert!(!matches!(w.decide(&others, &[], 5.0), Decision::Shed(_)), "one with none in line is let in");
    let interactive = w.facts(5.0);
    assert!(!matches!(w.decide(&interactive, &[], 5.0), Decision::Shed(_)));
    // Sixty are between the two thresholds, for as long as it takes.
    calls[..15].iter().for_each(|facts| w.fleet.leave(facts));
    assert_eq!(looks(&mut w, 5.0, 100.0), []);
    calls[15..40].iter().for_each(|facts| w.fleet.leave(facts));
    assert_eq!(looks(&mut w, 100.0, 140.0), [(130.0, Step::Shed, false)]);
}

#[test]
fn once_calls_that_cannot_wait_are_turned_away_they_are_at_once_if_their_turn_would_come_too_late() {
    let mut w = world();
    let calls = waiting(&mut w, INTERACTIVE, 40, 1_000);
    // Ten a second: the last thirty take three seconds; a call is given two.
    for (i, facts) in calls.iter().take(10).enumerate() {
        w.fleet.granted(facts, at((i + 1) as f64 / 10.0));
    }
    let new = CallFacts { deadline: at(1e6).mono, ..w.facts(1.0) };
    assert_eq!(w.fleet.join(&new, PLACE, at(1.0)), Ok(()), "the pace may double");
    w.fleet.leave(&new);
    let mut said = Vec::new();
    for i in 2..=10 {
        let now = f64::from(i) / 2.0;
        w.fleet.turned_away(&new, at(now));
        said.extend(looks(&mut w, now, now + 0.5));
        if i < 9 {
            w.fleet.granted(&calls[8 + i as usize], at(now));
        }
    }
    assert!(said.contains(&(4.0, Step::ByDeadline, true)), "{said:?}");
    let new = CallFacts { deadline: at(1e6).mono, ..w.facts(4.0) };
    let crowded = w.fleet.join(&new, PLACE, at(4.0));
    assert!(crowded.is_err_and(|crowded| crowded.hopeless));
    let said = looks(&mut w, 5.5, 60.0);
    assert!(said.contains(&(37.0, Step::ByDeadline, false)), "{said:?}");
}
