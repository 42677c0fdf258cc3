//! A new catalog under a running fleet: what stays keeps what was learned of it, what is new begins with a slow start,
//! and what is gone finishes its calls and gets no more.

use std::mem::{replace, take};
use std::sync::Arc;

use super::state::{Endpoint, OfferState, PoolState};
use super::{Fleet, Settings, Transition, pool_transition, rivals};
use crate::domain::{Catalog, ClassId, ModelId, Now, OfferId, PoolId};
use crate::estimate::tokens::Outputs;
use crate::health::Breaker;

/// What becomes of the state at a place of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// It was there and is.
    Stays,
    /// It was not there.
    Comes,
    /// It is there no more, or was not there before.
    Gone,
}

const fn fate(was: bool, is: bool) -> Fate {
    match (was, is) {
        (true, true) => Fate::Stays,
        (false, true) => Fate::Comes,
        (_, false) => Fate::Gone,
    }
}

impl Fleet {
    /// Goes on with `catalog`, a successor of the present one, and `settings`. Pools in `renewed` are spoken to in
    /// another way than before (another key, say): they are not to blame for what was. Their endpoints are told
    /// apart from this ([`Self::set_endpoints`]).
    pub fn adopt(
        &mut self,
        catalog: Arc<Catalog>,
        settings: Settings,
        renewed: &[PoolId],
        now: Now,
    ) -> Vec<Transition> {
        let before = replace(&mut self.catalog, Arc::clone(&catalog));
        let hearsay_only = settings.choice.hearsay_only;
        self.settings = settings;
        let was = |id: OfferId| before.offers.len() > id.index() && before.has_offer(id);
        let offers = OfferState::of(&catalog, &settings, now.mono);
        let old = replace(&mut self.offers, offers);
        for (i, old) in old.into_iter().enumerate() {
            let id = OfferId(i as u16);
            let same = |a: &Catalog, b: &Catalog| {
                let (a, b) = (a.offer(id), b.offer(id));
                a.upstream_model == b.upstream_model
            };
            let prior = |c: &Catalog| {
                let pool = c.pool(c.offer(id).pool);
                (pool.engine_prior, pool.rtt_prior, pool.tenure)
            };
            if fate(was(id), catalog.has_offer(id)) == Fate::Stays {
                let new = self.offers[i].inherit(old, prior(&before) == prior(&catalog));
                let renewed = renewed.contains(&catalog.offer(id).pool) || !same(&before, &catalog);
                self.offers[i] = if renewed { new.renewed(now, &self.settings) } else { new };
            }
        }
        for i in 0..catalog.offers.len() {
            let id = OfferId(i as u16);
            if fate(was(id), catalog.has_offer(id)) == Fate::Comes {
                self.offers[i].breaker.slow_start(now.mono, &self.settings.health);
            }
        }
        let transitions = self.adopt_pools(&before, &catalog, renewed, now);
        if hearsay_only {
            self.pools.iter_mut().for_each(PoolState::believe_hearsay_only);
        }
        self.adopt_rest(&before, &catalog, now);
        transitions
    }

    fn adopt_pools(
        &mut self,
        before: &Catalog,
        catalog: &Catalog,
        renewed: &[PoolId],
        now: Now,
    ) -> Vec<Transition> {
        let mut out = Vec::new();
        let was = |id: PoolId| before.pools.len() > id.index() && before.has_pool(id);
        let pools = PoolState::of(catalog, &self.settings.estimate, now);
        let old = replace(&mut self.pools, pools);
        for (i, old) in old.into_iter().enumerate() {
            let id = PoolId(i as u16);
            let new = &mut self.pools[i];
            // Calls under way are there, whatever the place is called now.
            new.in_flight.carry(old.in_flight);
            match fate(was(id), catalog.has_pool(id)) {
                Fate::Stays => {
                    let (then, is) = (before.pool(id), catalog.pool(id));
                    if then.engine_prior == is.engine_prior && !renewed.contains(&id) {
                        new.in_flight.as_before(old.in_flight);
                    }
                    new.inherit(old, then, is, now);
                    if renewed.contains(&id) {
                        let health = &self.settings.health;
                        new.endpoints.iter_mut().for_each(|e| e.renew(now, health));
                    }
                }
                Fate::Gone | Fate::Comes => new.take_leaving(old.endpoints),
            }
            new.recount(now.mono, &self.settings.health);
            new.limit();
            new.in_flight.holds(new.all_slots());
            if was(id) && !catalog.has_pool(id) {
                out.push(pool_transition(id, "healthy", "withdrawn", "the config names it no more"));
            }
        }
        for i in (0..self.pools.len()).filter(|i| !was(PoolId(*i as u16))) {
            let id = PoolId(i as u16);
            if catalog.has_pool(id) {
                out.push(pool_transition(id, "absent", "slow_start", "the config names it now"));
            }
        }
        out
    }

