//! From which size on calls fail somewhere: an engine that runs out of memory beyond a length, a gateway that takes no
//! larger body. That is no illness of the rest, and not worth finding out by every long call.
//!
//! The rule: several failures, each of a call no smaller than the size in question, while smaller ones go well. Then calls
//! of that size go elsewhere if anybody else takes them. A call that large which goes well after all ends it.

use crate::domain::{Duration, Instant};

/// Shorter prompts fail for other reasons.
const LEAST: u32 = 8_192;
/// So many failures, and
const FAILURES: u8 = 3;
/// so many successes of smaller ones among them.
const SUCCESSES: u8 = 3;
/// So long at first; twice as long each time that it turns out to be so still.
const FIRST: Duration = Duration::from_secs(300);
/// At most.
const MOST: Duration = Duration::from_secs(3600);

/// What is known of one offer.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Sizes {
    cap: Option<Cap>,
    suspected: Option<Suspicion>,
}

/// Calls of so many tokens and more fail.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Cap {
    /// Input tokens, by our estimate.
    pub tokens: u32,
    /// Not tried again before.
    pub until: Instant,
    /// For how long it was believed last.
    pub time: Duration,
}

#[derive(Clone, Copy, PartialEq, Debug)]
struct Suspicion {
    /// The smallest that failed since one as large went well.
    tokens: u32,
    failures: u8,
    /// Smaller ones that went well since the first failure.
    successes: u8,
}

impl Sizes {
    /// May a call of so many tokens be sent, as far as its size goes?
    pub fn allow(&self, tokens: u32, now: Instant) -> bool {
        self.cap.is_none_or(|cap| tokens < cap.tokens || now >= cap.until)
    }

    /// A call of so many tokens went well.
    pub fn ok(&mut self, tokens: u32) {
        if self.cap.is_some_and(|cap| tokens >= cap.tokens) {
            self.cap = None;
        }
        match &mut self.suspected {
            Some(s) if tokens < s.tokens => s.successes = s.successes.saturating_add(1),
            suspected => *suspected = None,
        }
    }

    /// One failed in a way that its size can be the cause of. What is believed from now on, if that is new.
    pub fn failed(&mut self, tokens: u32, now: Instant) -> Option<Cap> {
        if tokens < LEAST || !self.allow(tokens, now) {
            return None;
        }
        // Its time was over, and it is so still.
        if let Some(cap) = self.cap.filter(|cap| tokens >= cap.tokens) {
            return Some(self.believe(cap.tokens, cap.time * 2, now));
        }
        let s = self.suspected.get_or_insert(Suspicion { tokens, failures: 0, successes: 0 });
        s.tokens = s.tokens.min(tokens);
        s.failures = s.failures.saturating_add(1);
        let sure = s.failures >= FAILURES && s.successes >= SUCCESSES;
        let tokens = s.tokens;
        sure.then(|| self.believe(tokens, FIRST, now))
    }

    fn believe(&mut self, tokens: u32, time: Duration, now: Instant) -> Cap {
        let time = time.min(MOST);
        let cap = Cap { tokens, until: now + time, time };
        (self.cap, self.suspected) = (Some(cap), None);
        cap
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: f64) -> Instant {
        Instant::from_secs_f64(s)
    }

    #[test]
    fn b08_long_ones_that_fail_among_short_ones_that_do_not_are_about_size() {
        let mut sizes = Sizes::default();
        for _ in 0..2 {
            assert_eq!(sizes.failed(70_000, at(0.0)), None);
            sizes.ok(1_000);
            sizes.ok(60_000);
        }
        let cap = sizes.failed(66_000, at(1.0)).unwrap();
        assert_eq!(cap.tokens, 66_000);
        assert!(sizes.allow(65_999, at(2.0)) && !sizes.allow(66_000, at(2.0)));
        // One is let through after its time: still so, for twice as long.
        assert!(sizes.allow(80_000, at(302.0)));
        assert_eq!(sizes.failed(80_000, at(302.0)).unwrap().time, 2 * FIRST);
        assert!(!sizes.allow(80_000, at(800.0)));
        // Or no longer.
        sizes.ok(90_000);
        assert!(sizes.allow(90_000, at(800.0)));
    }

    #[test]
    fn b08_failures_of_any_size_and_of_short_ones_are_not_about_size() {
        let mut sizes = Sizes::default();
        for i in 0..100 {
            assert_eq!(sizes.failed(10_000 + i, at(0.0)), None, "nothing goes well at all");
        }
        for _ in 0..100 {
            assert_eq!(sizes.failed(20_000, at(0.0)), None);
            sizes.ok(1_000);
            sizes.ok(30_000);
        }
        for _ in 0..100 {
            assert_eq!(sizes.failed(LEAST - 1, at(0.0)), None);
            sizes.ok(10);
        }
    }
}
