//! For a terminal: the verdict in a line, then what was expected beside what came, and where the load went.

use comfy_table::{Attribute, Cell, CellAlignment, Color, Table, presets};

use crate::drill::findings::{Findings, Quantiles, Verdict};
use crate::drill::words::{count, fixed, money, seconds_short, signed_dollars};
use crate::sim::report::Style;

/// Stands where there is no figure.
const NOTHING: &str = "–";

/// All of it.
pub fn text(findings: &Findings, style: Style) -> String {
    let mut text = verdict(findings, style);
    if !findings.description.is_empty() {
        text.push_str(&format!("{}\n", findings.description));
    }
    if findings.checks.is_empty() {
        return text;
    }
    for reason in &findings.reasons {
        text.push_str(&format!("  {} {reason}\n", painted("✗", Color::Red, style)));
    }
    for (title, table) in [
        ("What was expected", checks(findings, style)),
        ("What happened", steps(findings, style)),
        ("First token, ms", latency(findings, style)),
        ("Calls a second, by the pool that answered", pools(findings, style)),
    ] {
        text.push_str(&format!("\n{title}\n{table}"));
    }
    text.push_str(&format!("\n{}\n{}\n", money_line(findings), timeline(findings)));
    text.push_str(&format!("Again: {}\n", findings.reproduce));
    text
}

fn colour(verdict: Verdict) -> Color {
    match verdict {
        Verdict::Passed => Color::Green,
        Verdict::Failed | Verdict::RestoreFailed => Color::Red,
        Verdict::Aborted | Verdict::Refused | Verdict::Inconclusive => Color::Yellow,
    }
}

/// A word in a colour, where there may be colours.
fn painted(word: &str, colour: Color, style: Style) -> String {
    if style == Style::Plain {
        return word.to_owned();
    }
    let code = match colour {
        Color::Green => 32,
        Color::Red => 31,
        _ => 33,
    };
    format!("\u{1b}[1;{code}m{word}\u{1b}[0m")
}

fn verdict(findings: &Findings, style: Style) -> String {
    let name = findings.verdict.name();
    format!("{}\n", findings.headline.replacen(name, &painted(name, colour(findings.verdict), style), 1))
}

fn checks(findings: &Findings, style: Style) -> String {
    let mut table = blank(style, &["", "", "<MEASURED", "<WANTED"]);
    for check in &findings.checks {
        let mark = if check.met {
            Cell::new("✓").fg(Color::Green)
        } else {
            Cell::new("✗").fg(Color::Red).add_attribute(Attribute::Bold)
        };
        let measured = Cell::new(&check.measured);
        let measured = if check.met { measured } else { measured.add_attribute(Attribute::Bold) };
        table.add_row([mark, Cell::new(&check.name), measured, Cell::new(&check.wanted)]);
    }
    finished(&table)
}

fn steps(findings: &Findings, style: Style) -> String {
    let heads = ["STEP", "FAULT", "POOL", "<AT", "<UNTIL", "<NOTICED", "<STEADY", "<BACK", "<AS BEFORE"];
    let mut table = blank(style, &heads);
    let time = |x: Option<f64>| x.map_or_else(|| NOTHING.to_owned(), seconds_short);
    for step in &findings.steps {
        table.add_row([
            step.id.clone(),
            step.fault.to_owned(),
            step.pool.clone().unwrap_or_else(|| NOTHING.to_owned()),
            time(Some(step.at_s)),
            time(step.ends_s),
            time(step.detect_s),
            time(step.failover_s),
            time(step.first_back_s),
            time(step.failback_s),
        ]);
    }
    finished(&table)
}

fn latency(findings: &Findings, style: Style) -> String {
    let heads = ["CLASS", "<BEFORE P50", "<P99", "<FAULTS ON P50", "<P99", "<WITHOUT P99", "<ADDED P99"];
    let mut table = blank(style, &heads);
    let ms = |x: Option<f64>| x.map_or_else(|| NOTHING.to_owned(), |ms| fixed(ms, 0));
    for row in &findings.latency {
        let Quantiles { p50, p99, .. } = row.before;
        table.add_row([
            row.class.clone(),
            ms(p50),
            ms(p99),
            ms(row.during.p50),
            ms(row.during.p99),
            ms(row.without.p99),
            ms(row.added_p99_ms),
        ]);
    }
    finished(&table)
}

fn pools(findings: &Findings, style: Style) -> String {
    let heads = ["POOL", "<BEFORE", "<FAULTS ON", "<SHARE", "<AFTER", "<REQUESTS", "<ANSWERS"];
    let mut table = blank(style, &heads);
    for (load, books) in findings.overflow.pools.iter().zip(&findings.matching.pools) {
        table.add_row([
            load.pool.clone(),
            fixed(load.before_per_s, 1),
            fixed(load.during_per_s, 1),
            format!("{} %", fixed(100.0 * load.share_during, 0)),
            fixed(load.after_per_s, 1),
            count(books.arrived),
            count(books.answered),
        ]);
    }
    finished(&table)
}

fn money_line(findings: &Findings) -> String {
    let cost = &findings.cost;
    let without = cost.without_usd.zip(cost.extra_usd).map_or_else(String::new, |(without, extra)| {
        format!(", and ${} had nothing happened: {}", money(without), signed_dollars(extra))
    });
    let waste = format!("${} of it for attempts that no client got", money(cost.waste_usd));
    let headroom = findings.headroom.map_or_else(String::new, |headroom| {
        format!(" Without its targets there is room for {} times what comes.", fixed(headroom, 1))
    });
    format!("It cost ${}{without}; {waste}.{headroom}", money(cost.usd))
}

fn timeline(findings: &Findings) -> String {
    let line = |moment: &crate::drill::findings::Moment| {
        format!("{:>9.3} s  {:<9} {}\n", moment.t_s, moment.kind, moment.what)
    };
    format!("\nMoments\n{}", findings.timeline.iter().map(line).collect::<String>())
}

/// A table without lines. A column whose head begins with `<` holds figures, which line up at the right.
fn blank(style: Style, heads: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    match style {
        Style::Plain => table.force_no_tty(),
        Style::Colour => table.enforce_styling(),
    };
    let head = |head: &&str| Cell::new(head.trim_start_matches('<')).add_attribute(Attribute::Dim);
    table.set_header(heads.iter().map(head).collect::<Vec<_>>());
    for (column, head) in table.column_iter_mut().zip(heads) {
        column.set_padding((0, 2));
        if head.starts_with('<') {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn finished(table: &Table) -> String {
    table.lines().flat_map(|line| [format!("  {}", line.trim_end()), "\n".to_owned()]).collect()
}
