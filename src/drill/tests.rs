//! What a drill file may say, and what each verdict takes.

use super::{Drill, Findings, Verdict, load_str, simulate};

/// A drill with two clouds; `rest` is what it is about.
fn text(length: &str, rest: &str) -> String {
    format!(
        r#"
name = "a-drill"
[config.routing]
idle = "3s"
[[config.class]]
name = "interactive"
first_token = "2s"
miss_usd = 0.01
[[config.model]]
name = "chat"
[[config.pool]]
name = "near"
tenure = "metered"
kind = "simulated"
[[config.pool.engine]]
preset = "cloud"
count = 2
[[config.pool.offer]]
model = "chat"
input = 0.5
output = 2.0
[[config.pool]]
name = "spare"
tenure = "metered"
kind = "simulated"
grants = {{ requests_per_minute = 3000 }}
[[config.pool.engine]]
preset = "cloud"
[[config.pool.offer]]
model = "chat"
input = 1.0
output = 4.0
[workload]
length = "{length}"
[[workload.bursty]]
per_s = 20
cv = 1.1
peak = 2
output = {{ mean = 60, sigma = 0.5 }}
[[target]]
name = "near"
pool = "near"
[[target]]
name = "one"
pool = "near"
endpoints = [0]
[[steady_state]]
sli = "success_ratio"
min = 0.99
{rest}
"#
    )
}

fn drill(rest: &str) -> Drill {
    load_str("a.toml", &text("60s", rest), "".as_ref()).unwrap_or_else(|p| panic!("{}", p.render(false)))
}

fn played(rest: &str) -> Findings {
    simulate(&drill(rest), 1, false).unwrap()
}

fn step(what: &str) -> String {
    format!("[expect]\nhold = \"8s\"\n[[step]]\nid = \"it\"\nat = \"15s\"\nfor = \"15s\"\n{what}\n")
}

#[track_caller]
fn refused(rest: &str, place: &str, message: &str) {
    let problems = load_str("a.toml", &text("60s", rest), "".as_ref()).unwrap_err();
    let told = problems.to_string();
    let line = told.lines().find(|line| line.contains(message));
    let line = line.unwrap_or_else(|| panic!("nothing says {message:?}: {told}"));
    let text = text("60s", rest);
    let at = text.find(place).unwrap_or_else(|| panic!("no {place:?}"));
    let row = text[..at].matches('\n').count() + 1;
    assert!(line.starts_with(&format!("a.toml:{row}:")), "expected line {row}: {line}");
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let kill = step("target = \"near\"\nfault = \"kill\"");
    refused(&format!("{kill}colour = \"red\""), "colour", "unknown key `colour`");
    refused(&step("target = \"nera\"\nfault = \"kill\""), "\"nera\"", "unknown target `nera`");
    refused(&step("target = \"near\"\nfault = \"explode\""), "\"explode\"", "unknown fault `explode`");
    refused(&format!("{kill}share = 0.5"), "share = 0.5", "`kill` has no `share`");
    refused(&step("target = \"one\"\nfault = \"dns_gone\""), "\"one\"\nfault", "about a whole pool");
    refused(
        &step("target = \"near\"\nfault = \"lease_ends\""),
        "\"near\"\nfault",
        "only an owned pool has a lease",
    );
    refused(&step("fault = \"restart\"\nrouter = 1"), "router = 1", "there are 1 routers");
    refused(&step("fault = \"surge\""), "[[step]]", "how many times?");
    refused(
        "[[step]]\nid = \"x\"\nat = \"1s\"\ntarget = \"near\"\nfault = \"kill\"",
        "[[step]]",
        "lacks its end",
    );
    let late = kill.replace("for = \"15s\"", "for = \"50s\"");
    refused(&late, "\"50s\"", "the traffic ends before this step does");
    refused(&format!("{kill}[control]\nfailover = true"), "[control]", "the control lacks nothing");
    refused(
        &format!("{kill}[[steady_state]]\nsli = \"ttft_p99_ms\"\nmin = 0.5"),
        "\"ttft_p99_ms\"",
        "takes `max`",
    );
    let workload = format!("{kill}[[workload.chat]]\nper_s = 1\nturn = 3");
    refused(&workload, "turn", "unknown field `turn`");
}

#[test]
fn a_config_in_the_drill_is_told_of_with_the_lines_of_the_drill() {
    let text = text("60s", "").replace("preset = \"cloud\"\ncount = 2", "preset = \"clod\"");
    let told = load_str("a.toml", &text, "".as_ref()).unwrap_err().to_string();
    let row = text[..text.find("\"clod\"").unwrap()].matches('\n').count() + 1;
    assert!(told.contains(&format!("a.toml:{row}:")), "{told}");
}

#[test]
fn a_step_may_come_after_another() {
    let two = "target = \"near\"\nfault = \"drain\"\n[[step]]\nid = \"then\"\nafter = \"it\"\nat = \"2s\"\nfor = \"5s\"\n\
               target = \"near\"\nfault = \"kill\"";
    let steps = drill(&step(two)).script.steps;
    assert_eq!(steps[1].at, steps[0].ends.unwrap() + std::time::Duration::from_secs(2));
}

