//! Makes a recorded decision again, as it was or as if something had been otherwise.
//!
//! What is replayed is the choice: prices are put together from the recorded quotes, the recorded lots are drawn, and the
//! rules of today choose. What the estimates said then is taken as it was, shadow prices included: a counterfactual is
//! about this one call, not about what the pools would have come to if every call had been decided so.

use std::fmt;
use std::sync::Arc;

use super::{DecisionRecord, Excluded, OfferRecord, Outcome, Standing, VERSION};
use crate::domain::{
    AskKind, CallFacts, CallId, Class, ClassId, Duration, Hints, ModelId, Now, OfferId, PoolId, TenantId,
    Timestamp,
};
use crate::policy::refuse::{self, Verdict, verdict};
use crate::policy::rival::Rule;
use crate::policy::{
    CallView, Candidate, Chosen, Exclusion, Policy, Quote, Settings, TokenPrices, choose, defer, price,
};

/// What is thought to be otherwise.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct WhatIf {
    /// These pools were not there.
    pub without: Vec<Arc<str>>,
    /// These pools cost that. An input token from the cache keeps its discount.
    pub prices: Vec<PriceIs>,
}

/// A pool's price, in dollars per token.
#[derive(Clone, PartialEq, Debug)]
pub struct PriceIs {
    /// The pool.
    pub pool: Arc<str>,
    /// Of input.
    pub input: f64,
    /// Of output.
    pub output: f64,
}

/// Why a decision cannot be made again.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum CannotReplay {
    /// It is written in a format that this release does not know.
    Version(u32),
    /// It was made by a rule that remembers what is not in the record.
    Remembers(Rule),
}

impl fmt::Display for CannotReplay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(v) => {
                write!(f, "it has format version {v}; this release replays version {VERSION}")
            }
            Self::Remembers(rule) => {
                write!(f, "the rule `{}` chose, which remembers more than a record holds", rule.name())
            }
        }
    }
}

impl WhatIf {
    /// Nothing: a plain replay.
    pub fn is_nothing(&self) -> bool {
        self.without.is_empty() && self.prices.is_empty()
    }

    /// Every pool that it names.
    pub fn pools(&self) -> impl Iterator<Item = &Arc<str>> {
        self.without.iter().chain(self.prices.iter().map(|p| &p.pool))
    }

    fn left_out(&self, pool: &str) -> bool {
        self.without.iter().any(|name| **name == *pool)
    }

    fn price(&self, pool: &str, quote: Quote) -> Quote {
        let Some(to) = self.prices.iter().find(|p| *p.pool == *pool) else { return quote };
        let was = quote.prices;
        let discount = if was.input > 0.0 { was.cached / was.input } else { 1.0 };
        let prices = TokenPrices { input: to.input, cached: to.input * discount, output: to.output };
        Quote { prices, ..quote }
    }
}

/// The same decision, made again. What comes back is a record too: terms, choice and outcome are those of now.
pub fn replay(record: &DecisionRecord, what_if: &WhatIf) -> Result<DecisionRecord, CannotReplay> {
    if record.v != VERSION {
        return Err(CannotReplay::Version(record.v));
    }
    if let Policy::Rival(rule) = record.rules.policy {
        return Err(CannotReplay::Remembers(rule));
    }
    let mut again = record.clone();
    if record.offers.is_empty() {
        // It was decided before any look at the pools: there is nothing that could come out otherwise.
        return Ok(again);
    }
    let (facts, class) = (facts(record), class(record));
    let now = Now { mono: record.asked.now_ns, wall: Timestamp::from_millis(record.ts_ms) };
    let call = CallView::new(&facts, &class, record.asked.expected_output, now);
    leave_out(&mut again.offers, what_if);
    let (at, mut candidates) = candidates(&again.offers, what_if, &call);
    let home = record.home.as_ref().and_then(|home| {
        let at = record.offers.iter().position(|o| o.pool == home.pool)?;
        Some((PoolId(at as u16), home.loss_usd))
    });
    price::settle(&mut candidates, home, &call);
    for (candidate, &i) in candidates.iter().zip(&at) {
        if let Standing::Eligible(eligible) = &mut again.offers[i].standing {
            eligible.quote = candidate.quote;
            eligible.terms = candidate.terms;
            eligible.total_usd = candidate.terms.total();
        }
    }
    (again.chosen, again.runner_up, again.margin_usd) = (None, None, None);
    let settings = settings(record);
    let chosen = choose(&candidates, &settings, || record.lots.choice.unwrap_or(0.0));
    if let Some(chosen) = chosen {
        again.choose(at[chosen.best], chosen.runner_up.map(|r| at[r]));
    }
    let outcome = chosen.and_then(|chosen| going(record, &again.offers, &at, &candidates, chosen, &call));
    let outcome = outcome.unwrap_or_else(|| refused(&again, &call, &settings));
    again.outcome = if outcome.same_as(&record.outcome) { record.outcome.clone() } else { outcome };
    Ok(again)
}

fn leave_out(offers: &mut [OfferRecord], what_if: &WhatIf) {
    for offer in offers.iter_mut().filter(|o| what_if.left_out(&o.pool)) {
        let says = "thought away".to_owned();
        offer.standing = Standing::Excluded(Excluded { why: Exclusion::PoolHint, says });
    }
}

