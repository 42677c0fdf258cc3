//! Where a call would go and why, term by term.

use std::fmt;
use std::sync::Arc;

use super::{Fleet, Reason, Tried};
use crate::domain::{CallFacts, Now};
use crate::policy::record::{self, DecisionRecord, OfferRecord, Outcome};
use crate::policy::{Policy, Quote, Rank, Terms};

/// The reasoning behind one decision.
#[derive(Clone, PartialEq, Debug)]
pub struct Explanation {
    /// The model asked for.
    pub model: Arc<str>,
    /// The class.
    pub class: Arc<str>,
    /// How pools are chosen.
    pub policy: Policy,
    /// Input tokens.
    pub input_tokens: u32,
    /// Output tokens expected, over all choices.
    pub output_tokens: u32,
    /// One row an offer: the chosen first, then by total, then those that are out.
    pub rows: Vec<Row>,
    /// What happens: `dispatch to owned`, or what a client would be told.
    pub outcome: String,
    /// How much dearer the runner-up is, in dollars.
    pub margin_usd: Option<f64>,
}

/// One offer.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// Its pool.
    pub pool: Arc<str>,
    /// It is the one.
    pub chosen: bool,
    /// Its price, or why it has none.
    pub standing: Standing,
}

/// Eligible or not.
#[derive(Clone, PartialEq, Debug)]
pub enum Standing {
    /// Eligible.
    Eligible {
        /// In dollars.
        terms: Terms,
        /// What they come from.
        quote: Quote,
        /// Slow start or the end of a cooldown keeps this call away.
        held_back: bool,
    },
    /// Out.
    Excluded {
        /// The stable word.
        name: &'static str,
        /// For people.
        reason: String,
    },
}

impl Fleet {
    /// What [`Self::decide`] would say, and why. Changes nothing but how lately the estimates were
    /// worked out; chance is drawn from the call's id.
    pub fn explain(&mut self, facts: &CallFacts, now: Now) -> Explanation {
        self.explain_after(facts, &[], now)
    }

    /// The same for a call that was tried already.
    pub fn explain_after(&mut self, facts: &CallFacts, tried: &[Tried], now: Now) -> Explanation {
        Explanation::of(&self.consider(facts, tried, now))
    }
}

impl Explanation {
    /// The table of a recorded decision.
    pub fn of(record: &DecisionRecord) -> Self {
        let outcome = match &record.outcome {
            Outcome::Dispatch { pool, .. } => format!("dispatch to {pool} ({})", reason(record, pool)),
            Outcome::Wait { until_ns, reason } => {
                format!("wait {:.1} s: {reason}", until_ns.secs_since(record.asked.now_ns))
            }
            Outcome::Shed { message, .. } => message.clone(),
        };
        Self {
            model: Arc::clone(&record.model),
            class: Arc::clone(&record.class.name),
            policy: record.rules.policy,
            input_tokens: record.asked.input_tokens,
            output_tokens: record.output_tokens() as u32,
            rows: rows(record),
            outcome,
            margin_usd: record.margin_usd.filter(|_| record.dispatched().is_some()),
        }
    }
}

/// Why there, as a client is told.
fn reason(record: &DecisionRecord, pool: &Arc<str>) -> Reason {
    let eligible = || record.offers.iter().filter_map(|o| Some((&o.pool, o.eligible()?)));
    let priced = record.rules.policy == Policy::Price;
    let total = |name: &Arc<str>| {
        eligible().find(|(pool, _)| *pool == name).filter(|_| priced).map(|(_, e)| e.total_usd)
    };
    let as_chosen = record.chosen.as_ref() == Some(pool);
    let runner_up = record.runner_up.as_ref().filter(|_| as_chosen);
    Reason {
        pool: Arc::clone(pool),
        j_usd: total(pool),
        runner_up: runner_up.map(|name| (Arc::clone(name), total(name))),
        policy: if eligible().count() == 1 { "only" } else { record.rules.policy.name() },
    }
}

/// The one that the call is sent to, the other eligible by total, and those that are out.
fn rows(record: &DecisionRecord) -> Vec<Row> {
    let sent = record.dispatched().map(|(pool, _)| pool);
    let mut offers: Vec<_> = record.offers.iter().collect();
    let key = |o: &OfferRecord| (o.eligible().is_none(), sent != Some(&o.pool));
    let total = |o: &OfferRecord| o.eligible().map_or(0.0, |e| e.total_usd);
    offers.sort_by(|a, b| key(a).cmp(&key(b)).then(total(a).total_cmp(&total(b))));
    let standing = |offer: &OfferRecord| match &offer.standing {
        record::Standing::Eligible(e) => {
            Standing::Eligible { terms: e.terms, quote: e.quote, held_back: e.rank == Rank::HeldBack }
        }
        record::Standing::Excluded(e) => Standing::Excluded { name: e.why.name(), reason: e.says.clone() },
    };
    let row = |offer: &OfferRecord| Row {
        pool: Arc::clone(&offer.pool),
        chosen: sent == Some(&offer.pool),
        standing: standing(offer),
    };
    offers.into_iter().map(row).collect()
}

const HEAD: [&str; 10] =
    ["pool", "total $", "money", "scarcity", "miss", "delay", "risk", "switch", "first token", "P(miss)"];

/// An aligned table in plain text; every amount in dollars.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|r| r.pool.chars().count()).chain([4]).max().unwrap_or(4);
        writeln!(
            f,
            "{} as {}: {} tokens in, about {} out; policy {}\n",
            self.model,
            self.class,
            self.input_tokens,
            self.output_tokens,
            self.policy.name()
        )?;
        write!(f, "  {:width$}", HEAD[0])?;
        for head in &HEAD[1..] {
            write!(f, "  {head:>11}")?;
        }
        writeln!(f)?;
        for row in &self.rows {
            write!(f, "{} {:width$}", if row.chosen { '>' } else { ' ' }, row.pool)?;
            match &row.standing {
                Standing::Eligible { terms: t, quote: q, held_back } => {
                    for usd in [t.total(), t.money, t.scarcity, t.miss, t.delay, t.risk, t.switching] {
                        if usd == 0.0 { write!(f, "  {:>11}", "-")? } else { write!(f, "  {usd:>11.6}")? }
                    }
                    write!(f, "  {:>9.3} s  {:>9.2} %", q.ttft_s, 100.0 * q.p_miss)?;
                    writeln!(f, "{}", if *held_back { "  (slow start)" } else { "" })?;
                }
                Standing::Excluded { reason, .. } => writeln!(f, "  {:>11}  {reason}", "-")?,
            }
        }
        writeln!(f, "\n{}", self.outcome)?;
        if let Some(margin) = self.margin_usd {
            writeln!(f, "margin to the runner-up: ${margin:.6}")?;
        }
        Ok(())
    }
}
