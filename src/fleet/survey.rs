//! One look at every offer of a model for one call: a candidate with its price, or an exclusion with its reason.
//!
//! Deciding and explaining both go through here, so that an explanation cannot differ from what was done.

use super::sessions::Warm;
use super::state::{Endpoints, OfferState, PoolState};
use super::{Fleet, Tried, jitter};
use crate::domain::{CallFacts, Instant, Now, Offer, OfferId, Pool, PoolId};
use crate::estimate::nominal_work_s;
use crate::health::Admission;
use crate::policy::eligibility::{fits, in_contact, worth_trying};
use crate::policy::place::Job;
use crate::policy::promise::Promise;
use crate::policy::retry::{Past, kinship};
use crate::policy::{CallView, Candidate, Chosen, Exclusion, Quote, Rank, Shadow, price};

/// What a look found.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) candidates: Vec<Candidate>,
    pub(super) excluded: Vec<Exclusion>,
    /// Whose, by position in `excluded`.
    pub(super) whose: Vec<OfferId>,
    /// The pool where the session is warm, and what its next turn loses by leaving it, in dollars.
    pub(super) home: Option<(PoolId, f64)>,
    /// Which of the candidates.
    pub(super) chosen: Option<Chosen>,
    /// The lot of waiting for a better price, if one was drawn.
    pub(super) wait_lot: Option<f64>,
}

impl Survey {
    /// As if nobody had looked.
    pub(super) fn clear(&mut self) {
        self.candidates.clear();
        self.excluded.clear();
        self.whose.clear();
        (self.home, self.chosen, self.wait_lot) = (None, None, None);
    }
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

/// An offer with all that is known about it, looked up once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    pub(super) id: OfferId,
    pub(super) offer: &'a Offer,
    pub(super) pool: &'a Pool,
    pub(super) state: &'a OfferState,
    /// The state of its pool.
    pub(super) around: &'a PoolState,
}

impl Fleet {
    /// Brings the estimates of the model's offers up to date, for all that is read after.
    pub(super) fn freshen(&mut self, facts: &CallFacts, now: Now) {
        for offer in &self.catalog.model(facts.model).offers {
            if let Some(state) = self.offers.get_mut(offer.index()) {
                state.estimate.freshen(&self.settings.estimate, now.mono);
            }
        }
    }

