//! How long people waited, and when they waited too long: quantiles of the first token by class and policy, and the
//! share of misses over time as one strip for each policy.

use super::super::digest::{Digest, Spread};
use super::super::figures::{percent, shortened, span};
use super::canvas::Canvas;
use super::scale::{Scale, time_tick};
use super::time::{length_s, mean, time_axis};
use super::{LABEL_MAX, Report, WIDTH, kind, label_class};
use crate::domain::Instant;
use crate::sim::Tally;

const ROW: f64 = 21.0;
const LEFT: f64 = 170.0;

/// Panels side by side.
pub(super) const PANELS: usize = 3;

/// The quantiles that are shown.
pub(super) const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];

/// Time to the first token, one panel for each of some classes, one row for each policy.
pub(super) fn first_tokens(report: &Report, digests: &[Digest<'_>], classes: &[usize]) -> String {
    let mut canvas = Canvas::new(WIDTH, 52.0 + ROW * (digests.len() as f64 + 1.0) + 30.0);
    let top = 52.0;
    for (row, digest) in digests.iter().enumerate() {
        let y = top + ROW * row as f64;
        let name = shortened(digest.policy, LABEL_MAX);
        canvas.text(&format!("e {}", label_class(digest)), LEFT - 14.0, y + 4.0, &name);
    }
    if classes.iter().any(|class| floor(report, *class).is_some()) {
        let y = top + ROW * digests.len() as f64;
        canvas.text("tbound e", LEFT - 14.0, y + 4.0, "if nobody waited");
    }
    let wide = (WIDTH - LEFT + 24.0) / PANELS as f64;
    for (column, class) in classes.iter().enumerate() {
        let left = LEFT + wide * column as f64;
        panel(&mut canvas, report, digests, *class, (left, left + wide - 24.0));
    }
    let id = format!("waits{}", classes.first().copied().unwrap_or(0));
    let description = "For each policy the time that half, 90 and 99 of 100 first tokens came within.";
    canvas.finished(&id, "Time to the first token by class and policy", description)
}

fn floor(report: &Report, class: usize) -> Option<(f64, f64)> {
    let of = |f: fn(&super::super::Floor) -> f64| {
        let all = report.bounds.iter().filter_map(|bound| bound.floor.get(class)).map(f);
        Spread::of(all.filter(|ms| *ms > 0.0)).map(|spread| spread.mean)
    };
    of(|floor| floor.p50_ms).zip(of(|floor| floor.p99_ms))
}

fn panel(
    canvas: &mut Canvas,
    report: &Report,
    digests: &[Digest<'_>],
    class: usize,
    (left, right): (f64, f64),
) {
    let top = 52.0;
    let rows: Vec<[Option<f64>; 3]> =
        digests.iter().map(|d| QUANTILES.map(|q| d.ttft_ms(class, q).map(|s| s.mean))).collect();
    let floor = floor(report, class);
    let facts = report.classes.get(class);
    let target = facts.and_then(|facts| facts.ttft_target).map(|t| t.as_secs_f64() * 1e3);
    let ends = floor.map(|(a, b)| [a, b]).into_iter().flatten().chain(target);
    let all = || rows.iter().flatten().flatten().copied().chain(ends.clone()).filter(|ms| *ms > 0.0);
    let (least, most) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
    // Somewhat more than a factor of ten, or no round figure may be inside.
    let room = (12.0 * least / most).max(1.0).sqrt().max(1.6);
    let xs = Scale::decades(least / room, most * room, (left, right));
    let bottom = top + ROW * (digests.len() as f64 + if floor.is_some() { 0.6 } else { -0.4 });
    for ms in xs.ticks(5) {
        canvas.line("grid", (xs.at(ms), top - 12.0), (xs.at(ms), bottom));
        canvas.text("s m", xs.at(ms), bottom + 16.0, &time_tick(ms));
    }
    canvas.text("b", left, 14.0, &shortened(facts.map_or("", |facts| &facts.name), 20));
    if let Some(ms) = target {
        canvas.line("target", (xs.at(ms), top - 22.0), (xs.at(ms), bottom));
        let text = format!("target {}", span(ms));
        let late = xs.at(ms) > f64::midpoint(left, right);
        canvas.text(
            if late { "ttarget e halo" } else { "ttarget halo" },
            xs.at(ms) + if late { -4.0 } else { 4.0 },
            top - 14.0,
            &text,
        );
    }
    for (row, (digest, quantiles)) in digests.iter().zip(&rows).enumerate() {
        let y = top + ROW * row as f64;
        let [p50, p90, p99] = quantiles.map(|ms| ms.map(|ms| (ms, xs.at(ms))));
        let (Some(p50), Some(p90), Some(p99)) = (p50, p90, p99) else {
            canvas.text("s", left, y + 4.0, "no answer");
            continue;
        };
        let stroke = if digest.is_ours() || digest.is_ablation() { "sours" } else { "sother" };
        canvas.line(&format!("{stroke} thick"), (p50.1, y), (p99.1, y));
        canvas.line(&format!("{stroke} thick"), (p90.1, y - 4.5), (p90.1, y + 4.5));
        canvas.dot(&format!("ring {stroke}"), (p99.1, y), 4.0, &format!("99 of 100 within {}", span(p99.0)));
        canvas.dot(kind(digest), (p50.1, y), 4.5, &format!("half within {}", span(p50.0)));
    }
    if let Some((p50, p99)) = floor {
        let y = top + ROW * digests.len() as f64;
        canvas.line("bound", (xs.at(p50), y), (xs.at(p99), y));
        for ms in [p50, p99] {
            canvas.line("bound", (xs.at(ms), y - 4.5), (xs.at(ms), y + 4.5));
        }
    }
}

/// Steps of the miss share: at least so much is that colour.
const STEPS: [f64; 5] = [1e-9, 0.01, 0.03, 0.1, 0.3];

/// Cells of a strip: a minute or so each in an hour, and wide enough to see.
pub(super) const CELLS: usize = 96;

/// The share of calls that missed, of those that ended in each of so many equal stretches; absent where none ended.
pub(super) fn miss_shares(run: &Tally, length_s: f64, cells: usize) -> Vec<Option<f64>> {
    let mut ended = vec![(0_u64, 0_u64); cells];
    // A sample tells of the time before it: that it ends on a boundary does not make it the next cell's.
    let cell =
        |at: Instant| ((at.as_secs_f64() / length_s * cells as f64).ceil() as usize).clamp(1, cells) - 1;
    for sample in &run.samples {
        let (met, missed) = &mut ended[cell(sample.at)];
        *met += sample.met.iter().map(|n| u64::from(*n)).sum::<u64>();
        *missed += sample.missed.iter().map(|n| u64::from(*n)).sum::<u64>();
    }
    let share = |(met, missed)| (met + missed > 0).then(|| missed as f64 / (met + missed) as f64);
    ended.into_iter().map(share).collect()
}

/// Misses over time below the calls that came.
pub(super) fn misses(digests: &[Digest<'_>]) -> Option<String> {
    let rows: Vec<(&Digest<'_>, &Tally)> =
        digests.iter().filter_map(|d| Some((d, d.shown().filter(|run| run.samples.len() > 1)?))).collect();
    let (_, first) = rows.first()?;
    let length = rows.iter().map(|(_, run)| length_s(run)).fold(1.0, f64::max);
    let (right, top) = (WIDTH - 70.0, 74.0);
    let bottom = top + ROW * rows.len() as f64;
    let mut canvas = Canvas::new(WIDTH, bottom + 58.0);
    let xs = Scale::even(length, (LEFT, right));
    came(&mut canvas, first, &xs, top - 8.0);
    canvas.text("t e", WIDTH, top - 10.0, "missed");
    for (row, (digest, run)) in rows.iter().enumerate() {
        let y = top + ROW * row as f64;
        let name = shortened(digest.policy, LABEL_MAX);
        canvas.text(&format!("e {}", label_class(digest)), LEFT - 14.0, y + 12.5, &name);
        strip(&mut canvas, &miss_shares(run, length, CELLS), &xs, length, y);
        let missed = format!("{} %", percent(1.0 - run.attainment()));
        canvas.text("t e", WIDTH, y + 12.5, &missed);
    }
    time_axis(&mut canvas, &xs, length, (LEFT, right), bottom + 2.0);
    steps(&mut canvas, bottom + 38.0);
    let description = "One strip for each policy. Cells of a stronger colour are times at which more of the calls that ended missed.";
    Some(canvas.finished("misses", "Share of calls that missed over time, by policy", description))
}

/// The calls that came, as a low hill above the strips.
fn came(canvas: &mut Canvas, run: &Tally, xs: &Scale, bottom: f64) {
    let buckets = super::time::buckets(run, super::time::POINTS);
    let came: Vec<(f64, f64)> =
        buckets.into_iter().map(|(at, part)| (at, mean(part, |s| f64::from(s.offered)))).collect();
    let most = came.iter().map(|(_, calls)| *calls).fold(0.0, f64::max);
    let ys = Scale::even(most, (bottom, bottom - 52.0));
    let band: Vec<_> = came.iter().map(|(at, calls)| (xs.at(*at), ys.at(*calls), bottom)).collect();
    canvas.area("traffic", &band);
    canvas.text("t e", LEFT - 14.0, bottom - 6.0, "calls that came");
}

fn step(share: f64) -> usize {
    STEPS.iter().filter(|step| share >= **step).count()
}

/// Cells of one colour that follow one another are one rectangle.
fn strip(canvas: &mut Canvas, shares: &[Option<f64>], xs: &Scale, length: f64, y: f64) {
    let cells: Vec<Option<usize>> = shares.iter().map(|share| share.map(step)).collect();
    let mut at = 0;
    for run in cells.chunk_by(|a, b| a == b) {
        let place = |cell: usize| xs.at(length * cell as f64 / cells.len() as f64);
        let (start, end) = (place(at), place(at + run.len()));
        at += run.len();
        if let Some(Some(step)) = run.first() {
            canvas.rect(&format!("h{step}"), (start, y), (end - start, ROW - 4.0), "");
        }
    }
}

/// What the colours of the strips are.
fn steps(canvas: &mut Canvas, y: f64) {
    let names = ["none", "below 1 %", "to 3 %", "to 10 %", "to 30 %", "more"];
    let mut x = LEFT;
    for (step, name) in names.iter().enumerate() {
        canvas.rect(&format!("h{step}"), (x, y), (20.0, 11.0), "");
        canvas.text("s", x + 26.0, y + 10.0, name);
        x += 50.0 + 6.2 * name.len() as f64;
    }
}
