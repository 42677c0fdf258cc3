//! The state of all pools, offers and endpoints, folded from events; answers what to do with a call now.
//!
//! One plain struct, driven under one lock by `flow` and without any by a simulator. It brings `policy`, `health`,
//! `limit` and `estimate` together; they do not know each other. It reads no clock and draws no chance of its own:
//! jitter in events without an RNG comes from the call's id.

mod account;
mod adopt;
mod again;
pub mod brownout;
mod decide;
pub mod decision;
pub mod explain;
mod heard;
mod line;
mod prefixes;
mod record;
mod rivals;
mod sessions;
mod settings;
mod state;
pub mod status;
mod supply;
mod survey;
mod watch;

pub use decision::{AttemptEnd, Decision, Dispatch, Reason, Ticket, Transition, Tried, Turn};
pub use explain::Explanation;
pub use line::Crowded;
pub use settings::Settings;
pub use status::FleetStatus;

use std::sync::Arc;

use self::brownout::Brownout;
use self::prefixes::Prefixes;
use self::sessions::Sessions;
use self::state::{Endpoint, OfferState, PoolState};
use self::survey::Survey;
use crate::domain::{Address, Catalog, ClassId, EndpointId, Instant, Now, PoolId, Timestamp};
use crate::estimate::tokens::Outputs;
use crate::limit::{RetryBudgets, Suspects};
use crate::policy::promise::Promise;
use crate::policy::rival::Memory;
use crate::policy::shadow::Level;
use crate::queue::Queue;

/// See the module.
#[derive(Debug)]
pub struct Fleet {
    catalog: Arc<Catalog>,
    settings: Settings,
    /// By pool id.
    pools: Vec<PoolState>,
    /// By offer id.
    offers: Vec<OfferState>,
    /// Output tokens of a choice, by model and class: what comes out depends on what is asked, not on who answers.
    outputs: Vec<Outputs>,
    /// By class; nothing for those that promise nothing.
    promises: Vec<Option<Promise>>,
    retries: RetryBudgets,
    /// Requests that lose their connections.
    suspects: Suspects,
    brownout: Brownout,
    sessions: Sessions,
    /// What a slot-second of own capacity saves elsewhere.
    level: Level,
    /// Any pool has grants that can be used up.
    limited: bool,
    /// Until then the prices at hand are those of the hour.
    prices_until: Timestamp,
    next_endpoint: u32,
    /// Grows with every change that may let a call go that could not.
    generation: u64,
    /// Calls that wait for room.
    line: Queue,
    /// How many wait for a better price.
    deferred: usize,
    /// Kept between decisions so that they need no allocation.
    scratch: Survey,
    /// What a rival's rule remembers, where one chooses.
    rivals: Option<Box<Memory>>,
    prefixes: Prefixes,
}

impl Fleet {
    /// All pools healthy and unknown, no endpoints yet.
    pub fn new(catalog: Arc<Catalog>, settings: Settings, now: Now) -> Self {
        let mut pools = PoolState::of(&catalog, &settings.estimate, now);
        if settings.choice.hearsay_only {
            pools.iter_mut().for_each(PoolState::believe_hearsay_only);
        }
        let limited = pools.iter().any(|p| !p.granted.boundless());
        let offers = OfferState::of(&catalog, &settings, now.mono);
        let outputs = vec![Outputs::new(&settings.estimate); catalog.models.len() * catalog.classes.len()];
        let promises = promises(&catalog);
        let sessions = Sessions::new(settings.session_ttl);
        let rivals = rivals::memory(&settings, offers.len(), now);
        let line = Queue::new(&catalog, settings.queue);
        let retries = RetryBudgets::new(catalog.tenants.len());
        let mut fleet = Self {
            catalog,
            settings,
            pools,
            offers,
            outputs,
            promises,
            retries,
            suspects: Suspects::default(),
            brownout: Brownout::default(),
            sessions,
            level: Level::new(&settings.choice.shadow),
            limited,
            prices_until: Timestamp::default(),
            next_endpoint: 0,
            generation: 0,
            line,
            deferred: 0,
            scratch: Survey::default(),
            rivals,
            prefixes: Prefixes::default(),
        };
        fleet.reprice(now);
        fleet
    }

