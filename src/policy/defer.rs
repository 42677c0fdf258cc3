//! Whether a call that may wait should: it bids for capacity, and its bid rises as its time runs out.
//!
//! Waiting costs such a call nothing until its target nears, and prices move: what is scarce now is free in ten minutes.
//! The call goes as soon as the best place costs no more than a share of what the cheapest provider charges; the share
//! grows with the square of the time used, so that a call takes the first real bargain early, an average price later, and
//! any price at the end. (A descending reservation price, as in optimal stopping with a deadline and unknown prices.)

use super::{CallView, Candidate};
use crate::domain::{Duration, Instant};

/// What an operator may set about waiting for better prices.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Settings {
    /// The first bid, as a share of what the cheapest provider charges. 0 waits for free capacity as long as it can;
    /// 1 never waits.
    pub first_bid: f64,
    /// So many times the expected time to the end of the answer is kept in reserve ...
    pub reserve: f64,
    /// ... and this share of the target, for answers that are longer than expected.
    pub reserve_share: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { first_bid: 0.4, reserve: 3.0, reserve_share: 0.1 }
    }
}

/// What such a call waits for, for people.
pub const REASON: &str = "a better price";

/// The share of the time to wait after which it is asked again: eight looks and a few more at the end.
const LOOKS: u32 = 8;
/// Sooner than this prices have not moved.
const LOOK_MIN: Duration = Duration::from_secs(1);
/// Later than this a valley may be over.
const LOOK_MAX: Duration = Duration::from_secs(60);

/// When to ask again, if the call had better wait. `draw` (0 to 1) spreads calls that came together.
pub fn until(
    call: &CallView<'_>,
    best: &Candidate,
    candidates: &[Candidate],
    draw: f64,
    settings: &Settings,
) -> Option<Instant> {
    if !call.class.may_wait || settings.first_bid >= 1.0 {
        return None;
    }
    let charged = candidates
        .iter()
        .filter(|c| !c.quote.takes_own())
        .map(|c| c.terms.money)
        .fold(f64::INFINITY, f64::min);
    let (arrived, now) = (call.facts.arrived, call.now.mono);
    let target = call.class.finish_target?;
    let reserve_s = settings.reserve * best.quote.finish_s + settings.reserve_share * target.as_secs_f64();
    let reserve = Duration::from_secs_f64(reserve_s.clamp(0.0, 1e6));
    let latest = (arrived + target).min(call.facts.deadline) - reserve;
    // With nobody to pay there is nothing to save.
    if !charged.is_finite() || charged <= 0.0 || now >= latest {
        return None;
    }
    let used = now.secs_since(arrived) / latest.secs_since(arrived).max(1e-9);
    let share = settings.first_bid + (1.0 - settings.first_bid) * used * used;
    if best.terms.total() <= share * charged {
        return None;
    }
    let step = (latest.since(now) / LOOKS).clamp(LOOK_MIN, LOOK_MAX);
    Some((now + step.mul_f64(0.5 + 0.5 * draw.clamp(0.0, 1.0))).min(latest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::*;
    use crate::policy::{Quote, Rank, Shadow, Terms, TokenPrices};
    use proptest::prelude::*;

    const TARGET_S: f64 = 900.0;

    fn at(s: f64) -> Instant {
        Instant::from_secs_f64(s)
    }

    fn candidate(usd: f64, own_s: f64, finish_s: f64) -> Candidate {
        let quote = Quote {
            prices: TokenPrices::default(),
            cached: 0.0,
            ttft_s: 0.5,
            finish_s,
            p_miss: 0.0,
            p_err: 0.0,
            prefill_s: own_s,
            slot_s: own_s,
            shadow: Shadow::default(),
            grants_usd: 0.0,
            energy_usd: 0.0,
        };
        let (money, scarcity) = if own_s > 0.0 { (0.0, usd) } else { (usd, 0.0) };
        let terms = Terms { money, scarcity, ..Terms::default() };
        let rank = Rank::Fresh;
        Candidate { offer: OfferId(0), pool: PoolId(0), rank, quote, terms, order: 0, weight: 1.0, key: 0 }
    }

    /// What a call that came at 0 is told at `now`: own capacity is worth `own_usd`, a provider takes a dollar.
    fn asked(now: f64, own_usd: f64, finish_s: f64, may_wait: bool) -> Option<Instant> {
        asked_of(now, own_usd, finish_s, may_wait, 1.0)
    }

    fn asked_where(now: f64, own_usd: f64, provider_usd: f64) -> Option<Instant> {
        asked_of(now, own_usd, 10.0, true, provider_usd)
    }

    fn asked_of(now: f64, own_usd: f64, finish_s: f64, may_wait: bool, provider_usd: f64) -> Option<Instant> {
        let class = Class {
            name: "background".into(),
            finish_target: Some(Duration::from_secs_f64(TARGET_S)),
            miss_usd: 0.005,
            deadline: Duration::from_secs(3600),
            may_wait,
            ..crate::domain::plain::class()
        };
        let facts = CallFacts {
            stream: true,
            arrived: at(0.0),
            deadline: at(3600.0),
            ..crate::domain::plain::facts()
        };
        let now = Now { mono: at(now), wall: Timestamp::from_millis(0) };
        let call = CallView::new(&facts, &class, 100.0, now);
        let all = [candidate(own_usd, 1.0, finish_s), candidate(provider_usd, 0.0, finish_s)];
        until(&call, &all[usize::from(own_usd > provider_usd)], &all, 0.5, &Settings::default())
    }

    #[test]
    fn a_bargain_is_taken_at_once_and_a_fair_price_later() {
        assert_eq!(asked(0.0, 0.39, 10.0, true), None);
        assert!(asked(0.0, 0.8, 10.0, true).is_some());
        assert_eq!(asked(700.0, 0.8, 10.0, true), None);
    }

    #[test]
    fn where_a_provider_is_free_nobody_waits() {
        assert!(asked_where(0.0, 0.8, 1.0).is_some());
        assert_eq!(asked_where(0.0, 0.8, 0.0), None);
    }

    #[test]
    fn who_may_not_wait_is_never_asked_to() {
        assert_eq!(asked(0.0, 0.8, 10.0, false), None);
    }

    #[test]
    fn the_longer_the_answer_the_sooner_any_price_will_do() {
        let last = |finish_s| (0..900).rfind(|s| asked(f64::from(*s), 50.0, finish_s, true).is_some());
        assert_eq!(last(10.0), Some(779));
        assert_eq!(last(100.0), Some(509));
    }

    proptest! {
        /// Whatever the price: the next look is in the future, and the last one leaves the time that the answer takes.
        #[test]
        fn waiting_ends_in_time_for_the_target(now in 0.0f64..1000.0, usd in 0.0f64..100.0, takes in 0.1f64..500.0) {
            if let Some(until) = asked(now, usd, takes, true) {
                prop_assert!(until > at(now));
                prop_assert!(until.as_secs_f64() <= TARGET_S - takes);
            }
        }

        /// Who would wait at a price would wait at a higher one, and would have waited earlier.
        #[test]
        fn patience_falls_with_time_and_rises_with_the_price(now in 1.0f64..900.0, usd in 0.0f64..2.0) {
            if asked(now, usd, 10.0, true).is_some() {
                prop_assert!(asked(now, usd * 1.1, 10.0, true).is_some());
                prop_assert!(asked(now * 0.9, usd, 10.0, true).is_some());
            }
        }
    }
}
