//! Speaks `gridtie.v1.Inference`: another Gridtie as a pool, such as the one of another region or of a partner.
//!
//! It translates, transports and classifies. What the other router decides (its pools, its retries) is its business.
//! The call's class, its session (hashed with its tenant) and whether it is a client's own retry go along; limits on
//! cost, pools and regions do not, because they are about the pools here.

mod connect;
mod failure;
mod lanes;
mod pieces;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use tonic::Request;
use tonic::metadata::{AsciiMetadataValue, MetadataKey};

use super::{Attempt, Onward, Reply, Upstream, Whole, WholeBody, same_key};
use crate::dialect::FieldError;
use crate::dialect::gridtie::answer::{decode_embedded, decode_generated};
use crate::dialect::gridtie::request::{Encoded, encode};
use crate::dialect::gridtie::v1;
use crate::dialect::gridtie::v1::inference_client::InferenceClient;
use crate::dialect::openai;
use crate::domain::request::{Ask, Part};
use crate::domain::{Answer, Body, Duration, ErrorDetail, Failure, FailureKind, Usage, UsageSource};
use connect::Connector;
use lanes::{Lane, Lanes};

/// What an operator may set for the connections to one pool.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The key there, sent as `authorization: Bearer`; absent sends none.
    pub key: Option<SecretString>,
    /// PEM text of the only roots to trust; absent trusts the system's.
    pub ca_pem: Option<String>,
    /// TCP connect, each address.
    pub connect_timeout: Duration,
    /// TLS and HTTP/2 handshakes.
    pub handshake_timeout: Duration,
    /// Loopback and private addresses may be dialled. Link-local and metadata addresses never.
    pub allow_private: bool,
    /// Connections to one endpoint at most; each carries up to 64 calls, and calls beyond
    /// that wait for one to end.
    pub max_connections: usize,
    /// The largest message taken, in bytes.
    pub max_message: usize,
}

/// Keys are compared too, and shown by nothing.
impl PartialEq for Settings {
    fn eq(&self, other: &Self) -> bool {
        let open = |s: &Self| {
            // Whole, so that a new setting is not forgotten here.
            let Self {
                key: _,
                ca_pem,
                connect_timeout,
                handshake_timeout,
                allow_private,
                max_connections,
                max_message,
            } = s.clone();
            (ca_pem, connect_timeout, handshake_timeout, allow_private, max_connections, max_message)
        };
        same_key(self.key.as_ref(), other.key.as_ref()) && open(self) == open(other)
    }
}

/// Connections that may refuse a call before that is the call's failure.
const REFUSED_MAX: usize = 1;

impl Default for Settings {
    fn default() -> Self {
        Self {
            key: None,
            ca_pem: None,
            connect_timeout: Duration::from_millis(500),
            handshake_timeout: Duration::from_secs(2),
            allow_private: true,
            max_connections: 32,
            max_message: 32 << 20,
        }
    }
}

/// Settings that cannot work.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The roots are not PEM certificates, or the system has none.
    #[error("ca: {0}")]
    Roots(String),
    /// The key cannot be a header value.
    #[error("key: it holds characters that no HTTP header may hold")]
    Key,
}

/// The upstream of one pool.
#[derive(Clone)]
pub struct Gridtie {
    shared: Arc<Shared>,
}

struct Shared {
    lanes: Lanes,
    key: Option<AsciiMetadataValue>,
    max_message: usize,
}

impl fmt::Debug for Gridtie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gridtie").field("lanes", &self.shared.lanes).finish_non_exhaustive()
    }
}

impl Gridtie {
    /// Ready to call; nothing is dialled yet.
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let key = settings.key.as_ref().map(bearer).transpose()?;
        let lanes = Lanes::new(Connector::new(settings)?, settings.max_connections);
        Ok(Self { shared: Arc::new(Shared { lanes, key, max_message: settings.max_message }) })
    }
}

fn bearer(key: &SecretString) -> Result<AsciiMetadataValue, SettingsError> {
    let mut value = AsciiMetadataValue::try_from(format!("Bearer {}", key.expose_secret()))
        .map_err(|_| SettingsError::Key)?;
    value.set_sensitive(true);
    Ok(value)
}

impl Upstream for Gridtie {
    fn call(&self, attempt: Attempt) -> Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { shared.call(attempt).await })
    }

    fn shares_connections(&self) -> bool {
        true
    }
}

impl Shared {
    /// A connection that takes no more streams is no failure of the call: it goes to another, unseen, as in gRPC's own
    /// transparent retries. Not often, though: a peer that refuses on every connection means it.
    async fn call(&self, attempt: Attempt) -> Result<Reply, Failure> {
        let mut refused = 0;
        loop {
            let encoded = encoded(&attempt)?;
            let lane = self.lanes.acquire(&attempt.address).await?;
            match self.exchange(&attempt, encoded, lane).await {
                Err((failure, lane)) if refused < REFUSED_MAX && was_refused(&failure) => {
                    lane.condemn();
                    refused += 1;
                }
                Err((failure, _)) => return Err(failure),
                Ok(reply) => return Ok(reply),
            }
        }
    }