    fn adopt_rest(&mut self, before: &Catalog, catalog: &Catalog, now: Now) {
        let model =
            |i: usize| (before.models.get(i).map(|m| &m.name)) == (catalog.models.get(i).map(|m| &m.name));
        let class =
            |i: usize| (before.classes.get(i).map(|c| &c.name)) == (catalog.classes.get(i).map(|c| &c.name));
        let new = Outputs::new(&self.settings.estimate);
        let old = take(&mut self.outputs);
        for m in 0..catalog.models.len() {
            for c in 0..catalog.classes.len() {
                let known = (model(m) && class(c)).then(|| old.get(m * before.classes.len() + c)).flatten();
                self.outputs.push(known.cloned().unwrap_or_else(|| new.clone()));
            }
        }
        let old = take(&mut self.promises);
        self.promises = super::promises(catalog);
        for (c, promise) in self.promises.iter_mut().enumerate() {
            // The same promise as before is kept as well, or as badly, as it was.
            let same = catalog.classes[c].in_time == before.classes.get(c).and_then(|class| class.in_time);
            if let Some(known) = old.get(c).filter(|_| class(c) && same) {
                *promise = *known;
            }
        }
        let came = |p: PoolId| before.pools.len() <= p.index() || !before.has_pool(p);
        // Looking through all sessions takes a while.
        let others = (0..catalog.models.len()).any(|m| !model(m));
        if others || (0..catalog.pools.len()).any(|p| came(PoolId(p as u16))) {
            self.sessions.retain(|m, warm| model(m.index()) && !came(warm.pool));
        }
        self.sessions.set_ttl(self.settings.session_ttl);
        let pools = &self.pools;
        self.prefixes.retain(|e, m| model(m.index()) && pools.iter().any(|p| p.endpoint(e).is_some()));
        self.retries.grow(catalog.tenants.len());
        self.limited =
            self.pools.iter().any(|p| !p.granted.boundless()) || self.offers.iter().any(|o| o.told.is_some());
        self.rivals = rivals::memory(&self.settings, self.offers.len(), now);
        self.scratch.clear();
        self.line.adopt(catalog, self.settings.queue);
        self.reprice(now);
        self.generation += 1;
        // New pools, other limits, other prices: whoever waits may look again, and whose model is gone hears of it.
        for i in 0..catalog.models.len() {
            self.line.news(ModelId(i as u16), now.mono);
        }
        debug_assert!(
            catalog.has_class(ClassId(catalog.default_class.0)),
            "the default class is in the config"
        );
    }
}

impl OfferState {
    /// What was learned of it. Times are those of the engine it was learned at: where another is expected now they are
    /// not kept.
    fn inherit(&self, old: Self, same_engine: bool) -> Self {
        Self {
            prices: self.prices,
            lane: self.lane,
            estimate: if same_engine { old.estimate } else { self.estimate.clone() },
            ..old
        }
    }

    /// It is served by somebody else from now on: what went wrong before is not held against them.
    fn renewed(mut self, now: Now, settings: &Settings) -> Self {
        self.breaker.renew(now.mono, &settings.health);
        (self.last_failed, self.several_failed) = (None, false);
        Self { cooldown: Default::default(), sizes: Default::default(), told: None, ..self }
    }
}

impl PoolState {
    /// What was learned of the pool when it was `then`; now it `is`.
    fn inherit(&mut self, old: Self, then: &crate::domain::Pool, is: &crate::domain::Pool, now: Now) {
        let lanes = |e: Endpoint| Endpoint {
            lanes: self
                .offers
                .iter()
                .map(|offer| {
                    let lane = old.offers.iter().position(|known| known == offer);
                    lane.and_then(|lane| e.lanes.get(lane)).cloned().unwrap_or_else(Breaker::default)
                })
                .collect(),
            ..e
        };
        self.endpoints = old.endpoints.into_iter().map(lanes).collect();
        self.drained = old.drained;
        self.granted = old.granted.adopt(&then.grants, &is.grants, now);
        self.savings = old.savings;
        if self.demand.is_some() {
            self.demand = old.demand.or_else(|| self.demand.take());
        }
        (self.backlog, self.others, self.best) = (old.backlog, old.others, old.best);
        (self.served, self.failed) = (old.served, old.failed);
        if then.engine_prior == is.engine_prior {
            (self.hold, self.hold_s) = (old.hold, old.hold_s);
            (self.prefill, self.prefill_s) = (old.prefill, old.prefill_s);
        }
    }

    /// Calls under way at endpoints of what was here before finish there.
    fn take_leaving(&mut self, endpoints: Vec<Endpoint>) {
        self.endpoints = endpoints.into_iter().filter(|e| e.load.in_flight > 0).collect();
        for endpoint in &mut self.endpoints {
            endpoint.leaving = true;
            endpoint.lanes = vec![Breaker::default(); self.offers.len()];
        }
    }
}

impl Endpoint {
    fn renew(&mut self, now: Now, settings: &crate::health::Settings) {
        self.breaker.renew(now.mono, settings);
        for lane in &mut self.lanes {
            lane.renew(now.mono, settings);
        }
        self.note();
    }
}
