//! Dials: resolves, refuses addresses that no upstream may have, connects, shakes hands.
//!
//! What is checked is the address that is really connected to, so that a name that resolves to something else tomorrow
//! changes nothing. A pinned address goes through the connection pool as the user part of the URI's authority, which
//! makes it part of the pool's key; it is never sent.

use std::future::Future;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Authority;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{Settings, SettingsError};
use crate::domain::Reach;

/// A resolver that says nothing for so long will not say anything in time for a call.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(2);

/// At most so many addresses of a name are tried for one connection.
const ADDRESSES_MAX: usize = 4;

/// A proxy's answer to CONNECT is a few hundred bytes.
const PROXY_HEAD_MAX: usize = 8 * 1024;

/// Dead peers that never say so are found by the kernel after about a minute.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// Why there is no connection.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("{0}")]
    Connect(String),
    #[error("{0}")]
    Tls(String),
}

/// How to dial for one pool.
pub(super) struct Dial {
    connect_timeout: Duration,
    handshake_timeout: Duration,
    allow_private: bool,
    proxy: Option<(String, u16)>,
    tls: TlsConnector,
}

impl Dial {
    pub(super) fn new(settings: &Settings) -> Result<Self, SettingsError> {
        Ok(Self {
            connect_timeout: settings.connect_timeout,
            handshake_timeout: settings.handshake_timeout,
            allow_private: settings.allow_private,
            proxy: settings.proxy.as_deref().map(proxy).transpose()?,
            tls: tls(settings.ca_pem.as_deref())?,
        })
    }

    pub(super) const fn is_proxied(&self) -> bool {
        self.proxy.is_some()
    }
}

fn proxy(text: &str) -> Result<(String, u16), SettingsError> {
    // Not shown: what people put there by mistake is a password.
    let wrong = || SettingsError::Proxy("must be http://host:port and nothing else".to_owned());
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let plain = uri.scheme_str() == Some("http") && matches!(uri.path(), "" | "/");
    let authority = uri.authority().filter(|a| plain && !a.as_str().contains('@')).ok_or_else(wrong)?;
    Ok((bare(authority.host()).to_owned(), authority.port_u16().ok_or_else(wrong)?))
}

fn tls(ca_pem: Option<&str>) -> Result<TlsConnector, SettingsError> {
    let mut roots = RootCertStore::empty();
    match ca_pem {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let certificate = certificate.map_err(|e| SettingsError::Roots(e.to_string()))?;
                roots.add(certificate).map_err(|e| SettingsError::Roots(e.to_string()))?;
            }
            if roots.is_empty() {
                return Err(SettingsError::Roots("no certificate in it".to_owned()));
            }
        }
        // Certificates of the system that cannot be read are nobody's to mend here; if none can, every handshake
        // says so.
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| SettingsError::Roots(e.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// `authority` with the address to dial in front of it.
pub(super) fn pinned(authority: &Authority, socket: SocketAddr) -> String {
    let ip = match socket.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    format!("{:032x}-{}@{authority}", ip.to_bits(), socket.port())
}

fn pin_of(authority: &Authority) -> Option<SocketAddr> {
    let (pin, _) = authority.as_str().split_once('@')?;
    let (ip, port) = pin.split_once('-')?;
    let ip = Ipv6Addr::from_bits(u128::from_str_radix(ip, 16).ok()?);
    Some(SocketAddr::new(IpAddr::V6(ip).to_canonical(), port.parse().ok()?))
}

/// `[::1]` without its brackets.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host)
}

