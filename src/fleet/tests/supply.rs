//! Power, hours and leases of a fleet's pools.

use super::*;
use crate::policy::Exclusion;
use proptest::prelude::*;

/// Servers of 10 kW, of which 2 kW are drawn always and 6 kW by prompts.
fn power(usd_per_mwh: f64) -> Power {
    Power {
        idle_w: 2000.0,
        decode_w: 4000.0,
        full_w: 10_000.0,
        pue: 1.0,
        usd_per_mwh: Timetable::always(usd_per_mwh),
        max_w: None,
    }
}

fn powered(power: Power) -> Catalog {
    let mut c = catalog();
    c.pools[0].power = Some(power);
    c
}

fn money_at_own(w: &mut World, facts: &CallFacts, now: f64) -> f64 {
    let explained = w.fleet.explain(facts, at(now));
    let row = explained.rows.iter().find(|r| &*r.pool == "own").unwrap();
    match &row.standing {
        explain::Standing::Eligible { terms, .. } => terms.money,
        explain::Standing::Excluded { reason, .. } => panic!("excluded: {reason}"),
    }
}

#[test]
fn the_money_of_an_owned_pool_is_the_energy_of_the_call() {
    let mut w = World::new(powered(power(100.0)), 1);
    let facts = w.facts(0.0);
    // 0.06 s of fixed prefill and 0.1 s for 1000 tokens at 6 kW; 256 tokens of 30 ms in one of 64 seats of 2 kW.
    let joules = 0.16 * 6000.0 + 256.0 * 0.03 * 2000.0 / 64.0;
    let money = money_at_own(&mut w, &facts, 0.0);
    assert!((money - joules * 100.0 / 3.6e9).abs() < 1e-12, "{money}");
    let d = w.go(&facts, 0.0);
    assert_eq!((d.pool, d.expected_usd), (OWN, 0.0), "energy is on nobody's bill");
}

#[test]
fn power_that_is_dear_enough_sends_calls_to_a_provider() {
    let go = |usd_per_mwh| {
        let mut w = World::new(powered(power(usd_per_mwh)), 1);
        let facts = w.facts(0.0);
        w.go(&facts, 0.0).pool
    };
    assert_eq!((go(80.0), go(60_000.0)), (OWN, CHEAP));
}

#[test]
fn the_price_of_power_changes_with_the_hour_without_a_tick() {
    // at(0) is 08:00 UTC on a Friday.
    let night = Hours { days: Hours::EVERY_DAY, from: 20 * 60, to: 8 * 60 };
    let mut p = power(0.0);
    p.usd_per_mwh = Timetable::new(60_000.0, &[(night, 50.0)], 60);
    let mut w = World::new(powered(p), 1);
    let hour = 3600.0;
    let facts = w.facts(0.0);
    assert_eq!(w.go(&facts, 0.0).pool, CHEAP);
    let evening = 10.0 * hour + 3599.9;
    let facts = w.facts(evening);
    assert_eq!(w.go(&facts, evening).pool, CHEAP);
    let facts = w.facts(11.0 * hour);
    assert_eq!(w.go(&facts, 11.0 * hour).pool, OWN, "19:00 UTC is 20:00 there");
}

/// The provider `cheap` costs three times as much from noon on; at(0) is 08:00 UTC on a Friday.
fn dear_afternoons() -> Catalog {
    let mut c = catalog();
    c.pools[1].engine_prior.ttft_base_s = 0.3;
    let dear = offer(CHEAP, ModelId(0), 1.8, 7.2).prices;
    let o = &mut c.offers[2];
    let afternoon = Hours { days: Hours::EVERY_DAY, from: 12 * 60, to: 24 * 60 };
    o.hours = Some(Timetable::new(o.prices, &[(afternoon, dear)], 0));
    c.models[0].offers.remove(0);
    c
}

#[test]
fn a_price_that_changes_at_the_hour_flips_the_choice_at_the_hour() {
    let mut w = World::new(dear_afternoons(), 1);
    let noon = 4.0 * 3600.0;
    for (now, pool) in [(0.0, CHEAP), (noon - 0.001, CHEAP), (noon, DEAR), (noon + 1.0, DEAR)] {
        let facts = w.facts(now);
        assert_eq!(w.go(&facts, now).pool, pool, "at {now} s");
    }
    let price = |w: &World, s| w.fleet.status(at(s)).pools[1].offers[0].prices.input;
    assert_eq!([price(&w, 0.0), price(&w, noon)], [0.6, 1.8].map(Price::per_million));
}

