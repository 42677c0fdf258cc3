//! Whether a call that was tried is tried again, and who pays for it.

use std::borrow::Cow;

use super::state::Endpoint;
use super::{Decision, Fleet, Tried, Turn};
use crate::domain::{CallFacts, Duration, EndpointId, FailureKind, Now, OfferId, Refusal};
use crate::health::Admission;

/// When the retry budget is spent, it is worth asking again after this.
const BUDGET_RETRY_AFTER: Duration = Duration::from_secs(1);

/// What a call waits for that may not be tried again yet, for people.
const BUDGET_SPENT: &str = "the retry budget is spent";

/// Why a call is not tried again now.
pub(super) enum Never {
    /// It is not tried again at all.
    Again(Refusal),
    /// The budget for that is spent.
    Now,
}

impl Fleet {
    /// What becomes of a call that is not tried again now: one that may wait has the time until it is its turn.
    pub(super) fn not_again(&self, never: Never, facts: &CallFacts, now: Now) -> Decision {
        let refusal = match never {
            Never::Again(refusal) => refusal,
            Never::Now => {
                let until = now.mono + BUDGET_RETRY_AFTER;
                let patient = self.catalog.class(facts.class).may_wait && !self.no_room_to_defer();
                if patient && until < facts.deadline {
                    let reason = Cow::Borrowed(BUDGET_SPENT);
                    return Decision::Wait { until, reason, turn: Turn::Alone };
                }
                let message = BUDGET_SPENT.to_owned();
                Refusal::Overloaded { retry_after: BUDGET_RETRY_AFTER, message }
            }
        };
        Decision::Shed(refusal)
    }

    /// May the call be tried (again)?
    pub(super) fn may_retry(&mut self, facts: &CallFacts, tried: &[Tried], now: Now) -> Result<(), Never> {
        let Some(last) = tried.last() else { return Ok(()) };
        let settings = self.settings.retry;
        let nobody = |message: &str| {
            Err(Never::Again(Refusal::NoPool {
                message: message.to_owned(),
                retry_after: BUDGET_RETRY_AFTER,
                permanent: false,
            }))
        };
        if !last.kind.retryable() {
            return nobody("the last failure would be the same anywhere");
        }
        let processed = tried.iter().filter(|t| !t.unprocessed).count();
        if processed >= settings.attempts || tried.len() >= settings.attempts_max {
            return nobody("tried as often as allowed");
        }
        let lost = tried.iter().filter(|t| t.kind == FailureKind::Disconnected && !t.unprocessed).count();
        if lost >= settings.disconnects {
            return nobody("lost the connection twice: it may be the call that does it");
        }
        if self.is_free(facts, last, now)
            || self.retries.allows(facts.tenant, facts.input_tokens, now.mono, &settings)
        {
            return Ok(());
        }
        Err(Never::Now)
    }

    /// A retry after this costs no budget: nothing was worked on, or the place is ejected by now and the call leaves
    /// it as all others do. Where everybody is ejected there is nobody to leave it for: such retries are what a storm
    /// is made of.
    fn is_free(&self, facts: &CallFacts, last: &Tried, now: Now) -> bool {
        if last.unprocessed {
            return true;
        }
        let is_off = |offer: OfferId, endpoint: Option<EndpointId>| {
            let settings = &self.settings.health;
            let off = |a: Admission| matches!(a, Admission::Off { .. });
            let (state, pool) =
                (&self.offers[offer.index()], &self.pools[self.catalog.offer(offer).pool.index()]);
            let gone = |e: &Endpoint| off(e.admission(state.lane, now.mono, settings));
            let endpoints = match endpoint {
                Some(one) => pool.endpoint(one).is_none_or(gone),
                None => pool.drained || pool.endpoints.iter().filter(|e| !e.leaving).all(gone),
            };
            endpoints || off(state.breaker.admission(now.mono, settings))
        };
        let another = || self.catalog.model(facts.model).offers.iter().any(|&offer| !is_off(offer, None));
        is_off(last.offer, Some(last.endpoint)) && another()
    }

    pub(super) fn charge(&mut self, facts: &CallFacts, tried: &[Tried], now: Now) {
        match tried.last() {
            Some(last) if self.is_free(facts, last, now) => {}
            Some(_) => self.retries.spend(facts.tenant, facts.input_tokens, now.mono),
            None if facts.client_retry => self.retries.repeated(facts.tenant, facts.input_tokens, now.mono),
            None => {}
        }
    }
}
