//! The price of sending a call somewhere, in dollars: money, scarcity, lateness, waiting, risk, and leaving a session.

use super::choose::two_least;
use super::{CallView, Candidate, Quote, Settings};
use crate::domain::PoolId;

/// The terms of one offer for one call, in dollars.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Terms {
    /// The bill expected: owned capacity is paid already and costs nothing at the margin.
    pub money: f64,
    /// What the own capacity that it takes is worth to others.
    pub scarcity: f64,
    /// The cost of a missed target, times its probability.
    pub miss: f64,
    /// The cost of waiting for the first token, which for a whole answer comes with the last.
    pub delay: f64,
    /// The cost of failing here and going elsewhere, times its probability.
    pub risk: f64,
    /// What the session's next turn loses by moving.
    pub switching: f64,
}

impl Terms {
    /// All of it.
    pub fn total(&self) -> f64 {
        self.base() + self.risk
    }

    /// All but the risk, which depends on the others.
    pub fn base(&self) -> f64 {
        self.money + self.scarcity + self.miss + self.delay + self.switching
    }
}

/// All terms but risk and switching.
pub fn terms(quote: &Quote, call: &CallView<'_>) -> Terms {
    let p = &quote.prices;
    Terms {
        money: p.input * (call.input - quote.cached) + p.cached * quote.cached + p.output * call.output,
        scarcity: quote.scarcity_usd_per_s * quote.slot_s,
        miss: call.class.miss_usd * quote.p_miss,
        delay: call.class.delay_usd_per_s * if call.facts.stream { quote.ttft_s } else { quote.finish_s },
        risk: 0.0,
        switching: 0.0,
    }
}

/// What a slot-second of owned capacity is worth when so much of it is in use (1 is all slots busy).
///
/// This is the place for learned shadow prices (the dual variables of the dispatch problem, updated a few times a
/// second). Until then it is a fixed curve: next to nothing up to half full, then growing geometrically by four orders
/// of magnitude until a little over full. The pool settles where the curve meets what clouds charge, so the calls that
/// leave are those that are cheapest elsewhere for the capacity they free.
pub fn scarcity_usd_per_s(utilisation: f64, settings: &Settings) -> f64 {
    /// Below this nobody is in anybody's way.
    const FREE_UP_TO: f64 = 0.5;
    /// Here every call delays all others.
    const OVERFULL: f64 = 1.1;
    let x = ((utilisation - FREE_UP_TO) / (OVERFULL - FREE_UP_TO)).clamp(0.0, 1.0);
    if x == 0.0 {
        return settings.scarcity_low_usd;
    }
    settings.scarcity_low_usd * (settings.scarcity_high_usd / settings.scarcity_low_usd).powf(x)
}

/// Adds what depends on the other candidates: the risk of failing here, and what a session loses by leaving `home`.
pub fn settle(candidates: &mut [Candidate], home: Option<(PoolId, f64)>, call: &CallView<'_>) {
    if let Some((pool, loss)) = home
        && candidates.iter().any(|c| c.pool == pool)
    {
        for c in candidates.iter_mut().filter(|c| c.pool != pool) {
            c.terms.switching = loss;
        }
    }
    let [best, second] = two_least(candidates.iter().map(|c| c.terms.base()).enumerate());
    let other = |at: Option<(usize, f64)>| {
        at.map(|(i, usd)| Other { pool: candidates[i].pool, usd, ttft_s: candidates[i].quote.ttft_s })
    };
    let (best, second) = (other(best), other(second));
    for c in candidates {
        let other = if best.as_ref().is_some_and(|b| b.pool == c.pool) { &second } else { &best };
        c.terms.risk = c.quote.p_err * after_failure_usd(c.quote.ttft_s, other.as_ref(), call);
    }
}

/// Where a call goes that failed elsewhere.
struct Other {
    pool: PoolId,
    usd: f64,
    ttft_s: f64,
}

/// What it costs to fail after `ttft_s`, the expected time to first token, and to go on to the best other.
fn after_failure_usd(ttft_s: f64, other: Option<&Other>, call: &CallView<'_>) -> f64 {
    let class = call.class;
    let lost_time = class.delay_usd_per_s * ttft_s;
    match other {
        None => class.miss_usd + lost_time,
        Some(other) => {
            let late = call.ttft_target_s.is_some_and(|target_s| ttft_s + other.ttft_s > target_s);
            other.usd + lost_time + if late { class.miss_usd } else { 0.0 }
        }
    }
}
