//! How fast what is sent to a provider may grow: several refuse not the rate but its rise (OpenAI's `slow_down` above half as
//! much again in a quarter of an hour, Anthropic's acceleration limits). When another pool is lost, all its traffic at
//! once would be refused; a ramp lets in what is allowed and leaves the rest to the next pool.
//!
//! The allowed rate `A` (tokens a minute) starts at `above`, below which nobody minds. While the rate that is sent (`r`,
//! averaged over a minute) is at least nine tenths of it, it grows by `0.9 factor` in `every`; the tenth that the rate may
//! jump by at once and this growth make `factor` together. While less is sent it falls back towards what is sent, or
//! `above`, with half of `every` as its time constant. Between two words nothing is sent, so that both pieces have a closed
//! form: no timer, no history. `A` is kept by a [`Meter`] like any other rate.

use super::Meter;
use super::granted::TRUST_BACK_PER_S;
use crate::domain::{Growth, Instant};

/// What is sent must come to this share of what is allowed for more to be allowed.
const USED: f64 = 0.9;
/// The rate that is sent is averaged over so many seconds: a minute, as contracts are in minutes.
const AVERAGED_S: f64 = 60.0;
/// After a refusal that was not foreseen growth is this share of what it was ...
const DISTRUST: f64 = 0.5;
/// ... but not less than this, so that it never stands still; it comes back as a [`Meter`]'s does.
const TRUST_MIN: f64 = 1.0 / 16.0;
/// And the allowed rate steps back by a tenth, to where there was no refusal.
const STEP_BACK: f64 = 0.9;

/// See the module.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Ramp {
    /// Tokens a minute that may always be sent.
    above: f64,
    /// e-foldings a second of the allowed rate.
    growth: f64,
    every_s: f64,
    /// Tokens a minute.
    allowed: f64,
    /// Tokens a minute that are sent.
    sent: f64,
    trust: f64,
    at: f64,
    meter: Meter,
}

impl Ramp {
    /// Nothing sent yet.
    pub fn new(growth: &Growth) -> Self {
        let every_s = growth.every.as_secs_f64().max(1.0);
        Self {
            above: f64::from(growth.above.max(1)),
            growth: (growth.factor * USED).ln().max(0.0) / every_s,
            every_s,
            allowed: f64::from(growth.above.max(1)),
            sent: 0.0,
            trust: 1.0,
            at: 0.0,
            meter: Meter::new(growth.above),
        }
    }

    /// Tokens a minute that may be sent now.
    pub fn allowed(&self, now: Instant) -> f64 {
        self.at(now).allowed
    }

    /// The share of the burst that is left, as of a [`Meter`].
    pub fn headroom(&self, now: Instant) -> f64 {
        self.meter.headroom(now)
    }

    /// When so many tokens may be sent, if that is not now.
    pub fn until(&self, tokens: f64, now: Instant) -> Option<Instant> {
        self.at(now).meter.until(tokens, now)
    }

    /// So many were sent, or (negative) came back.
    pub fn take(&mut self, tokens: f64, now: Instant) {
        *self = self.at(now);
        self.sent = (self.sent + tokens * 60.0 / AVERAGED_S).max(0.0);
        self.meter.take(tokens, now);
    }

    /// The provider refused for its rate. If there should have been room, growth was too fast.
    pub fn refused(&mut self, now: Instant) {
        *self = self.at(now);
        if self.meter.headroom(now) > 0.1 {
            self.trust = (self.trust * DISTRUST).max(TRUST_MIN);
            self.allowed = (self.allowed * STEP_BACK).max(self.above);
        }
        self.meter.refused(now);
    }

    /// How it stands now, nothing having been sent since.
    fn at(mut self, now: Instant) -> Self {
        let passed_s = (now.as_secs_f64() - self.at).max(0.0);
        if passed_s == 0.0 {
            return self;
        }
        let used_s = (AVERAGED_S * (self.sent / (USED * self.allowed)).ln()).clamp(0.0, passed_s);
        self.allowed *= (self.growth * self.trust * used_s).exp();
        self.sent *= (-passed_s / AVERAGED_S).exp();
        let enough = (self.sent / USED).max(self.above);
        if self.allowed > enough {
            let fallen = (-(passed_s - used_s) / (self.every_s / 2.0)).exp();
            self.allowed = enough + (self.allowed - enough) * fallen;
        }
        self.trust = (self.trust + TRUST_BACK_PER_S * passed_s).min(1.0);
        self.at = now.as_secs_f64();
        self.meter.set_rate(self.allowed);
        self
    }
}
