//! A drill as it was understood: names looked up, moments worked out, nothing left to check. It knows no mode: a runner
//! plays it, and what it measured is judged against it.

use std::sync::Arc;

use crate::config::Checked;
use crate::domain::{ClassId, Duration, Instant, PoolId};
use crate::sim::source::Source;

/// A drill with all that it needs.
#[derive(Debug)]
pub struct Drill {
    /// The name of its file, for people.
    pub file: Arc<str>,
    /// SHA-256 of its text, in hex.
    pub sha256: String,
    /// What is to be done.
    pub script: Script,
    /// On which pools.
    pub config: Checked,
    /// SHA-256 of the config's text, in hex; absent where it stands in the drill's.
    pub config_sha256: Option<String>,
    /// Who calls.
    pub source: Source,
}

impl Drill {
    /// The name of its config, for people: without the folders that it lies in.
    pub fn config_name(&self) -> String {
        let name = std::path::Path::new(&*self.config.name).file_name();
        name.map_or_else(|| self.config.name.to_string(), |name| name.to_string_lossy().into_owned())
    }
}

/// What is to be done, and what is expected of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Script {
    /// Its name.
    pub name: Arc<str>,
    /// What it shows.
    pub description: String,
    /// The seed, unless the command says another.
    pub seed: u64,
    /// From the first call to the last.
    pub length: Duration,
    /// Routers side by side.
    pub routers: u16,
    /// What steps are about.
    pub targets: Vec<Target>,
    /// What must be true beforehand.
    pub preconditions: Preconditions,
    /// What must hold.
    pub steady: Vec<Hypothesis>,
    /// What happens, in order of time.
    pub steps: Vec<Step>,
    /// What is expected.
    pub expect: Expect,
    /// What breaks it off.
    pub aborts: Vec<Abort>,
    /// After the last fault everything must hold again within this.
    pub restore_within: Duration,
    /// Without what it must fail.
    pub control: Option<Control>,
}

/// A pool, or some of its endpoints.
#[derive(Clone, PartialEq, Debug)]
pub struct Target {
    /// What steps call it.
    pub name: Arc<str>,
    /// Its pool.
    pub pool: PoolId,
    /// Which of its endpoints; none is all.
    pub endpoints: Vec<usize>,
}

/// What must be true beforehand.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Preconditions {
    /// What is left over what comes, at least.
    pub headroom_min: Option<f64>,
    /// With fewer calls it says nothing.
    pub calls_min: u64,
}

/// What is looked at.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Sli {
    /// The share of calls that were answered whole is at least this.
    SuccessRatio(f64),
    /// 99 of 100 first tokens came within so many milliseconds.
    TtftP99(f64),
    /// At most so many answers broke off and looked whole.
    SilentTruncations(u64),
    /// At most so many calls were billed twice.
    DoubleBilled(u64),
}

/// Something that must hold.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Hypothesis {
    /// What.
    pub sli: Sli,
    /// Of which class; absent is all.
    pub class: Option<ClassId>,
    /// How long it must hold to count as holding.
    pub window: Duration,
}

/// Something that happens.
#[derive(Clone, PartialEq, Debug)]
pub struct Step {
    /// Its name.
    pub id: Arc<str>,
    /// When.
    pub at: Instant,
    /// When it is over; absent is never.
    pub ends: Option<Instant>,
    /// To which target; absent where it has none.
    pub target: Option<usize>,
    /// What.
    pub fault: Fault,
}

/// What happens in a step.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Fault {
    /// The process is gone; answers under way break off.
    Kill,
    /// New connections are refused.
    Refuse,
    /// Some requests get an error.
    Error {
        /// How many, 0 to 1.
        share: f64,
        /// Its status.
        status: u16,
    },
    /// Some requests get a 429.
    RateLimit {
        /// How many, 0 to 1.
        share: f64,
        /// When to come back, if it says so.
        retry_after: Option<Duration>,
    },
    /// It takes requests and answers none.
    Hang,
    /// Some answers go silent.
    Stall {
        /// How many, 0 to 1.
        share: f64,
        /// After so many tokens.
        after: u32,
    },
    /// Some answers are cut off.
    Truncate {
        /// How many, 0 to 1.
        share: f64,
        /// After so many tokens.
        after: u32,
    },
    /// Everything takes so many times as long.
    Slow(f64),
    /// Its name does not resolve.
    DnsGone,
    /// Its certificate has expired.
    TlsExpired,
    /// Nothing gets through.
    ContactLost,
    /// Its lease ends, and the router knows when.
    LeaseEnds,
    /// An operator drains it.
    Drain,
    /// So many times the calls.
    Surge(f64),
    /// A router goes down in order, and comes back.
    Restart {
        /// Which, from 0.
        router: u16,
        /// What calls under way have to finish.
        grace: Duration,
    },
    /// A router is killed, and comes back.
    Crash {
        /// Which, from 0.
        router: u16,
    },
}

