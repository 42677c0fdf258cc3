//! Tests of the command: tiny workloads through all of it.

use std::cell::RefCell;
use std::fs;
use std::rc::Rc;

use clap::Parser;

mod bounds;

use super::*;
use crate::config;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

/// A folder of its own, gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("gridtie-simulate-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> String {
        fs::write(self.0.join(name), text).unwrap();
        self.path(name)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// Standard error, kept.
#[derive(Clone, Default)]
struct Heard(Rc<RefCell<Vec<u8>>>);

impl Write for Heard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn args(line: &[&str]) -> Args {
    Line::try_parse_from(["simulate"].iter().chain(line)).unwrap_or_else(|error| panic!("{error}")).args
}

fn play(line: &[&str]) -> Result<Shown, Failed> {
    simulate(&args(line), &mut Teller::new(Box::new(io::sink())))
}

fn played(line: &[&str]) -> Shown {
    play(line).unwrap_or_else(|failed| panic!("{failed:?}"))
}

fn refused(line: &[&str]) -> String {
    match play(line) {
        Err(Failed::Refused(why)) => why.shown(false),
        other => panic!("{other:?}"),
    }
}

fn json(shown: &Shown) -> Vec<serde_json::Value> {
    let text = String::from_utf8(written(shown, true, Style::Plain).unwrap()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn pages(shown: &Shown) -> Vec<Vec<u8>> {
    let page = report::html(&shown.report).into_bytes();
    vec![written(shown, false, Style::Plain).unwrap(), written(shown, true, Style::Plain).unwrap(), page]
}

/// Twenty seconds of two calls a second.
fn trace() -> String {
    let row = |i: u32| format!("{},{},{}\n", f64::from(i) / 2.0, 200 + 37 * (i % 11), 20 + i % 7);
    "at_s,input,output\n".to_owned() + &(0..40).map(row).collect::<String>()
}

const DESCRIBED: &str = "hours = 0.01\n[[chat]]\nper_s = 1.0\n[[bursty]]\nper_s = 2\n";

#[test]
fn every_policy_plays_a_tiny_trace_and_answers_all_of_it() {
    let folder = Folder::new("all");
    let trace = folder.file("tiny.csv", &trace());
    let shown = played(&["--trace", &trace, "--policy", "all", "--seed", "1", "--no-tune"]);
    let lines = json(&shown);
    assert_eq!(lines.len(), contender::contenders("all", "work", &Default::default()).unwrap().len());
    for line in &lines {
        assert_eq!(line["calls"], 40, "{line}");
        assert_eq!(line["rejected"], 0, "{line}");
        assert!(line["j"].as_f64() >= line["usd"].as_f64(), "{line}");
        assert!(line["bound_j"].as_f64() <= line["j"].as_f64(), "{line}");
        assert!(line["ttft_p99_ms"]["interactive"].as_f64() > Some(10.0), "{line}");
    }
    let policies: Vec<&str> = lines.iter().filter_map(|line| line["policy"].as_str()).collect();
    assert_eq!(policies[0], OURS);
    assert!(policies.contains(&"spill-slo") && policies.contains(&"bid-price-no-shadow"), "{policies:?}");
}

#[test]
fn the_same_arguments_give_the_same_bytes_on_any_number_of_threads_and_another_seed_gives_others() {
    let folder = Folder::new("same");
    let described = folder.file("tiny.toml", DESCRIBED);
    let line = |seed, threads| {
        let line =
            ["--trace", &described, "--policy", "bid-price,prequal", "--seed", seed, "--threads", threads];
        pages(&played(&line))
    };
    let (one, two, other) = (line("1,2", "1"), line("1,2", "3"), line("3,4", "1"));
    assert_eq!(one, two);
    assert!(one.iter().zip(&other).all(|(a, b)| a != b));
}

#[test]
fn policies_are_tuned_on_a_seed_of_their_own_and_say_so() {
    let folder = Folder::new("tuned");
    let described = folder.file("tiny.toml", DESCRIBED);
    let heard = Heard::default();
    let line = args(&["--trace", &described, "--policy", "bid-price,cheapest", "--seed", "7"]);
    let shown = simulate(&line, &mut Teller::new(Box::new(heard.clone()))).unwrap();
    let chosen =
        |policy: &str| shown.report.tuning.iter().find(|t| t.policy == policy).unwrap().chosen.clone();
    assert!(chosen(OURS).contains("the best of 6 on seed 1000"), "{}", chosen(OURS));
    assert_eq!(chosen("cheapest"), "nothing to tune");
    let heard = String::from_utf8(heard.0.take()).unwrap();
    assert!(heard.contains("the best of 6 on seed 1000") && heard.contains("calls/s"), "{heard}");
}

#[test]
fn finished_runs_are_not_played_again_and_come_to_the_same() {
    let folder = Folder::new("resume");
    let (described, kept) = (folder.file("tiny.toml", DESCRIBED), folder.path("runs"));
    let line = [
        "--trace",
        &described,
        "--policy",
        "bid-price,spill",
        "--seed",
        "1,2",
        "--no-tune",
        "--resume",
        &kept,
    ];
    let first = pages(&played(&line));
    let lines = fs::read_to_string(&kept).unwrap();
    assert_eq!(lines.lines().count(), 4);
    // The last line was being written when somebody pulled the plug.
    fs::write(&kept, &lines[..lines.len() - 40]).unwrap();
    assert_eq!(pages(&played(&line)), first);
    let mended = fs::read_to_string(&kept).unwrap();
    assert_eq!(Resume::read(&mended).len(), 4, "one was played again");
    assert_eq!(mended.lines().count(), 5);
    assert_eq!(pages(&played(&line)), first);
    assert_eq!(fs::read_to_string(&kept).unwrap(), mended, "nothing was played again");
    // Another load is another world.
    played(&[&line[..], &["--load", "0.5"]].concat());
    assert_eq!(Resume::read(&fs::read_to_string(&kept).unwrap()).len(), 8);
}

#[test]
fn what_happens_to_a_pool_is_felt_while_it_lasts() {
    let folder = Folder::new("events");
    let trace = folder.file("tiny.csv", &trace());
    let event = "\n[[simulate.event]]\npool = \"own\"\nrefuse = true\nat = \"5s\"\nends = \"12s\"\n";
    let eventful = folder.file("eventful.toml", &(config::SIMULATE.to_owned() + event));
    let slow = event.replace("refuse = true", "slow = 50.0");
    let slowed = folder.file("slowed.toml", &(config::SIMULATE.to_owned() + &slow));
    let line = |config: &[&str]| {
        let usual = ["--trace", &trace, "--policy", OURS, "--seed", "1", "--no-tune"];
        played(&[&usual[..], config].concat()).report.runs.remove(0)
    };
    let (calm, drill, slow) = (line(&[]), line(&["--config", &eventful]), line(&["--config", &slowed]));
    assert_eq!((calm.pools[0].failed, calm.rejected()), (0, 0));
    assert!(drill.pools[0].failed > 0 && drill.pools[0].answered > 0, "{:?}", drill.pools[0]);
    assert!(drill.pools[0].answered < calm.pools[0].answered);
    assert_eq!(drill.rejected(), 0, "others take over");
    assert!(slow.length > calm.length);
}

#[test]
fn two_configs_are_compared_on_the_same_calls() {
    let folder = Folder::new("against");
    let trace = folder.file("tiny.csv", &trace());
    let dear =
        folder.file("dear.toml", &config::SIMULATE.replace("tenure = \"owned\"", "tenure = \"metered\""));
    let line =
        ["--trace", &trace, "--policy", OURS, "--seed", "1", "--no-tune", "--worth", "--against", &dear];
    let shown = played(&line);
    let against = shown.report.against.as_ref().unwrap();
    assert_eq!((against.runs.len(), against.runs[0].calls()), (1, 40));
    assert!(shown.more.contains("Limit hits"), "{}", shown.more);
    assert!(
        shown.more.contains("one more endpoint of own") && shown.more.contains("10 % more of what api-cheap")
    );
    let table = String::from_utf8(written(&shown, false, Style::Plain).unwrap()).unwrap();
    assert!(table.contains("Against "), "{table}");
}

#[test]
fn a_load_is_reached_and_a_report_is_written() {
    let folder = Folder::new("load");
    let (described, out) = (folder.file("tiny.toml", DESCRIBED), folder.path("out"));
    let line =
        args(&["--trace", &described, "--policy", OURS, "--seed", "1", "--load", "0.8", "--report", &out]);
    let shown = simulate(&line, &mut Teller::new(Box::new(io::sink()))).unwrap();
    assert_eq!(shown.report.load, Some(0.8));
    assert_eq!(shown.report.frontier.len(), 5);
    assert!(shown.report.capacity.len() >= 2);
    write_report(Path::new(&out), &shown, &mut Teller::new(Box::new(io::sink()))).unwrap();
    for name in ["report.html", "table.txt", "runs.jsonl"] {
        assert!(fs::metadata(Path::new(&out).join(name)).unwrap().len() > 100, "{name}");
    }
}

#[test]
fn placements_are_told_by_their_mean_first_token() {
    let folder = Folder::new("place");
    let trace = folder.file("tiny.csv", &trace());
    let line = ["--trace", &trace, "--policy", OURS, "--place", "work,random", "--seed", "1", "--no-tune"];
    let shown = played(&line);
    let names: Vec<&str> = shown.report.runs.iter().map(|run| run.policy.as_str()).collect();
    assert_eq!(names, [OURS, "bid-price+random"]);
    assert!(shown.more.contains("MEAN") && shown.more.contains("bid-price+random"), "{}", shown.more);
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_played() {
    let folder = Folder::new("refused");
    let bad = folder.file("bad.csv", "at_s,input,output\n0,10,10\n1,ten,10\n");
    assert!(refused(&["--trace", &bad]).contains("bad.csv:3:"));
    assert!(refused(&["--trace", "/nonexistent.csv"]).contains("cannot be read"));
    assert!(refused(&["--policy", "spil"]).contains("did you mean `spill`?"));
    assert!(refused(&["--load", "-1"]).contains("above zero"));
    assert!(refused(&["--scale", "0"]).contains("above zero"));
    assert!(refused(&["--hours", "30-40"]).contains("no calls are left"));
    let rates = folder.file("rates.csv", "t_s,calls\n0,1\n3600,9\n");
    assert!(refused(&["--shape", &format!("{rates}:cals")]).contains("columns are calls"));
    assert!(refused(&["--shape", &format!("{rates}:calls:3")]).contains("has no day 3"));
    assert!(refused(&["--shape", "/nonexistent.csv:calls"]).contains("cannot be read"));
    let metered = config::SIMULATE.replace("tenure = \"owned\"", "tenure = \"metered\"");
    let metered = folder.file("metered.toml", &metered);
    assert!(refused(&["--config", &metered, "--load", "0.9"]).contains("has no owned pool"));
    let orphan = folder.file(
        "orphan.toml",
        &config::SIMULATE.replacen("name = \"chat\"", "name = \"chat\"\n[[model]]\nname = \"other\"", 1),
    );
    let asks = folder.file("asks.csv", "at_s,input,output,model\n0,10,10,other\n1,10,10,chat\n");
    assert!(refused(&["--config", &orphan, "--trace", &asks]).contains("no pool of"));
    let classes = folder.file(
        "classes.toml",
        &config::SIMULATE.replace("\"agent\"", "\"robot\"").replace("agent =", "robot ="),
    );
    assert!(refused(&["--against", &classes]).contains("cannot be compared"));
    let unknown = folder.file(
        "unknown.toml",
        &(config::SIMULATE.to_owned() + "\n[[simulate.event]]\npool = \"owm\"\nrefuse = true\nat = \"1s\"\n"),
    );
    let refused = refused(&["--config", &unknown]);
    assert!(refused.contains("unknown pool `owm`") && refused.contains("did you mean `own`?"), "{refused}");
}

#[test]
fn a_class_that_no_pool_can_serve_in_time_is_told_before_the_run() {
    let folder = Folder::new("hopeless");
    let hasty = config::SIMULATE.replace("finish = \"900s\"", "finish = \"20ms\"");
    let (hasty, trace) = (folder.file("hasty.toml", &hasty), folder.file("tiny.csv", &trace()));
    let prepared = prepare::prepare(&args(&["--config", &hasty, "--trace", &trace])).unwrap();
    let told = prepared.warnings.join("\n");
    assert!(told.contains("class `background` wants the whole answer within 0.02 s"), "{told}");
}

#[test]
fn lists_of_seeds_and_parts_of_a_day_are_read_or_refused_with_an_example() {
    let seeds = |text: &str| text.parse::<Seeds>().map(|seeds| seeds.0);
    assert_eq!(seeds("3,1,5-7"), Ok(vec![3, 1, 5, 6, 7]));
    for (text, why) in [
        ("1,1", "twice"),
        ("x", "like 1,2,5-9"),
        ("9-2", "backwards"),
        ("1-99999", "more than"),
        ("1000", "tuned on"),
    ] {
        assert!(seeds(text).unwrap_err().contains(why), "{text}");
    }
    assert!("9-17".parse::<Hours>().is_ok() && "peak:6h".parse::<Hours>().is_ok());
    for text in ["9", "17-9", "peak:6", "peak:-1h", "peak:h", "NaN-3"] {
        assert!(text.parse::<Hours>().is_err(), "{text}");
    }
}

#[test]
fn every_workload_that_comes_with_the_project_has_calls() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/workloads");
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path().display().to_string();
        let prepared =
            prepare::prepare(&args(&["--trace", &path])).unwrap_or_else(|why| panic!("{}", why.shown(false)));
        assert!(prepared.traffic.arrivals.len() > 1000 && prepared.warnings.is_empty(), "{path}");
        seen += 1;
    }
    assert!(seen >= 2);
}

#[test]
fn energy_is_among_the_dollars_of_a_powered_pool_and_in_the_bound() {
    let folder = Folder::new("energy");
    let trace = folder.file("tiny.csv", &trace());
    let with = |name: &str, power: &str| {
        let text = include_str!("../../../config/simulate.toml");
        let own = "tenure = \"owned\"\n";
        let config = folder.file(name, &text.replace(own, &format!("{own}{power}\n")));
        let shown = played(&[
            "--trace",
            &trace,
            "--config",
            &config,
            "--policy",
            "bid-price,spill",
            "--seed",
            "1",
            "--no-tune",
        ]);
        json(&shown).iter().map(|l| (l["usd"].as_f64().unwrap(), l["bound_j"].as_f64().unwrap())).collect()
    };
    let free: Vec<(f64, f64)> = with("free.toml", "");
    let powered: Vec<(f64, f64)> = with("powered.toml", "power = { usd_per_mwh = 100, pue = 1.2 }");
    for ((before, _), (after, bound)) in free.iter().zip(&powered) {
        assert!(before < after && *bound > 0.0 && bound <= after, "{free:?} {powered:?}");
    }
}

#[test]
fn decisions_of_a_simulation_are_on_record_and_replay_to_the_same() {
    let folder = Folder::new("records");
    let (trace, file) = (folder.file("tiny.csv", &trace()), folder.path("decisions.jsonl"));
    let line = |more: &[&str]| {
        let line = ["--trace", &trace, "--policy", "bid-price,cheapest", "--seed", "2", "--no-tune"];
        pages(&played(&line.iter().chain(more).copied().collect::<Vec<_>>()))
    };
    let plain = line(&[]);
    assert_eq!(line(&["--records", &file, "--records-share", "1"]), plain, "records change nothing");
    let text = fs::read_to_string(&file).unwrap();
    let lines = text.lines().count();
    assert!(lines >= 40, "{lines}");
    let replay = crate::cli::explain::Args {
        model: None,
        class: None,
        config: None,
        input: 1000,
        max_tokens: None,
        unary: false,
        needs: Vec::new(),
        replay: Some(file.clone()),
        without: Vec::new(),
        price: Vec::new(),
    };
    let mut out = Vec::new();
    crate::cli::explain::run(&replay, Paint::Plain, &mut out).unwrap();
    let told = String::from_utf8(out).unwrap();
    assert!(
        told.contains(&format!("{lines} decisions in {file}: {lines} chosen the same again, 0 differ")),
        "{told}"
    );

    assert_eq!(line(&["--records", &file, "--records-share", "0.3"]), plain);
    let some = fs::read_to_string(&file).unwrap();
    assert!((1..lines).contains(&some.lines().count()));
    assert!(some.lines().all(|line| text.contains(line)), "a smaller share is a part of a larger one");
    assert!(Line::try_parse_from(["simulate", "--records", &file, "--records-share", "1.5"]).is_err());
}
