//! Token counts in one canonical form, whatever a dialect calls them, and what they cost.

use super::money::{Price, Usd, bill};

/// Where a count comes from. An estimate is billed too, and is marked as one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum UsageSource {
    /// Counted by us, because the upstream said nothing (or nothing credible).
    #[default]
    Estimated,
    /// Said by the upstream.
    Reported,
}

/// Tokens of one attempt. Providers differ in whether cached tokens are part of the input; here they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Input tokens, cached ones included.
    pub input: u64,
    /// Input tokens read from the upstream's prefix cache; at most `input`.
    pub cached: u64,
    /// Input tokens written to a cache for a fee; at most `input`.
    pub cache_write: u64,
    /// Output tokens, reasoning included.
    pub output: u64,
    /// Output tokens spent on reasoning; at most `output`.
    pub reasoning: u64,
    /// Who counted.
    pub source: UsageSource,
}

impl Usage {
    /// No call has more tokens in one direction than this: ten times the largest context window there is. A provider
    /// that says more has a fault, and a bill is not the place to find out.
    pub const CREDIBLE_MAX: u64 = 10_000_000;

    /// Input and output together.
    pub const fn total(&self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

/// Prices of an offer per token.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Prices {
    /// Input tokens that were not cached.
    pub input: Price,
    /// Input tokens read from the cache.
    pub cached: Price,
    /// Input tokens written to the cache.
    pub cache_write: Price,
    /// Output tokens.
    pub output: Price,
}

impl Prices {
    /// The bill for `usage`.
    pub fn cost(&self, usage: &Usage) -> Usd {
        let cached = usage.cached.min(usage.input);
        let written = usage.cache_write.min(usage.input - cached);
        let fresh = usage.input - cached - written;
        bill(
            self.input.pico(fresh)
                + self.cached.pico(cached)
                + self.cache_write.pico(written)
                + self.output.pico(usage.output),
        )
    }

    /// True if every price is zero: committed capacity, or nobody said.
    pub fn is_free(&self) -> bool {
        *self == Self::default()
    }
}
