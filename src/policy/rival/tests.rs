//! What makes each rule the rule that it is.

use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;

use super::*;
use crate::domain::*;
use crate::policy::{CallView, Candidate, Chosen, Quote, Rank, Terms, TokenPrices};

fn at(s: f64) -> Instant {
    Instant::from_secs_f64(s)
}

fn candidate(i: u16, usd: f64, ttft_s: f64) -> Candidate {
    let quote = Quote {
        prices: TokenPrices::default(),
        cached: 0.0,
        ttft_s,
        finish_s: ttft_s + 5.0,
        p_miss: 0.0,
        p_err: 0.01,
        slot_s: 0.0,
        prefill_s: 0.0,
        grants_usd: 0.0,
        energy_usd: 0.0,
        shadow: crate::policy::Shadow::default(),
    };
    let terms = Terms { money: usd, ..Terms::default() };
    let (offer, pool) = (OfferId(i), PoolId(i));
    Candidate {
        offer,
        pool,
        rank: Rank::Fresh,
        quote,
        terms,
        order: u32::from(i),
        weight: 1.0,
        key: i.into(),
    }
}

const IDLE: Seen = Seen { owned: false, in_flight: 0, slots: 64.0, backlog_s: 0.0 };
const OWN: Seen = Seen { owned: true, ..IDLE };

fn busy(in_flight: u32) -> Seen {
    Seen { in_flight, ..IDLE }
}

/// A rule, what it remembers, and the pools: own for nothing, cheap and slow, dear and fast.
struct World {
    memory: Memory,
    candidates: Vec<Candidate>,
    seen: Vec<Seen>,
    class: Class,
    now: f64,
    rng: SmallRng,
}

impl World {
    fn new(rule: Rule) -> Self {
        Self {
            memory: Memory::new(rule, 3, at(0.0)),
            candidates: vec![candidate(0, 0.0, 0.2), candidate(1, 0.001, 0.7), candidate(2, 0.002, 0.5)],
            seen: vec![OWN, IDLE, IDLE],
            class: class(Some(1), None),
            now: 0.0,
            rng: SmallRng::seed_from_u64(3),
        }
    }

    fn choose(&mut self) -> Option<Chosen> {
        let facts = facts();
        let now = Now { mono: at(self.now), wall: Timestamp::from_millis(0) };
        let call = CallView::new(&facts, &self.class, 100.0, now);
        self.memory.choose(&self.candidates, &self.seen, &call, &mut self.rng)
    }

    /// The offer chosen.
    fn best(&mut self) -> u16 {
        let chosen = self.choose().unwrap();
        self.candidates[chosen.best].offer.0
    }

    /// The same, and it is sent to.
    fn go(&mut self) -> u16 {
        let offer = self.best();
        self.sent(offer);
        offer
    }

    fn sent(&mut self, offer: u16) {
        let all: Vec<_> = self.candidates.iter().map(|c| c.offer).zip(self.seen.iter().copied()).collect();
        self.memory.sent(OfferId(offer), all.into_iter(), at(self.now));
    }

    fn heard(&mut self, offer: u16, event: Event) {
        let seen = self.seen[usize::from(offer)];
        self.memory.heard(OfferId(offer), event, &seen, at(self.now));
    }
}

fn class(ttft: Option<u64>, finish: Option<u64>) -> Class {
    Class {
        name: "c".into(),
        ttft_target: ttft.map(Duration::from_secs),
        finish_target: finish.map(Duration::from_secs),
        miss_usd: 0.01,
        deadline: Duration::from_secs(120),
        ..crate::domain::plain::class()
    }
}

fn facts() -> CallFacts {
    CallFacts { stream: true, arrived: at(0.0), deadline: at(120.0), ..crate::domain::plain::facts() }
}

