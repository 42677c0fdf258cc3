//! Carries out what the call machine decides: sockets, timers, tasks, and one bounded buffer a stream.
//!
//! Edges hand in an [`Inbound`] and get an [`Answered`] or a [`Refused`]; they know nothing of pools. Upstreams get an
//! attempt and know nothing of calls. In between, [`Router::call`] drives one [`Call`](crate::call::Call) with what
//! the sockets say, under the lock of the fleet for the few hundred nanoseconds that a step takes.

mod answered;
mod drive;
mod edition;
mod late;
mod relay;
mod resolve;
mod suspect;
#[cfg(test)]
mod tests;
mod waiting;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use answered::{Answered, Bill, Broken, Head, Inbound, Out, Refused};
pub use edition::Next;
pub use relay::RelayBody;
pub use resolve::resolve;

use self::edition::Shelf;
use self::waiting::WaitingRoom;

use crate::clock::Clock;
use crate::domain::{CallId, Catalog, Duration, PoolId, Usd};
use crate::fleet::{Fleet, Transition};
use crate::ledger::Ledger;
use crate::telemetry::Telemetry;
use crate::upstream::{Onward, Upstream};

/// What an operator may set.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// At most so many bytes of a stream wait for its client; a single larger event passes alone.
    pub stream_buffer: usize,
    /// A stream without content for this long gets its headers and then comments, while the call goes on.
    pub hold: Duration,
    /// A client that takes nothing for this long while its buffer is full is cut off.
    pub write_blocked: Duration,
}

impl Default for Settings {
    /// The limits of the security model: 64 KiB and 60 s a stream. Ten seconds are short of what proxies call dead.
    fn default() -> Self {
        Self {
            stream_buffer: 64 << 10,
            hold: Duration::from_secs(10),
            write_blocked: Duration::from_secs(60),
        }
    }
}

/// What a router is made of.
#[derive(Debug)]
pub struct Parts {
    /// What there is.
    pub catalog: Arc<Catalog>,
    /// How it is.
    pub fleet: Fleet,
    /// How to speak to it, by [`PoolId`].
    pub upstreams: Vec<Arc<dyn Upstream>>,
    /// Time.
    pub clock: Clock,
    /// Randomness.
    pub seed: u64,
    /// Accounts.
    pub ledger: Arc<dyn Ledger>,
    /// Logs and metrics.
    pub telemetry: Arc<Telemetry>,
    /// Limits.
    pub settings: Settings,
}

/// A handle on the router. Cheap to clone.
#[derive(Clone)]
pub struct Router(Arc<Inner>);

struct Inner {
    editions: Shelf,
    fleet: Mutex<Fleet>,
    clock: Clock,
    seed: u64,
    calls: AtomicU64,
    ledger: Arc<dyn Ledger>,
    telemetry: Arc<Telemetry>,
    waiting: WaitingRoom,
    /// Calls that are not closed.
    open: AtomicUsize,
    all_closed: Notify,
    draining: AtomicBool,
    /// Some request is suspected to lose its connections by itself.
    suspicious: AtomicBool,
    grace_over: CancellationToken,
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("open", &self.open_calls()).finish_non_exhaustive()
    }
}

