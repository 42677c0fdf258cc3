//! How long an upstream asked us to wait, in every spelling that was seen.
//!
//! Headers of strangers: what cannot be understood is ignored, what is absurd is capped, nothing panics. Asks no
//! clock: a date is read relative to the answer's own `Date`.

use std::time::Duration;

use http::HeaderMap;

/// Nobody is believed for longer than this: a provider's typing error must not close a pool for a day.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// The wait that the headers of a 429, 503 or 529 ask for; `None` if they ask for none that can be understood. Means
/// nothing on a success: some providers send it there too.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let wait = millis(headers).or_else(|| seconds_or_date(headers)).or_else(|| window_reset(headers))?;
    Some(wait.min(RETRY_AFTER_MAX))
}

fn first<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    Some(headers.get(name)?.to_str().ok()?.trim())
}

/// A number of `unit`s. Negative, infinite and not a number are not understood.
fn number(text: &str, unit_s: f64) -> Option<Duration> {
    let seconds = text.parse::<f64>().ok()? * unit_s;
    (seconds.is_finite() && seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(1e9)))
}

fn millis(headers: &HeaderMap) -> Option<Duration> {
    number(first(headers, "retry-after-ms")?, 1e-3)
}

fn seconds_or_date(headers: &HeaderMap) -> Option<Duration> {
    let text = first(headers, "retry-after")?;
    if let Some(wait) = number(text, 1.0) {
        return Some(wait);
    }
    let until = httpdate::parse_http_date(text).ok()?;
    let sent = httpdate::parse_http_date(first(headers, "date")?).ok()?;
    Some(until.duration_since(sent).unwrap_or_default())
}

/// `x-ratelimit-reset-*`: of the windows that are used up, the one that opens last; of all, if none says how much is
/// left. A zero or a negative rest is a provider that does not know (Azure's provisioned deployments send -1 and 0).
fn window_reset(headers: &HeaderMap) -> Option<Duration> {
    let mut spent = None;
    let mut any = None;
    for window in ["requests", "tokens"] {
        let Some(reset) = first(headers, &format!("x-ratelimit-reset-{window}")).and_then(go_duration) else {
            continue;
        };
        if reset.is_zero() {
            continue;
        }
        match first(headers, &format!("x-ratelimit-remaining-{window}")) {
            Some("0") => spent = spent.max(Some(reset)),
            Some(_) => {}
            None => any = any.max(Some(reset)),
        }
    }
    spent.or(any)
}

/// A duration as Go spells it (`1m6.779s`, `6ms`, `6m0s`), or a bare number of seconds.
pub fn go_duration(text: &str) -> Option<Duration> {
    if let Some(wait) = number(text, 1.0) {
        return Some(wait);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (amount, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let unit_s = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return None,
        };
        total = total.saturating_add(number(amount, unit_s)?);
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn wait(pairs: &[(&str, &str)]) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        retry_after(&headers)
    }

    const fn ms(ms: u64) -> Option<Duration> {
        Some(Duration::from_millis(ms))
    }

    #[test]
    fn p02_every_spelling_of_retry_after_is_understood_or_ignored() {
        assert_eq!(wait(&[("retry-after", "7")]), ms(7_000));
        assert_eq!(wait(&[("retry-after", " 1.5 ")]), ms(1_500));
        assert_eq!(wait(&[("retry-after", "4"), ("retry-after-ms", "3890")]), ms(3_890));
        assert_eq!(wait(&[("retry-after", "2"), ("retry-after", "9")]), ms(2_000));
        assert_eq!(wait(&[("retry-after", "1000000000000")]), ms(300_000));
        assert_eq!(wait(&[("retry-after", "1e400")]), None);
        for nonsense in ["abc", "-5", "", "NaN", "inf", "7s later", "\u{fc}"] {
            assert_eq!(wait(&[("retry-after", nonsense)]), None, "{nonsense}");
        }
    }

    #[test]
    fn t04_a_date_is_read_relative_to_the_answers_own_date() {
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(wait(&[date, ("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT")]), ms(10_000));
        assert_eq!(wait(&[date, ("retry-after", "Sunday, 06-Nov-94 08:49:47 GMT")]), ms(10_000));
        assert_eq!(wait(&[date, ("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT")]), ms(0));
        assert_eq!(wait(&[("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT")]), None);
    }

    #[test]
    fn p03_the_window_that_is_used_up_says_when_to_come_back() {
        assert_eq!(wait(&[("x-ratelimit-reset-tokens", "6m0s")]), ms(300_000));
        assert_eq!(wait(&[("x-ratelimit-reset-tokens", "1m6.779s")]), ms(66_779));
        let both = [("x-ratelimit-reset-requests", "120ms"), ("x-ratelimit-reset-tokens", "3.89s")];
        assert_eq!(wait(&both), ms(3_890));
        let spent = [both[0], both[1], ("x-ratelimit-remaining-requests", "0")];
        assert_eq!(wait(&spent), ms(120));
        assert_eq!(wait(&[("x-ratelimit-reset-tokens", "0"), ("x-ratelimit-remaining-tokens", "-1")]), None);
    }

    proptest! {
        #[test]
        fn no_text_panics_or_is_believed_for_long(name in 0usize..4, text in "\\PC*") {
            let name = ["retry-after", "retry-after-ms", "x-ratelimit-reset-tokens", "date"][name];
            if HeaderValue::from_bytes(text.as_bytes()).is_ok() {
                let found = wait(&[(name, &text), ("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT")]);
                prop_assert!(found.unwrap_or_default() <= RETRY_AFTER_MAX);
            }
        }
    }
}
