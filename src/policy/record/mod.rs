//! A decision written down with everything that it was made from, so that it can be explained, replayed and doubted
//! without the config and long after the state has moved on.
//!
//! It holds numbers and names of the config, and nothing that a client wrote: no prompt, no header, no key. One record is
//! one JSON object. Times that end in `_ns`, and those inside exclusions, are nanoseconds on the clock of the process that
//! decided: only their differences mean something. `null` is never.

mod replay;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Exclusion, Policy, Quote, Rank, Settings, Terms, defer};
use crate::domain::{CallFacts, CallId, Capabilities, Class, Instant, Refusal};

pub use replay::{CannotReplay, PriceIs, WhatIf, replay};

/// The version of the format: grows when a record of before could no longer be replayed as it was decided, such as when
/// a term or a field of [`Quote`] is added that has no default.
pub const VERSION: u32 = 1;

/// A decision with all its terms. See the module.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DecisionRecord {
    /// The version of this format: [`VERSION`].
    pub v: u32,
    /// When, in milliseconds since 1970-01-01 UTC.
    pub ts_ms: u64,
    /// The call: 16 hex digits, as in its log line.
    #[serde(with = "hex")]
    pub call: CallId,
    /// The fleet's generation: grows with every change that may let a waiting call go.
    pub generation: u64,
    /// Whose call, by name.
    pub tenant: Arc<str>,
    /// The model asked for.
    pub model: Arc<str>,
    /// What its class says.
    pub class: ClassNumbers,
    /// What of the call decides.
    pub asked: Asked,
    /// Attempts that failed before, in order.
    pub tried: Vec<TriedBefore>,
    /// How pools are chosen.
    pub rules: Rules,
    /// Where the session is warm, if it is anywhere.
    pub home: Option<Home>,
    /// The lots that were drawn.
    pub lots: Lots,
    /// Every offer of the model, those that are eligible first. None if it was decided before any look at them.
    pub offers: Vec<OfferRecord>,
    /// The pool that was chosen among the eligible, whatever came of it.
    pub chosen: Option<Arc<str>>,
    /// The next best by the same measure.
    pub runner_up: Option<Arc<str>>,
    /// How much dearer the runner-up is, in dollars. Less than zero when a lot, an order or weights chose.
    pub margin_usd: Option<f64>,
    /// What was done.
    pub outcome: Outcome,
}

/// What a class says that decides.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ClassNumbers {
    /// Its name.
    pub name: Arc<str>,
    /// First token within this, or it is a miss.
    pub first_token_ns: Option<u64>,
    /// Whole answer within this, or it is a miss.
    pub finish_ns: Option<u64>,
    /// What a miss costs, in dollars: more than the config says while the class misses more than it may.
    pub miss_usd: f64,
    /// What a second of waiting costs, in dollars.
    pub second_usd: f64,
    /// May wait for a better price, or for a pool to come back.
    pub may_wait: bool,
}

/// What of a call decides.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "facts of a record, each by its name")]
pub struct Asked {
    /// Input tokens, estimated.
    pub input_tokens: u32,
    /// The client's limit on output tokens of a choice.
    pub max_tokens: Option<u32>,
    /// Choices asked for.
    pub choices: u32,
    /// Output tokens expected of each choice.
    pub expected_output: f64,
    /// What an offer must be able to do.
    pub needs: Capabilities,
    /// The answer is streamed.
    pub stream: bool,
    /// It belongs to a session.
    pub session: bool,
    /// The client said that it is a retry of its own.
    pub client_retry: bool,
    /// So many waited for better prices that it could not.
    #[serde(default, skip_serializing_if = "is_false")]
    pub no_room_to_wait: bool,
    /// When it came.
    pub arrived_ns: Instant,
    /// When this was decided.
    pub now_ns: Instant,
    /// When it must have been answered.
    pub deadline_ns: Instant,
}

/// An attempt that was made before.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TriedBefore {
    /// Where.
    pub pool: Arc<str>,
    /// The fleet's number of the endpoint.
    pub endpoint: u32,
    /// Why it failed.
    pub failure: String,
    /// It certainly was not worked on.
    pub unprocessed: bool,
}

/// How pools are chosen, as it was set.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Rules {
    /// The policy.
    pub policy: Policy,
    /// Totals that differ by less than this share are drawn by lot.
    pub tie_share: f64,
    /// The same in dollars.
    pub tie_usd: f64,
    /// How calls wait for better prices.
    pub defer: defer::Settings,
    /// Any class waits this long for capacity.
    pub short_wait_ns: u64,
}

/// Where a session is warm.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Home {
    /// The pool.
    pub pool: Arc<str>,
    /// What the session's next turn loses by being elsewhere, in dollars.
    pub loss_usd: f64,
}

/// Lots from 0 to 1 that a decision drew; absent where none was needed.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Lots {
    /// Among pools that are nearly as good as the best, or by weights.
    pub choice: Option<f64>,
    /// How long to wait for a better price.
    pub wait: Option<f64>,
}

/// One offer: its price, or why it has none.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct OfferRecord {
    /// Its pool.
    pub pool: Arc<str>,
    /// Eligible or excluded.
    #[serde(flatten)]
    pub standing: Standing,
}

/// See [`OfferRecord`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It may serve the call.
    Eligible(Eligible),
    /// It may not.
    Excluded(Excluded),
}

