//! What a provider says is left of what it grants, in every spelling that was seen.
//!
//! Headers of strangers: read field by field, each of them ignored if it cannot be understood or is absurd, and nothing
//! panics. Asks no clock: a date is read relative to the answer's own `Date`. Does not know what follows from it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::retry_after::go_duration;
use crate::domain::{Allowance, Allowances};

/// No header name of interest is longer.
const NAME_MAX: usize = 56;
/// No value is longer: a policy with a few parameters.
const VALUE_MAX: usize = 256;
/// More than any provider grants: a sentinel for "no limit", or nonsense.
const AMOUNT_MAX: u64 = 1_000_000_000_000;
/// Nobody counts for longer than a month.
const SPAN_MAX: Duration = Duration::from_secs(31 * 86_400);
/// A number above this is no span but a time: seconds since 1970 (this was September 2001), or thousandths of them.
const UNIX_MIN: u64 = 1_000_000_000;
/// See [`UNIX_MIN`].
const UNIX_MILLIS_MIN: u64 = 1_000_000_000_000;

/// Reads the fields of a head one by one, in any order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reader {
    date: Option<SystemTime>,
    /// Requests; tokens; tokens of prompts; tokens of answers.
    meters: [Meter; 4],
    /// A plan's windows are used up, and when they are not any more.
    rejected: bool,
    plan_reset: Option<Reset>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Meter {
    limit: Option<u64>,
    remaining: Option<u64>,
    reset: Option<Reset>,
    window: Option<Duration>,
}

/// When a meter is full again, as it was spelt.
#[derive(Clone, Copy, Debug)]
enum Reset {
    In(Duration),
    At(SystemTime),
}

/// What a field is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Says {
    Limit,
    Remaining,
    Reset,
    Window,
}

impl Reader {
    /// The next field. The first of a name counts.
    pub fn field(&mut self, name: &str, value: &[u8]) {
        if name.eq_ignore_ascii_case("date") {
            self.date = self.date.or_else(|| httpdate::parse_http_date(text(value)?).ok());
            return;
        }
        let mut lower = [0; NAME_MAX];
        let Some(lower) = lower.get_mut(..name.len()) else { return };
        lower.copy_from_slice(name.as_bytes());
        lower.make_ascii_lowercase();
        let Ok(name) = std::str::from_utf8(lower) else { return };
        // Most fields of a head are about something else.
        if !name.contains("ratelimit") {
            return;
        }
        if let Some(value) = text(value) {
            self.named(name, value);
        }
    }

    fn named(&mut self, name: &str, value: &str) {
        let (rest, anthropic) = match (name.strip_prefix("x-"), name.strip_prefix("anthropic-")) {
            (Some(rest), _) => (rest, false),
            (_, Some(rest)) => (rest, true),
            (None, None) => (name, false),
        };
        match rest {
            "ratelimit" | "ratelimit-policy" if !anthropic => return self.structured(value),
            "ratelimit-unified-status" if anthropic => self.rejected |= value == "rejected",
            "ratelimit-unified-reset" if anthropic => self.plan_reset = self.plan_reset.or(reset(value)),
            _ => {}
        }
        let known = if anthropic { anthropic_name(rest) } else { usual_name(rest) };
        let Some((meter, says, per_minute)) = known else { return };
        let Some(meter) = self.meters.get_mut(meter) else { return };
        if per_minute {
            meter.window = Some(Duration::from_secs(60));
        }
        meter.set(says, value);
    }

    /// `"name";r=50;t=30` and `"name";q=100;w=60`, the present form of draft-ietf-httpapi-ratelimit-headers; of several
    /// policies the first. Partitioned or other than in requests it is not understood.
    fn structured(&mut self, value: &str) {
        let first = value.split(',').next().unwrap_or_default();
        let mut said = Meter::default();
        for parameter in first.split(';').skip(1) {
            let Some((key, value)) = parameter.split_once('=') else { continue };
            match (key.trim(), value.trim()) {
                ("q", value) => said.set(Says::Limit, value),
                ("w", value) => said.set(Says::Window, value),
                ("r", value) => said.set(Says::Remaining, value),
                ("t", value) => said.set(Says::Reset, value),
                ("qu", "\"requests\"") => {}
                ("qu" | "pk", _) => return,
                _ => {}
            }
        }
        let [requests, ..] = &mut self.meters;
        requests.limit = requests.limit.or(said.limit);
        requests.remaining = requests.remaining.or(said.remaining);
        requests.reset = requests.reset.or(said.reset);
        requests.window = requests.window.or(said.window);
    }

    /// What was said, if anything was that can be understood.
    pub fn finish(&self) -> Option<Allowances> {
        let [requests, tokens, input, output] = self.meters.map(|m| m.finish(self.date));
        let tokens = if tokens == Allowance::default() { tighter(input, output) } else { tokens };
        let closed_for = self.plan_reset.filter(|_| self.rejected).and_then(|r| r.from(self.date));
        let said = Allowances { requests, tokens, closed_for };
        (!said.is_empty()).then_some(said)
    }
}

impl Meter {
    fn set(&mut self, says: Says, value: &str) {
        match says {
            Says::Limit => self.limit = self.limit.or(amount(value).filter(|n| *n > 0)),
            Says::Remaining => self.remaining = self.remaining.or(amount(value)),
            Says::Reset => self.reset = self.reset.or(reset(value)),
            Says::Window => self.window = self.window.or(span(value).filter(|w| !w.is_zero())),
        }
    }

