//! `gridtie status`: pools, offers and endpoints of a running router, as tables.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use comfy_table::{Attribute, Cell, CellAlignment, Color, Table, presets};

use super::Paint;
use super::admin::{Reach, block_on};
use crate::dialect::gridtie::v1;

/// Pools, health, load and prices of a running router.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// List every endpoint, not only those that are not healthy
    #[arg(long)]
    pub endpoints: bool,
    /// Which router.
    #[command(flatten)]
    pub reach: Reach,
}

/// Asks, and writes the tables.
pub fn run(args: &Args, paint: Paint, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let list = block_on(async {
        let router = args.reach.connect().await?;
        let ask = v1::ListPoolsRequest {};
        router.ask(ask, |mut client, ask| async move { client.list_pools(ask).await }).await
    })?;
    out.write_all(render(&list, args.endpoints, paint).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// The tables as text.
fn render(list: &v1::ListPoolsResponse, all_endpoints: bool, paint: Paint) -> String {
    let mut text = format!("gridtie {}", list.version);
    text.push_str(if list.draining { ", going down\n" } else { "\n" });
    if let Some(config) = &list.config {
        text.push_str(&configs(config, list.at));
    }
    for step in &list.brownout {
        text.push_str(&brownout(step, list.at));
    }
    text.push('\n');
    text.push_str(&pools(list, paint));
    text.push('\n');
    text.push_str(&offers(list, paint));
    if let Some(endpoints) = endpoints(list, all_endpoints, paint) {
        text.push('\n');
        text.push_str(&endpoints);
    }
    text
}

fn ago(at: Option<prost_types::Timestamp>, now: Option<prost_types::Timestamp>) -> String {
    match at.zip(now).map(|(at, now)| now.seconds - at.seconds) {
        Some(s @ 0..120) => format!("{s} s ago"),
        Some(s @ 120..7200) => format!("{} min ago", s / 60),
        Some(s @ 7200..172_800) => format!("{} h ago", s / 3600),
        Some(s) if s > 0 => format!("{} d ago", s / 86_400),
        Some(_) | None => "just now".to_owned(),
    }
}

/// `BROWNOUT 2 defer, 12 s ago: calls that cannot wait would have to for 1.4 s`.
fn brownout(step: &v1::BrownoutStep, now: Option<prost_types::Timestamp>) -> String {
    format!("BROWNOUT {} {}, {}: {}\n", step.level, step.step, ago(step.since, now), step.why)
}

/// The config that runs, and what is wrong with the one that does not.
fn configs(config: &v1::ConfigStatus, now: Option<prost_types::Timestamp>) -> String {
    let ago = |at| ago(at, now);
    let mut lines =
        vec![format!("config {}, {}, taken {}", config.source, self::config(config), ago(config.since))];
    if let Some(rejected) = &config.rejected {
        lines.push(format!("REFUSED {}: what the file says now does not run", ago(rejected.at)));
        lines.extend(rejected.why.iter().map(|why| format!("  {why}")));
    }
    if !config.needs_restart.is_empty() {
        lines.push("needs a restart:".to_owned());
        lines.extend(config.needs_restart.iter().map(|change| format!("  {}", super::reload::line(change))));
    }
    lines.join("\n") + "\n"
}

/// Which config it is: `edition 3, sha256 0123456789ab`.
pub(super) fn config(config: &v1::ConfigStatus) -> String {
    let short: String = config.sha256.chars().take(12).collect();
    format!("edition {}, sha256 {short}", config.edition)
}

fn pools(list: &v1::ListPoolsResponse, paint: Paint) -> String {
    let mut heads =
        vec!["POOL", "TENURE", "REGION", "STATE", "<IN FLIGHT", "<USED", "<ENDPOINTS", "<SERVED", "<FAILED"];
    // Most have no power to show.
    let powered = list.pools.iter().any(|pool| pool.watts.is_some());
    if powered {
        heads.push("<POWER");
    }
    let leased = list.pools.iter().any(|pool| pool.lease_ends.is_some());
    if leased {
        heads.push("<LEASE");
    }
    let mut table = table(paint, &heads);
    for pool in &list.pools {
        let tenure = match pool.tenure() {
            v1::Tenure::Owned => "owned",
            v1::Tenure::Metered => "metered",
            v1::Tenure::Unspecified => "-",
        };
        let in_flight = match pool.max_in_flight {
            Some(max) => format!("{}/{max}", pool.in_flight),
            None => pool.in_flight.to_string(),
        };
        let used = pool.utilisation.map_or_else(nothing, |used| format!("{:.0} %", 100.0 * used));
        let healthy = pool.endpoints.iter().filter(|endpoint| endpoint.state() == v1::State::Healthy).count();
        let mut row = vec![
            Cell::new(&pool.name),
            Cell::new(tenure),
            Cell::new(if pool.region.is_empty() { "-" } else { &pool.region }),
            state(pool.state()),
            Cell::new(in_flight),
            Cell::new(used),
            Cell::new(format!("{healthy}/{}", pool.endpoints.len())),
            Cell::new(pool.served),
            Cell::new(pool.failed),
        ];
        if powered {
            row.push(Cell::new(power(pool.watts, pool.max_watts)));
        }
        if leased {
            row.push(Cell::new(pool.lease_ends.map_or_else(nothing, |ends| lease(ends, list.at))));
        }
        table.add_row(row);
    }
    finished(&table)
}

fn offers(list: &v1::ListPoolsResponse, paint: Paint) -> String {
    let mut table = table(
        paint,
        &["MODEL", "POOL", "STATE", "<$/M IN", "<$/M OUT", "<FIRST TOKEN", "<TOKENS/S", "<ERRORS"],
    );
    let mut rows: Vec<(&v1::PoolStatus, &v1::OfferStatus)> =
        list.pools.iter().flat_map(|pool| pool.offers.iter().map(move |offer| (pool, offer))).collect();
    // By model, because that is what pools compete for; the order of pools stays.
    rows.sort_by(|a, b| a.1.model.cmp(&b.1.model));
    for (pool, offer) in rows {
        let prices = offer.prices.unwrap_or_default();
        table.add_row([
            Cell::new(&offer.model),
            Cell::new(&pool.name),
            state(offer.state()),
            Cell::new(price(prices.input_usd_per_million)),
            Cell::new(price(prices.output_usd_per_million)),
            Cell::new(span(offer.ttft)),
            Cell::new(rate(offer.time_per_token)),
            Cell::new(format!("{:.1} %", 100.0 * offer.error_rate)),
        ]);
    }
    finished(&table)
}

/// Endpoints that need a look, or all of them.
fn endpoints(list: &v1::ListPoolsResponse, all: bool, paint: Paint) -> Option<String> {
    let mut table = table(paint, &["ENDPOINT", "POOL", "STATE", "<IN FLIGHT", "<QUEUED", "REPORTS"]);
    for pool in &list.pools {
        for endpoint in pool.endpoints.iter().filter(|e| all || e.state() != v1::State::Healthy) {
            table.add_row([
                Cell::new(&endpoint.address),
                Cell::new(&pool.name),
                state(endpoint.state()),
                Cell::new(endpoint.in_flight),
                Cell::new(format!("{:.2} s", endpoint.queued_work_s)),
                Cell::new(endpoint.report.map_or_else(nothing, |report| reported(&report))),
            ]);
        }
    }
    (!table.is_empty()).then(|| finished(&table))
}

/// `12 running, 3 waiting, KV 87 %, 0.4 s ago`.
fn reported(report: &v1::EngineReport) -> String {
    let mut parts = Vec::new();
    parts.extend(report.running.map(|n| format!("{n} running")));
    parts.extend(report.waiting.map(|n| format!("{n} waiting")));
    parts.extend(report.kv_used.map(|share| format!("KV {:.0} %", 100.0 * share)));
    let age = report.age.and_then(|age| Duration::try_from(age).ok()).unwrap_or_default();
    parts.push(format!("{:.1} s ago", age.as_secs_f64()));
    parts.join(", ")
}

/// A table without lines. A column whose head begins with `<` holds numbers, which line up at the right.
fn table(paint: Paint, heads: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    match paint {
        Paint::Plain => table.force_no_tty(),
        Paint::Colour => table.enforce_styling(),
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
    let mut text: String =
        table.lines().flat_map(|line| [line.trim_end().to_owned(), "\n".to_owned()]).collect();
    if table.is_empty() {
        text.push_str("none\n");
    }
    text
}

fn state(state: v1::State) -> Cell {
    let (word, colour) = match state {
        v1::State::Healthy => ("healthy", Some(Color::Green)),
        v1::State::SlowStart => ("slow start", Some(Color::Yellow)),
        v1::State::Probation => ("probation", Some(Color::Yellow)),
        v1::State::Cooldown => ("cooldown", Some(Color::Yellow)),
        v1::State::Leaving => ("leaving", Some(Color::Yellow)),
        v1::State::Ejected => ("ejected", Some(Color::Red)),
        v1::State::Disabled => ("disabled", Some(Color::Red)),
        v1::State::Empty => ("no endpoints", Some(Color::Red)),
        v1::State::NoLease => ("not leased", Some(Color::Cyan)),
        v1::State::NoContact => ("no contact", Some(Color::Cyan)),
        v1::State::Drained => ("drained", Some(Color::Cyan)),
        v1::State::Unspecified => ("unknown", None),
    };
    let cell = Cell::new(word);
    match colour {
        Some(colour) => cell.fg(colour),
        None => cell,
    }
}

/// What is left of a lease: days, hours or minutes, whichever there are some of.
fn lease(ends: prost_types::Timestamp, now: Option<prost_types::Timestamp>) -> String {
    let minutes = (ends.seconds - now.map_or(0, |now| now.seconds)) / 60;
    match minutes {
        ..0 => "over".to_owned(),
        0..120 => format!("{minutes} min"),
        120..2880 => format!("{} h", minutes / 60),
        _ => format!("{} d", minutes / 1440),
    }
}

/// Kilowatts, of those that the site gives.
fn power(watts: Option<f64>, max: Option<f64>) -> String {
    let kw = |watts: f64| watts / 1e3;
    match (watts, max) {
        (Some(watts), Some(max)) => format!("{:.1}/{:.1} kW", kw(watts), kw(max)),
        (Some(watts), None) => format!("{:.1} kW", kw(watts)),
        (None, _) => nothing(),
    }
}

/// Committed capacity has no price; small prices keep their digits.
fn price(usd_per_million: f64) -> String {
    if usd_per_million == 0.0 { nothing() } else { format!("{usd_per_million:.3}") }
}

fn span(span: Option<prost_types::Duration>) -> String {
    let span = span.and_then(|span| Duration::try_from(span).ok());
    span.map_or_else(nothing, |span| format!("{:.0} ms", span.as_secs_f64() * 1e3))
}

fn rate(each: Option<prost_types::Duration>) -> String {
    let each = each.and_then(|each| Duration::try_from(each).ok()).filter(|each| !each.is_zero());
    each.map_or_else(nothing, |each| format!("{:.0}", each.as_secs_f64().recip()))
}

fn nothing() -> String {
    "-".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> v1::ListPoolsResponse {
        let millis = |ms: i32| Some(prost_types::Duration { seconds: 0, nanos: ms * 1_000_000 });
        let offer = |price: f64| v1::OfferStatus {
            model: "chat".to_owned(),
            state: v1::State::Healthy.into(),
            prices: Some(v1::Prices {
                input_usd_per_million: price,
                output_usd_per_million: 4.0 * price,
                ..Default::default()
            }),
            ttft: millis(250),
            time_per_token: millis(20),
            error_rate: 0.004,
            ..Default::default()
        };
        let endpoint = |address: &str, state: v1::State| v1::EndpointStatus {
            address: address.to_owned(),
            state: state.into(),
            ..Default::default()
        };
        let pool = |name: &str, state: v1::State, price| v1::PoolStatus {
            name: name.to_owned(),
            tenure: v1::Tenure::Owned.into(),
            state: state.into(),
            in_flight: 12,
            max_in_flight: Some(100),
            utilisation: Some(0.255),
            offers: vec![offer(price)],
            ..Default::default()
        };
        let mut first = pool("owned-west", v1::State::Drained, 0.0);
        let mut ejected = endpoint("http://b", v1::State::Ejected);
        ejected.report = Some(v1::EngineReport {
            running: Some(12),
            waiting: Some(0),
            kv_used: Some(0.874),
            age: millis(400),
        });
        first.endpoints = vec![endpoint("http://a", v1::State::Healthy), ejected];
        v1::ListPoolsResponse {
            pools: vec![first, pool("cloud", v1::State::Healthy, 0.6)],
            version: "1.2.3".to_owned(),
            ..Default::default()
        }
    }

    #[test]
    fn the_tables_line_up_and_hold_what_an_operator_looks_for() {
        let text = render(&list(), false, Paint::Plain);
        let expected = "\
gridtie 1.2.3

POOL        TENURE  REGION  STATE    IN FLIGHT  USED  ENDPOINTS  SERVED  FAILED
owned-west  owned   -       drained     12/100  26 %        1/2       0       0
cloud       owned   -       healthy     12/100  26 %        0/0       0       0

MODEL  POOL        STATE    $/M IN  $/M OUT  FIRST TOKEN  TOKENS/S  ERRORS
chat   owned-west  healthy       -        -       250 ms        50   0.4 %
chat   cloud       healthy   0.600    2.400       250 ms        50   0.4 %

ENDPOINT  POOL        STATE    IN FLIGHT  QUEUED  REPORTS
http://b  owned-west  ejected          0  0.00 s  12 running, 0 waiting, KV 87 %, 0.4 s ago
";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_is_done_for_lack_of_room_is_shown_with_since_when_and_why() {
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let step = v1::BrownoutStep {
            step: "defer".to_owned(),
            level: 2,
            since: at(8_988),
            why: "calls that cannot wait would have to for 1.4 s".to_owned(),
        };
        let text = render(
            &v1::ListPoolsResponse { brownout: vec![step], at: at(9_000), ..list() },
            false,
            Paint::Plain,
        );
        let says =
            "gridtie 1.2.3\nBROWNOUT 2 defer, 12 s ago: calls that cannot wait would have to for 1.4 s\n\n";
        assert!(text.starts_with(says), "{text}");
    }

    #[test]
    fn c02_the_running_config_and_the_refused_one_are_both_shown() {
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let config = v1::ConfigStatus {
            source: "gridtie.toml".to_owned(),
            sha256: "0123456789abcdef".to_owned(),
            since: at(1_000),
            edition: 2,
            rejected: Some(v1::RejectedConfig {
                sha256: "ff".to_owned(),
                at: at(8_990),
                why: vec!["gridtie.toml:1:1: there is no pool".to_owned()],
            }),
            needs_restart: Vec::new(),
        };
        let text = render(
            &v1::ListPoolsResponse { config: Some(config), at: at(9_000), ..list() },
            false,
            Paint::Plain,
        );
        let expected = "\
gridtie 1.2.3
config gridtie.toml, edition 2, sha256 0123456789ab, taken 2 h ago
REFUSED 10 s ago: what the file says now does not run
  gridtie.toml:1:1: there is no pool

POOL ";
        assert!(text.starts_with(expected), "{text}");
    }

    #[test]
    fn colours_are_for_those_who_want_them() {
        assert!(!render(&list(), true, Paint::Plain).contains('\u{1b}'));
        let coloured = render(&list(), true, Paint::Colour);
        assert!(coloured.contains('\u{1b}') && coloured.contains("http://a"));
    }
}
