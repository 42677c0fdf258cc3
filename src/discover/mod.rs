//! Where endpoints are when a config gives a name for many: looked up again and again, the last good answer kept.
//!
//! A DNS server that fails or answers with nothing says nothing about the endpoints; taking them away for it would
//! make an outage of DNS an outage of everything. Knows nothing of pools beyond their ids, and not what its results are
//! for.

mod known;

pub use known::{ADDRESSES_MAX, Known};

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{sleep, timeout};

use crate::domain::{Address, Duration, PoolId};

/// Where a pool's endpoints are.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Endpoints {
    /// These, always.
    pub fixed: Vec<Arc<Address>>,
    /// Every address of these.
    pub names: Vec<DnsName>,
    /// How often names are looked up.
    pub every: Duration,
    /// Loopback and private addresses are taken from DNS. Link-local and metadata addresses never are.
    pub allow_private: bool,
}

/// A DNS name that stands for many endpoints.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct DnsName {
    /// `http://name:port` or `https://name:port`: the origin of every endpoint found.
    pub origin: Arc<str>,
    /// The name.
    pub host: Arc<str>,
    /// The port.
    pub port: u16,
}

/// A lookup that takes longer has failed: resolvers try three times five seconds by default, which is too long to
/// start up in.
pub const LOOKUP_MAX: Duration = Duration::from_secs(5);

/// Waits differ by up to this share, so that replicas that were started together do not ask together.
const JITTER: f64 = 0.2;

/// Asks the system's resolver.
pub async fn system(name: DnsName) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((&*name.host, name.port)).await?.collect())
}

/// Keeps a pool's endpoints up to date until it is dropped: `tell` hears of the fixed ones at once and of all whenever
/// they have changed, and never of none. It ends only for a pool without names.
pub async fn watch<R, F>(
    pool: PoolId,
    endpoints: Endpoints,
    seed: u64,
    lookup: R,
    tell: impl FnMut(PoolId, Vec<Arc<Address>>),
) where
    R: Fn(DnsName) -> F,
    F: Future<Output = io::Result<Vec<SocketAddr>>>,
{
    let known = Known::new(&endpoints);
    watch_from(pool, (endpoints, known), seed, lookup, tell).await;
}

/// The same where something is known already.
pub async fn watch_from<R, F>(
    pool: PoolId,
    (endpoints, mut known): (Endpoints, Known),
    seed: u64,
    lookup: R,
    mut tell: impl FnMut(PoolId, Vec<Arc<Address>>),
) where
    R: Fn(DnsName) -> F,
    F: Future<Output = io::Result<Vec<SocketAddr>>>,
{
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut told = Vec::new();
    let mut news = |known: &Known| {
        let addresses = known.addresses();
        if addresses != told {
            told = addresses;
            tell(pool, told.clone());
        }
        told.is_empty()
    };
    news(&known);
    while !endpoints.names.is_empty() {
        for (i, name) in endpoints.names.iter().enumerate() {
            if let Ok(Ok(found)) = timeout(LOOKUP_MAX, lookup(name.clone())).await {
                known.answered(i, &found);
            }
        }
        let none = news(&known);
        sleep(pause(endpoints.every, none, &mut rng)).await;
    }
}

/// How long to the next round. As long as there is no endpoint at all, every second.
fn pause(every: Duration, none: bool, rng: &mut SmallRng) -> Duration {
    let every = if none { every.min(Duration::from_secs(1)) } else { every };
    every.mul_f64(rng.random_range(1.0 - JITTER..1.0 + JITTER))
}

#[cfg(test)]
mod tests;
