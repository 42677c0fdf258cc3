//! `gridtie drill`: a declared rehearsal, its verdict and its report.
//!
//! ```text
//! file ──► lower ──► Script ──► a runner (sim; mock and live later) ──► Journal ──► judge ──► Findings ──► report
//! ```
//!
//! A script says nothing about how it is played, and the judge asks nothing of who played it: a runner is whoever turns
//! a script into a [`journal::Journal`], which is what clients, routers and pools wrote down, each by itself.

pub mod journal;
mod lower;
mod raw;
pub mod script;

pub use lower::{load, load_str};
pub use script::{Drill, Script};