impl Fault {
    /// The word in files and reports.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Refuse => "refuse",
            Self::Error { .. } => "error",
            Self::RateLimit { .. } => "rate_limit",
            Self::Hang => "hang",
            Self::Stall { .. } => "stall",
            Self::Truncate { .. } => "truncate",
            Self::Slow(_) => "slow",
            Self::DnsGone => "dns_gone",
            Self::TlsExpired => "tls_expired",
            Self::ContactLost => "contact_lost",
            Self::LeaseEnds => "lease_ends",
            Self::Drain => "drain",
            Self::Surge(_) => "surge",
            Self::Restart { .. } => "restart",
            Self::Crash { .. } => "crash",
        }
    }

    /// It is done to a pool.
    pub const fn has_target(&self) -> bool {
        !matches!(self, Self::Surge(_) | Self::Restart { .. } | Self::Crash { .. })
    }

    /// The pool as a whole, never one of its endpoints.
    pub const fn whole_pool(&self) -> bool {
        matches!(self, Self::LeaseEnds | Self::Drain | Self::DnsGone)
    }
}

/// What is expected; absent is not judged.
#[derive(Clone, PartialEq, Debug)]
pub struct Expect {
    /// How long everything must hold to count as recovered.
    pub hold: Duration,
    /// Until a router says that something is wrong.
    pub detect_within: Option<Duration>,
    /// Until everything holds again.
    pub failover_rto: Option<Duration>,
    /// From the end of the fault until everything holds and calls come back.
    pub failback_rto: Option<Duration>,
    /// The pools that take the load, the one that takes most first.
    pub overflow_order: Vec<PoolId>,
    /// Calls without any end.
    pub lost_max: u64,
    /// Calls with two ends, or two bills.
    pub duplicated_max: u64,
    /// Streams that broke off and said so.
    pub interrupted_max: Option<u64>,
    /// Attempts a call.
    pub amplification_max: Option<f64>,
    /// Extra dollars.
    pub extra_cost_max_usd: Option<f64>,
    /// Extra dollars, in percent.
    pub extra_cost_max_pct: Option<f64>,
    /// What the 99th percentile of the first token may rise by, in milliseconds.
    pub added_ttft_p99_max_ms: Option<f64>,
}

/// What breaks a drill off.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Abort {
    /// What is looked at.
    pub when: AbortWhen,
    /// For so long.
    pub lasts: Duration,
}

/// See [`Abort`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum AbortWhen {
    /// The share of calls that were answered whole is below this.
    SuccessBelow {
        /// Of which class; absent is all.
        class: Option<ClassId>,
        /// The share.
        share: f64,
    },
    /// More dollars a minute than this.
    SpendAbove(f64),
}

/// Without what a drill must fail.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Control {
    /// No call is tried a second time.
    pub no_failover: bool,
    /// Nothing is left alone for its failures.
    pub no_breakers: bool,
    /// Pools that are not there.
    pub without: Vec<PoolId>,
    /// Routers side by side.
    pub routers: Option<u16>,
}

/// A router that knows of an end sends nothing that would not be done by then: longer than most answers take.
const KNOWN_AHEAD: Duration = Duration::from_secs(30);

impl Step {
    /// When it begins to be felt: the end of a lease is known, and acted upon before.
    pub fn felt_at(&self) -> Instant {
        if self.fault == Fault::LeaseEnds { self.at - KNOWN_AHEAD } else { self.at }
    }
}

impl Script {
    /// When the first step begins to be felt, if there is one.
    pub fn first_fault(&self) -> Option<Instant> {
        self.steps.iter().map(Step::felt_at).min()
    }

    /// When the last step that ends does.
    pub fn last_end(&self) -> Option<Instant> {
        self.steps.iter().filter_map(|step| step.ends).max()
    }

    /// The end of the traffic.
    pub fn end(&self) -> Instant {
        Instant::START + self.length
    }

    /// The pool of a step, if it has one.
    pub fn pool(&self, step: &Step) -> Option<PoolId> {
        step.target.and_then(|target| self.targets.get(target)).map(|target| target.pool)
    }
    /// The same, broken off then: what is on ends, and nothing more begins.
    #[must_use]
    pub fn cut_at(&self, until: Instant) -> Self {
        let cut = |step: &Step| {
            let ends = step.ends.map_or(until, |ends| ends.min(until));
            // What was done for good is not undone.
            let ends = if step.ends.is_none() { None } else { Some(ends) };
            (step.at < until).then(|| Step { ends, ..step.clone() })
        };
        Self { steps: self.steps.iter().filter_map(cut).collect(), ..self.clone() }
    }

    /// The same without any fault: what would have been.
    #[must_use]
    pub fn calm(&self) -> Self {
        Self { steps: Vec::new(), ..self.clone() }
    }
}