#[test]
fn a_tick_takes_the_prices_of_the_hour_to_hand_too() {
    let mut w = World::new(dear_afternoons(), 1);
    let noon = 4.0 * 3600.0;
    w.fleet.tick(at(noon));
    let facts = w.facts(noon);
    let explained = w.fleet.explain(&facts, at(noon));
    assert!(explained.rows[0].chosen && &*explained.rows[0].pool == "dear", "{explained}");
}

#[test]
fn a_cap_leaves_out_the_call_that_could_break_it_and_the_next_end_lets_it_in() {
    // Two servers idle at 4 kW; the first two calls may both prefill: 12 kW more; each takes 31.25 W of a batch.
    let mut p = power(80.0);
    p.max_w = Some(16_000.0 + 3.0 * 31.25);
    let mut c = powered(p);
    c.models[0].offers.truncate(1);
    let mut w = World::new(c, 2);
    let mut on: Vec<_> = (0..3)
        .map(|_| {
            let facts = w.facts(0.0);
            let ticket = w.start(&facts, 0.0);
            (facts, ticket)
        })
        .collect();
    let facts = w.facts(0.0);
    let explained = w.fleet.explain(&facts, at(0.0));
    assert!(
        matches!(&explained.rows[0].standing, explain::Standing::Excluded { name: "power", reason }
            if reason.contains("0.016 MW")),
        "{explained}"
    );
    assert!(matches!(w.decide(&facts, &[], 0.0), Decision::Wait { .. }));
    let status = w.fleet.status(at(0.0)).pools.remove(0);
    assert_eq!((status.watts, status.max_watts), (Some(16_093.75), Some(16_093.75)));
    let before = w.fleet.generation;
    let (done, ticket) = on.remove(0);
    w.end(&done, ticket, ok(1000, 10), 1.0);
    assert!(w.fleet.generation > before, "those that wait are asked");
    assert_eq!(w.go(&facts, 1.0).pool, OWN);
}

#[test]
fn slots_are_scarcer_where_the_site_cannot_power_them_all() {
    let scarcity = |max_w| {
        let mut p = power(80.0);
        p.max_w = max_w;
        let mut w = World::new(powered(p), 1);
        for _ in 0..20 {
            let facts = w.facts(0.0);
            let _ticket = w.start_at(&facts, OWN, 0.0);
        }
        w.fleet.status(at(0.0)).pools[0].scarcity_usd_per_s.unwrap()
    };
    // Room for 24 calls.
    assert!(scarcity(Some(8000.0 + 24.0 * 31.25)) > 10.0 * scarcity(None));
}

#[test]
fn a_limit_of_the_operator_keeps_its_name_beside_a_cap() {
    let mut p = power(80.0);
    p.max_w = Some(9000.0);
    let mut c = powered(p);
    c.pools[0].max_in_flight = Some(1);
    let mut w = World::new(c, 1);
    let facts = w.facts(0.0);
    let _ticket = w.start_at(&facts, OWN, 0.0);
    assert_eq!(w.fleet.pools[0].full_for(1), Exclusion::Full { max: 1 });
}

/// `own` is leased from 100 s to 1000 s.
fn leased() -> Catalog {
    let mut c = catalog();
    c.pools[0].lease = Some(Lease { from: Some(at(100.0).wall), until: Some(at(1000.0).wall) });
    c
}

fn excluded(w: &mut World, facts: &CallFacts, now: f64) -> Option<(&'static str, String)> {
    let explained = w.fleet.explain(facts, at(now));
    explained.rows.into_iter().find(|r| &*r.pool == "own").and_then(|row| match row.standing {
        explain::Standing::Excluded { name, reason } => Some((name, reason)),
        explain::Standing::Eligible { .. } => None,
    })
}

#[test]
fn a_leased_pool_takes_calls_from_its_first_moment_to_its_last_answer() {
    let mut w = World::new(leased(), 1);
    let mut said = |now| {
        let facts = w.facts(now);
        excluded(&mut w, &facts, now)
    };
    assert_eq!(said(90.0).unwrap(), ("lease", "its lease begins in 10 s".to_owned()));
    assert_eq!(said(100.0), None);
    // 256 tokens take 7.7 s and some.
    assert_eq!(said(991.0), None);
    let (name, reason) = said(993.0).unwrap();
    assert!(name == "lease_too_short" && reason.starts_with("leased for 7.0 s more, needs 7."), "{reason}");
    assert_eq!(said(1000.0).unwrap(), ("lease", "its lease is over".to_owned()));
    let states = [0.0, 500.0, 2000.0].map(|s| w.fleet.status(at(s)).pools[0].state);
    assert_eq!(states, ["no_lease", "healthy", "no_lease"]);
    assert_eq!(w.fleet.status(at(0.0)).pools[0].lease_ends, Some(at(1000.0).wall));
}

