//! A config that is right by itself, tried against the world: names that are dialled must stand for something.
//!
//! Only what is new is looked up. A name that the running config has already may fail: an outage of DNS must not keep an
//! operator from taking a pool out.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use tokio::time::timeout;

use super::changes::position;
use crate::config::{Checked, Problems, UpstreamSettings, Written};
use crate::discover::{DnsName, Known, LOOKUP_MAX};
use crate::domain::Reach;
use crate::flow::Router;

/// Lookups at once.
const AT_ONCE: usize = 16;

/// Asks a resolver.
pub(super) type Lookup =
    Arc<dyn Fn(DnsName) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>> + Send + Sync>;

/// The system's resolver.
pub(super) fn system() -> Lookup {
    Arc::new(|name| Box::pin(crate::discover::system(name)))
}

/// Looks up what is new in `next`. What comes back is, for each pool whose endpoints are not those of `running`, what is
/// known of them.
pub(super) async fn hosts(
    running: &Checked,
    next: &Checked,
    router: &Router,
    lookup: &Lookup,
) -> Result<BTreeMap<Arc<str>, Known>, Problems> {
    let asked: Vec<&Written> = next.read.endpoints.iter().filter(|e| is_asked(running, next, e)).collect();
    let ask = |written: &&Written| {
        let name = DnsName { origin: written.origin.clone(), host: written.host.clone(), port: written.port };
        let answer = timeout(LOOKUP_MAX, lookup(name));
        async move { answer.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) }
    };
    let answers: Vec<_> = stream::iter(asked.iter().map(ask)).buffered(AT_ONCE).collect().await;
    let mut problems: Option<Problems> = None;
    let mut found: BTreeMap<&str, Vec<SocketAddr>> = BTreeMap::new();
    for (written, answer) in asked.into_iter().zip(answers) {
        match judge(running, next, written, answer) {
            Ok(sockets) => drop(found.insert(&written.origin, sockets)),
            Err(problem) => {
                problems = Some(match problems {
                    Some(others) => others.and(&problem),
                    None => problem,
                });
            }
        }
    }
    problems.map_or_else(|| Ok(known(running, next, router, &found)), Err)
}

/// Must the name be looked up? Those of the pool's present endpoints are asked too, for the sake of those that are new.
fn is_asked(running: &Checked, next: &Checked, written: &Written) -> bool {
    let Some(b) = position(next, &written.pool) else { return false };
    let proxied =
        matches!(&next.upstreams[b], UpstreamSettings::OpenAi(settings) if settings.proxy.is_some());
    let same = position(running, &written.pool).is_some_and(|a| running.endpoints[a] == next.endpoints[b]);
    !proxied && !same && written.host.parse::<IpAddr>().is_err()
}

/// Is it in use by the same pool already?
fn runs(running: &Checked, written: &Written) -> bool {
    running.read.endpoints.iter().any(|e| e.pool == written.pool && e.origin == written.origin)
}

fn judge(
    running: &Checked,
    next: &Checked,
    written: &Written,
    answer: io::Result<Vec<SocketAddr>>,
) -> Result<Vec<SocketAddr>, Problems> {
    let host = &written.host;
    let allow_private = position(next, &written.pool).is_some_and(|b| next.endpoints[b].allow_private);
    let allowed = |socket: &SocketAddr| Reach::of(socket.ip()).allowed(allow_private);
    let help = "the pools that run go on as they were; mend the name, or wait for DNS";
    let why = match answer {
        Ok(sockets) if sockets.iter().any(allowed) => return Ok(sockets),
        _ if runs(running, written) => return Ok(Vec::new()),
        Ok(sockets) if sockets.is_empty() => format!("`{host}` stands for no address"),
        Ok(_) => format!("`{host}` stands only for addresses that may not be dialled"),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => format!("`{host}` was not resolved in time"),
        Err(_) => format!("`{host}` cannot be resolved"),
    };
    Err(next.trouble(Some(written), why, help))
}

/// What is known of the endpoints of every pool that has others than before.
fn known(
    running: &Checked,
    next: &Checked,
    router: &Router,
    found: &BTreeMap<&str, Vec<SocketAddr>>,
) -> BTreeMap<Arc<str>, Known> {
    let mut out = BTreeMap::new();
    for (pool, endpoints) in next.catalog.pools.iter().zip(&next.endpoints) {
        let before = position(running, &pool.name);
        if before.is_some_and(|a| running.endpoints[a] == *endpoints) {
            continue;
        }
        let mut known = Known::new(endpoints);
        let places = router.catalog().pool_id(&pool.name).map(|id| router.with_fleet(|f| f.places(id)));
        for (i, name) in endpoints.names.iter().enumerate() {
            match found.get(&*name.origin) {
                Some(sockets) if !sockets.is_empty() => known.answered(i, sockets),
                // The last good answer.
                _ => {
                    let places = places.iter().flatten().filter(|(_, at)| at.origin == name.origin);
                    let sockets: Vec<_> = places.filter_map(|(_, at)| at.socket).collect();
                    known.answered(i, &sockets);
                }
            }
        }
        out.insert(pool.name.clone(), known);
    }
    out
}
