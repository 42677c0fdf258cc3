use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::place::{Backlog, Job, Load};
use super::retry::{Past, kinship};
use super::*;
use crate::domain::{FailureKind, Instant, OfferId, PoolId};
use proptest::prelude::*;

fn at(s: f64) -> Instant {
    Instant::from_secs_f64(s)
}

fn candidate(i: u16, usd: f64, rank: Rank) -> Candidate {
    let quote = Quote {
        prices: TokenPrices::default(),
        cached: 0.0,
        ttft_s: 0.5,
        finish_s: 5.0,
        p_miss: 0.0,
        p_err: 0.01,
        slot_s: 0.0,
        prefill_s: 0.0,
        grants_usd: 0.0,
        energy_usd: 0.0,
        shadow: Shadow::default(),
    };
    let terms = Terms { money: usd, ..Terms::default() };
    Candidate {
        offer: OfferId(i),
        pool: PoolId(i),
        rank,
        quote,
        terms,
        order: u32::from(i),
        weight: 1.0,
        key: i.into(),
    }
}

/// The first number of that seed.
fn lot(seed: u64) -> impl FnOnce() -> f64 {
    move || SmallRng::seed_from_u64(seed).random()
}

fn past(pool: u16, kind: FailureKind, unprocessed: bool) -> Past {
    let (offer, pool) = (OfferId(pool), PoolId(pool));
    Past { offer, pool, same_domain: false, window_as_large: false, kind, unprocessed }
}

fn congested(slots: f64, backlog_s: f64) -> Shadow {
    shadow::of_own(Congestion { slots, backlog_s }, 1e-4, 10.0, &shadow::Settings::default())
}

#[test]
fn at_the_set_point_a_slot_second_is_worth_what_it_saves_elsewhere() {
    let s = shadow::Settings::default();
    let at_target = congested(s.slots_target, 0.0).slot_usd_per_s;
    assert!((at_target - 1e-4).abs() < 1e-9);
    assert!(congested(0.2, 0.0).slot_usd_per_s < 1e-8, "idle capacity is next to free");
    assert!(congested(1.2, 0.0).slot_usd_per_s > 1e-2, "a full pool is dearer than any provider");
}

#[test]
fn a_better_rank_beats_a_better_price() {
    let c = [candidate(0, 0.001, Rank::SamePool), candidate(1, 0.9, Rank::Fresh)];
    let chosen = choose(&c, &Settings::default(), lot(1)).unwrap();
    assert_eq!((chosen.best, chosen.runner_up), (1, Some(0)));
}

#[test]
fn what_is_dearer_by_more_than_the_tie_is_never_drawn() {
    let c = [candidate(0, 0.00100, Rank::Fresh), candidate(1, 0.00104, Rank::Fresh)];
    for seed in 0..1000 {
        assert_eq!(choose(&c, &Settings::default(), lot(seed)).unwrap().best, 0);
    }
}

#[test]
fn nobody_is_nobody() {
    assert_eq!(choose(&[], &Settings::default(), lot(1)), None);
}

#[test]
fn past_tries_are_near_or_far() {
    let near = |p: &[Past]| kinship(p.iter().copied(), OfferId(0), PoolId(0));
    assert_eq!(near(&[]), Ok(Kinship::None));
    assert_eq!(near(&[past(1, FailureKind::ServerError, false)]), Ok(Kinship::None));
    let domain = Past { same_domain: true, ..past(1, FailureKind::ServerError, false) };
    assert_eq!(near(&[domain]), Ok(Kinship::Domain));
    assert_eq!(near(&[past(0, FailureKind::Disconnected, true)]), Ok(Kinship::PoolUnprocessed));
    assert_eq!(near(&[past(0, FailureKind::Connect, true)]), Ok(Kinship::Pool));
    let both = [past(0, FailureKind::Disconnected, true), past(0, FailureKind::ServerError, false), domain];
    assert_eq!(near(&both), Ok(Kinship::Pool));
    assert_eq!(near(&[past(0, FailureKind::Credentials, false)]), Err(Exclusion::AlreadyTried));
    let long = Past { window_as_large: true, ..past(1, FailureKind::ContextTooLong, false) };
    assert_eq!(near(&[long]), Err(Exclusion::RefusedAsTooLong));
}

#[test]
fn a_backlog_is_what_is_neither_seen_nor_by_the_clock_done() {
    let mut b = Backlog::NONE;
    b.add(2.0, 1.5, 1.0, at(10.0));
    assert!((b.seconds(1.5, 1.0, at(10.0)) - 3.0).abs() < 1e-9);
    assert!((b.seconds(1.5, 1.0, at(12.0)) - 1.0).abs() < 1e-9);
    assert_eq!(b.seconds(1.5, 1.0, at(20.0)), 0.0);
    b.done(2.0);
    assert_eq!(b.seconds(1.5, 1.0, at(10.0)), 0.0);
}

#[test]
fn a_warm_endpoint_may_be_busier_by_what_its_cache_saves() {
    let job = |full_s, warm_s| Job {
        base_s: 0.1,
        full_s,
        warm_s,
        fixed_s: 0.0,
        stretch: 1.0,
        slots: 64.0,
        hold_s: 5.0,
        next_turn: 0.5,
        now: at(0.0),
    };
    let mut busy = Load::IDLE;
    busy.sent(1.0, 1.0, at(0.0));
    let idle = Load::IDLE;
    let long = job(2.0, 0.2);
    assert!(busy.glance(&long, true).cost_s < idle.glance(&long, false).cost_s);
    let short = job(0.2, 0.02);
    assert!(busy.glance(&short, true).cost_s > idle.glance(&short, false).cost_s);
}

proptest! {
    /// The choice is among the best rank and within the tie of the cheapest, whatever the prices.
    #[test]
    fn the_choice_is_never_dearer_than_the_tie_allows(
        usd in prop::collection::vec(0.0f64..0.01, 1..20), ranks in prop::collection::vec(0u8..3, 20), seed: u64,
    ) {
        let rank = |i: usize| [Rank::Fresh, Rank::SameDomain, Rank::HeldBack][usize::from(ranks[i])];
        let c: Vec<_> = usd.iter().enumerate().map(|(i, u)| candidate(i as u16, *u, rank(i))).collect();
        let s = Settings::default();
        let chosen = choose(&c, &s, lot(seed)).unwrap();
        let best = c.iter().map(|c| c.rank).min().unwrap();
        let least = c.iter().filter(|c| c.rank == best).map(|c| c.terms.total()).fold(f64::MAX, f64::min);
        prop_assert_eq!(c[chosen.best].rank, best);
        prop_assert!(c[chosen.best].terms.total() <= least + (least * 0.03).max(1e-6) + 1e-12);
        prop_assert!(chosen.runner_up != Some(chosen.best));
        prop_assert_eq!(chosen.runner_up.is_none(), c.len() == 1);
    }

    /// More headroom never raises a shadow price, and no price is negative.
    #[test]
    fn shadow_prices_never_fall_with_congestion(
        (a, b) in (0.0f64..2.0, 0.0f64..2.0), (v, w) in (0.0f64..9.0, 0.0f64..9.0),
    ) {
        let (less, more) = (congested(a.min(b), v.min(w)), congested(a.max(b), v.max(w)));
        prop_assert!(less.slot_usd_per_s >= 0.0 && less.prefill_usd_per_s >= 0.0);
        prop_assert!(less.slot_usd_per_s <= more.slot_usd_per_s);
        prop_assert!(less.prefill_usd_per_s <= more.prefill_usd_per_s);
    }
}
