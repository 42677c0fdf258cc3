//! Everything that needs the whole tree or a whole router; one binary, because linking is what tests cost.
#![expect(clippy::expect_used, clippy::panic, reason = "a test may give up")]

// The rules of the house, read from the source.
mod tidy;
