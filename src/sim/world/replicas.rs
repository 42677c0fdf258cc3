//! Routers side by side: which of them a call comes to, what they are told, and how they all stand.

use super::{Entry, World, position};
use crate::domain::{EngineLoad, Now, PoolId, Tenure};
use crate::engine::draw::mix;
use crate::fleet::Fleet;

impl World<'_> {
    /// Engines of owned pools tell every router how busy they are.
    pub(super) fn tell(&mut self, now: Now) {
        let Some(every) = self.setup.routers.told_every else { return };
        for (i, pool) in self.setup.catalog.pools.iter().enumerate() {
            let id = PoolId(i as u16);
            if pool.tenure == Tenure::Metered {
                continue;
            }
            for fleet in &mut self.fleets {
                for (endpoint, address) in fleet.places(id) {
                    let load = self.pools.load(id, position(&self.setup.pools[i], &address.origin));
                    let load = EngineLoad {
                        running: Some(load.running),
                        waiting: Some(load.waiting),
                        kv_permille: None,
                    };
                    fleet.reported(id, endpoint, load, now);
                }
            }
        }
        self.put(now.mono + every, Entry::Tell);
    }

    /// The router that a call comes to: any that takes calls, if there is one.
    pub(super) fn router(&self, i: u32) -> Option<usize> {
        /// Sets this draw apart from all others.
        const ROUTER: u64 = 0x726f_7574_6572;
        let up = || self.up.iter().enumerate().filter(|(_, up)| **up).map(|(at, _)| at);
        match up().count() {
            0 => None,
            1 => up().next(),
            n => up().nth((mix(mix(self.seed, ROUTER), u64::from(i)) % n as u64) as usize),
        }
    }
}

/// How the fleets stand, for a sample: what all of them have under way, and what the first thinks that it is worth.
pub(super) fn snapshot(fleets: &[Fleet], waiting: usize, now: Now) -> (Vec<u32>, Vec<f64>, u32) {
    let (mut in_flight, slot_usd): (Vec<u32>, _) = fleets[0].loads(now).unzip();
    for fleet in &fleets[1..] {
        for (all, (more, _)) in in_flight.iter_mut().zip(fleet.loads(now)) {
            *all += more;
        }
    }
    (in_flight, slot_usd, waiting as u32)
}
