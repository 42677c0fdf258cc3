//! The line of calls that wait for room: who joins it, who is called up when, and what counts as room.

use super::{Dispatch, Fleet, Transition};
use crate::domain::{CallFacts, CallId, Instant, Now, PoolId};
use crate::queue::{Seat, Wish};

impl Fleet {
    /// The call has looked in vain and waits (on) for a place. False if too many do already.
    pub fn join(&mut self, facts: &CallFacts, wish: Wish) -> bool {
        self.line.join(&self.seat(facts), wish)
    }

    /// A call waits for a better price.
    pub fn defer(&mut self) {
        self.deferred += 1;
    }

    /// It looks again, or has left. While it does, it is not one of those that wait.
    pub fn undefer(&mut self) {
        self.deferred = self.deferred.saturating_sub(1);
    }

    /// So many wait for a better price that one more had better go now.
    pub(super) fn no_room_to_defer(&self) -> bool {
        self.deferred >= self.settings.deferred_max
    }

    /// The call was in line and has found its place.
    pub fn granted(&mut self, facts: &CallFacts) {
        self.line.granted(&self.seat(facts));
    }

    /// The call has found a place without standing in line. It counts towards its tenant's share all the same.
    pub fn went_past(&mut self, facts: &CallFacts, dispatch: &Dispatch) {
        self.line.went_past(facts.class, facts.tenant, dispatch.expected_tokens);
    }

    /// The call was in line and waits no more.
    pub fn leave(&mut self, facts: &CallFacts) {
        self.line.leave(&self.seat(facts));
    }

    /// The moment has come at which this call in line was told that time alone would make room.
    pub fn time_came(&mut self, facts: &CallFacts, told: Instant, now: Now) {
        self.line.time_came(facts.model, told, now.mono);
    }

    /// Is it this call's turn to look?
    pub fn is_called(&self, call: CallId) -> bool {
        self.line.is_called(call)
    }

    /// Whose turn it is to look, told once. A driver asks after every word to the fleet, and feeds the call that is
    /// named a [`Tick`](crate::call::Event::Tick).
    pub fn call_up(&mut self) -> Option<CallId> {
        self.line.call_up()
    }

    /// How many calls wait for room.
    pub fn in_line(&self) -> usize {
        self.line.len()
    }

    /// There may be room in the pool where there was none.
    pub(super) fn news(&mut self, pool: PoolId, now: Instant) {
        self.generation += 1;
        if self.line.is_empty() {
            return;
        }
        for offer in self.pools.get(pool.index()).into_iter().flat_map(|p| &p.offers) {
            self.line.news(self.catalog.offer(*offer).model, now);
        }
    }

    pub(super) fn changed(&mut self, transitions: &[Transition], now: Now) {
        for t in transitions.iter().filter(|t| matches!(t.to, "healthy" | "slow_start" | "probation")) {
            self.news(t.pool, now.mono);
        }
    }

    fn seat(&self, facts: &CallFacts) -> Seat {
        Seat::of(facts, self.catalog.class(facts.class))
    }
}
