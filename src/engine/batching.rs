//! Continuous batching as a fluid model: exact at the moments that matter, and work only at those.
//!
//! * Jobs wait in one line, first in, first out, and nobody overtakes. The first is admitted when the prefill lane is
//!   free, the batch has seats for its sequences, and there is KV room for its whole input and output. (Real engines
//!   admit by the input alone and preempt when they run out; the model never preempts.)
//! * One prompt is prefilled at a time, for the time that [`Speed::prefill_s`](super::Speed::prefill_s) says; its end is
//!   the first token.
//! * All sequences of the batch decode in step. A step takes `t0 + t1*B`, times `interference` while the lane is busy
//!   (prompts are prefilled in chunks that share the steps). A sequence that joins in the middle of a step gets its
//!   next token a whole step later.
//! * The end of a prefill leaves its prompt in the prefix cache, which lives in the KV room that no job holds.
//!
//! The batch advances on a common counter of steps; a job's next report is a value of that counter. Between two events
//! the counter grows evenly, so the next event is a division away and no token is stepped through. The counter is a
//! fixed-point integer: rounding never brings an event forward, and the result does not hang on how often one asks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::cache::Cache;
use super::opaque::next_report;
use super::settings::Batching;
use super::{Event, Job, JobId, Load, Meter, Rejected, What, nanos};
use crate::domain::{Duration, Instant};

/// Binary places of the step counter: a step of 30 ms is resolved to 2 ns, and 40 bits of whole steps last for
/// a thousand years of decoding without a pause.
const PLACES: u32 = 24;

/// See the module.
#[derive(Clone, Debug)]
pub struct Machine {
    settings: Batching,
    now: Instant,
    next_id: u64,
    jobs: BTreeMap<JobId, State>,
    waiting: VecDeque<JobId>,
    lane: Option<Lane>,
    batch: Batch,
    kv_used: u64,
    cache: Cache,
    happened: Vec<Event>,
    slowdown: f64,
    /// As of `metered`.
    meter: Meter,
    metered: Instant,
}

#[derive(Clone, Debug)]
struct State {
    job: Job,
    cached: u32,
    /// The step counter when its first token came.
    joined: u64,
    /// Tokens reported.
    total: u32,
    /// The step counter at the next report, once it decodes.
    due: Option<u64>,
}

/// The prompt under way.
#[derive(Clone, Copy, Debug)]
struct Lane {
    job: JobId,
    ends: Instant,
}

/// The sequences that decode in step.
#[derive(Clone, Debug)]
struct Batch {
    seats: u32,
    /// The step counter as of `since`, in 2^-[`PLACES`] steps.
    steps: u64,
    since: Instant,
    step_ns: u64,
    /// One entry per decoding job: the counter at its next report.
    due: BTreeSet<(u64, JobId)>,
}

impl Batch {
    fn steps_at(&self, at: Instant) -> u64 {
        if self.due.is_empty() {
            return 0;
        }
        let grown = (u128::from(at.since(self.since).as_nanos() as u64) << PLACES) / u128::from(self.step_ns);
        self.steps.saturating_add(u64::try_from(grown).unwrap_or(u64::MAX))
    }

    /// When the counter reaches `steps`: rounded up, so that it is there by then.
    fn reaches(&self, steps: u64) -> Instant {
        let missing = u128::from(steps.saturating_sub(self.steps)) * u128::from(self.step_ns);
        let ns = missing.div_ceil(1 << PLACES);
        self.since + Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
    }
}

impl Machine {
    pub(super) fn new(settings: Batching, now: Instant) -> Self {
        let mut machine = Self {
            settings,
            now,
            next_id: 0,
            jobs: BTreeMap::new(),
            waiting: VecDeque::new(),
            lane: None,
            batch: Batch { seats: 0, steps: 0, since: now, step_ns: 1, due: BTreeSet::new() },
            kv_used: 0,
            cache: Cache::default(),
            happened: Vec::new(),
            slowdown: 1.0,
            meter: Meter::default(),
            metered: now,
        };
        machine.retime();
        machine
    }

