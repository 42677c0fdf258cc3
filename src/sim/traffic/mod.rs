//! What comes in: calls with their moments and sizes, from a trace or from a description.
//!
//! Everything here is a function of text, numbers and a seed. It reads no file and knows no pool: whoever simulates
//! says which classes and models exist, and gets a list of arrivals in order of time.
//!
//! ```text
//! text ──► form (first line) ──► azure | mooncake | servegen | csv ──► Sheet (limits, order, class mix) ──► Traffic
//! description ──► chat, agents, nightly, bursty, surges ─────────────────────────────────────────────────► Traffic
//!                                          Traffic ──► reshape (window, scaled, shaped_by, …) ──► Traffic ──► Facts
//! ```

mod azure;
mod csv;
pub mod described;
mod facts;
mod mix;
mod mooncake;
mod problem;
mod profile;
mod read;
pub mod reshape;
mod servegen;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::domain::{ClassId, Instant, ModelId};
use crate::engine::Block;

pub use described::Described;
pub use facts::{Facts, Sizes};
pub use mix::Mix;
pub use problem::BadTraffic;
pub use profile::Profile;
pub use read::{BYTES_MAX, ReadOptions};

/// Calls in one workload at most. 20 million are 46 days at 5 calls a second, and about a gigabyte.
pub const CALLS_MAX: usize = 20_000_000;

/// Tokens of one prompt or answer at most: ten times the longest context window on offer. More is a broken column.
pub const TOKENS_MAX: u32 = 10_000_000;

/// A workload ends within a leap year. A moment after that is a date in the wrong unit, not a workload.
pub const LENGTH_MAX_S: u64 = 366 * 24 * 3600;

/// One call that will come.
#[derive(Clone, PartialEq, Debug)]
pub struct Arrival {
    /// When.
    pub at: Instant,
    /// Of which model.
    pub model: ModelId,
    /// Kind of traffic.
    pub class: ClassId,
    /// Prompt, in tokens; at least 1.
    pub input: u32,
    /// Answer, in tokens; at least 1, and nothing where vectors are the answer. The router does not know it.
    pub output: u32,
    /// The answer is to come as a stream, and not whole.
    pub stream: bool,
    /// Who asks, as the trace numbers its clients; 0 where it does not say.
    pub client: u32,
    /// The conversation it belongs to, where there is one.
    pub session: Option<u64>,
    /// Its prompt as a chain of blocks, for prefix caches; empty shares with nobody.
    pub prefix: Arc<[Block]>,
}

/// A whole workload.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Traffic {
    /// For people: the file, or the description.
    pub name: String,
    /// In order of time; moments that are equal keep the order of the trace.
    pub arrivals: Vec<Arrival>,
}
