//! What can only be tested from outside: files, processes, sockets, and the rules of the house.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod back_to_back;
mod beside;
mod config;
mod failover;
mod flow;
mod prefixes;
mod recorded;
mod records;
mod shutdown;
mod slow_readers;
mod tidy;
mod two_drivers;
mod two_simulations;
mod wire;
mod world;
