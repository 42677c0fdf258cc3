//! Runs that never ran, plausible enough to look at: a day of bursts over one big pool of one's own, a leased one and
//! three providers. Their figures mean nothing.

use super::{
    Against, Bound, CapacityValue, ClassFacts, Floor, FrontierPoint, OURS, PoolFacts, Report, TrafficFacts,
    Tuning,
};
use crate::domain::{Duration, Instant, Tenure};
use crate::sim::{ClassTally, PoolTally, Sample, Tally};

/// How a policy does here: (name, dollars, share that misses, p50 and p99 of the first token in ms, share spilled).
const POLICIES: [(&str, f64, f64, f64, f64, f64); 12] = [
    ("random", 79.8, 0.154, 610.0, 28_500.0, 0.6),
    ("round-robin", 80.5, 0.138, 600.0, 17_600.0, 0.6),
    ("least-busy", 117.0, 0.096, 420.0, 1900.0, 0.5),
    ("p2c-peak-ewma", 130.0, 0.08, 400.0, 1900.0, 0.55),
    ("weighted", 155.0, 0.034, 380.0, 1530.0, 0.7),
    ("lowest-latency", 231.0, 0.0085, 240.0, 1100.0, 0.9),
    ("prequal", 208.0, 0.0086, 245.0, 1100.0, 0.85),
    ("cheapest-first", 0.0, 0.93, 610_000.0, 1_910_000.0, 0.0),
    ("overflow-spill", 13.1, 0.0644, 330.0, 1680.0, 0.2),
    ("overflow-spill-slo", 24.3, 0.0137, 300.0, 1280.0, 0.25),
    ("bid-price", 15.6, 0.0014, 250.0, 770.0, 0.2),
    ("bid-price-no-shadow", 28.1, 0.0305, 310.0, 1460.0, 0.3),
];

const POOLS: [(&str, Tenure, f64, f64, u32, u32); 5] = [
    ("own", Tenure::Owned, 0.0, 0.0, 3, 192),
    ("leased", Tenure::Owned, 0.0, 0.0, 2, 64),
    ("api-cheap", Tenure::Metered, 0.6, 2.4, 0, 0),
    ("api-premium", Tenure::Metered, 1.2, 4.8, 0, 0),
    ("orbital", Tenure::Metered, 0.2, 0.8, 0, 0),
];

/// A report with everything in it.
pub(super) fn full(seeds: u64) -> Report {
    let run = |seed: u64| POLICIES.iter().map(move |policy| tally(*policy, seed, 1.0));
    let class = |name: &str, ttft, finish, miss_usd| ClassFacts {
        name: name.to_owned(),
        ttft_target: ttft,
        finish_target: finish,
        miss_usd,
    };
    let seconds = |s| Some(Duration::from_secs(s));
    let floor = Floor { p50_ms: 190.0, p99_ms: 420.0 };
    Report {
        title: "Conversations with bursts, one hour".to_owned(),
        traffic: TrafficFacts {
            name: "azure-conv.csv × 6".to_owned(),
            calls: 97_286,
            length: Duration::from_secs(3600),
            mean_rps: 27.02,
            peak_rps: 48.3,
            cv: 1.94,
            mean_input: 1155.0,
            mean_output: 211.0,
        },
        config: "five-pools.toml".to_owned(),
        load: Some(0.9),
        pools: POOLS.iter().map(|pool| facts(*pool)).collect(),
        classes: vec![
            class("interactive", seconds(1), None, 0.010),
            class("agent", seconds(5), None, 0.005),
            class("background", None, seconds(900), 0.005),
        ],
        runs: (1..=seeds).flat_map(run).collect(),
        bounds: (1..=seeds)
            .map(|seed| Bound {
                seed,
                j: Some(9.0 + 0.4 * seed as f64),
                goodput: Some(0.9997),
                goodput_by_class: vec![0.9995, 1.0, 1.0],
                floor: vec![floor; 3],
            })
            .collect(),
        tuning: vec![
            Tuning { policy: OURS.to_owned(), chosen: "target use 0.80, of 0.70 to 0.95".to_owned() },
            Tuning { policy: "overflow-spill-slo".to_owned(), chosen: "spill at 90 % of slots".to_owned() },
        ],
        frontier: [(0.25, 9.1, 0.9931), (0.5, 12.0, 0.9968), (1.0, 15.6, 0.9986), (4.0, 29.9, 0.9994)]
            .map(|(price, usd, attainment)| FrontierPoint { label: format!("misses × {price}"), usd, attainment })
            .to_vec(),
        capacity: vec![
            CapacityValue {
                what: "one more endpoint of own".to_owned(),
                shadow_usd_per_hour: 6.42,
                checked_usd_per_hour: Some(5.9),
            },
            CapacityValue {
                what: "100 more requests a minute of api-cheap".to_owned(),
                shadow_usd_per_hour: 0.81,
                checked_usd_per_hour: None,
            },
        ],
        against: None,
        notes: vec!["The bound knows every arrival in advance & ignores queueing, so part of the regret <cannot> be closed.".to_owned()],
    }
}

