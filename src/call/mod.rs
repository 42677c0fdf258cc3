//! The life of one call as a state machine: events in, one step out.
//!
//! ```text
//!            decide                 first content            end seen
//!  new ──┬──────────► running ───────────────────► relaying ──────────► closed: answered
//!        │ wait  ▲     │  │ failed, time left          │ failed
//!        ├──► waiting  │  └──► decide again            └──────────────► closed: broken, and says so
//!        │             │ whole answer
//!        └─ shed       └──────────────────────────────────────────────► closed: answered
//! ```
//!
//! It owns every rule about one call: when an attempt has had its time, when a failure may be tried elsewhere, where
//! the commit point is, how the account ends. It owns no socket, timer or task: a driver (`flow` with sockets, a
//! simulator with an event queue) feeds it what happened and carries out the [`Step`] it answers. Both drivers
//! therefore fail over the same way, because there is only this one.
//!
//! Rules for a driver:
//! - [`Call::on`] takes the fleet, because a decision and its accounting must be one; drive it under the fleet's lock.
//! - every step but [`Step::Continue`] and [`Step::Commit`] means: drop the attempt in flight, if there is one.
//! - call [`Call::on`] with [`Event::Tick`] when [`Call::wake_at`] has come, and when the fleet calls the call up: after
//!   every word to the fleet ask [`Fleet::call_up`] whose turn it is. A call that is called up and goes away without a look
//!   gives its turn on, so the last event of every call must be fed.
//! - a call that arrives looks at once, whoever waits: where calls wait there is no room to be taken from them, but for
//!   the moment between a place's becoming free and the look of the one that was called up for it.
//! - after [`Step::Close`] nothing more is fed.

mod pause;
mod record;
mod settle;
mod wait;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use smallvec::SmallVec;

use crate::domain::{
    Aside, AttemptNo, CallFacts, Catalog, Duration, Failure, FailureKind, Instant, Now, Refusal, Usage, Usd,
};
use crate::fleet::{AttemptEnd, Decision, Dispatch, Fleet, Ticket, Transition, Tried};
use crate::policy::record::DecisionRecord;

use self::wait::Wait;
pub use record::{AttemptRecord, AttemptResult, Record};

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// The call has arrived. The first event, once.
    Start,
    /// [`Call::wake_at`] has come, or the waiting call was called up.
    Tick,
    /// The attempt in flight failed.
    Failed(Failure),
    /// The attempt in flight gave a whole answer.
    Whole(Usage),
    /// The first content of the attempt's stream is here.
    FirstContent,
    /// The stream ended as its dialect demands.
    End,
    /// The client went away.
    ClientGone,
    /// The client has not taken anything for too long.
    SlowReader,
    /// Calls of this very request lost all their connections: it is not sent for so long. Instead of [`Event::Start`].
    KeptBack(Duration),
    /// The grace of a shutdown is over.
    Shutdown,
}

/// What to do now.
#[derive(Debug)]
pub enum Step {
    /// Go on; wait for the next event or [`Call::wake_at`].
    Continue,
    /// Send this attempt.
    Send(Send),
    /// Nothing to send now; wait until [`Call::wake_at`] or until the call is called up.
    Wait,
    /// The commit point: hand the head and what was held back to the client, and relay from now on.
    Commit,
    /// The end, with the account in [`Call::record`].
    Close(Close),
}

/// An attempt to send.
#[derive(Debug)]
pub struct Send {
    /// Which try.
    pub no: AttemptNo,
    /// Where, and what is expected.
    pub dispatch: Dispatch,
    /// What is left until the deadline of the call.
    pub timeout: Duration,
}

/// How it ended, as the client must hear it.
#[derive(Debug)]
pub enum Close {
    /// The answer is whole.
    Answered,
    /// There is no answer.
    Refused(Refusal),
    /// The stream broke after the commit point.
    Broken {
        /// Which of the reasons of [`Event`]: `stream_interrupted`, `deadline`, `slow_reader`, `draining`.
        code: &'static str,
        /// What the upstream did, if it was the upstream.
        failure: Option<Failure>,
    },
    /// Nobody is listening.
    Gone,
}

#[derive(Debug)]
enum Phase {
    New,
    Waiting(Wait),
    Running(Ticket),
    Relaying { ticket: Ticket, last_content: Instant },
    Closed,
}

