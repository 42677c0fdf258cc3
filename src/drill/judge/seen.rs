//! What clients noticed and when, and whether something that must hold did, over any stretch of time.
//!
//! A call counts at the moment at which its client hears: its first token when that comes, its end when that comes. So
//! a stream that breaks is a bad moment when it breaks, not when it was asked for, as it would be on a dashboard.

use crate::domain::{ClassId, Duration, Instant};
use crate::drill::journal::{Heard, Journal};
use crate::drill::script::{Hypothesis, Sli};

/// What was noticed of one hypothesis: moments in order, and how many of the first ones were bad.
#[derive(Debug)]
pub(super) struct Track {
    at: Vec<Instant>,
    /// `bad[i]`: of the first `i`.
    bad: Vec<u32>,
    sli: Sli,
    /// Of which class; absent is all.
    pub(super) class: Option<ClassId>,
    /// How long it must hold to count as holding.
    pub(super) window: Duration,
}

/// Over some stretch of time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Counted {
    pub(super) n: u64,
    pub(super) bad: u64,
}

impl std::ops::Add for Counted {
    type Output = Self;
    fn add(self, by: Self) -> Self {
        Self { n: self.n + by.n, bad: self.bad + by.bad }
    }
}

impl std::iter::Sum for Counted {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), std::ops::Add::add)
    }
}

/// The ends of calls: when, and whether the answer was whole. One that never ended is bad when it was sent.
pub(super) fn ends(journal: &Journal, class: Option<ClassId>) -> Vec<(Instant, bool)> {
    let mine = journal.calls.iter().filter(|call| class.is_none_or(|class| call.class == class));
    let mut ends: Vec<(Instant, bool)> =
        mine.map(|call| (call.ended.unwrap_or(call.sent), call.heard == Some(Heard::Whole))).collect();
    ends.sort_by_key(|(at, _)| *at);
    ends
}

/// First tokens: when, and how long each took, in milliseconds.
pub(super) fn firsts(journal: &Journal, class: Option<ClassId>) -> Vec<(Instant, f64)> {
    let mine = journal.calls.iter().filter(|call| class.is_none_or(|class| call.class == class));
    let mut firsts: Vec<(Instant, f64)> =
        mine.filter_map(|call| call.first.map(|first| (first, first.secs_since(call.sent) * 1e3))).collect();
    firsts.sort_by_key(|(at, _)| *at);
    firsts
}

impl Track {
    /// Absent for what is counted over the whole drill and not by the moment.
    pub(super) fn of(journal: &Journal, hypothesis: &Hypothesis) -> Option<Self> {
        let seen: Vec<(Instant, bool)> = match hypothesis.sli {
            Sli::SuccessRatio(_) => {
                ends(journal, hypothesis.class).into_iter().map(|(at, ok)| (at, !ok)).collect()
            }
            Sli::TtftP99(max) => {
                firsts(journal, hypothesis.class).into_iter().map(|(at, ms)| (at, ms > max)).collect()
            }
            Sli::SilentTruncations(_) | Sli::DoubleBilled(_) => return None,
        };
        let mut bad = vec![0];
        for (_, is_bad) in &seen {
            bad.push(bad[bad.len() - 1] + u32::from(*is_bad));
        }
        let at = seen.into_iter().map(|(at, _)| at).collect();
        let Hypothesis { sli, class, window } = *hypothesis;
        Some(Self { at, bad, sli, class, window })
    }

    /// From one moment on and before another.
    pub(super) fn counted(&self, from: Instant, to: Instant) -> Counted {
        let first = self.at.partition_point(|at| *at < from);
        let last = self.at.partition_point(|at| *at < to).max(first);
        Counted { n: (last - first) as u64, bad: u64::from(self.bad[last] - self.bad[first]) }
    }

