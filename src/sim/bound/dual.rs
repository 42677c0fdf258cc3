//! The Lagrangian: what all calls cost at given multipliers, and how to find good ones.
//!
//! At fixed multipliers every call is on its own: it takes the cheapest of its choices, each draw in its cheapest slot.
//! The value is concave in the multipliers and its slope is what calls take beyond the capacity of each row, so it is
//! climbed. But it has edges: at one price all calls of a moment are here, and at the next one all are there. So for
//! the slope, and only for it, calls are spread over all that costs little more than the cheapest (a *blur*; Nesterov,
//! "Smooth minimization of non-smooth functions", 2005). Then steps may be long, and go on in the direction of the last
//! one while that leads up (O'Donoghue and Candès, "Adaptive restart for accelerated gradient schemes", 2015). Stage by
//! stage the blur gets smaller. Values are those of the cheapest choices, at every step.

use super::demand::{Call, Choice, Choices, Draw};
use super::grid::{Curves, Family, Grid, Resource};
use super::prices::{FAINT, Prices, share};
use super::system::System;
use super::{Effort, Goal};

/// More tries than this change nothing: each is a chance of being late in a row.
const TRIES_MAX: usize = 8;

/// What a call costs at these prices. `shares` is for how much of it goes to which choice (by number), `paid` for what
/// each choice costs as such. With a `blur` above zero it goes not only to the cheapest, but to all that are not dearer
/// by much more than this share of its price of a miss: what it costs does not hang on that.
fn cheapest(
    choices: &Choices,
    range: &Span,
    (prices, blur): (&Prices<'_>, f64),
    (shares, paid): (&mut Vec<(usize, f64)>, &mut Vec<f64>),
) -> f64 {
    shares.clear();
    paid.clear();
    let (first, last) = range.choices;
    let blur = blur * range.scale;
    let mut value = range.miss;
    let mut best: Option<usize> = None;
    for (index, choice) in (first..last).zip(&choices.choices[first..last]) {
        let mut cost = choice.base;
        for draw in choices.draws_of(choice) {
            // Whatever else it takes, it is too dear.
            if cost >= value + FAINT * blur {
                break;
            }
            cost += prices.best(draw).0;
        }
        paid.push(cost);
        let cost = cost + choice.late * range.miss;
        if cost < value {
            (best, value) = (Some(index), cost);
        }
    }
    if blur > 0.0 {
        let mut sum = share(range.miss - value, blur);
        for (at, paid) in paid.iter().enumerate() {
            let dearer = paid + choices.choices[first + at].late * range.miss - value;
            let share = share(dearer, blur);
            if share > 0.0 {
                shares.push((first + at, share));
                sum += share;
            }
        }
        shares.iter_mut().for_each(|(_, share)| *share /= sum);
    } else {
        shares.extend(best.map(|best| (best, 1.0)));
    }
    for _ in 1..range.tries {
        let mut best: Option<(usize, f64)> = None;
        for (at, paid) in paid.iter().enumerate() {
            let late = choices.choices[first + at].late;
            // A try that another one follows may be called off early, and then it need not have cost anything.
            let cost = (1.0 - late) * paid + late * value;
            if cost < best.map_or(value, |b| b.1) {
                best = Some((first + at, cost));
            }
        }
        let Some((index, cost)) = best else { break };
        value = cost;
        let late = choices.choices[index].late;
        shares.iter_mut().for_each(|(_, share)| *share *= late);
        shares.push((index, 1.0 - late));
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
    /// What it costs elsewhere: at the cheapest of its choices that costs anything, or to miss.
    scale: f64,
}

impl Span {
    fn new(call: &Call, from: usize, choices: &Choices, (system, goal): (&System, Goal)) -> Self {
        let tries = (system.classes[call.class.index()].tries as usize).clamp(1, TRIES_MAX);
        let miss = goal.miss(system, call.class);
        let outside = choices.choices[from..].iter().map(|c| c.base + c.late * miss).filter(|c| *c > 0.0);
        let scale = outside.fold(miss, f64::min);
        Self { choices: (from, choices.choices.len()), miss, tries, weight: call.weight, scale }
    }
}

/// The value of multipliers over every single call: a lower bound, rounding included.
pub(super) fn certify(
    calls: &[Call],
    system: &System,
    grid: &Grid,
    (goal, threads): (Goal, usize),
    multipliers: &[Vec<f64>],
) -> f64 {
    let longest: Vec<usize> = (0..grid.curves()).map(|curve| grid.places_of(curve).len()).collect();
    let prices = Prices::new(grid, multipliers, &longest);
    let part = |calls: &[Call]| {
        let (mut choices, mut scratch, mut sum) = (Choices::default(), Scratch::default(), 0.0);
        for call in calls.iter().filter(|call| goal.miss(system, call.class) > 0.0) {
            choices.clear();
            choices.add(call, system, grid, goal);
            let span = Span::new(call, 0, &choices, (system, goal));
            let memory = (&mut scratch.shares, &mut scratch.paid);
            sum += call.weight * cheapest(&choices, &span, (&prices, 0.0), memory);
        }
        sum
    };
    let sum: f64 = in_parts(calls, threads, part).into_iter().sum();
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
    /// By curve: the longest stretch.
    longest: Vec<usize>,
    threads: usize,
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

/// Memory that is used over and over.
#[derive(Default)]
struct Scratch {
    shares: Vec<(usize, f64)>,
    paid: Vec<f64>,
    places: Vec<(f64, f64)>,
}

impl<'a> Problem<'a> {
    pub(super) fn new(calls: &[Call], system: &System, grid: &'a Grid, goal: Goal, threads: usize) -> Self {
        let mut choices = Choices::default();
        let mut spans = Vec::with_capacity(calls.len());
        // Nothing can be won from a call that costs nothing to miss.
        for call in calls.iter().filter(|call| goal.miss(system, call.class) > 0.0) {
            let from = choices.choices.len();
            choices.add(call, system, grid, goal);
            spans.push(Span::new(call, from, &choices, (system, goal)));
        }
        let mut longest = vec![1; grid.curves()];
        for draw in &choices.draws {
            if let Draw::Spot { span, take, also: None } = draw {
                let longest = &mut longest[take.0 as usize];
                *longest = (*longest).max((span.1 - span.0 + 1) as usize);
            }
        }
        let units = units(grid, &choices, &spans);
        Self { grid, choices, calls: spans, units, longest, threads }
    }

    /// The value, and what is taken of each row if calls are spread with that blur.
    fn price(&self, multipliers: &[Vec<f64>], blur: f64) -> (f64, Vec<Vec<f64>>) {
        let prices = Prices::new(self.grid, multipliers, &self.longest);
        let part = |calls: &[Span]| {
            let mut taken = vec![0.0; self.grid.places()];
            let (mut scratch, mut sum) = (Scratch::default(), 0.0);
            for call in calls {
                sum += self.price_one(call, (&prices, blur), &mut scratch, &mut taken);
            }
            (sum, taken)
        };
        let (mut sum, mut taken) = (0.0, vec![0.0; self.grid.places()]);
        for (value, part) in in_parts(&self.calls, self.threads, part) {
            sum += value;
            taken.iter_mut().zip(part).for_each(|(all, part)| *all += part);
        }
        (sum - self.grid.rent(multipliers), self.grid.scatter(&taken))
    }

    fn price_one(
        &self,
        call: &Span,
        (prices, blur): (&Prices<'_>, f64),
        scratch: &mut Scratch,
        taken: &mut [f64],
    ) -> f64 {
        let Scratch { shares, paid, places } = scratch;
        let value = cheapest(&self.choices, call, (prices, blur), (shares, paid));
        for (index, share) in shares {
            for draw in self.choices.draws_of(&self.choices.choices[*index]) {
                prices.spread(draw, blur * call.scale, places);
                let sum: f64 = places.iter().map(|(_, share)| share).sum();
                for (at, part) in &*places {
                    self.take(draw, *at, call.weight * *share * part / sum, taken);
                }
            }
        }
        call.weight * value
    }

    /// Adds what a draw takes from there on, `weight` times.
    fn take(&self, draw: &Draw, from: f64, weight: f64, taken: &mut [f64]) {
        match *draw {
            Draw::Spot { take, also, .. } => {
                for (curve, amount) in [Some(take), also].into_iter().flatten() {
                    taken[self.grid.places_of(curve as usize)][from as usize] += weight * amount;
                }
            }
            Draw::Run { curve, length, .. } => {
                let taken = &mut taken[self.grid.places_of(curve as usize)];
                let (mut at, end) = (from, from + length);
                while at < end {
                    let tick = at as usize;
                    let next = end.min((tick + 1) as f64);
                    taken[tick.min(taken.len() - 1)] += weight * (next - at) * self.grid.tick_s();
                    at = next;
                }
            }
        }
    }

    /// The best multipliers that the effort finds.
    pub(super) fn climb(&self, effort: &Effort) -> Ascent {
        let rounds = effort.iterations.max(1).div_ceil(BLURS.len() as u32);
        let zero = self.grid.zero();
        let (nothing, rows) = self.price(&zero, BLURS[BLURS.len() - 1]);
        let mut best = (zero.clone(), nothing);
        let (mut last_gain, mut iterations, mut size) = (0.0, 1, STEP);
        if self.fits(&rows) {
            return Ascent { multipliers: best.0, value: nothing, iterations, last_gain };
        }
        let mut now = zero;
        for blur in BLURS {
            let before = best.1;
            if last_gain > 0.0 {
                now.clone_from(&best.0);
            }
            let (mut last, mut kept, mut had) = (now.clone(), 0, f64::NEG_INFINITY);
            for _ in 0..rounds {
                let (value, rows) = self.price(&now, blur);
                if value > best.1 {
                    best = (now.clone(), value);
                }
                size = if value < had { size * SHORTER } else { (size * LONGER).min(STEP) };
                let on = self.step(&mut now, &rows, size * blur, &last);
                // Too fast where the value falls, in the wrong direction where the slope has turned.
                kept = match (on, value >= had) {
                    (true, true) => kept + 1,
                    (true, false) => kept / 2,
                    (false, _) => 0,
                };
                had = value;
                forward(&mut now, &mut last, f64::from(kept) / (f64::from(kept) + 3.0));
            }
            iterations += rounds;
            last_gain = best.1 - before;
        }
        let (multipliers, value) = best;
        Ascent { multipliers, value, iterations, last_gain }
    }

    /// Is nothing scarce?
    fn fits(&self, rows: &[Vec<f64>]) -> bool {
        let rows = rows.iter().zip(&self.grid.families);
        rows.into_iter()
            .all(|(rows, family)| rows.iter().zip(&family.capacity).all(|(row, most)| row <= most))
    }

    /// One step up the slope. Does it lead on in the direction in which `last` was left?
    fn step(&self, now: &mut [Vec<f64>], rows: &[Vec<f64>], size: f64, last: &[Vec<f64>]) -> bool {
        let mut along = 0.0;
        for (index, family) in self.grid.families.iter().enumerate() {
            let size = size * self.units[index];
            let places = now[index].iter_mut().zip(&last[index]);
            for ((lambda, last), (taken, most)) in places.zip(rows[index].iter().zip(&family.capacity)) {
                let over = (taken - most) / most.max(1e-9);
                *lambda = (*lambda + size * over.min(OVER_MAX)).max(0.0);
                along += (taken - most) * (*lambda - last);
            }
        }
        along >= 0.0
    }
}

/// Further in the direction of the last step, by that share of it.
fn forward(now: &mut [Vec<f64>], last: &mut [Vec<f64>], by: f64) {
    for (now, last) in now.iter_mut().flatten().zip(last.iter_mut().flatten()) {
        let at = *now;
        *now = (at + by * (at - *last)).max(0.0);
        *last = at;
    }
}

/// Calls that are worked on by one thread at a time.
const PART: usize = 16_384;

/// Shows each part of the calls to `work`, on so many threads, and returns what came of each, in order: the same on any
/// number of threads.
fn in_parts<C: Sync, T: Send>(calls: &[C], threads: usize, work: impl Fn(&[C]) -> T + Sync) -> Vec<T> {
    let parts: Vec<&[C]> = calls.chunks(PART).collect();
    if threads <= 1 || parts.len() <= 1 {
        return parts.into_iter().map(work).collect();
    }
    let share = parts.len().div_ceil(threads);
    let work = &work;
    std::thread::scope(|scope| {
        let crew: Vec<_> = parts
            .chunks(share)
            .map(|mine| scope.spawn(move || mine.iter().map(|part| work(part)).collect::<Vec<_>>()))
            .collect();
        crew.into_iter().flat_map(joined).collect()
    })
}

/// What a thread came to; what stopped it stops whoever asked.
fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// How far calls are spread over what is dearer than the best, as a share of what they would cost elsewhere, stage by
/// stage.
const BLURS: [f64; 4] = [0.05, 0.02, 0.008, 0.003];

/// A multiplier moves by this much of its unit and of the blur where its row is full twice over. Two thirds and five
/// thirds of it give bounds within two in a hundred of each other.
const STEP: f64 = 0.6;

/// Steps get shorter when the value falls, and longer again while it does not.
const SHORTER: f64 = 0.9;
const LONGER: f64 = 1.1;

/// A row that is fuller than this does not move its multiplier further.
const OVER_MAX: f64 = 2.0;

/// What a unit of each row's resource would be worth if it saved all that calls cost elsewhere.
fn units(grid: &Grid, choices: &Choices, calls: &[Span]) -> Vec<f64> {
    let mut taken = vec![(0.0, 0.0); grid.curves()];
    for call in calls {
        let mine = &choices.choices[call.choices.0..call.choices.1];
        let plain = |choice: &Choice| choice.base + choice.late * call.miss;
        for choice in mine {
            // Whatever is as cheap is as scarce: the next dearer one is what is left then.
            let dearer = mine.iter().map(plain).filter(|cost| *cost > plain(choice) * (1.0 + 1e-9));
            let saves = (dearer.fold(call.miss, f64::min) - plain(choice)).max(0.0) * call.weight;
            for draw in choices.draws_of(choice) {
                let (take, also) = match *draw {
                    Draw::Spot { take, also, .. } => (take, also),
                    Draw::Run { curve, length, .. } => ((curve, length * grid.tick_s()), None),
                };
                for (curve, amount) in [Some(take), also].into_iter().flatten() {
                    taken[curve as usize].0 += saves;
                    taken[curve as usize].1 += amount * call.weight;
                }
            }
        }
    }
    // A second is a second, whoever is in a hurry.
    for Curves { prefill, rush, .. } in grid.banks.iter().map(|bank| bank.curves) {
        if let (Some(a), Some(b)) = (prefill, rush) {
            let both = (taken[a].0 + taken[b].0, taken[a].1 + taken[b].1);
            (taken[a], taken[b]) = (both, both);
        }
    }
    let unit = |resource, bank: Option<usize>, pool: crate::domain::PoolId| {
        let curves = match bank {
            Some(bank) => grid.banks[bank].curves,
            None => grid.banks.iter().find(|b| b.pool == pool).map(|b| b.curves).unwrap_or_default(),
        };
        let curve = match resource {
            Resource::Prefill => curves.prefill,
            Resource::Rush => curves.rush,
            Resource::Seats => curves.seat,
            Resource::Room => curves.room,
            Resource::Requests => curves.request,
            Resource::Tokens => curves.token,
        };
        let (saves, amount) = curve.map_or((0.0, 0.0), |c| taken[c]);
        if amount > 0.0 { saves / amount } else { 0.0 }
    };
    // Rows of one thing in windows of several lengths share what it is worth.
    let alike = |f: &Family| {
        let same = |g: &&Family| (g.resource, g.bank, g.pool) == (f.resource, f.bank, f.pool);
        grid.families.iter().filter(same).count() as f64
    };
    grid.families.iter().map(|f| unit(f.resource, f.bank, f.pool) / alike(f)).collect()
}
