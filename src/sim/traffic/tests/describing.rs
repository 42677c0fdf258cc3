use super::*;

fn facts(text: &str, seed: u64) -> Facts {
    Facts::of(&described(text, seed).unwrap())
}

/// The example in the documentation of the module, without its comment signs.
fn example() -> String {
    let source = include_str!("../described/mod.rs");
    let inside = source.split("//! ```").nth(1).unwrap();
    inside.trim_start_matches("toml").lines().map(|l| l.trim_start_matches("//!").to_owned() + "\n").collect()
}

#[test]
fn the_documented_example_is_a_workload() {
    let text = example().replace("hours = 24 ", "hours = 2 ").replace("at_hours = 10\n", "at_hours = 1\n");
    let t = described(&text, 1).unwrap();
    assert_eq!(t.name, "an office day");
    assert!(t.arrivals.is_sorted_by_key(|a| a.at));
    assert!(t.arrivals.iter().all(|a| a.input > 0 && a.output > 0 && a.at < Instant::from_secs_f64(7200.0)));
    assert!(
        t.arrivals.iter().any(|a| a.model == ModelId(0)) && t.arrivals.iter().any(|a| a.model == ModelId(1))
    );
    for a in &t.arrivals {
        assert!(a.prefix.iter().map(|b| b.tokens).sum::<u32>() <= a.input);
    }
    assert_eq!(described(&text, 1).unwrap(), t, "the same seed is the same workload");
    assert_ne!(described(&text, 2).unwrap(), t);
}

#[test]
fn bursts_have_the_variation_that_is_asked_for() {
    for (cv, peak, hours, tolerance) in
        [(1.0, 8.0, 8, 0.02), (3.0, 4.0, 8, 0.1), (13.0, 8.0, 40, 0.6), (13.0, 2.0, 40, 0.8)]
    {
        let text = format!("hours = {hours}\n[[bursty]]\nper_s = 3\ncv = {cv}\npeak = {peak}\n");
        let facts = facts(&text, 1);
        close(facts.gap_cv, cv, tolerance);
        close(facts.rate, 3.0, 0.15);
    }
}

#[test]
fn an_hour_of_bursts_is_like_the_trace_they_are_taken_from() {
    for seed in 1..=5 {
        let facts = facts("hours = 1\n[[bursty]]\nper_s = 2.57\n", seed);
        close(facts.gap_cv, 13.0, 3.0);
        close(facts.peak_minute, 4.2, 2.0);
        close(facts.input.mean, 2048.0, 100.0);
        close(facts.output.mean, 28.0, 2.5);
        close(f64::from(facts.output.median), 13.0, 1.0);
    }
}

#[test]
fn calls_without_a_class_have_one_of_the_mix() {
    let facts = facts("hours = 4\n[[bursty]]\nper_s = 3\ncv = 1\n", 1);
    for (count, share) in facts.by_class.iter().zip([0.5, 0.3, 0.2]) {
        close(*count as f64 / facts.calls as f64, share, 0.01);
    }
}

#[test]
fn a_chat_grows_and_comes_back_to_its_prefix() {
    let t = described("hours = 2\n[[chat]]\nper_s = 0.2\n", 3).unwrap();
    let facts = Facts::of(&t);
    close(facts.rate, 1.0, 0.15);
    assert!(facts.shareable > 0.5, "{facts:?}");
    assert_eq!(facts.by_class, [facts.calls], "chat is interactive");
    let one = t.arrivals.iter().find(|a| a.at > Instant::from_secs_f64(600.0)).unwrap().session;
    let turns: Vec<_> = t.arrivals.iter().filter(|a| a.session == one).collect();
    assert!(turns.windows(2).all(|w| w[0].input + w[0].output < w[1].input && w[0].at < w[1].at));
    assert!(turns.windows(2).all(|w| w[0].prefix[0] == w[1].prefix[0]), "the instructions are everybody's");
    assert!(turns.windows(2).all(|w| w[0].prefix[1].hash == w[1].prefix[1].hash));
}

#[test]
fn a_workload_begins_in_the_middle_of_its_conversations() {
    let t = described("hours = 2\n[[agents]]\nper_s = 0.05\n", 3).unwrap();
    let half = t.window(Instant::START, Instant::from_secs_f64(3600.0)).arrivals.len() as f64;
    close(half / t.arrivals.len() as f64, 0.5, 0.1);
    assert!(Facts::of(&t).shareable > 0.85, "{:?}", Facts::of(&t));
}

