//! How long it took: until a router noticed, until everything held again, until calls came back.

use super::seen::{Track, recovered};
use super::{Evidence, between};
use crate::call::AttemptResult;
use crate::domain::{Duration, Instant, PoolId};
use crate::drill::findings::{Moment, StepFound, rounded};
use crate::drill::journal::Journal;
use crate::drill::script::{Fault, Step};

/// Words of a router about a pool that is well, or on its way there.
const WELL: [&str; 3] = ["healthy", "slow_start", "probation"];

/// Over this a pool's share of new attempts is looked at, where no router says a word.
const SHARE_WINDOW: Duration = Duration::from_secs(2);

/// Changes of pools on the timeline: beyond that nobody reads them.
const CHANGES_MAX: usize = 60;

pub(super) fn steps(evidence: &Evidence<'_>, tracks: &[Track]) -> Vec<StepFound> {
    evidence.script.steps.iter().map(|step| found(evidence, tracks, step)).collect()
}

fn found(evidence: &Evidence<'_>, tracks: &[Track], step: &Step) -> StepFound {
    let Evidence { script, journal, .. } = *evidence;
    let pool = script.pool(step);
    let name = |pool: PoolId| evidence.drill.config.catalog.pool(pool).name.to_string();
    let detected = detected(journal, step, pool);
    let end = script.end();
    let steady_at = recovered(tracks, step.at, end);
    let steady_after = step.ends.and_then(|ends| recovered(tracks, ends, end).map(|at| (ends, at)));
    let back = step.ends.zip(pool).and_then(|(ends, pool)| came_back(journal, pool, ends));
    // A pool that had no calls before is not expected to get any.
    let awaited = pool.is_some_and(|pool| attempts(journal, pool).any(|a| a.started < step.at));
    let whole_again = steady_after.and_then(|(ends, at)| match back {
        Some(back) => Some((ends, at.max(back))),
        None if awaited => None,
        None => Some((ends, at)),
    });
    StepFound {
        id: step.id.to_string(),
        fault: step.fault.name(),
        pool: pool.map(name),
        at_s: rounded(step.at.as_secs_f64(), 3),
        ends_s: step.ends.map(|ends| rounded(ends.as_secs_f64(), 3)),
        detect_s: detected.as_ref().map(|(at, _)| between(step.at, *at)),
        detected_by: detected.map(|(_, by)| by),
        failover_s: steady_at.map(|at| between(step.at, at)),
        failback_s: whole_again.map(|(ends, at)| between(ends, at)),
        first_back_s: step.ends.zip(back).map(|(ends, at)| between(ends, at)),
    }
}

fn attempts(journal: &Journal, pool: PoolId) -> impl Iterator<Item = &crate::drill::journal::Attempt> {
    journal.accounts.iter().flat_map(|account| &account.attempts).filter(move |a| a.pool == pool)
}

/// The first word of a router that something is wrong there; or, where none says a word, the moment from which on the
/// pool gets less than half of what it got.
fn detected(journal: &Journal, step: &Step, pool: Option<PoolId>) -> Option<(Instant, String)> {
    let pool = pool?;
    match step.fault {
        Fault::Drain => return Some((step.at, "an operator drained it".to_owned())),
        Fault::LeaseEnds => return Some((step.at, "the lease was known to end".to_owned())),
        _ => {}
    }
    let until = step.ends.unwrap_or(Instant::NEVER);
    let ill = journal.changes.iter().find(|change| {
        change.pool == pool && step.at <= change.at && change.at < until && !WELL.contains(&change.to)
    });
    if let Some(change) = ill {
        return Some((change.at, format!("{}: {}", change.to, change.why)));
    }
    let mut started: Vec<Instant> = attempts(journal, pool).map(|attempt| attempt.started).collect();
    started.sort_unstable();
    let count = |from: Instant, to: Instant| {
        started.partition_point(|at| *at < to) - started.partition_point(|at| *at < from)
    };
    let before = step.at - 5 * SHARE_WINDOW;
    let usual = count(before, step.at) as f64 / 5.0;
    let moments = (0_u32..).map(|i| step.at + Duration::from_millis(100) * i);
    let mut moments =
        moments.take_while(|at| *at + SHARE_WINDOW <= until.min(step.at + Duration::from_secs(600)));
    let less = |at: &Instant| (count(*at, *at + SHARE_WINDOW) as f64) < 0.5 * usual;
    let at = moments.find(|at| usual >= 4.0 && less(at))?;
    Some((at, "it gets less than half of what it got".to_owned()))
}

/// When the pool was first sent a call that it then answered.
fn came_back(journal: &Journal, pool: PoolId, from: Instant) -> Option<Instant> {
    let answered = |a: &&crate::drill::journal::Attempt| a.started >= from && a.result == AttemptResult::Ok;
    attempts(journal, pool).filter(answered).map(|attempt| attempt.started).min()
}

pub(super) fn timeline(evidence: &Evidence<'_>, steps: &[StepFound]) -> Vec<Moment> {
    let mut moments = Vec::new();
    let mut note = |t_s: f64, kind, what: String| moments.push(Moment { t_s: rounded(t_s, 3), kind, what });
    for step in steps {
        let of = step.pool.as_ref().map_or_else(String::new, |pool| format!(" {pool}"));
        note(step.at_s, "inject", format!("{}: {}{of}", step.id, step.fault));
        if let Some((detect, by)) = step.detect_s.zip(step.detected_by.as_ref()) {
            note(step.at_s + detect, "detected", format!("noticed: {by}"));
        }
        if let Some(failover) = step.failover_s {
            note(step.at_s + failover, "steady", format!("steady despite {}", step.id));
        }
        let Some(ends) = step.ends_s else { continue };
        note(ends, "restore", format!("{} is over", step.id));
        if let (Some(back), Some(pool)) = (step.first_back_s, &step.pool) {
            note(ends + back, "back", format!("{pool} answers again"));
        }
        if let Some(failback) = step.failback_s {
            note(ends + failback, "steady", format!("as before {}", step.id));
        }
    }
    let first = evidence.script.first_fault().unwrap_or(Instant::START);
    let told = evidence.journal.changes.iter().filter(|change| change.whole && change.at >= first);
    for change in told.take(CHANGES_MAX) {
        let pool = &evidence.drill.config.catalog.pool(change.pool).name;
        note(change.at.as_secs_f64(), "pool", format!("{pool}: {} ({})", change.to, change.why));
    }
    if let Some(at) = evidence.aborted {
        note(at.as_secs_f64(), "abort", "broken off: all faults end".to_owned());
    }
    moments.sort_by(|a, b| a.t_s.total_cmp(&b.t_s));
    moments
}
