//! Steps: when each begins and ends, what it takes to say what happens, and that it can be seen.

use std::ops::Range;

use super::{Lower, STEPS_MAX};
use crate::config::read::unknown;
use crate::domain::{Duration, Instant, Tenure};
use crate::drill::raw::{self, Kind};
use crate::drill::script::{Fault, Step, Target};

/// As many tokens as a sentence has.
const AFTER_TOKENS: u32 = 20;

/// Keys that only some faults have.
const OWN_KEYS: [&str; 7] = ["share", "status", "retry_after", "after_tokens", "factor", "router", "grace"];

impl Lower<'_> {
    pub(super) fn steps(
        &mut self,
        file: &raw::File,
        targets: &[Target],
        routers: u16,
        length: Duration,
    ) -> Vec<Step> {
        if file.step.is_empty() {
            self.problems.push(
                crate::config::Problem::whole("nothing happens in this drill")
                    .help("add a [[step]] with id, at, for, target and fault"),
            );
        }
        self.twice("step", file.step.iter().map(|step| &step.id));
        let mut steps: Vec<Step> = Vec::new();
        for raw in file.step.iter().take(STEPS_MAX) {
            let at = Instant::START + raw.at.as_ref().map_or(Duration::ZERO, |at| at.value);
            let at = self.begins(raw, &steps, at);
            let fault = self.fault(raw, routers);
            let target = self.target_of(raw, fault, targets);
            let ends = self.ends(raw, fault, at);
            self.seen(raw, at, ends, length);
            if let Some(fault) = fault {
                steps.push(Step { id: raw.id.value.0.as_str().into(), at, ends, target, fault });
            }
        }
        steps.sort_by_key(|step| step.at);
        steps
    }

    fn begins(&mut self, raw: &raw::Step, before: &[Step], at: Instant) -> Instant {
        let Some(after) = &raw.after else { return at };
        let Some(step) = before.iter().find(|step| *step.id == after.value.0) else {
            let known = before.iter().map(|step| &*step.id);
            self.problems.push(unknown("earlier step", &after.value.0, known, after.span.clone(), ""));
            return at;
        };
        let Some(ends) = step.ends else {
            self.error(after.span.clone(), format!("`{}` never ends", step.id));
            return at;
        };
        ends + at.since(Instant::START)
    }

    fn ends(&mut self, raw: &raw::Step, fault: Option<Fault>, at: Instant) -> Option<Instant> {
        match (&raw.r#for, fault) {
            (Some(lasts), Some(Fault::LeaseEnds)) => {
                self.error(lasts.span.clone(), "a lease ends for good").help = Some("leave `for` out".into());
                None
            }
            (Some(lasts), _) if lasts.value.is_zero() => {
                self.error(lasts.span.clone(), "it is over before it begins");
                None
            }
            (Some(lasts), _) => Some(at + lasts.value),
            (None, Some(Fault::LeaseEnds) | None) => None,
            (None, Some(_)) => {
                let problem = self.error(raw.place.span.clone(), "this step lacks its end");
                problem.help = Some("every fault ends by itself: add for = \"30s\"".into());
                None
            }
        }
    }

    /// What happens must happen, and what comes of it must be seen.
    fn seen(&mut self, raw: &raw::Step, at: Instant, ends: Option<Instant>, length: Duration) {
        let end = Instant::START + length;
        if at >= end || ends.is_some_and(|ends| ends >= end) {
            let span = raw.r#for.as_ref().map_or_else(|| raw.place.span.clone(), |lasts| lasts.span.clone());
            let problem = self.error(span, "the traffic ends before this step does");
            problem.help =
                Some("make the workload longer: what comes after the last fault is judged, too".into());
        }
        if at == Instant::START {
            let problem = self.error(raw.place.key("at"), "nothing is seen before it");
            problem.help = Some("let the workload run for a while first, at = \"20s\"".into());
        }
    }

    fn target_of(&mut self, raw: &raw::Step, fault: Option<Fault>, targets: &[Target]) -> Option<usize> {
        let fault = fault?;
        let Some(name) = &raw.target else {
            if fault.has_target() {
                let problem = self.error(raw.place.span.clone(), format!("`{}` of what?", fault.name()));
                problem.help = Some("add target = \"...\", the name of a [[target]]".into());
            }
            return None;
        };
        if !fault.has_target() {
            self.error(name.span.clone(), format!("`{}` has no target", fault.name()));
            return None;
        }
        let Some(at) = targets.iter().position(|target| *target.name == name.value.0) else {
            let known = targets.iter().map(|target| &*target.name);
            self.problems.push(unknown("target", &name.value.0, known, name.span.clone(), ""));
            return None;
        };
        let pool = targets[at].pool;
        if fault.whole_pool() && !targets[at].endpoints.is_empty() {
            let message =
                format!("`{}` is about a whole pool, not about some of its endpoints", fault.name());
            self.error(name.span.clone(), message);
        }
        if fault == Fault::LeaseEnds && self.checked.catalog.pool(pool).tenure == Tenure::Metered {
            self.error(name.span.clone(), "only an owned pool has a lease");
        }
        Some(at)
    }

    fn fault(&mut self, raw: &raw::Step, routers: u16) -> Option<Fault> {
        let share = raw.share.as_ref().map_or(1.0, |share| share.value.0);
        let after = raw.after_tokens.as_ref().map_or(AFTER_TOKENS, |after| after.value);
        let (fault, takes): (Fault, &[&str]) = match raw.fault.value {
            Kind::Kill => (Fault::Kill, &[]),
            Kind::Refuse => (Fault::Refuse, &[]),
            Kind::Error => (Fault::Error { share, status: self.status(raw) }, &["share", "status"]),
            Kind::RateLimit => {
                let retry_after = raw.retry_after.as_ref().map(|after| after.value);
                (Fault::RateLimit { share, retry_after }, &["share", "retry_after"])
            }
            Kind::Hang => (Fault::Hang, &[]),
            Kind::Stall => (Fault::Stall { share, after }, &["share", "after_tokens"]),
            Kind::Truncate => (Fault::Truncate { share, after }, &["share", "after_tokens"]),
            Kind::Slow => (Fault::Slow(self.factor(raw)?), &["factor"]),
            Kind::DnsGone => (Fault::DnsGone, &[]),
            Kind::TlsExpired => (Fault::TlsExpired, &[]),
            Kind::ContactLost => (Fault::ContactLost, &[]),
            Kind::LeaseEnds => (Fault::LeaseEnds, &[]),
            Kind::Drain => (Fault::Drain, &[]),
            Kind::Surge => (Fault::Surge(self.factor(raw)?), &["factor"]),
            Kind::Restart => {
                let grace = self.grace(raw);
                (Fault::Restart { router: self.router(raw, routers), grace }, &["router", "grace"])
            }
            Kind::Crash => (Fault::Crash { router: self.router(raw, routers) }, &["router"]),
        };
        for key in OWN_KEYS.iter().filter(|key| !takes.contains(key)) {
            if let Some(span) = raw.place.has(key) {
                self.foreign(span, key, fault, takes);
            }
        }
        Some(fault)
    }

    fn foreign(&mut self, span: Range<usize>, key: &str, fault: Fault, takes: &[&str]) {
        let problem = self.error(span, format!("`{}` has no `{key}`", fault.name()));
        problem.help = Some(match takes {
            [] => "it takes at, for and target alone".to_owned(),
            keys => format!("it takes {}", keys.join(" and ")),
        });
    }

    fn status(&mut self, raw: &raw::Step) -> u16 {
        let Some(status) = &raw.status else { return 500 };
        if !(400..600).contains(&status.value) {
            self.error(status.span.clone(), "expected the status of an error, from 400 to 599");
        }
        status.value.clamp(400, 599) as u16
    }

    fn factor(&mut self, raw: &raw::Step) -> Option<f64> {
        let Some(factor) = &raw.factor else {
            let problem = self.error(raw.place.span.clone(), "how many times?");
            problem.help = Some("add factor = 4".into());
            return None;
        };
        if !(1.0..=1000.0).contains(&factor.value.0) {
            self.error(factor.span.clone(), "expected a factor from 1 to 1000");
            return None;
        }
        Some(factor.value.0)
    }

    fn router(&mut self, raw: &raw::Step, routers: u16) -> u16 {
        let Some(router) = &raw.router else { return 0 };
        if router.value >= u32::from(routers) {
            let message = format!("there are {routers} routers, counted from 0");
            self.error(router.span.clone(), message).help = Some("say routers = 2 at the top".into());
        }
        router.value.min(u32::from(u16::MAX)) as u16
    }

    fn grace(&mut self, raw: &raw::Step) -> Duration {
        let lasts = raw.r#for.as_ref().map_or(Duration::ZERO, |lasts| lasts.value);
        let Some(grace) = &raw.grace else { return lasts };
        if grace.value > lasts {
            self.error(grace.span.clone(), "it is back before the grace is over");
        }
        grace.value.min(lasts)
    }
}
