//! What is known of pools, offers and endpoints, in dense arrays.

use std::sync::Arc;

use super::Settings;
use super::supply::Powered;
use crate::domain::{
    Address, Catalog, EndpointId, EngineLoad, Grants, Instant, Now, OfferId, Pool, PoolId, Tenure,
};
use crate::engine::EnergyPrice;
use crate::estimate::{self, Mean, OfferEstimate, Reading};
use crate::health::{self, Admission, Breaker, Cooldown, Sizes};
use crate::limit::{Allotment, DayProfile, Granted, InFlight, Sent, Told};
use crate::policy::place::{Backlog, Load, Others};
use crate::policy::shadow::Savings;
use crate::policy::{Candidate, Congestion, Shadow, TokenPrices, shadow};

/// A pool.
#[derive(Debug)]
pub(super) struct PoolState {
    pub(super) drained: bool,
    pub(super) in_flight: InFlight,
    /// What it draws, if that is known.
    pub(super) powered: Option<Powered>,
    /// What energy costs there now; nothing where that is not known.
    pub(super) energy: EnergyPrice,
    /// What is left of what its contract grants, and what that saves.
    pub(super) granted: Granted,
    pub(super) savings: Savings,
    /// When in the day its models are asked for, where it has a window that must last.
    pub(super) demand: Option<Box<DayProfile>>,
    /// Stands for it when lots are drawn.
    pub(super) key: u64,
    /// Its failure domain, as a number.
    pub(super) domain: u16,
    pub(super) owned: bool,
    /// See [`policy::Settings`](crate::policy::Settings).
    hearsay_only: bool,
    pub(super) slots: f64,
    /// Its offers, in order of their ids: the lanes of its endpoints.
    pub(super) offers: Vec<OfferId>,
    /// By id, that is, in order of appearance. Those that leave stay until their last call is over.
    pub(super) endpoints: Vec<Endpoint>,
    /// Endpoints that do not leave.
    pub(super) present: u32,
    /// Endpoints with any breaker that is not healthy.
    pub(super) troubled: u32,
    /// Prefill sent and not done, over all endpoints.
    pub(super) backlog: Backlog,
    /// What others do there, over all endpoints that say so.
    pub(super) others: Option<Others>,
    /// Position of the endpoint that a call would wait least at, as far as is known without looking at all.
    pub(super) best: usize,
    /// Seconds that a call holds its slot, and what comes of it.
    pub(super) hold: Mean,
    pub(super) hold_s: f64,
    /// Nominal seconds of prefill of a call, on average.
    pub(super) prefill: Mean,
    pub(super) prefill_s: f64,
    pub(super) served: u64,
    pub(super) failed: u64,
}

/// An endpoint.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) id: EndpointId,
    pub(super) address: Arc<Address>,
    pub(super) load: Load,
    /// How busy it last said it is, and when.
    pub(super) report: Option<(EngineLoad, Instant)>,
    pub(super) leaving: bool,
    /// Any of the breakers below is not healthy.
    pub(super) troubled: bool,
    /// Connections: all models.
    pub(super) breaker: Breaker,
    /// By position of the offer in its pool: this model at this endpoint.
    pub(super) lanes: Vec<Breaker>,
}

/// An offer.
#[derive(Debug)]
pub(super) struct OfferState {
    pub(super) prices: TokenPrices,
    /// Its position in its pool; [`NO_LANE`] once no config names it.
    pub(super) lane: usize,
    pub(super) breaker: Breaker,
    pub(super) cooldown: Cooldown,
    pub(super) sizes: Sizes,
    pub(super) estimate: OfferEstimate,
    /// What its provider says is left of its meters, if it says so; and what was sent to it since the start.
    pub(super) told: Option<Box<Told>>,
    pub(super) sent: Sent,
    /// The endpoint of the last failure, and whether failures in a row came from more than one.
    pub(super) last_failed: Option<EndpointId>,
    pub(super) several_failed: bool,
    pub(super) served: u64,
    pub(super) failed: u64,
}

/// The lane of an offer that has none.
const NO_LANE: usize = usize::MAX;

/// What the endpoints of a pool say to one more call of an offer.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Endpoints {
    /// At least one takes it.
    Some,
    /// There is none.
    None,
    /// There are, but this call tried them all.
    Tried,
    /// All are ejected, the first until then.
    Ejected(Instant),
    /// All are ejected or being probed.
    Probed,
}

