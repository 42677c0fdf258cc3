//! Who is well enough to be sent a call: breaker, probation, slow start and cooldown.
//!
//! The rules follow linkerd's unified breaker and Envoy's outlier detection and slow start. What is ill is the
//! narrowest thing that can be (one model at one endpoint, then one endpoint, then the pool's service of a model);
//! who feeds which breaker is the fleet's business. A caller's mistake (4xx) and a limit (429) are no illness.
//! Time, and jitter between 0 and 1, are arguments; what changed is returned.

mod breaker;
mod cooldown;
mod sizes;
mod window;

pub use breaker::{Admission, Breaker, Cause, Change, End, Verdict};
pub use cooldown::Cooldown;
pub use sizes::{Cap, Sizes};

use crate::domain::Duration;

/// When things are ejected and how they come back.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Settings {
    /// Failures in a row seen at our own socket (refused, reset, no first token) that eject. 3: nothing but a dead or
    /// hung server does this.
    pub local_failures: u8,
    /// Failures in a row of any unhealthy kind that eject.
    pub failures: u8,
    /// A success ratio below this over the last 10 s ejects.
    pub success_ratio: f64,
    /// But only with so many samples: fewer say nothing about a ratio.
    pub ratio_samples: u32,
    /// The first ejection lasts this long, the n-th in a row n times as long.
    pub ejection: Duration,
    /// No ejection is longer.
    pub ejection_max: Duration,
    /// From the first success to full traffic.
    pub slow_start: Duration,
    /// Slow start begins with this share of the calls.
    pub slow_start_floor: f64,
    /// Without a hint the first 429 keeps calls away this long, each next twice as long.
    pub cooldown: Duration,
    /// No cooldown is longer, whatever a provider says.
    pub cooldown_max: Duration,
    /// After a cooldown calls come back over this time, so that a window that just reset is not used up at once.
    pub cooldown_ramp: Duration,
    /// A pool without money, key or model is asked again after this, then after twice as long.
    pub disabled: Duration,
    /// At the latest after this.
    pub disabled_max: Duration,
    /// When all are ejected, so many calls at once may still try an offer.
    pub panic_calls: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            local_failures: 3,
            failures: 5,
            success_ratio: 0.8,
            ratio_samples: 20,
            ejection: Duration::from_secs(5),
            ejection_max: Duration::from_secs(300),
            slow_start: Duration::from_secs(30),
            slow_start_floor: 0.1,
            cooldown: Duration::from_secs(1),
            cooldown_max: Duration::from_secs(300),
            cooldown_ramp: Duration::from_secs(5),
            disabled: Duration::from_secs(60),
            disabled_max: Duration::from_secs(600),
            panic_calls: 4,
        }
    }
}

#[cfg(test)]
mod tests;
