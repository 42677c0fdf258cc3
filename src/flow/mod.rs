//! Carries out what the call machine decides: sockets, timers, tasks, and one bounded buffer a stream.
//!
//! Edges hand in an [`Inbound`] and get an [`Answered`] or a [`Refused`]; they know nothing of pools.

pub mod answered;

pub use answered::{Answered, Bill, Broken, Head, Inbound, Out, Refused};
