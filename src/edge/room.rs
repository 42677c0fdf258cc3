//! Room for the bodies of all requests together, whatever face they come to.
//!
//! A bound on one body and on connections is no bound on memory: a thousand clients with the largest body each are 32 GiB.
//! So every body takes its size out of one room for as long as it is read and kept for another try, and gives it back
//! when its answer begins.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::Refusal;

/// The room, in KiB. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct Rooms(Arc<Semaphore>);

/// When there is no room left for a body, some will have been answered by then.
const RETRY: Duration = Duration::from_secs(2);

impl Rooms {
    /// Room for so many bytes.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new((bytes >> 10).min(Semaphore::MAX_PERMITS))))
    }
}

impl Rooms {
    /// 256 MiB: eight of the largest bodies that providers take, or some ten thousand usual ones.
    const USUAL: usize = 256 << 20;

    /// The usual room, or that of one body of so many bytes if that is more.
    pub fn holding(largest: usize) -> Self {
        Self::new(largest.max(Self::USUAL))
    }
}

impl Default for Rooms {
    fn default() -> Self {
        Self::new(Self::USUAL)
    }
}

/// What one body takes of it; given back when dropped.
#[derive(Debug, Default)]
pub(super) struct Room {
    permit: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// The body has so many bytes now. Grows with what has arrived, never with what was announced: announcing costs
    /// nothing.
    pub(super) fn grow(&mut self, rooms: &Rooms, size: usize) -> Result<(), Refusal> {
        let have = self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = size.div_ceil(1024).saturating_sub(have);
        if more == 0 {
            return Ok(());
        }
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        let permit = Arc::clone(&rooms.0).try_acquire_many_owned(more).map_err(|_| Refusal::Overloaded {
            retry_after: RETRY,
            message: "too many large requests at once".to_owned(),
        })?;
        match &mut self.permit {
            Some(held) => held.merge(permit),
            None => self.permit = Some(permit),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_take_what_they_weigh_and_give_it_back() {
        let rooms = Rooms::new(8 << 10);
        let (mut small, mut large) = (Room::default(), Room::default());
        small.grow(&rooms, 1).unwrap();
        large.grow(&rooms, 1).unwrap();
        large.grow(&rooms, 7 << 10).unwrap();
        large.grow(&rooms, 7 << 10).unwrap();
        assert!(matches!(small.grow(&rooms, 1025), Err(Refusal::Overloaded { .. })));
        drop(large);
        small.grow(&rooms, 8 << 10).unwrap();
        assert!(Room::default().grow(&rooms, 1).is_err(), "the smallest body counts");
    }
}
