//! The same crowd, of three tenants: one with nine tenths of the calls, and two who ask for little. The line is so short
//! that it is always full, so that calls of the large one make room for those of the others.

use std::sync::Arc;

use gridtie::domain::Ending;
use gridtie::domain::catalog::Tenant;
use gridtie::engine::draw::{mix, unit};

use super::{Accounts, Scene, alike, crowd};

/// Nine tenths are the first's.
fn tenant(call: usize) -> u32 {
    (1.0 + 20.0 * (unit(mix(crowd::SEED, 7_000_000 + call as u64)) - 0.9)).max(0.0) as u32
}

fn scene(tenants: bool) -> Scene {
    let mut scene = crowd::scene();
    let mut catalog = (*scene.catalog).clone();
    let more = ["small", "smaller"].map(|name| Tenant { name: name.into() });
    catalog.tenants.extend(more);
    scene.catalog = Arc::new(catalog);
    scene.routing.queue.most = 24;
    if tenants {
        for (i, arrival) in scene.traffic.arrivals.iter_mut().enumerate() {
            arrival.client = tenant(i);
        }
    }
    scene
}

/// Refused, and all, of the large tenant's calls and of the others'.
fn refused(scene: &Scene, sim: &Accounts) -> [(usize, usize); 2] {
    let mut refused = [(0, 0); 2];
    for (i, _) in scene.arrivals() {
        let (no, all) = &mut refused[usize::from(tenant(i) > 0)];
        *all += 1;
        *no += usize::from(scene.of(sim, i).ending != Some(Ending::Ok));
    }
    refused
}

#[tokio::test(start_paused = true)]
async fn shares_of_tenants_are_the_same_live_and_simulated() {
    let (with, without) = (scene(true), scene(false));
    let [large, small] = refused(&with, &alike(&with).await);
    let [_, alone] = refused(&without, &alike(&without).await);
    eprintln!("refused with shares: {large:?} of the large, {small:?} of the small; without: {alone:?}");
    assert!(large.0 > 300 && alone.0 > 30, "the world is too kind to prove anything");
    assert!(small.0 * 5 < alone.0, "{small:?} against {alone:?}");
}
