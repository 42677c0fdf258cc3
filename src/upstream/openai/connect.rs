//! Dials: resolves, refuses addresses that no upstream may have, connects, shakes hands.
//!
//! What is checked is the address that is really connected to, so that a name that resolves to something else tomorrow
//! changes nothing.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Settings, SettingsError};
use crate::domain::{Address, Failure, FailureKind, Reach};

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

impl From<DialError> for Failure {
    fn from(error: DialError) -> Self {
        match error {
            DialError::Connect(why) => Self::new(FailureKind::Connect, why),
            DialError::Tls(why) => Self::new(FailureKind::Tls, why),
        }
    }
}

/// An address, read once.
#[derive(Debug)]
pub(super) struct Target {
    /// What `Host` says.
    pub(super) authority: String,
    host: String,
    port: u16,
    pub(super) encrypted: bool,
    /// Where the name leads, if somebody has asked already.
    pin: Option<SocketAddr>,
}

impl Target {
    /// `None` if it is not the scheme and authority of a server that can be dialled.
    pub(super) fn of(address: &Address) -> Option<Self> {
        let uri: Uri = address.origin.parse().ok()?;
        let encrypted = match uri.scheme()? {
            scheme if *scheme == Scheme::HTTP => false,
            scheme if *scheme == Scheme::HTTPS => true,
            _ => return None,
        };
        let authority = uri.authority().filter(|a| !a.as_str().contains('@') && !a.host().is_empty())?;
        Some(Self {
            authority: authority.as_str().to_owned(),
            host: bare(authority.host()).to_owned(),
            port: authority.port_u16().unwrap_or(if encrypted { 443 } else { 80 }),
            encrypted,
            pin: address.socket,
        })
    }
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

/// `[::1]` without its brackets.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host)
}

impl Dial {
    /// A connection that is ready for a request.
    pub(super) async fn connect(&self, target: &Target) -> Result<Io, DialError> {
        let Target { host, port, encrypted, pin, .. } = target;
        let tcp = match &self.proxy {
            None => self.reach(host, *port, *pin, self.allow_private).await?,
            Some((proxy, at)) => {
                // The operator chose the proxy, and only the proxy learns where the name leads.
                let tcp = self.reach(proxy, *at, None, true).await?;
                if !encrypted {
                    return Ok(Io::Plain(tcp));
                }
                let target = pin.map_or_else(|| authority_of(host, *port), |socket| socket.to_string());
                self.tunnel(tcp, &target).await?
            }
        };
        if !encrypted {
            return Ok(Io::Plain(tcp));
        }
        let name = ServerName::try_from(host.clone())
            .map_err(|_| DialError::Tls(format!("`{host}` cannot be the name of a certificate")))?;
        match timeout(self.handshake_timeout, self.tls.connect(name, tcp)).await {
            Ok(Ok(stream)) => Ok(Io::Tls(Box::new(stream))),
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

/// A connection, encrypted or not.
#[derive(Debug)]
pub(super) enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Io {
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Self::Tls(io) => Pin::new(io).poll_read(cx, buf),
        }
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Self::Tls(io) => Pin::new(io).poll_write_vectored(cx, bufs),
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(io) => Pin::new(io).poll_flush(cx),
            Self::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn s13_what_no_upstream_may_be_is_not_dialled_whatever_name_led_there() {
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
    fn a_proxy_is_a_plain_host_and_port() {
        assert_eq!(proxy("http://[::1]:3128/").unwrap(), ("::1".to_owned(), 3128));
        for bad in ["proxy:3128", "https://p:1", "http://p", "http://u:p@h:1", "http://p:1/path"] {
            let error = proxy(bad).unwrap_err().to_string();
            assert!(!error.contains(bad), "{error}");
        }
    }
}
