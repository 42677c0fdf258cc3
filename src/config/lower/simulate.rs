//! What a simulation of the config plays: names looked up, moments in order.

use std::time::Duration;

use super::Lower;
use crate::config::raw;
use crate::config::read::unknown;
use crate::config::settings::{Simulate, SimulateEvent, Trouble, UpstreamSettings};
use crate::domain::{Catalog, ClassId, PoolId};

/// Events of one simulation: more are a mistake, or belong into several.
const EVENTS_MAX: usize = 1000;
/// More routers than this stand in front of nothing that can be simulated here.
const ROUTERS_MAX: u32 = 64;
/// Engines that are asked more often do little else.
const TOLD_MIN: Duration = Duration::from_millis(10);

impl Lower<'_> {
    pub(super) fn simulate(
        &mut self,
        raw: Option<&raw::Simulate>,
        catalog: &Catalog,
        upstreams: &[UpstreamSettings],
    ) -> Simulate {
        let Some(raw) = raw else { return Simulate::default() };
        if let Some(one_too_many) = raw.event.get(EVENTS_MAX) {
            self.error(one_too_many.place.span.clone(), format!("there are more than {EVENTS_MAX} events"));
        }
        let events = raw.event.iter().take(EVENTS_MAX);
        Simulate {
            mix: self.mix(raw, catalog),
            load: self.load(raw),
            routers: self.routers(raw),
            told_every: self.told_every(raw),
            events: events.filter_map(|event| self.event(event, catalog, upstreams)).collect(),
        }
    }

    fn load(&mut self, raw: &raw::Simulate) -> Option<f64> {
        let load = raw.load.as_ref()?;
        if load.value.0 <= 0.0 {
            self.error(load.span.clone(), "expected a load above zero, like 0.9").label =
                "pools of any size are more than enough".to_owned();
        }
        Some(load.value.0)
    }

    fn routers(&mut self, raw: &raw::Simulate) -> u16 {
        let Some(routers) = &raw.routers else { return 1 };
        if !(1..=ROUTERS_MAX).contains(&routers.value) {
            self.error(routers.span.clone(), format!("expected 1 to {ROUTERS_MAX} routers"));
        }
        routers.value.clamp(1, ROUTERS_MAX) as u16
    }

    fn told_every(&mut self, raw: &raw::Simulate) -> Option<Duration> {
        let every = raw.told_every.as_ref()?;
        if every.value < TOLD_MIN {
            let problem = self.error(every.span.clone(), "engines cannot tell as often as that");
            problem.help = Some("10ms is as good as always".to_owned());
        }
        Some(every.value.max(TOLD_MIN))
    }

    fn mix(&mut self, raw: &raw::Simulate, catalog: &Catalog) -> Vec<(ClassId, f64)> {
        let Some(shares) = &raw.mix else { return Vec::new() };
        let mut mix = Vec::new();
        for (name, share) in &shares.0 {
            match catalog.class_id(&name.value) {
                Some(class) => mix.push((class, share.0)),
                None if self.dropped.contains("class") => {}
                None => {
                    let known = catalog.classes.iter().map(|class| &*class.name);
                    self.note(unknown("class", &name.value, known, name.span.clone(), ""));
                }
            }
        }
        if shares.0.iter().all(|(_, share)| share.0 == 0.0) {
            let problem = self.error(raw.place.key("mix"), "no class has a share above zero");
            problem.help =
                Some("for example mix = { interactive = 5, agent = 3, background = 2 }".to_owned());
        }
        mix
    }

    fn event(
        &mut self,
        raw: &raw::SimulateEvent,
        catalog: &Catalog,
        upstreams: &[UpstreamSettings],
    ) -> Option<SimulateEvent> {
        let ends = raw.ends.as_ref();
        if let Some(ends) = ends.filter(|ends| ends.value <= raw.at.value) {
            self.error(ends.span.clone(), "it ends before it begins");
        }
        let trouble = self.trouble(raw);
        let Some(pool) = catalog.pool_id(&raw.pool.value.0) else {
            if !self.dropped.contains("pool") {
                let known = catalog.pools.iter().map(|pool| &*pool.name);
                self.note(unknown("pool", &raw.pool.value.0, known, raw.pool.span.clone(), ""));
            }
            return None;
        };
        self.endpoint_exists(raw, pool, upstreams);
        Some(SimulateEvent { at: raw.at.value, ends: ends.map(|ends| ends.value), pool, trouble: trouble? })
    }

    fn trouble(&mut self, raw: &raw::SimulateEvent) -> Option<Trouble> {
        let endpoint = raw.endpoint.as_ref();
        match (raw.refuse.unwrap_or(false), &raw.slow) {
            (true, None) if endpoint.is_none() => Some(Trouble::Refuses),
            (true, None) => {
                let problem = self.error(raw.place.key("endpoint"), "one endpoint alone cannot refuse");
                problem.help = Some("leave `endpoint` out, or write `slow = 1000` for it".to_owned());
                None
            }
            (false, Some(slow)) if slow.value.0 > 0.0 => {
                Some(Trouble::Slow { endpoint: endpoint.map(|e| e.value), factor: slow.value.0 })
            }
            (false, Some(slow)) => {
                self.error(slow.span.clone(), "expected a factor above zero; 4 is four times as long");
                None
            }
            (_, slow) => {
                let both = if slow.is_some() { "this event is two" } else { "nothing happens in this event" };
                let problem = self.error(raw.place.span.clone(), both);
                problem.help = Some("say either `refuse = true` or `slow = 4.0`".to_owned());
                None
            }
        }
    }

    fn endpoint_exists(&mut self, raw: &raw::SimulateEvent, pool: PoolId, upstreams: &[UpstreamSettings]) {
        let Some(endpoint) = &raw.endpoint else { return };
        let count = match &upstreams[pool.index()] {
            UpstreamSettings::Simulated(simulated) => simulated.engines.len(),
            // Such pools are played as one provider.
            UpstreamSettings::OpenAi(_) | UpstreamSettings::Grpc(_) => 1,
        };
        if count > 0 && endpoint.value as usize >= count {
            let message = format!("`{}` has {count} endpoints, counted from 0", raw.pool.value.0);
            self.error(endpoint.span.clone(), message).label = "no such endpoint".to_owned();
        }
    }
}
