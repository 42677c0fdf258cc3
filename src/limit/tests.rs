use super::*;
use crate::domain::Instant;
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
    assert!(!f.leave());
    f.enter();
    assert_eq!(f.full(), Some(1));
    assert!(f.leave());
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
