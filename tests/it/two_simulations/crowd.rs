//! More calls than there is room for, all the time, so that most of them wait.
//!
//! Whoever is called up takes the residue of the call whose place it gets: as long as that is in the same engine, no two
//! engines come to speak in the same millisecond. Hence one endpoint a pool, no failover, and no lull in which a call
//! finds room when it arrives.

use std::sync::Arc;

use gridtie::domain::{ClassId, Duration};
use gridtie::engine::Door;
use gridtie::engine::draw::{below, mix, unit};
use gridtie::fleet;
use gridtie::sim::{Arrival, Traffic};

use super::lattice::{BLOCK, Lattice, arrival};
use super::{Accounts, Scene, alike, count};

pub(super) const SEED: u64 = 11;
const LATTICE: Lattice = Lattice(128);

/// So many calls fill all pools, and come first. Theirs are the residues on which engines speak from then on.
const ROOM: usize = 14;

/// Calls that come together have residues that they share with nobody near.
fn traffic() -> Traffic {
    let mut slot = 0;
    let call = |i: usize| {
        let draw = mix(SEED, i as u64);
        let nth = i as u64 % 64;
        // Not a multiple of 4: those are the fleet's, which is told the time every 500 ms.
        let residue = if i < ROOM { i as u64 * 4 + 1 } else { nth / 2 * 4 + 2 + nth % 2 };
        let quiet = unit(mix(draw, 1)) < 0.5 && i > ROOM || (nth == 0 && i > 0) || i == ROOM;
        slot += if quiet { (1 + below(mix(draw, 2), 8) as u64).div_ceil(3) } else { 0 };
        let class = [0, 0, 0, 0, 0, 1, 1, 1, 2, 2][below(mix(draw, 3), 10)];
        Arrival {
            input: BLOCK * (1 + below(mix(draw, 4), 4) as u32),
            output: 1 + below(mix(draw, 5), 5) as u32,
            ..arrival(LATTICE.at(slot, residue), ClassId(class))
        }
    };
    Traffic { name: "crowd".to_owned(), arrivals: (0..3_000).map(call).collect() }
}

pub(super) fn scene() -> Scene {
    let engines = vec![
        vec![LATTICE.batching(1.0, 4_000)],
        vec![LATTICE.batching(2.0, 4_000)],
        vec![LATTICE.opaque(6.0, 12)],
        vec![LATTICE.opaque(3.0, 10)],
    ];
    let mut classes = LATTICE.classes();
    for (class, floor) in classes.iter_mut().zip([0.25, 0.10, 0.05]) {
        class.floor = floor;
    }
    classes[2].deadline = Duration::from_secs(100_000);
    let mut catalog = LATTICE.catalog(&engines, classes);
    for (pool, most) in catalog.pools.iter_mut().zip([4, 4, 4, 2]) {
        pool.max_in_flight = Some(most);
    }
    // Those that cannot wait do all the same, and none waits for a better price: its look would be on any residue.
    let mut routing = fleet::Settings::default();
    routing.choice.short_wait = Duration::from_secs(6);
    routing.choice.defer.first_bid = 1.0;
    Scene {
        seed: SEED,
        catalog: Arc::new(catalog),
        routing,
        engines,
        doors: [0, 1, 2, 1].map(|n| Door { delay: LATTICE.steps(n), ..Door::default() }).into(),
        faults: Vec::new(),
        traffic: traffic(),
    }
}

/// The most calls that waited at one moment.
fn most_waiting(scene: &Scene, sim: &Accounts) -> i32 {
    let waits = scene.arrivals().map(|(i, a)| (a.at, scene.of(sim, i)));
    let ends = waits.filter_map(|(at, told)| Some((at, told.sent.filter(|_| told.waited.is_some())?)));
    let mut moves: Vec<_> = ends.flat_map(|(from, to)| [(from, 1), (to, -1)]).collect();
    moves.sort_unstable();
    let mut now = 0;
    let counts = moves.iter().map(|(_, by)| {
        now += by;
        now
    });
    counts.max().unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_are_served_in_the_same_order_live_and_simulated() {
    let scene = scene();
    let sim = alike(&scene).await;
    let waited = count(&sim, |t| t.waited.is_some() && t.sent.is_some());
    let most = most_waiting(&scene, &sim);
    eprintln!("{waited} calls waited and were served, up to {most} at once");
    assert!(waited > 1_000 && most > 30, "the world is too kind to prove anything");
}
