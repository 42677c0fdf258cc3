//! One run: the agenda of what is due, the calls under way, and whoever must hear of it.
//!
//! The world does what sockets, timers and clients do for a live router, and nothing else. Every decision is taken by
//! [`Call`] and [`Fleet`].

mod deeds;
mod replicas;
mod setup;
mod turns;

pub use self::deeds::{Deed, What};
pub use self::setup::{Blow, Fault, Routers, Setup};

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use super::pools::{Ask, Count, Due, FlightId, Heard, PoolSettings, Pools};
use super::record::Recorder;
use super::witness::{Accountant, Nobody, Witness, Word};
use super::{Arrival, Tally, Traffic};
use crate::call::{Call, Event, Record, Step};
use crate::domain::{
    AskKind, CallFacts, CallId, Capabilities, Duration, Hints, Instant, Now, PoolId, SessionKey, TenantId,
    Timestamp, Usage, UsageSource,
};
use crate::engine::draw::mix;
use crate::fleet::Fleet;

/// How often the fleet is told the time, as `serve` does.
const TICK: Duration = Duration::from_millis(500);

/// Something on the agenda.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Entry {
    Fault(u32),
    Deed(u32),
    /// The grace of a router that stops is over.
    Grace(u16),
    Pools(Due),
    Alarm(u32),
    /// The timer of that wait of the call.
    Wake(u32, u64),
    /// It is that call's turn to look, in that wait of it.
    Turn(u32, u64),
    Tick,
    /// Engines tell how busy they are.
    Tell,
}

/// A call under way.
#[derive(Debug)]
struct Play {
    call: Call,
    /// Who routes it.
    router: usize,
    flight: Option<FlightId>,
    /// The earliest alarm on the agenda.
    alarm: Instant,
    /// The number of its wait, while it waits.
    wait: Option<u64>,
    /// It was told that it is its turn, and that is still on the agenda.
    rung: bool,
}

/// See the module.
pub struct World<'a> {
    setup: &'a Setup,
    arrivals: &'a [Arrival],
    seed: u64,
    /// By number of the router.
    fleets: Vec<Fleet>,
    /// By number of the router: it takes calls.
    up: Vec<bool>,
    deeds: &'a [Deed],
    pools: Pools,
    agenda: BinaryHeap<Reverse<(Instant, u64, Entry)>>,
    entries: u64,
    /// By position of the arrival.
    plays: Vec<Option<Box<Play>>>,
    /// The call of every flight.
    riders: Vec<u32>,
    open: usize,
    /// Those that wait, by what the fleet calls them.
    waiting: BTreeMap<CallId, u32>,
    /// Waits so far.
    waits: u64,
    recorder: Recorder,
    witness: &'a mut dyn Witness,
    due: Vec<(Instant, Due)>,
    heard: Vec<(FlightId, Heard)>,
}

impl std::fmt::Debug for World<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("open", &self.open).finish_non_exhaustive()
    }
}

/// Runs the traffic through the setup. `progress` hears of the number of arrivals so far, now and then.
pub fn run(setup: &Setup, traffic: &Traffic, seed: u64, progress: &mut dyn FnMut(usize)) -> Tally {
    World::new(setup, &[], &traffic.arrivals, seed, &mut Nobody).run(progress).0
}

/// The same. `closed` is shown the account of every call as it closes.
pub fn run_shown(
    setup: &Setup,
    traffic: &Traffic,
    seed: u64,
    closed: &mut dyn FnMut(&CallFacts, &Record),
) -> Tally {
    World::new(setup, &[], &traffic.arrivals, seed, &mut Accountant(closed)).run(&mut |_| {}).0
}

/// The same, with what is done to pools and routers. `witness` sees all that clients hear; and pools say what they counted.
pub fn run_witnessed(
    setup: &Setup,
    deeds: &[Deed],
    traffic: &Traffic,
    seed: u64,
    witness: &mut dyn Witness,
) -> (Tally, Vec<Count>) {
    World::new(setup, deeds, &traffic.arrivals, seed, witness).run(&mut |_| {})
}

