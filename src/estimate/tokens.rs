//! Tokens without a tokenizer. Routing needs sizes, not bills, and the error of these rules is small next to that of
//! the output length.

use super::{Mean, Settings};
use crate::domain::AskKind;

/// English and code have about four bytes a token in the vocabularies in use; other scripts have more bytes a
/// character and fewer characters a token, which nearly cancels out.
const BYTES_PER_TOKEN: usize = 4;

/// Input tokens of a prompt of so many bytes of text.
pub fn from_bytes(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(BYTES_PER_TOKEN)).unwrap_or(u32::MAX)
}

/// Output tokens of the answers of one class from one model, by the length of the prompt: code is completed by a line
/// after pages of it, and a conversation is answered at length after a question. What long prompts are answered with says
/// nothing about short ones, so each length has a mean of its own, shrunk towards that of all while it has few samples.
#[derive(Clone, Debug)]
pub struct Outputs {
    all: Mean,
    by_length: [Mean; LENGTHS],
}

/// Two lengths an octave (from 1, 1.5, 2, 3, 4, 6, … tokens): finer ones share out the samples of a mix of two kinds of
/// calls, coarser ones mix them up.
const LENGTHS: usize = 42;

impl Outputs {
    /// Nothing seen yet.
    pub const fn new(settings: &Settings) -> Self {
        let mean = Mean::new(settings.output_prior, settings.tail_samples);
        Self { all: mean, by_length: [mean; LENGTHS] }
    }

    /// A choice of an answer to a prompt of `input` tokens had `output` of them.
    pub fn observe(&mut self, input: u32, output: f64) {
        self.all.observe(output);
        if let Some(mean) = self.by_length.get_mut(length(input)) {
            mean.observe(output);
        }
    }

    /// Output tokens expected of one choice: what was seen lately, at most the client's limit. An embedding has none.
    pub fn expected(&self, kind: AskKind, input: u32, max: Option<u32>, settings: &Settings) -> f64 {
        if kind == AskKind::Embed {
            return 0.0;
        }
        let all = self.all.value(1.0, settings);
        let mean = self.by_length.get(length(input)).map_or(all, |m| m.value_near(all, 1.0, settings));
        max.map_or(mean, |max| mean.min(f64::from(max))).max(1.0)
    }
}

/// Which of the [`LENGTHS`].
fn length(input: u32) -> usize {
    let octave = input.max(1).ilog2();
    let upper_half = if octave == 0 { 0 } else { (input >> (octave - 1)) & 1 };
    ((2 * octave + upper_half) as usize).min(LENGTHS - 1)
}
