//! How the candidates stand with a rule: in tiers, and within a tier by a number. The least is chosen, of equals one by lot.

use rand::RngExt as _;
use rand::rngs::SmallRng;
use smallvec::SmallVec;

use super::{Evidence, LowestLatency, Memory, Patient, PeakEwma, Per, Prequal, Rule, Spill, SpillSlo};
use crate::domain::Instant;
use crate::policy::{CallView, Candidate, Chosen};

/// What a rule sees of the pool of a candidate, besides the candidate.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Seen {
    /// It is paid for already.
    pub owned: bool,
    /// Calls under way in the whole pool.
    pub in_flight: u32,
    /// Calls that it works on at once, over all endpoints; at least 1.
    pub slots: f64,
    /// Real seconds of prefill queued at a mean endpoint.
    pub backlog_s: f64,
}

/// A candidate of the best rank.
#[derive(Clone, Copy, Debug)]
struct Contender<'a> {
    candidate: &'a Candidate,
    seen: &'a Seen,
}

/// Where a candidate stands. Smaller is better.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Standing {
    tier: u8,
    cost: f64,
}

type Field<'a> = SmallVec<[Contender<'a>; 8]>;
type Standings = SmallVec<[Standing; 8]>;

impl Seen {
    /// How busy it is.
    pub fn busy(&self, per: Per) -> f64 {
        match per {
            Per::Call => f64::from(self.in_flight),
            Per::Slot => f64::from(self.in_flight) / self.slots,
        }
    }

    fn full(&self, spill: &Spill) -> bool {
        f64::from(self.in_flight) >= spill.share * self.slots || self.backlog_s > spill.backlog_s
    }
}

impl Memory {
    /// Chooses among the candidates of the best rank, whose pools are as `seen`, position by position.
    pub fn choose(
        &self,
        candidates: &[Candidate],
        seen: &[Seen],
        call: &CallView<'_>,
        rng: &mut SmallRng,
    ) -> Option<Chosen> {
        let rank = candidates.iter().map(|c| c.rank).min()?;
        let (mut field, mut positions) = (Field::new(), SmallVec::<[usize; 8]>::new());
        for (i, (candidate, seen)) in candidates.iter().zip(seen).enumerate() {
            if candidate.rank == rank {
                field.push(Contender { candidate, seen });
                positions.push(i);
            }
        }
        let standings = self.stand(&field, call, rng);
        let best = least(&standings, None, rng)?;
        let runner_up = least(&standings, Some(best), rng).map(|i| positions[i]);
        let runner_up = runner_up.or_else(|| candidates.iter().position(|c| c.rank != rank));
        Some(Chosen { best: positions[best], runner_up, lot: None })
    }

    fn stand(&self, field: &Field<'_>, call: &CallView<'_>, rng: &mut SmallRng) -> Standings {
        let now = call.now.mono;
        let by = |cost: &dyn Fn(&Contender<'_>) -> f64| {
            field.iter().map(|c| Standing { tier: 0, cost: cost(c) }).collect()
        };
        match &self.rule {
            Rule::RoundRobin => by(&|c| self.last_turn(c.candidate.offer) as f64),
            Rule::LeastBusy(rule) => by(&|c| c.seen.busy(rule.per)),
            Rule::LowestLatency(rule) => self.by_latency(field, rule, now),
            Rule::Cheapest => by(&|c| c.candidate.terms.money),
            Rule::PeakEwma(rule) => self.by_peak(field, rule, now, rng),
            Rule::Prequal(rule) => self.hot_and_cold(field, rule, now),
            Rule::Spill(rule) => field.iter().map(|c| spill(c, c.seen.full(rule))).collect(),
            Rule::SpillSlo(rule) => field.iter().map(|c| self.spill_slo(c, rule, call)).collect(),
        }
    }

    fn by_latency(&self, field: &Field<'_>, rule: &LowestLatency, now: Instant) -> Standings {
        let means: SmallVec<[f64; 8]> =
            field.iter().map(|c| self.mean_s(c.candidate.offer, rule, now)).collect();
        let lowest = means.iter().copied().fold(f64::INFINITY, f64::min);
        let near = |mean: f64| mean <= lowest * (1.0 + rule.buffer);
        let stand = |&mean: &f64| match near(mean) {
            true => Standing { tier: 0, cost: 0.0 },
            false => Standing { tier: 1, cost: mean },
        };
        means.iter().map(stand).collect()
    }

