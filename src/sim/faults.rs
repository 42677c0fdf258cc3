//! What a config says happens to pools, as the blows that the world deals: at each moment at which something begins or
//! ends, how the pool then is, whatever else goes on there.

use super::world::{Blow, Fault, Setup};
use crate::config::{SimulateEvent, Trouble};
use crate::domain::{Instant, PoolId};
use crate::engine::Door;

/// The blows, in order of time.
pub(super) fn faults(setup: &Setup, events: &[SimulateEvent]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (i, pool) in setup.pools.iter().enumerate() {
        let id = PoolId(i as u16);
        let mine: Vec<SimulateEvent> = events.iter().filter(|event| event.pool == id).copied().collect();
        for at in moments(&mine) {
            let active: Vec<Trouble> =
                mine.iter().filter(|event| is_on(event, at)).map(|event| event.trouble).collect();
            // Only what changes then is said: a door that is set anew forgets what its limits had let through.
            let touched: Vec<Trouble> = mine.iter().filter(|e| turns(e, at)).map(|e| e.trouble).collect();
            let blow = |what| Fault { at, pool: id, what };
            if touched.contains(&Trouble::Refuses) {
                let refuse = pool.door.refuse || active.contains(&Trouble::Refuses);
                faults.push(blow(Blow::Door(Box::new(Door { refuse, ..pool.door.clone() }))));
            }
            if touched.iter().any(|trouble| matches!(trouble, Trouble::Slow { .. })) {
                faults.push(blow(Blow::Slow { endpoint: None, factor: factor(&active, None) }));
                for endpoint in mine.iter().filter_map(endpoint) {
                    let factor = factor(&active, Some(endpoint));
                    faults.push(blow(Blow::Slow { endpoint: Some(endpoint as usize), factor }));
                }
            }
        }
    }
    faults.sort_by_key(|fault| fault.at);
    faults
}

fn moments(events: &[SimulateEvent]) -> Vec<Instant> {
    let mut moments: Vec<Instant> =
        events.iter().flat_map(|e| [Some(e.at), e.ends]).flatten().map(at).collect();
    moments.sort_unstable();
    moments.dedup();
    moments
}

fn at(since_start: crate::domain::Duration) -> Instant {
    Instant::START + since_start
}

fn is_on(event: &SimulateEvent, now: Instant) -> bool {
    at(event.at) <= now && event.ends.is_none_or(|ends| now < at(ends))
}

fn turns(event: &SimulateEvent, now: Instant) -> bool {
    at(event.at) == now || event.ends.is_some_and(|ends| at(ends) == now)
}

/// The endpoint that an event is about, if it is about one.
fn endpoint(event: &SimulateEvent) -> Option<u32> {
    match event.trouble {
        Trouble::Slow { endpoint, .. } => endpoint,
        Trouble::Refuses => None,
    }
}

/// How slow that endpoint is, or one of which nothing is said. Factors multiply.
fn factor(active: &[Trouble], which: Option<u32>) -> f64 {
    let factors = active.iter().map(|trouble| match trouble {
        Trouble::Slow { endpoint, factor } if endpoint.is_none() || *endpoint == which => *factor,
        Trouble::Slow { .. } | Trouble::Refuses => 1.0,
    });
    factors.product()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::sim::plan;

    fn played(events: &str) -> Vec<(u64, String)> {
        let text = format!("{}\n{events}", config::SIMULATE);
        let checked = config::load_str("x.toml", &text, "".as_ref(), &config::Surroundings::Unread).unwrap();
        let setup = plan::setup(&checked);
        let told = |fault: &Fault| match &fault.what {
            Blow::Door(door) if door.refuse => "refuses".to_owned(),
            Blow::Door(_) => "opens".to_owned(),
            Blow::Slow { endpoint: None, factor } => format!("all x{factor}"),
            Blow::Slow { endpoint: Some(one), factor } => format!("{one} x{factor}"),
        };
        let faults = faults(&setup, &checked.simulate.events);
        faults.iter().map(|fault| (fault.at.as_nanos() / 1_000_000_000, told(fault))).collect()
    }

    fn event(what: &str) -> String {
        format!("[[simulate.event]]\npool = \"own\"\n{what}\n")
    }

    #[test]
    fn a_pool_that_refuses_twice_at_once_opens_when_both_are_over() {
        let events = event("refuse = true\nat = \"10s\"\nends = \"30s\"")
            + &event("refuse = true\nat = \"20s\"\nends = \"40s\"");
        let told = played(&events);
        let times: Vec<(u64, &str)> = told.iter().map(|(at, what)| (*at, what.as_str())).collect();
        assert_eq!(times, [(10, "refuses"), (20, "refuses"), (30, "refuses"), (40, "opens")]);
    }

    #[test]
    fn factors_multiply_while_they_last_and_an_event_without_an_end_stays() {
        let events =
            event("slow = 2\nat = \"10s\"") + &event("slow = 3\nendpoint = 1\nat = \"20s\"\nends = \"30s\"");
        let told = played(&events);
        let times: Vec<(u64, &str)> = told.iter().map(|(at, what)| (*at, what.as_str())).collect();
        let expected =
            [(10, "all x2"), (10, "1 x2"), (20, "all x2"), (20, "1 x6"), (30, "all x2"), (30, "1 x2")];
        assert_eq!(times, expected);
    }

    #[test]
    fn nothing_happens_to_pools_of_which_nothing_is_said() {
        assert!(played("").is_empty());
    }
}