impl<'a> World<'a> {
    fn new(
        setup: &'a Setup,
        deeds: &'a [Deed],
        arrivals: &'a [Arrival],
        seed: u64,
        witness: &'a mut dyn Witness,
    ) -> Self {
        let now = Now { mono: Instant::START, wall: setup.start };
        let routers = setup.routers.count.max(1);
        let end = arrivals.last().map_or(Instant::START, |a| a.at);
        let mut world = Self {
            setup,
            arrivals,
            seed,
            fleets: (0..routers).map(|_| deeds::fleet(setup, now)).collect(),
            up: vec![true; usize::from(routers)],
            deeds,
            pools: Pools::new(&seeded(&setup.pools, seed), Instant::START),
            agenda: BinaryHeap::new(),
            entries: 0,
            plays: Vec::new(),
            riders: Vec::new(),
            open: 0,
            waiting: BTreeMap::new(),
            waits: 0,
            recorder: Recorder::new(&setup.catalog, end, setup.start),
            witness,
            due: Vec::new(),
            heard: Vec::new(),
        };
        world.plays.resize_with(arrivals.len(), || None);
        for (i, fault) in setup.faults.iter().enumerate() {
            world.put(fault.at, Entry::Fault(i as u32));
        }
        for (i, deed) in deeds.iter().enumerate() {
            world.put(deed.at, Entry::Deed(i as u32));
        }
        world.put(Instant::START + TICK, Entry::Tick);
        if let Some(every) = setup.routers.told_every {
            world.put(Instant::START + every, Entry::Tell);
        }
        world
    }

    fn run(mut self, progress: &mut dyn FnMut(usize)) -> (Tally, Vec<Count>) {
        /// Arrivals between two words about progress.
        const SAID_EVERY: usize = 16_384;
        let mut next = 0;
        loop {
            let due = self.agenda.peek().map(|Reverse((at, ..))| *at);
            let arrival = self.arrivals.get(next).map(|a| a.at);
            match (arrival, due) {
                (Some(arrives), Some(at)) if arrives <= at => self.arrive(&mut next),
                (Some(_), None) => self.arrive(&mut next),
                (None, Some(_)) if self.open == 0 => break,
                (_, Some(_)) => self.happen(),
                (None, None) => break,
            }
            if next % SAID_EVERY == 0 && arrival.is_some() {
                progress(next);
            }
        }
        progress(next);
        let now = self.now(self.recorder.last());
        self.recorder.passed(&self.pools, now);
        let counts = (0..self.setup.pools.len()).map(|i| self.pools.count(PoolId(i as u16))).collect();
        let tally = self.recorder.finish(&self.setup.catalog, &self.setup.pools, &self.pools, self.seed);
        (tally, counts)
    }

    fn put(&mut self, at: Instant, entry: Entry) {
        self.entries += 1;
        self.agenda.push(Reverse((at, self.entries, entry)));
    }

    fn now(&self, at: Instant) -> Now {
        let wall = self.setup.start.as_millis() + at.as_nanos() / 1_000_000;
        Now { mono: at, wall: Timestamp::from_millis(wall) }
    }

    fn arrive(&mut self, next: &mut usize) {
        let i = *next as u32;
        let arrivals = self.arrivals;
        let Some(arrival) = arrivals.get(*next) else { return };
        *next += 1;
        let now = self.now(arrival.at);
        self.witness.sent(i, now.mono);
        let Some(router) = self.router(i) else {
            return self.witness.heard(i, now.mono, Word::Cut);
        };
        let facts = self.facts(arrival, i);
        self.recorder
            .arrived(arrival.class, now.mono, || replicas::snapshot(&self.fleets, self.waiting.len(), now));
        let on_record = self.witness.records(facts.id);
        let call = Call::new(facts, self.seed);
        self.plays[i as usize] = Some(Box::new(Play {
            call: if on_record { call.on_record() } else { call },
            router,
            flight: None,
            alarm: Instant::NEVER,
            wait: None,
            rung: false,
        }));
        self.open += 1;
        self.feed(i, Event::Start, now);
        self.settle(now);
    }

    fn facts(&self, arrival: &Arrival, i: u32) -> CallFacts {
        let class = self.setup.catalog.class(arrival.class);
        let embeds = self.embeds(arrival);
        let stream = arrival.stream && !embeds;
        let asked = if embeds { Capabilities::EMBED } else { Capabilities::CHAT };
        CallFacts {
            id: CallId(mix(self.seed, u64::from(i))),
            kind: if embeds { AskKind::Embed } else { AskKind::Chat },
            model: arrival.model,
            class: arrival.class,
            tenant: self.tenant(arrival),
            input_tokens: arrival.input,
            max_tokens: None,
            n: 1,
            needs: if stream { asked.with(Capabilities::STREAM) } else { asked },
            stream,
            session: arrival.session.map(SessionKey),
            prefix: Arc::clone(&arrival.prefix),
            hints: Hints::default(),
            arrived: arrival.at,
            deadline: arrival.at + class.deadline,
            client_retry: false,
        }
    }

