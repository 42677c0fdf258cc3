//! What a simulated pool is: plain numbers for whoever reads configs.

use std::sync::Arc;

use crate::engine;

/// A simulated pool. Its endpoints are named `sim://<name>/<i>` with `i` from 0.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// The pool's name.
    pub name: Arc<str>,
    /// The engines, one an endpoint, in order.
    pub engines: Vec<engine::Settings>,
    /// The way to it and its faults.
    pub door: engine::Door,
    /// How long answers are.
    pub output: OutputLength,
    /// Input and output together, in tokens; a request beyond it is refused. Absent is unlimited.
    pub context_window: Option<u32>,
    /// Names of the models it knows; any other is not found. Empty knows every model.
    pub models: Vec<Arc<str>>,
    /// Seed of its faults and draws.
    pub seed: u64,
}

impl Default for Settings {
    /// One H100 endpoint without faults.
    fn default() -> Self {
        Self {
            name: Arc::from("simulated"),
            engines: vec![engine::Settings::H100],
            door: engine::Door::default(),
            output: OutputLength::default(),
            context_window: None,
            models: Vec::new(),
            seed: 0,
        }
    }
}

impl Settings {
    /// The origins of its endpoints, in order.
    pub fn origins(&self) -> impl Iterator<Item = Arc<str>> + '_ {
        (0..self.engines.len()).map(|i| Arc::from(format!("sim://{}/{i}", self.name)))
    }
}

/// How long answers are when nothing cuts them: log-normal, drawn per prompt, so that a repeated prompt gets the same.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct OutputLength {
    /// Median in tokens.
    pub median: f64,
    /// Standard deviation of the logarithm; 0 is always the median.
    pub sigma: f64,
}

impl Default for OutputLength {
    /// About what a chat turn is: half of them between 85 and 168 tokens.
    fn default() -> Self {
        Self { median: 120.0, sigma: 0.5 }
    }
}
