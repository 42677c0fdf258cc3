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
