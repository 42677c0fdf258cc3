//! How long a try may take before it is given up.

use super::{CallView, Settings};
use crate::domain::{AskKind, Duration};

/// Limits of one try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// For the first token, from the dispatch.
    pub first_token: Duration,
    /// Between content after that.
    pub idle: Duration,
}

/// Output tokens that a whole (not streamed) answer is given time for when the client set no limit.
const WHOLE_ANSWER_TOKENS: f64 = 4096.0;

/// `p99_s` is the 99th percentile of the time to first token, `tpot_s` the time per output token. `another` says that
/// somebody else could be tried: then a try never takes all the time there is.
pub fn limits(call: &CallView<'_>, p99_s: f64, tpot_s: f64, another: bool, settings: &Settings) -> Limits {
    let mut limit = (settings.first_token_p99s * p99_s).max(settings.first_token_min.as_secs_f64());
    if !call.facts.stream && call.facts.kind != AskKind::Embed {
        // The first token of a whole answer comes with the last.
        let most = call.facts.max_tokens.map_or(WHOLE_ANSWER_TOKENS, f64::from);
        limit += 2.0 * most * tpot_s;
    }
    let left = call.left_s;
    let cap = if another { left / 2.0 } else { left };
    let limit = limit.min(cap.max(left.min(p99_s)));
    Limits { first_token: seconds(limit), idle: settings.idle }
}

/// A duration of so many seconds; what is no duration (negative, not a number, for ever) is none at all.
pub fn seconds(s: f64) -> Duration {
    Duration::try_from_secs_f64(s).unwrap_or_default()
}
