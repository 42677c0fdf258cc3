//! The Lagrangian: what all calls cost at given multipliers, and how to find good ones.
//!
//! At fixed multipliers every call is on its own: it takes the cheapest of its choices, each draw in its cheapest slot.
//! The value is concave in the multipliers and its slope is what calls take beyond the capacity of each row, so it is
//! climbed. Rows differ by decades in what they are worth, so each multiplier moves in shares of itself, scaled by the
//! slopes it has seen (Kingma and Ba, "Adam", ICLR 2015), with steps that shrink; the mean of the late multipliers of
//! a stage is tried too, because at the top every single step overshoots. Long stretches of time are settled first: in
//! the first stages many slots share one multiplier.

use super::demand::{Call, Choices, Draw};
use super::grid::{Grid, Resource};
use super::system::System;
use super::{Effort, Goal};

/// More tries than this change nothing: each is a chance of being late in a row.
const TRIES_MAX: usize = 8;

/// Curves with what is needed to find the cheapest slot of a stretch at once.
pub(super) struct Prices {
    curves: Vec<f64>,
    slots: usize,
    /// By curve and level: the cheapest of 2^level slots from each one on.
    cheapest: Vec<Vec<Vec<u32>>>,
}

impl Prices {
    pub(super) fn new(grid: &Grid, multipliers: &[Vec<f64>], longest: usize) -> Self {
        let (curves, slots) = (grid.gather(multipliers), grid.slots);
        let cheapest = curves.chunks(slots).map(|curve| levels(curve, longest)).collect();
        Self { curves, slots, cheapest }
    }

    fn curve(&self, index: u32) -> &[f64] {
        &self.curves[index as usize * self.slots..][..self.slots]
    }

    /// What a draw costs, and in which slot.
    fn best(&self, draw: &Draw) -> (f64, u32) {
        let ((first, last), (index, amount)) = (draw.span, draw.take);
        let curve = self.curve(index);
        let Some((other, further)) = draw.also else {
            let slot = self.lowest(index, first, last);
            return (amount * curve[slot as usize], slot);
        };
        let other = self.curve(other);
        let mut best = (f64::INFINITY, first);
        for slot in first..=last {
            let cost = amount * curve[slot as usize] + further * other[slot as usize];
            if cost < best.0 {
                best = (cost, slot);
            }
        }
        best
    }

    fn lowest(&self, index: u32, first: u32, last: u32) -> u32 {
        let (curve, levels) = (self.curve(index), &self.cheapest[index as usize]);
        let cheaper = |a: u32, b: u32| if curve[b as usize] < curve[a as usize] { b } else { a };
        let level = (last - first + 1).ilog2() as usize;
        if level == 0 {
            return first;
        }
        match levels.get(level - 1) {
            Some(row) => cheaper(row[first as usize], row[(last + 1 - (1 << level)) as usize]),
            None => (first..=last).reduce(cheaper).unwrap_or(first),
        }
    }
}

/// The sparse table of a curve for stretches of up to `longest` slots.
fn levels(curve: &[f64], longest: usize) -> Vec<Vec<u32>> {
    let mut all: Vec<Vec<u32>> = Vec::new();
    let mut width = 2;
    while width <= longest && width <= curve.len() {
        let half = width / 2;
        let pick = |slot: usize| {
            let (a, b) = match all.last() {
                Some(below) => (below[slot], below[slot + half]),
                None => (slot as u32, (slot + 1) as u32),
            };
            if curve[b as usize] < curve[a as usize] { b } else { a }
        };
        let row = (0..=curve.len() - width).map(pick).collect();
        all.push(row);
        width *= 2;
    }
    all
}

/// What a call costs at these prices, and which choices (by number) lead there: the first that is tried comes last.
fn cheapest(choices: &Choices, range: &Span, prices: &Prices, path: &mut Vec<(usize, f64)>) -> f64 {
    path.clear();
    let mut value = range.miss;
    for level in 0..range.tries {
        let mut best: Option<(usize, f64)> = None;
        for index in range.choices.0..range.choices.1 {
            let choice = &choices.choices[index];
            let (from, count) = choice.draws;
            let draws = &choices.draws[from as usize..(from + count) as usize];
            let paid = choice.base + draws.iter().map(|d| prices.best(d).0).sum::<f64>();
            // A try that another one follows may be called off early, and then it need not have cost anything.
            let cost = match level {
                0 => paid + choice.late * range.miss,
                _ => (1.0 - choice.late) * paid + choice.late * value,
            };
            if cost < best.map_or(value, |b| b.1) {
                best = Some((index, cost));
            }
        }
        match best {
            Some((index, cost)) => {
                value = cost;
                path.push((index, if level == 0 { 0.0 } else { choices.choices[index].late }));
            }
            // The first level counts a late try in full, the later ones do not.
            None if level == 0 => {}
            None => break,
        }
    }
    value
}

