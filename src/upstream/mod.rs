//! What we speak to when we speak to an endpoint. One folder a dialect.
//!
//! An upstream translates, transports and classifies failures. It never sees the fleet or the policy, never retries,
//! never follows a redirect, and keeps no opinion about health. Dropping what it returned cancels the attempt at the
//! other end.

pub mod grpc;
pub mod openai;
pub mod scripted;
pub mod simulated;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use secrecy::{ExposeSecret, SecretString};
use smallvec::SmallVec;

use crate::domain::{
    Address, Answer, Aside, AttemptNo, CallId, Delta, Duration, EngineLoad, Failure, FailureKind, Request,
    SessionKey, Usage,
};

/// A seam: something that can carry out an attempt. Chosen per pool at start-up, called once an attempt.
pub trait Upstream: Send + Sync + fmt::Debug {
    /// Sends the request and returns as soon as the answer has begun: with the whole answer for a unary call, with
    /// the open stream (headers seen and found right) for a streamed one.
    fn call(&self, attempt: Attempt) -> Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send>>;

    /// How busy the engine there says it is, where the pool's engines are asked.
    fn load(
        &self,
        address: Arc<Address>,
    ) -> Pin<Box<dyn Future<Output = Result<EngineLoad, Failure>> + Send>> {
        let _ = address;
        let failure = Failure::new(FailureKind::Unsupported, "this kind of pool is not asked how busy it is");
        Box::pin(std::future::ready(Err(failure)))
    }

    /// Do its streams share connections, so that one that is not read could hold up others? Then a slow client's
    /// stream is cut soon after its buffer is full; else the upstream is made to wait for a while.
    fn shares_connections(&self) -> bool {
        false
    }

    /// What it has kept back from streams so far.
    fn dropped(&self) -> Dropped {
        Dropped::default()
    }
}

/// Events of streams that were not handed on, since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Dropped {
    /// Nobody could have read them.
    pub unreadable: u64,
    /// Content of a choice that had ended.
    pub late: u64,
}

/// Are these the same key, or both none?
fn same_key(a: Option<&SecretString>, b: Option<&SecretString>) -> bool {
    a.map(ExposeSecret::expose_secret) == b.map(ExposeSecret::expose_secret)
}

/// One try of a call.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The call, for headers and deterministic text.
    pub call: CallId,
    /// Which try.
    pub no: AttemptNo,
    /// What is asked.
    pub request: Arc<Request>,
    /// The model's name there.
    pub upstream_model: Arc<str>,
    /// The model's name here: what the answer must say.
    pub client_model: Arc<str>,
    /// Where.
    pub address: Arc<Address>,
    /// What is left until the call's deadline: travels with the request where the dialect can carry it.
    pub timeout: Duration,
    /// What the other end may know of routing, where its dialect has words for it.
    pub onward: Onward,
}

/// What a router behind this one needs in order to treat the call as this one does. Limits on cost, pools and regions
/// are about this router's own and stay here; so does the session's name.
#[derive(Clone, Debug, Default)]
pub struct Onward {
    /// The class, if the caller named one.
    pub class: Option<Arc<str>>,
    /// The session, already hashed together with its tenant: all tenants here are one over there.
    pub session: Option<SessionKey>,
    /// The caller said that this is a retry of its own.
    pub client_retry: bool,
}

/// An answer that has begun.
#[derive(Debug)]
pub enum Reply {
    /// The whole answer.
    Whole(Whole),
    /// The open stream.
    Stream(Pieces),
}

/// A whole answer.
#[derive(Debug)]
pub struct Whole {
    /// What it says.
    pub body: WholeBody,
    /// What the upstream counted, or our estimate.
    pub usage: Usage,
    /// What its head said beside.
    pub aside: Option<Box<Aside>>,
}

/// The body of a whole answer. `Bytes` if and only if the upstream speaks the dialect of the request.
#[derive(Debug)]
pub enum WholeBody {
    /// JSON in the dialect of the request, model name put back, otherwise as it came.
    Bytes(Bytes),
    /// In canonical form.
    Canonical(Answer),
}

/// The pieces of a streamed answer. It ends (`None`) only after the dialect's own end was seen: a stream that stops
/// without one yields `Err` with [`FailureKind::Truncated`] or `Disconnected`.
/// After an `Err` nothing follows. With it comes what its head said beside.
pub struct Pieces(pub Pin<Box<dyn Stream<Item = Result<Piece, Failure>> + Send>>, pub Option<Box<Aside>>);

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pieces")
    }
}

/// A piece of a streamed answer: one or more whole events.
#[derive(Debug)]
pub struct Piece {
    /// What to hand to the client.
    pub body: PieceBody,
    /// Content-bearing events in it (text, tool call or reasoning deltas; not roles, pings, comments or usage): the
    /// commit point and the idle timer hang on this, and output tokens are estimated by it.
    pub content_events: u32,
    /// The upstream's count, if this piece has it. Cumulative: a later one replaces an earlier one.
    pub usage: Option<Usage>,
}

/// The body of a piece. `Bytes` if and only if the upstream speaks the dialect of the request.
#[derive(Debug)]
pub enum PieceBody {
    /// Framed events, ready to be written, possibly empty (a piece that only carries usage).
    Bytes(Bytes),
    /// In canonical form.
    Canonical(SmallVec<[Delta; 2]>),
}
