//! The far side of the router in virtual time: doors and engines, and what a client of theirs would see.
//!
//! One entry a try (`Flight`). It is on its way in, then a job of an engine, then on its way out; faults cut it short
//! anywhere. Nothing here knows a fleet or a policy.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::domain::{Address, Duration, Failure, FailureKind, Instant, Now, PoolId};
use crate::engine::draw::mix;
use crate::engine::{Block, Break, Door, Engine, Event, Gate, Job, JobId, Load, Meter, Settings, What};

/// One pool of the simulated world.
#[derive(Clone, Debug)]
pub struct PoolSettings {
    /// The engines, one an endpoint.
    pub engines: Vec<Settings>,
    /// Where each is, as the fleet knows it.
    pub addresses: Vec<Arc<Address>>,
    /// The way in, its limits and its faults.
    pub door: Door,
    /// Seed of its draws.
    pub seed: u64,
}

/// A try, by its number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct FlightId(pub u32);

/// What the world hears of a try.
#[derive(Clone, Debug)]
pub enum Heard {
    /// Its first content, with so many tokens of the prompt from a cache.
    First {
        /// Tokens.
        cached: u32,
    },
    /// Its end.
    End {
        /// Tokens of the prompt that came from a cache.
        cached: u32,
    },
    /// It failed.
    Failed(Failure),
}

/// What the world must wake this for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Due {
    /// A request arrives at its pool.
    Knock(FlightId),
    /// Something happens in an engine.
    Engine {
        /// Its pool.
        pool: u16,
        /// Which of its engines.
        endpoint: u16,
    },
    /// The news of a try arrive at the router.
    News(FlightId),
}

/// A request to one endpoint.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Its pool.
    pub pool: PoolId,
    /// Position of the endpoint in the pool.
    pub endpoint: usize,
    /// Prompt, in tokens.
    pub input: u32,
    /// Answer, in tokens.
    pub output: u32,
    /// The prompt as a chain of blocks.
    pub prefix: Arc<[Block]>,
    /// Stands for the call; with `no` it seeds the draws.
    pub call: u64,
    /// Which try of the call.
    pub no: u8,
}

#[derive(Debug)]
struct Flight {
    ask: Ask,
    job: Option<JobId>,
    breaks: Option<Break>,
    contact_ends: Option<Instant>,
    /// News under way to the router, oldest first. At most two are: the first token and an end.
    news: VecDeque<(Instant, Heard)>,
    /// Its request has not arrived at the pool yet.
    outbound: bool,
    over: bool,
}

#[derive(Debug)]
struct Station {
    engine: Engine,
    /// Flights by job, dense from `first_job`.
    flights: VecDeque<Option<FlightId>>,
    first_job: u64,
    /// The earliest moment this is already queued for.
    queued: Instant,
}

#[derive(Debug)]
struct PoolWorld {
    gate: Gate,
    seed: u64,
    stations: Vec<Station>,
}

/// See the module.
#[derive(Debug)]
pub struct Pools {
    pools: Vec<PoolWorld>,
    flights: Vec<Option<Box<Flight>>>,
    free: Vec<u32>,
    events: Vec<Event>,
}

impl Pools {
    /// Idle pools, by [`PoolId`].
    pub fn new(settings: &[PoolSettings], now: Instant) -> Self {
        let station = |s: &Settings| Station {
            engine: Engine::new(*s, now),
            flights: VecDeque::new(),
            first_job: 0,
            queued: Instant::NEVER,
        };
        let pool = |p: &PoolSettings| PoolWorld {
            gate: Gate::new(p.door.clone()),
            seed: p.seed,
            stations: p.engines.iter().map(station).collect(),
        };
        Self {
            pools: settings.iter().map(pool).collect(),
            flights: Vec::new(),
            free: Vec::new(),
            events: Vec::new(),
        }
    }

    /// A request leaves the router.
    pub fn send(&mut self, ask: Ask, now: Now, due: &mut Vec<(Instant, Due)>) -> FlightId {
        let delay = self.delay(ask.pool);
        let flight = Box::new(Flight {
            ask,
            job: None,
            breaks: None,
            contact_ends: None,
            news: VecDeque::new(),
            outbound: true,
            over: false,
        });
        let id = match self.free.pop() {
            Some(i) => {
                self.flights[i as usize] = Some(flight);
                FlightId(i)
            }
            None => {
                self.flights.push(Some(flight));
                FlightId((self.flights.len() - 1) as u32)
            }
        };
        if delay.is_zero() {
            self.knock(id, now, due);
        } else {
            due.push((now.mono + delay, Due::Knock(id)));
        }
        id
    }

