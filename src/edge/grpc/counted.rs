//! The message of a call on its way in, counted: see [`room`](crate::edge::room).

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

use super::status;
use crate::edge::room::{Room, Rooms};

/// What a call takes of the room. Held by the body, and by the call for as long as it may be tried again.
pub(super) type Held = Arc<Mutex<Room>>;

/// A body that takes room as it arrives.
pub(super) struct Counted {
    inner: Body,
    size: usize,
    rooms: Rooms,
    held: Held,
}

impl Counted {
    pub(super) fn new(inner: Body, rooms: Rooms) -> (Self, Held) {
        let held = Held::default();
        (Self { inner, size: 0, rooms, held: Arc::clone(&held) }, held)
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            end => return Poll::Ready(end),
        };
        self.size += frame.data_ref().map_or(0, Bytes::len);
        let grown = self.held.lock().unwrap_or_else(PoisonError::into_inner).grow(&self.rooms, self.size);
        Poll::Ready(Some(grown.map(|()| frame).map_err(|refusal| status::of(&refusal))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
