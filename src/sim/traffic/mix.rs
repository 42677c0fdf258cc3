//! Classes for calls whose trace has none: shares, drawn so that a call's class depends on the seed and the call alone.

use crate::domain::{Catalog, ClassId};
use crate::engine::draw::{mix, unit};

/// Sets these draws apart from all others of the same seed.
const PURPOSE: u64 = 0x636c_6173;

/// Shares of classes.
#[derive(Clone, PartialEq, Debug)]
pub struct Mix {
    /// With the sum of the shares up to and with each class.
    upto: Vec<(ClassId, f64)>,
}

impl Mix {
    /// What a mix is unless the config says otherwise.
    pub const DEFAULT: [(&'static str, f64); 3] = [("interactive", 0.5), ("agent", 0.3), ("background", 0.2)];

    /// Shares of any scale. Nothing if one of them is negative or not finite, or if all are zero.
    pub fn new(shares: &[(ClassId, f64)]) -> Option<Self> {
        let mut sum = 0.0;
        let mut upto = Vec::with_capacity(shares.len());
        for (class, share) in shares {
            if !share.is_finite() || *share < 0.0 {
                return None;
            }
            sum += share;
            upto.push((*class, sum));
        }
        (sum.is_finite() && sum > 0.0).then_some(Self { upto })
    }

    /// [`Self::DEFAULT`] over those of its classes that exist; where none does, every call has the default class.
    pub fn of(catalog: &Catalog) -> Self {
        let named = Self::DEFAULT.iter().filter_map(|(name, share)| Some((catalog.class_id(name)?, *share)));
        let shares: Vec<_> = named.collect();
        Self::new(&shares).unwrap_or_else(|| Self { upto: vec![(catalog.default_class, 1.0)] })
    }

    /// The class of the call (or of the conversation) of that number.
    pub fn draw(&self, seed: u64, number: u64) -> ClassId {
        let sum = self.upto.last().map_or(0.0, |(_, upto)| *upto);
        let at = unit(mix(mix(seed, PURPOSE), number)) * sum;
        let hit = self.upto.iter().find(|(_, upto)| at < *upto).or(self.upto.last());
        hit.map_or(ClassId(0), |(class, _)| *class)
    }
}