impl PoolState {
    pub(super) fn of(catalog: &Catalog, settings: &estimate::Settings, now: Now) -> Vec<Self> {
        let mut domains: Vec<&str> = catalog.pools.iter().map(|p| &*p.failure_domain).collect();
        domains.sort_unstable();
        let domain = |name: &str| domains.partition_point(|d| *d < name) as u16;
        let offers = |id: PoolId| {
            let own = |o: &OfferId| catalog.offer(*o).pool == id && catalog.has_offer(*o);
            (0..catalog.offers.len()).map(|i| OfferId(i as u16)).filter(own).collect()
        };
        let state = |(i, pool): (usize, &crate::domain::Pool)| Self {
            drained: false,
            in_flight: InFlight::new(pool.max_in_flight),
            powered: Powered::of(pool),
            energy: EnergyPrice::default(),
            granted: Granted::new(&pool.grants, now),
            savings: Savings::default(),
            demand: lasts(&pool.grants).then(|| Box::new(DayProfile::new(now.wall))),
            key: Candidate::key_of(&pool.name),
            domain: domain(&pool.failure_domain),
            owned: pool.tenure == Tenure::Owned,
            hearsay_only: false,
            slots: f64::from(pool.engine_prior.slots.max(1)),
            offers: offers(PoolId(i as u16)),
            endpoints: Vec::new(),
            present: 0,
            troubled: 0,
            backlog: Backlog::NONE,
            others: None,
            best: 0,
            hold: Mean::new(pool.engine_prior.tpot_s * settings.output_prior, settings.mean_samples),
            hold_s: pool.engine_prior.tpot_s * settings.output_prior,
            prefill: Mean::new(pool.engine_prior.ttft_base_s, settings.mean_samples),
            prefill_s: pool.engine_prior.ttft_base_s,
            served: 0,
            failed: 0,
        };
        catalog.pools.iter().enumerate().map(state).collect()
    }

    pub(super) fn endpoint_mut(&mut self, id: EndpointId) -> Option<&mut Endpoint> {
        let at = self.position(id)?;
        self.endpoints.get_mut(at)
    }

    pub(super) fn endpoint(&self, id: EndpointId) -> Option<&Endpoint> {
        self.endpoints.get(self.position(id)?)
    }

    pub(super) fn position(&self, id: EndpointId) -> Option<usize> {
        self.endpoints.binary_search_by_key(&id, |e| e.id).ok()
    }

    /// A new endpoint joins.
    pub(super) fn add(&mut self, id: EndpointId, address: &Arc<Address>) {
        let mut endpoint = Endpoint::new(id, Arc::clone(address), self.offers.len());
        if self.hearsay_only {
            endpoint.load = Load::HEARSAY;
        }
        self.endpoints.push(endpoint);
    }

    /// From now on only what endpoints say of their load counts.
    pub(super) const fn believe_hearsay_only(&mut self) {
        self.hearsay_only = true;
    }

    /// What all its endpoints together decode at once: it holds so many in any case.
    pub(super) fn all_slots(&self) -> u32 {
        (self.slots * f64::from(self.present.max(1))) as u32
    }

    /// Removes endpoints that have left and whose last call is over.
    pub(super) fn tidy(&mut self) {
        let had = self.endpoints.len();
        self.endpoints.retain(|e| !e.leaving || e.load.in_flight > 0);
        if self.endpoints.len() < had {
            self.best = 0;
            self.limit();
        }
    }

    /// Counts again what is present and what is troubled.
    pub(super) fn recount(&mut self, now: Instant, settings: &health::Settings) {
        for e in &mut self.endpoints {
            e.settle(now, settings);
        }
        let present = self.endpoints.iter().filter(|e| !e.leaving);
        self.present = present.clone().count() as u32;
        self.troubled = present.filter(|e| e.troubled).count() as u32;
    }

    /// What its endpoints say to one more call. `was_tried` tells which this call has tried.
    pub(super) fn endpoints_for(
        &self,
        lane: usize,
        now: Instant,
        settings: &health::Settings,
        was_tried: impl Fn(EndpointId) -> bool,
    ) -> Endpoints {
        let (mut first, mut probed, mut any) = (None::<Instant>, false, false);
        for e in self.endpoints.iter().filter(|e| !e.leaving) {
            any = true;
            if was_tried(e.id) {
                continue;
            }
            match e.admission(lane, now, settings) {
                Admission::Full | Admission::Share(_) | Admission::Probe => return Endpoints::Some,
                Admission::Busy => probed = true,
                Admission::Off { until, .. } => first = Some(first.map_or(until, |f| f.min(until))),
            }
        }
        match (any, probed, first) {
            (false, ..) => Endpoints::None,
            (true, true, _) => Endpoints::Probed,
            (true, false, Some(until)) => Endpoints::Ejected(until),
            (true, false, None) => Endpoints::Tried,
        }
    }

    /// Nominal seconds of every prefill at an own engine, whatever its length: the time to first token of an empty
    /// prompt but for the way there.
    pub(super) fn fixed_s(&self, pool: &Pool, read: &Reading) -> f64 {
        if !self.owned {
            return 0.0;
        }
        (read.base_s - pool.rtt_prior.as_secs_f64()).max(0.0) / read.stretch
    }