#[test]
fn every_rule_has_a_name_and_a_small_grid_that_begins_as_its_source() {
    for rule in Rule::ALL {
        assert_eq!(Rule::named(rule.name()), Some(rule));
        let grid = rule.grid();
        assert_eq!(grid[0], rule);
        assert!(grid.len() <= 6 && grid.iter().all(|r| r.name() == rule.name()));
        let mut texts: Vec<_> = grid.iter().map(Rule::to_string).collect();
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), grid.len(), "settings can be told apart: {texts:?}");
    }
    assert_eq!(Rule::named("magic"), None);
}

#[test]
fn round_robin_takes_turns() {
    let mut w = World::new(Rule::RoundRobin);
    let first: Vec<_> = (0..3).map(|_| w.go()).collect();
    let mut each = first.clone();
    each.sort_unstable();
    assert_eq!(each, [0, 1, 2]);
    for _ in 0..5 {
        assert_eq!((0..3).map(|_| w.go()).collect::<Vec<_>>(), first);
    }
}

#[test]
fn round_robin_gives_a_pool_that_comes_back_its_turn_and_no_more() {
    let mut w = World::new(Rule::RoundRobin);
    let out = (w.candidates.remove(2), w.seen.remove(2));
    for _ in 0..10 {
        w.go();
    }
    w.candidates.push(out.0);
    w.seen.push(out.1);
    assert_eq!(w.go(), 2);
    assert_ne!(w.go(), 2);
    assert_ne!(w.go(), 2);
    assert_eq!(w.go(), 2);
}

#[test]
fn least_busy_counts_calls_or_how_full_a_pool_is() {
    let mut w = World::new(Rule::LeastBusy(LeastBusy::USUAL));
    w.seen = vec![Seen { slots: 1000.0, ..busy(30) }, Seen { slots: 40.0, ..busy(20) }, busy(60)];
    assert_eq!(w.go(), 1);
    w.memory = Memory::new(Rule::LeastBusy(LeastBusy { per: Per::Slot }), 3, at(0.0));
    assert_eq!(w.go(), 0);
}

#[test]
fn lowest_latency_tries_the_unknown_and_then_stays_with_the_fastest() {
    let mut w = World::new(Rule::LowestLatency(LowestLatency::USUAL));
    w.heard(0, Event::FirstToken(0.3));
    w.heard(1, Event::FirstToken(0.8));
    assert_eq!(w.go(), 2, "what was never used counts as instant");
    w.heard(2, Event::FirstToken(0.5));
    assert_eq!(w.go(), 0);
    w.heard(0, Event::TimedOut(2.0));
    assert_eq!(w.go(), 2, "a timeout counts as a thousand seconds");
    w.now = 4000.0;
    let after_an_hour: std::collections::BTreeSet<_> = (0..50).map(|_| w.go()).collect();
    assert_eq!(after_an_hour.len(), 3);
}

#[test]
fn lowest_latency_draws_among_those_within_its_buffer() {
    let mut w = World::new(Rule::LowestLatency(LowestLatency { buffer: 0.5, ..LowestLatency::USUAL }));
    for (offer, s) in [(0, 0.30), (1, 0.46), (2, 0.44)] {
        w.heard(offer, Event::FirstToken(s));
    }
    let drawn: std::collections::BTreeSet<_> = (0..50).map(|_| w.go()).collect();
    assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [0, 2]);
}

#[test]
fn cheapest_goes_to_the_next_price_when_the_first_is_out() {
    let mut w = World::new(Rule::Cheapest);
    w.seen[0].in_flight = 10_000;
    assert_eq!(w.go(), 0, "it does not look at the load");
    w.candidates.remove(0);
    w.seen.remove(0);
    assert_eq!(w.go(), 1);
    w.candidates.remove(0);
    w.seen.remove(0);
    assert_eq!(w.go(), 2);
}

#[test]
fn peak_ewma_prefers_the_idle_of_two_equals() {
    let mut w = World::new(Rule::PeakEwma(PeakEwma::USUAL));
    w.candidates.truncate(2);
    w.seen = vec![busy(5), busy(0)];
    w.heard(0, Event::FirstToken(0.4));
    w.heard(1, Event::FirstToken(0.4));
    for _ in 0..20 {
        assert_eq!(w.go(), 1);
    }
}

