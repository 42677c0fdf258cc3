//! Drives one call up to its commit point, inside the task of the face that asked.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use smallvec::SmallVec;
use tokio::time::{Sleep, sleep_until};

use super::edition::Edition;
use super::relay::{self, RelayBody};
use super::waiting::Place;
use super::{Answered, Bill, Head, Inner, Out, Refused};
use crate::call::{Call, Close, Event, Send, Step};
use crate::domain::{Aside, CallFacts, Failure, FailureKind, Instant, Refusal, Request};
use crate::upstream::{Attempt, Onward, Piece, PieceBody, Pieces, Reply, Whole};

/// Pieces that came before the first content (a role, one for each of up to 128 choices) wait for it; an upstream that
/// sends more than this many is not going to say anything.
const HELD_MAX: usize = 512;

/// And no more bytes: the largest there are, the ids of a long prompt's tokens, are below one MiB.
const HELD_BYTES_MAX: usize = 4 << 20;

/// A call and everything that it holds. Whatever happens to the task, dropping it closes the account exactly once.
pub(super) struct Driven {
    pub(super) router: Arc<Inner>,
    pub(super) call: Call,
    /// What the last step was decided by.
    pub(super) edition: Arc<Edition>,
    /// What it began with, if that was another: as long as it is held, the ids of that time keep their meaning.
    began_with: Option<Arc<Edition>>,
    /// Does the attempt in flight share its connection with others?
    pub(super) shares_connection: bool,
    client_model: Arc<str>,
    onward: Onward,
}

/// What came of an attempt.
#[expect(
    clippy::large_enum_variant,
    reason = "lives for one return, and a box would be an allocation a call"
)]
enum Progress {
    Next(Step),
    Whole(Whole),
    Begun(Begun),
}

/// A stream whose first content is here, or that ended without any.
pub(super) struct Begun {
    pub(super) held: SmallVec<[PieceBody; 4]>,
    /// What follows; absent when it is over.
    pub(super) pieces: Option<Pieces>,
}

impl Driven {
    pub(super) fn open(router: Arc<Inner>, edition: Arc<Edition>, facts: CallFacts, onward: Onward) -> Self {
        let client_model = edition.catalog.model(facts.model).name.clone();
        router.open.fetch_add(1, Ordering::Relaxed);
        let on_record = router.telemetry.records(facts.id);
        let call = Call::new(facts, router.seed);
        let call = if on_record { call.on_record() } else { call };
        let shares_connection = false;
        Self { router, call, edition, began_with: None, shares_connection, client_model, onward }
    }

    /// The model, as the client named it.
    pub(super) fn client_model(&self) -> Arc<str> {
        self.client_model.clone()
    }

    /// Feeds the machine under the fleet's lock, and tells people afterwards.
    pub(super) fn step(&mut self, event: Event) -> Step {
        let now = self.router.clock.now();
        // The last to let go of an edition takes down its upstreams: not while all calls wait for the lock.
        let mut _done_with = None;
        let (step, called) = {
            let mut fleet = self.router.fleet();
            if !Arc::ptr_eq(fleet.catalog(), &self.edition.catalog) {
                let before = std::mem::replace(&mut self.edition, self.router.editions.present());
                match &self.began_with {
                    Some(_) => _done_with = Some(before),
                    None => self.began_with = Some(before),
                }
            }
            let step = self.call.on(event, &mut fleet, &self.edition.catalog, now);
            (step, fleet.call_up())
        };
        self.router.waiting.wake(called);
        let transitions = self.call.take_transitions();
        self.router.tell(&transitions);
        for decision in self.call.take_decisions() {
            self.router.telemetry.decided(&decision);
        }
        step
    }

    /// Hands on what the head of an answer said beside.
    fn hear(&mut self, aside: Option<Box<Aside>>) {
        if let Some(aside) = aside {
            let now = self.router.clock.now();
            self.call.aside(&aside, &mut self.router.fleet(), now);
        }
    }

