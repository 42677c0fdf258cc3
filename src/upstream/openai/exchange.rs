//! One request and its answer on one connection: the client's side of HTTP/1.1, and no more of it than a call needs.
//!
//! Everything happens in the task that asks: a connection has no task of its own, so that a token that was read is one
//! step from where it goes. Knows framing (RFC 9112, 6) and nothing of what answers say. Where two readers could differ
//! about where an answer ends, it is refused.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::{self, MaybeUninit};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use httparse::{ParserConfig, Status};
use tokio::io::ReadBuf;

use super::chunks::Chunks;
use super::connect::Io;
use super::head::{Framing, Head};
use super::pool::Connection;
use super::request::Outgoing;
use crate::domain::{Failure, FailureKind};

/// Read at once, on the stack: what waits for more costs no memory. A dozen tokens, and little enough that a stream
/// that floods does not keep a hundred others waiting while its events are looked at.
const READ: usize = 4 * 1024;

/// A response head (with the interim ones before it) beyond this is an attack: real ones have about 4 KiB and 30 fields.
const HEAD_MAX: usize = 64 * 1024;

/// See [`HEAD_MAX`].
const FIELDS_MAX: usize = 100;

/// An answer whose head is here.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) head: Head,
    pub(super) body: Body,
}

/// Why there is none.
#[derive(Debug)]
pub(super) enum Lost {
    /// Nothing of the request left this machine: the connection was dead before.
    Unsent(io::Error),
    Failed(Failure),
}

impl From<Lost> for Failure {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Unsent(error) => Self { unprocessed: true, ..broken(&error) },
            Lost::Failed(failure) => failure,
        }
    }
}

/// A connection that existed broke.
fn broken(error: &io::Error) -> Failure {
    Failure::new(FailureKind::Disconnected, format!("the connection was lost: {error}"))
}

fn closed(when: &str) -> Failure {
    Failure::new(FailureKind::Disconnected, format!("the connection was closed {when}"))
}

fn not_http(why: impl std::fmt::Display) -> Failure {
    Failure::new(FailureKind::BadResponse, format!("what came back is not HTTP/1.1: {why}"))
}

/// Sends `request` and reads the head of its answer. Dropping the future closes the connection.
pub(super) async fn exchange(connection: Connection, request: &Outgoing) -> Result<Response, Lost> {
    let mut asking = Asking {
        connection,
        parts: [&request.head, &request.body],
        sent: 0,
        sending: true,
        seen: Seen::default(),
    };
    let (head, framing) = poll_fn(|cx| asking.poll(cx)).await?;
    let Asking { connection, sending, seen, .. } = asking;
    // An answer that did not wait for the whole request leaves the rest of it in the way of the next one.
    let reusable = head.persistent && !sending;
    let mut body =
        Body { connection: Some(connection), early: seen.bytes, framing, reusable, flooded: false };
    body.rest_if_ended();
    Ok(Response { head, body })
}

struct Asking<'a> {
    connection: Connection,
    parts: [&'a [u8]; 2],
    /// Bytes of `parts` that are out.
    sent: usize,
    /// They are not all out.
    sending: bool,
    seen: Seen,
}

/// What has been read of an answer's head.
#[derive(Default)]
struct Seen {
    bytes: BytesMut,
    /// Bytes of interim heads, which are gone.
    interim: usize,
}

impl Asking<'_> {
    /// Sends what can be sent, and reads all the while: a server may refuse a body before it has all of it.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Head, Framing), Lost>> {
        let io = &mut self.connection.io;
        let unwritable = match self.sending {
            true => match poll_send(io, self.parts, &mut self.sent, cx) {
                Poll::Ready(Ok(())) => {
                    self.sending = false;
                    None
                }
                Poll::Ready(Err(error)) if self.sent == 0 => return Poll::Ready(Err(Lost::Unsent(error))),
                // Perhaps it has said why.
                Poll::Ready(Err(error)) => Some(error),
                Poll::Pending => None,
            },
            false => None,
        };
        loop {
            let seen = &mut self.seen;
            let read = poll_read(io, cx, |read| {
                seen.bytes.extend_from_slice(read);
                read.len()
            });
            let lost = match (read, &unwritable) {
                (Poll::Ready(Ok(1..)), _) => match self.seen.head() {
                    Ok(Some(answer)) => return Poll::Ready(Ok(answer)),
                    Ok(None) => continue,
                    Err(failure) => failure,
                },
                (_, Some(error)) => broken(error),
                (Poll::Ready(Ok(0)), None) => closed("before it answered"),
                (Poll::Ready(Err(error)), None) => broken(&error),
                (Poll::Pending, None) => return Poll::Pending,
            };
            return Poll::Ready(Err(Lost::Failed(lost)));
        }
    }
}

