//! The runner in virtual time: the same machine that `gridtie simulate` plays with, and a client's ledger beside it.
//!
//! What it proves: the rules (who is asked when, who is left alone, who comes back) and the bookkeeping. What it cannot
//! prove: sockets, memory, processes.

mod scene;

use super::journal::{Account, Attempt, Call, Change, Heard, Journal, PoolCount};
use super::script::{Drill, Script};
use crate::domain::{CallFacts, Instant};
use crate::fleet::Transition;
use crate::sim::traffic::BadTraffic;
use crate::sim::witness::{Witness, Word};
use crate::sim::world::run_witnessed;
use crate::sim::{Arrival, Traffic};

pub use scene::{Take, headroom};

/// The calls that come if nothing happens.
pub fn traffic(drill: &Drill, seed: u64) -> Result<Traffic, BadTraffic> {
    let checked = &drill.config;
    drill.source.traffic(&checked.catalog, &crate::sim::experiment::mix(checked), seed)
}

/// Plays a script, which is the drill's or a part of it, on these calls.
pub fn play(drill: &Drill, script: &Script, calls: &Traffic, take: Take) -> Journal {
    let scene = scene::Scene::of(drill, script, take);
    let calls = scene.surged(calls, take.seed);
    let mut scribe = Scribe { arrivals: &calls.arrivals, journal: Journal::default() };
    let (tally, counts) = run_witnessed(&scene.setup, &scene.deeds, &calls, take.seed, &mut scribe);
    let mut journal = scribe.journal;
    journal.usd = tally.usd();
    let count = |count: &crate::sim::pools::Count| PoolCount {
        arrived: count.arrived,
        answered: count.answered,
        late: count.late,
        recalled: count.recalled,
    };
    journal.pools = counts.iter().map(count).collect();
    journal
}

/// Writes down what clients hear and what routers say.
struct Scribe<'a> {
    arrivals: &'a [Arrival],
    journal: Journal,
}

impl Scribe<'_> {
    fn ends(call: &mut Call, at: Instant, heard: Heard) {
        call.ends += 1;
        if call.heard.is_none() {
            (call.heard, call.ended) = (Some(heard), Some(at));
        }
    }
}

impl Witness for Scribe<'_> {
    fn sent(&mut self, call: u32, at: Instant) {
        let Some(arrival) = self.arrivals.get(call as usize) else { return };
        self.journal.calls.push(Call {
            class: arrival.class,
            sent: at,
            first: None,
            ended: None,
            heard: None,
            ends: 0,
            tokens: 0,
            whole: Some(arrival.output),
        });
    }

    fn heard(&mut self, call: u32, at: Instant, word: Word) {
        let Some(call) = self.journal.calls.get_mut(call as usize) else { return };
        match word {
            Word::First => {
                call.first.get_or_insert(at);
                call.tokens = call.tokens.max(1);
            }
            Word::Tokens(total) => call.tokens = call.tokens.max(total),
            Word::Whole => {
                call.first.get_or_insert(at);
                Self::ends(call, at, Heard::Whole);
            }
            Word::Refused => Self::ends(call, at, Heard::Refused),
            Word::Broken => Self::ends(call, at, Heard::Broken),
            Word::Cut => Self::ends(call, at, Heard::Cut),
        }
    }

    fn closed(&mut self, call: u32, _: &CallFacts, record: &crate::call::Record) {
        let attempt = |attempt: &crate::call::AttemptRecord| Attempt {
            pool: attempt.pool,
            started: attempt.started,
            ended: attempt.ended,
            result: attempt.result,
            usd: attempt.cost.as_dollars(),
        };
        let attempts: Vec<Attempt> = record.attempts.iter().map(attempt).collect();
        let spent: f64 = attempts.iter().map(|attempt| attempt.usd).sum();
        if spent > 0.0 {
            self.journal.spent.push((record.closed.unwrap_or(record.arrived), spent));
        }
        self.journal.accounts.push(Account {
            call: call as usize,
            ending: record.ending,
            tokens: record.usage.output,
            usd: record.cost.as_dollars(),
            attempts,
        });
    }

    fn changed(&mut self, at: Instant, transition: &Transition) {
        self.journal.changes.push(Change {
            at,
            pool: transition.pool,
            whole: transition.endpoint.is_none(),
            to: transition.to,
            why: transition.reason.clone(),
        });
    }
}
