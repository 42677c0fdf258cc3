//! The three tellings, from runs that never ran.

use super::*;
use crate::domain::Instant;
use crate::sim::{ClassTally, PoolTally, Sample};

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
         \"attainment\":0.555556,\"attainment_by_class\":{\"interactive\":0.714286,\"agent\":0.0},\
         \"bound_attainment\":null,\"bound_attainment_by_class\":{\"interactive\":null,\"agent\":null},\
         \"ttft_p50_ms\":{\"interactive\":250.0,\"agent\":null},\
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

/// Every tag that is opened is closed, in order. Text holds no bare `<`.
#[track_caller]
fn assert_balanced(page: &str) {
    let body = page.replace("<!doctype html>", "");
    let (before, after) = body.split_once("<style>").unwrap();
    let after = after.split_once("</style>").unwrap().1;
    let mut open: Vec<String> = Vec::new();
    for part in format!("{before}{after}").split('<').skip(1) {
        let (tag, text) = part.split_once('>').unwrap_or_else(|| panic!("no end of <{part}"));
        assert!(!text.contains('>'), "bare > in {text}");
        let name: String =
            tag.trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric).collect();
        assert_eq!(tag.matches('"').count() % 2, 0, "quotes of <{tag}>");
        match () {
            () if tag.starts_with('/') => assert_eq!(open.pop().as_ref(), Some(&name), "</{name}>"),
            () if tag.ends_with('/') || name == "meta" || name == "br" => {}
            () => open.push(name),
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
}

/// Everything that is a number is none, every text is an attack.
fn hostile() -> Report {
    let attack = "</title><script src=\"http://x/\">'&\u{0}";
    let mut report = Report { against: sample::compared().against, ..sample::full(2) };
    for run in &mut report.runs {
        run.policy.push_str(attack);
        run.pools[2].usd = f64::NAN;
        run.pools[0].slot_share = Some(f64::NAN);
        for class in &mut run.classes {
            class.ttft_ms = vec![f32::NAN, f32::INFINITY, -1.0, 0.0];
        }
        for sample in &mut run.samples {
            sample.slot_usd = vec![f64::NAN, f64::INFINITY, -1.0];
            sample.in_flight.truncate(1);
        }
    }
    let Report { title, config, pools, classes, bounds, capacity, notes, frontier, tuning, traffic, .. } =
        &mut report;
    for text in [title, config, &mut traffic.name, &mut pools[0].name, &mut classes[0].name, &mut notes[0]] {
        attack.clone_into(text);
    }
    for text in [&mut capacity[0].what, &mut frontier[0].label, &mut tuning[0].chosen] {
        attack.clone_into(text);
    }
    bounds[0] = Bound { seed: 1, j: Some(f64::NAN), goodput: Some(f64::INFINITY), ..Bound::default() };
    bounds[1].goodput_by_class = vec![f64::NAN];
    bounds[1].floor = vec![Floor { p50_ms: f64::NAN, p99_ms: 0.0 }];
    capacity[0].shadow_usd_per_hour = f64::NAN;
    frontier[0].usd = f64::NAN;
    frontier[1].attainment = f64::NAN;
    traffic.mean_rps = f64::NAN;
    report
}

/// Runs that came to nothing: no call, no sample, no pool that did anything.
fn idle() -> Report {
    let mut report = sample::full(1);
    for run in &mut report.runs {
        *run = Tally { policy: run.policy.clone(), seed: run.seed, ..Tally::default() };
    }
    report
}

#[test]
fn pages_are_well_formed_whatever_the_figures_are() {
    let without_classes = Report { classes: Vec::new(), pools: Vec::new(), ..sample::full(1) };
    let reports =
        [sample::full(3), sample::compared(), small(), hostile(), idle(), without_classes, Report::default()];
    for report in reports {
        let page = html(&report);
        assert_balanced(&page);
        for word in ["NaN", "\"inf", " inf", "-inf", "<script"] {
            assert!(!page.contains(word), "{word} in the page of {:?}", report.title);
        }
        let text = table(&report, Style::Plain);
        assert!(!text.contains("NaN") && !text.contains("inf "), "{text}");
    }
}

#[test]
fn a_page_needs_nothing_from_outside() {
    let page = html(&sample::full(2));
    for word in ["src=", "href=", "url(", "@import", "http:", "https:", "<script", "<link", "xmlns"] {
        assert!(!page.contains(word), "{word}");
    }
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn every_plot_has_a_name_a_description_and_its_figures() {
    let page = html(&sample::full(2));
    let plots: Vec<&str> = page.split("<svg ").skip(1).collect();
    assert_eq!(plots.len(), 7, "money, bills, load, loads of others, shadow prices, waits, misses");
    for plot in plots {
        let id = plot.split("aria-labelledby=\"").nth(1).and_then(|rest| rest.split('-').next()).unwrap();
        assert!(plot.contains(&format!("<title id=\"{id}-title\">")), "{id}");
        assert!(plot.contains(&format!("<desc id=\"{id}-desc\">")), "{id}");
        // The small plots repeat the large one: what they would list is there.
        assert!(id == "loads" || plot.split("<section>").next().unwrap().contains("<details>"), "{id}");
    }
}

#[test]
fn the_same_report_gives_the_same_bytes() {
    let told = |report: &Report| (html(report), json(report), table(report, Style::Colour));
    assert_eq!(told(&sample::full(2)), told(&sample::full(2)));
}

#[test]
fn long_runs_are_thinned_out() {
    let mut report = sample::full(1);
    let short = html(&report).len();
    for run in &mut report.runs {
        let once = run.samples.clone();
        run.samples = (0..20_u32)
            .flat_map(|round| {
                let later = 3600.0 * f64::from(round);
                once.iter().map(move |s| Sample {
                    at: Instant::from_secs_f64(s.at.as_secs_f64() + later),
                    ..s.clone()
                })
            })
            .collect();
    }
    let long = html(&report).len();
    assert!(long < short * 5 / 4, "{long} bytes for twenty times the samples of {short}");
}

#[test]
fn ours_below_the_best_other_is_said_so_and_above_it_too() {
    assert!(html(&sample::full(1)).contains("58 % below overflow-spill-slo"));
    let mut worse = sample::full(1);
    for run in worse.runs.iter_mut().filter(|run| run.policy == OURS) {
        run.pools[2].usd += 60.0;
    }
    assert!(html(&worse).contains("% above overflow-spill-slo"));
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
        ("hostile", hostile()),
        ("idle", idle()),
        ("empty", Report::default()),
    ] {
        std::fs::write(dir.join(format!("{name}.html")), html(&report)).unwrap();
    }
}
