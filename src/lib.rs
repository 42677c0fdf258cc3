//! Gridtie, a router for inference requests.
//!
//! The house has seven floors; a module uses only the floors below its own (`tests/it/tidy.rs` checks it).

pub mod app;
pub mod call;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dialect;
pub mod discover;
pub mod domain;
pub mod drill;
pub mod edge;
pub mod engine;
pub mod estimate;
pub mod fleet;
pub mod flow;
pub mod health;
pub mod ledger;
pub mod limit;
pub mod mock;
pub mod policy;
pub mod probe;
pub mod queue;
pub mod sim;
pub mod telemetry;
pub mod upstream;