#[test]
fn a_long_history_is_summed_up_and_loses_its_prefix() {
    let text = "hours = 1\n[[agents]]\nper_s = 0.05\ncontext = 16000\n";
    let t = described(text, 3).unwrap();
    assert!(t.arrivals.iter().all(|a| a.input <= 16_000));
    let names = |session| {
        let own = t.arrivals.iter().filter(|a| a.session == session).map(|a| a.prefix[1].hash);
        own.collect::<std::collections::BTreeSet<_>>().len()
    };
    assert!(t.arrivals.iter().any(|a| names(a.session) > 1));
}

#[test]
fn routines_come_at_their_hours_of_every_day() {
    let text =
        "hours = 48\n[[nightly]]\nat_hours = [1, 3]\ncalls = 50\nover_s = 30\nclass = \"background\"\n";
    let t = described(text, 1).unwrap();
    assert_eq!(t.arrivals.len(), 200);
    for hour in [1.0, 3.0, 25.0, 27.0] {
        let from = Instant::from_secs_f64(hour * 3600.0);
        assert_eq!(t.window(from, from + Duration::from_secs(30)).arrivals.len(), 50);
    }
    assert!(t.arrivals.iter().all(|a| a.class == ClassId(2) && a.prefix[0] == t.arrivals[0].prefix[0]));
}

#[test]
fn a_surge_is_seventeenfold() {
    let calm = "hours = 2\n[[bursty]]\nper_s = 2\ncv = 1\n";
    let (calm, surged) = (
        described(calm, 1).unwrap(),
        described(&format!("{calm}[[surge]]\nat_hours = 1\nminutes = 5\n"), 1).unwrap(),
    );
    let from = Instant::from_secs_f64(3600.0);
    let inside = |t: &Traffic| t.window(from, from + Duration::from_secs(300)).arrivals.len();
    assert_eq!(inside(&surged), 17 * inside(&calm));
    assert_eq!(surged.arrivals.len() - inside(&surged), calm.arrivals.len() - inside(&calm));
}

#[test]
fn a_bad_description_says_what_and_where() {
    for (text, want) in [
        ("hours = 1\n[[chatt]]\n", "w.toml:2: unknown field `chatt`"),
        ("[[chat]]\nper_s = 1\n", "missing field `hours`"),
        ("hours = 1\n", "w.toml: no calls; describe more calls"),
        ("hours = nan\n", "w.toml: hours is NaN; say a number from 0 to 8784"),
        ("hours = 1\n[[bursty]]\nper_s = 1\ncv = 0.5\n", "bursty.cv is 0.5; say a number from 1 to 1000"),
        ("hours = 1\n[[bursty]]\nper_s = 0\n", "no calls"),
        ("hours = 1\n[[bursty]]\nper_s = 1e9\n", "bursty.per_s is 1000000000"),
        ("hours = 8000\n[[bursty]]\nper_s = 50\n", "about 1440000000 calls; stay below 20000000"),
        ("hours = 0.0001\n[[chat]]\nper_s = 100000\n", "calls; stay below"),
        (
            "hours = 1\n[[chat]]\nper_s = 1\nclass = \"agnt\"\n",
            "no class is called `agnt`; did you mean `agent`?",
        ),
        ("hours = 1\n[[chat]]\nper_s = 1\nmodel = \"huge\"\n", "no model is called `huge`"),
        ("hours = 1\n[[chat]]\nper_s = 1\nturns = 0.5\n", "chat.turns is 0.5"),
        ("hours = 1\n[[agents]]\nper_s = 1\npause_s = { mean = -1 }\n", "agents.pause_s.mean is -1"),
        ("hours = 1\n[[surge]]\nat_hours = 0\nminutes = inf\n", "surge.minutes is inf"),
        ("hours = 48\n[[nightly]]\nat_hours = [25]\ncalls = 1\n", "nightly.at_hours is 25"),
        ("hours = 48\n[[nightly]]\nat_hours = [2, 3]\ncalls = 4000000000\n", "stay below"),
    ] {
        let said = described(text, 1).unwrap_err().to_string();
        assert!(said.contains(want), "{said}\nwant: {want}");
    }
}
