//! The tasks that belong to one pool each: looking its names up, asking its engines how busy they are. They begin with
//! the pool and end with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::{CancellationToken, DropGuard};

use crate::discover::{self, Known};
use crate::domain::{Failure, FailureKind, PoolId};
use crate::flow::Router;
use crate::probe;

/// See the module. Dropping it ends them all.
#[derive(Debug)]
pub(super) struct Upkeep {
    router: Router,
    seed: u64,
    begun: u64,
    pools: BTreeMap<Arc<str>, Care>,
}

/// What is done for one pool; dropping it ends that.
#[derive(Debug, Default)]
struct Care {
    lookups: Option<DropGuard>,
    polls: Option<DropGuard>,
}

impl Upkeep {
    pub(super) fn new(router: Router, seed: u64) -> Self {
        Self { router, seed, begun: 0, pools: BTreeMap::new() }
    }

    /// Nothing more is done for the pool, and nothing is said of it from now on.
    pub(super) fn end(&mut self, pool: &str) {
        self.pools.remove(pool);
    }

    /// No more of its names are looked up, until others are.
    pub(super) fn end_lookups(&mut self, pool: &str) {
        self.pools.get_mut(pool).map(|care| care.lookups.take());
    }

    /// Looks up the names of a pool, beginning with what is known of them. A pool without names needs none of it.
    pub(super) fn look_up(
        &mut self,
        name: &Arc<str>,
        pool: PoolId,
        endpoints: discover::Endpoints,
        known: Known,
    ) {
        let stop = CancellationToken::new();
        let (router, stopped) = (self.router.clone(), stop.clone());
        let tell = move |pool: PoolId, addresses: Vec<_>| {
            let now = router.clock().now();
            // Under the lock: what ended before a new config was taken has no say after it.
            let told = router.with_fleet(|fleet| {
                let told = !stopped.is_cancelled();
                if told {
                    fleet.set_endpoints(pool, &addresses, now);
                }
                told.then(|| fleet.catalog().clone())
            });
            if let Some(catalog) = told {
                tracing::info!(
                    pool = &*catalog.pool(pool).name,
                    endpoints = addresses.len(),
                    "endpoints found"
                );
            }
        };
        let seed = self.next_seed();
        if !endpoints.names.is_empty() {
            let watch = discover::watch_from(pool, (endpoints, known), seed, discover::system, tell);
            self.care(name).lookups = Some(stop.clone().drop_guard());
            tokio::spawn(async move { stop.run_until_cancelled(watch).await });
        }
    }

    /// Asks no engine any more, until [`Self::poll`].
    pub(super) fn end_polls(&mut self) {
        self.pools.values_mut().for_each(|care| care.polls = None);
    }

    /// Asks the engines of a pool how busy they are, from now on in this way, or not at all.
    pub(super) fn poll(&mut self, name: &Arc<str>, pool: PoolId, settings: Option<probe::Settings>) {
        self.care(name).polls = None;
        let Some(settings) = settings else { return };
        let (places, ask, tell) = (self.router.clone(), self.router.clone(), self.router.clone());
        let stop = CancellationToken::new();
        // Another draw than that of the same pool's lookups.
        let seed = self.next_seed().rotate_left(32);
        let watch = probe::watch(
            settings,
            seed,
            move || places.with_fleet(|fleet| fleet.places(pool)),
            move |address| match ask.upstream(pool) {
                Some(upstream) => upstream.load(address),
                None => {
                    let gone = Failure::new(FailureKind::Unsupported, "the pool was withdrawn");
                    Box::pin(std::future::ready(Err(gone)))
                }
            },
            move |endpoint, answer| match answer {
                Ok(load) => {
                    let now = tell.clock().now();
                    tell.with_fleet(|fleet| fleet.reported(pool, endpoint, load, now));
                }
                Err(failure) => tell.telemetry().poll_failed(&tell.catalog(), pool, &failure),
            },
        );
        self.care(name).polls = Some(stop.clone().drop_guard());
        tokio::spawn(async move { stop.run_until_cancelled(watch).await });
    }

    fn care(&mut self, name: &Arc<str>) -> &mut Care {
        self.pools.entry(name.clone()).or_default()
    }

    fn next_seed(&mut self) -> u64 {
        self.begun += 1;
        self.seed.wrapping_add(self.begun)
    }
}
