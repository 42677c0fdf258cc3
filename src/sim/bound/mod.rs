//! Certified bounds: what no policy can beat, whatever it knows about the future.
//!
//! A policy is judged by its distance from the best that is possible. The best is out of reach even for whoever knows
//! all arrivals, so this module computes numbers that are provably not above it: a lower bound on J (dollars and what
//! misses cost), on the number of misses, and on the quantiles of the time to the first token.
//!
//! # Why it is a bound
//!
//! Every run of the simulator, under any policy, is a point of this linear program: a call that meets its targets is
//! answered by one engine; a call that does not costs its miss (what it took and paid on top is left out). Let `x` say
//! at which engine and when. All limits hold in every run, hence also on average over what providers draw:
//!
//! ```text
//! minimise  sum (price + w * P(late)) x + w * missed      subject to      sum a_k x <= b_k for each row k
//! ```
//!
//! By weak duality, for **any** multipliers `l >= 0` the minimum is at least
//!
//! ```text
//! sum over calls of min(w, min over engines of [price + w * P(late) + sum l_k a_k])  -  sum l_k b_k
//! ```
//!
//! which is easily computed, call by call. How the multipliers were found does not matter to its truth, only to its
//! tightness. They are found on an aggregated problem; the number that is printed is computed from each single call, with
//! what calls take rounded down and capacities rounded up, and a margin for floating point taken off.
//!
//! # The rows, and why they hold in the simulated engines
//!
//! Time is cut into slots; rows hold slot by slot.
//!
//! * **Prefill.** An engine prefills one prompt at a time, so prefill seconds within a slot are at most its length. `x` is
//!   the share of a prompt's work that is done within the slot, so nothing hangs over. The work lies between arrival plus
//!   delay and the target less delay (less the fastest decoding, for a target of the whole answer).
//! * **Seats.** A step with `B` sequences takes `t0 + t1*B`, times `phi` while the lane is busy, and gives each of them
//!   a token. Over a slot, `integral of steps/s * (t0 + t1*B) = length - (1 - 1/phi) * busy`, and `B <= B_max`, so
//!   `tokens * (t1 + t0/B_max) + (1 - 1/phi) * prefill <= length`: decoding and what prefill slows it by, exactly. Tokens
//!   of a call have slots of their own, after its earliest prefill and until its latest prefill plus its slowest decoding
//!   (nobody loses a seat), so nothing hangs over here either, and no tail is needed on the right-hand side.
//! * **Room.** The same with `sum of held KV tokens <= room` in place of `B <= B_max`: a call that holds the share `h` of
//!   the room takes `t1 + t0*h` a token. Left out where seats run out long before.
//! * **Limits.** A bucket lets `burst + rate * length` through in any window; windows of 1, 4, 16, … slots and of all.
//! * **Prefix caches.** What a prompt has in common with any earlier arrival is free. That is a bound though calls may be
//!   served in another order: of the calls of one pool that share a piece, the first to be served computes it, and not
//!   before the first to arrive has come; the piece is charged to that one, in whose time the work then lies.
//! * **Prices** that change by the hour are those of the cheapest one.
//! * **Energy.** A call served by an engine takes its own prefill and decodes each token in a step of a batch of one, at the
//!   cheapest hour; what a fuller batch or a dearer hour adds is left out.
//! * **Contact and drills.** A slot has the seconds of contact that it has, and a pool that is down has none.
//!
//! Left out, which can only make the bound smaller: queues, admission in order, retries and their bills, errors and cut
//! answers, concurrent-job limits of providers, caps on power, evictions, and that one prompt's work is not divisible.
//!
//! # Chance
//!
//! A provider's first token is drawn anew for each try, so the bound is one on the *expected* J. A run of `n` metered
//! calls may fall below by chance, by about `w * sqrt(n * P * (1 - P))`; compare means over seeds. A policy that sends
//! a second try while the first may still be in time can beat `P(late)`; [`Class::tries`] says how often that can happen,
//! and the bound then counts the tries as if each failed at once and for free.
//!
//! # How tight it is
//!
//! Three gaps lie between J and the bound, and the result tells them apart:
//!
//! 1. the multipliers are not the best: [`Bound::last_gain`] is what the last stage of the ascent still added,
//!    and four times the iterations show what is left;
//! 2. the aggregate is not the traffic: [`Bound::aggregated`] less [`Bound::value`];
//! 3. the program is not the world: work is fluid within a slot, nobody queues. Halve [`Effort::slot`]: what the
//!    bound rises by is what averaging over the longer slot hid. What is left is queueing, and not knowing the future.
//!
//! With more slots the ascent needs more iterations, so the bound may also fall. Every value is a bound, whatever the
//! effort: the largest counts.

