//! Pools that are out of reach for a while, a lease that ends, and prices that follow the clock on the wall.

use std::sync::Arc;

use gridtie::domain::catalog::{ContactWindow, Lease};
use gridtie::domain::timetable::{Hours, Timetable};
use gridtie::domain::{Instant, Timestamp, Usd};
use gridtie::engine::Door;
use gridtie::fleet;
use gridtie::sim::Traffic;

use super::lattice::{BLOCK, Lattice, START, prices};
use super::{Scene, count, without_ties};

const LATTICE: Lattice = Lattice(2_048);

/// What a million tokens cost in the dear hours, in dollars.
const DEAR: f64 = 3.0;

fn scene(seed: u64) -> Scene {
    let engines = vec![
        vec![LATTICE.batching(1.0, 4_000); 2],
        vec![LATTICE.batching(2.0, 4_000)],
        vec![LATTICE.opaque(6.0, 12)],
        vec![LATTICE.opaque(3.0, 10)],
    ];
    let mut catalog = LATTICE.catalog(&engines, LATTICE.classes());
    // At moments at which nothing else happens.
    let after = |steps: u64| START.as_millis() + LATTICE.steps(steps).as_millis() as u64;
    let window = ContactWindow {
        period: LATTICE.steps(70),
        length: LATTICE.steps(50),
        anchor: Timestamp::from_millis(after(3) + 321),
    };
    let lease = Lease { from: None, until: Some(Timestamp::from_millis(after(1_500) + 777)) };
    let mut doors = [0, 1, 2, 1].map(|n| Door { delay: LATTICE.steps(n), ..Door::default() });
    (catalog.pools[0].contact, doors[0].contact) = (Some(window), Some(window));
    // Nobody knows of this one, so that answers are under way when its contact ends.
    doors[2].contact = Some(ContactWindow { period: LATTICE.steps(60), length: LATTICE.steps(50), ..window });
    (catalog.pools[1].lease, doors[1].lease) = (Some(lease), Some(lease));
    let dear: Vec<_> = (0..24 * 60)
        .step_by(20)
        .map(|from| (Hours { days: Hours::EVERY_DAY, from, to: from + 10 }, prices(DEAR)))
        .collect();
    catalog.offers[2].hours = Some(Timetable::new(catalog.offers[2].prices, &dear, 0));
    for (pool, most) in catalog.pools.iter_mut().zip([8, 4, 6, 4]) {
        pool.max_in_flight = Some(most);
    }
    Scene {
        seed,
        catalog: Arc::new(catalog),
        routing: fleet::Settings::default(),
        engines,
        doors: doors.into(),
        faults: Vec::new(),
        traffic: Traffic { name: "reach".to_owned(), arrivals: LATTICE.calls(800, 2.0, seed) },
    }
}

#[tokio::test(start_paused = true)]
async fn windows_of_contact_and_hours_of_prices_change_the_same_calls_live_and_simulated() {
    let (scene, sim) = without_ties(scene).await;
    let lost = count(&sim, |t| t.text.contains("Disconnected"));
    let leased = |from, to| {
        let sent =
            sim.values().flat_map(|t| &t.bills).filter(|(pool, at, _)| *pool == 1 && (from..to).contains(at));
        sent.count()
    };
    let ended = LATTICE.at(1_500, 777);
    let (before, after) = (leased(Instant::START, ended), leased(ended, Instant::NEVER));
    let dear = count(&sim, |t| {
        t.bills
            .iter()
            .any(|(pool, _, usd)| *pool == 2 && *usd >= Usd::from_dollars(DEAR * 1e-6 * f64::from(BLOCK)))
    });
    eprintln!(
        "seed {}: {lost} answers were cut off by the end of contact; {before} calls went to the leased pool; {dear} paid the \
         dear hour's price",
        scene.seed
    );
    assert_eq!(after, 0, "the lease is over");
    assert!(lost > 20 && before > 100 && dear > 10, "the world is too kind to prove anything");
}
