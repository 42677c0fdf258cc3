//! What the policy needs to know of a call, and of an offer for that call.

use serde::{Deserialize, Serialize};

use super::{Shadow, Terms};
use crate::domain::{CallFacts, Class, Duration, Now, OfferId, PoolId, Prices};

/// A call, as the policy sees it, with all numbers that are the same for every offer, so that they are worked out once.
#[derive(Clone, Copy, Debug)]
pub struct CallView<'a> {
    /// Its facts.
    pub facts: &'a CallFacts,
    /// Its class.
    pub class: &'a Class,
    /// Now.
    pub now: Now,
    /// Input tokens.
    pub input: f64,
    /// Choices asked for, at least 1.
    pub choices: f64,
    /// Output tokens expected of each choice.
    pub each: f64,
    /// Output tokens expected, over all choices.
    pub output: f64,
    /// The context window that it needs at least, in tokens.
    pub window: u64,
    /// What a miss costs, in dollars: more than the class says while it misses more than it may.
    pub miss_usd: f64,
    /// The class wants the first token within so many seconds.
    pub ttft_target_s: Option<f64>,
    /// And the whole answer within so many.
    pub finish_target_s: Option<f64>,
    /// Seconds left until the deadline.
    pub left_s: f64,
}

/// Input is an estimate that may be this much too high; a provider refuses a prompt that is too long at once and for
/// free, so that trying is better than refusing what would have fitted.
const INPUT_TOLERANCE: (u64, u64) = (9, 10);

impl<'a> CallView<'a> {
    /// Of a call that is expected to get `each` output tokens a choice.
    pub fn new(facts: &'a CallFacts, class: &'a Class, each: f64, now: Now) -> Self {
        let choices = f64::from(facts.n.max(1));
        let used_s = now.mono.secs_since(facts.arrived);
        let left = |target: Duration| target.as_secs_f64() - used_s;
        let input = u64::from(facts.input_tokens) * INPUT_TOLERANCE.0 / INPUT_TOLERANCE.1;
        Self {
            facts,
            class,
            now,
            input: f64::from(facts.input_tokens),
            choices,
            each,
            output: each * choices,
            window: input + u64::from(facts.max_tokens.unwrap_or(0)),
            miss_usd: class.miss_usd,
            ttft_target_s: class.ttft_target.map(left),
            finish_target_s: class.finish_target.map(left),
            left_s: facts.deadline.secs_since(now.mono),
        }
    }
}

/// Prices in dollars per token, as floats: what comparing needs.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
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
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
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
    /// What of a provider's grants it takes, in dollars.
    pub grants_usd: f64,
    /// Energy that it takes at an own pool, in dollars.
    pub energy_usd: f64,
}

impl Quote {
    /// Does it take own capacity, rather than a provider's?
    pub fn takes_own(&self) -> bool {
        self.prefill_s + self.slot_s > 0.0
    }
}

/// In which order offers are tried when some were tried already. Smaller first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
    /// Stands for the pool when lots are drawn: see [`Self::key_of`].
    pub key: u64,
}

impl Candidate {
    /// A number for a pool of that name, so that a lot falls on the same pool in whatever order a config names them
    /// (FNV-1a).
    pub fn key_of(pool: &str) -> u64 {
        let add = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        pool.bytes().fold(0xcbf2_9ce4_8422_2325, add)
    }
}
