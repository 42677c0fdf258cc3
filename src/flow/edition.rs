//! One config as calls see it, and how the next one takes its place.
//!
//! A call goes on under the config of the day: every decision is made with the newest edition, whatever the call began
//! with, and what is under way stays with the upstream that it was sent to. The fleet and the edition change together
//! under the fleet's lock, so that whoever holds it sees both of one mind.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwap;

use super::{Router, Settings};
use crate::domain::{Address, Catalog, Editions, PoolId};
use crate::fleet;
use crate::upstream::Upstream;

/// A config that is taken.
pub(super) struct Edition {
    pub(super) number: u64,
    pub(super) catalog: Arc<Catalog>,
    /// By pool id; none where no config names the pool any more.
    pub(super) upstreams: Vec<Option<Arc<dyn Upstream>>>,
    pub(super) settings: Settings,
}

impl fmt::Debug for Edition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edition").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Edition {
    pub(super) fn upstream(&self, pool: PoolId) -> Option<&Arc<dyn Upstream>> {
        self.upstreams.get(pool.index())?.as_ref()
    }
}

/// The present edition, and those that open calls began with.
#[derive(Debug)]
pub(super) struct Shelf {
    present: ArcSwap<Edition>,
    past: Mutex<Vec<(u64, Weak<Edition>)>>,
}

impl Shelf {
    pub(super) fn new(catalog: Arc<Catalog>, upstreams: Vec<Arc<dyn Upstream>>, settings: Settings) -> Self {
        let upstreams = upstreams.into_iter().map(Some).collect();
        let first = Arc::new(Edition { number: 1, catalog, upstreams, settings });
        Self { present: ArcSwap::new(first), past: Mutex::default() }
    }

    /// The edition of now.
    pub(super) fn present(&self) -> Arc<Edition> {
        self.present.load_full()
    }

    /// The same for a short look, without counting who has it.
    pub(super) fn glance(&self) -> arc_swap::Guard<Arc<Edition>> {
        self.present.load()
    }

    fn turn(&self, next: Edition) {
        let last = self.present.swap(Arc::new(next));
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        past.retain(|(_, edition)| edition.strong_count() > 0);
        past.push((last.number, Arc::downgrade(&last)));
    }

    fn oldest(&self) -> u64 {
        let present = self.glance().number;
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        let open = past.iter().filter(|(_, edition)| edition.strong_count() > 0);
        open.map(|(number, _)| *number).min().unwrap_or(present)
    }
}

/// The config to go on with.
#[derive(Debug)]
pub struct Next {
    /// A successor of the present one.
    pub catalog: Arc<Catalog>,
    /// How pools are chosen.
    pub routing: fleet::Settings,
    /// How calls are carried out.
    pub settings: Settings,
    /// How to speak to pools, by [`PoolId`]; none where no config names the pool any more.
    pub upstreams: Vec<Option<Arc<dyn Upstream>>>,
    /// Pools that are spoken to in another way than before.
    pub renewed: Vec<PoolId>,
    /// Pools whose endpoints are now these; those of others stay.
    pub endpoints: Vec<(PoolId, Vec<Arc<Address>>)>,
}

impl Router {
    /// Goes on with another config. Calls under way are not disturbed: what was sent stays where it is, and what is to
    /// be decided yet is decided by the new one. Returns the number of the new edition.
    pub fn adopt(&self, next: Next) -> u64 {
        let inner = &self.0;
        let Next { catalog, routing, settings, upstreams, renewed, endpoints } = next;
        let now = inner.clock.now();
        // Series are there before anything can be counted in them.
        inner.telemetry.adopt(&catalog);
        let number = self.editions().next;
        let (transitions, called) = {
            let mut fleet = inner.fleet();
            let transitions = fleet.adopt(Arc::clone(&catalog), routing, &renewed, now);
            for (pool, addresses) in &endpoints {
                fleet.set_endpoints(*pool, addresses, now);
            }
            inner.editions.turn(Edition { number, catalog, upstreams, settings });
            (transitions, fleet.call_up())
        };
        inner.waiting.wake(called);
        inner.tell(&transitions);
        number
    }

    /// Which configs calls may know: what [`Catalog::succeed`] asks for.
    pub fn editions(&self) -> Editions {
        let present = self.0.editions.glance().number;
        Editions { next: present + 1, oldest: self.0.editions.oldest() }
    }
}
