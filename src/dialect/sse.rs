//! Server-sent events, framed without copying: reads in, whole events out, as ranges of the bytes they came in.
//!
//! Knows the text/event-stream grammar (WHATWG HTML, 9.2.6) and nothing of what the events say. Lines may end in LF,
//! CR or CRLF, mixed; a byte order mark is skipped; an event may be cut anywhere between two reads.

use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};

/// No event is longer than this (give or take one read). The largest that was seen in the wild is 8 MB: a picture in
/// a tool call.
pub const EVENT_MAX: usize = 16 * 1024 * 1024;

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// Cuts a stream of reads into batches of whole events.
#[derive(Clone, Debug, Default)]
pub struct Framer {
    /// The beginning of an event whose end has not been read yet.
    held: BytesMut,
    /// Where in `held` its last, unfinished line begins.
    line: usize,
    /// Up to where that line is known to have no terminator.
    searched: usize,
    /// The start of the stream, where a byte order mark may stand, is behind us.
    begun: bool,
}

impl Framer {
    /// Takes a read and gives all events that are whole now. A CR at the very end of a read is not yet the end of a
    /// line, because a LF may belong to it; a stream of bare CRs is therefore one event late.
    pub fn push(&mut self, mut read: Bytes) -> Batch {
        if self.held.is_empty() {
            let end = self.last_boundary(&read);
            let whole = read.split_to(end);
            self.held.extend_from_slice(&read);
            return self.batch(whole);
        }
        self.held.extend_from_slice(&read);
        let held = std::mem::take(&mut self.held);
        let end = self.last_boundary(&held);
        self.held = held;
        let whole = self.held.split_to(end).freeze();
        self.batch(whole)
    }

    /// The stream is over: what is left, whose last event may lack its end.
    pub fn finish(&mut self) -> Batch {
        let rest = std::mem::take(&mut self.held).freeze();
        self.line = 0;
        self.searched = 0;
        self.batch(rest)
    }

    /// The event that is being read is longer than [`EVENT_MAX`].
    pub fn overflows(&self) -> bool {
        self.held.len() > EVENT_MAX
    }

    fn batch(&mut self, mut bytes: Bytes) -> Batch {
        if !self.begun && !bytes.is_empty() {
            self.begun = true;
            if bytes.starts_with(BOM) {
                bytes.advance(BOM.len());
            }
        }
        Batch { bytes }
    }

    /// The end of the last event of `buf` that is whole. Remembers where to go on in the rest.
    fn last_boundary(&mut self, buf: &[u8]) -> usize {
        let mut boundary = 0;
        let mut line = self.line;
        let mut from = self.searched;
        while let Some((end, next)) = line_end(buf, from, false) {
            if end == line {
                boundary = next;
            }
            line = next;
            from = next;
        }
        self.line = line - boundary;
        // A CR at the end must be looked at again together with what follows it.
        self.searched = buf.len().saturating_sub(1).max(line) - boundary;
        boundary
    }
}

/// The first line terminator at or after `from`: where it begins and where the next line begins. `last` says that
/// nothing follows `buf`, so that a CR at its end is one.
fn line_end(buf: &[u8], from: usize, last: bool) -> Option<(usize, usize)> {
    let at = from + memchr::memchr2(b'\n', b'\r', buf.get(from..)?)?;
    if buf[at] == b'\n' {
        return Some((at, at + 1));
    }
    match buf.get(at + 1) {
        Some(b'\n') => Some((at, at + 2)),
        Some(_) => Some((at, at + 1)),
        None => last.then_some((at, at + 1)),
    }
}

/// Whole events, back to back, in one piece of memory.
#[derive(Clone, Debug)]
pub struct Batch {
    bytes: Bytes,
}

impl Batch {
    /// The memory that the ranges of the events refer to.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The events, in order.
    pub fn events(&self) -> Events<'_> {
        Events { buf: &self.bytes, at: 0 }
    }
}

/// What one event says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event<'a> {
    /// Where it stands in the batch, its end included.
    pub range: Range<usize>,
    /// The `event` field; empty if it has none.
    pub name: &'a [u8],
    /// The `data` field.
    pub data: Data<'a>,
    /// Its blank line was there. Only the last event of a stream may lack it.
    pub terminated: bool,
}

/// The `data` of an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Data<'a> {
    /// None: comments, or a stray blank line.
    None,
    /// On one line, as nearly always.
    Line {
        /// The data.
        text: &'a [u8],
        /// Where they begin in the batch.
        at: usize,
    },
    /// On several lines, joined by LF.
    Lines(Vec<u8>),
}

impl Data<'_> {
    /// The data; empty if there are none.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::None => &[],
            Self::Line { text, .. } => text,
            Self::Lines(joined) => joined,
        }
    }
}

/// See [`Batch::events`].
#[derive(Debug)]
pub struct Events<'a> {
    buf: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Events<'a> {
    type Item = Event<'a>;

    fn next(&mut self) -> Option<Event<'a>> {
        if self.at >= self.buf.len() {
            return None;
        }
        let mut event =
            Event { range: self.at..self.buf.len(), name: &[], data: Data::None, terminated: false };
        while self.at < self.buf.len() {
            let (end, next) = line_end(self.buf, self.at, true).unwrap_or((self.buf.len(), self.buf.len()));
            let start = std::mem::replace(&mut self.at, next);
            if start == end {
                event.terminated = true;
                break;
            }
            event.line(self.buf, start..end);
        }
        event.range.end = self.at;
        Some(event)
    }
}

impl<'a> Event<'a> {
    fn line(&mut self, buf: &'a [u8], line: Range<usize>) {
        let text = &buf[line.clone()];
        let colon = memchr::memchr(b':', text).unwrap_or(text.len());
        let mut value = (colon + 1).min(text.len());
        if text.get(value) == Some(&b' ') {
            value += 1;
        }
        match &text[..colon] {
            b"data" => self.more_data(&text[value..], line.start + value),
            b"event" => self.name = &text[value..],
            _ => {}
        }
    }

    fn more_data(&mut self, text: &'a [u8], at: usize) {
        self.data = match std::mem::replace(&mut self.data, Data::None) {
            Data::None => Data::Line { text, at },
            Data::Line { text: first, .. } => Data::Lines([first, b"\n", text].concat()),
            Data::Lines(mut joined) => {
                joined.push(b'\n');
                joined.extend_from_slice(text);
                Data::Lines(joined)
            }
        };
    }
}

#[cfg(test)]
mod tests;
