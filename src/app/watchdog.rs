//! Notices when the router stood still: code that blocks, a machine that is too busy, a process that was stopped. Calls
//! forgive pools for it by themselves (`call/pause.rs`); here it becomes a number that an operator can watch.

use tokio::time::sleep;

use crate::domain::Duration;
use crate::flow::Router;

/// How often it looks at the clock: short beside what counts, and ten wakings a second cost nothing.
const EVERY: Duration = Duration::from_millis(100);
/// Less is what a busy scheduler does.
const COUNTS: Duration = Duration::from_millis(100);
/// From here on somebody should read about it.
const WORTH_A_LINE: Duration = Duration::from_secs(1);

/// Watches until it is dropped.
pub(super) async fn watch(router: Router) {
    let mut before = router.clock().mono();
    loop {
        sleep(EVERY).await;
        let now = router.clock().mono();
        let late = now.since(before).saturating_sub(EVERY);
        before = now;
        if late >= COUNTS {
            router.telemetry().stood_still(late);
        }
        if late >= WORTH_A_LINE {
            tracing::warn!(seconds = late.as_secs_f64(), "the router stood still");
        }
    }
}
