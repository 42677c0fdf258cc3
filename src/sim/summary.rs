//! From runs to a report: what came in, what there was, what was played, and what must be said about it.

use super::Tally;
use super::experiment::{Entrant, Experiment};
use super::report::{
    Against, Bound, CapacityValue, ClassFacts, FrontierPoint, PoolFacts, Report, TrafficFacts,
};
use super::traffic::{Facts, Traffic};
use super::world::Setup;
use crate::domain::PoolId;
use crate::engine::Settings;

/// What a report says beyond the runs themselves.
#[derive(Clone, Debug, Default)]
pub struct Beyond {
    /// What no policy can beat.
    pub bounds: Vec<Bound>,
    /// What more would be worth.
    pub capacity: Vec<CapacityValue>,
    /// Ours as misses are priced otherwise.
    pub frontier: Vec<FrontierPoint>,
    /// The same policies under another config.
    pub against: Option<Against>,
}

impl Experiment {
    /// The report of these runs. `traffic` is that of the first seed.
    pub fn report(
        &self,
        config: &str,
        traffic: &Traffic,
        entrants: &[Entrant],
        runs: Vec<Tally>,
        beyond: Beyond,
    ) -> Report {
        let notes = self.notes(&beyond);
        Report {
            title: traffic.name.clone(),
            traffic: traffic_facts(traffic),
            config: config.to_owned(),
            load: self.load,
            pools: pool_facts(&self.setup),
            classes: class_facts(&self.setup),
            runs,
            bounds: beyond.bounds,
            tuning: entrants.iter().map(|e| e.tuning.clone()).collect(),
            frontier: beyond.frontier,
            capacity: beyond.capacity,
            against: beyond.against,
            notes,
        }
    }

    fn notes(&self, beyond: &Beyond) -> Vec<String> {
        let mut notes = vec![
            "Owned engines are models of continuous batching (prefill one prompt at a time, decode steps that grow with \
             the batch, room for keys and values, a prefix cache); providers are a log-normal time to the first token, \
             an even pace, and their limits. The router is the one that serves: its decisions, retries, breakers and \
             estimates are the same code in virtual time."
                .to_owned(),
            "The other policies are our own writing of their formulas. They choose among the same eligible pools, with \
             the same placement on endpoints, retries and health as ours, so that the comparison is about the choice."
                .to_owned(),
            "Prices, targets and the price of a miss are the config's. Clients do not retry and do not leave early; \
             what a call waits costs nothing in J until it misses its target."
                .to_owned(),
        ];
        if !self.setup.faults.is_empty() {
            notes.push(format!(
                "{} changes happen to pools; no policy knows of them beforehand.",
                self.setup.faults.len()
            ));
        }
        if beyond.bounds.is_empty() {
            notes.push("No bound was worked out for these runs.".to_owned());
        }
        notes
    }
}

fn traffic_facts(traffic: &Traffic) -> TrafficFacts {
    let facts = Facts::of(traffic);
    TrafficFacts {
        name: traffic.name.clone(),
        calls: facts.calls as u64,
        length: facts.span,
        mean_rps: facts.rate,
        peak_rps: facts.rate * facts.peak_minute,
        cv: facts.gap_cv,
        mean_input: facts.input.mean,
        mean_output: facts.output.mean,
    }
}

fn pool_facts(setup: &Setup) -> Vec<PoolFacts> {
    let facts = |(i, (pool, settings)): (usize, (&crate::domain::Pool, &super::PoolSettings))| {
        // Of several models the first: a table has room for one price.
        let first = setup.catalog.offers.iter().find(|offer| offer.pool == PoolId(i as u16));
        let prices = first.map(|offer| offer.prices);
        let slots = |engine: &Settings| match engine {
            Settings::Batching(b) => Some(b.max_batch),
            Settings::Opaque(_) => None,
        };
        let slots: Option<Vec<u32>> = settings.engines.iter().map(slots).collect();
        PoolFacts {
            name: pool.name.to_string(),
            tenure: pool.tenure,
            input_usd_per_million: prices.map_or(0.0, |p| p.input.dollars_per_million()),
            output_usd_per_million: prices.map_or(0.0, |p| p.output.dollars_per_million()),
            endpoints: slots.as_ref().map_or(0, |slots| slots.len() as u32),
            slots: slots.map_or(0, |slots| slots.iter().sum()),
        }
    };
    setup.catalog.pools.iter().zip(&setup.pools).enumerate().map(facts).collect()
}

fn class_facts(setup: &Setup) -> Vec<ClassFacts> {
    let facts = |class: &crate::domain::Class| ClassFacts {
        name: class.name.to_string(),
        ttft_target: class.ttft_target,
        finish_target: class.finish_target,
        miss_usd: class.miss_usd,
    };
    setup.catalog.classes.iter().map(facts).collect()
}
