//! What an experiment's policies are measured against: the certified bounds of its world, seed by seed.
//!
//! Here a world becomes the plain numbers that a bound is a bound of. Where the two cannot say the same, the bound's are
//! the more generous: quotas, limits of concurrency and deadlines are left out, so the number stays below what is possible.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::bound::{Class, Effort, Goal, Limit, Pool, System, TokenLimit, bound, latency_floor};
use super::experiment::Experiment;
use super::report::{Bound, Floor};
use super::traffic::{BadTraffic, Traffic};
use super::world::{Blow, Setup};
use crate::domain::{ClassId, Duration, Instant, PoolId, Tenure, Timestamp};
use crate::engine::{Draw, EnergyPrice};

/// The gate of a pool counts in whole nanoseconds a token, and so lets this much more through at most: one in the
/// 6,000 nanoseconds of a token at ten million tokens a minute.
const ROUNDED: f64 = 1.0 + 2e-4;

impl Experiment {
    /// One bound a seed; none where something gets faster than its engine is.
    pub fn bounds(&self) -> Result<Vec<Bound>, BadTraffic> {
        if self
            .setup
            .faults
            .iter()
            .any(|fault| matches!(fault.what, Blow::Slow { factor, .. } if factor < 1.0))
        {
            return Ok(Vec::new());
        }
        let next = AtomicUsize::new(0);
        let inner = self.threads / self.seeds.len().max(1);
        let work = || {
            let mut mine = Vec::new();
            while let Some((i, seed)) = taken(&self.seeds, next.fetch_add(1, Ordering::Relaxed)) {
                mine.push((i, self.traffic(seed).map(|traffic| of_seed(&self.setup, &traffic, seed, inner))));
            }
            mine
        };
        let mut bounds = thread::scope(|scope| {
            let threads = self.threads.clamp(1, self.seeds.len().max(1));
            let crew: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            // A thread that was lost has no results; the others do.
            crew.into_iter().filter_map(|one| one.join().ok()).flatten().collect::<Vec<_>>()
        });
        bounds.sort_by_key(|(i, _)| *i);
        bounds.into_iter().map(|(_, bound)| bound).collect()
    }
}

fn taken(seeds: &[u64], i: usize) -> Option<(usize, u64)> {
    seeds.get(i).map(|seed| (i, *seed))
}

fn of_seed(setup: &Setup, traffic: &Traffic, seed: u64, threads: usize) -> Bound {
    let system = system(setup, traffic);
    let effort = Effort { threads, ..Effort::of(traffic.arrivals.len()) };
    // Misses of a class with the others out of its way: what all classes miss is at least the sum.
    let missed = |id: usize| {
        let class = ClassId(id as u8);
        let calls = traffic.arrivals.iter().filter(|a| a.class == class).count() as f64;
        (bound(&system, traffic, Goal::Misses(Some(class)), &effort).value, calls)
    };
    let missed: Vec<(f64, f64)> = (0..system.classes.len()).map(missed).collect();
    let met = |missed: f64, calls: f64| 1.0 - missed / calls.max(1.0);
    let floors = latency_floor(&system, traffic);
    let floor = |class: &Class| {
        let floor = floors.iter().find(|floor| floor.class == class.name);
        let ms = |s: f64| s * 1e3;
        floor.map_or(Floor { p50_ms: f64::NAN, p99_ms: f64::NAN }, |f| Floor {
            p50_ms: ms(f.p50_s),
            p99_ms: ms(f.p99_s),
        })
    };
    Bound {
        seed,
        j: Some(bound(&system, traffic, Goal::Cost, &effort).value),
        goodput: Some(met(missed.iter().map(|m| m.0).sum(), traffic.arrivals.len() as f64)),
        goodput_by_class: missed.iter().map(|(missed, calls)| met(*missed, *calls)).collect(),
        floor: system.classes.iter().map(floor).collect(),
    }
}

