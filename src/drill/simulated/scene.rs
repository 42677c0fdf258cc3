//! From a script to a world: what happens to pools and routers, and how the world differs in a negative control.

use std::sync::Arc;

use crate::domain::{Duration, Instant, Lease, OfferId, Tenure, Timestamp};
use crate::drill::script::{Drill, Fault, Script, Step, Target};
use crate::engine::Settings;
use crate::engine::draw::mix;
use crate::sim::pools::{Hazard, Hazardous};
use crate::sim::world::{Deed, What};
use crate::sim::{Setup, Traffic, plan, size};

/// How a drill is played this time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Take {
    /// Of traffic and draws.
    pub seed: u64,
    /// Without what the control lacks.
    pub control: bool,
}

/// A world, and what is done to it.
pub(super) struct Scene {
    pub(super) setup: Setup,
    pub(super) deeds: Vec<Deed>,
    surges: Vec<(Instant, Duration, f64)>,
}

/// Sets the draws of a surge apart from all others of the same seed.
const SURGE: u64 = 0x0073_7572_6765;

/// Within this the rate of calls is what pools must be able to take: shorter bursts wait a moment.
const BUSIEST: Duration = Duration::from_secs(10);

impl Scene {
    pub(super) fn of(drill: &Drill, script: &Script, take: Take) -> Self {
        let mut setup = plan::setup(&drill.config);
        setup.routers.count = script.routers;
        let mut deeds = Vec::new();
        if let Some(control) = script.control.as_ref().filter(|_| take.control) {
            if control.no_failover {
                let retry = &mut setup.routing.retry;
                (retry.attempts, retry.attempts_max, retry.floor, retry.share) = (1, 1, 0, 0.0);
            }
            if control.no_breakers {
                let health = &mut setup.routing.health;
                (health.local_failures, health.failures, health.success_ratio) = (u8::MAX, u8::MAX, 0.0);
                (health.ejection, health.ejection_max) = (Duration::ZERO, Duration::ZERO);
            }
            setup.routers.count = control.routers.unwrap_or(setup.routers.count);
            let gone = |pool: &crate::domain::PoolId| Deed { at: Instant::START, what: What::Drains(*pool) };
            deeds.extend(control.without.iter().map(gone));
        }
        let mut scene = Self { setup, deeds, surges: Vec::new() };
        for (no, step) in script.steps.iter().enumerate() {
            scene.add(script, no, step);
        }
        scene.deeds.sort_by_key(|deed| deed.at);
        scene
    }

    fn add(&mut self, script: &Script, no: usize, step: &Step) {
        let ends = step.ends.unwrap_or(Instant::NEVER);
        let target = step.target.and_then(|target| script.targets.get(target));
        let mut between = |begin: What, end: What| {
            self.deeds.push(Deed { at: step.at, what: begin });
            if !ends.is_never() {
                self.deeds.push(Deed { at: ends, what: end });
            }
        };
        match (step.fault, target) {
            (Fault::Surge(factor), _) => self.surges.push((step.at, ends.since(step.at), factor)),
            (Fault::Restart { router, grace }, _) => {
                between(What::Stops { router, grace }, What::Starts(router));
            }
            (Fault::Crash { router }, _) => between(What::Dies(router), What::Starts(router)),
            (Fault::Drain, Some(target)) => between(What::Drains(target.pool), What::Resumes(target.pool)),
            (Fault::LeaseEnds, Some(target)) => self.lease_ends(target, step.at),
            (Fault::Slow(_), Some(target)) => {
                let slows = |at: Instant| What::Slows {
                    pool: target.pool,
                    endpoints: target.endpoints.clone(),
                    factor: slowness(&script.steps, step.target, at),
                };
                between(slows(step.at), slows(ends));
            }
            (fault, Some(target)) => {
                if let Some(hazard) = hazard(fault) {
                    let (pool, endpoints, id) = (target.pool, target.endpoints.clone(), no as u32);
                    between(What::Begins(Hazardous { id, pool, endpoints, hazard }), What::Ends(id));
                }
            }
            (_, None) => {}
        }
    }

    /// The router knows its contracts: the end of one is in its config.
    fn lease_ends(&mut self, target: &Target, at: Instant) {
        let millis = self.setup.start.as_millis() + at.as_nanos() / 1_000_000;
        let until = Timestamp::from_millis(millis);
        let mut catalog = size::copy(&self.setup.catalog);
        let pool = target.pool.index();
        let ends = |lease: Option<Lease>| {
            let lease = lease.unwrap_or_default();
            Some(Lease { until: Some(lease.until.map_or(until, |known| known.min(until))), ..lease })
        };
        catalog.pools[pool].lease = ends(catalog.pools[pool].lease);
        let door = &mut self.setup.pools[pool].door;
        door.lease = ends(door.lease);
        self.setup.catalog = Arc::new(catalog);
    }

