//! What the tenants of a class have had of it, so that none has more than its share while another waits.
//!
//! Start-time fair queueing (Goyal, Vin and Cheng 1996), in laps: every tenant has a tag that grows by the cost of what it is
//! granted, and one that comes to wait starts from where the others are. Laps are equal pieces of that course. Whoever has had
//! fewer goes first; within a lap there is no order here, so that among tenants who had about the same the most urgent
//! call can go first. Equal shares: there are no weights.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::TenantId;

/// Laps that a tenant has had.
pub(super) type Lap = u64;

/// The length of a lap in the unit of costs (tokens): two or three usual calls. With longer ones a tenant whose calls come
/// in a flood holds up others for longer; with shorter ones calls of two tenants take turns however unlike their urgency.
const LAP: f64 = 4096.0;

/// So far behind the others a tenant may fall without losing a claim: it has some while there is no room for its model.
const SAVED: f64 = LAP;

/// Up to so many tenants it is not worth a look who may be forgotten.
const FEW: usize = 16;

#[derive(Clone, Copy, Debug, Default)]
struct Share {
    tag: f64,
    waiting: usize,
    /// What the calls that wait cost together.
    work: f64,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Shares {
    tenants: BTreeMap<TenantId, Share>,
    /// Those that wait, by how many calls they wait with.
    crowds: BTreeSet<(usize, TenantId)>,
    /// Where the furthest was when it was last granted something.
    front: f64,
    /// With so many tenants it is time to see who may be forgotten.
    full: usize,
}

impl Shares {
    /// Laps that a tenant that waits has had.
    pub(super) fn lap(&self, tenant: TenantId) -> Lap {
        self.tenants.get(&tenant).map_or(0, |share| (share.tag / LAP) as Lap)
    }

    /// How many calls of the tenant wait.
    pub(super) fn waiting(&self, tenant: TenantId) -> usize {
        self.tenants.get(&tenant).map_or(0, |share| share.waiting)
    }

    /// The tenant with the most calls waiting, and how many those are.
    pub(super) fn largest(&self) -> Option<(usize, TenantId)> {
        self.crowds.last().copied()
    }

    /// How many tenants wait.
    pub(super) fn tenants(&self) -> usize {
        self.crowds.len()
    }

    /// What the calls of the tenant that wait cost together.
    pub(super) fn work(&self, tenant: TenantId) -> f64 {
        self.tenants.get(&tenant).map_or(0.0, |share| share.work)
    }

    /// What the tenant waits for costs so much more.
    pub(super) fn weigh(&mut self, tenant: TenantId, more: f64) {
        if let Some(share) = self.tenants.get_mut(&tenant) {
            share.work += more;
        }
    }

    /// One more call of the tenant waits.
    pub(super) fn came(&mut self, tenant: TenantId) {
        let front = self.front;
        let share = self.tenants.entry(tenant).or_default();
        if share.waiting == 0 {
            share.tag = share.tag.max(front);
            share.work = 0.0;
        }
        self.crowds.remove(&(share.waiting, tenant));
        share.waiting += 1;
        self.crowds.insert((share.waiting, tenant));
    }

    /// One call less of the tenant waits.
    pub(super) fn left(&mut self, tenant: TenantId) {
        let Some(share) = self.tenants.get_mut(&tenant) else { return };
        self.crowds.remove(&(share.waiting, tenant));
        share.waiting = share.waiting.saturating_sub(1);
        if share.waiting > 0 {
            self.crowds.insert((share.waiting, tenant));
        }
        if self.crowds.is_empty() {
            *self = Self::default();
        }
    }

    /// The tenant was granted so much while others (or more of its own) wait.
    pub(super) fn charge(&mut self, tenant: TenantId, cost: f64) {
        if self.crowds.is_empty() {
            return;
        }
        self.forget();
        let share = self.tenants.entry(tenant).or_default();
        let start = share.tag.max(if share.waiting > 0 { self.front - SAVED } else { self.front });
        share.tag = start + cost.max(0.0);
        self.front = self.front.max(start);
    }

    /// Lets go of tenants that wait for nothing and that the others have caught up with, now and then.
    fn forget(&mut self) {
        if self.tenants.len() >= self.full.max(FEW) {
            let front = self.front;
            self.tenants.retain(|_, share| share.waiting > 0 || share.tag > front);
            self.full = 2 * self.tenants.len();
        }
    }

    /// How many tenants are known.
    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        assert!(self.crowds.len() <= self.tenants.len());
        self.tenants.len()
    }
}
