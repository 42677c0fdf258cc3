//! The retry budget: what all retries together may add to the traffic of the last ten seconds.
//!
//! In prompt tokens, not in calls, because one retried prompt of a million tokens is not one of ten. After Finagle's
//! retry budget, which counts requests. Without it a brownout of one pool becomes an overload of the others.
//!
//! Every tenant has a budget of its own besides ([`RetryBudgets`]): what a client repeats by itself is charged there and
//! only there, and a retry of ours needs both, so that nobody can spend everybody's.

use crate::domain::{Instant, TenantId};

/// How much retries may add.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Settings {
    /// Prompt tokens of retries, as a share of the prompt tokens sent in the last ten seconds.
    pub share: f64,
    /// So many retries in ten seconds are always allowed: with little traffic a share of it is nothing.
    pub floor: u32,
    /// Attempts of a call, the first included; those that certainly were not worked on do not count.
    pub attempts: usize,
    /// Attempts of a call of any kind: the end of every loop.
    pub attempts_max: usize,
    /// Attempts of a call that may end in a lost connection: a call that kills whoever touches it is stopped here.
    pub disconnects: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { share: 0.1, floor: 3, attempts: 3, attempts_max: 8, disconnects: 2 }
    }
}

const BUCKETS: usize = 10;

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    sent: u64,
    spent: u64,
    retries: u32,
}

/// Ten exact buckets of one second.
#[derive(Clone, Debug, Default)]
pub struct RetryBudget {
    buckets: [Bucket; BUCKETS],
    second: u64,
    total: Bucket,
}

impl RetryBudget {
    /// A prompt of `tokens` was sent, for whatever reason.
    pub fn sent(&mut self, tokens: u32, now: Instant) {
        let bucket = self.bucket(now);
        bucket.sent = bucket.sent.saturating_add(u64::from(tokens));
        self.total.sent = self.total.sent.saturating_add(u64::from(tokens));
    }

    /// May a retry of `tokens` be sent?
    pub fn allows(&mut self, tokens: u32, now: Instant, settings: &Settings) -> bool {
        self.bucket(now);
        let total = &self.total;
        total.retries < settings.floor
            || (total.spent.saturating_add(u64::from(tokens))) as f64 <= settings.share * total.sent as f64
    }

    /// A retry of `tokens` is being sent.
    pub fn spend(&mut self, tokens: u32, now: Instant) {
        let bucket = self.bucket(now);
        bucket.spent = bucket.spent.saturating_add(u64::from(tokens));
        bucket.retries = bucket.retries.saturating_add(1);
        self.total.spent = self.total.spent.saturating_add(u64::from(tokens));
        self.total.retries = self.total.retries.saturating_add(1);
    }

    /// The bucket of now, with those that are too old emptied.
    fn bucket(&mut self, now: Instant) -> &mut Bucket {
        let second = now.as_nanos() / 1_000_000_000;
        let passed = second.saturating_sub(self.second).min(BUCKETS as u64);
        for i in 0..passed {
            let old = std::mem::take(&mut self.buckets[((second - i) % BUCKETS as u64) as usize]);
            self.total.sent = self.total.sent.saturating_sub(old.sent);
            self.total.spent = self.total.spent.saturating_sub(old.spent);
            self.total.retries = self.total.retries.saturating_sub(old.retries);
        }
        self.second = self.second.max(second);
        &mut self.buckets[(self.second % BUCKETS as u64) as usize]
    }
}

/// The budget of all and that of each tenant.
#[derive(Clone, Debug, Default)]
pub struct RetryBudgets {
    all: RetryBudget,
    /// By tenant id: as many as the config names.
    each: Vec<RetryBudget>,
}

impl RetryBudgets {
    /// Nothing sent yet by any of so many tenants.
    pub fn new(tenants: usize) -> Self {
        Self { all: RetryBudget::default(), each: vec![RetryBudget::default(); tenants] }
    }

    /// There are so many tenants now; those that were there keep what they spent.
    pub fn grow(&mut self, tenants: usize) {
        self.each.resize(tenants.max(self.each.len()), RetryBudget::default());
    }

    /// See [`RetryBudget::sent`].
    pub fn sent(&mut self, tenant: TenantId, tokens: u32, now: Instant) {
        self.all.sent(tokens, now);
        if let Some(own) = self.each.get_mut(tenant.index()) {
            own.sent(tokens, now);
        }
    }

    /// May a retry of ours be sent? See [`RetryBudget::allows`].
    pub fn allows(&mut self, tenant: TenantId, tokens: u32, now: Instant, settings: &Settings) -> bool {
        let own = self.each.get_mut(tenant.index());
        own.is_none_or(|own| own.allows(tokens, now, settings)) && self.all.allows(tokens, now, settings)
    }

    /// A retry of ours is being sent.
    pub fn spend(&mut self, tenant: TenantId, tokens: u32, now: Instant) {
        self.all.spend(tokens, now);
        self.repeated(tenant, tokens, now);
    }

    /// A client sends again by itself what it sent before.
    pub fn repeated(&mut self, tenant: TenantId, tokens: u32, now: Instant) {
        if let Some(own) = self.each.get_mut(tenant.index()) {
            own.spend(tokens, now);
        }
    }
}
