use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn at(s: f64) -> Instant {
    Instant::from_secs_f64(s)
}

fn requests(limit: u64, remaining: u64, reset_s: f64) -> Allowances {
    let reset = Some(Duration::from_secs_f64(reset_s));
    let requests = Allowance { limit: Some(limit), remaining: Some(remaining), reset, window: None };
    Allowances { requests, ..Allowances::default() }
}

fn sent(requests: f64) -> Sent {
    Sent { requests, tokens: 0.0 }
}

#[test]
fn what_was_said_is_kept_to_and_comes_back_until_the_reset() {
    let mut told = Told::default();
    // 60 a minute, of which 2 are left.
    told.hear(&requests(60, 2, 58.0), at(10.0), sent(1.0), sent(1.0), at(10.0));
    for _ in 0..2 {
        assert_eq!(told.until(1.0, at(10.0)), None);
        told.take(1.0, at(10.0));
    }
    let until = told.until(1.0, at(10.0)).unwrap();
    assert!((until.as_secs_f64() - 11.0).abs() < 1e-6, "{until:?}");
    assert!(told.headroom(at(10.0))[0] <= 0.0);
    assert_eq!(told.until(1.0, at(11.1)), None);
    assert_eq!(told.headroom(at(80.0))[0], 1.0);
}

#[test]
fn what_was_sent_after_the_request_that_was_counted_is_not_in_the_report() {
    let mut told = Told::default();
    // It was the fourth; six are out, and a second has passed.
    told.hear(&requests(60, 3, 57.0), at(10.0), sent(4.0), sent(6.0), at(11.0));
    assert_eq!(told.until(1.0, at(11.0)), None);
    told.take(1.0, at(11.0));
    told.take(1.0, at(11.0));
    assert!(told.until(1.0, at(11.0)).is_some());
}

#[test]
fn a_report_of_an_earlier_request_says_nothing_new() {
    let mut told = Told::default();
    told.hear(&requests(60, 0, 60.0), at(10.0), sent(9.0), sent(9.0), at(10.5));
    let before = told;
    told.hear(&requests(60, 60, 0.0), at(9.0), sent(8.0), sent(9.0), at(11.0));
    assert_eq!(told, before);
    told.hear(&requests(60, 60, 0.0), at(11.0), sent(10.0), sent(10.0), at(11.5));
    assert_eq!(told.until(1.0, at(11.5)), None);
}

#[test]
fn a_days_meter_comes_back_in_a_day() {
    let mut told = Told::default();
    told.hear(&requests(10_000, 0, 86_400.0), at(0.0), sent(1.0), sent(1.0), at(0.0));
    let until = told.until(1.0, at(0.0)).unwrap();
    assert!((until.as_secs_f64() - 8.64).abs() < 1e-6, "{until:?}");
}

#[test]
fn half_a_report_and_none_at_all_limit_nothing() {
    let mut told = Told::default();
    let half = Allowance { remaining: Some(0), ..Allowance::default() };
    told.hear(
        &Allowances { requests: half, tokens: half, closed_for: None },
        at(1.0),
        sent(1.0),
        sent(1.0),
        at(1.0),
    );
    assert_eq!(told.until(1e9, at(1.0)), None);
    assert_eq!(told.headroom(at(1.0)), [1.0, 1.0]);
}

#[test]
fn a_closed_plan_is_waited_for_until_it_says_otherwise() {
    let mut told = Told::default();
    let closed = Allowances { closed_for: Some(Duration::from_secs(3600)), ..Allowances::default() };
    told.hear(&closed, at(1.0), sent(1.0), sent(1.0), at(2.0));
    assert_eq!(told.until(1.0, at(2.0)), Some(at(3602.0)));
    told.hear(&requests(60, 60, 0.0), at(3.0), sent(2.0), sent(2.0), at(4.0));
    assert_eq!(told.until(1.0, at(4.0)), None);
}

#[test]
fn a_prompt_larger_than_the_limit_waits_for_all_of_it_and_not_for_ever() {
    let mut told = Told::default();
    let tokens = Allowance {
        limit: Some(1000),
        remaining: Some(0),
        window: Some(Duration::from_secs(60)),
        reset: None,
    };
    let said = Allowances { tokens, ..Allowances::default() };
    told.hear(&said, at(0.0), Sent::default(), Sent::default(), at(0.0));
    let until = told.until(1e12, at(0.0)).unwrap();
    assert!((until.as_secs_f64() - 60.0).abs() < 1e-6, "{until:?}");
}

proptest! {
    /// A report never gives more room than the provider said it had, and what came back since.
    #[test]
    fn a_report_never_gives_more_room_than_the_provider_says(
        limit in 1u64..1_000_000,
        remaining in 0u64..2_000_000,
        reset_ms in prop::option::of(0u64..100_000_000),
        window_s in prop::option::of(1u64..100_000),
        ago in 0.0f64..100.0,
        after in 0.0f64..50.0,
        earlier in 0u64..1_000_000,
    ) {
        let meter = |remaining| Allowance {
            limit: Some(limit),
            remaining: Some(remaining),
            reset: reset_ms.map(Duration::from_millis),
            window: window_s.map(Duration::from_secs),
        };
        let said = |remaining| Allowances { requests: meter(remaining), ..Allowances::default() };
        let mut told = Told::default();
        told.hear(&said(earlier), at(100.0), sent(1.0), sent(1.0), at(100.0));
        told.hear(&said(remaining), at(200.0 - ago), sent(2.0), sent(2.0 + after.floor()), at(200.0));
        let level = told.requests.unwrap();
        let room = level.left(at(200.0));
        prop_assert!(room >= 0.0 && room <= limit as f64);
        prop_assert!(room <= (remaining as f64 + level.per_s * ago - after.floor()).max(0.0) + 1e-6 * (1.0 + level.per_s));
        prop_assert!(level.until(room, at(200.0)).is_none());
        prop_assert!(told.until(1.0, at(200.0)).is_none() || room < 1.0);
    }
}
