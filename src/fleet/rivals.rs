//! What the rules of others are told and asked, where one of them chooses. Live routing passes by.

use smallvec::SmallVec;

use super::survey::Asking;
use super::{AttemptEnd, Dispatch, Fleet, Settings, Ticket};
use crate::domain::{CallFacts, FailureKind, Instant, Now, OfferId};
use crate::policy::rival::{Event, Memory, Seen};
use crate::policy::{Candidate, Chosen, Policy, choose};

/// The memory of the rival that is to choose, if one is.
pub(super) fn memory(settings: &Settings, offers: usize, now: Now) -> Option<Box<Memory>> {
    match settings.choice.policy {
        Policy::Rival(rule) => Some(Box::new(Memory::new(rule, offers, now.mono))),
        Policy::Price | Policy::Ordered | Policy::Weighted => None,
    }
}

impl Fleet {
    /// Chooses a pool: by our rules, or by the rival's.
    pub(super) fn choose(
        &self,
        asking: &Asking<'_>,
        candidates: &[Candidate],
        rng: &mut rand::rngs::SmallRng,
    ) -> Option<Chosen> {
        let Some(memory) = &self.rivals else { return choose(candidates, &self.settings.choice, rng) };
        let now = asking.call.now.mono;
        let seen: SmallVec<[Seen; 8]> = candidates.iter().map(|c| self.seen(c.offer, now)).collect();
        memory.choose(candidates, &seen, &asking.call, rng)
    }

    /// A call was sent.
    pub(super) fn rival_sent(&mut self, facts: &CallFacts, dispatch: &Dispatch, now: Now) {
        let Some(mut memory) = self.rivals.take() else { return };
        let all = &self.catalog.model(facts.model).offers;
        memory.sent(dispatch.offer, all.iter().map(|&o| (o, self.seen(o, now.mono))), now.mono);
        self.rivals = Some(memory);
    }

    /// Its first content came, or it ended. A whole answer that came at once is its own first content.
    pub(super) fn rival_heard(&mut self, ticket: &Ticket, end: Option<AttemptEnd>, now: Now) {
        let Some(mut memory) = self.rivals.take() else { return };
        let seconds = now.mono.secs_since(ticket.started);
        let event = match end {
            None => Some(Event::FirstToken(seconds)),
            Some(_) if ticket.first_token.is_some() => None,
            Some(AttemptEnd::Ok { .. }) => Some(Event::FirstToken(seconds)),
            Some(AttemptEnd::Failed { kind: FailureKind::FirstTokenTimeout, .. }) => {
                Some(Event::TimedOut(seconds))
            }
            Some(AttemptEnd::Failed { .. } | AttemptEnd::Cancelled) => None,
        };
        if let Some(event) = event {
            let seen = self.seen(ticket.dispatch.offer, now.mono);
            memory.heard(ticket.dispatch.offer, event, &seen, now.mono);
        }
        self.rivals = Some(memory);
    }

    fn seen(&self, offer: OfferId, now: Instant) -> Seen {
        let pool = &self.pools[self.catalog.offer(offer).pool.index()];
        let stretch = self.offers[offer.index()].estimate.read(&self.settings.estimate, now).stretch;
        let endpoints = f64::from(pool.present.max(1));
        let most = pool.in_flight.limit().map_or(f64::INFINITY, |max| f64::from(max.max(1)));
        Seen {
            owned: pool.owned,
            in_flight: pool.in_flight.count(),
            slots: (pool.slots * endpoints).min(most),
            backlog_s: pool.backlog.seconds(stretch, endpoints, now) / endpoints,
        }
    }
}
