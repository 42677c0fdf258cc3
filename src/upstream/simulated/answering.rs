//! An answer under way: what the engine has made so far, said in the words of the script, as late as the network is
//! long, and broken where it was told to break.

use std::future::pending;
use std::pin::Pin;

use futures_util::{poll, stream};
use smallvec::SmallVec;
use tokio::time::{Sleep, sleep_until};

use super::endpoint::{Progress, Running};
use super::script::Script;
use crate::clock::Clock;
use crate::domain::{Answer, Delta, Duration, Failure, FailureKind, Instant, Usage, UsageSource};
use crate::engine::Break;
use crate::upstream::{Piece, PieceBody, Pieces, Reply, Whole, WholeBody};

/// See the module.
#[derive(Debug)]
pub(super) struct Answering {
    pub running: Running,
    pub script: Script,
    /// The answer to an embedding, which has no script.
    pub vectors: Option<Answer>,
    pub clock: Clock,
    /// One way.
    pub delay: Duration,
    pub breaks: Option<Break>,
    pub contact: Option<Contact>,
    pub input: u32,
    pub id: String,
}

/// Until when the pool can be reached, where that is not for ever.
#[derive(Debug)]
pub(super) struct Contact {
    ends: Instant,
    /// When the router hears of that.
    heard: Pin<Box<Sleep>>,
}

impl Contact {
    /// It ends then, which is heard of after `delay`.
    pub(super) fn until(ends: Instant, delay: Duration, clock: &Clock) -> Self {
        Self { ends, heard: Box::pin(sleep_until(clock.deadline(ends + delay))) }
    }
}

/// How far a stream is.
#[derive(Debug)]
struct Telling {
    answering: Answering,
    steps: u32,
    cached: u32,
    over: bool,
}

/// What is there to tell.
enum Told {
    /// The answer is so far.
    Upto(Progress),
    /// It broke, as it was told to.
    Cut,
    /// The pool went away then.
    Gone(Instant),
    /// Contact ended, and that is known here now.
    OutOfReach,
}

impl Answering {
    /// The answer once it has begun.
    pub(super) async fn reply(mut self, stream: bool) -> Result<Reply, Failure> {
        if let Some(contact) = &mut self.contact {
            // Sets the timer: of answers that are lost together, the first to be asked for is lost first.
            let _not_yet = poll!(&mut contact.heard);
        }
        if self.vectors.is_some() || !stream {
            return self.whole().await.map(Reply::Whole);
        }
        // The head of the answer travels as soon as the request is accepted.
        tokio::time::sleep(self.delay).await;
        let telling = Telling { answering: self, steps: 0, cached: 0, over: false };
        let pieces = stream::unfold(telling, |mut telling| async move {
            let piece = telling.next().await?;
            Some((piece, telling))
        });
        Ok(Reply::Stream(Pieces(Box::pin(pieces), None)))
    }

    async fn whole(mut self) -> Result<Whole, Failure> {
        let (mut cached, mut steps, mut at) = (0, 0, self.clock.mono());
        let finished = loop {
            match self.happened(steps).await {
                Told::Gone(at) => return Err(self.gone(at).await),
                Told::OutOfReach => return Err(lost("contact ended")),
                Told::Cut => {
                    self.arrives(at).await;
                    return Err(lost("the connection was cut before the answer was whole"));
                }
                Told::Upto(progress) => {
                    cached = cached.max(progress.cached);
                    (steps, at) = (progress.total, progress.at);
                    if progress.finished {
                        break progress.at;
                    }
                }
            }
        };
        self.arrives(finished).await;
        let (usage, answer) = match self.vectors.take() {
            Some(vectors) => (self.usage(cached, 0), vectors),
            None => {
                let answer = Answer::Generated(self.script.whole(std::mem::take(&mut self.id)));
                (self.usage(cached, self.script.steps()), answer)
            }
        };
        Ok(Whole { body: WholeBody::Canonical(answer), usage, aside: None })
    }

