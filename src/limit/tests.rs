use super::*;
use crate::domain::{Duration, Growth, Instant};
use proptest::prelude::*;

fn at(s: f64) -> Instant {
    Instant::from_secs_f64(s)
}

#[test]
fn three_retries_are_always_allowed_and_a_fourth_needs_traffic() {
    let (mut b, s) = (RetryBudget::default(), Settings::default());
    for _ in 0..3 {
        assert!(b.allows(1000, at(1.0), &s));
        b.spend(1000, at(1.0));
    }
    assert!(!b.allows(1000, at(1.0), &s));
    b.sent(40_000, at(1.5));
    assert!(b.allows(1000, at(1.5), &s));
    assert!(!b.allows(1001, at(1.5), &s));
}

#[test]
fn the_budget_comes_back_after_ten_seconds() {
    let (mut b, s) = (RetryBudget::default(), Settings::default());
    for _ in 0..3 {
        b.spend(1000, at(1.0));
    }
    assert!(!b.allows(1, at(10.9), &s));
    assert!(b.allows(1, at(11.0), &s));
    assert!(b.allows(1, at(1e6), &s));
}

#[test]
fn a_counter_never_goes_below_zero_and_says_when_a_place_frees() {
    let mut f = InFlight::new(Some(1));
    assert!(!f.leave(true));
    f.enter();
    assert_eq!(f.full(), Some(1));
    assert!(f.leave(true));
    assert_eq!((f.count(), f.full()), (0, None));
    assert_eq!(InFlight::new(Some(0)).full(), Some(0));
}

proptest! {
    /// Retries never add more than their share and the floor's worth to any ten seconds.
    #[test]
    fn retries_are_bounded(steps in prop::collection::vec((any::<bool>(), 1u32..5000, 0.0f64..2.0), 1..300)) {
        let (mut b, s) = (RetryBudget::default(), Settings::default());
        let (mut now, mut sent, mut spent) = (0.0, Vec::new(), Vec::new());
        for (retry, tokens, dt) in steps {
            now += dt;
            if retry {
                if b.allows(tokens, at(now), &s) {
                    b.spend(tokens, at(now));
                    spent.push((now, f64::from(tokens)));
                }
            } else {
                b.sent(tokens, at(now));
                sent.push((now, f64::from(tokens)));
            }
            let recent = |v: &[(f64, f64)], span: f64| -> f64 {
                v.iter().filter(|(t, _)| now - t < span).map(|(_, x)| x).sum()
            };
            let largest = spent.iter().map(|(_, x)| *x).fold(0.0, f64::max);
            prop_assert!(recent(&spent, 9.0) <= 0.1 * recent(&sent, 20.0) + 3.0 * largest + 1e-6);
        }
    }
}

mod granted {
    use super::super::{Allotment, Granted, Meter};
    use crate::domain::{Duration, Grants, Instant, Now, Quota, Timestamp};

    fn now(s: f64) -> Now {
        Now { mono: Instant::from_secs_f64(s), wall: Timestamp::from_millis((s * 1e3) as u64) }
    }

    #[test]
    fn a_meter_lets_ten_seconds_worth_through_at_once_and_then_the_rate() {
        let mut meter = Meter::new(60);
        for _ in 0..10 {
            assert_eq!(meter.until(1.0, now(5.0).mono), None);
            meter.take(1.0, now(5.0).mono);
        }
        let until = meter.until(1.0, now(5.0).mono).unwrap();
        assert!((until.as_secs_f64() - 6.0).abs() < 1e-6, "{until:?}");
        assert_eq!(meter.until(1.0, now(6.0).mono), None);
    }

    #[test]
    fn a_refusal_that_was_not_foreseen_empties_the_meter_and_costs_it_trust() {
        let mut meter = Meter::new(60);
        meter.refused(now(5.0).mono);
        assert!(meter.headroom(now(5.0).mono) <= 0.0);
        assert!(meter.until(1.0, now(5.0).mono).is_some());
        // Nine tenths of the rate: a second's worth takes longer than a second.
        assert!(meter.until(1.0, now(6.0).mono).is_some());
        assert_eq!(meter.until(1.0, now(6.2).mono), None);
    }

    #[test]
    fn more_than_the_burst_waits_for_a_full_allowance_and_not_for_ever() {
        let mut meter = Meter::new(60);
        assert_eq!(meter.until(1_000.0, now(5.0).mono), None);
        meter.take(1.0, now(5.0).mono);
        assert!(meter.until(1_000.0, now(5.0).mono).is_some());
        assert_eq!(meter.until(1_000.0, now(6.1).mono), None);
    }

    #[test]
    fn a_window_presses_while_the_pace_would_empty_it_and_is_whole_again_after_its_reset() {
        let quota =
            Quota { tokens: 1000, every: Duration::from_secs(3600), anchor: Timestamp::from_millis(0) };
        let mut window = Allotment::new(quota, now(0.0));
        assert!(window.pressure(now(0.0)) < 1.0);
        window.take(900.0, now(10.0));
        assert!(window.pressure(now(10.0)) > 1.0, "{}", window.pressure(now(10.0)));
        assert!(window.pressure(now(3599.0)) < 0.1, "what is left at the end is lost");
        assert!((window.left(now(20.0)) - 100.0).abs() < 1e-9);
        assert!((window.left(now(3600.0)) - 1000.0).abs() < 1e-9);
    }

