//! Knows a request again that loses every connection it is sent on. The rule is the fleet's
//! ([`Suspects`](crate::limit::Suspects)); here a request gets its fingerprint, and only while anybody is suspected.

use std::fmt::{self, Write as _};
use std::sync::atomic::Ordering;

use xxhash_rust::xxh3::Xxh3;

use super::drive::Driven;
use crate::call::{AttemptRecord, AttemptResult, Event};
use crate::domain::{Body, FailureKind, Request};

impl Driven {
    /// How the call begins: as all do, unless its request is kept back.
    pub(super) fn first_event(&self, request: &Request) -> Event {
        if !self.router.suspicious.load(Ordering::Relaxed) {
            return Event::Start;
        }
        let (print, now) = (self.fingerprint(request), self.router.clock.mono());
        match self.router.fleet().suspects().kept_back(print, now) {
            Some(until) => {
                self.router.telemetry.kept_back(self.call.facts().id);
                Event::KeptBack(until.since(now))
            }
            None => Event::Start,
        }
    }

    /// The call came to nothing.
    pub(super) fn suspect(&self, request: &Request) {
        let lost = |a: &AttemptRecord| a.result == AttemptResult::Failed(FailureKind::Disconnected);
        if !self.call.record().attempts.iter().any(lost) {
            return;
        }
        if self.call.lost_its_connections(&self.router.fleet()) {
            // Not under the lock: a request may be long.
            let (print, now) = (self.fingerprint(request), self.router.clock.mono());
            self.router.fleet().suspects().stopped(print, now);
            self.router.suspicious.store(true, Ordering::Relaxed);
        }
    }

    /// The call is answered, or begins to be.
    pub(super) fn exonerate(&self, request: &Request) {
        if self.router.suspicious.load(Ordering::Relaxed) {
            let (print, now) = (self.fingerprint(request), self.router.clock.mono());
            let mut fleet = self.router.fleet();
            fleet.suspects().answered(print, now);
            self.router.suspicious.store(!fleet.suspects().is_empty(), Ordering::Relaxed);
        }
    }
}

impl Driven {
    /// The same for the same request of the same tenant: nobody learns what others ask.
    fn fingerprint(&self, request: &Request) -> u64 {
        let mut hashed = Hashed(Xxh3::with_seed(u64::from(self.call.facts().tenant.0)));
        match &request.body {
            Body::OpenAi(body) => hashed.0.update(body),
            // Into a hash it cannot fail.
            Body::Canonical(ask) => drop(write!(hashed, "{ask:?}")),
        }
        hashed.0.digest()
    }
}

/// Writes into a hash what would be written out.
struct Hashed(Xxh3);

impl fmt::Write for Hashed {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}
