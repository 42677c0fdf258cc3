//! Slots of time, the capacity rows over them, and the price of each thing in each slot that follows from the rows'
//! multipliers.
//!
//! A call sees *curves*: the price of a second of prefill, of a decoded token, of a request, slot by slot. A *row* is one
//! limit in one window of slots. Rows of one kind make a family, and what a family contributes to which curve is linear:
//! the multipliers are gathered into curves, and what calls take along the curves is scattered back onto the rows.

use super::system::{Limit, Pool, System};
use crate::domain::{PoolId, Timestamp};
use crate::engine::{Batching, Settings};

/// Endpoints of one pool that are alike.
#[derive(Clone, Debug)]
pub(super) struct Bank {
    pub(super) pool: PoolId,
    pub(super) settings: Settings,
    pub(super) count: u32,
    pub(super) curves: Curves,
}

/// Which curves a call at a bank pays along; absent is free.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Curves {
    /// Per second of prefill, for calls that have time.
    pub(super) prefill: Option<usize>,
    /// Per second of prefill, for calls that are in a hurry.
    pub(super) rush: Option<usize>,
    /// Per second of decoding at a full batch.
    pub(super) seat: Option<usize>,
    /// Per second of decoding at full KV room.
    pub(super) room: Option<usize>,
    /// Per request.
    pub(super) request: Option<usize>,
    /// Per token that is counted.
    pub(super) token: Option<usize>,
}

/// What a row is a limit of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resource {
    /// The lane for prompts, in seconds.
    Prefill,
    /// The lane for prompts of calls that are in a hurry, in seconds.
    Rush,
    /// The seats of the batch, in seconds of decoding at a full batch.
    Seats,
    /// The KV room, in seconds of decoding with the room full.
    Room,
    /// Requests.
    Requests,
    /// Tokens.
    Tokens,
}

/// Rows of one kind: one for each window of `group` ticks.
#[derive(Clone, Debug)]
pub(super) struct Family {
    pub(super) pool: PoolId,
    /// Of which bank, for the rows of engines.
    pub(super) bank: Option<usize>,
    pub(super) resource: Resource,
    pub(super) group: usize,
    /// Rounded up.
    pub(super) capacity: Vec<f64>,
    /// Curve, and what a multiplier of one adds to it.
    onto: Vec<(usize, f64)>,
}

/// A price over time.
#[derive(Clone, Debug)]
struct Curve {
    /// Ticks of one of its slots.
    step: usize,
    /// Where its slots begin among those of all curves, and how many they are. The last one stands for all time after
    /// it, and nothing is limited there.
    first: usize,
    slots: usize,
    /// Slots in which nothing can be had at all.
    closed: Vec<usize>,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    start_s: f64,
    tick_s: f64,
    /// Ticks of a slot.
    per_slot: usize,
    /// Slots before the last one, which has no end.
    slots: usize,
    pub(super) banks: Vec<Bank>,
    pub(super) families: Vec<Family>,
    curves: Vec<Curve>,
}

/// Two lengths of time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// A slot, in seconds.
    pub(super) slot_s: f64,
    /// Ticks of a slot: the slots of calls that are in a hurry.
    pub(super) ticks: usize,
}

/// Floating point may be off by less than this share after any sum here.
pub(super) const ROUNDING: f64 = 1e-9;

/// A full batch of average calls must fill this share of the KV room, or its rows are not worth their time.
const ROOM_MATTERS: f64 = 0.7;

/// From one level of windows to the next.
const WIDER: usize = 4;

/// What a second costs where there is none: out of any call's reach, and small enough to be added to other prices.
const CLOSED: f64 = 1e6;

impl Grid {
    /// `held` is how many tokens of KV room a decoded token's call holds on average: a bank where that fills the seats
    /// long before the room gets no rows for its room. To leave a row out is always allowed.
    pub(super) fn new(system: &System, (start_s, end_s): (f64, f64), pace: Pace, held: f64) -> Self {
        let per_slot = pace.ticks.max(1);
        let mut grid = Self {
            start_s,
            tick_s: pace.slot_s / per_slot as f64,
            per_slot,
            slots: ((end_s - start_s) / pace.slot_s).ceil().max(1.0) as usize,
            banks: Vec::new(),
            families: Vec::new(),
            curves: Vec::new(),
        };
        for (index, pool) in system.pools.iter().enumerate() {
            grid.add_pool(PoolId(index as u16), pool, system.wall, held);
        }
        grid
    }

