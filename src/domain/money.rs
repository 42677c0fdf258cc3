//! Money as integers where it is a bill, so that sums are exact and the same on every machine.
//!
//! A price is picodollars per token, because $0.02 per million tokens is 20,000 of them; a bill is nanodollars,
//! because a year of spending must fit. Rules that only compare offers use `f64` dollars and say `_usd`.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};

/// A sum of money in nanodollars (1e-9 $). 63 bits hold nine billion dollars.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Usd(i64);

impl Usd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// From nanodollars.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// From dollars, rounded to the nearest nanodollar; NaN counts as zero.
    pub fn from_dollars(dollars: f64) -> Self {
        Self((dollars * 1e9).round() as i64)
    }

    /// In nanodollars.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// In dollars.
    pub fn as_dollars(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

impl Add for Usd {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Usd {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl AddAssign for Usd {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
        items.fold(Self::ZERO, Add::add)
    }
}

/// Plain decimal dollars with nine places and no sign: what headers, logs and reports carry.
impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let abs = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:09}", abs / 1_000_000_000, abs % 1_000_000_000)
    }
}

impl fmt::Debug for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${self}")
    }
}

/// A price per token in picodollars (1e-12 $), the same number as microdollars per million tokens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Price(u64);

impl Price {
    /// Free: committed capacity at the margin.
    pub const FREE: Self = Self(0);

    /// From dollars per million tokens, as price lists print them; negative or NaN counts as free.
    pub fn per_million(dollars: f64) -> Self {
        Self((dollars * 1e6).round() as u64)
    }

    /// Dollars per token.
    pub fn dollars_per_token(self) -> f64 {
        self.0 as f64 * 1e-12
    }

    /// Dollars per million tokens.
    pub fn dollars_per_million(self) -> f64 {
        self.0 as f64 * 1e-6
    }

    /// What `tokens` tokens cost, in picodollars; add these up and round once, with [`bill`].
    pub fn pico(self, tokens: u64) -> u128 {
        u128::from(self.0) * u128::from(tokens)
    }
}

/// Rounds a sum of picodollars to the nearest nanodollar (half up), once per bill.
pub fn bill(pico: u128) -> Usd {
    Usd(i64::try_from((pico + 500) / 1000).unwrap_or(i64::MAX))
}
