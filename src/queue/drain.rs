//! How fast the calls that wait for a model find places, in the unit of costs a second.
//!
//! What was granted over the time in which somebody waited, both forgetting at the same pace: a rate that needs no window
//! and does not count quiet times. A line that stands still says nothing about how fast it will move.

use super::{Queue, Seat};
use crate::domain::{Duration, Instant};

/// What was granted so long ago counts for a third: some calls long, and short enough to notice that a pool has gone.
const FORGETS_S: f64 = 10.0;
/// Fewer grants than this are an accident.
const FEW: f64 = 8.0;
/// A line that has not moved for so long stands: a busy pool of long answers frees a place every second or so.
const STANDS: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Drain {
    /// Granted, and in how many seconds, as far as they are remembered.
    work: f64,
    seconds: f64,
    grants: f64,
    /// Up to when that counts.
    at: Instant,
    /// When the last place was found.
    moved: Instant,
}

impl Drain {
    /// Somebody waits where nobody did.
    pub(super) fn begins(&mut self, now: Instant) {
        self.fade(now);
        self.at = now;
    }

    /// A place was found for so much.
    pub(super) fn granted(&mut self, cost: f64, now: Instant) {
        let passed = now.secs_since(self.at);
        self.fade(now);
        self.seconds += passed;
        self.work += cost;
        self.grants += 1.0;
        (self.at, self.moved) = (now, now);
    }

    /// So much a second; unknown if too little was seen, or nothing lately.
    pub(super) fn per_s(&self, now: Instant) -> Option<f64> {
        let seconds = self.seconds + now.secs_since(self.at);
        let known = self.grants >= FEW && now.since(self.moved) < STANDS && seconds > 0.0;
        (known && self.work > 0.0).then(|| self.work / seconds)
    }

    fn fade(&mut self, now: Instant) {
        let fade = (-now.secs_since(self.at) / FORGETS_S).exp();
        self.work *= fade;
        self.seconds *= fade;
        self.grants *= fade;
    }
}

impl Queue {
    /// How many seconds a call that comes now will wait for its place, if calls go on finding places as they do; unknown if
    /// that is. Before it go those of the classes that are called up before its own, and of its own as many as its tenant's
    /// share allows. What comes later and goes first is not in it: it is rather too short than too long.
    pub fn predicted_s(&self, seat: &Seat, cost: f64, now: Instant) -> Option<f64> {
        let per_s = self.counters.get(seat.model.index())?.drain.per_s(now)?;
        let own = self.lines.get(seat.class.index())?;
        let work = |line: &super::Line| line.rows.get(seat.model.index()).map_or(0.0, super::Row::work);
        let its_own = own.shares.work(seat.tenant) + cost;
        let mut ahead = work(own).min(its_own * own.shares.tenants().max(1) as f64);
        let mut dearer = true;
        for class in &self.order {
            dearer &= *class != seat.class;
            let line = self.lines.get(class.index()).filter(|_| *class != seat.class);
            let goes_first = |line: &&super::Line| match (line.patient, own.patient) {
                (false, true) => true,
                (true, false) => false,
                _ => dearer,
            };
            ahead += line.filter(goes_first).map_or(0.0, work);
        }
        Some(ahead / per_s)
    }
}
