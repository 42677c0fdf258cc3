//! One engine in the time of a clock: lets it advance when something is due, and tells each job what happened to it.
//!
//! A task drives the engine while it has anything to do and ends when it has not, so an idle pool costs nothing and
//! nobody must shut it down.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::clock::Clock;
use crate::domain::Instant;
use crate::engine::{Engine, Event, Job, JobId, Load, Rejected, Settings, What};

/// Reports a job may leave unread; beyond it the last one is replaced, which loses a moment but no token.
const MAX_UNREAD: usize = 256;

/// See the module.
#[derive(Debug)]
pub(super) struct Endpoint {
    clock: Clock,
    state: Mutex<State>,
    /// The engine's next event may be another one now.
    bell: Notify,
}

#[derive(Debug)]
struct State {
    engine: Engine,
    boxes: BTreeMap<JobId, Arc<Mailbox>>,
    driven: bool,
    /// Kept to be used again.
    events: Vec<Event>,
}

#[derive(Debug, Default)]
struct Mailbox {
    unread: Mutex<VecDeque<Progress>>,
    bell: Notify,
}

/// How far a job is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Progress {
    /// When it was that far.
    pub at: Instant,
    /// Tokens of each sequence.
    pub total: u32,
    /// Tokens of the prompt that were cached.
    pub cached: u32,
    /// It has all its tokens.
    pub finished: bool,
    /// The connection is lost, and this is the last that is heard.
    pub lost: bool,
}

/// A job under way. Dropping it cancels it.
#[derive(Debug)]
pub(super) struct Running {
    endpoint: Arc<Endpoint>,
    id: JobId,
    mail: Arc<Mailbox>,
}

impl Endpoint {
    pub(super) fn new(settings: Settings, clock: Clock) -> Arc<Self> {
        let engine = Engine::new(settings, clock.mono());
        let state = State { engine, boxes: BTreeMap::new(), driven: false, events: Vec::new() };
        Arc::new(Self { clock, state: Mutex::new(state), bell: Notify::new() })
    }

    /// Hands a job in, now.
    pub(super) fn submit(self: &Arc<Self>, job: Job) -> Result<Running, Rejected> {
        let mut state = self.lock();
        let id = state.engine.submit(job, self.clock.mono())?;
        let mail = Arc::new(Mailbox::default());
        state.boxes.insert(id, Arc::clone(&mail));
        let driven = std::mem::replace(&mut state.driven, true);
        drop(state);
        if driven {
            self.bell.notify_one();
        } else {
            tokio::spawn(Arc::clone(self).drive());
        }
        Ok(Running { endpoint: Arc::clone(self), id, mail })
    }

    pub(super) fn slow_down(&self, factor: f64) {
        self.lock().engine.slow_down(factor, self.clock.mono());
        self.bell.notify_one();
    }

    /// Nobody hears of the jobs under way any more. They go on until they are called off, as behind a lost connection.
    pub(super) fn lose_all(&self) {
        let now = self.clock.mono();
        let mut state = self.lock();
        state.deliver(now);
        for mail in std::mem::take(&mut state.boxes).into_values() {
            mail.put(Progress { at: now, total: 0, cached: 0, finished: false, lost: true });
        }
    }

    pub(super) fn load(&self) -> Load {
        let mut state = self.lock();
        state.deliver(self.clock.mono());
        state.engine.load()
    }

    pub(super) fn energy_j(&self) -> f64 {
        self.lock().engine.energy_j(self.clock.mono())
    }

    async fn drive(self: Arc<Self>) {
        loop {
            let next = {
                let mut state = self.lock();
                state.deliver(self.clock.mono());
                match state.engine.next_event() {
                    Some(next) => next,
                    None => {
                        state.driven = false;
                        return;
                    }
                }
            };
            tokio::select! {
                biased;
                () = self.bell.notified() => {}
                () = tokio::time::sleep_until(self.clock.deadline(next)) => {}
            }
        }
    }

    /// A panic under the lock leaves numbers that are odd but safe; every later call failing would help nobody.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn deliver(&mut self, now: Instant) {
        let mut events = std::mem::take(&mut self.events);
        self.engine.advance(now, &mut events);
        for event in events.drain(..) {
            let (total, cached, finished) = match event.what {
                What::FirstToken { cached } => (Some(1), Some(cached), false),
                What::Tokens { total } => (Some(total), None, false),
                What::Finished { cached } => (None, Some(cached), true),
            };
            let mail =
                if finished { self.boxes.remove(&event.job) } else { self.boxes.get(&event.job).cloned() };
            if let Some(mail) = mail {
                // A job's own end says the total: whoever submitted it knows how many it asked for.
                let (total, cached) = (total.unwrap_or(u32::MAX), cached.unwrap_or(0));
                mail.put(Progress { at: event.at, total, cached, finished, lost: false });
            }
        }
        self.events = events;
    }
}

impl Mailbox {
    fn put(&self, progress: Progress) {
        let mut unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        if unread.len() >= MAX_UNREAD {
            unread.pop_back();
        }
        unread.push_back(progress);
        drop(unread);
        self.bell.notify_one();
    }

    fn take(&self) -> Option<Progress> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl Running {
    /// What happened next. Pends for ever after the end.
    pub(super) async fn next(&self) -> Progress {
        loop {
            if let Some(progress) = self.mail.take() {
                return progress;
            }
            self.mail.bell.notified().await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.endpoint.lock();
        state.boxes.remove(&self.id);
        if state.engine.cancel(self.id, self.endpoint.clock.mono()) {
            drop(state);
            self.endpoint.bell.notify_one();
        }
    }
}
