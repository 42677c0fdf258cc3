//! A call and a class with nothing special about them, for tests to change where they care: a new field is added here, and
//! not in every test.

use super::{
    AskKind, CallFacts, CallId, Capabilities, Class, ClassId, Duration, Hints, Instant, ModelId, TenantId,
};

/// A whole answer to a prompt of a thousand tokens, at the first moment, with all the time there is.
pub(crate) fn facts() -> CallFacts {
    CallFacts {
        id: CallId(1),
        kind: AskKind::Chat,
        model: ModelId(0),
        class: ClassId(0),
        tenant: TenantId(0),
        input_tokens: 1000,
        max_tokens: None,
        n: 1,
        needs: Capabilities::CHAT,
        stream: false,
        session: None,
        prefix: Default::default(),
        hints: Hints::default(),
        arrived: Instant::START,
        deadline: Instant::NEVER,
        client_retry: false,
    }
}

/// No targets, nothing to pay for a miss, and a minute until the deadline.
pub(crate) fn class() -> Class {
    Class {
        name: "usual".into(),
        ttft_target: None,
        finish_target: None,
        miss_usd: 0.0,
        in_time: None,
        delay_usd_per_s: 0.0,
        deadline: Duration::from_secs(60),
        reserve: 0.0,
        may_wait: false,
        floor: 0.0,
    }
}