    fn finish(self, date: Option<SystemTime>) -> Allowance {
        Allowance {
            limit: self.limit,
            remaining: self.remaining,
            // Where the window is told, the reset is a bare number of no clear unit (Azure: thousandths).
            reset: self.reset.filter(|_| self.window.is_none()).and_then(|r| r.from(date)),
            window: self.window,
        }
    }
}

impl Reset {
    fn from(self, date: Option<SystemTime>) -> Option<Duration> {
        let wait = match self {
            Self::In(wait) => wait,
            Self::At(at) => at.duration_since(date?).unwrap_or_default(),
        };
        (wait <= SPAN_MAX).then_some(wait)
    }
}

/// `ratelimit-remaining-tokens`, `ratelimit-limit-tokens-minute`, and `ratelimit-limit` of requests.
fn usual_name(rest: &str) -> Option<(usize, Says, bool)> {
    if let Some(rest) = rest.strip_prefix("ratelimitbysize-") {
        // Mistral's word for tokens.
        let says = says(rest.strip_suffix("-minute")?)?;
        return Some((1, says, true));
    }
    let rest = rest.strip_prefix("ratelimit-")?;
    if let Some(says) = says(rest) {
        return Some((0, says, false));
    }
    let (word, of) = rest.split_once('-')?;
    let (of, per_minute) = of.strip_suffix("-minute").map_or((of, false), |of| (of, true));
    let meter = match of {
        "requests" | "req" => 0,
        "tokens" => 1,
        "input-tokens" => 2,
        "output-tokens" => 3,
        _ => return None,
    };
    Some((meter, says(word)?, per_minute))
}

/// `ratelimit-tokens-remaining`.
fn anthropic_name(rest: &str) -> Option<(usize, Says, bool)> {
    let (of, word) = rest.strip_prefix("ratelimit-")?.rsplit_once('-')?;
    let meter = match of {
        "requests" => 0,
        "tokens" => 1,
        "input-tokens" => 2,
        "output-tokens" => 3,
        _ => return None,
    };
    Some((meter, says(word)?, false))
}

fn says(word: &str) -> Option<Says> {
    Some(match word {
        "limit" => Says::Limit,
        "remaining" => Says::Remaining,
        "reset" => Says::Reset,
        "renewalperiod" => Says::Window,
        _ => return None,
    })
}

/// Of prompts and of answers, the one of which the smaller share is left.
fn tighter(a: Allowance, b: Allowance) -> Allowance {
    let share = |m: &Allowance| m.remaining.zip(m.limit).map(|(left, of)| left as f64 / of as f64);
    match (share(&a), share(&b)) {
        (Some(x), Some(y)) if y < x => b,
        (None, Some(_)) => b,
        _ => a,
    }
}

fn text(value: &[u8]) -> Option<&str> {
    let value = value.get(..value.len().min(VALUE_MAX + 1))?;
    (value.len() <= VALUE_MAX).then(|| std::str::from_utf8(value).ok().map(str::trim)).flatten()
}

/// Digits, and no more than anybody grants. Azure's provisioned deployments say -1 for "not metered".
fn amount(text: &str) -> Option<u64> {
    let whole = text.bytes().all(|b| b.is_ascii_digit());
    whole.then(|| text.parse().ok()).flatten().filter(|n| *n <= AMOUNT_MAX)
}

fn span(text: &str) -> Option<Duration> {
    go_duration(text).filter(|span| *span <= SPAN_MAX)
}

fn reset(text: &str) -> Option<Reset> {
    let number = text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    match number {
        Some(n) if n >= UNIX_MILLIS_MIN => unix(Duration::from_millis(n)),
        Some(n) if n >= UNIX_MIN => unix(Duration::from_secs(n)),
        _ => span(text).map(Reset::In).or_else(|| rfc3339(text).and_then(unix)),
    }
}

fn unix(since: Duration) -> Option<Reset> {
    UNIX_EPOCH.checked_add(since).map(Reset::At)
}

/// `2025-07-29T15:41:24Z`, with or without a fraction: seconds since 1970, the fraction left out. Other zones than Z were
/// not seen and are not understood.
fn rfc3339(text: &str) -> Option<Duration> {
    let part = |from: usize, to: usize| -> Option<u64> {
        let digits = text.get(from..to)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
    };
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    let marked = marks.iter().all(|(at, mark)| text.as_bytes().get(*at) == Some(mark));
    let fraction = text.get(19..)?.strip_suffix('Z')?;
    let exact = fraction.is_empty()
        || fraction.strip_prefix('.').is_some_and(|f| f.bytes().all(|b| b.is_ascii_digit()));
    let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
    let (hour, minute, second) = (part(11, 13)?, part(14, 16)?, part(17, 19)?);
    let sound = marked && exact && year >= 1970 && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !sound || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days of the civil calendar, with years that begin in March (Hinnant, chrono-Compatible Low-Level Date Algorithms).
    let shifted = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = shifted * 365 + shifted / 4 - shifted / 100 + shifted / 400 + of_year;
    let since = days.checked_sub(719_468)?;
    Some(Duration::from_secs(since * 86_400 + hour * 3600 + minute * 60 + second))
}

#[cfg(test)]
mod tests;
