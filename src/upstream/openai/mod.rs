//! Speaks OpenAI's HTTP dialect to the endpoints of one pool.
//!
//! HTTP/1.1 only, one connection a stream: on a shared HTTP/2 connection one slow reader can stop or kill its
//! neighbours, and a GOAWAY ends them all. What that takes is here and short (`exchange`, `chunks`, `pool`), because a
//! general client hands every token from task to task. Reads what comes back as a stranger's: bounded, typed, never followed
//! elsewhere. Knows nothing of other pools; every failure is told once, by its class.

mod answer;
mod chunks;
mod connect;
mod exchange;
mod flavour;
mod head;
mod pool;
mod request;

pub use flavour::{Auth, Flavour};

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use self::connect::Dial;
use self::exchange::{Lost, Response, exchange};
use self::pool::Pool;
use super::{Attempt, Dropped, Reply, Upstream, same_key};
use crate::domain::{Address, Duration, EngineLoad, Failure, FailureKind};

/// What an operator may set for the connections to one pool.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whose variety of the dialect.
    pub flavour: Flavour,
    /// Path before `/chat/completions`; absent is the flavour's own (`/v1`, `/api/v1`, `/openai/v1`).
    pub base_path: Option<String>,
    /// Path of its engines' page of metrics; absent does not ask for it.
    pub metrics: Option<String>,
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
            metrics: None,
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

/// Keys are compared too, and shown by nothing.
impl PartialEq for Settings {
    fn eq(&self, other: &Self) -> bool {
        // All but the key, which cannot be compared as it is.
        let open = |s: &Self| {
            // Whole, so that a new setting is not forgotten here.
            let Self {
                flavour,
                base_path,
                metrics,
                key: _,
                auth,
                ask_usage,
                connect_timeout,
                handshake_timeout,
                ca_pem,
                proxy,
                allow_private,
                idle_connections,
                idle_timeout,
            } = s.clone();
            let way = (flavour, base_path, metrics, auth, ask_usage, ca_pem, proxy);
            let times = (connect_timeout, handshake_timeout, idle_timeout);
            (way, times, allow_private, idle_connections)
        };
        same_key(self.key.as_ref(), other.key.as_ref()) && open(self) == open(other)
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
    dial: Dial,
    pool: Arc<Pool>,
    requests: request::Writer,
    drops: Arc<answer::Drops>,
}

impl OpenAi {
    /// Ready to call; nothing is dialled yet.
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let dial = Dial::new(settings)?;
        let requests = request::Writer::new(settings, dial.is_proxied())?;
        let pool = Pool::new(settings.idle_connections, settings.idle_timeout);
        Ok(Self { shared: Arc::new(Shared { dial, pool, requests, drops: Arc::default() }) })
    }
}

impl Shared {
    async fn send(
        &self,
        address: &Arc<Address>,
        write: impl FnOnce(&connect::Target) -> request::Outgoing,
    ) -> Result<Response, Failure> {
        let Some(place) = self.pool.place(address) else {
            let text = format!("`{}` is not an address that can be dialled", address.origin);
            return Err(Failure::new(FailureKind::Connect, text));
        };
        let request = write(&place.target);
        if let Some(rested) = place.wake() {
            match exchange(rested, &request).await {
                // It died while it rested. What was never sent is not an attempt.
                Err(Lost::Unsent(_)) => {}
                answered => return answered.map_err(Failure::from),
            }
        }
        let fresh = place.connection(self.dial.connect(&place.target).await?);
        exchange(fresh, &request).await.map_err(Failure::from)
    }
}

impl Upstream for OpenAi {
    fn call(&self, attempt: Attempt) -> Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let write = |target: &connect::Target| shared.requests.write(target, &attempt);
            let response = shared.send(&attempt.address, write).await?;
            answer::read(response, &attempt, &shared.drops).await
        })
    }

    fn load(
        &self,
        address: Arc<Address>,
    ) -> Pin<Box<dyn Future<Output = Result<EngineLoad, Failure>> + Send>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let response = shared.send(&address, |target| shared.requests.ask_load(target)).await?;
            answer::load(response).await
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

#[cfg(test)]
mod tests;
