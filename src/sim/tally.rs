//! What came of a run: the numbers that the table, the JSON and the report are made of.

use serde::{Deserialize, Serialize};

use crate::domain::{ClassId, Duration, Instant, PoolId};

/// One run of one policy with one seed.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    /// The policy's name: ours is `bid-price`.
    pub policy: String,
    /// The seed.
    pub seed: u64,
    /// By [`ClassId`].
    pub classes: Vec<ClassTally>,
    /// By [`PoolId`].
    pub pools: Vec<PoolTally>,
    /// Over time, evenly spaced.
    pub samples: Vec<Sample>,
    /// From the first arrival to the last answer.
    pub length: Duration,
}

/// What became of the calls of one class.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct ClassTally {
    /// Calls that came.
    pub offered: u64,
    /// Finished, and within every target of the class.
    pub met: u64,
    /// Finished, but late.
    pub late: u64,
    /// Never answered.
    pub rejected: u64,
    /// Broken off in the middle.
    pub cut: u64,
    /// What a miss costs here, in dollars.
    pub miss_usd: f64,
    /// Milliseconds to the first token of every answered call, in no order.
    pub ttft_ms: Vec<f32>,
}

/// What went through one pool.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct PoolTally {
    /// Attempts sent there.
    pub attempts: u64,
    /// Calls answered by it.
    pub answered: u64,
    /// Of those, calls that missed a target, by [`ClassId`].
    pub late: Vec<u64>,
    /// Attempts that failed there.
    pub failed: u64,
    /// Of those, refused by a rate limit or quota.
    pub limited: u64,
    /// Tokens of input that were not cached, cached, and of output, over all attempts that are billed.
    pub tokens: [u64; 3],
    /// The bill, in dollars (zero for owned capacity but for energy).
    pub usd: f64,
    /// Energy, in joules; zero where nothing is modelled.
    pub energy_j: f64,
    /// Share of its decode slot-seconds that were used; absent for a provider.
    pub slot_share: Option<f64>,
    /// Share of its prefill seconds that were used; absent for a provider.
    pub prefill_share: Option<f64>,
}

/// How things stood at one moment.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Sample {
    /// When.
    #[serde(with = "nanos")]
    pub at: Instant,
    /// Calls in flight, by [`PoolId`].
    pub in_flight: Vec<u32>,
    /// What a slot-second is worth, in dollars, by [`PoolId`]; zero where none is scarce.
    pub slot_usd: Vec<f64>,
    /// Calls waiting for a pool.
    pub waiting: u32,
    /// Calls that came since the last sample.
    pub offered: u32,
    /// Of the calls that ended since the last sample: those that met every target, by [`ClassId`].
    pub met: Vec<u32>,
    /// And those that did not.
    pub missed: Vec<u32>,
    /// Dollars spent since the last sample.
    pub usd: f64,
}

impl Tally {
    /// Dollars spent.
    pub fn usd(&self) -> f64 {
        self.pools.iter().map(|p| p.usd).sum()
    }

    /// J: dollars spent, and what the misses cost. Soft delay costs are not in it.
    pub fn j(&self) -> f64 {
        self.usd() + self.classes.iter().map(|c| c.miss_usd * c.missed() as f64).sum::<f64>()
    }

    /// Calls that came.
    pub fn calls(&self) -> u64 {
        self.classes.iter().map(|c| c.offered).sum()
    }

    /// Share of all calls that met every target; 1 when none came.
    pub fn attainment(&self) -> f64 {
        share(self.classes.iter().map(|c| c.met).sum(), self.calls())
    }

    /// Never answered.
    pub fn rejected(&self) -> u64 {
        self.classes.iter().map(|c| c.rejected).sum()
    }

    /// What became of that class.
    pub fn class(&self, id: ClassId) -> &ClassTally {
        &self.classes[id.index()]
    }

    /// What went through that pool.
    pub fn pool(&self, id: PoolId) -> &PoolTally {
        &self.pools[id.index()]
    }
}

impl ClassTally {
    /// Calls that missed a target, were not answered or were cut.
    pub const fn missed(&self) -> u64 {
        self.late + self.rejected + self.cut
    }

    /// Share of the calls that met every target; 1 when none came.
    pub fn attainment(&self) -> f64 {
        share(self.met, self.offered)
    }

    /// Milliseconds that `q` (0 to 1) of the first tokens came within: the nearest rank. Absent when none came.
    pub fn ttft_quantile(&self, q: f64) -> Option<f64> {
        let rank = ((self.ttft_ms.len() as f64 * q).ceil() as usize).clamp(1, self.ttft_ms.len().max(1)) - 1;
        let mut all = self.ttft_ms.clone();
        (rank < all.len()).then(|| f64::from(*all.select_nth_unstable_by(rank, f32::total_cmp).1))
    }
}

fn share(part: u64, of: u64) -> f64 {
    if of == 0 { 1.0 } else { part as f64 / of as f64 }
}

/// Moments as nanoseconds.
mod nanos {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::domain::Instant;

    pub(super) fn serialize<S: Serializer>(at: &Instant, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(at.as_nanos())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Instant, D::Error> {
        u64::deserialize(deserializer).map(Instant::from_nanos)
    }
}
