//! From a checked config to a world: what each pool is played by.

use std::sync::Arc;

use super::PoolSettings;
use super::world::{Routers, Setup};
use crate::config::{Checked, UpstreamSettings};
use crate::domain::{Pool, Timestamp};
use crate::engine::{Door, Opaque, Settings};

/// When a trace begins, by the wall clock: midnight UTC of a Monday, so that windows and hours mean something.
const START: Timestamp = Timestamp::from_millis(1_767_571_200_000);

/// A world of the config's pools as large as they are. Pools over a network are played as providers that keep what
/// the config expects of them.
pub fn setup(checked: &Checked) -> Setup {
    let pool = |(i, upstream): (usize, &UpstreamSettings)| match upstream {
        UpstreamSettings::Simulated(s) => PoolSettings {
            engines: s.engines.clone(),
            addresses: checked.endpoints[i].fixed.clone(),
            door: s.door.clone(),
            seed: s.seed,
        },
        UpstreamSettings::OpenAi(_) | UpstreamSettings::Grpc(_) => played(&checked.catalog.pools[i], i),
    };
    Setup {
        catalog: Arc::clone(&checked.catalog),
        routing: checked.routing,
        pools: checked.upstreams.iter().enumerate().map(pool).collect(),
        faults: Vec::new(),
        start: START,
        routers: Routers { count: checked.simulate.routers, told_every: checked.simulate.told_every },
    }
}

/// A pool that is not simulated, as its config describes it.
fn played(pool: &Pool, i: usize) -> PoolSettings {
    let prior = &pool.engine_prior;
    let engine = Settings::Opaque(Opaque {
        ttft_median_s: prior.ttft_base_s,
        // Nothing is said of how widely it varies; this is the spread of the preset `cloud`.
        ttft_sigma: 0.45,
        prefill_token_s: prior.prefill_s_per_token,
        tpot_s: prior.tpot_s,
        max_jobs: pool.max_in_flight.unwrap_or(100_000),
    });
    PoolSettings {
        engines: vec![engine],
        addresses: vec![super::size::address(&pool.name, 0)],
        door: Door {
            delay: pool.rtt_prior / 2,
            contact: pool.contact,
            lease: pool.lease,
            grants: pool.grants,
            ..Door::default()
        },
        seed: i as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Batching;
    use crate::estimate::nominal_work_s;

    #[test]
    fn a_prior_is_within_a_fifth_of_the_engine_s_own_prefill() {
        for (name, preset) in Settings::PRESETS {
            let Settings::Batching(Batching { speed, .. }) = preset else { continue };
            let prior = preset.prior();
            for n in (500_u32..200_000).step_by(500) {
                let work = nominal_work_s(&prior, f64::from(n), 0.0);
                let ratio = (prior.ttft_base_s + work) / speed.prefill_s(n, n);
                assert!((0.8..1.2).contains(&ratio), "{name}: {ratio} at {n}");
            }
        }
    }
}