    #[test]
    fn without_grants_nothing_is_ever_waited_for() {
        let granted = Granted::new(&Grants::default(), now(0.0));
        assert!(granted.boundless());
        assert_eq!(granted.until(1e9, now(0.0)), None);
    }
}

fn growth() -> Growth {
    Growth { factor: 1.5, every: Duration::from_secs(900), above: 1_000_000 }
}

/// Offers the ramp so many tokens a minute, in calls of so many, from then on; what it let through in each minute.
fn offered(ramp: &mut Ramp, tokens: f64, per_minute: f64, from_s: f64, minutes: u32) -> Vec<f64> {
    let mut let_in = vec![0.0; minutes as usize];
    let each_s = 60.0 * tokens / per_minute;
    let mut t = from_s;
    while t < from_s + 60.0 * f64::from(minutes) {
        if ramp.until(tokens, at(t)).is_none() {
            ramp.take(tokens, at(t));
            let_in[((t - from_s) / 60.0) as usize] += tokens;
        }
        t += each_s;
    }
    let_in
}

#[test]
fn a_ramp_lets_in_what_nobody_minds_at_once_and_doubles_that_in_the_time_its_contract_says() {
    let mut ramp = Ramp::new(&growth());
    let minutes = offered(&mut ramp, 5_000.0, 2e6, 0.0, 60);
    // The first minute has the burst of ten seconds besides.
    assert!((1.0e6..1.2e6).contains(&minutes[0]), "{}", minutes[0]);
    // 1.35 times as much every quarter of an hour: twice as much after 35 minutes, and a few for the average to fill.
    let doubled = minutes.iter().position(|m| *m > 1.99e6).unwrap();
    assert!((33..40).contains(&doubled), "{doubled}");
}

#[test]
fn what_overflows_does_not_swing() {
    let mut ramp = Ramp::new(&growth());
    let minutes = offered(&mut ramp, 5_000.0, 2e6, 0.0, 90);
    for pair in minutes[1..].windows(2) {
        assert!(pair[1] > 0.98 * pair[0], "it swings: {pair:?}");
    }
}

#[test]
fn after_a_quiet_hour_a_ramp_begins_again() {
    let mut ramp = Ramp::new(&growth());
    offered(&mut ramp, 5_000.0, 4e6, 0.0, 60);
    assert!(ramp.allowed(at(3600.0)) > 2.5e6);
    assert!(ramp.allowed(at(3600.0 + 450.0)) < 2e6);
    assert!(ramp.allowed(at(7200.0)) < 1.01e6);
    // Looking does not change it, however often.
    let once = ramp.allowed(at(5000.0));
    (0..100).for_each(|i| assert!(ramp.allowed(at(3600.0 + f64::from(i))) > 1e6));
    assert_eq!(ramp.allowed(at(5000.0)), once);
}

#[test]
fn p29_a_refusal_that_a_ramp_did_not_foresee_slows_it_and_is_forgiven() {
    let (mut calm, mut warned) = (Ramp::new(&growth()), Ramp::new(&growth()));
    for ramp in [&mut calm, &mut warned] {
        offered(ramp, 5_000.0, 1.1e6, 0.0, 20);
    }
    let before = warned.allowed(at(1200.0));
    warned.refused(at(1230.0));
    assert!(warned.until(5_000.0, at(1230.0)).is_some(), "it is heard at once");
    assert!(warned.allowed(at(1230.0)) < before);
    offered(&mut calm, 5_000.0, 4e6, 1240.0, 10);
    offered(&mut warned, 5_000.0, 4e6, 1240.0, 10);
    let grown = |r: &Ramp, from: f64| r.allowed(at(1840.0)) / from;
    assert!(grown(&warned, 0.9 * before).ln() < 0.75 * grown(&calm, before).ln());
    offered(&mut warned, 5_000.0, 1e9, 1840.0, 60);
    assert!(warned.allowed(at(5440.0)) > 2e6, "it grows on");
}

proptest! {
    /// Whatever is asked for, and when: what is allowed grows no faster than the contract says, and what is sent keeps to it.
    #[test]
    fn a_ramp_never_allows_more_than_its_contract(
        asks in prop::collection::vec((100.0f64..50_000.0, 0.0f64..3.0, 0u8..50), 100..2_000),
    ) {
        let mut ramp = Ramp::new(&growth());
        let (mut t, mut allowed, mut minute, mut sent) = (0.0, 1e6, 0.0, 0.0);
        for (tokens, gap, lull) in asks {
            let passed = if lull == 0 { 300.0 * gap } else { gap / 20.0 };
            t += passed;
            let now = ramp.allowed(at(t));
            prop_assert!(now >= 1e6 - 1e-3);
            prop_assert!(now <= allowed * 1.35f64.powf(passed / 900.0) * (1.0 + 1e-9));
            prop_assert!(now <= 1e6 * 1.35f64.powf(t / 900.0) * (1.0 + 1e-9));
            allowed = now;
            if t >= minute + 60.0 {
                (minute, sent) = (t, 0.0);
            }
            if ramp.until(tokens, at(t)).is_none() {
                ramp.take(tokens, at(t));
                sent += tokens;
            }
            // A minute and the burst; the last may be larger than what was left of it.
            prop_assert!(sent <= allowed * (70.0 / 60.0) + 50_000.0);
        }
    }
}
