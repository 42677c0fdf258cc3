//! A batching inference engine as a model, in virtual time: one machine for the simulator, for simulated upstreams and
//! for mock servers.
//!
//! It answers one question: given these jobs at these moments, when does which token exist? It knows tokens, not text;
//! engines, not pools; and it has no clock: whoever drives it says what time it is, an event queue or a timer.
//!
//! ```text
//! submit(job, now) -> JobId      cancel(id, now)      next_event() -> when to call advance(now, &mut events)
//! ```
//!
//! Events carry the moment they happened at in the model, so a driver that wakes late loses nothing: the machine catches
//! up exactly. Asking it more often changes nothing either.

pub mod batching;
pub mod cache;
pub mod draw;
mod failure;
pub mod gate;
pub mod opaque;
pub mod power;
pub mod settings;

#[cfg(test)]
mod tests;

pub(crate) use failure::told;
pub use gate::{Break, Gate, Passage, Turned};
pub use power::{Draw, EnergyPrice};
pub use settings::{Batching, Door, Opaque, Power, Settings, Speed};

use std::fmt;
use std::iter::Sum;
use std::ops::Add;
use std::sync::Arc;

pub use crate::domain::Block;
use crate::domain::Instant;

/// A job of an engine, dealt in order of submission and never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct JobId(pub u64);

/// What an engine is asked to do.
#[derive(Clone, PartialEq, Debug)]
pub struct Job {
    /// Tokens of the prompt.
    pub input: u32,
    /// Tokens to decode per sequence; 0 for an embedding, which ends with its prefill.
    pub output: u32,
    /// Sequences decoded side by side from the one prompt (choices); at least 1.
    pub sequences: u32,
    /// Report every so many tokens of a sequence; 0 reports only the first token and the end. The machine does work
    /// per report, not per token.
    pub report_every: u32,
    /// The prompt's prefix as a chain of blocks, for the prefix cache; empty shares with nobody.
    pub prefix: Arc<[Block]>,
    /// For what is drawn about this job.
    pub seed: u64,
}

/// Something that happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// When, in the model.
    pub at: Instant,
    /// To whom.
    pub job: JobId,
    /// What.
    pub what: What,
}

/// What happened to a job. In order: `FirstToken`, any `Tokens`, `Finished`; a job without output only finishes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// The prompt is done and the first token of each sequence exists.
    FirstToken {
        /// Tokens of the prompt that came from the prefix cache.
        cached: u32,
    },
    /// So many tokens of each sequence exist.
    Tokens {
        /// Since the start, the first included.
        total: u32,
    },
    /// All tokens exist, and its room is free again.
    Finished {
        /// Tokens of the prompt that came from the prefix cache.
        cached: u32,
    },
}

/// Why a job was turned away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rejected {
    /// The queue is full; later there may be room.
    QueueFull,
    /// It needs more room than there is at all.
    NeverFits,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::QueueFull => "the engine's queue is full",
            Self::NeverFits => "the request is larger than the engine's memory",
        })
    }
}

/// How busy an engine is: what a scrape of its metrics would say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Load {
    /// Jobs waiting for admission.
    pub waiting: u32,
    /// Jobs admitted and not finished.
    pub running: u32,
    /// Sequences being decoded.
    pub decoding: u32,
    /// Tokens of KV room held by jobs.
    pub kv_used: u64,
    /// Tokens of KV room in all; 0 where nobody can see it.
    pub kv_tokens: u64,
    /// Tokens of prefixes kept in the room that no job holds.
    pub kv_cached: u64,
}

/// What an engine did since it was made.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Meter {
    /// Energy, in joules.
    pub energy_j: f64,
    /// Seconds in which a prompt was prefilled.
    pub prefill_s: f64,
    /// Seconds times sequences decoded in them.
    pub seat_s: f64,
}

impl Add for Meter {
    type Output = Self;
    fn add(self, by: Self) -> Self {
        Self {
            energy_j: self.energy_j + by.energy_j,
            prefill_s: self.prefill_s + by.prefill_s,
            seat_s: self.seat_s + by.seat_s,
        }
    }
}

impl Sum for Meter {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Engine(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Batching(Box<batching::Machine>),
    Opaque(opaque::Machine),
}

impl Engine {
    /// An idle engine with a cold cache.
    pub fn new(settings: Settings, now: Instant) -> Self {
        Self(match settings {
            Settings::Batching(b) => Kind::Batching(Box::new(batching::Machine::new(b, now))),
            Settings::Opaque(o) => Kind::Opaque(opaque::Machine::new(o, now)),
        })
    }

    /// Takes a job in. Time before `now` passes first; what happens in it is reported by the next [`Self::advance`].
    pub fn submit(&mut self, job: Job, now: Instant) -> Result<JobId, Rejected> {
        match &mut self.0 {
            Kind::Batching(m) => m.submit(job, now),
            Kind::Opaque(m) => m.submit(&job, now),
        }
    }

    /// Forgets a job and frees its room; nothing more is reported of it. False if it had ended before.
    pub fn cancel(&mut self, id: JobId, now: Instant) -> bool {
        match &mut self.0 {
            Kind::Batching(m) => m.cancel(id, now),
            Kind::Opaque(m) => m.cancel(id, now),
        }
    }

    /// Lets time pass and appends what happened since the last call, in order. A `now` that lies before the last one
    /// counts as the last one.
    pub fn advance(&mut self, now: Instant, events: &mut Vec<Event>) {
        match &mut self.0 {
            Kind::Batching(m) => m.advance(now, events),
            Kind::Opaque(m) => m.advance(now, events),
        }
    }

    /// When the next thing happens if nothing is submitted or cancelled before; `None` if nothing ever does. Not after
    /// what [`Self::advance`] would already report.
    pub fn next_event(&self) -> Option<Instant> {
        match &self.0 {
            Kind::Batching(m) => m.next_event(),
            Kind::Opaque(m) => m.next_event(),
        }
    }

    /// From `now` on everything takes `factor` times as long as the settings say (a brownout); 1 is normal. What was
    /// timed already (a prompt under way, an answer of an opaque provider) keeps its time.
    pub fn slow_down(&mut self, factor: f64, now: Instant) {
        match &mut self.0 {
            Kind::Batching(m) => m.slow_down(factor, now),
            Kind::Opaque(m) => m.slow_down(factor),
        }
    }

    /// Tokens of each sequence of that job that exist at `now`, which is not before time last passed; 0 for a job that
    /// has ended.
    pub fn tokens(&self, id: JobId, now: Instant) -> u32 {
        match &self.0 {
            Kind::Batching(m) => m.tokens(id, now),
            Kind::Opaque(m) => m.tokens(id, now),
        }
    }

    /// How busy it is, as of the last call that let time pass.
    pub fn load(&self) -> Load {
        match &self.0 {
            Kind::Batching(m) => m.load(),
            Kind::Opaque(m) => m.load(),
        }
    }

    /// Energy used up to `now`, in joules; zero for an opaque provider.
    pub fn energy_j(&self, now: Instant) -> f64 {
        self.meter(now).energy_j
    }

    /// What it did up to `now`; nothing that we can see for an opaque provider.
    pub fn meter(&self, now: Instant) -> Meter {
        match &self.0 {
            Kind::Batching(m) => m.meter(now),
            Kind::Opaque(_) => Meter::default(),
        }
    }
}

/// Nanoseconds of that many seconds, at least 1: an event always lies after its cause, so no loop stands still, and
/// NaN and negative times are merely short.
fn nanos(secs: f64) -> u64 {
    ((secs * 1e9) as u64).max(1)
}
