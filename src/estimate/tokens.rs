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

/// Output tokens expected of one choice: what was seen lately, at most the client's limit. An embedding has none.
pub fn expected_output(kind: AskKind, seen: &Mean, max_tokens: Option<u32>, settings: &Settings) -> f64 {
    if kind == AskKind::Embed {
        return 0.0;
    }
    let mean = seen.value(1.0, settings);
    max_tokens.map_or(mean, |max| mean.min(f64::from(max))).max(1.0)
}
