//! The calls of one class for one model, the earliest due first.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::domain::{CallFacts, CallId, Class, ClassId, Instant, ModelId};

/// Where a call waits. A function of the call, so that nobody has to keep it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seat {
    /// Its class.
    pub class: ClassId,
    /// Its model.
    pub model: ModelId,
    /// When it should have its answer (or the first of it).
    pub due: Instant,
    /// When it came.
    pub arrived: Instant,
    /// Which.
    pub id: CallId,
}

impl Seat {
    /// Of that call, which is of that class. It is due at the target of its class, or at its deadline without one.
    pub fn of(facts: &CallFacts, class: &Class) -> Self {
        let target = class.ttft_target.or(class.finish_target);
        let due = target.map_or(facts.deadline, |target| facts.deadline.min(facts.arrived + target));
        Self { class: facts.class, model: facts.model, due, arrived: facts.arrived, id: facts.id }
    }

    fn turn(&self) -> Turn {
        Turn { due: self.due, arrived: self.arrived, id: self.id }
    }
}

/// What orders calls.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Turn {
    due: Instant,
    arrived: Instant,
    pub(super) id: CallId,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    cost: f64,
    /// The news that it has looked at.
    looked: u64,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    calls: BTreeMap<Turn, Waiting>,
    /// Up to this one all have looked at the last news.
    passed: Option<Turn>,
}

impl Row {
    pub(super) fn has(&self, seat: &Seat) -> bool {
        self.calls.contains_key(&seat.turn())
    }

    pub(super) fn cost(&self, seat: &Seat) -> Option<f64> {
        self.calls.get(&seat.turn()).map(|waiting| waiting.cost)
    }

    /// It has looked at all the news so far.
    pub(super) fn put(&mut self, seat: &Seat, cost: f64, news: u64) {
        self.calls.insert(seat.turn(), Waiting { cost, looked: news });
    }

    /// True if it was there.
    pub(super) fn remove(&mut self, seat: &Seat) -> bool {
        self.calls.remove(&seat.turn()).is_some()
    }

    /// All may look again.
    pub(super) fn restart(&mut self) {
        self.passed = None;
    }

    /// The first that has not looked at that news, and its cost. Those before it are not looked through again.
    pub(super) fn next(&mut self, news: u64) -> Option<(Turn, f64)> {
        let from = self.passed.map_or(Bound::Unbounded, Bound::Excluded);
        for (turn, waiting) in self.calls.range((from, Bound::Unbounded)) {
            if waiting.looked < news {
                return Some((*turn, waiting.cost));
            }
            self.passed = Some(*turn);
        }
        None
    }
}
