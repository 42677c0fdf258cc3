//! What goes into `flow` and what comes out of it: the seam to the edges.

use std::sync::Arc;

use super::relay::RelayBody;
use crate::domain::{
    Block, CallId, Capabilities, Duration, Failure, Hints, Refusal, Request, TenantId, Usage, Usd,
};
use crate::upstream::{PieceBody, Whole};

/// A call as a face understood it, before names are looked up.
#[derive(Debug)]
pub struct Inbound {
    /// The request.
    pub request: Request,
    /// The model asked for.
    pub model: String,
    /// The class asked for, if any.
    pub class: Option<String>,
    /// Who asks, as authentication found.
    pub tenant: TenantId,
    /// A session name, if the caller gave one.
    pub session: Option<String>,
    /// The prompt as a chain of blocks, if the face took it to pieces; empty shares with nobody.
    pub prefix: Arc<[Block]>,
    /// What the caller asks of routing.
    pub hints: Hints,
    /// What an offer must be able to do.
    pub needs: Capabilities,
    /// The client's limit on output tokens.
    pub max_tokens: Option<u32>,
    /// Choices asked for.
    pub n: u32,
    /// How long the client will wait, if it said.
    pub timeout: Option<Duration>,
    /// The client said this is a retry of its own.
    pub client_retry: bool,
}

/// What happened so far, for the head of an answer.
#[derive(Clone, Debug)]
pub struct Head {
    /// The call.
    pub call: CallId,
    /// Who answers.
    pub pool: Arc<str>,
    /// The model as the client named it.
    pub model: Arc<str>,
    /// Attempts made, the successful one included.
    pub attempts: u32,
    /// The bill for a whole answer, an estimate for a stream.
    pub cost: Usd,
    /// Why there, in one line.
    pub reason: String,
}

/// The settled account of a call.
#[derive(Clone, Debug)]
pub struct Bill {
    /// Tokens.
    pub usage: Usage,
    /// Money.
    pub cost: Usd,
}

/// An answer. The kind of its stream is open, so that a face can be tried with a scripted one.
#[derive(Debug)]
pub enum Answered<R = RelayBody> {
    /// All of it.
    Whole {
        /// What happened.
        head: Head,
        /// The answer.
        whole: Whole,
        /// The account.
        bill: Bill,
    },
    /// It has begun, and the first content is in `body`.
    Stream {
        /// What happened so far.
        head: Head,
        /// What follows.
        body: R,
    },
}

/// What a stream yields. The last is always `End` or `Broken`.
#[derive(Debug)]
pub enum Out {
    /// Hand this to the client.
    Piece(PieceBody),
    /// Nothing yet, and the call goes on: a comment keeps the connection from looking dead. Only ever before the first
    /// `Piece`.
    KeepAlive,
    /// It is whole, and this is the account. For a relay of bytes the dialect's own end (`[DONE]`) was in the last piece.
    End(Bill),
    /// It broke; say so in the dialect of the face and never fake an end.
    Broken(Broken),
}

/// A stream that broke after the commit point.
#[derive(Debug)]
pub struct Broken {
    /// Why: `stream_interrupted`, `draining`, `slow_reader`, `deadline`; of a stream that had its headers and never began
    /// also `overloaded`, `no_pool`, `internal_error`.
    pub code: &'static str,
    /// What the upstream did, if it was the upstream.
    pub failure: Option<Failure>,
    /// Output tokens handed over before.
    pub tokens_delivered: u64,
    /// The account of what was delivered.
    pub bill: Bill,
}

/// A call without an answer.
#[derive(Debug)]
pub struct Refused {
    /// The call, once it had an id.
    pub call: CallId,
    /// The last pool tried, if any was.
    pub pool: Option<Arc<str>>,
    /// Attempts made.
    pub attempts: u32,
    /// Why.
    pub refusal: Refusal,
}