    /// What of its grants a call of so many tokens takes, in dollars.
    pub(super) fn grants_usd(&self, tokens: f64, now: Now) -> f64 {
        let Granted { requests, tokens: by_tokens, quota, budget, ramp } = &self.granted;
        let request = requests.map_or(0.0, |m| shadow::of_burst(m.headroom(now.mono)));
        let token = by_tokens.map_or(0.0, |m| shadow::of_burst(m.headroom(now.mono)));
        let growth = ramp.map_or(0.0, |r| shadow::of_burst(r.headroom(now.mono)));
        let of_window = |q: Allotment| {
            shadow::of_window(match &self.demand {
                Some(demand) => q.pressure_over(demand.seconds(now.wall, q.resets_in(now)), now),
                None => q.pressure(now),
            })
        };
        let window = quota.map_or(0.0, of_window) + budget.map_or(0.0, of_window);
        self.savings.per_call() * request + self.savings.per_token() * tokens * (token + growth + window)
    }

    /// The same of what the provider says is left.
    pub(super) fn told_usd(&self, told: &Told, tokens: f64, now: Instant) -> f64 {
        let [request, token] = told.headroom(now).map(shadow::of_burst);
        self.savings.per_call() * request + self.savings.per_token() * tokens * token
    }

    /// A call with so much prefill, in nominal seconds, was sent.
    pub(super) fn prefills(&mut self, seconds: f64, settings: &estimate::Settings) {
        self.prefill.observe(seconds);
        self.prefill_s = self.prefill.value(1.0, settings);
    }

    /// A call held its slot for that long.
    pub(super) fn held(&mut self, seconds: f64, settings: &estimate::Settings) {
        self.hold.observe(seconds);
        self.hold_s = self.hold.value(1.0, settings);
    }

    /// Expected queueing at its best endpoint, in seconds. A metered pool has no slots that we know of; what queueing it
    /// has is learned with its time to first token.
    pub(super) fn wait_s(&self, stretch: f64, now: Instant) -> f64 {
        if !self.owned {
            return 0.0;
        }
        self.endpoints.get(self.best).map_or(0.0, |e| e.load.wait_s(stretch, self.slots, self.hold_s, now))
    }

    /// A call was sent to the endpoint at `position`: another may be the best now.
    pub(super) fn busier(&mut self, position: usize, stretch: f64, now: Instant) {
        if position == self.best {
            self.look_for_best(stretch, now);
        }
    }

    /// Compares all endpoints.
    pub(super) fn look_for_best(&mut self, stretch: f64, now: Instant) {
        let mut best: Option<(usize, f64)> = None;
        for (i, e) in self.endpoints.iter().enumerate().filter(|(_, e)| !e.leaving && !e.troubled) {
            let wait_s = e.load.wait_s(stretch, self.slots, self.hold_s, now);
            if best.is_none_or(|(_, least)| wait_s < least) {
                best = Some((i, wait_s));
            }
        }
        self.best = best.map_or(0, |(i, _)| i);
    }

    /// The endpoint at `position` has less to do: it may be the best now.
    pub(super) fn idler(&mut self, position: usize, stretch: f64, now: Instant) {
        let wait_s =
            |i: usize| self.endpoints.get(i).map(|e| e.load.wait_s(stretch, self.slots, self.hold_s, now));
        if wait_s(position) < wait_s(self.best) {
            self.best = position;
        }
    }

    /// Adds up what others do at its endpoints. A full one has no slot left.
    pub(super) fn count_others(&mut self, now: Instant) {
        let (mut calls, mut queued_s) = (0.0, 0.0);
        for e in self.endpoints.iter().filter(|e| !e.leaving) {
            if let Some(others) = e.load.others() {
                let left = if others.full(now) { self.slots - f64::from(e.load.own().0) } else { 0.0 };
                calls += others.calls(now).max(left);
                queued_s += others.queued_s(now);
            }
        }
        self.others = Some(Others { calls, queued_s, full: false, at: now });
    }

    /// Own calls under way that count.
    pub(super) const fn own_calls(&self) -> u32 {
        if self.hearsay_only { 0 } else { self.in_flight.count() }
    }

    /// How congested it is: slots, or the pool's own limit if that is reached sooner, and prefill queued.
    pub(super) fn congestion(&self, stretch: f64, now: Instant) -> Congestion {
        let endpoints = f64::from(self.present.max(1));
        let most = self.in_flight.limit().map_or(f64::INFINITY, |max| f64::from(max.max(1)));
        let (own, slots) = (f64::from(self.own_calls()), self.slots * endpoints);
        let mut used = own / slots.min(most);
        let mut backlog_s = self.backlog.seconds(stretch, endpoints, now);
        if let Some(others) = &self.others {
            used = used.max((own + others.calls(now)) / slots);
            backlog_s += others.queued_s(now) * stretch;
        }
        Congestion { slots: used, backlog_s: backlog_s / endpoints }
    }

