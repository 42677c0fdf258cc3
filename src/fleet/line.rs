//! The line of calls that wait for room: who joins it, who is called up when, and what counts as room.

use super::brownout::Step;
use super::{Dispatch, Fleet, Transition, jitter};
use crate::domain::{CallFacts, CallId, Duration, Instant, Now, PoolId};
use crate::policy::patience;
use crate::queue::{Seat, Wish};

/// A call that would wait more than so many times as long as it can is turned away at once. The pace of a line is known to
/// a factor of two at best; and with twice as many waiting as can be served in time no place stays empty for want of a call.
const HOPE: f64 = 2.0;
/// Clients that come back sooner than this only make it worse; later, and they are gone.
const RETRY_AFTER_S: (f64, f64) = (1.0, 30.0);
/// Where it is not known how fast the line moves, a few seconds are worth another look.
const WITHOUT_A_RATE: Duration = Duration::from_secs(2);

/// A call may not wait.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Crowded {
    /// It would not be its turn in time; otherwise there is no place left to wait at.
    pub hopeless: bool,
    /// When to come back.
    pub retry_after: Duration,
}

impl Fleet {
    /// The call has looked in vain and waits (on) for a place; or it may not, because too many do, or because it would not
    /// be its turn before it is too late.
    pub fn join(&mut self, facts: &CallFacts, wish: Wish, now: Now) -> Result<(), Crowded> {
        let seat = self.seat(facts);
        let hopeless = !self.line.waits(&seat) && self.is_hopeless(facts, &seat, wish, now);
        if hopeless || !self.line.join(&seat, wish, now.mono) {
            let retry_after = self.retry_after(facts, wish.cost, WITHOUT_A_RATE, now);
            return Err(Crowded { hopeless, retry_after });
        }
        Ok(())
    }

    /// Will it not be its turn before it is too late, even if the line moves twice as fast as it does? (Or just as fast,
    /// where calls are turned away by deadline.)
    fn is_hopeless(&self, facts: &CallFacts, seat: &Seat, wish: Wish, now: Now) -> bool {
        let given_up = match self.catalog.class(facts.class).may_wait {
            true => facts.deadline,
            false => facts.deadline.min(facts.arrived + self.settings.choice.short_wait),
        };
        let left_s = given_up.secs_since(now.mono);
        let hope = if self.brownout.is(Step::ByDeadline) { 1.0 } else { HOPE };
        self.line.predicted_s(seat, wish.cost, now.mono).is_some_and(|wait_s| wait_s > hope * left_s)
    }

    /// When a call that is turned away is worth another try: when those that wait before it have found places, as far as
    /// the pace of that is known; else after `otherwise`. Up to half longer, so that not all come back together.
    pub(super) fn retry_after(
        &self,
        facts: &CallFacts,
        cost: f64,
        otherwise: Duration,
        now: Now,
    ) -> Duration {
        let predicted = self.line.predicted_s(&self.seat(facts), cost, now.mono);
        let seconds = predicted.unwrap_or(otherwise.as_secs_f64());
        let jittered = seconds * (1.0 + 0.5 * jitter(facts.id.0, now.mono));
        patience::seconds(jittered.clamp(RETRY_AFTER_S.0, RETRY_AFTER_S.1))
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
    pub fn granted(&mut self, facts: &CallFacts, now: Now) {
        self.line.granted(&self.seat(facts), now.mono);
    }

    /// The call has found a place without standing in line. It counts towards its tenant's share all the same.
    pub fn went_past(&mut self, facts: &CallFacts, dispatch: &Dispatch, now: Now) {
        if !self.line.is_empty() {
            self.line.went_past(&self.seat(facts), dispatch.expected_tokens, now.mono);
        }
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

    pub(super) fn seat(&self, facts: &CallFacts) -> Seat {
        Seat::of(facts, self.catalog.class(facts.class))
    }
}
