//! Names are for people and configs; the rules work on small dense numbers, so that state is arrays.
//!
//! An id means something only together with the [`Catalog`](super::Catalog) that dealt it.

use std::fmt;

macro_rules! dense_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name(pub $inner);

        impl $name {
            /// As an index into the table that dealt it.
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

dense_id!(
    /// A pool: index into [`Catalog::pools`](super::Catalog::pools).
    PoolId(u16)
);
dense_id!(
    /// A model: index into [`Catalog::models`](super::Catalog::models).
    ModelId(u16)
);
dense_id!(
    /// A class: index into [`Catalog::classes`](super::Catalog::classes).
    ClassId(u8)
);
dense_id!(
    /// An offer, a pool's service of a model: index into [`Catalog::offers`](super::Catalog::offers).
    OfferId(u16)
);
dense_id!(
    /// A tenant: index into [`Catalog::tenants`](super::Catalog::tenants).
    TenantId(u16)
);
dense_id!(
    /// An endpoint of a pool. Dealt by the fleet in order of appearance and never used again, because DNS adds
    /// and removes endpoints while calls to them are still on their way.
    EndpointId(u32)
);

/// A call: 64 random bits, shown as 16 hex digits. Also the seed of the call's own randomness.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

impl CallId {
    /// Parses what it is shown as.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        hex.then(|| u64::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What calls with a common prefix share: a stable hash of tenant and session name, so that no tenant can guess
/// its way to another's affinity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionKey(pub u64);

/// The how-manieth try of a call, from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AttemptNo(pub u8);
