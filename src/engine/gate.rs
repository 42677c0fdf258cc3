//! What happens to a request before and around the engine: no way there, a limit, an error, a broken answer.
//!
//! One gate a pool. Everything is drawn from the seed of the attempt, so a run can be repeated whatever the order.

use super::draw::{mix, unit};
use super::settings::Door;
use crate::domain::{Duration, Instant, Now};

/// See the module.
#[derive(Clone, Debug)]
pub struct Gate {
    door: Door,
    /// When the requests let in so far would all be due at the allowed rate (GCRA's theoretical arrival time).
    paid_to: Instant,
}

/// Let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Passage {
    /// How the answer will break, if it will.
    pub breaks: Option<Break>,
    /// When contact ends, and with it every answer still under way.
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
    /// An injected error.
    Error {
        /// Its status.
        status: u16,
    },
}

impl Gate {
    /// With a full allowance.
    pub const fn new(door: Door) -> Self {
        Self { door, paid_to: Instant::START }
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
        !self.door.refuse && self.door.contact.is_none_or(|window| window.open(now.wall))
    }

    /// A request comes. `seed` stands for the attempt.
    pub fn knock(&mut self, now: Now, seed: u64) -> Result<Passage, Turned> {
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
        self.charge(now.mono)?;
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

    /// GCRA: the limit is kept on average, and ten seconds' worth of it (at least one request) may come at once.
    fn charge(&mut self, now: Instant) -> Result<(), Turned> {
        let Some(per_minute) = self.door.requests_per_minute else { return Ok(()) };
        let Some(nanos) = 60_000_000_000u64.checked_div(u64::from(per_minute)) else {
            return Err(Turned::RateLimited { retry_after: Duration::from_secs(60) });
        };
        let (each, burst) = (Duration::from_nanos(nanos), u32::max(per_minute / 6, 1));
        let paid_to = self.paid_to.max(now) + each;
        let allowed = now + each * burst;
        if paid_to > allowed {
            return Err(Turned::RateLimited { retry_after: paid_to.since(allowed) });
        }
        self.paid_to = paid_to;
        Ok(())
    }
}
