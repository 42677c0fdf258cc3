//! When a connection between requests has rested for too long.

use std::future::Future;
use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::Sleep;

use crate::domain::Duration;

/// Tells a connection that rests from one that works, at no cost to the requests: its timer looks every half of the limit
/// whether one has begun since. A connection rests for the limit at least and half as long again at most.
#[derive(Default)]
pub(super) struct Rest {
    look: Option<Pin<Box<Sleep>>>,
    /// Requests ever begun, at the last look.
    begun: usize,
    /// Looks in a row that found nothing new.
    quiet: u8,
}

impl Rest {
    /// Rings after enough quiet. To be polled only while no request is under way.
    pub(super) fn poll(&mut self, limit: Duration, begun: usize, cx: &mut Context<'_>) -> Poll<io::Error> {
        const LOOKS: u8 = 2;
        let every = limit / u32::from(LOOKS);
        let look = self.look.get_or_insert_with(|| {
            self.begun = begun;
            Box::pin(tokio::time::sleep(every))
        });
        loop {
            ready!(look.as_mut().poll(cx));
            self.quiet = if mem::replace(&mut self.begun, begun) == begun { self.quiet + 1 } else { 0 };
            if self.quiet == LOOKS {
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            look.set(tokio::time::sleep(every));
        }
    }
}