    /// Did it hold? Where nothing was heard, nothing is known to hold.
    pub(super) fn met(&self, counted: Counted) -> bool {
        let good = (counted.n - counted.bad) as f64;
        match self.sli {
            Sli::SuccessRatio(min) => counted.n > 0 && good >= min * counted.n as f64 - 1e-9,
            // The nearest rank of the 99th percentile is within the limit if so many are.
            Sli::TtftP99(_) => counted.n > 0 && good >= (0.99 * counted.n as f64).ceil(),
            Sli::SilentTruncations(_) | Sli::DoubleBilled(_) => true,
        }
    }

    /// So many must be counted before it can be told from its neighbours: a thousand for 99.9 %, a hundred for a 99th
    /// percentile.
    pub(super) fn needed(&self) -> u64 {
        match self.sli {
            Sli::SuccessRatio(min) if min < 1.0 => (1.0 / (1.0 - min) - 1e-6).ceil() as u64,
            Sli::SuccessRatio(_) | Sli::TtftP99(_) => 100,
            Sli::SilentTruncations(_) | Sli::DoubleBilled(_) => 0,
        }
    }

    /// Just after each bad moment from then on: the only moments at which it can begin to hold.
    fn after_bad(&self, from: Instant) -> impl Iterator<Item = Instant> {
        let first = self.at.partition_point(|at| *at < from);
        let bad = move |i: &usize| self.bad[i + 1] > self.bad[*i];
        (first..self.at.len()).filter(bad).map(|i| self.at[i] + Duration::from_nanos(1))
    }
}

/// The first moment from `from` on after which everything holds for its window, before the traffic ends.
pub(super) fn recovered(tracks: &[Track], from: Instant, end: Instant) -> Option<Instant> {
    let mut moments: Vec<Instant> = tracks.iter().flat_map(|track| track.after_bad(from)).collect();
    moments.push(from);
    moments.sort_unstable();
    moments.dedup();
    let holds = |at: &Instant| {
        tracks.iter().all(|track| {
            let until = *at + track.window;
            until <= end && track.met(track.counted(*at, until))
        })
    };
    moments.into_iter().find(holds)
}

/// The nearest rank; absent when there is none.
pub(super) fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let rank = ((sorted.len() as f64 * q).ceil() as usize).max(1) - 1;
    sorted.get(rank).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(seen: &[(u64, bool)], sli: Sli) -> Track {
        let at = seen.iter().map(|(s, _)| Instant::START + Duration::from_secs(*s)).collect();
        let mut bad = vec![0];
        seen.iter().for_each(|(_, is_bad)| bad.push(bad[bad.len() - 1] + u32::from(*is_bad)));
        Track { at, bad, sli, class: None, window: Duration::from_secs(5) }
    }

    fn at(s: u64) -> Instant {
        Instant::START + Duration::from_secs(s)
    }

    #[test]
    fn everything_holds_again_after_the_last_bad_moment_that_matters() {
        let seen: Vec<(u64, bool)> = (0..30).map(|s| (s, (10..13).contains(&s))).collect();
        let track = track(&seen, Sli::SuccessRatio(1.0));
        let recovered = |from| recovered(std::slice::from_ref(&track), at(from), at(30));
        assert_eq!(recovered(10), Some(at(12) + Duration::from_nanos(1)));
        assert_eq!(recovered(0), Some(at(0)));
        assert_eq!(recovered(26), None, "nobody can know yet");
    }

    #[test]
    fn silence_is_not_health() {
        let track = track(&[(1, false), (20, false)], Sli::SuccessRatio(0.5));
        assert_eq!(recovered(&[track], at(2), at(30)), None);
    }

    #[test]
    fn a_percentile_is_a_count_of_those_beyond_it() {
        let one_in = |n: u64| Counted { n, bad: 1 };
        let track = track(&[], Sli::TtftP99(1.0));
        assert!(track.met(one_in(100)) && !track.met(one_in(99)));
        let ratio = super::tests::track(&[], Sli::SuccessRatio(0.999));
        assert!(ratio.met(one_in(1000)) && !ratio.met(one_in(999)));
        assert_eq!((track.needed(), ratio.needed()), (100, 1000));
    }
}
