//! The only wiring: entropy, the router out of a config, listeners, named tasks, signals, shutdown.

pub mod build;
mod reload;
pub mod seed;
pub mod serve;
mod upkeep;
mod watchdog;

pub use build::{records, router};
pub use reload::Reloads;
pub use serve::{Bound, Server, bind};
