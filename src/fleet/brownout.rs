//! How far the router goes in sparing its pools when calls find no room: steps that are taken one by one as it gets worse, each
//! with a trigger of its own, and undone when that has been gone for a while. People see which, since when and why.
//!
//! What a step does is asked where it matters; here is only when. A call that cannot wait is one of a class that may not:
//! it is given a short while and then refused.

use std::borrow::Cow;
use std::fmt;

use super::{Decision, Fleet, Turn};
use crate::domain::{CallFacts, Duration, Instant, Now, Refusal, Timestamp};
use crate::policy::refuse::RETRY_AFTER_MIN;
use crate::queue::{Pressure, Wish};

/// Something is the matter when it has been for so long: a burst that the line absorbs within the time that calls may wait
/// is none.
const UP: Duration = Duration::from_secs(3);
/// It is over when it has been for so long: those who were turned away have come back by then (they were told to within
/// that time), and the next step down would only call for the next one up.
const DOWN: Duration = Duration::from_secs(30);
/// Calls that cannot wait do for half of the time that they are given: calls that may wait should be out of their way. A
/// quarter is peace: the two are so far apart as the pace of a line is known.
const DEFER: (f64, f64) = (0.5, 0.25);
/// The line is so full that calls that may come later had better do: the last quarter is for those that cannot wait, as of
/// any one class. With half of it free again there is room for a burst.
const SHED: (f64, f64) = (0.75, 0.5);
/// Calls that cannot wait are turned away if one was in the last seconds.
const LATELY: Duration = Duration::from_secs(2);

/// The steps, in the order of the harm that they do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Step {
    /// Calls that cannot wait do wait: no call is sent to a second place beside the first.
    NoHedges,
    /// They wait for long: calls that may wait stand in line behind them at once, without a look for room.
    Defer,
    /// The line is nearly full: calls that may wait are turned away at once, but for tenants with few in line.
    Shed,
    /// Calls that cannot wait are turned away: they are at once if it will not be their turn before their time is over.
    ByDeadline,
}

impl Step {
    /// All, the mildest first.
    pub const ALL: [Self; 4] = [Self::NoHedges, Self::Defer, Self::Shed, Self::ByDeadline];

