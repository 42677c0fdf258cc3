//! Draws that depend on nothing but a seed and a purpose: the same on every machine and in every order of asking.
//!
//! No generator with a state, because two calls that race for one would get each other's draws.

/// Mixes two numbers into one that looks like neither (the finalizer of SplitMix64; Steele, Lea and Flood, OOPSLA 2014).
pub const fn mix(seed: u64, with: u64) -> u64 {
    let mut z = seed.wrapping_add(with.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Uniform in [0, 1).
pub fn unit(seed: u64) -> f64 {
    // 53 bits are what an f64 holds without rounding up to 1.
    (mix(seed, 0) >> 11) as f64 / (1u64 << 53) as f64
}

/// Standard normal (Box and Muller).
pub fn normal(seed: u64) -> f64 {
    let radius = (-2.0 * (1.0 - unit(mix(seed, 1))).ln()).sqrt();
    radius * (std::f64::consts::TAU * unit(mix(seed, 2))).cos()
}

/// Log-normal with that median and that standard deviation of the logarithm.
pub fn log_normal(seed: u64, median: f64, sigma: f64) -> f64 {
    median * (sigma * normal(seed)).exp()
}

/// Below `n`, and 0 for 0.
pub fn below(seed: u64, n: usize) -> usize {
    ((unit(seed) * n as f64) as usize).min(n.saturating_sub(1))
}
