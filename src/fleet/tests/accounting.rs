use super::*;
use crate::fleet::sessions::{CAPACITY, Sessions, Warm};

#[test]
fn endpoints_join_leave_and_come_back() {
    let mut w = World::alone(2);
    let facts = w.facts(0.0);
    let t = w.start(&facts, 0.0);
    let stays = address("own", 9);
    w.fleet.set_endpoints(OWN, &[Arc::clone(&stays)], at(1.0));
    let states = |w: &World| -> Vec<_> {
        w.fleet.status(at(1.0)).pools[0].endpoints.iter().map(|e| (e.state, e.in_flight)).collect()
    };
    assert_eq!(states(&w), [("leaving", 1), ("healthy", 0)]);
    for _ in 0..20 {
        assert_eq!(w.go(&facts, 1.0).address, stays);
    }
    w.end(&facts, t, ok(10, 10), 2.0);
    assert_eq!(states(&w), [("healthy", 0)]);
    w.fleet.set_endpoints(OWN, &[], at(3.0));
    assert_eq!(states(&w), []);
}

#[test]
fn an_endpoint_that_comes_back_while_it_leaves_keeps_its_state() {
    let mut w = World::alone(1);
    let facts = w.facts(0.0);
    let t = w.start(&facts, 0.0);
    w.fleet.set_endpoints(OWN, &[], at(1.0));
    assert!(matches!(w.decide(&facts, &[], 1.0), Decision::Shed(_)));
    w.fleet.set_endpoints(OWN, &[address("own", 0)], at(1.0));
    assert_eq!(w.go(&facts, 1.0).endpoint, t.dispatch.endpoint);
    w.end(&facts, t, ok(10, 10), 2.0);
    assert_eq!(w.fleet.status(at(2.0)).pools[0].in_flight, 0);
}

#[test]
fn b06_time_to_first_token_is_learned_and_moves_the_traffic() {
    let mut w = World::new(catalog(), 1);
    for i in 0..100 {
        w.serve(OWN, 6.0, f64::from(i) * 0.1);
    }
    let s = w.fleet.status(at(20.0));
    assert!(s.pools[0].offers[0].ttft_s > 3.0, "{}", s.pools[0].offers[0].ttft_s);
    let facts = w.facts(20.0);
    assert_ne!(w.go(&facts, 20.0).pool, OWN, "gray failure: slow without errors");
    assert_eq!(s.pools[0].offers[0].state, "healthy");
    let facts = w.facts(900.0);
    assert_eq!(w.go(&facts, 900.0).pool, OWN, "and is tried again when the news is old");
}

#[test]
fn a_failing_cheap_pool_pays_for_its_retries() {
    let mut w = World::new(catalog(), 1);
    w.fleet.drain(OWN, at(0.0));
    for i in 0..200 {
        let now = f64::from(i) * 0.1;
        if i % 8 == 0 {
            w.fail(CHEAP, FailureKind::ServerError, now)
        } else {
            w.serve(CHEAP, 0.5, now)
        };
    }
    let facts = w.facts(25.0);
    let e = w.fleet.explain(&facts, at(25.0));
    let risk = |pool: &str| {
        let row = e.rows.iter().find(|r| &*r.pool == pool).unwrap();
        let explain::Standing::Eligible { terms, .. } = &row.standing else { panic!("{e}") };
        terms.risk
    };
    assert!(risk("cheap") > 5.0 * risk("dear"), "{e}");
}

#[test]
fn whole_answers_do_not_look_like_slow_first_tokens() {
    let mut w = World::alone(1);
    for i in 0..50 {
        let now = f64::from(i);
        let facts = CallFacts { stream: false, ..w.facts(now) };
        let mut t = w.start(&facts, now);
        w.fleet.first_token(&facts, &mut t, at(now + 7.8));
        w.end(&facts, t, ok(1000, 256), now + 7.8);
    }
    let offer = w.fleet.status(at(60.0)).pools[0].offers[0].clone();
    assert!(offer.ttft_s < 0.3 && (0.025..0.035).contains(&offer.tpot_s), "{offer:?}");
}

