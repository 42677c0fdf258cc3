//! What happens to a request before and around the engine: no way there, a limit, an error, a broken answer.
//!
//! One gate a pool. Everything is drawn from the seed of the attempt, so a run can be repeated whatever the order.

use super::draw::{mix, unit};
use super::settings::Door;
use crate::domain::{Allowance, Allowances, Duration, Instant, Now};

/// See the module.
#[derive(Clone, Debug)]
pub struct Gate {
    door: Door,
    /// When the requests let in so far would all be due at the allowed rate (GCRA's theoretical arrival time).
    paid_to: Instant,
    /// The same for their tokens.
    tokens_paid_to: Instant,
    /// The window of the quota that is being used up, and what is used of it.
    quota: (u64, u64),
}

/// Let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Passage {
    /// How the answer will break, if it will.
    pub breaks: Option<Break>,
    /// When contact (or the lease) ends, and with it every answer still under way.
    pub contact_ends: Option<Instant>,
}

/// How an answer breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Break {
    /// The connection is cut after so many tokens.
    Truncate(u32),
    /// Nothing more comes after so many tokens, and the connection stays.
    Stall(u32),
}

/// Not let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turned {
    /// No connection.
    Unreachable {
        /// When contact begins, where that is known.
        opens_in: Option<Duration>,
    },
    /// Over the rate limit (429).
    RateLimited {
        /// When the next request is welcome.
        retry_after: Duration,
    },
    /// The quota of this window is used up.
    QuotaExhausted {
        /// When the next window begins.
        retry_after: Duration,
    },
    /// An injected error.
    Error {
        /// Its status.
        status: u16,
    },
}

impl Gate {
    /// With a full allowance.
    pub const fn new(door: Door) -> Self {
        Self { door, paid_to: Instant::START, tokens_paid_to: Instant::START, quota: (0, 0) }
    }

    /// The settings in force.
    pub const fn door(&self) -> &Door {
        &self.door
    }

    /// Other settings from now on; the rate limit's memory stays.
    pub fn set(&mut self, door: Door) {
        self.door = door;
    }

    /// Would a connection be taken now? Charges nothing.
    pub fn reachable(&self, now: Now) -> bool {
        !self.door.refuse
            && self.door.lease.is_none_or(|lease| lease.holds(now.wall))
            && self.door.contact.is_none_or(|window| window.open(now.wall))
    }

    /// A request of so many tokens, prompt and answer, comes. `seed` stands for the attempt.
    pub fn knock(&mut self, now: Now, seed: u64, tokens: u32) -> Result<Passage, Turned> {
        if self.door.refuse {
            return Err(Turned::Unreachable { opens_in: None });
        }
        let contact_ends = match &self.door.contact {
            Some(window) if !window.open(now.wall) => {
                return Err(Turned::Unreachable { opens_in: Some(window.opens_in(now.wall)) });
            }
            Some(window) => Some(now.mono + window.remaining(now.wall)),
            None => None,
        };
        let contact_ends = match &self.door.lease {
            Some(lease) if !lease.holds(now.wall) => {
                return Err(Turned::Unreachable { opens_in: lease.begins_in(now.wall) });
            }
            Some(lease) => {
                let ends = lease.remaining(now.wall).map(|left| now.mono + left);
                [contact_ends, ends].into_iter().flatten().min()
            }
            None => contact_ends,
        };
        self.charge(now, tokens)?;
        let door = &self.door;
        if unit(mix(seed, 1)) < door.error_rate {
            return Err(Turned::Error { status: door.error_status });
        }
        let breaks = if unit(mix(seed, 2)) < door.truncate_rate {
            Some(Break::Truncate(door.truncate_after))
        } else if unit(mix(seed, 3)) < door.stall_rate {
            Some(Break::Stall(door.stall_after))
        } else {
            None
        };
        Ok(Passage { breaks, contact_ends })
    }

    /// What a provider with these limits would say of them: the limit is what may come at once.
    pub fn left(&self, now: Instant) -> Allowances {
        let Door { grants, .. } = &self.door;
        Allowances {
            requests: left(self.paid_to, grants.requests_per_minute, now),
            tokens: left(self.tokens_paid_to, grants.tokens_per_minute, now),
            closed_for: None,
        }
    }

    /// GCRA: each limit is kept on average, and ten seconds' worth of it (at least one request) may come at once. What is
    /// turned away is charged nowhere.
    fn charge(&mut self, now: Now, tokens: u32) -> Result<(), Turned> {
        let requests = after(self.paid_to, self.door.grants.requests_per_minute, 1, now.mono)?;
        let by_tokens = after(self.tokens_paid_to, self.door.grants.tokens_per_minute, tokens, now.mono)?;
        if let Some(quota) = &self.door.grants.quota {
            let window = quota.window(now.wall);
            let used = if self.quota.0 == window { self.quota.1 } else { 0 };
            let then = used.saturating_add(u64::from(tokens));
            if then > quota.tokens {
                return Err(Turned::QuotaExhausted { retry_after: quota.resets_in(now.wall) });
            }
            self.quota = (window, then);
        }
        (self.paid_to, self.tokens_paid_to) = (requests, by_tokens);
        Ok(())
    }
}

/// What of its burst a limit has left, and when it has all of it.
fn left(paid_to: Instant, per_minute: Option<u32>, now: Instant) -> Allowance {
    let Some(per_minute) = per_minute.filter(|n| *n > 0) else { return Allowance::default() };
    let limit = u64::from((per_minute / 6).max(1));
    let reset = paid_to.since(now);
    // Rounded up: what is not quite there is not there.
    let used = (reset.as_secs_f64() * f64::from(per_minute) / 60.0 - 1e-6).ceil().max(0.0) as u64;
    let remaining = Some(limit.saturating_sub(used));
    Allowance { limit: Some(limit), remaining, reset: Some(reset), window: None }
}

/// The theoretical arrival time after `amount` more at `per_minute`, or how long that is too early.
fn after(paid_to: Instant, per_minute: Option<u32>, amount: u32, now: Instant) -> Result<Instant, Turned> {
    let Some(per_minute) = per_minute else { return Ok(paid_to) };
    let nanos = |n: u64| (u128::from(n) * 60_000_000_000).checked_div(u128::from(per_minute));
    let Some((each, burst)) = nanos(amount.into()).zip(nanos(u64::from((per_minute / 6).max(amount).max(1))))
    else {
        return Err(Turned::RateLimited { retry_after: Duration::from_secs(60) });
    };
    let duration = |n: u128| Duration::from_nanos(u64::try_from(n).unwrap_or(u64::MAX));
    let then = paid_to.max(now) + duration(each);
    let allowed = now + duration(burst);
    if then > allowed {
        return Err(Turned::RateLimited { retry_after: then.since(allowed) });
    }
    Ok(then)
}
