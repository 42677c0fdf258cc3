//! What the fleet says: decisions, and what it wants to hear back.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::domain::{
    Address, Duration, EndpointId, FailureKind, Instant, OfferId, PoolId, Refusal, Timestamp, Usage, Usd,
};
use crate::limit::Sent;
use crate::queue::Wish;

/// What to do with a call now. Taken afresh for every attempt.
#[derive(Clone, Debug)]
pub enum Decision {
    /// Send it there.
    Dispatch(Dispatch),
    /// Not now: a contact window opens, a cooldown ends, a slot frees.
    Wait {
        /// When that may have changed.
        until: Instant,
        /// What it waits for, for people.
        reason: Cow<'static, str>,
        /// For a turn among those that want the same, or just for that moment.
        turn: Turn,
    },
    /// Give up: nobody can serve it, or nobody in time.
    Shed(Refusal),
}

/// How a call waits.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Turn {
    /// By itself: it could go now, and looks again at prices when its time has come.
    Alone,
    /// In line: others want the same, and it looks again when it is called up.
    InLine {
        /// Time alone may make room then; never if only other calls can.
        opens: Instant,
        /// It looks again then even if it was never called up.
        look_at: Instant,
        /// What it waits for a place with.
        wish: Wish,
    },
}

/// Where an attempt goes, and what is expected of it.
#[derive(Clone, Debug)]
pub struct Dispatch {
    /// The offer.
    pub offer: OfferId,
    /// Its pool.
    pub pool: PoolId,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Where that is.
    pub address: Arc<Address>,
    /// No first token for this long (from the dispatch) counts as a failure of the attempt.
    pub ttft_limit: Duration,
    /// No content for this long after the first counts as a stall.
    pub idle_limit: Duration,
    /// Expected time to first token.
    pub expected_ttft: Duration,
    /// Expected bill in dollars (money only, without shadow terms).
    pub expected_usd: f64,
    /// Seconds of prefill that this call is expected to add there.
    pub work_s: f64,
    /// Nominal seconds for which it is expected to keep the prefill of its endpoint busy: the same, and the fixed part.
    pub lane_s: f64,
    /// Tokens expected, prompt and answer: what it was charged to the pool's grants.
    pub expected_tokens: f64,
    /// Output tokens expected.
    pub expected_output: u32,
    /// Why there.
    pub reason: Reason,
}

/// Why a pool was chosen, in one line of dollars.
#[derive(Clone, Debug, PartialEq)]
pub struct Reason {
    /// The chosen pool.
    pub pool: Arc<str>,
    /// Its total, in dollars; absent under a policy without money.
    pub j_usd: Option<f64>,
    /// The next best pool and its total.
    pub runner_up: Option<(Arc<str>, Option<f64>)>,
    /// The policy that chose (`price`, `ordered`, `weighted`), or `only` when there was no choice.
    pub policy: &'static str,
}

/// `price: owned $0.000110 < cloud-a $0.002400`, or `ordered: owned < cloud-a`.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.policy, self.pool)?;
        if let Some(j) = self.j_usd {
            write!(f, " ${j:.6}")?;
        }
        if let Some((pool, j)) = &self.runner_up {
            write!(f, " < {pool}")?;
            if let Some(j) = j {
                write!(f, " ${j:.6}")?;
            }
        }
        Ok(())
    }
}

/// An attempt that was made: what the next decision must know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tried {
    /// The offer.
    pub offer: OfferId,
    /// Its pool.
    pub pool: PoolId,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Why it failed.
    pub kind: FailureKind,
    /// It certainly was not worked on.
    pub unprocessed: bool,
}

/// An attempt under way, as the fleet accounts for it. Give it back with [`Fleet::ended`](super::Fleet::ended),
/// exactly once.
#[must_use]
#[derive(Debug)]
pub struct Ticket {
    /// The dispatch it accounts for.
    pub dispatch: Dispatch,
    /// When it was sent.
    pub started: Instant,
    /// The same by the clock on the wall: the prices of that hour are its bill.
    pub sent: Timestamp,
    /// When its first content came.
    pub first_token: Option<Instant>,
    /// What had been sent to the offer by then, with this.
    pub so_far: Sent,
    /// What it costs: expected, until whoever counts its tokens says better.
    pub cost: Usd,
}

/// How an attempt ended, as health and estimates see it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum AttemptEnd {
    /// It gave a whole answer.
    Ok {
        /// What was counted.
        usage: Usage,
    },
    /// It failed.
    Failed {
        /// Why.
        kind: FailureKind,
        /// How long the upstream asked us to stay away.
        retry_after: Option<Duration>,
    },
    /// We cancelled it: the client left, another attempt won, or we are going down. Says nothing about health.
    Cancelled,
}

/// Something that happened to a pool and that people should hear of.
#[derive(Clone, PartialEq, Debug)]
pub struct Transition {
    /// The pool.
    pub pool: PoolId,
    /// The offer, when it is about one model only.
    pub offer: Option<OfferId>,
    /// The endpoint, when it is about one endpoint only.
    pub endpoint: Option<EndpointId>,
    /// From which state.
    pub from: &'static str,
    /// To which state: `healthy`, `ejected`, `probation`, `slow_start`, `drained`, `cooldown`, `disabled`.
    pub to: &'static str,
    /// Why.
    pub reason: String,
}
