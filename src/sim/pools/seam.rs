//! What the world says to the simulated pools, and they to it.

use std::sync::Arc;

use crate::domain::{Address, Failure, PoolId};
use crate::engine::{Block, Door, Settings};

/// One pool of the simulated world.
#[derive(Clone, Debug)]
pub struct PoolSettings {
    /// The engines, one an endpoint.
    pub engines: Vec<Settings>,
    /// Where each is, as the fleet knows it.
    pub addresses: Vec<Arc<Address>>,
    /// The way in, its limits and its faults.
    pub door: Door,
    /// Seed of its draws.
    pub seed: u64,
}

/// A try, by its number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct FlightId(pub u32);

/// What the world hears of a try.
#[derive(Clone, Debug)]
pub enum Heard {
    /// Its first content, with so many tokens of the prompt from a cache.
    First {
        /// Tokens.
        cached: u32,
    },
    /// More content, the last before it falls silent or breaks.
    More {
        /// Tokens in all.
        total: u32,
    },
    /// Its end.
    End {
        /// Tokens of the prompt that came from a cache.
        cached: u32,
    },
    /// It failed.
    Failed(Failure),
}

impl Heard {
    /// Nothing is heard of the try after it.
    pub(super) const fn last(&self) -> bool {
        matches!(self, Self::End { .. } | Self::Failed(_))
    }
}

/// What the world must wake this for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Due {
    /// A request arrives at its pool.
    Knock(FlightId),
    /// Something happens in an engine.
    Engine {
        /// Its pool.
        pool: u16,
        /// Which of its engines.
        endpoint: u16,
    },
    /// The same, behind all else that is due at that moment.
    EngineLast {
        /// Its pool.
        pool: u16,
        /// Which of its engines.
        endpoint: u16,
    },
    /// Contact with its pool ends, or the lease, for the try that was let in as that one of all (numbers are dealt again);
    /// and once more when the router hears of it.
    OutOfReach(FlightId, u64),
    /// The news of a try arrive at the router.
    News(FlightId),
}

/// A request to one endpoint.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Its pool.
    pub pool: PoolId,
    /// Position of the endpoint in the pool.
    pub endpoint: usize,
    /// Prompt, in tokens.
    pub input: u32,
    /// Answer, in tokens; 0 for an embedding.
    pub output: u32,
    /// It is answered as a stream.
    pub stream: bool,
    /// The prompt as a chain of blocks.
    pub prefix: Arc<[Block]>,
    /// Stands for the call; with `no` it seeds the draws.
    pub call: u64,
    /// Which try of the call.
    pub no: u8,
}
