//! What a drill left behind, whoever played it: what clients, routers and pools wrote down, each by itself. They are
//! matched against each other afterwards; nobody is believed alone.

use crate::call::AttemptResult;
use crate::domain::{ClassId, Ending, FailureKind, Instant, PoolId};

/// See the module.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Journal {
    /// The clients' own, in the order in which they sent.
    pub calls: Vec<Call>,
    /// The routers' accounts, in the order in which they were closed.
    pub accounts: Vec<Account>,
    /// What each pool counted, by [`PoolId`].
    pub pools: Vec<PoolCount>,
    /// What routers said of pools, in order of time.
    pub changes: Vec<Change>,
    /// Dollars of everything that was sent, energy included.
    pub usd: f64,
    /// Dollars as they were spent, in order of time.
    pub spent: Vec<(Instant, f64)>,
}

/// A call, as its client saw it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Call {
    /// Its class.
    pub class: ClassId,
    /// When it was sent.
    pub sent: Instant,
    /// When its first content came.
    pub first: Option<Instant>,
    /// When it was over.
    pub ended: Option<Instant>,
    /// How, at first; absent: it never was.
    pub heard: Option<Heard>,
    /// How many ends it had.
    pub ends: u32,
    /// Tokens that came.
    pub tokens: u32,
    /// Tokens of a whole answer, where the client can know.
    pub whole: Option<u32>,
}

/// The end of a call, as its client heard it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// A whole answer.
    Whole,
    /// An error before any content.
    Refused,
    /// An error in the middle, which said so.
    Broken,
    /// The connection was gone, and nothing said.
    Cut,
}

/// A call, as a router accounts for it.
#[derive(Clone, PartialEq, Debug)]
pub struct Account {
    /// Position among the calls.
    pub call: usize,
    /// How it ended.
    pub ending: Option<Ending>,
    /// Tokens of the answer on the client's bill.
    pub tokens: u64,
    /// The client's bill, in dollars.
    pub usd: f64,
    /// Every attempt.
    pub attempts: Vec<Attempt>,
}

/// An attempt, as a router accounts for it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Attempt {
    /// Where.
    pub pool: PoolId,
    /// When it was sent.
    pub started: Instant,
    /// When it was over.
    pub ended: Instant,
    /// How.
    pub result: AttemptResult,
    /// What it costs, in dollars.
    pub usd: f64,
}

impl Attempt {
    /// It had no connection, so the pool knows nothing of it.
    pub const fn unseen(&self) -> bool {
        matches!(self.result, AttemptResult::Failed(FailureKind::Connect | FailureKind::Tls))
    }
}

/// What a pool counted by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PoolCount {
    /// Requests that came.
    pub arrived: u64,
    /// Whole answers that it gave.
    pub answered: u64,
    /// Of those, the ones that nobody waited for any more.
    pub late: u64,
    /// Requests that were called back before they arrived.
    pub recalled: u64,
}

/// What a router said of a pool.
#[derive(Clone, PartialEq, Debug)]
pub struct Change {
    /// When.
    pub at: Instant,
    /// Of which.
    pub pool: PoolId,
    /// It concerns all of the pool's service of a model, not one endpoint.
    pub whole: bool,
    /// How it is now.
    pub to: &'static str,
    /// Why.
    pub why: String,
}
