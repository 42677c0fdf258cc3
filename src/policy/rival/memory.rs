//! What rivals remember: turns, times to first token, requests in flight. Bounded, and folded from events only.

use std::collections::VecDeque;

use super::{LowestLatency, PeakEwma, Per, Prequal, Rule, Seen};
use crate::domain::{Instant, OfferId};

/// Times remembered of an offer: enough for a 95th percentile, few enough to sort at every decision.
const TIMES: usize = 128;
/// Requests in flight remembered over all pools: at 3 to 6 pools the last 40 to 80 dispatches.
const IN_FLIGHT: usize = 256;
/// A latency near the present load is the median of so many that were measured nearest to it.
const NEAREST: usize = 8;
/// A percentile of fewer is only the worst of them.
const P95_MIN: usize = 20;

/// What a rule remembers. One for each fleet.
#[derive(Clone, Debug)]
pub struct Memory {
    pub(super) rule: Rule,
    turn: u64,
    /// By offer id.
    offers: Vec<Past>,
    /// How busy pools were when looked at.
    busy: VecDeque<f64>,
}

/// Something that happened to an attempt.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Event {
    /// Its first content came after so many seconds.
    FirstToken(f64),
    /// It was given up after so many seconds without content.
    TimedOut(f64),
}

#[derive(Clone, Debug)]
struct Past {
    turn: u64,
    times: VecDeque<Time>,
    /// Peak-EWMA, in seconds, at `looked`.
    peak_s: f64,
    looked: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Time {
    at: Instant,
    seconds: f64,
    timed_out: bool,
    /// How busy the pool was.
    busy: f64,
}

impl Memory {
    /// Nothing happened yet to so many offers.
    pub fn new(rule: Rule, offers: usize, now: Instant) -> Self {
        let start_s = if let Rule::PeakEwma(r) = rule { r.start_s } else { 0.0 };
        let past = Past { turn: 0, times: VecDeque::new(), peak_s: start_s, looked: now };
        Self { rule, turn: 0, offers: vec![past; offers], busy: VecDeque::new() }
    }

    /// What chooses.
    pub const fn rule(&self) -> Rule {
        self.rule
    }

    /// A call goes to the offer; `all` are the offers of its model, as they are then.
    pub fn sent(&mut self, offer: OfferId, all: impl Iterator<Item = (OfferId, Seen)>, now: Instant) {
        self.turn += 1;
        if let Some(past) = self.offers.get_mut(offer.index()) {
            past.turn = self.turn;
        }
        for (id, seen) in all {
            match self.rule {
                Rule::Prequal(r) => remember(&mut self.busy, seen.busy(r.per), IN_FLIGHT),
                Rule::PeakEwma(r) => {
                    if let Some(past) = self.offers.get_mut(id.index()) {
                        past.look(&r, 0.0, now);
                    }
                }
                _ => return,
            }
        }
    }

    /// Something happened to an attempt at the offer, whose pool is as `seen`.
    pub fn heard(&mut self, offer: OfferId, event: Event, seen: &Seen, now: Instant) {
        let Some(past) = self.offers.get_mut(offer.index()) else { return };
        let (seconds, timed_out) = match event {
            Event::FirstToken(s) => (s, false),
            Event::TimedOut(s) => (s, true),
        };
        if let Rule::PeakEwma(r) = self.rule {
            past.look(&r, seconds, now);
        }
        let per = if let Rule::Prequal(r) = self.rule { r.per } else { Per::Call };
        remember(&mut past.times, Time { at: now, seconds, timed_out, busy: seen.busy(per) }, TIMES);
    }

    /// When the offer had its last turn: larger is later, zero is never.
    pub(super) fn last_turn(&self, offer: OfferId) -> u64 {
        self.offers.get(offer.index()).map_or(0, |past| past.turn)
    }

    /// The mean of the last times; zero if there are none.
    pub(super) fn mean_s(&self, offer: OfferId, rule: &LowestLatency, now: Instant) -> f64 {
        let (mut sum, mut n) = (0.0, 0.0);
        for time in self.recent(offer, rule.memory_s, now).take(rule.window) {
            sum += if time.timed_out { rule.timeout_s } else { time.seconds };
            n += 1.0;
        }
        if n > 0.0 { sum / n } else { 0.0 }
    }

    /// Peak-EWMA now.
    pub(super) fn peak_s(&self, offer: OfferId, rule: &PeakEwma, now: Instant) -> f64 {
        let Some(past) = self.offers.get(offer.index()) else { return rule.start_s };
        past.peak_s * decay(rule, now.secs_since(past.looked))
    }

    /// The median of the times that were measured nearest to the present load; absent if there are none.
    pub(super) fn median_s(&self, offer: OfferId, rule: &Prequal, busy: f64, now: Instant) -> Option<f64> {
        let mut near: Vec<(f64, f64)> = self
            .recent(offer, rule.memory_s, now)
            .map(|time| ((time.busy - busy).abs(), time.seconds))
            .collect();
        // Stable: of times measured equally near, the latest count.
        near.sort_by(|a, b| a.0.total_cmp(&b.0));
        near.truncate(NEAREST);
        near.sort_by(|a, b| a.1.total_cmp(&b.1));
        near.get(near.len().saturating_sub(1) / 2).map(|n| n.1)
    }

    /// More than this is hot: the quantile of how busy pools were lately. Infinite while nothing was seen.
    pub(super) fn hot_from(&self, quantile: f64) -> f64 {
        let mut all: Vec<f64> = self.busy.iter().copied().collect();
        if all.is_empty() {
            return f64::INFINITY;
        }
        let rank = ((all.len() as f64 * quantile).ceil() as usize).clamp(1, all.len()) - 1;
        *all.select_nth_unstable_by(rank, f64::total_cmp).1
    }

    /// The 95th percentile of the times of the last seconds; absent if they are too few.
    pub(super) fn p95_s(&self, offer: OfferId, memory_s: f64, now: Instant) -> Option<f64> {
        let mut all: Vec<f64> = self.recent(offer, memory_s, now).map(|time| time.seconds).collect();
        if all.len() < P95_MIN {
            return None;
        }
        let rank = (all.len() * 19).div_ceil(20) - 1;
        Some(*all.select_nth_unstable_by(rank, f64::total_cmp).1)
    }

    /// The times of the last seconds, the latest first.
    fn recent(&self, offer: OfferId, memory_s: f64, now: Instant) -> impl Iterator<Item = &Time> {
        let times = self.offers.get(offer.index()).map(|past| past.times.iter().rev());
        times.into_iter().flatten().take_while(move |time| now.secs_since(time.at) <= memory_s)
    }
}

impl Past {
    /// A look at the estimate, with a time or, of zero, without one: a worse time is taken at once, towards a better one
    /// it decays.
    fn look(&mut self, rule: &PeakEwma, seconds: f64, now: Instant) {
        if seconds > self.peak_s {
            self.peak_s = seconds;
        } else {
            let kept = decay(rule, now.secs_since(self.looked));
            self.peak_s = self.peak_s * kept + seconds * (1.0 - kept);
        }
        self.looked = now;
    }
}

fn decay(rule: &PeakEwma, seconds: f64) -> f64 {
    (-seconds / rule.decay_s).exp()
}

fn remember<T>(queue: &mut VecDeque<T>, item: T, most: usize) {
    if queue.len() == most {
        queue.pop_front();
    }
    queue.push_back(item);
}
