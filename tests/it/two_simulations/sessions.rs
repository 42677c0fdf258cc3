//! Conversations: each turn says again what was said before, so that it gains from the cache of the endpoint that has it.

use std::sync::Arc;

use gridtie::domain::{Block, ClassId, Price};
use gridtie::engine::draw::{below, mix};
use gridtie::engine::{Door, Settings as Engine};
use gridtie::fleet;
use gridtie::sim::{Arrival, Traffic};

use super::lattice::{Lattice, arrival};
use super::{Accounts, Scene, count, without_ties};

const LATTICE: Lattice = Lattice(1_024);
/// Tokens of a block: what simulated engines cut prompts into.
const PIECE: u32 = 512;
/// The longest conversation.
const TURNS: usize = 5;

/// What the router is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    /// Which conversation it is. Engines cache nothing, and clouds say so, too.
    Session,
    /// And what its prompt is made of. Engines cache prompts.
    Prefix,
}

/// All turns of one conversation: everybody's instructions, then a block or two more with every turn.
fn conversation(seed: u64, number: u64, says: Says) -> Vec<Arrival> {
    let draw = |k: u64| mix(mix(seed, number), k);
    let mut step = below(draw(1), 3_000) as u64;
    let mut blocks = vec![Block { hash: 1, tokens: PIECE }];
    let class = ClassId(below(draw(2), 3) as u8);
    let turn = |k: usize| {
        let draw = |what: u64| draw(10 * (k as u64 + 1) + what);
        for _ in 0..=below(draw(0), 2) {
            blocks.push(Block { hash: mix(draw(9), blocks.len() as u64), tokens: PIECE });
        }
        step += 20 + below(draw(1), 100) as u64;
        let residue = below(draw(2), LATTICE.0 as usize) as u64;
        Arrival {
            input: PIECE * blocks.len() as u32,
            output: 1 + below(draw(3), 5) as u32,
            session: Some(number),
            prefix: if says == Says::Prefix { blocks.as_slice().into() } else { [].into() },
            ..arrival(LATTICE.at(step, residue), class)
        }
    };
    (0..1 + below(draw(3), TURNS)).map(turn).collect()
}

fn scene(seed: u64, says: Says) -> Scene {
    let cached = |prefill_steps| match LATTICE.batching(prefill_steps, 20_000) {
        Engine::Batching(batching) => {
            Engine::Batching(gridtie::engine::Batching { prefix_cache: says == Says::Prefix, ..batching })
        }
        opaque @ Engine::Opaque(_) => opaque,
    };
    let engines = vec![
        vec![cached(1.0); 3],
        vec![cached(2.0); 2],
        vec![LATTICE.opaque(6.0, 12)],
        vec![LATTICE.opaque(3.0, 10)],
    ];
    let mut catalog = LATTICE.catalog(&engines, LATTICE.classes());
    for (offer, dollars) in catalog.offers.iter_mut().zip([0.0, 0.0, 0.06, 0.12]) {
        offer.prices.cached = Price::per_million(dollars);
    }
    for (pool, most) in catalog.pools.iter_mut().zip([12, 8, 6, 4]) {
        pool.max_in_flight = Some(most);
    }
    let mut arrivals: Vec<_> = (0..250).flat_map(|n| conversation(seed, n, says)).collect();
    arrivals.sort_by_key(|call| call.at);
    Scene {
        seed,
        catalog: Arc::new(catalog),
        routing: fleet::Settings::default(),
        engines,
        doors: [0, 1, 2, 1]
            .map(|n| Door { delay: LATTICE.steps(n), error_rate: 0.02, ..Door::default() })
            .into(),
        faults: Vec::new(),
        traffic: Traffic { name: "sessions".to_owned(), arrivals },
    }
}

/// Turns that were sent to where the one before was, and turns that were not.
fn stayed(scene: &Scene, sim: &Accounts) -> (usize, usize) {
    let mut last = std::collections::BTreeMap::new();
    let (mut stayed, mut went) = (0, 0);
    for (i, call) in scene.arrivals() {
        let Some((endpoint, ..)) = scene.of(sim, i).heard.last() else { continue };
        match last.insert(call.session, *endpoint) {
            Some(before) if before == *endpoint => stayed += 1,
            Some(_) => went += 1,
            None => {}
        }
    }
    (stayed, went)
}

#[tokio::test(start_paused = true)]
async fn conversations_stay_and_go_alike_live_and_simulated() {
    let (scene, sim) = without_ties(|seed| scene(seed, Says::Session)).await;
    let (stayed, went) = stayed(&scene, &sim);
    eprintln!("seed {}: {stayed} turns stayed, {went} went elsewhere", scene.seed);
    assert!(stayed > 100 && went > 50, "the world is too kind to prove anything");
}

#[tokio::test(start_paused = true)]
async fn prompts_find_their_beginnings_in_the_same_caches_live_and_simulated() {
    let (scene, sim) = without_ties(|seed| scene(seed, Says::Prefix)).await;
    let (stayed, went) = stayed(&scene, &sim);
    let (shared, own) =
        (count(&sim, |t| t.cached == u64::from(PIECE)), count(&sim, |t| t.cached > u64::from(PIECE)));
    eprintln!(
        "seed {}: {stayed} turns stayed, {went} went elsewhere; {own} found their own history in a cache, {shared} only \
         the instructions",
        scene.seed
    );
    assert!(own > 100 && shared > 50 && went > 50, "the world is too kind to prove anything");
}