#[test]
fn peak_ewma_takes_a_worse_time_at_once_and_forgets_it_with_time() {
    let mut w = World::new(Rule::PeakEwma(PeakEwma::USUAL));
    w.candidates.truncate(2);
    w.seen.truncate(2);
    w.heard(0, Event::FirstToken(0.4));
    w.heard(1, Event::FirstToken(0.2));
    w.heard(1, Event::FirstToken(1.0));
    assert_eq!(w.go(), 0);
    w.now = 20.0;
    w.heard(0, Event::FirstToken(0.4));
    assert_eq!(w.go(), 1, "e^-2 of a second is less than 0.4 s");
}

#[test]
fn peak_ewma_compares_no_more_than_it_drew() {
    let mut w = World::new(Rule::PeakEwma(PeakEwma::USUAL));
    for (offer, s) in [(0, 0.1), (1, 0.2), (2, 0.3)] {
        w.heard(offer, Event::FirstToken(s));
    }
    let drawn: std::collections::BTreeSet<_> = (0..50).map(|_| w.go()).collect();
    assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [0, 1], "the worst of three wins no draw of two");
}

#[test]
fn prequal_takes_the_fastest_of_the_cold() {
    let mut w = World::new(Rule::Prequal(Prequal::USUAL));
    w.seen = vec![busy(9), busy(3), busy(4)];
    w.sent(0);
    for (offer, s) in [(0, 0.1), (1, 0.9), (2, 0.4)] {
        w.heard(offer, Event::FirstToken(s));
    }
    assert_eq!(w.go(), 0, "nine is the quantile, not above it");
    w.seen[0].in_flight = 10;
    assert_eq!(w.go(), 2);
    w.seen = vec![busy(30), busy(20), busy(25)];
    assert_eq!(w.choose().unwrap().best, 1, "all hot: the fewest in flight");
}

#[test]
fn prequal_expects_what_was_measured_near_the_present_load() {
    let mut w = World::new(Rule::Prequal(Prequal::USUAL));
    for _ in 0..10 {
        w.seen[0].in_flight = 2;
        w.heard(0, Event::FirstToken(0.1));
        w.seen[0].in_flight = 60;
        w.heard(0, Event::FirstToken(0.9));
    }
    w.seen[0].in_flight = 3;
    assert_eq!(w.choose().unwrap().best, 0);
    w.seen[0].in_flight = 50;
    assert_eq!(w.choose().unwrap().best, 2, "0.9 s is more than the 0.5 s that the third promises");
}

#[test]
fn spill_keeps_own_until_full() {
    let mut w = World::new(Rule::Spill(Spill::USUAL));
    w.seen[0].in_flight = 63;
    assert_eq!(w.go(), 0);
    w.seen[0].in_flight = 64;
    assert_eq!(w.go(), 1, "the cheapest by the token");
    w.seen[0] = Seen { in_flight: 1, backlog_s: 0.5, ..OWN };
    assert_eq!(w.go(), 1, "a queue of prefill fills it too");
    (w.candidates, w.seen) = (vec![w.candidates[0]], vec![w.seen[0]]);
    assert_eq!(w.go(), 0, "nobody else: then it waits there");
}

#[test]
fn spill_slo_leaves_out_who_misses_the_target() {
    let mut w = World::new(Rule::SpillSlo(SpillSlo::USUAL));
    assert_eq!(w.go(), 0);
    w.candidates[0].quote.ttft_s = 1.2;
    assert_eq!(w.go(), 1, "own would be late");
    w.candidates[1].quote.ttft_s = 1.1;
    assert_eq!(w.go(), 2);
    w.candidates[2].quote.ttft_s = 1.3;
    assert_eq!(w.go(), 1, "all late: the fastest");
}