    /// A client is the tenant of that number, where there is one.
    fn tenant(&self, arrival: &Arrival) -> TenantId {
        let known = (arrival.client as usize) < self.setup.catalog.tenants.len();
        if known { TenantId(arrival.client as u16) } else { TenantId::default() }
    }

    fn embeds(&self, arrival: &Arrival) -> bool {
        self.setup.catalog.model(arrival.model).kind == AskKind::Embed
    }

    /// Tokens that are made for the call.
    fn output(&self, arrival: &Arrival) -> u32 {
        if self.embeds(arrival) { 0 } else { arrival.output }
    }

    fn happen(&mut self) {
        let Some(Reverse((at, _, entry))) = self.agenda.pop() else { return };
        let now = self.now(at);
        match entry {
            // Timers that go off together all do before anybody hears what an engine made of that moment.
            Entry::Pools(Due::Engine { pool, endpoint }) if self.more_at(at) => {
                self.put(at, Entry::Pools(Due::EngineLast { pool, endpoint }));
            }
            Entry::Pools(due) => self.pools_happen(due, now),
            Entry::Alarm(i) => self.alarm(i, now),
            Entry::Wake(i, wait) => {
                // If it has looked since, it has another timer.
                if self.plays[i as usize].as_ref().is_some_and(|p| p.wait == Some(wait)) {
                    self.feed(i, Event::Tick, now);
                }
            }
            Entry::Tick => {
                for fleet in &mut self.fleets {
                    fleet.tick(now).iter().for_each(|transition| self.witness.changed(now.mono, transition));
                    fleet.feel_pressure(now);
                }
                self.recorder.passed(&self.pools, now);
                self.put(at + TICK, Entry::Tick);
            }
            Entry::Turn(i, wait) => {
                if let Some(play) = self.plays[i as usize].as_mut().filter(|p| p.wait == Some(wait)) {
                    play.rung = false;
                    self.take_turn(i, now);
                }
            }
            Entry::Fault(i) => self.strike(i, now),
            Entry::Deed(i) => self.act(i, now),
            Entry::Grace(router) => self.grace_ends(router, now),
            Entry::Tell => self.tell(now),
        }
        self.settle(now);
    }

    /// Is anything else due at that moment?
    fn more_at(&self, at: Instant) -> bool {
        self.agenda.peek().is_some_and(|Reverse((next, ..))| *next == at)
    }

    fn pools_happen(&mut self, due: Due, now: Now) {
        let mut heard = std::mem::take(&mut self.heard);
        self.pools.happen(due, now, &mut self.due, &mut heard);
        for (flight, news) in heard.drain(..) {
            self.hear(flight, news, now);
        }
        self.heard = heard;
    }

    fn hear(&mut self, flight: FlightId, news: Heard, now: Now) {
        let i = self.riders[flight.0 as usize];
        let output = self.output(&self.arrivals[i as usize]);
        let Some(play) = self.plays[i as usize].as_mut().filter(|p| p.flight == Some(flight)) else { return };
        let arrival = &self.arrivals[i as usize];
        let event = match news {
            Heard::First { .. } if play.call.facts().stream => {
                play.call.piece(1, None, now.mono);
                Event::FirstContent
            }
            Heard::First { .. } => return,
            Heard::More { total } => {
                if play.call.facts().stream {
                    said(&mut play.call, total, now.mono);
                    self.witness.heard(i, now.mono, Word::Tokens(total));
                }
                return;
            }
            Heard::End { cached } => {
                play.flight = None;
                self.witness.heard(i, now.mono, Word::Tokens(arrival.output));
                let usage = Usage {
                    input: arrival.input.into(),
                    cached: cached.into(),
                    output: output.into(),
                    source: UsageSource::Reported,
                    ..Usage::default()
                };
                if play.call.facts().stream {
                    play.call.piece(0, Some(usage), now.mono);
                    Event::End
                } else {
                    Event::Whole(usage)
                }
            }
            Heard::Failed(failure) => {
                play.flight = None;
                Event::Failed(failure)
            }
        };
        self.feed(i, event, now);
    }

    /// A call's timer. What its engine has said meanwhile, which the world does not play token by token, is told first.
    fn alarm(&mut self, i: u32, now: Now) {
        let Some(play) = self.plays[i as usize].as_mut() else { return };
        play.alarm = Instant::NEVER;
        if play.wait.is_some() {
            return;
        }
        if play.call.committed()
            && play.call.facts().stream
            && let Some(flight) = play.flight
        {
            said(&mut play.call, self.pools.tokens(flight, now.mono), now.mono);
        }
        if play.call.wake_at() <= now.mono {
            self.feed(i, Event::Tick, now);
        } else {
            self.set_alarm(i);
        }
    }