#[test]
fn every_fault_can_be_played_and_the_books_agree() {
    for what in [
        "kill",
        "refuse",
        "error",
        "rate_limit",
        "hang",
        "stall",
        "truncate",
        "dns_gone",
        "tls_expired",
        "contact_lost",
        "drain",
    ] {
        let findings = played(&step(&format!("target = \"near\"\nfault = \"{what}\"")));
        assert!(findings.matching.agreed, "{what}: {:?}", findings.matching);
        assert_eq!(findings.requests.lost + findings.requests.duplicated, 0, "{what}");
        assert_eq!(findings.requests.silent_truncations, 0, "{what}");
        assert!(findings.overflow.pools[1].during_per_s > 5.0, "{what}: {:?}", findings.overflow.pools);
    }
}

#[test]
fn what_is_slow_is_slow_only_while_the_step_lasts() {
    let findings = played(&step("target = \"near\"\nfault = \"slow\"\nfactor = 3"));
    let row = &findings.latency[0];
    assert!(findings.matching.agreed && row.during.p50 > row.before.p50, "{row:?}");
    assert!(findings.steady_state[0].after.met == Some(true), "{}", findings.headline);
}

#[test]
fn one_endpoint_may_be_hurt_and_the_other_takes_its_calls() {
    let findings = played(&step("target = \"one\"\nfault = \"refuse\""));
    assert_eq!(findings.verdict, Verdict::Passed, "{}", findings.headline);
    assert!(findings.overflow.pools[0].during_per_s > 15.0, "{:?}", findings.overflow.pools);
}

#[test]
fn a_crash_of_the_only_router_loses_calls_and_says_so() {
    let findings = played(&step("fault = \"crash\""));
    assert_eq!(findings.verdict, Verdict::Failed, "{}", findings.headline);
    assert!(findings.requests.lost > 200, "{:?}", findings.requests);
    assert!(findings.reasons.iter().any(|why| why.starts_with("lost calls")), "{:?}", findings.reasons);
}

#[test]
fn too_little_traffic_is_inconclusive_and_never_passed() {
    let kill = step("target = \"near\"\nfault = \"drain\"");
    let asked = played(&format!("{kill}[preconditions]\ncalls_min = 100000"));
    assert_eq!(asked.verdict, Verdict::Inconclusive, "{}", asked.headline);
    let fine = format!("{kill}[[steady_state]]\nsli = \"success_ratio\"\nmin = 0.9999");
    let fine = played(&fine);
    assert_eq!(fine.verdict, Verdict::Inconclusive, "{:?}", fine.reasons);
    assert_eq!(fine.verdict.exit_code(), 5);
}

#[test]
fn a_drill_without_room_elsewhere_is_refused_and_plays_nothing() {
    let findings = played(&format!(
        "{}[preconditions]\nheadroom_min = 50.0",
        step("target = \"near\"\nfault = \"kill\"")
    ));
    assert_eq!(findings.verdict, Verdict::Refused);
    assert_eq!(findings.requests.sent, 0);
    assert!(findings.reasons[0].contains("50 are asked for"), "{:?}", findings.reasons);
}

#[test]
fn a_limit_that_is_passed_breaks_the_drill_off_and_ends_its_faults() {
    let both = "target = \"near\"\nfault = \"kill\"\n[[target]]\nname = \"spare\"\npool = \"spare\"\n\
                [[step]]\nid = \"too\"\nat = \"15s\"\nfor = \"15s\"\ntarget = \"spare\"\nfault = \"kill\"\n\
                [[abort]]\nsli = \"success_ratio\"\nbelow = 0.5\nfor = \"2s\"";
    let findings = played(&step(both));
    assert_eq!(
        (findings.verdict, findings.verdict.exit_code()),
        (Verdict::Aborted, 4),
        "{}",
        findings.headline
    );
    let at = findings.aborted_at_s.unwrap();
    assert!((15.0..20.0).contains(&at), "{at}");
    assert_eq!(findings.steps[0].ends_s, Some(at));
}

#[test]
fn what_is_not_as_before_in_time_is_not_restored() {
    let findings = played(&format!(
        "{}[restore]\ntimeout = \"1ms\"\n[[target]]\nname = \"spare\"\npool = \"spare\"\n[[step]]\nid = \"too\"\nat = \"15s\"\n\
         for = \"15s\"\ntarget = \"spare\"\nfault = \"kill\"",
        step("target = \"near\"\nfault = \"kill\"")
    ));
    assert_eq!(
        (findings.verdict, findings.verdict.exit_code()),
        (Verdict::RestoreFailed, 6),
        "{}",
        findings.headline
    );
}

#[test]
fn what_did_not_hold_before_proves_nothing() {
    let findings = played(&format!(
        "{}[[steady_state]]\nsli = \"ttft_p99_ms\"\nmax = 100",
        step("target = \"near\"\nfault = \"drain\"")
    ));
    assert_eq!(findings.verdict, Verdict::Refused, "{}", findings.headline);
    assert!(findings.reasons[0].contains("did not hold before"), "{:?}", findings.reasons);
}

#[test]
fn another_seed_is_another_run_and_the_same_seed_the_same() {
    let drill = drill(&step("target = \"near\"\nfault = \"error\"\nshare = 0.3"));
    let run = |seed| super::report::json(&simulate(&drill, seed, false).unwrap()).unwrap();
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