    /// What its capacity is worth now; a metered pool has none.
    pub(super) fn shadow(&self, stretch: f64, level_usd: f64, settings: &Settings, now: Instant) -> Shadow {
        if !self.owned {
            return Shadow::default();
        }
        let congestion = self.congestion(stretch, now);
        shadow::of_own(congestion, level_usd, settings.choice.prefill_weight, &settings.choice.shadow)
    }
}

/// Is anything granted for a longer window?
const fn lasts(grants: &Grants) -> bool {
    grants.quota.is_some() || grants.budget.is_some()
}

impl Endpoint {
    pub(super) fn new(id: EndpointId, address: Arc<Address>, lanes: usize) -> Self {
        Self {
            id,
            address,
            load: Load::IDLE,
            report: None,
            leaving: false,
            troubled: false,
            breaker: Breaker::default(),
            lanes: vec![Breaker::default(); lanes],
        }
    }

    /// What it says to one more call: the stricter of its two breakers.
    pub(super) fn admission(&self, lane: usize, now: Instant, settings: &health::Settings) -> Admission {
        if !self.troubled {
            return Admission::Full;
        }
        let all = self.breaker.admission(now, settings);
        let one = self.lanes.get(lane).map_or(Admission::Full, |l| l.admission(now, settings));
        if severity(all) >= severity(one) { all } else { one }
    }

    /// The name of the worst state of its breakers.
    pub(super) fn name(&self, now: Instant, settings: &health::Settings) -> &'static str {
        let mut worst = &self.breaker;
        for lane in &self.lanes {
            if severity(lane.admission(now, settings)) > severity(worst.admission(now, settings)) {
                worst = lane;
            }
        }
        worst.name(now, settings)
    }

    fn settle(&mut self, now: Instant, settings: &health::Settings) {
        self.breaker.settle(now, settings);
        for lane in &mut self.lanes {
            lane.settle(now, settings);
        }
        self.note();
    }

    /// Sets `troubled` from the breakers; true if that changed it.
    pub(super) fn note(&mut self) -> bool {
        let troubled = !(self.breaker.is_healthy() && self.lanes.iter().all(Breaker::is_healthy));
        let changed = troubled != self.troubled;
        self.troubled = troubled;
        changed
    }
}

/// Orders admissions from open to shut; of two slow starts the smaller share is stricter.
fn severity(a: Admission) -> f64 {
    match a {
        Admission::Full => 0.0,
        Admission::Share(share) => 1.0 - share,
        Admission::Probe => 2.0,
        Admission::Busy => 3.0,
        Admission::Off { until, .. } => 4.0 + until.as_secs_f64(),
    }
}

impl OfferState {
    pub(super) fn of(catalog: &Catalog, settings: &Settings, now: Instant) -> Vec<Self> {
        let mut lanes = vec![0usize; catalog.pools.len()];
        let mut state = |(i, offer): (usize, &crate::domain::Offer)| {
            let pool = catalog.pool(offer.pool);
            let mut lane = NO_LANE;
            if catalog.has_offer(OfferId(i as u16)) {
                lane = lanes[offer.pool.index()];
                lanes[offer.pool.index()] += 1;
            }
            let rtt_s = pool.rtt_prior.as_secs_f64();
            Self {
                prices: TokenPrices::from(&offer.prices),
                lane,
                breaker: Breaker::default(),
                cooldown: Cooldown::default(),
                sizes: Sizes::default(),
                estimate: OfferEstimate::new(&pool.engine_prior, rtt_s, &settings.estimate, now),
                told: None,
                sent: Sent::default(),
                last_failed: None,
                several_failed: false,
                served: 0,
                failed: 0,
            }
        };
        catalog.offers.iter().enumerate().map(&mut state).collect()
    }

    /// Neither ill nor recovering: it takes every call.
    pub(super) fn is_well(&self) -> bool {
        self.breaker.is_healthy() && self.cooldown.never()
    }

    /// What is estimated now.
    pub(super) fn read(&self, settings: &Settings, now: Now) -> Reading {
        self.estimate.read(&settings.estimate, now.mono)
    }

    /// What is estimated, as [`Fleet::freshen`](super::Fleet::freshen) left it.
    #[inline]
    pub(super) fn reading(&self) -> &Reading {
        self.estimate.reading()
    }

    /// The name of its state.
    pub(super) fn name(&self, now: Instant, settings: &health::Settings) -> &'static str {
        match self.breaker.name(now, settings) {
            "healthy" | "slow_start" if self.cooldown.until(now).is_some() => "cooldown",
            name => name,
        }
    }
}