use std::sync::Arc;

pub use floor::{Floor, latency_floor};
pub use grid::Resource;
pub use system::{Class, Limit, Pool, System, TokenLimit};

use self::demand::Call;
use self::dual::Problem;
use self::grid::{Grid, Pace};
use super::traffic::Traffic;
use crate::domain::{ClassId, Duration, PoolId};

mod demand;
mod dual;
mod floor;
mod grid;
mod normal;
mod prices;
mod system;

#[cfg(test)]
mod tests;

/// How much trouble to take. More of it raises the bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Effort {
    /// Length of a slot; longer for very long traffic.
    pub slot: Duration,
    /// Length of the slots in which calls that must begin within seconds compete for prefill.
    pub rush: Duration,
    /// Steps of the ascent.
    pub iterations: u32,
    /// Threads. They change nothing but the time it takes.
    pub threads: usize,
}

/// Traffic of more calls than this gets longer slots and fewer steps.
const MANY: usize = 120_000;

impl Effort {
    /// What so many calls are worth: half a minute at most, on one core.
    pub fn of(calls: usize) -> Self {
        if calls <= MANY {
            return Self::default();
        }
        let slot = Duration::from_secs(30);
        Self { slot, rush: slot, iterations: 80, ..Self::default() }
    }
}

impl Default for Effort {
    /// Ten seconds are a few answers long: shorter slots cost time and add little while answers straddle them. Half a
    /// second is half of the time that a person's first token has.
    fn default() -> Self {
        Self { slot: Duration::from_secs(10), rush: Duration::from_millis(500), iterations: 120, threads: 1 }
    }
}

/// What is bounded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Goal {
    /// J, in dollars.
    Cost,
    /// Misses, in calls: of one class, with the others out of its way, or of all.
    Misses(Option<ClassId>),
}

impl Goal {
    /// What a miss of that class counts.
    fn miss(self, system: &System, class: ClassId) -> f64 {
        match self {
            Self::Cost => system.classes[class.index()].miss_usd.max(0.0),
            Self::Misses(None) => 1.0,
            Self::Misses(Some(only)) => f64::from(u8::from(only == class)),
        }
    }
}

/// A certificate, and where it comes from. Amounts are dollars or calls, as the [`Goal`] says.
#[derive(Clone, PartialEq, Debug)]
pub struct Bound {
    /// No policy's expected J (or misses) is below this.
    pub value: f64,
    /// The same with all capacity free and endless: what prices and chance alone cost.
    pub trivial: f64,
    /// The value of the aggregated problem, which is no bound.
    pub aggregated: f64,
    /// Calls of the aggregated problem.
    pub aggregates: usize,
    /// Evaluations of the aggregated problem.
    pub iterations: u32,
    /// What the last stage of the ascent, slot by slot, added.
    pub last_gain: f64,
    /// Seconds of a slot.
    pub slot_s: f64,
    /// The multipliers.
    pub rows: Vec<Rows>,
    /// What a little more of everything is worth.
    pub worth: Vec<Worth>,
}

/// The rows of one kind: one for each window.
#[derive(Clone, PartialEq, Debug)]
pub struct Rows {
    /// The pool's name.
    pub pool: Arc<str>,
    /// Of what.
    pub resource: Resource,
    /// Seconds of a window; the windows follow one another from the first arrival on.
    pub window_s: f64,
    /// By window: what one unit more would be worth.
    pub multipliers: Vec<f64>,
}

impl Rows {
    /// How many of them bind.
    pub fn binding(&self) -> usize {
        self.multipliers.iter().filter(|l| **l > 0.0).count()
    }
}

/// Something that one could have more of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum More {
    /// One more endpoint.
    Endpoint,
    /// A tenth more of the limit of requests.
    Requests,
    /// A tenth more of the limit of tokens.
    Tokens,
}

/// What more of something would save a perfect policy: at most this, since every further unit saves less.
#[derive(Clone, PartialEq, Debug)]
pub struct Worth {
    /// The pool's name.
    pub pool: Arc<str>,
    /// Of what.
    pub of: More,
    /// Over the whole traffic.
    pub total: f64,
    /// For each hour of it.
    pub per_hour: f64,
}