    pub(super) fn asking<'a>(&'a self, facts: &'a CallFacts, tried: &'a [Tried], now: Now) -> Asking<'a> {
        let seen = &self.outputs[self.output_index(facts)];
        let each = seen.expected(facts.kind, facts.input_tokens, facts.max_tokens, &self.settings.estimate);
        let warm = facts.session.and_then(|s| self.sessions.warm(s, facts.model, now.mono));
        let mut call = CallView::new(facts, self.catalog.class(facts.class), each, now);
        call.miss_usd *= self.promise(facts.class).map_or(1.0, Promise::times);
        Asking { call, tried, warm, strictness: Strictness::Normal }
    }

    /// Looks at every offer of the model.
    pub(super) fn survey(&self, asking: &Asking<'_>, found: &mut Survey) {
        found.clear();
        for &offer in &self.catalog.model(asking.call.facts.model).offers {
            if let Err(exclusion) = self.assess(asking, &self.known(offer), &mut found.candidates) {
                found.excluded.push(exclusion);
                found.whose.push(offer);
            }
        }
        found.home = self.home(asking);
        price::settle(&mut found.candidates, found.home, &asking.call);
    }

    /// All that is known about an offer.
    #[inline]
    pub(super) fn known(&self, id: OfferId) -> Known<'_> {
        let offer = self.catalog.offer(id);
        let pool = self.catalog.pool(offer.pool);
        Known { id, offer, pool, state: &self.offers[id.index()], around: &self.pools[offer.pool.index()] }
    }

    /// Adds the offer to the candidates, or says why not. (Candidates are large: they are not moved about.)
    fn assess(
        &self,
        asking: &Asking<'_>,
        known: &Known<'_>,
        candidates: &mut Vec<Candidate>,
    ) -> Result<(), Exclusion> {
        let Known { id, offer, pool, state, around } = *known;
        fits(&asking.call, pool, offer)?;
        if around.drained {
            return Err(Exclusion::Drained);
        }
        in_contact(pool, asking.call.now)?;
        let mut rank = self.rank(asking, known)?;
        if let Some(max) = around.in_flight.full() {
            return Err(around.full_for(max));
        }
        let unlimited = around.granted.boundless() && state.told.is_none();
        let grants_usd = if unlimited { 0.0 } else { self.grants(asking, known)? };
        if !state.is_well() && self.held_back(asking, known)? {
            rank = Rank::HeldBack;
        }
        if !state.sizes.allow(asking.call.facts.input_tokens, asking.call.now.mono) {
            rank = Rank::HeldBack;
        }
        let quote = self.quote(asking, known, grants_usd);
        worth_trying(&asking.call, pool, &quote)?;
        let terms = price::terms(&quote, &asking.call);
        if around.granted.budget.is_some() {
            let bill = terms.money - quote.energy_usd;
            let until = around.granted.budget_until(bill, asking.call.class.reserve, asking.call.now);
            until.map_or(Ok(()), |until| Err(Exclusion::Granted { until }))?;
        }
        let (order, weight) = (pool.order, pool.weight);
        candidates.push(Candidate {
            offer: id,
            pool: offer.pool,
            rank,
            quote,
            terms,
            order,
            weight,
            key: around.key,
        });
        Ok(())
    }

    /// How the offer stands to what was tried, and whether any endpoint is left for it.
    fn rank(&self, asking: &Asking<'_>, known: &Known<'_>) -> Result<Rank, Exclusion> {
        let around = known.around;
        let ill = asking.strictness == Strictness::Normal && around.troubled > 0;
        if asking.tried.is_empty() && !ill && around.present > 0 {
            return Ok(Rank::default());
        }
        self.rank_among_troubles(asking, known, ill)
    }

    #[cold]
    fn rank_among_troubles(
        &self,
        asking: &Asking<'_>,
        known: &Known<'_>,
        ill: bool,
    ) -> Result<Rank, Exclusion> {
        let Known { id, offer, state, around, .. } = *known;
        let kin = kinship(asking.tried.iter().map(|t| self.past(t, id)), id, offer.pool)?;
        let endpoints = if around.present == 0 {
            Endpoints::None
        } else if ill || kin.same_pool() {
            let was_tried = |e| kin.same_pool() && asking.tried.iter().any(|t| t.endpoint == e);
            around.endpoints_for(state.lane, asking.call.now.mono, &self.settings.health, was_tried)
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
    #[cold]
    fn held_back(&self, asking: &Asking<'_>, known: &Known<'_>) -> Result<bool, Exclusion> {
        let state = known.state;
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
        // A lot of the call and the pool: the same in whatever order a config names pools, and whenever the call looks, so
        // that one that waits gets in when the share has risen to its lot.
        let lot = || jitter(asking.call.facts.id.0 ^ known.around.key, Instant::START);
        Ok(share < 1.0 && lot() >= share)
    }

    /// What the call takes of what the provider grants, and says is left, in dollars.
    #[cold]
    fn grants(&self, asking: &Asking<'_>, known: &Known<'_>) -> Result<f64, Exclusion> {
        let Known { state, around, .. } = *known;
        let (tokens, now) = (asking.call.input + asking.call.output, asking.call.now);
        let told = state.told.as_ref();
        if self.rivals.is_none()
            && let Some(until) =
                around.granted.until(tokens, now).max(told.and_then(|t| t.until(tokens, now.mono)))
        {
            return Err(Exclusion::Granted { until });
        }
        Ok(around.grants_usd(tokens, now).max(told.map_or(0.0, |t| around.told_usd(t, tokens, now.mono))))
    }

    /// What the offer would do, by the estimates; `grants_usd` is what it takes of its pool's grants.
    pub(super) fn quote(&self, asking: &Asking<'_>, known: &Known<'_>, grants_usd: f64) -> Quote {
        let Known { offer, pool, state, around, .. } = *known;
        let call = &asking.call;
        let read = state.reading();
        let cached = asking.cached_tokens(offer.pool, read.hit);
        let work_s = nominal_work_s(&pool.engine_prior, call.input, cached) * read.stretch;
        let decode_s = call.each * read.tpot_s;
        let alone_s = read.base_s + work_s;
        let (mut ttft_s, mut prefill_s, mut slot_s, mut shadow) = (alone_s, 0.0, 0.0, Shadow::default());
        // A metered pool has no slots that we know of; what queueing it has is learned with its time to first token.
        if around.owned {
            let now = call.now.mono;
            ttft_s += around.wait_s(read.stretch, now);
            prefill_s = work_s + around.fixed_s(pool, read) * read.stretch;
            slot_s = decode_s * call.choices;
            shadow = around.shadow(read.stretch, self.level.usd(), &self.settings, now);
        }
        let finish_s = ttft_s + decode_s;
        let late = |target_s: Option<f64>, expected_s| target_s.map_or(0.0, |t| read.p_late(t, expected_s));
        Quote {
            prices: state.prices,
            cached,
            ttft_s,
            finish_s,
            p_miss: late(call.ttft_target_s, ttft_s).max(late(call.finish_target_s, finish_s)),
            p_err: read.p_err,
            prefill_s,
            slot_s,
            shadow,
            grants_usd,
            energy_usd: around.energy.usd(prefill_s, slot_s),
        }
    }

    /// The pool where the session is warm, and what its next turn loses by not being there.
    fn home(&self, asking: &Asking<'_>) -> Option<(PoolId, f64)> {
        let warm = asking.warm?;
        let model = self.catalog.model(asking.call.facts.model);
        let id = *model.offers.iter().find(|o| self.catalog.offer(**o).pool == warm.pool)?;
        let Known { pool, state, around, .. } = self.known(id);
        let read = state.reading();
        let tokens = f64::from(warm.prefix_tokens) * read.hit;
        let prefill_s = nominal_work_s(&pool.engine_prior, tokens, 0.0) * read.stretch;
        let money = tokens * (state.prices.input - state.prices.cached).max(0.0);
        let shadow = around.shadow(read.stretch, self.level.usd(), &self.settings, asking.call.now.mono);
        let scarcity = shadow.prefill_usd_per_s * prefill_s + around.energy.usd(prefill_s, 0.0);
        let delay = asking.call.class.delay_usd_per_s * prefill_s;
        Some((warm.pool, self.settings.choice.next_turn * (money + scarcity + delay)))
    }

    /// What placing needs, for an offer.
    pub(super) fn job(&self, asking: &Asking<'_>, known: &Known<'_>) -> Job {
        let Known { offer, pool, state, around, .. } = *known;
        let call = &asking.call;
        let read = state.reading();
        let full_s = nominal_work_s(&pool.engine_prior, call.input, 0.0);
        let cached = asking.cached_tokens(offer.pool, read.hit);
        Job {
            base_s: read.base_s,
            full_s,
            warm_s: nominal_work_s(&pool.engine_prior, call.input, cached),
            fixed_s: around.fixed_s(pool, read),
            stretch: read.stretch,
            slots: around.slots,
            hold_s: around.hold_s,
            next_turn: self.settings.choice.next_turn,
            now: call.now.mono,
        }
    }
}

impl Asking<'_> {
    /// Input tokens expected to be cached in the pool.
    fn cached_tokens(&self, pool: PoolId, hit: f64) -> f64 {
        match self.warm {
            Some(warm) if warm.pool == pool => {
                f64::from(warm.prefix_tokens.min(self.call.facts.input_tokens)) * hit
            }
            Some(_) | None => 0.0,
        }
    }
}
