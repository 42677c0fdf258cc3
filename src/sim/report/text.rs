//! The table for a terminal: one policy after the other, then where the calls of ours went. Fits 100 columns.

use comfy_table::{Attribute, Cell, CellAlignment, Color, Table, presets};

use super::digest::{Digest, Spread};
use super::figures::{NOTHING, count, dollars, fixed, money, percent, rough, seconds, shortened, signed};
use super::{OURS, Report};

/// May the text have colours?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    /// Text only.
    Plain,
    /// With terminal colours.
    Colour,
}

/// What a terminal shows without wrapping, more often than not.
const WIDTH: usize = 100;

/// Names are cut there.
const NAME_MAX: usize = 22;

/// And there when the figures are too wide.
const NAME_MIN: usize = 8;

/// Policies, pools, and what they were compared with, as text.
pub fn table(report: &Report, style: Style) -> String {
    let digests = report.digests();
    let mut text = heading(report);
    text.push('\n');
    text.push_str(&policies(report, &digests, style));
    for line in [said(report, &digests), ceilings(report), legend(&digests)].into_iter().flatten() {
        text.push_str(&format!("\n{line}\n"));
    }
    if let Some(first) = digests.first() {
        text.push_str(&format!("\nPools, {}\n", first.policy));
        text.push_str(&pools(report, first, style));
    }
    if let Some(against) = &report.against {
        text.push_str(&format!("\nAgainst {}\n", shortened(&against.name, 80)));
        text.push_str(&differences(report, &digests, style));
    }
    text
}

fn heading(report: &Report) -> String {
    let facts = &report.traffic;
    let load = report.load.map_or_else(String::new, |load| format!(", at load {}", fixed(load, 2)));
    format!(
        "{}\n{} calls in {} min, {} tokens in, {} out\n{} a second, {} in the busiest minute, CV {}{load}\n",
        shortened(&report.title, WIDTH),
        count(facts.calls),
        fixed(facts.length.as_secs_f64() / 60.0, 0),
        fixed(facts.mean_input, 0),
        fixed(facts.mean_output, 0),
        fixed(facts.mean_rps, 1),
        fixed(facts.peak_rps, 1),
        fixed(facts.cv, 1),
    )
}

/// Which end of a column is good.
#[derive(Clone, Copy)]
pub(super) enum Good {
    Low,
    High,
    /// Nothing to be best at.
    Neither,
}