/// Slots at most: twenty-three days of a hundred seconds, and few enough for a table of every row.
const SLOTS_MAX: f64 = 20_000.0;

/// A target that is later than this need not be looked at to its end: what is not limited is free.
const LONGEST_S: f64 = 3600.0;

/// For answers that are still being decoded when the last target has passed.
const TAIL_S: f64 = 300.0;

/// The bound, by Lagrangian relaxation: see the module. Nothing to bound (no traffic) is zero.
pub fn bound(system: &System, traffic: &Traffic, goal: Goal, effort: &Effort) -> Bound {
    let calls = demand::calls(traffic);
    let grid = grid(system, &calls, effort);
    let aggregate = demand::alike(&calls, system, &grid);
    let threads = effort.threads;
    let ascent = Problem::new(&aggregate, system, &grid, goal, threads).climb(effort);
    let certify = |multipliers| dual::certify(&calls, system, &grid, (goal, threads), multipliers).max(0.0);
    let (value, trivial) = (certify(&ascent.multipliers), certify(&grid.zero()));
    let hours = calls.last().zip(calls.first()).map_or(0.0, |(b, a)| b.at_s - a.at_s).max(1.0) / 3600.0;
    Bound {
        value: value.max(trivial),
        trivial,
        aggregated: ascent.value,
        aggregates: aggregate.len(),
        iterations: ascent.iterations,
        last_gain: ascent.last_gain,
        slot_s: grid.slot_s(),
        worth: worth(system, &grid, &ascent.multipliers, hours),
        rows: rows(system, &grid, ascent.multipliers),
    }
}

fn grid(system: &System, calls: &[Call], effort: &Effort) -> Grid {
    let start_s = calls.first().map_or(0.0, |c| c.at_s);
    let targets = system.classes.iter().flat_map(|c| [c.first_token, c.finish]).flatten();
    let longest_s = targets.map(|t| t.as_secs_f64()).fold(0.0, f64::max).min(LONGEST_S);
    let end_s = calls.last().map_or(0.0, |c| c.at_s) + longest_s + TAIL_S;
    let slot_s = effort.slot.as_secs_f64().max((end_s - start_s) / SLOTS_MAX).max(1e-3);
    let ticks = (slot_s / effort.rush.as_secs_f64().max(1e-3)).round().max(1.0) as usize;
    let tokens = |c: &Call| f64::from(c.output - 1);
    let held = calls.iter().map(|c| tokens(c) * (f64::from(c.input) + f64::from(c.output))).sum::<f64>();
    let decoded = calls.iter().map(tokens).sum::<f64>().max(1.0);
    Grid::new(system, (start_s, end_s), Pace { slot_s, ticks }, held / decoded)
}

fn rows(system: &System, grid: &Grid, multipliers: Vec<Vec<f64>>) -> Vec<Rows> {
    let rows = |(family, multipliers): (&grid::Family, Vec<f64>)| Rows {
        pool: Arc::clone(&system.pools[family.pool.index()].name),
        resource: family.resource,
        window_s: grid.tick_s() * family.group as f64,
        multipliers,
    };
    grid.families.iter().zip(multipliers).map(rows).collect()
}

fn worth(system: &System, grid: &Grid, multipliers: &[Vec<f64>], hours: f64) -> Vec<Worth> {
    let mut all = Vec::new();
    for (index, pool) in system.pools.iter().enumerate() {
        // Endpoints that differ are worth different amounts: the best of them is named.
        let mut endpoint = None::<f64>;
        for (number, bank) in grid.banks.iter().enumerate().filter(|(_, b)| b.pool.index() == index) {
            let rent = grid.rent_of(multipliers, |f| f.bank == Some(number)) / f64::from(bank.count);
            if matches!(bank.settings, crate::engine::Settings::Batching(_)) {
                endpoint = Some(endpoint.unwrap_or(0.0).max(rent));
            }
        }
        let limit = |resource, is: bool| {
            let mine = |f: &grid::Family| f.pool == PoolId(index as u16) && f.resource == resource;
            is.then(|| 0.1 * grid.rent_of(multipliers, mine))
        };
        let found = [
            (More::Endpoint, endpoint),
            (More::Requests, limit(Resource::Requests, pool.requests.is_some())),
            (More::Tokens, limit(Resource::Tokens, pool.tokens.is_some())),
        ];
        for (of, total) in found {
            let Some(total) = total else { continue };
            all.push(Worth { pool: Arc::clone(&pool.name), of, total, per_hour: total / hours });
        }
    }
    all
}
