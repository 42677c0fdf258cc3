//! The drawing: what happened over time, on one axis.

use crate::drill::findings::{Findings, Moment};
use crate::drill::words::count;
use crate::sim::report::html::canvas::Canvas;
use crate::sim::report::html::scale::{Scale, time_tick, times};

/// In its own units, as the other plots of a report.
const WIDTH: f64 = 920.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = WIDTH - 128.0;

/// From above: names of faults and numbers of moments, then three plots.
const FAULTS_Y: f64 = 14.0;
const BADGES_Y: f64 = 32.0;
const LOAD: (f64, f64) = (62.0, 270.0);
const ENDS: (f64, f64) = (318.0, 408.0);
const FIRST: (f64, f64) = (456.0, 576.0);

/// Numbers on the drawing: beyond that they cover each other.
pub(super) const NUMBERED_MAX: usize = 20;

/// The moments that have a number, in order.
pub(super) fn numbered(findings: &Findings) -> impl Iterator<Item = &Moment> {
    findings.timeline.iter().filter(|moment| moment.kind != "pool").take(NUMBERED_MAX)
}

/// What happened over time.
pub(super) fn timeline(findings: &Findings) -> String {
    let mut canvas = Canvas::new(WIDTH, FIRST.1 + 30.0);
    let xs = Scale::even(findings.length_s, (LEFT, RIGHT));
    faults(&mut canvas, findings, &xs);
    load(&mut canvas, findings, &xs);
    ends(&mut canvas, findings, &xs);
    first_tokens(&mut canvas, findings, &xs);
    moments(&mut canvas, findings, &xs);
    canvas.line("axis", (LEFT, FIRST.1), (RIGHT, FIRST.1));
    for (at, text) in times(findings.length_s, 8) {
        canvas.line("axis", (xs.at(at), FIRST.1), (xs.at(at), FIRST.1 + 4.0));
        canvas.text(if at == 0.0 { "t" } else { "t m" }, xs.at(at), FIRST.1 + 18.0, &text);
    }
    canvas.finished(
        "drill",
        "The drill over time",
        "Faults, calls in flight at each pool, calls that ended, and first tokens, on one axis of time.",
    )
}

fn faults(canvas: &mut Canvas, findings: &Findings, xs: &Scale) {
    for step in &findings.steps {
        let (from, to) = (xs.at(step.at_s), xs.at(step.ends_s.unwrap_or(findings.length_s)));
        let hint = format!("{}: {}", step.id, step.fault);
        canvas.rect("fault", (from, FAULTS_Y + 6.0), (to - from, FIRST.1 - FAULTS_Y - 6.0), &hint);
        canvas.line("edge", (from, FAULTS_Y + 6.0), (from, FIRST.1));
        if step.ends_s.is_some() {
            canvas.line("edge", (to, FAULTS_Y + 6.0), (to, FIRST.1));
        }
        let of = step.pool.as_ref().map_or_else(String::new, |pool| format!(" {pool}"));
        canvas.text("fault-name", from, FAULTS_Y, &format!("{}: {}{of}", step.id, step.fault));
    }
}

/// Places from left to right, none closer to the next than a badge is wide.
fn spaced(places: &[f64]) -> Vec<f64> {
    const GAP: f64 = 16.0;
    let mut spaced = places.to_vec();
    for i in 1..spaced.len() {
        spaced[i] = spaced[i].max(spaced[i - 1] + GAP);
    }
    // What was pushed over the edge pushes back.
    for i in (0..spaced.len()).rev() {
        let most = spaced.get(i + 1).map_or(RIGHT + 12.0, |next| next - GAP);
        spaced[i] = spaced[i].min(most);
    }
    spaced
}

/// The numbers of the moments, in a row, none upon another.
fn moments(canvas: &mut Canvas, findings: &Findings, xs: &Scale) {
    let places: Vec<f64> = numbered(findings).map(|moment| xs.at(moment.t_s)).collect();
    let shown = spaced(&places);
    for (no, ((moment, x), badge)) in numbered(findings).zip(&places).zip(shown).enumerate() {
        canvas.line("moment", (*x, LOAD.0), (*x, FIRST.1));
        canvas.line("lead", (badge, BADGES_Y + 8.0), (*x, LOAD.0));
        canvas.dot("badge", (badge, BADGES_Y), 7.0, &format!("{} s: {}", moment.t_s, moment.what));
        canvas.text("badge-no", badge, BADGES_Y + 3.5, &(no + 1).to_string());
    }
}

fn colour(findings: &Findings, pool: usize) -> String {
    let owned = |at: usize| findings.series.in_flight.get(at).map(|series| series.owned);
    let same = (0..pool).filter(|at| owned(*at) == owned(pool)).count();
    if owned(pool) == Some(true) { format!("o{}", same % 4) } else { format!("m{}", same % 5) }
}

