//! Writes the HTTP request of an attempt. Only these headers go out: our own, the key, and what tracing needs.

use std::fmt;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, header};

use super::connect::Target;
use super::{Auth, Flavour, Settings, SettingsError, key_header};
use crate::dialect::openai::{Options, Style, encode, prepare};
use crate::domain::{AskKind, Body};
use crate::upstream::Attempt;

/// What every request says, between its `Host` and what it accepts.
const FIXED: &[u8] = concat!(
    "\r\nuser-agent: gridtie/",
    env!("CARGO_PKG_VERSION"),
    "\r\ncontent-type: application/json\r\naccept-encoding: identity\r\naccept: "
)
.as_bytes();

/// A head with a key and a trace is about as long.
const HEAD: usize = 512;

/// A request as it goes out.
pub(super) struct Outgoing {
    /// Holds the key: no Debug.
    pub(super) head: Vec<u8>,
    pub(super) body: Bytes,
}

/// What all requests to a pool have in common.
pub(super) struct Writer {
    flavour: Flavour,
    ask_usage: bool,
    /// Chat, completions, embeddings.
    paths: [PathAndQuery; 3],
    /// The page of metrics, where it is asked for.
    metrics: Option<PathAndQuery>,
    key: Option<(HeaderName, HeaderValue)>,
    /// A proxy stands between.
    proxied: bool,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("flavour", &self.flavour)
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}

impl Writer {
    pub(super) fn new(settings: &Settings, proxied: bool) -> Result<Self, SettingsError> {
        let flavour = settings.flavour;
        let base = settings.base_path.as_deref().unwrap_or(flavour.base_path());
        if !(base.is_empty() || base.starts_with('/')) {
            return Err(SettingsError::Path("must begin with a slash".to_owned()));
        }
        let path = |route: &str| {
            let text = format!("{}{route}", base.trim_end_matches('/'));
            PathAndQuery::try_from(text).map_err(|e| SettingsError::Path(e.to_string()))
        };
        let auth = settings.auth.unwrap_or(flavour.auth());
        let name = match auth {
            Auth::Bearer => header::AUTHORIZATION,
            Auth::ApiKey => HeaderName::from_static("api-key"),
        };
        let key = settings.key.as_ref().map(|k| key_header(auth, k)).transpose()?;
        Ok(Self {
            flavour,
            ask_usage: settings.ask_usage,
            paths: [path("/chat/completions")?, path("/completions")?, path("/embeddings")?],
            key: key.map(|value| (name, value)),
            metrics: settings
                .metrics
                .as_deref()
                .map(PathAndQuery::try_from)
                .transpose()
                .map_err(|e| SettingsError::Path(e.to_string()))?,
            proxied,
        })
    }

    /// The request of an attempt.
    pub(super) fn write(&self, target: &Target, attempt: &Attempt) -> Outgoing {
        let body = self.body(attempt);
        let [chat, completions, embeddings] = &self.paths;
        let path = match attempt.request.kind {
            AskKind::Chat => chat,
            AskKind::Completion => completions,
            AskKind::Embed => embeddings,
        };
        let mut head = self.begin(b"POST ", path, target);
        let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| head.extend_from_slice(part));
        put(&[FIXED, accept(attempt).as_bytes()]);
        if self.metrics.is_some() {
            // vLLM says how busy it is with an answer if it is asked so.
            put(&[b"\r\nendpoint-load-metrics-format: TEXT"]);
        }
        for (name, value) in &attempt.request.forward {
            // A value that no header may hold is the client's, and tracing is not worth a failed call.
            if HeaderValue::from_str(value).is_ok() {
                put(&[b"\r\n", name.as_bytes(), b": ", value.as_bytes()]);
            }
        }
        if let Some((name, value)) = &self.key {
            put(&[b"\r\n", name.as_str().as_bytes(), b": ", value.as_bytes()]);
        }
        put(&[b"\r\ncontent-length: ", body.len().to_string().as_bytes(), b"\r\n\r\n"]);
        Outgoing { head, body }
    }

    /// Asks for the page of metrics.
    pub(super) fn ask_load(&self, target: &Target) -> Outgoing {
        let root = PathAndQuery::from_static("/metrics");
        let mut head = self.begin(b"GET ", self.metrics.as_ref().unwrap_or(&root), target);
        let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| head.extend_from_slice(part));
        put(&[b"\r\nuser-agent: gridtie/", env!("CARGO_PKG_VERSION").as_bytes()]);
        put(&[b"\r\naccept-encoding: identity\r\naccept: text/plain"]);
        if let Some((name, value)) = &self.key {
            put(&[b"\r\n", name.as_str().as_bytes(), b": ", value.as_bytes()]);
        }
        put(&[b"\r\n\r\n"]);
        Outgoing { head, body: Bytes::new() }
    }

    /// A head up to its `Host`.
    fn begin(&self, method: &[u8], path: &PathAndQuery, target: &Target) -> Vec<u8> {
        // A proxy that is asked in plain text reads the whole address.
        let scheme = if self.proxied && !target.encrypted { "http://" } else { "" };
        let authority = target.authority.as_bytes();
        let mut head = Vec::with_capacity(HEAD);
        let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| head.extend_from_slice(part));
        put(&[method, scheme.as_bytes()]);
        if !scheme.is_empty() {
            put(&[authority]);
        }
        put(&[path.as_str().as_bytes(), b" HTTP/1.1\r\nhost: ", authority]);
        head
    }

    fn body(&self, attempt: &Attempt) -> Bytes {
        let request = &attempt.request;
        match &request.body {
            Body::OpenAi(body) => {
                let options = Options { stream: request.stream, ask_usage: self.ask_usage };
                prepare(request.kind, body, &attempt.upstream_model, options)
            }
            Body::Canonical(ask) => {
                let style =
                    Style { stream: request.stream, ask_usage: self.ask_usage, limit: self.flavour.limit() };
                encode(ask, &attempt.upstream_model, style)
            }
        }
    }
}

fn accept(attempt: &Attempt) -> &'static str {
    if attempt.request.stream { "text/event-stream" } else { "application/json" }
}