    /// The router has no interest in the try any more.
    pub fn forget(&mut self, id: FlightId, now: Instant, due: &mut Vec<(Instant, Due)>) {
        let Some(flight) = self.flights.get_mut(id.0 as usize).and_then(Option::as_mut) else { return };
        flight.over = true;
        let (pool, endpoint, job) = (flight.ask.pool.index(), flight.ask.endpoint, flight.job.take());
        let nothing_queued = flight.news.is_empty() && !flight.outbound;
        if let Some(job) = job {
            let station = &mut self.pools[pool].stations[endpoint];
            station.lift(job);
            station.engine.cancel(job, now);
            self.requeue(pool, endpoint, due);
        }
        if nothing_queued {
            self.land(id);
        }
    }

    /// Something queued is due. What the router hears is appended to `heard`.
    pub fn happen(
        &mut self,
        what: Due,
        now: Now,
        due: &mut Vec<(Instant, Due)>,
        heard: &mut Vec<(FlightId, Heard)>,
    ) {
        match what {
            Due::Knock(id) => self.knock(id, now, due),
            Due::Engine { pool, endpoint } => self.advance(pool.into(), endpoint.into(), now.mono, due),
            Due::News(id) => self.arrive(id, now.mono, heard),
        }
    }

    /// Is this try a job that an engine is working on, not silenced by a fault?
    pub fn speaks(&self, id: FlightId) -> bool {
        let flight = self.flights.get(id.0 as usize).and_then(Option::as_ref);
        flight.is_some_and(|f| f.job.is_some() && !f.over || !f.news.is_empty())
    }

    /// Another door from now on. A pool that refuses connections also breaks the answers under way.
    pub fn set_door(&mut self, pool: PoolId, door: Door, now: Instant, due: &mut Vec<(Instant, Due)>) {
        let refuse = door.refuse;
        self.pools[pool.index()].gate.set(door);
        if !refuse {
            return;
        }
        for i in 0..self.flights.len() {
            let Some(flight) = self.flights[i].as_deref() else { continue };
            if flight.ask.pool == pool
                && let Some(job) = flight.job
            {
                let endpoint = flight.ask.endpoint;
                let station = &mut self.pools[pool.index()].stations[endpoint];
                station.lift(job);
                station.engine.cancel(job, now);
                self.requeue(pool.index(), endpoint, due);
                let failure = Failure::new(FailureKind::Disconnected, "the pool went away");
                self.tell(FlightId(i as u32), now, Heard::Failed(failure), due);
            }
        }
    }

    /// The door of a pool.
    pub fn door(&self, pool: PoolId) -> &Door {
        self.pools[pool.index()].gate.door()
    }

    /// One endpoint, or all of a pool, takes `factor` times as long.
    pub fn slow_down(
        &mut self,
        pool: PoolId,
        endpoint: Option<usize>,
        factor: f64,
        now: Instant,
        due: &mut Vec<(Instant, Due)>,
    ) {
        for i in 0..self.pools[pool.index()].stations.len() {
            if endpoint.is_none_or(|e| e == i) {
                self.pools[pool.index()].stations[i].engine.slow_down(factor, now);
                self.requeue(pool.index(), i, due);
            }
        }
    }

    /// What the engines of a pool did up to `now`.
    pub fn meter(&self, pool: PoolId, now: Instant) -> Meter {
        self.pools[pool.index()].stations.iter().map(|s| s.engine.meter(now)).sum()
    }

    /// How busy an endpoint is.
    pub fn load(&self, pool: PoolId, endpoint: usize) -> Load {
        self.pools[pool.index()].stations[endpoint].engine.load()
    }

    fn delay(&self, pool: PoolId) -> Duration {
        self.pools[pool.index()].gate.door().delay
    }

    fn knock(&mut self, id: FlightId, now: Now, due: &mut Vec<(Instant, Due)>) {
        let Some(flight) = self.flights.get_mut(id.0 as usize).and_then(Option::as_mut) else { return };
        flight.outbound = false;
        if flight.over {
            self.land(id);
            return;
        }
        let ask = &flight.ask;
        let pool = &mut self.pools[ask.pool.index()];
        let seed = mix(mix(pool.seed, ask.call), u64::from(ask.no));
        // What a provider counts against a token limit when a request comes: the prompt, and what the answer will be.
        let tokens = ask.input.saturating_add(ask.output);
        let passage = match pool.gate.knock(now, seed, tokens) {
            Ok(passage) => passage,
            Err(turned) => return self.fail(id, now.mono, turned.into(), due),
        };
        let job = Job {
            input: ask.input,
            output: ask.output,
            sequences: 1,
            report_every: u32::from(passage.breaks.is_some()),
            prefix: Arc::clone(&ask.prefix),
            seed,
        };
        let (p, endpoint) = (ask.pool.index(), ask.endpoint);
        flight.breaks = passage.breaks;
        flight.contact_ends = passage.contact_ends;
        let station = &mut pool.stations[endpoint];
        match station.engine.submit(job, now.mono) {
            Ok(job) => {
                flight.job = Some(job);
                station.board(job, id);
                self.requeue(p, endpoint, due);
            }
            Err(why) => self.fail(id, now.mono, why.into(), due),
        }
    }

