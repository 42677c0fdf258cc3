//! Dials one HTTP/2 connection: TCP, TLS where the origin says so, and the handshake.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use http::Uri;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::body::Body;

use super::lanes::{STREAMS, lock};
use super::{Settings, SettingsError};
use crate::domain::{Address, Duration, Failure, FailureKind, Reach};

/// What a stream may hold that was not read yet: some thousand token events.
const STREAM_WINDOW: u32 = 512 << 10;
/// As much as all streams of a connection together, so that one that is read slowly never holds up the others (h2
/// also takes its budget for small unread frames from this).
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS as u32;
/// A peer that vanished under open streams is noticed within twelve seconds.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// Heads of answers and their trailers.
const HEAD_BYTES: u32 = 32 << 10;
/// Addresses of one name that are tried in one dial.
const ADDRESSES: usize = 3;

/// A connection, and what drives it.
pub(super) struct Dialled {
    pub(super) sender: http2::SendRequest<Body>,
    /// Streams that the peer allows now.
    pub(super) allowed: Arc<dyn Fn() -> usize + Send + Sync>,
    pub(super) driver: Driver,
}

/// Resolves when the connection is over. Does nothing unless polled.
pub(super) type Driver = Pin<Box<dyn Future<Output = Result<(), hyper::Error>> + Send>>;

/// Dials.
pub(super) struct Connector {
    tls: Arc<ClientConfig>,
    connect_timeout: Duration,
    handshake_timeout: Duration,
    allow_private: bool,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("connect_timeout", &self.connect_timeout).finish_non_exhaustive()
    }
}

impl Connector {
    pub(super) fn new(settings: &Settings) -> Result<Self, SettingsError> {
        Ok(Self {
            tls: Arc::new(tls(settings.ca_pem.as_deref())?),
            connect_timeout: settings.connect_timeout,
            handshake_timeout: settings.handshake_timeout,
            allow_private: settings.allow_private,
        })
    }

    /// A new connection to `address`, whose origin is `origin`.
    pub(super) async fn dial(&self, origin: &Uri, address: &Address) -> Result<Dialled, Failure> {
        let host = origin.host().ok_or_else(|| unreachable("the address has no host"))?;
        let secure = origin.scheme() == Some(&http::uri::Scheme::HTTPS);
        let port = origin.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let socket = match address.socket {
            Some(socket) => self.connect(socket).await?,
            None => self.connect_any(host, port).await?,
        };
        if !secure {
            return self.handshake(socket).await;
        }
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|_| Failure::new(FailureKind::Tls, "the host is no name that a certificate can have"))?;
        let connecting = TlsConnector::from(Arc::clone(&self.tls)).connect(name, socket);
        let stream = match timeout(self.handshake_timeout, connecting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(Failure::new(FailureKind::Tls, format!("TLS: {error}"))),
            Err(_) => return Err(Failure::new(FailureKind::Tls, "TLS: no handshake in time")),
        };
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(Failure::new(FailureKind::Tls, "TLS: the server does not speak HTTP/2"));
        }
        self.handshake(stream).await
    }

    async fn connect_any(&self, host: &str, port: u16) -> Result<TcpStream, Failure> {
        let lookup = tokio::net::lookup_host((host.trim_matches(['[', ']']), port));
        let found = match timeout(self.connect_timeout, lookup).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => return Err(unreachable(&format!("DNS: {error}"))),
            Err(_) => return Err(unreachable("DNS: no answer in time")),
        };
        let mut failure = unreachable("DNS: no address");
        for socket in found.take(ADDRESSES) {
            match self.connect(socket).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn connect(&self, socket: SocketAddr) -> Result<TcpStream, Failure> {
        if !self.may_dial(socket.ip()) {
            return Err(unreachable(&format!("{socket} may not be dialled")));
        }
        let connected = match timeout(self.connect_timeout, TcpStream::connect(socket)).await {
            Ok(connected) => connected,
            Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
        };
        // Small messages go at once, or each would wait for the acknowledgement of the one before.
        let tuned = connected.and_then(|stream| stream.set_nodelay(true).map(|()| stream));
        tuned.map_err(|error| unreachable(&format!("{socket}: {error}")))
    }

    /// Checked on the resolved address, because a name can point anywhere.
    fn may_dial(&self, ip: IpAddr) -> bool {
        Reach::of(ip).allowed(self.allow_private)
    }

    async fn handshake<T>(&self, stream: T) -> Result<Dialled, Failure>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .adaptive_window(false)
            .max_header_list_size(HEAD_BYTES)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT);
        match timeout(self.handshake_timeout, builder.handshake(TokioIo::new(stream))).await {
            Ok(Ok((sender, connection))) => {
                // Shared, because the peer's limit can only be asked of what also has to be polled.
                let connection = Arc::new(Mutex::new(connection));
                let asked = Arc::clone(&connection);
                let allowed = Arc::new(move || lock(&asked).current_max_send_streams());
                let driver = poll_fn(move |cx| Pin::new(&mut *lock(&connection)).poll(cx));
                Ok(Dialled { sender, allowed, driver: Box::pin(driver) })
            }
            Ok(Err(error)) => Err(unreachable(&format!("HTTP/2: {error}"))),
            Err(_) => Err(unreachable("HTTP/2: no handshake in time")),
        }
    }
}

fn unreachable(what: &str) -> Failure {
    Failure::new(FailureKind::Connect, what)
}

fn tls(ca_pem: Option<&str>) -> Result<ClientConfig, SettingsError> {
    let mut roots = RootCertStore::empty();
    match ca_pem {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let certificate = certificate.map_err(|error| SettingsError::Roots(error.to_string()))?;
                roots.add(certificate).map_err(|error| SettingsError::Roots(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(SettingsError::Roots("there is no certificate in it".to_owned()));
            }
        }
        // None at all is found out when a handshake fails, and only then: plain text needs none.
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| SettingsError::Roots(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}
