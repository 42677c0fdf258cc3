//! The rules of others, to compare with: what gateways and balancers do instead of pricing.
//!
//! They choose among the same candidates, with the same eligibility, health, ranks of retries, waiting and shedding as
//! our own policy, so that a comparison is about the choice alone. Each names its source and is our own writing of its
//! formula; where a source has a flaw that only hurts it, the flaw is left out and the text says so. They know what
//! passed through this router and what [`Seen`] says; they know no future.
//!
//! ```text
//! level 1, which pool:      Rule + Memory (what it remembers) + Seen ──► Chosen
//! level 2, which endpoint:  Place + Spot (load, prefix)              ──► a position
//! ```

mod memory;
mod place;
mod stand;
mod tunables;

pub use memory::{Event, Memory};
pub use place::{Chwbl, Place, SmgCacheAware, Spot};
pub use stand::Seen;
pub use tunables::{Evidence, LeastBusy, LowestLatency, Patient, PeakEwma, Per, Prequal, Spill, SpillSlo};

use std::fmt;

/// A rule that chooses a pool.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Rule {
    /// The pool whose last turn is longest ago. As round robin everywhere; written by last turns and not by a counter, so
    /// that a pool that was out does not shift the turns of the others.
    RoundRobin,
    /// See [`LeastBusy`].
    LeastBusy(LeastBusy),
    /// See [`LowestLatency`].
    LowestLatency(LowestLatency),
    /// The smallest bill expected for this call, and the next dearer pool when that one is out: LiteLLM's
    /// `cost-based-routing` (`router_strategy/lowest_cost.py`) and OpenRouter's `sort: price`. Both compare list prices;
    /// here the expected bill is compared, caches and answer length included, which only helps it. No test of load.
    Cheapest,
    /// See [`PeakEwma`].
    PeakEwma(PeakEwma),
    /// See [`Prequal`].
    Prequal(Prequal),
    /// See [`Spill`].
    Spill(Spill),
    /// See [`SpillSlo`].
    SpillSlo(SpillSlo),
}

impl Rule {
    /// Every rule as its source sets it.
    pub const ALL: [Self; 8] = [
        Self::RoundRobin,
        Self::LeastBusy(LeastBusy::USUAL),
        Self::LowestLatency(LowestLatency::USUAL),
        Self::Cheapest,
        Self::PeakEwma(PeakEwma::USUAL),
        Self::Prequal(Prequal::USUAL),
        Self::Spill(Spill::USUAL),
        Self::SpillSlo(SpillSlo::USUAL),
    ];

    /// The word on the command line and in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::LeastBusy(_) => "least-busy",
            Self::LowestLatency(_) => "lowest-latency",
            Self::Cheapest => "cheapest",
            Self::PeakEwma(_) => "peak-ewma",
            Self::Prequal(_) => "prequal",
            Self::Spill(_) => "spill",
            Self::SpillSlo(_) => "spill-slo",
        }
    }

    /// The rule of that name, as its source sets it.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.name() == name)
    }

    /// The settings over which it is tuned, on a seed that it is not judged on: the usual ones first, at most six.
    pub fn grid(self) -> Vec<Self> {
        match self {
            Self::RoundRobin | Self::Cheapest => vec![self],
            Self::LeastBusy(_) => LeastBusy::GRID.into_iter().map(Self::LeastBusy).collect(),
            Self::LowestLatency(_) => LowestLatency::GRID.into_iter().map(Self::LowestLatency).collect(),
            Self::PeakEwma(_) => PeakEwma::GRID.into_iter().map(Self::PeakEwma).collect(),
            Self::Prequal(_) => Prequal::GRID.into_iter().map(Self::Prequal).collect(),
            Self::Spill(_) => Spill::GRID.into_iter().map(Self::Spill).collect(),
            Self::SpillSlo(_) => SpillSlo::GRID.into_iter().map(Self::SpillSlo).collect(),
        }
    }
}

/// The name and, where there are any, its settings: `spill (own full at 1.00 of its slots or 0.45 s of prefill)`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::RoundRobin | Self::Cheapest => Ok(()),
            Self::LeastBusy(r) => write!(f, " ({r})"),
            Self::LowestLatency(r) => write!(f, " ({r})"),
            Self::PeakEwma(r) => write!(f, " ({r})"),
            Self::Prequal(r) => write!(f, " ({r})"),
            Self::Spill(r) => write!(f, " ({r})"),
            Self::SpillSlo(r) => write!(f, " ({r})"),
        }
    }
}

#[cfg(test)]
mod tests;
