//! One router, two worlds: ten thousand calls through `flow` (tasks, simulated pools behind the upstream seam, paused tokio
//! time) and through `sim` (an event queue over the same engines and doors) must give the same account of every call:
//! each attempt's pool, endpoint, start, first token, end and result, and the reason with its dollars to the last bit.
//!
//! The two clocks can only show the same moments if nothing that pools do falls between two milliseconds, which is what
//! tokio's timers count. Hence a lattice: all times of engines and networks are multiples of [`STEP`], a power of two in
//! milliseconds, which the engines' fixed-point counter divides without a rest; and a slow pool gets well only when there
//! is nothing in it. Every call arrives on a residue of its own modulo that step and keeps it, so that most calls never act
//! in the same millisecond as another.
//!
//! Those that do (calls that wait for the same cooldown, answers that are lost together, tokens of one batch) act in the
//! same order in both worlds, because both are lines: timers that go off at one moment, tasks that are woken and calls
//! that wait are served in the order in which they were set, woken and began to wait, by tokio's current-thread runtime
//! as by the simulator's agenda.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures_util::StreamExt;
use gridtie::call::Record;
use gridtie::clock::Clock;
use gridtie::domain::catalog::{Class, Grants, Model, Offer, Pool, Tenant};
use gridtie::domain::request::{Ask, Chat, Message, Part, Role, Sampling};
use gridtie::domain::{
    Address, AskKind, Body, CallFacts, CallId, Capabilities, Catalog, ClassId, Duration, Ending, Hints,
    Instant, ModelId, OfferId, PoolId, Price, Prices, Request, TenantId, Tenure, Timestamp,
};
use gridtie::engine::draw::{below, mix, unit};
use gridtie::engine::{Batching, Door, Opaque, Power, Settings as Engine, Speed};
use gridtie::fleet::{self, Fleet};
use gridtie::flow::{self, Answered, Inbound, Router};
use gridtie::ledger::{Ledger, Used};
use gridtie::sim::{Arrival, Blow, Fault, PoolSettings, Setup, Traffic, world};
use gridtie::telemetry::{LogWriter, Telemetry};
use gridtie::upstream::Upstream;
use gridtie::upstream::simulated::{OutputLength, Settings as Simulation, Simulated};

use crate::world::ms;

/// What is played.
#[derive(Clone, Copy)]
struct Scene {
    calls: usize,
    /// Calls a moment, against the usual one.
    crowd: u64,
    /// How long calls that cannot wait wait all the same.
    short_wait: Duration,
    /// At most so many calls in each pool at once.
    max_in_flight: [Option<u32>; 4],
    /// Shares of what those that wait get.
    floors: [f64; 3],
    /// All sorts of things go wrong, and the own pool has two endpoints.
    trouble: bool,
}

/// All sorts of trouble, and few who wait.
const TROUBLE: Scene = Scene {
    calls: 10_000,
    crowd: 1,
    short_wait: Duration::from_millis(300),
    max_in_flight: [Some(9), Some(4), None, Some(2)],
    floors: [0.0; 3],
    trouble: true,
};

/// So many calls fill all pools of [`CROWD`], and come first. Theirs are the residues on which engines speak from then on.
const ROOM: usize = 14;

/// More calls than there is room for, all the time, so that most of them wait. Whoever is called up takes the residue of
/// the call whose place it gets: as long as that is in the same engine, no two engines come to speak in the same
/// millisecond. Hence one endpoint a pool, no failover, and no lull in which a call finds room when it arrives.
const CROWD: Scene = Scene {
    calls: 4_000,
    crowd: 3,
    short_wait: Duration::from_millis(6_000),
    max_in_flight: [Some(4), Some(4), Some(4), Some(2)],
    floors: [0.25, 0.10, 0.05],
    trouble: false,
};

const SEED: u64 = 11;
/// What all times of engines and networks are multiples of, in milliseconds.
const STEP: u64 = 128;
const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const POOLS: [&str; 4] = ["own", "leased", "cheap", "premium"];
/// Prompts are multiples of this, so that their prefill takes whole steps.
const BLOCK: u32 = 128;

