//! How far the router has gone in sparing its pools: who is made to wait, and who is turned away. What was done in the last
//! seconds, for people to see; no rule looks at it.

use super::{Decision, Fleet, Turn};
use crate::domain::{CallFacts, Duration, Instant, Now, Refusal};

/// A step counts for so long after it was last taken: longer than scrapes are apart, shorter than an incident.
const COUNTS: Duration = Duration::from_secs(15);

/// The steps, each worse than the one before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Calls that may wait are made to.
    Deferred,
    /// Calls that may wait are turned away.
    Shed,
    /// Calls that cannot wait are turned away.
    Refused,
}

/// When each step was last taken.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Brownout([Option<Instant>; 3]);

impl Brownout {
    fn note(&mut self, step: Step, now: Instant) {
        self.0[step as usize] = Some(now);
    }

    fn level(&self, now: Instant) -> u8 {
        let lately = |at: &Option<Instant>| at.is_some_and(|at| now.since(at) < COUNTS);
        self.0.iter().rposition(lately).map_or(0, |step| step as u8 + 1)
    }
}

impl Fleet {
    /// 0: nobody is put off for lack of room. 1: calls that may wait are. 2: such calls are turned away. 3: calls that
    /// cannot wait are turned away.
    pub fn brownout(&self, now: Instant) -> u8 {
        self.brownout.level(now)
    }

    /// There was no room for the call, and this is what becomes of it.
    pub(super) fn put_off(&mut self, facts: &CallFacts, decision: &Decision, now: Now) {
        match decision {
            Decision::Wait { turn: Turn::InLine { .. }, .. } if self.may_wait(facts) => {
                self.brownout.note(Step::Deferred, now.mono);
            }
            Decision::Shed(Refusal::Overloaded { .. }) => self.turned_away(facts, now),
            Decision::Dispatch(_) | Decision::Wait { .. } | Decision::Shed(_) => {}
        }
    }

    /// There was no room for the call, not even to wait.
    pub fn turned_away(&mut self, facts: &CallFacts, now: Now) {
        let step = if self.may_wait(facts) { Step::Shed } else { Step::Refused };
        self.brownout.note(step, now.mono);
    }

    fn may_wait(&self, facts: &CallFacts) -> bool {
        self.catalog.class(facts.class).may_wait
    }
}