#[test]
fn spill_slo_believes_what_it_observed() {
    let observed = Rule::SpillSlo(SpillSlo::USUAL);
    let predicted = Rule::SpillSlo(SpillSlo { evidence: Evidence::Predicted, ..SpillSlo::USUAL });
    for (rule, expected) in [(observed, 2), (predicted, 1)] {
        let mut w = World::new(rule);
        w.seen[0].in_flight = 64;
        for i in 0..40 {
            w.heard(1, Event::FirstToken(if i % 10 == 0 { 1.5 } else { 0.6 }));
        }
        assert_eq!(w.go(), expected, "one in ten came late");
        w.now = 31.0;
        assert_eq!(w.go(), 1, "that was long ago");
    }
}

#[test]
fn spill_slo_keeps_background_calls_at_home_while_they_will_finish() {
    let mut w = World::new(Rule::SpillSlo(SpillSlo::USUAL));
    w.class = class(None, Some(900));
    w.seen[0] = Seen { in_flight: 200, backlog_s: 30.0, ..OWN };
    w.candidates[0].quote.finish_s = 60.0;
    assert_eq!(w.go(), 0);
    w.candidates[0].quote.finish_s = 500.0;
    assert_eq!(w.go(), 1);
}

#[test]
fn a_better_rank_goes_first_under_every_rule() {
    for rule in Rule::ALL {
        let mut w = World::new(rule);
        w.candidates[0].rank = Rank::SamePool;
        w.candidates[1].rank = Rank::HeldBack;
        for _ in 0..10 {
            assert_eq!(w.go(), 2, "{rule}");
        }
        (w.candidates, w.seen) = (vec![], vec![]);
        assert_eq!(w.choose(), None);
    }
}

proptest! {
    #[test]
    fn prequal_never_picks_a_hot_pool_while_a_cold_one_exists(
        past in prop::collection::vec(0u32..100, 3..60), now in prop::collection::vec(0u32..100, 3),
        seconds in prop::collection::vec(0.01f64..3.0, 3), seed: u64,
    ) {
        let mut w = World::new(Rule::Prequal(Prequal::USUAL));
        w.rng = SmallRng::seed_from_u64(seed);
        for three in past.chunks_exact(3) {
            w.seen = three.iter().map(|n| busy(*n)).collect();
            w.sent(0);
        }
        for (i, s) in seconds.iter().enumerate() {
            w.heard(i as u16, Event::FirstToken(*s));
        }
        w.seen = now.iter().map(|n| busy(*n)).collect();
        let hot_from = w.memory.hot_from(Prequal::USUAL.quantile);
        let hot = |i: usize| f64::from(now[i]) > hot_from;
        let best = w.choose().unwrap().best;
        prop_assert!(!hot(best) || (0..3).all(hot));
    }

    /// The order of the pools in the config decides nothing, but for draws.
    #[test]
    fn the_order_of_pools_does_not_matter(
        loads in prop::sample::subsequence((0u32..80).collect::<Vec<_>>(), 3).prop_shuffle(),
        usd in prop::collection::vec(0.0001f64..0.01, 3), ttft in prop::collection::vec(0.05f64..2.0, 3),
        owned: bool, turned in 0usize..3,
    ) {
        for rule in Rule::ALL.into_iter().filter(|r| *r != Rule::RoundRobin) {
            let mut w = World::new(match rule {
                // Two drawn of three are a draw; all three are none.
                Rule::PeakEwma(r) => Rule::PeakEwma(PeakEwma { choices: 3, ..r }),
                rule => rule,
            });
            w.candidates = (0..3).map(|i| candidate(i as u16, usd[i], ttft[i])).collect();
            w.seen = loads.iter().map(|n| busy(*n)).collect();
            w.seen[0].owned = owned;
            w.sent(0);
            for (i, s) in ttft.iter().enumerate() {
                w.heard(i as u16, Event::FirstToken(s * 0.9));
            }
            let before = w.best();
            w.candidates.rotate_left(turned);
            w.seen.rotate_left(turned);
            prop_assert_eq!(before, w.best(), "{}", rule);
        }
    }
}
