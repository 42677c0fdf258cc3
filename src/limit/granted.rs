//! What is left of what a provider grants: twins of its own meters, kept by what we send and corrected by what it says.
//!
//! A meter is the generic cell rate algorithm (ATM Forum TM 4.0): the moment up to which what was sent would be due at the
//! granted rate. It needs no timer and no history. The provider's meter is the truth: when it refuses although the
//! twin saw room, the twin is emptied and believes in a little less from then on.

use super::Ramp;
use crate::domain::{Duration, Grants, Instant, Now, Quota};

/// What is sent at once may be a sixth of a minute's worth: providers differ and say little about it; ten seconds is
/// short enough for those that look at every few seconds.
const BURST_S: f64 = 10.0;
/// After a refusal that the twin did not foresee it believes in so much of the rate that it believed in before ...
const DISTRUST: f64 = 0.9;
/// ... but not in less than this ...
const TRUST_MIN: f64 = 0.25;
/// ... and comes back by this much a second: 2 % a minute.
pub(super) const TRUST_BACK_PER_S: f64 = 0.02 / 60.0;
/// The pace at which a quota is used is averaged over this many seconds: long enough for bursts to even out, short
/// enough to see a rush hour begin.
const PACE_S: f64 = 900.0;

/// Nanodollars of a dollar.
const NANOS: f64 = 1e9;

/// So many a minute.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Meter {
    per_s: f64,
    /// Seconds since the start, as a float: fractions of a nanosecond do not matter to a rate.
    paid_to: f64,
    trust: f64,
    at: f64,
}

impl Meter {
    /// A full allowance.
    pub fn new(per_minute: u32) -> Self {
        Self { per_s: f64::from(per_minute.max(1)) / 60.0, paid_to: 0.0, trust: 1.0, at: 0.0 }
    }

    /// So many a minute from now on.
    pub fn set_rate(&mut self, per_minute: f64) {
        self.per_s = per_minute.max(1.0) / 60.0;
    }

    /// The share of the burst that is left: 1 when nothing was sent lately, below 0 after more than the burst.
    pub fn headroom(&self, now: Instant) -> f64 {
        1.0 - (self.paid_to - now.as_secs_f64()).max(0.0) / BURST_S
    }

    /// When `amount` more may be sent, if that is not now. More than the burst at once needs a full allowance.
    pub fn until(&self, amount: f64, now: Instant) -> Option<Instant> {
        let each_s = (amount / (self.per_s * self.trust)).min(BURST_S);
        let ready = self.paid_to.max(now.as_secs_f64()) + each_s - BURST_S;
        // A microsecond is dust of floats.
        (ready > now.as_secs_f64() + 1e-6).then(|| Instant::from_secs_f64(ready))
    }

    /// `amount` was sent.
    pub fn take(&mut self, amount: f64, now: Instant) {
        let at = now.as_secs_f64();
        self.trust = (self.trust + TRUST_BACK_PER_S * (at - self.at).max(0.0)).min(1.0);
        self.at = at.max(self.at);
        self.paid_to = self.paid_to.max(at) + amount / (self.per_s * self.trust);
    }

    /// The provider refused.
    pub fn refused(&mut self, now: Instant) {
        let at = now.as_secs_f64();
        if self.headroom(now) > 0.1 {
            self.trust = (self.trust * DISTRUST).max(TRUST_MIN);
        }
        self.paid_to = self.paid_to.max(at + BURST_S);
    }
}

/// So many tokens a window.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Allotment {
    quota: Quota,
    window: u64,
    used: f64,
    /// The provider said that nothing is left of this window.
    spent: bool,
    /// Tokens a second, averaged over [`PACE_S`].
    pace: f64,
    at: Instant,
}

impl Allotment {
    /// Nothing used.
    pub fn new(quota: Quota, now: Now) -> Self {
        Self { quota, window: quota.window(now.wall), used: 0.0, spent: false, pace: 0.0, at: now.mono }
    }

    /// Tokens left in this window.
    pub fn left(&self, now: Now) -> f64 {
        let tokens = self.quota.tokens as f64;
        match self.quota.window(now.wall) == self.window {
            true if self.spent => (tokens - self.used).min(0.0),
            true => tokens - self.used,
            false => tokens,
        }
    }

    /// What would be used until the reset at the present pace, over what is left: above 1 it does not last.
    pub fn pressure(&self, now: Now) -> f64 {
        self.pressure_over(self.resets_in(now).as_secs_f64(), now)
    }

    /// The same where as much as in so many seconds like these is still to come until the reset.
    pub fn pressure_over(&self, seconds: f64, now: Now) -> f64 {
        self.pace_at(now.mono) * seconds / self.left(now).max(1.0)
    }

    /// How long until all of it is there again.
    pub fn resets_in(&self, now: Now) -> Duration {
        self.quota.resets_in(now.wall)
    }

    /// So many tokens were sent, or (negative) came back.
    pub fn take(&mut self, tokens: f64, now: Now) {
        let window = self.quota.window(now.wall);
        if window != self.window {
            (self.window, self.used, self.spent) = (window, 0.0, false);
        }
        self.used = (self.used + tokens).max(0.0);
        self.pace = (self.pace_at(now.mono) + tokens / PACE_S).max(0.0);
        self.at = now.mono.max(self.at);
    }

    /// The provider says that nothing is left.
    pub fn refused(&mut self, now: Now) {
        self.take(0.0, now);
        self.spent = true;
    }

    fn pace_at(&self, now: Instant) -> f64 {
        self.pace * (-now.secs_since(self.at) / PACE_S).exp()
    }
}

