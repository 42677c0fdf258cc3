//! A streamed answer on its way through: reads in, pieces out, and an honest verdict on how it ended.
//!
//! Bytes go on as they came but for the model's name and, if the client did not ask for it, the usage chunk. Events
//! that no SDK could read never go on. Decides nothing about retries and has no timer; it says when one is due.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::chunk::{ToolIndices, decode_chunk};
use super::error::decode_inner_error;
use super::event::{Bits, Seen, look};
use super::prepare::quoted;
use super::usage::settle;
use crate::dialect::sse::{Batch, Data, Event, Framer};
use crate::domain::{AskKind, Delta, Failure, FailureKind, Usage};

/// The third event that cannot be read ends a stream; the ones before are dropped.
const MALFORMED_MAX: u32 = 3;

const DONE: &[u8] = b"data: [DONE]\n\n";

/// What a stream is to become.
#[derive(Clone, Debug)]
pub struct Terms {
    /// What was asked.
    pub kind: AskKind,
    /// The name that the client knows the model by.
    pub client_model: Arc<str>,
    /// The client asked for the usage chunk.
    pub usage_asked: bool,
    /// How many choices must end before the answer is whole; see [`choices`](super::choices).
    pub choices: u32,
    /// Our own count of the input.
    pub own_input: u64,
    /// What comes out.
    pub form: Form,
}

/// What comes out of a [`Relay`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// Framed events of the same dialect.
    Bytes,
    /// Canonical deltas. Usage is in [`Step::usage`] only.
    Canonical,
}

/// What a read gave.
#[derive(Debug, Default)]
pub struct Step {
    /// Framed events ([`Form::Bytes`]).
    pub bytes: Bytes,
    /// Deltas ([`Form::Canonical`]).
    pub deltas: SmallVec<[Delta; 2]>,
    /// Events with content among them.
    pub content_events: u32,
    /// The upstream's count (or ours, where it was not credible), if there was one.
    pub usage: Option<Usage>,
    /// The stream is over: whole, or failed. What is in this step comes before the verdict.
    pub end: Option<Result<(), Failure>>,
}

impl Step {
    /// There is nothing to hand on.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.deltas.is_empty() && self.usage.is_none() && self.content_events == 0
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Relay {
    terms: Terms,
    /// The client's model name as a JSON string.
    model: Bytes,
    framer: Framer,
    indices: ToolIndices,
    seen: Bits,
    finished: Bits,
    chunks: u64,
    content: u64,
    usage: Option<Usage>,
    malformed: u32,
    late: u64,
    over: bool,
}

impl Relay {
    /// Nothing read yet.
    pub fn new(terms: Terms) -> Self {
        Self {
            model: quoted(&terms.client_model),
            terms,
            framer: Framer::default(),
            indices: ToolIndices::default(),
            seen: 0,
            finished: 0,
            chunks: 0,
            content: 0,
            usage: None,
            malformed: 0,
            late: 0,
            over: false,
        }
    }

    /// Takes a read.
    pub fn push(&mut self, read: Bytes) -> Step {
        if self.over {
            return Step::default();
        }
        let batch = self.framer.push(read);
        let mut step = self.take(&batch);
        if step.end.is_none() && self.framer.overflows() {
            self.over = true;
            step.end = Some(Err(Failure::new(FailureKind::TooLarge, "an event of the stream is too long")));
        }
        step
    }

    /// The connection is over: with `broken` if not by an orderly end. An answer that was whole before that is whole.
    pub fn closed(&mut self, broken: Option<Failure>) -> Step {
        if self.over {
            return Step::default();
        }
        let batch = self.framer.finish();
        let mut step = self.take(&batch);
        if step.end.is_none() {
            if self.whole() {
                self.append_done(&mut step);
            } else {
                let failure = broken.unwrap_or_else(|| {
                    Failure::new(FailureKind::Truncated, "the stream ended before its answer did")
                });
                step.end = Some(Err(failure));
            }
            self.over = true;
        }
        step
    }

