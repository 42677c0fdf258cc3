//! How often reality is so many times worse than expected.
//!
//! A small log histogram of actual/expected, kept as tail sums so that a question costs one look-up. The probability
//! is shrunk to a prior the way a Beta prior does it: (k + n0 p0) / (n + n0). The expectation carries size and load,
//! so one histogram an offer is enough.

/// Four buckets an octave: a ratio of 1.19 from one to the next.
const PER_OCTAVE: f32 = 4.0;
/// The first bucket begins at 2^-3: finer news about speed is no news about lateness.
const LOWEST_OCTAVE: f32 = -3.0;
/// Up to 2^7; beyond that it is a timeout anyway.
const BUCKETS: usize = 40;
/// Shape of the log-logistic prior: the spread of a log-normal with sigma 0.5, which is what providers' times to first
/// token look like, with a heavier tail.
const PRIOR_SHAPE: f32 = 3.63;

/// See the module.
#[derive(Clone, PartialEq, Debug)]
pub struct Tail {
    /// Weight of the samples in bucket i or above.
    above: [f32; BUCKETS + 1],
    /// The prior's probability of the same.
    prior: [f32; BUCKETS + 1],
}

impl Default for Tail {
    fn default() -> Self {
        let mut prior = [0.0; BUCKETS + 1];
        for (i, p) in prior.iter_mut().enumerate() {
            let ratio = (i as f32 / PER_OCTAVE + LOWEST_OCTAVE).exp2();
            *p = 1.0 / (1.0 + ratio.powf(PRIOR_SHAPE));
        }
        Self { above: [0.0; BUCKETS + 1], prior }
    }
}

impl Tail {
    /// Makes what was seen weigh `fade` of what it did.
    pub fn age(&mut self, fade: f64) {
        for a in &mut self.above {
            *a *= fade as f32;
        }
    }

    /// It took `ratio` times what was expected; about `most` samples count.
    pub fn observe(&mut self, ratio: f64, most: f64) {
        if ratio.is_nan() {
            return;
        }
        let keep = 1.0 - 1.0 / most as f32;
        let bucket = place(ratio) as usize;
        for (i, a) in self.above.iter_mut().enumerate() {
            *a = *a * keep + f32::from(u8::from(i <= bucket));
        }
    }

    /// How many samples count.
    pub fn samples(&self) -> f64 {
        f64::from(self.above[0])
    }

    /// The odds, where what was seen weighs `fade` of what it did and the prior counts as so many samples.
    pub fn odds(&self, fade: f64, prior_samples: f64) -> Odds {
        let (fade, n0) = (fade as f32, prior_samples as f32);
        let each = 1.0 / (fade * self.above[0] + n0);
        let mut odds = Odds([0.0; BUCKETS + 1]);
        for ((odds, above), prior) in odds.0.iter_mut().zip(&self.above).zip(&self.prior) {
            *odds = (fade * above + n0 * prior) * each;
        }
        odds
    }
}

/// The probability of bucket i or above: a tail and its prior put together, for one moment.
#[derive(Clone, PartialEq, Debug)]
pub struct Odds([f32; BUCKETS + 1]);

impl Default for Odds {
    fn default() -> Self {
        Self([0.0; BUCKETS + 1])
    }
}

impl Odds {
    /// The probability that it takes more than `ratio` times what is expected.
    #[inline]
    pub fn beyond(&self, ratio: f64) -> f64 {
        let at = place(ratio);
        let bucket = at as u8;
        let (i, part) = (usize::from(bucket).min(BUCKETS - 1), at - f32::from(bucket));
        f64::from(self.0[i] + part * (self.0[i + 1] - self.0[i]))
    }

    /// The ratio that is exceeded with probability `p` at most, to the next bucket's edge.
    pub fn quantile(&self, p: f64) -> f64 {
        // The curve only falls: the first bucket that is rare enough is found by halving.
        let bucket = self.0[..BUCKETS].partition_point(|odds| *odds > p as f32);
        f64::from((bucket as f32 / PER_OCTAVE + LOWEST_OCTAVE).exp2())
    }
}

/// Where a ratio lies, in buckets.
#[inline]
fn place(ratio: f64) -> f32 {
    let octaves = log2(ratio.max(1e-9) as f32) - LOWEST_OCTAVE;
    (octaves * PER_OCTAVE).clamp(0.0, BUCKETS as f32 - 0.001)
}

/// The logarithm of a positive, normal number: its exponent, and a cubic through both ends of the octave for its
/// mantissa. Off by 0.0011 at most, half a hundredth of a bucket; continuous, rising, and the same on every machine.
#[inline]
fn log2(x: f32) -> f32 {
    /// Least squares over the octave.
    const A: f32 = 0.4209;
    const B: f32 = -0.1564;
    let bits = x.to_bits();
    let exponent = (bits >> 23) as i32 - 127;
    let t = f32::from_bits((bits & 0x007f_ffff) | 0x3f80_0000) - 1.0;
    exponent as f32 + t + t * (1.0 - t) * (A + B * t)
}
