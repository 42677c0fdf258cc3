use super::*;
use crate::domain::Instant;
use proptest::prelude::*;

fn at(s: f64) -> Instant {
    Instant::from_secs_f64(s)
}

fn end(b: &mut Breaker, started: f64, verdict: Verdict, now: f64) -> Option<Change> {
    let end = End { started: at(started), verdict, alone: true, jitter: 0.0 };
    b.ended(end, at(now), &Settings::default())
}

const LOCAL: Verdict = Verdict::Failed { local: true };
const REMOTE: Verdict = Verdict::Failed { local: false };

fn says(b: &Breaker, now: f64) -> Admission {
    b.admission(at(now), &Settings::default())
}

fn ejected_at(now: f64) -> Breaker {
    let mut b = Breaker::default();
    for _ in 0..3 {
        end(&mut b, now, LOCAL, now);
    }
    assert!(matches!(says(&b, now), Admission::Off { .. }));
    b
}

#[test]
fn three_failures_at_the_socket_in_a_row_eject() {
    let mut b = Breaker::default();
    assert_eq!(end(&mut b, 0.0, LOCAL, 1.0), None);
    assert_eq!(end(&mut b, 0.0, LOCAL, 1.0), None);
    let change = end(&mut b, 0.0, LOCAL, 1.0).unwrap();
    assert_eq!((change.from, change.to, change.cause), ("healthy", "ejected", Some(Cause::LocalFailures(3))));
}

#[test]
fn five_server_errors_in_a_row_eject_and_a_success_between_does_not() {
    let mut b = Breaker::default();
    for i in 0..9 {
        let verdict = if i == 4 { Verdict::Ok } else { REMOTE };
        assert_eq!(end(&mut b, 0.0, verdict, 1.0), None, "{i}");
    }
    assert_eq!(end(&mut b, 0.0, REMOTE, 1.0).map(|c| c.to), Some("ejected"));
}

#[test]
fn a_quarter_of_errors_ejects_by_ratio_once_there_are_enough_samples() {
    let mut b = Breaker::default();
    let mut tripped = None;
    for i in 0..40 {
        let verdict = if i % 4 == 3 { REMOTE } else { Verdict::Ok };
        if let Some(change) = end(&mut b, 0.0, verdict, f64::from(i) * 0.1) {
            tripped = Some((i, change.cause));
            break;
        }
    }
    assert_eq!(tripped, Some((19, Some(Cause::Ratio { percent: 75, of: 20 }))));
}

#[test]
fn failures_older_than_ten_seconds_do_not_count() {
    let mut b = Breaker::default();
    for i in 0..19 {
        end(&mut b, 0.0, if i % 2 == 0 { REMOTE } else { Verdict::Ok }, 0.5);
    }
    assert_eq!(end(&mut b, 11.0, REMOTE, 11.0), None);
}

#[test]
fn limits_and_callers_mistakes_never_trip() {
    let mut b = Breaker::default();
    for _ in 0..1000 {
        assert_eq!(end(&mut b, 0.0, Verdict::Limited, 1.0), None);
        assert_eq!(end(&mut b, 0.0, Verdict::Neutral, 1.0), None);
    }
    assert_eq!(says(&b, 1.0), Admission::Full);
}

#[test]
fn probation_takes_one_probe_at_a_time() {
    let mut b = ejected_at(0.0);
    assert!(matches!(says(&b, 4.9), Admission::Off { .. }));
    assert_eq!(says(&b, 5.0), Admission::Probe);
    b.sent();
    assert_eq!(says(&b, 5.0), Admission::Busy);
    assert_eq!(end(&mut b, 5.0, Verdict::Ok, 6.0).map(|c| (c.from, c.to)), Some(("probation", "slow_start")));
}

#[test]
fn the_first_content_of_a_probe_ends_probation_and_its_break_is_an_ordinary_failure() {
    let (mut b, s) = (ejected_at(0.0), Settings::default());
    b.sent();
    let change = b.answers(at(5.0), at(6.0), &s).unwrap();
    assert_eq!((change.from, change.to), ("probation", "slow_start"));
    assert_eq!(
        says(&b, 6.0),
        Admission::Share(0.1),
        "slow start begins with the content, not with the question"
    );
    assert_eq!(b.answers(at(5.0), at(6.0), &s), None, "once");
    assert_eq!(end(&mut b, 5.0, LOCAL, 60.0), None, "one failure ejects nobody");
    end(&mut b, 7.0, LOCAL, 60.0);
    assert_eq!(end(&mut b, 7.0, LOCAL, 60.0).map(|c| c.to), Some("ejected"), "but it is the first of three");
}

