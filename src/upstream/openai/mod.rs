//! Speaks OpenAI's HTTP dialect to one pool.
#![expect(clippy::panic, clippy::unimplemented, unused_variables, reason = "signatures first; bodies follow")]

mod flavour;

pub use flavour::{Auth, Flavour};

use std::future::Future;
use std::pin::Pin;

use secrecy::SecretString;

use super::{Attempt, Reply, Upstream};
use crate::domain::{Duration, Failure};

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
    /// TCP connect, each address.
    pub connect_timeout: Duration,
    /// TLS handshake.
    pub handshake_timeout: Duration,
    /// PEM text of the only roots to trust; absent trusts the system's.
    pub ca_pem: Option<String>,
    /// An egress proxy, `http://host:port`; the environment is never asked.
    pub proxy: Option<String>,
    /// Loopback and private addresses may be dialled. Link-local and metadata addresses never.
    pub allow_private: bool,
    /// Idle connections kept per origin.
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
            connect_timeout: Duration::from_millis(500),
            handshake_timeout: Duration::from_secs(2),
            ca_pem: None,
            proxy: None,
            allow_private: false,
            idle_connections: 64,
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
    #[error("key: it holds characters that no HTTP header may hold")]
    Key,
    /// The path cannot be a path.
    #[error("base_path: {0}")]
    Path(String),
}

/// The upstream of one pool.
#[derive(Debug)]
pub struct OpenAi {
    settings: Settings,
}

impl OpenAi {
    /// Ready to call; nothing is dialled yet.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        Ok(Self { settings })
    }
}

impl Upstream for OpenAi {
    fn call(&self, attempt: Attempt) -> Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send>> {
        unimplemented!()
    }
}
