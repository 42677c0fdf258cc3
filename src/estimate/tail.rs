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

    /// The probability that it takes more than `ratio` times what is expected.
    pub fn beyond(&self, ratio: f64, fade: f64, prior_samples: f64) -> f64 {
        let at = place(ratio);
        let bucket = at as u8;
        let (i, part) = (usize::from(bucket), at - f32::from(bucket));
        let between = |t: &[f32; BUCKETS + 1]| t[i] + part * (t[(i + 1).min(BUCKETS)] - t[i]);
        let (fade, n0) = (fade as f32, prior_samples as f32);
        f64::from((fade * between(&self.above) + n0 * between(&self.prior)) / (fade * self.above[0] + n0))
    }

    /// The ratio that is exceeded with probability `p` at most, to the next bucket's edge.
    pub fn quantile(&self, p: f64, fade: f64, prior_samples: f64) -> f64 {
        let (fade, n0) = (fade as f32, prior_samples as f32);
        let all = fade * self.above[0] + n0;
        // Both curves only fall, and so does their sum: the first bucket that is rare enough is found by halving.
        let (mut from, mut to) = (0, BUCKETS);
        while from < to {
            let i = usize::midpoint(from, to);
            if fade * self.above[i] + n0 * self.prior[i] <= p as f32 * all { to = i } else { from = i + 1 }
        }
        f64::from((from as f32 / PER_OCTAVE + LOWEST_OCTAVE).exp2())
    }
}

/// Where a ratio lies, in buckets.
fn place(ratio: f64) -> f32 {
    let octaves = (ratio.max(1e-9) as f32).log2() - LOWEST_OCTAVE;
    (octaves * PER_OCTAVE).clamp(0.0, BUCKETS as f32 - 0.001)
}