/// Writes what is left of `parts`, and flushes.
fn poll_send(io: &mut Io, parts: [&[u8]; 2], sent: &mut usize, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    let [head, body] = parts;
    while *sent < head.len() + body.len() {
        let rest = [
            IoSlice::new(head.get(*sent..).unwrap_or_default()),
            IoSlice::new(&body[sent.saturating_sub(head.len())..]),
        ];
        let from = usize::from(rest[0].is_empty());
        match ready!(io.poll_write(cx, &rest[from..]))? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            n => *sent += n,
        }
    }
    io.poll_flush(cx)
}

/// Reads what there is and shows it where it lies; nothing at the end.
fn poll_read<T>(io: &mut Io, cx: &mut Context<'_>, look: impl FnOnce(&mut [u8]) -> T) -> Poll<io::Result<T>> {
    let mut space = [const { MaybeUninit::uninit() }; READ];
    let mut read = ReadBuf::uninit(&mut space);
    ready!(io.poll_read(cx, &mut read))?;
    Poll::Ready(Ok(look(read.filled_mut())))
}

impl Seen {
    /// The head of the answer, once it is there; what follows it stays.
    fn head(&mut self) -> Result<Option<(Head, Framing)>, Failure> {
        loop {
            let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
            let mut response = httparse::Response::new(&mut []);
            let parsed = ParserConfig::default().parse_response_with_uninit_headers(
                &mut response,
                &self.bytes,
                &mut fields,
            );
            match parsed {
                Ok(Status::Complete(length)) if self.interim + length <= HEAD_MAX => {
                    let status = response.code.unwrap_or_default();
                    if status == 101 {
                        return Err(not_http("it switched to another protocol"));
                    }
                    let interim = (100..200).contains(&status);
                    let read = if interim { None } else { Some(Head::read(&response)?) };
                    self.bytes.advance(length);
                    self.interim += length;
                    if read.is_some() {
                        return Ok(read);
                    }
                }
                Ok(Status::Partial) if self.interim + self.bytes.len() <= HEAD_MAX => return Ok(None),
                Ok(_) => return Err(not_http("its head is too long")),
                Err(error) => return Err(not_http(error)),
            }
        }
    }
}

/// What follows a head. A connection whose answer was read to its end goes back to rest; any other is closed.
#[derive(Debug)]
pub(super) struct Body {
    connection: Option<Connection>,
    /// Came with the head.
    early: BytesMut,
    framing: Framing,
    reusable: bool,
    /// The last read was full, so that there probably is more.
    flooded: bool,
}

impl Body {
    /// The data of the next read, or `None` at the end.
    pub(super) async fn data(&mut self) -> Option<Result<Bytes, Failure>> {
        poll_fn(|cx| self.poll_data(cx)).await
    }

    /// [`Self::data`].
    pub(super) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        loop {
            let taken = if self.early.is_empty() {
                let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
                if mem::take(&mut self.flooded) {
                    // One that has much to say does not say it all before others have had their turn.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                let (framing, flooded) = (&mut self.framing, &mut self.flooded);
                let read = poll_read(&mut connection.io, cx, |read| {
                    *flooded = read.len() == READ;
                    let taken = framing.take(read)?;
                    Ok((Bytes::copy_from_slice(&read[..taken.data]), read.len() - taken.used))
                });
                match ready!(read) {
                    Ok(taken) => taken,
                    Err(error) => Err(broken(&error)),
                }
            } else {
                let mut early = mem::take(&mut self.early);
                self.framing.take(&mut early).map(|taken| {
                    let over = early.len() - taken.used;
                    early.truncate(taken.data);
                    (early.freeze(), over)
                })
            };
            match taken {
                Ok((data, over)) => {
                    // More than was announced: nobody knows whose answer that is.
                    self.reusable &= over == 0;
                    self.rest_if_ended();
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                Err(failure) => {
                    self.connection = None;
                    return Poll::Ready(Some(Err(failure)));
                }
            }
        }
    }

    fn rest_if_ended(&mut self) {
        if self.framing.ended()
            && let Some(connection) = self.connection.take()
            && self.reusable
            && self.early.is_empty()
        {
            connection.rest();
        }
    }
}

impl Framing {
    /// Takes a read, data to its front; an empty one is the end of the connection.
    fn take(&mut self, read: &mut [u8]) -> Result<super::chunks::Taken, Failure> {
        use super::chunks::Taken;
        match self {
            Self::UntilClosed { ended } => {
                *ended = read.is_empty();
                Ok(Taken { data: read.len(), used: read.len() })
            }
            Self::Length(0) => Ok(Taken { data: 0, used: 0 }),
            Self::Length(_) | Self::Chunked(_) if read.is_empty() => Err(closed("within an answer")),
            Self::Length(left) => {
                let data = usize::try_from(*left).map_or(read.len(), |left| left.min(read.len()));
                *left -= data as u64;
                Ok(Taken { data, used: data })
            }
            Self::Chunked(chunks) => {
                chunks.take(read).map_err(|_| not_http("its body is not chunked as it says"))
            }
        }
    }

    fn ended(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunks) => Chunks::ended(chunks),
            Self::UntilClosed { ended } => *ended,
        }
    }
}