    /// Every choice has ended, only `[DONE]` is missing. Some servers never send it: wait a moment, then call
    /// [`Self::closed`].
    pub fn awaits_done(&self) -> bool {
        !self.over && self.whole()
    }

    /// The usage that was last read.
    pub const fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// Events dropped because they could not be read, and events with content after their choice had ended.
    pub const fn dropped(&self) -> (u32, u64) {
        (self.malformed, self.late)
    }

    fn whole(&self) -> bool {
        self.seen != 0 && self.seen & !self.finished == 0 && self.finished.count_ones() >= self.terms.choices
    }

    fn append_done(&self, step: &mut Step) {
        if self.terms.form == Form::Bytes {
            let mut bytes = BytesMut::from(&step.bytes[..]);
            terminate(&mut bytes);
            bytes.extend_from_slice(DONE);
            step.bytes = bytes.freeze();
        }
        step.end = Some(Ok(()));
    }

    fn take(&mut self, batch: &Batch) -> Step {
        let mut step = Step::default();
        let mut out = Out { source: batch.bytes(), run: 0..0, made: BytesMut::new() };
        for event in batch.events() {
            if let ControlFlow::Break(end) = self.event(&event, &mut out, &mut step) {
                self.over = true;
                step.end = Some(end);
                break;
            }
        }
        step.bytes = out.finish();
        step
    }

    fn event(
        &mut self,
        event: &Event<'_>,
        out: &mut Out<'_>,
        step: &mut Step,
    ) -> ControlFlow<Result<(), Failure>> {
        let data = event.data.bytes();
        let trimmed = data.trim_ascii();
        if trimmed.is_empty() {
            // A comment. Before the first content it would only hold the client's connection open, which is the
            // face's business; after it, it is the provider's keep-alive.
            if self.content > 0 && self.terms.form == Form::Bytes {
                out.keep(event.range.clone());
            }
            return ControlFlow::Continue(());
        }
        if trimmed == b"[DONE]" {
            return ControlFlow::Break(self.done(event, out));
        }
        if event.name == b"error" {
            return ControlFlow::Break(Err(decode_inner_error(data)));
        }
        let looked = std::str::from_utf8(data).ok().and_then(|text| look(text).ok());
        match looked {
            None if event.terminated => self.malformed(),
            // The stream was cut inside it: the cut is the news.
            None => ControlFlow::Continue(()),
            Some(seen) if seen.error => ControlFlow::Break(Err(decode_inner_error(data))),
            // Some gateways send heartbeats of their own as JSON; no SDK expects them.
            Some(seen) if !seen.chunk => ControlFlow::Continue(()),
            Some(seen) => {
                self.chunk(event, &seen, out, step);
                ControlFlow::Continue(())
            }
        }
    }

    fn done(&mut self, event: &Event<'_>, out: &mut Out<'_>) -> Result<(), Failure> {
        if self.seen == 0 {
            return Err(Failure::new(FailureKind::Truncated, "the stream ended without an answer"));
        }
        if self.terms.form == Form::Bytes {
            if event.terminated {
                out.keep(event.range.clone());
            } else {
                out.insert(DONE);
            }
        }
        Ok(())
    }

    fn malformed(&mut self) -> ControlFlow<Result<(), Failure>> {
        self.malformed += 1;
        if self.chunks == 0 || self.malformed >= MALFORMED_MAX {
            let failure =
                Failure::new(FailureKind::BadResponse, "the stream holds events that are not chunks");
            return ControlFlow::Break(Err(failure));
        }
        ControlFlow::Continue(())
    }

