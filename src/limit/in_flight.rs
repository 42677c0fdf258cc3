//! Calls under way, against a limit that is set, and one that is learned.
//!
//! Who queues more than it can hold turns the rest away, and says so only to those that have come already. How many it held
//! then is the best guess of how many it can; it grows again while all of them are served (additive increase as in TCP:
//! Chiu and Jain 1989; the decrease is what was seen instead of a factor).

/// A counter with optional limits.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct InFlight {
    now: u32,
    max: Option<u32>,
    /// What it was found to hold.
    held: Option<f64>,
}

/// Each call served at the limit raises it by this: an eighth in the time that it takes to serve all of them, so that a
/// limit that was learned in a bad minute is forgotten in some.
const RISE: f64 = 0.125;

impl InFlight {
    /// Nothing under way, at most `max`.
    pub const fn new(max: Option<u32>) -> Self {
        Self { now: 0, max, held: None }
    }

    /// How many are under way.
    pub const fn count(self) -> u32 {
        self.now
    }

    /// The limit.
    pub fn limit(self) -> Option<u32> {
        // Both are non-negative, and a limit of more than four billion is none.
        let held = self.held.map(|held| held as u32);
        match (self.max, held) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Another limit from now on. Those that are under way stay.
    pub fn set_limit(&mut self, max: Option<u32>) {
        self.max = max;
    }

    /// Those under way are these.
    pub fn carry(&mut self, under_way: Self) {
        self.now = under_way.now;
    }

    /// The limit, if one more would break it.
    pub fn full(self) -> Option<u32> {
        self.limit().filter(|&max| self.now >= max)
    }

    /// One more.
    pub fn enter(&mut self) {
        self.now = self.now.saturating_add(1);
    }

    /// One less; never below zero. If it was `served` at the limit that was learned, that rises. True if it was full.
    pub fn leave(&mut self, served: bool) -> bool {
        let was_full = self.full().is_some();
        if served && let Some(held) = self.held.as_mut().filter(|held| f64::from(self.now) >= held.floor()) {
            *held += RISE;
        }
        self.now = self.now.saturating_sub(1);
        was_full
    }

    /// One was turned away, and has left, because there were too many: no more than are under way now from now on, or than
    /// `least`, which it can hold in any case.
    pub fn turned_away(&mut self, least: u32) {
        let held = f64::from(self.now.max(least).max(1));
        self.held = Some(self.held.map_or(held, |before| before.min(held)));
    }

    /// It can hold so many in any case: there is more of it than when it turned some away.
    pub fn holds(&mut self, least: u32) {
        self.held = self.held.map(|held| held.max(f64::from(least)));
    }

    /// It is as it was: what was learned holds.
    pub fn as_before(&mut self, before: Self) {
        self.held = before.held;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_turns_calls_away_gets_no_more_than_it_held() {
        let mut calls = InFlight::new(None);
        (0..300).for_each(|_| calls.enter());
        assert_eq!(calls.full(), None);
        for _ in 0..200 {
            calls.leave(false);
            calls.turned_away(10);
        }
        assert_eq!((calls.limit(), calls.full()), (Some(100), Some(100)));
        calls.leave(false);
        assert_eq!(calls.full(), None);
    }

    #[test]
    fn a_limit_that_was_learned_rises_while_all_are_served() {
        let mut calls = InFlight::new(Some(108));
        (0..101).for_each(|_| calls.enter());
        calls.leave(false);
        calls.turned_away(0);
        for _ in 0..50 {
            assert!(calls.leave(true), "a place is free, also when the limit has just risen");
            while calls.full().is_none() {
                calls.enter();
            }
        }
        assert_eq!(calls.limit(), Some(106), "half an eighth for half of them");
        (0..50).for_each(|_| {
            calls.leave(false);
        });
        let before = calls.limit();
        calls.leave(true);
        assert_eq!(calls.limit(), before, "whoever has room to spare learns nothing about its end");
    }

    #[test]
    fn what_grew_holds_more_than_it_did() {
        let mut calls = InFlight::new(None);
        calls.turned_away(2);
        calls.holds(8);
        assert_eq!(calls.limit(), Some(8));
        calls.holds(4);
        assert_eq!(calls.limit(), Some(8));
        let mut next = InFlight::new(Some(6));
        next.as_before(calls);
        assert_eq!(next.limit(), Some(6));
    }

    #[test]
    fn a_stray_refusal_takes_nobody_below_what_it_holds_in_any_case() {
        let mut calls = InFlight::new(None);
        calls.enter();
        calls.leave(false);
        calls.turned_away(64);
        assert_eq!(calls.limit(), Some(64));
    }
}
