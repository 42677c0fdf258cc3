//! An experiment: policies that are tuned on one seed and judged on others, all on the same traffic and the same pools.

use std::sync::Arc;

use super::contender::{Choice, Contender};
use super::crew::{Audience, Job, Played, Traffics, play};
use super::faults::faults;
use super::report::Tuning;
use super::resume::{self, Resume};
use super::source::Source;
use super::traffic::{BadTraffic, Mix, Traffic};
use super::witness::Witness;
use super::world::{Setup, run_witnessed};
use super::{Tally, plan, size};
use crate::config::Checked;
use crate::domain::{Class, Duration};

/// On this seed policies are tuned, and none is judged.
pub const TUNING_SEED: u64 = 1000;

/// Calls that a policy is tuned on at most: the busiest hour at 5 calls a second, and a tenth of a second of work.
const TUNING_CALLS: usize = 20_000;

/// See the module.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// The pools, as large as they shall be, and what happens to them.
    pub setup: Setup,
    /// Mean demand over what the owned pools can do, if it was asked for.
    pub load: Option<f64>,
    /// What comes in.
    pub source: Source,
    /// Classes of calls that name none.
    pub mix: Mix,
    /// Who is compared.
    pub contenders: Vec<Contender>,
    /// The seeds that they are judged on.
    pub seeds: Vec<u64>,
    /// How settings are chosen.
    pub tuned: Tuned,
    /// Runs at once.
    pub threads: usize,
}

/// How the settings of a policy are chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tuned {
    /// The smallest J on [`TUNING_SEED`].
    OnAnotherSeed,
    /// The usual ones.
    Not,
}

/// A policy with its settings.
#[derive(Clone, PartialEq, Debug)]
pub struct Entrant {
    /// The policy's name.
    pub name: String,
    /// How it is set.
    pub choice: Choice,
    /// How that came about.
    pub tuning: Tuning,
}

/// The pools of a config, the owned ones `factor` times as large, with what happens to them.
pub fn world(checked: &Checked, factor: f64) -> Setup {
    let setup = plan::setup(checked);
    let setup = if factor == 1.0 { setup } else { size::resized(&setup, factor) };
    Setup { faults: faults(&setup, &checked.simulate.events), ..setup }
}

/// The mix of a config.
pub fn mix(checked: &Checked) -> Mix {
    Mix::new(&checked.simulate.mix).unwrap_or_else(|| Mix::of(&checked.catalog))
}

impl Experiment {
    /// The calls, as that seed has them.
    pub fn traffic(&self, seed: u64) -> Result<Traffic, BadTraffic> {
        self.source.traffic(&self.setup.catalog, &self.mix, seed)
    }

    /// Settings for each policy.
    pub fn tune(&self, audience: &mut dyn Audience) -> Result<Vec<Entrant>, BadTraffic> {
        let tries = match self.tuned {
            Tuned::OnAnotherSeed => self.contenders.iter().map(|c| c.grid.len()).max().unwrap_or(0),
            Tuned::Not => 0,
        };
        if tries <= 1 {
            return Ok(self.contenders.iter().map(untuned).collect());
        }
        // What happens to pools is not known beforehand.
        let calm = Setup { faults: Vec::new(), ..self.setup.clone() };
        let grids = || self.contenders.iter().filter(|c| c.grid.len() > 1);
        let jobs: Vec<Job> = grids()
            .flat_map(|c| c.grid.iter().map(|choice| job(&c.name, &calm, choice, TUNING_SEED)))
            .collect();
        let traffic = sample(self.traffic(TUNING_SEED)?);
        let calls = traffic.arrivals.len();
        // Made once, and lent to the one seed that wants it.
        let played = play(&jobs, &|_| Ok(traffic.clone()), self.threads, audience)?;
        let mut costs = played.iter().map(|played| played.tally.j());
        let entrant = |c: &Contender| {
            if c.grid.len() == 1 {
                return untuned(c);
            }
            let costs: Vec<f64> = costs.by_ref().take(c.grid.len()).collect();
            let best = (0..c.grid.len()).min_by(|a, b| costs[*a].total_cmp(&costs[*b])).unwrap_or(0);
            entrant(c, best, &format!("the best of {} on seed {TUNING_SEED} ({calls} calls)", c.grid.len()))
        };
        Ok(self.contenders.iter().map(entrant).collect())
    }

    /// Every policy on every seed, policy by policy. What `resume` knows is not played again; who wants to know of what
    /// is played hears it with its fingerprint.
    pub fn judge(
        &self,
        entrants: &[Entrant],
        resume: &Resume,
        audience: &mut dyn Audience,
    ) -> Result<Vec<Tally>, BadTraffic> {
        // Seed by seed, so that one day of traffic can go before the next comes.
        let jobs: Vec<Job> = (self.seeds.iter())
            .flat_map(|seed| entrants.iter().map(|e| job(&e.name, &self.setup, &e.choice, *seed)))
            .collect();
        let traffic = resume::of_traffic(&self.source, &self.mix);
        let known: Vec<Option<Tally>> =
            jobs.iter().map(|job| resume.get(&resume::of_run(job, traffic)).cloned()).collect();
        let missing: Vec<Job> = jobs
            .iter()
            .zip(&known)
            .filter(|(_, known)| known.is_none())
            .map(|(job, _)| job.clone())
            .collect();
        let mut played = self.play(&missing, audience)?.into_iter();
        let mut tallies: Vec<Tally> =
            known.into_iter().filter_map(|known| known.or_else(|| Some(played.next()?.tally))).collect();
        let place = |policy: &str| entrants.iter().position(|e| e.name == policy);
        tallies.sort_by_key(|tally| place(&tally.policy));
        Ok(tallies)
    }

