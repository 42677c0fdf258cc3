//! Another catalog under a running fleet.

use super::*;
use proptest::prelude::*;

const SMALL: SessionKey = SessionKey(7);

/// The catalog of a config that names these pools, in this order.
fn only(names: &[&str]) -> Catalog {
    let all = catalog();
    let mut c = Catalog { pools: vec![], offers: vec![], ..all.clone() };
    c.models.iter_mut().for_each(|m| m.offers.clear());
    for name in names {
        let known = all.pools.iter().position(|p| *p.name == **name);
        let from = known.unwrap_or(1);
        let id = PoolId(c.pools.len() as u16);
        c.pools.push(Pool {
            name: (*name).into(),
            failure_domain: (*name).into(),
            ..all.pools[from].clone()
        });
        for offer in all.offers.iter().filter(|o| o.pool.index() == from) {
            c.models[offer.model.index()].offers.push(OfferId(c.offers.len() as u16));
            c.offers.push(Offer { pool: id, ..offer.clone() });
        }
    }
    c
}

impl World {
    /// Goes on with another config. Calls of `oldest` may be open still.
    fn adopt(&mut self, next: Catalog, (edition, oldest): (u64, u64), now: f64) -> Vec<Transition> {
        let editions = Editions { next: edition, oldest };
        let before = Arc::clone(self.fleet.catalog());
        let next = Arc::new(next.succeed(&before, editions).unwrap().catalog);
        let settings = *self.fleet.settings();
        let told = self.fleet.adopt(Arc::clone(&next), settings, &[], at(now));
        for (id, pool) in next.live_pools().filter(|(id, _)| before.pool_id(&next.pool(*id).name).is_none()) {
            self.fleet.set_endpoints(id, &[address(&pool.name, 0), address(&pool.name, 1)], at(now));
        }
        told
    }

    fn id(&self, name: &str) -> PoolId {
        self.fleet.catalog().pool_id(name).unwrap()
    }

    fn status_of(&self, name: &str, now: f64) -> crate::fleet::status::PoolStatus {
        let status = self.fleet.status(at(now));
        status.pools.into_iter().find(|p| *p.name == *name).unwrap()
    }
}

fn busy() -> World {
    let mut w = World::new(catalog(), 2);
    for n in 0..40 {
        let s = f64::from(n) * 4.0;
        w.serve(OWN, 0.3, s);
        w.serve(CHEAP, 0.5, s + 1.0);
        if n % 10 == 3 {
            w.fail(DEAR, FailureKind::ServerError, s + 2.0);
        }
    }
    w
}

#[test]
fn c04_what_stays_keeps_all_that_was_learned_of_it() {
    let (mut w, mut other) = (busy(), busy());
    // Another order, and a pool more.
    let told = w.adopt(only(&["dear", "new", "own", "cheap"]), (2, 1), 160.0);
    assert_eq!(told.iter().map(|t| t.to).collect::<Vec<_>>(), ["slow_start"]);
    w.adopt(only(&["own", "cheap", "dear"]), (3, 1), 160.0);
    for name in ["own", "cheap", "dear"] {
        assert_eq!(w.status_of(name, 160.0), other.status_of(name, 160.0));
    }
    for n in 0..50 {
        let s = 160.0 + f64::from(n);
        let (a, b) = (w.facts(s), other.facts(s));
        let (a, b) = (w.start(&a, s), other.start(&b, s));
        assert_eq!((a.dispatch.pool, a.dispatch.endpoint), (b.dispatch.pool, b.dispatch.endpoint));
        assert_eq!(a.dispatch.reason.j_usd, b.dispatch.reason.j_usd, "the price is the same to the last bit");
    }
}

#[test]
fn c05_a_pool_that_is_gone_finishes_its_calls_and_gets_no_more() {
    let mut w = World::new(catalog(), 1);
    let facts = w.facts(0.0);
    let mut open = w.start_at(&facts, OWN, 0.0);
    let told = w.adopt(only(&["cheap", "dear"]), (2, 1), 1.0);
    assert_eq!(told[0].to, "withdrawn");
    for n in 0..5 {
        let s = 1.0 + f64::from(n);
        let other = w.facts(s);
        assert_ne!(w.go(&other, s).pool, OWN);
    }
    assert_eq!((w.status_of("own", 6.0).state, w.status_of("own", 6.0).in_flight), ("leaving", 1));
    w.fleet.first_token(&facts, &mut open, at(6.0));
    w.end(&facts, open, ok(1000, 100), 7.0);
    let own = w.status_of("own", 7.0);
    assert_eq!((own.in_flight, own.endpoints.len()), (0, 0));
}

