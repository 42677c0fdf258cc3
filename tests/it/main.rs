//! Integration tests, in one binary. Each module says in its header what it is about.
#![expect(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod flow;
mod tidy;
mod two_drivers;
mod world;