/// All that one pool was granted.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Granted {
    /// Requests a minute.
    pub requests: Option<Meter>,
    /// Tokens a minute.
    pub tokens: Option<Meter>,
    /// Tokens a window.
    pub quota: Option<Allotment>,
    /// Nanodollars a window.
    pub budget: Option<Allotment>,
    /// How fast tokens a minute may grow.
    pub ramp: Option<Ramp>,
}

impl Granted {
    /// A full allowance.
    pub fn new(grants: &Grants, now: Now) -> Self {
        Self {
            requests: grants.requests_per_minute.map(Meter::new),
            tokens: grants.tokens_per_minute.map(Meter::new),
            quota: grants.quota.map(|q| Allotment::new(q, now)),
            budget: grants.budget.map(|b| Allotment::new(b.in_nanos(), now)),
            ramp: grants.growth.as_ref().map(Ramp::new),
        }
    }

    /// What is left of it under another contract: what stays the same keeps its twin, a rate or an amount that changes
    /// counts what was sent all the same, anything else begins anew.
    #[must_use]
    pub fn adopt(self, was: &Grants, is: &Grants, now: Now) -> Self {
        let new = Self::new(is, now);
        let rate = |known: Option<Meter>, per_minute: Option<u32>| {
            let per_s = Meter::new(per_minute?).per_s;
            known.map(|meter| Meter { per_s, ..meter })
        };
        let window = |known: Option<Allotment>, new: Option<Allotment>| {
            let (known, new) = (known?, new?);
            let same = known.quota.every == new.quota.every && known.quota.anchor == new.quota.anchor;
            // More than before is more to use, whatever the provider said of less.
            let spent = known.spent && known.quota.tokens >= new.quota.tokens;
            same.then_some(Allotment { quota: new.quota, spent, ..known })
        };
        Self {
            requests: rate(self.requests, is.requests_per_minute).or(new.requests),
            tokens: rate(self.tokens, is.tokens_per_minute).or(new.tokens),
            quota: window(self.quota, new.quota).or(new.quota),
            budget: window(self.budget, new.budget).or(new.budget),
            ramp: self.ramp.filter(|_| was.growth == is.growth).or(new.ramp),
        }
    }

    /// True if nothing is limited.
    pub const fn boundless(&self) -> bool {
        let (rates, windows) = (self.requests.is_none() && self.tokens.is_none(), self.quota.is_none());
        rates && windows && self.budget.is_none() && self.ramp.is_none()
    }

    /// When a request of so many tokens may be sent, if that is not now.
    pub fn until(&self, tokens: f64, now: Now) -> Option<Instant> {
        let requests = self.requests.and_then(|m| m.until(1.0, now.mono));
        let by_tokens = self.tokens.and_then(|m| m.until(tokens, now.mono));
        let quota = self.quota.filter(|q| q.left(now) < tokens).map(|q| now.mono + q.resets_in(now));
        let ramp = self.ramp.and_then(|r| r.until(tokens, now.mono));
        requests.max(by_tokens).max(quota).max(ramp)
    }

    /// When a request that costs `usd` may be sent for a class that must leave `reserve` of what is left to others, if that
    /// is not now: what is held back for them shrinks with the time that they have left.
    pub fn budget_until(&self, usd: f64, reserve: f64, now: Now) -> Option<Instant> {
        let budget = self.budget.as_ref()?;
        let (left, resets_in) = (budget.left(now), budget.resets_in(now));
        if left < usd * NANOS {
            return Some(now.mono + resets_in);
        }
        // In seconds until the reset: no more of them may be left for so much to be free for the class.
        let (all, every_s) = (budget.quota.tokens as f64, budget.quota.every.as_secs_f64());
        let free_at_s = every_s * left / (reserve * all);
        let wait_s = resets_in.as_secs_f64() - free_at_s;
        (wait_s > 0.0).then(|| now.mono + Duration::from_secs_f64(wait_s))
    }

    /// So many dollars were spent, or (negative) were not spent after all.
    pub fn spend(&mut self, usd: f64, now: Now) {
        if let Some(budget) = &mut self.budget {
            budget.take(usd * NANOS, now);
        }
    }

    /// A request of so many tokens was sent.
    pub fn take(&mut self, tokens: f64, now: Now) {
        if let Some(m) = &mut self.requests {
            m.take(1.0, now.mono);
        }
        self.settle(tokens, now);
    }

    /// It took so many tokens more than was thought (or fewer, if negative).
    pub fn settle(&mut self, tokens: f64, now: Now) {
        if let Some(m) = &mut self.tokens {
            m.take(tokens, now.mono);
        }
        if let Some(q) = &mut self.quota {
            q.take(tokens, now);
        }
        if let Some(r) = &mut self.ramp {
            r.take(tokens, now.mono);
        }
    }

    /// The provider refused for its rate.
    pub fn refused(&mut self, now: Instant) {
        for m in [&mut self.requests, &mut self.tokens].into_iter().flatten() {
            m.refused(now);
        }
        if let Some(r) = &mut self.ramp {
            r.refused(now);
        }
    }

    /// The provider refused because the window's tokens are used up.
    pub fn exhausted(&mut self, now: Now) {
        if let Some(q) = &mut self.quota {
            q.refused(now);
        }
    }

    /// An operator says that the provider grants again: what we counted ourselves stands.
    pub fn restored(&mut self) {
        if let Some(q) = &mut self.quota {
            q.spent = false;
        }
    }
}
