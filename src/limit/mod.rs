//! Bounds: what retries may add, how many calls a pool may hold, and what a provider grants.

mod granted;
mod in_flight;
mod profile;
mod ramp;
mod retry;
mod suspects;
mod told;

pub use granted::{Allotment, Granted, Meter};
pub use in_flight::InFlight;
pub use profile::DayProfile;
pub use ramp::Ramp;
pub use retry::{RetryBudget, RetryBudgets, Settings};
pub use suspects::Suspects;
pub use told::{Sent, Told};

#[cfg(test)]
mod tests;
