//! The end of the line: who may still join it, and who makes room.

use super::row::Rank;
use super::{Queue, Seat};
use crate::domain::ClassId;

impl Queue {
    pub(super) fn has_room_for(&self, class: ClassId) -> bool {
        self.waiting < self.settings.most && self.class_has_room(class)
    }

    fn class_has_room(&self, class: ClassId) -> bool {
        let most = self.settings.class_share * self.settings.most as f64;
        let here = self.lines.get(class.index()).map_or(0, |line| line.waiting);
        (here as f64) < most
    }

    /// Takes its place from the last call of the tenant that has the most, if that has more than this one would.
    pub(super) fn make_room(&mut self, seat: &Seat) -> bool {
        let own = self.lines.get(seat.class.index()).map_or(0, |line| line.shares.waiting(seat.tenant));
        let crowd = |class: ClassId| {
            let (waiting, tenant) = self.lines.get(class.index())?.shares.largest()?;
            Some((waiting, class, tenant))
        };
        let largest = match self.class_has_room(seat.class) {
            true => self.order.iter().copied().filter_map(crowd).max(),
            false => crowd(seat.class),
        };
        let Some((waiting, class, tenant)) = largest else { return false };
        if tenant == seat.tenant || waiting <= own + 1 {
            return false;
        }
        let rows = self.lines.get(class.index()).into_iter().flat_map(|line| &line.rows);
        let last = rows.filter_map(|row| row.last(tenant)).max().map(Rank::call);
        let Some(seat) = last.and_then(|call| self.seats.get(&call)).copied() else { return false };
        self.leave(&seat);
        self.displaced.insert(seat.id);
        true
    }
}
