//! Many runs on many cores. A run is a function of its arguments, so who plays it and when changes nothing but the time
//! that it takes; results come back in the order in which they were asked for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};

use super::traffic::BadTraffic;
use super::world::{Setup, run};
use super::{Tally, Traffic};
use crate::clock::Clock;
use crate::domain::Duration;

/// One run.
#[derive(Clone, Debug)]
pub struct Job {
    /// The policy's name.
    pub policy: String,
    /// The world, with the policy's settings in it.
    pub setup: Arc<Setup>,
    /// The seed of the world and of its traffic.
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Played {
    /// The figures.
    pub tally: Tally,
    /// How long it took, by a clock on the wall: for people, and in no result.
    pub took: Duration,
}

/// Who is told how it goes.
pub trait Audience {
    /// Now and then.
    fn told(&mut self, progress: Progress);
    /// A run is over.
    fn played(&mut self, job: &Job, played: &Played);
}

/// How far it is.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Progress {
    /// Calls that have arrived, over all runs.
    pub calls: u64,
    /// Calls of all runs, as far as that is known.
    pub of: u64,
    /// Since the first run began.
    pub elapsed: Duration,
}

/// Where the traffic of a seed comes from.
pub type Traffics<'a> = dyn Fn(u64) -> Result<Traffic, BadTraffic> + Sync + 'a;

/// How often the audience is told.
const TOLD_EVERY: Duration = Duration::from_millis(200);

/// Plays all jobs on so many threads.
pub fn play(
    jobs: &[Job],
    traffics: &Traffics<'_>,
    threads: usize,
    audience: &mut dyn Audience,
) -> Result<Vec<Played>, BadTraffic> {
    let clock = Clock::system();
    let shelf = Shelf::new(jobs, traffics);
    let (next, calls) = (AtomicUsize::new(0), AtomicU64::new(0));
    let (send, heard) = mpsc::channel();
    let mut played: Vec<Option<Played>> = vec![None; jobs.len()];
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, jobs.len().max(1)) {
            let (send, shelf, next, calls, clock) = (send.clone(), &shelf, &next, &calls, &clock);
            scope.spawn(move || {
                while let Some((i, job)) = at(jobs, next.fetch_add(1, Ordering::Relaxed)) {
                    let result = one(job, shelf, calls, clock);
                    let failed = result.is_err();
                    // The first mistake ends it: nobody takes another job.
                    if failed {
                        next.store(jobs.len(), Ordering::Relaxed);
                    }
                    if send.send((i, result)).is_err() || failed {
                        return;
                    }
                }
            });
        }
        drop(send);
        loop {
            match heard.recv_timeout(TOLD_EVERY) {
                Ok((i, result)) => {
                    let result = result?;
                    audience.played(&jobs[i], &result);
                    played[i] = Some(result);
                }
                Err(RecvTimeoutError::Timeout) => audience.told(Progress {
                    calls: calls.load(Ordering::Relaxed),
                    of: shelf.calls() * jobs.len() as u64,
                    elapsed: clock.mono().since(crate::domain::Instant::START),
                }),
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    })?;
    Ok(played.into_iter().flatten().collect())
}

fn at(jobs: &[Job], i: usize) -> Option<(usize, &Job)> {
    jobs.get(i).map(|job| (i, job))
}

fn one(job: &Job, shelf: &Shelf<'_>, calls: &AtomicU64, clock: &Clock) -> Result<Played, BadTraffic> {
    let traffic = shelf.take(job.seed)?;
    let start = clock.mono();
    let mut before = 0;
    let mut progress = |so_far: usize| {
        calls.fetch_add((so_far - before) as u64, Ordering::Relaxed);
        before = so_far;
    };
    let mut tally = run(&job.setup, &traffic, job.seed, &mut progress);
    tally.policy.clone_from(&job.policy);
    Ok(Played { tally, took: clock.mono().since(start) })
}

/// Traffic, once it is made, and how many runs still want it.
type Kept = (Option<Arc<Traffic>>, usize);

/// The traffic of each seed, from its first run to its last: a day of calls is tens of megabytes.
struct Shelf<'a> {
    traffics: &'a Traffics<'a>,
    /// By seed.
    seeds: Mutex<BTreeMap<u64, Kept>>,
    calls: AtomicU64,
}

impl<'a> Shelf<'a> {
    fn new(jobs: &[Job], traffics: &'a Traffics<'a>) -> Self {
        let mut seeds = BTreeMap::new();
        for job in jobs {
            seeds.entry(job.seed).or_insert((None, 0)).1 += 1;
        }
        Self { traffics, seeds: Mutex::new(seeds), calls: AtomicU64::new(0) }
    }

    /// Whoever comes first makes it, while the others wait for it.
    fn take(&self, seed: u64) -> Result<Arc<Traffic>, BadTraffic> {
        let mut seeds = self.seeds.lock().unwrap_or_else(PoisonError::into_inner);
        let (kept, wanted) = seeds.entry(seed).or_insert((None, 1));
        let traffic = match kept.take() {
            Some(traffic) => traffic,
            None => Arc::new((self.traffics)(seed)?),
        };
        self.calls.store(traffic.arrivals.len() as u64, Ordering::Relaxed);
        *wanted -= 1;
        if *wanted > 0 {
            *kept = Some(Arc::clone(&traffic));
        }
        Ok(traffic)
    }

    /// Of one run, as far as one was seen.
    fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }
}