    fn chunk(&mut self, event: &Event<'_>, seen: &Seen, out: &mut Out<'_>, step: &mut Step) {
        self.chunks += 1;
        let live = seen.content & !self.finished;
        let too_late = seen.content != 0 && live == 0;
        self.seen |= seen.choices;
        if live != 0 {
            self.content += 1;
            step.content_events += 1;
        }
        if seen.usage_object {
            let usage = settle(seen.usage, self.terms.own_input, self.content);
            self.usage = Some(usage);
            step.usage = Some(usage);
        }
        let unasked = seen.choices == 0 && seen.usage_object && !self.terms.usage_asked;
        if too_late {
            self.late += 1;
        } else if self.terms.form == Form::Canonical {
            self.decode(event.data.bytes(), step);
        } else if !unasked {
            self.forward(event, seen.model.clone(), out);
        }
        self.finished |= seen.finished;
    }

    fn forward(&self, event: &Event<'_>, model: Option<Range<usize>>, out: &mut Out<'_>) {
        let data = event.data.bytes();
        let renamed = model.filter(|at| data[at.clone()] != self.model[..]);
        match (&event.data, renamed) {
            (Data::Line { .. } | Data::None, None) => out.keep(event.range.clone()),
            (Data::Line { at, .. }, Some(model)) => {
                out.keep(event.range.start..at + model.start);
                out.insert(&self.model);
                out.keep(at + model.end..event.range.end);
            }
            // Data on several lines is made one line: between JSON tokens a line end is a space.
            (_, renamed) => {
                let model = renamed.clone().unwrap_or(0..0);
                let new: &[u8] = if renamed.is_some() { &self.model } else { b"" };
                let mut line = [b"data: ", &data[..model.start], new, &data[model.end..]].concat();
                line.iter_mut().filter(|b| matches!(b, b'\n' | b'\r')).for_each(|b| *b = b' ');
                out.insert(&line);
                out.insert(b"\n\n");
                return;
            }
        }
        if !event.terminated {
            out.insert(b"\n\n");
        }
    }

    /// Canonical deltas of the choices that have not ended. The event was looked at, so that it decodes; what does not
    /// is dropped like any other event that cannot be read.
    fn decode(&mut self, data: &[u8], step: &mut Step) {
        let Ok(deltas) = decode_chunk(self.terms.kind, data) else {
            self.malformed += 1;
            return;
        };
        for mut delta in deltas {
            let choice = match &delta {
                Delta::Text { choice, .. }
                | Delta::Reasoning { choice, .. }
                | Delta::Refusal { choice, .. }
                | Delta::ToolCall { choice, .. }
                | Delta::Finish { choice, .. } => *choice,
                Delta::Usage(_) => continue,
            };
            let ended = 1u128.checked_shl(choice).is_none_or(|bit| self.finished & bit != 0);
            if !ended {
                self.indices.normalise(&mut delta);
                step.deltas.push(delta);
            }
        }
    }
}

/// Makes sure that what follows begins a new event.
fn terminate(bytes: &mut BytesMut) {
    let ended = bytes.is_empty()
        || bytes.ends_with(b"\n\n")
        || bytes.ends_with(b"\r\r")
        || bytes.ends_with(b"\n\r\n");
    if !ended {
        bytes.extend_from_slice(b"\n\n");
    }
}

/// Pieces of a batch put together again. As long as they are neighbours nothing is copied.
struct Out<'a> {
    source: &'a Bytes,
    run: Range<usize>,
    made: BytesMut,
}

impl Out<'_> {
    fn keep(&mut self, range: Range<usize>) {
        if self.run.is_empty() {
            self.run = range;
        } else if self.run.end == range.start {
            self.run.end = range.end;
        } else {
            self.spill();
            self.run = range;
        }
    }

    fn insert(&mut self, bytes: &[u8]) {
        self.spill();
        self.made.extend_from_slice(bytes);
    }

    fn spill(&mut self) {
        if self.made.capacity() == 0 {
            // Names differ by a few bytes an event; a batch has few events.
            self.made.reserve(self.source.len() + 256);
        }
        self.made.extend_from_slice(&self.source[self.run.clone()]);
        self.run = 0..0;
    }

    fn finish(mut self) -> Bytes {
        if self.made.is_empty() {
            return self.source.slice(self.run);
        }
        self.spill();
        self.made.freeze()
    }
}

#[cfg(test)]
mod tests;
