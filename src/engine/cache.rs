//! The prefix cache: which beginnings of prompts an engine still holds, least recently used out first.
//!
//! A prompt is a chain of blocks, each named by a hash of itself and all before it; what is cached of it is the longest
//! chain of blocks from its start that are all here. One block a prompt, named by its session, models a conversation
//! that grows.

use std::collections::BTreeMap;

use crate::domain::Block;

/// Blocks of one prompt that are looked at: 1024 of 512 tokens are half a million tokens.
pub const MAX_BLOCKS: usize = 1024;

/// Blocks that are remembered, whatever their length: bounds memory where prompts are many and tiny.
const MAX_ENTRIES: usize = 65_536;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    entries: BTreeMap<u64, Entry>,
    /// From the last use to the block: the first is the next to go.
    by_use: BTreeMap<u64, u64>,
    tokens: u64,
    uses: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    tokens: u32,
    used: u64,
}

impl Cache {
    /// Tokens held.
    pub const fn tokens(&self) -> u64 {
        self.tokens
    }

    /// How many tokens from the start of this prompt are here.
    pub fn peek(&self, blocks: &[Block]) -> u32 {
        self.find(blocks).0
    }

    /// How many blocks from the start of this prompt are here.
    pub fn depth(&self, blocks: &[Block]) -> usize {
        self.find(blocks).1
    }

    /// Is this block here, and so all before it?
    pub fn holds(&self, block: &Block) -> bool {
        self.entries.contains_key(&block.hash)
    }

    /// Tokens from the start that are here, and of how many blocks. A prompt is here up to some block and not beyond, since
    /// what is behind a block was used no later and goes first: a few looks find where.
    fn find(&self, blocks: &[Block]) -> (u32, usize) {
        let blocks = &blocks[..blocks.len().min(MAX_BLOCKS)];
        let Some((first, others)) = blocks.split_first().filter(|(first, _)| self.holds(first)) else {
            return (0, 0);
        };
        let more = others.partition_point(|block| self.holds(block));
        let last = others[..more].last().unwrap_or(first);
        let whole = blocks[..more].iter().fold(0u32, |sum, b| sum.saturating_add(b.tokens));
        let of_last = self.entries.get(&last.hash).map_or(0, |e| e.tokens.min(last.tokens));
        (whole.saturating_add(of_last), more + 1)
    }

    /// The same. Counts as a use of them.
    pub fn look_up(&mut self, blocks: &[Block]) -> u32 {
        let (found, hits) = self.find(blocks);
        // From the end, so that the start of a prompt, which more prompts share, goes last.
        for block in blocks[..hits].iter().rev() {
            if let Some(entry) = self.entries.get(&block.hash) {
                self.put(block.hash, entry.tokens);
            }
        }
        found
    }

    /// Keeps the first `input` tokens of this prompt, within `room` tokens over all.
    pub fn keep(&mut self, blocks: &[Block], input: u32, room: u64) {
        let (mut left, mut kept) = (input, 0);
        for block in blocks.iter().take(MAX_BLOCKS) {
            if left == 0 {
                break;
            }
            left -= block.tokens.min(left);
            kept += 1;
        }
        let mut before: u32 = blocks[..kept].iter().fold(0, |sum, b| sum.saturating_add(b.tokens));
        for block in blocks[..kept].iter().rev() {
            before = before.saturating_sub(block.tokens);
            let tokens = block.tokens.min(input.saturating_sub(before));
            let had = self.entries.get(&block.hash).map_or(0, |e| e.tokens);
            self.put(block.hash, tokens.max(had));
        }
        self.shrink_to(room);
    }

    /// Drops what was not used for longest until at most `room` tokens are held.
    pub fn shrink_to(&mut self, room: u64) {
        while self.tokens > room || self.entries.len() > MAX_ENTRIES {
            let Some((_, hash)) = self.by_use.pop_first() else { return };
            if let Some(entry) = self.entries.remove(&hash) {
                self.tokens -= u64::from(entry.tokens);
            }
        }
    }

    fn put(&mut self, hash: u64, tokens: u32) {
        self.uses += 1;
        self.tokens += u64::from(tokens);
        self.by_use.insert(self.uses, hash);
        if let Some(old) = self.entries.insert(hash, Entry { tokens, used: self.uses }) {
            self.tokens -= u64::from(old.tokens);
            self.by_use.remove(&old.used);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Prompts that branch at each block: a block's name says the whole way to it.
    fn prompt(way: &[u8]) -> Vec<Block> {
        let name = |hash: u64, step: &u8| 31 * hash + u64::from(*step) + 1;
        let mut hash = 0;
        let blocks = way.iter().map(|step| {
            hash = name(hash, step);
            Block { hash, tokens: 10 }
        });
        blocks.collect()
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_a_look_at_each_block_in_turn_finds(
            prompts in prop::collection::vec((prop::collection::vec(0u8..2, 1..8), 1u32..90), 1..60),
            room in 10u64..400,
        ) {
            let mut cache = Cache::default();
            for (way, input) in &prompts {
                let blocks = prompt(way);
                let held = blocks.iter().take_while(|b| cache.holds(b)).collect::<Vec<_>>();
                let whole = 10 * held.len() as u32;
                let last = held.last().map_or(0, |b| 10 - cache.entries[&b.hash].tokens);
                prop_assert_eq!(cache.peek(&blocks), whole - last);
                prop_assert_eq!(cache.look_up(&blocks), whole - last);
                prop_assert!(blocks[held.len()..].iter().all(|b| !cache.holds(b)));
                cache.keep(&blocks, *input, room);
                prop_assert!(cache.tokens() <= room);
            }
        }
    }
}
