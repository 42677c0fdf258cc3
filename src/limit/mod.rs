//! Bounds that keep one trouble from becoming another: what retries may add, and how many calls a pool may hold.

mod in_flight;
mod retry;

pub use in_flight::InFlight;
pub use retry::{RetryBudget, RetryBudgets, Settings};

#[cfg(test)]
mod tests;
