//! Decisions on record: the same with and without, and the same again from the record alone.

use std::collections::BTreeMap;

use rand::RngExt as _;

use super::*;
use crate::policy::record::{DecisionRecord, Outcome, PriceIs, Standing, WhatIf, replay};
use crate::policy::{self, Policy};

fn settings(policy: Policy) -> Settings {
    let usual = Settings::default();
    Settings { choice: policy::Settings { policy, ..usual.choice }, ..usual }
}

/// A catalog in which everything can get in the way.
fn crowded() -> Catalog {
    let mut c = catalog();
    c.pools[0].max_in_flight = Some(12);
    c.pools[1].max_in_flight = Some(6);
    c.pools[2].grants.requests_per_minute = Some(60);
    c.offers[2].context_window = Some(20_000);
    let anchor = at(0.0).wall;
    let (period, length) = (Duration::from_secs(100), Duration::from_secs(80));
    c.pools[2].contact = Some(ContactWindow { period, length, anchor });
    c
}

/// Plays random traffic, failures and operators; every decision is shown to `seen`, on record.
struct Play {
    w: World,
    chance: SmallRng,
    under_way: Vec<(CallFacts, Ticket, Vec<Tried>)>,
    waiting: Vec<(CallFacts, Vec<Tried>)>,
    s: f64,
}

impl Play {
    fn new(policy: Policy, seed: u64) -> Self {
        let mut w = World::with(crowded(), settings(policy), 3);
        w.rng = SmallRng::seed_from_u64(seed);
        let chance = SmallRng::seed_from_u64(seed ^ 0xface);
        Self { w, chance, under_way: Vec::new(), waiting: Vec::new(), s: 0.0 }
    }

    fn step(&mut self, on_record: bool, seen: &mut dyn FnMut(&Decision, Option<DecisionRecord>)) {
        match self.chance.random_range(0..16) {
            0..=6 => {
                let mut facts = self.w.facts(self.s);
                facts.id = CallId(self.chance.random());
                facts.class = ClassId(self.chance.random_range(0..2));
                facts.input_tokens = self.chance.random_range(1..30_000);
                facts.n = self.chance.random_range(1..3);
                facts.stream = self.chance.random();
                facts.session =
                    self.chance.random::<bool>().then(|| SessionKey(self.chance.random_range(0..20)));
                let max_cost = self.chance.random::<f64>() * 0.1;
                facts.hints.max_cost_usd = self.chance.random_ratio(1, 10).then_some(max_cost);
                if facts.class == BACKGROUND {
                    facts.deadline = at(self.s + 900.0).mono;
                }
                self.decide(facts, Vec::new(), on_record, seen);
            }
            7 | 8 if !self.waiting.is_empty() => {
                let i = self.chance.random_range(0..self.waiting.len());
                let (facts, past) = self.waiting.swap_remove(i);
                self.decide(facts, past, on_record, seen);
            }
            9 if !self.under_way.is_empty() => {
                let i = self.chance.random_range(0..self.under_way.len());
                let (facts, ticket, _) = &mut self.under_way[i];
                self.w.fleet.first_token(facts, ticket, at(self.s));
            }
            10 | 11 if !self.under_way.is_empty() => self.end(on_record, seen),
            12 if self.chance.random_ratio(1, 8) => {
                let pool = PoolId(self.chance.random_range(0..3));
                if self.chance.random() {
                    drop(self.w.fleet.drain(pool, at(self.s)));
                } else {
                    drop(self.w.fleet.resume(pool, at(self.s)));
                }
            }
            _ => {
                self.s += self.chance.random::<f64>() * 2.0;
                self.w.fleet.tick(at(self.s));
            }
        }
    }

    fn end(&mut self, on_record: bool, seen: &mut dyn FnMut(&Decision, Option<DecisionRecord>)) {
        let i = self.chance.random_range(0..self.under_way.len());
        let (facts, ticket, mut past) = self.under_way.swap_remove(i);
        let kinds = [
            FailureKind::Connect,
            FailureKind::ServerError,
            FailureKind::Overloaded,
            FailureKind::RateLimited,
            FailureKind::FirstTokenTimeout,
        ];
        let Some(&kind) = kinds.get(self.chance.random_range(0..12)) else {
            self.w.end(&facts, ticket, ok(1000, 80), self.s);
            return;
        };
        past.push(tried(&ticket.dispatch, kind, kind == FailureKind::Connect));
        self.w.end(&facts, ticket, failed(kind), self.s);
        self.decide(facts, past, on_record, seen);
    }

