//! The calls of one class for one model: the earliest due first, and behind all of those the ones that cannot make it any
//! more, the latest due first. So among tenants that had about as much as each other; one that had less goes before them.
//!
//! Earliest due first is best while all can be in time, and worst when they cannot: each is served just after it was due,
//! and all are late instead of some (the domino effect of EDF under overload: Buttazzo, Hard Real-Time Computing Systems,
//! chapter 9). Among those that are late in any case, the newest are the likeliest to be waited for still (adaptive LIFO:
//! Maurer, Fail at Scale, ACM Queue 13(8), 2015).

use std::cmp::Reverse;

use super::shares::{Lap, Shares};
use super::shelf::{Shelf, Waiting};
use crate::domain::{CallFacts, CallId, Class, ClassId, Duration, Instant, ModelId, TenantId};

/// Where a call waits. A function of the call, so that nobody has to keep it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seat {
    /// Its class.
    pub class: ClassId,
    /// Its model.
    pub model: ModelId,
    /// Whose it is.
    pub tenant: TenantId,
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
        let (class, model, tenant) = (facts.class, facts.model, facts.tenant);
        Self { class, model, tenant, due, arrived: facts.arrived, id: facts.id }
    }

    pub(super) fn turn(&self) -> Turn {
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
}

/// What a call waits for a place with.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Wish {
    /// What a place for it is worth, in the unit of all others: its tokens.
    pub cost: f64,
    /// What it needs to be in time: how long before it is due it must have its place.
    pub needs: Duration,
}

/// The first of a row that has not looked at the last news.
#[derive(Clone, Copy, Debug)]
pub(super) struct First {
    /// Where it stands: of tenants that had fewer laps go first, and then it is a matter of rank.
    pub(super) place: (Lap, Rank),
    pub(super) cost: f64,
    /// It can be in time, or another can that a share keeps behind it.
    pub(super) in_time: bool,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    /// The earliest due first.
    in_time: Shelf<Turn>,
    /// The latest due first. Nobody leaves it for the other.
    late: Shelf<Reverse<Turn>>,
    /// The cost of all.
    work: f64,
    waiting: usize,
}

impl Row {
    /// How many calls wait here.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// What all its calls cost together.
    pub(super) fn work(&self) -> f64 {
        self.work
    }

    pub(super) fn has(&self, seat: &Seat) -> bool {
        self.find(seat).is_some()
    }

    pub(super) fn cost(&self, seat: &Seat) -> Option<f64> {
        self.find(seat).map(|waiting| waiting.wish.cost)
    }

    fn find(&self, seat: &Seat) -> Option<&Waiting> {
        let turn = seat.turn();
        self.in_time.get(seat.tenant, &turn).or_else(|| self.late.get(seat.tenant, &Reverse(turn)))
    }

    /// It has looked at all the news so far. Gives the cost that it waited with before.
    pub(super) fn put(&mut self, seat: &Seat, wish: Wish, news: u64, shares: &Shares) -> f64 {
        let before = self.cost(seat);
        self.waiting += usize::from(before.is_none());
        self.work += wish.cost - before.unwrap_or(0.0);
        let (turn, waiting) = (seat.turn(), Waiting { wish, looked: news });
        if self.late.get(seat.tenant, &Reverse(turn)).is_some() {
            self.late.put(seat.tenant, Reverse(turn), waiting, shares);
        } else {
            self.in_time.put(seat.tenant, turn, waiting, shares);
        }
        before.unwrap_or(0.0)
    }

    /// What it cost, if it was there.
    pub(super) fn remove(&mut self, seat: &Seat) -> Option<f64> {
        let turn = seat.turn();
        let gone = self.in_time.remove(seat.tenant, &turn);
        let gone = gone.or_else(|| self.late.remove(seat.tenant, &Reverse(turn)))?.wish.cost;
        self.waiting -= 1;
        // A sum of floats that went up and down is not quite nothing in the end.
        self.work = if self.waiting == 0 { 0.0 } else { self.work - gone };
        Some(gone)
    }

    /// All may look again.
    pub(super) fn restart(&mut self, shares: &Shares) {
        self.in_time.restart(shares);
        self.late.restart(shares);
    }

    /// The last of the tenant's, who has the least to lose.
    pub(super) fn last(&self, tenant: TenantId) -> Option<Rank> {
        let late = self.late.last(tenant).map(Rank::Late);
        late.or_else(|| self.in_time.last(tenant).map(Rank::InTime))
    }

    /// The first that has not looked at that news.
    pub(super) fn next(&mut self, news: u64, now: Instant, shares: &Shares) -> Option<First> {
        let in_time = loop {
            let Some((lap, turn, tenant, waiting)) = self.in_time.next(news, shares) else { break None };
            if now + waiting.wish.needs <= turn.due {
                break Some((lap, turn, waiting.wish.cost));
            }
            self.in_time.remove(tenant, &turn);
            self.late.put(tenant, Reverse(turn), waiting, shares);
        };
        let late = self.late.next(news, shares);
        match (in_time, late) {
            (Some((lap, turn, cost)), None) => {
                Some(First { place: (lap, Rank::InTime(turn)), cost, in_time: true })
            }
            (Some((lap, turn, cost)), Some((behind, ..))) if lap <= behind => {
                Some(First { place: (lap, Rank::InTime(turn)), cost, in_time: true })
            }
            (in_time, Some((lap, turn, _, waiting))) => {
                let (place, cost) = ((lap, Rank::Late(turn)), waiting.wish.cost);
                Some(First { place, cost, in_time: in_time.is_some() })
            }
            (None, None) => None,
        }
    }

    /// As many as have a call here, and no more, are known.
    #[cfg(test)]
    pub(super) fn tenants(&self) -> usize {
        self.in_time.tenants() + self.late.tenants()
    }
}
