//! Bounds: what retries may add, how many calls a pool may hold, and what a provider grants.

mod granted;
mod in_flight;
mod ramp;
mod retry;

pub use granted::{Allotment, Granted, Meter};
pub use in_flight::InFlight;
pub use ramp::Ramp;
pub use retry::{RetryBudget, RetryBudgets, Settings};

#[cfg(test)]
mod tests;
