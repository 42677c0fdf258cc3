//! Conversations: each turn's prompt is the one before, its answer, and something new.
//!
//! A next turn comes a pause after the answer that a healthy service would have given; it does not wait for the one
//! that the simulation gives. A workload that slowed down with the pools would hide how bad they are.

use std::sync::Arc;

use super::{Conversations, Draft, Spread, exponential, goes_on};
use crate::domain::Instant;
use crate::engine::Block;
use crate::engine::draw::mix;
use crate::sim::traffic::Arrival;

/// What people do. Ours: nothing public says it.
pub(super) const CHAT: Usual = Usual {
    turns: 5.0,
    system: 500,
    message: Spread { mean: 120.0, sigma: 1.0 },
    answer: Spread { mean: 250.0, sigma: 0.8 },
    pause_s: Spread { mean: 45.0, sigma: 1.0 },
};

/// What programs with tools do: long-lived, quick, and most of the prompt is old.
pub(super) const AGENTS: Usual = Usual {
    turns: 40.0,
    system: 3000,
    message: Spread { mean: 900.0, sigma: 1.2 },
    answer: Spread { mean: 180.0, sigma: 1.0 },
    pause_s: Spread { mean: 6.0, sigma: 1.2 },
};

/// The usual context window.
const CONTEXT: u32 = 128_000;

/// What a summary leaves of a history.
const SUMMARY: u32 = 5;

/// A healthy service: seconds to the first token, and per token after it.
const FIRST_S: f64 = 1.0;
const TOKEN_S: f64 = 0.025;

/// Turns of one conversation at most: a thousand times the mean of a chat is nobody's chat.
const TURNS_MAX: u64 = 5000;

/// A workload begins in the middle of conversations: those that began within four mean lengths before it, but not
/// more than a day.
const LEAD_LENGTHS: f64 = 4.0;
const LEAD_MAX_S: f64 = 86_400.0;

/// What holds where a description is silent.
#[derive(Debug)]
pub(super) struct Usual {
    turns: f64,
    system: u32,
    message: Spread,
    answer: Spread,
    pause_s: Spread,
}

impl Usual {
    /// With what the description does say.
    fn with(&self, said: &Conversations) -> Self {
        Self {
            turns: said.turns.unwrap_or(self.turns),
            system: said.system.unwrap_or(self.system),
            message: said.message.unwrap_or(self.message),
            answer: said.answer.unwrap_or(self.answer),
            pause_s: said.pause_s.unwrap_or(self.pause_s),
        }
    }

    /// Seconds before the start in which the first conversations begin.
    fn lead_s(&self) -> f64 {
        let length = self.turns * (FIRST_S + TOKEN_S * self.answer.mean + self.pause_s.mean);
        (length * LEAD_LENGTHS).min(LEAD_MAX_S)
    }

    /// How many turns the conversation of that seed has: geometric, at least 1.
    fn turns(&self, seed: u64) -> u64 {
        if self.turns <= 1.0 {
            return 1;
        }
        let more = (-exponential(seed) / (1.0 - 1.0 / self.turns).ln()) as u64;
        (1 + more).min(TURNS_MAX)
    }
}

/// Calls that are drawn for a part on average, those before the start included.
pub(super) fn expected(part: &Conversations, usual: &Usual, length_s: f64) -> f64 {
    let usual = usual.with(part);
    part.per_s * (length_s + usual.lead_s()) * usual.turns
}

pub(super) fn draw(part: &Conversations, usual: &Usual, draft: &Draft<'_>, arrivals: &mut Vec<Arrival>) {
    let usual = usual.with(part);
    let context = part.context.unwrap_or(CONTEXT);
    let mut start = -usual.lead_s();
    for number in 0u64.. {
        let seed = mix(draft.seed, number);
        start += exponential(mix(seed, 0)) / part.per_s;
        if !goes_on(start, draft, arrivals) {
            break;
        }
        one(&usual, context, draft, (number, seed, start), arrivals);
    }
}

/// One conversation: its number, seed and start in seconds, which may lie before the workload's.
fn one(
    usual: &Usual,
    context: u32,
    draft: &Draft<'_>,
    (number, seed, start): (u64, u64, f64),
    arrivals: &mut Vec<Arrival>,
) {
    let class = draft.class(number);
    let (mut at, mut history, mut told) = (start, 0u32, 0u64);
    for turn in 0..usual.turns(mix(seed, 1)) {
        let draw = |what: u64| mix(mix(seed, 2 + turn), what);
        let (message, output) = (usual.message.tokens(draw(0)), usual.answer.tokens(draw(1)));
        let whole = |history: u32| usual.system.saturating_add(history).saturating_add(message);
        if whole(history).saturating_add(output) > context {
            (history, told) = (history / SUMMARY, told + 1);
        }
        if !goes_on(at, draft, arrivals) {
            break;
        }
        let input = whole(history).min(context).max(1);
        if at >= 0.0 {
            let own = Block { hash: mix(seed, told), tokens: input.saturating_sub(usual.system) };
            let shared = Block { hash: draft.instructions(), tokens: usual.system.min(input) };
            arrivals.push(Arrival {
                at: Instant::from_secs_f64(at),
                model: draft.model,
                class,
                input,
                output,
                stream: true,
                client: 0,
                session: Some(seed),
                prefix: [shared, own].into_iter().filter(|b| b.tokens > 0).collect::<Arc<[Block]>>(),
            });
        }
        history = history.saturating_add(message).saturating_add(output);
        at += FIRST_S + TOKEN_S * f64::from(output) + usual.pause_s.draw(draw(2));
    }
}
