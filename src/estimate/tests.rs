use super::*;
use crate::domain::{AskKind, EnginePrior, Instant};

fn at(s: f64) -> Instant {
    Instant::from_secs_f64(s)
}

fn offer() -> OfferEstimate {
    OfferEstimate::new(&EnginePrior::default(), 0.05, &Settings::default(), at(0.0))
}

fn sample(actual_s: f64, expected_s: f64, work_s: f64) -> FirstToken {
    FirstToken { work_s, actual_s, expected_s, queue_s: 0.0 }
}

#[test]
fn before_the_first_sample_the_prior_speaks() {
    let r = offer();
    let r = r.read(&Settings::default(), at(0.0));
    assert!((r.base_s - 0.45).abs() < 1e-9 && (r.stretch - 1.0).abs() < 1e-9);
    assert!((r.tpot_s - 0.025).abs() < 1e-12 && (r.p_err - 0.01).abs() < 1e-12);
    assert!((0.4..0.6).contains(&r.p_late(0.45, 0.45)));
    assert!(r.p_late(4.5, 0.45) < 0.01);
}

#[test]
fn base_and_slope_are_learned_from_short_and_long_prompts() {
    let (s, mut e) = (Settings::default(), offer());
    for i in 0..400 {
        let work = if i % 2 == 0 { 0.01 } else { 1.0 };
        e.first_token(sample(0.1 + 2.0 * work, 0.1 + 2.0 * work, work), &s, at(f64::from(i) * 0.01));
    }
    let r = e.read(&s, at(4.0));
    // The prior (base 0.45) has nearly nothing to say any more.
    assert!((0.09..0.13).contains(&r.base_s), "{}", r.base_s);
    assert!((1.8..2.1).contains(&r.stretch), "{}", r.stretch);
}

#[test]
fn an_estimate_goes_back_to_its_prior_with_age() {
    let (s, mut e) = (Settings::default(), offer());
    for i in 0..200 {
        e.first_token(sample(5.0, 0.5, 0.01), &s, at(f64::from(i) * 0.1));
    }
    let (fresh, old) = (e.read(&s, at(20.0)).base_s, e.read(&s, at(3620.0)).base_s);
    assert!(fresh > 1.5 && (old - 0.45).abs() < 0.01, "{fresh} {old}");
}

#[test]
fn lateness_is_counted() {
    let (s, mut e) = (Settings::default(), offer());
    for i in 0..1000 {
        let actual = if i % 10 == 0 { 3.0 } else { 0.5 };
        e.took(actual, 0.5, &s, at(f64::from(i) * 0.01));
    }
    let r = e.read(&s, at(10.0));
    assert!((0.07..0.14).contains(&r.p_late(1.0, 0.5)), "{}", r.p_late(1.0, 0.5));
    assert!(r.p99(0.5) >= 3.0 && r.p99(0.5) < 5.0, "{}", r.p99(0.5));
}

#[test]
fn b06_a_sudden_brownout_shows_within_ten_seconds_of_traffic() {
    let (s, mut e) = (Settings::default(), offer());
    for i in 0..3000 {
        e.first_token(sample(0.4, 0.4, 0.01), &s, at(f64::from(i) * 0.05));
    }
    for i in 0..200 {
        e.first_token(sample(8.0, 0.4, 0.01), &s, at(150.0 + f64::from(i) * 0.05));
    }
    let r = e.read(&s, at(160.0));
    assert!(r.base_s > 5.0, "{}", r.base_s);
    assert!(r.p_late(1.0, r.base_s) > 0.9);
}

#[test]
fn errors_shrink_to_the_prior_while_few() {
    let (s, mut e) = (Settings::default(), offer());
    e.finished(true, &s, at(0.0));
    let p = e.read(&s, at(0.0)).p_err;
    assert!((0.04..0.07).contains(&p), "one failure of one is not certainty: {p}");
}

#[test]
fn nonsense_samples_do_not_poison() {
    let (s, mut e) = (Settings::default(), offer());
    e.first_token(sample(f64::NAN, 0.4, 0.1), &s, at(1.0));
    e.first_token(sample(f64::INFINITY, 0.4, f64::NAN), &s, at(1.0));
    e.decoded(100, f64::NAN, &s, at(1.0));
    let r = e.read(&s, at(1.0));
    assert!(r.base_s.is_finite() && r.tpot_s.is_finite() && r.p_late(1.0, 0.4).is_finite());
}

#[test]
fn expected_output_is_capped_by_the_clients_limit() {
    let s = Settings::default();
    let seen = tokens::Outputs::new(&s);
    assert_eq!(seen.expected(AskKind::Chat, 100, Some(16), &s), 16.0);
    assert_eq!(seen.expected(AskKind::Chat, 100, None, &s), 256.0);
    assert_eq!(seen.expected(AskKind::Embed, 100, None, &s), 0.0);
}

#[test]
fn expected_output_follows_the_length_of_the_prompt() {
    let s = Settings::default();
    let mut seen = tokens::Outputs::new(&s);
    for _ in 0..500 {
        seen.observe(300, 400.0);
        seen.observe(2500, 20.0);
    }
    let expected = |input| seen.expected(AskKind::Chat, input, None, &s);
    assert!((expected(300) - 400.0).abs() < 5.0, "{}", expected(300));
    assert!((expected(2500) - 20.0).abs() < 5.0, "{}", expected(2500));
    // A length that was never seen is answered like all.
    assert!((expected(100_000) - 210.0).abs() < 20.0, "{}", expected(100_000));
    assert_eq!(expected(256), expected(383), "one length");
    assert!(expected(0).is_finite() && expected(u32::MAX).is_finite());
}

#[test]
fn tokens_come_from_bytes_and_round_up() {
    assert_eq!((tokens::from_bytes(0), tokens::from_bytes(1), tokens::from_bytes(8)), (0, 1, 2));
}

#[test]
fn silence_makes_late_likelier_and_nobody_more_patient() {
    let s = Settings::default();
    let mut e = OfferEstimate::new(&EnginePrior::default(), 0.0, &s, at(0.0));
    for i in 0..50 {
        e.took(0.5, 0.5, &s, at(f64::from(i) * 0.01));
    }
    let before = e.read(&s, at(0.5));
    let (patience, late) = (before.p99(0.5), before.p_late(1.0, 0.5));
    for i in 0..20 {
        e.silent(3.0 * patience, 0.5, &s, at(0.5 + f64::from(i) * 0.01));
    }
    let after = e.read(&s, at(0.7));
    assert!(after.p99(0.5) <= 1.05 * patience, "{} after {patience}", after.p99(0.5));
    assert!(after.p_late(1.0, 0.5) > late + 0.1);
}