    pub(super) fn submit(&mut self, mut job: Job, now: Instant) -> Result<JobId, Rejected> {
        self.run_until(now);
        job.sequences = job.sequences.max(1);
        if kv_need(&job) > self.settings.kv_tokens || seats(&job) > self.settings.max_batch.max(1) {
            return Err(Rejected::NeverFits);
        }
        let at_once = self.waiting.is_empty() && self.lane.is_none() && self.fits(&job);
        if !at_once && self.waiting.len() >= self.settings.queue as usize {
            return Err(Rejected::QueueFull);
        }
        let id = JobId(self.next_id);
        self.next_id += 1;
        self.jobs.insert(id, State { job, cached: 0, joined: 0, total: 0, due: None });
        self.waiting.push_back(id);
        let at = self.now;
        self.settle(at);
        self.admit(at);
        self.retime();
        Ok(id)
    }

    pub(super) fn cancel(&mut self, id: JobId, now: Instant) -> bool {
        self.run_until(now);
        if !self.jobs.contains_key(&id) {
            return false;
        }
        let at = self.now;
        self.settle(at);
        if let Some(place) = self.waiting.iter().position(|w| *w == id) {
            self.waiting.remove(place);
            self.jobs.remove(&id);
        } else {
            self.release(id);
        }
        self.happened.retain(|e| e.job != id);
        self.admit(at);
        self.retime();
        true
    }

    pub(super) fn advance(&mut self, now: Instant, events: &mut Vec<Event>) {
        self.run_until(now);
        events.append(&mut self.happened);
    }

    pub(super) fn next_event(&self) -> Option<Instant> {
        self.happened.first().map(|e| e.at).or_else(|| self.next_change())
    }

    pub(super) fn slow_down(&mut self, factor: f64, now: Instant) {
        self.run_until(now);
        self.settle(self.now);
        self.slowdown = factor;
        self.retime();
    }

    pub(super) fn tokens(&self, id: JobId, now: Instant) -> u32 {
        let Some(state) = self.jobs.get(&id) else { return 0 };
        if state.due.is_none() {
            return state.total;
        }
        let steps = self.batch.steps_at(now).saturating_sub(state.joined) >> PLACES;
        u32::try_from(steps.saturating_add(1)).unwrap_or(u32::MAX).min(state.job.output)
    }

    pub(super) fn load(&self) -> Load {
        Load {
            waiting: self.waiting.len() as u32,
            running: (self.jobs.len() - self.waiting.len()) as u32,
            decoding: self.batch.seats,
            kv_used: self.kv_used,
            kv_tokens: self.settings.kv_tokens,
            kv_cached: self.cache.tokens(),
        }
    }

    pub(super) fn meter(&self, now: Instant) -> Meter {
        let secs = now.secs_since(self.metered);
        let prefill_s = if self.lane.is_some() { secs } else { 0.0 };
        let seat_s = secs * f64::from(self.batch.seats);
        self.meter + Meter { energy_j: self.watts() * secs, prefill_s, seat_s }
    }

    fn watts(&self) -> f64 {
        let power = &self.settings.power;
        match (self.lane.is_some(), self.batch.seats) {
            (true, _) => power.prefill_w,
            (false, 0) => power.idle_w,
            (false, _) => power.decode_w,
        }
    }

