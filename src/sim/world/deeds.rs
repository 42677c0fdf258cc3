//! What happens to pools and routers at a given moment, and what it does to the calls under way.

use std::sync::Arc;

use super::super::pools::Hazardous;
use super::super::witness::Word;
use super::{Blow, Entry, World};
use crate::call::{Close, Event};
use crate::domain::{Duration, Instant, Now, PoolId};
use crate::fleet::{Fleet, Transition};

/// Something that is done to pools or routers beyond what a config's events can say: a step of a drill.
#[derive(Clone, PartialEq, Debug)]
pub struct Deed {
    /// When.
    pub at: Instant,
    /// What.
    pub what: What,
}

/// See [`Deed`]. Routers are counted from 0.
#[derive(Clone, PartialEq, Debug)]
pub enum What {
    /// Something stands in the way to a pool, until it ends.
    Begins(Hazardous),
    /// The hazard of that number ends.
    Ends(u32),
    /// Endpoints take so many times as long.
    Slows {
        /// Whose.
        pool: PoolId,
        /// Which; none is all.
        endpoints: Vec<usize>,
        /// How many times; 1 ends it.
        factor: f64,
    },
    /// An operator drains it, at every router.
    Drains(PoolId),
    /// And lets it come back.
    Resumes(PoolId),
    /// A router takes no new calls, and cuts those that are still under way after the grace.
    Stops {
        /// Which.
        router: u16,
        /// How long they have.
        grace: Duration,
    },
    /// A router is gone, and with it every call under way.
    Dies(u16),
    /// It is there again, and knows nothing of before.
    Starts(u16),
}

impl World<'_> {
    pub(super) fn strike(&mut self, i: u32, now: Now) {
        let setup = self.setup;
        let fault = &setup.faults[i as usize];
        match &fault.what {
            Blow::Door(door) => {
                self.pools.set_door(fault.pool, (**door).clone(), now.mono, &mut self.due);
            }
            Blow::Slow { endpoint, factor } => {
                self.pools.slow_down(fault.pool, *endpoint, *factor, now.mono, &mut self.due);
            }
        }
    }

    pub(super) fn act(&mut self, i: u32, now: Now) {
        let deeds = self.deeds;
        let Some(deed) = deeds.get(i as usize) else { return };
        match &deed.what {
            What::Begins(hazardous) => self.pools.endanger(hazardous.clone(), now.mono, &mut self.due),
            What::Ends(id) => self.pools.relieve(*id),
            What::Slows { pool, endpoints, factor } if endpoints.is_empty() => {
                self.pools.slow_down(*pool, None, *factor, now.mono, &mut self.due);
            }
            What::Slows { pool, endpoints, factor } => {
                for endpoint in endpoints {
                    self.pools.slow_down(*pool, Some(*endpoint), *factor, now.mono, &mut self.due);
                }
            }
            What::Drains(pool) => self.tell_all(now, |fleet| fleet.drain(*pool, now)),
            What::Resumes(pool) => self.tell_all(now, |fleet| fleet.resume(*pool, now)),
            What::Stops { router, grace } => {
                self.set_up(*router, false);
                self.put(now.mono + *grace, Entry::Grace(*router));
            }
            What::Dies(router) => self.dies(*router, now),
            What::Starts(router) => {
                // Calls of before end with the process that knew them.
                self.grace_ends(*router, now);
                if let Some(old) = self.fleets.get_mut(usize::from(*router)) {
                    *old = fleet(self.setup, now);
                    self.set_up(*router, true);
                }
            }
        }
    }

    fn tell_all(&mut self, now: Now, mut tell: impl FnMut(&mut Fleet) -> Vec<Transition>) {
        for fleet in &mut self.fleets {
            tell(fleet).iter().for_each(|transition| self.witness.changed(now.mono, transition));
        }
    }

    fn set_up(&mut self, router: u16, up: bool) {
        if let Some(at) = self.up.get_mut(usize::from(router)) {
            *at = up;
        }
    }

    /// The grace of a router that stops is over.
    pub(super) fn grace_ends(&mut self, router: u16, now: Now) {
        for i in self.calls_of(router) {
            self.feed(i, Event::Shutdown, now);
        }
    }

    fn dies(&mut self, router: u16, now: Now) {
        self.set_up(router, false);
        for i in self.calls_of(router) {
            let Some(play) = self.plays[i as usize].take() else { continue };
            self.open -= 1;
            self.waiting.remove(&play.call.facts().id);
            if let Some(flight) = play.flight {
                self.pools.forget(flight, now.mono, &mut self.due);
            }
            self.witness.heard(i, now.mono, Word::Cut);
        }
    }

    fn calls_of(&self, router: u16) -> Vec<u32> {
        let mine = |(_, play): &(usize, &Option<Box<super::Play>>)| {
            play.as_ref().is_some_and(|p| p.router == usize::from(router))
        };
        self.plays.iter().enumerate().filter(mine).map(|(i, _)| i as u32).collect()
    }

    pub(super) fn close(&mut self, i: u32, close: &Close, now: Now) {
        if let Some(play) = self.plays[i as usize].take() {
            self.witness.heard(
                i,
                now.mono,
                match close {
                    Close::Answered => Word::Whole,
                    Close::Refused(_) => Word::Refused,
                    Close::Broken { .. } => Word::Broken,
                    Close::Gone => Word::Cut,
                },
            );
            self.witness.closed(i, play.call.facts(), play.call.record());
            self.recorder.closed(play.call.facts(), play.call.record(), &self.setup.catalog);
            self.open -= 1;
        }
    }
}

/// A router that has just begun.
pub(super) fn fleet(setup: &super::Setup, now: Now) -> Fleet {
    let mut fleet = Fleet::new(Arc::clone(&setup.catalog), setup.routing, now);
    for (i, pool) in setup.pools.iter().enumerate() {
        fleet.set_endpoints(PoolId(i as u16), &pool.addresses, now);
    }
    fleet
}
