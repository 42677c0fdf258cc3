//! Simulated pools behind real sockets: what a router would meet at a provider, for tests and demonstrations.
//!
//! The pools are the very ones of [`upstream::simulated`](crate::upstream::simulated); this adds the wire. Faults appear
//! as the real thing would: an error is a status with an OpenAI error body, a cut stream is a cut connection, a stalled
//! one is silence, and a pool out of reach resets its connections. A pool has one address for all its engines and hands
//! each request to the least busy, as a balancer in front of them would.

mod grpc;
mod http;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::{Checked, UpstreamSettings};
use crate::domain::{Address, AttemptNo, CallId, Duration, Failure, Request};
use crate::engine::draw::mix;
use crate::upstream::simulated::{Settings, Simulated};
use crate::upstream::{Attempt, Onward, Reply, Upstream};

/// A pool and where to serve it. Port 0 takes any.
#[derive(Clone, Debug)]
pub struct MockPool {
    /// The pool.
    pub settings: Settings,
    /// Its OpenAI-compatible HTTP.
    pub http: SocketAddr,
    /// Its `gridtie.v1.Inference`, if that is wanted.
    pub grpc: Option<SocketAddr>,
}

/// Where a pool is served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bound {
    /// Its name.
    pub pool: Arc<str>,
    /// HTTP.
    pub http: SocketAddr,
    /// gRPC.
    pub grpc: Option<SocketAddr>,
}

/// Pools whose ports are open and that nobody answers for yet: see [`Mock::run`].
#[derive(Debug)]
pub struct Mock {
    pools: Vec<Open>,
}

#[derive(Debug)]
struct Open {
    served: Arc<Served>,
    http: TcpListener,
    grpc: Option<TcpListener>,
}

/// A pool as its servers see it.
#[derive(Debug)]
struct Served {
    pool: Simulated,
    /// Requests so far: they number the calls, whose ids draw the faults.
    calls: AtomicU64,
}

/// Nobody waits longer for a mock; the simulated pool itself has no use for it.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Opens the ports of the pools.
pub async fn bind(pools: Vec<MockPool>, clock: &Clock) -> io::Result<Mock> {
    let mut open = Vec::with_capacity(pools.len());
    for MockPool { settings, http, grpc } in pools {
        let http = TcpListener::bind(http).await?;
        let grpc = match grpc {
            Some(address) => Some(TcpListener::bind(address).await?),
            None => None,
        };
        let pool = Simulated::new(settings, clock.clone());
        open.push(Open { served: Arc::new(Served { pool, calls: AtomicU64::new(0) }), http, grpc });
    }
    Ok(Mock { pools: open })
}

impl Mock {
    /// Where the pools are.
    pub fn bound(&self) -> io::Result<Vec<Bound>> {
        let one = |open: &Open| {
            Ok(Bound {
                pool: Arc::clone(&open.served.pool.settings().name),
                http: open.http.local_addr()?,
                grpc: open.grpc.as_ref().map(TcpListener::local_addr).transpose()?,
            })
        };
        self.pools.iter().map(one).collect()
    }

    /// The pools themselves, to change their faults while they are served.
    pub fn pools(&self) -> Vec<Simulated> {
        self.pools.iter().map(|open| open.served.pool.clone()).collect()
    }

    /// Serves until `stop`, then drops every connection.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let stopped = CancellationToken::new();
        let mut servers = JoinSet::new();
        for Open { served, http, grpc } in self.pools {
            if let Some(listener) = grpc {
                servers.spawn(grpc::serve(listener, Arc::clone(&served), stopped.clone()));
            }
            servers.spawn(http::serve(http, served, stopped.clone()));
        }
        stop.await;
        stopped.cancel();
        while servers.join_next().await.is_some() {}
    }
}

impl Served {
    /// An id that no call had yet.
    fn next_id(&self) -> CallId {
        CallId(mix(self.pool.settings().seed, self.calls.fetch_add(1, Ordering::Relaxed)))
    }

    async fn call(&self, request: Request, model: &str) -> (CallId, Result<Reply, Failure>) {
        let call = self.next_id();
        let model: Arc<str> = Arc::from(model);
        let attempt = Attempt {
            call,
            no: AttemptNo(0),
            request: Arc::new(request),
            upstream_model: Arc::clone(&model),
            client_model: model,
            address: Arc::new(Address { origin: self.least_busy(), socket: None }),
            timeout: TIMEOUT,
            onward: Onward::default(),
        };
        (call, self.pool.call(attempt).await)
    }

    fn least_busy(&self) -> Arc<str> {
        let loads = self.pool.loads();
        let least = (0..loads.len()).min_by_key(|i| loads[*i].waiting + loads[*i].running).unwrap_or(0);
        Arc::from(format!("sim://{}/{least}", self.pool.settings().name))
    }
}

/// The simulated pools of a config.
pub fn simulated_pools(checked: &Checked) -> Vec<Settings> {
    let of = |upstream: &UpstreamSettings| match upstream {
        UpstreamSettings::Simulated(settings) => Some(settings.clone()),
        UpstreamSettings::OpenAi(_) | UpstreamSettings::Grpc(_) => None,
    };
    checked.upstreams.iter().filter_map(of).collect()
}
