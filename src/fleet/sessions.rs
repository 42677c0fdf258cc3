//! Which endpoint holds the prefix of a session.
//!
//! A set-associative table: the key is a hash already, so its low bits choose a set of eight, and the least recently
//! used of the eight makes room. Bounded by construction, one cache line or two per look-up, no order to depend on.

use crate::domain::{Duration, EndpointId, Instant, ModelId, PoolId, SessionKey};

const WAYS: usize = 8;
const SETS: usize = 8192;
/// The most sessions remembered.
#[cfg(test)]
pub(super) const CAPACITY: usize = WAYS * SETS;

/// Where a session is warm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Warm {
    /// The pool that served it last.
    pub(super) pool: PoolId,
    /// The endpoint there.
    pub(super) endpoint: EndpointId,
    /// Tokens of it that are in the cache there, if the cache keeps its promise.
    pub(super) prefix_tokens: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: u64,
    used: Instant,
    warm: Warm,
    model: ModelId,
}

type Set = [Option<Entry>; WAYS];

/// See the module.
#[derive(Debug)]
pub(super) struct Sessions {
    /// Sets are allocated when they are first used: a simulation makes many fleets with few sessions.
    sets: Vec<Option<Box<Set>>>,
    ttl: Duration,
}

impl Sessions {
    pub(super) fn new(ttl: Duration) -> Self {
        Self { sets: vec![None; SETS], ttl }
    }

    /// Where the session is warm, if it is.
    pub(super) fn warm(&self, session: SessionKey, model: ModelId, now: Instant) -> Option<Warm> {
        let key = mixed(session, model);
        let set = self.sets[key as usize % SETS].as_deref()?;
        let entry = set.iter().flatten().find(|e| e.key == key)?;
        (now <= entry.used + self.ttl).then_some(entry.warm)
    }

    /// The session is warm there now.
    pub(super) fn touch(&mut self, session: SessionKey, model: ModelId, warm: Warm, now: Instant) {
        let key = mixed(session, model);
        let set = self.sets[key as usize % SETS].get_or_insert_with(|| Box::new([None; WAYS]));
        let at = set.iter().position(|e| e.is_some_and(|e| e.key == key)).or_else(|| {
            // Empty places first, then the one that was not used for longest.
            set.iter().enumerate().min_by_key(|(_, e)| e.map(|e| e.used)).map(|(i, _)| i)
        });
        if let Some(at) = at {
            set[at] = Some(Entry { key, used: now, warm, model });
        }
    }

    /// From now on a session that was quiet for `ttl` is cold.
    pub(super) const fn set_ttl(&mut self, ttl: Duration) {
        self.ttl = ttl;
    }

    /// Forgets all but those that `lives` says may be warm still.
    pub(super) fn retain(&mut self, lives: impl Fn(ModelId, &Warm) -> bool) {
        for entry in self.sets.iter_mut().flatten().flat_map(|set| set.iter_mut()) {
            entry.take_if(|e| !lives(e.model, &e.warm));
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.sets.iter().flatten().map(|s| s.iter().flatten().count()).sum()
    }
}

/// A session's prefix in one model's cache is none in another's.
fn mixed(session: SessionKey, model: ModelId) -> u64 {
    let z = (session.0 ^ u64::from(model.0).rotate_left(40)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z ^ (z >> 29)
}
