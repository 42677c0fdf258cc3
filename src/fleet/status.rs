//! The fleet as plain data, for admin, `status` and metrics.

use std::sync::Arc;

use super::Fleet;
use super::brownout::Taken;
use super::state::PoolState;
use crate::domain::{EngineLoad, Now, PoolId, Prices, Tenure, Timestamp};

/// All of it.
#[derive(Clone, PartialEq, Debug)]
pub struct FleetStatus {
    /// In the order of the config.
    pub pools: Vec<PoolStatus>,
    /// How far it goes in sparing them: the steps that are taken, the mildest first.
    pub brownout: Vec<Taken>,
}

/// A pool.
#[derive(Clone, PartialEq, Debug)]
pub struct PoolStatus {
    /// Its name.
    pub name: Arc<str>,
    /// How it is paid for.
    pub tenure: Tenure,
    /// Where it is.
    pub region: Option<Arc<str>>,
    /// The one word: `leaving`, `drained`, `no_endpoints`, `no_lease`, `no_contact`, or the best state of its offers.
    pub state: &'static str,
    /// An operator drained it.
    pub drained: bool,
    /// Calls under way.
    pub in_flight: u32,
    /// Its limit on those.
    pub max_in_flight: Option<u32>,
    /// 1 is all slots busy; for owned pools.
    pub utilisation: Option<f64>,
    /// Dollars per slot-second that its capacity is worth now; for owned pools.
    pub scarcity_usd_per_s: Option<f64>,
    /// Watts that it draws by its model, cooling included; where that is known.
    pub watts: Option<f64>,
    /// What its site gives, in watts.
    pub max_watts: Option<f64>,
    /// When its lease ends.
    pub lease_ends: Option<Timestamp>,
    /// Attempts that gave a whole answer.
    pub served: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Its endpoints, in order of appearance.
    pub endpoints: Vec<EndpointStatus>,
    /// Its offers.
    pub offers: Vec<OfferStatus>,
}

/// An endpoint.
#[derive(Clone, PartialEq, Debug)]
pub struct EndpointStatus {
    /// Where it is.
    pub address: String,
    /// `healthy`, `ejected`, `probation`, `slow_start`, or `leaving`.
    pub state: &'static str,
    /// Calls under way.
    pub in_flight: u32,
    /// Seconds of prefill that this router sent and saw no first token of.
    pub work_s: f64,
    /// How busy it last said it is, and how many seconds ago.
    pub report: Option<(EngineLoad, f64)>,
}

/// An offer.
#[derive(Clone, PartialEq, Debug)]
pub struct OfferStatus {
    /// The model's name here.
    pub model: Arc<str>,
    /// `healthy`, `ejected`, `probation`, `slow_start`, `cooldown` or `disabled`.
    pub state: &'static str,
    /// Per token, at this hour.
    pub prices: Prices,
    /// Expected seconds to the first token of a prompt of 1024 tokens, without queueing.
    pub ttft_s: f64,
    /// Expected seconds per output token.
    pub tpot_s: f64,
    /// Probability that an attempt fails.
    pub p_err: f64,
    /// Attempts that gave a whole answer.
    pub served: u64,
    /// Attempts that failed.
    pub failed: u64,
}

/// What a table shows the time to first token of.
const TYPICAL_PROMPT: f64 = 1024.0;

impl Fleet {
    /// Real seconds of a nominal second of prefill in that pool, as its first offer has it: engines are the pool's, not the
    /// model's.
    pub(super) fn stretch(&self, pool: &PoolState, now: Now) -> f64 {
        let first = pool.offers.first().and_then(|o| self.offers.get(o.index()));
        first.map_or(1.0, |o| o.read(&self.settings, now).stretch)
    }

    /// Calls in flight and dollars per slot-second of every pool, in the order of the config.
    pub fn loads(&self, now: Now) -> impl Iterator<Item = (u32, f64)> {
        self.pools.iter().map(move |state| {
            let stretch = self.stretch(state, now);
            let shadow = state.shadow(stretch, self.level.usd(), &self.settings, now.mono);
            (state.in_flight.count(), shadow.slot_usd_per_s)
        })
    }

    /// How everything stands.
    pub fn status(&self, now: Now) -> FleetStatus {
        FleetStatus {
            pools: (0..self.pools.len()).map(|i| self.pool_status(PoolId(i as u16), now)).collect(),
            brownout: self.brownout(),
        }
    }

    /// Does any pool that is not drained have an endpoint that is not ejected? Cheap: a prober may ask often.
    pub fn serves(&self, now: Now) -> bool {
        let settings = &self.settings.health;
        let up = |e: &super::Endpoint| !e.leaving && e.name(now.mono, settings) != "ejected";
        self.pools.iter().any(|p| !p.drained && (p.troubled < p.present || p.endpoints.iter().any(up)))
    }

    pub(super) fn pool_status(&self, id: PoolId, now: Now) -> PoolStatus {
        let (pool, state) = (self.catalog.pool(id), &self.pools[id.index()]);
        let settings = &self.settings.health;
        let mut stretch = 1.0;
        let mut offers = Vec::with_capacity(state.offers.len());
        for offer in &state.offers {
            let (known, s) = (self.catalog.offer(*offer), &self.offers[offer.index()]);
            let read = s.read(&self.settings, now);
            stretch = read.stretch;
            let work = crate::estimate::nominal_work_s(&pool.engine_prior, TYPICAL_PROMPT, 0.0);
            offers.push(OfferStatus {
                model: Arc::clone(&self.catalog.model(known.model).name),
                state: s.name(now.mono, settings),
                prices: known.prices_at(now.wall).0,
                ttft_s: read.base_s + work * read.stretch,
                tpot_s: read.tpot_s,
                p_err: read.p_err,
                served: s.served,
                failed: s.failed,
            });
        }
        let endpoint = |e: &super::Endpoint| EndpointStatus {
            address: e.address.to_string(),
            state: if e.leaving { "leaving" } else { e.name(now.mono, settings) },
            in_flight: e.load.in_flight,
            work_s: e.load.backlog.work_s,
            report: e.report.map(|(load, at)| (load, now.mono.secs_since(at))),
        };
        let contact = pool.contact.is_none_or(|c| c.open(now.wall));
        let best = ["healthy", "slow_start", "probation", "cooldown", "ejected", "disabled"];
        let of_offers = best.into_iter().find(|s| offers.iter().any(|o| o.state == *s));
        let name = match () {
            () if !self.catalog.has_pool(id) => "leaving",
            () if state.drained => "drained",
            () if state.present == 0 => "no_endpoints",
            () if pool.lease.is_some_and(|lease| !lease.holds(now.wall)) => "no_lease",
            () if !contact => "no_contact",
            () => of_offers.unwrap_or("healthy"),
        };
        PoolStatus {
            name: Arc::clone(&pool.name),
            tenure: pool.tenure,
            region: pool.region.clone(),
            state: name,
            drained: state.drained,
            in_flight: state.in_flight.count(),
            max_in_flight: pool.max_in_flight,
            utilisation: state.owned.then(|| state.congestion(stretch, now.mono).slots),
            scarcity_usd_per_s: state
                .owned
                .then(|| state.shadow(stretch, self.level.usd(), &self.settings, now.mono).slot_usd_per_s),
            watts: state.watts(stretch, now.mono),
            max_watts: pool.power.as_ref().and_then(|p| p.max_w),
            lease_ends: pool.lease.and_then(|lease| lease.until),
            served: state.served,
            failed: state.failed,
            endpoints: state.endpoints.iter().map(endpoint).collect(),
            offers,
        }
    }
}
