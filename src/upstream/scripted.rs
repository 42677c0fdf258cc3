//! An upstream that does what a script says, when it says it: for tests of everything above, and for a simulator that
//! must see the very same happenings.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream;
use smallvec::smallvec;

use super::{Attempt, Piece, PieceBody, Pieces, Reply, Upstream, Whole, WholeBody};
use crate::domain::{Answer, Choice, Delta, Duration, Failure, FailureKind, FinishReason, Generated, Usage};

/// What happens in one attempt, in order.
#[derive(Clone, Debug)]
pub struct Script(pub Vec<(Duration, Happening)>);

/// Something that happens, after a delay from what happened before.
#[derive(Clone, Debug)]
pub enum Happening {
    /// The stream opens, without content yet. First in every streamed script that gets that far.
    Open,
    /// One content event.
    Content,
    /// The stream ends as it should, with this count.
    End(Usage),
    /// The whole answer of a unary call.
    Whole(Usage),
    /// It fails.
    Fail(Failure),
    /// Nothing more, ever.
    Silence,
}

impl Script {
    /// A script that fails after `delay`.
    pub fn failing(delay: Duration, kind: FailureKind) -> Self {
        Self(vec![(delay, Happening::Fail(Failure::new(kind, "scripted")))])
    }

    /// A whole answer after `delay`.
    pub fn whole(delay: Duration, usage: Usage) -> Self {
        Self(vec![(delay, Happening::Whole(usage))])
    }

    /// A stream of `tokens` content events, the first after `ttft`, the others `gap` apart, and a proper end.
    pub fn stream(ttft: Duration, gap: Duration, tokens: u32) -> Self {
        let mut steps = vec![(ttft, Happening::Open)];
        for i in 0..tokens {
            steps.push((if i == 0 { Duration::ZERO } else { gap }, Happening::Content));
        }
        let usage = Usage { input: 10, output: u64::from(tokens), ..Usage::default() };
        steps.push((Duration::ZERO, Happening::End(usage)));
        Self(steps)
    }

    /// The same, but after `keep` happenings comes `then`.
    #[must_use]
    pub fn cut(mut self, keep: usize, delay: Duration, then: Happening) -> Self {
        self.0.truncate(keep);
        self.0.push((delay, then));
        self
    }
}

/// Chooses the script of an attempt.
pub type Playwright = dyn Fn(&Attempt) -> Script + Send + Sync;

/// See the module.
#[derive(Clone)]
pub struct Scripted {
    write: Arc<Playwright>,
}

impl Scripted {
    /// Plays what `write` writes.
    pub fn new(write: impl Fn(&Attempt) -> Script + Send + Sync + 'static) -> Self {
        Self { write: Arc::new(write) }
    }
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scripted")
    }
}

impl Upstream for Scripted {
    fn call(&self, attempt: Attempt) -> Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send>> {
        let script = (self.write)(&attempt);
        Box::pin(async move {
            let mut steps = script.0.into_iter();
            match play(&mut steps).await {
                Happening::Whole(usage) => {
                    Ok(Reply::Whole(Whole { body: WholeBody::Canonical(answer()), usage, aside: None }))
                }
                Happening::Fail(failure) => Err(failure),
                Happening::Open | Happening::Content | Happening::End(_) | Happening::Silence => {
                    let pieces = stream::unfold(steps, |mut steps| async move {
                        match play(&mut steps).await {
                            Happening::End(usage) if usage == Usage::default() => None,
                            Happening::End(usage) => Some((Ok(last(usage)), Vec::new().into_iter())),
                            Happening::Fail(failure) => Some((Err(failure), steps)),
                            _ => Some((Ok(content()), steps)),
                        }
                    });
                    Ok(Reply::Stream(Pieces(Box::pin(pieces), None)))
                }
            }
        })
    }
}

/// The next happening, when it is due. A script that is over has ended properly.
async fn play(steps: &mut std::vec::IntoIter<(Duration, Happening)>) -> Happening {
    let Some((delay, happening)) = steps.next() else { return Happening::End(Usage::default()) };
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    if matches!(happening, Happening::Silence) {
        std::future::pending::<()>().await;
    }
    happening
}

fn content() -> Piece {
    let delta = Delta::Text { choice: 0, text: "la ".to_owned(), logprobs: None };
    Piece { body: PieceBody::Canonical(smallvec![delta]), content_events: 1, usage: None }
}

fn last(usage: Usage) -> Piece {
    let delta = Delta::Finish { choice: 0, reason: FinishReason::Stop };
    Piece {
        body: PieceBody::Canonical(smallvec![delta, Delta::Usage(usage)]),
        content_events: 0,
        usage: Some(usage),
    }
}

fn answer() -> Answer {
    let parts = vec![crate::domain::request::Part::Text("la la".to_owned())];
    Answer::Generated(Generated {
        id: None,
        choices: vec![Choice { index: 0, parts, finish: FinishReason::Stop, logprobs: None }],
    })
}
