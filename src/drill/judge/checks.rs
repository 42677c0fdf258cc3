//! What was expected beside what came, and what follows from it.

use super::seen::{Track, recovered};
use super::{Evidence, Phases};
use crate::domain::Duration;
use crate::drill::findings::{Check, Findings, Held, StepFound, Verdict};
use crate::drill::journal::Call;
use crate::drill::script::Fault;
use crate::drill::words::{count, fixed, seconds_short, signed_dollars, signed_percent};

/// Fills in the checks, and the verdict with its reasons.
pub(super) fn decide(evidence: &Evidence<'_>, tracks: &[Track], findings: &mut Findings) {
    let mut checks = Vec::new();
    timing(evidence, findings, &mut checks);
    held(findings, &mut checks);
    books(evidence, findings, &mut checks);
    prices(evidence, findings, &mut checks);
    findings.checks = checks;
    let unmet = |check: &&Check| !check.met;
    let missed = |check: &Check| format!("{}: {}, wanted {}", check.name, check.measured, check.wanted);
    let failed: Vec<String> = findings.checks.iter().filter(unmet).map(missed).collect();
    let restored = restored(evidence, tracks);
    let little = too_little(evidence, tracks, findings);
    let (verdict, reasons) = if let Some(why) = uneven(findings) {
        (Verdict::Refused, vec![why])
    } else if let Some(at) = findings.aborted_at_s {
        (Verdict::Aborted, vec![format!("a limit of the drill was passed at {at} s")])
    } else if let Some(why) = restored {
        (Verdict::RestoreFailed, std::iter::once(why).chain(failed).collect())
    } else if !little.is_empty() {
        (Verdict::Inconclusive, little)
    } else if !failed.is_empty() {
        (Verdict::Failed, failed)
    } else {
        (Verdict::Passed, Vec::new())
    };
    (findings.verdict, findings.reasons) = (verdict, reasons);
}

/// What the first token of classes that must not wait rose by: those of which something must hold; of the usual one if
/// nothing is said.
pub(super) fn added_p99(evidence: &Evidence<'_>, findings: &Findings) -> Option<f64> {
    let catalog = &evidence.drill.config.catalog;
    let mut named: Vec<&str> = evidence
        .script
        .steady
        .iter()
        .filter_map(|h| h.class)
        .map(|class| &*catalog.class(class).name)
        .collect();
    if named.is_empty() {
        named.push(&catalog.class(catalog.default_class).name);
    }
    let mine = findings.latency.iter().filter(|row| named.contains(&row.class.as_str()));
    mine.filter_map(|row| row.added_p99_ms).reduce(f64::max)
}

/// What did not hold before anything happened says nothing about what happened.
fn uneven(findings: &Findings) -> Option<String> {
    let found = findings.steady_state.iter().find(|found| {
        found.before.met == Some(false) && !matches!(found.sli, "silent_truncations" | "double_billed")
    })?;
    let value = found.before.value.map_or_else(String::new, |value| value.to_string());
    Some(format!(
        "{}{} did not hold before the first fault: {value}, limit {}",
        found.sli,
        of_class(found.class.as_deref()),
        found.limit
    ))
}

fn of_class(class: Option<&str>) -> String {
    class.map_or_else(String::new, |class| format!(" of {class}"))
}

/// Why it is not restored, if it is not.
fn restored(evidence: &Evidence<'_>, tracks: &[Track]) -> Option<String> {
    let phases = Phases::of(evidence.script);
    let ends = evidence.script.last_end().filter(|_| phases.ends < phases.end)?;
    let within = evidence.script.restore_within;
    let at = recovered(tracks, ends, phases.end);
    if at.is_some_and(|at| at.since(ends) <= within) {
        return None;
    }
    Some(format!("{} s after the last fault it is not as before", fixed(within.as_secs_f64(), 0)))
}

/// What was too little to say anything.
fn too_little(evidence: &Evidence<'_>, tracks: &[Track], findings: &Findings) -> Vec<String> {
    // What comes is counted, not what is answered: silence is a result.
    let least = evidence.script.preconditions.calls_min;
    let sent = findings.requests.sent;
    let mut why = Vec::new();
    if sent < least || sent == 0 {
        why.push(format!("{} calls, and {} were asked for", count(sent), count(least.max(1))));
    }
    let phases = Phases::of(evidence.script);
    for track in tracks {
        let mine =
            |call: &&Call| track.class.is_none_or(|class| call.class == class) && phases.during(call.sent);
        let n = evidence.journal.calls.iter().filter(mine).count() as u64;
        if n < track.needed() {
            let class = track.class.map(|class| evidence.drill.config.catalog.class(class).name.to_string());
            why.push(format!(
                "{} calls{} while faults were on, and {} are needed to tell",
                count(n),
                of_class(class.as_deref()),
                count(track.needed())
            ));
        }
    }
    why.dedup();
    why
}

