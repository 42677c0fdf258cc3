//! What scarce capacity is worth: shadow prices.
//!
//! Bid-price control (Talluri and van Ryzin 1998; for inference, `online LP for multi-objective routing`, ICML 2026):
//! in the linear program that dispatches all calls at the least cost, each scarce resource has a dual variable, the money
//! that one more unit of it would save. A call is served where price plus duals are smallest. The duals are not computed,
//! they are followed: the price of own capacity is what a slot-second saves at the providers on average (the *level*,
//! learned from every decision), times a factor that grows geometrically with congestion and is 1 at the set point. So
//! half of the calls leave at the set point: those that are cheapest elsewhere for the capacity they free.

use super::Candidate;

/// What an operator may set about the price of own capacity.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Settings {
    /// Share of the decode slots in use at which a slot-second is worth just what it saves elsewhere.
    pub slots_target: f64,
    /// By this much more in use it is worth e times as much.
    pub slots_spread: f64,
    /// Queued prefill per endpoint, in seconds, at which a prefill second is worth just what it saves elsewhere.
    pub backlog_target_s: f64,
    /// By this much more it is worth e times as much, in seconds.
    pub backlog_spread_s: f64,
    /// The level before any decision, in dollars per slot-second.
    pub level_prior_usd: f64,
    /// Decisions that the level remembers.
    pub level_samples: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            slots_target: 0.85,
            slots_spread: 0.06,
            backlog_target_s: 0.3,
            backlog_spread_s: 0.1,
            level_prior_usd: 5e-5,
            level_samples: 500.0,
        }
    }
}

/// How congested an owned pool is.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Congestion {
    /// Share of its slots that are in use; more than 1 when calls wait for one.
    pub slots: f64,
    /// Prefill queued per endpoint, in seconds.
    pub backlog_s: f64,
}

/// What a pool's capacity is worth, in dollars.
#[derive(Clone, Copy, PartialEq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Shadow {
    /// A second of one decode slot.
    pub slot_usd_per_s: f64,
    /// A second of prefill at one endpoint.
    pub prefill_usd_per_s: f64,
}

/// The factor is never above this: e^9 times the level is more than anybody charges.
const STEEPEST: f64 = 9.0;
/// Nor below this: next to nothing.
const FLATTEST: f64 = -12.0;

/// e to that power, within the limits. Most pools are idle most of the time: theirs is at hand.
fn growth(power: f64) -> f64 {
    /// e^[`FLATTEST`].
    const LEAST: f64 = 6.144_212_353_328_21e-6;
    if power <= FLATTEST { LEAST } else { power.min(STEEPEST).exp() }
}

/// The shadow prices of an owned pool. `prefill_weight` slot-seconds are lost with a second of prefill.
pub fn of_own(c: Congestion, level_usd: f64, prefill_weight: f64, s: &Settings) -> Shadow {
    let factor = |by: f64, spread: f64| growth(by / spread);
    let slot = factor(c.slots - s.slots_target, s.slots_spread);
    let backlog = factor(c.backlog_s - s.backlog_target_s, s.backlog_spread_s);
    Shadow {
        slot_usd_per_s: level_usd * slot,
        prefill_usd_per_s: level_usd * prefill_weight * (slot + backlog),
    }
}

/// The level: what a slot-second of own capacity saves elsewhere, on average over recent decisions.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Level {
    usd: f64,
    step: f64,
}

impl Level {
    /// Before any decision.
    pub fn new(settings: &Settings) -> Self {
        Self { usd: settings.level_prior_usd, step: 1.0 / settings.level_samples.max(1.0) }
    }

    /// How much one decision moves it.
    pub const fn step(&self) -> f64 {
        self.step
    }

    /// In dollars per slot-second.
    pub const fn usd(&self) -> f64 {
        self.usd
    }

    /// A call was surveyed: what the cheapest provider would charge for each slot-second that it takes of our own.
    pub fn learn(&mut self, candidates: &[Candidate], prefill_weight: f64) {
        let (mut seconds, mut money) = (f64::INFINITY, f64::INFINITY);
        for c in candidates {
            if c.quote.takes_own() {
                seconds = seconds.min(c.quote.slot_s + prefill_weight * c.quote.prefill_s);
            } else {
                money = money.min(c.terms.money);
            }
        }
        let usd = money / seconds;
        if usd.is_finite() && usd > 0.0 {
            self.usd += self.step * (usd - self.usd);
        }
    }
}

/// What one unit of a provider's burst is worth, in units of what it saves on average, when so much of the burst is left
/// (1 is all of it): next to nothing while there is plenty, more than the average saving when little is left, so that
/// only calls that save more than others get the last of it.
pub fn of_burst(headroom: f64) -> f64 {
    /// Worth the average saving with this much left: half, so that a burst of valuable calls still finds room.
    const EVEN: f64 = 0.5;
    /// e times as much with this much less.
    const SPREAD: f64 = 0.15;
    growth((EVEN - headroom) / SPREAD)
}

/// What a token of a window is worth, in units of what it saves on average, when so much of what is left would be used
/// until the reset. Below 1 it lasts, and what is left over is lost: free. As the reset nears, the pressure falls.
pub fn of_window(pressure: f64) -> f64 {
    /// e times as much with this much more.
    const SPREAD: f64 = 0.1;
    growth((pressure - 1.0) / SPREAD)
}

/// What a pool saves against the next best, on average over recent decisions.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Savings {
    call_usd: f64,
    token_usd: f64,
}

impl Savings {
    /// Dollars a call.
    pub const fn per_call(&self) -> f64 {
        self.call_usd
    }

    /// Dollars a token.
    pub const fn per_token(&self) -> f64 {
        self.token_usd
    }

    /// A call of so many tokens would have cost `usd` more at the best of the others (nothing, if it is dearer here).
    pub fn learn(&mut self, usd: f64, tokens: f64, step: f64) {
        let usd = usd.max(0.0);
        self.call_usd += step * (usd - self.call_usd);
        self.token_usd += step * (usd / tokens.max(1.0) - self.token_usd);
    }
}
