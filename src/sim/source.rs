//! Where the calls of an experiment come from: traces and descriptions, cut, added up and multiplied.
//!
//! A seed is a world: it draws what a trace does not say (classes), all of a description, and later what pools do. So
//! the traffic is made anew for each seed, from texts that somebody else has read.

use super::traffic::{BadTraffic, Described, Mix, Profile, ReadOptions, Traffic, reshape};
use crate::domain::{Catalog, Duration, Instant, ModelId};

/// The workload that is played when nobody names one.
pub const WORKLOAD: &str = include_str!("../../config/workloads/default.toml");

/// Calls before the window of a description's surge are the same as with another window: the sum is made first, then
/// the part is taken, then it is multiplied.
#[derive(Clone, PartialEq, Debug)]
pub struct Source {
    /// What is added up.
    pub parts: Vec<Part>,
    /// What is taken of it.
    pub window: Window,
    /// And how many times that; 1 leaves it alone.
    pub scale: f64,
    /// Rates that it follows, over the same time as before.
    pub shape: Option<Profile>,
}

/// One trace, or one description.
#[derive(Clone, PartialEq, Debug)]
pub enum Part {
    /// A trace of any form.
    Trace {
        /// For people.
        name: String,
        /// All of it.
        text: String,
    },
    /// A workload without a trace.
    Described(Box<Described>),
}

/// A part of the time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Window {
    /// From the first moment to the last.
    All,
    /// From one moment to another.
    Between(Instant, Instant),
    /// So much around the busiest hour.
    Peak(Duration),
}

impl Part {
    /// A description, in TOML, or a trace.
    pub fn read(name: &str, text: String) -> Result<Self, BadTraffic> {
        if name.ends_with(".toml") {
            return Ok(Self::Described(Box::new(Described::read(name, &text)?)));
        }
        Ok(Self::Trace { name: name.to_owned(), text })
    }
}

impl Source {
    /// The embedded workload.
    pub fn usual() -> Result<Self, BadTraffic> {
        let part = Part::read("default.toml", WORKLOAD.to_owned())?;
        Ok(Self { parts: vec![part], window: Window::All, scale: 1.0, shape: None })
    }

    /// The calls, as that seed has them.
    pub fn traffic(&self, catalog: &Catalog, mix: &Mix, seed: u64) -> Result<Traffic, BadTraffic> {
        let options = ReadOptions { catalog, model: usual_model(catalog), mix, seed };
        let read = |part: &Part| match part {
            Part::Trace { name, text } => Traffic::read(name, text, &options),
            Part::Described(described) => described.traffic(&options),
        };
        let mut parts = self.parts.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let mut traffic = if parts.len() == 1 { parts.remove(0) } else { Traffic::superpose(&parts) };
        traffic = match self.window {
            Window::All => traffic,
            Window::Between(from, to) => traffic.window(from, to),
            Window::Peak(length) => traffic.around_peak(length),
        };
        if self.scale != 1.0 {
            traffic = traffic.scaled(self.scale, reshape::SHIFT, seed);
        }
        if let Some(shape) = &self.shape {
            traffic = traffic.shaped_by(shape, traffic.span());
        }
        if traffic.arrivals.is_empty() {
            let what = "no calls are left".to_owned();
            let remedy = "take other hours, or a larger scale".to_owned();
            return Err(BadTraffic { name: traffic.name, line: None, what, remedy });
        }
        Ok(traffic)
    }
}

/// The model of calls that name none: the first that somebody offers.
fn usual_model(catalog: &Catalog) -> ModelId {
    let offered = catalog.models.iter().position(|model| !model.offers.is_empty());
    ModelId(offered.unwrap_or(0) as u16)
}
