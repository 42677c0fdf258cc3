//! What can be set about a rival's rule: the values of its source, and a few others that it may be tuned to.

use std::fmt;

/// What requests in flight are counted against.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Per {
    /// Nothing: a call is a call.
    Call,
    /// The slots of the pool: how full it is.
    Slot,
}

/// The pool with the fewest requests in flight; of equals one by lot.
///
/// Source: LiteLLM `least-busy` (`router_strategy/least_busy.py`), which compares plain counts; a pool of twice the size is
/// as busy with as many calls. Counting per slot is our gift to it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LeastBusy {
    /// What is counted.
    pub per: Per,
}

impl LeastBusy {
    /// As the source.
    pub const USUAL: Self = Self { per: Per::Call };
    /// See [`Rule::grid`](super::Rule::grid).
    pub const GRID: [Self; 2] = [Self::USUAL, Self { per: Per::Slot }];
}

/// The pool with the lowest mean of its last times to first token; of those within the buffer one by lot. A pool that was
/// not used within the memory counts as instant, and is tried.
///
/// Source: LiteLLM `latency-based-routing` (`router_strategy/lowest_latency.py`): lists of 10, a timeout counts as 1000 s,
/// buffer 0, memory 1 h. Left out, because they only hurt it: the source divides each time by the length of the answer, and
/// a full list there keeps its oldest nine and replaces the newest.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LowestLatency {
    /// Pools within this share of the lowest are equals.
    pub buffer: f64,
    /// Older times are forgotten, in seconds.
    pub memory_s: f64,
    /// So many times make the mean.
    pub window: usize,
    /// What a timeout counts as, in seconds.
    pub timeout_s: f64,
}

impl LowestLatency {
    /// As the source.
    pub const USUAL: Self = Self { buffer: 0.0, memory_s: 3600.0, window: 10, timeout_s: 1000.0 };
    /// A buffer of a half is what the source's documentation recommends.
    pub const GRID: [Self; 6] = [
        Self::USUAL,
        Self { buffer: 0.25, ..Self::USUAL },
        Self { buffer: 0.5, ..Self::USUAL },
        Self { memory_s: 30.0, ..Self::USUAL },
        Self { buffer: 0.25, memory_s: 30.0, ..Self::USUAL },
        Self { buffer: 0.5, memory_s: 30.0, ..Self::USUAL },
    ];
}

/// Of a few pools drawn at random the one with the least `rtt * (pending + 1)`, where `rtt` jumps to every worse time to
/// first token and otherwise decays, with every look a little more.
///
/// Source: Finagle's `PeakEwma`, tower's `load::PeakEwma` with `balance::p2c`, linkerd2-proxy: 10 s decay, 30 ms before
/// anything is known, measured to the first data (`PendingUntilFirstData`), two choices. With a handful of pools more choices
/// are our gift to it. Answers that fail fast are not counted as fast, which the sources do.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PeakEwma {
    /// Seconds in which the estimate decays to 1/e.
    pub decay_s: f64,
    /// Pools drawn.
    pub choices: usize,
    /// What is assumed of a pool before anything is measured, in seconds.
    pub start_s: f64,
}

impl PeakEwma {
    /// As linkerd.
    pub const USUAL: Self = Self { decay_s: 10.0, choices: 2, start_s: 0.03 };
    /// See [`Rule::grid`](super::Rule::grid).
    pub const GRID: [Self; 6] = [
        Self::USUAL,
        Self { decay_s: 3.0, ..Self::USUAL },
        Self { decay_s: 30.0, ..Self::USUAL },
        Self { choices: 64, ..Self::USUAL },
        Self { decay_s: 3.0, choices: 64, ..Self::USUAL },
        Self { decay_s: 30.0, choices: 64, ..Self::USUAL },
    ];
}

/// Hot-cold lexicographic: a pool with more requests in flight than the quantile of those seen lately is hot; of the cold
/// ones the lowest latency wins, and if all are hot the fewest in flight.
///
/// Source: Prequal (NSDI '24), quantile `2^-0.25`, latency = the median of recent ones near the present number in flight.
/// Its probes are replaced by what passes through us: every dispatch looks at all pools of the model, which is fresher than
/// any probe. Between pools of different size it may count per slot, our gift to it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Prequal {
    /// Of the requests in flight seen lately.
    pub quantile: f64,
    /// What is counted.
    pub per: Per,
    /// Older latencies are forgotten, in seconds.
    pub memory_s: f64,
}

