//! Routines: a batch of calls at given hours of every day, all with the same instructions.

use std::sync::Arc;

use super::{Draft, Nightly, goes_on};
use crate::domain::Instant;
use crate::engine::Block;
use crate::engine::draw::{mix, unit};
use crate::sim::traffic::{Arrival, TOKENS_MAX};

const DAY_S: f64 = 86_400.0;

/// Calls that a part has at most.
pub(super) fn expected(part: &Nightly, length_s: f64) -> f64 {
    part.at_hours.len() as f64 * f64::from(part.calls) * (length_s / DAY_S).ceil()
}

pub(super) fn draw(part: &Nightly, draft: &Draft<'_>, arrivals: &mut Vec<Arrival>) {
    let days = (draft.length.as_secs_f64() / DAY_S).ceil() as u64;
    let mut number = 0;
    for day in 0..days {
        for hour in &part.at_hours {
            let release = day as f64 * DAY_S + hour * 3600.0;
            for _ in 0..part.calls {
                number += 1;
                let seed = mix(draft.seed, number);
                let at = release + unit(mix(seed, 0)) * part.over_s;
                if goes_on(at, draft, arrivals) {
                    arrivals.push(call(part, draft, number, at));
                }
            }
        }
    }
}

fn call(part: &Nightly, draft: &Draft<'_>, number: u64, at: f64) -> Arrival {
    let seed = mix(draft.seed, number);
    let instructions = Block { hash: draft.instructions(), tokens: part.system };
    let shares = part.system > 0;
    Arrival {
        at: Instant::from_secs_f64(at),
        model: draft.model,
        class: draft.class(number),
        input: part.system.saturating_add(part.input.tokens(mix(seed, 1))).min(TOKENS_MAX),
        output: part.output.tokens(mix(seed, 2)),
        stream: true,
        client: 0,
        session: None,
        prefix: shares.then_some(instructions).into_iter().collect::<Arc<[Block]>>(),
    }
}
