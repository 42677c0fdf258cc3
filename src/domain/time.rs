//! Two kinds of time, both plain numbers, so that rules can be run in virtual time and tests can say `at(5)`.
//!
//! [`Instant`] is monotonic and only means something inside one process: deadlines, latencies, breakers.
//! [`Timestamp`] is wall time: contact windows, prices by the hour, anything that two replicas must agree on.

use std::fmt;
use std::ops::{Add, Sub};
pub use std::time::Duration;

/// A monotonic moment: nanoseconds since the router (or the simulation) started.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The start of the process or of the simulation.
    pub const START: Self = Self(0);
    /// Later than everything that happens: an absent deadline.
    pub const NEVER: Self = Self(u64::MAX);

    /// The moment `nanos` nanoseconds after the start.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The moment `secs` seconds after the start; negative or NaN counts as the start.
    pub fn from_secs_f64(secs: f64) -> Self {
        Self((secs * 1e9) as u64)
    }

    /// Nanoseconds since the start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Seconds since the start.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// [`Self::since`] in seconds.
    pub fn secs_since(self, earlier: Self) -> f64 {
        self.0.saturating_sub(earlier.0) as f64 / 1e9
    }

    /// True for [`Self::NEVER`].
    pub const fn is_never(self) -> bool {
        self.0 == u64::MAX
    }
}

/// As nanoseconds; [`Instant::NEVER`] as null, which readers whose numbers are floats keep too.
impl serde::Serialize for Instant {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        (!self.is_never()).then_some(self.0).serialize(to)
    }
}

impl<'de> serde::Deserialize<'de> for Instant {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map_or(Self::NEVER, Self))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    /// Saturates at [`Instant::NEVER`], so that a huge timeout is no timeout and never a panic.
    fn add(self, by: Duration) -> Self {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;
    fn sub(self, by: Duration) -> Self {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(nanos))
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_never() {
            return f.write_str("never");
        }
        write!(f, "{:.6}s", self.as_secs_f64())
    }
}

/// A wall-clock moment: milliseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The moment `millis` milliseconds after 1970-01-01 UTC.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970-01-01 UTC.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since 1970-01-01 UTC.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }
}

/// The two clocks read together. Rules take one `Now`, so that the two can never disagree within a decision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// Monotonic time.
    pub mono: Instant,
    /// Wall time.
    pub wall: Timestamp,
}
