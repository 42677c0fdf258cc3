//! Requests that lose every connection they are sent on: the one in a million that crashes whatever works on it. Sent on,
//! and repeated by its client, it takes one server after the other with it.
//!
//! A call is stopped at its second lost connection ([`Settings::disconnects`](super::Settings)). A request of which that
//! happens to two calls is not sent any more for a while. One lost connection is bad luck, and so are two when a pool goes
//! down: an answer to the same request ends all suspicion.

use crate::domain::{Duration, Instant};

/// Requests that are remembered; the oldest goes first.
const MOST: usize = 64;
/// Calls that were stopped before the request is not sent any more.
const CALLS: u8 = 2;
/// Remembered, and kept back, for so long after the last.
const MEMORY: Duration = Duration::from_secs(300);

/// See the module. Requests are known by a fingerprint, which says nothing of their words.
#[derive(Clone, Debug, Default)]
pub struct Suspects(Vec<Suspect>);

#[derive(Clone, Copy, Debug)]
struct Suspect {
    print: u64,
    calls: u8,
    until: Instant,
}

impl Suspects {
    /// Nobody is suspected: nothing needs a fingerprint.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A call of this request was stopped because it lost its connections.
    pub fn stopped(&mut self, print: u64, now: Instant) {
        self.0.retain(|s| now < s.until);
        let until = now + MEMORY;
        match self.0.iter_mut().find(|s| s.print == print) {
            Some(s) => (s.calls, s.until) = (s.calls.saturating_add(1), until),
            None => {
                if self.0.len() >= MOST {
                    self.0.remove(0);
                }
                self.0.push(Suspect { print, calls: 1, until });
            }
        }
    }

    /// It was answered.
    pub fn answered(&mut self, print: u64, now: Instant) {
        self.0.retain(|s| s.print != print && now < s.until);
    }

    /// Until when it is not sent, if it is kept back.
    pub fn kept_back(&self, print: u64, now: Instant) -> Option<Instant> {
        let suspect = self.0.iter().find(|s| s.print == print)?;
        (suspect.calls >= CALLS && now < suspect.until).then_some(suspect.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b17_a_request_is_kept_back_after_two_calls_and_an_answer_ends_it() {
        let at = Instant::from_secs_f64;
        let mut suspects = Suspects::default();
        assert!(suspects.is_empty());
        suspects.stopped(7, at(0.0));
        assert_eq!(suspects.kept_back(7, at(1.0)), None, "once is bad luck");
        suspects.stopped(7, at(2.0));
        assert_eq!(suspects.kept_back(7, at(3.0)), Some(at(302.0)));
        assert_eq!(suspects.kept_back(8, at(3.0)), None, "another request");
        assert_eq!(suspects.kept_back(7, at(302.0)), None, "it has its time");
        suspects.stopped(8, at(10.0));
        suspects.answered(8, at(10.5));
        suspects.stopped(8, at(11.0));
        assert_eq!(suspects.kept_back(8, at(12.0)), None, "it was answered in between");
        for print in 100..1_000 {
            suspects.stopped(print, at(20.0));
        }
        assert_eq!(suspects.0.len(), MOST);
    }
}
