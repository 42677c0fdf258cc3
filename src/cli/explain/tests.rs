use super::*;
use crate::domain::CallId;
use crate::policy::record::{DecisionRecord, Outcome, WhatIf};

/// Decisions about calls of every class of the embedded config.
fn records(n: u64) -> Vec<DecisionRecord> {
    let checked = load(None).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let log = LogWriter::new(LogSink::Off).unwrap();
        let router = app::router(&checked, Clock::system(), 0, log, None).unwrap();
        let now = router.clock().now();
        let record = |i: u64| {
            let class = &checked.catalog.classes[i as usize % checked.catalog.classes.len()].name;
            let args = Args { class: Some(class.to_string()), input: 100 * (i as u32 + 1), ..args() };
            let facts =
                resolve(&checked.catalog, CallId(i), now.mono, &inbound(&args, &checked.catalog).unwrap());
            router.with_fleet(|fleet| fleet.consider(&facts.unwrap(), &[], now))
        };
        (0..n).map(record).collect()
    })
}

fn args() -> Args {
    Args {
        model: Some("chat-large".to_owned()),
        class: None,
        config: None,
        input: 1000,
        max_tokens: None,
        unary: false,
        needs: Vec::new(),
        replay: None,
        without: Vec::new(),
        price: Vec::new(),
    }
}

fn shown(args: &Args) -> String {
    let mut out = Vec::new();
    run(args, Paint::Plain, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

struct File(PathBuf);

impl File {
    fn of(name: &str, records: &[DecisionRecord], more: &str) -> Self {
        let path = std::env::temp_dir().join(format!("gridtie-explain-{name}-{}.jsonl", std::process::id()));
        let mut text = String::new();
        for record in records {
            text += &serde_json::to_string(record).unwrap();
            text.push('\n');
        }
        std::fs::write(&path, text + more).unwrap();
        Self(path)
    }

    fn replay(&self, which: &str, what_if: &WhatIf) -> Result<(String, bool), String> {
        let what = format!("{}{which}", self.0.display());
        replay::replayed(&what, what_if).map(|(text, same)| (String::from_utf8(text).unwrap(), same))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.0);
    }
}

fn without(pool: &str) -> WhatIf {
    WhatIf { without: vec![pool.into()], ..WhatIf::default() }
}

#[test]
fn a_counterfactual_stands_beside_what_is_chosen() {
    let text = shown(&Args { without: vec!["owned".to_owned()], ..args() });
    assert!(text.contains("dispatch to owned (price: owned $"), "{text}");
    assert!(text.contains("Without owned:") && text.contains("thought away"), "{text}");
    assert!(text.contains(" instead of dispatch to owned: total +$0.0"), "{text}");
    let free = Args { price: vec!["cloud-a=0".parse().unwrap()], ..args() };
    assert!(shown(&free).contains("Cloud-a at $0/$0 per million tokens:"), "{}", shown(&free));
    let unknown = Args { without: vec!["owend".to_owned()], ..args() };
    let error = run(&unknown, Paint::Plain, &mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains("no pool `owend`") && error.contains("owned, cloud-a"), "{error}");
}

#[test]
fn a_line_a_call_or_a_whole_file_is_replayed() {
    let file = File::of("whole", &records(30), "\n");
    let (text, same) = file.replay("", &WhatIf::default()).unwrap();
    assert!(same && text.contains("30 decisions in "), "{text}");
    assert!(text.contains("30 chosen the same again, 0 differ"), "{text}");
    assert!(!text.contains("first token"), "tables of thirty decisions are nobody's reading: {text}");
    let (line, _) = file.replay(":3", &WhatIf::default()).unwrap();
    assert!(line.contains(":3: call 0000000000000002 of anonymous") && line.contains("replay: the same"));
    let (call, _) = file.replay(":0000000000000002", &WhatIf::default()).unwrap();
    assert_eq!(call, line);
    for missing in [":31", ":00000000000000ff", ":999"] {
        assert!(file.replay(missing, &WhatIf::default()).is_err(), "{missing}");
    }
}

#[test]
fn a_choice_that_is_not_the_recorded_one_is_told_and_fails() {
    let mut records = records(12);
    let Outcome::Dispatch { pool, .. } = &mut records[4].outcome else { panic!("{:?}", records[4]) };
    *pool = "cloud-b".into();
    let file = File::of("differs", &records, "");
    let (text, same) = file.replay("", &WhatIf::default()).unwrap();
    assert!(!same && text.contains("11 chosen the same again, 1 differ"), "{text}");
    assert!(text.contains(":5: call") && text.contains("replay: DIFFERS, on record is dispatch to cloud-b"));
}

#[test]
fn over_a_file_the_dollars_that_move_are_summed_by_pool() {
    let file = File::of("moved", &records(30), "");
    let (text, same) = file.replay("", &without("owned")).unwrap();
    assert!(same, "a counterfactual is no difference of the replay");
    assert!(text.contains("Without owned: 30 of 30 choices change; totals +$"), "{text}");
    let owned = text.lines().find(|l| l.trim_start().starts_with("owned ")).unwrap();
    let numbers: Vec<&str> = owned.split_whitespace().collect();
    assert_eq!(numbers[1..3], ["30", "0"], "{text}");
    let error = file.replay("", &without("nobody")).unwrap_err();
    assert!(error.contains("`nobody`") && error.contains("owned"), "{error}");
}

#[test]
fn what_is_no_record_is_refused_with_its_place_and_a_remedy() {
    let mut later = serde_json::to_value(&records(1)[0]).unwrap();
    later["v"] = 2.into();
    let cases = [
        ("{\"v\":1,\"ts_ms\":".to_owned(), ["this is no record", "cut off"]),
        ("{\"event\":\"call\"}".to_owned(), ["this is no record", "[records]"]),
        ("{\"v\":1}".to_owned(), ["damaged", "remove the line"]),
        (later.to_string(), ["format version 2", "the release that wrote it"]),
    ];
    for (i, (line, says)) in cases.iter().enumerate() {
        let file = File::of(&format!("bad-{i}"), &records(2), line);
        let error = file.replay("", &WhatIf::default()).unwrap_err();
        assert!(error.contains(&format!("{}:3: ", file.0.display())), "{error}");
        assert!(says.iter().all(|word| error.contains(word)), "{error}");
    }
    let error = replay::replayed("/nowhere/r.jsonl", &WhatIf::default()).unwrap_err();
    assert!(error.contains("/nowhere/r.jsonl cannot be read") && error.contains("[records]"), "{error}");
}
