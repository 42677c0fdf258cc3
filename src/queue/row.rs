//! The calls of one class for one model: the earliest due first, and behind all of those the ones that cannot make it any
//! more, the latest due first.
//!
//! Earliest due first is best while all can be in time, and worst when they cannot: each is served just after it was due,
//! and all are late instead of some (the domino effect of EDF under overload: Buttazzo, Hard Real-Time Computing Systems,
//! chapter 9). Among those that are late in any case, the newest are the likeliest to be waited for still (adaptive LIFO:
//! Maurer, Fail at Scale, ACM Queue 13(8), 2015).

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Bound;

use crate::domain::{CallFacts, CallId, Class, ClassId, Duration, Instant, ModelId};

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

/// What orders calls: when they are due, and of those that are due together, when they came.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Turn {
    due: Instant,
    arrived: Instant,
    pub(super) id: CallId,
}

/// Where a call stands in its class. The least goes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Rank {
    /// It can still be in time.
    InTime(Turn),
    /// It cannot.
    Late(Reverse<Turn>),
}

impl Rank {
    pub(super) fn call(self) -> CallId {
        match self {
            Self::InTime(turn) | Self::Late(Reverse(turn)) => turn.id,
        }
    }

    pub(super) fn is_late(self) -> bool {
        matches!(self, Self::Late(_))
    }
}

/// What a call waits for a place with.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Wish {
    /// What a place for it is worth, in the unit of all others: its tokens.
    pub cost: f64,
    /// What it needs to be in time: how long before it is due it must have its place.
    pub needs: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    wish: Wish,
    /// The news that it has looked at.
    looked: u64,
}

/// Calls in some order, and how far they have been looked through.
#[derive(Clone, Debug)]
struct File<K> {
    calls: BTreeMap<K, Waiting>,
    /// Up to this one all have looked at the last news.
    passed: Option<K>,
}

impl<K> Default for File<K> {
    fn default() -> Self {
        Self { calls: BTreeMap::new(), passed: None }
    }
}

impl<K: Ord + Copy> File<K> {
    /// The first that has not looked at that news. Those before it are not looked through again.
    fn next(&mut self, news: u64) -> Option<(K, Waiting)> {
        let from = self.passed.map_or(Bound::Unbounded, Bound::Excluded);
        for (turn, waiting) in self.calls.range((from, Bound::Unbounded)) {
            if waiting.looked < news {
                return Some((*turn, *waiting));
            }
            self.passed = Some(*turn);
        }
        None
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    /// The earliest due first.
    in_time: File<Turn>,
    /// The latest due first. Nobody leaves it for the other.
    late: File<Reverse<Turn>>,
}

impl Row {
    pub(super) fn has(&self, seat: &Seat) -> bool {
        self.waiting(seat).is_some()
    }

    pub(super) fn cost(&self, seat: &Seat) -> Option<f64> {
        self.waiting(seat).map(|waiting| waiting.wish.cost)
    }

    fn waiting(&self, seat: &Seat) -> Option<&Waiting> {
        let turn = seat.turn();
        self.in_time.calls.get(&turn).or_else(|| self.late.calls.get(&Reverse(turn)))
    }

    /// It has looked at all the news so far.
    pub(super) fn put(&mut self, seat: &Seat, wish: Wish, news: u64) {
        let (turn, waiting) = (seat.turn(), Waiting { wish, looked: news });
        match self.late.calls.get_mut(&Reverse(turn)) {
            Some(late) => *late = waiting,
            None => {
                self.in_time.calls.insert(turn, waiting);
            }
        }
    }

    /// True if it was there.
    pub(super) fn remove(&mut self, seat: &Seat) -> bool {
        let turn = seat.turn();
        self.in_time.calls.remove(&turn).is_some() || self.late.calls.remove(&Reverse(turn)).is_some()
    }

    /// All may look again.
    pub(super) fn restart(&mut self) {
        self.in_time.passed = None;
        self.late.passed = None;
    }

    /// The first that has not looked at that news, and its cost.
    pub(super) fn next(&mut self, news: u64, now: Instant) -> Option<(Rank, f64)> {
        while let Some((turn, waiting)) = self.in_time.next(news) {
            if now + waiting.wish.needs <= turn.due {
                return Some((Rank::InTime(turn), waiting.wish.cost));
            }
            self.in_time.calls.remove(&turn);
            self.late.calls.insert(Reverse(turn), waiting);
        }
        self.late.next(news).map(|(turn, waiting)| (Rank::Late(turn), waiting.wish.cost))
    }
}
