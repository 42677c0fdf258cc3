//! Everything an operator may set about routing, with the defaults that are right when nobody does.

use crate::domain::Duration;
use crate::{estimate, health, limit, policy, queue};

/// What an operator may set.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Settings {
    /// Choosing, placing and patience.
    pub choice: policy::Settings,
    /// Breakers, slow start and cooldowns.
    pub health: health::Settings,
    /// Retries.
    pub retry: limit::Settings,
    /// How estimates learn and forget.
    pub estimate: estimate::Settings,
    /// A session that was quiet for this long is cold: the shortest life of a provider's prompt cache.
    pub session_ttl: Duration,
    /// Waiting for room.
    pub queue: queue::Settings,
    /// At most so many calls wait for a better price; one more is sent at once.
    pub deferred_max: usize,
}

impl Default for Settings {
    /// Ten thousand deferred calls are a night's work of ten a second for a quarter of an hour; their bodies are bounded by
    /// the room for bodies, and with a connection each they cost some hundred megabytes.
    fn default() -> Self {
        Self {
            choice: policy::Settings::default(),
            health: health::Settings::default(),
            retry: limit::Settings::default(),
            estimate: estimate::Settings::default(),
            session_ttl: Duration::from_secs(300),
            queue: queue::Settings::default(),
            deferred_max: 10_000,
        }
    }
}
