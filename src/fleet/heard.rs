//! What servers say beside their answers, folded in where they do: nothing here is waited for or needed.

use std::sync::Arc;

use super::{Fleet, Ticket};
use crate::domain::{Address, Allowances, Aside, EndpointId, EngineLoad, Instant, Now, PoolId, SaidGrants};
use crate::policy::place::Others;

/// With more of its KV cache in use an engine puts calls off or preempts others.
const KV_FULL_PERMILLE: u16 = 900;

impl Fleet {
    /// The head of an attempt's answer said this beside.
    pub fn heard(&mut self, ticket: &Ticket, aside: &Aside, now: Now) {
        if let Some(said) = &aside.allowances
            && self.catalog.pool(ticket.dispatch.pool).grants.said == SaidGrants::Heeded
        {
            self.hear_allowances(ticket, said, now.mono);
        }
        if let Some(load) = aside.load {
            self.reported(ticket.dispatch.pool, ticket.dispatch.endpoint, load, now);
        }
    }

    /// The endpoints of a pool that are not leaving.
    pub fn places(&self, pool: PoolId) -> Vec<(EndpointId, Arc<Address>)> {
        let endpoints = self.pools.get(pool.index()).into_iter().flat_map(|p| &p.endpoints);
        endpoints.filter(|e| !e.leaving).map(|e| (e.id, Arc::clone(&e.address))).collect()
    }

    /// An engine says how busy it is. What of it is not this router's is load that others caused. Own calls that it does
    /// not have yet or has finished are taken off all the same: the count is off by what is on its way.
    pub fn reported(&mut self, pool: PoolId, endpoint: EndpointId, load: EngineLoad, now: Now) {
        let Some(state) = self.pools.get(pool.index()) else { return };
        let stretch = self.stretch(state, now);
        let Some(state) = self.pools.get_mut(pool.index()) else { return };
        let prefill_s = state.prefill_s;
        let Some(e) = state.endpoint_mut(endpoint) else { return };
        e.report = Some((load, now.mono));
        let before = e.load.others();
        let known = load.running.unwrap_or(0).saturating_add(load.waiting.unwrap_or(0));
        let (own, own_unheard) = e.load.own();
        let calls = f64::from(known.saturating_sub(own));
        // Prompts of others are taken to be as long as this router's own.
        let queued_s = f64::from(load.waiting.unwrap_or(0).saturating_sub(own_unheard)) * prefill_s;
        let calls = match (load.running, load.waiting) {
            (Some(_), _) => calls,
            // Those that wait are not all that are there: what was known of the others stands.
            (None, _) => before.map_or(calls, |b| calls.max(b.calls(now.mono))),
        };
        let full =
            load.kv_permille.map_or(before.is_some_and(|b| b.full(now.mono)), |kv| kv > KV_FULL_PERMILLE);
        e.load.hear(Others { calls, queued_s, full, at: now.mono });
        state.count_others(now.mono);
        state.look_for_best(stretch, now.mono);
    }

    fn hear_allowances(&mut self, ticket: &Ticket, said: &Allowances, now: Instant) {
        let Some(offer) = self.offers.get_mut(ticket.dispatch.offer.index()) else { return };
        let sent = offer.sent;
        offer.told.get_or_insert_default().hear(said, ticket.started, ticket.so_far, sent, now);
        self.limited = true;
    }
}
