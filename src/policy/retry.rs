//! Where to try again: another failure domain first, then another pool, then another endpoint of the same pool.

use super::{Exclusion, Rank};
use crate::domain::{FailureKind, OfferId, PoolId};

/// A try, and how near it was to the offer in question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Past {
    /// The offer tried.
    pub offer: OfferId,
    /// Its pool.
    pub pool: PoolId,
    /// In the same failure domain as the offer in question.
    pub same_domain: bool,
    /// With a context window that is known to be at least that of the offer in question.
    pub window_as_large: bool,
    /// How it failed.
    pub kind: FailureKind,
    /// It certainly was not worked on.
    pub unprocessed: bool,
}

/// What past tries mean for an offer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Kinship {
    /// Nothing.
    #[default]
    None,
    /// Its failure domain was tried.
    Domain,
    /// Its pool was tried.
    Pool,
    /// Its pool was tried, did not work on it, and could be reached: even the same endpoint may be asked again.
    PoolUnprocessed,
}

/// How near the past tries were, or why the offer is out because of them.
pub fn kinship(past: impl Iterator<Item = Past>, offer: OfferId, pool: PoolId) -> Result<Kinship, Exclusion> {
    let mut nearest = Kinship::None;
    for p in past {
        if p.kind == FailureKind::ContextTooLong && p.window_as_large {
            return Err(Exclusion::RefusedAsTooLong);
        }
        if p.offer == offer && p.kind == FailureKind::Unsupported {
            return Err(Exclusion::Unsupported);
        }
        if p.offer == offer && repeats(p.kind) {
            return Err(Exclusion::AlreadyTried);
        }
        let reached = !matches!(p.kind, FailureKind::Connect | FailureKind::Tls);
        // A limit is no work either, and its cooldown keeps calls away for as long as it must.
        let unprocessed = p.unprocessed || p.kind == FailureKind::RateLimited;
        let this = match (p.pool == pool, unprocessed && reached) {
            (true, true) => Kinship::PoolUnprocessed,
            (true, false) => Kinship::Pool,
            (false, _) if p.same_domain => Kinship::Domain,
            (false, _) => Kinship::None,
        };
        nearest = match (nearest, this) {
            // Of two tries in the pool the one that was worked on decides.
            (Kinship::Pool, Kinship::PoolUnprocessed) => Kinship::Pool,
            (Kinship::PoolUnprocessed, Kinship::Pool) => Kinship::Pool,
            (a, b) => a.max(b),
        };
    }
    Ok(nearest)
}

impl Kinship {
    /// The pool was tried: its endpoints must be looked at one by one.
    pub const fn same_pool(self) -> bool {
        matches!(self, Self::Pool | Self::PoolUnprocessed)
    }

    /// The rank of an offer with an endpoint that was not tried.
    pub const fn rank(self) -> Rank {
        match self {
            Self::None => Rank::Fresh,
            Self::Domain => Rank::SameDomain,
            Self::Pool | Self::PoolUnprocessed => Rank::SamePool,
        }
    }

    /// The rank of an offer all of whose endpoints were tried.
    pub const fn rank_when_all_tried(self) -> Result<Rank, Exclusion> {
        match self {
            Self::PoolUnprocessed => Ok(Rank::SameEndpoint),
            Self::None | Self::Domain | Self::Pool => Err(Exclusion::AlreadyTried),
        }
    }
}

/// Failures that another endpoint of the same pool would repeat: no money, no key, no model, too large.
const fn repeats(kind: FailureKind) -> bool {
    matches!(
        kind,
        FailureKind::QuotaExhausted
            | FailureKind::Credentials
            | FailureKind::ModelMissing
            | FailureKind::ContextTooLong
            | FailureKind::RequestTooLarge
            | FailureKind::TooLarge
    )
}