#[test]
fn c05_a_failure_at_a_pool_that_is_gone_is_tried_elsewhere() {
    let mut w = World::new(catalog(), 1);
    let facts = w.facts(0.0);
    let open = w.start_at(&facts, OWN, 0.0);
    w.adopt(only(&["cheap", "dear"]), (2, 1), 1.0);
    let past = [tried(&open.dispatch, FailureKind::Disconnected, false)];
    w.end(&facts, open, failed(FailureKind::Disconnected), 1.5);
    let Decision::Dispatch(d) = w.decide(&facts, &past, 1.5) else { panic!() };
    assert_eq!(d.pool, w.id("cheap"));
}

#[test]
fn a_pool_that_comes_has_a_slow_start_and_one_that_comes_back_forgets_its_illness() {
    let mut w = World::new(catalog(), 1);
    for n in 0..5 {
        w.fail(OWN, FailureKind::ServerError, f64::from(n) / 10.0);
    }
    assert_eq!(w.status_of("own", 1.0).offers[0].state, "ejected");
    w.adopt(only(&["cheap", "dear"]), (2, 1), 1.0);
    w.adopt(only(&["own", "cheap", "dear", "fresh"]), (3, 1), 2.0);
    for name in ["own", "fresh"] {
        assert_eq!(w.status_of(name, 2.0).offers[0].state, "slow_start");
        assert_eq!(w.status_of(name, 2.0).endpoints.len(), 2);
    }
    assert_eq!(w.status_of("cheap", 2.0).state, "healthy");
    let share = (0..400).filter(|_| {
        let facts = w.facts(3.0);
        w.go(&facts, 3.0).pool == w.id("own")
    });
    let share = share.count();
    assert!((10..120).contains(&share), "a tenth at first, {share} of 400");
    assert_eq!(w.status_of("own", 60.0).state, "healthy");
}

#[test]
fn c09_a_new_key_ends_the_disability_of_the_old_one_which_cannot_disable_it_again() {
    let mut w = World::new(catalog(), 1);
    let facts = w.facts(0.0);
    let open = w.start_at(&facts, CHEAP, 0.0);
    w.fail(CHEAP, FailureKind::Credentials, 1.0);
    assert_eq!(w.status_of("cheap", 1.0).offers[0].state, "disabled");
    let settings = *w.fleet.settings();
    let same =
        Arc::new(catalog().succeed(w.fleet.catalog(), Editions { next: 2, oldest: 1 }).unwrap().catalog);
    w.fleet.adopt(same, settings, &[CHEAP], at(2.0));
    assert_eq!(w.status_of("cheap", 2.0).offers[0].state, "slow_start");
    // Sent with the old key.
    w.end(&facts, open, failed(FailureKind::Credentials), 2.5);
    assert_eq!(w.status_of("cheap", 2.5).offers[0].state, "slow_start");
    w.fail(CHEAP, FailureKind::Credentials, 40.0);
    assert_eq!(w.status_of("cheap", 40.0).offers[0].state, "disabled");
}

#[test]
fn c07_a_limit_below_what_is_used_holds_from_now_on_and_nothing_is_below_zero() {
    let quota =
        |tokens| Quota { tokens, every: Duration::from_secs(3600), anchor: Timestamp::from_millis(0) };
    let with = |tokens, max| {
        let mut c = catalog();
        c.pools[0].grants.quota = Some(quota(tokens));
        c.pools[0].max_in_flight = Some(max);
        c
    };
    let mut w = World::new(with(1_000_000, 10), 1);
    let mut open = Vec::new();
    for _ in 0..4 {
        let facts = w.facts(0.0);
        open.push((facts.clone(), w.start_at(&facts, OWN, 0.0)));
    }
    let used = 1_000_000.0 - w.fleet.pools[0].granted.quota.unwrap().left(at(1.0));
    assert!(used > 4_000.0);
    w.adopt(with(2_000, 2), (2, 1), 1.0);
    let left = w.fleet.pools[0].granted.quota.unwrap().left(at(1.0));
    assert!((left - (2_000.0 - used)).abs() < 1e-6, "what was used counts");
    let facts = w.facts(1.0);
    assert_ne!(w.go(&facts, 1.0).pool, OWN);
    assert_eq!((w.status_of("own", 1.0).in_flight, w.status_of("own", 1.0).max_in_flight), (4, Some(2)));
    for (facts, ticket) in open {
        w.end(&facts, ticket, ok(1000, 10), 2.0);
    }
    assert_eq!(w.status_of("own", 2.0).in_flight, 0);
    // And more again is more.
    w.adopt(with(1_000_000, 10), (3, 3), 3.0);
    let facts = w.facts(3.0);
    assert_eq!(w.go(&facts, 3.0).pool, OWN);
}