/// A column of the table: its figure, how that is written, and the unit of its range (0 shows none).
pub(super) struct Column {
    head: String,
    /// The same in words.
    pub(super) title: String,
    good: Good,
    pub(super) figure: fn(&Digest<'_>) -> Option<Spread>,
    pub(super) written: fn(f64) -> String,
    range: f64,
}

impl Column {
    /// Half of the range over the seeds, where it is shown and there is one to speak of.
    pub(super) fn half_range(&self, digest: &Digest<'_>) -> Option<String> {
        let half = self.range * (self.figure)(digest)?.half();
        (half > 5e-4).then(|| format!("±{}", rough(half)))
    }
}

/// From left to right.
pub(super) fn columns(report: &Report) -> Vec<Column> {
    let lead = shortened(report.lead_name(), 11);
    let column = |head: &str, title: &str, good, range, figure, written| {
        let (head, title) = (head.to_owned(), title.to_owned());
        Column { head, title, good, figure, written, range }
    };
    let whole = |x| fixed(x, 0);
    let share = |x| fixed(100.0 * x, 0);
    let met = format!("Met, {lead}, %");
    vec![
        column("\n$", "Spent, $", Good::Low, 1.0, |d| Some(d.usd), money),
        column("MET %\nall", "Met, all, %", Good::High, 100.0, |d| Some(d.attainment), percent),
        column(&format!("\n{lead}"), &met, Good::High, 100.0, |d| d.lead_attainment, percent),
        column("TTFT s\np50", "First token p50, s", Good::Low, 0.0, |d| d.lead_p50_ms, seconds),
        column("\np99", "First token p99, s", Good::Low, 1e-3, |d| d.lead_p99_ms, seconds),
        column("\nREJECTED", "Rejected", Good::Low, 1.0, |d| Some(d.rejected), whole),
        column("OWNED\n%", "Owned used, %", Good::Neither, 0.0, |d| d.owned_use, share),
        column("\nJ", "J, $", Good::Low, 1.0, |d| Some(d.j), money),
        column("\nBOUND", "Bound, $", Good::Neither, 0.0, |d| d.bound, money),
        column("\nREGRET", "Regret, $", Good::Low, 0.0, |d| d.regret, money),
    ]
}

/// The policies, with names as long as the figures leave room for.
fn policies(report: &Report, digests: &[Digest<'_>], style: Style) -> String {
    let fits = |text: &String| text.lines().all(|line| line.chars().count() <= WIDTH);
    let names = (NAME_MIN..=NAME_MAX).rev();
    let fitting =
        names.map(|most| policies_named(report, digests, Style::Plain, most)).position(|t| fits(&t));
    policies_named(report, digests, style, NAME_MAX - fitting.unwrap_or(NAME_MAX - NAME_MIN))
}

fn policies_named(report: &Report, digests: &[Digest<'_>], style: Style, name_max: usize) -> String {
    let columns = columns(report);
    let mut heads = vec!["\nPOLICY".to_owned()];
    heads.extend(columns.iter().map(|column| format!("<{}", column.head)));
    let mut table = blank(style, &heads);
    let best: Vec<Option<String>> = columns.iter().map(|column| best(column, digests)).collect();
    for digest in digests {
        let name = Cell::new(shortened(digest.policy, name_max));
        let name = if digest.is_ours() { name.add_attribute(Attribute::Bold) } else { name };
        let cells = columns.iter().zip(&best).map(|(column, best)| {
            let Some(spread) = (column.figure)(digest) else { return Cell::new(format!("{NOTHING} ")) };
            let text = (column.written)(spread.mean);
            if best.as_ref() == Some(&text) {
                return Cell::new(format!("{text}*")).fg(Color::Green).add_attribute(Attribute::Bold);
            }
            // The figures of a column line up whether they are marked or not.
            let cell = Cell::new(format!("{text} "));
            if digest.is_ours() { cell.add_attribute(Attribute::Bold) } else { cell }
        });
        table.add_row(std::iter::once(name).chain(cells));
        if digest.runs.len() > 1 {
            table.add_row(ranges(&columns, digest));
        }
    }
    finished(&table)
}

/// The line below a policy: half of the range over its seeds.
fn ranges(columns: &[Column], digest: &Digest<'_>) -> Vec<Cell> {
    let mut cells = vec![Cell::new(format!("  {} seeds", digest.runs.len())).add_attribute(Attribute::Dim)];
    cells.extend(columns.iter().map(|column| {
        let text = column.half_range(digest).map_or_else(String::new, |half| format!("{half} "));
        Cell::new(text).add_attribute(Attribute::Dim)
    }));
    cells
}

/// The best of a column as it is written; absent when all are alike.
pub(super) fn best(column: &Column, digests: &[Digest<'_>]) -> Option<String> {
    let means =
        || digests.iter().filter_map(|d| (column.figure)(d).map(|s| s.mean).filter(|x| x.is_finite()));
    let best = match column.good {
        Good::Low => means().min_by(f64::total_cmp),
        Good::High => means().max_by(f64::total_cmp),
        Good::Neither => None,
    };
    let best = (column.written)(best?);
    means().any(|mean| (column.written)(mean) != best).then_some(best)
}

/// What it comes to in one sentence: ours and the best of the others.
fn said(report: &Report, digests: &[Digest<'_>]) -> Option<String> {
    let ours = digests.iter().find(|d| d.is_ours())?;
    let other = report.best_other(digests)?;
    let bound = ours.bound.map_or_else(String::new, |b| format!("; certified bound {}", dollars(b.mean)));
    let (us, them) = (dollars(ours.j.mean), dollars(other.j.mean));
    let compared = compared(ours.j.mean, other.j.mean);
    Some(format!("{OURS}: J {us}, {compared} {} ({them}){bound}", shortened(other.policy, NAME_MAX)))
}

/// What no policy can meet more of, class by class, as a mean over the seeds.
pub(super) fn ceilings(report: &Report) -> Option<String> {
    let of = |at: usize| {
        let all = report.bounds.iter().filter_map(move |bound| bound.goodput_by_class.get(at).copied());
        Spread::of(all).map(|share| percent(share.mean))
    };
    let classes = report.classes.iter().enumerate();
    let parts: Vec<String> = classes
        .filter_map(|(at, class)| Some(format!("{} {}", shortened(&class.name, NAME_MAX), of(at)?)))
        .collect();
    let text = || format!("At best met, % (each class for itself): {}", parts.join(", "));
    (!parts.is_empty()).then(|| shortened(&text(), WIDTH))
}

/// `54 % below`, `3 % above`, `as much as`.
pub(super) fn compared(ours: f64, other: f64) -> String {
    let share = ours / other - 1.0;
    match share {
        share if !share.is_finite() => "against".to_owned(),
        share if share < -5e-3 => format!("{} % below", fixed(-100.0 * share, 0)),
        share if share > 5e-3 => format!("{} % above", fixed(100.0 * share, 0)),
        _ => "as much as".to_owned(),
    }
}

fn legend(digests: &[Digest<'_>]) -> Option<String> {
    let most = digests.iter().map(|d| d.runs.len()).max()?;
    let range = if most > 1 { ". ±: half of the range" } else { "" };
    Some(format!("* best. J: dollars and the price of misses, rejected and cut calls included{range}"))
}

fn pools(report: &Report, digest: &Digest<'_>, style: Style) -> String {
    let heads =
        ["POOL", "TENURE", "<$/M IN", "<OUT", "<CALLS", "<SHARE", "<$", "<LIMITED", "<FAILED", "<USED"];
    let mut table = blank(style, &heads.map(str::to_owned));
    let rows = report.pool_rows(digest);
    let calls: f64 = rows.iter().map(|row| row.answered).sum();
    for (pool, row) in report.pools.iter().zip(&rows) {
        let price = |x: f64| if x == 0.0 { NOTHING.to_owned() } else { fixed(x, 2) };
        let share =
            if calls > 0.0 { format!("{} %", percent(row.answered / calls)) } else { NOTHING.to_owned() };
        table.add_row([
            shortened(&pool.name, NAME_MAX),
            pool.tenure.name().to_owned(),
            price(pool.input_usd_per_million),
            price(pool.output_usd_per_million),
            fixed(row.answered, 0),
            share,
            money(row.usd),
            fixed(row.limited, 0),
            fixed(row.failed, 0),
            row.used.map_or_else(|| NOTHING.to_owned(), |used| format!("{} %", fixed(100.0 * used, 0))),
        ]);
    }
    finished(&table)
}

fn differences<'a>(report: &'a Report, digests: &[Digest<'a>], style: Style) -> String {
    let heads = ["POLICY", "<$", "<MET, POINTS", "<TTFT P99 s", "<REJECTED", "<J"];
    let mut table = blank(style, &heads.map(str::to_owned));
    let by = |a: f64, b: f64, written: &dyn Fn(f64) -> String| signed(written(a - b));
    for (here, there) in report.pairs(digests) {
        let p99 = here.lead_p99_ms.zip(there.lead_p99_ms);
        table.add_row([
            shortened(here.policy, NAME_MAX),
            by(here.usd.mean, there.usd.mean, &money),
            by(100.0 * here.attainment.mean, 100.0 * there.attainment.mean, &|x| fixed(x, 2)),
            p99.map_or_else(|| NOTHING.to_owned(), |(a, b)| by(a.mean, b.mean, &seconds)),
            by(here.rejected.mean, there.rejected.mean, &|x| fixed(x, 0)),
            by(here.j.mean, there.j.mean, &money),
        ]);
    }
    finished(&table)
}

/// A table without lines. A column whose head begins with `<` holds numbers, which line up at the right.
fn blank(style: Style, heads: &[String]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    match style {
        Style::Plain => table.force_no_tty(),
        Style::Colour => table.enforce_styling(),
    };
    let head = |head: &String| Cell::new(head.trim_start_matches('<')).add_attribute(Attribute::Dim);
    table.set_header(heads.iter().map(head).collect::<Vec<_>>());
    for (column, head) in table.column_iter_mut().zip(heads) {
        column.set_padding((0, 1));
        if head.starts_with('<') {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn finished(table: &Table) -> String {
    if table.is_empty() {
        return "none\n".to_owned();
    }
    table.lines().flat_map(|line| [line.trim_end().to_owned(), "\n".to_owned()]).collect()
}