fn timing(evidence: &Evidence<'_>, findings: &Findings, checks: &mut Vec<Check>) {
    let expect = &evidence.script.expect;
    let measured = |x: Option<f64>| x.map_or_else(|| "never".to_owned(), seconds_short);
    let mut within = |name: String, limit: Option<Duration>, x: Option<f64>| {
        if let Some(limit) = limit {
            let limit = limit.as_secs_f64();
            let wanted = format!("within {}", seconds_short(limit));
            checks.push(Check { name, wanted, measured: measured(x), met: x.is_some_and(|x| x <= limit) });
        }
    };
    let known = |step: &&StepFound| step.pool.is_some();
    let announced = |fault: &str| fault == Fault::Drain.name() || fault == Fault::LeaseEnds.name();
    for step in findings.steps.iter().filter(known).filter(|step| !announced(step.fault)) {
        within(format!("noticed ({})", step.id), expect.detect_within, step.detect_s);
    }
    for step in &findings.steps {
        within(format!("steady again ({})", step.id), expect.failover_rto, step.failover_s);
        if step.ends_s.is_some() {
            within(format!("as before ({})", step.id), expect.failback_rto, step.failback_s);
        }
    }
}

fn held(findings: &Findings, checks: &mut Vec<Check>) {
    for found in &findings.steady_state {
        let ratio = found.sli == "success_ratio";
        let shown = |x: f64| match found.sli {
            "success_ratio" => format!("{} %", fixed(100.0 * x, 2)),
            "ttft_p99_ms" => format!("{} ms", fixed(x, 0)),
            _ => fixed(x, 0),
        };
        let wanted = format!("at {} {}", if ratio { "least" } else { "most" }, shown(found.limit));
        let phases: &[(&str, Held)] = match found.sli {
            "success_ratio" | "ttft_p99_ms" => &[(", faults on", found.during), (", after", found.after)],
            _ => &[("", found.during)],
        };
        for (phase, held) in phases {
            let Some(met) = held.met else { continue };
            let name = format!("{}{}{phase}", found.sli, of_class(found.class.as_deref()));
            let measured = held.value.map_or_else(|| "nothing".to_owned(), shown);
            checks.push(Check { name, wanted: wanted.clone(), measured, met });
        }
    }
}

fn books(evidence: &Evidence<'_>, findings: &Findings, checks: &mut Vec<Check>) {
    let (expect, requests) = (&evidence.script.expect, &findings.requests);
    let mut most = |name: &str, limit: Option<u64>, n: u64| {
        if let Some(limit) = limit {
            let wanted = format!("at most {}", count(limit));
            checks.push(Check { name: name.to_owned(), wanted, measured: count(n), met: n <= limit });
        }
    };
    most("lost calls", Some(expect.lost_max), requests.lost);
    most("duplicated calls", Some(expect.duplicated_max), requests.duplicated);
    most("interrupted streams", expect.interrupted_max, requests.interrupted);
    let matching = &findings.matching;
    let off = matching.unaccounted + matching.contradicted + matching.attempts_off + matching.answers_off;
    checks.push(Check {
        name: "books of clients, routers and pools".to_owned(),
        wanted: "agree".to_owned(),
        measured: if matching.agreed { "agree".to_owned() } else { format!("{} differ", count(off)) },
        met: matching.agreed,
    });
    if !findings.overflow.expected.is_empty() {
        checks.push(Check {
            name: "overflow order".to_owned(),
            wanted: findings.overflow.expected.join(", "),
            measured: findings.overflow.actual.join(", "),
            met: findings.overflow.violations == 0,
        });
    }
}

fn prices(evidence: &Evidence<'_>, findings: &Findings, checks: &mut Vec<Check>) {
    let expect = &evidence.script.expect;
    let mut most = |name: &str, limit: Option<f64>, x: Option<f64>, shown: &dyn Fn(f64) -> String| {
        if let Some((limit, x)) = limit.zip(x) {
            let wanted = format!("at most {}", shown(limit));
            checks.push(Check { name: name.to_owned(), wanted, measured: shown(x), met: x <= limit });
        }
    };
    let times = |x: f64| fixed(x, 2);
    most("amplification", expect.amplification_max, Some(findings.retries.amplification), &times);
    most("extra cost", expect.extra_cost_max_usd, findings.cost.extra_usd, &signed_dollars);
    most("extra cost, %", expect.extra_cost_max_pct, findings.cost.extra_pct, &signed_percent);
    let added = added_p99(evidence, findings);
    most("added first token p99", expect.added_ttft_p99_max_ms, added, &|x| format!("{} ms", fixed(x, 0)));
}
