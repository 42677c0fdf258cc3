//! Faults in front of a pool's own door: what stands between a router and an endpoint, or what the endpoint does to
//! whoever comes. One layer, by endpoint, so that a fault may hit one of eight engines and leaves the door, with what its
//! limits remember, alone.

use super::{FlightId, Heard, Pools, limit};
use crate::domain::{Duration, Failure, FailureKind, Instant, PoolId};
use crate::engine::draw::{mix, unit};
use crate::engine::{Break, Turned};
use crate::sim::pools::Due;

/// A connection that nobody answers is given up after this: what upstreams are set to by default.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// Sets the draws of hazards apart from those of the door, which uses small numbers.
const HAZARD: u64 = 0x6861_7a61_7264;

/// What befalls whoever comes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Hazard {
    /// The process is gone: connections are refused, and answers under way break off.
    Killed,
    /// New connections are refused; answers under way go on.
    Refuses,
    /// Its name does not resolve; answers under way go on.
    Unresolved,
    /// Its certificate is not valid any more; answers under way go on.
    Untrusted,
    /// Nothing gets through, either way: new connections time out, answers under way fall silent.
    OutOfContact,
    /// It takes every request and answers none; answers under way fall silent for good.
    Hangs,
    /// Some requests get an error.
    Fails {
        /// How many, 0 to 1.
        share: f64,
        /// The status.
        status: u16,
        /// When to come back, if it says so.
        retry_after: Option<Duration>,
    },
    /// Some answers go silent.
    Stalls {
        /// How many, 0 to 1.
        share: f64,
        /// After so many tokens.
        after: u32,
    },
    /// Some answers are cut off.
    Truncates {
        /// How many, 0 to 1.
        share: f64,
        /// After so many tokens.
        after: u32,
    },
}

/// A hazard that is on.
#[derive(Clone, PartialEq, Debug)]
pub struct Hazardous {
    /// Names it, to end it.
    pub id: u32,
    /// Where.
    pub pool: PoolId,
    /// At which of its endpoints; none is all.
    pub endpoints: Vec<usize>,
    /// What.
    pub hazard: Hazard,
}

impl Hazardous {
    fn hits(&self, pool: PoolId, endpoint: usize) -> bool {
        self.pool == pool && (self.endpoints.is_empty() || self.endpoints.contains(&endpoint))
    }
}

/// What a request met before the door.
pub(super) enum Met {
    /// Nothing, or only this.
    Passes(Option<Break>),
    /// It never gets there: this, after so long.
    Lost(Failure, Duration),
    /// It is there, and turned away.
    Turned(Failure),
    /// It is there, and nobody answers.
    Silence,
}

impl Pools {
    /// A hazard begins.
    pub fn endanger(&mut self, hazardous: Hazardous, now: Instant, due: &mut Vec<(Instant, Due)>) {
        let Hazardous { pool, hazard, .. } = hazardous;
        for endpoint in 0..self.pools[pool.index()].stations.len() {
            if !hazardous.hits(pool, endpoint) {
                continue;
            }
            for id in self.pools[pool.index()].stations[endpoint].under_way() {
                match hazard {
                    Hazard::Killed => self.lose(id, now, due),
                    Hazard::Hangs | Hazard::OutOfContact => self.silence(id, now, due),
                    _ => {}
                }
            }
        }
        self.hazards.push(hazardous);
    }

    /// It is over. Whoever fell silent meanwhile stays so: behind a process that was hung is another one now.
    pub fn relieve(&mut self, id: u32) {
        self.hazards.retain(|hazardous| hazardous.id != id);
    }

    /// Nothing more is heard of that try, but what is on its way already.
    fn silence(&mut self, id: FlightId, now: Instant, due: &mut Vec<(Instant, Due)>) {
        let tokens = self.tokens(id, now);
        self.last_words(id, now, tokens, due);
        if let Some(flight) = self.flights[id.0 as usize].as_mut() {
            flight.mute = true;
        }
    }

    /// What a request meets before the door. The first hazard that hits decides.
    pub(super) fn meets(&self, pool: PoolId, endpoint: usize, seed: u64) -> Met {
        let mut breaks = None;
        for hazardous in self.hazards.iter().filter(|h| h.hits(pool, endpoint)) {
            let drawn = |share: f64| unit(mix(mix(seed, HAZARD), u64::from(hazardous.id))) < share;
            let lost = |kind, why| Met::Lost(Failure::new(kind, why), Duration::ZERO);
            match hazardous.hazard {
                Hazard::Killed | Hazard::Refuses => return lost(FailureKind::Connect, "connection refused"),
                Hazard::Unresolved => return lost(FailureKind::Connect, "the name does not resolve"),
                Hazard::Untrusted => return lost(FailureKind::Tls, "the certificate has expired"),
                Hazard::OutOfContact => {
                    let failure = Failure::new(FailureKind::Connect, "no answer to a connection");
                    return Met::Lost(failure, CONNECT_TIMEOUT);
                }
                Hazard::Hangs => return Met::Silence,
                Hazard::Fails { share, status, retry_after } if drawn(share) => {
                    let failure = Failure::from(Turned::Error { status });
                    return Met::Turned(Failure { retry_after, ..failure });
                }
                Hazard::Stalls { share, after } if drawn(share) => breaks = Some(Break::Stall(after)),
                Hazard::Truncates { share, after } if drawn(share) => breaks = Some(Break::Truncate(after)),
                Hazard::Fails { .. } | Hazard::Stalls { .. } | Hazard::Truncates { .. } => {}
            }
        }
        Met::Passes(breaks)
    }

    /// The pool of that try went away.
    pub(super) fn lose(&mut self, id: FlightId, now: Instant, due: &mut Vec<(Instant, Due)>) {
        let Some(flight) = self.flights[id.0 as usize].as_deref() else { return };
        if flight.news.iter().any(|(_, heard)| matches!(heard, Heard::Failed(_))) {
            return;
        }
        let failure = Failure::new(FailureKind::Disconnected, "the pool went away");
        self.cut(id, now, self.tokens(id, now), failure, due);
    }

    /// The answer has come to where it breaks, after so many tokens.
    pub(super) fn broken(
        &mut self,
        id: FlightId,
        at: Instant,
        tokens: u32,
        breaks: Break,
        due: &mut Vec<(Instant, Due)>,
    ) {
        match breaks {
            Break::Truncate(_) => {
                let stream = self.flights[id.0 as usize].as_ref().is_some_and(|f| f.ask.stream);
                // Half a body says that it is half; a stream that stops may have been one that ended.
                let kind = if stream { FailureKind::Truncated } else { FailureKind::Disconnected };
                self.cut(id, at, tokens, Failure::new(kind, "cut off"), due);
            }
            Break::Stall(_) => {
                self.last_words(id, at, tokens, due);
                if let Some(flight) = self.flights[id.0 as usize].as_mut() {
                    flight.mute = true;
                }
            }
        }
    }
}

/// The break that comes first.
pub(super) fn first(door: Option<Break>, hazard: Option<Break>, output: u32) -> Option<Break> {
    [door, hazard].into_iter().flatten().min_by_key(|breaks| limit(*breaks, output))
}
