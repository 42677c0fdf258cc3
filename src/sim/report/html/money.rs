//! What it cost and what it met: dollars against attainment, and J as a bar of money and misses with its bound.

use super::super::digest::{Digest, Spread};
use super::super::figures::{count, dollars, percent, shortened};
use super::canvas::{Canvas, Room, width};
use super::scale::{Scale, dollar_tick, share_tick};
use super::{LABEL_MAX, Report, WIDTH, kind, label_class};

/// Dollars against attainment: each seed a dot, the mean a larger one.
pub(super) fn dollars_against_attainment(report: &Report, digests: &[Digest<'_>]) -> String {
    let (left, right, top, bottom) = (64.0, WIDTH - 24.0, 30.0, 420.0);
    let mut canvas = Canvas::new(WIDTH, bottom + 48.0);
    let runs = || digests.iter().flat_map(|d| &d.runs);
    let ceiling = Spread::of(report.bounds.iter().filter_map(|b| b.goodput)).map(|s| s.mean);
    let shares = || {
        let frontier = report.frontier.iter().map(|p| p.attainment);
        runs().map(|run| run.attainment()).chain(frontier).chain(ceiling).filter(|x| x.is_finite())
    };
    let most = runs().map(|run| run.usd()).chain(report.frontier.iter().map(|p| p.usd));
    let most = most.filter(|x| x.is_finite()).fold(0.0, f64::max);
    let xs = Scale::even(1.06 * most, (left, right));
    // Half of the least miss share is as far from the best as anybody can see.
    let least_miss = shares().map(|x| 1.0 - x).filter(|miss| *miss > 0.0).fold(0.5, f64::min);
    let worst = shares().fold(1.0, f64::min);
    let ys = Scale::nines((1.0 - 1.3 * (1.0 - worst)).max(0.0), 1.0 - 0.7 * least_miss, (bottom, top));
    frame(&mut canvas, &xs, &ys, (left, right, top, bottom));
    let mut room = Room::new([left + 2.0, top - 18.0, WIDTH - 2.0, bottom - 2.0]);
    if let Some(ceiling) = ceiling {
        bound_line(&mut canvas, &mut room, ys.at(ceiling), (left, right), ceiling);
    }
    let frontier = report.frontier.iter().filter(|p| p.usd.is_finite() && p.attainment.is_finite());
    let frontier: Vec<_> = frontier.collect();
    let line: Vec<_> = frontier.iter().map(|p| (xs.at(p.usd), ys.at(p.attainment))).collect();
    canvas.polyline("sours", std::slice::from_ref(&line));
    for digest in digests {
        seeds(&mut canvas, &mut room, digest, (&xs, &ys));
    }
    for (x, y) in &line {
        canvas.dot("ours", (*x, *y), 2.6, "");
        room.take(*x, *y, 3.0);
    }
    for ends in line.windows(2) {
        room.take_line(ends[0], ends[1]);
    }
    for digest in digests {
        let at = (xs.at(digest.usd.mean), ys.at(digest.attainment.mean));
        let hint = format!(
            "{}: {}, {} % met",
            digest.policy,
            dollars(digest.usd.mean),
            percent(digest.attainment.mean)
        );
        canvas.dot(kind(digest), at, if digest.is_ours() { 7.0 } else { 5.5 }, &hint);
        let name = shortened(digest.policy, LABEL_MAX);
        write_beside(&mut canvas, &mut room, at, label_class(digest), &name);
    }
    let means: Vec<_> = digests.iter().map(|d| (xs.at(d.usd.mean), ys.at(d.attainment.mean))).collect();
    for (at, point) in line.iter().zip(&frontier) {
        // The point that is the policy as it is has its label already.
        if means.iter().any(|mean| (mean.0 - at.0).hypot(mean.1 - at.1) < 10.0) {
            continue;
        }
        write_beside(&mut canvas, &mut room, *at, "s halo", &shortened(&point.label, LABEL_MAX));
    }
    canvas.finished(
        "dollars",
        "Dollars spent against calls that met their targets",
        &format!("One point for each of {} policies. The table below has the figures.", digests.len()),
    )
}

/// Where several seeds came out, and that nothing may be written over them or over their mean.
fn seeds(canvas: &mut Canvas, room: &mut Room, digest: &Digest<'_>, (xs, ys): (&Scale, &Scale)) {
    for run in digest.runs.iter().filter(|_| digest.runs.len() > 1) {
        let at = (xs.at(run.usd()), ys.at(run.attainment()));
        let met = percent(run.attainment());
        let hint = format!("{}, seed {}: {}, {met} %", digest.policy, run.seed, dollars(run.usd()));
        canvas.dot(&format!("seed {}", seed_class(digest)), at, 2.6, &hint);
        room.take(at.0, at.1, 2.6);
    }
    room.take(xs.at(digest.usd.mean), ys.at(digest.attainment.mean), 7.0);
}

/// A seed is a light dot of the colour of its policy.
fn seed_class(digest: &Digest<'_>) -> &'static str {
    if digest.is_ours() || digest.is_ablation() { "ours" } else { "other" }
}

fn frame(canvas: &mut Canvas, xs: &Scale, ys: &Scale, (left, right, top, bottom): (f64, f64, f64, f64)) {
    let mut last = f64::INFINITY;
    for share in ys.ticks(8) {
        let y = ys.at(share);
        // Low shares crowd: a label that would touch the last one is left out.
        if last - y < 16.0 {
            continue;
        }
        last = y;
        canvas.line("grid", (left, y), (right, y));
        canvas.text("t e", left - 8.0, y + 4.0, &share_tick(share));
    }
    for usd in xs.ticks(8) {
        canvas.line("axis", (xs.at(usd), bottom), (xs.at(usd), bottom + 4.0));
        canvas.text("t m", xs.at(usd), bottom + 18.0, &dollar_tick(usd));
    }
    canvas.line("axis", (left, bottom), (right, bottom));
    canvas.text("t e", right, bottom + 38.0, "dollars spent →");
    canvas.text("t", 0.0, top - 16.0, "↑ calls that met every target");
}

fn bound_line(canvas: &mut Canvas, room: &mut Room, y: f64, (left, right): (f64, f64), share: f64) {
    canvas.line("bound dash", (left, y), (right, y));
    let text = format!("no policy can meet more than {} %", percent(share));
    canvas.text("tbound e halo", right, y - 6.0, &text);
    room.take_line((right - width(&text), y - 8.0), (right, y - 8.0));
}

fn write_beside(canvas: &mut Canvas, room: &mut Room, at: (f64, f64), class: &str, text: &str) {
    let place = room.place(at, 7.0, width(text));
    if place.far {
        let end = (at.0.clamp(place.x, place.x + width(text)), place.y - 4.0);
        canvas.line("lead", at, end);
    }
    canvas.text(class, place.x, place.y, text);
}

/// J of each policy as money and misses, the least first, with the bound that none is below.
pub(super) fn bills(digests: &[Digest<'_>]) -> String {
    const ROW: f64 = 27.0;
    let mut order: Vec<&Digest<'_>> = digests.iter().collect();
    order.sort_by(|a, b| a.j.mean.total_cmp(&b.j.mean));
    let (left, right, top) = (178.0, WIDTH - 200.0, 46.0);
    let bottom = top + ROW * order.len() as f64;
    let mut canvas = Canvas::new(WIDTH, bottom + 30.0);
    let longest = longest_bar(&order);
    let xs = Scale::even(longest, (left, right));
    for usd in xs.ticks(6) {
        canvas.line("grid", (xs.at(usd), top - 4.0), (xs.at(usd), bottom));
        canvas.text("t m", xs.at(usd), bottom + 18.0, &dollar_tick(usd));
    }
    key(&mut canvas, left);
    for (row, digest) in order.iter().enumerate() {
        bar(&mut canvas, &xs, digest, top + ROW * row as f64, right);
    }
    let bound = Spread::of(digests.iter().filter_map(|d| d.bound).map(|b| b.mean));
    if let Some(bound) = bound {
        let x = xs.at(bound.mean);
        canvas.line("bound", (x, top - 18.0), (x, bottom));
        canvas.text("tbound halo", x + 4.0, top - 10.0, &format!("certified bound {}", dollars(bound.mean)));
    }
    canvas.finished(
        "bills",
        "J of each policy",
        "Bars of dollars spent and the price of misses, the least first.",
    )
}

/// What the colours of the bars are.
fn key(canvas: &mut Canvas, left: f64) {
    canvas.rect("ours", (left, 2.0), (10.0, 10.0), "");
    canvas.rect("other", (left + 12.0, 2.0), (10.0, 10.0), "");
    canvas.text("t", left + 28.0, 11.0, "dollars spent");
    canvas.rect("missed", (left + 126.0, 2.0), (10.0, 10.0), "");
    canvas.text("t", left + 142.0, 11.0, "price of misses");
}

/// The axis ends there. A bar that would make the others too short to read is broken off.
fn longest_bar(order: &[&Digest<'_>]) -> f64 {
    let ends: Vec<f64> = order.iter().map(|d| d.j.max).filter(|j| j.is_finite()).collect();
    let median = ends.get(ends.len() / 2).copied().unwrap_or(1.0);
    let fair = ends.iter().copied().filter(|j| *j <= 2.2 * median).fold(0.0, f64::max);
    1.03 * if fair > 0.0 { fair } else { ends.iter().copied().fold(0.0, f64::max) }
}

fn bar(canvas: &mut Canvas, xs: &Scale, digest: &Digest<'_>, y: f64, right: f64) {
    let (money, j) = (digest.usd.mean.max(0.0), digest.j.mean);
    let text =
        format!("{}: {} spent, {} of misses", digest.policy, dollars(money), dollars(digest.miss_usd.mean));
    let class = if digest.is_ours() || digest.is_ablation() { "ours" } else { "other" };
    let (start, split, end) = (xs.at(0.0), xs.at(money), xs.at(j));
    canvas.rect(class, (start, y), (split - start, 17.0), &text);
    canvas.rect("missed", (split, y), (end - split, 17.0), &text);
    canvas.text(
        &format!("e {}", label_class(digest)),
        start - 10.0,
        y + 13.0,
        &shortened(digest.policy, LABEL_MAX),
    );
    let broken = !xs.holds(j);
    if broken {
        canvas.rect("gap", (right - 22.0, y - 2.0), (4.0, 21.0), "");
        canvas.rect("gap", (right - 14.0, y - 2.0), (4.0, 21.0), "");
    } else if digest.runs.len() > 1 {
        canvas.line("whisker", (xs.at(digest.j.min), y + 8.5), (xs.at(digest.j.max), y + 8.5));
    }
    let beyond = if broken { right } else { end.max(xs.at(digest.j.max)) };
    canvas.text("b halo", beyond + 8.0, y + 13.0, &dollars(j));
    let misses = digest.runs.iter().map(|run| run.classes.iter().map(|c| c.missed()).sum::<u64>() as f64);
    let misses = Spread::of(misses).map_or(0.0, |s| s.mean).round() as u64;
    let after = beyond + 16.0 + 1.2 * width(&dollars(j));
    canvas.text("s halo", after, y + 13.0, &format!("{} misses", count(misses)));
}
