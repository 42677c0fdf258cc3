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
        // A proxy that is asked in plain text reads the whole address.
        let scheme = if self.proxied && !target.encrypted { "http://" } else { "" };
        let authority = &*target.authority;
        let mut head = Vec::with_capacity(HEAD);
        let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| head.extend_from_slice(part));
        put(&[b"POST ", scheme.as_bytes()]);
        if !scheme.is_empty() {
            put(&[authority.as_bytes()]);
        }
        put(&[path.as_str().as_bytes(), b" HTTP/1.1\r\nhost: ", authority.as_bytes()]);
        put(&[FIXED, accept(attempt).as_bytes()]);
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
