//! One look at every offer of a model for one call: a candidate with its price, or an exclusion with its reason.
//!
//! Deciding and explaining both go through here, so that an explanation cannot differ from what was done.

use std::sync::Arc;

use rand::RngExt as _;
use rand::rngs::SmallRng;

use super::sessions::Warm;
use super::state::Endpoints;
use super::{Fleet, Tried};
use crate::domain::{CallFacts, Instant, Now, OfferId, PoolId, Tenure};
use crate::estimate::{nominal_work_s, tokens::expected_output};
use crate::health::Admission;
use crate::policy::eligibility::{fits, in_contact, worth_trying};
use crate::policy::place::Job;
use crate::policy::retry::{Past, kinship};
use crate::policy::{CallView, Candidate, Exclusion, Kinship, Quote, Rank, price};

/// What a look found.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) candidates: Vec<Candidate>,
    pub(super) excluded: Vec<Exclusion>,
    /// Whose, by position in `excluded`.
    pub(super) whose: Vec<OfferId>,
}

/// How strict a look is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Strictness {
    /// As always.
    Normal,
    /// All are ill: illness is no reason any more, up to a few calls an offer.
    LastResort,
}

/// What a look needs to know of the call, found once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking<'a> {
    pub(super) call: CallView<'a>,
    pub(super) tried: &'a [Tried],
    pub(super) warm: Option<Warm>,
    pub(super) strictness: Strictness,
}

