//! How things stood over time: the load of each pool, and what a slot was worth.

use super::super::digest::Digest;
use super::super::figures::{count, shortened};
use super::canvas::{Canvas, apart, width};
use super::scale::{Scale, dollar_tick, times};
use super::{LABEL_MAX, Report, WIDTH, label_class};
use crate::domain::Tenure;
use crate::sim::{Sample, Tally};

/// Points of a large plot, and of a small one: about as many as it has pixels to show them.
pub(super) const POINTS: usize = 360;
const POINTS_SMALL: usize = 120;

/// Characters of a pool's name beside a plot.
const POOL_MAX: usize = 15;

/// So many policies get a small plot of their own.
const SMALL_MAX: usize = 24;

/// The samples of a run in at most so many buckets, with the second that each bucket stands for.
pub(super) fn buckets(run: &Tally, most: usize) -> Vec<(f64, &[Sample])> {
    let size = run.samples.len().div_ceil(most).max(1);
    let middle = |part: &[Sample]| {
        let sum: f64 = part.iter().map(|sample| sample.at.as_secs_f64()).sum();
        sum / part.len() as f64
    };
    run.samples.chunks(size).map(|part| (middle(part), part)).collect()
}

/// The seconds that the samples of a run reach to.
pub(super) fn length_s(run: &Tally) -> f64 {
    run.samples.last().map_or(1.0, |sample| sample.at.as_secs_f64()).max(1.0)
}

/// The mean of something over a bucket; what is not finite counts as nothing.
pub(super) fn mean(part: &[Sample], of: impl Fn(&Sample) -> f64) -> f64 {
    part.iter().map(of).filter(|x| x.is_finite()).sum::<f64>() / part.len().max(1) as f64
}

/// The class of a pool's colour: owned ones in one family of colours, the others in another.
pub(super) fn colour(report: &Report, pool: usize) -> String {
    let tenure = |at: usize| report.pools.get(at).map(|pool| pool.tenure);
    let same = (0..pool).filter(|at| tenure(*at) == tenure(pool)).count();
    if tenure(pool) == Some(Tenure::Owned) { format!("o{}", same % 4) } else { format!("m{}", same % 5) }
}

/// Calls in flight: for each bucket its second and the height of each layer from below, waiting calls on top.
fn layers(report: &Report, run: &Tally, points: usize) -> Vec<(f64, Vec<f64>)> {
    let pools = report.pools.len();
    let heights = |part: &[Sample]| {
        let pool = |at: usize| mean(part, |s| f64::from(s.in_flight.get(at).copied().unwrap_or(0)));
        let waiting = mean(part, |s| f64::from(s.waiting));
        let mut sum = 0.0;
        let all = (0..pools).map(pool).chain([waiting]);
        let add = |x| {
            sum += x;
            sum
        };
        all.map(add).collect()
    };
    buckets(run, points).into_iter().map(|(at, part)| (at, heights(part))).collect()
}

fn highest(layers: &[(f64, Vec<f64>)]) -> f64 {
    layers.iter().filter_map(|(_, tops)| tops.last().copied()).fold(0.0, f64::max)
}

/// Draws the layers of one run, clipped at the top of the scale.
fn stack(canvas: &mut Canvas, report: &Report, layers: &[(f64, Vec<f64>)], xs: &Scale, ys: &Scale) {
    let pools = report.pools.len();
    for layer in 0..=pools {
        let height = |tops: &[f64], at: Option<usize>| at.and_then(|at| tops.get(at)).copied().unwrap_or(0.0);
        let band: Vec<_> = layers
            .iter()
            .map(|(at, tops)| {
                let (upper, lower) = (height(tops, Some(layer)), height(tops, layer.checked_sub(1)));
                (xs.at(*at), ys.at(upper), ys.at(lower))
            })
            .collect();
        if band.iter().any(|(_, upper, lower)| upper < lower) {
            let class = if layer == pools { "wait".to_owned() } else { colour(report, layer) };
            canvas.area(&class, &band);
        }
    }
}