    fn decide(
        &mut self,
        facts: CallFacts,
        past: Vec<Tried>,
        on_record: bool,
        seen: &mut dyn FnMut(&Decision, Option<DecisionRecord>),
    ) {
        let now = at(self.s);
        let (decision, record) = if on_record {
            let (d, r) = self.w.fleet.decide_on_record(&facts, &past, now, &mut self.w.rng);
            (d, Some(r))
        } else {
            (self.w.fleet.decide(&facts, &past, now, &mut self.w.rng), None)
        };
        seen(&decision, record);
        match decision {
            Decision::Dispatch(dispatch) => {
                let ticket = self.w.fleet.started(&facts, dispatch, now);
                self.under_way.push((facts, ticket, past));
            }
            Decision::Wait { .. } => self.waiting.push((facts, past)),
            Decision::Shed(_) => {}
        }
    }
}

const OURS: [Policy; 3] = [Policy::Price, Policy::Ordered, Policy::Weighted];

/// What a record says must be what was decided.
fn agrees(decision: &Decision, record: &DecisionRecord, catalog: &Catalog) {
    match (decision, &record.outcome) {
        (Decision::Dispatch(d), Outcome::Dispatch { pool, endpoint }) => {
            assert_eq!(catalog.pool(d.pool).name, *pool);
            assert_eq!(endpoint.as_ref(), Some(&d.address.origin));
        }
        (Decision::Wait { until, .. }, Outcome::Wait { until_ns, .. }) => assert_eq!(until, until_ns),
        (Decision::Shed(refusal), outcome) => assert_eq!(*outcome, Outcome::shed(refusal)),
        (decision, outcome) => panic!("{decision:?} is on record as {outcome:?}"),
    }
}

#[test]
fn every_recorded_decision_replays_to_the_same_choice_and_the_same_dollars() {
    let mut kinds: BTreeMap<String, u32> = BTreeMap::new();
    for (policy, seed) in OURS.into_iter().flat_map(|policy| (0..4).map(move |seed| (policy, seed))) {
        let mut play = Play::new(policy, seed);
        let catalog = Arc::clone(&play.w.fleet.catalog);
        for _ in 0..1500 {
            play.step(true, &mut |decision, record| {
                let record = record.unwrap();
                agrees(decision, &record, &catalog);
                let line = serde_json::to_string(&record).unwrap();
                let read: DecisionRecord =
                    serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
                assert_eq!(read, record, "nothing is lost on the way through JSON");
                let again = replay(&read, &WhatIf::default()).unwrap();
                assert_eq!(again, record, "policy {}, seed {seed}", policy.name());
                *kinds.entry(kind(&record)).or_default() += 1;
            });
        }
    }
    // The play is only worth something if it has been everywhere.
    for kind in ["dispatch", "retry", "by lot", "held back", "home", "wait for a price", "wait", "shed"] {
        assert!(kinds.get(kind).is_some_and(|n| *n >= 10), "{kind}: {kinds:?}");
    }
}

fn kind(record: &DecisionRecord) -> String {
    let held_back = |o: &crate::policy::record::OfferRecord| {
        o.eligible().is_some_and(|e| e.rank == policy::Rank::HeldBack)
    };
    let name = match &record.outcome {
        Outcome::Wait { reason, .. } if reason == policy::defer::REASON => "wait for a price",
        Outcome::Wait { .. } => "wait",
        Outcome::Shed { .. } => "shed",
        Outcome::Dispatch { .. } if record.offers.iter().any(held_back) => "held back",
        Outcome::Dispatch { .. } if !record.tried.is_empty() => "retry",
        Outcome::Dispatch { .. } if record.margin_usd.is_some_and(|m| m < 0.0) => "by lot",
        Outcome::Dispatch { .. } if record.home.is_some() => "home",
        Outcome::Dispatch { .. } => "dispatch",
    };
    name.to_owned()
}

#[test]
fn a_decision_is_the_same_on_record_and_off() {
    for policy in OURS {
        let decisions = |on_record: bool| {
            let mut play = Play::new(policy, 9);
            let mut all = Vec::new();
            for _ in 0..1000 {
                play.step(on_record, &mut |decision, _| all.push(format!("{decision:?}")));
            }
            all
        };
        assert_eq!(decisions(true), decisions(false), "{}", policy.name());
    }
}

#[test]
fn what_is_decided_before_any_look_does_not_tell_of_the_look_before() {
    let mut w = World::new(catalog(), 1);
    let facts = w.facts(0.0);
    w.go(&facts, 0.0);
    let (decision, record) = w.fleet.decide_on_record(&facts, &[], at(500.0), &mut w.rng);
    assert!(matches!(decision, Decision::Shed(Refusal::DeadlineExceeded { .. })));
    assert_eq!((record.offers.len(), &record.chosen), (0, &None));
    assert_eq!(replay(&record, &WhatIf::default()).unwrap(), record);
}

#[test]
fn a_decision_that_was_thought_of_replays_as_well() {
    let mut w = World::new(catalog(), 2);
    for class in [INTERACTIVE, BACKGROUND] {
        let facts = CallFacts { class, ..w.facts(1.0) };
        let record = w.fleet.consider(&facts, &[], at(1.0));
        assert_eq!(replay(&record, &WhatIf::default()).unwrap(), record);
        assert_eq!(Explanation::of(&record), w.fleet.explain(&facts, at(1.0)));
    }
}

