//! The room where calls wait, and the bell of each.
//!
//! Who may wait and whose turn it is, the fleet says: no more are here than it lets in. A bell that is rung before anybody listens is heard later, and one that is rung
//! before its call has come in is found out by asking the fleet once inside: no turn is lost.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::domain::CallId;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct WaitingRoom(Mutex<BTreeMap<CallId, Arc<Notify>>>);

impl WaitingRoom {
    /// A place for the call.
    pub(super) fn enter(&self, call: CallId) -> Place<'_> {
        let bell = Arc::new(Notify::new());
        self.bells().insert(call, Arc::clone(&bell));
        Place { room: self, call, bell }
    }

    /// It is the turn of that call, if of any.
    pub(super) fn wake(&self, call: Option<CallId>) {
        let bell = call.and_then(|call| self.bells().get(&call).cloned());
        if let Some(bell) = bell {
            bell.notify_one();
        }
    }

    fn bells(&self) -> MutexGuard<'_, BTreeMap<CallId, Arc<Notify>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the room, until it is dropped.
#[derive(Debug)]
pub(super) struct Place<'a> {
    room: &'a WaitingRoom,
    call: CallId,
    bell: Arc<Notify>,
}

impl Place<'_> {
    /// Resolves when it is the call's turn.
    pub(super) async fn called(&self) {
        self.bell.notified().await;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.room.bells().remove(&self.call);
    }
}
