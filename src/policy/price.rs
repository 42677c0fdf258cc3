//! The price of sending a call somewhere, in dollars: money, scarcity, lateness, waiting, risk, and leaving a session.

use super::{CallView, Candidate, Quote};
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
    let input = f64::from(call.facts.input_tokens);
    let p = &quote.prices;
    Terms {
        money: p.input * (input - quote.cached) + p.cached * quote.cached + p.output * call.output,
        scarcity: quote.shadow.slot_usd_per_s * quote.slot_s
            + quote.shadow.prefill_usd_per_s * quote.prefill_s,
        miss: call.class.miss_usd * quote.p_miss,
        delay: call.class.delay_usd_per_s * if call.facts.stream { quote.ttft_s } else { quote.finish_s },
        risk: 0.0,
        switching: 0.0,
    }
}

/// The most it can cost: nothing cached and the whole of the client's limit.
pub fn most_usd(prices: &super::TokenPrices, call: &CallView<'_>) -> f64 {
    let facts = call.facts;
    let limit = facts.max_tokens.map(|max| f64::from(max) * f64::from(facts.n.max(1)));
    prices.input * f64::from(facts.input_tokens) + prices.output * limit.unwrap_or(call.output)
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
    let (mut best, mut second) = (None::<(f64, f64, PoolId)>, None::<(f64, f64, PoolId)>);
    for c in candidates.iter() {
        let this = (c.terms.base(), c.quote.ttft_s, c.pool);
        if best.is_none_or(|b| this.0 < b.0) {
            (second, best) = (best, Some(this));
        } else if second.is_none_or(|s| this.0 < s.0) {
            second = Some(this);
        }
    }
    for c in candidates.iter_mut() {
        let other = if best.is_some_and(|b| b.2 == c.pool) { second } else { best };
        c.terms.risk = c.quote.p_err * after_failure_usd(c, other, call);
    }
}

/// What it costs to fail at `c` after its expected time to first token and to go on to the best other.
fn after_failure_usd(c: &Candidate, other: Option<(f64, f64, PoolId)>, call: &CallView<'_>) -> f64 {
    let class = call.class;
    let lost_time = class.delay_usd_per_s * c.quote.ttft_s;
    match other {
        None => class.miss_usd + lost_time,
        Some((usd, ttft_s, _)) => {
            let late = class.ttft_target.is_some_and(|t| c.quote.ttft_s + ttft_s > t.as_secs_f64());
            usd + lost_time + if late { class.miss_usd } else { 0.0 }
        }
    }
}