    fn set_alarm(&mut self, i: u32) {
        let Some(play) = self.plays[i as usize].as_mut().filter(|p| p.wait.is_none()) else { return };
        let at = timer(play.call.wake_at());
        if at < play.alarm {
            play.alarm = at;
            self.put(at, Entry::Alarm(i));
        }
    }

    /// Tells a call what happened, and does what it says.
    fn feed(&mut self, i: u32, event: Event, now: Now) {
        let Some(play) = self.plays[i as usize].as_mut() else { return };
        let router = play.router;
        let step = play.call.on(event, &mut self.fleets[router], &self.setup.catalog, now);
        play.call.take_transitions().iter().for_each(|transition| self.witness.changed(now.mono, transition));
        play.call.take_decisions().iter().for_each(|decision| self.witness.decided(decision));
        if !matches!(step, Step::Continue | Step::Commit)
            && let Some(flight) = play.flight.take()
        {
            self.pools.forget(flight, now.mono, &mut self.due);
        }
        if self.waits_on(i, &step) {
            return self.call_up(router, Some(i), now);
        }
        self.call_up(router, None, now);
        match step {
            Step::Continue | Step::Wait => {}
            Step::Commit => self.witness.heard(i, now.mono, Word::First),
            Step::Send(send) => self.send(i, &send, now),
            Step::Close(close) => return self.close(i, &close, now),
        }
        self.set_alarm(i);
    }

    fn send(&mut self, i: u32, send: &crate::call::Send, now: Now) {
        let arrival = &self.arrivals[i as usize];
        let pool = send.dispatch.pool;
        let endpoint = position(&self.setup.pools[pool.index()], &send.dispatch.address.origin);
        let ask = Ask {
            pool,
            endpoint,
            input: arrival.input,
            output: self.output(arrival),
            stream: arrival.stream && !self.embeds(arrival),
            prefix: Arc::clone(&arrival.prefix),
            call: mix(self.seed, u64::from(i)),
            no: send.no.0,
        };
        let flight = match self.pools.send(ask, now, &mut self.due) {
            Ok(flight) => flight,
            Err(failure) => return self.feed(i, Event::Failed(failure), now),
        };
        let at = flight.0 as usize;
        if self.riders.len() <= at {
            self.riders.resize(at + 1, 0);
        }
        self.riders[at] = i;
        if let Some(play) = self.plays[i as usize].as_mut() {
            play.flight = Some(flight);
        }
    }

    /// Puts what the pools want to be woken for on the agenda, and the call whose turn it is.
    fn settle(&mut self, now: Now) {
        for router in 0..self.fleets.len() {
            self.call_up(router, None, now);
        }
        let mut due = std::mem::take(&mut self.due);
        for (at, what) in due.drain(..) {
            self.put(at, Entry::Pools(what));
        }
        self.due = due;
    }
}

/// The stream has come to so many tokens.
fn said(call: &mut Call, total: u32, now: Instant) {
    let more = u64::from(total).saturating_sub(call.tokens_delivered());
    call.piece(more as u32, None, now);
}

/// When a timer set for that moment goes off: those of a live router count whole milliseconds, and are never early.
fn timer(at: Instant) -> Instant {
    const TICK_NS: u64 = 1_000_000;
    at.as_nanos().checked_next_multiple_of(TICK_NS).map_or(at, Instant::from_nanos)
}

/// Each pool draws from the run's seed and its own.
fn seeded(pools: &[PoolSettings], seed: u64) -> Vec<PoolSettings> {
    let one =
        |(i, p): (usize, &PoolSettings)| PoolSettings { seed: mix(mix(seed, p.seed), i as u64), ..p.clone() };
    pools.iter().enumerate().map(one).collect()
}

/// Which endpoint of the pool that is. Origins of simulated endpoints end in their number.
fn position(pool: &PoolSettings, origin: &str) -> usize {
    let number = origin.rsplit_once('/').and_then(|(_, n)| n.parse::<usize>().ok());
    let right = |i: &usize| pool.addresses.get(*i).is_some_and(|a| *a.origin == *origin);
    number.filter(right).or_else(|| pool.addresses.iter().position(|a| *a.origin == *origin)).unwrap_or(0)
}