impl Fleet {
    pub(super) fn asking<'a>(
        &self,
        facts: &'a CallFacts,
        class: &'a crate::domain::Class,
        tried: &'a [Tried],
        now: Now,
    ) -> Asking<'a> {
        let seen = &self.outputs[self.output_index(facts)];
        let each = expected_output(facts.kind, seen, facts.max_tokens, &self.settings.estimate);
        let output = each * f64::from(facts.n.max(1));
        let warm = facts.session.and_then(|s| self.sessions.warm(s, facts.model, now.mono));
        let call = CallView { facts, class, output, now };
        Asking { call, tried, warm, strictness: Strictness::Normal }
    }

    /// Looks at every offer of the model.
    pub(super) fn survey(&self, asking: &Asking<'_>, found: &mut Survey, rng: &mut SmallRng) {
        found.candidates.clear();
        found.excluded.clear();
        found.whose.clear();
        let catalog = Arc::as_ref(&self.catalog);
        for &offer in &catalog.model(asking.call.facts.model).offers {
            match self.assess(asking, offer, rng) {
                Ok(candidate) => found.candidates.push(candidate),
                Err(exclusion) => {
                    found.excluded.push(exclusion);
                    found.whose.push(offer);
                }
            }
        }
        price::settle(&mut found.candidates, self.home(asking), &asking.call);
    }

    fn assess(&self, asking: &Asking<'_>, id: OfferId, rng: &mut SmallRng) -> Result<Candidate, Exclusion> {
        let offer = self.catalog.offer(id);
        let (pool_id, pool) = (offer.pool, self.catalog.pool(offer.pool));
        let state = &self.pools[pool_id.index()];
        let now = asking.call.now;
        fits(asking.call.facts, pool, offer)?;
        if state.drained {
            return Err(Exclusion::Drained);
        }
        in_contact(pool, now)?;
        let mut rank = self.rank(asking, id)?;
        if let Some(max) = state.in_flight.full() {
            return Err(Exclusion::Full { max });
        }
        if self.held_back(asking, id, rng)? {
            rank = Rank::HeldBack;
        }
        let quote = self.quote(asking, id);
        let most = price::most_usd(&quote.prices, &asking.call);
        worth_trying(&asking.call, pool, quote.ttft_s, quote.finish_s, most)?;
        let terms = price::terms(&quote, &asking.call);
        Ok(Candidate { offer: id, pool: pool_id, rank, quote, terms, order: pool.order, weight: pool.weight })
    }

    /// How the offer stands to what was tried, and whether any endpoint is left for it.
    fn rank(&self, asking: &Asking<'_>, id: OfferId) -> Result<Rank, Exclusion> {
        let pool = self.catalog.offer(id).pool;
        let state = &self.pools[pool.index()];
        let kin = match asking.tried {
            [] => Kinship::None,
            tried => kinship(tried.iter().map(|t| self.past(t, id)), id, pool)?,
        };
        let ill = asking.strictness == Strictness::Normal && state.troubled > 0;
        let endpoints = if state.present == 0 {
            Endpoints::None
        } else if ill || kin.same_pool() {
            let was_tried = |e| kin.same_pool() && asking.tried.iter().any(|t| t.endpoint == e);
            let lane = self.offers[id.index()].lane;
            state.endpoints_for(lane, asking.call.now.mono, &self.settings.health, was_tried)
        } else {
            Endpoints::Some
        };
        match endpoints {
            Endpoints::Some => Ok(kin.rank()),
            Endpoints::None => Err(Exclusion::NoEndpoints),
            Endpoints::Tried => kin.rank_when_all_tried(),
            Endpoints::Probed => Err(Exclusion::Probation),
            Endpoints::Ejected(until) => Err(Exclusion::EndpointsEjected { until }),
        }
    }

    fn past(&self, tried: &Tried, id: OfferId) -> Past {
        let domain = |pool: PoolId| self.pools.get(pool.index()).map(|p| p.domain);
        Past {
            offer: tried.offer,
            pool: tried.pool,
            same_domain: domain(tried.pool) == domain(self.catalog.offer(id).pool),
            window_as_large: self.no_larger(id, tried.offer),
            kind: tried.kind,
            unprocessed: tried.unprocessed,
        }
    }

    /// Is the context of `offer` no larger than that of `than`, which was too small? Unknown windows may be larger.
    fn no_larger(&self, offer: OfferId, than: OfferId) -> bool {
        let window = |id: OfferId| self.catalog.offers.get(id.index()).and_then(|o| o.context_window);
        offer == than || matches!((window(offer), window(than)), (Some(a), Some(b)) if a <= b)
    }

    /// Health of the offer: an exclusion, or whether this call is one of those that slow start keeps away.
    fn held_back(&self, asking: &Asking<'_>, id: OfferId, rng: &mut SmallRng) -> Result<bool, Exclusion> {
        let state = &self.offers[id.index()];
        let (now, settings) = (asking.call.now.mono, &self.settings.health);
        if let Some(until) = state.cooldown.until(now) {
            return Err(Exclusion::Cooldown { until });
        }
        let mut share = state.cooldown.share(now, settings);
        if !state.breaker.is_healthy() {
            let last_resort = asking.strictness == Strictness::LastResort;
            let may_try = last_resort && state.breaker.trials() < settings.panic_calls;
            match state.breaker.admission(now, settings) {
                Admission::Full | Admission::Probe => {}
                Admission::Share(risen) => share = share.min(risen),
                Admission::Off { until, cause: crate::health::Cause::Disabled } => {
                    return Err(Exclusion::Disabled { until });
                }
                Admission::Off { .. } if may_try => {}
                Admission::Off { until, .. } => return Err(Exclusion::Ejected { until }),
                Admission::Busy => return Err(Exclusion::Probation),
            }
        }
        Ok(share < 1.0 && rng.random::<f64>() >= share)
    }

    /// What the offer would do, by the estimates.
    pub(super) fn quote(&self, asking: &Asking<'_>, id: OfferId) -> Quote {
        let offer = self.catalog.offer(id);
        let (pool, state) = (&self.pools[offer.pool.index()], &self.offers[id.index()]);
        let call = &asking.call;
        let read = state.read(&self.settings, call.now);
        let cached = self.cached_tokens(asking, offer.pool, read.hit);
        let prior = &self.catalog.pool(offer.pool).engine_prior;
        let work_s = nominal_work_s(prior, f64::from(call.facts.input_tokens) - cached) * read.stretch;
        let decode_s = call.output / f64::from(call.facts.n.max(1)) * read.tpot_s;
        let alone_s = read.base_s + work_s;
        let ttft_s = alone_s + pool.wait_s(read.stretch, self.hold_s(offer.pool), call.now.mono);
        let finish_s = ttft_s + decode_s;
        let class = call.class;
        let late = |target: Option<crate::domain::Duration>, expected: f64| {
            target.map_or(0.0, |t| read.p_late(t.as_secs_f64(), expected))
        };
        let own = |seconds: f64| if pool.owned { seconds } else { 0.0 };
        Quote {
            prices: state.prices,
            cached,
            ttft_s,
            finish_s,
            p_miss: late(class.ttft_target, ttft_s).max(late(class.finish_target, finish_s)),
            p_err: read.p_err,
            prefill_s: own(work_s),
            slot_s: own(decode_s * f64::from(call.facts.n.max(1))),
            shadow: pool.shadow(read.stretch, self.level.usd(), &self.settings, call.now.mono),
        }
    }

    /// Seconds that a call holds its slot in the pool, on average.
    pub(super) fn hold_s(&self, pool: PoolId) -> f64 {
        self.pools[pool.index()].hold.value(1.0, &self.settings.estimate)
    }

    /// Input tokens expected to be cached in the pool.
    pub(super) fn cached_tokens(&self, asking: &Asking<'_>, pool: PoolId, hit: f64) -> f64 {
        match asking.warm {
            Some(warm) if warm.pool == pool => {
                f64::from(warm.prefix_tokens.min(asking.call.facts.input_tokens)) * hit
            }
            Some(_) | None => 0.0,
        }
    }

    /// The pool where the session is warm, and what its next turn loses by not being there.
    fn home(&self, asking: &Asking<'_>) -> Option<(PoolId, f64)> {
        let warm = asking.warm?;
        let model = self.catalog.model(asking.call.facts.model);
        let id = *model.offers.iter().find(|o| self.catalog.offer(**o).pool == warm.pool)?;
        let (state, pool) = (&self.offers[id.index()], self.catalog.pool(warm.pool));
        let read = state.read(&self.settings, asking.call.now);
        let tokens = f64::from(warm.prefix_tokens) * read.hit;
        let prefill_s = nominal_work_s(&pool.engine_prior, tokens) * read.stretch;
        let money = tokens * (state.prices.input - state.prices.cached).max(0.0);
        let scarcity = match pool.tenure {
            Tenure::Owned => {
                let pool = &self.pools[warm.pool.index()];
                let now = asking.call.now.mono;
                pool.shadow(read.stretch, self.level.usd(), &self.settings, now).prefill_usd_per_s * prefill_s
            }
            Tenure::Metered => 0.0,
        };
        let delay = asking.call.class.delay_usd_per_s * prefill_s;
        Some((warm.pool, self.settings.choice.next_turn * (money + scarcity + delay)))
    }

    /// What placing needs, for an offer.
    pub(super) fn job(&self, asking: &Asking<'_>, id: OfferId) -> Job {
        let offer = self.catalog.offer(id);
        let call = &asking.call;
        let read = self.offers[id.index()].read(&self.settings, call.now);
        let prior = &self.catalog.pool(offer.pool).engine_prior;
        let input = f64::from(call.facts.input_tokens);
        let full_s = nominal_work_s(prior, input);
        let warm_s = nominal_work_s(prior, input - self.cached_tokens(asking, offer.pool, read.hit));
        Job {
            base_s: read.base_s,
            full_s,
            warm_s,
            stretch: read.stretch,
            slots: self.pools[offer.pool.index()].slots,
            hold_s: self.hold_s(offer.pool),
            next_turn: self.settings.choice.next_turn,
            now: call.now.mono,
        }
    }
}
