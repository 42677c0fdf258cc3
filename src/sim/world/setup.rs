//! What a world is made of.

use std::sync::Arc;

use super::super::pools::PoolSettings;
use crate::domain::{Catalog, Duration, Instant, PoolId, Timestamp};
use crate::engine::Door;
use crate::fleet;

/// Everything that a run is a function of, but for the traffic and the seed.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What there is.
    pub catalog: Arc<Catalog>,
    /// How the router is set.
    pub routing: fleet::Settings,
    /// What the pools are, by [`PoolId`].
    pub pools: Vec<PoolSettings>,
    /// What happens to them.
    pub faults: Vec<Fault>,
    /// The wall clock when the trace begins.
    pub start: Timestamp,
    /// Who routes.
    pub routers: Routers,
}

/// The routers of a world: replicas that see the same pools and not each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Routers {
    /// How many; a call comes to any of them.
    pub count: u16,
    /// How often the engines of owned pools tell them how busy they are; absent is never.
    pub told_every: Option<Duration>,
}

impl Default for Routers {
    /// One, which knows what it has done.
    fn default() -> Self {
        Self { count: 1, told_every: None }
    }
}

/// Something that happens to a pool.
#[derive(Clone, Debug)]
pub struct Fault {
    /// When.
    pub at: Instant,
    /// To whom.
    pub pool: PoolId,
    /// What.
    pub what: Blow,
}

/// See [`Fault`].
#[derive(Clone, Debug)]
pub enum Blow {
    /// Another door: other limits and faults; one that refuses also breaks the answers under way.
    Door(Box<Door>),
    /// One endpoint, or all, takes so many times as long.
    Slow {
        /// Which; absent is all.
        endpoint: Option<usize>,
        /// How many times; 1 ends it.
        factor: f64,
    },
}