/// So many steps in seconds. Engines cut fractions of a nanosecond off: the last summand keeps those of a sum of decimal
/// fractions from being a whole one.
fn steps_s(n: f64) -> f64 {
    n * STEP as f64 / 1e3 + 1e-11
}

fn batching(prefill_steps: f64, max_batch: u32, queue: u32) -> Engine {
    Engine::Batching(Batching {
        speed: Speed {
            prefill_base_s: steps_s(prefill_steps),
            prefill_token_s: steps_s(1.0) / f64::from(BLOCK),
            prefill_floor_s: 0.0,
            prefill_knee: u32::MAX,
            step_base_s: steps_s(4.0),
            step_seq_s: 0.0,
            interference: 1.0,
        },
        max_batch,
        kv_tokens: 4_000,
        queue,
        prefix_cache: false,
        power: Power::default(),
    })
}

fn opaque(ttft_steps: f64, max_jobs: u32) -> Engine {
    Engine::Opaque(Opaque {
        ttft_median_s: steps_s(ttft_steps),
        ttft_sigma: 0.0,
        prefill_token_s: steps_s(1.0) / f64::from(BLOCK),
        tpot_s: steps_s(2.0),
        max_jobs,
    })
}

fn engines(scene: Scene) -> [Vec<Engine>; 4] {
    let mut engines = [
        vec![batching(1.0, 2, 3), batching(1.0, 2, 3)],
        vec![batching(2.0, 2, 3)],
        vec![opaque(6.0, 12)],
        vec![opaque(3.0, 10)],
    ];
    engines[0].truncate(if scene.trouble { 2 } else { 1 });
    engines
}

