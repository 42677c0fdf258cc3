//! Vectors for texts: of length 1, the same for the same text and model, and with no meaning.

use std::ops::RangeInclusive;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::domain::request::{Embed, EmbedInput};
use crate::domain::{Answer, Embedded};
use crate::engine::draw::{mix, normal};

/// Lengths that may be asked for.
pub(super) const LENGTHS: RangeInclusive<u32> = 1..=4_096;

/// The length of a vector when none is asked for.
const DEFAULT: u32 = 256;

/// The answer to an embedding request.
pub(super) fn of(embed: &Embed, model: &str) -> Answer {
    let length = embed.dimensions.unwrap_or(DEFAULT);
    let model = xxh3_64_with_seed(model.as_bytes(), 0);
    let vectors = embed.inputs.iter().map(|input| {
        let seed = match input {
            EmbedInput::Text(text) => xxh3_64_with_seed(text.as_bytes(), model),
            EmbedInput::Tokens(ids) => ids.iter().fold(mix(model, 1), |seed, id| mix(seed, u64::from(*id))),
        };
        vector(seed, length)
    });
    Answer::Embedded(Embedded { vectors: vectors.collect() })
}

/// Evenly spread over the sphere, because its parts are normal draws.
fn vector(seed: u64, length: u32) -> Vec<f32> {
    let parts: Vec<f64> = (0..length).map(|i| normal(mix(seed, u64::from(i)))).collect();
    let norm = parts.iter().map(|p| p * p).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    parts.iter().map(|p| (p / norm) as f32).collect()
}
