//! The runs of one policy as the few numbers that all three tellings use, so that they cannot disagree.

use super::{Bound, OURS, Report};
use crate::domain::Tenure;
use crate::sim::{PoolTally, Tally};

/// A figure over several seeds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Spread {
    pub(super) mean: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Spread {
    /// Absent when there is no finite number.
    pub(super) fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Self> {
        let (mut sum, mut n, mut min, mut max) = (0.0, 0_u32, f64::INFINITY, f64::NEG_INFINITY);
        for x in numbers.into_iter().filter(|x| x.is_finite()) {
            sum += x;
            n += 1;
            min = f64::min(min, x);
            max = f64::max(max, x);
        }
        (n > 0).then(|| Self { mean: sum / f64::from(n), min, max })
    }

    /// Half of the way from the least to the most.
    pub(super) fn half(&self) -> f64 {
        (self.max - self.min) / 2.0
    }
}

/// What came of one policy, over its seeds.
#[derive(Clone, Debug)]
pub(super) struct Digest<'a> {
    pub(super) policy: &'a str,
    pub(super) runs: Vec<&'a Tally>,
    pub(super) usd: Spread,
    pub(super) miss_usd: Spread,
    pub(super) j: Spread,
    pub(super) attainment: Spread,
    /// Of the class that waits least patiently.
    pub(super) lead_attainment: Option<Spread>,
    pub(super) lead_p50_ms: Option<Spread>,
    pub(super) lead_p99_ms: Option<Spread>,
    pub(super) rejected: Spread,
    pub(super) owned_use: Option<Spread>,
    pub(super) bound: Option<Spread>,
    /// J over the bound, for the seeds that have one.
    pub(super) regret: Option<Spread>,
}

impl Digest<'_> {
    pub(super) fn is_ours(&self) -> bool {
        self.policy == OURS
    }

    /// Ours with a part taken out.
    pub(super) fn is_ablation(&self) -> bool {
        self.policy.strip_prefix(OURS).is_some_and(|rest| rest.starts_with('-'))
    }

    /// Milliseconds to the first token of a class, as a mean over seeds.
    pub(super) fn ttft_ms(&self, class: usize, q: f64) -> Option<Spread> {
        Spread::of(self.runs.iter().filter_map(|run| run.classes.get(class)?.ttft_quantile(q)))
    }

    /// The run that is shown over time: the first seed.
    pub(super) fn shown(&self) -> Option<&Tally> {
        self.runs.first().copied()
    }
}

