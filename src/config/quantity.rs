//! Quantities as people write them: `250ms`, `90m`, `32MiB`, `2026-01-01T00:00:00Z`.

use std::time::Duration;

use toml::value::{Datetime, Offset};

use crate::domain::Timestamp;

/// Units of time, in nanoseconds, longest name first so that `ms` is not read as `m`.
const TIMES: [(&str, f64); 7] =
    [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9), ("d", 86_400e9)];

/// Units of size, in bytes.
const SIZES: [(&str, f64); 7] = [
    ("KiB", 1024.0),
    ("MiB", 1_048_576.0),
    ("GiB", 1_073_741_824.0),
    ("kB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("B", 1.0),
];

/// No time in a config is longer than this: ten years are a slip of the keyboard.
const TIME_MAX_NANOS: f64 = 3650.0 * 86_400e9;

/// A duration: one or more numbers with units, `1h30m` or `1.5s`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut nanos = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let (_, unit) = TIMES.into_iter().find(|(name, _)| *name == &rest[..letters])?;
        nanos += number * unit;
        rest = rest[letters..].trim_start();
    }
    (nanos <= TIME_MAX_NANOS).then(|| Duration::from_nanos(nanos.round() as u64))
}

/// A duration as it would be written: `12m`, `1500ms`.
pub(crate) fn spelt(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let whole = |unit: f64| nanos.is_multiple_of(unit as u128);
    match TIMES.into_iter().rev().filter(|(name, _)| *name != "d").find(|(_, unit)| whole(*unit)) {
        Some((name, unit)) if nanos > 0 => format!("{}{name}", nanos / unit as u128),
        _ => "0s".to_owned(),
    }
}

/// Minutes of hours and minutes, `08:30`: two digits each, up to 99:59.
pub(crate) fn minutes(text: &str) -> Option<u32> {
    let (hours, minutes) = text.split_once(':')?;
    let two = |digits: &str| {
        let sound = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse::<u32>().ok().filter(|_| sound)
    };
    Some(60 * two(hours)? + two(minutes).filter(|m| *m < 60)?)
}

/// A size in bytes: one number with a unit, `32MiB` or `64 kB`.
pub(crate) fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let number: f64 = text[..digits].parse().ok()?;
    let (_, unit) = SIZES.into_iter().find(|(name, _)| *name == text[digits..].trim_start())?;
    Some((number * unit).round() as u64)
}

/// A moment in UTC or with an offset; a date alone is its midnight in UTC. Not before 1970.
pub(crate) fn timestamp(at: &Datetime) -> Option<Timestamp> {
    let date = at.date?;
    let days = days_since_1970(i64::from(date.year), i64::from(date.month), i64::from(date.day));
    let of_day = at.time.map_or(0, |t| {
        let seconds = i64::from(t.hour) * 3600 + i64::from(t.minute) * 60 + i64::from(t.second.unwrap_or(0));
        seconds * 1000 + i64::from(t.nanosecond.unwrap_or(0)) / 1_000_000
    });
    let offset_minutes = match at.offset {
        Some(Offset::Custom { minutes }) => i64::from(minutes),
        Some(Offset::Z) | None => 0,
    };
    let millis = days * 86_400_000 + of_day - offset_minutes * 60_000;
    u64::try_from(millis).ok().map(Timestamp::from_millis)
}

/// Days from 1970-01-01 in the Gregorian calendar (H. Hinnant, "chrono-compatible low-level date algorithms").
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units() {
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration("90m"), Some(Duration::from_secs(5400)));
        assert_eq!(duration("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(duration("1.5 s"), Some(Duration::from_millis(1500)));
        for wrong in ["", "5", "s", "5 apples", "-1s", "1e3s", "..s", "1s2", "99999999d"] {
            assert_eq!(duration(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_duration_is_spelt_as_it_was_written() {
        for text in ["12m", "1500ms", "5400001ms", "1h", "90m", "0s", "7ns", "48h"] {
            assert_eq!(spelt(duration(text).unwrap()), text);
        }
    }

    #[test]
    fn a_time_of_the_day_has_two_digits_each() {
        assert_eq!(minutes("08:30"), Some(510));
        assert_eq!(minutes("24:00"), Some(1440));
        for wrong in ["8:30", "08:60", "0830", "+8:00", "08:30:00", "-1:00", ""] {
            assert_eq!(minutes(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn sizes_know_binary_and_decimal_units() {
        assert_eq!(size("32MiB"), Some(32 << 20));
        assert_eq!(size("64 kB"), Some(64_000));
        assert_eq!(size("32M"), None);
        assert_eq!(size("32"), None);
    }

    #[test]
    fn t02_moments_respect_leap_years_and_offsets() {
        let at = |text: &str| timestamp(&text.parse().unwrap()).map(Timestamp::as_secs);
        assert_eq!(at("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(at("2000-02-29T12:00:00Z"), Some(951_825_600));
        assert_eq!(at("2026-01-01"), Some(1_767_225_600));
        assert_eq!(at("2026-01-01T02:00:00+02:00"), Some(1_767_225_600));
        assert_eq!(at("1969-12-31T23:59:59Z"), None);
    }
}