impl Prequal {
    /// As the paper.
    pub const USUAL: Self = Self { quantile: 0.840_896_415_253_714_6, per: Per::Call, memory_s: 60.0 };
    /// See [`Rule::grid`](super::Rule::grid).
    pub const GRID: [Self; 6] = [
        Self::USUAL,
        Self { quantile: 0.6, ..Self::USUAL },
        Self { quantile: 0.95, ..Self::USUAL },
        Self { per: Per::Slot, ..Self::USUAL },
        Self { per: Per::Slot, quantile: 0.6, ..Self::USUAL },
        Self { per: Per::Slot, quantile: 0.95, ..Self::USUAL },
    ];
}

/// Own capacity first; what finds it full goes to the cheapest metered pool.
///
/// Source: spill-over of provisioned throughput at the clouds (own capacity until it refuses, then by the token) and
/// SkyWalker's selective pushing (push only where nothing is pending, else forward), with a threshold each.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Spill {
    /// Own capacity is full when this share of its slots is taken.
    pub share: f64,
    /// And when so many seconds of prefill are queued at a mean endpoint.
    pub backlog_s: f64,
}

impl Spill {
    /// All slots, or a queue that makes a target of one second unlikely.
    pub const USUAL: Self = Self { share: 1.0, backlog_s: 0.45 };
    /// See [`Rule::grid`](super::Rule::grid).
    pub const GRID: [Self; 6] = [
        Self::USUAL,
        Self { backlog_s: 0.25, ..Self::USUAL },
        Self { backlog_s: 0.8, ..Self::USUAL },
        Self { share: 0.8, backlog_s: 0.45 },
        Self { share: 0.8, backlog_s: 0.25 },
        Self { share: 0.8, backlog_s: 0.8 },
    ];
}

/// What shows that a pool misses a target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Evidence {
    /// What is predicted for this call.
    Predicted,
    /// That, or the 95th percentile of what was observed lately.
    Observed,
}

/// What calls without a target for their first token do when own capacity is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Patient {
    /// Spill like all others.
    Spill,
    /// Stay as long as they are expected to finish in half of the time that they have.
    Stay,
}

/// The strongest rule that people write by hand: [`Spill`], and no pool that will not make the target of the class, neither
/// own nor metered. When none will, the fastest.
///
/// Source: the manual policy of routing by service level that operators write over spill-over; no single origin. Calls
/// without a target for their first token are judged by their finish alone and stay with own capacity or the cheapest.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SpillSlo {
    /// When own capacity is full.
    pub spill: Spill,
    /// What excludes a pool.
    pub evidence: Evidence,
    /// What background calls do.
    pub patient: Patient,
    /// How far back observations go, in seconds.
    pub memory_s: f64,
}

impl SpillSlo {
    /// Own capacity as in [`Spill::USUAL`], both kinds of evidence, and background calls that stay.
    pub const USUAL: Self =
        Self { spill: Spill::USUAL, evidence: Evidence::Observed, patient: Patient::Stay, memory_s: 30.0 };
    /// See [`Rule::grid`](super::Rule::grid).
    pub const GRID: [Self; 6] = [
        Self::USUAL,
        Self { patient: Patient::Spill, ..Self::USUAL },
        Self { patient: Patient::Spill, spill: Spill { share: 1.0, backlog_s: 0.25 }, ..Self::USUAL },
        Self { patient: Patient::Spill, spill: Spill { share: 0.85, backlog_s: 0.45 }, ..Self::USUAL },
        Self { patient: Patient::Spill, spill: Spill { share: 0.85, backlog_s: 0.25 }, ..Self::USUAL },
        Self { patient: Patient::Spill, evidence: Evidence::Predicted, ..Self::USUAL },
    ];
}

impl fmt::Display for Per {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Call => "counts",
            Self::Slot => "per slot",
        })
    }
}

impl fmt::Display for LeastBusy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.per.fmt(f)
    }
}

impl fmt::Display for LowestLatency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "buffer {:.2}, memory {:.0} s", self.buffer, self.memory_s)
    }
}

impl fmt::Display for PeakEwma {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "decay {:.0} s, ", self.decay_s)?;
        match self.choices {
            2 => f.write_str("two choices"),
            _ => f.write_str("all compared"),
        }
    }
}

impl fmt::Display for Prequal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "quantile {:.2}, {}", self.quantile, self.per)
    }
}

impl fmt::Display for Spill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "own full at {:.2} of its slots or {:.2} s of prefill", self.share, self.backlog_s)
    }
}

impl fmt::Display for SpillSlo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let evidence = match self.evidence {
            Evidence::Predicted => "predicted",
            Evidence::Observed => "predicted or observed",
        };
        let patient = match self.patient {
            Patient::Spill => "spills",
            Patient::Stay => "stays",
        };
        write!(f, "{}; misses {evidence}; background {patient}", self.spill)
    }
}
