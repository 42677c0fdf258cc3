//! The far side of the router in virtual time: doors and engines, and what a client of theirs would see.
//!
//! One entry a try (`Flight`). It is on its way in, then a job of an engine, then on its way out; faults cut it short
//! anywhere. Nothing here knows a fleet or a policy.

mod hazard;
mod knock;
mod seam;

pub use hazard::{Hazard, Hazardous};
pub use knock::Count;
pub use seam::{Ask, Due, FlightId, Heard, PoolSettings};

use std::collections::VecDeque;

use super::station::Station;
use crate::domain::{Duration, Failure, FailureKind, Instant, Now, PoolId};
use crate::engine::{Break, Door, Event, Gate, JobId, Load, Meter, Settings, What};

#[derive(Debug)]
struct Flight {
    ask: Ask,
    job: Option<JobId>,
    breaks: Option<Break>,
    /// Which it is of those that were let in; 0 until then.
    let_in: u64,
    /// Contact has ended, after so many tokens.
    lost_after: Option<u32>,
    /// News under way to the router, oldest first. At most three are: the first token, the last, and an end.
    news: VecDeque<(Instant, Heard)>,
    /// Broken or silenced: whatever its engine still does is not heard. The engine works on until the router lets go of
    /// the try, as behind a connection that hangs or whose loss it has not noticed.
    mute: bool,
    /// Its request has not arrived at the pool yet.
    outbound: bool,
    over: bool,
}

#[derive(Debug)]
struct PoolWorld {
    gate: Gate,
    seed: u64,
    stations: Vec<Station>,
    count: Count,
}

/// See the module.
#[derive(Debug)]
pub struct Pools {
    pools: Vec<PoolWorld>,
    flights: Vec<Option<Box<Flight>>>,
    free: Vec<u32>,
    /// Tries let in so far.
    let_in: u64,
    events: Vec<Event>,
    /// Those that are on.
    hazards: Vec<Hazardous>,
}

impl Pools {
    /// Idle pools, by [`PoolId`].
    pub fn new(settings: &[PoolSettings], now: Instant) -> Self {
        let station = |s: &Settings| Station::new(*s, now);
        let pool = |p: &PoolSettings| PoolWorld {
            gate: Gate::new(p.door.clone()),
            seed: p.seed,
            stations: p.engines.iter().map(station).collect(),
            count: Count::default(),
        };
        Self {
            pools: settings.iter().map(pool).collect(),
            flights: Vec::new(),
            free: Vec::new(),
            let_in: 0,
            events: Vec::new(),
            hazards: Vec::new(),
        }
    }

