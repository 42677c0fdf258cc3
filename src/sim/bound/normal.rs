//! The normal distribution, as far as a provider's log-normal first token needs it.

use crate::engine::Opaque;

/// What [`upper`] may be off by.
const ERROR: f64 = 2e-7;

/// Probability that a standard normal draw is above `z`: Abramowitz and Stegun 7.1.26, off by at most 1.5e-7.
pub(super) fn upper(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let poly = t
        * (0.254_829_592
            + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    let tail = 0.5 * poly * (-x * x).exp();
    if z >= 0.0 { tail } else { 1.0 - tail }
}

/// Probability that an answer's first token takes longer than `within_s`, of which the part that is drawn is asked
/// about alone; never above the truth.
pub(super) fn late(engine: &Opaque, within_s: f64) -> f64 {
    if within_s <= 0.0 {
        return 1.0;
    }
    if engine.ttft_median_s <= 0.0 {
        return 0.0;
    }
    let z = (within_s / engine.ttft_median_s).ln();
    if engine.ttft_sigma <= 0.0 {
        return if z < 0.0 { 1.0 } else { 0.0 };
    }
    (upper(z / engine.ttft_sigma) - ERROR).max(0.0)
}