    /// The endpoints of a pool are now these: new ones join, missing ones leave (their calls go on), the rest keep
    /// their state.
    pub fn set_endpoints(&mut self, pool: PoolId, addresses: &[Arc<Address>], now: Now) {
        let Some(state) = self.pools.get_mut(pool.index()) else { return };
        for endpoint in &mut state.endpoints {
            endpoint.leaving = !addresses.contains(&endpoint.address);
        }
        for address in addresses {
            if !state.endpoints.iter().any(|e| e.address == *address) {
                let id = EndpointId(self.next_endpoint);
                self.next_endpoint = self.next_endpoint.wrapping_add(1);
                state.add(id, address);
            }
        }
        state.tidy();
        state.best = 0;
        state.recount(now.mono, &self.settings.health);
        state.limit();
        state.in_flight.holds(state.all_slots());
        self.forget_prefixes();
        self.news(pool, now.mono);
    }

    /// What endpoints hold that are gone.
    fn forget_prefixes(&mut self) {
        self.prefixes.retain(|id, _| self.pools.iter().any(|p| p.endpoint(id).is_some()));
    }

    /// No new calls to the pool until [`Self::resume`]; those under way finish.
    pub fn drain(&mut self, pool: PoolId, now: Now) -> Vec<Transition> {
        if self.pools.get(pool.index()).is_none_or(|p| p.drained) {
            return Vec::new();
        }
        let from = self.pool_status(pool, now).state;
        self.pools[pool.index()].drained = true;
        vec![pool_transition(pool, from, "drained", "an operator drained it")]
    }

    /// Undoes [`Self::drain`]: the pool comes back with a slow start.
    pub fn resume(&mut self, pool: PoolId, now: Now) -> Vec<Transition> {
        let Some(state) = self.pools.get_mut(pool.index()).filter(|p| p.drained) else { return Vec::new() };
        state.drained = false;
        state.granted.restored();
        for &offer in &state.offers {
            self.offers[offer.index()].breaker.slow_start(now.mono, &self.settings.health);
        }
        self.news(pool, now.mono);
        vec![pool_transition(pool, "drained", "slow_start", "an operator resumed it")]
    }

    /// Requests that lose their connections. Empty but in trouble.
    pub fn suspects(&mut self) -> &mut Suspects {
        &mut self.suspects
    }

    /// What everything hangs on: ids mean something only with it.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// What was set.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Says what time alone has changed since it was last asked: ejections and cooldowns that ended, slow starts that
    /// are complete. For logs and metrics; it changes no decision. Twice a second is often enough.
    pub fn tick(&mut self, now: Now) -> Vec<Transition> {
        if now.wall >= self.prices_until {
            self.reprice(now);
        }
        self.settle_all(now.mono)
    }

    fn promise(&self, class: ClassId) -> Option<&Promise> {
        self.promises.get(class.index())?.as_ref()
    }

    /// A call of the class was in time, or was not.
    fn kept(&mut self, class: ClassId, in_time: bool) {
        if let Some(Some(promise)) = self.promises.get_mut(class.index()) {
            promise.observe(!in_time);
        }
    }

    fn output_index(&self, facts: &crate::domain::CallFacts) -> usize {
        facts.model.index() * self.catalog.classes.len() + facts.class.index()
    }
}

/// What the classes promise.
fn promises(catalog: &Catalog) -> Vec<Option<Promise>> {
    catalog.classes.iter().map(|class| class.in_time.map(Promise::new)).collect()
}

fn pool_transition(pool: PoolId, from: &'static str, to: &'static str, reason: &str) -> Transition {
    Transition { pool, offer: None, endpoint: None, from, to, reason: reason.to_owned() }
}

/// A number between 0 and 1 that depends on nothing but the arguments (SplitMix64's finaliser): jitter that replays.
fn jitter(seed: u64, at: Instant) -> f64 {
    let mut z = seed ^ at.as_nanos().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests;
