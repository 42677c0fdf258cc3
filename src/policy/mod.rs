//! Which pool, which endpoint, how patient, and why not the others.
//!
//! The policy says what it needs to know ([`view`]); the fleet fills it in. It holds no state: the same view, call and
//! seed give the same choice, which is what makes a decision explainable and replayable. Only [`rival`]s remember
//! something, and the fleet keeps it for them.

pub mod choose;
pub mod defer;
pub mod eligibility;
pub mod patience;
pub mod place;
pub mod price;
pub mod promise;
pub mod record;
pub mod refuse;
pub mod retry;
pub mod rival;
pub mod shadow;
pub mod view;

pub use choose::{Chosen, choose};
pub use eligibility::Exclusion;
pub use price::Terms;
pub use retry::Kinship;
pub use shadow::{Congestion, Shadow};
pub use view::{CallView, Candidate, Quote, Rank, TokenPrices};

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::Duration;

/// How a pool is chosen among those that are eligible.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub enum Policy {
    /// The smallest sum of dollars.
    #[default]
    Price,
    /// The first in the operator's order.
    Ordered,
    /// By lot, with the operator's weights.
    Weighted,
    /// By the rule of somebody else, to compare with.
    Rival(rival::Rule),
}

impl Policy {
    /// The word in config, headers and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Price => "price",
            Self::Ordered => "ordered",
            Self::Weighted => "weighted",
            Self::Rival(rule) => rule.name(),
        }
    }

    /// The policy of that name; a rival's rule as its source sets it.
    pub fn named(name: &str) -> Option<Self> {
        let own = [Self::Price, Self::Ordered, Self::Weighted].into_iter().find(|p| p.name() == name);
        own.or_else(|| rival::Rule::named(name).map(Self::Rival))
    }
}

/// As its name.
impl Serialize for Policy {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = Cow::<'de, str>::deserialize(from)?;
        Self::named(&name)
            .ok_or_else(|| serde::de::Error::custom(format_args!("there is no policy `{name}`")))
    }
}

/// What an operator may set about choosing.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Settings {
    /// How pools are chosen.
    pub policy: Policy,
    /// How an endpoint is chosen within the pool.
    pub place: rival::Place,
    /// Offers whose totals differ by less than this share are drawn by lot, so that many routers with the same view
    /// do not all send to the same pool.
    pub tie_share: f64,
    /// The same in dollars.
    pub tie_usd: f64,
    /// The probability that a session goes on: weighs what its next turn loses by moving now.
    pub next_turn: f64,
    /// What own capacity is worth.
    pub shadow: shadow::Settings,
    /// How calls that may wait wait for better prices.
    pub defer: defer::Settings,
    /// Load counts as it is reported, without what was sent since: for comparisons. A pool that reports nothing seems idle.
    pub hearsay_only: bool,
    /// A second of prefill blocks all slots of an endpoint: it is worth so many slot-seconds.
    pub prefill_weight: f64,
    /// A first token is waited for at least this long before the try is given up.
    pub first_token_min: Duration,
    /// And so many times its 99th percentile.
    pub first_token_p99s: f64,
    /// Silence of this length after the first token is a stall.
    pub idle: Duration,
    /// Any class waits this long for capacity; only those that may wait wait longer.
    pub short_wait: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            policy: Policy::Price,
            place: rival::Place::Work,
            tie_share: 0.03,
            tie_usd: 1e-6,
            next_turn: 0.5,
            shadow: shadow::Settings::default(),
            defer: defer::Settings::default(),
            hearsay_only: false,
            prefill_weight: 30.0,
            first_token_min: Duration::from_secs(2),
            first_token_p99s: 3.0,
            idle: Duration::from_secs(30),
            short_wait: Duration::from_secs(2),
        }
    }
}

#[cfg(test)]
mod tests;
