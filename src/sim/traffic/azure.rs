//! The form of the Azure LLM inference traces (`AzureLLMInferenceTrace_conv_2023.csv` and its kin): dates, sizes, and
//! nothing else. The first row is the start.

use super::BadTraffic;
use super::read::{Row, Sheet, lines};
use crate::domain::Instant;

pub(super) const COLUMNS: [&str; 3] = ["TIMESTAMP", "ContextTokens", "GeneratedTokens"];

pub(super) fn read(text: &str, sheet: &mut Sheet<'_>) -> Result<(), BadTraffic> {
    let mut start = None;
    for (line, text) in lines(text, 1) {
        let [stamp, input, output] = sheet.cells(line, text, &COLUMNS)?;
        let nanos = nanos(stamp.trim())
            .ok_or_else(|| sheet.not(line, COLUMNS[0], stamp, "a date like `2023-11-16 18:15:46.6805900`"))?;
        let start = *start.get_or_insert(nanos);
        let Some(since) = nanos.checked_sub(start) else {
            return Err(sheet.backwards(line, (start - nanos) as f64 / 1e9));
        };
        let input = sheet.tokens(line, COLUMNS[1], input)?;
        let output = sheet.tokens(line, COLUMNS[2], output)?;
        sheet.push(line, Row { at: Instant::from_nanos(since), input, output, ..Row::default() })?;
    }
    Ok(())
}

/// Nanoseconds since 1970 of `YYYY-MM-DD HH:MM:SS`, a `T` between, any digits of a fraction (nine count), and any
/// offset (`Z`, `+00:00`; the later traces have one).
fn nanos(stamp: &str) -> Option<u64> {
    let (moment, rest) = stamp.split_at_checked(19)?;
    let b = moment.as_bytes();
    if (b[4], b[7], b[13], b[16]) != (b'-', b'-', b':', b':') || !matches!(b[10], b' ' | b'T') {
        return None;
    }
    let number = |from, to| digits(&b[from..to]);
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    // A leap second may be written.
    if !(1970..2200).contains(&year) || !(1..=12).contains(&month) {
        return None;
    }
    let next = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    if day < 1 || days(year, month, day) >= days(next.0, next.1, 1) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction, offset_s) = tail(rest)?;
    let secs = (days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
        .checked_add_signed(-offset_s)?;
    Some(secs * 1_000_000_000 + fraction)
}

/// Nanoseconds of a fraction, and seconds east of Greenwich.
fn tail(rest: &str) -> Option<(u64, i64)> {
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => {
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let kept = &rest[..end.min(9)];
            (digits(kept.as_bytes())? * 10u64.pow(9 - kept.len() as u32), &rest[end..])
        }
        None => (0, rest),
    };
    let offset = match zone.as_bytes() {
        [] | [b'Z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let secs = digits(&[*h1, *h2])? * 3600 + digits(&[*m1, *m2])? * 60;
            if *sign == b'+' { secs as i64 } else { -(secs as i64) }
        }
        _ => return None,
    };
    Some((fraction, offset))
}

fn digits(bytes: &[u8]) -> Option<u64> {
    let all = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit);
    all.then(|| bytes.iter().fold(0, |n, b| n * 10 + u64::from(b - b'0')))
}

/// Days since 1970-01-01 in the Gregorian calendar, with years that begin in March (H. Hinnant, "chrono-compatible
/// low-level date algorithms").
const fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let of_era = (year % 400) * 365 + (year % 400) / 4 - (year % 400) / 100 + of_year;
    (year / 400) * 146_097 + of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_nanoseconds_since_1970() {
        assert_eq!(nanos("1970-01-01 00:00:00"), Some(0));
        assert_eq!(nanos("2000-02-29T12:00:00.5Z"), Some(951_825_600_500_000_000));
        assert_eq!(nanos("2023-11-16 18:15:46.6805900"), Some(1_700_158_546_680_590_000));
        assert_eq!(nanos("2024-05-10 02:00:00.009930+02:00"), nanos("2024-05-10 00:00:00.00993"));
    }

    #[test]
    fn what_is_not_a_date_is_none() {
        for bad in [
            "",
            "2023-11-16",
            "2023-13-16 18:15:46",
            "2023-02-29 18:15:46",
            "2023-12-32 18:15:46",
            "2023-12-00 18:15:46",
            "2023-11-16 24:00:00",
            "2023-11-16 18:15:46.",
            "2023-11-16 18:15:46+1",
            "1969-12-31 23:59:59",
            "1970-01-01 00:00:00+01:00",
            "2023-11-16 18:15:4é.1",
        ] {
            assert_eq!(nanos(bad), None, "{bad}");
        }
    }
}