impl Dial {
    async fn connect(&self, uri: &Uri) -> Result<Conn, DialError> {
        let nowhere = || DialError::Connect("the address has no host".to_owned());
        let authority = uri.authority().ok_or_else(nowhere)?;
        let encrypted = uri.scheme_str() == Some("https");
        let host = bare(authority.host());
        let port = authority.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
        let pin = pin_of(authority);
        let tcp = match &self.proxy {
            None => self.reach(host, port, pin, self.allow_private).await?,
            Some((proxy, at)) => {
                // The operator chose the proxy, and only the proxy learns where the name leads.
                let tcp = self.reach(proxy, *at, None, true).await?;
                if encrypted {
                    let target = pin.map_or_else(|| authority_of(host, port), |socket| socket.to_string());
                    self.tunnel(tcp, &target).await?
                } else {
                    return Ok(Conn::new(tcp, true));
                }
            }
        };
        if !encrypted {
            return Ok(Conn::new(tcp, false));
        }
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| DialError::Tls(format!("`{host}` cannot be the name of a certificate")))?;
        match timeout(self.handshake_timeout, self.tls.connect(name, tcp)).await {
            Ok(Ok(stream)) => Ok(Conn::new(stream, false)),
            Ok(Err(e)) => Err(DialError::Tls(format!("TLS with {host}: {e}"))),
            Err(_) => Err(DialError::Tls(format!("TLS with {host}: no answer in time"))),
        }
    }

    /// A TCP connection to the pinned address, or to the first of the name's addresses that answers.
    async fn reach(
        &self,
        host: &str,
        port: u16,
        pin: Option<SocketAddr>,
        allow_private: bool,
    ) -> Result<TcpStream, DialError> {
        let addresses = match (pin, host.parse::<IpAddr>()) {
            (Some(socket), _) => vec![socket],
            (None, Ok(ip)) => vec![SocketAddr::new(ip, port)],
            (None, Err(_)) => resolve(host, port).await?,
        };
        let mut last = DialError::Connect(format!("{host} has no address"));
        for address in addresses.into_iter().take(ADDRESSES_MAX) {
            if !Reach::of(address.ip()).allowed(allow_private) {
                last = DialError::Connect(format!("{address} is not an address that this pool may have"));
                continue;
            }
            match timeout(self.connect_timeout, TcpStream::connect(address)).await {
                Ok(Ok(tcp)) => return ready(tcp).map_err(|e| DialError::Connect(format!("{address}: {e}"))),
                Ok(Err(e)) => last = DialError::Connect(format!("{address}: {e}")),
                Err(_) => last = DialError::Connect(format!("{address}: no answer in time")),
            }
        }
        Err(last)
    }

    /// Asks a proxy for a tunnel to `target`.
    async fn tunnel(&self, mut tcp: TcpStream, target: &str) -> Result<TcpStream, DialError> {
        let ask = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        let answered = timeout(self.handshake_timeout, async {
            tcp.write_all(ask.as_bytes()).await?;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && head.len() < PROXY_HEAD_MAX {
                // Byte by byte, so that nothing of the tunnel is read: it happens once a connection.
                head.push(tcp.read_u8().await?);
            }
            Ok::<_, std::io::Error>(head)
        });
        let failed =
            |why: String| DialError::Connect(format!("the proxy did not connect to {target}: {why}"));
        let head = answered
            .await
            .map_err(|_| failed("no answer in time".to_owned()))?
            .map_err(|e| failed(e.to_string()))?;
        let status = head.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5));
        match status {
            Some(b"200") => Ok(tcp),
            Some(status) => Err(failed(format!("it answered {}", String::from_utf8_lossy(status)))),
            None => Err(failed("its answer is not HTTP".to_owned())),
        }
    }
}

fn authority_of(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, DialError> {
    let failed = |why: String| DialError::Connect(format!("{host} cannot be resolved: {why}"));
    match timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host((host, port))).await {
        Ok(Ok(found)) => Ok(found.collect()),
        Ok(Err(e)) => Err(failed(e.to_string())),
        Err(_) => Err(failed("no answer in time".to_owned())),
    }
}

fn ready(tcp: TcpStream) -> std::io::Result<TcpStream> {
    // A token must not wait for the acknowledgement of the one before it.
    tcp.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 2);
    socket2::SockRef::from(&tcp).set_tcp_keepalive(&keepalive)?;
    Ok(tcp)
}

/// Dials for the connection pool.
#[derive(Clone)]
pub(super) struct Dialer {
    dial: Arc<Dial>,
}

impl Dialer {
    pub(super) fn new(dial: Dial) -> Self {
        Self { dial: Arc::new(dial) }
    }
}

impl tower::Service<Uri> for Dialer {
    type Response = Conn;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Conn, DialError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dial = Arc::clone(&self.dial);
        Box::pin(async move { dial.connect(&uri).await })
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection, encrypted or not.
pub(super) struct Conn {
    io: TokioIo<Box<dyn Stream>>,
    /// Requests on it name the whole URI, because a proxy reads them.
    proxied: bool,
}

impl Conn {
    fn new(stream: impl Stream + 'static, proxied: bool) -> Self {
        Self { io: TokioIo::new(Box::new(stream)), proxied }
    }
}

impl Connection for Conn {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.proxied)
    }
}

impl Read for Conn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for Conn {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_no_upstream_may_be_is_not_dialled_whatever_name_led_there() {
        let dial = Dial::new(&Settings { allow_private: true, ..Settings::default() }).unwrap();
        for ip in ["169.254.169.254", "::ffff:169.254.169.254", "168.63.129.16", "fd20:ce::254", "240.0.0.1"]
        {
            let pin = SocketAddr::new(ip.parse().unwrap(), 80);
            let error = dial.reach("name", 80, Some(pin), true).await.unwrap_err();
            assert!(error.to_string().contains("may have"), "{ip}: {error}");
        }
        let private = dial.reach("127.0.0.1", 1, None, false).await.unwrap_err();
        assert!(private.to_string().contains("may have"), "{private}");
    }

    #[test]
    fn a_pinned_address_survives_the_way_through_the_pool() {
        for socket in ["1.2.3.4:443", "[2001:db8::7]:8000"] {
            let socket: SocketAddr = socket.parse().unwrap();
            for origin in ["api.example.com", "[::1]:8080", "api.example.com:8443"] {
                let origin: Authority = origin.parse().unwrap();
                let pinned: Authority = pinned(&origin, socket).parse().unwrap();
                assert_eq!(pin_of(&pinned), Some(socket));
                assert_eq!((pinned.host(), pinned.port_u16()), (origin.host(), origin.port_u16()));
                assert_eq!(pin_of(&origin), None);
            }
        }
    }

    #[test]
    fn a_proxy_is_a_plain_host_and_port() {
        assert_eq!(proxy("http://[::1]:3128/").unwrap(), ("::1".to_owned(), 3128));
        for bad in ["proxy:3128", "https://p:1", "http://p", "http://u:p@h:1", "http://p:1/path"] {
            let error = proxy(bad).unwrap_err().to_string();
            assert!(!error.contains(bad), "{error}");
        }
    }
}