fn doors(scene: Scene) -> [Door; 4] {
    if !scene.trouble {
        return [0, 1, 2, 1].map(|steps| Door { delay: ms(steps * STEP), ..Door::default() });
    }
    let errors = Door { error_rate: 0.01, ..Door::default() };
    [
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

fn catalog(scene: Scene) -> Arc<Catalog> {
    let engines = engines(scene);
    let pool = |i: usize, tenure| Pool {
        name: POOLS[i].into(),
        tenure,
        region: None,
        failure_domain: POOLS[i].into(),
        contact: None,
        lease: None,
        power: None,
        rtt_prior: ms(1),
        grants: Grants::default(),
        max_in_flight: scene.max_in_flight[i],
        order: i as u32,
        weight: 1.0,
        engine_prior: engines[i][0].prior(),
    };
    let offer = |i: u16, dollars: f64| Offer {
        pool: PoolId(i),
        model: ModelId(0),
        hours: None,
        upstream_model: "m".into(),
        prices: Prices {
            input: Price::per_million(dollars),
            output: Price::per_million(4.0 * dollars),
            ..Prices::default()
        },
        context_window: None,
        capabilities: Capabilities::CHAT_DEFAULT,
    };
    let class = |i: usize, name: &str, ttft, finish, miss_usd, deadline, may_wait| Class {
        name: name.into(),
        ttft_target: ttft,
        finish_target: finish,
        miss_usd,
        delay_usd_per_s: 1e-4,
        deadline,
        reserve: 0.0,
        may_wait,
        floor: scene.floors[i],
    };
    let secs = |s| Some(Duration::from_secs(s));
    Arc::new(Catalog {
        pools: vec![
            pool(0, Tenure::Owned),
            pool(1, Tenure::Owned),
            pool(2, Tenure::Metered),
            pool(3, Tenure::Metered),
        ],
        offers: vec![offer(0, 0.0), offer(1, 0.0), offer(2, 0.6), offer(3, 1.2)],
        models: vec![Model {
            name: "chat".into(),
            aliases: vec![],
            kind: AskKind::Chat,
            offers: (0..4).map(OfferId).collect(),
        }],
        classes: vec![
            class(0, "interactive", secs(2), None, 0.010, Duration::from_secs(30), false),
            class(1, "agent", secs(6), None, 0.005, Duration::from_secs(60), false),
            class(
                2,
                "background",
                None,
                secs(120),
                0.005,
                Duration::from_secs(if scene.trouble { 120 } else { 100_000 }),
                true,
            ),
        ],
        tenants: vec![Tenant { name: "anonymous".into() }],
        default_class: ClassId(0),
        lineage: Default::default(),
    })
}

fn faults(scene: Scene) -> Vec<Fault> {
    if !scene.trouble {
        return Vec::new();
    }
    // A residue that no call has.
    let at = |s: u64| Instant::START + ms(s * 1_000 / STEP * STEP + STEP - 1);
    let whole = doors(scene);
    let door = |s, pool: u16, door| Fault { at: at(s), pool: PoolId(pool), what: Blow::Door(Box::new(door)) };
    let slow = |s, factor| Fault { at: at(s), pool: PoolId(0), what: Blow::Slow { endpoint: None, factor } };
    let gone = |i: usize| Door { refuse: true, ..whole[i].clone() };
    let ill = Door { error_rate: 0.9, error_status: 503, ..whole[2].clone() };
    vec![
        slow(400, 4.0),
        // Slow until it is restarted, with nothing in it: half a step that is sped up again is no whole number of milliseconds.
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

fn addresses(scene: Scene, pool: usize) -> Vec<Arc<Address>> {
    let one = |i| Arc::new(Address { origin: format!("sim://{}/{i}", POOLS[pool]).into(), socket: None });
    (0..engines(scene)[pool].len()).map(one).collect()
}

/// As ever, but that calls which cannot wait are refused soon, and that none waits for a better price: hundreds would, and
/// be sent on when a place is free, on residues that others have. What two engines say in the same millisecond has no
/// order that both worlds share, because a live engine sets its timer anew with every token.
fn routing(scene: Scene) -> fleet::Settings {
    let mut settings = fleet::Settings::default();
    settings.choice.short_wait = scene.short_wait;
    settings.choice.defer.first_bid = 1.0;
    settings
}

/// Bursts of calls of all classes, on residues that they share with nobody near.
fn traffic(scene: Scene) -> Traffic {
    let mut slot = 0;
    let arrival = |i: usize| {
        let draw = mix(SEED, i as u64);
        // Not a multiple of 4: those are the fleet's, which is told the time every 500 ms.
        let (nth, residue) = if scene.trouble {
            let nth = i as u64 % 93;
            (nth, nth / 3 * 4 + 1 + nth % 3)
        } else if i < ROOM {
            (1, i as u64 * 4 + 1)
        } else {
            let nth = i as u64 % 64;
            (nth, nth / 2 * 4 + 2 + nth % 2)
        };
        let quiet = unit(mix(draw, 1)) < 0.5 && (scene.trouble || i > ROOM) || nth == 0 || i == ROOM;
        slot += if quiet { (1 + below(mix(draw, 2), 8) as u64).div_ceil(scene.crowd) } else { 0 };
        let class = [0, 0, 0, 0, 0, 1, 1, 1, 2, 2][below(mix(draw, 3), 10)];
        Arrival {
            at: Instant::START + ms(slot * STEP + residue),
            model: ModelId(0),
            class: ClassId(class),
            input: BLOCK * (1 + below(mix(draw, 4), 4) as u32),
            output: 1 + below(mix(draw, 5), 5) as u32,
            client: 0,
            session: None,
            prefix: Arc::default(),
        }
    };
    Traffic { name: "lattice".to_owned(), arrivals: (0..scene.calls).map(arrival).collect() }
}

/// The account of every call, by id.
type Accounts = BTreeMap<u64, (String, Told)>;

/// What the test wants to count.
#[derive(Debug, Clone, Copy)]
struct Told {
    attempts: usize,
    waited: bool,
    /// When it was first sent.
    sent: Option<Instant>,
    ending: Option<Ending>,
}

fn told(record: &Record) -> (String, Told) {
    let waited = record.waited_for.is_some();
    let sent = record.attempts.first().map(|a| a.started);
    (format!("{record:?}"), Told { attempts: record.attempts.len(), waited, sent, ending: record.ending })
}

fn through_sim(scene: Scene, traffic: &Traffic) -> Accounts {
    let engines = engines(scene);
    let pool = |(i, door): (usize, Door)| PoolSettings {
        engines: engines[i].clone(),
        addresses: addresses(scene, i),
        door,
        seed: i as u64,
    };
    let setup = Setup {
        catalog: catalog(scene),
        routing: routing(scene),
        pools: doors(scene).into_iter().enumerate().map(pool).collect(),
        faults: faults(scene),
        start: START,
        routers: gridtie::sim::Routers::default(),
    };
    let mut accounts = Accounts::new();
    world::run_shown(&setup, traffic, SEED, &mut |facts, record| {
        accounts.insert(facts.id.0, told(record));
    });
    accounts
}

#[derive(Debug, Default)]
struct Book(Mutex<Accounts>);

impl Ledger for Book {
    fn settle(&self, facts: &CallFacts, record: &Record) {
        self.0.lock().unwrap().insert(facts.id.0, told(record));
    }

    fn used(&self, _tenant: TenantId) -> Used {
        Used::default()
    }
}

/// The same pools as the simulator's, which makes their seeds of the run's.
fn simulated(scene: Scene, clock: &Clock) -> Vec<Simulated> {
    let pool = |(i, door): (usize, Door)| {
        let settings = Simulation {
            name: POOLS[i].into(),
            engines: engines(scene)[i].clone(),
            door,
            // Longer than any limit: the limit is the length.
            output: OutputLength { median: 100.0, sigma: 0.0 },
            context_window: None,
            models: vec![],
            seed: mix(mix(SEED, i as u64), i as u64),
        };
        Simulated::new(settings, clock.clone())
    };
    doors(scene).into_iter().enumerate().map(pool).collect()
}

fn inbound(arrival: &Arrival, catalog: &Catalog) -> Inbound {
    let text = "four".repeat(arrival.input as usize);
    let chat = Chat {
        messages: vec![Message { role: Role::User, parts: vec![Part::Text(text)], name: None }],
        sampling: Sampling { max_tokens: Some(arrival.output), ..Sampling::default() },
        ..Chat::default()
    };
    Inbound {
        request: Request {
            kind: AskKind::Chat,
            stream: true,
            stream_usage: false,
            body: Body::Canonical(Box::new(Ask::Chat(chat))),
            input_tokens: arrival.input,
            forward: Vec::new(),
        },
        model: "chat".into(),
        class: Some(catalog.class(arrival.class).name.to_string()),
        tenant: TenantId(0),
        session: None,
        hints: Hints::default(),
        needs: Capabilities::CHAT.with(Capabilities::STREAM),
        // The router does not know how long an answer will be; the simulated model does.
        max_tokens: None,
        n: 1,
        timeout: None,
        client_retry: false,
    }
}

async fn through_flow(scene: Scene, traffic: &Traffic) -> Accounts {
    let (catalog, clock) = (catalog(scene), Clock::starting_at(START));
    let mut fleet = Fleet::new(catalog.clone(), routing(scene), clock.now());
    for i in 0..POOLS.len() {
        fleet.set_endpoints(PoolId(i as u16), &addresses(scene, i), clock.now());
    }
    let pools = simulated(scene, &clock);
    let book = Arc::new(Book::default());
    let router = Router::new(flow::Parts {
        fleet,
        upstreams: pools.iter().map(|p| Arc::new(p.clone()) as Arc<dyn Upstream>).collect(),
        clock: clock.clone(),
        seed: SEED,
        ledger: book.clone(),
        telemetry: Arc::new(Telemetry::new(&catalog, LogWriter::memory())),
        settings: flow::Settings::default(),
        catalog: catalog.clone(),
    });
    // The router's first id is the seed's own; the simulator's calls begin with the second.
    assert_eq!(router.next_id(), CallId(mix(SEED, u64::MAX)));
    // All timers of calls and faults are set before any other, as both are on the simulator's list from the beginning.
    for fault in faults(scene) {
        tokio::spawn(strike(fault, pools.clone(), clock.clone()));
    }
    let calls = traffic.arrivals.iter().cloned().map(|a| tokio::spawn(play(router.clone(), a)));
    let calls: Vec<_> = calls.collect();
    let ticks = tokio::spawn({
        let router = router.clone();
        async move {
            loop {
                tokio::time::sleep(ms(500)).await;
                router.tick();
            }
        }
    });
    for call in calls {
        call.await.unwrap();
    }
    router.all_closed().await;
    ticks.abort();
    std::mem::take(&mut *book.0.lock().unwrap())
}

async fn play(router: Router, arrival: Arrival) {
    tokio::time::sleep_until(router.clock().deadline(arrival.at)).await;
    let inbound = inbound(&arrival, &router.catalog());
    if let Ok(Answered::Stream { body, .. }) = router.call(inbound).await {
        body.count().await;
    }
}

async fn strike(fault: Fault, pools: Vec<Simulated>, clock: Clock) {
    tokio::time::sleep_until(clock.deadline(fault.at)).await;
    let pool = &pools[fault.pool.index()];
    match fault.what {
        Blow::Door(door) => pool.set_door(*door),
        Blow::Slow { factor, .. } => {
            for i in 0..pool.settings().engines.len() {
                assert!(pool.slow_down(i as u32, factor));
            }
        }
    }
}

/// Plays a scene twice, and compares call by call. Gives the traffic and the accounts.
async fn alike(scene: Scene) -> (Traffic, Accounts) {
    let traffic = traffic(scene);
    let sim = through_sim(scene, &traffic);
    let flow = through_flow(scene, &traffic).await;
    assert_eq!((sim.len(), flow.len()), (scene.calls, scene.calls));
    let ids = (0..scene.calls).map(|i| (i, mix(SEED, i as u64)));
    let differs = ids.filter(|(_, id)| flow[id].0 != sim[id].0);
    // The first to go another way tells why; the rest follow from it.
    let first = differs.min_by_key(|(_, id)| {
        [&flow, &sim].map(|a| a[id].1.sent.unwrap_or(Instant::NEVER)).into_iter().min()
    });
    if let Some((i, id)) = first {
        let at = traffic.arrivals[i].at;
        panic!("call {i}, at {at:?}:\n live      {}\n simulated {}", flow[&id].0, sim[&id].0);
    }
    (traffic, sim)
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_calls_are_decided_alike_live_and_simulated() {
    let (_, sim) = alike(TROUBLE).await;
    let count = |of: fn(&Told) -> bool| sim.values().filter(|(_, told)| of(told)).count();
    let ended = |how| sim.values().filter(|(_, told)| told.ending == Some(how)).count();
    let (again, waited) = (count(|t| t.attempts > 1), count(|t| t.waited));
    let saved = count(|t| t.attempts > 1 && t.ending == Some(Ending::Ok));
    let (refused, failed, broken) = (ended(Ending::Refused), ended(Ending::Failed), ended(Ending::Broken));
    eprintln!(
        "{again} calls failed over ({saved} of them were answered), {waited} waited, {refused} were refused, {failed} \
         failed, {broken} broke"
    );
    assert!(saved > 300 && waited > 200, "the world is too kind to prove anything");
    assert!(refused > 50 && failed > 50 && broken > 50, "the world is too kind to prove anything");
}

/// The most calls that waited at one moment.
fn most_waiting(traffic: &Traffic, sim: &Accounts) -> i32 {
    let told = |(i, a): (usize, &Arrival)| (a.at, sim[&mix(SEED, i as u64)].1);
    let waits = traffic.arrivals.iter().enumerate().map(told);
    let ends = waits.filter_map(|(at, told)| Some((at, told.sent.filter(|_| told.waited)?)));
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
    let (traffic, sim) = alike(CROWD).await;
    let waited = sim.values().filter(|(_, t)| t.waited && t.sent.is_some()).count();
    let most = most_waiting(&traffic, &sim);
    eprintln!("{waited} calls waited and were served, up to {most} at once");
    assert!(waited > 1_000 && most > 30, "the world is too kind to prove anything");
}
