//! What came of a drill: every figure that the report shows and the JSON holds. Data and nothing else; the same journal
//! gives the same findings, byte for byte.

use serde::{Serialize, Serializer};

use super::Mode;

/// The form of the JSON. Grows with every change that a reader could trip over.
pub const SCHEMA: &str = "gridtie.drill/1";

/// How it ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All that was expected came true.
    Passed,
    /// Something did not.
    Failed,
    /// It was broken off: a limit of the drill was passed.
    Aborted,
    /// It was not begun, or should not have been.
    Refused,
    /// Too little was seen to say anything.
    Inconclusive,
    /// The faults are over, and it is not as before.
    RestoreFailed,
}

impl Verdict {
    /// Of the process. 2 is a file that is wrong.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Failed => 1,
            Self::Refused => 3,
            Self::Aborted => 4,
            Self::Inconclusive => 5,
            Self::RestoreFailed => 6,
        }
    }

    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "PASSED",
            Self::Failed => "FAILED",
            Self::Aborted => "ABORTED",
            Self::Refused => "REFUSED",
            Self::Inconclusive => "INCONCLUSIVE",
            Self::RestoreFailed => "RESTORE FAILED",
        }
    }
}

/// See the module.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Findings {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The drill's name.
    pub drill: String,
    /// What it shows.
    pub description: String,
    /// The name of its file.
    pub file: String,
    /// SHA-256 of its text.
    pub file_sha256: String,
    /// The name of its config.
    pub config: String,
    /// SHA-256 of that.
    pub config_sha256: Option<String>,
    /// Of the router.
    pub version: &'static str,
    /// How it was played.
    pub mode: Mode,
    /// With which seed.
    pub seed: u64,
    /// This was the negative control.
    pub control: bool,
    /// How it ended.
    pub verdict: Verdict,
    /// Why, where it is not passed.
    pub reasons: Vec<String>,
    /// All of it in one line.
    pub headline: String,
    /// When it was broken off.
    pub aborted_at_s: Option<f64>,
    /// From the first call to the last.
    pub length_s: f64,
    /// What pools without the targets can take over what comes.
    pub headroom: Option<f64>,
    /// What was expected, and what came.
    pub checks: Vec<Check>,
    /// What happened.
    pub steps: Vec<StepFound>,
    /// In order of time.
    pub timeline: Vec<Moment>,
    /// What had to hold.
    pub steady_state: Vec<SteadyFound>,
    /// What became of the calls, by their clients.
    pub requests: Requests,
    /// Clients, routers and pools against each other.
    pub matching: Matching,
    /// First tokens.
    pub latency: Vec<Latency>,
    /// Attempts.
    pub retries: Retries,
    /// Where the load went.
    pub overflow: Overflow,
    /// What it cost.
    pub cost: Cost,
    /// Over time, for plots.
    pub series: Series,
    /// The command that gives these bytes again.
    pub reproduce: String,
}

/// Something that was expected.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Check {
    /// What.
    pub name: String,
    /// The limit.
    pub wanted: String,
    /// What came.
    pub measured: String,
    /// Is it so?
    pub met: bool,
}

/// A step and what it led to.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct StepFound {
    /// Its name.
    pub id: String,
    /// What happened.
    pub fault: &'static str,
    /// To which pool.
    pub pool: Option<String>,
    /// When.
    pub at_s: f64,
    /// When it was over.
    pub ends_s: Option<f64>,
    /// From then until a router said that something is wrong.
    pub detect_s: Option<f64>,
    /// What it said.
    pub detected_by: Option<String>,
    /// Until everything held again.
    pub failover_s: Option<f64>,
    /// From the end until everything held and calls came back.
    pub failback_s: Option<f64>,
    /// From the end until the first call was answered there.
    pub first_back_s: Option<f64>,
}

/// Something that happened at a moment.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Moment {
    /// When.
    pub t_s: f64,
    /// What kind: `inject`, `detected`, `pool`, `steady`, `restore`, `back`.
    pub kind: &'static str,
    /// In words.
    pub what: String,
}

/// Something that had to hold.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct SteadyFound {
    /// What was looked at.
    pub sli: &'static str,
    /// Of which class.
    pub class: Option<String>,
    /// The limit.
    pub limit: f64,
    /// Before the first fault.
    pub before: Held,
    /// While faults were on, without the time that a failover may take.
    pub during: Held,
    /// After the last fault, without the time that coming back may take.
    pub after: Held,
}

/// How something held over a stretch of time.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Held {
    /// How much was seen.
    pub n: u64,
    /// The figure; absent where nothing was seen.
    pub value: Option<f64>,
    /// Did it hold? Absent where nothing was seen.
    pub met: Option<bool>,
}

