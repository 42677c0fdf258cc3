//! A mean that forgets.

use super::Settings;

/// An exponentially weighted mean, shrunk towards a prior while it has few samples.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Mean {
    prior: f64,
    mean: f64,
    samples: f64,
    most: f64,
}

impl Mean {
    /// Nothing seen yet: the value is `prior`. At most about `most` samples will count.
    pub const fn new(prior: f64, most: f64) -> Self {
        Self { prior, mean: 0.0, samples: 0.0, most }
    }

    /// Makes what was seen weigh `fade` (0 to 1) of what it did.
    pub fn age(&mut self, fade: f64) {
        self.samples *= fade;
    }

    /// Adds a sample. Not finite is ignored.
    pub fn observe(&mut self, x: f64) {
        if !x.is_finite() {
            return;
        }
        self.samples = (self.samples + 1.0).min(self.most);
        self.mean += (x - self.mean) / self.samples.max(1.0);
    }

    /// The estimate, with what was seen weighing `fade`.
    pub fn value(&self, fade: f64, settings: &Settings) -> f64 {
        self.value_near(self.prior, fade, settings)
    }

    /// The same, shrunk towards what is known from elsewhere instead of its own prior.
    pub fn value_near(&self, prior: f64, fade: f64, settings: &Settings) -> f64 {
        let n = self.samples * fade;
        let weight = settings.prior_weight(n, self.most);
        (n * self.mean + weight * prior) / (n + weight)
    }
}
