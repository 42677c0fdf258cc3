//! Decisions on record: which calls, and where to.

use crate::domain::CallId;
use crate::policy::record::DecisionRecord;

use super::LogWriter;

/// Where records of decisions go, and of which calls.
#[derive(Clone, Debug)]
pub struct Records {
    log: LogWriter,
    share: f64,
}

impl Records {
    /// Of that share of calls (0 to 1), to that log.
    pub fn new(log: LogWriter, share: f64) -> Self {
        Self { log, share }
    }

    /// Is this call one of them? A matter of its id alone, so that every decision about a call is on record or none, and
    /// a call that is on record with a smaller share is with every larger one.
    pub fn take(&self, call: CallId) -> bool {
        on_record(call, self.share)
    }

    pub(super) fn write(&self, decision: &DecisionRecord) {
        self.log.line(|out| {
            if serde_json::to_writer(&mut *out, decision).is_err() {
                out.extend_from_slice(b"{\"event\":\"unwritable decision\"}");
            }
        });
    }

    pub(super) fn dropped(&self) -> u64 {
        self.log.dropped()
    }

    pub(super) fn flush(&self) {
        self.log.flush();
    }
}

/// Is this call among that share of all (0 to 1)?
pub fn on_record(call: CallId, share: f64) -> bool {
    place(call.0) < share
}

/// A number from 0 to 1 that depends on the id alone. Mixed (SplitMix64's finaliser) even though ids are random: those of
/// tests and of other routers may not be.
fn place(id: u64) -> f64 {
    let mut z = id.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}
