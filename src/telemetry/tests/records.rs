use super::*;
use crate::domain::{CallFacts, CallId, Now, Timestamp};
use crate::fleet::{Fleet, Settings};

/// A decision about a call that nobody can serve: there is no endpoint.
fn decision(id: u64) -> DecisionRecord {
    let now = Now { mono: Instant::START, wall: Timestamp::from_millis(1_800_000_000_000) };
    let mut fleet = Fleet::new(Arc::new(catalog()), Settings::default(), now);
    let facts = CallFacts {
        id: CallId(id),
        input_tokens: 10,
        arrived: now.mono,
        deadline: now.mono + Duration::from_secs(60),
        ..crate::domain::plain::facts()
    };
    fleet.consider(&facts, &[], now)
}

#[test]
fn a_call_is_on_record_by_its_id_alone_and_a_larger_share_holds_the_smaller() {
    let records = |share| Records::new(LogWriter::memory(), share);
    let (few, more) = (records(0.01), records(0.1));
    let taken: Vec<u64> = (0..100_000).filter(|id| few.take(CallId(*id))).collect();
    assert!((900..1100).contains(&taken.len()), "{}", taken.len());
    assert!(taken.iter().all(|id| more.take(CallId(*id)) && records(0.01).take(CallId(*id))));
    assert!((0..1000).all(|id| records(1.0).take(CallId(id)) && !records(0.0).take(CallId(id))));
    assert!(
        !Telemetry::new(&catalog(), LogWriter::memory()).records(CallId(0)),
        "off unless it is asked for"
    );
}

#[test]
fn a_record_is_one_line_of_json() {
    let log = LogWriter::memory();
    let telemetry =
        Telemetry::new(&catalog(), LogWriter::memory()).with_records(Some(Records::new(log.clone(), 1.0)));
    for id in 0..3 {
        telemetry.decided(&decision(id));
    }
    let text = log.take();
    let read: Vec<DecisionRecord> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(read, [decision(0), decision(1), decision(2)]);
}

#[test]
fn records_that_nobody_takes_are_dropped_and_counted() {
    let log = LogWriter::memory();
    let telemetry =
        Telemetry::new(&catalog(), LogWriter::memory()).with_records(Some(Records::new(log.clone(), 1.0)));
    let one = decision(1);
    let size = serde_json::to_string(&one).unwrap().len() + 1;
    let fit = (8_usize << 20).div_ceil(size);
    for _ in 0..fit + 5 {
        telemetry.decided(&one);
    }
    let metrics = telemetry.metrics_text(0, false);
    assert!(metrics.contains("gridtie_decision_records_dropped 5\n"), "{metrics}");
    assert!(metrics.contains(&format!("gridtie_decision_records_total {}\n", fit + 5)), "{metrics}");
    assert_eq!(log.take().lines().count(), fit);
}