    /// The calls with their surges.
    pub(super) fn surged(&self, calls: &Traffic, seed: u64) -> Traffic {
        let mut calls = calls.clone();
        for (no, (at, length, factor)) in self.surges.iter().enumerate() {
            calls = calls.surge(*at, *length, *factor, mix(mix(seed, SURGE), no as u64));
        }
        calls
    }
}

/// How slow a target is then: factors multiply.
fn slowness(steps: &[Step], target: Option<usize>, at: Instant) -> f64 {
    let on = |step: &&Step| step.target == target && step.at <= at && step.ends.is_none_or(|ends| at < ends);
    let factor = |step: &Step| if let Fault::Slow(factor) = step.fault { factor } else { 1.0 };
    steps.iter().filter(on).map(factor).product()
}

const fn hazard(fault: Fault) -> Option<Hazard> {
    Some(match fault {
        Fault::Kill => Hazard::Killed,
        Fault::Refuse => Hazard::Refuses,
        Fault::Error { share, status } => Hazard::Fails { share, status, retry_after: None },
        Fault::RateLimit { share, retry_after } => Hazard::Fails { share, status: 429, retry_after },
        Fault::Hang => Hazard::Hangs,
        Fault::Stall { share, after } => Hazard::Stalls { share, after },
        Fault::Truncate { share, after } => Hazard::Truncates { share, after },
        Fault::DnsGone => Hazard::Unresolved,
        Fault::TlsExpired => Hazard::Untrusted,
        Fault::ContactLost => Hazard::OutOfContact,
        Fault::Slow(_)
        | Fault::LeaseEnds
        | Fault::Drain
        | Fault::Surge(_)
        | Fault::Restart { .. }
        | Fault::Crash { .. } => return None,
    })
}

/// What the pools that are no targets can take, over what comes in the busiest ten seconds: by the prefill and decode
/// seconds of owned engines, and by the limits of providers. A pool that is only there at times does not count.
pub fn headroom(drill: &Drill, calls: &Traffic) -> Option<f64> {
    let setup = plan::setup(&drill.config);
    let n = calls.arrivals.len() as f64;
    let first = calls.arrivals.first()?;
    let busiest = calls.peak(BUSIEST);
    let within = calls.arrivals.iter().filter(|a| a.at >= busiest && a.at < busiest + BUSIEST).count();
    let demand = within as f64 / BUSIEST.as_secs_f64();
    let mean = |of: &dyn Fn(&crate::sim::Arrival) -> f64| calls.arrivals.iter().map(of).sum::<f64>() / n;
    let (input, output) = (mean(&|a| f64::from(a.input)), mean(&|a| f64::from(a.output)));
    let mut left = setup.clone();
    let mut providers = 0.0;
    for (i, pool) in setup.catalog.pools.iter().enumerate() {
        let serves = |o: &&OfferId| setup.catalog.offer(**o).pool.index() == i;
        let offered = setup.catalog.model(first.model).offers.iter().any(|o| serves(&o));
        let lost = lost(&drill.script, i, setup.pools[i].engines.len());
        let mut at = 0;
        left.pools[i].engines.retain(|_| {
            at += 1;
            offered && pool.contact.is_none() && !lost.contains(&(at - 1))
        });
        if pool.tenure == Tenure::Metered && !left.pools[i].engines.is_empty() {
            let grants = setup.pools[i].door.grants;
            let per_s = |limit: Option<u32>, each: f64| limit.map(|limit| f64::from(limit) / 60.0 / each);
            let jobs = left.pools[i].engines.iter().map(|engine| at_once(engine, input, output)).sum();
            let limits = [
                per_s(grants.requests_per_minute, 1.0),
                per_s(grants.tokens_per_minute, input + output),
                Some(jobs),
            ];
            providers += limits.into_iter().flatten().fold(f64::INFINITY, f64::min);
        }
    }
    let span_s = calls.arrivals.last()?.at.as_secs_f64();
    let own = size::load(&left, calls).filter(|load| *load > 0.0).map_or(0.0, |load| n / span_s / load);
    (demand > 0.0).then(|| (own + providers) / demand)
}

/// Calls a second of an engine that nobody looks into.
fn at_once(engine: &Settings, input: f64, output: f64) -> f64 {
    match engine {
        Settings::Opaque(o) => {
            f64::from(o.max_jobs) / (o.ttft_median_s + o.prefill_token_s * input + o.tpot_s * output)
        }
        Settings::Batching(b) => {
            let hold = b.speed.prefill_s(input as u32, input as u32) + b.speed.step_s(b.max_batch) * output;
            f64::from(b.max_batch) / hold
        }
    }
}

/// Endpoints of a pool that steps are about.
fn lost(script: &Script, pool: usize, count: usize) -> Vec<usize> {
    let of = |target: &Target| match &target.endpoints[..] {
        [] => (0..count).collect::<Vec<_>>(),
        some => some.to_vec(),
    };
    let mine = script.targets.iter().filter(|target| target.pool.index() == pool);
    mine.flat_map(of).collect()
}
