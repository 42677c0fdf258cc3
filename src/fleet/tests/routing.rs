use super::*;

use crate::policy::Policy;

#[test]
fn idle_owned_capacity_is_taken_first_and_the_reason_says_so() {
    let mut w = World::new(catalog(), 2);
    let facts = w.facts(0.0);
    let d = w.go(&facts, 0.0);
    assert_eq!(d.pool, OWN);
    assert_eq!(d.expected_usd, 0.0);
    assert!((d.expected_ttft.as_secs_f64() - 0.17).abs() < 1e-6, "{:?}", d.expected_ttft);
    assert!((d.work_s - 0.1).abs() < 1e-9 && d.expected_output == 256);
    assert_eq!((d.reason.policy, &*d.reason.pool), ("price", "own"));
    assert_eq!(d.reason.runner_up.as_ref().map(|r| &*r.0), Some("cheap"));
}

#[test]
fn a_full_cluster_spills_to_the_cheaper_cloud() {
    let mut w = World::new(catalog(), 1);
    let mut pools = Vec::new();
    for i in 0..200 {
        let now = f64::from(i) * 0.2;
        let facts = w.facts(now);
        let mut t = w.start(&facts, now);
        w.fleet.first_token(&facts, &mut t, at(now + 0.1));
        pools.push(t.dispatch.pool);
        std::mem::drop(t);
    }
    assert!(pools[..30].iter().all(|p| *p == OWN));
    let own = pools.iter().filter(|p| **p == OWN).count();
    assert!((40..75).contains(&own), "of 64 slots {own} were used");
    assert!(pools[190..].iter().all(|p| *p == CHEAP), "{:?}", &pools[190..]);
}

#[test]
fn a_pools_own_limit_makes_it_scarce_too() {
    let mut c = catalog();
    c.pools[0].max_in_flight = Some(10);
    let mut w = World::new(c, 1);
    let mut pools = Vec::new();
    for i in 0..30 {
        let now = f64::from(i) * 0.2;
        let facts = w.facts(now);
        let mut t = w.start(&facts, now);
        w.fleet.first_token(&facts, &mut t, at(now + 0.1));
        pools.push(t.dispatch.pool);
    }
    let own = pools.iter().filter(|p| **p == OWN).count();
    assert!((7..=10).contains(&own) && pools.last() == Some(&CHEAP), "{own}");
}

#[test]
fn o05_background_leaves_scarce_capacity_to_those_who_pay_for_lateness() {
    let mut w = World::new(catalog(), 1);
    let mut left = None;
    for i in 0..64 {
        let now = f64::from(i) * 0.2;
        let facts = w.facts(now);
        let background = CallFacts { class: BACKGROUND, ..facts.clone() };
        let mut goes = |facts: &CallFacts| w.fleet.explain(facts, at(now)).rows[0].pool.to_string();
        let (mine, theirs) = (goes(&facts), goes(&background));
        if theirs != "own" {
            assert_eq!((mine.as_str(), theirs.as_str()), ("own", "cheap"));
            left = Some(i);
            break;
        }
        let mut t = w.start_at(&facts, OWN, now);
        w.fleet.first_token(&facts, &mut t, at(now + 0.1));
    }
    assert!(left.is_some_and(|n| n > 40), "background never left: {left:?}");
}

#[test]
fn p30_every_exclusion_has_its_name() {
    let mut c = catalog();
    c.offers[0].context_window = Some(500);
    c.offers[2].capabilities = Capabilities::CHAT;
    c.pools[2].region = Some("south".into());
    let mut w = World::new(c, 1);
    let mut facts = w.facts(0.0);
    facts.needs = Capabilities::CHAT.with(Capabilities::TOOLS);
    facts.hints.regions = vec!["north".into()];
    let e = w.fleet.explain(&facts, at(0.0));
    let names: Vec<_> = e
        .rows
        .iter()
        .map(|r| match &r.standing {
            explain::Standing::Excluded { name, .. } => *name,
            explain::Standing::Eligible { .. } => "eligible",
        })
        .collect();
    assert_eq!(names, ["context", "capability", "region_hint"]);
    let Decision::Shed(Refusal::NoPool { message, permanent, .. }) = w.decide(&facts, &[], 0.0) else {
        panic!()
    };
    assert!(permanent);
    assert_eq!(
        message,
        "no pool for large: own: needs 900 tokens, the context holds 500; cheap: cannot do tools; \
         dear: not in the regions asked for"
    );
}

