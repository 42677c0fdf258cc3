//! What the rules of others are told and asked, where one of them chooses. Live routing passes by.

use rand::RngExt as _;
use rand::rngs::SmallRng;
use smallvec::SmallVec;

use super::decide::{HELD_BACK_S, Look};
use super::survey::Asking;
use super::{AttemptEnd, Dispatch, Fleet, Settings, Ticket};
use crate::domain::{CallFacts, FailureKind, Instant, Now, OfferId};
use crate::estimate::nominal_work_s;
use crate::policy::rival::{Event, Memory, Seen, Spot};
use crate::policy::{Candidate, Chosen, Policy, Rank, choose};

/// The memory of the rival that is to choose, if one is.
pub(super) fn memory(settings: &Settings, offers: usize, now: Now) -> Option<Box<Memory>> {
    match settings.choice.policy {
        Policy::Rival(rule) => Some(Box::new(Memory::new(rule, offers, now.mono))),
        Policy::Price | Policy::Ordered | Policy::Weighted => None,
    }
}

/// An endpoint that the call may go to.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// Its position in the pool.
    at: usize,
    /// Slow start keeps this call away, unless there is nobody else.
    held_back: bool,
    spot: Spot,
}

impl Fleet {
    /// Chooses a pool: by our rules, or by the rival's.
    pub(super) fn choose(
        &self,
        asking: &Asking<'_>,
        candidates: &[Candidate],
        rng: &mut SmallRng,
    ) -> Option<Chosen> {
        let Some(memory) = &self.rivals else {
            return choose(candidates, &self.settings.choice, || rng.random());
        };
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

    /// Places the call within the pool by the rule of somebody else, among the endpoints that it may go to.
    pub(super) fn place_by_rival(
        &self,
        look: &mut Look<'_>,
        rank: Rank,
        rng: &mut SmallRng,
    ) -> Option<usize> {
        let place = self.settings.choice.place;
        let key = place.key(look.asking.call.facts);
        let mut spots = self.spots(look, rng);
        if spots.is_empty() && matches!(rank, Rank::SameEndpoint | Rank::HeldBack) {
            look.again = true;
            spots = self.spots(look, rng);
        }
        if spots.iter().any(|s| !s.held_back) {
            spots.retain(|s| !s.held_back);
        }
        let seen: SmallVec<[Spot; 16]> = spots.iter().map(|s| s.spot).collect();
        place.choose(&seen, key, rng).map(|i| spots[i].at)
    }

    fn spots(&self, look: &Look<'_>, rng: &mut SmallRng) -> Vec<Open> {
        let (facts, job) = (look.asking.call.facts, look.job);
        let pool = self.catalog.offer(look.offer).pool;
        let token_s = nominal_work_s(&self.catalog.pool(pool).engine_prior, 1.0, 0.0);
        let mut spots = Vec::with_capacity(look.pool.endpoints.len());
        for (at, e) in look.pool.endpoints.iter().enumerate() {
            let Some(penalty) = look.penalty(e, rng) else { continue };
            let work_s = self.work_s(look.asking, e.id, job);
            let uncached_tokens = work_s / token_s;
            let spot = Spot {
                id: e.id,
                in_flight: e.load.calls(job.now).round() as u32,
                queued_tokens: e.load.queued_s(job.now) / token_s,
                wait_s: e.load.wait_s(job.stretch, job.slots, job.hold_s, job.now),
                prefill_s: work_s * job.stretch * e.load.pace(job.now),
                uncached_tokens,
                matched: 1.0 - uncached_tokens / f64::from(facts.input_tokens.max(1)),
                held_tokens: self.prefixes.held(e.id, facts.model),
            };
            spots.push(Open { at, held_back: penalty >= HELD_BACK_S, spot });
        }
        spots
    }

    fn seen(&self, offer: OfferId, now: Instant) -> Seen {
        let pool = &self.pools[self.catalog.offer(offer).pool.index()];
        let stretch = self.offers[offer.index()].reading().stretch;
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
