//! A value that changes by the hour of the week: what power or a token costs by day, by night and at the weekend.
//!
//! Parsed once into the moments of the week at which it changes, so that a look-up is a search among a few of them, and
//! says until when the answer holds: whoever keeps it need not ask before. Knows a fixed offset to UTC and no time zones:
//! contracts that follow daylight saving change twice a year, and so must their config.

use super::time::Timestamp;

/// Minutes of a week.
pub const WEEK: u32 = 7 * DAY;
/// Minutes of a day.
pub const DAY: u32 = 24 * 60;
const MINUTE_MS: i128 = 60_000;
/// 1970-01-01 was a Thursday: so many minutes after the start of a week, which is Monday.
const EPOCH: i128 = 3 * DAY as i128;

/// A stretch of some days.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hours {
    /// Days on which it begins, Monday being bit 0.
    pub days: u8,
    /// The minute of the day at which it begins; less than [`DAY`].
    pub from: u32,
    /// The minute of the day at which it ends; not after `from` means on the next day.
    pub to: u32,
}

impl Hours {
    /// Every day of the week.
    pub const EVERY_DAY: u8 = 0b111_1111;

    /// Is that minute of the week in it?
    fn holds(&self, minute: u32) -> bool {
        let length = if self.to > self.from { self.to - self.from } else { self.to + DAY - self.from };
        let began = |day: u32| self.days >> day & 1 == 1;
        (0..7).filter(|day| began(*day)).any(|day| (minute + WEEK - (day * DAY + self.from)) % WEEK < length)
    }

    /// The minutes of the week at which it begins or ends.
    fn edges(&self) -> impl Iterator<Item = u32> + '_ {
        (0..7).flat_map(|day| [self.from, self.to].map(|of_day| (day * DAY + of_day) % WEEK))
    }
}

/// See the module. Without any changes it is one value for all time.
#[derive(Clone, PartialEq, Debug)]
pub struct Timetable<T> {
    /// By minute of the week, ascending; the first is at 0, and no two neighbours are the same.
    changes: Box<[(u32, T)]>,
    /// What its clock shows more than UTC, in minutes.
    offset: i32,
}

impl<T: Copy + PartialEq> Timetable<T> {
    /// The same always.
    pub fn always(value: T) -> Self {
        Self { changes: Box::new([(0, value)]), offset: 0 }
    }

    /// `usual`, but for the hours given. Of those that hold together the first counts. The hours are read on a clock that
    /// shows `offset` minutes more than UTC.
    pub fn new(usual: T, hours: &[(Hours, T)], offset: i32) -> Self {
        let mut edges: Vec<u32> = hours.iter().flat_map(|(h, _)| h.edges()).chain([0]).collect();
        edges.sort_unstable();
        edges.dedup();
        let value = |minute: u32| hours.iter().find(|(h, _)| h.holds(minute)).map_or(usual, |(_, v)| *v);
        let mut changes: Vec<(u32, T)> = edges.into_iter().map(|minute| (minute, value(minute))).collect();
        changes.dedup_by(|later, earlier| later.1 == earlier.1);
        Self { changes: changes.into(), offset }
    }

    /// The value at a moment, and the moment at which it changes next, if it ever does.
    pub fn at(&self, wall: Timestamp) -> (T, Option<Timestamp>) {
        if let [(_, only)] = *self.changes {
            return (only, None);
        }
        let local = i128::from(wall.as_millis()) / MINUTE_MS + i128::from(self.offset) + EPOCH;
        let minute = local.rem_euclid(i128::from(WEEK)) as u32;
        let next = self.changes.partition_point(|(from, _)| *from <= minute);
        let value = self.changes[next - 1].1;
        // Around the end of the week there may be no change: then the first after it is meant.
        let wraps = usize::from(self.changes[0].1 == self.changes[self.changes.len() - 1].1);
        let ends = self.changes.get(next).map_or_else(|| WEEK + self.changes[wraps].0, |(from, _)| *from);
        let until = i128::from(wall.as_millis()) / MINUTE_MS + i128::from(ends - minute);
        (value, u64::try_from(until * MINUTE_MS).ok().map(Timestamp::from_millis))
    }

