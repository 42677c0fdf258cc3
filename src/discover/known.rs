//! What is known of a pool's endpoints: the pure part of discovery.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{DnsName, Endpoints};
use crate::domain::{Address, Reach};

/// A pool has at most so many endpoints. A name that stands for more is a mistake or an attack; the rest is ignored.
pub const ADDRESSES_MAX: usize = 256;

/// The fixed endpoints, and the last good answer for every name.
#[derive(Debug)]
pub struct Known {
    fixed: Vec<Arc<Address>>,
    /// One for each name, in their order.
    found: Vec<Vec<Arc<Address>>>,
    names: Vec<DnsName>,
    allow_private: bool,
}

impl Known {
    /// Nothing was looked up yet.
    pub fn new(endpoints: &Endpoints) -> Self {
        Self {
            fixed: endpoints.fixed.clone(),
            found: vec![Vec::new(); endpoints.names.len()],
            names: endpoints.names.clone(),
            allow_private: endpoints.allow_private,
        }
    }

    /// A name was looked up with success. An answer without a single address that may be dialled is none.
    pub fn answered(&mut self, name: usize, found: &[SocketAddr]) {
        let (Some(kept), Some(name)) = (self.found.get_mut(name), self.names.get(name)) else { return };
        let allowed = found.iter().filter(|socket| Reach::of(socket.ip()).allowed(self.allow_private));
        let mut sockets: Vec<SocketAddr> = allowed.copied().collect();
        if sockets.is_empty() {
            return;
        }
        sockets.sort_unstable();
        sockets.dedup();
        sockets.truncate(ADDRESSES_MAX);
        let address = |socket| Arc::new(Address { origin: name.origin.clone(), socket: Some(socket) });
        *kept = sockets.into_iter().map(address).collect();
    }

    /// All endpoints, each once: the fixed ones first, then by name and address, so that the same answers in any order
    /// are the same endpoints.
    pub fn addresses(&self) -> Vec<Arc<Address>> {
        let mut all: Vec<Arc<Address>> = Vec::new();
        for address in self.fixed.iter().chain(self.found.iter().flatten()) {
            if all.len() < ADDRESSES_MAX && !all.contains(address) {
                all.push(Arc::clone(address));
            }
        }
        all
    }
}
