//! Workloads out of workloads: parts, sums, multiples, surges, and another rhythm.
//!
//! All keep what makes a trace worth having: its bursts, its sizes and who shares a prompt with whom. A copy of a call
//! belongs to a copy of its conversation, with a prefix of its own: twice the calls are twice the people, not one person
//! whose cache is suddenly always warm.

use std::sync::Arc;

use super::{Arrival, CALLS_MAX, Profile, Traffic};
use crate::domain::{Duration, Instant};
use crate::engine::Block;
use crate::engine::draw::{mix, unit};

/// Copies for a multiple are shifted against each other by up to this: far enough that no two calls come at once
/// because one is the other's copy, near enough that hours and bursts of minutes stay where they are.
pub const SHIFT: Duration = Duration::from_secs(60);

/// Set draws apart from all others of the same seed.
const PHASE: u64 = 0x7068_6173;
const THIN: u64 = 0x7468_696e;

/// Set the copies of a sum, and those of a repetition, apart from those of a multiple.
const PART: u64 = 1 << 40;
const ROUND: u64 = 2 << 40;

impl Traffic {
    /// The calls from `from` on and before `to`, with `from` as the new start.
    #[must_use]
    pub fn window(&self, from: Instant, to: Instant) -> Self {
        let (first, last) = (self.before(from), self.before(to));
        let part = self.arrivals.get(first..last).unwrap_or_default();
        let shifted = |a: &Arrival| Arrival { at: Instant::START + a.at.since(from), ..a.clone() };
        Self { name: self.name.clone(), arrivals: part.iter().map(shifted).collect() }
    }

    /// Where the busiest stretch of that length begins; the first of several.
    pub fn peak(&self, length: Duration) -> Instant {
        let (mut best, mut start, mut to) = (0, Instant::START, 0);
        for (i, arrival) in self.arrivals.iter().enumerate() {
            let end = arrival.at + length;
            while self.arrivals.get(to).is_some_and(|a| a.at < end) {
                to += 1;
            }
            let inside = to.saturating_sub(i);
            if inside > best {
                (best, start) = (inside, arrival.at);
            }
        }
        start
    }

    /// That much of the workload with its busiest hour in the middle, as far as there is any on both sides.
    #[must_use]
    pub fn around_peak(&self, length: Duration) -> Self {
        let hour = Duration::from_secs(3600);
        let middle = self.peak(hour) + hour / 2;
        let latest = Instant::START + self.span().saturating_sub(length);
        let from = (middle - length / 2).min(latest);
        self.window(from, from + length)
    }

    /// All of these at once. Their clients, conversations and prefixes are strangers to each other.
    #[must_use]
    pub fn superpose(parts: &[Self]) -> Self {
        let name = parts.iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(" + ");
        let mut arrivals = Vec::with_capacity(parts.iter().map(|p| p.arrivals.len()).sum());
        let mut clients = 0u32;
        for (part, number) in parts.iter().zip(0u64..) {
            let most = part.arrivals.iter().map(|a| a.client).max().unwrap_or(0);
            arrivals.extend(part.arrivals.iter().map(|a| {
                let copy = copied(a, if number == 0 { 0 } else { PART + number });
                Arrival { client: a.client.saturating_add(clients), ..copy }
            }));
            clients = clients.saturating_add(most).saturating_add(1);
        }
        Self::sorted(name, arrivals)
    }

    /// `factor` times the calls in the same time: whole copies, each moved by a phase of its own within `shift` (what
    /// leaves at the end comes in at the start), and a drawn part of one more. Bursts stay bursts, `factor` times as
    /// high. Below 1, conversations (or calls without one) are left out. At most [`CALLS_MAX`] calls come of it.
    #[must_use]
    pub fn scaled(&self, factor: f64, shift: Duration, seed: u64) -> Self {
        self.multiplied(factor, shift, self.span(), seed)
    }

