//! What a miss costs while a class misses more than it may: the shadow price of a promised share.
//!
//! An operator says what one miss costs (`miss_usd`), and may say besides how many calls are to be in time (`in_time`).
//! The second is a constraint, and a constraint has a price: it is followed by dual ascent, as the prices of capacity
//! are (see [`super::shadow`]). Each call that comes too late raises it, each that is in time lowers it by what makes both
//! cancel out at the promised share. It is never below what a miss costs anyhow, and never above a few times that:
//! where a promise cannot be kept, money does not help.

/// One miss makes the next so much dearer, as a power of e. With ten calls a second of which 1 % more than promised are
/// late the price doubles in two minutes; with none late it takes five to fall to half.
const STEP: f64 = 0.06;

/// A miss never costs more than so many times what the class says, as a power of e: six times.
const DEAREST: f64 = 1.8;

/// What a class promises, and how it is kept.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Promise {
    share: f64,
    power: f64,
}

impl Promise {
    /// That at least `share` of the calls are in time (0 to 1).
    pub const fn new(share: f64) -> Self {
        Self { share, power: 0.0 }
    }

    /// One more call of the class was in time, or was not.
    pub fn observe(&mut self, missed: bool) {
        let error = f64::from(u8::from(missed)) - (1.0 - self.share);
        self.power = (self.power + STEP * error).clamp(0.0, DEAREST);
    }

    /// A miss costs so many times what the class says.
    pub fn times(&self) -> f64 {
        if self.power == 0.0 { 1.0 } else { self.power.exp() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_miss_costs_what_it_costs_as_long_as_the_promise_is_kept() {
        let mut p = Promise::new(0.99);
        for i in 0..100_000 {
            p.observe(i % 200 == 0);
        }
        assert!(p.times() < 1.1, "{}", p.times());
    }

    #[test]
    fn misses_grow_dearer_while_the_promise_is_broken_and_cheaper_when_it_is_kept_again() {
        let mut p = Promise::new(0.99);
        for i in 0..2_000 {
            p.observe(i % 50 == 0);
        }
        let dear = p.times();
        assert!(dear > 2.0, "{dear}");
        for _ in 0..2_000 {
            p.observe(false);
        }
        assert!(p.times() < dear / 2.0, "{} after {dear}", p.times());
    }

    #[test]
    fn a_promise_that_cannot_be_kept_has_a_dearest_price() {
        let mut p = Promise::new(0.999);
        for _ in 0..100_000 {
            p.observe(true);
        }
        assert!((5.9..6.2).contains(&p.times()), "{}", p.times());
    }
}
