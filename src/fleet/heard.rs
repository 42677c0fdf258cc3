//! What servers say beside their answers, folded in where they do: nothing here is waited for or needed.

use super::{Fleet, Ticket};
use crate::domain::{Allowances, Aside, Instant, Now, SaidGrants};

impl Fleet {
    /// The head of an attempt's answer said this beside.
    pub fn heard(&mut self, ticket: &Ticket, aside: &Aside, now: Now) {
        if let Some(said) = &aside.allowances
            && self.catalog.pool(ticket.dispatch.pool).grants.said == SaidGrants::Heeded
        {
            self.hear_allowances(ticket, said, now.mono);
        }
    }

    fn hear_allowances(&mut self, ticket: &Ticket, said: &Allowances, now: Instant) {
        let Some(offer) = self.offers.get_mut(ticket.dispatch.offer.index()) else { return };
        let sent = offer.sent;
        offer.told.get_or_insert_default().hear(said, ticket.started, ticket.sent, sent, now);
        self.limited = true;
    }
}
