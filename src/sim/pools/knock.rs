//! A request comes to its pool: what it meets on the way in, and what the pool counts of it.

use std::sync::Arc;

use super::hazard::{self, Met};
use super::{Due, FlightId, Heard, Pools, limit};
use crate::domain::{Failure, Instant, Now};
use crate::engine::draw::mix;
use crate::engine::{Break, Job, Turned};

/// What a pool counts by itself, whatever a router says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Count {
    /// Requests that came to it, answered or not.
    pub arrived: u64,
    /// Turned away with an error.
    pub turned: u64,
    /// Whole answers that it gave.
    pub answered: u64,
    /// Of those, the ones that nobody waited for any more when they came.
    pub late: u64,
    /// Requests that were called back before they arrived.
    pub recalled: u64,
}

impl Pools {
    pub(super) fn knock(
        &mut self,
        id: FlightId,
        now: Now,
        due: &mut Vec<(Instant, Due)>,
    ) -> Result<(), Failure> {
        let Some(flight) = self.flights.get_mut(id.0 as usize).and_then(Option::as_mut) else {
            return Ok(());
        };
        flight.outbound = false;
        let p = flight.ask.pool.index();
        if flight.over {
            self.pools[p].count.recalled += 1;
            self.land(id);
            return Ok(());
        }
        let seed = mix(mix(self.pools[p].seed, flight.ask.call), u64::from(flight.ask.no));
        let (pool, endpoint) = (flight.ask.pool, flight.ask.endpoint);
        let hazard = match self.meets(pool, endpoint, seed) {
            Met::Passes(breaks) => breaks,
            Met::Lost(failure, wait) if wait.is_zero() => return Err(failure),
            Met::Lost(failure, wait) => {
                self.tell(id, now.mono + wait, Heard::Failed(failure), due);
                return Ok(());
            }
            Met::Turned(failure) => {
                self.pools[p].count.arrived += 1;
                self.pools[p].count.turned += 1;
                return Err(failure);
            }
            Met::Silence => {
                self.pools[p].count.arrived += 1;
                return Ok(());
            }
        };
        self.enter(id, seed, hazard, now, due)
    }

    /// It is at the door, and this may break its answer.
    fn enter(
        &mut self,
        id: FlightId,
        seed: u64,
        hazard: Option<Break>,
        now: Now,
        due: &mut Vec<(Instant, Due)>,
    ) -> Result<(), Failure> {
        let Some(flight) = self.flights[id.0 as usize].as_mut() else { return Ok(()) };
        let (p, endpoint, output) = (flight.ask.pool.index(), flight.ask.endpoint, flight.ask.output);
        let pool = &mut self.pools[p];
        // What a provider counts against a token limit when a request comes: the prompt, and what the answer will be.
        let tokens = flight.ask.input.saturating_add(output);
        let passage = match pool.gate.knock(now, seed, tokens) {
            Ok(passage) => passage,
            Err(turned) => {
                let reached = !matches!(turned, Turned::Unreachable { .. });
                pool.count.arrived += u64::from(reached);
                pool.count.turned += u64::from(reached);
                return Err(turned.into());
            }
        };
        pool.count.arrived += 1;
        let breaks = hazard::first(passage.breaks, hazard, output);
        let job = Job {
            input: flight.ask.input,
            output,
            sequences: 1,
            report_every: u32::from(breaks.is_some()),
            prefix: Arc::clone(&flight.ask.prefix),
            seed,
        };
        flight.breaks = breaks;
        self.let_in += 1;
        flight.let_in = self.let_in;
        let delay = pool.gate.door().delay;
        let lost = passage.contact_ends.into_iter().flat_map(|at| [at, at + delay]);
        due.extend(lost.map(|at| (at, Due::OutOfReach(id, self.let_in))));
        let station = &mut pool.stations[endpoint];
        let broken_at_once = breaks.filter(|b| limit(*b, output) == 0);
        let job = match station.engine.submit(job, now.mono) {
            Ok(job) => job,
            Err(why) => {
                pool.count.turned += 1;
                return Err(why.into());
            }
        };
        flight.job = Some(job);
        station.board(job, id);
        self.requeue(p, endpoint, due);
        if let Some(breaks) = broken_at_once {
            self.broken(id, now.mono, 0, breaks, due);
        }
        Ok(())
    }
}
