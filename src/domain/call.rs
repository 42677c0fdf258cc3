//! What routing may know of a call: numbers and sets, no prompt.

use std::sync::Arc;

use super::ids::{CallId, ClassId, ModelId, SessionKey, TenantId};
use super::request::{AskKind, Capabilities};
use super::time::Instant;

/// The facts of a call that rules decide on.
#[derive(Clone, Debug)]
pub struct CallFacts {
    /// Names it and seeds its randomness.
    pub id: CallId,
    /// What is asked for.
    pub kind: AskKind,
    /// Of which model.
    pub model: ModelId,
    /// Kind of traffic.
    pub class: ClassId,
    /// Who asks.
    pub tenant: TenantId,
    /// Estimated input tokens.
    pub input_tokens: u32,
    /// The client's limit on output tokens per choice, if it set one.
    pub max_tokens: Option<u32>,
    /// Choices asked for; at least 1.
    pub n: u32,
    /// What an offer must be able to do.
    pub needs: Capabilities,
    /// The answer is to be streamed.
    pub stream: bool,
    /// Whose prefix it shares.
    pub session: Option<SessionKey>,
    /// Its prompt as a chain of blocks, where that is known; empty where it is not.
    pub prefix: Arc<[Block]>,
    /// What the caller asked of routing.
    pub hints: Hints,
    /// When it came.
    pub arrived: Instant,
    /// When it must have been answered.
    pub deadline: Instant,
    /// The client said that this is a retry of its own: it is charged to the retry budget of
    /// its tenant.
    pub client_retry: bool,
}

/// A piece of a prompt, for prefix caches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block {
    /// Names the piece and everything before it.
    pub hash: u64,
    /// Its length in tokens.
    pub tokens: u32,
}

/// What a caller may ask of routing. Empty lists allow everything.
#[derive(Clone, Debug, Default)]
pub struct Hints {
    /// Only pools that cost at most this, in dollars a call.
    pub max_cost_usd: Option<f64>,
    /// Only these pools.
    pub pools: Vec<Arc<str>>,
    /// Only these regions.
    pub regions: Vec<Arc<str>>,
}
