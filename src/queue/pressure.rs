//! How hard it presses: what the line looks like to whoever decides how far to go in sparing the pools.

use super::{Line, Queue, Seat};
use crate::domain::{Instant, ModelId};

/// See [`Queue::pressure`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Pressure {
    /// How many calls wait of classes that may not.
    pub impatient: usize,
    /// How long one more of them would wait for its model, where that is longest; unknown if no line is known to move.
    pub wait_s: Option<f64>,
    /// The share of all places in line that are taken.
    pub fill: f64,
}

impl Queue {
    /// How hard it presses now.
    pub fn pressure(&self, now: Instant) -> Pressure {
        let impatient = self.impatient().map(|line| line.waiting).sum();
        let mut wait_s = (impatient == 0).then_some(0.0);
        for (model, counter) in self.counters.iter().enumerate().filter(|(_, counter)| counter.waiting > 0) {
            let rows = self.impatient().filter_map(|line| line.rows.get(model));
            let (work, per_s) = (rows.map(super::Row::work).sum::<f64>(), counter.drain.per_s(now));
            if let Some(per_s) = per_s.filter(|_| work > 0.0) {
                wait_s = Some(wait_s.unwrap_or(0.0f64).max(work / per_s));
            }
        }
        Pressure { impatient, wait_s, fill: self.waiting as f64 / self.settings.most.max(1) as f64 }
    }

    /// Does a call wait for the model whose class may not?
    pub fn impatient_wait(&self, model: ModelId) -> bool {
        self.impatient().filter_map(|line| line.rows.get(model.index())).any(|row| row.waiting() > 0)
    }

    /// Does the tenant of this call have as many calls in line as are its share?
    pub fn has_its_share(&self, seat: &Seat) -> bool {
        let own: usize = self.lines.iter().map(|line| line.shares.waiting(seat.tenant)).sum();
        let tenants = self.lines.iter().map(|line| line.shares.tenants()).max().unwrap_or(0);
        own * tenants >= self.waiting
    }

    fn impatient(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| !line.patient)
    }
}
