//! What a config file says about the contract with a pool: what it grants, and what the operator allows.

use std::time::Duration;

use crate::config::read::{At, record};
use crate::config::values::{Amount, Within};
use crate::domain::Timestamp;

record! {
    /// What the contract with a pool grants, over all its endpoints.
    Grants as "grants" {
        /// Requests a minute; default no limit.
        requests_per_minute: Option<At<u32>>,
        /// Tokens a minute, prompt and answer; default no limit.
        tokens_per_minute: Option<At<u32>>,
        /// Tokens of a longer window: five hours, a week.
        quota: Option<Quota>,
        /// kind = "openai": what the provider says is left (rate-limit headers) is kept to, too; default true.
        from_headers: Option<bool>,
        /// Dollars of a longer window: your own limit, which nobody else keeps.
        budget: Option<Budget>,
        /// How fast tokens a minute may grow; default at once.
        growth: Option<Growth>,
    }
}

record! {
    /// What is sent may grow only so fast once it is more than so much: the rest goes elsewhere meanwhile.
    Growth as "growth" {
        /// At most so many times as much after `every`: above 1.12, at most 100.
        factor: At<Within<1, 100>>,
        /// After this long.
        every: At<Duration>,
        /// Tokens a minute, prompt and answer, that may always be sent.
        above: At<u32>,
    }
}

record! {
    /// So many tokens in every window of time; what is left when it ends is lost.
    Quota as "quota" {
        /// Prompts and answers.
        tokens: At<u32>,
        /// From one reset to the next.
        every: At<Duration>,
        /// Some reset; default 1970-01-01T00:00:00Z.
        anchor: Option<Timestamp>,
    }
}

record! {
    /// So many dollars in every window of time, and no more.
    Budget as "budget" {
        /// Dollars.
        usd: At<Amount>,
        /// From one reset to the next.
        every: At<Duration>,
        /// Some reset; default 1970-01-01T00:00:00Z.
        anchor: Option<Timestamp>,
    }
}