    fn add_pool(&mut self, id: PoolId, pool: &Pool, wall: Timestamp, held: f64) {
        let open_in = |step: usize| -> Vec<f64> {
            let slots = self.slots * self.per_slot / step;
            (0..slots).map(|s| pool.open_s(self.at(s * step), self.at((s + 1) * step), wall)).collect()
        };
        let (open, often) = (open_in(self.per_slot), open_in(1));
        let mut limits = Curves::default();
        if pool.requests.is_some() || pool.intermittent() {
            limits.request = Some(self.curve(self.per_slot, &open));
        }
        if let (Some(limit), Some(curve)) = (pool.requests, limits.request) {
            self.limit(id, Resource::Requests, limit, curve);
        }
        if let Some(tokens) = pool.tokens {
            let curve = self.curve(self.per_slot, &[]);
            limits.token = Some(curve);
            self.limit(id, Resource::Tokens, tokens.limit, curve);
        }
        let first = self.banks.len();
        for settings in &pool.engines {
            match self.banks[first..].iter_mut().find(|b| b.settings == *settings) {
                Some(bank) => bank.count += 1,
                None => self.banks.push(Bank { pool: id, settings: *settings, count: 1, curves: limits }),
            }
        }
        for bank in first..self.banks.len() {
            if let Settings::Batching(engine) = self.banks[bank].settings {
                let tight = held * f64::from(engine.max_batch) > ROOM_MATTERS * engine.kv_tokens as f64;
                self.lanes(bank, &engine, (&open, &often), tight);
            }
        }
    }

    /// The rows of a bank of batching engines, which is open for so long in each slot and in each tick.
    fn lanes(&mut self, bank: usize, engine: &Batching, (open, often): (&[f64], &[f64]), tight: bool) {
        let slot = self.per_slot;
        let (prefill, rush) = (self.curve(slot, open), self.curve(1, often));
        let seat = self.curve(slot, open);
        let room = tight.then(|| self.curve(slot, open));
        let Bank { pool, count, .. } = self.banks[bank];
        let shared = 1.0 - 1.0 / engine.speed.interference.max(1.0);
        let mut add = |resource, group, open: &[f64], onto: &[(usize, f64)]| {
            let capacity = open.iter().map(|s| s * f64::from(count) * (1.0 + ROUNDING)).collect();
            let onto = onto.to_vec();
            self.families.push(Family { pool, bank: Some(bank), resource, group, capacity, onto });
        };
        add(Resource::Prefill, slot, open, &[(prefill, 1.0), (rush, 1.0)]);
        add(Resource::Seats, slot, open, &[(prefill, shared), (rush, shared), (seat, 1.0)]);
        if let Some(room) = room {
            add(Resource::Room, slot, open, &[(prefill, shared), (rush, shared), (room, 1.0)]);
        }
        add(Resource::Rush, 1, often, &[(rush, 1.0)]);
        let curves = &mut self.banks[bank].curves;
        (curves.prefill, curves.rush) = (Some(prefill), Some(rush));
        (curves.seat, curves.room) = (Some(seat), room);
    }

    /// The rows of a leaky bucket: windows of one slot, of four, of sixteen, …, of all.
    fn limit(&mut self, pool: PoolId, resource: Resource, limit: Limit, curve: usize) {
        let mut group = self.per_slot;
        loop {
            let windows = (self.slots * self.per_slot).div_ceil(group);
            let most = (limit.burst + limit.per_second * self.tick_s * group as f64) * (1.0 + ROUNDING);
            let onto = vec![(curve, 1.0)];
            let capacity = vec![most; windows];
            self.families.push(Family { pool, bank: None, resource, group, capacity, onto });
            if windows == 1 {
                return;
            }
            group *= WIDER;
        }
    }

