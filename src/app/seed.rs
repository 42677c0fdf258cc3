//! The only source of entropy. Everything else takes its randomness from the seed that this deals once.

use rand::RngExt;

/// A fresh seed from the operating system.
#[expect(clippy::disallowed_methods, reason = "this is the place that may")]
pub fn entropy() -> u64 {
    rand::rng().random()
}

/// 256 fresh bits for a client key.
#[expect(clippy::disallowed_methods, reason = "this is the place that may")]
pub fn random_key() -> [u8; 32] {
    rand::rng().random()
}
