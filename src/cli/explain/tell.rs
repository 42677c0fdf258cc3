//! What a replay and a counterfactual come to, for people.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use super::what_if::said;
use crate::fleet::Explanation;
use crate::policy::record::{DecisionRecord, Eligible, Outcome, WhatIf};

/// The counterfactual beside the actual.
pub(super) fn beside(
    was: &DecisionRecord,
    then: &DecisionRecord,
    what_if: &WhatIf,
    out: &mut dyn Write,
) -> io::Result<()> {
    write!(out, "\n{}:\n\n{}", capital(&said(what_if)), Explanation::of(then))?;
    writeln!(out, "\n{}", difference(was, then))
}

/// `owned -> cloud-a: total +$0.002290, bill +$0.002400`.
fn difference(was: &DecisionRecord, then: &DecisionRecord) -> String {
    let change = if same(was, then) {
        format!("the same choice: {}", did(&was.outcome))
    } else {
        format!("{} instead of {}", did(&then.outcome), did(&was.outcome))
    };
    match (was.dispatched(), then.dispatched()) {
        (Some((_, a)), Some((_, b))) => format!(
            "{change}: total {}, bill {}",
            signed(b.total_usd - a.total_usd),
            signed(b.terms.money - a.terms.money)
        ),
        (Some((_, a)), None) => format!("{change}: bill {}", signed(-a.terms.money)),
        (None, Some((_, b))) => format!("{change}: bill {}", signed(b.terms.money)),
        (None, None) => change,
    }
}

/// What people call the same: the same pool, or the same kind of no. Waiting for longer is no other choice.
fn same(was: &DecisionRecord, then: &DecisionRecord) -> bool {
    was.outcome.word() == then.outcome.word()
}

fn did(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Dispatch { pool, .. } => format!("dispatch to {pool}"),
        Outcome::Wait { reason, .. } => format!("wait ({reason})"),
        Outcome::Shed { why, .. } => format!("shed ({why})"),
    }
}

fn signed(usd: f64) -> String {
    // What rounds to nothing has no sign.
    let usd = if usd.abs() < 5e-7 { 0.0 } else { usd };
    format!("{}${:.6}", if usd < 0.0 { '-' } else { '+' }, usd.abs())
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// One decision with its table, and whether the replay did the same.
pub(super) fn replayed(
    place: &str,
    recorded: &DecisionRecord,
    again: &DecisionRecord,
    out: &mut dyn Write,
) -> io::Result<()> {
    let head = format!("{place}: call {} of {}", recorded.call, recorded.tenant);
    let tried: Vec<String> = recorded.tried.iter().map(|t| format!("{} ({})", t.pool, t.failure)).collect();
    let after = if tried.is_empty() { String::new() } else { format!(", after {}", tried.join(", ")) };
    writeln!(out, "{head}{after}\n\n{}", Explanation::of(again))?;
    let drift = drift(recorded, again);
    if drift > DRIFT {
        writeln!(
            out,
            "totals differ from the recorded ones by up to ${drift:.6}: the rules have changed since"
        )?;
    }
    if again.outcome.same_as(&recorded.outcome) {
        writeln!(out, "replay: the same")
    } else {
        writeln!(out, "replay: DIFFERS, on record is {}", did(&recorded.outcome))
    }
}

/// Less than this, in dollars, is how numbers are added up.
const DRIFT: f64 = 1e-12;

/// The largest difference between a recorded total and the same total put together again.
fn drift(recorded: &DecisionRecord, again: &DecisionRecord) -> f64 {
    let total = |e: Option<&Eligible>| e.map_or(0.0, |e| e.total_usd);
    let both = recorded.offers.iter().zip(&again.offers);
    both.map(|(a, b)| (total(a.eligible()) - total(b.eligible())).abs()).fold(0.0, f64::max)
}

/// What many counterfactuals come to.
#[derive(Debug, Default)]
pub(super) struct Moved {
    decisions: u64,
    changed: u64,
    total_usd: f64,
    /// By pool, or by what else was done.
    by: BTreeMap<Arc<str>, Side>,
}

#[derive(Debug, Default)]
struct Side {
    decisions: [u64; 2],
    bill_usd: [f64; 2],
}

impl Moved {
    pub(super) fn count(&mut self, was: &DecisionRecord, then: &DecisionRecord) {
        self.decisions += 1;
        self.changed += u64::from(!same(was, then));
        if let (Some((_, a)), Some((_, b))) = (was.dispatched(), then.dispatched()) {
            self.total_usd += b.total_usd - a.total_usd;
        }
        for (i, record) in [was, then].into_iter().enumerate() {
            let side = self.by.entry(Arc::from(record.outcome.word())).or_default();
            side.decisions[i] += 1;
            side.bill_usd[i] += record.dispatched().map_or(0.0, |(_, e)| e.terms.money);
        }
    }

    /// How many choices change, and the dollars that move between pools.
    pub(super) fn tell(&self, what_if: &WhatIf, out: &mut dyn Write) -> io::Result<()> {
        let bills = |i: usize| self.by.values().map(|s| s.bill_usd[i]).sum::<f64>();
        writeln!(
            out,
            "\n{}: {} of {} choices change; totals {}, bills {}\n",
            capital(&said(what_if)),
            self.changed,
            self.decisions,
            signed(self.total_usd),
            signed(bills(1) - bills(0))
        )?;
        let width = self.by.keys().map(|name| name.chars().count()).chain([4]).max().unwrap_or(4);
        writeln!(
            out,
            "  {:width$}  {:>10}  {:>10}  {:>13}  {:>13}  {:>13}",
            "pool", "decisions", "then", "bills", "then", "moved"
        )?;
        for (name, side) in &self.by {
            let ([n, m], [a, b]) = (side.decisions, side.bill_usd);
            writeln!(out, "  {name:width$}  {n:>10}  {m:>10}  {a:>13.6}  {b:>13.6}  {:>13}", signed(b - a))?;
        }
        Ok(())
    }
}
