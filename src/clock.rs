//! The one reader of time. A concrete struct over `tokio::time`, so that everything above is virtual whenever tokio's
//! time is paused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::{Duration, Instant, Now, Timestamp};

/// Cheap to clone; all clones show the same time.
#[derive(Clone, Debug)]
pub struct Clock {
    start: tokio::time::Instant,
    /// Wall time at `start`, in milliseconds since 1970.
    wall_at_start: Arc<AtomicU64>,
}

impl Clock {
    /// Starts at this moment of the system's clocks.
    pub fn system() -> Self {
        let clock = Self::starting_at(Timestamp::from_millis(0));
        clock.anchor();
        clock
    }

    /// Starts now, at a given wall time: for tests and for repeatable runs.
    #[expect(clippy::disallowed_methods, reason = "this is the place that may")]
    pub fn starting_at(wall: Timestamp) -> Self {
        Self { start: tokio::time::Instant::now(), wall_at_start: Arc::new(AtomicU64::new(wall.as_millis())) }
    }

    /// Takes over the system's wall clock again, which may have been corrected. Monotonic time is not touched.
    pub fn anchor(&self) {
        let since_epoch = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let elapsed = self.mono().since(Instant::START);
        let at_start = since_epoch.saturating_sub(elapsed).as_millis() as u64;
        self.wall_at_start.store(at_start, Ordering::Relaxed);
    }

    /// Both clocks.
    pub fn now(&self) -> Now {
        let mono = self.mono();
        let wall = self.wall_at_start.load(Ordering::Relaxed) + mono.as_nanos() / 1_000_000;
        Now { mono, wall: Timestamp::from_millis(wall) }
    }

    /// The monotonic clock.
    #[expect(clippy::disallowed_methods, reason = "this is the place that may")]
    pub fn mono(&self) -> Instant {
        let elapsed = tokio::time::Instant::now() - self.start;
        Instant::START + elapsed
    }

    /// The same moment for tokio's timers; far away for [`Instant::NEVER`].
    pub fn deadline(&self, at: Instant) -> tokio::time::Instant {
        // A century: tokio's own way of saying never, and no overflow.
        const FAR: Duration = Duration::from_secs(100 * 365 * 86_400);
        self.start + at.since(Instant::START).min(FAR)
    }
}
