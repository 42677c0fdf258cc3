//! Answers that come whole, generated ones and vectors, beside streams, from pools that break some of each.

use std::sync::Arc;

use gridtie::domain::catalog::Offer;
use gridtie::domain::{AskKind, Capabilities, Ending, ModelId};
use gridtie::engine::Door;
use gridtie::engine::draw::{below, mix};
use gridtie::fleet;
use gridtie::sim::{Arrival, Traffic};

use super::lattice::{Lattice, model, offer, prices};
use super::{Scene, count, without_ties};

const LATTICE: Lattice = Lattice(2_048);
const VECTORS: ModelId = ModelId(1);

/// A third of all calls are streams, a third want their answers whole, and a third want vectors.
fn calls(seed: u64) -> Vec<Arrival> {
    let mut calls = LATTICE.calls(800, 2.0, seed);
    for (i, call) in calls.iter_mut().enumerate() {
        match below(mix(mix(seed, 77), i as u64), 3) {
            0 => {}
            1 => call.stream = false,
            _ => call.model = VECTORS,
        }
    }
    calls
}

fn scene(seed: u64) -> Scene {
    let engines = vec![
        vec![LATTICE.batching(1.0, 4_000); 2],
        vec![LATTICE.batching(2.0, 4_000)],
        vec![LATTICE.opaque(6.0, 12)],
        vec![LATTICE.opaque(3.0, 10)],
    ];
    let mut catalog = LATTICE.catalog(&engines, LATTICE.classes());
    let vectors = |pool, dollars| Offer {
        capabilities: Capabilities::EMBED,
        // Vectors are no tokens: a price of them must be on no bill.
        prices: prices(dollars),
        ..offer(pool, VECTORS.0, dollars)
    };
    let [own, leased, cheap, premium] = [(0, 0.0), (1, 0.0), (2, 0.6), (3, 1.2)].map(|(p, d)| offer(p, 0, d));
    catalog.offers = vec![own, vectors(0, 0.0), leased, cheap, vectors(2, 0.1), premium, vectors(3, 0.2)];
    catalog.models =
        vec![model("chat", AskKind::Chat, [0, 2, 3, 5]), model("vectors", AskKind::Embed, [1, 4, 6])];
    for (pool, most) in catalog.pools.iter_mut().zip([8, 4, 6, 4]) {
        pool.max_in_flight = Some(most);
    }
    let breaks = |n: u64, after| Door {
        delay: LATTICE.steps(n),
        error_rate: 0.03,
        truncate_rate: 0.05,
        truncate_after: after,
        stall_rate: 0.03,
        stall_after: after,
        ..Door::default()
    };
    Scene {
        seed,
        catalog: Arc::new(catalog),
        routing: fleet::Settings::default(),
        engines,
        doors: vec![breaks(0, 2), breaks(1, 0), breaks(2, 1), breaks(1, 200)],
        faults: Vec::new(),
        traffic: Traffic { name: "whole".to_owned(), arrivals: calls(seed) },
    }
}

#[tokio::test(start_paused = true)]
async fn whole_answers_and_vectors_break_and_fail_over_like_streams_live_and_simulated() {
    let (scene, sim) = without_ties(scene).await;
    let saved = |of: fn(&Arrival) -> bool| {
        let told = scene.arrivals().filter(|(_, call)| of(call)).map(|(i, _)| scene.of(&sim, i));
        told.filter(|t| t.attempts > 1 && t.ending == Some(Ending::Ok)).count()
    };
    let (whole, vectors) = (saved(|call| !call.stream), saved(|call| call.model == VECTORS));
    let streams = saved(|call| call.stream && call.model != VECTORS);
    let lost = count(&sim, |t| t.text.contains("Disconnected"));
    eprintln!(
        "seed {}: saved by another pool: {whole} whole answers, {vectors} vectors, {streams} streams; {lost} whole answers \
         were cut",
        scene.seed
    );
    assert!(
        whole > 10 && vectors > 10 && streams > 5 && lost > 10,
        "the world is too kind to prove anything"
    );
}