    /// Sends the request and reads the answer, or (of a stream) its head.
    async fn exchange(
        &self,
        attempt: &Attempt,
        encoded: Encoded,
        lane: Lane,
    ) -> Result<Reply, (Failure, Lane)> {
        let mut client = self.client(&lane);
        let read = match encoded {
            Encoded::Generate(message) if attempt.request.stream => {
                match client.stream_generate(self.request(attempt, message)).await {
                    Ok(answer) => return Ok(Reply::Stream(pieces::of(answer.into_inner(), lane))),
                    Err(status) => Err(failure::of(&status)),
                }
            }
            Encoded::Generate(message) => match client.generate(self.request(attempt, message)).await {
                Ok(answer) => whole(decode_generated(answer.into_inner()), attempt),
                Err(status) => Err(failure::of(&status)),
            },
            Encoded::Embed(message) => {
                let inputs = message.inputs.len();
                match client.embed(self.request(attempt, message)).await {
                    Ok(answer) => whole(decode_embedded(answer.into_inner(), inputs), attempt),
                    Err(status) => Err(failure::of(&status)),
                }
            }
        };
        read.map_err(|failure| (failure, lane))
    }

    fn client(&self, lane: &Lane) -> InferenceClient<lanes::Sender> {
        InferenceClient::with_origin(lane.sender(), lane.origin().clone())
            .max_decoding_message_size(self.max_message)
            .max_encoding_message_size(usize::MAX)
    }

    /// The message with what goes along: the deadline, the key, the trace.
    fn request<T>(&self, attempt: &Attempt, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(attempt.timeout);
        let metadata = request.metadata_mut();
        if let Some(key) = &self.key {
            metadata.insert("authorization", key.clone());
        }
        if attempt.onward.client_retry {
            // As gRPC's own retries say it; how often is not known here.
            metadata.insert("grpc-previous-rpc-attempts", AsciiMetadataValue::from_static("1"));
        }
        for (name, value) in &attempt.request.forward {
            if let (Ok(name), Ok(value)) =
                (MetadataKey::from_bytes(name.as_bytes()), AsciiMetadataValue::try_from(value.as_str()))
            {
                metadata.insert(name, value);
            }
        }
        request
    }
}

/// Did the connection, and not the router behind it, say no?
fn was_refused(failure: &Failure) -> bool {
    failure.kind == FailureKind::Disconnected && failure.unprocessed
}

/// The request in this dialect.
fn encoded(attempt: &Attempt) -> Result<Encoded, Failure> {
    let model = &attempt.upstream_model;
    let mut encoded = match &attempt.request.body {
        Body::Canonical(ask) => encode(ask, model),
        Body::OpenAi(body) => {
            let ask: Ask = openai::decode_request(attempt.request.kind, body).map_err(wrong)?;
            encode(&ask, model)
        }
    };
    match &mut encoded {
        Encoded::Generate(message) => message.routing = hints(&attempt.onward),
        Encoded::Embed(message) => message.routing = hints(&attempt.onward),
    }
    Ok(encoded)
}

fn hints(onward: &Onward) -> Option<v1::RoutingHints> {
    let Onward { class, session, client_retry: _ } = onward;
    (class.is_some() || session.is_some()).then(|| v1::RoutingHints {
        traffic_class: class.as_deref().unwrap_or_default().to_owned(),
        session: session.map(|key| format!("{:016x}", key.0)).unwrap_or_default(),
        ..v1::RoutingHints::default()
    })
}

/// A request that cannot be translated may still be understood by a pool of its own dialect; if there is none, the
/// client is told why in the words of that dialect.
fn wrong(error: FieldError) -> Failure {
    let mut failure = Failure::new(FailureKind::Unsupported, error.to_string()).with_status(400);
    failure.unprocessed = true;
    failure.detail = Some(Arc::new(ErrorDetail {
        message: error.message,
        param: error.field,
        code: error.code,
        ..ErrorDetail::default()
    }));
    failure
}

fn whole(decoded: Result<(Answer, Option<Usage>), String>, attempt: &Attempt) -> Result<Reply, Failure> {
    let (answer, usage) =
        decoded.map_err(|what| Failure::new(FailureKind::BadResponse, what).with_status(200))?;
    let usage = usage.unwrap_or_else(|| estimated(&answer, attempt));
    Ok(Reply::Whole(Whole { body: WholeBody::Canonical(answer), usage, aside: None }))
}

/// A count for an answer that came without: four bytes of text a token.
fn estimated(answer: &Answer, attempt: &Attempt) -> Usage {
    let bytes: usize = match answer {
        Answer::Embedded(_) => 0,
        Answer::Generated(generated) => {
            let parts = generated.choices.iter().flat_map(|choice| &choice.parts);
            let size = |part: &Part| match part {
                Part::Text(text) | Part::Reasoning(text) | Part::Refusal(text) => text.len(),
                Part::ToolCall(call) => call.name.len() + call.arguments.len(),
                Part::ToolResult { text, .. } => text.len(),
                Part::Image(_) => 0,
            };
            parts.map(size).sum()
        }
    };
    Usage {
        input: attempt.request.input_tokens.into(),
        output: bytes.div_ceil(4) as u64,
        source: UsageSource::Estimated,
        ..Usage::default()
    }
}

#[cfg(test)]
mod tests;
