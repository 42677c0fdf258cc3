//! What can only be tested from outside: files, processes, sockets, and the rules of the house.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod config;
mod flow;
mod tidy;
mod two_drivers;
mod world;
