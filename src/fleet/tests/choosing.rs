//! What must be true of choosing, whatever the pools.

use proptest::prelude::*;

use super::*;

/// A pool of a random config.
#[derive(Clone, Debug)]
struct Drawn {
    owned: bool,
    price: f64,
    ttft_s: f64,
    requests: Option<u32>,
    max: Option<u32>,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    (any::<bool>(), 0.1f64..3.0, 0.05f64..1.5, prop::option::of(10u32..600), prop::option::of(1u32..20))
        .prop_map(|(owned, price, ttft_s, requests, max)| Drawn { owned, price, ttft_s, requests, max })
}

/// A config of these pools, named in that order.
fn config(pools: &[Drawn], order: &[usize]) -> Catalog {
    let mut c = catalog();
    c.pools.clear();
    c.offers.clear();
    c.models.truncate(1);
    c.models[0].offers.clear();
    for (at, i) in order.iter().enumerate() {
        let d = &pools[*i];
        let tenure = if d.owned { Tenure::Owned } else { Tenure::Metered };
        let mut p = pool(&format!("pool-{i}"), tenure);
        p.engine_prior.ttft_base_s = d.ttft_s;
        p.grants.requests_per_minute = d.requests.filter(|_| !d.owned);
        p.max_in_flight = d.max;
        c.pools.push(p);
        let price = if d.owned { 0.0 } else { d.price };
        c.models[0].offers.push(OfferId(at as u16));
        c.offers.push(offer(PoolId(at as u16), ModelId(0), price, 4.0 * price));
    }
    c
}

/// Plays calls, and tells for each the name of its pool, or that there was none.
fn played(pools: &[Drawn], order: &[usize], calls: usize, seed: u64) -> Vec<String> {
    let mut w = World::new(config(pools, order), 2);
    let (mut told, mut on) = (Vec::new(), Vec::new());
    for k in 0..calls {
        let s = k as f64 * 0.3;
        let mut facts = w.facts(s);
        facts.class = if k % 3 == 0 { BACKGROUND } else { INTERACTIVE };
        facts.input_tokens = 200 + (k as u32 * 977) % 4000;
        let mut rng = SmallRng::seed_from_u64(seed ^ k as u64);
        match w.fleet.decide(&facts, &[], at(s), &mut rng) {
            Decision::Dispatch(d) => {
                told.push(w.fleet.catalog().pool(d.pool).name.to_string());
                let ticket = w.fleet.started(&facts, d, at(s));
                on.push((facts, ticket, s));
            }
            Decision::Wait { .. } => told.push("waits".to_owned()),
            Decision::Shed(_) => told.push("shed".to_owned()),
        }
        // Every call takes six seconds; one in eleven fails.
        while on.first().is_some_and(|(_, _, since)| since + 6.0 <= s) {
            let (facts, mut ticket, since) = on.remove(0);
            let fails = facts.id.0 % 11 == 0;
            if !fails {
                w.fleet.first_token(&facts, &mut ticket, at(since + 1.0));
            }
            w.end(&facts, ticket, if fails { failed(FailureKind::ServerError) } else { ok(1000, 100) }, s);
        }
    }
    told
}

proptest! {
    /// The same pools in another order get the same calls.
    #[test]
    fn the_order_of_pools_in_a_config_decides_nothing(
        pools in prop::collection::vec(drawn(), 2..7), by in 1usize..6, seed: u64,
    ) {
        let order: Vec<usize> = (0..pools.len()).collect();
        let mut other = order.clone();
        other.rotate_left(by % pools.len());
        other.reverse();
        prop_assert_eq!(played(&pools, &order, 120, seed), played(&pools, &other, 120, seed));
    }

    /// Of two providers that differ in nothing but the price, the cheaper gets the call while it may take it.
    #[test]
    fn of_pools_alike_but_for_the_price_the_cheaper_is_taken(
        price in 0.1f64..3.0, more in 0.01f64..2.0, ttft_s in 0.05f64..0.8, seed: u64,
    ) {
        let cheap = Drawn { owned: false, price, ttft_s, requests: None, max: None };
        let dear = Drawn { price: price * (1.0 + more), ..cheap.clone() };
        // Near ties go by lot, and how near is a setting: here there are none.
        let mut settings = Settings::default();
        (settings.choice.tie_share, settings.choice.tie_usd) = (0.0, 0.0);
        let mut w = World::with(config(&[dear, cheap], &[0, 1]), settings, 1);
        let facts = w.facts(0.0);
        let mut rng = SmallRng::seed_from_u64(seed);
        let Decision::Dispatch(d) = w.fleet.decide(&facts, &[], at(0.0), &mut rng) else {
            return Err(TestCaseError::fail("not dispatched"));
        };
        let terms: Vec<_> = w.fleet.explain(&facts, at(0.0)).rows.iter().map(|r| r.standing.clone()).collect();
        prop_assert_eq!(&*w.fleet.catalog().pool(d.pool).name, "pool-1", "{:?}", terms);
    }
}
