//! How things stood over time, for plots: from the same books, in even steps.

use super::Evidence;
use super::load::step_of;
use super::seen::quantile;
use crate::domain::{ClassId, Instant, Tenure};
use crate::drill::findings::{ClassSeries, PoolSeries, Series, rounded};
use crate::drill::journal::Heard;

/// What a plot can show.
const STEPS_MAX: u32 = 240;

pub(super) fn series(evidence: &Evidence<'_>) -> Series {
    let Evidence { script, journal, drill, .. } = *evidence;
    let step = step_of(script.length, STEPS_MAX);
    let steps = (script.length.as_secs_f64() / step.as_secs_f64()).ceil() as usize;
    let place = |at: Instant| (at.as_nanos() / step.as_nanos().max(1) as u64) as usize;
    let mut sent = vec![0; steps];
    let (mut whole, mut other) = (sent.clone(), sent.clone());
    let classes = &drill.config.catalog.classes;
    let mut firsts: Vec<Vec<Vec<f64>>> = vec![vec![Vec::new(); steps]; classes.len()];
    for call in &journal.calls {
        count(&mut sent, place(call.sent));
        let ended = call.ended.unwrap_or(call.sent);
        count(if call.heard == Some(Heard::Whole) { &mut whole } else { &mut other }, place(ended));
        let first = call.first.and_then(|first| {
            let of = firsts.get_mut(call.class.index())?.get_mut(place(first))?;
            Some((of, first.secs_since(call.sent) * 1e3))
        });
        if let Some((of, ms)) = first {
            of.push(ms);
        }
    }
    let p99 = |all: &mut Vec<f64>| {
        all.sort_unstable_by(f64::total_cmp);
        quantile(all, 0.99).map(|ms| rounded(ms, 1))
    };
    let of_class = |(i, steps): (usize, &mut Vec<Vec<f64>>)| ClassSeries {
        class: classes[ClassId(i as u8).index()].name.to_string(),
        values: steps.iter_mut().map(p99).collect(),
    };
    let ttft = firsts.iter_mut().enumerate().map(of_class);
    let ttft_p99_ms = ttft.filter(|series| series.values.iter().any(Option::is_some)).collect();
    let step_s = step.as_secs_f64();
    Series { step_s, in_flight: in_flight(evidence, steps, step_s), sent, whole, other, ttft_p99_ms }
}

fn count(counts: &mut [u32], place: usize) {
    if let Some(n) = counts.get_mut(place) {
        *n += 1;
    }
}

/// Calls in flight at each pool, on average over each step.
fn in_flight(evidence: &Evidence<'_>, steps: usize, step_s: f64) -> Vec<PoolSeries> {
    let pools = &evidence.drill.config.catalog.pools;
    let mut seconds = vec![vec![0.0; steps]; pools.len()];
    for attempt in evidence.journal.accounts.iter().flat_map(|account| &account.attempts) {
        let (from, to) = (attempt.started.as_secs_f64(), attempt.ended.as_secs_f64());
        let Some(of) = seconds.get_mut(attempt.pool.index()) else { continue };
        let (first, last) = ((from / step_s) as usize, (to / step_s) as usize);
        for place in first..=last.min(steps.saturating_sub(1)) {
            let (start, end) = (place as f64 * step_s, (place + 1) as f64 * step_s);
            if let Some(sum) = of.get_mut(place) {
                *sum += (to.min(end) - from.max(start)).max(0.0);
            }
        }
    }
    let one = |(pool, seconds): (&crate::domain::Pool, Vec<f64>)| PoolSeries {
        pool: pool.name.to_string(),
        owned: pool.tenure == Tenure::Owned,
        values: seconds.into_iter().map(|sum: f64| rounded(sum / step_s, 3)).collect(),
    };
    pools.iter().zip(seconds).map(one).collect()
}
