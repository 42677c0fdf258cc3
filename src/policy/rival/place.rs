//! Which endpoint of a pool, by the rules of others.
//!
//! They see the same endpoints that our own placement may use, and the same estimates of load and prefix: what this router
//! sent and saw come back. None of them asks an engine, which would cost them a stale report.

use std::fmt;

use rand::RngExt as _;
use rand::rngs::SmallRng;
use smallvec::SmallVec;

use super::stand::draw;
use crate::domain::{CallFacts, EndpointId};

/// A rule that chooses an endpoint.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub enum Place {
    /// Ours: see [`place`](crate::policy::place).
    #[default]
    Work,
    /// Any.
    Random,
    /// The fewest requests in flight; of equals one by lot. As everywhere.
    LeastRequest,
    /// Of two drawn at random the one with the shorter queue, in seconds of prefill: the power of two choices
    /// (Mitzenmacher), on work instead of requests.
    P2cWork,
    /// See [`Chwbl`].
    Chwbl(Chwbl),
    /// See [`SmgCacheAware`].
    SmgCacheAware(SmgCacheAware),
    /// The least `new prefill tokens * batch`: tokens queued there and the uncached ones of this prompt, times the requests in
    /// flight with this one. Source: LMetric (arXiv 2603.15202); Dynamo's `lmetric` selector is the same with decode blocks.
    LMetric,
    /// The least expected time to first token, queue and prefill of what is not cached there. Source: Mooncake (FAST '25),
    /// Algorithm 1, without the transfer of caches between engines (ours have none) and without its early rejection
    /// (which is left to the common rules).
    Mooncake,
}

/// Consistent hashing with bounded loads: the first endpoint in the order of the call's key that has at most `bound` times
/// the mean load.
///
/// Source: Mirrokni, Thorup, Zadimoghaddam 2016; KubeAI `PrefixHash` (bound 1.25; a walk stops where `load <=
/// bound * (total + 1) / n`). Instead of a ring with many points an endpoint, the order of rendezvous hashing, which moves
/// as few keys and is a little more even. The key is a block of the prompt, else the session, else the call.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Chwbl {
    /// Times the mean load.
    pub bound: f64,
    /// The how-manieth block of the prompt is the key, from 1; of shorter prompts the last.
    pub depth: usize,
}

impl Chwbl {
    /// As KubeAI.
    pub const USUAL: Self = Self { bound: 1.25, depth: 1 };
    /// See [`Place::grid`].
    pub const GRID: [Self; 6] = [
        Self::USUAL,
        Self { bound: 1.1, depth: 1 },
        Self { bound: 2.0, depth: 1 },
        Self { bound: 1.1, depth: 2 },
        Self { bound: 1.25, depth: 2 },
        Self { bound: 2.0, depth: 2 },
    ];
}

/// If loads are uneven the fewest requests in flight; else the longest match of the prompt, if it is long enough; else where
/// the least is remembered.
///
/// Source: SMG (the SGLang model gateway) `cache_aware`: uneven is `max - min > absolute and max > relative * min`; match
/// threshold 0.5, absolute 32, relative 1.1. Its approximate tree is our map of what was sent where.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SmgCacheAware {
    /// The share of the prompt that must match.
    pub matched: f64,
    /// Requests between the busiest and the idlest.
    pub absolute: u32,
    /// The same as a ratio.
    pub relative: f64,
}

impl SmgCacheAware {
    /// As the source.
    pub const USUAL: Self = Self { matched: 0.5, absolute: 32, relative: 1.1 };
    /// See [`Place::grid`].
    pub const GRID: [Self; 6] = [
        Self::USUAL,
        Self { absolute: 8, ..Self::USUAL },
        Self { absolute: 2, ..Self::USUAL },
        Self { matched: 0.25, ..Self::USUAL },
        Self { matched: 0.25, absolute: 8, ..Self::USUAL },
        Self { matched: 0.25, absolute: 2, ..Self::USUAL },
    ];
}

/// An endpoint that the call may go to.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Spot {
    /// Which.
    pub id: EndpointId,
    /// Calls under way there.
    pub in_flight: u32,
    /// Tokens of prefill sent there whose first token was not seen.
    pub queued_tokens: f64,
    /// Real seconds before the prefill of one more call begins.
    pub wait_s: f64,
    /// Real seconds of prefill of this prompt, what is cached left out.
    pub prefill_s: f64,
    /// Tokens of this prompt that are not cached there.
    pub uncached_tokens: f64,
    /// The share of this prompt that is.
    pub matched: f64,
    /// Tokens of prefixes that are remembered there.
    pub held_tokens: u64,
}

impl Place {
    /// Every rule as its source sets it, ours first.
    pub const ALL: [Self; 8] = [
        Self::Work,
        Self::Random,
        Self::LeastRequest,
        Self::P2cWork,
        Self::Chwbl(Chwbl::USUAL),
        Self::SmgCacheAware(SmgCacheAware::USUAL),
        Self::LMetric,
        Self::Mooncake,
    ];

