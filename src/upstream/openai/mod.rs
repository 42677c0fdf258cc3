//! Speaks OpenAI's HTTP dialect to the endpoints of one pool.
//!
//! HTTP/1.1 only, one connection a stream: on a shared HTTP/2 connection one slow reader can stop or kill its
//! neighbours, and a GOAWAY ends them all. Reads what comes back as a stranger's: bounded, typed, never followed
//! elsewhere. Knows nothing of other pools; every failure is told once, by its class.

mod answer;
mod connect;
mod flavour;
mod request;

pub use flavour::{Auth, Flavour};

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use secrecy::{ExposeSecret, SecretString};

use self::connect::{Dial, DialError, Dialer};
use super::{Attempt, Dropped, Reply, Upstream};
use crate::domain::{Duration, Failure, FailureKind};

/// A response head beyond this is an attack: real ones have about 4 KiB and 30 headers.
const HEAD_MAX: usize = 64 * 1024;

/// See [`HEAD_MAX`].
const HEADERS_MAX: usize = 100;

/// What an operator may set for the connections to one pool.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whose variety of the dialect.
    pub flavour: Flavour,
    /// Path before `/chat/completions`; absent is the flavour's own (`/v1`, `/api/v1`, `/openai/v1`).
    pub base_path: Option<String>,
    /// The key at the provider; absent sends none.
    pub key: Option<SecretString>,
    /// Where the key goes; absent is the flavour's own.
    pub auth: Option<Auth>,
    /// Ask for usage in streams; only for servers that refuse `stream_options` is it false.
    pub ask_usage: bool,
    /// TCP connect, each address.
    pub connect_timeout: Duration,
    /// TLS handshake, and a proxy's answer to CONNECT.
    pub handshake_timeout: Duration,
    /// PEM text of the only roots to trust; absent trusts the system's.
    pub ca_pem: Option<String>,
    /// An egress proxy, `http://host:port`; the environment is never asked.
    pub proxy: Option<String>,
    /// Loopback and private addresses may be dialled. Link-local and metadata addresses never.
    pub allow_private: bool,
    /// Idle connections kept per address.
    pub idle_connections: usize,
    /// How long an idle connection is kept: shorter than common servers keep it, so that they rarely close first.
    pub idle_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            flavour: Flavour::Generic,
            base_path: None,
            key: None,
            auth: None,
            ask_usage: true,
            // A SYN that is not answered in half a second went into a black hole or over an overloaded link.
            connect_timeout: Duration::from_millis(500),
            handshake_timeout: Duration::from_secs(2),
            ca_pem: None,
            proxy: None,
            allow_private: false,
            idle_connections: 64,
            // Node's default is 5 s, uvicorn's 5 s, nginx's 75 s, cloud balancers' 60 s and up: a stale one costs a
            // reconnect, which is cheaper than a handshake for every call.
            idle_timeout: Duration::from_secs(30),
        }
    }
}

/// Settings that cannot work.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The roots are not PEM certificates.
    #[error("ca: {0}")]
    Roots(String),
    /// The proxy is not `http://host:port`.
    #[error("proxy: {0}")]
    Proxy(String),
    /// The key cannot be a header value.
    #[error("key: it is empty or holds characters that no HTTP header may hold")]
    Key,
    /// The path cannot be a path.
    #[error("base_path: {0}")]
    Path(String),
}

/// The upstream of one pool.
pub struct OpenAi {
    shared: Arc<Shared>,
}

impl fmt::Debug for OpenAi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAi").field("requests", &self.shared.requests).finish_non_exhaustive()
    }
}

struct Shared {
    client: Client<Dialer, Full<Bytes>>,
    requests: request::Writer,
    drops: Arc<answer::Drops>,
}

impl OpenAi {
    /// Ready to call; nothing is dialled yet.
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let dial = Dial::new(settings)?;
        let requests = request::Writer::new(settings, dial.is_proxied())?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(settings.idle_timeout)
            .pool_max_idle_per_host(settings.idle_connections)
            .http1_max_buf_size(HEAD_MAX)
            .http1_max_headers(HEADERS_MAX)
            // A request that was never written to a connection is not an attempt: the pool may take another.
            .retry_canceled_requests(true)
            .build(Dialer::new(dial));
        Ok(Self { shared: Arc::new(Shared { client, requests, drops: Arc::default() }) })
    }
}

impl Upstream for OpenAi {
    fn call(&self, attempt: Attempt) -> Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let request = shared.requests.write(&attempt)?;
            let response = shared.client.request(request).await.map_err(|e| unsent(&e))?;
            answer::read(response, &attempt, &shared.drops).await
        })
    }

    fn dropped(&self) -> Dropped {
        self.shared.drops.sum()
    }
}

/// The value of the header that carries the key: marked, so that no Debug shows it.
fn key_header(auth: Auth, key: &SecretString) -> Result<http::HeaderValue, SettingsError> {
    let key = key.expose_secret();
    if key.is_empty() {
        return Err(SettingsError::Key);
    }
    let text = match auth {
        Auth::Bearer => format!("Bearer {key}"),
        Auth::ApiKey => key.to_owned(),
    };
    let mut value = http::HeaderValue::try_from(text).map_err(|_| SettingsError::Key)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Why there was no response head.
fn unsent(error: &Error) -> Failure {
    if let Some(dial) = cause::<DialError>(error) {
        return match dial {
            DialError::Connect(why) => Failure::new(FailureKind::Connect, why.as_str()),
            DialError::Tls(why) => Failure::new(FailureKind::Tls, why.as_str()),
        };
    }
    if error.is_connect() {
        return Failure::new(FailureKind::Connect, "the connection could not be made");
    }
    match cause::<hyper::Error>(error) {
        Some(http) => broken(http),
        None => Failure::new(FailureKind::Disconnected, "the connection was lost"),
    }
}

/// Why a connection that existed gave no (whole) answer.
fn broken(error: &hyper::Error) -> Failure {
    if error.is_parse() {
        return Failure::new(FailureKind::BadResponse, format!("what came back is not HTTP/1.1: {error}"));
    }
    let mut failure = Failure::new(FailureKind::Disconnected, format!("the connection was lost: {error}"));
    // Only a request that never left is certainly unprocessed: one that was reset on an idle connection may have
    // been read before.
    failure.unprocessed = error.is_canceled();
    failure
}

/// The first error of that type in the chain.
fn cause<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    // Chains are a handful long; a loop in one would be a bug of a library.
    for _ in 0..16 {
        let error = next?;
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests;