/// Where the calls of one policy were.
pub(super) fn load(report: &Report, digest: &Digest<'_>) -> Option<String> {
    let run = digest.shown().filter(|run| run.samples.len() > 1)?;
    let (left, right, top, bottom) = (52.0, WIDTH - 128.0, 26.0, 290.0);
    let mut canvas = Canvas::new(WIDTH, bottom + 30.0);
    let layers = layers(report, run, POINTS);
    let xs = Scale::even(length_s(run), (left, right));
    let ys = Scale::even(1.04 * highest(&layers), (bottom, top));
    for calls in ys.ticks(5) {
        canvas.line("grid", (left, ys.at(calls)), (right, ys.at(calls)));
        canvas.text("t e", left - 8.0, ys.at(calls) + 4.0, &count(calls as u64));
    }
    canvas.text("t", 0.0, 12.0, "↑ calls in flight");
    stack(&mut canvas, report, &layers, &xs, &ys);
    time_axis(&mut canvas, &xs, length_s(run), (left, right), bottom);
    name_layers(&mut canvas, report, &layers, &ys, right);
    let title = format!("Calls in flight at each pool over time, {}", digest.policy);
    Some(canvas.finished(
        "load",
        &title,
        "One layer for each pool, from the bottom in the order of the config.",
    ))
}

/// The names of the pools, each at the height of its layer's end.
fn name_layers(canvas: &mut Canvas, report: &Report, layers: &[(f64, Vec<f64>)], ys: &Scale, right: f64) {
    // A layer is named at its end. One that is thin there is still in the list: the eye finds it by colour.
    let tail = &layers[layers.len().saturating_sub(6)..];
    let top = |layer: usize| {
        let sum: f64 = tail.iter().filter_map(|(_, tops)| tops.get(layer)).sum();
        sum / tail.len().max(1) as f64
    };
    let pools = report.pools.len();
    let waited = layers.iter().any(|(_, tops)| tops[pools] > if pools == 0 { 0.0 } else { tops[pools - 1] });
    let named = pools + usize::from(waited);
    let middle = |layer: usize| {
        let below = layer.checked_sub(1).map_or(0.0, top);
        ys.at(f64::midpoint(top(layer), below))
    };
    let heights: Vec<f64> = (0..named).map(middle).collect();
    for (layer, y) in apart(&heights, 17.0, ys.at(0.0) - 4.0).into_iter().enumerate() {
        let (class, name) = match report.pools.get(layer) {
            Some(pool) => (colour(report, layer), shortened(&pool.name, POOL_MAX)),
            None => ("wait".to_owned(), "waiting".to_owned()),
        };
        canvas.line("lead", (right + 2.0, heights[layer]), (right + 10.0, y));
        canvas.rect(&class, (right + 12.0, y - 5.0), (10.0, 10.0), "");
        canvas.text("", right + 27.0, y + 4.0, &name);
    }
}