/// Where the choices of a call are, and what it is worth.
#[derive(Clone, Copy, Debug)]
struct Span {
    choices: (usize, usize),
    miss: f64,
    tries: usize,
    weight: f64,
}

impl Span {
    fn new(call: &Call, from: usize, choices: &Choices, (system, goal): (&System, Goal)) -> Self {
        let tries = (system.classes[call.class.index()].tries as usize).clamp(1, TRIES_MAX);
        let miss = goal.miss(system, call.class);
        Self { choices: (from, choices.choices.len()), miss, tries, weight: call.weight }
    }
}

/// The value of multipliers over every single call: a lower bound, rounding included.
pub(super) fn certify(
    calls: &[Call],
    system: &System,
    grid: &Grid,
    goal: Goal,
    multipliers: &[Vec<f64>],
) -> f64 {
    let prices = Prices::new(grid, multipliers, grid.slots);
    let (mut choices, mut path, mut sum) = (Choices::default(), Vec::new(), 0.0);
    for call in calls {
        choices.clear();
        choices.add(call, system, grid, goal);
        sum += call.weight
            * cheapest(&choices, &Span::new(call, 0, &choices, (system, goal)), &prices, &mut path);
    }
    let rent = grid.rent(multipliers);
    sum - rent - super::grid::ROUNDING * (sum + rent)
}

/// Calls with their choices worked out, to be priced over and over.
pub(super) struct Problem<'a> {
    grid: &'a Grid,
    choices: Choices,
    calls: Vec<Span>,
    /// By family: what its multipliers are measured in.
    units: Vec<f64>,
    longest: usize,
}

/// What an ascent came to.
pub(super) struct Ascent {
    pub(super) multipliers: Vec<Vec<f64>>,
    /// The value over the calls it was given.
    pub(super) value: f64,
    pub(super) iterations: u32,
    /// What the last stage added.
    pub(super) last_gain: f64,
}

impl<'a> Problem<'a> {
    pub(super) fn new(calls: &[Call], system: &System, grid: &'a Grid, goal: Goal) -> Self {
        let mut choices = Choices::default();
        let mut spans = Vec::with_capacity(calls.len());
        for call in calls {
            let from = choices.choices.len();
            choices.add(call, system, grid, goal);
            // Nothing can be won from a call that costs nothing to miss.
            if goal.miss(system, call.class) > 0.0 {
                spans.push(Span::new(call, from, &choices, (system, goal)));
            }
        }
        let longest = choices.draws.iter().map(|d| (d.span.1 - d.span.0 + 1) as usize).max().unwrap_or(1);
        let units = units(grid, &choices, &spans);
        Self { grid, choices, calls: spans, units, longest }
    }

    /// The value, and what is taken along each curve.
    fn price(&self, multipliers: &[Vec<f64>]) -> (f64, Vec<f64>) {
        let prices = Prices::new(self.grid, multipliers, self.longest);
        let slots = self.grid.slots;
        let mut taken = vec![0.0; self.grid.curves() * slots];
        let (mut path, mut sum) = (Vec::new(), 0.0);
        for call in &self.calls {
            sum += call.weight * cheapest(&self.choices, call, &prices, &mut path);
            let mut weight = call.weight;
            for (index, late) in path.iter().rev() {
                let (from, count) = self.choices.choices[*index].draws;
                for draw in &self.choices.draws[from as usize..(from + count) as usize] {
                    let (_, slot) = prices.best(draw);
                    for (curve, amount) in [Some(draw.take), draw.also].into_iter().flatten() {
                        taken[curve as usize * slots + slot as usize] += weight * (1.0 - late) * amount;
                    }
                }
                weight *= late;
            }
        }
        (sum - self.grid.rent(multipliers), taken)
    }

    /// The best multipliers that the effort finds.
    pub(super) fn climb(&self, effort: &Effort) -> Ascent {
        let grid = self.grid;
        let mut best = (grid.zero(), f64::NEG_INFINITY);
        let (mut iterations, mut last_gain) = (0, 0.0);
        for level in &LEVELS {
            let rounds = (f64::from(effort.iterations.max(1)) * level.share).ceil().max(2.0) as u32;
            let mut climb = Climb::new(best.0.clone());
            let before = best.1;
            for round in 0..rounds {
                let (value, taken) = self.price(&climb.now);
                if value > best.1 {
                    best = (climb.now.clone(), value);
                }
                climb.step(grid, &self.units, &grid.scatter(&taken), (level, round, rounds));
            }
            let mean = climb.mean();
            let (value, _) = self.price(&mean);
            if value > best.1 {
                best = (mean, value);
            }
            iterations += rounds + 1;
            last_gain = best.1 - before;
        }
        let (multipliers, value) = best;
        Ascent { multipliers, value, iterations, last_gain }
    }
}

