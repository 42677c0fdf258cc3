//! What is written down about a call: the facts that the log line, the ledger and the metrics are made of.

use std::borrow::Cow;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::domain::{Address, Ending, EndpointId, FailureKind, Instant, OfferId, PoolId, Usage, Usd};
use crate::fleet::Reason;

use super::Close;

/// The account of a call. There is exactly one per call, closed exactly once.
#[derive(Debug)]
pub struct Record {
    /// When it came.
    pub arrived: Instant,
    /// When the client was given the first content (for a unary call: the answer).
    pub committed: Option<Instant>,
    /// When it was over.
    pub closed: Option<Instant>,
    /// How.
    pub ending: Option<Ending>,
    /// Why the stream broke, if it did: the code that the client was told.
    pub broke: Option<&'static str>,
    /// Every attempt, in order.
    pub attempts: SmallVec<[AttemptRecord; 2]>,
    /// Why the last dispatch went where it went.
    pub reason: Option<Reason>,
    /// What it last waited for.
    pub waited_for: Option<Cow<'static, str>>,
    /// What was delivered to the client: its bill.
    pub usage: Usage,
    /// Its price.
    pub cost: Usd,
}

/// One attempt.
#[derive(Clone, Debug)]
pub struct AttemptRecord {
    /// The offer.
    pub offer: OfferId,
    /// Its pool.
    pub pool: PoolId,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Where that was.
    pub address: Arc<Address>,
    /// When it was sent.
    pub started: Instant,
    /// When its first content came.
    pub first_token: Option<Instant>,
    /// When it was over.
    pub ended: Instant,
    /// How.
    pub result: AttemptResult,
    /// The upstream's status, where there was one.
    pub status: Option<u16>,
    /// Tokens that the upstream presumably bills.
    pub usage: Usage,
    /// What that costs us.
    pub cost: Usd,
}

/// How an attempt ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttemptResult {
    /// With a whole answer.
    Ok,
    /// It failed.
    Failed(FailureKind),
    /// We called it off.
    Cancelled,
}

impl AttemptResult {
    /// The name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed(kind) => kind.name(),
            Self::Cancelled => "cancelled",
        }
    }
}

impl Record {
    pub(super) fn new(arrived: Instant) -> Self {
        Self {
            arrived,
            committed: None,
            closed: None,
            ending: None,
            broke: None,
            attempts: SmallVec::new(),
            reason: None,
            waited_for: None,
            usage: Usage::default(),
            cost: Usd::ZERO,
        }
    }

    pub(super) fn close(&mut self, close: &Close, now: Instant) {
        debug_assert!(self.closed.is_none(), "a call is closed once");
        self.closed = Some(now);
        if let Close::Broken { code, .. } = close {
            self.broke = Some(code);
        }
        self.ending = Some(match close {
            Close::Answered => Ending::Ok,
            Close::Refused(_) if self.attempts.is_empty() => Ending::Refused,
            Close::Refused(_) => Ending::Failed,
            Close::Broken { .. } => Ending::Broken,
            Close::Gone => Ending::ClientGone,
        });
    }

    /// What attempts cost beyond what the client got: ours to bear, and to report.
    pub fn waste(&self) -> Usd {
        self.attempts.iter().map(|a| a.cost).sum::<Usd>() - self.cost
    }
}