#[test]
fn embeddings_show_their_first_token() {
    let mut w = World::alone(1);
    for i in 0..64 {
        let now = f64::from(i);
        let facts = CallFacts { stream: false, kind: AskKind::Embed, ..w.facts(now) };
        let t = w.start(&facts, now);
        assert_eq!(t.dispatch.expected_output, 0);
        w.end(&facts, t, ok(1000, 0), now + 0.5);
    }
    let ttft_s = w.fleet.status(at(64.0)).pools[0].offers[0].ttft_s;
    assert!((0.4..0.55).contains(&ttft_s), "{ttft_s}");
}

#[test]
fn queued_prefill_of_whole_answers_drains_by_the_clock() {
    let mut w = World::alone(1);
    let facts = CallFacts { stream: false, input_tokens: 10_000, ..w.facts(0.0) };
    for _ in 0..3 {
        let _ticket = w.start(&facts, 0.0);
    }
    assert!(w.go(&facts, 0.0).expected_ttft > Duration::from_secs(4));
    assert!(w.go(&facts, 10.0).expected_ttft < Duration::from_millis(1200));
}

#[test]
fn a_slow_endpoint_gets_less() {
    let mut w = World::alone(2);
    let mut counts = [0u32; 2];
    for i in 0..400 {
        let now = f64::from(i) * 0.3;
        let facts = w.facts(now);
        let mut t = w.start(&facts, now);
        let slow = t.dispatch.endpoint == EndpointId(0);
        if i >= 200 {
            counts[usize::from(!slow)] += 1;
        }
        w.fleet.first_token(&facts, &mut t, at(now + if slow { 0.4 } else { 0.1 }));
        w.end(&facts, t, ok(1000, 3), now + 0.5);
    }
    assert!(counts[0] * 3 < counts[1], "{counts:?}");
}

#[test]
fn output_length_is_learned_by_model_and_class() {
    let mut w = World::alone(1);
    for i in 0..300 {
        w.serve(OWN, 0.1, f64::from(i) * 5.0);
    }
    let facts = w.facts(1500.0);
    assert!((100..125).contains(&w.go(&facts, 1500.0).expected_output));
    let background = CallFacts { class: BACKGROUND, ..facts };
    assert_eq!(w.go(&background, 1500.0).expected_output, 256);
}

#[test]
fn o13_sessions_are_bounded_and_forget_the_longest_unused() {
    let mut s = Sessions::new(Duration::from_secs(300));
    let warm = Warm { pool: OWN, endpoint: EndpointId(1), prefix_tokens: 10 };
    for i in 0..200_000u64 {
        s.touch(SessionKey(i.wrapping_mul(0x9e37)), ModelId(0), warm, at(i as f64 * 1e-3).mono);
    }
    assert!(s.len() <= CAPACITY && s.len() > CAPACITY * 9 / 10, "{}", s.len());
    let last = SessionKey(199_999u64.wrapping_mul(0x9e37));
    assert_eq!(s.warm(last, ModelId(0), at(200.0).mono), Some(warm));
    assert_eq!(s.warm(last, ModelId(1), at(200.0).mono), None);
    assert_eq!(s.warm(last, ModelId(0), at(600.0).mono), None);
    assert_eq!(s.warm(SessionKey(0), ModelId(0), at(200.0).mono), None);
}

#[test]
fn foreign_tickets_do_no_harm() {
    let mut w = World::alone(1);
    let facts = w.facts(0.0);
    let t = w.start(&facts, 0.0);
    let mut other = World::new(Catalog { classes: catalog().classes, ..Catalog::default() }, 0);
    other.end(&facts, t, ok(10, 10), 1.0);
}
