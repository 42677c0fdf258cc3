//! A prompt as a chain of blocks: what prompts have in common from their beginning, as names that say nothing else of it.
//!
//! Blocks are of 512 tokens, by the estimate that routing goes by (four bytes of text a token), so that a block is a block
//! of the public traces and of the simulated engines too, and about 2 KiB of a request. Engines share pieces of 16 to 64
//! tokens; to choose among endpoints 512 are fine enough (some 20 to 50 ms of prefill on an engine of its own size), and
//! what is looked up and remembered of a call is thirty times less. What is left at the end has no block: the
//! next turn goes on in the middle of it.
//!
//! A block's name is a hash of its bytes and of the name before it, and the first is the tenant's: equal prompts of two
//! tenants share nothing.

use std::sync::Arc;

use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::domain::{Block, TenantId};

/// Quarters of a token in a block: as many as bytes of text.
const BLOCK: u64 = 2_048;

/// What is behind half a million tokens of a prompt tells nobody apart, and caches look no further.
const BLOCKS_MAX: usize = 1_024;

/// Sets the first name apart from hashes of tenants for other ends.
const SEED: u64 = 0x7072_6566_6978;

/// A chain that is being made.
#[derive(Clone, Debug)]
pub struct Chain {
    /// The name of all that was hashed so far.
    hash: u64,
    /// Quarters of a token since the last block; less than one.
    open: u64,
    /// Most prompts have no more, and make no other allocation.
    blocks: SmallVec<[Block; 8]>,
}

/// What something in a prompt weighs, in quarters of a token.
#[derive(Clone, Copy, Debug)]
pub(super) enum Weight {
    /// So many bytes of text: a block may end in the middle of it.
    Text(u64),
    /// Anything else: a block ends behind it.
    Whole(u64),
}

impl Chain {
    /// The beginning of each prompt of that tenant.
    pub fn of(tenant: TenantId) -> Self {
        let hash = xxh3_64_with_seed(&tenant.0.to_le_bytes(), SEED);
        Self { hash, open: 0, blocks: SmallVec::new() }
    }

    /// All of this is text.
    pub fn text(&mut self, bytes: &[u8]) {
        let hashed = self.weigh(bytes, Weight::Text(bytes.len() as u64));
        self.fold(&bytes[hashed..]);
    }

    /// All of this is something that costs so many tokens.
    pub fn whole(&mut self, bytes: &[u8], tokens: u32) {
        let hashed = self.weigh(bytes, Weight::Whole(4 * u64::from(tokens)));
        self.fold(&bytes[hashed..]);
    }

    /// The blocks that are full.
    pub fn blocks(self) -> Arc<[Block]> {
        self.blocks.as_slice().into()
    }

    /// `bytes`, which were not hashed yet, end with something of that weight. How many of them are in blocks now.
    #[inline]
    pub(super) fn weigh(&mut self, bytes: &[u8], weight: Weight) -> usize {
        let (Weight::Text(quarters) | Weight::Whole(quarters)) = weight;
        self.open += quarters;
        if self.open < BLOCK { 0 } else { self.close(bytes, weight) }
    }

    #[inline(never)]
    fn close(&mut self, bytes: &[u8], weight: Weight) -> usize {
        let mut hashed = 0;
        while self.open >= BLOCK {
            if self.blocks.len() == BLOCKS_MAX {
                self.open = 0;
                return bytes.len();
            }
            // There was less than a block before the text, so that its end is in the text.
            let (end, left) = match weight {
                Weight::Text(_) => (bytes.len() - (self.open - BLOCK) as usize, self.open - BLOCK),
                Weight::Whole(_) => (bytes.len(), self.open % 4),
            };
            self.hash = xxh3_64_with_seed(&bytes[hashed..end], self.hash);
            let tokens = u32::try_from((self.open - left) / 4).unwrap_or(u32::MAX);
            self.blocks.push(Block { hash: self.hash, tokens });
            (hashed, self.open) = (end, left);
        }
        hashed
    }

    /// What comes next comes behind this.
    fn fold(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() && self.blocks.len() < BLOCKS_MAX {
            self.hash = xxh3_64_with_seed(bytes, self.hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(tenant: u16, pieces: &[&str]) -> Vec<Block> {
        let mut chain = Chain::of(TenantId(tenant));
        pieces.iter().for_each(|p| chain.text(p.as_bytes()));
        chain.blocks().to_vec()
    }

    #[test]
    fn a_block_names_itself_and_all_before_it() {
        let long = "0123456789abcdef".repeat(512);
        let whole = chain(1, &[&long]);
        assert_eq!(whole.iter().map(|b| b.tokens).collect::<Vec<_>>(), [512; 4]);
        let mut other = long.clone();
        other.replace_range(5_000..5_001, "X");
        let shared = whole.iter().zip(chain(1, &[&other])).take_while(|(a, b)| **a == *b).count();
        assert_eq!(shared, 2);
        assert_eq!(chain(1, &[&long[..4_100]]), whole[..2]);
        assert!(chain(1, &[&long[1..]]).iter().all(|b| !whole.contains(b)));
    }

    #[test]
    fn tenants_share_nothing() {
        let long = "0123456789abcdef".repeat(512);
        let (one, two) = (chain(1, &[&long]), chain(2, &[&long]));
        assert_eq!(one.len(), two.len());
        assert!(one.iter().all(|b| two.iter().all(|c| b.hash != c.hash)));
    }

    #[test]
    fn pieces_go_on_where_the_one_before_ended_and_differ_from_others_cut_elsewhere() {
        let long = "0123456789abcdef".repeat(256);
        let parts = chain(1, &[&long[..3_000], &long[3_000..]]);
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[0], chain(1, &[&long])[0]);
        assert_ne!(parts[1], chain(1, &[&long])[1]);
        assert_ne!(chain(1, &["a", &long]), chain(1, &["b", &long]));
    }

    #[test]
    fn what_is_no_text_ends_a_block_behind_it() {
        let mut chain = Chain::of(TenantId(1));
        chain.text(&[b'a'; 1_000]);
        chain.whole(&[7; 100_000], 765);
        chain.text(&[b'b'; 2_047]);
        let blocks = chain.blocks();
        assert_eq!(blocks.iter().map(|b| b.tokens).collect::<Vec<_>>(), [1_015]);
    }

    #[test]
    fn a_chain_has_an_end() {
        let mut chain = Chain::of(TenantId(1));
        chain.text(&vec![b'a'; 3_000_000]);
        chain.text(&vec![b'a'; 3_000_000]);
        chain.whole(b"picture", u32::MAX);
        assert_eq!(chain.blocks().len(), BLOCKS_MAX);
    }
}
