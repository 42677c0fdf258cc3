//! The figures as tables, for those who want them exact, cannot see the plots, or copy them elsewhere.

use super::super::digest::{Digest, Spread};
use super::super::figures::{NOTHING, count, dollars, fixed, money, percent, seconds, signed, span};
use super::super::text::{best, columns};
use super::canvas::escaped;
use super::time::{hourly, length_s};
use super::waits::{QUANTILES, miss_shares};
use super::{Report, time};
use crate::domain::{Duration, Tenure};

/// Rows of a table over time.
const MOMENTS: usize = 24;

/// A cell of a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Cell {
    text: String,
    /// In small type below.
    range: Option<String>,
    best: bool,
    number: bool,
}

impl Cell {
    /// A figure, lined up at the right.
    pub(super) const fn figure(text: String) -> Self {
        Self { text, range: None, best: false, number: true }
    }

    /// Words.
    fn words(text: &str) -> Self {
        Self { text: text.to_owned(), range: None, best: false, number: false }
    }

    fn html(&self, first: bool) -> String {
        let class = match (self.best, self.number) {
            (true, _) => " class=\"n best\"",
            (false, true) => " class=\"n\"",
            (false, false) => "",
        };
        let range =
            self.range.as_ref().map_or_else(String::new, |r| format!("<small>{}</small>", escaped(r)));
        let text = escaped(&self.text);
        if first {
            format!("<th scope=\"row\"{class}>{text}{range}</th>")
        } else {
            format!("<td{class}>{text}{range}</td>")
        }
    }
}

/// A figure with its range below, where there is one.
fn with_range(spread: Option<Spread>, written: fn(f64) -> String) -> Cell {
    let Some(spread) = spread else { return Cell::figure(NOTHING.to_owned()) };
    let (min, max) = (written(spread.min), written(spread.max));
    let range = (min != max).then(|| format!("{min} – {max}"));
    Cell { range, ..Cell::figure(written(spread.mean)) }
}

/// A row, and whether it is ours.
type Row = (bool, Vec<Cell>);

