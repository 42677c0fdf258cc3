//! The contract with a pool: what it grants, and what the operator allows.

use super::Lower;
use crate::config::raw;
use crate::config::read::At;
use crate::domain::{Budget, Grants, Growth, Quota, SaidGrants, Timestamp, Usd};

impl Lower<'_> {
    /// All of it.
    pub(super) fn grants(&mut self, raw: Option<&raw::Grants>) -> Grants {
        let Some(raw) = raw else { return Grants::default() };
        let quota = raw.quota.as_ref().and_then(|q| self.quota(q));
        let budget = raw.budget.as_ref().and_then(|b| self.budget(b));
        let mut rate = |n: Option<&At<u32>>| n.map(|n| self.at_least_one(Some(n), n.value));
        Grants {
            requests_per_minute: rate(raw.requests_per_minute.as_ref()),
            tokens_per_minute: rate(raw.tokens_per_minute.as_ref()),
            quota,
            said: match raw.from_headers {
                Some(false) => SaidGrants::Ignored,
                Some(true) | None => SaidGrants::Heeded,
            },
            budget,
            growth: raw.growth.as_ref().and_then(|growth| self.growth(growth)),
        }
    }

    fn growth(&mut self, raw: &raw::Growth) -> Option<Growth> {
        // A tenth more may come at once: a factor below that would never let anything grow.
        let grows = raw.factor.value.0 > 1.12;
        if !grows || raw.every.value.is_zero() || raw.above.value == 0 {
            let message =
                "growth needs a factor above 1.12 and at most 100, and a time and a rate above zero";
            let problem = self.error(raw.place.span.clone(), message);
            problem.help =
                Some("for example growth = { factor = 1.5, every = \"15m\", above = 1_000_000 }".to_owned());
            return None;
        }
        Some(Growth { factor: raw.factor.value.0, every: raw.every.value, above: raw.above.value })
    }

    fn quota(&mut self, raw: &raw::Quota) -> Option<Quota> {
        if raw.every.value.is_zero() || raw.tokens.value == 0 {
            let problem = self.error(raw.place.span.clone(), "a quota needs tokens and a window above zero");
            problem.help = Some("for example quota = { tokens = 10_000_000, every = \"5h\" }".to_owned());
            return None;
        }
        let anchor = raw.anchor.unwrap_or(Timestamp::from_millis(0));
        Some(Quota { tokens: raw.tokens.value.into(), every: raw.every.value, anchor })
    }

    fn budget(&mut self, raw: &raw::Budget) -> Option<Budget> {
        if raw.every.value.is_zero() || raw.usd.value.0 <= 0.0 {
            let problem =
                self.error(raw.place.span.clone(), "a budget needs dollars and a window above zero");
            problem.help = Some("for example budget = { usd = 200, every = \"1d\" }".to_owned());
            return None;
        }
        let anchor = raw.anchor.unwrap_or(Timestamp::from_millis(0));
        Some(Budget { usd: Usd::from_dollars(raw.usd.value.0), every: raw.every.value, anchor })
    }
}
