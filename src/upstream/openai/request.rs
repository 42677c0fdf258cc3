//! Writes the HTTP request of an attempt. Only these headers go out: our own, the key, and what tracing needs.

use std::fmt;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;

use super::connect::pinned;
use super::{Auth, Flavour, Settings, SettingsError, key_header};
use crate::dialect::openai::{Options, Style, encode, prepare};
use crate::domain::{Address, AskKind, Body, Failure, FailureKind};
use crate::upstream::Attempt;

const USER_AGENT: &str = concat!("gridtie/", env!("CARGO_PKG_VERSION"));

/// What all requests to a pool have in common.
pub(super) struct Writer {
    flavour: Flavour,
    ask_usage: bool,
    /// Chat, completions, embeddings.
    paths: [PathAndQuery; 3],
    key: Option<(HeaderName, HeaderValue)>,
    /// A proxy dials, so that no address can be pinned for plain HTTP.
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
    pub(super) fn write(&self, attempt: &Attempt) -> Result<Request<Full<Bytes>>, Failure> {
        let (uri, host) = self.target(&attempt.address, attempt.request.kind)?;
        let mut request = Request::new(Full::new(self.body(attempt)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(header::HOST, host);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept(attempt)));
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        for (name, value) in &attempt.request.forward {
            // A value that no header may hold is the client's, and tracing is not worth a failed call.
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        if let Some((name, value)) = &self.key {
            headers.insert(name.clone(), value.clone());
        }
        Ok(request)
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

    /// Where it goes, and the `Host` it says.
    fn target(&self, address: &Address, kind: AskKind) -> Result<(Uri, HeaderValue), Failure> {
        let wrong = || {
            let text = format!("`{}` is not an address that can be dialled", address.origin);
            Failure::new(FailureKind::Connect, text)
        };
        let mut parts = address.origin.parse::<Uri>().map_err(|_| wrong())?.into_parts();
        let scheme = parts.scheme.clone().ok_or_else(wrong)?;
        let authority = parts.authority.clone().ok_or_else(wrong)?;
        if authority.as_str().contains('@') || !(scheme == Scheme::HTTP || scheme == Scheme::HTTPS) {
            return Err(wrong());
        }
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| wrong())?;
        let pin = address.socket.filter(|_| !(self.proxied && scheme == Scheme::HTTP));
        if let Some(socket) = pin {
            parts.authority = Some(Authority::try_from(pinned(&authority, socket)).map_err(|_| wrong())?);
        }
        let [chat, completions, embeddings] = &self.paths;
        parts.path_and_query = Some(match kind {
            AskKind::Chat => chat.clone(),
            AskKind::Completion => completions.clone(),
            AskKind::Embed => embeddings.clone(),
        });
        Ok((Uri::from_parts(parts).map_err(|_| wrong())?, host))
    }
}

fn accept(attempt: &Attempt) -> &'static str {
    if attempt.request.stream { "text/event-stream" } else { "application/json" }
}