    /// A request leaves the router. One that a pool next door turns away is back at once.
    pub fn send(&mut self, ask: Ask, now: Now, due: &mut Vec<(Instant, Due)>) -> Result<FlightId, Failure> {
        let delay = self.delay(ask.pool);
        let flight = Box::new(Flight {
            ask,
            job: None,
            breaks: None,
            let_in: 0,
            lost_after: None,
            news: VecDeque::new(),
            mute: false,
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
        if !delay.is_zero() {
            due.push((now.mono + delay, Due::Knock(id)));
        } else if let Err(failure) = self.knock(id, now, due) {
            self.land(id);
            return Err(failure);
        }
        Ok(id)
    }

    /// The router has no interest in the try any more.
    pub fn forget(&mut self, id: FlightId, now: Instant, due: &mut Vec<(Instant, Due)>) {
        let Some(flight) = self.flights.get_mut(id.0 as usize).and_then(Option::as_mut) else { return };
        flight.over = true;
        let (pool, endpoint, job) = (flight.ask.pool.index(), flight.ask.endpoint, flight.job.take());
        let nothing_queued = flight.news.is_empty() && !flight.outbound;
        if let Some(job) = job {
            self.call_off(pool, endpoint, job, now, due);
        }
        if nothing_queued {
            self.land(id);
        }
    }

    fn call_off(
        &mut self,
        pool: usize,
        endpoint: usize,
        job: JobId,
        now: Instant,
        due: &mut Vec<(Instant, Due)>,
    ) {
        let station = &mut self.pools[pool].stations[endpoint];
        station.lift(job);
        station.engine.cancel(job, now);
        self.requeue(pool, endpoint, due);
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
            Due::Knock(id) => {
                if let Err(failure) = self.knock(id, now, due) {
                    self.fail(id, now.mono, failure, due);
                }
            }
            Due::Engine { pool, endpoint } | Due::EngineLast { pool, endpoint } => {
                self.advance(pool.into(), endpoint.into(), now.mono, due)
            }
            Due::OutOfReach(id, let_in) => self.out_of_reach(id, let_in, now.mono, due, heard),
            Due::News(id) => self.arrive(id, now.mono, due, heard),
        }
    }

    /// Tokens of its answer so far; 0 when nothing is under way. Those that the network still carries are counted, too:
    /// one that is done and whose end is on its way is not silent.
    pub fn tokens(&self, id: FlightId, now: Instant) -> u32 {
        let flight = self.flights.get(id.0 as usize).and_then(Option::as_ref).filter(|f| !f.mute);
        let Some(flight) = flight else { return 0 };
        let ask = &flight.ask;
        match flight.job {
            Some(job) => self.pools[ask.pool.index()].stations[ask.endpoint].engine.tokens(job, now),
            None if flight.news.iter().any(|(_, heard)| matches!(heard, Heard::End { .. })) => ask.output,
            None => 0,
        }
    }

    /// Another door from now on. A pool that refuses connections also breaks the answers under way.
    pub fn set_door(&mut self, pool: PoolId, door: Door, now: Instant, due: &mut Vec<(Instant, Due)>) {
        let refuse = door.refuse;
        self.pools[pool.index()].gate.set(door);
        if !refuse {
            return;
        }
        for endpoint in 0..self.pools[pool.index()].stations.len() {
            for id in self.pools[pool.index()].stations[endpoint].under_way() {
                self.lose(id, now, due);
            }
        }
    }

    /// Contact has just ended for that try, or the router hears of it; unless it was over before.
    fn out_of_reach(
        &mut self,
        id: FlightId,
        let_in: u64,
        now: Instant,
        due: &mut Vec<(Instant, Due)>,
        heard: &mut Vec<(FlightId, Heard)>,
    ) {
        // What is made at this very moment does not get out any more.
        let tokens = self.tokens(id, now - Duration::from_nanos(1));
        let flight = self.flights.get_mut(id.0 as usize).and_then(Option::as_mut);
        let Some(flight) = flight.filter(|f| !f.over && f.let_in == let_in) else { return };
        if flight.news.iter().any(|(_, heard)| heard.last()) {
            return;
        }
        let Some(total) = flight.lost_after else {
            (flight.mute, flight.lost_after) = (true, Some(tokens));
            return;
        };
        if total > 1 {
            heard.push((id, Heard::More { total }));
        }
        heard.push((id, Heard::Failed(Failure::new(FailureKind::Disconnected, "contact ended"))));
        let (pool, endpoint, job) = (flight.ask.pool.index(), flight.ask.endpoint, flight.job.take());
        self.land(id);
        if let Some(job) = job {
            self.call_off(pool, endpoint, job, now, due);
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

    /// What a pool counted.
    pub fn count(&self, pool: PoolId) -> Count {
        self.pools[pool.index()].count
    }

    /// How busy an endpoint is.
    pub fn load(&self, pool: PoolId, endpoint: usize) -> Load {
        self.pools[pool.index()].stations[endpoint].engine.load()
    }

    fn delay(&self, pool: PoolId) -> Duration {
        self.pools[pool.index()].gate.door().delay
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
        if let What::Finished { .. } = event.what {
            flight.job = None;
            station.lift(event.job);
        }
        if flight.mute {
            return;
        }
        let output = flight.ask.output;
        let (total, heard) = match event.what {
            What::FirstToken { cached } => (1, Some(Heard::First { cached })),
            What::Tokens { total } => (total, None),
            What::Finished { cached } => (output.max(1), Some(Heard::End { cached })),
        };
        let breaks = flight.breaks.filter(|b| total >= limit(*b, output));
        // The first token is news of its own, unless it is never made; no other is but the last before a break.
        if let Some(heard) = heard.filter(|h| breaks.is_none() || matches!(h, Heard::First { .. })) {
            self.pools[pool].count.answered += u64::from(matches!(heard, Heard::End { .. }));
            self.tell(id, event.at, heard, due);
        }
        if let Some(breaks) = breaks {
            self.broken(id, event.at, total, breaks, due);
        }
    }

    /// The connection of an answer under way is lost, after so many tokens.
    fn cut(
        &mut self,
        id: FlightId,
        at: Instant,
        tokens: u32,
        failure: Failure,
        due: &mut Vec<(Instant, Due)>,
    ) {
        self.last_words(id, at, tokens, due);
        self.fail(id, at, failure, due);
        if let Some(flight) = self.flights[id.0 as usize].as_mut() {
            flight.mute = true;
        }
    }

    fn last_words(&mut self, id: FlightId, at: Instant, tokens: u32, due: &mut Vec<(Instant, Due)>) {
        if tokens > 1 {
            self.tell(id, at, Heard::More { total: tokens }, due);
        }
    }

    /// Sends news to the router.
    fn tell(&mut self, id: FlightId, at: Instant, heard: Heard, due: &mut Vec<(Instant, Due)>) {
        let Some(flight) = self.flights[id.0 as usize].as_mut() else { return };
        let delay = self.pools[flight.ask.pool.index()].gate.door().delay;
        let at = at + delay;
        // One after the other: the router looks for the next when it has dealt with the last.
        if flight.news.is_empty() {
            due.push((at, Due::News(id)));
        }
        flight.news.push_back((at, heard));
    }

    fn arrive(
        &mut self,
        id: FlightId,
        now: Instant,
        due: &mut Vec<(Instant, Due)>,
        heard: &mut Vec<(FlightId, Heard)>,
    ) {
        let Some(flight) = self.flights.get_mut(id.0 as usize).and_then(Option::as_mut) else { return };
        let Some((_, news)) = flight.news.pop_front_if(|(at, _)| *at <= now) else { return };
        let (last, more) = (news.last(), matches!(news, Heard::More { .. }));
        let job = if last { flight.job.take() } else { None };
        let (pool, endpoint) = (flight.ask.pool.index(), flight.ask.endpoint);
        let over = flight.over;
        if over && matches!(news, Heard::End { .. }) {
            self.pools[pool].count.late += 1;
        }
        if !over {
            heard.push((id, news));
        }
        match flight.news.front() {
            // More content is nothing that the router stops at.
            Some((next, _)) if more && *next <= now => return self.arrive(id, now, due, heard),
            Some((next, _)) => due.push(((*next).max(now), Due::News(id))),
            None => {}
        }
        if last || (flight.over && flight.news.is_empty()) {
            self.land(id);
        }
        if let Some(job) = job {
            self.call_off(pool, endpoint, job, now, due);
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

/// Tokens after which an answer of so many breaks: at the latest with the last one, for an answer that never comes to the
/// break would not have the fault it was drawn. Vectors, which have none, count for one.
fn limit(breaks: Break, output: u32) -> u32 {
    match breaks {
        Break::Truncate(after) | Break::Stall(after) => after.min(output.max(1)),
    }
}

#[cfg(test)]
mod tests;
