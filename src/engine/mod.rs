//! A batching inference engine as a model, in virtual time.
pub mod settings;

pub use settings::{Batching, Door, Opaque, Power, Settings, Speed};
