//! What a little more of something is worth, and what another price of misses would change: ours, run again.

use std::sync::Arc;

use super::Tally;
use super::crew::{Audience, Job};
use super::experiment::{Entrant, Experiment, job};
use super::report::{CapacityValue, FrontierPoint};
use super::size::{address, copy};
use super::traffic::BadTraffic;
use super::world::{Blow, Setup};
use crate::domain::{Grants, Tenure, Usd};

/// Prices of misses on the frontier, as multiples of the config's.
const MISS_PRICES: [f64; 5] = [0.1, 0.3, 1.0, 3.0, 10.0];

/// More of one thing.
struct More {
    what: String,
    setup: Setup,
    /// Dollars an hour by the prices of the run; not a number where none was kept.
    shadow_usd_per_hour: f64,
}

impl Experiment {
    /// One more engine of each owned pool, and a tenth more of each contract: dollars an hour that J falls by, as a
    /// mean over the seeds. `runs` are ours without.
    pub fn capacity(
        &self,
        ours: &Entrant,
        runs: &[Tally],
        audience: &mut dyn Audience,
    ) -> Result<Vec<CapacityValue>, BadTraffic> {
        let mine: Vec<&Tally> = runs.iter().filter(|run| run.policy == ours.name).collect();
        let mores: Vec<More> = (0..self.setup.pools.len()).filter_map(|i| self.more(i, &mine)).collect();
        let jobs: Vec<Job> = (self.seeds.iter())
            .flat_map(|seed| mores.iter().map(|more| job(&ours.name, &more.setup, &ours.choice, *seed)))
            .collect();
        let played = self.play(&jobs, audience)?;
        let hours: f64 = mine.iter().map(|run| run.length.as_secs_f64() / 3600.0).sum();
        let before: f64 = mine.iter().map(|run| run.j()).sum();
        let value = |(i, more): (usize, More)| {
            let after: f64 =
                played.iter().skip(i).step_by(jobs.len() / self.seeds.len()).map(|p| p.tally.j()).sum();
            CapacityValue {
                what: more.what,
                shadow_usd_per_hour: more.shadow_usd_per_hour,
                checked_usd_per_hour: (hours > 0.0).then(|| (before - after) / hours),
            }
        };
        Ok(mores.into_iter().enumerate().map(value).collect())
    }

    fn more(&self, i: usize, mine: &[&Tally]) -> Option<More> {
        let pool = &self.setup.catalog.pools[i];
        match pool.tenure {
            Tenure::Owned => {
                let slots = f64::from(pool.engine_prior.slots);
                Some(More {
                    what: format!("one more endpoint of {}", pool.name),
                    setup: with_engine(&self.setup, i)?,
                    shadow_usd_per_hour: slot_usd(mine, i) * slots * 3600.0,
                })
            }
            Tenure::Metered if pool.grants == Grants::default() => None,
            Tenure::Metered => Some(More {
                what: format!("10 % more of what {} grants", pool.name),
                setup: with_grants(&self.setup, i),
                shadow_usd_per_hour: f64::NAN,
            }),
        }
    }

    /// Dollars and attainment of ours as misses are priced lower or higher, on the first seed. `runs` are ours at the
    /// config's price: what is there is not played again.
    pub fn frontier(
        &self,
        ours: &Entrant,
        runs: &[Tally],
        audience: &mut dyn Audience,
    ) -> Result<Vec<FrontierPoint>, BadTraffic> {
        let Some(seed) = self.seeds.first() else { return Ok(Vec::new()) };
        let known = runs.iter().find(|run| run.policy == ours.name && run.seed == *seed);
        let known = |by: f64| known.filter(|_| by == 1.0);
        let unknown = MISS_PRICES.into_iter().filter(|by| known(*by).is_none());
        let priced = |by| job(&ours.name, &with_misses(&self.setup, by), &ours.choice, *seed);
        let jobs: Vec<Job> = unknown.map(priced).collect();
        let mut played = self.play(&jobs, audience)?.into_iter().map(|played| played.tally);
        let point = |by: f64| {
            let tally = known(by).cloned().or_else(|| played.next())?;
            let (usd, attainment) = (tally.usd(), tally.attainment());
            Some(FrontierPoint { label: format!("misses × {by}"), usd, attainment })
        };
        Ok(MISS_PRICES.into_iter().filter_map(point).collect())
    }
}

/// What a slot-second of that pool was worth on average over the samples of all runs.
fn slot_usd(runs: &[&Tally], pool: usize) -> f64 {
    let samples = || runs.iter().flat_map(|run| &run.samples).filter_map(|sample| sample.slot_usd.get(pool));
    samples().sum::<f64>() / (samples().count() as f64).max(1.0)
}

fn with_engine(setup: &Setup, i: usize) -> Option<Setup> {
    let mut pools = setup.pools.clone();
    let last = pools[i].engines.last().copied()?;
    let count = pools[i].engines.len();
    pools[i].engines.push(last);
    pools[i].addresses.push(address(&setup.catalog.pools[i].name, count));
    let mut catalog = copy(&setup.catalog);
    let known = &mut catalog.pools[i];
    known.max_in_flight = known.max_in_flight.map(|max| max + max / count.max(1) as u32);
    Some(Setup { catalog: Arc::new(catalog), pools, ..setup.clone() })
}

fn with_grants(setup: &Setup, i: usize) -> Setup {
    let more = |n: u32| n.saturating_add(n.div_ceil(10));
    let mut catalog = copy(&setup.catalog);
    let grants = &mut catalog.pools[i].grants;
    grants.requests_per_minute = grants.requests_per_minute.map(more);
    grants.tokens_per_minute = grants.tokens_per_minute.map(more);
    if let Some(quota) = &mut grants.quota {
        quota.tokens += quota.tokens / 10;
    }
    if let Some(budget) = &mut grants.budget {
        budget.usd += Usd::from_nanos(budget.usd.as_nanos() / 10);
    }
    let mut pools = setup.pools.clone();
    let grants = *grants;
    pools[i].door.grants = grants;
    let mut faults = setup.faults.clone();
    for fault in faults.iter_mut().filter(|fault| fault.pool.index() == i) {
        if let Blow::Door(door) = &mut fault.what {
            door.grants = grants;
        }
    }
    Setup { catalog: Arc::new(catalog), pools, faults, ..setup.clone() }
}

fn with_misses(setup: &Setup, by: f64) -> Setup {
    let mut catalog = copy(&setup.catalog);
    catalog.classes.iter_mut().for_each(|class| class.miss_usd *= by);
    Setup { catalog: Arc::new(catalog), ..setup.clone() }
}
