//! The price of sending a call somewhere, in dollars: money, scarcity, lateness, waiting, risk, and leaving a session.

use super::choose::two_least;
use super::{CallView, Candidate, Quote};
use crate::domain::PoolId;

/// The terms of one offer for one call, in dollars.
#[derive(Clone, Copy, PartialEq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Terms {
    /// The bill expected; for owned capacity, which is paid already, the energy that the call takes.
    pub money: f64,
    /// What the own capacity that it takes, and its share of what a provider grants, is worth to others.
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
        money: p.input * (call.input - quote.cached)
            + p.cached * quote.cached
            + p.output * call.output
            + quote.energy_usd,
        scarcity: quote.shadow.slot_usd_per_s * quote.slot_s
            + quote.shadow.prefill_usd_per_s * quote.prefill_s
            + quote.grants_usd,
        miss: call.miss_usd * quote.p_miss,
        delay: call.class.delay_usd_per_s * if call.facts.stream { quote.ttft_s } else { quote.finish_s },
        risk: 0.0,
        switching: 0.0,
    }
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
        None => call.miss_usd + lost_time,
        Some(other) => {
            let late = call.ttft_target_s.is_some_and(|target_s| ttft_s + other.ttft_s > target_s);
            other.usd + lost_time + if late { call.miss_usd } else { 0.0 }
        }
    }
}