/// The same for the other policies, small and on the scale of the first.
pub(super) fn loads_of_others(report: &Report, digests: &[Digest<'_>]) -> Option<String> {
    const COLUMNS: usize = 3;
    const ROW: f64 = 132.0;
    let first = highest(&layers(report, digests.first()?.shown()?, POINTS_SMALL));
    let others: Vec<(&Digest<'_>, &Tally)> = digests
        .iter()
        .skip(1)
        .filter_map(|d| Some((d, d.shown().filter(|run| run.samples.len() > 1)?)))
        .take(SMALL_MAX)
        .collect();
    if others.is_empty() || first <= 0.0 {
        return None;
    }
    // One that piles up calls without end would make the others flat.
    let all = others.iter().map(|(_, run)| highest(&layers(report, run, POINTS_SMALL)));
    let most = all.filter(|top| *top <= 2.5 * first).fold(first, f64::max);
    let mut canvas = Canvas::new(WIDTH, ROW * others.len().div_ceil(COLUMNS) as f64);
    let wide = (WIDTH - 52.0 + 28.0) / COLUMNS as f64;
    for (at, (digest, run)) in others.iter().enumerate() {
        let left = 52.0 + wide * (at % COLUMNS) as f64;
        let (right, top) = (left + wide - 28.0, ROW * (at / COLUMNS) as f64 + 22.0);
        let bottom = top + 84.0;
        let layers = layers(report, run, POINTS_SMALL);
        let xs = Scale::even(length_s(run), (left, right));
        let ys = Scale::even(1.04 * most, (bottom, top));
        for calls in ys.ticks(2) {
            canvas.line("grid", (left, ys.at(calls)), (right, ys.at(calls)));
            if at % COLUMNS == 0 {
                canvas.text("s e", left - 8.0, ys.at(calls) + 4.0, &count(calls as u64));
            }
        }
        stack(&mut canvas, report, &layers, &xs, &ys);
        canvas.line("axis", (left, bottom), (right, bottom));
        canvas.text(label_class(digest), left, top - 8.0, &shortened(digest.policy, LABEL_MAX));
        let top_here = highest(&layers);
        if top_here > most {
            let text = format!("up to {}", count(top_here as u64));
            canvas.text("s e", right, top - 8.0, &text);
        }
    }
    let description =
        "Small plots on one scale, one for each other policy, in the colours of the plot above.";
    Some(canvas.finished("loads", "Calls in flight at each pool over time, other policies", description))
}

/// The axis of a plot over time.
pub(super) fn time_axis(canvas: &mut Canvas, xs: &Scale, length_s: f64, (left, right): (f64, f64), y: f64) {
    canvas.line("axis", (left, y), (right, y));
    for (at, text) in times(length_s, 8) {
        canvas.line("axis", (xs.at(at), y), (xs.at(at), y + 4.0));
        canvas.text(if at == 0.0 { "t" } else { "t m" }, xs.at(at), y + 18.0, &text);
    }
}

/// What an hour of an owned slot was worth.
pub(super) fn shadow_prices(report: &Report, digest: &Digest<'_>) -> Option<String> {
    let run = digest.shown().filter(|run| run.samples.len() > 1)?;
    let owned = report.pools.iter().enumerate().filter(|(_, pool)| pool.tenure == Tenure::Owned);
    let series: Vec<(usize, Vec<(f64, f64)>)> = owned.map(|(at, _)| (at, hourly(run, at, POINTS))).collect();
    let prices =
        || series.iter().flat_map(|(_, points)| points).map(|(_, usd)| *usd).filter(|usd| *usd > 0.0);
    let most = prices().fold(0.0, f64::max);
    if most <= 0.0 {
        return None;
    }
    // Four decades below the dearest moment nothing is scarce.
    let least = prices().fold(f64::INFINITY, f64::min).max(most / 1e4);
    let (left, right, top, bottom) = (62.0, WIDTH - 128.0, 28.0, 230.0);
    let mut canvas = Canvas::new(WIDTH, bottom + 30.0);
    let xs = Scale::even(length_s(run), (left, right));
    let ys = Scale::decades(least / 1.5, most * 1.5, (bottom, top));
    for usd in ys.ticks(5) {
        canvas.line("grid", (left, ys.at(usd)), (right, ys.at(usd)));
        canvas.text("t e", left - 8.0, ys.at(usd) + 4.0, &dollar_tick(usd));
    }
    canvas.text("t", 0.0, 12.0, "↑ worth of one owned slot, dollars an hour");
    let mut ends = Vec::new();
    for (pool, points) in &series {
        let scarce = |usd: f64| usd >= least;
        let runs: Vec<Vec<(f64, f64)>> = points
            .chunk_by(|a, b| scarce(a.1) == scarce(b.1))
            .filter(|run| run.first().is_some_and(|(_, usd)| scarce(*usd)))
            .map(|run| run.iter().map(|(at, usd)| (xs.at(*at), ys.at(*usd))).collect())
            .collect();
        if let Some((x, y)) = runs.last().and_then(|run| run.last()) {
            ends.push((*pool, *x, *y));
        }
        canvas.polyline(&colour(report, *pool), &runs);
    }
    time_axis(&mut canvas, &xs, length_s(run), (left, right), bottom);
    let heights: Vec<f64> = ends.iter().map(|end| end.2).collect();
    for ((pool, x, y), placed) in ends.iter().zip(apart(&heights, 17.0, bottom - 4.0)) {
        let name = shortened(&report.pools[*pool].name, POOL_MAX);
        // Right of the line's end where that is free, at the edge where the line goes on.
        let at = (x + 14.0).min(WIDTH - 16.0 - width(&name));
        canvas.line("lead", (*x + 2.0, *y), (at - 2.0, placed));
        canvas.rect(&colour(report, *pool), (at, placed - 5.0), (10.0, 10.0), "");
        canvas.text("halo", at + 15.0, placed + 4.0, &name);
    }
    let title = format!("Worth of a slot at the owned pools over time, {}", digest.policy);
    Some(canvas.finished("shadow", &title, "Logarithmic; a gap is a time when no slot was scarce."))
}

/// What an hour of a slot was worth: (second, dollars).
pub(super) fn hourly(run: &Tally, pool: usize, points: usize) -> Vec<(f64, f64)> {
    let usd = |s: &Sample| 3600.0 * s.slot_usd.get(pool).copied().unwrap_or(0.0).max(0.0);
    buckets(run, points).into_iter().map(|(at, part)| (at, mean(part, usd))).collect()
}