    fn fail(&mut self, id: FlightId, now: Instant, failure: Failure, due: &mut Vec<(Instant, Due)>) {
        self.tell(id, now, Heard::Failed(failure), due);
    }

    /// Lets an engine's time pass, and sends its news on their way.
    fn advance(&mut self, pool: usize, endpoint: usize, now: Instant, due: &mut Vec<(Instant, Due)>) {
        let station = &mut self.pools[pool].stations[endpoint];
        if station.queued <= now {
            station.queued = Instant::NEVER;
        }
        let mut events = std::mem::take(&mut self.events);
        station.engine.advance(now, &mut events);
        for event in events.drain(..) {
            self.engine_says(pool, endpoint, event, due);
        }
        self.events = events;
        self.requeue(pool, endpoint, due);
    }

    fn engine_says(&mut self, pool: usize, endpoint: usize, event: Event, due: &mut Vec<(Instant, Due)>) {
        let station = &mut self.pools[pool].stations[endpoint];
        let Some(id) = station.flight(event.job) else { return };
        let Some(flight) = self.flights[id.0 as usize].as_mut() else { return };
        let total = match event.what {
            What::FirstToken { .. } => 1,
            What::Tokens { total } => total,
            What::Finished { .. } => flight.ask.output,
        };
        let broken = match flight.breaks {
            Some(Break::Truncate(after)) if total > after => {
                Some(Some(Failure::new(FailureKind::Truncated, "cut off")))
            }
            Some(Break::Stall(after)) if total > after => Some(None),
            Some(Break::Truncate(_) | Break::Stall(_)) | None
                if flight.contact_ends.is_some_and(|end| event.at >= end) =>
            {
                Some(Some(Failure::new(FailureKind::Disconnected, "contact ended")))
            }
            Some(Break::Truncate(_) | Break::Stall(_)) | None => None,
        };
        if let Some(failure) = broken {
            flight.job = None;
            station.lift(event.job);
            station.engine.cancel(event.job, event.at);
            if let Some(failure) = failure {
                self.tell(id, event.at, Heard::Failed(failure), due);
            }
            return;
        }
        let heard = match event.what {
            What::FirstToken { cached } => Heard::First { cached },
            What::Tokens { .. } => return,
            What::Finished { cached } => {
                flight.job = None;
                station.lift(event.job);
                Heard::End { cached }
            }
        };
        self.tell(id, event.at, heard, due);
    }

    /// Sends news to the router.
    fn tell(&mut self, id: FlightId, at: Instant, heard: Heard, due: &mut Vec<(Instant, Due)>) {
        let Some(flight) = self.flights[id.0 as usize].as_mut() else { return };
        let delay = self.pools[flight.ask.pool.index()].gate.door().delay;
        if matches!(heard, Heard::Failed(_)) {
            flight.job = None;
        }
        let at = at + delay;
        flight.news.push_back((at, heard));
        due.push((at, Due::News(id)));
    }

    fn arrive(&mut self, id: FlightId, now: Instant, heard: &mut Vec<(FlightId, Heard)>) {
        let Some(flight) = self.flights.get_mut(id.0 as usize).and_then(Option::as_mut) else { return };
        let Some((_, news)) = flight.news.pop_front_if(|(at, _)| *at <= now) else { return };
        let last = matches!(news, Heard::End { .. } | Heard::Failed(_));
        if !flight.over {
            heard.push((id, news));
        }
        if last || (flight.over && flight.news.is_empty()) {
            self.land(id);
        }
    }

    /// The end of a flight: its number is free again.
    fn land(&mut self, id: FlightId) {
        if self.flights[id.0 as usize].take().is_some() {
            self.free.push(id.0);
        }
    }

    fn requeue(&mut self, pool: usize, endpoint: usize, due: &mut Vec<(Instant, Due)>) {
        let station = &mut self.pools[pool].stations[endpoint];
        if let Some(next) = station.engine.next_event()
            && next < station.queued
        {
            station.queued = next;
            due.push((next, Due::Engine { pool: pool as u16, endpoint: endpoint as u16 }));
        }
    }
}

impl Station {
    fn board(&mut self, job: JobId, id: FlightId) {
        if self.flights.is_empty() {
            self.first_job = job.0;
        }
        while self.first_job + (self.flights.len() as u64) < job.0 {
            self.flights.push_back(None);
        }
        self.flights.push_back(Some(id));
    }

    fn flight(&self, job: JobId) -> Option<FlightId> {
        *self.flights.get(job.0.checked_sub(self.first_job)? as usize)?
    }

    fn lift(&mut self, job: JobId) {
        if let Some(at) = job.0.checked_sub(self.first_job)
            && let Some(place) = self.flights.get_mut(at as usize)
        {
            *place = None;
        }
        while let Some(None) = self.flights.front() {
            self.flights.pop_front();
            self.first_job += 1;
        }
    }
}
