//! Calls that come in bursts: a renewal process whose gaps are mostly short and now and then very long.
//! A burst's length is a draw, too; on average it has `1/q` calls.
//!
//! The gaps are hyper-exponential with two branches. Three numbers fix it: the mean rate, the coefficient of variation
//! `c` of the gaps, and the rate inside a burst over the mean rate, `P`. In units of the mean gap: short gaps have mean
//! `1/P`; a long one comes with probability `q = (1-1/P)^2 / ((c^2-1)/2 + (1-1/P)^2)` and has mean
//! `(1 - (1-q)/P) / q`. That gives the gaps mean 1 and second moment `1 + c^2`. With `c = 1` every gap is a long one of
//! mean 1: a Poisson process.

use std::sync::Arc;

use super::{Bursty, Draft, exponential, goes_on};
use crate::domain::Instant;
use crate::engine::Block;
use crate::engine::draw::{mix, unit};
use crate::sim::traffic::Arrival;

pub(super) fn draw(part: &Bursty, draft: &Draft<'_>, arrivals: &mut Vec<Arrival>) {
    let short = 1.0 / part.peak;
    let spare = (1.0 - short).powi(2);
    let q = spare / ((part.cv * part.cv - 1.0) / 2.0 + spare);
    let long = (1.0 - (1.0 - q) * short) / q;
    let alone: Arc<[Block]> = Arc::default();
    let mut at = 0.0;
    for number in 0u64.. {
        let seed = mix(draft.seed, number);
        let mean = if unit(mix(seed, 0)) < q { long } else { short };
        at += exponential(mix(seed, 1)) * mean / part.per_s;
        if !goes_on(at, draft, arrivals) {
            break;
        }
        arrivals.push(Arrival {
            at: Instant::from_secs_f64(at),
            model: draft.model,
            class: draft.class(number),
            input: part.input.tokens(mix(seed, 2)),
            output: part.output.tokens(mix(seed, 3)),
            stream: true,
            client: 0,
            session: None,
            prefix: Arc::clone(&alone),
        });
    }
}
