//! What the faults did to the load: who took it, how often it was tried, how long it took, what it cost.

use super::seen::quantile;
use super::{Evidence, Phases};
use crate::call::AttemptResult;
use crate::domain::{ClassId, Duration, Instant, PoolId};
use crate::drill::findings::{Cost, Latency, Overflow, PoolLoad, Quantiles, Retries, rounded};
use crate::drill::journal::{Account, Journal};

/// Less than this much more, of all calls, is chance and not overflow.
const EXTRA_MIN: f64 = 0.02;

pub(super) fn latency(evidence: &Evidence<'_>, phases: Phases) -> Vec<Latency> {
    let classes = evidence.drill.config.catalog.classes.iter().enumerate();
    let row = |(i, class): (usize, &crate::domain::Class)| {
        let id = ClassId(i as u8);
        let of = |journal: &Journal, from: Instant, to: Instant| {
            let mine = journal.calls.iter().filter(|c| c.class == id && from <= c.sent && c.sent < to);
            let mut all: Vec<f64> = mine.filter_map(|c| Some(c.first?.secs_since(c.sent) * 1e3)).collect();
            all.sort_unstable_by(f64::total_cmp);
            let rank = |q: f64| quantile(&all, q).map(|ms| rounded(ms, 1));
            Quantiles { n: all.len() as u64, p50: rank(0.5), p95: rank(0.95), p99: rank(0.99) }
        };
        let before = of(evidence.journal, Instant::START, phases.begins);
        let during = of(evidence.journal, phases.begins, phases.ends);
        let without = evidence.without.map_or_else(Quantiles::default, |w| of(w, phases.begins, phases.ends));
        let added = during.p99.zip(before.p99).map(|(during, before)| rounded(during - before, 1));
        Latency { class: class.name.to_string(), before, during, without, added_p99_ms: added }
    };
    classes.map(row).filter(|row| row.before.n + row.during.n > 0).collect()
}

pub(super) fn retries(journal: &Journal, phases: Phases) -> Retries {
    let mean = |mine: &dyn Fn(&Account) -> bool| {
        let tried = journal.accounts.iter().filter(|a| !a.attempts.is_empty() && mine(a));
        let (calls, attempts) =
            tried.fold((0_u64, 0_u64), |(calls, sum), a| (calls + 1, sum + a.attempts.len() as u64));
        (attempts, if calls == 0 { 0.0 } else { rounded(attempts as f64 / calls as f64, 4) })
    };
    let sent = |account: &Account| journal.calls.get(account.call).map(|call| call.sent);
    let (attempts, a_call) = mean(&|_| true);
    let (_, amplification) = mean(&|account| sent(account).is_some_and(|at| phases.during(at)));
    Retries { attempts, a_call, amplification }
}

pub(super) fn overflow(evidence: &Evidence<'_>, phases: Phases) -> Overflow {
    let catalog = &evidence.drill.config.catalog;
    let journal = evidence.journal;
    let answered = |pool: usize, from: Instant, to: Instant| {
        let attempts = journal.accounts.iter().flat_map(|account| &account.attempts);
        let mine = attempts.filter(|a| {
            a.pool.index() == pool && a.result == AttemptResult::Ok && from <= a.started && a.started < to
        });
        mine.count() as f64
    };
    let rate = |n: f64, from: Instant, to: Instant| n / to.secs_since(from).max(1e-9);
    let all: f64 = (0..catalog.pools.len()).map(|i| answered(i, phases.begins, phases.ends)).sum();
    let load = |i: usize| {
        let during = answered(i, phases.begins, phases.ends);
        let after = answered(i, phases.ends, phases.end);
        let before = answered(i, Instant::START, phases.begins);
        let ended = phases.ends < phases.end;
        PoolLoad {
            pool: catalog.pools[i].name.to_string(),
            before_per_s: rounded(rate(before, Instant::START, phases.begins), 3),
            during_per_s: rounded(rate(during, phases.begins, phases.ends), 3),
            after_per_s: if ended { rounded(rate(after, phases.ends, phases.end), 3) } else { 0.0 },
            share_during: if all > 0.0 { rounded(during / all, 4) } else { 0.0 },
        }
    };
    let pools: Vec<PoolLoad> = (0..catalog.pools.len()).map(load).collect();
    let total: f64 = pools.iter().map(|pool| pool.during_per_s).sum();
    let extra = |i: usize| pools[i].during_per_s - pools[i].before_per_s;
    let mut takers: Vec<usize> = (0..pools.len()).filter(|i| extra(*i) > EXTRA_MIN * total).collect();
    takers.sort_by(|a, b| extra(*b).total_cmp(&extra(*a)));
    let expected = &evidence.script.expect.overflow_order;
    let name = |i: usize| pools[i].pool.clone();
    Overflow {
        expected: expected.iter().map(|pool| name(pool.index())).collect(),
        violations: if expected.is_empty() { 0 } else { violations(expected, &takers) },
        actual: takers.into_iter().map(name).collect(),
        pools,
    }
}

/// Takers that were not expected, and those that took more than one that was to come before them.
fn violations(expected: &[PoolId], takers: &[usize]) -> u64 {
    let rank = |taker: &usize| expected.iter().position(|pool| pool.index() == *taker);
    let ranks: Vec<Option<usize>> = takers.iter().map(rank).collect();
    let out_of_turn = |(i, rank): (usize, &Option<usize>)| match rank {
        None => true,
        Some(rank) => ranks[i + 1..].iter().flatten().any(|later| later < rank),
    };
    ranks.iter().enumerate().filter(|taker| out_of_turn(*taker)).count() as u64
}

pub(super) fn cost(evidence: &Evidence<'_>) -> Cost {
    let Evidence { journal, without, .. } = *evidence;
    let waste = |account: &Account| account.attempts.iter().map(|a| a.usd).sum::<f64>() - account.usd;
    let extra = without.map(|without| journal.usd - without.usd);
    let percent = without.zip(extra).filter(|(without, _)| without.usd > 0.0);
    Cost {
        usd: rounded(journal.usd, 6),
        without_usd: without.map(|without| rounded(without.usd, 6)),
        extra_usd: extra.map(|usd| rounded(usd, 6)),
        extra_pct: percent.map(|(without, extra)| rounded(100.0 * extra / without.usd, 2)),
        waste_usd: rounded(journal.accounts.iter().map(waste).sum(), 6),
    }
}

/// Between two moments, in steps.
pub(super) fn step_of(length: Duration, most: u32) -> Duration {
    Duration::from_secs((length.as_secs_f64() / f64::from(most)).ceil().max(1.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_that_takes_more_than_an_earlier_one_is_out_of_turn() {
        let expected = [PoolId(3), PoolId(1)];
        assert_eq!(violations(&expected, &[3, 1]), 0);
        assert_eq!(violations(&expected, &[1]), 0, "the first may be full already");
        assert_eq!(violations(&expected, &[1, 3]), 1);
        assert_eq!(violations(&expected, &[3, 2, 1]), 1, "nobody expected the third");
    }
}
