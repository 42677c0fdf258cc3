//! The part of a call's life in which there is no place for it.

use super::{Call, Close, Phase, Step};
use crate::domain::{Instant, Now, Refusal};
use crate::fleet::{Crowded, Fleet, Turn};

/// What a call waits for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    /// Time alone may make room then: the line hears of it. Never if it has heard.
    news_at: Instant,
    /// It looks by itself then.
    look_at: Instant,
    /// It is called up when there is room.
    in_line: bool,
}

impl Wait {
    /// When its timer is due.
    pub(super) fn wake_at(&self) -> Instant {
        self.news_at.min(self.look_at)
    }
}

impl Call {
    /// There was no place for it.
    pub(super) fn wait(&mut self, until: Instant, turn: Turn, fleet: &mut Fleet, now: Now) -> Step {
        let wait = match turn {
            Turn::Alone => Wait { news_at: Instant::NEVER, look_at: until, in_line: false },
            Turn::InLine { opens, look_at, wish } => {
                if let Err(crowded) = fleet.join(&self.facts, wish, now) {
                    return self.crowded(crowded, fleet, now);
                }
                Wait { news_at: opens, look_at, in_line: true }
            }
        };
        self.phase = Phase::Waiting(wait);
        Step::Wait
    }

    /// Its timer is due, or it was called up.
    pub(super) fn tick_waiting(&mut self, fleet: &mut Fleet, now: Now) -> Step {
        let Phase::Waiting(wait) = &mut self.phase else { return Step::Continue };
        if now.mono >= wait.look_at || fleet.is_called(self.facts.id) {
            return self.decide(fleet, now);
        }
        if now.mono >= wait.news_at {
            fleet.time_came(&self.facts, wait.news_at, now);
            wait.news_at = Instant::NEVER;
        }
        Step::Continue
    }

    /// It is among those that are called up.
    pub(super) fn in_line(&self) -> bool {
        matches!(&self.phase, Phase::Waiting(wait) if wait.in_line)
    }

    /// It waits for a better price, and could go now.
    pub(super) fn is_deferred(&self) -> bool {
        matches!(&self.phase, Phase::Waiting(wait) if !wait.in_line)
    }

    /// It may not wait.
    fn crowded(&mut self, crowded: Crowded, fleet: &mut Fleet, now: Now) -> Step {
        fleet.turned_away(&self.facts, now);
        let why = match crowded.hopeless {
            true => "those that wait already would take longer than this call can wait",
            false => "too many calls wait already",
        };
        let message = format!("{why} (for {})", self.record.waited_for.as_deref().unwrap_or("a pool"));
        let retry_after = crowded.retry_after;
        self.close(Close::Refused(Refusal::Overloaded { retry_after, message }), now)
    }
}