/// The world as a bound knows it. The traffic says how large a single call gets.
pub(super) fn system(setup: &Setup, traffic: &Traffic) -> System {
    let largest =
        traffic.arrivals.iter().map(|a| u64::from(a.input) + u64::from(a.output)).max().unwrap_or(0);
    let pools = (0..setup.pools.len()).map(|i| pool(setup, PoolId(i as u16), largest));
    let catalog = &setup.catalog;
    let interrupted = setup.faults.iter().filter(|fault| {
        catalog.pool(fault.pool).tenure == Tenure::Metered && matches!(fault.what, Blow::Door(_))
    });
    let interrupted = interrupted.count() as u32;
    let class = |class: &crate::domain::Class| Class {
        name: Arc::clone(&class.name),
        first_token: class.ttft_target,
        finish: class.finish_target,
        miss_usd: class.miss_usd,
        tries: tries(setup, class) + interrupted,
    };
    System { pools: pools.collect(), classes: catalog.classes.iter().map(class).collect(), wall: setup.start }
}

/// Providers' draws that a call of the class may see in time: a try is given up no sooner than after the least patience.
fn tries(setup: &Setup, class: &crate::domain::Class) -> u32 {
    let routing = &setup.routing;
    let patience_s = routing.choice.first_token_min.min(class.deadline / 2).as_secs_f64();
    let target = class.ttft_target.or(class.finish_target).unwrap_or(class.deadline);
    let further = (target.as_secs_f64() / patience_s.max(1e-3)).ceil() - 1.0;
    1 + (further.max(0.0) as u32).min(routing.retry.attempts_max as u32 - 1)
}

fn pool(setup: &Setup, id: PoolId, largest: u64) -> Pool {
    let (known, played) = (setup.catalog.pool(id), &setup.pools[id.index()]);
    let grants = played.door.grants;
    let offers = setup.catalog.offers.iter().filter(|offer| offer.pool == id);
    let tokens = grants.tokens_per_minute.map(|rate| {
        let burst = f64::max(f64::from(rate / 6), largest as f64);
        TokenLimit { limit: Limit::per_minute(f64::from(rate) * ROUNDED, burst), output: true }
    });
    let slow = setup.faults.iter().filter(|fault| fault.pool == id).filter_map(|fault| match fault.what {
        Blow::Slow { factor, .. } => Some(factor),
        Blow::Door(_) => None,
    });
    Pool {
        name: Arc::clone(&known.name),
        tenure: known.tenure,
        engines: played.engines.clone(),
        delay: played.door.delay,
        offers: offers.map(|offer| (offer.model, offer.least_prices())).collect(),
        requests: grants.requests_per_minute.map(Limit::of_gate),
        tokens,
        contact: played.door.contact,
        energy: energy(known),
        down: down(setup, id).into_iter().chain(not_leased(setup, id)).collect(),
        slowest: slow.fold(1.0, f64::max),
    }
}

/// Before a lease begins and after it ends. Wall time has whole milliseconds: a lease may seem longer by one of them.
fn not_leased(setup: &Setup, id: PoolId) -> impl Iterator<Item = (Instant, Instant)> + use<> {
    let lease = setup.pools[id.index()].door.lease.unwrap_or_default();
    let start = setup.start.as_millis();
    let after =
        move |at: Timestamp| Instant::START + Duration::from_millis(at.as_millis().saturating_sub(start));
    let before = lease.from.map(|from| (Instant::START, after(from)));
    let over = lease.until.map(|until| (after(until) + Duration::from_millis(1), Instant::NEVER));
    before.into_iter().chain(over)
}

/// Energy at its cheapest hour.
fn energy(pool: &crate::domain::Pool) -> EnergyPrice {
    pool.power.as_ref().map_or_else(EnergyPrice::default, |power| {
        let slots = f64::from(pool.engine_prior.slots.max(1));
        Draw::of(power, slots).price(power.usd_per_mwh.least())
    })
}

/// When the pool refuses everything.
fn down(setup: &Setup, id: PoolId) -> Vec<(Instant, Instant)> {
    let mut since = setup.pools[id.index()].door.refuse.then_some(Instant::START);
    let mut down = Vec::new();
    for fault in setup.faults.iter().filter(|fault| fault.pool == id) {
        let Blow::Door(door) = &fault.what else { continue };
        match (since, door.refuse) {
            (None, true) => since = Some(fault.at),
            (Some(from), false) => {
                down.push((from, fault.at));
                since = None;
            }
            (None, false) | (Some(_), true) => {}
        }
    }
    down.extend(since.map(|from| (from, Instant::NEVER)));
    down
}
