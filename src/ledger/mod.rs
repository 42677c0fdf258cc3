//! Who used what: the second seam. In memory here; shared between replicas elsewhere.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::call::Record;
use crate::domain::{CallFacts, Ending, TenantId, Usd};

/// A seam: where accounts are kept. Called once for every call that had an id, when it is over.
pub trait Ledger: Send + Sync + fmt::Debug {
    /// Writes down the account of a call.
    fn settle(&self, facts: &CallFacts, record: &Record);

    /// What a tenant has used since the start.
    fn used(&self, tenant: TenantId) -> Used;
}

/// Totals of a tenant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Used {
    /// Calls, however they ended.
    pub calls: u64,
    /// Calls that were answered whole.
    pub answered: u64,
    /// Input tokens billed.
    pub input: u64,
    /// Output tokens billed.
    pub output: u64,
    /// Money billed.
    pub cost: Usd,
    /// What attempts cost us beyond what clients got.
    pub waste: Usd,
}

/// Totals in this process's memory, gone with it. Bounded by the number of tenants in the config.
#[derive(Debug, Default)]
pub struct InMemory(Mutex<BTreeMap<TenantId, Used>>);

impl Ledger for InMemory {
    fn settle(&self, facts: &CallFacts, record: &Record) {
        let mut tenants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let used = tenants.entry(facts.tenant).or_default();
        used.calls += 1;
        used.answered += u64::from(record.ending == Some(Ending::Ok));
        used.input += record.usage.input;
        used.output += record.usage.output;
        used.cost += record.cost;
        used.waste += record.waste();
    }

    fn used(&self, tenant: TenantId) -> Used {
        let tenants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tenants.get(&tenant).copied().unwrap_or_default()
    }
}
