//! Time to first token as a straight line over work.
//!
//! Ridge regression in two parameters: `t = base + stretch * work`, where work is what the operator's prior says the
//! prefill takes, so that a right prior gives a stretch of 1. Samples are weighted by the inverse square of what
//! the prior says, because an error of 100 ms matters for a short prompt and not for a long one. The prior takes part as two pseudo-samples that do not age.

use super::Settings;

/// The line and the weighted sums behind it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Line {
    base_s: f64,
    prior: Sums,
    seen: Sums,
    samples: f64,
    most: f64,
}

/// Weighted sums of a regression of y on w.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
struct Sums {
    one: f64,
    w: f64,
    ww: f64,
    y: f64,
    wy: f64,
}

/// A stretch outside of this is noise: no engine is 50 times slower per token than its operator says and still in use.
const STRETCH: (f64, f64) = (0.02, 50.0);
/// A base below 0.1 ms is noise: no network is that fast.
const BASE_MIN_S: f64 = 1e-4;

impl Sums {
    fn add(&mut self, weight: f64, w: f64, y: f64) {
        self.one += weight;
        self.w += weight * w;
        self.ww += weight * w * w;
        self.y += weight * y;
        self.wy += weight * w * y;
    }

    fn scale(&mut self, by: f64) {
        self.one *= by;
        self.w *= by;
        self.ww *= by;
        self.y *= by;
        self.wy *= by;
    }
}

impl Line {
    /// The prior line has `base_s` at no work and a stretch of 1; `anchor_s` is the work of a typical long prompt,
    /// where the prior pins the slope. At most about `most` samples will count.
    pub fn new(base_s: f64, anchor_s: f64, most: f64) -> Self {
        let (base_s, anchor) = (base_s.max(BASE_MIN_S), anchor_s.max(0.01));
        let mut line = Self { base_s, prior: Sums::default(), seen: Sums::default(), samples: 0.0, most };
        line.prior.add(0.5 * line.weight(0.0), 0.0, base_s);
        line.prior.add(0.5 * line.weight(anchor), anchor, base_s + anchor);
        line
    }

    /// Makes what was seen weigh `fade` of what it did.
    pub fn age(&mut self, fade: f64) {
        self.seen.scale(fade);
        self.samples *= fade;
    }

    /// Work `work_s` took `actual_s`.
    pub fn observe(&mut self, work_s: f64, actual_s: f64) {
        if !(work_s.is_finite() && actual_s.is_finite()) {
            return;
        }
        self.age(1.0 - 1.0 / self.most);
        self.samples += 1.0;
        self.seen.add(self.weight(work_s), work_s, actual_s);
    }

    /// `(base_s, stretch)`, with what was seen weighing `fade`.
    pub fn solve(&self, fade: f64, settings: &Settings) -> (f64, f64) {
        let n0 = settings.prior_weight(fade * self.samples, self.most);
        let (p, s) = (&self.prior, &self.seen);
        let one = n0 * p.one + fade * s.one;
        let w = n0 * p.w + fade * s.w;
        let ww = n0 * p.ww + fade * s.ww;
        let y = n0 * p.y + fade * s.y;
        let wy = n0 * p.wy + fade * s.wy;
        let stretch = ((one * wy - w * y) / (one * ww - w * w)).clamp(STRETCH.0, STRETCH.1);
        (((y - stretch * w) / one).max(BASE_MIN_S), stretch)
    }

    fn weight(&self, work_s: f64) -> f64 {
        (self.base_s + work_s.max(0.0)).powi(-2)
    }
}
