//! What must hold, what is expected, and what breaks a drill off.

use super::{HOLD, Lower};
use crate::domain::Duration;
use crate::drill::raw;
use crate::drill::script::{Abort, AbortWhen, Expect, Hypothesis, Sli};

/// What breaks a drill off must last for at least a moment.
const ABORT_AFTER: Duration = Duration::from_secs(10);

impl Lower<'_> {
    pub(super) fn expect(&mut self, raw: Option<&raw::Expect>) -> Expect {
        let usual = Expect {
            hold: HOLD,
            detect_within: None,
            failover_rto: None,
            failback_rto: None,
            overflow_order: Vec::new(),
            lost_max: 0,
            duplicated_max: 0,
            interrupted_max: None,
            amplification_max: None,
            extra_cost_max_usd: None,
            extra_cost_max_pct: None,
            added_ttft_p99_max_ms: None,
        };
        let Some(raw) = raw else { return usual };
        if let Some(hold) = raw.hold.as_ref().filter(|hold| hold.value.is_zero()) {
            self.error(hold.span.clone(), "what holds for no time says nothing");
        }
        Expect {
            hold: raw.hold.as_ref().map_or(HOLD, |hold| hold.value),
            detect_within: raw.detect_within,
            failover_rto: raw.failover_rto,
            failback_rto: raw.failback_rto,
            overflow_order: raw.overflow_order.iter().flatten().filter_map(|name| self.pool(name)).collect(),
            lost_max: raw.lost_max.map_or(0, u64::from),
            duplicated_max: raw.duplicated_max.map_or(0, u64::from),
            interrupted_max: raw.interrupted_max.map(u64::from),
            amplification_max: raw.amplification_max.map(|most| most.0),
            extra_cost_max_usd: raw.extra_cost_max_usd.map(|most| most.0),
            extra_cost_max_pct: raw.extra_cost_max_pct.map(|most| most.0),
            added_ttft_p99_max_ms: raw.added_ttft_p99_max_ms.map(|most| most.0),
        }
    }

    pub(super) fn hypothesis(&mut self, raw: &raw::SteadyState, hold: Duration) -> Option<Hypothesis> {
        let class = self.class(raw.class.as_ref());
        let (min, max) = (raw.min.as_ref().map(|x| x.value.0), raw.max.as_ref().map(|x| x.value.0));
        let sli = match (raw.sli.value, min, max) {
            (raw::Sli::SuccessRatio, Some(min), None) => Sli::SuccessRatio(min),
            (raw::Sli::TtftP99, None, Some(max)) => Sli::TtftP99(max),
            (raw::Sli::SilentTruncations, None, Some(max)) => Sli::SilentTruncations(max as u64),
            (raw::Sli::DoubleBilled, None, Some(max)) => Sli::DoubleBilled(max as u64),
            (sli, ..) => {
                let one = if sli == raw::Sli::SuccessRatio { "`min`" } else { "`max`" };
                self.error(raw.sli.span.clone(), format!("this takes {one}, and nothing else"));
                return None;
            }
        };
        if let Some(window) = raw.window.as_ref().filter(|window| window.value.is_zero()) {
            self.error(window.span.clone(), "what holds for no time says nothing");
        }
        Some(Hypothesis { sli, class, window: raw.window.as_ref().map_or(hold, |window| window.value) })
    }

    pub(super) fn abort(&mut self, raw: &raw::Abort) -> Option<Abort> {
        let class = self.class(raw.class.as_ref());
        let (below, above) = (raw.below.as_ref().map(|x| x.value.0), raw.above.as_ref().map(|x| x.value.0));
        let when = match (raw.sli.value, below, above) {
            (raw::AbortSli::SuccessRatio, Some(share), None) => AbortWhen::SuccessBelow { class, share },
            (raw::AbortSli::SpendUsdPerMin, None, Some(usd)) if class.is_none() => AbortWhen::SpendAbove(usd),
            (sli, ..) => {
                let one = if sli == raw::AbortSli::SuccessRatio { "`below`" } else { "`above`" };
                self.error(raw.sli.span.clone(), format!("this takes {one}, and nothing else"));
                return None;
            }
        };
        Some(Abort { when, lasts: raw.r#for.unwrap_or(ABORT_AFTER) })
    }
}
