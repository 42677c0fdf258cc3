//! What a bound is a bound of: pools, limits and classes as plain numbers.
//!
//! Knows nothing of configs. Whoever fills it in says what the simulated world may do at best: a capacity that is given
//! too large makes the bound looser, one that is given too small makes it wrong.

use std::sync::Arc;

use crate::domain::{ContactWindow, Duration, Instant, ModelId, Prices, Tenure, Timestamp};
use crate::engine::{EnergyPrice, Settings};

/// Everything that a policy has at its disposal.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct System {
    /// By [`PoolId`](crate::domain::PoolId).
    pub pools: Vec<Pool>,
    /// By [`ClassId`](crate::domain::ClassId).
    pub classes: Vec<Class>,
    /// Wall time at [`Instant::START`], which contact windows are counted from.
    pub wall: Timestamp,
}

/// One pool.
#[derive(Clone, PartialEq, Debug)]
pub struct Pool {
    /// For people.
    pub name: Arc<str>,
    /// How it is paid for. Owned money is in [`Self::offers`] too, where it is zero.
    pub tenure: Tenure,
    /// One entry an endpoint.
    pub engines: Vec<Settings>,
    /// One way; a call pays it going in and its first token coming out.
    pub delay: Duration,
    /// What it serves and at which price.
    pub offers: Vec<(ModelId, Prices)>,
    /// Over all its endpoints.
    pub requests: Option<Limit>,
    /// Over all its endpoints.
    pub tokens: Option<TokenLimit>,
    /// What energy costs there at the least.
    pub energy: EnergyPrice,
    /// When it can be reached; absent is always.
    pub contact: Option<ContactWindow>,
    /// From when to when it does no work at all, known beforehand (a drill).
    pub down: Vec<(Instant, Instant)>,
    /// The largest factor that anything slows its engines by; 1 where nothing does. Never below 1.
    pub slowest: f64,
}

/// A leaky bucket: at most `burst + rate * time` in any stretch of time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Limit {
    /// How many a second.
    pub per_second: f64,
    /// How many more may come at once.
    pub burst: f64,
}

/// A limit of tokens.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TokenLimit {
    /// In tokens.
    pub limit: Limit,
    /// Output counts too, and not just input.
    pub output: bool,
}

impl Limit {
    /// What the gate of a simulated pool lets through: see [`Gate`](crate::engine::Gate).
    pub fn of_gate(per_minute: u32) -> Self {
        // The gate counts in whole nanoseconds a request, which lets a little more than the limit through.
        let each = 60_000_000_000u64.checked_div(u64::from(per_minute)).unwrap_or(u64::MAX);
        let burst = if per_minute == 0 { 0 } else { u32::max(per_minute / 6, 1) };
        let per_second = if per_minute == 0 { 0.0 } else { 1e9 / each as f64 };
        Self { per_second, burst: f64::from(burst) }
    }

    /// So many a minute, of which `burst` at once.
    pub fn per_minute(count: f64, burst: f64) -> Self {
        Self { per_second: count / 60.0, burst }
    }
}

/// One class of traffic.
#[derive(Clone, PartialEq, Debug)]
pub struct Class {
    /// For people.
    pub name: Arc<str>,
    /// First token within this.
    pub first_token: Option<Duration>,
    /// Whole answer within this: the target, or the deadline where that is shorter and missing it is a miss.
    pub finish: Option<Duration>,
    /// What a miss costs, in dollars.
    pub miss_usd: f64,
    /// How many providers' draws of the time to first token one call may see and still be in time: 1 where the shortest
    /// patience with a try is not below [`Self::first_token`] and nothing hedges, else one more for each further try
    /// that fits.
    pub tries: u32,
}

impl Pool {
    /// Prices of that model here.
    pub(super) fn prices(&self, model: ModelId) -> Option<&Prices> {
        self.offers.iter().find(|(m, _)| *m == model).map(|(_, prices)| prices)
    }

    /// Could it do anything at some moments and not at others?
    pub(super) fn intermittent(&self) -> bool {
        self.contact.is_some() || !self.down.is_empty()
    }

    /// Seconds between `from` and `to` (seconds since the start) in which its engines may be at work, at most.
    pub(super) fn open_s(&self, from: f64, to: f64, wall: Timestamp) -> f64 {
        let mut open = to - from;
        if let Some(window) = &self.contact {
            // What came in before contact ended may be under way for as long as the delay.
            open = open.min(contact_s(window, from - self.delay.as_secs_f64(), to, wall));
        }
        let overlap =
            |(a, b): &(Instant, Instant)| (b.as_secs_f64().min(to) - a.as_secs_f64().max(from)).max(0.0);
        let down = self.down.iter().map(overlap).fold(0.0, f64::max);
        open.min(to - from - down).max(0.0)
    }
}

/// Seconds of contact between two moments in seconds since the start, rounded up.
fn contact_s(window: &ContactWindow, from: f64, to: f64, wall: Timestamp) -> f64 {
    let period = window.period.as_secs_f64().max(1e-3);
    let anchor = (window.anchor.as_millis() as f64 - wall.as_millis() as f64) / 1e3;
    // Contact from the anchor on up to `t`.
    let until = |t: f64| {
        let periods = ((t - anchor) / period).floor();
        let phase = t - anchor - periods * period;
        periods * window.length.as_secs_f64() + phase.min(window.length.as_secs_f64())
    };
    // Wall time has milliseconds: a window may seem to begin or end by one of them earlier or later.
    until(to + 1e-3) - until(from - 1e-3)
}
