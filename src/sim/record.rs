//! Writes down what came of a run, as it comes.

use super::energy::Bills;
use super::pools::{PoolSettings, Pools};
use super::{ClassTally, PoolTally, Sample, Tally};
use crate::call::{AttemptResult, Record};
use crate::domain::{
    CallFacts, Catalog, ClassId, Duration, Ending, FailureKind, Instant, Now, PoolId, Tenure, Timestamp,
};
use crate::engine::Settings;

/// Samples over a run: what a plot can show.
const SAMPLES: u32 = 300;

/// See the module.
#[derive(Debug)]
pub(super) struct Recorder {
    tally: Tally,
    every: Duration,
    next_sample: Instant,
    offered: u32,
    met: Vec<u32>,
    missed: Vec<u32>,
    usd: f64,
    usd_at_sample: f64,
    energy: Bills,
    last: Instant,
}

impl Recorder {
    /// Of a run whose traffic ends then, and that begins at `start` by the clock on the wall.
    pub(super) fn new(catalog: &Catalog, end: Instant, start: Timestamp) -> Self {
        let class = |c: &crate::domain::Class| ClassTally { miss_usd: c.miss_usd, ..ClassTally::default() };
        let tally = Tally {
            classes: catalog.classes.iter().map(class).collect(),
            pools: vec![
                PoolTally { late: vec![0; catalog.classes.len()], ..PoolTally::default() };
                catalog.pools.len()
            ],
            ..Tally::default()
        };
        // A sample a second is as fine as the shortest run needs.
        let every = (end.since(Instant::START) / SAMPLES).max(Duration::from_secs(1));
        let none = vec![0; catalog.classes.len()];
        Self {
            tally,
            every,
            next_sample: Instant::START,
            offered: 0,
            met: none.clone(),
            missed: none,
            usd: 0.0,
            usd_at_sample: 0.0,
            energy: Bills::new(catalog, start),
            last: Instant::START,
        }
    }

    /// Time passes: what engines did since is billed at the prices that held.
    pub(super) fn passed(&mut self, pools: &Pools, now: Now) {
        for (pool, usd) in self.energy.due(pools, now) {
            self.tally.pools[pool.index()].usd += usd;
            self.usd += usd;
        }
    }

    /// A call comes. `snapshot` tells how things stand: calls in flight and slot price by pool, and calls that wait.
    pub(super) fn arrived(
        &mut self,
        class: ClassId,
        at: Instant,
        snapshot: impl FnOnce() -> (Vec<u32>, Vec<f64>, u32),
    ) {
        self.tally.classes[class.index()].offered += 1;
        self.offered += 1;
        if at < self.next_sample {
            return;
        }
        let (in_flight, slot_usd, waiting) = snapshot();
        let none = vec![0; self.met.len()];
        self.tally.samples.push(Sample {
            at,
            in_flight,
            slot_usd,
            waiting,
            offered: std::mem::take(&mut self.offered),
            met: std::mem::replace(&mut self.met, none.clone()),
            missed: std::mem::replace(&mut self.missed, none),
            usd: self.usd - std::mem::replace(&mut self.usd_at_sample, self.usd),
        });
        while self.next_sample <= at {
            self.next_sample = self.next_sample + self.every;
        }
    }

    /// When the last call was over.
    pub(super) const fn last(&self) -> Instant {
        self.last
    }

    /// A call is over.
    pub(super) fn closed(&mut self, facts: &CallFacts, record: &Record, catalog: &Catalog) {
        for attempt in &record.attempts {
            let pool = &mut self.tally.pools[attempt.pool.index()];
            pool.attempts += 1;
            match attempt.result {
                AttemptResult::Ok => pool.answered += 1,
                AttemptResult::Failed(kind) => {
                    pool.failed += 1;
                    let limited = matches!(kind, FailureKind::RateLimited | FailureKind::QuotaExhausted);
                    pool.limited += u64::from(limited);
                }
                AttemptResult::Cancelled => {}
            }
            let usage = &attempt.usage;
            let counts = [usage.input.saturating_sub(usage.cached), usage.cached, usage.output];
            for (sum, n) in pool.tokens.iter_mut().zip(counts) {
                *sum += n;
            }
            let usd = attempt.cost.as_dollars();
            pool.usd += usd;
            self.usd += usd;
        }
        let closed = record.closed.unwrap_or(facts.arrived);
        self.last = self.last.max(closed);
        let class = catalog.class(facts.class);
        let tally = &mut self.tally.classes[facts.class.index()];
        let ttft = record.committed.map(|at| at.since(facts.arrived));
        if let (Some(ttft), Some(Ending::Ok)) = (ttft, record.ending) {
            tally.ttft_ms.push((ttft.as_secs_f64() * 1e3) as f32);
        }
        let finish = closed.since(facts.arrived);
        let late = class.ttft_target.zip(ttft).is_some_and(|(target, took)| took > target)
            || class.finish_target.is_some_and(|target| finish > target);
        let met = match record.ending {
            Some(Ending::Ok) if late => {
                tally.late += 1;
                if let Some(last) = record.attempts.last() {
                    self.tally.pools[last.pool.index()].late[facts.class.index()] += 1;
                }
                false
            }
            Some(Ending::Ok) => {
                tally.met += 1;
                true
            }
            Some(Ending::Broken) => {
                tally.cut += 1;
                false
            }
            Some(Ending::Refused | Ending::Failed | Ending::ClientGone) | None => {
                tally.rejected += 1;
                false
            }
        };
        let counts = if met { &mut self.met } else { &mut self.missed };
        counts[facts.class.index()] += 1;
    }

    /// The run is over; [`Self::passed`] was told so.
    pub(super) fn finish(
        mut self,
        catalog: &Catalog,
        settings: &[PoolSettings],
        pools: &Pools,
        seed: u64,
    ) -> Tally {
        let length_s = self.last.as_secs_f64().max(1e-9);
        for (i, (tally, settings)) in self.tally.pools.iter_mut().zip(settings).enumerate() {
            let id = PoolId(i as u16);
            let meter = pools.meter(id, self.last);
            tally.energy_j = meter.energy_j;
            let seats: u32 = settings.engines.iter().map(seats).sum();
            if catalog.pool(id).tenure == Tenure::Owned && seats > 0 {
                tally.slot_share = Some(meter.seat_s / (f64::from(seats) * length_s));
                tally.prefill_share = Some(meter.prefill_s / (settings.engines.len() as f64 * length_s));
            }
        }
        let endpoints = |id: PoolId| settings[id.index()].engines.len();
        for (id, joules) in self.energy.joules(endpoints, length_s) {
            self.tally.pools[id.index()].energy_j = joules;
        }
        self.tally.seed = seed;
        self.tally.length = self.last.since(Instant::START);
        self.tally
    }
}

fn seats(engine: &Settings) -> u32 {
    match engine {
        Settings::Batching(b) => b.max_batch,
        Settings::Opaque(_) => 0,
    }
}