#[test]
fn first_contents_of_calls_that_try_nothing_out_change_nothing() {
    let s = Settings::default();
    let mut b = ejected_at(10.0);
    assert_eq!(b.answers(at(9.0), at(16.0), &s), None, "sent before the ejection");
    assert_eq!(says(&b, 16.0), Admission::Probe);
    assert_eq!(Breaker::default().answers(at(1.0), at(2.0), &s), None);
}

#[test]
fn b11_a_limit_fails_the_probe_and_the_next_ejection_is_longer() {
    let mut b = ejected_at(0.0);
    b.sent();
    let change = end(&mut b, 5.0, Verdict::Limited, 6.0).unwrap();
    assert_eq!((change.to, change.cause), ("ejected", Some(Cause::ProbeFailed)));
    assert!(matches!(says(&b, 15.9), Admission::Off { .. }));
    assert_eq!(says(&b, 16.0), Admission::Probe);
}

#[test]
fn a_cancelled_probe_leaves_the_place_to_another() {
    let mut b = ejected_at(0.0);
    b.sent();
    assert_eq!(end(&mut b, 5.0, Verdict::Neutral, 6.0), None);
    assert_eq!(says(&b, 6.0), Admission::Probe);
}

#[test]
fn calls_sent_before_the_ejection_are_old_news() {
    let mut b = ejected_at(10.0);
    assert_eq!(end(&mut b, 9.0, Verdict::Ok, 16.0), None);
    assert_eq!(says(&b, 16.0), Admission::Probe);
    b.sent();
    assert_eq!(end(&mut b, 9.0, LOCAL, 16.0), None);
    assert_eq!(says(&b, 16.0), Admission::Busy);
}

#[test]
fn b10_slow_start_rises_from_a_tenth_to_all_in_thirty_seconds() {
    let mut b = ejected_at(0.0);
    b.sent();
    end(&mut b, 5.0, Verdict::Ok, 10.0);
    assert_eq!(says(&b, 10.0), Admission::Share(0.1));
    assert_eq!(says(&b, 25.0), Admission::Share(0.5));
    assert_eq!(says(&b, 40.0), Admission::Full);
    assert_eq!(b.settle(at(40.0), &Settings::default()).map(|c| c.to), Some("healthy"));
    // Recovered for good: the count of ejections in a row starts again.
    for _ in 0..3 {
        end(&mut b, 41.0, LOCAL, 41.0);
    }
    assert_eq!(says(&b, 46.0), Admission::Probe);
}

#[test]
fn disabled_doubles_up_to_ten_minutes_jitter_included_and_comes_back_by_a_probe() {
    let (mut b, s) = (Breaker::default(), Settings::default());
    let mut now = 0.0;
    for wait in [60.0, 120.0, 240.0, 480.0, 500.0, 500.0] {
        let end = End { started: at(now), verdict: Verdict::Neutral, alone: true, jitter: 0.0 };
        assert_eq!(b.disable(end, at(now), &s).map(|c| c.to), Some("disabled"));
        assert!(matches!(says(&b, now + wait - 0.1), Admission::Off { cause: Cause::Disabled, .. }));
        now += wait;
        assert_eq!(says(&b, now), Admission::Probe);
        b.sent();
    }
    end(&mut b, now, Verdict::Ok, now);
    assert!(matches!(says(&b, now), Admission::Share(_)));
}

#[test]
fn a_breaker_that_may_not_judge_does_not() {
    let mut b = Breaker::default();
    for _ in 0..50 {
        let end = End { started: at(0.0), verdict: LOCAL, alone: false, jitter: 0.0 };
        assert_eq!(b.ended(end, at(1.0), &Settings::default()), None);
    }
}

#[test]
fn p01_a_cooldown_lasts_as_long_as_the_provider_said_and_up_to_half_longer() {
    let s = Settings::default();
    for (jitter, until) in [(0.0, 7.0), (1.0, 10.5)] {
        let mut c = Cooldown::default();
        assert!(c.limited(at(0.0), Some(Duration::from_secs(7)), at(0.0), jitter, &s));
        assert_eq!(c.until(at(1.0)), Some(at(until)));
        assert_eq!(c.until(at(until)), None);
    }
}

