//! The only wiring: entropy, the router out of a config, listeners, named tasks, signals, shutdown.

pub mod build;
pub mod seed;
pub mod serve;
mod watchdog;

pub use build::{records, router};
pub use serve::{Bound, Server, bind};
