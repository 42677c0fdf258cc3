//! What a server says beside its answers: what is left of its meters, and how busy it is.
//!
//! All of it is hearsay and none of it is needed: what is absent is not known, and nothing waits for it.

use super::time::Duration;

/// What came beside an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Aside {
    /// What is left of what the provider grants.
    pub allowances: Option<Allowances>,
    /// How busy the engine is.
    pub load: Option<EngineLoad>,
}

/// A provider's meters, as of when it counted the request that it answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Allowances {
    /// Requests.
    pub requests: Allowance,
    /// Tokens.
    pub tokens: Allowance,
    /// Nothing at all is granted for so long, whatever the meters say.
    pub closed_for: Option<Duration>,
}

/// One meter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Allowance {
    /// When nothing was used.
    pub limit: Option<u64>,
    /// Now.
    pub remaining: Option<u64>,
    /// Until all of it is there again.
    pub reset: Option<Duration>,
    /// The time that `limit` is for.
    pub window: Option<Duration>,
}

/// How busy an engine says it is, with everybody's calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EngineLoad {
    /// Calls that it works on.
    pub running: Option<u32>,
    /// Calls that wait there.
    pub waiting: Option<u32>,
    /// Thousandths of its KV cache that calls hold.
    pub kv_permille: Option<u16>,
}

impl Allowances {
    /// Nothing was said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl EngineLoad {
    /// Nothing was said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Aside {
    /// On its way with an answer, if there is anything in it.
    pub fn boxed(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }
}