    fn next_change(&self) -> Option<Instant> {
        let report = self.batch.due.first().map(|(steps, _)| self.batch.reaches(*steps));
        match (self.lane.map(|l| l.ends), report) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    fn run_until(&mut self, now: Instant) {
        let now = self.now.max(now);
        while let Some(at) = self.next_change().filter(|at| *at <= now) {
            self.now = self.now.max(at);
            self.happen(at);
        }
        self.now = now;
    }

    /// Everything that is due at `at`: tokens first, then the end of the prefill, then the next admission.
    fn happen(&mut self, at: Instant) {
        let steps = self.batch.steps_at(at);
        let mut ended = Vec::new();
        while let Some((_, id)) = self.batch.due.first().copied().filter(|(due, _)| *due <= steps) {
            self.batch.due.pop_first();
            if self.report(at, id) {
                ended.push(id);
            }
        }
        let lane = self.lane.filter(|l| l.ends <= at);
        if ended.is_empty() && lane.is_none() {
            // The batch did not change, so neither does its speed: nothing is settled and nothing rounded.
            return;
        }
        self.settle_to(at, steps);
        for id in ended {
            self.finish(at, id);
        }
        if let Some(lane) = lane {
            self.end_prefill(at, lane.job);
        }
        self.admit(at);
        self.retime();
    }

    /// True if that was the job's last token.
    fn report(&mut self, at: Instant, id: JobId) -> bool {
        let Some(state) = self.jobs.get_mut(&id) else { return false };
        state.total = next_report(state.total, state.job.report_every, state.job.output);
        if state.total >= state.job.output {
            return true;
        }
        let due = state.next_due();
        state.due = Some(due);
        self.batch.due.insert((due, id));
        self.happened.push(Event { at, job: id, what: What::Tokens { total: state.total } });
        false
    }

    fn end_prefill(&mut self, at: Instant, id: JobId) {
        self.lane = None;
        if self.batch.due.is_empty() {
            self.batch.steps = 0;
        }
        let Some(state) = self.jobs.get_mut(&id) else { return };
        if self.settings.prefix_cache {
            let room = self.settings.kv_tokens - self.kv_used;
            self.cache.keep(&state.job.prefix, state.job.input, room);
        }
        state.total = state.job.output.min(1);
        if state.total == 1 {
            self.happened.push(Event { at, job: id, what: What::FirstToken { cached: state.cached } });
        }
        if state.total >= state.job.output {
            self.finish(at, id);
            return;
        }
        state.joined = self.batch.steps;
        let due = state.next_due();
        state.due = Some(due);
        self.batch.due.insert((due, id));
        self.batch.seats += seats(&state.job);
    }

    fn finish(&mut self, at: Instant, id: JobId) {
        let cached = self.jobs.get(&id).map_or(0, |s| s.cached);
        self.release(id);
        self.happened.push(Event { at, job: id, what: What::Finished { cached } });
    }

    /// Takes an admitted job out, wherever it is.
    fn release(&mut self, id: JobId) {
        let Some(state) = self.jobs.remove(&id) else { return };
        self.kv_used -= kv_need(&state.job);
        if self.lane.is_some_and(|l| l.job == id) {
            self.lane = None;
        } else if let Some(due) = state.due {
            self.batch.due.remove(&(due, id));
            self.batch.seats -= seats(&state.job);
        }
    }

    /// The first in line goes into the lane, if there is a place for it.
    fn admit(&mut self, at: Instant) {
        if self.lane.is_some() {
            return;
        }
        let Some(id) = self.waiting.front().copied() else { return };
        if !self.jobs.get(&id).is_some_and(|s| self.fits(&s.job)) {
            return;
        }
        self.waiting.pop_front();
        let Some(state) = self.jobs.get_mut(&id) else { return };
        let job = &state.job;
        // The last token of a prompt is always computed: its logits are the answer's first token.
        state.cached = self.cache.look_up(&job.prefix).min(job.input.saturating_sub(1));
        self.kv_used += kv_need(job);
        self.cache.shrink_to(self.settings.kv_tokens - self.kv_used);
        let secs = self.settings.speed.prefill_s(job.input, job.input - state.cached) * self.slowdown;
        self.lane = Some(Lane { job: id, ends: at + Duration::from_nanos(nanos(secs)) });
    }

    fn fits(&self, job: &Job) -> bool {
        self.kv_used + kv_need(job) <= self.settings.kv_tokens
            && self.batch.seats + seats(job) <= self.settings.max_batch.max(1)
    }

    /// Brings the step counter and the energy meter to `at`, at the speed and power that held until now. Call it before
    /// anything changes them, and [`Self::retime`] after.
    fn settle(&mut self, at: Instant) {
        self.settle_to(at, self.batch.steps_at(at));
    }

    fn settle_to(&mut self, at: Instant, steps: u64) {
        self.meter = self.meter(at);
        self.metered = at;
        self.batch.steps = steps;
        self.batch.since = at;
    }

    fn retime(&mut self) {
        let speed = &self.settings.speed;
        let shared = if self.lane.is_some() { speed.interference.max(1.0) } else { 1.0 };
        self.batch.step_ns = nanos(speed.step_s(self.batch.seats) * shared * self.slowdown);
    }
}

impl State {
    /// The step counter at the next report: the first token came at `joined`, each later one a step after the last.
    fn next_due(&self) -> u64 {
        let next = next_report(self.total, self.job.report_every, self.job.output);
        self.joined.saturating_add(u64::from(next - 1) << PLACES)
    }
}

/// Tokens of KV room that a job holds.
fn kv_need(job: &Job) -> u64 {
    u64::from(job.input) + u64::from(job.output) * u64::from(job.sequences)
}

/// Places in the batch that a job takes once its prompt is done.
fn seats(job: &Job) -> u32 {
    if job.output > 1 { job.sequences } else { 0 }
}