#[test]
fn a_call_that_may_wait_waits_for_a_lease_to_begin_and_none_for_one_that_is_over() {
    let mut c = leased();
    c.models[0].offers.truncate(1);
    let mut w = World::new(c, 1);
    let mut facts = w.facts(0.0);
    facts.class = BACKGROUND;
    let Decision::Wait { until, reason, .. } = w.decide(&facts, &[], 0.0) else { panic!("does not wait") };
    assert_eq!((until, &*reason), (at(100.0).mono, "own: its lease begins in 100 s"));
    let mut facts = w.facts(2000.0);
    facts.class = BACKGROUND;
    assert!(matches!(
        w.decide(&facts, &[], 2000.0),
        Decision::Shed(Refusal::NoPool { permanent: false, .. })
    ));
}

/// What a call's share of a quota of `cheap` is worth at nine hours, in dollars, where demand over the days before was so.
fn worth_of_quota(day: impl Fn(u64) -> f64) -> f64 {
    let mut c = catalog();
    let every = Duration::from_secs(86_400);
    // at(0) is 08:00 UTC, which is when the quota is whole again.
    c.pools[1].grants.quota = Some(Quota { tokens: 60_000, every, anchor: at(0.0).wall });
    let mut w = World::new(c, 1);
    let demand = w.fleet.pools[1].demand.as_mut().unwrap();
    for hour in 0..50 {
        demand.asked(day(hour % 24), at(hour as f64 * 3600.0 + 1.0).wall);
    }
    for i in 0..40 {
        w.fleet.pools[1].savings.learn(0.001, 1000.0, 0.1);
        let now = 2.0 * 86_400.0 + 9.0 * 3600.0 + f64::from(i);
        w.fleet.pools[1].granted.settle(20.0, at(now));
    }
    w.fleet.pools[1].grants_usd(1000.0, at(2.0 * 86_400.0 + 9.0 * 3600.0 + 40.0))
}

#[test]
fn a_quota_is_kept_for_the_peak_that_comes_every_day() {
    // Hours are counted from the reset; it is the ninth now.
    let flat = worth_of_quota(|_| 1000.0);
    let peak_ahead = worth_of_quota(|hour| if hour == 12 { 20_000.0 } else { 1000.0 });
    let peak_over = worth_of_quota(|hour| if hour == 3 { 20_000.0 } else { 1000.0 });
    assert!(peak_ahead > 2.0 * flat, "{peak_ahead} {flat}");
    assert!((peak_over / flat - 1.0).abs() < 0.1, "{peak_over} {flat}");
}

/// Only `cheap`, with so many dollars a day; at(0) is 08:00 UTC.
fn budgeted(usd: f64) -> Catalog {
    let mut c = catalog();
    c.models[0].offers = vec![OfferId(2)];
    (c.classes[0].reserve, c.classes[1].reserve) = (0.0, 0.3);
    let every = Duration::from_secs(86_400);
    let budget = Budget { usd: Usd::from_dollars(usd), every, anchor: Timestamp::from_millis(0) };
    c.pools[1].grants.budget = Some(budget);
    c
}

#[test]
fn a_budget_ends_with_its_last_dollar_and_is_whole_again_at_its_reset() {
    // 1000 tokens in and 256 out cost 0.1214 cents: three calls, and then some that is too little for a fourth.
    let mut w = World::new(budgeted(0.004), 1);
    for _ in 0..3 {
        let facts = w.facts(0.0);
        let ticket = w.start(&facts, 0.0);
        w.end(&facts, ticket, ok(1000, 256), 1.0);
    }
    let facts = w.facts(2.0);
    let explained = w.fleet.explain(&facts, at(2.0));
    assert!(
        matches!(explained.rows[0].standing, explain::Standing::Excluded { name: "granted", .. }),
        "{explained}"
    );
    let reset = 16.0 * 3600.0;
    let facts = w.facts(reset);
    assert_eq!(w.go(&facts, reset).pool, CHEAP);
}

#[test]
fn what_an_attempt_did_not_cost_after_all_is_there_again() {
    let mut w = World::new(budgeted(0.0013), 1);
    let facts = w.facts(0.0);
    let mut ticket = w.start(&facts, 0.0);
    let next = w.facts(0.5);
    assert!(!matches!(w.decide(&next, &[], 0.5), Decision::Dispatch(_)));
    ticket.cost = Usd::ZERO;
    w.end(&facts, ticket, AttemptEnd::Cancelled, 1.0);
    assert!(matches!(w.decide(&next, &[], 1.0), Decision::Dispatch(_)));
}

