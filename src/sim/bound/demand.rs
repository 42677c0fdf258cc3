//! What one call can be served by, at what cost, and what it takes from which rows in which slots. All of it at the
//! least that the simulated world could charge; the module's documentation says why.

use std::collections::BTreeMap;

use super::Goal;
use super::grid::{Bank, Grid, ROUNDING};
use super::normal;
use super::prices::RUN_MAX;
use super::system::{Class, Pool, System};
use crate::domain::{ClassId, ModelId, Usage};
use crate::engine::cache::MAX_BLOCKS;
use crate::engine::{Batching, Opaque, Settings};
use crate::sim::traffic::{Arrival, Traffic};

/// A call, or many that are nearly alike.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) at_s: f64,
    pub(super) class: ClassId,
    pub(super) model: ModelId,
    pub(super) input: u32,
    pub(super) output: u32,
    /// Tokens of the prompt that a cache without end holds when it comes.
    pub(super) cached: u32,
    /// Its prompt has no part that others could share.
    pub(super) alone: bool,
    /// How many it stands for.
    pub(super) weight: f64,
}

/// A bank that could serve a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    /// Dollars (or nothing, where only misses count).
    pub(super) base: f64,
    /// Probability that it misses for all that.
    pub(super) late: f64,
    /// Its draws: from where in the list, and how many.
    pub(super) draws: (u32, u32),
}

/// Something taken when it is cheapest.
#[derive(Clone, Copy, Debug)]
pub(super) enum Draw {
    /// In one of several slots.
    Spot {
        /// First and last slot.
        span: (u32, u32),
        /// Along which curve, and how much.
        take: (u32, f64),
        /// And along which other in the same slot.
        also: Option<(u32, f64)>,
    },
    /// Without a break.
    Run {
        /// Along which curve, the slots of which are ticks.
        curve: u32,
        /// Not before and not after that, in ticks.
        between: (f64, f64),
        /// Ticks that it takes.
        length: f64,
    },
}

/// The choices of calls, one after the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Choices {
    pub(super) choices: Vec<Choice>,
    pub(super) draws: Vec<Draw>,
}

/// Who has no more time than this for its prompt is in a hurry: it competes for the lane tick by tick.
pub(super) const HURRY_S: f64 = 6.0;

/// When work for a call can be done and still be in time, in seconds since the start.
struct Times {
    at: f64,
    first_by: f64,
    finish_by: f64,
    delay: f64,
}

impl Times {
    fn new(call: &Call, class: &Class, pool: &Pool) -> Self {
        let by = |target: Option<crate::domain::Duration>| {
            target.map_or(f64::INFINITY, |t| call.at_s + t.as_secs_f64())
        };
        let (first_by, finish_by) = (by(class.first_token), by(class.finish));
        Self { at: call.at_s, first_by, finish_by, delay: pool.delay.as_secs_f64() }
    }
}

impl Choices {
    pub(super) fn clear(&mut self) {
        self.choices.clear();
        self.draws.clear();
    }

    /// What a choice draws.
    pub(super) fn draws_of(&self, choice: &Choice) -> &[Draw] {
        let (first, count) = choice.draws;
        &self.draws[first as usize..(first + count) as usize]
    }

    /// Appends what can serve `call`.
    pub(super) fn add(&mut self, call: &Call, system: &System, grid: &Grid, goal: Goal) {
        let class = &system.classes[call.class.index()];
        for bank in &grid.banks {
            let pool = &system.pools[bank.pool.index()];
            let times = Times::new(call, class, pool);
            let first = self.draws.len() as u32;
            let late = match &bank.settings {
                Settings::Batching(engine) => self.batching(call, engine, &times, (pool, bank), grid),
                Settings::Opaque(engine) => opaque(call, engine, &times),
            };
            let (Some(late), Some(prices)) = (late, pool.prices(call.model)) else {
                self.draws.truncate(first as usize);
                continue;
            };
            self.limits(call, &times, (pool, bank), grid);
            let cached = held(call, bank);
            let usage = |cached| Usage {
                input: call.input.into(),
                cached,
                output: call.output.into(),
                ..Usage::default()
            };
            let base = match goal {
                Goal::Cost => {
                    let money = prices.cost(&usage(0)).min(prices.cost(&usage(cached.into())));
                    money.as_dollars() + energy(call, (pool, bank), cached)
                }
                Goal::Misses(_) => 0.0,
            };
            let draws = (first, self.draws.len() as u32 - first);
            self.choices.push(Choice { base, late, draws });
        }
    }

