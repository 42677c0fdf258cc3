//! Places on connections. HTTP/2 could put every call of an endpoint on one connection, where a lost packet stops all
//! and a lost connection loses all; so a connection carries a few dozen calls, and another is opened when they are full.
//!
//! A call takes the fullest connection that has room, so that connections beyond the need run empty and close.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use futures_util::future::Shared;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tonic::body::Body;

use super::connect::{Connector, Dialled, Driver};
use crate::domain::{Address, Duration, Failure, FailureKind};

/// Calls on one connection at most.
pub(super) const STREAMS: usize = 64;
/// A connection without calls is looked at this often, and closed when it had none between two looks.
const IDLE_LOOK: Duration = Duration::from_secs(30);
/// Endpoints that are remembered. DNS may bring any number; those without connections are forgotten first.
const ENDPOINTS_MAX: usize = 1_024;
/// Connections may be lost while a call waits for a place; so often, beyond the dials that may be needed.
const LOST_MAX: usize = 4;

/// All endpoints of a pool.
pub(super) struct Lanes {
    connector: Arc<Connector>,
    max_connections: usize,
    endpoints: Mutex<BTreeMap<Arc<Address>, Arc<Endpoint>>>,
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoints = lock(&self.endpoints);
        let open =
            endpoints.iter().map(|(address, endpoint)| (address.to_string(), endpoint.lock().open.len()));
        f.debug_map().entries(open).finish()
    }
}

impl Lanes {
    pub(super) fn new(connector: Connector, max_connections: usize) -> Self {
        Self {
            connector: Arc::new(connector),
            max_connections: max_connections.max(1),
            endpoints: Mutex::new(BTreeMap::new()),
        }
    }

    /// A place on a connection to `address`. Waits where all are taken; the caller's own timers bound that.
    pub(super) async fn acquire(&self, address: &Arc<Address>) -> Result<Lane, Failure> {
        self.endpoint(address)?.acquire(&self.connector).await
    }

    fn endpoint(&self, address: &Arc<Address>) -> Result<Arc<Endpoint>, Failure> {
        let mut endpoints = lock(&self.endpoints);
        if let Some(endpoint) = endpoints.get(address) {
            return Ok(Arc::clone(endpoint));
        }
        let origin: Uri = address.origin.parse().map_err(|_| {
            Failure::new(FailureKind::Connect, format!("{} is not an origin", address.origin))
        })?;
        if endpoints.len() >= ENDPOINTS_MAX {
            endpoints.retain(|_, endpoint| !endpoint.lock().open.is_empty());
        }
        let endpoint = Arc::new(Endpoint {
            address: Arc::clone(address),
            origin,
            places: Arc::new(Semaphore::new(self.max_connections * STREAMS)),
            max_connections: self.max_connections,
            state: Mutex::new(State::default()),
        });
        endpoints.insert(Arc::clone(address), Arc::clone(&endpoint));
        Ok(endpoint)
    }
}

#[cfg(test)]
impl Lanes {
    /// What the peer allows on the first of them.
    pub(super) fn allowed(&self, address: &Arc<Address>) -> usize {
        let endpoint = self.endpoint(address).unwrap();
        let state = endpoint.lock();
        state.open.first().map_or(0, |connection| (connection.allowed)())
    }
}

/// One endpoint.
struct Endpoint {
    address: Arc<Address>,
    origin: Uri,
    places: Arc<Semaphore>,
    max_connections: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: Vec<Connection>,
    next: u64,
    /// A dial under way; everybody without a place waits for the same one.
    dialling: Option<Dialling>,
}

type Dialling = Shared<oneshot::Receiver<Result<(), Failure>>>;

struct Connection {
    id: u64,
    sender: SendRequest<Body>,
    /// Streams that the peer allows.
    allowed: Arc<dyn Fn() -> usize + Send + Sync>,
    calls: usize,
    /// Calls it ever carried.
    carried: u64,
}