#[test]
fn p02_a_cooldown_is_capped_and_a_shorter_one_never_replaces_a_longer_one() {
    let (mut c, s) = (Cooldown::default(), Settings::default());
    c.limited(at(0.0), Some(Duration::from_secs(14_400)), at(0.0), 1.0, &s);
    assert_eq!(c.until(at(1.0)), Some(at(300.0)));
    assert!(!c.limited(at(0.0), Some(Duration::from_secs(1)), at(1.0), 0.0, &s));
    assert_eq!(c.until(at(1.0)), Some(at(300.0)));
}

#[test]
fn what_was_out_for_longest_does_not_come_back_as_one() {
    let s = Settings::default();
    let hinted = |hint: u64, jitter| {
        let mut c = Cooldown::default();
        c.limited(at(0.0), Some(Duration::from_secs(hint)), at(0.0), jitter, &s);
        c.until(at(0.1)).unwrap().as_secs_f64()
    };
    assert_eq!((hinted(14_400, 0.0), hinted(14_400, 0.5), hinted(14_400, 1.0)), (200.0, 250.0, 300.0));
    assert_eq!((hinted(260, 0.0), hinted(260, 1.0)), (260.0, 300.0), "never sooner than asked");
    let ejected = |jitter| {
        let (mut b, mut now) = (Breaker::default(), 0.0);
        for _ in 0..3 {
            end(&mut b, now, LOCAL, now);
        }
        for _ in 0..200 {
            let Admission::Off { until, .. } = says(&b, now) else { panic!() };
            now = until.as_secs_f64();
            b.sent();
            b.ended(End { started: at(now), verdict: LOCAL, alone: true, jitter }, at(now), &s);
        }
        let Admission::Off { until, .. } = says(&b, now) else { panic!() };
        (until.as_secs_f64() - now).round()
    };
    assert_eq!((ejected(0.0), ejected(1.0)), (250.0, 300.0));
}

#[test]
fn without_a_hint_cooldowns_double_once_a_burst() {
    let (mut c, s) = (Cooldown::default(), Settings::default());
    assert!(c.limited(at(0.0), None, at(1.0), 0.0, &s));
    for _ in 0..20 {
        assert!(!c.limited(at(0.5), None, at(1.1), 0.0, &s));
    }
    assert_eq!(c.until(at(1.5)), Some(at(2.0)));
    assert!(c.limited(at(3.0), None, at(3.0), 0.0, &s));
    assert_eq!(c.until(at(3.5)), Some(at(5.0)));
    c.ok(at(6.0));
    assert!(c.limited(at(7.0), None, at(7.0), 0.0, &s));
    assert_eq!(c.until(at(7.5)), Some(at(8.0)));
}

#[test]
fn traffic_ramps_back_after_a_cooldown() {
    let (mut c, s) = (Cooldown::default(), Settings::default());
    assert_eq!(c.share(at(0.0), &s), 1.0);
    c.limited(at(0.0), Some(Duration::from_secs(10)), at(0.0), 0.0, &s);
    assert_eq!(c.share(at(10.0), &s), 0.1);
    assert_eq!(c.share(at(12.5), &s), 0.5);
    assert_eq!(c.share(at(15.0), &s), 1.0);
}

proptest! {
    /// Whatever happens, probation never has two probes, and nothing stays off for longer than the cap.
    #[test]
    fn at_most_one_probe_in_probation(steps in prop::collection::vec((0u8..6, 0.0f64..8.0), 1..200)) {
        let (mut b, s) = (Breaker::default(), Settings::default());
        let (mut now, mut under_way, mut probes) = (0.0, Vec::new(), Vec::new());
        for (what, dt) in steps {
            now += dt;
            match b.admission(at(now), &s) {
                Admission::Probe => { probes.push(now); b.sent(); under_way.push(now); }
                Admission::Full | Admission::Share(_) => { b.sent(); under_way.push(now); }
                Admission::Busy => prop_assert!(!probes.is_empty()),
                Admission::Off { until, .. } => prop_assert!(until.secs_since(at(now)) <= 300.0),
            }
            prop_assert!(b.trials() <= 1);
            if let (5, Some(&started)) = (what, under_way.first()) {
                b.answers(at(started), at(now), &s);
            }
            if what < 4 && !under_way.is_empty() {
                let started = under_way.remove(0);
                let verdict = [Verdict::Ok, LOCAL, Verdict::Limited, Verdict::Neutral][what as usize];
                end(&mut b, started, verdict, now);
            }
        }
    }
}
