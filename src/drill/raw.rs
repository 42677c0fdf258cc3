//! What a drill file says, before anybody asks what it means. One record a table; strict, like a config.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::config::read::{At, Definitions, Read, Reader, Value, record, words};
use crate::config::values::{Amount, Name, Share, Within};

/// A part that somebody else reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Elsewhere;

impl Read for Elsewhere {
    fn read(_: &Value<'_>, _: &mut Reader) -> Option<Self> {
        Some(Self)
    }

    fn schema(_: &mut Definitions) -> Json {
        json!({})
    }
}

/// The config: a path, or the config itself.
#[derive(Clone, Debug)]
pub(super) enum Config {
    Path(String),
    Here,
}

impl Read for Config {
    fn read(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        if value.get_ref().is_table() {
            return Some(Self::Here);
        }
        reader.text(value, "a path, or a table that is a config").map(|path| Self::Path(path.to_owned()))
    }

    fn schema(_: &mut Definitions) -> Json {
        json!({ "type": ["string", "object"] })
    }
}

record! {
    /// A drill.
    File as "" {
        /// Its name.
        name: At<Name>,
        /// What it shows, in a sentence.
        description: Option<String>,
        /// The seed of traffic, faults and draws; default 1.
        seed: Option<u32>,
        /// The config: a path from this file on, or its tables; default: the config of a router that was given none.
        config: Option<At<Config>>,
        /// Routers side by side; default: as many as the config simulates.
        routers: Option<At<u32>>,
        /// Who calls.
        workload: Workload,
        /// What steps are about.
        target: Vec<Target>,
        /// What must be true beforehand.
        preconditions: Option<Preconditions>,
        /// What must hold before, during and after.
        steady_state: Vec<SteadyState>,
        /// What happens.
        step: Vec<Step>,
        /// What is expected of it.
        expect: Option<Expect>,
        /// When it must be broken off.
        abort: Vec<Abort>,
        /// How it ends.
        restore: Option<Restore>,
        /// Without what it must fail.
        control: Option<Control>,
    }
}

record! {
    /// Who calls: a file, or what a described workload says.
    Workload as "workload" {
        /// From the first call to the last.
        length: At<Duration>,
        /// A trace or a description, from this file on.
        file: Option<At<String>>,
        /// So many times the calls; default 1.
        scale: Option<At<Within<0, 10_000>>>,
        /// Conversations of people.
        chat: Option<Elsewhere>,
        /// Programs with tools.
        agents: Option<Elsewhere>,
        /// Batches of routines.
        nightly: Option<Elsewhere>,
        /// Single calls.
        bursty: Option<Elsewhere>,
    }
}

record! {
    /// A pool, or some of its endpoints.
    Target as "target" {
        /// What steps call it.
        name: At<Name>,
        /// Its pool.
        pool: At<Name>,
        /// Which of its endpoints, counted from 0; default all.
        endpoints: Option<Vec<At<u32>>>,
    }
}

record! {
    /// What must be true beforehand, or the drill is refused.
    Preconditions as "preconditions" {
        /// What the pools that are no targets can take, over what comes in the busiest ten seconds: at least this.
        headroom_min: Option<Amount>,
        /// With fewer calls than this a drill says nothing: it is inconclusive, never passed.
        calls_min: Option<u32>,
    }
}

words! {
    /// What is looked at.
    Sli as "indicator" {
        /// Share of calls that were answered whole.
        SuccessRatio = "success_ratio",
        /// 99 of 100 first tokens came within this.
        TtftP99 = "ttft_p99_ms",
        /// Answers that broke off and looked whole.
        SilentTruncations = "silent_truncations",
        /// Calls that were billed twice.
        DoubleBilled = "double_billed",
    }
}

record! {
    /// Something that must hold.
    SteadyState as "steady_state" {
        /// What is looked at.
        sli: At<Sli>,
        /// Of which class; default all.
        class: Option<At<Name>>,
        /// At least this.
        min: Option<At<Share>>,
        /// At most this.
        max: Option<At<Amount>>,
        /// How long it must hold to count as holding; default `expect.hold`.
        window: Option<At<Duration>>,
    }
}