#[test]
fn n17_a_pool_far_away_is_used_where_the_target_allows_it_and_its_tries_have_their_time() {
    let mut c = catalog();
    c.pools[0].rtt_prior = Duration::from_secs(3);
    c.classes[1].finish_target = Some(Duration::from_secs(900));
    let mut w = World::new(c, 1);
    let interactive = w.facts(0.0);
    assert_ne!(w.go(&interactive, 0.0).pool, OWN, "a first token is due within a second");
    let background = CallFacts { class: BACKGROUND, deadline: at(900.0).mono, ..w.facts(0.0) };
    let far = w.go(&background, 0.0);
    assert_eq!(far.pool, OWN);
    assert!(far.expected_ttft > Duration::from_secs(3) && far.ttft_limit > 2 * far.expected_ttft, "{far:?}");
    let mut c = catalog();
    c.pools[0].rtt_prior = Duration::from_millis(200);
    let mut w = World::new(c, 1);
    let interactive = w.facts(0.0);
    assert_eq!(w.go(&interactive, 0.0).pool, OWN);
}

#[test]
fn hints_are_obeyed() {
    let mut w = World::new(catalog(), 1);
    let mut facts = w.facts(0.0);
    facts.hints.pools = vec!["dear".into()];
    assert_eq!(w.go(&facts, 0.0).pool, DEAR);
    facts.hints.max_cost_usd = Some(1e-6);
    assert!(matches!(w.decide(&facts, &[], 0.0), Decision::Shed(Refusal::NoPool { permanent: true, .. })));
    facts.hints.pools.clear();
    assert_eq!(w.go(&facts, 0.0).pool, OWN);
}

#[test]
fn a_limit_on_output_counts_into_context_and_cost() {
    let mut w = World::new(catalog(), 1);
    let mut facts = w.facts(0.0);
    facts.max_tokens = Some(131_000);
    assert!(matches!(w.decide(&facts, &[], 0.0), Decision::Shed(Refusal::NoPool { permanent: true, .. })));
    facts.max_tokens = Some(100_000);
    facts.hints =
        Hints { max_cost_usd: Some(0.3), pools: vec!["cheap".into(), "dear".into()], regions: vec![] };
    assert_eq!(w.go(&facts, 0.0).pool, CHEAP);
}

#[test]
fn ordered_follows_the_order_and_weighted_the_weights() {
    let mut settings = Settings::default();
    settings.choice.policy = Policy::Ordered;
    let mut c = catalog();
    c.pools[2].order = 0;
    c.pools[0].order = 5;
    let mut w = World::with(c, settings, 1);
    let facts = w.facts(0.0);
    let d = w.go(&facts, 0.0);
    assert_eq!((d.pool, d.reason.to_string().as_str()), (DEAR, "ordered: dear < cheap"));

    settings.choice.policy = Policy::Weighted;
    let mut w = World::with(catalog(), settings, 1);
    let mut counts = [0; 3];
    for _ in 0..4000 {
        let facts = w.facts(0.0);
        counts[w.go(&facts, 0.0).pool.index()] += 1;
    }
    assert!((900..1100).contains(&counts[0]) && counts[2] == 0, "{counts:?}");
    for p in [OWN, CHEAP] {
        w.fleet.drain(p, at(0.0));
    }
    let facts = w.facts(0.0);
    assert_eq!(w.go(&facts, 0.0).pool, DEAR, "weight 0 comes when nobody else can");
}

#[test]
fn near_equal_totals_are_drawn_by_lot() {
    let mut c = catalog();
    c.pools[2].engine_prior = c.pools[1].engine_prior;
    c.offers[4].prices = c.offers[2].prices;
    let mut w = World::new(c, 1);
    w.fleet.drain(OWN, at(0.0));
    let mut counts = [0; 3];
    for _ in 0..1000 {
        let facts = w.facts(0.0);
        counts[w.go(&facts, 0.0).pool.index()] += 1;
    }
    assert!(counts[1] > 400 && counts[2] > 400, "{counts:?}");
}

