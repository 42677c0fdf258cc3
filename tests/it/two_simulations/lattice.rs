//! Pools whose every moment is a whole number of steps after that of a call's arrival.

use std::sync::Arc;

use gridtie::domain::catalog::{Class, Grants, Model, Offer, Pool, Tenant};
use gridtie::domain::{
    Address, AskKind, Capabilities, Catalog, ClassId, Duration, Instant, ModelId, OfferId, PoolId, Price,
    Prices, Tenure, Timestamp,
};
use gridtie::engine::draw::{below, mix, unit};
use gridtie::engine::{Batching, Opaque, Power, Settings as Engine, Speed};
use gridtie::sim::Arrival;

use crate::world::ms;

pub(super) const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
pub(super) const POOLS: [&str; 4] = ["own", "leased", "cheap", "premium"];
/// Prompts are multiples of this, so that their prefill takes whole steps.
pub(super) const BLOCK: u32 = 128;

/// What all times of engines and networks are multiples of, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lattice(pub(super) u64);

impl Lattice {
    /// So many steps in seconds. Engines cut fractions of a nanosecond off: the last summand keeps those of a sum of
    /// decimal fractions from being a whole one.
    fn steps_s(self, n: f64) -> f64 {
        n * self.0 as f64 / 1e3 + 1e-11
    }

    pub(super) fn steps(self, n: u64) -> Duration {
        ms(n * self.0)
    }

    pub(super) fn at(self, step: u64, residue: u64) -> Instant {
        Instant::START + ms(step * self.0 + residue)
    }

    /// Two calls at once, three in line, and room for so many tokens.
    pub(super) fn batching(self, prefill_steps: f64, kv_tokens: u64) -> Engine {
        Engine::Batching(Batching {
            speed: Speed {
                prefill_base_s: self.steps_s(prefill_steps),
                prefill_token_s: self.steps_s(1.0) / f64::from(BLOCK),
                prefill_floor_s: 0.0,
                prefill_knee: u32::MAX,
                step_base_s: self.steps_s(4.0),
                step_seq_s: 0.0,
                interference: 1.0,
            },
            max_batch: 2,
            kv_tokens,
            queue: 3,
            prefix_cache: false,
            power: Power::default(),
        })
    }

    pub(super) fn opaque(self, ttft_steps: f64, max_jobs: u32) -> Engine {
        Engine::Opaque(Opaque {
            ttft_median_s: self.steps_s(ttft_steps),
            ttft_sigma: 0.0,
            prefill_token_s: self.steps_s(1.0) / f64::from(BLOCK),
            tpot_s: self.steps_s(2.0),
            max_jobs,
        })
    }

    /// Two owned pools and two clouds, which offer one model.
    pub(super) fn catalog(self, engines: &[Vec<Engine>], classes: Vec<Class>) -> Catalog {
        let pool = |i: usize, tenure| Pool {
            name: POOLS[i].into(),
            tenure,
            region: None,
            failure_domain: POOLS[i].into(),
            contact: None,
            lease: None,
            power: None,
            rtt_prior: ms(1),
            grants: Grants::default(),
            max_in_flight: None,
            order: i as u32,
            weight: 1.0,
            engine_prior: engines[i][0].prior(),
        };
        Catalog {
            pools: vec![
                pool(0, Tenure::Owned),
                pool(1, Tenure::Owned),
                pool(2, Tenure::Metered),
                pool(3, Tenure::Metered),
            ],
            offers: vec![offer(0, 0, 0.0), offer(1, 0, 0.0), offer(2, 0, 0.6), offer(3, 0, 1.2)],
            models: vec![model("chat", AskKind::Chat, [0, 1, 2, 3])],
            classes,
            tenants: vec![Tenant { name: "anonymous".into() }],
            default_class: ClassId(0),
            lineage: Default::default(),
        }
    }

    /// The usual classes, in steps: a person who waits for the first token, an agent, and a batch that may wait.
    pub(super) fn classes(self) -> Vec<Class> {
        let class = |name: &str, ttft: Option<u64>, finish: Option<u64>, miss_usd, deadline: u64| Class {
            name: name.into(),
            ttft_target: ttft.map(|n| self.steps(n)),
            finish_target: finish.map(|n| self.steps(n)),
            miss_usd,
            in_time: (name == "interactive").then_some(0.95),
            delay_usd_per_s: 1e-4,
            deadline: self.steps(deadline),
            reserve: 0.0,
            may_wait: finish.is_some(),
            floor: 0.0,
        };
        vec![
            class("interactive", Some(16), None, 0.010, 240),
            class("agent", Some(48), None, 0.005, 480),
            class("background", None, Some(960), 0.005, 1_920),
        ]
    }

    /// So many calls of all classes in bursts: with each, `pace` steps pass on average. Prompts are up to four blocks.
    pub(super) fn calls(self, n: usize, pace: f64, seed: u64) -> Vec<Arrival> {
        let mut step = 0;
        let arrival = |i: usize| {
            let draw = mix(seed, i as u64);
            // Half of them come in the same step as the one before.
            let longest = (4.0 * pace - 1.0).round().max(1.0) as usize;
            let quiet = unit(mix(draw, 1)) < 0.5;
            step += if quiet { 1 + below(mix(draw, 2), longest) as u64 } else { 0 };
            let class = [0, 0, 0, 0, 0, 1, 1, 1, 2, 2][below(mix(draw, 3), 10)];
            let residue = below(mix(draw, 6), self.0 as usize) as u64;
            Arrival {
                input: BLOCK * (1 + below(mix(draw, 4), 4) as u32),
                output: 1 + below(mix(draw, 5), 5) as u32,
                ..arrival(self.at(step, residue), ClassId(class))
            }
        };
        let mut calls: Vec<_> = (0..n).map(arrival).collect();
        calls.sort_by_key(|call| call.at);
        calls
    }
}

/// Of the smallest size.
pub(super) fn arrival(at: Instant, class: ClassId) -> Arrival {
    let (input, output) = (BLOCK, 1);
    let (client, session, prefix) = (0, None, Arc::default());
    Arrival { at, model: ModelId(0), class, input, output, stream: true, client, session, prefix }
}

pub(super) fn model<const N: usize>(name: &str, kind: AskKind, offers: [u16; N]) -> Model {
    Model { name: name.into(), aliases: vec![], kind, offers: offers.map(OfferId).into() }
}

pub(super) fn offer(pool: u16, model: u16, dollars: f64) -> Offer {
    Offer {
        pool: PoolId(pool),
        model: ModelId(model),
        hours: None,
        upstream_model: "m".into(),
        prices: prices(dollars),
        context_window: None,
        capabilities: Capabilities::CHAT_DEFAULT,
    }
}

/// So many dollars a million tokens, and four times that for those of an answer.
pub(super) fn prices(dollars: f64) -> Prices {
    Prices {
        input: Price::per_million(dollars),
        output: Price::per_million(4.0 * dollars),
        ..Prices::default()
    }
}

/// Where the endpoints of a pool are.
pub(super) fn addresses(pool: usize, endpoints: usize) -> Vec<Arc<Address>> {
    let one = |i| Arc::new(Address { origin: format!("sim://{}/{i}", POOLS[pool]).into(), socket: None });
    (0..endpoints).map(one).collect()
}
