//! One engine of the simulated world, and which try each of its jobs is.

use std::collections::VecDeque;

use super::pools::FlightId;
use crate::domain::Instant;
use crate::engine::{Engine, JobId, Settings};

#[derive(Debug)]
pub(super) struct Station {
    pub(super) engine: Engine,
    /// Flights by job, dense from `first_job`.
    flights: VecDeque<Option<FlightId>>,
    first_job: u64,
    /// The earliest moment this is already queued for.
    pub(super) queued: Instant,
}

impl Station {
    pub(super) fn new(settings: Settings, now: Instant) -> Self {
        Self {
            engine: Engine::new(settings, now),
            flights: VecDeque::new(),
            first_job: 0,
            queued: Instant::NEVER,
        }
    }

    /// The tries under way, in the order in which they came.
    pub(super) fn under_way(&self) -> Vec<FlightId> {
        self.flights.iter().filter_map(|f| *f).collect()
    }

    pub(super) fn board(&mut self, job: JobId, id: FlightId) {
        if self.flights.is_empty() {
            self.first_job = job.0;
        }
        while self.first_job + (self.flights.len() as u64) < job.0 {
            self.flights.push_back(None);
        }
        self.flights.push_back(Some(id));
    }

    pub(super) fn flight(&self, job: JobId) -> Option<FlightId> {
        *self.flights.get(job.0.checked_sub(self.first_job)? as usize)?
    }

    pub(super) fn lift(&mut self, job: JobId) {
        if let Some(at) = job.0.checked_sub(self.first_job)
            && let Some(place) = self.flights.get_mut(at as usize)
        {
            *place = None;
        }
        while let Some(None) = self.flights.front() {
            self.flights.pop_front();
            self.first_job += 1;
        }
    }
}