#[test]
fn the_last_of_a_budget_is_for_those_above_until_their_time_runs_out() {
    let mut w = World::new(budgeted(0.1), 1);
    // 8.5 cents of ten are gone by eight in the morning.
    w.fleet.pools[1].granted.spend(0.085, at(0.0));
    let facts = w.facts(0.0);
    assert_eq!(w.go(&facts, 0.0).pool, CHEAP);
    let mut facts = w.facts(0.0);
    (facts.class, facts.deadline) = (BACKGROUND, at(50_000.0).mono);
    // Two thirds of the day are left, for which three tenths of ten cents, and of these two thirds, are held back: 2 cents.
    // With 1.5 cents left, half a day.
    let Decision::Wait { until, .. } = w.decide(&facts, &[], 0.0) else { panic!("not held back") };
    assert!((until.as_secs_f64() - 4.0 * 3600.0).abs() < 1.0, "{until:?}");
    assert!(matches!(w.decide(&facts, &[], 4.0 * 3600.0 + 1.0), Decision::Dispatch(_)));
}

proptest! {
    /// No call is sent that would not be done, as far as anybody knows, before the lease ends.
    #[test]
    fn nothing_is_sent_that_outlives_a_lease(
        now in 900.0f64..1100.0, input in 1u32..100_000, choices in 1u32..4,
    ) {
        let mut w = World::new(leased(), 1);
        let mut facts = w.facts(now);
        (facts.input_tokens, facts.n) = (input, choices);
        if let Decision::Dispatch(d) = w.decide(&facts, &[], now)
            && d.pool == OWN
        {
            let finish_s = d.expected_ttft.as_secs_f64() + f64::from(d.expected_output / choices) * 0.03;
            prop_assert!(now + finish_s <= 1000.0 + 1e-6, "{now} + {finish_s}");
        }
    }

    /// Dearer power makes own capacity dearer, whatever else happened before: its total never falls.
    #[test]
    fn dearer_power_never_makes_own_capacity_more_attractive(
        cheap in 0.0f64..1000.0, more in 0.0f64..10_000.0,
        before in prop::collection::vec((1u32..20_000, 1u64..400), 0..60),
        input in 1u32..50_000,
    ) {
        let total = |usd_per_mwh: f64| {
            let mut w = World::new(powered(power(usd_per_mwh)), 2);
            for (i, (input, output)) in before.iter().enumerate() {
                let now = i as f64 * 0.01;
                let mut facts = w.facts(now);
                facts.input_tokens = *input;
                let mut ticket = w.start_at(&facts, OWN, now);
                w.fleet.first_token(&facts, &mut ticket, at(now));
                if output % 3 == 0 {
                    w.end(&facts, ticket, ok(u64::from(*input), *output), now);
                }
            }
            let mut facts = w.facts(1.0);
            facts.input_tokens = input;
            let explained = w.fleet.explain(&facts, at(1.0));
            explained.rows.iter().find_map(|row| match &row.standing {
                explain::Standing::Eligible { terms, .. } if &*row.pool == "own" => Some(terms.base()),
                _ => None,
            })
        };
        prop_assert!(total(cheap) <= total(cheap + more));
    }

    /// Whatever comes and goes, the site's cap holds at every moment.
    #[test]
    fn a_cap_is_never_exceeded(
        kw in 4.5f64..30.0, endpoints in 1usize..4,
        steps in prop::collection::vec((0u8..3, any::<u8>(), 0u16..2000), 1..200),
    ) {
        let mut p = power(80.0);
        p.max_w = Some(kw * 1e3);
        let idle_kw = 2.0 * endpoints as f64;
        let mut c = powered(p);
        c.pools[0].engine_prior.slots = 8;
        let mut w = World::new(c, endpoints);
        let (mut on, mut s) = (Vec::new(), 0.0);
        for (what, which, ms) in steps {
            s += f64::from(ms) / 1e3;
            match what {
                0 | 1 => {
                    let mut facts = w.facts(s);
                    facts.hints.pools = vec!["own".into()];
                    if let Decision::Dispatch(d) = w.decide(&facts, &[], s) {
                        let ticket = w.fleet.started(&facts, d, at(s));
                        on.push((facts, ticket));
                    }
                }
                _ if !on.is_empty() => {
                    let (facts, ticket) = on.swap_remove(usize::from(which) % on.len());
                    w.end(&facts, ticket, ok(1000, 10), s);
                }
                _ => {}
            }
            let drawn = w.fleet.status(at(s)).pools[0].watts.unwrap();
            prop_assert!(drawn <= (kw.max(idle_kw)) * 1e3 + 1e-6, "{drawn} W of {kw} kW");
        }
    }
}
