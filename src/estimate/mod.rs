//! What a call will probably take: time to first token and how often it is late, time per token, output tokens, errors.
//!
//! Every estimate is O(1) in memory, starts from the operator's prior, is shrunk towards it while samples are few, and
//! goes back to it when they are old, so that the first call is judged sensibly and a pool that is not used regains
//! its appeal smoothly instead of all at once. Knows numbers and times; knows nothing of pools, endpoints or prices.

mod line;
mod mean;
mod offer;
mod tail;
pub mod tokens;

pub use line::Line;
pub use mean::Mean;
pub use offer::{FirstToken, OfferEstimate, Reading, nominal_work_s};
pub use tail::{Odds, Tail};

/// How long estimates remember.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Settings {
    /// After so many seconds without a sample an estimate has gone half the way back to its prior. 60 s, because
    /// providers change by the minute and a pool unused for longer is unknown.
    pub half_life_s: f64,
    /// The prior counts as so many samples: 20 real ones outweigh it.
    pub prior_samples: f64,
    /// Older samples fade so that at most so many count for a mean: 64 follow a change within seconds at 10 calls a
    /// second.
    pub mean_samples: f64,
    /// The same for the tail, which needs more samples to see a per cent.
    pub tail_samples: f64,
    /// Share of attempts that fail, before anything is measured.
    pub error_prior: f64,
    /// Share of a session's prefix that is found in the cache of the endpoint (or provider) that served it last,
    /// before anything is measured.
    pub cache_hit_prior: f64,
    /// Output tokens of a choice, before anything is measured: the mean of public conversation traces is 211 to 343.
    pub output_prior: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            half_life_s: 60.0,
            prior_samples: 20.0,
            mean_samples: 64.0,
            tail_samples: 256.0,
            error_prior: 0.01,
            cache_hit_prior: 0.7,
            output_prior: 256.0,
        }
    }
}

impl Settings {
    /// How many samples the prior counts as, next to `n` real ones of which at most `most` are kept: all of its own
    /// at first, and next to nothing when the estimate is full of fresh samples, so that a wrong prior leaves no bias.
    pub fn prior_weight(&self, n: f64, most: f64) -> f64 {
        (self.prior_samples * (1.0 - n / most)).max(1.0)
    }

    /// How much of a sample's weight is left after `seconds`.
    pub fn fade(&self, seconds: f64) -> f64 {
        if seconds <= 0.0 { 1.0 } else { (-seconds / self.half_life_s).exp2() }
    }
}

#[cfg(test)]
mod tests;
