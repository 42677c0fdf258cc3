//! Successes and failures of the last ten seconds, in ten exact buckets of one second.

use crate::domain::Instant;

const BUCKETS: usize = 10;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    buckets: [(u32, u32); BUCKETS],
    /// The second that the newest bucket stands for.
    second: u64,
}

impl Window {
    pub(super) fn add(&mut self, ok: bool, now: Instant) {
        let second = now.as_nanos() / 1_000_000_000;
        let passed = second.saturating_sub(self.second).min(BUCKETS as u64);
        for i in 0..passed {
            self.buckets[((second - i) % BUCKETS as u64) as usize] = (0, 0);
        }
        self.second = self.second.max(second);
        let (good, bad) = &mut self.buckets[(self.second % BUCKETS as u64) as usize];
        if ok {
            *good = good.saturating_add(1);
        } else {
            *bad = bad.saturating_add(1);
        }
    }

    /// `(all, good)`. Right only just after [`Self::add`], which is when a breaker asks.
    pub(super) fn totals(&self) -> (u32, u32) {
        self.buckets.iter().fold((0, 0), |(all, good), &(g, b)| {
            (all.saturating_add(g).saturating_add(b), good.saturating_add(g))
        })
    }
}
