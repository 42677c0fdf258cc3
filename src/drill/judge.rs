//! From what was written down to a verdict. Pure: it asks neither who played the drill nor what time it is, so that a
//! simulation and a rehearsal on real sockets are judged by the same lines.

mod checks;
mod ledger;
mod load;
mod recovery;
mod seen;
mod series;
mod steady;

use super::findings::{Findings, Moment, SCHEMA, Verdict, rounded};
use super::journal::Journal;
use super::script::{AbortWhen, Drill, Script};
use super::{Mode, findings};
use crate::domain::{Duration, Instant};
use seen::Track;

/// All that a judge is shown.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// The drill.
    pub drill: &'a Drill,
    /// What was done, which is less than the drill says if it was broken off.
    pub script: &'a Script,
    /// How it was played.
    pub mode: Mode,
    /// With which seed.
    pub seed: u64,
    /// As the negative control.
    pub control: bool,
    /// What was written down.
    pub journal: &'a Journal,
    /// What would have been written down had nothing happened.
    pub without: Option<&'a Journal>,
    /// What pools without the targets can take over what comes.
    pub headroom: Option<f64>,
    /// When it was broken off.
    pub aborted: Option<Instant>,
}

/// The phases of a drill.
#[derive(Clone, Copy, Debug)]
struct Phases {
    /// The first fault begins.
    begins: Instant,
    /// The last one is over; the end of the traffic if one never is.
    ends: Instant,
    /// The traffic ends.
    end: Instant,
}

impl Phases {
    fn of(script: &Script) -> Self {
        let end = script.end();
        let begins = script.first_fault().unwrap_or(end);
        let never = script.steps.iter().any(|step| step.ends.is_none());
        let ends = if never { end } else { script.last_end().unwrap_or(end).min(end) };
        Self { begins, ends, end }
    }

    /// A fault is on.
    fn during(&self, at: Instant) -> bool {
        self.begins <= at && at < self.ends
    }
}

/// Looks at everything, and decides.
pub fn judge(evidence: &Evidence<'_>) -> Findings {
    let Evidence { script, journal, .. } = *evidence;
    let phases = Phases::of(script);
    let tracks: Vec<Track> = script.steady.iter().filter_map(|h| Track::of(journal, h)).collect();
    let mut findings = blank(evidence);
    findings.requests = ledger::requests(journal);
    findings.matching = ledger::matching(evidence);
    findings.steps = recovery::steps(evidence, &tracks);
    findings.steady_state = steady::found(evidence, &findings.requests);
    findings.latency = load::latency(evidence, phases);
    findings.retries = load::retries(journal, phases);
    findings.overflow = load::overflow(evidence, phases);
    findings.cost = load::cost(evidence);
    findings.series = series::series(evidence);
    findings.timeline = recovery::timeline(evidence, &findings.steps);
    checks::decide(evidence, &tracks, &mut findings);
    findings.headline = headline(&findings, checks::added_p99(evidence, &findings));
    findings
}

/// A drill that was not begun.
pub fn refused(evidence: &Evidence<'_>, reasons: Vec<String>) -> Findings {
    let mut findings = blank(evidence);
    findings.verdict = Verdict::Refused;
    findings.headline =
        format!("{}: REFUSED ({}): {}", findings.drill, evidence.mode.name(), reasons.join("; "));
    findings.reasons = reasons;
    findings
}

/// When the drill must be broken off by what was written down so far, if it must.
pub fn abort_at(script: &Script, journal: &Journal) -> Option<Instant> {
    let first = script.first_fault()?;
    let moment = |abort: &super::script::Abort| match abort.when {
        AbortWhen::SuccessBelow { class, share } => {
            let ends = seen::ends(journal, class);
            low_since(&ends, share, abort.lasts).find(|at| *at >= first)
        }
        AbortWhen::SpendAbove(per_minute) => {
            let most = per_minute * abort.lasts.as_secs_f64() / 60.0;
            spent_more(&journal.spent, most, abort.lasts).find(|at| *at >= first)
        }
    };
    script.aborts.iter().filter_map(moment).min()
}

/// Moments at which less than a share was good over all of the time before.
fn low_since(ends: &[(Instant, bool)], share: f64, lasts: Duration) -> impl Iterator<Item = Instant> + '_ {
    let mut from = 0;
    let mut good = 0_u64;
    ends.iter().enumerate().filter_map(move |(i, (at, ok))| {
        good += u64::from(*ok);
        while ends[from].0 + lasts < *at {
            good -= u64::from(ends[from].1);
            from += 1;
        }
        let n = i + 1 - from;
        // A window that has not passed yet says nothing.
        (Instant::START + lasts <= *at && (good as f64) < share * n as f64).then_some(*at)
    })
}

