//! How a rate goes up and down: even steps of calls a second, from a table or from a description.

use super::read::lines;
use super::{BadTraffic, LENGTH_MAX_S};
use crate::domain::{Duration, names};

/// Steps of a profile at most: a year of minutes.
const STEPS_MAX: usize = 366 * 24 * 60;

/// Rates over time, in even steps. Only their proportions matter to a shape.
#[derive(Clone, PartialEq, Debug)]
pub struct Profile {
    step: Duration,
    rates: Vec<f64>,
}

impl Profile {
    /// Rates that hold for `step` each. Nothing if one is negative or not finite, if all are zero, or if they are too
    /// many.
    pub fn new(step: Duration, rates: Vec<f64>) -> Option<Self> {
        let sane = rates.iter().all(|r| r.is_finite() && *r >= 0.0) && rates.iter().sum::<f64>() > 0.0;
        let fits = rates.len() <= STEPS_MAX && !step.is_zero() && step.as_secs() <= LENGTH_MAX_S;
        (sane && fits).then_some(Self { step, rates })
    }

    /// One column of a table with a header whose first column is `t_s`, in even steps (ServeGen's rates).
    pub fn read(name: &str, text: &str, column: &str) -> Result<Self, BadTraffic> {
        let bad = |line, what: String, remedy: &str| BadTraffic {
            name: name.into(),
            line,
            what,
            remedy: remedy.into(),
        };
        let header: Vec<_> = text.lines().next().unwrap_or_default().split(',').map(str::trim).collect();
        if header.first() != Some(&"t_s") {
            return Err(bad(Some(1), "no column t_s".into(), "a table of rates begins t_s,NAME,…"));
        }
        let Some(place) = header.iter().skip(1).position(|c| *c == column) else {
            let what = format!("no column is called `{}`", names::shown(column));
            return Err(bad(Some(1), what, &format!("columns are {}", header[1..].join(", "))));
        };
        let (mut times, mut rates) = (Vec::new(), Vec::new());
        for (line, text) in lines(text, 1) {
            let number = |at| text.split(',').nth(at).and_then(|c: &str| c.trim().parse::<f64>().ok());
            let sane = |n: &f64| n.is_finite() && *n >= 0.0;
            let (Some(at), Some(rate)) = (number(0).filter(sane), number(place + 1).filter(sane)) else {
                let what = format!("no time and rate in `{}`", names::shown(text));
                return Err(bad(Some(line), what, "each row is seconds and calls a second"));
            };
            let want = match times[..] {
                [first, second, ..] => first + (second - first) * times.len() as f64,
                _ => at,
            };
            if (at - want).abs() > 1e-6 * want.max(1.0) || (times.len() == 1 && at <= times[0]) {
                return Err(bad(
                    Some(line),
                    format!("t_s is {at} where {want} belongs"),
                    "rows come in even steps",
                ));
            }
            times.push(at);
            rates.push(rate);
        }
        let step = times.get(1).map_or(0.0, |second| second - times[0]);
        let profile = Duration::try_from_secs_f64(step).ok().and_then(|step| Self::new(step, rates));
        profile.ok_or_else(|| {
            bad(
                None,
                "not a profile".into(),
                "give at least two steps, not all zero, at most a year of minutes",
            )
        })
    }

    /// Calls a second, step by step.
    pub fn rates(&self) -> &[f64] {
        &self.rates
    }

    /// How long it is.
    pub fn span(&self) -> Duration {
        self.step * self.rates.len() as u32
    }

    /// Calls a second on average.
    pub fn mean(&self) -> f64 {
        self.rates.iter().sum::<f64>() / self.rates.len() as f64
    }

    /// The 24 hours of that number, from 0, as far as there are any.
    pub fn day(&self, number: u32) -> Option<Self> {
        let steps = (24.0 * 3600.0 / self.step.as_secs_f64()).round() as usize;
        let from = steps.checked_mul(number as usize)?;
        let rates = self.rates.get(from..from.checked_add(steps)?)?;
        Self::new(self.step, rates.to_vec())
    }

    pub(super) fn clock(&self) -> ProfileClock<'_> {
        ProfileClock { rates: &self.rates, sum: self.rates.iter().sum(), step: 0, passed: 0.0 }
    }
}

/// Says when a given share of all calls has come; asked in ascending order.
#[derive(Debug)]
pub(super) struct ProfileClock<'a> {
    rates: &'a [f64],
    sum: f64,
    step: usize,
    /// Of the sum, before the step.
    passed: f64,
}

impl ProfileClock<'_> {
    /// In shares of the profile's length.
    pub(super) fn when(&mut self, share: f64) -> f64 {
        let want = share.clamp(0.0, 1.0) * self.sum;
        let last = self.rates.len() - 1;
        while self.step < last && self.passed + self.rates[self.step] <= want {
            self.passed += self.rates[self.step];
            self.step += 1;
        }
        let rate = self.rates[self.step];
        let within = if rate > 0.0 { ((want - self.passed) / rate).clamp(0.0, 1.0) } else { 0.0 };
        (self.step as f64 + within) / self.rates.len() as f64
    }
}