    /// The word on the command line and in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Work => "work",
            Self::Random => "random",
            Self::LeastRequest => "least-request",
            Self::P2cWork => "p2c-work",
            Self::Chwbl(_) => "chwbl",
            Self::SmgCacheAware(_) => "smg-cache-aware",
            Self::LMetric => "lmetric",
            Self::Mooncake => "mooncake",
        }
    }

    /// The rule of that name, as its source sets it.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|place| place.name() == name)
    }

    /// The settings over which it is tuned, on a seed that it is not judged on: the usual ones first, at most six.
    pub fn grid(self) -> Vec<Self> {
        match self {
            Self::Chwbl(_) => Chwbl::GRID.into_iter().map(Self::Chwbl).collect(),
            Self::SmgCacheAware(_) => SmgCacheAware::GRID.into_iter().map(Self::SmgCacheAware).collect(),
            _ => vec![self],
        }
    }

    /// What the call has in common with others that should go to the same place.
    pub fn key(&self, facts: &CallFacts) -> u64 {
        let depth = if let Self::Chwbl(rule) = self { rule.depth } else { 1 };
        let block = facts.prefix.get(depth.saturating_sub(1)).or_else(|| facts.prefix.last());
        match (block, facts.session) {
            (Some(block), _) => block.hash,
            (None, Some(session)) => session.0,
            (None, None) => facts.id.0,
        }
    }

    /// The position of the chosen spot; none if there is none.
    pub fn choose(&self, spots: &[Spot], key: u64, rng: &mut SmallRng) -> Option<usize> {
        let all = 0..spots.len();
        match self {
            Self::Random => (!spots.is_empty()).then(|| rng.random_range(all)),
            Self::LeastRequest => least(all, |i| f64::from(spots[i].in_flight), rng),
            Self::P2cWork => least(draw(spots.len(), 2, rng).into_iter(), |i| spots[i].wait_s, rng),
            Self::Chwbl(rule) => rule.choose(spots, key),
            Self::SmgCacheAware(rule) => rule.choose(spots, rng),
            Self::LMetric => {
                let new_tokens = |s: &Spot| s.queued_tokens + s.uncached_tokens;
                least(all, |i| new_tokens(&spots[i]) * (f64::from(spots[i].in_flight) + 1.0), rng)
            }
            // Ours needs more than a spot says, and chooses for itself; this is what is left of it.
            Self::Work | Self::Mooncake => least(all, |i| spots[i].wait_s + spots[i].prefill_s, rng),
        }
    }
}

impl Chwbl {
    fn choose(&self, spots: &[Spot], key: u64) -> Option<usize> {
        let total: u32 = spots.iter().map(|s| s.in_flight).sum();
        let most = self.bound * (f64::from(total) + 1.0) / spots.len() as f64;
        let mut order: SmallVec<[(u64, usize); 16]> =
            spots.iter().enumerate().map(|(i, s)| (mixed(key, s.id), i)).collect();
        order.sort_unstable();
        let room = order.iter().find(|(_, i)| f64::from(spots[*i].in_flight) <= most);
        room.or(order.first()).map(|(_, i)| *i)
    }
}

impl SmgCacheAware {
    fn choose(&self, spots: &[Spot], rng: &mut SmallRng) -> Option<usize> {
        let loads = || spots.iter().map(|s| s.in_flight);
        let (most, fewest) = (loads().max()?, loads().min()?);
        let all = 0..spots.len();
        if most - fewest > self.absolute && f64::from(most) > self.relative * f64::from(fewest) {
            return least(all, |i| f64::from(spots[i].in_flight), rng);
        }
        let best = least(all.clone(), |i| -spots[i].matched, rng)?;
        if spots[best].matched > self.matched {
            return Some(best);
        }
        least(all, |i| spots[i].held_tokens as f64, rng)
    }
}

/// The position of the least cost, of equals one by lot.
fn least(
    positions: impl Iterator<Item = usize>,
    cost: impl Fn(usize) -> f64,
    rng: &mut SmallRng,
) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    let mut equals = 1u32;
    for i in positions {
        let this = cost(i);
        match best.map(|(_, b)| this.total_cmp(&b)) {
            None | Some(std::cmp::Ordering::Less) => (best, equals) = (Some((i, this)), 1),
            Some(std::cmp::Ordering::Equal) => {
                equals += 1;
                if rng.random_range(0..equals) == 0 {
                    best = Some((i, this));
                }
            }
            Some(std::cmp::Ordering::Greater) => {}
        }
    }
    best.map(|(i, _)| i)
}

/// The place of an endpoint in the order of a key (SplitMix64's finaliser over both).
fn mixed(key: u64, id: EndpointId) -> u64 {
    let mut z = key ^ (u64::from(id.0) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The name and, where there are any, its settings.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Chwbl(r) => write!(f, " (bound {:.2}, block {})", r.bound, r.depth),
            Self::SmgCacheAware(r) => {
                write!(f, " (match {:.2}, uneven {} and {:.1} times)", r.matched, r.absolute, r.relative)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