impl Router {
    /// A router that has seen no call yet.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Inner {
            editions: Shelf::new(parts.catalog, parts.upstreams, parts.settings),
            fleet: Mutex::new(parts.fleet),
            clock: parts.clock,
            seed: parts.seed,
            calls: AtomicU64::new(0),
            ledger: parts.ledger,
            telemetry: parts.telemetry,
            waiting: WaitingRoom::default(),
            open: AtomicUsize::new(0),
            all_closed: Notify::new(),
            draining: AtomicBool::new(false),
            suspicious: AtomicBool::new(false),
            grace_over: CancellationToken::new(),
        }))
    }

    /// One call, from its arrival to the head of its answer. A stream goes on in the answer's body. Dropping the
    /// future, or later the body, means that the client has gone: the upstream is told to stop, and the account is closed.
    pub async fn call(&self, inbound: Inbound) -> Result<Answered, Refused> {
        let id = self.next_id();
        let now = self.0.clock.mono();
        let edition = self.0.editions.present();
        let facts = match resolve(&edition.catalog, id, now, &inbound) {
            Ok(facts) => facts,
            Err(refusal) => {
                let tenant = edition.catalog.tenants.get(inbound.tenant.index());
                self.0.telemetry.refused_unresolved(id, tenant.map_or("unknown", |t| &t.name), &refusal);
                return Err(Refused { call: id, pool: None, attempts: 0, refusal });
            }
        };
        let streamed = inbound.request.stream;
        let onward = Onward {
            class: inbound.class.is_some().then(|| edition.catalog.class(facts.class).name.clone()),
            session: facts.session,
            client_retry: facts.client_retry,
        };
        let hold = edition.settings.hold;
        let driven = drive::Driven::open(self.0.clone(), edition, facts, onward);
        let model = driven.client_model();
        let request = Arc::new(inbound.request);
        if !streamed {
            return driven.begin(request).await;
        }
        let mut begin = Box::pin(driven.begin(request));
        tokio::select! {
            biased;
            answered = &mut begin => answered,
            () = tokio::time::sleep(hold) => {
                let head = undecided(id, model);
                Ok(Answered::Stream { head, body: RelayBody::late(late::Late::go_on(begin)) })
            }
        }
    }

    /// What there is, now.
    pub fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.0.editions.glance().catalog)
    }

    /// How a pool is spoken to, now.
    pub fn upstream(&self, pool: PoolId) -> Option<Arc<dyn Upstream>> {
        self.0.editions.glance().upstream(pool).cloned()
    }

    /// The clock that this router lives by.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Logs and metrics.
    pub fn telemetry(&self) -> &Arc<Telemetry> {
        &self.0.telemetry
    }

    /// All metrics in the text format of Prometheus.
    pub fn metrics_text(&self) -> String {
        let telemetry = self.telemetry();
        for (i, upstream) in self.0.editions.glance().upstreams.iter().enumerate() {
            let Some(dropped) = upstream.as_ref().map(|upstream| upstream.dropped()) else { continue };
            telemetry.events_dropped(PoolId(i as u16), dropped.unreadable, dropped.late);
        }
        let now = self.clock().now();
        telemetry.brownout(self.with_fleet(|fleet| fleet.brownout_level()));
        let watts: Vec<Option<f64>> = self.with_fleet(|fleet| fleet.watts(now).collect());
        for (i, watts) in watts.into_iter().enumerate() {
            if let Some(watts) = watts {
                telemetry.pool_draws(PoolId(i as u16), watts);
            }
        }
        telemetry.metrics_text(self.open_calls(), self.draining())
    }

    /// A look at (or a word to) the fleet. Keep it short: every call waits for this lock.
    pub fn with_fleet<T>(&self, look: impl FnOnce(&mut Fleet) -> T) -> T {
        let (seen, called) = {
            let mut fleet = self.0.fleet();
            let seen = look(&mut fleet);
            (seen, fleet.call_up())
        };
        self.0.waiting.wake(called);
        seen
    }

    /// No new calls to the pool; those under way finish.
    pub fn drain(&self, pool: PoolId) {
        let now = self.0.clock.now();
        let transitions = self.with_fleet(|fleet| fleet.drain(pool, now));
        self.0.tell(&transitions);
    }

    /// Undoes [`Self::drain`].
    pub fn resume(&self, pool: PoolId) {
        let now = self.0.clock.now();
        let transitions = self.with_fleet(|fleet| fleet.resume(pool, now));
        self.0.tell(&transitions);
    }

    /// What time alone has changed, for people to hear of and for calls that wait.
    pub fn tick(&self) {
        let now = self.0.clock.now();
        let (transitions, steps) = self.with_fleet(|fleet| (fleet.tick(now), fleet.feel_pressure(now)));
        self.0.tell(&transitions);
        steps.iter().for_each(|step| self.0.telemetry.brownout_step(step));
    }

    /// A fresh id for a call, or for an error about something that never became one.
    pub fn next_id(&self) -> CallId {
        let n = self.0.calls.fetch_add(1, Ordering::Relaxed);
        CallId(splitmix(self.0.seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15))))
    }

    /// The router is going down: not ready, though it still serves.
    pub fn start_draining(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// See [`Self::start_draining`].
    pub fn draining(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }

    /// The grace is over: every open call ends now, honestly.
    pub fn end_grace(&self) {
        self.start_draining();
        self.0.grace_over.cancel();
    }

    /// Calls that are not closed yet.
    pub fn open_calls(&self) -> usize {
        self.0.open.load(Ordering::Relaxed)
    }

    /// Resolves when no call is open.
    pub async fn all_closed(&self) {
        loop {
            let closed = self.0.all_closed.notified();
            if self.open_calls() == 0 {
                return;
            }
            closed.await;
        }
    }
}

/// The head of a stream that must be sent before anybody has answered.
fn undecided(call: CallId, model: Arc<str>) -> Head {
    Head {
        call,
        pool: "undecided".into(),
        model,
        attempts: 0,
        cost: Usd::ZERO,
        reason: "no content yet; the call goes on".to_owned(),
    }
}

impl Inner {
    /// The fleet. A panic while it was held is a bug of ours; its numbers are still the best we have.
    fn fleet(&self) -> MutexGuard<'_, Fleet> {
        self.fleet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, transitions: &[Transition]) {
        if transitions.is_empty() {
            return;
        }
        let edition = self.editions.glance();
        for transition in transitions {
            self.telemetry.transition(&edition.catalog, transition);
        }
    }
}

/// Steele, Lea and Flood's SplitMix64 finaliser: consecutive numbers in, unrelated ids out, none twice.
fn splitmix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