/// One call. See the module.
#[derive(Debug)]
pub struct Call {
    facts: CallFacts,
    phase: Phase,
    tried: SmallVec<[Tried; 3]>,
    last_failure: Option<Failure>,
    /// Content events of the attempt in flight, handed over or about to be.
    events: u64,
    /// The upstream's latest count for the attempt in flight.
    usage: Option<Usage>,
    /// Its wait began anew because it was us that stood still; once for every word from it.
    forgiven: bool,
    record: Record,
    transitions: Vec<Transition>,
    /// Decisions on record that nobody took yet; absent if none are kept.
    decisions: Option<Vec<DecisionRecord>>,
    rng: SmallRng,
}

impl Call {
    /// A call that has not begun. `seed` is the router's; together with the call's id it gives the call its own
    /// randomness, so that how tasks interleave changes no decision.
    pub fn new(facts: CallFacts, seed: u64) -> Self {
        let rng = SmallRng::seed_from_u64(seed ^ facts.id.0.rotate_left(17));
        Self {
            record: Record::new(facts.arrived),
            facts,
            phase: Phase::New,
            tried: SmallVec::new(),
            last_failure: None,
            events: 0,
            usage: None,
            forgiven: false,
            transitions: Vec::new(),
            decisions: None,
            rng,
        }
    }

    /// The same call, whose decisions are kept for [`Self::take_decisions`].
    #[must_use]
    pub fn on_record(self) -> Self {
        Self { decisions: Some(Vec::new()), ..self }
    }

    /// The facts it was made with.
    pub fn facts(&self) -> &CallFacts {
        &self.facts
    }

    /// What happened so far; complete once closed.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The dispatch in flight.
    pub fn dispatch(&self) -> Option<&Dispatch> {
        match &self.phase {
            Phase::Running(ticket) | Phase::Relaying { ticket, .. } => Some(&ticket.dispatch),
            Phase::New | Phase::Waiting(_) | Phase::Closed => None,
        }
    }

    /// Has the client been given anything?
    pub fn committed(&self) -> bool {
        self.record.committed.is_some()
    }

    /// True after [`Step::Close`].
    pub fn closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// What changed in the fleet since this was last asked, for people to hear of.
    pub fn take_transitions(&mut self) -> Vec<Transition> {
        std::mem::take(&mut self.transitions)
    }

