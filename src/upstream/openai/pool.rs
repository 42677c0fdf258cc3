//! Connections at rest: kept for the next call to the same address, for a while, and no more than so many.
//!
//! One connection carries one call at a time. The one that was used last is used first, so that what a quiet hour does
//! not need goes cold and is closed. Holds the addresses that were called, read once, and opens nothing itself.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::io::ReadBuf;

use super::connect::{Io, Target};
use crate::domain::Address;

/// A connection is looked at so many times before it has rested too long. Then those that the other side has closed go,
/// too.
const LOOKS: u8 = 8;

/// However short the rest, the timer is not a busy loop.
const LOOK_MIN: Duration = Duration::from_millis(10);

/// Addresses remembered. They come from the config and from its names' DNS records, so that only a name that changes all
/// the time comes here; what is forgotten is read again.
const PLACES_MAX: usize = 1024;

/// All connections of a pool.
#[derive(Debug)]
pub(super) struct Pool {
    places: Mutex<BTreeMap<Arc<Address>, Arc<Place>>>,
    idle_max: usize,
    look_every: Duration,
    /// Somebody looks after them.
    watched: AtomicBool,
}

/// An address and its connections at rest.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) target: Target,
    pool: Weak<Pool>,
    idle: Mutex<Vec<Resting>>,
}

#[derive(Debug)]
struct Resting {
    io: Io,
    looks: u8,
}

/// A connection that a call has to itself. Dropped it is closed.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) io: Io,
    place: Arc<Place>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    pub(super) fn new(idle_max: usize, idle_timeout: Duration) -> Arc<Self> {
        let look_every = (idle_timeout / u32::from(LOOKS)).max(LOOK_MIN);
        Arc::new(Self { places: Mutex::default(), idle_max, look_every, watched: AtomicBool::new(false) })
    }

    /// The place of an address; `None` if that cannot be dialled.
    pub(super) fn place(self: &Arc<Self>, address: &Arc<Address>) -> Option<Arc<Place>> {
        let mut places = lock(&self.places);
        if let Some(place) = places.get(address) {
            return Some(Arc::clone(place));
        }
        let target = Target::of(address)?;
        if places.len() >= PLACES_MAX {
            places.clear();
        }
        let place = Arc::new(Place { target, pool: Arc::downgrade(self), idle: Mutex::default() });
        places.insert(Arc::clone(address), Arc::clone(&place));
        Some(place)
    }

    /// Looks at what is at rest from time to time, for as long as anything is.
    fn watch(self: &Arc<Self>) {
        if self.watched.swap(true, Ordering::SeqCst) {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (pool, every) = (Arc::downgrade(self), self.look_every);
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                let Some(pool) = pool.upgrade() else { return };
                if pool.look() == 0 {
                    pool.watched.store(false, Ordering::SeqCst);
                    // What came to rest in between has nobody else to look after it.
                    if pool.look() == 0 || pool.watched.swap(true, Ordering::SeqCst) {
                        return;
                    }
                }
            }
        });
    }

    /// Closes what has rested too long or was closed by the other side. How many are left?
    pub(super) fn look(&self) -> usize {
        let places: Vec<Arc<Place>> = lock(&self.places).values().cloned().collect();
        places.iter().map(|place| place.look()).sum()
    }
}

impl Place {
    /// A connection at rest that is alive, as far as one can tell.
    pub(super) fn wake(self: &Arc<Self>) -> Option<Connection> {
        loop {
            let Resting { mut io, .. } = lock(&self.idle).pop()?;
            if is_quiet(&mut io) {
                return Some(self.connection(io));
            }
        }
    }

    /// A new connection as one of this place.
    pub(super) fn connection(self: &Arc<Self>, io: Io) -> Connection {
        Connection { io, place: Arc::clone(self) }
    }

    fn look(&self) -> usize {
        let mut idle = lock(&self.idle);
        idle.retain_mut(|resting| {
            resting.looks += 1;
            resting.looks <= LOOKS && is_quiet(&mut resting.io)
        });
        idle.len()
    }
}

impl Connection {
    /// The call is over and left nothing behind: keeps the connection for the next.
    pub(super) fn rest(self) {
        let Self { io, place } = self;
        let Some(pool) = place.pool.upgrade() else { return };
        let mut idle = lock(&place.idle);
        if idle.len() < pool.idle_max {
            idle.push(Resting { io, looks: 0 });
            drop(idle);
            pool.watch();
        }
    }
}

/// Nobody has closed it, and nothing came that nobody asked for.
fn is_quiet(io: &mut Io) -> bool {
    let mut byte = [0];
    let mut read = ReadBuf::new(&mut byte);
    io.poll_read(&mut Context::from_waker(Waker::noop()), &mut read).is_pending()
}
