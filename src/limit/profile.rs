//! When in the day demand comes: tokens asked for by hour of the day, learned, so that a quota is kept for the rush hour
//! that comes every day.
//!
//! One number an hour, averaged over days with the younger ones counting more. Until every hour was seen once the day is
//! taken to be flat: half a profile would take the hours that are not known for quiet ones. Hours are those of UTC; any
//! other clock would give the same sums.

use crate::domain::{Duration, Timestamp};

const HOUR_MS: u64 = 3_600_000;
/// How much a new day counts against those before it: half of what is known is from the last two days, so that a change
/// of habit is learned within the week.
const NEWS: f64 = 0.3;
/// An hour counts as at least this share of the mean one, or what is asked for at its quietest would be taken for a
/// thousandth of what will be asked for at noon.
const QUIETEST: f64 = 0.1;

/// See the module. 24 numbers, their sums, and the hour that is under way.
#[derive(Clone, PartialEq, Debug)]
pub struct DayProfile {
    /// Tokens, by hour of the day.
    mean: [f64; 24],
    /// Tokens of the day before each hour, the last one being those of a day.
    before: [f64; 25],
    /// Hours of the day that were seen from their beginning to their end, as bits.
    seen: u32,
    /// The hour under way, counted from 1970, and its tokens so far.
    hour: u64,
    asked: f64,
    /// The hour under way was seen from its beginning.
    whole: bool,
}

impl DayProfile {
    /// A flat day.
    pub fn new(now: Timestamp) -> Self {
        Self {
            mean: [0.0; 24],
            before: [0.0; 25],
            seen: 0,
            hour: now.as_millis() / HOUR_MS,
            asked: 0.0,
            whole: false,
        }
    }

    /// So many tokens were asked for.
    pub fn asked(&mut self, tokens: f64, now: Timestamp) {
        let hour = now.as_millis() / HOUR_MS;
        // After more than a day without anybody asking every hour was quiet once; more often says no more.
        for _ in 0..hour.saturating_sub(self.hour).min(25) {
            self.end_hour();
        }
        self.hour = self.hour.max(hour);
        self.asked += tokens;
    }

    fn end_hour(&mut self) {
        let of_day = (self.hour % 24) as usize;
        let asked = std::mem::take(&mut self.asked);
        if std::mem::replace(&mut self.whole, true) {
            let first = self.seen >> of_day & 1 == 0;
            self.mean[of_day] += if first { 1.0 } else { NEWS } * (asked - self.mean[of_day]);
            self.seen |= 1 << of_day;
        }
        self.hour += 1;
        for hour in 0..24 {
            self.before[hour + 1] = self.before[hour] + self.mean[hour];
        }
    }

    /// How many seconds of the present hour's demand are still to come within `left`: just `left` where the day is flat, more
    /// before a rush hour and less after it.
    pub fn seconds(&self, now: Timestamp, left: Duration) -> f64 {
        const ALL: u32 = (1 << 24) - 1;
        let day = self.before[24];
        if self.seen != ALL || day <= 0.0 {
            return left.as_secs_f64();
        }
        let from = now.as_millis() as f64 / HOUR_MS as f64;
        let to = from + left.as_secs_f64() / 3600.0;
        let here = self.mean[from.rem_euclid(24.0) as usize % 24].max(QUIETEST * day / 24.0);
        (self.until(to) - self.until(from)) / here * 3600.0
    }

    /// Tokens from the beginning of some day to `hours` after it.
    fn until(&self, hours: f64) -> f64 {
        let of_day = hours.rem_euclid(24.0);
        let (whole, part) = ((of_day as usize).min(23), of_day.fract());
        (hours / 24.0).floor() * self.before[24] + self.before[whole] + part * self.mean[whole]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(hours: f64) -> Timestamp {
        Timestamp::from_millis((480_000.0 * HOUR_MS as f64 + hours * HOUR_MS as f64) as u64)
    }

    /// After three days of so many tokens each hour.
    fn learned(day: impl Fn(usize) -> f64) -> DayProfile {
        let mut profile = DayProfile::new(at(0.0));
        for hour in 0..73 {
            profile.asked(day(hour % 24), at(hour as f64 + 0.5));
        }
        profile
    }

    #[test]
    fn a_day_is_flat_until_all_of_it_was_seen() {
        let mut profile = DayProfile::new(at(0.5));
        for hour in 1..25 {
            profile.asked(1000.0 * f64::from(hour), at(f64::from(hour)));
            assert_eq!(profile.seconds(at(f64::from(hour)), Duration::from_secs(7200)), 7200.0);
        }
        profile.asked(1.0, at(25.0));
        assert!(profile.seconds(at(25.0), Duration::from_secs(7200)) > 7200.0);
    }

    #[test]
    fn before_a_rush_hour_more_is_to_come_than_after_it() {
        // Ten times as much from nine to ten.
        let profile = learned(|hour| if hour == 9 { 10_000.0 } else { 1000.0 });
        let two_hours = Duration::from_secs(7200);
        let before = profile.seconds(at(72.0 + 8.0), two_hours);
        let after = profile.seconds(at(72.0 + 10.0), two_hours);
        assert!((before - 11.0 * 3600.0).abs() < 1.0, "{before}");
        assert!((after - 7200.0).abs() < 1.0, "{after}");
        let within = profile.seconds(at(72.0 + 9.0), two_hours);
        assert!((within - 1.1 * 3600.0).abs() < 1.0, "{within}");
    }

    #[test]
    fn a_dead_night_does_not_make_the_morning_endless() {
        let profile = learned(|hour| if hour < 8 { 0.0 } else { 1000.0 });
        let day = profile.seconds(at(72.0 + 3.0), Duration::from_secs(86_400));
        assert!(day <= 86_400.0 / QUIETEST + 1.0, "{day}");
    }

    proptest! {
        /// What is to come is positive, never shrinks with more time, and a day is the same from everywhere.
        #[test]
        fn demand_to_come_adds_up(
            day in prop::collection::vec(0.0f64..1e6, 24), hour in 0.0f64..48.0, a in 0u64..90_000, b in 0u64..90_000,
        ) {
            let profile = learned(|hour| day[hour]);
            let secs = |s| profile.seconds(at(72.0 + hour), Duration::from_secs(s));
            prop_assert!(secs(a) >= 0.0 && secs(a) <= secs(a + b) + 1e-3);
            let whole = secs(86_400 + a) - secs(a);
            prop_assert!((whole - secs(86_400)).abs() <= 1e-6 * whole.max(1.0) + 1e-2, "{whole}");
        }
    }
}
