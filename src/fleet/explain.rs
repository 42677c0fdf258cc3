//! Where a call would go and why, term by term.

use std::fmt;
use std::sync::Arc;

use rand::SeedableRng as _;
use rand::rngs::SmallRng;

use super::survey::Survey;
use super::{Fleet, Tried};
use crate::domain::{CallFacts, Now};
use crate::policy::{Policy, Quote, Terms};

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
        self.freshen(facts, now);
        let mut rng = SmallRng::seed_from_u64(facts.id.0);
        let mut found = Survey::default();
        let asking = self.asking(facts, tried, now);
        let chosen = self.find(asking, &mut found, &mut rng).map(|(_, chosen)| chosen);
        let total = |i: usize| found.candidates[i].terms.total();
        let outcome = match chosen {
            Some(chosen) => {
                let reason = self.reason(&found, chosen);
                format!("dispatch to {} ({reason})", reason.pool)
            }
            None => self.outcome(&asking, &found),
        };
        Explanation {
            model: Arc::clone(&self.catalog.model(facts.model).name),
            class: Arc::clone(&asking.call.class.name),
            policy: self.settings.choice.policy,
            input_tokens: facts.input_tokens,
            output_tokens: asking.call.output as u32,
            rows: self.rows(&found, chosen.map(|c| c.best), now),
            outcome,
            margin_usd: chosen.and_then(|c| c.runner_up.map(|r| total(r) - total(c.best))),
        }
    }

    fn rows(&self, found: &Survey, chosen: Option<usize>, now: Now) -> Vec<Row> {
        let mut order: Vec<usize> = (0..found.candidates.len()).collect();
        let total = |i: &usize| found.candidates[*i].terms.total();
        order.sort_by(|a, b| {
            (chosen != Some(*a)).cmp(&(chosen != Some(*b))).then(total(a).total_cmp(&total(b)))
        });
        let eligible = order.into_iter().map(|i| {
            let c = &found.candidates[i];
            let held_back = c.rank == crate::policy::Rank::HeldBack;
            Row {
                pool: Arc::clone(&self.catalog.pool(c.pool).name),
                chosen: chosen == Some(i),
                standing: Standing::Eligible { terms: c.terms, quote: c.quote, held_back },
            }
        });
        let excluded = found.whose.iter().zip(&found.excluded).map(|(offer, why)| Row {
            pool: Arc::clone(&self.catalog.pool(self.catalog.offer(*offer).pool).name),
            chosen: false,
            standing: Standing::Excluded { name: why.name(), reason: why.describe(now.mono) },
        });
        eligible.chain(excluded).collect()
    }
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