    /// The run of a policy on the first seed once more, and `witness` sees what happens in it.
    pub fn witnessed(&self, entrant: &Entrant, witness: &mut dyn Witness) -> Result<(), BadTraffic> {
        let Some(&seed) = self.seeds.first() else { return Ok(()) };
        let job = job(&entrant.name, &self.setup, &entrant.choice, seed);
        let _as_before = run_witnessed(&job.setup, &[], &self.traffic(seed)?, seed, witness);
        Ok(())
    }

    /// Jobs on this traffic.
    pub(super) fn play(&self, jobs: &[Job], audience: &mut dyn Audience) -> Result<Vec<Played>, BadTraffic> {
        let traffics: &Traffics<'_> = &|seed| self.traffic(seed);
        play(jobs, traffics, self.threads, audience)
    }
}

/// As often as routers ask engines for their metrics.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// A run of a policy in a world.
pub(super) fn job(policy: &str, setup: &Setup, choice: &Choice, seed: u64) -> Job {
    let mut setup = Setup { routing: choice.routing, ..setup.clone() };
    if choice.routing.choice.hearsay_only {
        // Whoever knows only what it is told must be told.
        setup.routers.told_every.get_or_insert(TOLD_EVERY);
    }
    Job { policy: policy.to_owned(), setup: Arc::new(setup), seed }
}

fn untuned(contender: &Contender) -> Entrant {
    let why = if contender.grid.len() == 1 { "nothing to tune" } else { "not tuned" };
    entrant(contender, 0, why)
}

fn entrant(contender: &Contender, at: usize, why: &str) -> Entrant {
    let choice = contender.grid[at].clone();
    let chosen = if choice.label.is_empty() { why.to_owned() } else { format!("{}: {why}", choice.label) };
    let tuning = Tuning { policy: contender.name.clone(), chosen };
    Entrant { name: contender.name.clone(), choice, tuning }
}

/// A part that is not too long, from the busiest hour on.
fn sample(traffic: Traffic) -> Traffic {
    let all = &traffic.arrivals;
    if all.len() <= TUNING_CALLS {
        return traffic;
    }
    let peak = traffic.peak(Duration::from_secs(3600));
    let first = all.partition_point(|a| a.at < peak).min(all.len() - TUNING_CALLS);
    let after = all.get(first + TUNING_CALLS).or(all.last());
    traffic.window(all[first].at, after.map_or(peak, |a| a.at))
}

/// Targets that cannot be met, even by a pool with nothing to do: a sentence for each class. `calls` of that class with
/// prompts and answers of mean length are what is asked.
pub fn hopeless(setup: &Setup, traffic: &Traffic) -> Vec<String> {
    let catalog = &setup.catalog;
    let class = |(i, class): (usize, &Class)| {
        let mine = || traffic.arrivals.iter().filter(|a| a.class.index() == i);
        let calls = mine().count() as f64;
        let mean = |of: fn(&super::Arrival) -> u32| mine().map(|a| f64::from(of(a))).sum::<f64>() / calls;
        let (input, output) = (mean(|a| a.input), mean(|a| a.output));
        let offered = |a: &super::Arrival| catalog.model(a.model).offers.iter();
        let mut pools: Vec<_> = mine().take(1).flat_map(offered).map(|id| catalog.offer(*id).pool).collect();
        pools.dedup();
        let first_s = |pool: &crate::domain::Pool| {
            let prior = &pool.engine_prior;
            pool.rtt_prior.as_secs_f64() + prior.ttft_base_s + prior.prefill_s_per_token * input
        };
        let firsts = pools.iter().map(|id| first_s(catalog.pool(*id)));
        let ends =
            pools.iter().map(|id| catalog.pool(*id)).map(|p| first_s(p) + p.engine_prior.tpot_s * output);
        let (first, end) = (firsts.reduce(f64::min)?, ends.reduce(f64::min)?);
        let late =
            |target: Option<Duration>, best: f64| target.map(|t| t.as_secs_f64()).filter(|t| *t < best);
        let told = |what: &str, target: f64, best: f64| {
            format!(
                "class `{}` wants {what} within {target} s, and the fastest pool needs {best:.1} s for a mean call \
                 ({input:.0} tokens in, {output:.0} out) with nothing else to do",
                class.name
            )
        };
        late(class.ttft_target, first)
            .map(|target| told("the first token", target, first))
            .or_else(|| late(class.finish_target, end).map(|target| told("the whole answer", target, end)))
    };
    catalog.classes.iter().enumerate().filter_map(class).collect()
}

/// Models that calls ask for and nobody offers, by name.
pub fn orphans(setup: &Setup, traffic: &Traffic) -> Vec<String> {
    let mut asked = vec![false; setup.catalog.models.len()];
    traffic.arrivals.iter().for_each(|a| asked[a.model.index()] = true);
    let models = setup.catalog.models.iter().zip(asked);
    models.filter(|(m, asked)| *asked && m.offers.is_empty()).map(|(m, _)| m.name.to_string()).collect()
}
