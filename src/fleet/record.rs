//! Writes a decision down: what the look saw, what was drawn and what came of it, by name.

use std::sync::Arc;

use rand::SeedableRng as _;
use rand::rngs::SmallRng;

use super::survey::{Asking, Survey};
use super::{Decision, Fleet, Tried};
use crate::domain::{CallFacts, Now, OfferId};
use crate::policy::defer;
use crate::policy::record::{
    Asked, ClassNumbers, DecisionRecord, Eligible, Excluded, Home, Lots, OfferRecord, Outcome, Rules,
    Standing, TriedBefore, VERSION,
};

impl Fleet {
    /// [`Self::decide`], and a record of it. The decision is the same with and without.
    pub fn decide_on_record(
        &mut self,
        facts: &CallFacts,
        tried: &[Tried],
        now: Now,
        rng: &mut SmallRng,
    ) -> (Decision, DecisionRecord) {
        // What is decided before any look must not be told with the look of another call.
        self.scratch.clear();
        let generation = self.generation;
        let decision = self.decide(facts, tried, now, rng);
        let outcome = match &decision {
            Decision::Dispatch(dispatch) => Outcome::Dispatch {
                pool: Arc::clone(&self.catalog.pool(dispatch.pool).name),
                endpoint: Some(Arc::clone(&dispatch.address.origin)),
            },
            Decision::Wait { until, reason, .. } => {
                Outcome::Wait { until_ns: *until, reason: reason.clone().into_owned() }
            }
            Decision::Shed(refusal) => Outcome::shed(refusal),
        };
        let went = match &decision {
            Decision::Dispatch(dispatch) => Some(dispatch.offer),
            Decision::Wait { .. } | Decision::Shed(_) => None,
        };
        // Deciding teaches the fleet nothing about how long answers are: what is expected of this one is as it was.
        let mut record = self.written(&self.asking(facts, tried, now), &self.scratch, outcome, went);
        record.generation = generation;
        (decision, record)
    }

    /// What [`Self::decide`] would say, as a record. Changes nothing but how lately the estimates were worked out, sends to
    /// no endpoint, and asks no retry budget; chance is drawn from the call's id.
    pub fn consider(&mut self, facts: &CallFacts, tried: &[Tried], now: Now) -> DecisionRecord {
        self.freshen(facts, now);
        let mut rng = SmallRng::seed_from_u64(facts.id.0);
        let mut found = Survey::default();
        let asking = self.asking(facts, tried, now);
        let outcome = match self.find(asking, &mut found, &mut rng) {
            None => match self.wait_or_shed(&asking, &found) {
                Decision::Wait { until, reason, .. } => {
                    Outcome::Wait { until_ns: until, reason: reason.into_owned() }
                }
                Decision::Shed(refusal) => Outcome::shed(&refusal),
                Decision::Dispatch(_) => Outcome::Shed { why: "other".to_owned(), message: String::new() },
            },
            Some((asking, chosen)) => match self.defers(&asking, &mut found, chosen, &mut rng) {
                Some(until_ns) => Outcome::Wait { until_ns, reason: defer::REASON.to_owned() },
                None => {
                    let pool = found.candidates[chosen.best].pool;
                    Outcome::Dispatch { pool: Arc::clone(&self.catalog.pool(pool).name), endpoint: None }
                }
            },
        };
        let went = found.chosen.map(|chosen| found.candidates[chosen.best].offer);
        self.written(&asking, &found, outcome, went)
    }

    fn written(
        &self,
        asking: &Asking<'_>,
        found: &Survey,
        outcome: Outcome,
        went: Option<OfferId>,
    ) -> DecisionRecord {
        let (facts, now) = (asking.call.facts, asking.call.now);
        let mut record = DecisionRecord {
            v: VERSION,
            ts_ms: now.wall.as_millis(),
            call: facts.id,
            generation: self.generation,
            tenant: Arc::clone(&self.catalog.tenant(facts.tenant).name),
            model: Arc::clone(&self.catalog.model(facts.model).name),
            class: ClassNumbers::of(asking.call.class, asking.call.miss_usd),
            asked: Asked {
                no_room_to_wait: asking.call.class.may_wait && self.no_room_to_defer(),
                ..Asked::of(facts, asking.call.each, now.mono)
            },
            tried: asking.tried.iter().map(|t| self.tried_before(t)).collect(),
            rules: Rules::of(&self.settings.choice),
            home: found
                .home
                .map(|(pool, loss_usd)| Home { pool: Arc::clone(&self.catalog.pool(pool).name), loss_usd }),
            lots: Lots { choice: found.chosen.and_then(|c| c.lot), wait: found.wait_lot },
            offers: self.offers_of(found, &outcome, went, now),
            chosen: None,
            runner_up: None,
            margin_usd: None,
            outcome,
        };
        if let Some(chosen) = found.chosen {
            record.choose(chosen.best, chosen.runner_up);
        }
        record
    }

    /// The eligible in the order in which they were compared, then those that are out.
    fn offers_of(
        &self,
        found: &Survey,
        outcome: &Outcome,
        went: Option<OfferId>,
        now: Now,
    ) -> Vec<OfferRecord> {
        let eligible = found.candidates.iter().enumerate().map(|(i, c)| OfferRecord {
            pool: Arc::clone(&self.catalog.pool(c.pool).name),
            standing: Standing::Eligible(Eligible {
                rank: c.rank,
                order: c.order,
                weight: c.weight,
                quote: c.quote,
                terms: c.terms,
                total_usd: c.terms.total(),
                no_endpoint: passed_over(found, i, outcome, went),
            }),
        });
        let excluded = found.whose.iter().zip(&found.excluded).map(|(offer, why)| OfferRecord {
            pool: Arc::clone(&self.catalog.pool(self.catalog.offer(*offer).pool).name),
            standing: Standing::Excluded(Excluded { why: *why, says: why.describe(now.mono) }),
        });
        eligible.chain(excluded).collect()
    }

    fn tried_before(&self, tried: &Tried) -> TriedBefore {
        TriedBefore {
            pool: Arc::clone(&self.catalog.pool(tried.pool).name),
            endpoint: tried.endpoint.0,
            failure: tried.kind.name().to_owned(),
            unprocessed: tried.unprocessed,
        }
    }
}

/// Was the candidate at `i` asked for an endpoint and had none? The chosen one is asked first, then the others in order,
/// until one has; a call that had better wait asks nobody.
fn passed_over(found: &Survey, i: usize, outcome: &Outcome, went: Option<OfferId>) -> bool {
    let Some(chosen) = found.chosen else {
        // A second look, after everybody was asked.
        return true;
    };
    match went.and_then(|offer| found.candidates.iter().position(|c| c.offer == offer)) {
        Some(went) if matches!(outcome, Outcome::Dispatch { .. }) => {
            went != chosen.best && (i == chosen.best || i < went)
        }
        Some(_) | None => false,
    }
}
