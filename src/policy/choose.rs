//! The choice among candidates.

use smallvec::SmallVec;

use super::{Candidate, Policy, Settings};

/// What was chosen, as positions among the candidates.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Chosen {
    /// The chosen one.
    pub best: usize,
    /// The next best by the same measure.
    pub runner_up: Option<usize>,
    /// The lot that decided, if one was drawn.
    pub lot: Option<f64>,
}

/// Keys are kept on the stack up to so many candidates.
type Keys = SmallVec<[f64; 64]>;

/// Chooses among the candidates of the best rank; the runner-up may be of any. `lot` draws a number from 0 to 1, and is
/// asked at most once: the same candidates, settings and lot give the same choice. A rival needs its
/// [`Memory`](super::rival::Memory) to choose; without one its pools are chosen by price.
pub fn choose(candidates: &[Candidate], settings: &Settings, lot: impl FnOnce() -> f64) -> Option<Chosen> {
    let rank = candidates.iter().map(|c| c.rank).min()?;
    let keys: Keys = match settings.policy {
        Policy::Price | Policy::Rival(_) => candidates.iter().map(|c| c.terms.total()).collect(),
        Policy::Ordered => candidates.iter().map(|c| f64::from(c.order)).collect(),
        Policy::Weighted => candidates.iter().map(|c| -c.weight).collect(),
    };
    let eligible = |i: usize| candidates[i].rank == rank;
    let ranked = |best: bool| keys.iter().copied().enumerate().filter(move |(i, _)| eligible(*i) == best);
    let [first, second] = two_least(ranked(true));
    let (first, second) = (first?.0, second.or_else(|| two_least(ranked(false))[0]).map(|(i, _)| i));
    let mut drawn = None;
    let lot = || *drawn.insert(lot());
    let best = match settings.policy {
        Policy::Price | Policy::Rival(_) => by_price(candidates, &keys, first, eligible, settings, lot),
        Policy::Ordered => first,
        Policy::Weighted => by_weight(candidates, eligible, lot)?,
    };
    // Whoever is not the first has the first as the next best.
    Some(Chosen { best, runner_up: if best == first { second } else { Some(first) }, lot: drawn })
}

/// The two smallest keys with their positions, the earlier of equals first.
pub fn two_least(keys: impl Iterator<Item = (usize, f64)>) -> [Option<(usize, f64)>; 2] {
    let (mut first, mut second) = (None::<(usize, f64)>, None::<(usize, f64)>);
    for (i, key) in keys {
        if first.is_none_or(|(_, least)| key < least) {
            (first, second) = (Some((i, key)), first);
        } else if second.is_none_or(|(_, next)| key < next) {
            second = Some((i, key));
        }
    }
    [first, second]
}

/// By lot among those that are nearly as cheap as the cheapest; the nearer, the likelier.
fn by_price(
    candidates: &[Candidate],
    keys: &[f64],
    cheapest: usize,
    eligible: impl Fn(usize) -> bool,
    settings: &Settings,
    lot: impl FnOnce() -> f64,
) -> usize {
    let least = keys[cheapest];
    let within = (least.abs() * settings.tie_share).max(settings.tie_usd);
    let near = |&(i, &usd): &(usize, &f64)| usd - least < within && eligible(i);
    let lots = keys.iter().enumerate().filter(near).map(|(i, usd)| (i, 1.0 - (usd - least) / within));
    draw(candidates, lots, lot).unwrap_or(cheapest)
}

/// By lot with the operator's weights; who has none comes only when nobody has any.
fn by_weight(
    candidates: &[Candidate],
    eligible: impl Fn(usize) -> bool,
    lot: impl FnOnce() -> f64,
) -> Option<usize> {
    let all = || candidates.iter().enumerate().filter(|&(i, _)| eligible(i));
    let lots = all().map(|(i, c)| (i, c.weight.max(0.0)));
    draw(candidates, lots, lot).or_else(|| all().min_by_key(|(_, c)| c.order).map(|(i, _)| i))
}

/// Draws a position with probability proportional to its lot; none if all lots are zero. They lie side by side in the
/// order of their keys, so that the same number falls on the same pool wherever the config names it.
fn draw(
    candidates: &[Candidate],
    lots: impl Iterator<Item = (usize, f64)>,
    lot: impl FnOnce() -> f64,
) -> Option<usize> {
    let mut lots: SmallVec<[(usize, f64); 8]> = lots.filter(|(_, lot)| *lot > 0.0).collect();
    lots.sort_unstable_by_key(|(i, _)| candidates[*i].key);
    let sum: f64 = lots.iter().map(|(_, lot)| lot).sum();
    if !(sum > 0.0 && sum.is_finite()) {
        return None;
    }
    let mut at = lot() * sum;
    let drawn = lots.iter().find(|(_, lot)| {
        at -= lot;
        at < 0.0
    });
    // What rounding leaves over is the last one's.
    drawn.or(lots.last()).map(|(i, _)| *i)
}
