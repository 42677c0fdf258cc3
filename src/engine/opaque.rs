//! A provider seen from outside: a log-normal time to the first token, a fixed time per token, and no visible queue.
//! What it does with the load is its own affair, so jobs do not disturb each other here.

use std::collections::{BTreeMap, BTreeSet};

use super::settings::Opaque;
use super::{Event, Job, JobId, Load, Rejected, What, draw, nanos};
use crate::domain::{Duration, Instant};

/// See the module.
#[derive(Clone, Debug)]
pub struct Machine {
    settings: Opaque,
    now: Instant,
    next_id: u64,
    jobs: BTreeMap<JobId, State>,
    due: BTreeSet<(Instant, JobId)>,
    happened: Vec<Event>,
    slowdown: f64,
}

#[derive(Clone, Copy, Debug)]
struct State {
    first: Instant,
    tpot_ns: u64,
    output: u32,
    report_every: u32,
    /// Tokens reported; the next report is due at `due`.
    total: u32,
    due: Instant,
}

impl Machine {
    pub(super) fn new(settings: Opaque, now: Instant) -> Self {
        Self {
            settings,
            now,
            next_id: 0,
            jobs: BTreeMap::new(),
            due: BTreeSet::new(),
            happened: Vec::new(),
            slowdown: 1.0,
        }
    }

    pub(super) fn submit(&mut self, job: &Job, now: Instant) -> Result<JobId, Rejected> {
        self.run_until(now);
        if self.jobs.len() >= self.settings.max_jobs.max(1) as usize {
            return Err(Rejected::QueueFull);
        }
        let s = &self.settings;
        let ttft = draw::log_normal(job.seed, s.ttft_median_s, s.ttft_sigma)
            + s.prefill_token_s * f64::from(job.input);
        let first = self.now + Duration::from_nanos(nanos(ttft * self.slowdown));
        let id = JobId(self.next_id);
        self.next_id += 1;
        let state = State {
            first,
            tpot_ns: nanos(s.tpot_s * self.slowdown),
            output: job.output,
            report_every: job.report_every,
            total: 0,
            due: first,
        };
        self.jobs.insert(id, state);
        self.due.insert((first, id));
        Ok(id)
    }

    pub(super) fn cancel(&mut self, id: JobId, now: Instant) -> bool {
        self.run_until(now);
        let Some(state) = self.jobs.remove(&id) else { return false };
        self.due.remove(&(state.due, id));
        self.happened.retain(|e| e.job != id);
        true
    }

    pub(super) fn advance(&mut self, now: Instant, events: &mut Vec<Event>) {
        self.run_until(now);
        events.append(&mut self.happened);
    }

    pub(super) fn next_event(&self) -> Option<Instant> {
        self.happened.first().map(|e| e.at).or_else(|| self.due.first().map(|(at, _)| *at))
    }

    pub(super) fn slow_down(&mut self, factor: f64) {
        self.slowdown = factor;
    }

    pub(super) fn tokens(&self, id: JobId, now: Instant) -> u32 {
        let Some(state) = self.jobs.get(&id).filter(|s| s.first <= now && s.output > 0) else { return 0 };
        let more = now.since(state.first).as_nanos() as u64 / state.tpot_ns;
        u32::try_from(more.saturating_add(1)).unwrap_or(u32::MAX).min(state.output)
    }

    pub(super) fn load(&self) -> Load {
        Load { running: self.jobs.len() as u32, ..Load::default() }
    }

    fn run_until(&mut self, now: Instant) {
        self.now = self.now.max(now);
        while let Some((at, id)) = self.due.first().copied().filter(|(at, _)| *at <= self.now) {
            self.due.pop_first();
            self.report(at, id);
        }
    }

    fn report(&mut self, at: Instant, job: JobId) {
        let Some(state) = self.jobs.get_mut(&job) else { return };
        let was = state.total;
        state.total =
            if was == 0 { state.output.min(1) } else { next_report(was, state.report_every, state.output) };
        let total = state.total;
        if was == 0 && total == 1 {
            self.happened.push(Event { at, job, what: What::FirstToken { cached: 0 } });
        } else if total < state.output {
            self.happened.push(Event { at, job, what: What::Tokens { total } });
        }
        if total >= state.output {
            self.jobs.remove(&job);
            self.happened.push(Event { at, job, what: What::Finished { cached: 0 } });
            return;
        }
        let next = next_report(total, state.report_every, state.output);
        state.due = state.first + Duration::from_nanos(u64::from(next - 1).saturating_mul(state.tpot_ns));
        self.due.insert((state.due, job));
    }
}

/// The token count of the report after the one at `total`.
pub(super) const fn next_report(total: u32, every: u32, output: u32) -> u32 {
    let next = if every == 0 { output } else { total.saturating_add(every) };
    if next < output { next } else { output }
}