words! {
    /// What happens in a step.
    Kind as "fault" {
        /// The process is gone; answers under way break off.
        Kill = "kill",
        /// New connections are refused; answers under way go on.
        Refuse = "refuse",
        /// Some requests get an error.
        Error = "error",
        /// Some requests get a 429.
        RateLimit = "rate_limit",
        /// It takes requests and answers none, and says that it is well.
        Hang = "hang",
        /// Some answers go silent.
        Stall = "stall",
        /// Some answers are cut off.
        Truncate = "truncate",
        /// Everything takes so many times as long.
        Slow = "slow",
        /// Its name does not resolve; answers under way go on.
        DnsGone = "dns_gone",
        /// Its certificate has expired; answers under way go on.
        TlsExpired = "tls_expired",
        /// Nothing gets through, either way.
        ContactLost = "contact_lost",
        /// The lease of an owned pool ends, as its contract says.
        LeaseEnds = "lease_ends",
        /// An operator drains it.
        Drain = "drain",
        /// So many times the calls.
        Surge = "surge",
        /// A router goes down in order, and comes back.
        Restart = "restart",
        /// A router is killed, and comes back.
        Crash = "crash",
    }
}

record! {
    /// Something that happens.
    Step as "step" {
        /// What other steps and the report call it.
        id: At<Name>,
        /// When: from the start, or from the end of the step in `after`; default 0s.
        at: Option<At<Duration>>,
        /// The step that must be over.
        after: Option<At<Name>>,
        /// How long; a lease ends for good.
        r#for: Option<At<Duration>>,
        /// To which target.
        target: Option<At<Name>>,
        /// What.
        fault: At<Kind>,
        /// error, rate_limit, stall, truncate: the share of requests; default 1.
        share: Option<At<Share>>,
        /// error: the status; default 500.
        status: Option<At<u32>>,
        /// rate_limit: when to come back, as the pool says; default it does not say.
        retry_after: Option<At<Duration>>,
        /// stall, truncate: after so many tokens; default 20.
        after_tokens: Option<At<u32>>,
        /// slow, surge: how many times.
        factor: Option<At<Amount>>,
        /// restart, crash: which router, counted from 0; default 0.
        router: Option<At<u32>>,
        /// restart: what calls under way have to finish; default all of `for`.
        grace: Option<At<Duration>>,
    }
}

record! {
    /// What is expected. What is not named is reported and not judged, but for lost and doubled calls.
    Expect as "expect" {
        /// How long everything must hold to count as recovered; default 30s.
        hold: Option<At<Duration>>,
        /// From the fault to the first word of a router that something is wrong there.
        detect_within: Option<Duration>,
        /// From the fault until everything holds again.
        failover_rto: Option<Duration>,
        /// From the end of the fault until everything holds and calls come back.
        failback_rto: Option<Duration>,
        /// The pools that take the load, the one that takes most first.
        overflow_order: Option<Vec<At<Name>>>,
        /// Calls without any end; default 0.
        lost_max: Option<u32>,
        /// Calls with two ends, or two bills; default 0.
        duplicated_max: Option<u32>,
        /// Streams that broke off and said so.
        interrupted_max: Option<u32>,
        /// Attempts a call while faults are on.
        amplification_max: Option<Amount>,
        /// What the faults may cost, in dollars.
        extra_cost_max_usd: Option<Amount>,
        /// The same in percent of what it would have cost.
        extra_cost_max_pct: Option<Amount>,
        /// What the 99th percentile of the first token may rise by while faults are on, in milliseconds.
        added_ttft_p99_max_ms: Option<Amount>,
    }
}

words! {
    /// What breaks a drill off.
    AbortSli as "indicator" {
        /// Share of calls that were answered whole.
        SuccessRatio = "success_ratio",
        /// Dollars a minute.
        SpendUsdPerMin = "spend_usd_per_min",
    }
}

record! {
    /// When all faults must end at once.
    Abort as "abort" {
        /// What is looked at.
        sli: At<AbortSli>,
        /// Of which class; default all.
        class: Option<At<Name>>,
        /// Below this.
        below: Option<At<Share>>,
        /// Above this.
        above: Option<At<Amount>>,
        /// For so long; default 10s.
        r#for: Option<Duration>,
    }
}

record! {
    /// All faults end with the drill, whatever comes of it.
    Restore as "restore" {
        /// After the last fault everything must hold again within this; default 60s.
        timeout: Option<Duration>,
    }
}

record! {
    /// The negative control: without this the same drill must fail, or it proves nothing.
    Control as "control" {
        /// `false`: no call is tried a second time.
        failover: Option<bool>,
        /// `false`: nothing is ever left alone for its failures.
        breakers: Option<bool>,
        /// Pools that are not there.
        without: Option<Vec<At<Name>>>,
        /// Routers side by side.
        routers: Option<At<u32>>,
    }
}