/// What became of the calls, by their clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Requests {
    /// Sent.
    pub sent: u64,
    /// Answered whole.
    pub whole: u64,
    /// Told that there is no answer.
    pub refused: u64,
    /// Streams that broke off and said so.
    pub interrupted: u64,
    /// Calls without any end, or whose connection was cut without a word.
    pub lost: u64,
    /// Calls with two ends, or two accounts.
    pub duplicated: u64,
    /// Answers that lacked tokens and looked whole.
    pub silent_truncations: u64,
    /// Calls that were billed twice.
    pub double_billed: u64,
}

/// Clients, routers and pools against each other.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Matching {
    /// Nothing was found that does not add up.
    pub agreed: bool,
    /// Calls of clients that no router accounts for, less those that were lost.
    pub unaccounted: u64,
    /// Calls whose client heard something else than its router accounts for.
    pub contradicted: u64,
    /// Attempts that routers account for and pools did not see, or the other way round.
    pub attempts_off: u64,
    /// Whole answers that pools gave and routers did not get, or the other way round.
    pub answers_off: u64,
    /// Pool by pool.
    pub pools: Vec<PoolMatch>,
    /// The first few that do not match.
    pub examples: Vec<String>,
}

/// One pool's books beside the routers'.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct PoolMatch {
    /// Its name.
    pub pool: String,
    /// Attempts that routers account for.
    pub attempts: u64,
    /// Of those, the ones without a connection.
    pub unseen: u64,
    /// And those that were called back on their way.
    pub recalled: u64,
    /// Requests that the pool counted.
    pub arrived: u64,
    /// Whole answers that routers account for.
    pub answers: u64,
    /// Whole answers that the pool gave.
    pub answered: u64,
    /// Of those, the ones that nobody waited for any more.
    pub late: u64,
}

/// First tokens of a class, in milliseconds.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Latency {
    /// The class.
    pub class: String,
    /// Before the first fault.
    pub before: Quantiles,
    /// While faults were on.
    pub during: Quantiles,
    /// At the same time, had nothing happened.
    pub without: Quantiles,
    /// What the 99th percentile rose by.
    pub added_p99_ms: Option<f64>,
}

/// Milliseconds.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Quantiles {
    /// How many.
    pub n: u64,
    /// Half.
    pub p50: Option<f64>,
    /// 95 of 100.
    pub p95: Option<f64>,
    /// 99 of 100.
    pub p99: Option<f64>,
}

/// Attempts.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Retries {
    /// All of them.
    pub attempts: u64,
    /// A call that had one, on average over the whole drill.
    pub a_call: f64,
    /// The same of calls that were sent while faults were on.
    pub amplification: f64,
}

/// Where the load went.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Overflow {
    /// Pools in the order that was expected.
    pub expected: Vec<String>,
    /// Those that took more than before, the one that took most first.
    pub actual: Vec<String>,
    /// Pools that took more than one that was to come before them, or that were not to take any.
    pub violations: u64,
    /// Pool by pool.
    pub pools: Vec<PoolLoad>,
}

/// What a pool answered.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct PoolLoad {
    /// Its name.
    pub pool: String,
    /// Calls a second before the first fault.
    pub before_per_s: f64,
    /// And while faults were on.
    pub during_per_s: f64,
    /// And after the last one.
    pub after_per_s: f64,
    /// Of all calls, while faults were on.
    pub share_during: f64,
}

/// Dollars.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Cost {
    /// All that was sent, energy included.
    pub usd: f64,
    /// What it would have cost had nothing happened: the same seed without the faults.
    pub without_usd: Option<f64>,
    /// The difference.
    pub extra_usd: Option<f64>,
    /// The same in percent; absent where it would have cost nothing.
    pub extra_pct: Option<f64>,
    /// What attempts cost beyond what clients got.
    pub waste_usd: f64,
}

/// Over time, in even steps.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Series {
    /// Seconds of a step.
    pub step_s: f64,
    /// Calls in flight at each pool, on average over the step.
    pub in_flight: Vec<PoolSeries>,
    /// Calls that were sent.
    pub sent: Vec<u32>,
    /// Calls that were answered whole.
    pub whole: Vec<u32>,
    /// Calls that ended otherwise.
    pub other: Vec<u32>,
    /// The 99th percentile of the first tokens that came in the step, in milliseconds, by class.
    pub ttft_p99_ms: Vec<ClassSeries>,
}

/// Of one pool.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct PoolSeries {
    /// Its name.
    pub pool: String,
    /// Is it owned?
    pub owned: bool,
    /// Calls in flight.
    pub values: Vec<f64>,
}

/// Of one class.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct ClassSeries {
    /// Its name.
    pub class: String,
    /// Milliseconds; absent where nothing came.
    pub values: Vec<Option<f64>>,
}

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

/// A figure with so many decimals and no more: what differs beyond that is noise to a reader.
pub(super) fn rounded(x: f64, decimals: i32) -> f64 {
    let by = 10_f64.powi(decimals);
    if x.is_finite() { (x * by).round() / by + 0.0 } else { 0.0 }
}