/// Calls in flight, one layer upon the other.
fn load(canvas: &mut Canvas, findings: &Findings, xs: &Scale) {
    let series = &findings.series;
    let steps = series.sent.len();
    let mut below = vec![0.0; steps];
    let mut layers = Vec::new();
    for pool in &series.in_flight {
        let top: Vec<f64> = below.iter().zip(&pool.values).map(|(below, value)| below + value).collect();
        layers.push((below, top.clone()));
        below = top;
    }
    let most = below.iter().copied().fold(1.0, f64::max);
    let ys = Scale::even(1.04 * most, (LOAD.1, LOAD.0));
    for calls in ys.ticks(4) {
        canvas.line("grid", (LEFT, ys.at(calls)), (RIGHT, ys.at(calls)));
        canvas.text("t e", LEFT - 8.0, ys.at(calls) + 4.0, &count(calls as u64));
    }
    canvas.text("t halo", LEFT + 4.0, LOAD.0 - 2.0, "calls in flight");
    let middle = |i: usize| (i as f64 + 0.5) * series.step_s;
    for (pool, (lower, upper)) in layers.iter().enumerate() {
        let band: Vec<(f64, f64, f64)> =
            (0..steps).map(|i| (xs.at(middle(i)), ys.at(upper[i]), ys.at(lower[i]))).collect();
        if band.iter().any(|(_, upper, lower)| upper < lower) {
            canvas.area(&colour(findings, pool), &band);
        }
    }
    canvas.line("axis", (LEFT, LOAD.1), (RIGHT, LOAD.1));
    let used: Vec<usize> =
        (0..layers.len()).filter(|i| series.in_flight[*i].values.iter().any(|value| *value > 0.0)).collect();
    let heights: Vec<f64> =
        used.iter().rev().enumerate().map(|(i, _)| LOAD.0 + 8.0 + 18.0 * i as f64).collect();
    for (pool, y) in used.iter().rev().zip(heights) {
        canvas.rect(&colour(findings, *pool), (RIGHT + 12.0, y - 5.0), (10.0, 10.0), "");
        canvas.text("", RIGHT + 27.0, y + 4.0, &series.in_flight[*pool].pool);
    }
}

/// Calls that ended, by how.
fn ends(canvas: &mut Canvas, findings: &Findings, xs: &Scale) {
    let series = &findings.series;
    let each = |i: usize| f64::from(series.whole[i] + series.other[i]) / series.step_s;
    let answered = series.whole.iter().map(|n| f64::from(*n) / series.step_s).fold(1.0, f64::max);
    // One bad moment must not make everything else flat: what is higher is cut off, and its number given.
    let most = (0..series.whole.len()).map(each).fold(1.0, f64::max).min(1.5 * answered);
    let ys = Scale::even(1.05 * most, (ENDS.1, ENDS.0));
    for calls in ys.ticks(3) {
        canvas.line("grid", (LEFT, ys.at(calls)), (RIGHT, ys.at(calls)));
        canvas.text("t e", LEFT - 8.0, ys.at(calls) + 4.0, &count(calls as u64));
    }
    canvas.text("t halo", LEFT + 4.0, ENDS.0 - 8.0, "calls that ended, a second");
    for i in 0..series.whole.len() {
        let (from, to) = (xs.at(i as f64 * series.step_s), xs.at((i + 1) as f64 * series.step_s));
        let whole = ys.at(f64::from(series.whole[i]) / series.step_s);
        let all = ys.at(each(i));
        let gap = ((to - from) * 0.12).min(1.0);
        canvas.rect("whole", (from, whole), (to - from - gap, ENDS.1 - whole), "");
        if series.other[i] > 0 {
            let hint = format!("{} were not answered whole", series.other[i]);
            canvas.rect("bad", (from, all), (to - from - gap, whole - all), &hint);
            if each(i) > 1.05 * most {
                canvas.text("s halo", to + 2.0, ENDS.0 + 8.0, &format!("{} not whole", series.other[i]));
            }
        }
    }
    canvas.line("axis", (LEFT, ENDS.1), (RIGHT, ENDS.1));
    for (class, name, y) in [("whole", "whole", 8.0), ("bad", "not whole", 26.0)] {
        canvas.rect(class, (RIGHT + 12.0, ENDS.0 + y - 5.0), (10.0, 10.0), "");
        canvas.text("", RIGHT + 27.0, ENDS.0 + y + 4.0, name);
    }
}

fn first_tokens(canvas: &mut Canvas, findings: &Findings, xs: &Scale) {
    let series = &findings.series;
    let all = || series.ttft_p99_ms.iter().flat_map(|class| class.values.iter().flatten().copied());
    let limits: Vec<f64> =
        findings.steady_state.iter().filter(|s| s.sli == "ttft_p99_ms").map(|s| s.limit).collect();
    let most = all().chain(limits.iter().copied()).fold(10.0, f64::max);
    let least = all().fold(most, f64::min).max(1.0);
    let ys = Scale::decades(least / 1.3, most * 1.3, (FIRST.1, FIRST.0));
    for ms in ys.ticks(4) {
        canvas.line("grid", (LEFT, ys.at(ms)), (RIGHT, ys.at(ms)));
        canvas.text("t e", LEFT - 8.0, ys.at(ms) + 4.0, &time_tick(ms));
    }
    canvas.text("t halo", LEFT + 4.0, FIRST.0 - 8.0, "first token, 99 of 100 within");
    for limit in limits {
        canvas.line("target dash", (LEFT, ys.at(limit)), (RIGHT, ys.at(limit)));
    }
    for (no, class) in series.ttft_p99_ms.iter().enumerate() {
        let points: Vec<Option<(f64, f64)>> = class
            .values
            .iter()
            .enumerate()
            .map(|(i, ms)| ms.map(|ms| (xs.at((i as f64 + 0.5) * series.step_s), ys.at(ms))))
            .collect();
        let runs: Vec<Vec<(f64, f64)>> = points
            .split(Option::is_none)
            .map(|run| run.iter().flatten().copied().collect::<Vec<_>>())
            .filter(|run| !run.is_empty())
            .collect();
        canvas.polyline(&format!("c{}", no % 4), &runs);
        let y = FIRST.0 + 8.0 + 18.0 * no as f64;
        canvas.rect(&format!("c{}", no % 4), (RIGHT + 12.0, y - 2.0), (10.0, 4.0), "");
        canvas.text("", RIGHT + 27.0, y + 4.0, &class.class);
    }
}