    /// The next thing that the pool would put on the wire, given that `steps` were told: at the pool's end, not ours.
    async fn happened(&mut self, steps: u32) -> Told {
        let limit = self.break_at();
        let Self { running, script, breaks, contact, .. } = self;
        let ends = contact.as_ref().map(|c| c.ends);
        let out_of_reach = async {
            match contact {
                Some(contact) => contact.heard.as_mut().await,
                None => pending().await,
            }
        };
        let next = async {
            match breaks.filter(|_| limit.is_some_and(|limit| steps >= limit)) {
                Some(Break::Truncate(_)) => return Told::Cut,
                Some(Break::Stall(_)) => loop {
                    let progress = running.next().await;
                    if progress.lost {
                        return Told::Gone(progress.at);
                    }
                },
                None => {}
            }
            let mut progress = running.next().await;
            if progress.lost {
                return Told::Gone(progress.at);
            }
            if ends.is_some_and(|ends| progress.at >= ends) {
                return pending().await;
            }
            progress.total = progress.total.min(script.steps());
            match limit {
                // What was made before the break still travels; the break is met at the next turn.
                Some(limit) if progress.total >= limit => {
                    Told::Upto(Progress { total: limit, finished: false, ..progress })
                }
                _ => Told::Upto(progress),
            }
        };
        tokio::select! {
            biased;
            told = next => told,
            () = out_of_reach => Told::OutOfReach,
        }
    }

    /// Tokens after which it breaks: at the latest with the last one, for an answer that never comes to the break would
    /// not have the fault it was drawn.
    fn break_at(&self) -> Option<u32> {
        match self.breaks? {
            Break::Truncate(after) | Break::Stall(after) => Some(after.min(self.script.steps())),
        }
    }

    /// Waits until what happened at `at` has come through the network.
    async fn arrives(&self, at: Instant) {
        tokio::time::sleep_until(self.clock.deadline(at + self.delay)).await;
    }

    /// What it looks like from here that the pool went away.
    async fn gone(&self, at: Instant) -> Failure {
        self.arrives(at).await;
        lost("the pool went away")
    }

    fn usage(&self, cached: u32, steps: u32) -> Usage {
        Usage {
            input: u64::from(self.input),
            cached: u64::from(cached),
            output: self.script.output(steps),
            source: UsageSource::Reported,
            ..Usage::default()
        }
    }
}

impl Telling {
    async fn next(&mut self) -> Option<Result<Piece, Failure>> {
        loop {
            if self.over {
                return None;
            }
            let progress = match self.answering.happened(self.steps).await {
                Told::Upto(progress) => progress,
                Told::Gone(at) => {
                    self.over = true;
                    return Some(Err(self.answering.gone(at).await));
                }
                Told::OutOfReach => {
                    self.over = true;
                    return Some(Err(lost("contact ended")));
                }
                Told::Cut => {
                    self.over = true;
                    let message = format!("the stream was cut after {} tokens", self.steps);
                    return Some(Err(Failure::new(FailureKind::Truncated, message)));
                }
            };
            self.answering.arrives(progress.at).await;
            if let Some(piece) = self.piece(progress) {
                return Some(Ok(piece));
            }
        }
    }

    fn piece(&mut self, progress: Progress) -> Option<Piece> {
        self.cached = self.cached.max(progress.cached);
        let answering = &self.answering;
        let broken = answering.break_at().is_some_and(|limit| progress.total >= limit);
        let mut deltas: SmallVec<[Delta; 2]> = answering.script.deltas(self.steps, progress.total).into();
        if broken {
            // The end is what it does not come to.
            deltas.retain(|d| !matches!(d, Delta::Finish { .. }));
        }
        self.steps = progress.total.max(self.steps);
        let mut usage = None;
        if progress.finished {
            self.over = true;
            let count = answering.usage(self.cached, answering.script.steps());
            deltas.push(Delta::Usage(count));
            usage = Some(count);
        }
        if deltas.is_empty() {
            return None;
        }
        let content = deltas.iter().filter(|d| is_content(d)).count();
        Some(Piece { body: PieceBody::Canonical(deltas), content_events: content as u32, usage })
    }
}

fn is_content(delta: &Delta) -> bool {
    !matches!(delta, Delta::Finish { .. } | Delta::Usage(_))
}

fn lost(message: &str) -> Failure {
    Failure::new(FailureKind::Disconnected, message)
}