#[test]
fn a_warm_session_stays_until_leaving_is_worth_it() {
    let mut w = World::new(catalog(), 4);
    let mut facts = w.facts(0.0);
    facts.session = Some(SessionKey(42));
    facts.input_tokens = 20_000;
    facts.hints.pools = vec!["cheap".into()];
    let first = w.start(&facts, 0.0);
    let home = first.dispatch.endpoint;
    w.end(&facts, first, ok(20_000, 500), 5.0);
    facts.hints.pools = vec!["cheap".into(), "dear".into()];
    facts.deadline = at(1000.0).mono;
    for i in 0..20 {
        let d = w.go(&facts, 6.0 + f64::from(i) * 0.1);
        assert_eq!((d.pool, d.endpoint), (CHEAP, home));
        // 70 % of the prefix is expected in the cache.
        assert!((d.work_s - 0.6).abs() < 1e-6, "{}", d.work_s);
    }
    let e = w.fleet.explain(&facts, at(8.0));
    let explain::Standing::Eligible { terms, .. } = &e.rows[1].standing else { panic!() };
    assert!(terms.switching > 0.0);
    // After the cache's life nothing binds it any more.
    assert!((w.go(&facts, 400.0).work_s - 2.0).abs() < 1e-9);
}

#[test]
fn work_is_spread_in_seconds_over_endpoints() {
    let mut w = World::alone(4);
    let mut long = w.facts(0.0);
    long.input_tokens = 50_000;
    let busy = w.start(&long, 0.0).dispatch.endpoint;
    for _ in 0..12 {
        let facts = w.facts(0.0);
        let t = w.start(&facts, 0.0);
        assert_ne!(
            t.dispatch.endpoint, busy,
            "five seconds of prefill are worth more than three short calls"
        );
    }
}

#[test]
fn a_large_pool_is_sampled_and_all_of_it_gets_work() {
    let mut w = World::alone(64);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..600 {
        let facts = w.facts(0.0);
        seen.insert(w.start(&facts, 0.0).dispatch.endpoint);
    }
    assert!(seen.len() > 60, "{}", seen.len());
}

#[test]
fn the_same_seed_decides_the_same() {
    let run = || {
        let mut w = World::new(catalog(), 5);
        let mut log = Vec::new();
        for i in 0..300 {
            let facts = w.facts(f64::from(i) * 0.05);
            let t = w.start(&facts, f64::from(i) * 0.05);
            log.push((t.dispatch.offer, t.dispatch.endpoint, t.dispatch.ttft_limit));
            let kind = if i % 7 == 0 { failed(FailureKind::ServerError) } else { ok(1000, 50) };
            w.end(&facts, t, kind, f64::from(i) * 0.05 + 0.5);
        }
        log
    };
    assert_eq!(run(), run());
}

#[test]
fn an_explanation_agrees_with_the_decision_and_prints_a_table() {
    let mut w = World::new(catalog(), 2);
    w.fleet.drain(DEAR, at(0.0));
    let facts = w.facts(0.0);
    let e = w.fleet.explain(&facts, at(0.0));
    let d = w.go(&facts, 0.0);
    assert_eq!(e.rows[0].pool, d.reason.pool);
    let text = e.to_string();
    assert!(
        text.contains("> own") && text.contains("drained") && text.contains("dispatch to own (price: own"),
        "{text}"
    );
    let widths: Vec<_> = text.lines().filter(|l| l.ends_with('%')).map(str::len).collect();
    assert!(widths.windows(2).all(|w| w[0] == w[1]), "{text}");
}

#[test]
fn k06_a_router_that_has_just_begun_holds_nothing_against_anybody_and_fills_all_endpoints_alike() {
    let mut w = World::new(catalog(), 4);
    assert!(w.fleet.status(at(0.0)).pools.iter().all(|p| p.state == "healthy"));
    let mut sent = std::collections::BTreeMap::new();
    for i in 0..100u32 {
        let now = f64::from(i) * 1e-3;
        let facts = w.facts(now);
        let ticket = w.start(&facts, now);
        *sent.entry((ticket.dispatch.pool, ticket.dispatch.endpoint)).or_insert(0) += 1;
    }
    let most = sent.values().max().unwrap();
    assert!(sent.len() >= 4 && *most <= 35, "all came at once and went there: {sent:?}");
}