/// The eligible offers with their prices, and their positions among all.
fn candidates(offers: &[OfferRecord], what_if: &WhatIf, call: &CallView<'_>) -> (Vec<usize>, Vec<Candidate>) {
    let eligible = offers.iter().enumerate().filter_map(|(i, o)| Some((i, &o.pool, o.eligible()?)));
    let candidate = |(i, pool, e): (usize, &Arc<str>, &super::Eligible)| {
        let quote = what_if.price(pool, e.quote);
        let key = Candidate::key_of(pool);
        let (offer, pool) = (OfferId(i as u16), PoolId(i as u16));
        let terms = price::terms(&quote, call);
        (i, Candidate { offer, pool, rank: e.rank, quote, terms, order: e.order, weight: e.weight, key })
    };
    eligible.map(candidate).unzip()
}

/// What comes of a choice: the call waits for a better price, or goes to the first of them that has an endpoint for it.
fn going(
    record: &DecisionRecord,
    offers: &[OfferRecord],
    at: &[usize],
    candidates: &[Candidate],
    chosen: Chosen,
    call: &CallView<'_>,
) -> Option<Outcome> {
    let rules = &record.rules;
    if rules.policy == Policy::Price && record.tried.is_empty() && !record.asked.no_room_to_wait {
        let best = &candidates[chosen.best];
        // Where no lot was drawn none is needed to know whether, only until when.
        let lot = record.lots.wait.unwrap_or(0.5);
        if let Some(until_ns) = defer::until(call, best, candidates, lot, &rules.defer) {
            return Some(Outcome::Wait { until_ns, reason: defer::REASON.to_owned() });
        }
    }
    let others = (0..candidates.len()).filter(|&i| i != chosen.best);
    let places = std::iter::once(chosen.best).chain(others).map(|i| &offers[at[i]]);
    let has_room = |o: &&OfferRecord| o.eligible().is_some_and(|e| !e.no_endpoint);
    let pool = Arc::clone(&places.into_iter().find(has_room)?.pool);
    Some(Outcome::Dispatch { pool, endpoint: None })
}

/// What comes of a look that found nobody.
fn refused(record: &DecisionRecord, call: &CallView<'_>, settings: &Settings) -> Outcome {
    let out = |o: &OfferRecord| match &o.standing {
        Standing::Excluded(excluded) => Some((Arc::clone(&o.pool), excluded.clone())),
        Standing::Eligible(_) => None,
    };
    let (pools, excluded): (Vec<_>, Vec<_>) = record.offers.iter().filter_map(out).unzip();
    let whys: Vec<Exclusion> = excluded.iter().map(|e| e.why).collect();
    let why = match verdict(call, &whys, settings) {
        Verdict::Wait { until, waits_for } => {
            let reason = format!("{}: {}", pools[waits_for], excluded[waits_for].says);
            return Outcome::Wait { until_ns: until, reason };
        }
        Verdict::Never => "never",
        Verdict::Overloaded { .. } => "overloaded",
        Verdict::Nobody { .. } => "nobody",
        Verdict::TooLate => "too_late",
    };
    let sentences = pools.iter().zip(&excluded).map(|(pool, e)| (&**pool, e.says.as_str()));
    Outcome::Shed { why: why.to_owned(), message: refuse::excuses(&record.model, sentences) }
}

fn settings(record: &DecisionRecord) -> Settings {
    let rules = &record.rules;
    Settings {
        policy: rules.policy,
        tie_share: rules.tie_share,
        tie_usd: rules.tie_usd,
        defer: rules.defer,
        short_wait: Duration::from_nanos(rules.short_wait_ns),
        ..Settings::default()
    }
}

fn class(record: &DecisionRecord) -> Class {
    let class = &record.class;
    Class {
        name: Arc::clone(&class.name),
        ttft_target: class.first_token_ns.map(Duration::from_nanos),
        finish_target: class.finish_ns.map(Duration::from_nanos),
        miss_usd: class.miss_usd,
        // In the price already.
        in_time: None,
        delay_usd_per_s: class.second_usd,
        deadline: record.asked.deadline_ns.since(record.asked.arrived_ns),
        // Who was kept from a budget is among the excluded, and a record is about one call, not about the line.
        reserve: 0.0,
        may_wait: class.may_wait,
        floor: 0.0,
    }
}

/// What the rules of choice read of a call. The rest (who, of which model) was judged before a record's quotes were made.
fn facts(record: &DecisionRecord) -> CallFacts {
    let asked = &record.asked;
    CallFacts {
        id: CallId(record.call.0),
        kind: AskKind::Chat,
        model: ModelId::default(),
        class: ClassId::default(),
        tenant: TenantId::default(),
        input_tokens: asked.input_tokens,
        max_tokens: asked.max_tokens,
        n: asked.choices,
        needs: asked.needs,
        stream: asked.stream,
        session: None,
        prefix: Arc::default(),
        hints: Hints::default(),
        arrived: asked.arrived_ns,
        deadline: asked.deadline_ns,
        client_retry: asked.client_retry,
    }
}