/// The same, compared with runs that were a little worse.
pub(super) fn compared() -> Report {
    let runs = POLICIES.iter().map(|policy| tally(*policy, 1, 1.2)).collect();
    Report { against: Some(Against { name: "four-pools.toml".to_owned(), runs }), ..full(1) }
}

fn facts((name, tenure, input, output, endpoints, slots): (&str, Tenure, f64, f64, u32, u32)) -> PoolFacts {
    PoolFacts {
        name: name.to_owned(),
        tenure,
        input_usd_per_million: input,
        output_usd_per_million: output,
        endpoints,
        slots,
    }
}

/// A number from 0 to 1 that looks like chance.
fn noise(seed: u64, at: u64) -> f64 {
    let mixed = xxhash_rust::xxh3::xxh3_64_with_seed(&at.to_le_bytes(), seed);
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

fn tally(policy: (&str, f64, f64, f64, f64, f64), seed: u64, worse: f64) -> Tally {
    let (name, usd, missing, p50, p99, spilled) = policy;
    let luck = worse * (0.9 + 0.2 * noise(seed, name.len() as u64));
    let missing = f64::min(missing * luck, 1.0);
    let class = |at: usize, share: f64, miss_usd: f64, slower: f64| {
        let offered = (97_286.0 * share) as u64;
        let missed = (offered as f64 * f64::min(missing * [1.9, 0.15, 0.0][at], 1.0)) as u64;
        let sigma = (p99 / p50).ln() / 2.326;
        let draw = |i: u64| {
            let (a, b) = (noise(seed, 2 * i + 1).max(1e-12), noise(seed, 2 * i));
            let z = (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos();
            (p50 * slower * (sigma * z).exp()) as f32
        };
        ClassTally {
            offered,
            met: offered - missed,
            late: missed - missed / 9,
            rejected: missed / 9,
            cut: 0,
            miss_usd,
            ttft_ms: (0..4000).map(draw).collect(),
        }
    };
    Tally {
        policy: name.to_owned(),
        seed,
        classes: vec![class(0, 0.5, 0.010, 1.0), class(1, 0.3, 0.005, 1.6), class(2, 0.2, 0.005, 9.0)],
        pools: (0..POOLS.len()).map(|at| pool(at, usd * luck, spilled)).collect(),
        samples: (0..720).map(|at| sample(at, seed, missing, spilled)).collect(),
        length: Duration::from_secs(3642),
    }
}

fn pool(at: usize, usd: f64, spilled: f64) -> PoolTally {
    let owned = POOLS[at].1 == Tenure::Owned;
    let share = [0.75, 0.25, 0.6, 0.3, 0.1][at] * if owned { 1.0 - spilled } else { spilled };
    let answered = (97_000.0 * share) as u64;
    PoolTally {
        attempts: answered + 60,
        answered,
        late: Vec::new(),
        failed: if owned { 0 } else { 60 },
        limited: if owned { 0 } else { 48 },
        tokens: [answered * 900, answered * 255, answered * 211],
        usd: if owned { 0.0 } else { usd * [0.0, 0.0, 0.55, 0.4, 0.05][at] },
        energy_j: 0.0,
        slot_share: owned.then_some(0.83 - 0.1 * at as f64),
        prefill_share: owned.then_some(0.41),
    }
}

fn sample(at: u64, seed: u64, missing: f64, spilled: f64) -> Sample {
    let day = (at as f64 / 720.0 * std::f64::consts::TAU).sin();
    let burst = if (300..340).contains(&at) || (520..535).contains(&at) { 1.6 } else { 1.0 };
    let level = burst * (1.0 + 0.35 * day) * (0.9 + 0.2 * noise(seed, at));
    let offered = (135.0 * level) as u32;
    let over = (level - 1.0).max(0.0);
    let own = f64::min(160.0 * level, 185.0 - 100.0 * spilled);
    let leased = f64::min(50.0 * level, 62.0);
    let rest = 40.0 * level * spilled * 4.0 + 90.0 * over;
    let missed = f64::from(offered) * f64::min(missing * (0.2 + 4.0 * over), 1.0);
    let price = |scale: f64| if over > 0.02 { scale * 2e-5 * (5.0 * over).exp() } else { 0.0 };
    Sample {
        at: Instant::from_secs_f64(5.0 * (at + 1) as f64),
        in_flight: [own, leased, 0.6 * rest, 0.3 * rest, 0.1 * rest].map(|x| x as u32).to_vec(),
        slot_usd: vec![price(1.0), price(0.4), 0.0, 0.0, 0.0],
        waiting: (30.0 * over) as u32,
        offered,
        met: vec![offered - missed as u32, 0, 0],
        missed: vec![missed as u32, 0, 0],
        usd: 0.02 * rest / 60.0,
    }
}
