//! Accepts connections for every face: TCP, TLS, HTTP/1.1 and HTTP/2, with a bound on everything a peer can hold.
//!
//! A listener serves any hyper service; it knows nothing of paths or answers. What it adds is what a bare accept loop
//! lacks: it survives running out of file descriptors, it gives no peer unlimited time to speak or to listen, it keeps
//! the kernel's memory bounded, and it goes down in two steps ([`Shutdown`]).

mod guard;
mod head;
mod rest;
mod tls;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use hyper_util::service::TowerToHyperService;
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use guard::{Activity, Guarded, Limits, Protocol, Transport, Watched};
pub use tls::{Tls, TlsError};

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// The certificate it proved to own, where the listener asks for one. The chain was verified.
    pub certificate: Option<Arc<CertificateDer<'static>>>,
}

/// A tower service (a gRPC router, say) as the service of one connection. Its requests carry the [`Peer`] as an
/// extension.
#[derive(Clone, Debug)]
pub struct Tower<S> {
    inner: TowerToHyperService<S>,
    peer: Peer,
}

impl<S> Tower<S> {
    /// For the connection of `peer`.
    pub fn new(service: S, peer: Peer) -> Self {
        Self { inner: TowerToHyperService::new(service), peer }
    }
}

impl<S> Service<Request<Incoming>> for Tower<S>
where
    S: tower::Service<Request<Incoming>> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = <TowerToHyperService<S> as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer.clone());
        self.inner.call(request)
    }
}

/// What one listener grants.
#[derive(Clone, Debug)]
pub struct Settings {
    /// TLS, or plain text.
    pub tls: Option<Arc<Tls>>,
    /// Connections at once; one more is closed as soon as it is accepted.
    pub max_connections: usize,
    /// `SO_SNDBUF` in bytes. Left to the kernel it grows to 4 MiB a connection, and some thousand clients that do not
    /// read take the whole host down.
    pub send_buffer: u32,
    /// From accept to a finished TLS handshake, and from there to the first bytes that tell the protocol.
    pub handshake: Duration,
    /// From the first byte of a request's head to its last.
    pub head: Duration,
    /// An HTTP/1.1 connection without a request for this long is closed. Longer than the pools of common clients
    /// keep theirs, so that they close first and no request meets a closing connection.
    pub idle: Duration,
    /// A peer that takes no byte for this long, though we have some, is cut off.
    pub write_stall: Duration,
    /// HTTP/2 streams at once, a connection.
    pub max_streams: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tls: None,
            max_connections: 10_000,
            send_buffer: 64 * 1024,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            idle: Duration::from_secs(120),
            write_stall: Duration::from_secs(60),
            max_streams: 128,
        }
    }
}

/// The head of a request: this many bytes at most, or 431. (Fields: hyper's 100, which it keeps on the stack.)
const HEAD_BYTES: usize = 32 * 1024;

/// What a connection may buffer of answers that the peer has not taken; an event larger than this still goes through.
const WRITE_BUFFER: usize = 64 * 1024;

/// HTTP/2 windows for request bodies. The connection's window is as wide as all its streams together, so that one
/// body that is read slowly never holds up the others.
const STREAM_WINDOW: u32 = 256 * 1024;

/// HTTP/2 PING: a peer that vanished without a word is noticed within half a minute.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// TCP keep-alive does the same for HTTP/1.1: a client that vanished must not keep a GPU busy.
const KEEPALIVE_TIME: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// After a failed `accept` (no file descriptors, mostly) the loop waits this long for some to come back.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// How a listener goes down: first [`Self::begin`], some time later [`Self::cut`].
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    begun: CancellationToken,
    cut: CancellationToken,
}

impl Shutdown {
    /// No shutdown yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// No more connections; idle ones close, busy ones say `connection: close` or GOAWAY and finish what they began.
    pub fn begin(&self) {
        self.begun.cancel();
    }

    /// Drops what is left.
    pub fn cut(&self) {
        self.begun.cancel();
        self.cut.cancel();
    }

    /// Has it begun?
    pub fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }
}

