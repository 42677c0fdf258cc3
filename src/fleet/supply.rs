//! What pools draw and what that costs now, and what else follows the clock on the wall.

use super::Fleet;
use super::state::PoolState;
use crate::domain::{CallFacts, Instant, Now, Pool, Timestamp};
use crate::engine::Draw;
use crate::policy::{Exclusion, TokenPrices};

/// The power of a pool, as far as it does not change.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Powered {
    draw: Draw,
    /// What the site gives, in watts.
    max_w: Option<f64>,
    /// The pool's own limit of calls.
    max_in_flight: Option<u32>,
}

impl Powered {
    pub(super) fn of(pool: &Pool) -> Option<Self> {
        let power = pool.power.as_ref()?;
        let draw = Draw::of(power, f64::from(pool.engine_prior.slots.max(1)));
        Some(Self { draw, max_w: power.max_w, max_in_flight: pool.max_in_flight })
    }
}

impl PoolState {
    /// Limits the calls at once to what the site can power, where that is less than the pool's own limit. Endpoints that
    /// leave, or that are ill, still draw.
    pub(super) fn limit(&mut self) {
        let Some(Powered { draw, max_w: Some(max_w), max_in_flight }) = self.powered else { return };
        let calls = draw.calls_within(max_w, self.endpoints.len() as u32, self.slots);
        self.in_flight.set_limit(match (calls, max_in_flight) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        });
    }

    /// Why it takes no more than `max` calls.
    pub(super) fn full_for(&self, max: u32) -> Exclusion {
        match self.powered {
            Some(Powered { max_w: Some(max_w), max_in_flight, .. })
                if max_in_flight.is_none_or(|own| max < own) =>
            {
                Exclusion::Power { calls: max, max_w }
            }
            Some(_) | None => Exclusion::Full { max },
        }
    }

    /// What it draws now: every endpoint that has prompts to prefill does so, and every call that has a slot is decoded.
    pub(super) fn watts(&self, stretch: f64, now: Instant) -> Option<f64> {
        let draw = self.powered?.draw;
        let (mut prefilling, mut sequences) = (0.0, 0.0);
        for e in &self.endpoints {
            prefilling += f64::from(u8::from(e.load.backlog_s(stretch, now) > 0.0));
            sequences += f64::from(e.load.in_flight).min(self.slots);
        }
        Some(draw.watts(self.endpoints.len() as f64, prefilling, sequences))
    }
}

impl Fleet {
    /// Takes the prices of the hour to hand, and notes until when they hold.
    #[cold]
    pub(super) fn reprice(&mut self, now: Now) {
        let mut until = Timestamp::from_millis(u64::MAX);
        for (state, pool) in self.pools.iter_mut().zip(&self.catalog.pools) {
            let (Some(powered), Some(power)) = (&state.powered, &pool.power) else { continue };
            let (usd_per_mwh, ends) = power.usd_per_mwh.at(now.wall);
            state.energy = powered.draw.price(usd_per_mwh);
            until = ends.map_or(until, |ends| until.min(ends));
        }
        for (state, offer) in self.offers.iter_mut().zip(&self.catalog.offers) {
            if offer.hours.is_some() {
                let (prices, ends) = offer.prices_at(now.wall);
                state.prices = TokenPrices::from(&prices);
                until = ends.map_or(until, |ends| until.min(ends));
            }
        }
        self.prices_until = until;
    }

    /// A call of so many tokens was asked for: those that could have served it learn when in the day that is.
    pub(super) fn learn_demand(&mut self, facts: &CallFacts, tokens: f64, now: Now) {
        if !self.limited {
            return;
        }
        for offer in &self.catalog.model(facts.model).offers {
            let pool = self.catalog.offer(*offer).pool;
            if let Some(demand) = &mut self.pools[pool.index()].demand {
                demand.asked(tokens, now.wall);
            }
        }
    }

    /// Watts that each pool draws by its model, in the order of the config; absent where nobody said.
    pub fn watts(&self, now: Now) -> impl Iterator<Item = Option<f64>> {
        self.pools.iter().map(move |state| state.watts(self.stretch(state, now), now.mono))
    }
}
