//! What providers grant: rates, a quota and a budget for longer, and how fast what is sent may grow.

use std::sync::Arc;

use gridtie::domain::catalog::{Budget, Grants, Growth, Quota};
use gridtie::domain::{Instant, Usd};
use gridtie::engine::Door;
use gridtie::fleet;
use gridtie::sim::Traffic;

use super::lattice::{Lattice, START};
use super::{Accounts, Scene, count, without_ties};

const LATTICE: Lattice = Lattice(2_048);

/// What may be spent at the dearest pool in so many steps.
const BUDGET_USD: f64 = 0.004;
const WINDOW: u64 = 300;

fn scene(seed: u64) -> Scene {
    let engines = vec![
        vec![LATTICE.batching(1.0, 4_000); 2],
        vec![LATTICE.batching(2.0, 4_000)],
        vec![LATTICE.opaque(6.0, 12)],
        vec![LATTICE.opaque(3.0, 10)],
    ];
    let mut classes = LATTICE.classes();
    (classes[1].reserve, classes[2].reserve) = (0.2, 0.5);
    let mut catalog = LATTICE.catalog(&engines, classes);
    let quota = |tokens| Quota { tokens, every: LATTICE.steps(200), anchor: START };
    catalog.pools[0].max_in_flight = Some(3);
    catalog.pools[1].max_in_flight = Some(2);
    catalog.pools[2].grants = Grants {
        requests_per_minute: Some(6),
        tokens_per_minute: Some(3_000),
        quota: Some(quota(12_000)),
        ..Grants::default()
    };
    catalog.pools[3].grants = Grants {
        budget: Some(Budget {
            usd: Usd::from_dollars(BUDGET_USD),
            every: LATTICE.steps(WINDOW),
            anchor: START,
        }),
        growth: Some(Growth { factor: 1.5, every: LATTICE.steps(60), above: 600 }),
        ..Grants::default()
    };
    let mut doors = [0, 1, 2, 1].map(|n| Door { delay: LATTICE.steps(n), ..Door::default() });
    // It keeps less than it promised.
    doors[2].grants = Grants {
        requests_per_minute: Some(5),
        tokens_per_minute: Some(2_500),
        quota: Some(quota(6_000)),
        ..Grants::default()
    };
    Scene {
        seed,
        catalog: Arc::new(catalog),
        routing: fleet::Settings::default(),
        engines,
        doors: doors.into(),
        faults: Vec::new(),
        traffic: Traffic { name: "grants".to_owned(), arrivals: LATTICE.calls(800, 1.5, seed) },
    }
}

/// The most that was spent there in one window.
fn most_spent(sim: &Accounts) -> Usd {
    let mut windows = std::collections::BTreeMap::<u128, Usd>::new();
    for (_, at, usd) in sim.values().flat_map(|t| &t.bills).filter(|(pool, ..)| *pool == 3) {
        let window = at.since(Instant::START).as_millis() / LATTICE.steps(WINDOW).as_millis();
        *windows.entry(window).or_default() += *usd;
    }
    windows.into_values().max().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn what_providers_grant_is_used_up_alike_live_and_simulated() {
    let (scene, sim) = without_ties(scene).await;
    let met = |what: &'static str| count(&sim, move |t| t.text.contains(what));
    let (rate, quota) = (met("RateLimited"), met("QuotaExhausted"));
    let waited = count(&sim, |t| t.waited.as_ref().is_some_and(|w| w.contains("what it grants")));
    let most = most_spent(&sim);
    eprintln!(
        "seed {}: {rate} calls met a rate limit and {quota} the end of a quota; {waited} waited for what is granted; up to \
         {most} was spent of {BUDGET_USD}",
        scene.seed
    );
    assert!(rate > 10 && quota > 0 && waited > 30, "the world is too kind to prove anything");
    assert!(most.as_dollars() > 0.9 * BUDGET_USD, "the world is too kind to prove anything");
}
