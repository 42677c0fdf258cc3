//! From a figure to a place on paper, and the round figures that stand at an axis.

use super::super::figures::{fixed, money};

/// How figures are spread out.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Spacing {
    Even,
    /// Each factor of ten takes the same room.
    Decades,
    /// Each factor of ten in what is missing to 1 takes the same room: 90, 99, 99.9 %.
    Nines,
}

/// From figures to places. A figure outside is shown at the edge.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    spacing: Spacing,
    from: (f64, f64),
    to: (f64, f64),
}

impl Scale {
    /// From zero to `max`.
    pub(crate) fn even(max: f64, to: (f64, f64)) -> Self {
        let max = if max.is_finite() && max > 0.0 { max } else { 1.0 };
        Self { spacing: Spacing::Even, from: (0.0, max), to }
    }

    /// Between two figures that are above zero.
    pub(crate) fn decades(min: f64, max: f64, to: (f64, f64)) -> Self {
        let min = if min.is_finite() && min > 0.0 { min } else { 1.0 };
        let max = if max.is_finite() && max > min { max } else { 10.0 * min };
        Self { spacing: Spacing::Decades, from: (min, max), to }
    }

    /// Between two shares; `max` is below 1.
    pub(crate) fn nines(min: f64, max: f64, to: (f64, f64)) -> Self {
        let min = if min.is_finite() { min.clamp(0.0, 0.999) } else { 0.0 };
        let max = if max.is_finite() && max > min { max.min(1.0 - 1e-7) } else { 1.0 - (1.0 - min) / 10.0 };
        Self { spacing: Spacing::Nines, from: (min, max), to }
    }

    /// The place of a figure.
    pub(crate) fn at(&self, x: f64) -> f64 {
        let x = if x.is_finite() { x.clamp(self.from.0, self.from.1) } else { self.from.0 };
        let spaced = |x: f64| match self.spacing {
            Spacing::Even => x,
            Spacing::Decades => x.log10(),
            Spacing::Nines => -(1.0 - x).log10(),
        };
        let (a, b) = (spaced(self.from.0), spaced(self.from.1));
        self.to.0 + (self.to.1 - self.to.0) * (spaced(x) - a) / (b - a)
    }

    /// Where a figure falls outside, the edge is not its place.
    pub(crate) fn holds(&self, x: f64) -> bool {
        (self.from.0..=self.from.1).contains(&x)
    }

    /// Round figures inside, at most about `most` of them.
    pub(crate) fn ticks(&self, most: usize) -> Vec<f64> {
        let all: Vec<f64> = match self.spacing {
            Spacing::Even => return even_ticks(self.from.1, most),
            Spacing::Decades => {
                let first = self.from.0.log10().floor() as i32;
                let last = self.from.1.log10().ceil() as i32;
                let apart = (last - first).unsigned_abs().div_ceil(most.max(1) as u32).max(1) as usize;
                let last = last.min(first.saturating_add(400));
                (first..=last).step_by(apart).map(|power| 10_f64.powi(power)).collect()
            }
            Spacing::Nines => vec![0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9999, 0.99999],
        };
        all.into_iter().filter(|x| self.holds(*x)).collect()
    }
}

fn even_ticks(max: f64, most: usize) -> Vec<f64> {
    let rough = max / most.max(1) as f64;
    let unit = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * unit).find(|step| *step >= rough * 0.999);
    let step = step.unwrap_or(rough);
    (0..=most).map(|i| step * i as f64).filter(|x| *x <= max * 1.0001).collect()
}

/// Round times from 0 to `length_s`, in seconds, with how they are written.
pub(crate) fn times(length_s: f64, most: usize) -> Vec<(f64, String)> {
    const STEPS_S: [f64; 18] = [
        1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 10_800.0,
        21_600.0, 43_200.0, 86_400.0, 604_800.0,
    ];
    let most = most.max(1) as f64;
    let step = STEPS_S.into_iter().find(|step| length_s / step <= most).unwrap_or(length_s.max(1.0) / most);
    let step = if step.is_finite() { step } else { 1.0 };
    // All in one unit, or the eye has to convert.
    let (unit, name) = match step {
        s if s < 60.0 => (1.0, "s"),
        s if s < 3600.0 => (60.0, "min"),
        s if s < 86_400.0 => (3600.0, "h"),
        _ => (86_400.0, "d"),
    };
    let written =
        |at: f64| if at == 0.0 { "0".to_owned() } else { format!("{} {name}", fixed(at / unit, 0)) };
    (0..=20)
        .map(|i| step * f64::from(i))
        .filter(|at| *at <= length_s * 1.001)
        .map(|at| (at, written(at)))
        .collect()
}

/// A share at an axis: 90 %, 99.5 %.
pub(crate) fn share_tick(share: f64) -> String {
    let text = fixed(100.0 * share, 3);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Dollars at an axis: $0.001, $50, $1,000.
pub(crate) fn dollar_tick(usd: f64) -> String {
    let text = if usd > 0.0 && usd < 1e-4 { format!("{usd:e}") } else { money(usd) };
    let trimmed = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("${trimmed}")
}

/// A time at an axis, in units that the eye can multiply by ten: 100 ms, 10 s, 1,000 s.
pub(crate) fn time_tick(ms: f64) -> String {
    if ms < 999.0 { format!("{} ms", fixed(ms, 0)) } else { format!("{} s", fixed(ms / 1e3, 0)) }
}
