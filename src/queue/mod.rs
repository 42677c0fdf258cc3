//! Calls that wait for room: who may look again first when some appears.
//!
//! Within a class the earliest due goes first (EDF: Liu and Layland 1973), and those that cannot be in time any more come
//! last; but a tenant that had its share waits until the others had theirs (`shares`), so that none is held up by how many
//! calls of another wait. Between classes the dearer one goes first, by what its misses cost, except that a class which got less than its
//! floor of what was granted lately goes before all others (deficit round robin: Shreedhar and Varghese 1995, with floors
//! for weights), and that calls of a class that may wait go behind even the late ones of those that may not. When room
//! appears somewhere ([`news`]), calls are called up one after another as long as they find a place; after a few in a row
//! that could not use it, the rest stay asleep until the next news. So a freed place costs a few looks, however many wait.
//!
//! The line has an end. Where it is full, a call of a tenant that has few there takes the place of the last of the tenant
//! that has the most: that one is called up to look once more, and may not wait on.
//!
//! It does not know what room is, nor who has it: it only hears for which models there is news. It wakes nobody: it says
//! whose turn it is.
//!
//! [`news`]: Queue::news

mod drain;
mod full;
mod pressure;
mod row;
mod shares;
mod shelf;

use std::collections::{BTreeMap, BTreeSet};

use self::drain::Drain;
pub use self::pressure::Pressure;
use self::row::{First, Row};
pub use self::row::{Seat, Wish};
use self::shares::Shares;
use crate::domain::{CallId, Catalog, Class, ClassId, Instant, ModelId};

/// What an operator may set.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Settings {
    /// At most so many calls wait for room at once.
    pub most: usize,
    /// No class may take more than this share of them.
    pub class_share: f64,
    /// So many calls for a model in a row may look in vain before the rest are left alone until the next news.
    pub vain: u8,
}

impl Default for Settings {
    /// A pool that is lost for ten minutes leaves some thousand calls without room at ten a second; a waiting call is its
    /// body, which has a room of its own, and a connection. A quarter is kept from any one class, so that a flood of one does not shut the door on
    /// the others. Eight looks are some tens of microseconds, and what eight calls in a row cannot use, the ninth is
    /// unlikely to: it asks for the same model.
    fn default() -> Self {
        Self { most: 10_000, class_share: 0.75, vain: 8 }
    }
}

/// A class that has got less than its floor may save up the claim to so many of the largest calls that wait. More would
/// give it the house alone for a while after its pool comes back.
const SAVED_MAX: f64 = 2.0;

/// The calls of one class.
#[derive(Clone, Debug)]
struct Line {
    /// Its share of what is granted, at least, while it has somebody waiting.
    floor: f64,
    /// What it may take before others because of that, in the unit of costs.
    credit: f64,
    waiting: usize,
    /// May its calls wait for long?
    patient: bool,
    /// What each tenant had of it.
    shares: Shares,
    /// By model.
    rows: Vec<Row>,
}

/// What is going on about one model.
#[derive(Clone, Copy, Debug, Default)]
struct Counter {
    /// There may be room that nobody has looked at yet.
    open: bool,
    /// Calls in a row that looked in vain.
    vain: u8,
    /// News so far.
    news: u64,
    /// When the last came.
    opened: Option<Instant>,
    /// Calls that wait.
    waiting: usize,
    /// How fast they find places.
    drain: Drain,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Queue {
    settings: Settings,
    /// By class id.
    lines: Vec<Line>,
    /// The dearest first.
    order: Vec<ClassId>,
    /// By model id.
    counters: Vec<Counter>,
    /// Where each that waits took its place: the targets of its class may change while it waits.
    seats: BTreeMap<CallId, Seat>,
    /// Models whose counter is open.
    open: Vec<ModelId>,
    /// Who was called up and has not looked yet.
    called: Option<CallId>,
    /// Who had to make room and has not heard of it.
    displaced: BTreeSet<CallId>,
    /// Who has heard, and looks for the last time.
    leaving: BTreeSet<CallId>,
    waiting: usize,
    /// The largest cost of any that waits, or waited since the last time when nobody did.
    largest: f64,
}

impl Queue {
    /// Nobody waits.
    pub fn new(catalog: &Catalog, settings: Settings) -> Self {
        let line = |class: &Class| Line {
            floor: class.floor,
            credit: 0.0,
            waiting: 0,
            patient: class.may_wait,
            shares: Shares::default(),
            rows: vec![Row::default(); catalog.models.len()],
        };
        Self {
            settings,
            lines: catalog.classes.iter().map(line).collect(),
            order: by_dearness(catalog),
            counters: vec![Counter::default(); catalog.models.len()],
            seats: BTreeMap::new(),
            open: Vec::new(),
            called: None,
            displaced: BTreeSet::new(),
            leaving: BTreeSet::new(),
            waiting: 0,
            largest: 0.0,
        }
    }

