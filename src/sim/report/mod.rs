//! What simulations came to, told three ways: a table for a terminal, JSON lines for programs, one HTML page for people.
//!
//! A [`Report`] is data and nothing else: it knows no config, no file and no clock, and the same report gives the same
//! bytes. Whoever ran the simulations fills it in; whoever asked for it writes it away.

mod digest;
pub(crate) mod figures;
pub(crate) mod html;
mod json;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;
mod text;

pub use html::html;
pub use json::json_lines;
pub use text::{Style, table};

use crate::domain::{Duration, Tenure};

use super::Tally;

/// The policy that the others are compared with.
pub const OURS: &str = "bid-price";

/// Simulations of one traffic on one set of pools, and what is known about how well one could do there.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Report {
    /// For people.
    pub title: String,
    /// What came in.
    pub traffic: TrafficFacts,
    /// The config's name.
    pub config: String,
    /// Mean demand over capacity in the scarcer of owned prefill seconds and slot-seconds, when it was asked for.
    pub load: Option<f64>,
    /// By [`PoolId`](crate::domain::PoolId).
    pub pools: Vec<PoolFacts>,
    /// By [`ClassId`](crate::domain::ClassId).
    pub classes: Vec<ClassFacts>,
    /// One for each policy and seed, in the order in which they are to be listed.
    pub runs: Vec<Tally>,
    /// What no policy can beat, for the seeds where it was worked out.
    pub bounds: Vec<Bound>,
    /// Settings that were chosen for a policy.
    pub tuning: Vec<Tuning>,
    /// Dollars and attainment of one policy as misses are priced lower or higher, in the order of the line.
    pub frontier: Vec<FrontierPoint>,
    /// What more capacity is worth.
    pub capacity: Vec<CapacityValue>,
    /// Other runs that these are compared with.
    pub against: Option<Against>,
    /// Paragraphs for the end: what was simplified, and how tight the bound is.
    pub notes: Vec<String>,
}

/// What came in.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct TrafficFacts {
    /// The trace, or the description.
    pub name: String,
    /// How many calls.
    pub calls: u64,
    /// From the first arrival to the last.
    pub length: Duration,
    /// Calls a second.
    pub mean_rps: f64,
    /// Calls a second in the busiest minute.
    pub peak_rps: f64,
    /// Coefficient of variation of the times between arrivals; 1 is a Poisson process.
    pub cv: f64,
    /// Mean prompt, in tokens.
    pub mean_input: f64,
    /// Mean answer, in tokens.
    pub mean_output: f64,
}

/// A pool as it was simulated.
#[derive(Clone, PartialEq, Debug)]
pub struct PoolFacts {
    /// Unique.
    pub name: String,
    /// How it is paid for.
    pub tenure: Tenure,
    /// Dollars for a million tokens of input.
    pub input_usd_per_million: f64,
    /// Dollars for a million tokens of output.
    pub output_usd_per_million: f64,
    /// How many; 0 where that is not known, as at a provider.
    pub endpoints: u32,
    /// Calls that all its endpoints decode at once; 0 where that is not known.
    pub slots: u32,
}

/// A class, and what it is worth.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ClassFacts {
    /// Unique.
    pub name: String,
    /// First token within this.
    pub ttft_target: Option<Duration>,
    /// Whole answer within this.
    pub finish_target: Option<Duration>,
    /// What a miss costs, in dollars.
    pub miss_usd: f64,
}

/// What no policy can beat with that seed.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Bound {
    /// The seed.
    pub seed: u64,
    /// J is at least this, in dollars.
    pub j: Option<f64>,
    /// The share of calls that meet every target is at most this.
    pub goodput: Option<f64>,
    /// The same by class, each as if the others were out of its way.
    pub goodput_by_class: Vec<f64>,
    /// Time to the first token if nobody ever waited, by class.
    pub floor: Vec<Floor>,
}

/// Time to the first token of a class if nobody ever waited, in milliseconds.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Floor {
    /// Half of the calls.
    pub p50_ms: f64,
    /// 99 of 100.
    pub p99_ms: f64,
}

/// Settings that were chosen for a policy.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Tuning {
    /// Its name.
    pub policy: String,
    /// In words: what was tried, and what was taken.
    pub chosen: String,
}

/// A policy when misses have another price.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct FrontierPoint {
    /// What stands next to the point: `misses × 4`.
    pub label: String,
    /// Dollars spent.
    pub usd: f64,
    /// Share of calls that met every target.
    pub attainment: f64,
}

/// What a bit more of something would save.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct CapacityValue {
    /// `one more endpoint of own`.
    pub what: String,
    /// Dollars an hour, by the shadow prices of the run.
    pub shadow_usd_per_hour: f64,
    /// Dollars an hour that J fell by when it was run again with it.
    pub checked_usd_per_hour: Option<f64>,
}

/// Other runs, of the same policies.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Against {
    /// Their name: another config.
    pub name: String,
    /// One for each policy and seed.
    pub runs: Vec<Tally>,
}
