//! Calls that wait: their timers, and whose turn it is, in the order of a live router.

use super::{Entry, World, timer};
use crate::call::{Event, Step};
use crate::domain::Now;

impl World<'_> {
    /// True if the call waits now; it has set its timer then.
    pub(super) fn waits_on(&mut self, i: u32, step: &Step) -> bool {
        let Some(play) = self.plays[i as usize].as_mut() else { return false };
        let waited = play.wait.take();
        let wait = match (step, waited) {
            (Step::Wait, _) => {
                self.waits += 1;
                play.rung = false;
                self.waits
            }
            (Step::Continue, Some(wait)) => wait,
            (_, Some(_)) => {
                self.waiting.remove(&play.call.facts().id);
                return false;
            }
            (_, None) => return false,
        };
        play.wait = Some(wait);
        self.waiting.insert(play.call.facts().id, i);
        let at = timer(play.call.wake_at());
        self.put(at, Entry::Wake(i, wait));
        true
    }

    /// Asks the fleet whose turn it is. The call that has just been fed hears of it at once; any other after whatever is
    /// due at this moment already, as in a live router, where it must be woken.
    pub(super) fn call_up(&mut self, router: usize, fed: Option<u32>, now: Now) {
        let Some(i) = self.fleets[router].call_up().and_then(|call| self.waiting.get(&call).copied()) else {
            return;
        };
        let Some(play) = self.plays[i as usize].as_mut() else { return };
        let Some(wait) = play.wait else { return };
        if fed == Some(i) {
            self.take_turn(i, now);
        } else if !std::mem::replace(&mut play.rung, true) {
            self.put(now.mono, Entry::Turn(i, wait));
        }
    }

    /// The call looks, unless it has since it was called up, or another has come before it.
    pub(super) fn take_turn(&mut self, i: u32, now: Now) {
        let Some(play) = self.plays[i as usize].as_ref() else { return };
        let fleet = &self.fleets[play.router];
        if play.wait.is_some() && fleet.is_called(play.call.facts().id) {
            self.feed(i, Event::Tick, now);
        }
    }
}
