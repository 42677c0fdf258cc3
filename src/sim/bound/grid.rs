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
    /// Per second of prefill.
    pub(super) prefill: Option<usize>,
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
    /// The seats of the batch, in seconds of decoding at a full batch.
    Seats,
    /// The KV room, in seconds of decoding with the room full.
    Room,
    /// Requests.
    Requests,
    /// Tokens.
    Tokens,
}

/// Rows of one kind: one for each window of `group` slots.
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

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    start_s: f64,
    slot_s: f64,
    /// The last one stands for all time after it, and nothing is limited there.
    pub(super) slots: usize,
    pub(super) banks: Vec<Bank>,
    pub(super) families: Vec<Family>,
    /// By curve: slots in which nothing can be had at all.
    closed: Vec<Option<Vec<bool>>>,
}

/// Floating point may be off by less than this share after any sum here.
pub(super) const ROUNDING: f64 = 1e-9;

/// A full batch of average calls must fill this share of the KV room, or its rows are not worth their time.
const ROOM_MATTERS: f64 = 0.7;

/// From one level of windows to the next.
const WIDER: usize = 4;

impl Grid {
    /// `held` is how many tokens of KV room a decoded token's call holds on average: a bank where that fills the seats
    /// long before the room gets no rows for its room. To leave a row out is always allowed.
    pub(super) fn new(system: &System, (start_s, end_s): (f64, f64), slot_s: f64, held: f64) -> Self {
        let slots = ((end_s - start_s) / slot_s).ceil().max(1.0) as usize + 1;
        let mut grid =
            Self { start_s, slot_s, slots, banks: Vec::new(), families: Vec::new(), closed: Vec::new() };
        for (index, pool) in system.pools.iter().enumerate() {
            grid.add_pool(PoolId(index as u16), pool, system.wall, held);
        }
        grid
    }

    fn add_pool(&mut self, id: PoolId, pool: &Pool, wall: Timestamp, held: f64) {
        let open: Vec<f64> =
            (0..self.slots - 1).map(|s| pool.open_s(self.at(s), self.at(s + 1), wall)).collect();
        let mut limits = Curves::default();
        if pool.requests.is_some() || pool.intermittent() {
            limits.request = Some(self.curve(&open));
        }
        if let (Some(limit), Some(curve)) = (pool.requests, limits.request) {
            self.limit(id, Resource::Requests, limit, curve);
        }
        if let Some(tokens) = pool.tokens {
            let curve = self.curve(&[]);
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
                self.lanes(bank, &engine, &open, tight);
            }
        }
    }

    /// The rows of a bank of batching engines.
    fn lanes(&mut self, bank: usize, engine: &Batching, open: &[f64], tight: bool) {
        let (prefill, seat) = (self.curve(open), self.curve(open));
        let room = tight.then(|| self.curve(open));
        let Bank { pool, count, .. } = self.banks[bank];
        let shared = 1.0 - 1.0 / engine.speed.interference.max(1.0);
        let capacity: Vec<f64> = open.iter().map(|s| s * f64::from(count) * (1.0 + ROUNDING)).collect();
        let mut add = |resource, onto| {
            let capacity = capacity.clone();
            self.families.push(Family { pool, bank: Some(bank), resource, group: 1, capacity, onto });
        };
        add(Resource::Prefill, vec![(prefill, 1.0)]);
        add(Resource::Seats, vec![(prefill, shared), (seat, 1.0)]);
        if let Some(room) = room {
            add(Resource::Room, vec![(prefill, shared), (room, 1.0)]);
        }
        let curves = &mut self.banks[bank].curves;
        (curves.prefill, curves.seat, curves.room) = (Some(prefill), Some(seat), room);
    }

    /// The rows of a leaky bucket: windows of one slot, of four, of sixteen, …, of all.
    fn limit(&mut self, pool: PoolId, resource: Resource, limit: Limit, curve: usize) {
        let mut group = 1;
        loop {
            let windows = (self.slots - 1).div_ceil(group);
            let most = (limit.burst + limit.per_second * self.slot_s * group as f64) * (1.0 + ROUNDING);
            let onto = vec![(curve, 1.0)];
            let capacity = vec![most; windows];
            self.families.push(Family { pool, bank: None, resource, group, capacity, onto });
            if windows == 1 {
                return;
            }
            group *= WIDER;
        }
    }

    fn curve(&mut self, open: &[f64]) -> usize {
        let closed = open.iter().any(|s| *s <= 0.0).then(|| open.iter().map(|s| *s <= 0.0).collect());
        self.closed.push(closed);
        self.closed.len() - 1
    }

    /// The moment a slot begins, in seconds since the start of time.
    fn at(&self, slot: usize) -> f64 {
        self.start_s + slot as f64 * self.slot_s
    }

    /// The slot of a moment; the last one for all that comes after it.
    pub(super) fn slot(&self, at_s: f64) -> usize {
        (((at_s - self.start_s) / self.slot_s).max(0.0) as usize).min(self.slots - 1)
    }

    /// First and last slot that a stretch of time touches, widened by a microsecond for rounding.
    pub(super) fn span(&self, from_s: f64, to_s: f64) -> (u32, u32) {
        let first = self.slot(from_s - 1e-6);
        (first as u32, self.slot(to_s + 1e-6).max(first) as u32)
    }

    pub(super) fn slot_s(&self) -> f64 {
        self.slot_s
    }

    pub(super) fn curves(&self) -> usize {
        self.closed.len()
    }

    /// Multipliers, one vector a family, all zero.
    pub(super) fn zero(&self) -> Vec<Vec<f64>> {
        self.families.iter().map(|f| vec![0.0; f.capacity.len()]).collect()
    }

    /// The curves that follow from multipliers, one after the other, [`Self::slots`] values each.
    pub(super) fn gather(&self, multipliers: &[Vec<f64>]) -> Vec<f64> {
        let mut curves = vec![0.0; self.curves() * self.slots];
        for (family, lambda) in self.families.iter().zip(multipliers) {
            for (curve, coefficient) in &family.onto {
                let values = &mut curves[curve * self.slots..][..self.slots - 1];
                for (window, price) in values.chunks_mut(family.group).zip(lambda) {
                    window.iter_mut().for_each(|v| *v += coefficient * price);
                }
            }
        }
        for (curve, closed) in self.closed.iter().enumerate() {
            for (slot, _) in closed.iter().flatten().enumerate().filter(|(_, closed)| **closed) {
                curves[curve * self.slots + slot] = f64::INFINITY;
            }
        }
        curves
    }

    /// What is taken of each row, from what is taken along the curves.
    pub(super) fn scatter(&self, taken: &[f64]) -> Vec<Vec<f64>> {
        let mut rows = self.zero();
        for (family, usage) in self.families.iter().zip(&mut rows) {
            for (curve, coefficient) in &family.onto {
                let values = &taken[curve * self.slots..][..self.slots - 1];
                for (window, sum) in values.chunks(family.group).zip(&mut *usage) {
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