/// Serves until it is shut down and every connection is closed. `make` gives each connection its service.
pub async fn serve<M, S, B>(listener: TcpListener, settings: Settings, shutdown: Shutdown, make: M)
where
    M: Fn(Peer) -> S + Send + Sync + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let shared = Arc::new((settings, make));
    let room = Arc::new(Semaphore::new(shared.0.max_connections));
    let connections = TaskTracker::new();
    while let Some((socket, address)) = accept(&listener, &shutdown).await {
        // Beyond the cap a closed connection tells the client to go elsewhere; a silent backlog would not.
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else { continue };
        let (shared, shutdown) = (Arc::clone(&shared), shutdown.clone());
        connections.spawn(async move {
            let (settings, make) = &*shared;
            let opened = select_unless(&shutdown.begun, open(socket, address, settings)).await;
            match opened {
                Some(Ok(opened)) => run(opened, settings, &shutdown, make).await,
                Some(Err(error)) => tracing::debug!(%address, %error, "connection not established"),
                None => {}
            }
            drop(permit);
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// The next connection, or `None` once the shutdown has begun. No error of `accept` is final: most are about one
/// connection or about file descriptors, and both pass.
async fn accept(listener: &TcpListener, shutdown: &Shutdown) -> Option<(TcpStream, SocketAddr)> {
    let mut failing = false;
    loop {
        match select_unless(&shutdown.begun, listener.accept()).await? {
            Ok(accepted) => return Some(accepted),
            Err(error) if about_one_connection(&error) => {}
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "cannot accept connections");
                }
                failing = true;
                select_unless(&shutdown.begun, tokio::time::sleep(ACCEPT_BACKOFF)).await?;
            }
        }
    }
}

/// The peer gave up between its SYN and our `accept`.
fn about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

async fn select_unless<F: Future>(stop: &CancellationToken, work: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        done = work => Some(done),
    }
}

/// A connection that is ready to speak HTTP.
struct Opened {
    peer: Peer,
    protocol: Protocol,
    io: Guarded<Transport>,
    activity: Arc<Activity>,
}

async fn open(socket: TcpStream, address: SocketAddr, settings: &Settings) -> io::Result<Opened> {
    tune(&socket, settings)?;
    let (mut transport, certificate) = match &settings.tls {
        None => (Transport::Plain { io: socket }, None),
        Some(tls) => {
            let stream = tokio::time::timeout(settings.handshake, tls.accept(socket)).await??;
            let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let certificate = certificate.map(|c| Arc::new(c.clone().into_owned()));
            (Transport::Tls { io: Box::new(stream) }, certificate)
        }
    };
    let (protocol, prefix) = tokio::time::timeout(settings.handshake, guard::sniff(&mut transport)).await??;
    let activity = Arc::new(Activity::default());
    let limits = Limits { head: settings.head, idle: settings.idle, write_stall: settings.write_stall };
    let io = Guarded::new(transport, prefix, protocol, limits, Arc::clone(&activity));
    Ok(Opened { peer: Peer { address, certificate }, protocol, io, activity })
}

fn tune(socket: &TcpStream, settings: &Settings) -> io::Result<()> {
    // Without it a token waits for the acknowledgement of the one before: 40 ms with a client that delays them.
    socket.set_nodelay(true)?;
    let socket = socket2::SockRef::from(socket);
    socket.set_send_buffer_size(settings.send_buffer as usize)?;
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE_TIME).with_interval(KEEPALIVE_INTERVAL);
    socket.set_tcp_keepalive(&keepalive)
}

async fn run<M, S, B>(opened: Opened, settings: &Settings, shutdown: &Shutdown, make: &M)
where
    M: Fn(Peer) -> S,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let Opened { peer, protocol, io, activity } = opened;
    let address = peer.address;
    let service = Watched::new(make(peer), Arc::clone(&activity));
    let io = TokioIo::new(io);
    let ended = match protocol {
        Protocol::Http1 => drive(http1_builder().serve_connection(io, service), &activity, shutdown).await,
        Protocol::Http2 => {
            drive(http2_builder(settings).serve_connection(io, service), &activity, shutdown).await
        }
    };
    if let Some(Err(error)) = ended {
        tracing::debug!(%address, %error, "connection broke");
    }
}

fn http1_builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        // `Guarded` keeps the times.
        .header_read_timeout(None)
        .max_header_size(HEAD_BYTES)
        .max_buf_size(WRITE_BUFFER);
    builder
}

fn http2_builder(settings: &Settings) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.max_streams)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(
            STREAM_WINDOW.saturating_mul(settings.max_streams).min(i32::MAX as u32),
        )
        .max_header_list_size(HEAD_BYTES as u32)
        .max_send_buf_size(WRITE_BUFFER)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// Polls a connection to its end, gently ended by the first step of a shutdown and dropped by the second (`None`).
async fn drive<C: GracefulConnection>(
    connection: C,
    activity: &Activity,
    shutdown: &Shutdown,
) -> Option<Result<(), C::Error>> {
    let mut connection = pin!(connection);
    if let Some(ended) = select_unless(&shutdown.begun, connection.as_mut()).await {
        return Some(ended);
    }
    activity.dismiss();
    connection.as_mut().graceful_shutdown();
    select_unless(&shutdown.cut, connection).await
}

#[cfg(test)]
mod tests;
