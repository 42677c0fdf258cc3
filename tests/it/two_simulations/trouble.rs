//! All sorts of things go wrong, and few wait.

use std::sync::Arc;

use gridtie::domain::catalog::Grants;
use gridtie::domain::{ClassId, Duration, Ending, Instant, PoolId};
use gridtie::engine::Door;
use gridtie::engine::draw::{below, mix, unit};
use gridtie::fleet;
use gridtie::sim::{Arrival, Blow, Fault, Traffic};

use super::lattice::{BLOCK, Lattice, arrival};
use super::{Scene, alike, count};
use crate::world::ms;

const SEED: u64 = 11;
const STEP: u64 = 128;
const LATTICE: Lattice = Lattice(STEP);

fn doors() -> Vec<Door> {
    let errors = Door { error_rate: 0.01, ..Door::default() };
    vec![
        Door { truncate_rate: 0.01, truncate_after: 2, ..errors.clone() },
        Door { delay: ms(STEP), stall_rate: 0.01, stall_after: 2, ..errors.clone() },
        Door {
            delay: ms(2 * STEP),
            grants: Grants { requests_per_minute: Some(20), ..Grants::default() },
            error_rate: 0.05,
            truncate_rate: 0.02,
            truncate_after: 0,
            stall_rate: 0.02,
            stall_after: 0,
            ..Door::default()
        },
        Door { delay: ms(STEP), truncate_rate: 0.01, truncate_after: 200, ..errors },
    ]
}

/// A slow pool gets well only when there is nothing in it: half a step that is sped up again is no whole number of
/// milliseconds.
fn faults() -> Vec<Fault> {
    // A residue that no call has.
    let at = |s: u64| Instant::START + ms(s * 1_000 / STEP * STEP + STEP - 1);
    let whole = doors();
    let door = |s, pool: u16, door| Fault { at: at(s), pool: PoolId(pool), what: Blow::Door(Box::new(door)) };
    let slow = |s, factor| Fault { at: at(s), pool: PoolId(0), what: Blow::Slow { endpoint: None, factor } };
    let gone = |i: usize| Door { refuse: true, ..whole[i].clone() };
    let ill = Door { error_rate: 0.9, error_status: 503, ..whole[2].clone() };
    vec![
        slow(400, 4.0),
        // Slow until it is restarted, with nothing in it.
        door(600, 0, gone(0)),
        slow(620, 1.0),
        door(640, 0, whole[0].clone()),
        // Both own pools together: there is not enough for all.
        door(1_000, 1, gone(1)),
        door(1_120, 0, gone(0)),
        door(1_180, 0, whole[0].clone()),
        door(1_200, 1, whole[1].clone()),
        door(2_100, 2, ill),
        door(2_300, 2, whole[2].clone()),
    ]
}

/// Bursts of calls of all classes, on residues that they share with nobody near.
fn traffic() -> Traffic {
    let mut slot = 0;
    let call = |i: usize| {
        let draw = mix(SEED, i as u64);
        // Not a multiple of 4: those are the fleet's, which is told the time every 500 ms.
        let nth = i as u64 % 93;
        let quiet = unit(mix(draw, 1)) < 0.5 || nth == 0;
        slot += if quiet { 1 + below(mix(draw, 2), 8) as u64 } else { 0 };
        let class = [0, 0, 0, 0, 0, 1, 1, 1, 2, 2][below(mix(draw, 3), 10)];
        Arrival {
            input: BLOCK * (1 + below(mix(draw, 4), 4) as u32),
            output: 1 + below(mix(draw, 5), 5) as u32,
            ..arrival(LATTICE.at(slot, nth / 3 * 4 + 1 + nth % 3), ClassId(class))
        }
    };
    Traffic { name: "trouble".to_owned(), arrivals: (0..10_000).map(call).collect() }
}

fn scene() -> Scene {
    let engines = vec![
        vec![LATTICE.batching(1.0, 4_000); 2],
        vec![LATTICE.batching(2.0, 4_000)],
        vec![LATTICE.opaque(6.0, 12)],
        vec![LATTICE.opaque(3.0, 10)],
    ];
    let mut catalog = LATTICE.catalog(&engines, LATTICE.classes());
    for (pool, most) in catalog.pools.iter_mut().zip([Some(9), Some(4), None, Some(2)]) {
        pool.max_in_flight = most;
    }
    // Those that cannot wait are refused soon, and none waits for a better price: its look would be on any residue.
    let mut routing = fleet::Settings::default();
    routing.choice.short_wait = Duration::from_millis(300);
    routing.choice.defer.first_bid = 1.0;
    Scene {
        seed: SEED,
        catalog: Arc::new(catalog),
        routing,
        engines,
        doors: doors(),
        faults: faults(),
        traffic: traffic(),
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_calls_are_decided_alike_live_and_simulated() {
    let sim = alike(&scene()).await;
    let ended = |how| count(&sim, |told| told.ending == Some(how));
    let (again, waited) = (count(&sim, |t| t.attempts > 1), count(&sim, |t| t.waited.is_some()));
    let saved = count(&sim, |t| t.attempts > 1 && t.ending == Some(Ending::Ok));
    let (refused, failed, broken) = (ended(Ending::Refused), ended(Ending::Failed), ended(Ending::Broken));
    eprintln!(
        "{again} calls failed over ({saved} of them were answered), {waited} waited, {refused} were refused, {failed} \
         failed, {broken} broke"
    );
    assert!(saved > 300 && waited > 200, "the world is too kind to prove anything");
    assert!(refused > 50 && failed > 50 && broken > 50, "the world is too kind to prove anything");
}