    /// What was decided since this was last asked, if it is kept. Ask after every step: each may add one.
    pub fn take_decisions(&mut self) -> Vec<DecisionRecord> {
        self.decisions.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// When to feed [`Event::Tick`].
    pub fn wake_at(&self) -> Instant {
        let own = match &self.phase {
            Phase::Waiting(wait) => wait.wake_at(),
            Phase::Running(ticket) => ticket.started + ticket.dispatch.ttft_limit,
            Phase::Relaying { ticket, last_content } => *last_content + ticket.dispatch.idle_limit,
            Phase::New | Phase::Closed => Instant::NEVER,
        };
        own.min(self.facts.deadline)
    }

    /// A piece of the stream in flight passes by. Not an [`Event`], because it needs no fleet: the hot path of a
    /// relayed token. Before the commit point follow it with [`Event::FirstContent`] if it had content.
    pub fn piece(&mut self, content_events: u32, usage: Option<Usage>, now: Instant) {
        self.events += u64::from(content_events);
        if usage.is_some() {
            self.usage = usage;
        }
        if content_events > 0
            && let Phase::Relaying { last_content, .. } = &mut self.phase
        {
            *last_content = now;
            self.forgiven = false;
        }
    }

    /// The head of the answer in flight, good or bad, said this beside. Not an [`Event`], because nothing about the call
    /// changes by it. Followed by the event that the head is.
    pub fn aside(&mut self, aside: &Aside, fleet: &mut Fleet, now: Now) {
        if let Phase::Running(ticket) = &self.phase {
            fleet.heard(ticket, aside, now);
        }
    }

    /// The client was the one that kept the stream waiting until now: this is not the upstream's idleness.
    pub fn unblocked(&mut self, now: Instant) {
        if let Phase::Relaying { last_content, .. } = &mut self.phase {
            *last_content = now;
        }
    }

    /// Feeds an event.
    pub fn on(&mut self, event: Event, fleet: &mut Fleet, catalog: &Catalog, now: Now) -> Step {
        let was_in_line = self.in_line();
        if self.is_deferred() {
            fleet.undefer();
        }
        let step = self.take(event, fleet, catalog, now);
        if self.is_deferred() {
            fleet.defer();
        }
        if was_in_line && !self.in_line() {
            fleet.leave(&self.facts);
        }
        step
    }

    fn take(&mut self, event: Event, fleet: &mut Fleet, catalog: &Catalog, now: Now) -> Step {
        match event {
            Event::Start => self.decide(fleet, now),
            Event::Tick => self.tick(fleet, catalog, now),
            Event::Failed(failure) => self.failed(failure, fleet, catalog, now),
            Event::Whole(usage) => {
                self.usage = Some(usage);
                self.answered(fleet, catalog, now)
            }
            Event::FirstContent => self.first_content(fleet, now),
            Event::End => self.answered(fleet, catalog, now),
            Event::ClientGone => {
                self.end_attempt(AttemptEnd::Cancelled, None, fleet, catalog, now);
                self.close(Close::Gone, now)
            }
            Event::KeptBack(time) => self.kept_back(time, now),
            Event::SlowReader => self.cut("slow_reader", fleet, catalog, now),
            Event::Shutdown => self.cut("draining", fleet, catalog, now),
        }
    }

    fn decide(&mut self, fleet: &mut Fleet, now: Now) -> Step {
        let decision = match &mut self.decisions {
            None => fleet.decide(&self.facts, &self.tried, now, &mut self.rng),
            Some(kept) => {
                let (decision, record) = fleet.decide_on_record(&self.facts, &self.tried, now, &mut self.rng);
                kept.push(record);
                decision
            }
        };
        match decision {
            Decision::Dispatch(dispatch) => {
                let no = AttemptNo(self.record.attempts.len().min(usize::from(u8::MAX)) as u8);
                let timeout = self.facts.deadline.since(now.mono);
                self.events = 0;
                self.usage = None;
                self.forgiven = false;
                self.record.reason = Some(dispatch.reason.clone());
                match self.in_line() {
                    true => fleet.granted(&self.facts, now),
                    false => fleet.went_past(&self.facts, &dispatch, now),
                }
                self.phase = Phase::Running(fleet.started(&self.facts, dispatch.clone(), now));
                Step::Send(Send { no, dispatch, timeout })
            }
            Decision::Wait { until, reason, turn } => {
                self.record.waited_for = Some(reason);
                self.wait(until, turn, fleet, now)
            }
            Decision::Shed(refusal) => {
                let refusal = self.last_word(refusal);
                self.close(Close::Refused(refusal), now)
            }
        }
    }

    /// After attempts have failed, the last failure says more than "nobody is left"; unless it is the time that ran out,
    /// or the failure itself was that everybody is full, and the fleet knows until when.
    fn last_word(&mut self, shed: Refusal) -> Refusal {
        use FailureKind::{Overloaded, RateLimited};
        match (self.last_failure.take(), shed) {
            (None, shed) | (Some(_), shed @ Refusal::DeadlineExceeded { .. }) => shed,
            (Some(failure), shed @ Refusal::Overloaded { .. })
                if matches!(failure.kind, Overloaded | RateLimited) =>
            {
                shed
            }
            (Some(failure), _) => Refusal::Upstream(Box::new(failure)),
        }
    }

    fn tick(&mut self, fleet: &mut Fleet, catalog: &Catalog, now: Now) -> Step {
        if now.mono >= self.facts.deadline {
            return self.out_of_time(fleet, catalog, now);
        }
        if self.stood_still(now.mono) && self.forgive(now.mono) {
            return Step::Continue;
        }
        match &self.phase {
            Phase::Waiting(_) => self.tick_waiting(fleet, now),
            Phase::Running(ticket) if now.mono >= ticket.started + ticket.dispatch.ttft_limit => {
                let waited = ticket.dispatch.ttft_limit.as_secs_f64();
                let failure = Failure::new(
                    FailureKind::FirstTokenTimeout,
                    format!("no first token within {waited:.1} s"),
                );
                self.failed(failure, fleet, catalog, now)
            }
            Phase::Relaying { ticket, last_content }
                if now.mono >= *last_content + ticket.dispatch.idle_limit =>
            {
                let silent = ticket.dispatch.idle_limit.as_secs_f64();
                let failure = Failure::new(FailureKind::Stalled, format!("no content for {silent:.1} s"));
                self.failed(failure, fleet, catalog, now)
            }
            Phase::New | Phase::Running(_) | Phase::Relaying { .. } | Phase::Closed => Step::Continue,
        }
    }

    /// The deadline of the call. Whether the upstream had time enough for this to be its fault, the fleet knows.
    fn out_of_time(&mut self, fleet: &mut Fleet, catalog: &Catalog, now: Now) -> Step {
        if self.committed() {
            return self.cut("deadline", fleet, catalog, now);
        }
        let message = match &self.phase {
            Phase::Waiting(_) => format!(
                "the deadline passed while the call waited for {}",
                self.record.waited_for.as_deref().unwrap_or("a pool")
            ),
            _ => "the deadline passed before the first content".to_owned(),
        };
        let failure = Failure::new(FailureKind::Deadline, message.clone());
        let end = match self.stood_still(now.mono) {
            true => AttemptEnd::Cancelled,
            false => AttemptEnd::Failed { kind: failure.kind, retry_after: None },
        };
        self.end_attempt(end, Some(&failure), fleet, catalog, now);
        self.close(Close::Refused(Refusal::DeadlineExceeded { message }), now)
    }

    fn failed(&mut self, failure: Failure, fleet: &mut Fleet, catalog: &Catalog, now: Now) -> Step {
        let end = AttemptEnd::Failed { kind: failure.kind, retry_after: failure.retry_after };
        let committed = self.committed();
        let Some(tried) = self.end_attempt(end, Some(&failure), fleet, catalog, now) else {
            return Step::Continue;
        };
        if committed {
            return self.close(Close::Broken { code: "stream_interrupted", failure: Some(failure) }, now);
        }
        if !failure.kind.retryable() {
            return self.close(Close::Refused(Refusal::Upstream(Box::new(failure))), now);
        }
        self.tried.push(Tried { unprocessed: failure.unprocessed, kind: failure.kind, ..tried });
        self.last_failure = Some(failure);
        self.decide(fleet, now)
    }

    fn first_content(&mut self, fleet: &mut Fleet, now: Now) -> Step {
        let Phase::Running(mut ticket) = std::mem::replace(&mut self.phase, Phase::Closed) else {
            debug_assert!(false, "first content without an attempt running");
            return Step::Continue;
        };
        self.transitions.append(&mut fleet.first_token(&self.facts, &mut ticket, now));
        self.record.committed = Some(now.mono);
        self.phase = Phase::Relaying { ticket, last_content: now.mono };
        Step::Commit
    }

    fn answered(&mut self, fleet: &mut Fleet, catalog: &Catalog, now: Now) -> Step {
        let usage = self.counted();
        if self.end_attempt(AttemptEnd::Ok { usage }, None, fleet, catalog, now).is_none() {
            return Step::Continue;
        }
        self.record.committed.get_or_insert(now.mono);
        self.close(Close::Answered, now)
    }

    /// Ends a call from our side: in band after the commit point, as a refusal before it.
    fn cut(&mut self, code: &'static str, fleet: &mut Fleet, catalog: &Catalog, now: Now) -> Step {
        self.end_attempt(AttemptEnd::Cancelled, None, fleet, catalog, now);
        let close = if self.committed() {
            Close::Broken { code, failure: None }
        } else {
            Close::Refused(Refusal::Draining)
        };
        self.close(close, now)
    }

    fn kept_back(&mut self, time: Duration, now: Now) -> Step {
        let seconds = time.as_secs();
        let message = format!(
            "this very request lost every connection that it was sent on; it is not sent for {seconds} s"
        );
        let failure = Failure::new(FailureKind::Disconnected, message);
        self.close(Close::Refused(Refusal::Upstream(Box::new(failure))), now)
    }

    fn close(&mut self, close: Close, now: Now) -> Step {
        self.phase = Phase::Closed;
        self.record.close(&close, now.mono);
        Step::Close(close)
    }

    /// What the attempt in flight will cost if it goes as expected: the estimate in the head of a stream.
    pub fn expected_cost(&self) -> Usd {
        self.dispatch().map_or(Usd::ZERO, |d| Usd::from_dollars(d.expected_usd))
    }

    /// It lost as many connections as a call may: perhaps it is the request that does it.
    pub fn lost_its_connections(&self, fleet: &Fleet) -> bool {
        let lost = |t: &&Tried| t.kind == FailureKind::Disconnected && !t.unprocessed;
        self.tried.iter().filter(lost).count() >= fleet.settings().retry.disconnects
    }

    /// Content events handed over by the attempt that answered.
    pub fn tokens_delivered(&self) -> u64 {
        self.events
    }
}

#[cfg(test)]
mod tests;
