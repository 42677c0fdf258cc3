//! The three tellings, from runs that never ran.

use super::*;
use crate::sim::{ClassTally, PoolTally};

#[test]
fn the_table_fits_a_hundred_columns() {
    let mut wide = sample::full(2);
    for run in &mut wide.runs {
        run.policy.push_str("-with-a-name-that-goes-on");
        run.pools[2].usd *= 1234.0;
    }
    wide.classes[0].name = "a-class-with-a-long-name".to_owned();
    wide.pools[0].name = "a pool with a name that goes on and on".to_owned();
    for report in [sample::full(1), sample::full(3), sample::compared(), wide, Report::default()] {
        let text = table(&report, Style::Plain);
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{line}\n{text}");
        }
    }
}

fn json(report: &Report) -> String {
    let mut out = Vec::new();
    json_lines(report, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// Two classes, one of them without an answer, on a pool of each tenure.
fn small() -> Report {
    let class = |met, late, rejected, ttft_ms: &[f32]| ClassTally {
        offered: met + late + rejected,
        met,
        late,
        rejected,
        cut: 0,
        miss_usd: 0.01,
        ttft_ms: ttft_ms.to_vec(),
    };
    let owned = PoolTally { slot_share: Some(0.5), prefill_share: Some(0.75), ..PoolTally::default() };
    let metered = PoolTally { usd: 0.1 + 0.2, ..PoolTally::default() };
    let run = Tally {
        policy: OURS.to_owned(),
        seed: 7,
        classes: vec![class(5, 1, 1, &[250.04, 100.0, 1e3 / 3.0]), class(0, 0, 2, &[])],
        pools: vec![owned, metered],
        ..Tally::default()
    };
    let full = sample::full(1);
    Report {
        runs: vec![run],
        classes: full.classes[..2].to_vec(),
        pools: vec![full.pools[0].clone(), full.pools[2].clone()],
        bounds: vec![Bound { seed: 7, j: Some(0.2), ..Bound::default() }],
        ..Report::default()
    }
}

#[test]
fn a_run_is_one_line_of_json_with_its_fields_in_order() {
    assert_eq!(
        json(&small()),
        "{\"policy\":\"bid-price\",\"seed\":7,\"calls\":9,\"usd\":0.3,\"j\":0.34,\"bound_j\":0.2,\
         \"attainment\":0.555556,\"ttft_p50_ms\":{\"interactive\":250.0,\"agent\":null},\
         \"ttft_p99_ms\":{\"interactive\":333.3,\"agent\":null},\"rejected\":3,\
         \"owned_utilisation\":0.75}\n"
    );
}

#[test]
fn what_is_not_a_number_is_null_in_json() {
    let mut report = small();
    report.bounds.clear();
    report.runs[0].pools[1].usd = f64::NAN;
    report.runs[0].pools[0] = PoolTally::default();
    let line: serde_json::Value = serde_json::from_str(&json(&report)).unwrap();
    for field in ["usd", "j", "bound_j", "owned_utilisation"] {
        assert!(line[field].is_null(), "{field}: {line}");
    }
}

#[test]
fn the_best_of_a_column_is_marked_and_ours_comes_first() {
    let text = table(&sample::full(1), Style::Plain);
    let row = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap();
    let first = text.lines().skip_while(|line| !line.starts_with("POLICY")).nth(1).unwrap();
    assert!(first.starts_with("bid-price "), "{text}");
    assert!(row("lowest-latency").contains("0.239*"), "{text}");
    assert!(row("cheapest-first").contains(" 0*"), "{text}");
    assert!(text.contains("below overflow-spill-slo"), "{text}");
    assert!(!text.contains('\u{1b}'), "plain text has no escapes");
    assert!(table(&sample::full(1), Style::Colour).contains('\u{1b}'));
}

#[test]
fn figures_keep_the_digits_that_matter() {
    let written: Vec<String> =
        [0.0, 0.00421, 0.4213, 15.6, 121.17, 12_345.6, -2.1].map(figures::dollars).into();
    assert_eq!(written, ["$0", "$0.0042", "$0.421", "$15.60", "$121.2", "$12,346", "−$2.10"]);
    assert_eq!(
        [0.9986, 0.93, 0.071, 1.0, 0.0].map(figures::percent),
        ["99.86", "93.00", "7.1", "100.0", "0.0"]
    );
    assert_eq!([245.2, 1530.0, 28_500.0, 1.91e6].map(figures::seconds), ["0.245", "1.53", "28.5", "1,910"]);
    assert_eq!([250.0, 1500.0, 9e5, 7.2e6].map(figures::span), ["250 ms", "1.5 s", "15 min", "2 h"]);
    assert_eq!(figures::fixed(-0.0001, 1), "0.0");
    assert_eq!(figures::signed(figures::money(0.0)), "0");
    assert_eq!(figures::fixed(f64::NAN, 1), figures::NOTHING);
}

/// Not a test: `GRIDTIE_PAGES=dir cargo test --lib report -- --ignored` leaves pages there to look at.
#[test]
#[ignore = "writes files, for people to look at"]
fn pages_to_look_at() {
    let dir =
        std::path::PathBuf::from(std::env::var_os("GRIDTIE_PAGES").expect("GRIDTIE_PAGES: a directory"));
    for (name, report) in [
        ("one", sample::compared()),
        ("three", sample::full(3)),
        ("small", small()),
        ("empty", Report::default()),
    ] {
        std::fs::write(dir.join(format!("{name}.html")), html(&report)).unwrap();
    }
}
