//! What makes each rule of placement the rule that it is.

use proptest::prelude::*;
use rand::SeedableRng as _;

use super::*;

fn rng(seed: u64) -> SmallRng {
    SmallRng::seed_from_u64(seed)
}

fn spot(id: u32, in_flight: u32) -> Spot {
    Spot {
        id: EndpointId(id),
        in_flight,
        queued_tokens: 0.0,
        wait_s: 0.0,
        prefill_s: 0.1,
        uncached_tokens: 1000.0,
        matched: 0.0,
        held_tokens: 0,
    }
}

fn spots(loads: &[u32]) -> Vec<Spot> {
    loads.iter().enumerate().map(|(i, n)| spot(i as u32, *n)).collect()
}

#[test]
fn every_placement_has_a_name_and_a_small_grid_that_begins_as_its_source() {
    for place in Place::ALL {
        assert_eq!(Place::named(place.name()), Some(place));
        assert_eq!(place.grid()[0], place);
        assert!(place.grid().len() <= 6);
        assert_eq!(place.choose(&[], 1, &mut rng(1)), None);
        assert_eq!(place.choose(&spots(&[3]), 1, &mut rng(1)), Some(0), "{place}");
    }
    assert_eq!(Place::default(), Place::Work);
}

#[test]
fn least_request_draws_among_equals() {
    let s = spots(&[2, 1, 1, 5]);
    let drawn: std::collections::BTreeSet<_> =
        (0..50).filter_map(|seed| Place::LeastRequest.choose(&s, 0, &mut rng(seed))).collect();
    assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn p2c_work_compares_seconds_and_never_takes_the_worst() {
    let mut s = spots(&[0, 9, 9]);
    s[0].wait_s = 3.0;
    s[1].wait_s = 1.0;
    for seed in 0..50 {
        assert_ne!(Place::P2cWork.choose(&s, 0, &mut rng(seed)), Some(0));
    }
}

#[test]
fn chwbl_sends_a_key_to_one_place_until_that_is_over_its_share() {
    let place = Place::Chwbl(Chwbl::USUAL);
    let mut s = spots(&[4, 4, 4, 4]);
    let home = place.choose(&s, 42, &mut rng(1)).unwrap();
    for seed in 0..20 {
        assert_eq!(place.choose(&s, 42, &mut rng(seed)), Some(home));
    }
    s[home].in_flight = 7;
    let next = place.choose(&s, 42, &mut rng(1)).unwrap();
    assert_ne!(next, home, "7 is more than 1.25 * 20 / 4");
    // Another endpoint leaves: nothing changes for this key.
    s[home].in_flight = 4;
    let other = (0..4).find(|i| *i != home && *i != next).unwrap();
    let id = s[home].id;
    s.remove(other);
    let found = place.choose(&s, 42, &mut rng(1)).unwrap();
    assert_eq!(s[found].id, id);
}

#[test]
fn smg_goes_where_the_prompt_matches_unless_loads_are_uneven() {
    let place = Place::SmgCacheAware(SmgCacheAware::USUAL);
    let mut s = spots(&[30, 2, 3]);
    s[0].matched = 0.6;
    assert_eq!(place.choose(&s, 0, &mut rng(1)), Some(0), "28 more is even");
    s[0].in_flight = 40;
    assert_eq!(place.choose(&s, 0, &mut rng(1)), Some(1), "38 more is not");
    s[0].in_flight = 30;
    s[0].matched = 0.4;
    (s[0].held_tokens, s[1].held_tokens, s[2].held_tokens) = (10, 20, 5);
    assert_eq!(place.choose(&s, 0, &mut rng(1)), Some(2), "no match: where the least is remembered");
    let many = |n: u32| spots(&[n, n - 33]);
    let mut s = many(500);
    s[0].matched = 0.9;
    assert_eq!(place.choose(&s, 0, &mut rng(1)), Some(0), "33 of 500 is less than a tenth");
}

#[test]
fn lmetric_multiplies() {
    let mut s = spots(&[9, 1]);
    // (0 + 200) * 10 = 2000 against (100 + 1000) * 2 = 2200: the longer batch is outweighed.
    (s[0].uncached_tokens, s[1].queued_tokens) = (200.0, 100.0);
    assert_eq!(Place::LMetric.choose(&s, 0, &mut rng(1)), Some(0));
    s[0].queued_tokens = 50.0;
    assert_eq!(Place::LMetric.choose(&s, 0, &mut rng(1)), Some(1));
}

#[test]
fn mooncake_adds_the_queue_and_what_is_left_to_prefill() {
    let mut s = spots(&[0, 0]);
    (s[0].wait_s, s[0].prefill_s) = (0.5, 0.1);
    (s[1].wait_s, s[1].prefill_s) = (0.0, 0.7);
    assert_eq!(Place::Mooncake.choose(&s, 0, &mut rng(1)), Some(0));
    s[0].wait_s = 0.7;
    assert_eq!(Place::Mooncake.choose(&s, 0, &mut rng(1)), Some(1));
}

proptest! {
    #[test]
    fn chwbl_bounds_the_load(loads in prop::collection::vec(0u32..200, 1..40), key: u64, bound in 1.0f64..3.0) {
        let s = spots(&loads);
        let rule = Place::Chwbl(Chwbl { bound, depth: 1 });
        let at = rule.choose(&s, key, &mut rng(1)).unwrap();
        let total: u32 = loads.iter().sum();
        prop_assert!(f64::from(loads[at]) <= bound * (f64::from(total) + 1.0) / loads.len() as f64);
    }

    #[test]
    fn the_order_of_endpoints_does_not_matter(
        loads in prop::sample::subsequence((0u32..80).collect::<Vec<_>>(), 5).prop_shuffle(),
        tokens in prop::collection::vec(1.0f64..9000.0, 5), turned in 0usize..5, key: u64,
    ) {
        for place in Place::ALL.into_iter().filter(|p| !matches!(p, Place::Random | Place::P2cWork)) {
            let mut s = spots(&loads);
            for (s, t) in s.iter_mut().zip(&tokens) {
                (s.uncached_tokens, s.matched, s.wait_s) = (*t, 1.0 - t / 9000.0, t * 1e-4);
                s.held_tokens = *t as u64;
            }
            let before = s[place.choose(&s, key, &mut rng(1)).unwrap()].id;
            s.rotate_left(turned);
            prop_assert_eq!(before, s[place.choose(&s, key, &mut rng(1)).unwrap()].id, "{}", place);
        }
    }
}