    /// What a batching engine does for it; `None` if it cannot be in time even with nothing else to do.
    fn batching(
        &mut self,
        call: &Call,
        engine: &Batching,
        times: &Times,
        (pool, bank): (&Pool, &Bank),
        grid: &Grid,
    ) -> Option<f64> {
        let speed = &engine.speed;
        let room = u64::from(call.input) + u64::from(call.output);
        if room > engine.kv_tokens {
            return None;
        }
        // Engines count in whole nanoseconds and round down.
        let prefill = (speed.prefill_s(call.input, call.input - held(call, bank)) - 1e-9).max(0.0);
        let exact = (1.0 - 1e-9 / speed.step_s(1)).max(0.0) * (1.0 - ROUNDING);
        let tokens = f64::from(call.output.saturating_sub(1));
        let begin = times.at + times.delay;
        let fastest = tokens * speed.step_s(1) * exact;
        let latest = (times.first_by - times.delay).min(times.finish_by - times.delay - fastest);
        if begin + prefill > latest + 1e-6 {
            return None;
        }
        let seats = f64::from(engine.max_batch.max(1));
        self.prefill(call, (begin, latest), prefill * (1.0 - ROUNDING), (bank, grid));
        let slowest =
            speed.step_s(engine.max_batch.max(1)) * speed.interference.max(1.0) * pool.slowest.max(1.0);
        let end = (latest + tokens * slowest).min(times.finish_by - times.delay);
        let seat = tokens * (speed.step_seq_s + speed.step_base_s / seats) * exact;
        let share = room as f64 / engine.kv_tokens as f64;
        let whole = tokens * (speed.step_seq_s + speed.step_base_s * share) * exact;
        self.draw((begin + prefill, end), (bank.curves.seat, seat), (bank.curves.room, whole), grid);
        Some(0.0)
    }

    /// Who is in a hurry has its prompt computed without a break, if it is all its own; it may be charged with parts of
    /// others' if not.
    fn prefill(
        &mut self,
        call: &Call,
        (begin, end): (f64, f64),
        length_s: f64,
        (bank, grid): (&Bank, &Grid),
    ) {
        if end - begin > HURRY_S || length_s <= 0.0 {
            return self.draw((begin, end), (bank.curves.prefill, length_s), (None, 0.0), grid);
        }
        let between = (grid.ticks(begin - 1e-6), grid.ticks(end + 1e-6));
        let long = between.1 - between.0 > (RUN_MAX - 2) as f64;
        let Some(curve) = bank.curves.rush.filter(|_| call.alone && !long) else {
            return self.draw((begin, end), (bank.curves.rush, length_s), (None, 0.0), grid);
        };
        let length = (length_s / grid.tick_s()).min(between.1 - between.0);
        self.draws.push(Draw::Run { curve: curve as u32, between, length });
    }

    /// What it takes of the pool's limits.
    fn limits(&mut self, call: &Call, times: &Times, (pool, bank): (&Pool, &Bank), grid: &Grid) {
        let within = (times.at, times.first_by.min(times.finish_by));
        let output = pool.tokens.is_some_and(|t| t.output);
        let counted = call.input - held(call, bank) + if output { call.output } else { 0 };
        self.draw(within, (bank.curves.request, 1.0), (bank.curves.token, f64::from(counted)), grid);
    }

    /// Something between two moments, and something else at the same one.
    fn draw(
        &mut self,
        (from, to): (f64, f64),
        one: (Option<usize>, f64),
        two: (Option<usize>, f64),
        grid: &Grid,
    ) {
        let some = |(curve, amount): (Option<usize>, f64)| {
            curve.filter(|_| amount > 0.0).map(|curve| (curve as u32, amount))
        };
        let (take, also) = match (some(one), some(two)) {
            (Some(take), also) => (take, also),
            (None, Some(take)) => (take, None),
            (None, None) => return,
        };
        self.draws.push(Draw::Spot { span: grid.span(take.0 as usize, from, to), take, also });
    }
}

/// What its energy costs at the least. Pieces of prompts that calls share are charged once, to the first to arrive: that
/// is a bound because what a piece costs does not hang on whose it is, and so the floor of a prefill is left out.
fn energy(call: &Call, (pool, bank): (&Pool, &Bank), cached: u32) -> f64 {
    let Settings::Batching(engine) = &bank.settings else { return 0.0 };
    let tokens = f64::from(call.output.saturating_sub(1));
    let prefill = (engine.speed.prefill_at_least_s(call.input, call.input - cached) - 1e-9).max(0.0);
    let seat = tokens * (engine.speed.step_s(1) - 1e-9).max(0.0);
    pool.energy.usd(prefill, seat) * (1.0 - ROUNDING)
}

