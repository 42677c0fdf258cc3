//! What an attempt comes to when it is over: its ticket, its tokens, its bill.

use super::{AttemptRecord, AttemptResult, Call, Phase};
use crate::domain::{Catalog, Failure, FailureKind, Now, Usage, UsageSource};
use crate::fleet::{AttemptEnd, Fleet, Tried};

impl Call {
    /// Gives the ticket of the attempt in flight back, and writes down how it went.
    pub(super) fn end_attempt(
        &mut self,
        end: AttemptEnd,
        failure: Option<&Failure>,
        fleet: &mut Fleet,
        catalog: &Catalog,
        now: Now,
    ) -> Option<Tried> {
        let mut ticket = match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Running(ticket) | Phase::Relaying { ticket, .. } => ticket,
            idle @ (Phase::New | Phase::Waiting(_) | Phase::Closed) => {
                self.phase = idle;
                return None;
            }
        };
        let usage = self.usage_at_end(&end, failure);
        let (prices, _) = catalog.offer(ticket.dispatch.offer).prices_at(ticket.sent);
        let cost = prices.cost(&usage);
        ticket.cost = cost;
        self.record.attempts.push(AttemptRecord {
            offer: ticket.dispatch.offer,
            pool: ticket.dispatch.pool,
            endpoint: ticket.dispatch.endpoint,
            address: ticket.dispatch.address.clone(),
            started: ticket.started,
            first_token: ticket.first_token,
            ended: now.mono,
            result: match (&end, failure) {
                (AttemptEnd::Ok { .. }, _) => AttemptResult::Ok,
                (_, Some(failure)) => AttemptResult::Failed(failure.kind),
                (_, None) => AttemptResult::Cancelled,
            },
            status: failure.and_then(|f| f.status),
            usage,
            cost,
        });
        let tried = Tried {
            offer: ticket.dispatch.offer,
            pool: ticket.dispatch.pool,
            endpoint: ticket.dispatch.endpoint,
            kind: FailureKind::Disconnected,
            unprocessed: false,
        };
        if self.delivered(&end) {
            self.record.usage = usage;
            self.record.cost = cost;
        }
        self.transitions.append(&mut fleet.ended(&self.facts, ticket, end, now));
        Some(tried)
    }

    /// Only what the client got goes on its bill; what other attempts cost is waste and ours.
    fn delivered(&self, end: &AttemptEnd) -> bool {
        matches!(end, AttemptEnd::Ok { .. }) || self.committed()
    }

    /// Tokens of the attempt that just ended. One that was never worked on has none.
    fn usage_at_end(&self, end: &AttemptEnd, failure: Option<&Failure>) -> Usage {
        match (end, failure) {
            (AttemptEnd::Ok { usage }, _) => *usage,
            (_, Some(f)) if f.unprocessed || f.status.is_some() && self.events == 0 => Usage::default(),
            _ => self.counted(),
        }
    }

    /// The upstream's count, or ours: one token a content event, which is how engines stream.
    pub(super) fn counted(&self) -> Usage {
        self.usage.unwrap_or(Usage {
            input: u64::from(self.facts.input_tokens),
            output: self.events,
            source: UsageSource::Estimated,
            ..Usage::default()
        })
    }
}
