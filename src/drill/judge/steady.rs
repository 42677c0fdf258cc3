//! What had to hold, before, during and after.

use super::seen::{Counted, Track, firsts, quantile};
use super::{Evidence, Phases};
use crate::domain::{Duration, Instant};
use crate::drill::findings::{Held, Requests, SteadyFound, rounded};
use crate::drill::script::{Hypothesis, Script, Sli};

/// A stretch of time.
type Stretch = (Instant, Instant);

/// The time in which everything must hold while faults are on: without what a failover may take, and without what
/// coming back may take.
fn during(script: &Script, phases: Phases) -> Vec<Stretch> {
    let failover = script.expect.failover_rto.unwrap_or_default();
    let failback = script.expect.failback_rto.unwrap_or_default();
    let mut out = vec![(phases.begins, phases.ends)];
    for step in &script.steps {
        without(&mut out, (step.at, step.at + failover));
        if let Some(ends) = step.ends {
            without(&mut out, (ends, ends + failback));
        }
    }
    out
}

fn without(stretches: &mut Vec<Stretch>, (from, to): Stretch) {
    let split = |(start, end): Stretch| [(start, end.min(from)), (start.max(to), end)];
    *stretches = stretches.iter().copied().flat_map(split).filter(|(start, end)| start < end).collect();
}

/// The time in which everything must hold after the last fault.
fn after(script: &Script, phases: Phases) -> Stretch {
    let failback = script.expect.failback_rto.unwrap_or(Duration::ZERO);
    (phases.ends + failback, phases.end)
}

pub(super) fn found(evidence: &Evidence<'_>, requests: &Requests) -> Vec<SteadyFound> {
    let phases = Phases::of(evidence.script);
    let during = during(evidence.script, phases);
    let after = after(evidence.script, phases);
    let one = |hypothesis: &Hypothesis| {
        let class = hypothesis.class.map(|class| evidence.drill.config.catalog.class(class).name.to_string());
        let counted = |n: u64, max: u64| {
            let held = Held { n: requests.sent, value: Some(n as f64), met: Some(n <= max) };
            (held, held, held)
        };
        let (sli, limit, (before, during, after)) = match hypothesis.sli {
            Sli::SilentTruncations(max) => {
                ("silent_truncations", max as f64, counted(requests.silent_truncations, max))
            }
            Sli::DoubleBilled(max) => ("double_billed", max as f64, counted(requests.double_billed, max)),
            Sli::SuccessRatio(min) => ("success_ratio", min, phased(evidence, hypothesis, &during, after)),
            Sli::TtftP99(max) => ("ttft_p99_ms", max, phased(evidence, hypothesis, &during, after)),
        };
        SteadyFound { sli, class, limit, before, during, after }
    };
    evidence.script.steady.iter().map(one).collect()
}

fn phased(
    evidence: &Evidence<'_>,
    hypothesis: &Hypothesis,
    during: &[Stretch],
    after: Stretch,
) -> (Held, Held, Held) {
    let phases = Phases::of(evidence.script);
    let Some(track) = Track::of(evidence.journal, hypothesis) else {
        return (Held::default(), Held::default(), Held::default());
    };
    let held = |stretches: &[Stretch]| held(evidence, hypothesis, &track, stretches);
    (held(&[(Instant::START, phases.begins)]), held(during), held(&[after]))
}

fn held(evidence: &Evidence<'_>, hypothesis: &Hypothesis, track: &Track, stretches: &[Stretch]) -> Held {
    let counted: Counted = stretches.iter().map(|(from, to)| track.counted(*from, *to)).sum();
    let value = match hypothesis.sli {
        Sli::TtftP99(_) => {
            let within = |at: Instant| stretches.iter().any(|(from, to)| *from <= at && at < *to);
            let firsts = firsts(evidence.journal, hypothesis.class).into_iter();
            let mut all: Vec<f64> = firsts.filter(|(at, _)| within(*at)).map(|(_, ms)| ms).collect();
            all.sort_unstable_by(f64::total_cmp);
            quantile(&all, 0.99).map(|ms| rounded(ms, 1))
        }
        _ if counted.n == 0 => None,
        _ => Some(rounded((counted.n - counted.bad) as f64 / counted.n as f64, 6)),
    };
    let met = (counted.n > 0).then(|| track.met(counted));
    Held { n: counted.n, value, met }
}
