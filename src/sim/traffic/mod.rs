//! What comes in: calls with their moments and sizes, from a trace or from a description.

use std::sync::Arc;

use crate::domain::{ClassId, Instant, ModelId};
use crate::engine::Block;

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
    /// Answer, in tokens; at least 1. The router does not know it.
    pub output: u32,
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