    fn curve(&mut self, step: usize, open: &[f64]) -> usize {
        let closed = (0..open.len()).filter(|s| open[*s] <= 0.0).collect();
        let slots = self.slots * self.per_slot / step + 1;
        self.curves.push(Curve { step, first: self.places(), slots, closed });
        self.curves.len() - 1
    }

    /// The moment a tick begins, in seconds since the start of time.
    fn at(&self, tick: usize) -> f64 {
        self.start_s + tick as f64 * self.tick_s
    }

    /// The slot of a moment; the last one for all that comes after it.
    pub(super) fn slot(&self, at_s: f64) -> usize {
        (self.ticks(at_s) as usize / self.per_slot).min(self.slots)
    }

    /// A moment in ticks since the first arrival.
    pub(super) fn ticks(&self, at_s: f64) -> f64 {
        ((at_s - self.start_s) / self.tick_s).max(0.0)
    }

    /// First and last slot (or tick) of a curve that a stretch of time touches, widened by a microsecond for rounding.
    pub(super) fn span(&self, curve: usize, from_s: f64, to_s: f64) -> (u32, u32) {
        let Curve { step, slots, .. } = self.curves[curve];
        let slot = |at_s| (self.ticks(at_s) as usize / step).min(slots - 1);
        let first = slot(from_s - 1e-6);
        (first as u32, slot(to_s + 1e-6).max(first) as u32)
    }

    pub(super) fn slot_s(&self) -> f64 {
        self.tick_s * self.per_slot as f64
    }

    pub(super) fn tick_s(&self) -> f64 {
        self.tick_s
    }

    pub(super) fn curves(&self) -> usize {
        self.curves.len()
    }

    /// Slots of all curves together.
    pub(super) fn places(&self) -> usize {
        self.curves.last().map_or(0, |last| last.first + last.slots)
    }

    /// The slots of a curve among those of all.
    pub(super) fn places_of(&self, curve: usize) -> std::ops::Range<usize> {
        let Curve { first, slots, .. } = self.curves[curve];
        first..first + slots
    }

    /// Multipliers, one vector a family, all zero.
    pub(super) fn zero(&self) -> Vec<Vec<f64>> {
        self.families.iter().map(|f| vec![0.0; f.capacity.len()]).collect()
    }

    /// The curves that follow from multipliers, one after the other: see [`Self::places_of`].
    pub(super) fn gather(&self, multipliers: &[Vec<f64>]) -> Vec<f64> {
        let mut all = vec![0.0; self.places()];
        for (family, lambda) in self.families.iter().zip(multipliers) {
            for (curve, coefficient) in &family.onto {
                let Curve { step, first, slots, .. } = self.curves[*curve];
                let values = &mut all[first..first + slots - 1];
                for (window, price) in values.chunks_mut(family.group / step).zip(lambda) {
                    window.iter_mut().for_each(|v| *v += coefficient * price);
                }
            }
        }
        for curve in &self.curves {
            curve.closed.iter().for_each(|slot| all[curve.first + slot] = CLOSED);
        }
        all
    }

    /// What is taken of each row, from what is taken along the curves.
    pub(super) fn scatter(&self, taken: &[f64]) -> Vec<Vec<f64>> {
        let mut rows = self.zero();
        for (family, usage) in self.families.iter().zip(&mut rows) {
            for (curve, coefficient) in &family.onto {
                let Curve { step, first, slots, .. } = self.curves[*curve];
                let values = &taken[first..first + slots - 1];
                for (window, sum) in values.chunks(family.group / step).zip(&mut *usage) {
                    *sum += coefficient * window.iter().sum::<f64>();
                }
            }
        }
        rows
    }

    /// `sum lambda b`: what the multipliers cost.
    pub(super) fn rent(&self, multipliers: &[Vec<f64>]) -> f64 {
        self.rent_of(multipliers, |_| true)
    }

    /// The same over some of the rows.
    pub(super) fn rent_of(&self, multipliers: &[Vec<f64>], which: impl Fn(&Family) -> bool) -> f64 {
        let rent = |(f, l): (&Family, &Vec<f64>)| f.capacity.iter().zip(l).map(|(b, l)| b * l).sum::<f64>();
        self.families.iter().zip(multipliers).filter(|(f, _)| which(f)).map(rent).sum()
    }
}
