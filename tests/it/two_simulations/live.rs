//! A scene through the live driver, with simulated pools behind the upstream seam.

use std::sync::{Arc, Mutex};

use futures_util::StreamExt;
use gridtie::call::Record;
use gridtie::clock::Clock;
use gridtie::domain::request::{Ask, Chat, Embed, EmbedInput, Message, Part, Role, Sampling};
use gridtie::domain::{
    AskKind, Block, Body, CallFacts, CallId, Capabilities, Catalog, Hints, PoolId, Request, TenantId,
};
use gridtie::engine::draw::mix;
use gridtie::fleet::Fleet;
use gridtie::flow::{self, Answered, Inbound, Router};
use gridtie::ledger::{Ledger, Used};
use gridtie::sim::{Arrival, Blow, Fault};
use gridtie::telemetry::{LogWriter, Telemetry};
use gridtie::upstream::Upstream;
use gridtie::upstream::simulated::{OutputLength, Settings as Simulation, Simulated};

use super::lattice::{POOLS, START, addresses};
use super::{Accounts, Scene, told};
use crate::world::ms;

#[derive(Debug, Default)]
struct Book(Mutex<Accounts>);

impl Ledger for Book {
    fn settle(&self, facts: &CallFacts, record: &Record) {
        self.0.lock().unwrap().insert(facts.id.0, told(facts, record));
    }

    fn used(&self, _tenant: TenantId) -> Used {
        Used::default()
    }
}

pub(super) async fn accounts(scene: &Scene) -> Accounts {
    let (catalog, clock) = (scene.catalog.clone(), Clock::starting_at(START));
    let mut fleet = Fleet::new(catalog.clone(), scene.routing, clock.now());
    for (i, engines) in scene.engines.iter().enumerate() {
        fleet.set_endpoints(PoolId(i as u16), &addresses(i, engines.len()), clock.now());
    }
    let pools = pools(scene, &clock);
    let book = Arc::new(Book::default());
    let router = Router::new(flow::Parts {
        fleet,
        upstreams: pools.iter().map(|p| Arc::new(p.clone()) as Arc<dyn Upstream>).collect(),
        clock: clock.clone(),
        seed: scene.seed,
        ledger: book.clone(),
        telemetry: Arc::new(Telemetry::new(&catalog, LogWriter::memory())),
        settings: flow::Settings::default(),
        catalog,
    });
    // The router's first id is the seed's own; the simulator's calls begin with the second.
    assert_eq!(router.next_id(), CallId(mix(scene.seed, u64::MAX)));
    // All timers of calls and faults are set before any other, as both are on the simulator's list from the beginning.
    for fault in scene.faults.iter().cloned() {
        tokio::spawn(strike(fault, pools.clone(), clock.clone()));
    }
    let calls = scene.traffic.arrivals.iter().cloned().map(|a| tokio::spawn(play(router.clone(), a)));
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

/// The same pools as the simulator's, which makes their seeds of the run's.
fn pools(scene: &Scene, clock: &Clock) -> Vec<Simulated> {
    let pool = |(i, door): (usize, &gridtie::engine::Door)| {
        let settings = Simulation {
            name: POOLS[i].into(),
            engines: scene.engines[i].clone(),
            door: door.clone(),
            // Longer than any limit: the limit is the length.
            output: OutputLength { median: 100.0, sigma: 0.0 },
            context_window: None,
            models: vec![],
            seed: mix(mix(scene.seed, i as u64), i as u64),
        };
        Simulated::new(settings, clock.clone())
    };
    scene.doors.iter().enumerate().map(pool).collect()
}

pub(super) fn inbound(arrival: &Arrival, catalog: &Catalog) -> Inbound {
    let kind = catalog.model(arrival.model).kind;
    let (body, needs) = match kind {
        AskKind::Embed => (Ask::Embed(embed(arrival)), Capabilities::EMBED),
        AskKind::Chat | AskKind::Completion => (Ask::Chat(chat(arrival)), Capabilities::CHAT),
    };
    let stream = arrival.stream && kind != AskKind::Embed;
    Inbound {
        request: Request {
            kind,
            stream,
            stream_usage: false,
            body: Body::Canonical(Box::new(body)),
            input_tokens: arrival.input,
            forward: Vec::new(),
        },
        model: catalog.model(arrival.model).name.to_string(),
        class: Some(catalog.class(arrival.class).name.to_string()),
        tenant: TenantId(arrival.client as u16),
        session: arrival.session.map(|number| number.to_string()),
        prefix: Arc::clone(&arrival.prefix),
        hints: Hints::default(),
        needs: if stream { needs.with(Capabilities::STREAM) } else { needs },
        // The router does not know how long an answer will be; the simulated model does.
        max_tokens: None,
        n: 1,
        timeout: None,
        client_retry: false,
    }
}

fn chat(arrival: &Arrival) -> Chat {
    Chat {
        messages: vec![Message { role: Role::User, parts: vec![Part::Text(prompt(arrival))], name: None }],
        sampling: Sampling { max_tokens: Some(arrival.output), ..Sampling::default() },
        ..Chat::default()
    }
}

fn embed(arrival: &Arrival) -> Embed {
    let inputs = vec![EmbedInput::Text(prompt(arrival))];
    Embed { inputs, dimensions: None, base64: false }
}

/// Text of that length. Simulated engines cut it into pieces of 512 tokens: equal blocks of prompts are equal pieces.
fn prompt(arrival: &Arrival) -> String {
    let piece = |block: &Block| format!("{:016x}", block.hash).repeat(block.tokens as usize / 4);
    let known: String = arrival.prefix.iter().map(piece).collect();
    let rest = arrival.input as usize - known.len() / 4;
    known + &"four".repeat(rest)
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
