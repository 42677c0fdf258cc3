//! A pool that exists only here: engines in virtual time behind the [`Upstream`](super::Upstream) seam.
pub mod settings;

pub use settings::{OutputLength, Settings};