impl Report {
    /// One for each policy: ours first, then as the runs come.
    pub(super) fn digests(&self) -> Vec<Digest<'_>> {
        self.digests_of(&self.runs)
    }

    /// The same of other runs.
    pub(super) fn digests_of<'a>(&self, runs: &'a [Tally]) -> Vec<Digest<'a>> {
        let mut names: Vec<&str> = Vec::new();
        for run in runs {
            if !names.contains(&run.policy.as_str()) {
                names.push(&run.policy);
            }
        }
        names.sort_by_key(|name| *name != OURS);
        names.into_iter().filter_map(|name| self.digest(name, runs)).collect()
    }

    fn digest<'a>(&self, policy: &'a str, all: &'a [Tally]) -> Option<Digest<'a>> {
        let runs: Vec<&Tally> = all.iter().filter(|run| run.policy == policy).collect();
        let lead = self.lead_class();
        let over = |f: &dyn Fn(&Tally) -> Option<f64>| Spread::of(runs.iter().filter_map(|run| f(run)));
        let unknown = Spread { mean: f64::NAN, min: f64::NAN, max: f64::NAN };
        let always = |f: &dyn Fn(&Tally) -> f64| over(&|run| Some(f(run))).unwrap_or(unknown);
        let ttft = |q: f64| over(&|run| run.classes.get(lead)?.ttft_quantile(q));
        let bound = |run: &Tally| self.bound(run.seed)?.j;
        Some(Digest {
            policy,
            usd: always(&Tally::usd),
            miss_usd: always(&|run| run.j() - run.usd()),
            j: always(&Tally::j),
            attainment: always(&Tally::attainment),
            lead_attainment: over(&|run| Some(run.classes.get(lead)?.attainment())),
            lead_p50_ms: ttft(0.5),
            lead_p99_ms: ttft(0.99),
            rejected: always(&|run| run.rejected() as f64),
            owned_use: over(&|run| self.owned_use(run)),
            bound: over(&bound),
            regret: over(&|run| Some(run.j() - bound(run)?)),
            runs,
        })
        .filter(|digest| !digest.runs.is_empty())
    }

    /// The best of those that are not ours, by J. An ablation of ours is no other.
    pub(super) fn best_other<'d, 'a>(&self, digests: &'d [Digest<'a>]) -> Option<&'d Digest<'a>> {
        let others = digests.iter().filter(|d| !d.is_ours() && !d.is_ablation());
        others.min_by(|a, b| a.j.mean.total_cmp(&b.j.mean))
    }

    /// The bound that was worked out for that seed.
    pub(super) fn bound(&self, seed: u64) -> Option<&Bound> {
        self.bounds.iter().find(|bound| bound.seed == seed)
    }

    /// The class whose first token is told in tables: `interactive`, or the first.
    pub(super) fn lead_class(&self) -> usize {
        self.classes.iter().position(|class| class.name == "interactive").unwrap_or(0)
    }

    /// Its name.
    pub(super) fn lead_name(&self) -> &str {
        self.classes.get(self.lead_class()).map_or("calls", |class| &class.name)
    }

    /// How much of the scarcer of owned slot-seconds and prefill seconds was used; absent when nothing is owned.
    pub(super) fn owned_use(&self, run: &Tally) -> Option<f64> {
        let owned = || self.pools.iter().zip(&run.pools).filter(|(pool, _)| pool.tenure == Tenure::Owned);
        let slots = owned().filter_map(|(pool, tally)| Some((pool.slots, tally.slot_share?)));
        let prefill = owned().filter_map(|(pool, tally)| Some((pool.endpoints, tally.prefill_share?)));
        scarcer(weighted(slots), weighted(prefill))
    }
}

/// What a pool did, as a mean over seeds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct PoolRow {
    pub(super) answered: f64,
    pub(super) usd: f64,
    pub(super) limited: f64,
    pub(super) failed: f64,
    /// Of the scarcer of slot-seconds and prefill seconds.
    pub(super) used: Option<f64>,
}

impl Report {
    /// By [`PoolId`](crate::domain::PoolId).
    pub(super) fn pool_rows(&self, digest: &Digest<'_>) -> Vec<PoolRow> {
        let row = |at: usize| {
            let tallies = || digest.runs.iter().filter_map(|run| run.pools.get(at));
            let mean = |f: &dyn Fn(&PoolTally) -> f64| {
                Spread::of(tallies().map(f)).map_or(0.0, |spread| spread.mean)
            };
            let shares = tallies().filter_map(|tally| scarcer(tally.slot_share, tally.prefill_share));
            PoolRow {
                answered: mean(&|tally| tally.answered as f64),
                usd: mean(&|tally| tally.usd),
                limited: mean(&|tally| tally.limited as f64),
                failed: mean(&|tally| tally.failed.saturating_sub(tally.limited) as f64),
                used: Spread::of(shares).map(|spread| spread.mean),
            }
        };
        (0..self.pools.len()).map(row).collect()
    }

    /// Each policy with its like in the other runs: (here, there).
    pub(super) fn pairs<'a>(&'a self, here: &[Digest<'a>]) -> Vec<(Digest<'a>, Digest<'a>)> {
        let there = self.against.as_ref().map(|against| self.digests_of(&against.runs)).unwrap_or_default();
        let like = |d: &Digest<'a>| Some((d.clone(), there.iter().find(|t| t.policy == d.policy)?.clone()));
        here.iter().filter_map(like).collect()
    }
}

/// The larger of two shares.
fn scarcer(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(f64::max(a, b)),
        (a, b) => a.or(b),
    }
}

/// The mean of shares by the size of what they are shares of.
fn weighted(shares: impl Iterator<Item = (u32, f64)>) -> Option<f64> {
    let (sum, weight) = shares.fold((0.0, 0.0), |(sum, weight), (size, share)| {
        // Where no size is known, all count alike.
        let size = f64::from(size.max(1));
        (sum + size * share, weight + size)
    });
    (weight > 0.0).then(|| sum / weight)
}