    /// Its name, for logs and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoHedges => "no_hedges",
            Self::Defer => "defer",
            Self::Shed => "shed",
            Self::ByDeadline => "by_deadline",
        }
    }

    /// Its number, from 1.
    pub const fn level(self) -> u8 {
        self as u8 + 1
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A step that is taken.
#[derive(Clone, PartialEq, Debug)]
pub struct Taken {
    /// Which.
    pub step: Step,
    /// Since when.
    pub since: Timestamp,
    /// What was the matter then.
    pub why: String,
}

/// A step was taken or undone.
#[derive(Clone, PartialEq, Debug)]
pub enum StepChange {
    /// From now on.
    Taken(Taken),
    /// Not any more.
    Undone(Step),
}

#[derive(Clone, Debug, Default)]
struct Rung {
    taken: Option<Taken>,
    /// Since when it should be otherwise.
    otherwise: Option<Instant>,
}

/// What is to be said about a step now.
enum Sign {
    /// It should be taken, and this is why.
    Take(String),
    /// As it is.
    Keep,
    /// It should be undone.
    Undo,
}

impl Rung {
    fn look(&mut self, step: Step, sign: Sign, now: Now) -> Option<StepChange> {
        let (why, lasting) = match (sign, &self.taken) {
            (Sign::Take(why), None) => (why, UP),
            (Sign::Undo, Some(_)) => (String::new(), DOWN),
            _ => {
                self.otherwise = None;
                return None;
            }
        };
        let since = *self.otherwise.get_or_insert(now.mono);
        if now.mono.since(since) < lasting {
            return None;
        }
        self.otherwise = None;
        if self.taken.take().is_some() {
            return Some(StepChange::Undone(step));
        }
        let taken = Taken { step, since: now.wall, why };
        self.taken = Some(taken.clone());
        Some(StepChange::Taken(taken))
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Brownout {
    rungs: [Rung; 4],
    /// When a call that cannot wait was last turned away.
    refused: Option<Instant>,
}

impl Brownout {
    pub(super) fn is(&self, step: Step) -> bool {
        self.rungs[step as usize].taken.is_some()
    }

    fn sign(&self, step: Step, pressure: &Pressure, short_wait: Duration, now: Instant) -> Sign {
        let Pressure { impatient, wait_s, fill } = *pressure;
        match step {
            Step::NoHedges if impatient > 0 => Sign::Take(format!("{impatient} calls that cannot wait do")),
            Step::NoHedges => Sign::Undo,
            Step::Defer => match wait_s.map(|s| (s, s / short_wait.as_secs_f64())) {
                Some((s, share)) if share >= DEFER.0 => {
                    Sign::Take(format!("calls that cannot wait would have to for {s:.1} s"))
                }
                Some((_, share)) if share < DEFER.1 => Sign::Undo,
                Some(_) | None => Sign::Keep,
            },
            Step::Shed if fill >= SHED.0 => Sign::Take(format!("the line is {:.0} % full", 100.0 * fill)),
            Step::Shed if fill < SHED.1 => Sign::Undo,
            Step::Shed => Sign::Keep,
            Step::ByDeadline => match self.refused {
                Some(at) if now.since(at) < LATELY => {
                    Sign::Take(format!("calls that cannot wait are turned away, with {impatient} in line"))
                }
                Some(_) | None => Sign::Undo,
            },
        }
    }
}

impl Fleet {
    /// Steps that were taken or undone since the last look, each told once. For whoever keeps the time, beside
    /// [`Self::tick`].
    pub fn feel_pressure(&mut self, now: Now) -> Vec<StepChange> {
        let pressure = self.line.pressure(now.mono);
        let short_wait = self.settings.choice.short_wait;
        let mut changes = Vec::new();
        for step in Step::ALL {
            let sign = self.brownout.sign(step, &pressure, short_wait, now.mono);
            changes.extend(self.brownout.rungs[step as usize].look(step, sign, now));
        }
        changes
    }

    /// The steps that are taken, the mildest first.
    pub fn brownout(&self) -> Vec<Taken> {
        self.brownout.rungs.iter().filter_map(|rung| rung.taken.clone()).collect()
    }

    /// The number of the worst step that is taken; 0 where none is.
    pub fn brownout_level(&self) -> u8 {
        let taken = Step::ALL.into_iter().rev().find(|step| self.brownout.is(*step));
        taken.map_or(0, Step::level)
    }

    /// May a call be sent to a second place beside the first? Not while anybody is put off for lack of room.
    pub fn hedges_allowed(&self) -> bool {
        self.brownout_level() == 0
    }

    /// What becomes of a call that may wait and has come at a bad time; a call that was tried, or that waits already, is
    /// past that.
    pub(super) fn spare(&self, facts: &CallFacts, tried: usize, now: Now) -> Option<Decision> {
        let spares = self.brownout.is(Step::Defer) || self.brownout.is(Step::Shed);
        if !spares || tried > 0 || !self.may_wait(facts) {
            return None;
        }
        let seat = self.seat(facts);
        if self.line.waits(&seat) {
            return None;
        }
        let call = self.asking(facts, &[], now).call;
        let tokens = call.input + call.output;
        if self.brownout.is(Step::Shed) && self.line.has_its_share(&seat) {
            let retry_after = self.retry_after(facts, tokens, RETRY_AFTER_MIN, now);
            let message = "calls that may wait are turned away: too many wait already".to_owned();
            return Some(Decision::Shed(Refusal::Overloaded { retry_after, message }));
        }
        if !self.brownout.is(Step::Defer) || !self.line.impatient_wait(facts.model) {
            return None;
        }
        let until = now.mono + super::decide::OWN_LOOK_WAITS * self.settings.choice.short_wait;
        let reason = Cow::Borrowed("calls that cannot wait go first");
        // How fast it would be served is not known without a look; it has all the time until it is due.
        let wish = Wish { cost: tokens, needs: Duration::ZERO };
        Some(Decision::Wait {
            until,
            reason,
            turn: Turn::InLine { opens: Instant::NEVER, look_at: until, wish },
        })
    }

    /// There was no room for the call, and this is what becomes of it.
    pub(super) fn put_off(&mut self, facts: &CallFacts, decision: &Decision, now: Now) {
        match decision {
            Decision::Shed(Refusal::Overloaded { .. }) => self.turned_away(facts, now),
            Decision::Dispatch(_) | Decision::Wait { .. } | Decision::Shed(_) => {}
        }
    }

    /// There was no room for the call, not even to wait.
    pub fn turned_away(&mut self, facts: &CallFacts, now: Now) {
        if !self.may_wait(facts) {
            self.brownout.refused = Some(now.mono);
        }
    }

    fn may_wait(&self, facts: &CallFacts) -> bool {
        self.catalog.class(facts.class).may_wait
    }
}