    /// [`Self::scaled`], where what leaves at `circle` comes in at the start; no call is later than that.
    fn multiplied(&self, factor: f64, shift: Duration, circle: Duration, seed: u64) -> Self {
        let most = CALLS_MAX as f64 / self.arrivals.len().max(1) as f64;
        let factor = if factor.is_finite() { factor.clamp(0.0, most) } else { 1.0 };
        let span = (circle.as_nanos() as u64).max(1);
        let whole = factor as u64;
        let mut arrivals = Vec::with_capacity((self.arrivals.len() as f64 * factor) as usize);
        for copy in 0..=whole {
            let share = if copy < whole { 1.0 } else { factor - whole as f64 };
            let phase = match copy {
                0 => 0,
                _ => (unit(mix(mix(seed, PHASE), copy)) * shift.as_nanos() as f64) as u64 % span,
            };
            for (i, arrival) in self.arrivals.iter().enumerate() {
                let who = arrival.session.unwrap_or(i as u64);
                if share >= 1.0 || unit(mix(mix(seed, THIN), who)) < share {
                    arrivals.push(moved(arrival, copy, phase, span));
                }
            }
        }
        Self::sorted(self.name.clone(), arrivals)
    }

    /// `factor` times the calls from `at` on for `length`, and the rest as it was.
    #[must_use]
    pub fn surge(&self, at: Instant, length: Duration, factor: f64, seed: u64) -> Self {
        let end = at + length;
        let (first, last) = (self.before(at), self.before(end));
        let circle = length.min((Instant::START + self.span()).since(at));
        let inside = self.window(at, end).multiplied(factor, SHIFT.min(circle), circle, seed);
        let mut arrivals = self.arrivals[..first].to_vec();
        arrivals.extend(
            inside.arrivals.into_iter().map(|a| Arrival { at: at + a.at.since(Instant::START), ..a }),
        );
        arrivals.extend_from_slice(&self.arrivals[last..]);
        Self { name: self.name.clone(), arrivals }
    }

    /// The workload again and again until `length`; each time with other conversations.
    #[must_use]
    pub fn repeated(&self, length: Duration) -> Self {
        let span = (self.span().as_nanos() as u64).max(1);
        let end = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        let mut arrivals = Vec::new();
        for round in 0..end.div_ceil(span).min(CALLS_MAX as u64) {
            let start = round * span;
            let world = if round == 0 { 0 } else { ROUND + round };
            let again = self.arrivals.iter().map(|a| (a.at.as_nanos() + start, a));
            for (at, arrival) in again.take_while(|(at, _)| *at < end) {
                if arrivals.len() == CALLS_MAX {
                    break;
                }
                arrivals.push(Arrival { at: Instant::from_nanos(at), ..copied(arrival, world) });
            }
        }
        Self { name: self.name.clone(), arrivals }
    }

    /// The same calls in the same order over `length`, faster where the profile is high and slower where it is low; the
    /// profile is stretched to `length`. Time is rescaled as for an inhomogeneous Poisson process (Çinlar): bursts of
    /// the trace stay, at the pace of the hour.
    #[must_use]
    pub fn shaped_by(&self, profile: &Profile, length: Duration) -> Self {
        let span = (self.span().as_nanos() as f64).max(1.0);
        let mut clock = profile.clock();
        let shaped = |a: &Arrival| {
            let share = a.at.as_nanos() as f64 / span;
            let at = Instant::from_nanos((clock.when(share) * length.as_nanos() as f64) as u64);
            Arrival { at, ..a.clone() }
        };
        Self { name: self.name.clone(), arrivals: self.arrivals.iter().map(shaped).collect() }
    }

    /// Arrivals in any order.
    pub(super) fn sorted(name: String, mut arrivals: Vec<Arrival>) -> Self {
        arrivals.sort_by_key(|a| a.at);
        Self { name, arrivals }
    }

    /// How many calls come before that moment.
    fn before(&self, at: Instant) -> usize {
        self.arrivals.partition_point(|a| a.at < at)
    }
}

/// A call of the `number`th copy, `phase` later on a circle of `span` nanoseconds. What went round belongs to yet
/// another conversation, or its turns would come in the wrong order.
fn moved(arrival: &Arrival, number: u64, phase: u64, span: u64) -> Arrival {
    let at = arrival.at.as_nanos() + phase;
    let round = at / span;
    Arrival { at: Instant::from_nanos(at % span), ..copied(arrival, number * 2 + round) }
}

/// The same call in another world; copy 0 is the original.
fn copied(arrival: &Arrival, number: u64) -> Arrival {
    let mut copy = arrival.clone();
    if number > 0 {
        copy.session = arrival.session.map(|session| mix(session, number));
        if !arrival.prefix.is_empty() {
            let other = |b: &Block| Block { hash: mix(b.hash, number), ..*b };
            copy.prefix = arrival.prefix.iter().map(other).collect::<Arc<[Block]>>();
        }
    }
    copy
}
