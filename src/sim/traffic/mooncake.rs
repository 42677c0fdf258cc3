//! The form of the Mooncake traces: one JSON object a line, with the prompt as hashes of blocks of 512 tokens.
//!
//! A hash names its block and all before it, so the chain is what a prefix cache looks up; the last block of a prompt
//! may be shorter. Moments are rounded to ticks of 3 s, and all calls of a tick at once would be bursts that never
//! happened: they are spread over their tick by draws, in the order of the file. A trace of the same form whose moments
//! lie elsewhere keeps them.
//!
//! The form names no conversations, but a client would: a call belongs to the one that its first uncommon block begins.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::read::{Row, Sheet, lines};
use super::{BadTraffic, CALLS_MAX};
use crate::domain::Instant;
use crate::engine::Block;
use crate::engine::cache::MAX_BLOCKS;
use crate::engine::draw::{mix, unit};

/// Tokens of a block.
const BLOCK: u32 = 512;

/// Milliseconds of a tick; the trace is up to three milliseconds off now and then. Ten are few enough that a trace with
/// moments of its own does not lie there by chance.
const TICK_MS: u64 = 3000;
const TICK_OFF_MS: u64 = 10;

/// A block that more than one call in so many has is a common beginning (instructions), not a conversation. In the
/// conversation trace one block is in all 12,031 calls and the next most common in 43.
const COMMON: usize = 100;

/// Calls of one conversation that are plausible in a trace however short.
const CONVERSATION: usize = 8;

/// Sets the draws of moments, and the names of blocks, apart from all others.
const MOMENT: u64 = 0x7469_636b;
const NAMES: u64 = 0x6d6f_6f6e;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    timestamp: u64,
    input_length: u64,
    output_length: u64,
    #[serde(default)]
    hash_ids: Vec<u64>,
}

pub(super) fn read(text: &str, sheet: &mut Sheet<'_>) -> Result<(), BadTraffic> {
    // One more than fit, so that the sheet says what is wrong.
    let rows = lines(text, 0).take(CALLS_MAX + 1).map(|(line, text)| parse(line, text, sheet));
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    let mut calls_with = BTreeMap::new();
    for block in rows.iter().flat_map(|(_, row)| row.prefix.iter().flat_map(|chain| chain.iter())) {
        *calls_with.entry(block.hash).or_insert(0usize) += 1;
    }
    let common = (rows.len() / COMMON).max(CONVERSATION);
    for (line, mut row) in rows {
        let chain = row.prefix.iter().flat_map(|chain| chain.iter());
        row.session = chain.map(|b| b.hash).find(|hash| calls_with.get(hash).is_some_and(|n| *n <= common));
        sheet.push(line, row)?;
    }
    spread(sheet);
    Ok(())
}

fn parse(line: usize, text: &str, sheet: &Sheet<'_>) -> Result<(usize, Row), BadTraffic> {
    let row: Line = serde_json::from_str(text).map_err(|error| {
        let remedy =
            "each line is {\"timestamp\": ms, \"input_length\": n, \"output_length\": n, \"hash_ids\": […]}";
        sheet.problem(line, format!("not a row of a Mooncake trace: {error}"), remedy)
    })?;
    let input = sheet.check_tokens(line, "input_length", row.input_length)?;
    let output = sheet.check_tokens(line, "output_length", row.output_length)?;
    let most = input.div_ceil(BLOCK) as usize;
    if row.hash_ids.len() > most {
        let what = format!("{} blocks for a prompt of {input} tokens", row.hash_ids.len());
        return Err(sheet.problem(
            line,
            what,
            format!("a prompt has one hash for each {BLOCK} tokens, here {most}"),
        ));
    }
    let prefix = Some(chain(&row.hash_ids, input));
    let at = Instant::from_nanos(row.timestamp.saturating_mul(1_000_000));
    Ok((line, Row { at, input, output, prefix, ..Row::default() }))
}

fn chain(hashes: &[u64], input: u32) -> Arc<[Block]> {
    let all = hashes.iter().take(MAX_BLOCKS).zip(0u32..);
    all.map(|(hash, i)| Block { hash: mix(NAMES, *hash), tokens: (input - i * BLOCK).min(BLOCK) }).collect()
}

/// Spreads calls of one moment up to the next tick: sorted uniform draws, which is what a Poisson process looks like
/// when its count is known.
fn spread(sheet: &mut Sheet<'_>) {
    let tick = |at: Instant| (at.as_nanos() / 1_000_000 + TICK_OFF_MS) % TICK_MS <= 2 * TICK_OFF_MS;
    if !sheet.arrivals.iter().all(|a| tick(a.at)) {
        return;
    }
    let seed = mix(sheet.options.seed, MOMENT);
    let (mut from, mut drawn) = (0, Vec::new());
    while let Some(start) = sheet.arrivals.get(from).map(|a| a.at) {
        let count = sheet.arrivals[from..].partition_point(|a| a.at == start);
        let next = sheet.arrivals.get(from + count).map_or(u64::MAX, |a| a.at.as_nanos());
        let room = (next - start.as_nanos()).min(TICK_MS * 1_000_000);
        drawn.clear();
        drawn.extend((from..from + count).map(|i| (unit(mix(seed, i as u64)) * room as f64) as u64));
        drawn.sort_unstable();
        for (arrival, after) in sheet.arrivals[from..from + count].iter_mut().zip(&drawn) {
            arrival.at = Instant::from_nanos(start.as_nanos() + after);
        }
        from += count;
    }
}
