//! Pauses of our own: a stopped process, a machine that slept, an executor that was kept from its timers. Nobody could be
//! heard meanwhile, so nobody is to blame for silence.

use super::{Call, Phase};
use crate::domain::{Duration, Instant};

/// A timer that comes so much too late tells of a pause. A busy machine is late by tenths of this.
const LATE: Duration = Duration::from_millis(500);

impl Call {
    /// The timer comes much later than it was due: it was us that stood still.
    pub(super) fn stood_still(&self, now: Instant) -> bool {
        now >= self.wake_at() + LATE
    }

    /// Whoever is waited for has all its time once more, because what it said is perhaps still to be read. Not twice
    /// without a word from it: an executor that is always late must not wait for ever.
    pub(super) fn forgive(&mut self, now: Instant) -> bool {
        if self.forgiven {
            return false;
        }
        match &mut self.phase {
            Phase::Running(ticket) => ticket.dispatch.ttft_limit += now.since(ticket.started),
            Phase::Relaying { last_content, .. } => *last_content = now,
            Phase::New | Phase::Waiting(_) | Phase::Closed => return false,
        }
        self.forgiven = true;
        true
    }
}
