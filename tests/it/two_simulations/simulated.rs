//! A scene through the simulator.

use gridtie::call::Record;
use gridtie::domain::{CallFacts, CallId, Instant};
use gridtie::flow;
use gridtie::sim::{Arrival, PoolSettings, Routers, Setup, Traffic, world};

use super::lattice::{START, addresses};
use super::{Accounts, Scene, live, told};

pub(super) fn accounts(scene: &Scene) -> Accounts {
    let pool = |(i, engines): (usize, &Vec<_>)| PoolSettings {
        engines: engines.clone(),
        addresses: addresses(i, engines.len()),
        door: scene.doors[i].clone(),
        seed: i as u64,
    };
    let setup = Setup {
        catalog: scene.catalog.clone(),
        routing: scene.routing,
        pools: scene.engines.iter().enumerate().map(pool).collect(),
        faults: scene.faults.clone(),
        start: START,
        routers: Routers::default(),
    };
    let arrivals = scene.traffic.arrivals.iter().map(|arrival| keyed(scene, arrival)).collect();
    let traffic = Traffic { name: scene.traffic.name.clone(), arrivals };
    let mut accounts = Accounts::new();
    world::run_shown(&setup, &traffic, scene.seed, &mut |facts: &CallFacts, record: &Record| {
        accounts.insert(facts.id.0, told(facts, record));
    });
    accounts
}

/// The key of a session is what a live router makes of its name.
fn keyed(scene: &Scene, arrival: &Arrival) -> Arrival {
    let inbound = live::inbound(arrival, &scene.catalog);
    let facts = flow::resolve(&scene.catalog, CallId(0), Instant::START, &inbound).unwrap();
    Arrival { session: facts.session.map(|key| key.0), ..arrival.clone() }
}
