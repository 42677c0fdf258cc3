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
mod drills;
mod failover;
mod faults;
mod faults_backend;
mod faults_network;
mod faults_process;
mod faults_provider;
mod faults_security;
mod flow;
mod frames;
mod prefixes;
mod proxy;
mod recorded;
mod records;
mod reload;
mod shares;
mod shutdown;
mod slow_readers;
mod tidy;
mod two_drivers;
mod two_simulations;
mod wire;
mod world;
