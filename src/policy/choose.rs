//! The choice among candidates.

use rand::RngExt as _;
use rand::rngs::SmallRng;

use super::{Candidate, Policy, Settings};

/// What was chosen, as positions among the candidates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chosen {
    /// The chosen one.
    pub best: usize,
    /// The next best by the same measure.
    pub runner_up: Option<usize>,
}

/// Chooses among the candidates of the best rank; the runner-up may be of any. A rival needs its
/// [`Memory`](super::rival::Memory) to choose; without one its pools are chosen by price.
pub fn choose(candidates: &[Candidate], settings: &Settings, rng: &mut SmallRng) -> Option<Chosen> {
    let rank = candidates.iter().map(|c| c.rank).min()?;
    let best = match settings.policy {
        Policy::Price | Policy::Rival(_) => by_price(candidates, rank, settings, rng)?,
        Policy::Ordered => first(candidates, |c| c.rank == rank, |c| f64::from(c.order))?,
        Policy::Weighted => by_weight(candidates, rank, rng)?,
    };
    let key = |c: &Candidate| match settings.policy {
        Policy::Price | Policy::Rival(_) => c.terms.total(),
        Policy::Ordered => f64::from(c.order),
        Policy::Weighted => -c.weight,
    };
    let others = |same: bool| {
        let skip = candidates[best].offer;
        first(candidates, |c| c.offer != skip && (c.rank == rank) == same, key)
    };
    Some(Chosen { best, runner_up: others(true).or_else(|| others(false)) })
}

/// The position of the smallest key, the earlier of two equals.
fn first(
    candidates: &[Candidate],
    keep: impl Fn(&Candidate) -> bool,
    key: impl Fn(&Candidate) -> f64,
) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (i, c) in candidates.iter().enumerate().filter(|(_, c)| keep(c)) {
        let k = key(c);
        if best.is_none_or(|(_, b)| k < b) {
            best = Some((i, k));
        }
    }
    best.map(|(i, _)| i)
}

/// By lot among those that are nearly as cheap as the cheapest; the nearer, the likelier.
fn by_price(
    candidates: &[Candidate],
    rank: super::Rank,
    settings: &Settings,
    rng: &mut SmallRng,
) -> Option<usize> {
    let best = first(candidates, |c| c.rank == rank, |c| c.terms.total())?;
    let least = candidates[best].terms.total();
    let within = (least.abs() * settings.tie_share).max(settings.tie_usd);
    let lot = |c: &Candidate| {
        if c.rank == rank { (1.0 - (c.terms.total() - least) / within).max(0.0) } else { 0.0 }
    };
    draw(candidates, lot, rng).or(Some(best))
}

/// By lot with the operator's weights; who has none comes only when nobody has any.
fn by_weight(candidates: &[Candidate], rank: super::Rank, rng: &mut SmallRng) -> Option<usize> {
    let lot = |c: &Candidate| if c.rank == rank { c.weight.max(0.0) } else { 0.0 };
    draw(candidates, lot, rng).or_else(|| first(candidates, |c| c.rank == rank, |c| f64::from(c.order)))
}

/// Draws a position with probability proportional to `lot`; none if all lots are zero.
fn draw(candidates: &[Candidate], lot: impl Fn(&Candidate) -> f64, rng: &mut SmallRng) -> Option<usize> {
    let sum: f64 = candidates.iter().map(&lot).sum();
    if !(sum > 0.0 && sum.is_finite()) {
        return None;
    }
    let mut at = rng.random::<f64>() * sum;
    let mut last = None;
    for (i, c) in candidates.iter().enumerate() {
        let lot = lot(c);
        if lot > 0.0 {
            last = Some(i);
            at -= lot;
            if at < 0.0 {
                break;
            }
        }
    }
    last
}
