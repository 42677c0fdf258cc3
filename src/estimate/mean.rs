//! A mean that forgets.

/// An exponentially weighted mean, shrunk towards a prior while it has few samples.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Mean {
    prior: f64,
    mean: f64,
    samples: f64,
}

impl Mean {
    /// Nothing seen yet: the value is `prior`.
    pub const fn new(prior: f64) -> Self {
        Self { prior, mean: 0.0, samples: 0.0 }
    }

    /// Makes what was seen weigh `fade` (0 to 1) of what it did.
    pub fn age(&mut self, fade: f64) {
        self.samples *= fade;
    }

    /// Adds a sample; at most `most` samples count. Not finite is ignored.
    pub fn observe(&mut self, x: f64, most: f64) {
        if !x.is_finite() {
            return;
        }
        self.samples = (self.samples + 1.0).min(most);
        self.mean += (x - self.mean) / self.samples;
    }

    /// The estimate, with what was seen weighing `fade` and the prior as `prior_samples` samples.
    pub fn value(&self, fade: f64, prior_samples: f64) -> f64 {
        let n = self.samples * fade;
        (n * self.mean + prior_samples * self.prior) / (n + prior_samples)
    }
}
