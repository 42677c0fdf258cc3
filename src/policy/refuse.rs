//! What to do with a call that nobody can take now: wait for somebody, or say why not.

use std::fmt::{Display, Write as _};

use super::{CallView, Exclusion, Settings};
use crate::domain::{Duration, Instant};

/// What to do.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Verdict {
    /// Ask again then; what it waits for is the exclusion at this position.
    Wait {
        /// When, at the latest.
        until: Instant,
        /// Position among the exclusions.
        waits_for: usize,
    },
    /// Nothing but another request or another config helps.
    Never,
    /// Somebody could, but has too much to do.
    Overloaded {
        /// When to come back; absent where that depends on when calls end.
        retry_after: Option<Duration>,
    },
    /// Nobody is there.
    Nobody {
        /// When to come back.
        retry_after: Duration,
    },
    /// Not in time.
    TooLate,
}

/// Clients that come back sooner than this only make it worse.
pub const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
/// Without any idea when it gets better.
const RETRY_AFTER_UNKNOWN: Duration = Duration::from_secs(5);

/// Given why each offer is out. None are eligible.
pub fn verdict(call: &CallView<'_>, excluded: &[Exclusion], settings: &Settings) -> Verdict {
    if excluded.iter().all(Exclusion::permanent) {
        return Verdict::Never;
    }
    let now = call.now.mono;
    let patient = call.class.may_wait;
    let soonest = soonest(call, excluded, settings);
    if let Some((until, waits_for)) = soonest {
        let short = until <= now + settings.short_wait;
        if until > now && until < call.facts.deadline && (patient || short) {
            return Verdict::Wait { until, waits_for };
        }
    }
    let clears = excluded.iter().filter_map(Exclusion::clears).min();
    let retry_after = clears.map_or(RETRY_AFTER_UNKNOWN, |at| at.since(now)).max(RETRY_AFTER_MIN);
    let temporary = || excluded.iter().filter(|e| !e.permanent());
    if temporary().all(|e| matches!(e, Exclusion::TooSlow { .. })) {
        return Verdict::TooLate;
    }
    if temporary().any(Exclusion::loaded) {
        let full = excluded.iter().any(Exclusion::clears_with_load);
        return Verdict::Overloaded { retry_after: (!full).then_some(retry_after) };
    }
    Verdict::Nobody { retry_after }
}

/// When the first of them may be back, and which.
fn soonest(call: &CallView<'_>, excluded: &[Exclusion], settings: &Settings) -> Option<(Instant, usize)> {
    let by_load = if call.class.may_wait {
        call.now.mono + settings.short_wait
    } else {
        // However often it is asked again: any class waits for a place so long in all.
        call.facts.arrived + settings.short_wait
    };
    let mut soonest: Option<(Instant, usize)> = None;
    for (i, e) in excluded.iter().enumerate() {
        let at = if e.clears_with_load() { Some(by_load) } else { e.clears() };
        if let Some(at) = at.filter(|&at| at > call.now.mono)
            && soonest.is_none_or(|(s, _)| at < s)
        {
            soonest = Some((at, i));
        }
    }
    soonest
}

/// `no pool for chat-large: owned: drained; cloud-a: cooling down for 3.0 s`, from pools and why each is out.
pub fn excuses<'a, S: Display>(model: &str, why: impl ExactSizeIterator<Item = (&'a str, S)>) -> String {
    /// Of more pools than this, the rest are only counted: an error message is not a report.
    const NAMED: usize = 16;
    let mut s = format!("no pool for {model}");
    let more = why.len().saturating_sub(NAMED);
    for (i, (pool, says)) in why.take(NAMED).enumerate() {
        // Writing to a String cannot fail.
        let _ = write!(s, "{} {pool}: {says}", if i == 0 { ':' } else { ';' });
    }
    if more > 0 {
        let _ = write!(s, "; and {more} more");
    }
    s
}