fn spent_more(spent: &[(Instant, f64)], most: f64, lasts: Duration) -> impl Iterator<Item = Instant> + '_ {
    let mut from = 0;
    let mut sum = 0.0;
    spent.iter().filter_map(move |(at, usd)| {
        sum += usd;
        while spent[from].0 + lasts < *at {
            sum -= spent[from].1;
            from += 1;
        }
        (sum > most).then_some(*at)
    })
}

fn blank(evidence: &Evidence<'_>) -> Findings {
    let Evidence { drill, script, mode, seed, control, headroom, aborted, .. } = *evidence;
    let flag = if control { " --control" } else { "" };
    Findings {
        schema: SCHEMA,
        drill: script.name.to_string(),
        description: script.description.clone(),
        file: drill.file.to_string(),
        file_sha256: drill.sha256.clone(),
        config: drill.config_name(),
        config_sha256: drill.config_sha256.clone(),
        version: env!("CARGO_PKG_VERSION"),
        mode,
        seed,
        control,
        verdict: Verdict::Passed,
        reasons: Vec::new(),
        headline: String::new(),
        aborted_at_s: aborted.map(|at| rounded(at.as_secs_f64(), 3)),
        length_s: rounded(script.length.as_secs_f64(), 3),
        headroom: headroom.map(|x| rounded(x, 2)),
        checks: Vec::new(),
        steps: Vec::new(),
        timeline: Vec::<Moment>::new(),
        steady_state: Vec::new(),
        requests: findings::Requests::default(),
        matching: findings::Matching::default(),
        latency: Vec::new(),
        retries: findings::Retries::default(),
        overflow: findings::Overflow::default(),
        cost: findings::Cost::default(),
        series: findings::Series::default(),
        reproduce: format!("gridtie drill {} --mode {} --seed {seed}{flag}", drill.file, mode.name()),
    }
}

/// All of it in one line.
fn headline(findings: &Findings, added_p99_ms: Option<f64>) -> String {
    use super::words::{count, seconds_short, signed_dollars, signed_percent};
    let worst =
        |of: fn(&findings::StepFound) -> Option<f64>| findings.steps.iter().filter_map(of).reduce(f64::max);
    let requests = &findings.requests;
    let control = if findings.control { ", control" } else { "" };
    let mut parts = Vec::new();
    if let Some(detect) = worst(|step| step.detect_s) {
        parts.push(format!("detect {}", seconds_short(detect)));
    }
    let never = findings.steps.iter().any(|step| step.failover_s.is_none());
    match worst(|step| step.failover_s) {
        _ if never => parts.push("no recovery".to_owned()),
        Some(rto) => parts.push(format!("RTO {}", seconds_short(rto))),
        None => {}
    }
    parts.push(format!("{}/{} lost", count(requests.lost), count(requests.sent)));
    parts.push(format!("{} duplicated", count(requests.duplicated)));
    parts.push(format!("{} streams interrupted honestly", count(requests.interrupted)));
    if requests.refused > 0 {
        parts.push(format!("{} refused", count(requests.refused)));
    }
    if let Some(added) = added_p99_ms {
        parts.push(format!("added p99 {} ms", super::words::fixed(added, 0)));
    }
    parts.push(format!("amplification {:.2}", findings.retries.amplification));
    if let Some(extra) = findings.cost.extra_usd {
        let percent = findings.cost.extra_pct;
        let percent = percent.map_or_else(String::new, |pct| format!(" ({})", signed_percent(pct)));
        parts.push(format!("{}{percent}", signed_dollars(extra)));
    }
    if !findings.overflow.expected.is_empty() {
        let order = if findings.overflow.violations == 0 { "order ok" } else { "order wrong" };
        parts.push(order.to_owned());
    }
    format!(
        "{}: {} ({}, seed {}{control}) {}",
        findings.drill,
        findings.verdict.name(),
        findings.mode.name(),
        findings.seed,
        parts.join(", ")
    )
}

/// Seconds between two moments, to the millisecond.
fn between(from: Instant, to: Instant) -> f64 {
    rounded(to.secs_since(from), 3)
}