#[test]
fn a_session_is_not_warm_at_the_pool_that_took_the_place_of_its_own() {
    let mut w = World::new(catalog(), 1);
    let facts = CallFacts { session: Some(SMALL), ..w.facts(0.0) };
    let ticket = w.start_at(&facts, DEAR, 0.0);
    w.end(&facts, ticket, ok(50_000, 100), 1.0);
    assert_eq!(w.fleet.sessions.warm(SMALL, ModelId(0), at(2.0).mono).map(|warm| warm.pool), Some(DEAR));
    w.adopt(only(&["own", "cheap"]), (2, 2), 2.0);
    w.adopt(only(&["own", "cheap", "other"]), (3, 3), 3.0);
    assert_eq!(w.id("other"), DEAR, "the place is dealt again");
    assert_eq!(w.fleet.sessions.warm(SMALL, ModelId(0), at(3.0).mono), None);
}

#[test]
fn a_call_in_line_leaves_it_though_the_targets_of_its_class_have_changed() {
    let mut c = catalog();
    c.models[0].offers.truncate(1);
    c.pools[0].max_in_flight = Some(1);
    let mut w = World::new(c.clone(), 1);
    let first = w.facts(0.0);
    let open = w.start(&first, 0.0);
    let waits = CallFacts { class: BACKGROUND, ..w.facts(0.0) };
    assert!(matches!(w.decide(&waits, &[], 0.0), Decision::Wait { .. }));
    assert_eq!(w.fleet.join(&waits, PLACE, at(0.0)), Ok(()));
    c.classes[1].finish_target = Some(Duration::from_secs(3));
    w.adopt(c, (2, 1), 1.0);
    assert_eq!((w.fleet.in_line(), w.fleet.call_up()), (1, Some(waits.id)), "a new config is news");
    w.end(&first, open, ok(1000, 10), 2.0);
    w.fleet.granted(&waits, at(0.0));
    w.fleet.leave(&waits);
    assert_eq!(w.fleet.in_line(), 0);
}

#[derive(Clone, Debug)]
enum Step {
    Start(u8),
    FirstToken(u8),
    End(u8, u8),
    Adopt(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0u8..2).prop_map(Step::Start),
        2 => any::<u8>().prop_map(Step::FirstToken),
        4 => (any::<u8>(), 0u8..4).prop_map(|(i, k)| Step::End(i, k)),
        3 => (1u8..64).prop_map(Step::Adopt),
    ]
}

proptest! {
    /// Whatever configs come while calls are under way: everything that was counted is uncounted in the end, and a call
    /// never goes where no config names it.
    #[test]
    fn c05_no_call_is_lost_count_of_whatever_configs_come(steps in prop::collection::vec(step(), 1..80)) {
        const NAMES: [&str; 6] = ["own", "cheap", "dear", "x", "y", "z"];
        let mut w = World::new(catalog(), 2);
        let mut open: Vec<(CallFacts, Ticket, u64)> = Vec::new();
        let mut edition = 1;
        for (i, step) in steps.into_iter().enumerate() {
            let s = i as f64 * 0.7;
            match step {
                Step::Start(class) => {
                    let facts = CallFacts { class: ClassId(class), ..w.facts(s) };
                    if let Decision::Dispatch(d) = w.decide(&facts, &[], s) {
                        prop_assert!(w.fleet.catalog().has_pool(d.pool) && w.fleet.catalog().has_offer(d.offer));
                        open.push((facts.clone(), w.fleet.started(&facts, d, at(s)), edition));
                    }
                }
                Step::FirstToken(i) if !open.is_empty() => {
                    let at_i = usize::from(i) % open.len();
                    let (facts, ticket, _) = &mut open[at_i];
                    w.fleet.first_token(facts, ticket, at(s));
                }
                Step::End(i, how) if !open.is_empty() => {
                    let (facts, ticket, _) = open.swap_remove(usize::from(i) % open.len());
                    let end = match how {
                        0 => failed(FailureKind::ServerError),
                        1 => AttemptEnd::Cancelled,
                        _ => ok(1000, 20),
                    };
                    w.end(&facts, ticket, end, s);
                }
                Step::Adopt(which) => {
                    let names: Vec<&str> = (0..6).filter(|n| which & (1 << n) != 0).map(|n| NAMES[n]).collect();
                    edition += 1;
                    let oldest = open.iter().map(|(.., began)| *began).min().unwrap_or(edition - 1);
                    w.adopt(only(&names), (edition, oldest), s);
                }
                Step::FirstToken(_) | Step::End(..) => {}
            }
            let under_way: u32 = w.fleet.status(at(s)).pools.iter().map(|p| p.in_flight).sum();
            prop_assert_eq!(under_way as usize, open.len());
        }
        for (facts, ticket, _) in open {
            w.end(&facts, ticket, ok(1000, 20), 100.0);
        }
        for (i, pool) in w.fleet.status(at(101.0)).pools.iter().enumerate() {
            prop_assert_eq!(pool.in_flight, 0);
            let gone = !w.fleet.catalog().has_pool(PoolId(i as u16));
            prop_assert!(!gone || pool.endpoints.is_empty());
            prop_assert!(pool.endpoints.iter().all(|e| e.in_flight == 0));
        }
    }
}