/// A stage of the ascent.
struct Level {
    /// So many slots share a multiplier.
    group: usize,
    /// Of the iterations.
    share: f64,
    /// First and last step, as a share of the multiplier.
    steps: (f64, f64),
}

/// From hours to slots.
const LEVELS: [Level; 4] = [
    Level { group: 64, share: 0.2, steps: (0.5, 0.02) },
    Level { group: 16, share: 0.2, steps: (0.2, 0.01) },
    Level { group: 4, share: 0.25, steps: (0.1, 0.005) },
    Level { group: 1, share: 0.35, steps: (0.05, 0.0025) },
];

/// How much of the last slope and of the last square of it is kept.
const KEPT: (f64, f64) = (0.8, 0.95);

/// A multiplier moves in shares of itself, and of this share of what its row could be worth, so that it can leave zero.
const LEAST: f64 = 0.2;

struct Climb {
    now: Vec<Vec<f64>>,
    slope: Vec<Vec<f64>>,
    square: Vec<Vec<f64>>,
    sum: Vec<Vec<f64>>,
    summed: f64,
}

impl Climb {
    fn new(from: Vec<Vec<f64>>) -> Self {
        let zero: Vec<Vec<f64>> = from.iter().map(|f| vec![0.0; f.len()]).collect();
        Self { now: from, slope: zero.clone(), square: zero.clone(), sum: zero, summed: 0.0 }
    }

    fn step(
        &mut self,
        grid: &Grid,
        units: &[f64],
        rows: &[Vec<f64>],
        (level, round, rounds): (&Level, u32, u32),
    ) {
        let done = f64::from(round) / f64::from(rounds);
        let size = level.steps.0 * (level.steps.1 / level.steps.0).powf(done);
        let seen = f64::from(round + 1);
        let (fix1, fix2) = (1.0 - KEPT.0.powf(seen), 1.0 - KEPT.1.powf(seen));
        for (index, family) in grid.families.iter().enumerate() {
            let shared = (level.group / family.group).max(1);
            for start in (0..family.capacity.len()).step_by(shared) {
                let windows = start..(start + shared).min(family.capacity.len());
                let capacity: f64 = family.capacity[windows.clone()].iter().sum();
                let over: f64 = rows[index][windows.clone()].iter().sum::<f64>() - capacity;
                let over = over / capacity.max(1e-9);
                for at in windows {
                    let slope = &mut self.slope[index][at];
                    *slope = KEPT.0 * *slope + (1.0 - KEPT.0) * over;
                    let square = &mut self.square[index][at];
                    *square = KEPT.1 * *square + (1.0 - KEPT.1) * over * over;
                    let lambda = &mut self.now[index][at];
                    let unit = lambda.max(LEAST * units[index]);
                    let by = size * unit * (*slope / fix1) / ((*square / fix2).sqrt() + 1e-6);
                    *lambda = (*lambda + by).max(0.0);
                    if done >= 0.5 {
                        self.sum[index][at] += *lambda;
                    }
                }
            }
        }
        if done >= 0.5 {
            self.summed += 1.0;
        }
    }

    fn mean(&self) -> Vec<Vec<f64>> {
        let n = self.summed.max(1.0);
        self.sum.iter().map(|family| family.iter().map(|l| l / n).collect()).collect()
    }
}

/// What a unit of each row's resource would be worth if it saved all that calls cost without it.
fn units(grid: &Grid, choices: &Choices, calls: &[Span]) -> Vec<f64> {
    let mut taken = vec![(0.0, 0.0); grid.curves()];
    for call in calls {
        for choice in &choices.choices[call.choices.0..call.choices.1] {
            let saves = (call.miss * (1.0 - choice.late) - choice.base).max(0.0) * call.weight;
            let (from, count) = choice.draws;
            for draw in &choices.draws[from as usize..(from + count) as usize] {
                for (curve, amount) in [Some(draw.take), draw.also].into_iter().flatten() {
                    taken[curve as usize].0 += saves;
                    taken[curve as usize].1 += amount * call.weight;
                }
            }
        }
    }
    let unit = |resource, bank: Option<usize>, pool: crate::domain::PoolId| {
        let curves = match bank {
            Some(bank) => grid.banks[bank].curves,
            None => grid.banks.iter().find(|b| b.pool == pool).map(|b| b.curves).unwrap_or_default(),
        };
        let curve = match resource {
            Resource::Prefill => curves.prefill,
            Resource::Seats => curves.seat,
            Resource::Room => curves.room,
            Resource::Requests => curves.request,
            Resource::Tokens => curves.token,
        };
        curve.map(|c| taken[c]).filter(|t| t.1 > 0.0).map_or(0.0, |t| t.0 / t.1)
    };
    grid.families.iter().map(|f| unit(f.resource, f.bank, f.pool)).collect()
}
