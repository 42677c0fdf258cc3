//! What the energy of powered pools comes to: what their engines did, at the prices of the hours in which they did it.
//!
//! Idling is left out: it is the same whatever a policy does, like the lease.

use super::pools::Pools;
use crate::domain::{Catalog, Now, PoolId, Power, Timestamp};
use crate::engine::{Draw, Meter};

/// One powered pool.
#[derive(Debug)]
struct Bill {
    pool: PoolId,
    power: Power,
    draw: Draw,
    /// What was on the meter when this was last written, and when that was.
    seen: Meter,
    at: Timestamp,
}

/// Of all pools.
#[derive(Debug)]
pub(super) struct Bills(Vec<Bill>);

impl Bills {
    pub(super) fn new(catalog: &Catalog, start: Timestamp) -> Self {
        let bill = |(i, pool): (usize, &crate::domain::Pool)| {
            let power = pool.power.clone()?;
            let draw = Draw::of(&power, f64::from(pool.engine_prior.slots.max(1)));
            Some(Bill { pool: PoolId(i as u16), power, draw, seen: Meter::default(), at: start })
        };
        Self(catalog.pools.iter().enumerate().filter_map(bill).collect())
    }

    /// What was added to each bill since this was last asked, in dollars: at the price that held then, so ask at least as
    /// often as prices change.
    pub(super) fn due<'a>(&'a mut self, pools: &'a Pools, now: Now) -> impl Iterator<Item = (PoolId, f64)> {
        self.0.iter_mut().map(move |bill| {
            let meter = pools.meter(bill.pool, now.mono);
            let (prefill_s, seat_s) =
                (meter.prefill_s - bill.seen.prefill_s, meter.seat_s - bill.seen.seat_s);
            let price = bill.draw.price(bill.power.usd_per_mwh.at(bill.at).0);
            (bill.seen, bill.at) = (meter, now.wall);
            (bill.pool, price.usd(prefill_s, seat_s))
        })
    }

    /// Joules of each pool so far, idling included, with so many endpoints over so many seconds.
    pub(super) fn joules(
        &self,
        endpoints: impl Fn(PoolId) -> usize,
        length_s: f64,
    ) -> impl Iterator<Item = (PoolId, f64)> {
        self.0.iter().map(move |bill| {
            let idle_s = endpoints(bill.pool) as f64 * length_s;
            (bill.pool, bill.draw.watts(idle_s, bill.seen.prefill_s, bill.seen.seat_s))
        })
    }
}