    /// Every value that it ever has, some perhaps more than once.
    pub fn values(&self) -> impl Iterator<Item = T> + '_ {
        self.changes.iter().map(|(_, value)| *value)
    }

    /// True if it never changes.
    pub const fn is_constant(&self) -> bool {
        self.changes.len() == 1
    }
}

impl Timetable<f64> {
    /// The least that it ever is.
    pub fn least(&self) -> f64 {
        self.values().fold(f64::INFINITY, f64::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Monday 2026-01-05, 00:00 UTC.
    const MONDAY: u64 = 1_767_571_200_000;

    fn at(day: u64, hour: u64, minute: u64) -> Timestamp {
        Timestamp::from_millis(MONDAY + ((day * 24 + hour) * 60 + minute) * 60_000)
    }

    fn hours(days: u8, from: u32, to: u32) -> Hours {
        Hours { days, from: from * 60, to: to * 60 }
    }

    #[test]
    fn what_never_changes_has_no_next_change() {
        assert_eq!(Timetable::always(7).at(at(0, 12, 0)), (7, None));
        let same = Timetable::new(7, &[(hours(Hours::EVERY_DAY, 8, 20), 7)], 0);
        assert!(same.is_constant());
    }

    #[test]
    fn t02_a_night_goes_over_midnight_and_says_when_it_ends() {
        let table = Timetable::new("day", &[(hours(Hours::EVERY_DAY, 22, 6), "night")], 0);
        assert_eq!(table.at(at(0, 12, 0)), ("day", Some(at(0, 22, 0))));
        assert_eq!(table.at(at(0, 23, 59)), ("night", Some(at(1, 6, 0))));
        assert_eq!(table.at(at(6, 23, 0)), ("night", Some(at(7, 6, 0))), "from Sunday to Monday");
        assert_eq!(table.at(at(0, 6, 0)).0, "day", "the end is no part of it");
    }

    #[test]
    fn days_are_those_on_which_it_begins_and_the_first_of_two_counts() {
        let weekend = (hours(0b110_0000, 0, 0), 1);
        let friday_night = (hours(0b001_0000, 20, 4), 2);
        let table = Timetable::new(0, &[friday_night, weekend], 0);
        assert_eq!(table.at(at(4, 21, 0)), (2, Some(at(5, 4, 0))));
        assert_eq!(table.at(at(5, 4, 0)), (1, Some(at(7, 0, 0))));
        assert_eq!(table.at(at(0, 0, 0)), (0, Some(at(4, 20, 0))));
    }

    #[test]
    fn an_offset_moves_the_hours() {
        let table = Timetable::new(0, &[(hours(Hours::EVERY_DAY, 8, 20), 1)], 120);
        assert_eq!(table.at(at(0, 5, 59)).0, 0);
        assert_eq!(table.at(at(0, 6, 0)), (1, Some(at(0, 18, 0))));
    }

    proptest! {
        /// The moment that is named is the next one at which the value differs, minute by minute.
        #[test]
        fn the_next_change_is_neither_early_nor_late(
            raw in prop::collection::vec((0u8..128, 0u32..DAY, 0u32..DAY, 0u8..3), 0..4),
            offset in -720i32..840, minute in 0u64..20_000,
        ) {
            let raw: Vec<_> = raw.into_iter().map(|(days, from, to, v)| (Hours { days, from, to }, v)).collect();
            let table = Timetable::new(0u8, &raw, offset);
            let wall = |m: u64| Timestamp::from_millis(MONDAY + m * 60_000);
            let (value, until) = table.at(wall(minute));
            let next = (minute..minute + 2 * u64::from(WEEK)).find(|m| table.at(wall(*m)).0 != value);
            prop_assert_eq!(until, next.map(wall));
        }
    }
}
