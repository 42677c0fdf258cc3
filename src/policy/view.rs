//! What the policy needs to know of a call, and of an offer for that call.

use super::{Shadow, Terms};
use crate::domain::{CallFacts, Class, Now, OfferId, PoolId, Prices};

/// A call, as the policy sees it.
#[derive(Clone, Copy, Debug)]
pub struct CallView<'a> {
    /// Its facts.
    pub facts: &'a CallFacts,
    /// Its class.
    pub class: &'a Class,
    /// Output tokens expected, over all choices.
    pub output: f64,
    /// Now.
    pub now: Now,
}

impl CallView<'_> {
    /// Seconds left until the deadline.
    pub fn left_s(&self) -> f64 {
        self.facts.deadline.secs_since(self.now.mono)
    }
}

/// Prices in dollars per token, as floats: what comparing needs.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct TokenPrices {
    /// Input, not cached.
    pub input: f64,
    /// Input, cached.
    pub cached: f64,
    /// Output.
    pub output: f64,
}

impl From<&Prices> for TokenPrices {
    fn from(p: &Prices) -> Self {
        Self {
            input: p.input.dollars_per_token(),
            cached: p.cached.dollars_per_token(),
            output: p.output.dollars_per_token(),
        }
    }
}

/// What an offer would do for a call, by the estimates.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Quote {
    /// Its prices.
    pub prices: TokenPrices,
    /// Input tokens that are expected to be found in a cache there.
    pub cached: f64,
    /// Expected seconds to the first token, queueing and network included.
    pub ttft_s: f64,
    /// Expected seconds to the end of the answer.
    pub finish_s: f64,
    /// Probability that a target of the class is missed.
    pub p_miss: f64,
    /// Probability that the attempt fails.
    pub p_err: f64,
    /// Seconds of own prefill that it takes; zero for metered pools.
    pub prefill_s: f64,
    /// Seconds of own decode slots that it takes; zero for metered pools.
    pub slot_s: f64,
    /// What such seconds are worth now.
    pub shadow: Shadow,
}

/// In which order offers are tried when some were tried already. Smaller first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Rank {
    /// Nothing that was tried shares its fate.
    #[default]
    Fresh,
    /// Another pool, but in the failure domain of one that was tried.
    SameDomain,
    /// The same pool, another endpoint.
    SamePool,
    /// The same endpoint, which certainly did not work on it.
    SameEndpoint,
    /// Slow start or the end of a cooldown would keep this call away; only if nobody else can.
    HeldBack,
}

/// An eligible offer with all that is needed to compare it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Candidate {
    /// The offer.
    pub offer: OfferId,
    /// Its pool.
    pub pool: PoolId,
    /// How it stands to what was tried.
    pub rank: Rank,
    /// What it would do.
    pub quote: Quote,
    /// What that is worth, term by term.
    pub terms: Terms,
    /// The operator's order.
    pub order: u32,
    /// The operator's weight.
    pub weight: f64,
}