    /// Goes on with a catalog that succeeds the present one. Who waits keeps its place.
    pub fn adopt(&mut self, catalog: &Catalog, settings: Settings) {
        self.settings = settings;
        let models = catalog.models.len().max(self.counters.len());
        self.counters.resize(models, Counter::default());
        let shares = Shares::default();
        let line = Line { floor: 0.0, credit: 0.0, waiting: 0, patient: false, shares, rows: Vec::new() };
        self.lines.resize(catalog.classes.len().max(self.lines.len()), line);
        for (line, class) in self.lines.iter_mut().zip(&catalog.classes) {
            (line.floor, line.patient) = (class.floor, class.may_wait);
        }
        self.lines.iter_mut().for_each(|line| line.rows.resize(models, Row::default()));
        self.order = by_dearness(catalog);
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting
    }

    /// Nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Does the call wait already, or is it on its way out?
    pub fn waits(&self, seat: &Seat) -> bool {
        self.seats.contains_key(&seat.id) || self.is_displaced(seat.id)
    }

    /// A call that has just looked in vain waits (on). False if it may not: too many do already.
    pub fn join(&mut self, seat: &Seat, wish: Wish, now: Instant) -> bool {
        let seat = &self.taken(seat);
        let waits = self.row(seat).is_some_and(|row| row.has(seat));
        if !waits && (self.is_displaced(seat.id) || !(self.has_room_for(seat.class) || self.make_room(seat)))
        {
            return false;
        }
        let Some(counter) = self.counters.get_mut(seat.model.index()) else { return false };
        let news = counter.news;
        if !waits {
            if counter.waiting == 0 {
                counter.drain.begins(now);
            }
            counter.waiting += 1;
        }
        if self.called == Some(seat.id) {
            self.called = None;
            counter.vain = counter.vain.saturating_add(1);
            if counter.vain >= self.settings.vain {
                self.close(seat.model);
            }
        }
        let Some(line) = self.lines.get_mut(seat.class.index()) else { return false };
        let Some(row) = line.rows.get_mut(seat.model.index()) else { return false };
        if !waits {
            line.shares.came(seat.tenant);
            line.waiting += 1;
            self.waiting += 1;
        }
        let before = row.put(seat, wish, news, &line.shares);
        line.shares.weigh(seat.tenant, wish.cost - before);
        self.seats.insert(seat.id, *seat);
        self.largest = self.largest.max(wish.cost);
        true
    }

    /// The call has found a place.
    pub fn granted(&mut self, seat: &Seat, now: Instant) {
        let seat = &self.taken(seat);
        let Some(cost) = self.row(seat).and_then(|row| row.cost(seat)) else { return };
        let most = SAVED_MAX * self.largest;
        for line in self.lines.iter_mut().filter(|line| line.waiting > 0) {
            line.credit = (line.credit + line.floor * cost).min(most);
        }
        if let Some(line) = self.lines.get_mut(seat.class.index()) {
            // What it took beyond its floor when nobody else had a claim is no debt.
            line.credit = (line.credit - cost).max(0.0);
            line.shares.charge(seat.tenant, cost);
        }
        if let Some(counter) = self.counters.get_mut(seat.model.index()) {
            counter.vain = 0;
            counter.drain.granted(cost, now);
        }
        self.leave(seat);
    }

    /// A call that did not wait was granted so much.
    pub fn went_past(&mut self, seat: &Seat, cost: f64, now: Instant) {
        if let Some(line) = self.lines.get_mut(seat.class.index()) {
            line.shares.charge(seat.tenant, cost);
        }
        if let Some(counter) = self.counters.get_mut(seat.model.index()).filter(|c| c.waiting > 0) {
            counter.drain.granted(cost, now);
        }
    }

    /// The call waits no more, for whatever reason.
    pub fn leave(&mut self, seat: &Seat) {
        self.displaced.remove(&seat.id);
        self.leaving.remove(&seat.id);
        let seat = &self.seats.remove(&seat.id).unwrap_or(*seat);
        if self.called == Some(seat.id) {
            self.called = None;
        }
        let Some(line) = self.lines.get_mut(seat.class.index()) else { return };
        let gone = line.rows.get_mut(seat.model.index()).and_then(|row| row.remove(seat));
        let Some(cost) = gone else { return };
        line.shares.weigh(seat.tenant, -cost);
        line.shares.left(seat.tenant);
        line.waiting -= 1;
        self.waiting -= 1;
        if let Some(counter) = self.counters.get_mut(seat.model.index()) {
            counter.waiting = counter.waiting.saturating_sub(1);
        }
        if line.waiting == 0 {
            line.credit = 0.0;
        }
        if self.waiting == 0 {
            self.largest = 0.0;
        }
    }

