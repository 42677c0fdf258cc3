//! How a pool is chosen: the operator's few knobs over the many settings of the rules.

use std::time::Duration;

use super::Lower;
use crate::config::quantity::spelt;
use crate::config::raw;
use crate::config::read::At;
use crate::policy::Policy;
use crate::{fleet, health, limit, policy, queue};

/// Longer waits than this are not settings of a router.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);

/// The policy of a file, `price` unless it says otherwise.
pub(super) fn policy(file: &raw::File) -> Policy {
    match file.routing.as_ref().and_then(|routing| routing.policy) {
        Some(raw::Policy::Ordered) => Policy::Ordered,
        Some(raw::Policy::Weighted) => Policy::Weighted,
        Some(raw::Policy::Price) | None => Policy::Price,
    }
}

/// How many calls may wait, and for what.
fn waiting(raw: Option<&raw::Limits>, usual: fleet::Settings) -> fleet::Settings {
    let Some(raw) = raw else { return usual };
    let most = |given: Option<&At<u32>>, usual| given.map_or(usual, |n| n.value as usize);
    let queue = queue::Settings { most: most(raw.waiting.as_ref(), usual.queue.most), ..usual.queue };
    fleet::Settings { queue, deferred_max: most(raw.deferred.as_ref(), usual.deferred_max), ..usual }
}

impl Lower<'_> {
    pub(super) fn routing(&mut self, file: &raw::File) -> fleet::Settings {
        let usual = fleet::Settings::default();
        let usual = waiting(file.limits.as_ref(), usual);
        let Some(raw) = &file.routing else { return usual };
        let choice = policy::Settings {
            policy: policy(file),
            first_token_min: self.wait(raw.first_token_min.as_ref(), usual.choice.first_token_min),
            idle: self.wait(raw.idle.as_ref(), usual.choice.idle),
            short_wait: self.wait(raw.short_wait.as_ref(), usual.choice.short_wait),
            shadow: self.own(raw.own.as_ref(), usual.choice.shadow),
            ..usual.choice
        };
        fleet::Settings {
            choice,
            health: raw.health.as_ref().map_or(usual.health, |raw| self.health(raw, usual.health)),
            retry: raw.retry.as_ref().map_or(usual.retry, |raw| self.retry(raw, usual.retry)),
            session_ttl: self.wait(raw.session.as_ref(), usual.session_ttl),
            ..usual
        }
    }

    fn own(&mut self, raw: Option<&raw::Own>, usual: policy::shadow::Settings) -> policy::shadow::Settings {
        let Some(raw) = raw else { return usual };
        let backlog = Duration::from_secs_f64(usual.backlog_target_s);
        policy::shadow::Settings {
            slots_target: raw.fill.map_or(usual.slots_target, |share| share.0),
            backlog_target_s: self.wait(raw.backlog.as_ref(), backlog).as_secs_f64(),
            ..usual
        }
    }

    fn health(&mut self, raw: &raw::Health, usual: health::Settings) -> health::Settings {
        let settings = health::Settings {
            failures: self.failures(raw.failures.as_ref(), usual.failures),
            local_failures: self.failures(raw.local_failures.as_ref(), usual.local_failures),
            success_ratio: raw.success_ratio.map_or(usual.success_ratio, |share| share.0),
            ejection: self.wait(raw.ejection.as_ref(), usual.ejection),
            ejection_max: self.wait(raw.ejection_max.as_ref(), usual.ejection_max),
            slow_start: raw.slow_start.unwrap_or(usual.slow_start),
            ..usual
        };
        if settings.ejection > settings.ejection_max {
            let message = format!(
                "the first ejection ({}) is longer than the longest ({})",
                spelt(settings.ejection),
                spelt(settings.ejection_max)
            );
            let problem = self.error(raw.place.key("ejection"), message);
            problem.help = Some("raise `ejection_max` or lower `ejection`".to_owned());
        }
        settings
    }

    fn retry(&mut self, raw: &raw::Retry, usual: limit::Settings) -> limit::Settings {
        let attempts = self.at_least_one(raw.attempts.as_ref(), usual.attempts as u32) as usize;
        if attempts > usual.attempts_max {
            let message = format!("a call is tried at most {} times", usual.attempts_max);
            self.error(raw.place.key("attempts"), message);
        }
        limit::Settings {
            share: raw.share.map_or(usual.share, |share| share.0),
            floor: raw.floor.unwrap_or(usual.floor),
            attempts,
            ..usual
        }
    }

    fn failures(&mut self, given: Option<&At<u32>>, usual: u8) -> u8 {
        let count = self.at_least_one(given, u32::from(usual));
        u8::try_from(count).unwrap_or_else(|_| {
            if let Some(given) = given {
                self.error(given.span.clone(), "expected at most 255");
            }
            usual
        })
    }

    fn wait(&mut self, given: Option<&At<Duration>>, usual: Duration) -> Duration {
        let Some(given) = given else { return usual };
        if given.value.is_zero() || given.value > WAIT_MAX {
            self.error(given.span.clone(), "expected a time above zero and at most 24h");
        }
        given.value
    }
}