    /// From arrival to the head of an answer. The request is kept until then and no longer: a long prompt must not
    /// stay in memory for as long as its answer streams.
    pub(super) async fn begin(mut self, request: Arc<Request>) -> Result<Answered, Refused> {
        let first = self.first_event(&request);
        let mut step = self.step(first);
        loop {
            step = match step {
                Step::Send(send) => match self.attempt(send, &request).await {
                    Progress::Next(step) => step,
                    Progress::Whole(whole) => {
                        self.exonerate(&request);
                        return Ok(self.whole(whole));
                    }
                    Progress::Begun(begun) => {
                        self.exonerate(&request);
                        return Ok(self.stream(begun));
                    }
                },
                Step::Wait => self.wait().await,
                Step::Close(close) => {
                    self.suspect(&request);
                    return Err(self.refused(close));
                }
                Step::Continue | Step::Commit => {
                    debug_assert!(false, "no attempt is in flight, so there is nothing to go on with");
                    self.step(Event::Shutdown)
                }
            };
        }
    }

    async fn attempt(&mut self, send: Send, request: &Arc<Request>) -> Progress {
        let Some(upstream) = self.edition.upstream(send.dispatch.pool).cloned() else {
            let failure = Failure::new(FailureKind::Connect, "the pool was withdrawn");
            return Progress::Next(self.step(Event::Failed(failure)));
        };
        self.shares_connection = upstream.shares_connections();
        let attempt = Attempt {
            call: self.call.facts().id,
            no: send.no,
            request: request.clone(),
            upstream_model: self.edition.catalog.offer(send.dispatch.offer).upstream_model.clone(),
            client_model: self.client_model.clone(),
            address: send.dispatch.address,
            timeout: send.timeout,
            onward: self.onward.clone(),
        };
        let mut reply = upstream.call(attempt);
        let mut reply = match self.until(|cx| reply.as_mut().poll(cx)).await {
            Ok(reply) => reply,
            Err(step) => return Progress::Next(step),
        };
        self.hear(match &mut reply {
            Ok(Reply::Whole(whole)) => whole.aside.take(),
            Ok(Reply::Stream(pieces)) => pieces.1.take(),
            Err(failure) => failure.aside.take(),
        });
        match reply {
            Err(failure) => Progress::Next(self.step(Event::Failed(failure))),
            Ok(Reply::Whole(whole)) if !request.stream => match self.step(Event::Whole(whole.usage)) {
                Step::Close(Close::Answered) => Progress::Whole(whole),
                step => Progress::Next(step),
            },
            Ok(Reply::Stream(pieces)) if request.stream => self.hold(pieces).await,
            Ok(_) => {
                let failure = Failure::new(
                    FailureKind::BadResponse,
                    "a stream where none was asked, or none where one was",
                );
                Progress::Next(self.step(Event::Failed(failure)))
            }
        }
    }

    /// Holds a stream back until its first content: until then it can still be tried elsewhere.
    async fn hold(&mut self, mut pieces: Pieces) -> Progress {
        let mut held: SmallVec<[PieceBody; 4]> = SmallVec::new();
        let mut bytes = 0;
        loop {
            let piece = match self.until(|cx| pieces.0.as_mut().poll_next(cx)).await {
                Ok(piece) => piece,
                Err(step) => return Progress::Next(step),
            };
            match piece {
                Some(Ok(Piece { body, content_events, usage })) => {
                    self.call.piece(content_events, usage, self.router.clock.mono());
                    bytes += relay::size(&body);
                    held.push(body);
                    if content_events > 0 {
                        return match self.step(Event::FirstContent) {
                            Step::Commit => Progress::Begun(Begun { held, pieces: Some(pieces) }),
                            step => Progress::Next(step),
                        };
                    }
                    if held.len() >= HELD_MAX || bytes > HELD_BYTES_MAX {
                        let failure = Failure::new(FailureKind::BadResponse, "many events and no content");
                        return Progress::Next(self.step(Event::Failed(failure)));
                    }
                }
                Some(Err(failure)) => return Progress::Next(self.step(Event::Failed(failure))),
                None => {
                    return match self.step(Event::End) {
                        Step::Close(Close::Answered) => Progress::Begun(Begun { held, pieces: None }),
                        step => Progress::Next(step),
                    };
                }
            }
        }
    }

