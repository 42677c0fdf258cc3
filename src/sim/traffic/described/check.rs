//! What a description may say: finite numbers of a sane size, and not more calls than fit.

use super::{Conversations, Described, Spread, conversations, nightly};
use crate::sim::traffic::{CALLS_MAX, LENGTH_MAX_S, TOKENS_MAX};

/// What is wrong, and the remedy.
type Bad = (String, String);

/// The logarithm's standard deviation of anything known is below 3; beyond that the mean is one call in millions.
const SIGMA_MAX: f64 = 3.0;

/// Longest pause: a day.
const PAUSE_MAX_S: f64 = 86_400.0;

/// More bursty than anything measured; the next gap would be longer than the workload.
const CV_MAX: f64 = 1000.0;

/// Of a surge.
const FACTOR_MAX: f64 = 10_000.0;

impl Described {
    pub(super) fn check(&self) -> Result<(), Bad> {
        let hours = LENGTH_MAX_S as f64 / 3600.0;
        within("hours", self.hours, 0.0, hours)?;
        let length_s = self.hours * 3600.0;
        let mut calls = 0.0;
        for (kind, parts, usual) in
            [("chat", &self.chat, &conversations::CHAT), ("agents", &self.agents, &conversations::AGENTS)]
        {
            for part in parts {
                part.check(kind)?;
                calls += conversations::expected(part, usual, length_s);
            }
        }
        for part in &self.nightly {
            for hour in &part.at_hours {
                within("nightly.at_hours", *hour, 0.0, 24.0)?;
            }
            within("nightly.over_s", part.over_s, 0.0, 86_400.0)?;
            within("nightly.system", f64::from(part.system), 0.0, f64::from(TOKENS_MAX))?;
            part.input.check("nightly.input", f64::from(TOKENS_MAX))?;
            part.output.check("nightly.output", f64::from(TOKENS_MAX))?;
            calls += nightly::expected(part, length_s);
        }
        for part in &self.bursty {
            within("bursty.per_s", part.per_s, 0.0, CALLS_MAX as f64)?;
            within("bursty.cv", part.cv, 1.0, CV_MAX)?;
            within("bursty.peak", part.peak, 1.01, CV_MAX)?;
            part.input.check("bursty.input", f64::from(TOKENS_MAX))?;
            part.output.check("bursty.output", f64::from(TOKENS_MAX))?;
            calls += part.per_s * length_s;
        }
        for surge in &self.surge {
            within("surge.at_hours", surge.at_hours, 0.0, hours)?;
            within("surge.minutes", surge.minutes, 0.0, hours * 60.0)?;
            within("surge.factor", surge.factor, 0.0, FACTOR_MAX)?;
        }
        if calls > CALLS_MAX as f64 {
            return Err((format!("about {calls:.0} calls"), format!("stay below {CALLS_MAX}")));
        }
        Ok(())
    }
}

impl Conversations {
    fn check(&self, kind: &str) -> Result<(), Bad> {
        within(&format!("{kind}.per_s"), self.per_s, 0.0, CALLS_MAX as f64)?;
        within(&format!("{kind}.turns"), self.turns.unwrap_or(1.0), 1.0, 1000.0)?;
        let tokens = f64::from(TOKENS_MAX);
        within(&format!("{kind}.system"), self.system.map_or(0.0, f64::from), 0.0, tokens)?;
        within(&format!("{kind}.context"), self.context.map_or(1.0, f64::from), 1.0, tokens)?;
        for (name, spread, most) in [
            ("message", self.message, tokens),
            ("answer", self.answer, tokens),
            ("pause_s", self.pause_s, PAUSE_MAX_S),
        ] {
            spread.map_or(Ok(()), |spread| spread.check(&format!("{kind}.{name}"), most))?;
        }
        Ok(())
    }
}

impl Spread {
    fn check(&self, name: &str, most: f64) -> Result<(), Bad> {
        within(&format!("{name}.mean"), self.mean, 0.0, most)?;
        within(&format!("{name}.sigma"), self.sigma, 0.0, SIGMA_MAX)
    }
}

fn within(name: &str, value: f64, least: f64, most: f64) -> Result<(), Bad> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err((format!("{name} is {value}"), format!("say a number from {least} to {most}")))
}