/// An offer that may serve the call.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Eligible {
    /// How it stands to what was tried: a better rank beats any price.
    pub rank: Rank,
    /// The operator's order.
    pub order: u32,
    /// The operator's weight.
    pub weight: f64,
    /// What it would do, by the estimates.
    pub quote: Quote,
    /// What that is worth, in dollars.
    pub terms: Terms,
    /// The sum of the terms: what is compared under the policy `price`.
    pub total_usd: f64,
    /// None of its endpoints would take the call when it came to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_endpoint: bool,
}

/// An offer that may not serve the call.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Excluded {
    /// Why, by name.
    pub why: Exclusion,
    /// Why, for people.
    pub says: String,
}

/// What was done.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// An attempt was sent.
    Dispatch {
        /// To this pool.
        pool: Arc<str>,
        /// To this origin; absent in what was only thought of.
        endpoint: Option<Arc<str>>,
    },
    /// The call waits.
    Wait {
        /// To be asked again then at the latest.
        until_ns: Instant,
        /// For what.
        reason: String,
    },
    /// The call was refused.
    Shed {
        /// `never` (another request or config is needed), `nobody`, `overloaded` or `too_late`.
        why: String,
        /// What the client is told, unless an earlier failure says more.
        message: String,
    },
}

impl DecisionRecord {
    /// Sets what was chosen, by its position among the offers, and what follows from it.
    pub fn choose(&mut self, best: usize, runner_up: Option<usize>) {
        let name = |i: usize| self.offers.get(i).map(|o| Arc::clone(&o.pool));
        let total = |i: usize| self.offers.get(i).and_then(OfferRecord::eligible).map(|e| e.total_usd);
        let margin_usd = runner_up.and_then(|r| Some(total(r)? - total(best)?));
        (self.chosen, self.runner_up, self.margin_usd) = (name(best), runner_up.and_then(name), margin_usd);
    }

    /// The offer that the call was sent to.
    pub fn dispatched(&self) -> Option<(&Arc<str>, &Eligible)> {
        let Outcome::Dispatch { pool, .. } = &self.outcome else { return None };
        let offer = self.offers.iter().find(|o| o.pool == *pool)?;
        Some((&offer.pool, offer.eligible()?))
    }

    /// Output tokens expected, over all choices.
    pub fn output_tokens(&self) -> f64 {
        self.asked.expected_output * f64::from(self.asked.choices.max(1))
    }
}

impl OfferRecord {
    /// Its price, if it has one.
    pub fn eligible(&self) -> Option<&Eligible> {
        match &self.standing {
            Standing::Eligible(eligible) => Some(eligible),
            Standing::Excluded(_) => None,
        }
    }
}

impl Outcome {
    /// The same was done, to the pool and the nanosecond. Wording and the endpoint are not compared.
    pub fn same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Dispatch { pool: a, .. }, Self::Dispatch { pool: b, .. }) => a == b,
            (Self::Wait { until_ns: a, .. }, Self::Wait { until_ns: b, .. }) => a == b,
            (Self::Shed { why: a, .. }, Self::Shed { why: b, .. }) => a == b,
            _ => false,
        }
    }

    /// The pool that it was sent to, or what else was done, in a word.
    pub fn word(&self) -> &str {
        match self {
            Self::Dispatch { pool, .. } => pool,
            Self::Wait { .. } => "(wait)",
            Self::Shed { .. } => "(shed)",
        }
    }

    /// Of a decision to refuse.
    pub fn shed(refusal: &Refusal) -> Self {
        let (why, message) = match refusal {
            Refusal::NoPool { permanent: true, message, .. } => ("never", message.clone()),
            Refusal::NoPool { message, .. } => ("nobody", message.clone()),
            Refusal::Overloaded { message, .. } => ("overloaded", message.clone()),
            Refusal::DeadlineExceeded { message } => ("too_late", message.clone()),
            // The fleet sheds for no other reason.
            _ => ("other", String::new()),
        };
        Self::Shed { why: why.to_owned(), message }
    }
}

impl ClassNumbers {
    /// Of that class, where a miss costs `miss_usd` now.
    pub fn of(class: &Class, miss_usd: f64) -> Self {
        let nanos = |d: crate::domain::Duration| d.as_nanos() as u64;
        Self {
            name: Arc::clone(&class.name),
            first_token_ns: class.ttft_target.map(nanos),
            finish_ns: class.finish_target.map(nanos),
            miss_usd,
            second_usd: class.delay_usd_per_s,
            may_wait: class.may_wait,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_false(said: &bool) -> bool {
    !said
}

impl Asked {
    /// Of that call, of which `each` output tokens a choice are expected.
    pub fn of(facts: &CallFacts, each: f64, now: Instant) -> Self {
        Self {
            input_tokens: facts.input_tokens,
            max_tokens: facts.max_tokens,
            choices: facts.n,
            expected_output: each,
            needs: facts.needs,
            stream: facts.stream,
            session: facts.session.is_some(),
            client_retry: facts.client_retry,
            no_room_to_wait: false,
            arrived_ns: facts.arrived,
            now_ns: now,
            deadline_ns: facts.deadline,
        }
    }
}

impl Rules {
    /// Of those settings.
    pub fn of(settings: &Settings) -> Self {
        Self {
            policy: settings.policy,
            tie_share: settings.tie_share,
            tie_usd: settings.tie_usd,
            defer: settings.defer,
            short_wait_ns: settings.short_wait.as_nanos() as u64,
        }
    }
}

/// A call's id as it is shown everywhere.
mod hex {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use crate::domain::CallId;

    pub(super) fn serialize<S: Serializer>(id: &CallId, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<CallId, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        CallId::parse(&text).ok_or_else(|| D::Error::custom("a call's id has 16 hex digits"))
    }
}
