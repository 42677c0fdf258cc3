//! Calls of several tenants in one order: the tenant that has had the fewest laps first, and within a lap the least key,
//! whoever's it is.
//!
//! Every tenant has a file of its own, in order, and the shelf an index of where their files begin. The index is allowed to
//! be behind: an entry never comes after what it stands for, and is put right when it comes first. So news, a look in vain
//! or a tenant's next lap touch a few entries, however many tenants wait.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::row::Wish;
use super::shares::{Lap, Shares};
use crate::domain::TenantId;

#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) wish: Wish,
    /// The news that it has looked at.
    pub(super) looked: u64,
}

/// Calls of one tenant in some order, and how far they have been looked through.
#[derive(Clone, Debug)]
struct File<K> {
    calls: BTreeMap<K, Waiting>,
    /// Up to this one all have looked at the last news.
    passed: Option<K>,
    /// Its entry in the index; absent when all have looked.
    at: Option<(Lap, K)>,
}

impl<K: Ord + Copy> File<K> {
    const EMPTY: Self = Self { calls: BTreeMap::new(), passed: None, at: None };

    /// The first that has not looked at that news. Those before it are not looked through again.
    fn next(&mut self, news: u64) -> Option<(K, Waiting)> {
        let from = self.passed.map_or(Bound::Unbounded, Bound::Excluded);
        for (key, waiting) in self.calls.range((from, Bound::Unbounded)) {
            if waiting.looked < news {
                return Some((*key, *waiting));
            }
            self.passed = Some(*key);
        }
        None
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Shelf<K> {
    files: BTreeMap<TenantId, File<K>>,
    index: BTreeSet<(Lap, K, TenantId)>,
    /// Those whose entry may be beyond their first call, because that has looked: until the next news.
    moved: BTreeSet<TenantId>,
}

impl<K> Default for Shelf<K> {
    fn default() -> Self {
        Self { files: BTreeMap::new(), index: BTreeSet::new(), moved: BTreeSet::new() }
    }
}

impl<K: Ord + Copy> Shelf<K> {
    pub(super) fn get(&self, tenant: TenantId, key: &K) -> Option<&Waiting> {
        self.files.get(&tenant)?.calls.get(key)
    }

    /// The last of the tenant's.
    pub(super) fn last(&self, tenant: TenantId) -> Option<K> {
        Some(*self.files.get(&tenant)?.calls.last_key_value()?.0)
    }

    pub(super) fn put(&mut self, tenant: TenantId, key: K, waiting: Waiting, shares: &Shares) {
        let file = self.files.entry(tenant).or_insert(File::EMPTY);
        file.calls.insert(key, waiting);
        if file.passed.is_some_and(|passed| passed >= key) {
            file.passed = None;
        }
        if file.at.is_none_or(|(_, first)| key < first) {
            enter(&mut self.index, tenant, file, Some((shares.lap(tenant), key)));
        }
    }

    pub(super) fn remove(&mut self, tenant: TenantId, key: &K) -> Option<Waiting> {
        let file = self.files.get_mut(&tenant)?;
        let waiting = file.calls.remove(key)?;
        if file.calls.is_empty() {
            enter(&mut self.index, tenant, file, None);
            self.files.remove(&tenant);
            self.moved.remove(&tenant);
        }
        Some(waiting)
    }

    /// All may look again.
    pub(super) fn restart(&mut self, shares: &Shares) {
        while let Some(tenant) = self.moved.pop_first() {
            let Some(file) = self.files.get_mut(&tenant) else { continue };
            file.passed = None;
            let first = file.calls.first_key_value().map(|(key, _)| (shares.lap(tenant), *key));
            enter(&mut self.index, tenant, file, first);
        }
    }

    /// The first that has not looked at that news.
    pub(super) fn next(&mut self, news: u64, shares: &Shares) -> Option<(Lap, K, TenantId, Waiting)> {
        while let Some((lap, key, tenant)) = self.index.first().copied() {
            let Some(file) = self.files.get_mut(&tenant) else {
                debug_assert!(false, "who is in the index has a file");
                self.index.pop_first();
                continue;
            };
            let found = file.next(news);
            if file.passed.is_some() {
                self.moved.insert(tenant);
            }
            let right = found.map(|(key, _)| (shares.lap(tenant), key));
            match found {
                Some((_, waiting)) if right == Some((lap, key)) => return Some((lap, key, tenant, waiting)),
                _ => enter(&mut self.index, tenant, file, right),
            }
        }
        None
    }

    /// As many as have a call here.
    #[cfg(test)]
    pub(super) fn tenants(&self) -> usize {
        assert!(self.index.len() <= self.files.len() && self.moved.len() <= self.files.len());
        self.files.len()
    }
}

/// The tenant's entry in the index is this from now on.
fn enter<K: Ord + Copy>(
    index: &mut BTreeSet<(Lap, K, TenantId)>,
    tenant: TenantId,
    file: &mut File<K>,
    at: Option<(Lap, K)>,
) {
    if let Some((lap, key)) = std::mem::replace(&mut file.at, at) {
        index.remove(&(lap, key, tenant));
    }
    if let Some((lap, key)) = at {
        index.insert((lap, key, tenant));
    }
}