fn table(class: &str, caption: &str, heads: &[String], rows: &[Row]) -> String {
    let mut text = format!("<table class=\"{class}\">\n");
    if !caption.is_empty() {
        text.push_str(&format!("<caption>{}</caption>\n", escaped(caption)));
    }
    text.push_str("<thead><tr>");
    for (at, head) in heads.iter().enumerate() {
        let number = rows.first().and_then(|(_, cells)| cells.get(at)).is_some_and(|cell| cell.number);
        let class = if number { " class=\"n\"" } else { "" };
        text.push_str(&format!("<th scope=\"col\"{class}>{}</th>", escaped(head)));
    }
    text.push_str("</tr></thead>\n<tbody>\n");
    for (ours, cells) in rows {
        text.push_str(if *ours { "<tr class=\"ours\">" } else { "<tr>" });
        for (at, cell) in cells.iter().enumerate() {
            text.push_str(&cell.html(at == 0));
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</tbody>\n</table>\n");
    text
}

fn heads(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// All figures of all policies, the best of each column marked.
pub(super) fn policies(report: &Report, digests: &[Digest<'_>]) -> String {
    let columns = columns(report);
    let best: Vec<Option<String>> = columns.iter().map(|column| best(column, digests)).collect();
    let mut names = heads(&["Policy"]);
    names.extend(columns.iter().map(|column| column.title.clone()));
    let row = |digest: &Digest<'_>| {
        let mut cells = vec![Cell::words(digest.policy)];
        cells.extend(columns.iter().zip(&best).map(|(column, best)| {
            let figure = (column.figure)(digest).map(|spread| (column.written)(spread.mean));
            let best = best.is_some() && *best == figure;
            let cell = Cell::figure(figure.unwrap_or_else(|| NOTHING.to_owned()));
            Cell { best, range: column.half_range(digest), ..cell }
        }));
        (digest.is_ours(), cells)
    };
    let seeds = digests.iter().map(|digest| digest.runs.len()).max().unwrap_or(0);
    let caption = if seeds > 1 {
        format!("Means over {seeds} seeds, with half of the range below. The best of each column is green.")
    } else {
        "The best of each column is green.".to_owned()
    };
    table("wide", &caption, &names, &digests.iter().map(row).collect::<Vec<_>>())
}

/// Dollars and attainment of each seed, and of the frontier.
pub(super) fn points(report: &Report, digests: &[Digest<'_>]) -> String {
    let mut rows: Vec<Row> = Vec::new();
    for digest in digests {
        for run in &digest.runs {
            let figures =
                [run.seed.to_string(), dollars(run.usd()), percent(run.attainment())].map(Cell::figure);
            rows.push((
                digest.is_ours(),
                std::iter::once(Cell::words(digest.policy)).chain(figures).collect(),
            ));
        }
    }
    for point in &report.frontier {
        let figures = [NOTHING.to_owned(), dollars(point.usd), percent(point.attainment)].map(Cell::figure);
        rows.push((false, std::iter::once(Cell::words(&point.label)).chain(figures).collect()));
    }
    table("", "", &heads(&["Policy", "Seed", "Spent", "Met, %"]), &rows)
}

/// J and its parts.
pub(super) fn bills(digests: &[Digest<'_>]) -> String {
    let row = |digest: &Digest<'_>| {
        let cells = [Some(digest.usd), Some(digest.miss_usd), Some(digest.j), digest.bound, digest.regret];
        let cells = cells.map(|spread| with_range(spread, dollars));
        (digest.is_ours(), std::iter::once(Cell::words(digest.policy)).chain(cells).collect())
    };
    let rows: Vec<Row> = digests.iter().map(row).collect();
    table("", "", &heads(&["Policy", "Spent", "Price of misses", "J", "Bound", "Regret"]), &rows)
}

fn clock(seconds: f64) -> String {
    fixed(seconds / 60.0, 1)
}

/// Calls in flight at each pool.
pub(super) fn load(report: &Report, digest: &Digest<'_>) -> String {
    let Some(run) = digest.shown() else { return String::new() };
    let mut names = heads(&["Minute"]);
    names.extend(report.pools.iter().map(|pool| pool.name.clone()));
    names.push("waiting".to_owned());
    let row = |(at, part): (f64, &[crate::sim::Sample])| {
        let pool = |pool: usize| time::mean(part, |s| f64::from(s.in_flight.get(pool).copied().unwrap_or(0)));
        let waiting = time::mean(part, |s| f64::from(s.waiting));
        let calls = (0..report.pools.len()).map(pool).chain([waiting]).map(|calls| fixed(calls, 0));
        (false, std::iter::once(clock(at)).chain(calls).map(Cell::figure).collect())
    };
    table("", "", &names, &time::buckets(run, MOMENTS).into_iter().map(row).collect::<Vec<_>>())
}

/// Dollars an hour of a slot.
pub(super) fn shadow_prices(report: &Report, digest: &Digest<'_>) -> String {
    let Some(run) = digest.shown() else { return String::new() };
    let owned: Vec<usize> =
        (0..report.pools.len()).filter(|at| report.pools[*at].tenure == Tenure::Owned).collect();
    let mut names = heads(&["Minute"]);
    names.extend(owned.iter().map(|at| format!("{}, $/hour", report.pools[*at].name)));
    let series: Vec<Vec<(f64, f64)>> = owned.iter().map(|at| hourly(run, *at, MOMENTS)).collect();
    let moments = series.first().map_or(0, Vec::len);
    let row = |at: usize| {
        let prices = series.iter().filter_map(|points| points.get(at)).map(|(_, usd)| money(*usd));
        let moment = series.first().and_then(|points| points.get(at)).map_or(0.0, |(at, _)| *at);
        (false, std::iter::once(clock(moment)).chain(prices).map(Cell::figure).collect())
    };
    table("", "", &names, &(0..moments).map(row).collect::<Vec<_>>())
}

/// Quantiles of the first token.
pub(super) fn first_tokens(report: &Report, digests: &[Digest<'_>]) -> String {
    let mut names = heads(&["Policy"]);
    for class in &report.classes {
        names.extend(QUANTILES.map(|q| format!("{} p{}, s", class.name, fixed(100.0 * q, 0))));
    }
    let row = |digest: &Digest<'_>| {
        let mut cells = vec![Cell::words(digest.policy)];
        for class in 0..report.classes.len() {
            cells.extend(QUANTILES.map(|q| with_range(digest.ttft_ms(class, q), seconds)));
        }
        (digest.is_ours(), cells)
    };
    table("", "", &names, &digests.iter().map(row).collect::<Vec<_>>())
}

/// The share of misses of each policy, one row a stretch of time.
pub(super) fn misses(digests: &[Digest<'_>]) -> String {
    let runs: Vec<_> = digests.iter().filter_map(|digest| Some((digest.policy, digest.shown()?))).collect();
    let length = runs.iter().map(|(_, run)| length_s(run)).fold(1.0, f64::max);
    let mut names = heads(&["From minute"]);
    names.extend(runs.iter().map(|(policy, _)| format!("{policy}, %")));
    let shares: Vec<_> = runs.iter().map(|(_, run)| miss_shares(run, length, MOMENTS)).collect();
    let row = |at: usize| {
        let share = shares.iter().map(|shares| shares[at].map_or_else(|| NOTHING.to_owned(), percent));
        let from = clock(length * at as f64 / MOMENTS as f64);
        (false, std::iter::once(from).chain(share).map(Cell::figure).collect())
    };
    table("", "", &names, &(0..MOMENTS).map(row).collect::<Vec<_>>())
}

/// What more capacity is worth.
pub(super) fn capacity(report: &Report) -> String {
    if report.capacity.is_empty() {
        return String::new();
    }
    let rows: Vec<Row> = report
        .capacity
        .iter()
        .map(|value| {
            let checked = value.checked_usd_per_hour.map_or_else(|| NOTHING.to_owned(), dollars);
            let figures = [dollars(value.shadow_usd_per_hour), checked].map(Cell::figure);
            (false, std::iter::once(Cell::words(&value.what)).chain(figures).collect())
        })
        .collect();
    let names = heads(&["A bit more of", "by shadow price, $/hour", "by running it again, $/hour"]);
    format!(
        "<section>\n<h2>What capacity is worth</h2>\n<div class=\"scroll\">{}</div>\n<p class=\"how\">How to read: the \
         first figure is what the prices during the run say that an hour of it would have saved; the second is how much \
         J fell when everything was run again with it. Where the two agree, the price can be trusted for small steps.</p>\n\
         </section>\n",
        table("", "", &names, &rows)
    )
}

/// How the runs differ from others.
pub(super) fn against<'a>(report: &'a Report, digests: &[Digest<'a>]) -> String {
    let Some(against) = &report.against else { return String::new() };
    let row = |(here, there): &(Digest<'_>, Digest<'_>)| {
        let p99 = here.lead_p99_ms.zip(there.lead_p99_ms);
        let figures = [
            signed(dollars(here.usd.mean - there.usd.mean)),
            signed(fixed(100.0 * (here.attainment.mean - there.attainment.mean), 2)),
            p99.map_or_else(|| NOTHING.to_owned(), |(a, b)| signed(seconds(a.mean - b.mean))),
            signed(fixed(here.rejected.mean - there.rejected.mean, 0)),
            signed(dollars(here.j.mean - there.j.mean)),
        ];
        let cells = std::iter::once(Cell::words(here.policy)).chain(figures.map(Cell::figure));
        (here.is_ours(), cells.collect::<Vec<_>>())
    };
    let rows: Vec<Row> = report.pairs(digests).iter().map(row).collect();
    let names = heads(&["Policy", "Spent", "Met, points", "First token p99, s", "Rejected", "J"]);
    format!(
        "<section>\n<h2>Against {}</h2>\n<div class=\"scroll\">{}</div>\n<p class=\"how\">How to read: what is here less \
         what is there; a minus in dollars is money saved.</p>\n</section>\n",
        escaped(&against.name),
        table("", "", &names, &rows)
    )
}

/// The pools, with what they did under one policy.
pub(super) fn pools(report: &Report, digest: Option<&Digest<'_>>) -> String {
    let Some(digest) = digest.filter(|_| !report.pools.is_empty()) else { return String::new() };
    let done = report.pool_rows(digest);
    let calls: f64 = done.iter().map(|row| row.answered).sum();
    let rows: Vec<Row> = report
        .pools
        .iter()
        .zip(&done)
        .map(|(pool, row)| {
            let price = |usd: f64| if usd == 0.0 { NOTHING.to_owned() } else { fixed(usd, 2) };
            let size = |n: u32| if n == 0 { NOTHING.to_owned() } else { count(u64::from(n)) };
            let share = |part: Option<f64>| part.map_or_else(|| NOTHING.to_owned(), |x| fixed(100.0 * x, 1));
            let figures = [
                size(pool.endpoints),
                size(pool.slots),
                price(pool.input_usd_per_million),
                price(pool.output_usd_per_million),
                fixed(row.answered, 0),
                share((calls > 0.0).then(|| row.answered / calls)),
                dollars(row.usd),
                fixed(row.limited, 0),
                fixed(row.failed, 0),
                share(row.used),
            ];
            let words = [Cell::words(&pool.name), Cell::words(pool.tenure.name())];
            (false, words.into_iter().chain(figures.map(Cell::figure)).collect())
        })
        .collect();
    let names = heads(&[
        "Pool",
        "Tenure",
        "Endpoints",
        "Slots",
        "$/M in",
        "$/M out",
        "Calls",
        "Share, %",
        "Spent",
        "Limited",
        "Failed",
        "Used, %",
    ]);
    format!(
        "<section>\n<h2>The pools, and what {} made of them</h2>\n<div class=\"scroll\">{}</div>\n\
         <p class=\"how\">Limited are attempts that a rate limit or quota refused; used is the scarcer of slots and \
         prefill time.</p>\n</section>\n",
        escaped(digest.policy),
        table("wide", "", &names, &rows)
    )
}

/// What is needed to run it again, and what to keep in mind.
pub(super) fn foot(report: &Report) -> String {
    let target = |limit: Option<Duration>| limit.map(|limit| span(limit.as_secs_f64() * 1e3));
    let classes: Vec<Row> = report
        .classes
        .iter()
        .map(|class| {
            let figures = [
                target(class.ttft_target).unwrap_or_else(|| NOTHING.to_owned()),
                target(class.finish_target).unwrap_or_else(|| NOTHING.to_owned()),
                dollars(class.miss_usd),
            ];
            (false, std::iter::once(Cell::words(&class.name)).chain(figures.map(Cell::figure)).collect())
        })
        .collect();
    let mut text = "<footer>\n<h2>How it was done</h2>\n".to_owned();
    if !classes.is_empty() {
        let names = heads(&["Class", "First token within", "Finished within", "A miss costs"]);
        text.push_str(&table("", "", &names, &classes));
    }
    let mut seeds: Vec<u64> = report.runs.iter().map(|run| run.seed).collect();
    seeds.sort_unstable();
    seeds.dedup();
    let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
    text.push_str(&format!(
        "<p>J is the dollars spent plus the price of every miss. A call that was late, rejected or cut is a miss. The \
         code that chose is the code that routes live calls; pools, clients and the clock are models. Seeds: {}.</p>\n",
        escaped(&seeds.join(", "))
    ));
    for tuning in &report.tuning {
        text.push_str(&format!("<p>{}: {}.</p>\n", escaped(&tuning.policy), escaped(&tuning.chosen)));
    }
    for note in &report.notes {
        text.push_str(&format!("<p>{}</p>\n", escaped(note)));
    }
    text.push_str("</footer>\n");
    text
}
