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
    if !charged.is_finite() || now >= latest {
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
