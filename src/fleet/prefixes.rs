//! Which beginnings of prompts were sent to which endpoint: what its prefix cache probably holds.
//!
//! Least recently used out first, like the engine's own cache and of its size, as long as all of them together are not too
//! many. Only calls that say what their prompt is made of leave anything here; without them nothing is kept and nothing is
//! looked up.

use std::collections::BTreeMap;

use super::decide::Look;
use super::state::{Endpoint, PoolState};
use super::survey::Asking;
use super::{Dispatch, Fleet};
use crate::domain::{Block, CallFacts, EndpointId, ModelId};
use crate::engine::cache::Cache;
use crate::policy::place::{Glance, Job};

/// Tokens that are remembered of all endpoints together. Of calls from outside, whose blocks have at least 512 tokens,
/// these are a million blocks, or some 80 MB.
const TOKENS_MAX: u64 = 1 << 29;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    /// A prefix in one model's cache is none in another's.
    caches: BTreeMap<(EndpointId, ModelId), Cache>,
}

impl Prefixes {
    /// Tokens from the start of the prompt that were sent there before and are probably still held.
    pub(super) fn matched(&self, endpoint: EndpointId, model: ModelId, prefix: &[Block]) -> u32 {
        self.caches.get(&(endpoint, model)).map_or(0, |cache| cache.peek(prefix))
    }

    /// Tokens remembered of the endpoint.
    pub(super) fn held(&self, endpoint: EndpointId, model: ModelId) -> u64 {
        self.caches.get(&(endpoint, model)).map_or(0, Cache::tokens)
    }

    /// A prompt of `input` tokens is being sent there, to a cache of `room` tokens.
    pub(super) fn sent(
        &mut self,
        (endpoint, model): (EndpointId, ModelId),
        prefix: &[Block],
        input: u32,
        room: u64,
    ) {
        if prefix.is_empty() || room == 0 {
            return;
        }
        let known = self.caches.contains_key(&(endpoint, model));
        let share = TOKENS_MAX / (self.caches.len() + usize::from(!known)) as u64;
        if !known {
            self.caches.values_mut().for_each(|cache| cache.shrink_to(share));
        }
        self.caches.entry((endpoint, model)).or_default().keep(prefix, input, room.min(share));
    }

    /// Which of these endpoints holds the most of the prompt: the first of several.
    fn holder(
        &self,
        endpoints: impl Iterator<Item = (usize, EndpointId)>,
        model: ModelId,
        prefix: &[Block],
    ) -> Option<usize> {
        let (mut most, mut depth) = (None, 0);
        for (at, endpoint) in endpoints {
            let Some(next) = prefix.get(depth) else { break };
            // One look says of almost all that they hold no more than the best so far.
            if let Some(cache) = self.caches.get(&(endpoint, model)).filter(|cache| cache.holds(next)) {
                (most, depth) = (Some(at), cache.depth(prefix).max(depth + 1));
            }
        }
        most
    }

    /// Forgets endpoints and models that are gone.
    pub(super) fn retain(&mut self, lives: impl Fn(EndpointId, ModelId) -> bool) {
        self.caches.retain(|(endpoint, model), _| lives(*endpoint, *model));
    }
}

impl Fleet {
    /// The endpoint of a large pool, from `start` on and around, that holds the most of the call's prompt.
    pub(super) fn prefix_holder(&self, asking: &Asking<'_>, pool: &PoolState, start: usize) -> Option<usize> {
        let facts = asking.call.facts;
        if facts.prefix.is_empty() {
            return None;
        }
        let around = (start..pool.endpoints.len()).chain(0..start).map(|at| (at, pool.endpoints[at].id));
        self.prefixes.holder(around, facts.model, &facts.prefix)
    }

    /// The job at that endpoint, with what it holds of the prompt; none if the call does not say what its prompt is made of.
    pub(super) fn job_at(&self, asking: &Asking<'_>, endpoint: EndpointId, job: &Job) -> Option<Job> {
        let facts = asking.call.facts;
        if facts.prefix.is_empty() {
            return None;
        }
        let matched = self.prefixes.matched(endpoint, facts.model, &facts.prefix).min(facts.input_tokens);
        let uncached = 1.0 - f64::from(matched) / f64::from(facts.input_tokens.max(1));
        Some(Job { warm_s: job.full_s * uncached, ..*job })
    }

    /// Nominal seconds of prefill that the job adds at that endpoint: what it holds of the prompt, or else of the session, is
    /// left out.
    pub(super) fn work_s(&self, asking: &Asking<'_>, endpoint: EndpointId, job: &Job) -> f64 {
        match self.job_at(asking, endpoint, job) {
            Some(known) => known.warm_s,
            None if asking.warm.is_some_and(|w| w.endpoint == endpoint) => job.warm_s,
            None => job.full_s,
        }
    }

    /// The endpoint will hold the prompt of this call.
    pub(super) fn prefix_sent(&mut self, facts: &CallFacts, dispatch: &Dispatch) {
        if !facts.prefix.is_empty() {
            let room = self.catalog.pool(dispatch.pool).engine_prior.kv_tokens;
            self.prefixes.sent((dispatch.endpoint, facts.model), &facts.prefix, facts.input_tokens, room);
        }
    }
}

impl Look<'_> {
    /// What it comes to, to place the call there.
    #[inline]
    pub(super) fn glance(&self, e: &Endpoint) -> Glance {
        if self.asking.call.facts.prefix.is_empty() {
            return e.load.glance(self.job, self.asking.warm.is_some_and(|w| w.endpoint == e.id));
        }
        self.glance_at_prefix(e)
    }

    #[inline(never)]
    fn glance_at_prefix(&self, e: &Endpoint) -> Glance {
        let job = self.fleet.job_at(self.asking, e.id, self.job);
        e.load.glance(job.as_ref().unwrap_or(self.job), true)
    }

    /// What a first token that is expected after `expected_s` and comes too late would cost, in seconds of prefill, times
    /// its probability.
    pub(super) fn miss_s(&self, expected_s: f64) -> f64 {
        /// A target so many times the expected is not missed often enough to tell endpoints apart.
        const SAFE: f64 = 4.0;
        let call = &self.asking.call;
        let Some(target_s) = call.ttft_target_s else { return 0.0 };
        if expected_s * SAFE < target_s {
            return 0.0;
        }
        let fleet = self.fleet;
        let read = fleet.offers[self.offer.index()].reading();
        let second_usd = fleet.level.usd() * fleet.settings.choice.prefill_weight;
        read.p_late(target_s, expected_s) * call.miss_usd / second_usd
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks that nobody else has.
    fn prompt(endpoint: u32, blocks: u32) -> Vec<Block> {
        (0..blocks)
            .map(|i| Block { hash: u64::from(endpoint) << 32 | u64::from(i), tokens: 1 << 20 })
            .collect()
    }

    #[test]
    fn all_endpoints_together_remember_no_more_than_may_be_and_share_it() {
        let mut prefixes = Prefixes::default();
        let total = |p: &Prefixes| (0..100).map(|i| p.held(EndpointId(i), ModelId(0))).sum::<u64>();
        for endpoint in 0..100 {
            for _ in 0..2 {
                prefixes.sent((EndpointId(endpoint), ModelId(0)), &prompt(endpoint, 700), u32::MAX, u64::MAX);
                assert!(total(&prefixes) <= TOKENS_MAX, "{endpoint}: {}", total(&prefixes));
            }
        }
        assert!(total(&prefixes) > TOKENS_MAX / 2);
        assert_eq!(prefixes.held(EndpointId(0), ModelId(0)), 5 << 20);
    }
}
