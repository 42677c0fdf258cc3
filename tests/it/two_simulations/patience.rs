//! Calls that may wait do, for a better price: they look again now and then, at any moment.

use std::sync::Arc;

use gridtie::domain::Ending;
use gridtie::engine::Door;
use gridtie::fleet;
use gridtie::sim::Traffic;

use super::lattice::Lattice;
use super::{Scene, count, without_ties};

/// Coarse: a look is on any millisecond, so that engines are kept apart by chance alone.
const LATTICE: Lattice = Lattice(2_048);

fn scene(seed: u64) -> Scene {
    let engines = vec![
        vec![LATTICE.batching(1.0, 4_000); 2],
        vec![LATTICE.batching(2.0, 4_000)],
        vec![LATTICE.opaque(6.0, 12)],
        vec![LATTICE.opaque(3.0, 10)],
    ];
    let mut catalog = LATTICE.catalog(&engines, LATTICE.classes());
    for (pool, most) in catalog.pools.iter_mut().zip([8, 4, 6, 4]) {
        pool.max_in_flight = Some(most);
    }
    Scene {
        seed,
        catalog: Arc::new(catalog),
        routing: fleet::Settings::default(),
        engines,
        doors: [0, 1, 2, 1].map(|n| Door { delay: LATTICE.steps(n), ..Door::default() }).into(),
        faults: Vec::new(),
        traffic: Traffic { name: "patience".to_owned(), arrivals: LATTICE.calls(800, 2.0, seed) },
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_for_a_better_price_take_it_at_the_same_moment_live_and_simulated() {
    let (scene, sim) = without_ties(scene).await;
    let waited = |t: &super::Told| t.waited.as_deref() == Some("a better price");
    let (patient, served) = (count(&sim, waited), count(&sim, |t| waited(t) && t.ending == Some(Ending::Ok)));
    eprintln!("seed {}: {patient} calls waited for a better price, {served} of them were served", scene.seed);
    assert!(served > 100, "the world is too kind to prove anything");
}
