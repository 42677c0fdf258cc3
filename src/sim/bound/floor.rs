//! The latency floor: how soon first tokens could come if nobody ever waited for anybody.

use std::sync::Arc;

use super::demand::{Call, calls};
use super::normal;
use super::system::{Pool, System};
use crate::domain::ClassId;
use crate::engine::Settings;
use crate::sim::traffic::Traffic;

/// The floor of one class.
#[derive(Clone, PartialEq, Debug)]
pub struct Floor {
    /// The class's name.
    pub class: Arc<str>,
    /// Calls that any pool serves at all.
    pub calls: usize,
    /// Seconds to the first token that half of the calls cannot beat.
    pub p50_s: f64,
    /// Seconds that the 99th percentile cannot beat.
    pub p99_s: f64,
}

/// Halvings of an interval: to a millionth of it.
const HALVINGS: u32 = 20;

/// By class, for classes that have calls: no policy that gives a call one try has quantiles of the time to the first
/// token below these.
///
/// Every call goes, without waiting, to wherever its chance of an answer within `t` is best, for every `t` anew; its
/// prompt finds cached what any earlier prompt had. The quantile is the `t` at which the mean chance reaches it.
pub fn latency_floor(system: &System, traffic: &Traffic) -> Vec<Floor> {
    let calls = calls(traffic);
    let of = |id: usize| {
        let soonest = |call: &Call| Soonest::new(call, system);
        let mine = calls.iter().filter(|c| c.class == ClassId(id as u8));
        let all: Vec<Soonest> = mine.filter_map(soonest).collect();
        let class = Arc::clone(&system.classes[id].name);
        (!all.is_empty()).then(|| Floor {
            class,
            calls: all.len(),
            p50_s: quantile(&all, system, 0.5),
            p99_s: quantile(&all, system, 0.99),
        })
    };
    (0..system.classes.len()).filter_map(of).collect()
}

/// How soon a call's first token may come.
struct Soonest {
    /// For sure, at the soonest engine of known speed.
    sure_s: f64,
    /// The prompt, where a provider serves its model.
    input: u32,
    model: crate::domain::ModelId,
}

impl Soonest {
    fn new(call: &Call, system: &System) -> Option<Self> {
        let pools = system.pools.iter().filter(|p| p.prices(call.model).is_some());
        let mut served = false;
        let mut sure_s = f64::INFINITY;
        for (pool, settings) in pools.flat_map(|p| p.engines.iter().map(move |e| (p, e))) {
            let Settings::Batching(engine) = settings else {
                served = true;
                continue;
            };
            if u64::from(call.input) + u64::from(call.output) > engine.kv_tokens {
                continue;
            }
            served = true;
            let cached = if engine.prefix_cache { call.cached } else { 0 };
            let prefill = engine.speed.prefill_s(call.input, call.input - cached);
            sure_s = sure_s.min(2.0 * pool.delay.as_secs_f64() + prefill);
        }
        served.then_some(Self { sure_s, input: call.input, model: call.model })
    }

    /// The best chance of a first token within `t`.
    fn chance(&self, t: f64, system: &System) -> f64 {
        if self.sure_s <= t {
            return 1.0;
        }
        let serves = |p: &&Pool| p.prices(self.model).is_some();
        let chance = |pool: &Pool| {
            let opaque = pool.engines.iter().filter_map(|e| match e {
                Settings::Opaque(o) => Some(o),
                Settings::Batching(_) => None,
            });
            let left = t - 2.0 * pool.delay.as_secs_f64();
            opaque
                .map(|o| 1.0 - normal::late(o, left - o.prefill_token_s * f64::from(self.input)))
                .fold(0.0, f64::max)
        };
        system.pools.iter().filter(serves).map(chance).fold(0.0, f64::max)
    }
}

fn quantile(all: &[Soonest], system: &System, q: f64) -> f64 {
    let reached = |t: f64| all.iter().map(|s| s.chance(t, system)).sum::<f64>() >= q * all.len() as f64;
    let (mut low, mut high) = (0.0, 1.0);
    while !reached(high) && high < 1e6 {
        low = high;
        high *= 2.0;
    }
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if reached(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    low
}