    fn by_peak(&self, field: &Field<'_>, rule: &PeakEwma, now: Instant, rng: &mut SmallRng) -> Standings {
        let cost = |c: &Contender<'_>| {
            self.peak_s(c.candidate.offer, rule, now) * (f64::from(c.seen.in_flight) + 1.0)
        };
        let mut standings: Standings = field.iter().map(|c| Standing { tier: 1, cost: cost(c) }).collect();
        for i in draw(field.len(), rule.choices, rng) {
            standings[i].tier = 0;
        }
        standings
    }

    fn hot_and_cold(&self, field: &Field<'_>, rule: &Prequal, now: Instant) -> Standings {
        let hot_from = self.hot_from(rule.quantile);
        let stand = |c: &Contender<'_>| {
            let busy = c.seen.busy(rule.per);
            if busy > hot_from {
                return Standing { tier: 1, cost: busy };
            }
            // Before anything is measured, what everybody assumes of the pool.
            let seen_s = self.median_s(c.candidate.offer, rule, busy, now);
            Standing { tier: 0, cost: seen_s.unwrap_or(c.candidate.quote.ttft_s) }
        };
        field.iter().map(stand).collect()
    }

    fn spill_slo(&self, c: &Contender<'_>, rule: &SpillSlo, call: &CallView<'_>) -> Standing {
        let (quote, class) = (&c.candidate.quote, call.class);
        let target_s = class.ttft_target.map(|t| t.as_secs_f64());
        let finish_s = class.finish_target.map(|t| t.as_secs_f64());
        let observed_s = match rule.evidence {
            Evidence::Predicted => None,
            Evidence::Observed => self.p95_s(c.candidate.offer, rule.memory_s, call.now.mono),
        };
        let late = target_s.is_some_and(|t| quote.ttft_s > t || observed_s.is_some_and(|s| s > t));
        if late || finish_s.is_some_and(|t| quote.finish_s > t) {
            return Standing { tier: LATE, cost: quote.ttft_s };
        }
        let patient = target_s.is_none() && rule.patient == Patient::Stay;
        let stays = patient && finish_s.is_none_or(|t| quote.finish_s <= t / 2.0);
        spill(c, c.seen.full(&rule.spill) && !stays)
    }
}

/// After all that [`spill`] deals.
const LATE: u8 = 3;

/// Own capacity with room, the emptiest first; then the cheapest metered; then own capacity without.
fn spill(c: &Contender<'_>, full: bool) -> Standing {
    match (c.seen.owned, full) {
        (true, false) => Standing { tier: 0, cost: c.seen.busy(Per::Slot) },
        (false, _) => Standing { tier: 1, cost: c.candidate.terms.money },
        (true, true) => Standing { tier: 2, cost: c.candidate.quote.ttft_s },
    }
}

/// The position of the least, of equals one by lot.
fn least(standings: &Standings, skip: Option<usize>, rng: &mut SmallRng) -> Option<usize> {
    let mut best: Option<usize> = None;
    let mut equals = 1u32;
    for (i, s) in standings.iter().enumerate().filter(|(i, _)| Some(*i) != skip) {
        let Some(b) = best else {
            best = Some(i);
            continue;
        };
        match s.tier.cmp(&standings[b].tier).then(s.cost.total_cmp(&standings[b].cost)) {
            std::cmp::Ordering::Less => (best, equals) = (Some(i), 1),
            std::cmp::Ordering::Equal => {
                equals += 1;
                if rng.random_range(0..equals) == 0 {
                    best = Some(i);
                }
            }
            std::cmp::Ordering::Greater => {}
        }
    }
    best
}

/// So many different positions of `n`, by lot; all of them if they are no more.
pub(super) fn draw(n: usize, many: usize, rng: &mut SmallRng) -> SmallVec<[usize; 8]> {
    let mut all: SmallVec<[usize; 8]> = (0..n).collect();
    for i in 0..many.min(n.saturating_sub(1)) {
        let j = rng.random_range(i..n);
        all.swap(i, j);
    }
    all.truncate(many);
    all
}