impl Connection {
    /// Room for another call, by our limit and by the peer's.
    fn room(&self) -> bool {
        self.calls < STREAMS && self.calls < (self.allowed)()
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What to do about a place.
enum Found {
    Place(Lane),
    Await(Dialling),
}

impl Endpoint {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    async fn acquire(self: &Arc<Self>, connector: &Arc<Connector>) -> Result<Lane, Failure> {
        let mut permit = Arc::clone(&self.places).acquire_owned().await.ok();
        for _ in 0..self.max_connections + LOST_MAX {
            match self.find(&mut permit, connector) {
                Found::Place(lane) => return Ok(lane),
                Found::Await(dialling) => match dialling.await {
                    Ok(Ok(())) => {}
                    Ok(Err(failure)) => return Err(failure),
                    Err(_) => return Err(Failure::new(FailureKind::Connect, "the dial was given up")),
                },
            }
        }
        Err(Failure::new(FailureKind::Connect, "connections are lost as soon as they are made"))
    }

    /// A place on the fullest connection with room; else a dial; and where no more may be dialled, any connection (its
    /// peer allows fewer streams than we would send, and HTTP/2 makes them queue).
    fn find(
        self: &Arc<Self>,
        permit: &mut Option<OwnedSemaphorePermit>,
        connector: &Arc<Connector>,
    ) -> Found {
        let mut state = self.lock();
        state.open.retain(|connection| !connection.sender.is_closed());
        let full = state.open.len() >= self.max_connections;
        let best = state.open.iter_mut().filter(|c| c.room()).max_by_key(|c| c.calls);
        let best = match best {
            Some(connection) => Some(connection.id),
            None if full => state.open.iter().min_by_key(|c| c.calls).map(|c| c.id),
            None => None,
        };
        if let Some(connection) = best.and_then(|id| state.open.iter_mut().find(|c| c.id == id)) {
            connection.calls += 1;
            connection.carried += 1;
            return Found::Place(Lane {
                endpoint: Arc::clone(self),
                id: connection.id,
                sender: connection.sender.clone(),
                _permit: permit.take(),
            });
        }
        let dialling = state.dialling.get_or_insert_with(|| self.dial(connector)).clone();
        Found::Await(dialling)
    }

    /// Dials in a task of its own: whoever asked first may leave while others wait.
    fn dial(self: &Arc<Self>, connector: &Arc<Connector>) -> Dialling {
        let (tell, told) = oneshot::channel();
        let (endpoint, connector) = (Arc::clone(self), Arc::clone(connector));
        tokio::spawn(async move {
            let dialled = connector.dial(&endpoint.origin, &endpoint.address).await;
            let result = dialled.map(|dialled| endpoint.opened(dialled));
            endpoint.lock().dialling = None;
            let _ = tell.send(result);
        });
        told.shared()
    }

    fn opened(self: &Arc<Self>, dialled: Dialled) {
        let mut state = self.lock();
        let id = state.next;
        state.next += 1;
        state.open.push(Connection {
            id,
            sender: dialled.sender,
            allowed: dialled.allowed,
            calls: 0,
            carried: 0,
        });
        tokio::spawn(drive(Arc::downgrade(self), id, dialled.driver));
    }

    /// Forgets the connection if it carried nothing since `carried` was its count; else says the count.
    fn look(&self, id: u64, carried: u64) -> Option<u64> {
        let mut state = self.lock();
        let at = state.open.iter().position(|c| c.id == id)?;
        let connection = &state.open[at];
        if connection.calls == 0 && connection.carried == carried {
            state.open.swap_remove(at);
            return None;
        }
        Some(connection.carried)
    }
}

/// Runs a connection to its end. Forgetting the last sender ends it, once its calls are over.
async fn drive(endpoint: Weak<Endpoint>, id: u64, mut driver: Driver) {
    let mut carried = Some(0);
    let error = loop {
        tokio::select! {
            biased;
            ended = &mut driver => break ended.err(),
            () = tokio::time::sleep(IDLE_LOOK), if carried.is_some() => {
                carried = match (endpoint.upgrade(), carried) {
                    (Some(endpoint), Some(before)) => endpoint.look(id, before),
                    _ => None,
                };
            }
        }
    };
    if let Some(endpoint) = endpoint.upgrade() {
        endpoint.lock().open.retain(|connection| connection.id != id);
        if let Some(error) = error {
            tracing::debug!(address = %endpoint.address, %error, "connection to an upstream broke");
        }
    }
}

/// A place on a connection; given back when dropped.
pub(super) struct Lane {
    endpoint: Arc<Endpoint>,
    id: u64,
    sender: SendRequest<Body>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Lane {
    /// What sends on it.
    pub(super) fn sender(&self) -> Sender {
        Sender(self.sender.clone())
    }

    /// No new calls on this connection: it takes none. (That a peer said GOAWAY shows only when it is used.)
    pub(super) fn condemn(&self) {
        self.endpoint.lock().open.retain(|connection| connection.id != self.id);
    }

    /// Scheme and authority of the endpoint.
    pub(super) fn origin(&self) -> &Uri {
        &self.endpoint.origin
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let mut state = self.endpoint.lock();
        if let Some(connection) = state.open.iter_mut().find(|c| c.id == self.id) {
            connection.calls = connection.calls.saturating_sub(1);
        }
    }
}

/// A connection as the service that a generated client wants.
pub(super) struct Sender(SendRequest<Body>);

impl tower::Service<Request<Body>> for Sender {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
