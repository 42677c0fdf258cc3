//! The tables of the page.

use super::plots::numbered;
use crate::drill::findings::Findings;
use crate::drill::words::{count, fixed, money, seconds_short, signed_dollars};
use crate::sim::report::html::canvas::escaped;

/// A table whose columns beyond the first `names` hold figures.
fn table(heads: &[&str], names: usize, rows: &[Vec<String>]) -> String {
    let class = |i: usize| if i >= names { " class=\"n\"" } else { "" };
    let head: String =
        heads.iter().enumerate().map(|(i, head)| format!("<th{}>{head}</th>", class(i))).collect();
    let row = |row: &Vec<String>| {
        let cells = row.iter().enumerate().map(|(i, cell)| format!("<td{}>{cell}</td>", class(i)));
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    };
    format!(
        "<div class=\"scroll\"><table class=\"wide\">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{}</tbody></table></div>\n",
        rows.iter().map(row).collect::<String>()
    )
}

fn section(title: &str, inside: &str) -> String {
    format!("<section>\n<h2>{}</h2>\n{inside}</section>\n", escaped(title))
}

fn time(s: Option<f64>) -> String {
    s.map_or_else(|| "–".to_owned(), seconds_short)
}

fn ms(x: Option<f64>) -> String {
    x.map_or_else(|| "–".to_owned(), |ms| fixed(ms, 0))
}

/// The moments, with their numbers on the drawing.
pub(super) fn moments(findings: &Findings) -> String {
    let row = |(no, moment): (usize, &crate::drill::findings::Moment)| {
        vec![
            format!("<span class=\"no\">{}</span>", no + 1),
            escaped(&moment.what),
            format!("{} s", fixed(moment.t_s, 2)),
        ]
    };
    let rows: Vec<Vec<String>> = numbered(findings).enumerate().map(row).collect();
    let pools = findings.timeline.iter().filter(|moment| moment.kind == "pool");
    let row = |moment: &crate::drill::findings::Moment| {
        vec![escaped(&moment.what), format!("{} s", fixed(moment.t_s, 2))]
    };
    let words: Vec<Vec<String>> = pools.map(row).collect();
    let more = if words.is_empty() {
        String::new()
    } else {
        format!(
            "<details><summary>What routers said of pools</summary>\n{}</details>\n",
            table(&["What", "When"], 1, &words)
        )
    };
    format!("<section>\n<h3>Moments</h3>\n{}{more}</section>\n", table(&["", "What", "When"], 2, &rows))
}

/// What was expected beside what came.
pub(super) fn checks(findings: &Findings) -> String {
    let head = "<th></th><th></th><th class=\"n\">Measured</th><th class=\"n\">Wanted</th>";
    let row = |check: &crate::drill::findings::Check| {
        let (class, mark) = if check.met { ("met", "✓") } else { ("unmet", "✗") };
        format!(
            "<tr><td class=\"{class}\">{mark}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>\n",
            escaped(&check.name),
            escaped(&check.measured),
            escaped(&check.wanted)
        )
    };
    let rows: String = findings.checks.iter().map(row).collect();
    let inside = format!(
        "<div class=\"scroll\"><table class=\"wide\">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n"
    );
    section("What was expected", &inside)
}

/// Steps, with how long each thing took.
pub(super) fn steps(findings: &Findings) -> String {
    let heads = [
        "Step",
        "Fault",
        "Pool",
        "Noticed by",
        "At",
        "Until",
        "Noticed after",
        "Steady after",
        "First call back",
        "As before",
    ];
    let row = |step: &crate::drill::findings::StepFound| {
        vec![
            escaped(&step.id),
            step.fault.to_owned(),
            escaped(step.pool.as_deref().unwrap_or("–")),
            escaped(step.detected_by.as_deref().unwrap_or("–")),
            time(Some(step.at_s)),
            time(step.ends_s),
            time(step.detect_s),
            time(step.failover_s),
            time(step.first_back_s),
            time(step.failback_s),
        ]
    };
    let rows: Vec<Vec<String>> = findings.steps.iter().map(row).collect();
    section("How long it took", &table(&heads, 4, &rows))
}

/// First tokens by class.
pub(super) fn latency(findings: &Findings) -> String {
    let heads = [
        "Class",
        "Before p50",
        "p99",
        "Faults on p50",
        "p95",
        "p99",
        "Had nothing happened p99",
        "Added p99",
    ];
    let row = |row: &crate::drill::findings::Latency| {
        vec![
            escaped(&row.class),
            ms(row.before.p50),
            ms(row.before.p99),
            ms(row.during.p50),
            ms(row.during.p95),
            ms(row.during.p99),
            ms(row.without.p99),
            ms(row.added_p99_ms),
        ]
    };
    let rows: Vec<Vec<String>> = findings.latency.iter().map(row).collect();
    section("First token, in milliseconds", &table(&heads, 1, &rows))
}

/// Where the load went, and whether the books agree.
pub(super) fn pools(findings: &Findings) -> String {
    let heads = [
        "Pool",
        "Calls a second before",
        "Faults on",
        "Share",
        "After",
        "Attempts, by routers",
        "Without connection",
        "Requests, by the pool",
        "Answers, by routers",
        "Answers, by the pool",
        "Late",
    ];
    let row = |(load, books): (&crate::drill::findings::PoolLoad, &crate::drill::findings::PoolMatch)| {
        vec![
            escaped(&load.pool),
            fixed(load.before_per_s, 1),
            fixed(load.during_per_s, 1),
            format!("{} %", fixed(100.0 * load.share_during, 0)),
            fixed(load.after_per_s, 1),
            count(books.attempts),
            count(books.unseen + books.recalled),
            count(books.arrived),
            count(books.answers),
            count(books.answered),
            count(books.late),
        ]
    };
    let pools = findings.overflow.pools.iter().zip(&findings.matching.pools);
    let rows: Vec<Vec<String>> = pools.map(row).collect();
    let cost = &findings.cost;
    let extra = cost
        .extra_usd
        .map_or_else(String::new, |usd| format!(", {} than had nothing happened", signed_dollars(usd)));
    let agreed = if findings.matching.agreed { "agree" } else { "do not agree" };
    let examples: String =
        findings.matching.examples.iter().map(|example| format!("<li>{}</li>\n", escaped(example))).collect();
    let how = format!(
        "<p class=\"how\">Clients, routers and pools each keep their own books; they {agreed}. It cost ${}{extra}; ${} of \
         it was for attempts that no client got anything of.</p>\n<ul>{examples}</ul>\n",
        money(cost.usd),
        money(cost.waste_usd)
    );
    section("Where the load went", &(table(&heads, 1, &rows) + &how))
}
