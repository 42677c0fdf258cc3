//! What anything costs at given multipliers: the cheapest slot of a stretch, and the cheapest stretch of a given length.

use super::demand::Draw;
use super::grid::Grid;

/// Curves with what is needed to find the cheapest slot of a stretch at once.
pub(super) struct Prices<'a> {
    grid: &'a Grid,
    curves: Vec<f64>,
    /// By curve and level: the cheapest of 2^level slots from each one on.
    cheapest: Vec<Vec<Vec<u32>>>,
}

/// Stretches of so few slots are searched one by one.
const SHORT: usize = 8;

impl<'a> Prices<'a> {
    /// `longest` is by curve the longest stretch that will be asked about.
    pub(super) fn new(grid: &'a Grid, multipliers: &[Vec<f64>], longest: &[usize]) -> Self {
        let curves = grid.gather(multipliers);
        let table = |(curve, longest): (usize, &usize)| levels(&curves[grid.places_of(curve)], *longest);
        let cheapest = longest.iter().enumerate().map(table).collect();
        Self { grid, curves, cheapest }
    }

    fn curve(&self, index: u32) -> &[f64] {
        &self.curves[self.grid.places_of(index as usize)]
    }

    /// What a draw costs, and from when on (in slots of its curve).
    pub(super) fn best(&self, draw: &Draw) -> (f64, f64) {
        let ((first, last), (index, amount), also) = match *draw {
            Draw::Spot { span, take, also } => (span, take, also),
            Draw::Run { curve, between, length } => {
                let best = Run::new(self.curve(curve), between, length).map(|run| run.best());
                let (cost, from) = best.unwrap_or((0.0, between.0));
                return (cost * self.grid.tick_s(), from);
            }
        };
        let curve = self.curve(index);
        let Some((other, further)) = also else {
            let slot = self.lowest(index, first, last);
            return (amount * curve[slot as usize], slot.into());
        };
        let other = self.curve(other);
        let mut best = (f64::INFINITY, first);
        for slot in first..=last {
            let cost = amount * curve[slot as usize] + further * other[slot as usize];
            if cost < best.0 {
                best = (cost, slot);
            }
        }
        (best.0, best.1.into())
    }

    /// Where a draw goes: to its cheapest place, and with a blur to all that cost little more. Places (from when on, in
    /// slots of its curve) and shares.
    pub(super) fn spread(&self, draw: &Draw, blur: f64, places: &mut Vec<(f64, f64)>) {
        places.clear();
        let (least, at) = self.best(draw);
        let mut add = |at: f64, cost: f64| {
            let share = share(cost - least, blur);
            if share > 0.0 {
                places.push((at, share));
            }
        };
        match *draw {
            Draw::Spot { span: (first, last), take, also } => {
                let (curve, amount) = (self.curve(take.0), take.1);
                let other = also.map(|(curve, amount)| (self.curve(curve), amount));
                // Of a long stretch some are looked at, others for others.
                let stride = ((last - first) as usize).div_ceil(SPREAD_MAX).max(1);
                let offset = (amount.to_bits() >> 16) as usize % stride;
                for slot in (first as usize + offset..=last as usize).step_by(stride) {
                    let more = other.map_or(0.0, |(curve, amount)| amount * curve[slot]);
                    add(slot as f64, amount * curve[slot] + more);
                }
            }
            Draw::Run { curve, between, length } => match Run::new(self.curve(curve), between, length) {
                Some(run) => run.each(|x, cost| add(x + run.first as f64, cost * self.grid.tick_s())),
                None => [between.0, between.1 - length].into_iter().for_each(|x| add(x, 0.0)),
            },
        }
        if places.is_empty() {
            places.push((at, 1.0));
        }
    }

    fn lowest(&self, index: u32, first: u32, last: u32) -> u32 {
        let (curve, levels) = (self.curve(index), &self.cheapest[index as usize]);
        let cheaper = |a: u32, b: u32| if curve[b as usize] < curve[a as usize] { b } else { a };
        let level = (last - first + 1).ilog2() as usize;
        match levels.get(level.wrapping_sub(1)) {
            Some(row) => cheaper(row[first as usize], row[(last + 1 - (1 << level)) as usize]),
            None => (first..=last).reduce(cheaper).unwrap_or(first),
        }
    }
}

/// The sparse table of a curve for stretches of up to `longest` slots.
fn levels(curve: &[f64], longest: usize) -> Vec<Vec<u32>> {
    let mut all: Vec<Vec<u32>> = Vec::new();
    let mut width = 2;
    while longest > SHORT && width <= longest && width <= curve.len() {
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

/// Ticks that a run may touch. Where there is time for more of them than this, it hardly matters that work does not
/// lie within one.
pub(super) const RUN_MAX: usize = 8;

/// Stretches of one length between two moments: what lies below the curve there. What lies below a curve of steps is
/// least where the stretch begins or ends with a step, or at the ends: these are all that matter.
struct Run<'a> {
    steps: &'a [f64],
    /// Up to the beginning of each step.
    below: [f64; RUN_MAX + 1],
    /// In steps since the first of them; what is beyond the last of them costs as much as that.
    between: (f64, f64),
    length: f64,
    first: usize,
}

impl<'a> Run<'a> {
    /// `None` if nothing costs anything there.
    fn new(curve: &'a [f64], (from, to): (f64, f64), length: f64) -> Option<Self> {
        let first = (from as usize).min(curve.len() - 1);
        let steps = &curve[first..curve.len().min(first + RUN_MAX).min(to as usize + 1).max(first + 1)];
        if steps.iter().all(|price| *price <= 0.0) {
            return None;
        }
        let mut below = [0.0; RUN_MAX + 1];
        for (at, price) in steps.iter().enumerate() {
            below[at + 1] = below[at] + price;
        }
        let between = (from - first as f64, to - first as f64 - length);
        Some(Self { steps, below, between, length, first })
    }

    fn until(&self, x: f64) -> f64 {
        let whole = (x as usize).min(self.steps.len() - 1);
        self.below[whole] + (x - whole as f64) * self.steps[whole]
    }

    /// Shows what each beginning costs.
    fn each(&self, mut show: impl FnMut(f64, f64)) {
        let (from, last) = self.between;
        let mut consider = |x: f64| show(x, (self.until(x + self.length) - self.until(x)).max(0.0));
        consider(from);
        if last > from {
            consider(last);
        }
        for step in 1..=self.steps.len() {
            for x in [step as f64, step as f64 - self.length] {
                if x > from && x < last {
                    consider(x);
                }
            }
        }
    }

    fn best(&self) -> (f64, f64) {
        let mut best = (f64::INFINITY, 0.0);
        self.each(|x, cost| {
            if cost < best.0 {
                best = (cost, x);
            }
        });
        (best.0, best.1 + self.first as f64)
    }
}

/// Who is dearer than the best by so many blurs gets nothing.
pub(super) const FAINT: f64 = 6.0;

/// Slots of a stretch over which one draw is spread at most.
const SPREAD_MAX: usize = 24;

/// How much goes there, if the best has one: much like `exp(-dearer / blur)`, and nothing beyond [`FAINT`] of them.
pub(super) fn share(dearer: f64, blur: f64) -> f64 {
    if dearer <= 0.0 {
        return 1.0;
    }
    if dearer >= FAINT * blur {
        return 0.0;
    }
    let left = 1.0 - dearer / (FAINT * blur);
    let square = left * left;
    square * square * square
}