/// Probability that a provider is late for it, at the least; `None` if it is certain.
fn opaque(call: &Call, engine: &Opaque, times: &Times) -> Option<f64> {
    let tail = f64::from(call.output.saturating_sub(1)) * engine.tpot_s;
    let by = times.first_by.min(times.finish_by - tail) - times.at;
    let left = by - 2.0 * times.delay - engine.prefill_token_s * f64::from(call.input);
    // A microsecond, and a nanosecond a token, for what is rounded down.
    let late = normal::late(engine, left + 1e-6 + 1e-9 * f64::from(call.output));
    (late < 1.0).then_some(late)
}

/// Tokens of the prompt that need not be computed there.
fn held(call: &Call, bank: &Bank) -> u32 {
    match &bank.settings {
        Settings::Batching(engine) if engine.prefix_cache => call.cached.min(call.input.saturating_sub(1)),
        _ => 0,
    }
}

/// A prefix cache that forgets nothing and that all engines share.
#[derive(Debug, Default)]
pub(super) struct Endless(BTreeMap<u64, u32>);

impl Endless {
    /// How much of the prompt of `arrival` was in a prompt before it; and keeps it.
    pub(super) fn pass(&mut self, arrival: &Arrival) -> u32 {
        let (mut found, mut whole, mut left) = (0u32, true, arrival.input);
        for block in arrival.prefix.iter().take(MAX_BLOCKS) {
            let had = self.0.entry(block.hash).or_insert(0);
            if whole {
                found = found.saturating_add(block.tokens.min(*had));
                whole = *had >= block.tokens;
            }
            let kept = block.tokens.min(left);
            *had = kept.max(*had);
            left -= kept;
        }
        found.min(arrival.input.saturating_sub(1))
    }
}

/// Every call of the traffic, in its order.
pub(super) fn calls(traffic: &Traffic) -> Vec<Call> {
    let mut cache = Endless::default();
    let call = |arrival: &Arrival| Call {
        at_s: arrival.at.as_secs_f64(),
        class: arrival.class,
        model: arrival.model,
        input: arrival.input.max(1),
        output: arrival.output.max(1),
        cached: cache.pass(arrival),
        alone: arrival.prefix.is_empty(),
        weight: 1.0,
    };
    traffic.arrivals.iter().map(call).collect()
}

/// So few calls are not worth being thrown together.
const FEW: usize = 20_000;

/// Calls that came in the same slot (in the same tick, if they are in a hurry), of one class and model, with lengths
/// within a factor of 1.5 and caches within a quarter of the prompt, as one of their mean size.
pub(super) fn alike(calls: &[Call], system: &System, grid: &Grid) -> Vec<Call> {
    if calls.len() <= FEW {
        return calls.to_vec();
    }
    let step = |n: u32| (f64::from(n).ln() / 1.5f64.ln()) as u8;
    let mut bins: BTreeMap<_, [f64; 5]> = BTreeMap::new();
    for call in calls {
        let share = u64::from(call.cached) * 4 / u64::from(call.input);
        let size = (step(call.input), step(call.output), share as u8);
        let class = &system.classes[call.class.index()];
        let hurry = class.first_token.is_some_and(|t| t.as_secs_f64() <= HURRY_S);
        let when = if hurry { grid.ticks(call.at_s) as usize } else { grid.slot(call.at_s) };
        let bin = bins.entry((call.class, when, call.model, call.alone, size)).or_default();
        let of = [1.0, call.at_s, call.input.into(), call.output.into(), call.cached.into()];
        bin.iter_mut().zip(of).for_each(|(sum, x)| *sum += x);
    }
    let mean = |((class, _, model, alone, _), sum): ((ClassId, usize, ModelId, bool, _), [f64; 5])| {
        let [weight, at, input, output, cached] = sum;
        let size = |total: f64| (total / weight).round() as u32;
        let (input, output, cached) = (size(input), size(output), size(cached));
        Call { at_s: at / weight, class, model, input, output, cached, alone, weight }
    };
    let mut all: Vec<Call> = bins.into_iter().map(mean).collect();
    // Neighbours in time are neighbours in memory.
    all.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
    all
}