fn recorded() -> DecisionRecord {
    let mut w = World::new(catalog(), 2);
    let facts = w.facts(0.0);
    w.fleet.decide_on_record(&facts, &[], at(0.0), &mut w.rng).1
}

fn went(record: &DecisionRecord) -> &str {
    record.outcome.word()
}

#[test]
fn without_the_chosen_pool_the_runner_up_is_chosen() {
    let record = recorded();
    assert_eq!((went(&record), record.runner_up.as_deref()), ("own", Some("cheap")));
    let without = |pools: &[&str]| WhatIf {
        without: pools.iter().map(|p| Arc::from(*p)).collect(),
        ..WhatIf::default()
    };
    let then = replay(&record, &without(&["own"])).unwrap();
    assert_eq!((went(&then), then.runner_up.as_deref()), ("cheap", Some("dear")));
    let own = then.offers.iter().find(|o| *o.pool == *"own").unwrap();
    assert!(matches!(&own.standing, Standing::Excluded(e) if e.says == "thought away"));
    let then = replay(&record, &without(&["own", "cheap", "dear"])).unwrap();
    let Outcome::Shed { why, message } = &then.outcome else { panic!("{then:?}") };
    assert_eq!(why, "never");
    assert_eq!(message, "no pool for large: own: thought away; cheap: thought away; dear: thought away");
}

#[test]
fn a_price_moves_the_choice_and_keeps_the_discount_of_the_cache() {
    let record = recorded();
    let price = |pool: &str, input: f64, output: f64| WhatIf {
        prices: vec![PriceIs { pool: pool.into(), input, output }],
        ..WhatIf::default()
    };
    // A dollar a token: nobody would.
    let then = replay(&record, &price("own", 1.0, 1.0)).unwrap();
    assert_eq!(went(&then), "cheap");
    let then = replay(&record, &price("cheap", 2e-6, 4e-6)).unwrap();
    let cheap = then.offers.iter().find(|o| *o.pool == *"cheap").unwrap().eligible().unwrap();
    assert!((cheap.quote.prices.cached - 2e-7).abs() < 1e-18);
    let was = record.offers.iter().find(|o| *o.pool == *"cheap").unwrap().eligible().unwrap();
    let more = cheap.terms.money - was.terms.money;
    let output = record.output_tokens();
    assert!((more - (1000.0 * 1.4e-6 + output * 1.6e-6)).abs() < 1e-12, "{more}");
}

#[test]
fn a_call_that_waited_for_a_better_price_goes_when_there_is_nothing_to_save() {
    let mut w = World::new(catalog(), 1);
    // Own capacity that is all taken is worth more than a first bid.
    for _ in 0..80 {
        let facts = w.facts(0.0);
        let _under_way = w.start_at(&facts, OWN, 0.0);
    }
    let mut facts = CallFacts { class: BACKGROUND, ..w.facts(0.0) };
    facts.deadline = at(900.0).mono;
    let (_, record) = w.fleet.decide_on_record(&facts, &[], at(0.0), &mut w.rng);
    assert!(matches!(&record.outcome, Outcome::Wait { reason, .. } if reason == policy::defer::REASON));
    let what_if = WhatIf { without: vec!["cheap".into(), "dear".into()], ..WhatIf::default() };
    assert_eq!(
        went(&replay(&record, &what_if).unwrap()),
        "own",
        "without a provider there is no price to beat"
    );
}

#[test]
fn a_rule_that_remembers_is_recorded_and_not_replayed() {
    use crate::policy::record::CannotReplay;
    use crate::policy::rival::Rule;
    let mut w = World::with(catalog(), settings(Policy::Rival(Rule::RoundRobin)), 1);
    let facts = w.facts(0.0);
    let (_, record) = w.fleet.decide_on_record(&facts, &[], at(0.0), &mut w.rng);
    let read: DecisionRecord = serde_json::from_str(&serde_json::to_string(&record).unwrap()).unwrap();
    assert_eq!(replay(&read, &WhatIf::default()), Err(CannotReplay::Remembers(Rule::RoundRobin)));
}

#[test]
fn a_pool_that_had_no_endpoint_when_it_came_to_it_is_passed_over_again() {
    let mut record = recorded();
    for (i, went) in ["cheap", "dear", "(shed)"].into_iter().enumerate() {
        let Standing::Eligible(eligible) = &mut record.offers[i].standing else { panic!("{record:?}") };
        eligible.no_endpoint = true;
        let again = replay(&record, &WhatIf::default()).unwrap();
        assert_eq!((again.outcome.word(), again.chosen.as_deref()), (went, Some("own")));
    }
}