    /// There may be room for calls of the model, whoever looked before.
    pub fn news(&mut self, model: ModelId, now: Instant) {
        let Some(counter) = self.counters.get_mut(model.index()).filter(|_| self.waiting > 0) else { return };
        counter.news += 1;
        counter.vain = 0;
        counter.opened = Some(now);
        // Who was called up for less may not be the one whose turn it is now.
        self.called = None;
        if !counter.open {
            counter.open = true;
            self.open.push(model);
        }
        for line in self.lines.iter_mut().filter(|line| line.waiting > 0) {
            if let Some(row) = line.rows.get_mut(model.index()) {
                row.restart(&line.shares);
            }
        }
    }

    /// The moment has come at which a call of the model was told that time alone would make room. News, unless somebody
    /// looked since.
    pub fn time_came(&mut self, model: ModelId, told: Instant, now: Instant) {
        let opened = self.counters.get(model.index()).and_then(|counter| counter.opened);
        if opened.is_none_or(|opened| opened < told) {
            self.news(model, now);
        }
    }

    /// Is it this call's turn to look?
    pub fn is_called(&self, call: CallId) -> bool {
        self.called == Some(call) || self.is_displaced(call)
    }

    /// Is it to look once more, and then to go?
    fn is_displaced(&self, call: CallId) -> bool {
        self.displaced.contains(&call) || self.leaving.contains(&call)
    }

    /// Whose turn it is to look now, if it is anybody's that does not know yet. Nobody's while the one called up before
    /// has not looked (or left). Later news may take a turn back, and give it again. Before anybody, those who had to make
    /// room hear of it.
    pub fn call_up(&mut self) -> Option<CallId> {
        if let Some(call) = self.displaced.pop_first() {
            self.leaving.insert(call);
            return Some(call);
        }
        if self.open.is_empty() || self.called.is_some() {
            return None;
        }
        let call = self.choose();
        self.called = call;
        if call.is_none() {
            // All have looked.
            while let Some(model) = self.open.last().copied() {
                self.close(model);
            }
        }
        call
    }

    /// The first of the class with the largest claim, or else the most urgent.
    fn choose(&mut self) -> Option<CallId> {
        let mut claimed: Option<(f64, CallId)> = None;
        let mut urgent: Option<(Urgency, CallId)> = None;
        for class in self.order.iter().copied() {
            let Some(line) = self.lines.get_mut(class.index()).filter(|line| line.waiting > 0) else {
                continue;
            };
            let Some(first) = first(line, &self.open, &self.counters) else { continue };
            let (call, left) = (first.place.1.call(), line.credit - first.cost);
            if line.floor > 0.0 && left >= 0.0 && claimed.is_none_or(|(most, _)| left > most) {
                claimed = Some((left, call));
            }
            let urgency = Urgency { patient: line.patient, late: !first.in_time };
            // Of equals the dearer class, which is seen first.
            if urgent.is_none_or(|(most, _)| urgency < most) {
                urgent = Some((urgency, call));
            }
        }
        claimed.map(|(_, call)| call).or(urgent.map(|(_, call)| call))
    }

    fn close(&mut self, model: ModelId) {
        self.open.retain(|m| *m != model);
        if let Some(counter) = self.counters.get_mut(model.index()) {
            counter.open = false;
        }
    }

    fn taken(&self, seat: &Seat) -> Seat {
        self.seats.get(&seat.id).copied().unwrap_or(*seat)
    }

    fn row(&self, seat: &Seat) -> Option<&Row> {
        self.lines.get(seat.class.index())?.rows.get(seat.model.index())
    }
}

/// The classes, the dearest first.
fn by_dearness(catalog: &Catalog) -> Vec<ClassId> {
    let mut order: Vec<ClassId> = (0..catalog.classes.len()).map(|i| ClassId(i as u8)).collect();
    order.sort_by(|a, b| {
        let (a, b) = (catalog.class(*a), catalog.class(*b));
        let dear = b.miss_usd.total_cmp(&a.miss_usd);
        dear.then(b.delay_usd_per_s.total_cmp(&a.delay_usd_per_s)).then(a.may_wait.cmp(&b.may_wait))
    });
    order
}

/// What a place now is worth to the first of a class, the least being worth the most.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Urgency {
    /// It may wait: somebody whom each second costs something goes before it, even if late.
    patient: bool,
    /// Its target is missed whatever happens.
    late: bool,
}

/// The first in the class of those that have not looked since the news.
fn first(line: &mut Line, open: &[ModelId], counters: &[Counter]) -> Option<First> {
    let Line { rows, shares, .. } = line;
    let mut first: Option<First> = None;
    for model in open {
        let Some(counter) = counters.get(model.index()) else { continue };
        let now = counter.opened.unwrap_or(Instant::START);
        let row = rows.get_mut(model.index());
        let Some(next) = row.and_then(|row| row.next(counter.news, now, shares)) else { continue };
        first = Some(match first {
            None => next,
            Some(least) => {
                let in_time = least.in_time || next.in_time;
                First { in_time, ..if next.place < least.place { next } else { least } }
            }
        });
    }
    first
}

#[cfg(test)]
mod tests;
