//! One router, two worlds: calls through `flow` (tasks, simulated pools behind the upstream seam, paused tokio time) and
//! through `sim` (an event queue over the same engines and doors) must give the same account of every call: what the
//! router knew of it, each attempt's pool, endpoint, start, first token, end and result, and the reason with its dollars
//! to the last bit.
//!
//! The two clocks can only show the same moments if nothing that pools do falls between two milliseconds, which is what
//! tokio's timers count. Hence a lattice: all times of engines and networks are multiples of a step, a power of two in
//! milliseconds, which the engines' fixed-point counter divides without a rest.
//!
//! What falls on the same millisecond happens in the same order in both worlds, because both are lines: timers that go off
//! at one moment, tasks that are woken and calls that wait are served in the order in which they were set, woken and
//! began to wait, by tokio's current-thread runtime as by the simulator's agenda. There is one exception: what two engines
//! say at one moment has no order that both worlds share, because a live engine sets its timer anew with every token. In
//! some scenes that cannot happen, because every call arrives on a residue of its own modulo the step, and keeps it. In
//! the others [`without_ties`] looks for a seed with which it does not.

mod crowd;
mod grants;
mod lattice;
mod live;
mod patience;
mod reach;
mod sessions;
mod simulated;
mod tenants;
mod trouble;
mod whole;

use std::collections::BTreeMap;
use std::sync::Arc;

use gridtie::call::{AttemptResult, Record};
use gridtie::domain::{CallFacts, Catalog, Ending, FailureKind, Instant, Usd};
use gridtie::engine::draw::mix;
use gridtie::engine::{Door, Settings as Engine};
use gridtie::fleet;
use gridtie::sim::{Arrival, Fault, Traffic};

/// What is played. Sessions of its calls are numbers here, and named by them.
#[derive(Debug)]
struct Scene {
    seed: u64,
    catalog: Arc<Catalog>,
    routing: fleet::Settings,
    /// By pool, one an endpoint.
    engines: Vec<Vec<Engine>>,
    /// By pool.
    doors: Vec<Door>,
    faults: Vec<Fault>,
    traffic: Traffic,
}

/// The account of every call, by id.
type Accounts = BTreeMap<u64, Told>;

/// What is compared, and what tests want to count.
#[derive(Debug)]
struct Told {
    text: String,
    attempts: usize,
    waited: Option<String>,
    /// When it was first sent.
    sent: Option<Instant>,
    ending: Option<Ending>,
    /// What each pool that it was sent to takes for it, and when it was sent there, in order.
    bills: Vec<(usize, Instant, Usd)>,
    /// Tokens of the prompt that came from a cache.
    cached: u64,
    /// What engines said of it, and when the router heard it: the endpoint, its pool, the moment.
    heard: Vec<(u32, usize, Instant)>,
}

fn told(facts: &CallFacts, record: &Record) -> Told {
    let heard = record.attempts.iter().flat_map(|a| {
        // Streams that are lost with their pool are lost in the order in which they came.
        let lost = facts.stream && a.result == AttemptResult::Failed(FailureKind::Disconnected);
        let moments = a.first_token.into_iter().chain((!lost).then_some(a.ended));
        moments.map(|at| (a.endpoint.0, a.pool.index(), at))
    });
    Told {
        text: format!("{facts:?}\n           {record:?}"),
        attempts: record.attempts.len(),
        waited: record.waited_for.as_ref().map(ToString::to_string),
        sent: record.attempts.first().map(|a| a.started),
        ending: record.ending,
        bills: record.attempts.iter().map(|a| (a.pool.index(), a.started, a.cost)).collect(),
        cached: record.usage.cached,
        heard: heard.collect(),
    }
}

impl Scene {
    fn id(&self, call: usize) -> u64 {
        mix(self.seed, call as u64)
    }

    /// What is told of that call.
    fn of<'a>(&self, accounts: &'a Accounts, call: usize) -> &'a Told {
        &accounts[&self.id(call)]
    }

    fn arrivals(&self) -> impl Iterator<Item = (usize, &Arrival)> {
        self.traffic.arrivals.iter().enumerate()
    }
}

/// Plays a scene twice, and compares call by call. Gives the accounts.
async fn alike(scene: &Scene) -> Accounts {
    let sim = simulated::accounts(scene);
    same_live(scene, &sim).await;
    sim
}

/// Plays the scene live, and compares call by call.
async fn same_live(scene: &Scene, sim: &Accounts) {
    let live = live::accounts(scene).await;
    let calls = scene.traffic.arrivals.len();
    assert_eq!((sim.len(), live.len()), (calls, calls));
    let differs = (0..calls).filter(|i| scene.of(&live, *i).text != scene.of(sim, *i).text);
    // The first to go another way tells why; the rest follow from it.
    let first = differs.min_by_key(|i| {
        [&live, sim].map(|a| scene.of(a, *i).sent.unwrap_or(Instant::NEVER)).into_iter().min()
    });
    if let Some(i) = first {
        let at = scene.traffic.arrivals[i].at;
        let [live, sim] = [&live, sim].map(|accounts| &scene.of(accounts, i).text);
        panic!("call {i}, at {at:?}:\n live      {live}\n simulated {sim}");
    }
}

/// The same for the first seed with which no two engines speak in the same millisecond. Gives the scene, too.
async fn without_ties(scene: impl Fn(u64) -> Scene) -> (Scene, Accounts) {
    /// Half of all seeds or so will do.
    const SEEDS: u64 = 30;
    for seed in 1..=SEEDS {
        let scene = scene(seed);
        let sim = simulated::accounts(&scene);
        if ties(&scene, &sim) == 0 {
            same_live(&scene, &sim).await;
            return (scene, sim);
        }
    }
    panic!("engines speak at the same moment with every seed: make the lattice coarser");
}

/// Moments at which engines of several endpoints speak.
fn ties(scene: &Scene, sim: &Accounts) -> usize {
    let heard = sim.values().flat_map(|told| &told.heard);
    let mut said: Vec<_> = heard.map(|(e, pool, at)| (*at - scene.doors[*pool].delay, *e)).collect();
    said.sort_unstable();
    said.dedup();
    said.windows(2).filter(|two| two[0].0 == two[1].0).count()
}

/// How many there are of those.
fn count(accounts: &Accounts, of: impl Fn(&Told) -> bool) -> usize {
    accounts.values().filter(|told| of(told)).count()
}
