//! The library of drills: each comes out as it says, its negative control fails, and two runs are the same to the byte.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gridtie::drill::{self, Drill, Findings, Verdict, report};
use gridtie::sim::report::Style;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/drills")
}

fn load(name: &str) -> Drill {
    let path = folder().join(name).with_extension("toml");
    drill::load(&path).unwrap_or_else(|problems| panic!("{}", problems.render(false)))
}

fn play(drill: &Drill, control: bool) -> Findings {
    drill::simulate(drill, drill.script.seed, control).expect("sound traffic")
}

/// A drill proves something only if it passes, fails without what it is about, and does both for everybody.
#[track_caller]
fn check(name: &str) {
    let drill = load(name);
    assert_eq!(*drill.script.name, *name, "the name is that of the file");
    assert!(!drill.script.description.is_empty(), "{name} says nothing about itself");
    let findings = play(&drill, false);
    assert_eq!(findings.verdict, Verdict::Passed, "{}", report::text(&findings, Style::Plain));
    assert!(findings.matching.agreed && findings.requests.lost == 0, "{:?}", findings.matching);
    let control = play(&drill, true);
    assert_eq!(control.verdict, Verdict::Failed, "{}", report::text(&control, Style::Plain));
    assert!(!control.reasons.is_empty());
    assert_eq!(report::json(&findings).unwrap(), report::json(&play(&load(name), false)).unwrap());
}

macro_rules! library {
    ($($test:ident = $name:literal,)*) => {
        $(
            #[test]
            fn $test() {
                check($name);
            }
        )*

        #[test]
        fn every_drill_of_the_library_is_played() {
            let mut there: Vec<String> = fs::read_dir(folder())
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.extension().is_some_and(|e| e == "toml"))
                .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
                .collect();
            there.sort();
            assert_eq!(there, [$($name),*]);
        }
    };
}

library! {
    a_brownout_of_a_cloud_is_gone_around = "brownout-of-a-cloud",
    cut_off_answers_never_look_whole = "cut-off-answers",
    an_expired_certificate_is_never_trusted = "expired-certificate",
    a_far_pool_falls_silent_and_nobody_waits_for_it = "far-pool-out-of-contact",
    a_hung_engine_is_found_though_its_health_page_is_green = "hung-engine",
    a_lease_ends_and_the_calls_are_elsewhere = "lease-ends",
    the_loss_of_the_owned_cluster_loses_no_call = "lose-owned-cluster",
    a_storm_of_429s_is_waited_out_elsewhere = "rate-limit-storm",
    a_region_without_dns_is_left_alone = "region-without-dns",
    k04_two_routers_restart_one_after_the_other_and_lose_no_call = "rolling-restart",
    stalls_are_cut_and_say_so = "stalls-in-mid-stream",
    a_surge_is_sorted_by_what_can_wait = "surge-17-fold",
}

#[test]
fn the_schema_of_drills_is_current() {
    let current = fs::read_to_string(folder().with_file_name("drill-schema.json")).unwrap_or_default();
    let update = "run `cargo run -- schema --drill > config/drill-schema.json`";
    assert!(current == drill::schema(), "config/drill-schema.json is not what a drill says: {update}");
}

/// The command itself, on a drill of the library.
fn command(args: &[&str]) -> (Option<i32>, Output) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gridtie"));
    let output = command.arg("drill").args(args).current_dir(folder()).output().expect("the binary runs");
    (output.status.code(), output)
}

#[test]
fn the_exit_code_says_how_it_ended() {
    assert_eq!(command(&["brownout-of-a-cloud.toml"]).0, Some(0));
    assert_eq!(command(&["brownout-of-a-cloud.toml", "--control"]).0, Some(1));
    let (code, output) = command(&["no-such-drill.toml"]);
    assert_eq!(code, Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no such file"), "{output:?}");
    for mode in ["mock", "live"] {
        let (code, output) = command(&["brownout-of-a-cloud.toml", "--mode", mode]);
        assert_eq!(code, Some(3), "{mode}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "a refusal is no result: {output:?}");
    }
}

#[test]
fn what_is_written_is_plain_where_nobody_watches_and_json_where_it_is_asked_for() {
    let (_, output) = command(&["expired-certificate.toml"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("expired-certificate: PASSED (sim, seed 7)"), "{text}");
    assert!(!text.contains('\u{1b}'), "no colours into a pipe");
    let json = String::from_utf8(command(&["expired-certificate.toml", "--json"]).1.stdout).unwrap();
    let findings: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&findings["verdict"], &findings["schema"]), (&"passed".into(), &"gridtie.drill/1".into()));
}

#[test]
fn a_report_is_one_page_that_needs_nothing_else() {
    let findings = play(&load("rolling-restart"), false);
    let page = report::html(&findings);
    assert_eq!(page, report::html(&findings));
    for outside in ["http://", "https://", "<script", "url(", "@import"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("<svg") && page.contains("rolling-restart"));
    assert!(!page.contains("NaN") && !page.contains("inf\""), "every figure is one");
}
