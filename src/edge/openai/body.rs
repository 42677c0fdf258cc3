//! Reads the body of a request within limits: of one body's size, of all bodies' size, and of time.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use tokio::time::Sleep;

use super::Fault;
use crate::domain::Refusal;
use crate::edge::room::{Room, Rooms};
use crate::edge::status::HttpFault;

/// What a face grants to bodies.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The largest body, in bytes.
    pub body: usize,
    /// Where all bodies that are being read or worked on have their place.
    pub bodies: Rooms,
    /// A body must be whole within this, or bring [`Self::rate`] on average in each such stretch of time.
    pub pace: Duration,
    /// In bytes a second.
    pub rate: u64,
}

impl Default for Limits {
    /// 32 MiB is what providers take. A body that comes slower than 1 KiB/s over half a
    /// minute is an attack or a broken line.
    fn default() -> Self {
        Self { body: 32 << 20, bodies: Rooms::default(), pace: Duration::from_secs(30), rate: 1024 }
    }
}

/// A body that says how long it is gets so much memory at once; the rest as it comes.
const TRUSTED: u64 = 64 << 10;

/// Frames without data are not forbidden and say nothing; nobody means more than a few of them.
const EMPTY_MAX: u32 = 100;

/// All of a body, without a copy if it came in one piece.
pub(super) async fn read<B>(body: B, limits: &Limits) -> Result<(Bytes, Room), Fault>
where
    B: Body<Data = Bytes>,
{
    let too_large = || Fault::Refused(Refusal::TooLarge { limit: limits.body as u64 });
    let announced = body.size_hint().exact();
    if announced.is_some_and(|length| length > limits.body as u64) {
        return Err(too_large());
    }
    let mut body = pin!(body);
    let mut pace = Pace { limits, received: 0, empty: 0, window: None };
    let mut room = Room::default();
    let mut next = async || poll_fn(|cx| pace.poll_data(body.as_mut(), cx)).await;
    let Some(first) = next().await? else { return Ok((Bytes::new(), room)) };
    room.grow(&limits.bodies, first.len())?;
    if announced == Some(first.len() as u64) {
        return Ok((first, room));
    }
    let mut second = next().await?;
    if second.is_none() && first.len() <= limits.body {
        return Ok((first, room));
    }
    let announced = announced.unwrap_or(0).min(TRUSTED) as usize;
    let mut whole = BytesMut::with_capacity(announced.max(first.len() * 2));
    whole.extend_from_slice(&first);
    while let Some(data) = second {
        let size = whole.len() + data.len();
        if size > limits.body {
            return Err(too_large());
        }
        room.grow(&limits.bodies, size)?;
        whole.extend_from_slice(&data);
        second = next().await?;
    }
    Ok((whole.freeze(), room))
}

/// Bounds the time between the pieces of a body, and its rate. A body that is all there costs no timer.
struct Pace<'a> {
    limits: &'a Limits,
    /// Since the current stretch of time began.
    received: u64,
    /// Frames without data.
    empty: u32,
    window: Option<Pin<Box<Sleep>>>,
}

impl Pace<'_> {
    /// The next piece, or `None` at the end.
    fn poll_data<B: Body<Data = Bytes>>(
        &mut self,
        mut body: Pin<&mut B>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, HttpFault>> {
        loop {
            match body.as_mut().poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers of a request mean nothing to us.
                    let Ok(data) = frame.into_data() else { continue };
                    if data.is_empty() {
                        self.empty += 1;
                        if self.empty > EMPTY_MAX {
                            return Poll::Ready(Err(HttpFault::BrokenBody));
                        }
                        continue;
                    }
                    self.received += data.len() as u64;
                    return Poll::Ready(Ok(Some(data)));
                }
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(HttpFault::BrokenBody)),
                Poll::Ready(None) => return Poll::Ready(Ok(None)),
                Poll::Pending => {}
            }
            let stretch = self.limits.pace;
            let window = self.window.get_or_insert_with(|| Box::pin(tokio::time::sleep(stretch)));
            ready!(window.as_mut().poll(cx));
            if (self.received as f64) < self.limits.rate as f64 * stretch.as_secs_f64() {
                return Poll::Ready(Err(HttpFault::SlowBody));
            }
            self.received = 0;
            let next = window.deadline() + stretch;
            window.as_mut().reset(next);
        }
    }
}