    /// Polls `ready` until it is, while the machine's timers run. An `Err` is a step that ends the attempt.
    async fn until<T>(
        &mut self,
        mut ready: impl FnMut(&mut std::task::Context<'_>) -> Poll<T>,
    ) -> Result<T, Step> {
        let router = self.router.clone();
        let mut grace_over = pin!(router.grace_over.cancelled());
        let mut alarm = Alarm::new(&router, self.call.wake_at());
        loop {
            let woken = poll_fn(|cx| {
                if let Poll::Ready(value) = ready(cx) {
                    return Poll::Ready(Woken::Ready(value));
                }
                if alarm.poll(cx).is_ready() {
                    return Poll::Ready(Woken::Alarm);
                }
                grace_over.as_mut().poll(cx).map(|()| Woken::GraceOver)
            })
            .await;
            let step = match woken {
                Woken::Ready(value) => return Ok(value),
                Woken::Alarm => self.step(Event::Tick),
                Woken::GraceOver => self.step(Event::Shutdown),
            };
            match step {
                Step::Continue => alarm.set(&router, self.call.wake_at()),
                step => return Err(step),
            }
        }
    }

    /// Waits for its time or its turn.
    pub(super) async fn wait(&mut self) -> Step {
        let router = self.router.clone();
        let id = self.call.facts().id;
        let place = router.waiting.enter(id);
        let mut called = router.fleet().is_called(id);
        loop {
            if !called && let Err(step) = self.until_called(&place).await {
                return step;
            }
            match self.step(Event::Tick) {
                Step::Continue => called = false,
                step => return step,
            }
        }
    }

    async fn until_called(&mut self, place: &Place<'_>) -> Result<(), Step> {
        let mut called = pin!(place.called());
        self.until(|cx| called.as_mut().poll(cx)).await
    }

    fn head(&self) -> Head {
        let record = self.call.record();
        let closed = self.call.closed();
        let pool = match self.call.dispatch() {
            Some(dispatch) => dispatch.pool,
            None => record.attempts.last().map(|a| a.pool).unwrap_or_default(),
        };
        Head {
            call: self.call.facts().id,
            pool: self.edition.catalog.pool(pool).name.clone(),
            model: self.client_model.clone(),
            attempts: (record.attempts.len() + usize::from(!closed)) as u32,
            cost: if closed { record.cost } else { self.call.expected_cost() },
            reason: record.reason.as_ref().map(ToString::to_string).unwrap_or_default(),
        }
    }

    pub(super) fn bill(&self) -> Bill {
        let record = self.call.record();
        Bill { usage: record.usage, cost: record.cost }
    }

    fn whole(self, whole: Whole) -> Answered {
        Answered::Whole { head: self.head(), bill: self.bill(), whole }
    }

    fn stream(self, begun: Begun) -> Answered {
        let head = self.head();
        let body = match begun.pieces {
            Some(pieces) => relay::spawn(self, begun.held, pieces),
            None => {
                RelayBody::finished(begun.held.into_iter().map(Out::Piece).chain([Out::End(self.bill())]))
            }
        };
        Answered::Stream { head, body }
    }

    fn refused(self, close: Close) -> Refused {
        let refusal = match close {
            Close::Refused(refusal) => refusal,
            Close::Answered | Close::Broken { .. } | Close::Gone => Refusal::Internal {
                message: "the call ended in a way that its phase does not allow".to_owned(),
            },
        };
        let record = self.call.record();
        Refused {
            call: self.call.facts().id,
            pool: record.attempts.last().map(|a| self.edition.catalog.pool(a.pool).name.clone()),
            attempts: record.attempts.len() as u32,
            refusal,
        }
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        if !self.call.closed() {
            let _gone = self.step(Event::ClientGone);
        }
        let router = &self.router;
        router.ledger.settle(self.call.facts(), self.call.record());
        let catalog = &self.edition.catalog;
        router.telemetry.call_closed(catalog, &router.clock, self.call.facts(), self.call.record());
        if router.open.fetch_sub(1, Ordering::Relaxed) == 1 {
            router.all_closed.notify_waiters();
        }
    }
}

enum Woken<T> {
    Ready(T),
    Alarm,
    GraceOver,
}

/// The machine's one timer. Moving it later costs nothing until the earlier time has come: a stream moves it with every
/// token, and a timer wheel entry each would be most of the work.
pub(super) struct Alarm {
    sleep: Pin<Box<Sleep>>,
}

impl Alarm {
    pub(super) fn new(router: &Inner, at: Instant) -> Self {
        Self { sleep: Box::pin(sleep_until(router.clock.deadline(at))) }
    }

    pub(super) fn set(&mut self, router: &Inner, at: Instant) {
        self.sleep.as_mut().reset(router.clock.deadline(at));
    }

    pub(super) fn poll(&mut self, cx: &mut std::task::Context<'_>) -> Poll<()> {
        self.sleep.as_mut().poll(cx)
    }
}
