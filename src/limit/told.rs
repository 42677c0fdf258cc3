//! What is left of a provider's meters by its own account: what it said with an answer, carried forward until it says
//! something newer.
//!
//! A provider counts a request when it comes and says with the answer what was left then. So what is left now is what it
//! said, and what has come back since that request was sent, less what was sent after it. That is off by what was on its
//! way to the provider at that moment, by tokens that it counts differently, by what others send, and, with a provider
//! whose meter comes back all at once, by what is taken to have come back before; until the next answer, each time.
//! Reports of requests that were sent before the one that was heard of last say nothing new. Nothing said limits nothing.

use crate::domain::{Allowance, Allowances, Instant};

/// A meter that does not say when it is full again is taken to be one of a minute.
const USUAL_WINDOW_S: f64 = 60.0;
/// What is left is scarce from this share of the limit on: ten seconds' worth of a minute's, as with meters of our own.
const SCARCE: f64 = 1.0 / 6.0;

/// Requests and tokens sent, since the start.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Sent {
    /// Requests.
    pub requests: f64,
    /// Tokens that they were expected to take.
    pub tokens: f64,
}

impl Sent {
    /// One more request.
    pub fn add(&mut self, tokens: f64) {
        self.requests += 1.0;
        self.tokens += tokens;
    }

    fn since(self, earlier: Self) -> Self {
        Self { requests: self.requests - earlier.requests, tokens: self.tokens - earlier.tokens }
    }
}

/// A provider's meters. See the module.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Told {
    requests: Option<Level>,
    tokens: Option<Level>,
    /// Nothing is taken before this.
    closed_to: Instant,
    /// When the request was sent that was heard of last.
    counted: Instant,
}

/// What is left of one meter, and how fast it fills.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Level {
    limit: f64,
    per_s: f64,
    left: f64,
    at: Instant,
}

impl Told {
    /// This came with the answer to a request that was sent at `counted`, when `then` had been sent with it; now `sent` is.
    pub fn hear(&mut self, said: &Allowances, counted: Instant, then: Sent, sent: Sent, now: Instant) {
        if counted < self.counted {
            return;
        }
        self.counted = counted;
        let since = sent.since(then);
        self.requests = Level::of(&said.requests, counted, since.requests, now).or(self.requests);
        self.tokens = Level::of(&said.tokens, counted, since.tokens, now).or(self.tokens);
        self.closed_to = said.closed_for.map_or(Instant::START, |wait| now + wait);
    }

    /// When a request of so many tokens may be sent, if that is not now.
    pub fn until(&self, tokens: f64, now: Instant) -> Option<Instant> {
        let requests = self.requests.and_then(|level| level.until(1.0, now));
        let by_tokens = self.tokens.and_then(|level| level.until(tokens, now));
        let closed = Some(self.closed_to).filter(|to| *to > now);
        requests.max(by_tokens).max(closed)
    }

    /// A request of so many tokens was sent.
    pub fn take(&mut self, tokens: f64, now: Instant) {
        for (level, amount) in [(&mut self.requests, 1.0), (&mut self.tokens, tokens)] {
            if let Some(level) = level {
                level.take(amount, now);
            }
        }
    }

    /// How much is left of what is scarce, of requests and of tokens: 1 is enough, 0 is nothing.
    pub fn headroom(&self, now: Instant) -> [f64; 2] {
        [self.requests, self.tokens].map(|level| level.map_or(1.0, |l| l.headroom(now)))
    }
}

impl Level {
    fn of(said: &Allowance, counted: Instant, since: f64, now: Instant) -> Option<Self> {
        let limit = said.limit? as f64;
        let remaining = (said.remaining? as f64).min(limit);
        let used = limit - remaining;
        let per_s = match (said.window, said.reset.map(|r| r.as_secs_f64())) {
            (Some(window), _) => limit / window.as_secs_f64(),
            (None, Some(reset_s)) if reset_s > 0.0 && used > 0.0 => used / reset_s,
            (None, _) => limit / USUAL_WINDOW_S,
        };
        let back = per_s * now.secs_since(counted);
        let left = ((remaining + back).min(limit) - since).max(0.0);
        (limit >= 1.0 && per_s.is_finite() && per_s > 0.0).then_some(Self { limit, per_s, left, at: now })
    }

    fn left(&self, now: Instant) -> f64 {
        (self.left + self.per_s * now.secs_since(self.at)).min(self.limit)
    }

    fn headroom(&self, now: Instant) -> f64 {
        (self.left(now) / (self.limit * SCARCE)).min(1.0)
    }

    /// More than all of it is sent when all of it is there: the provider knows what it does about that.
    fn until(&self, amount: f64, now: Instant) -> Option<Instant> {
        let missing = amount.min(self.limit) - self.left(now);
        // A microsecond is dust of floats.
        let wait_s = missing / self.per_s;
        (wait_s > 1e-6).then(|| Instant::from_secs_f64(now.as_secs_f64() + wait_s))
    }

    fn take(&mut self, amount: f64, now: Instant) {
        self.left = (self.left(now) - amount).max(-self.limit);
        self.at = now.max(self.at);
    }
}

#[cfg(test)]
mod tests;
