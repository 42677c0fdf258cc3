use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::domain::catalog::{Class, Model};
use crate::domain::{AskKind, Duration, TenantId};

mod drain;
mod tenants;

const INTERACTIVE: u8 = 0;
const AGENT: u8 = 1;
const BACKGROUND: u8 = 2;

fn catalog() -> Catalog {
    let class = |name: &str, miss_usd, may_wait, floor| Class {
        name: name.into(),
        miss_usd,
        may_wait,
        floor,
        ..crate::domain::plain::class()
    };
    let model =
        |name: &str| Model { name: name.into(), aliases: vec![], kind: AskKind::Chat, offers: vec![] };
    Catalog {
        classes: vec![
            class("interactive", 0.010, false, 0.25),
            class("agent", 0.005, false, 0.10),
            class("background", 0.005, true, 0.05),
        ],
        models: vec![model("large"), model("small")],
        ..Catalog::default()
    }
}

fn queue() -> Queue {
    Queue::new(&catalog(), Settings { most: 20_000, class_share: 1.0, ..Settings::default() })
}

/// Where the time does not matter.
impl Queue {
    fn joins(&mut self, seat: &Seat, wish: Wish) -> bool {
        self.join(seat, wish, at(0.0))
    }

    fn grant(&mut self, seat: &Seat) {
        self.granted(seat, at(0.0));
    }
}

fn at(s: f64) -> Instant {
    Instant::from_secs_f64(s)
}

fn seat(id: u64, class: u8, due: f64) -> Seat {
    let (class, model, tenant) = (ClassId(class), ModelId(0), TenantId(0));
    Seat { class, model, tenant, due: at(due), arrived: at(0.0), id: CallId(id) }
}

fn of_small(seat: Seat) -> Seat {
    Seat { model: ModelId(1), ..seat }
}

/// A wish for a place of that size, at any time before it is due.
const fn of(cost: f64) -> Wish {
    Wish { cost, needs: Duration::ZERO }
}

const ONE: Wish = of(1.0);

/// News of room for so many calls: who gets it, in order, and how many looked.
fn room_for(queue: &mut Queue, seats: &[Seat], mut places: usize, now: f64) -> (Vec<u64>, usize) {
    queue.news(ModelId(0), at(now));
    let (mut got, mut looks) = (Vec::new(), 0);
    while let Some(call) = queue.call_up() {
        looks += 1;
        let seat = seats.iter().find(|s| s.id == call).unwrap();
        if places > 0 {
            places -= 1;
            got.push(call.0);
            queue.grant(seat);
        } else {
            assert!(queue.joins(seat, ONE));
        }
    }
    (got, looks)
}

fn joined(queue: &mut Queue, seats: &[Seat]) {
    for seat in seats {
        assert!(queue.joins(seat, ONE));
    }
}

#[test]
fn within_a_class_the_earliest_due_goes_first_whenever_it_came() {
    let mut q = queue();
    let seats =
        [seat(1, AGENT, 9.0), seat(2, AGENT, 5.0), seat(3, AGENT, 7.0), of_small(seat(4, AGENT, 1.0))];
    joined(&mut q, &seats);
    assert_eq!(room_for(&mut q, &seats, 9, 1.0).0, [2, 3, 1], "and there is no news for the other model");
}

#[test]
fn those_that_cannot_be_in_time_go_last_and_the_latest_due_of_them_first() {
    let mut q = queue();
    let seats = [4.0, 9.0, 5.0, 7.0, 6.0].map(|due| seat(due as u64, AGENT, due));
    joined(&mut q, &seats);
    assert_eq!(room_for(&mut q, &seats, 9, 5.5).0, [6, 7, 9, 5, 4]);
}

#[test]
fn what_a_call_needs_counts_as_gone_already() {
    let mut q = queue();
    let seats = [5.0, 7.0, 9.0].map(|due| seat(due as u64, AGENT, due));
    for seat in &seats {
        assert!(q.joins(seat, Wish { needs: Duration::from_secs(6), ..ONE }));
    }
    assert_eq!(room_for(&mut q, &seats, 9, 2.0).0, [9, 7, 5]);
}

#[test]
fn a_late_call_that_looks_in_vain_stays_among_the_late() {
    let mut q = queue();
    let seats = [5.0, 9.0].map(|due| seat(due as u64, AGENT, due));
    joined(&mut q, &seats);
    assert_eq!(room_for(&mut q, &seats, 0, 6.0), (vec![], 2));
    assert_eq!(room_for(&mut q, &seats, 0, 7.0), (vec![], 2));
    q.leave(&seats[1]);
    assert_eq!(room_for(&mut q, &seats, 1, 8.0).0, [5]);
    assert!(q.is_empty());
}

#[test]
fn late_calls_of_a_class_that_cannot_wait_go_before_those_that_may() {
    let mut q = queue();
    let seats = [seat(1, BACKGROUND, 900.0), seat(2, INTERACTIVE, 1.0), seat(3, AGENT, 5.0)];
    joined(&mut q, &seats);
    assert_eq!(room_for(&mut q, &seats, 9, 3.0).0, [3, 2, 1], "in time, late, and what has all night");
}

#[test]
fn under_overload_half_are_in_time_instead_of_none() {
    // Two come a second, due in ten; one can be served a second.
    let mut q = queue();
    let mut seats = Vec::new();
    let mut in_time = 0;
    for s in 0..400u32 {
        for i in 0..2 {
            let came = f64::from(s);
            let new = Seat { arrived: at(came), ..seat(u64::from(2 * s + i), AGENT, came + 10.0) };
            seats.push(new);
            assert!(q.joins(&new, ONE));
        }
        let now = f64::from(s) + 0.5;
        let (got, _) = room_for(&mut q, &seats, 1, now);
        in_time += got.iter().filter(|id| seats[**id as usize].due >= at(now)).count();
    }
    assert!(in_time >= 390, "{in_time} of the 400 that were served");
}

#[test]
fn the_dearer_class_goes_first_and_of_equals_the_one_that_cannot_wait() {
    let mut q = queue();
    let seats = [seat(1, BACKGROUND, 1.0), seat(2, AGENT, 2.0), seat(3, INTERACTIVE, 3.0)];
    joined(&mut q, &seats);
    assert_eq!(room_for(&mut q, &seats, 9, 1.0).0, [3, 2, 1]);
}

#[test]
fn nobody_is_called_up_before_there_is_news_nor_while_another_looks() {
    let mut q = queue();
    let seats = [seat(1, AGENT, 1.0), seat(2, AGENT, 2.0)];
    joined(&mut q, &seats);
    assert_eq!(q.call_up(), None);
    q.news(ModelId(0), at(1.0));
    assert_eq!(q.call_up(), Some(CallId(1)));
    assert!(q.is_called(CallId(1)) && !q.is_called(CallId(2)));
    assert_eq!(q.call_up(), None);
    q.grant(&seats[0]);
    assert_eq!(q.call_up(), Some(CallId(2)));
}

#[test]
fn a_call_that_goes_away_leaves_the_line_and_gives_its_turn_on() {
    let mut q = queue();
    let seats = [seat(1, AGENT, 1.0), seat(2, AGENT, 2.0), seat(3, AGENT, 3.0)];
    joined(&mut q, &seats);
    q.leave(&seats[1]);
    q.news(ModelId(0), at(1.0));
    assert_eq!(q.call_up(), Some(CallId(1)));
    q.leave(&seats[0]);
    assert_eq!(q.call_up(), Some(CallId(3)));
    q.leave(&seats[2]);
    q.leave(&seats[2]);
    assert_eq!((q.call_up(), q.len()), (None, 0));
}

#[test]
fn a_freed_place_costs_a_few_looks_however_many_wait() {
    let mut q = queue();
    let seats: Vec<Seat> = (0..10_000).map(|i| seat(i, (i % 3) as u8, i as f64)).collect();
    joined(&mut q, &seats);
    let mut looks = 0;
    for i in 0..100 {
        let (got, looked) = room_for(&mut q, &seats, 1, f64::from(i));
        assert_eq!(got.len(), 1);
        looks += looked;
    }
    assert_eq!(looks, 100 * 9, "the one that goes, and eight that find nothing");
    assert_eq!(q.len(), 9_900);
}

#[test]
fn a_model_whose_calls_find_nothing_does_not_hold_up_another() {
    let mut q = queue();
    let stuck: Vec<Seat> = (0..50).map(|i| seat(i, INTERACTIVE, 1.0)).collect();
    let small = of_small(seat(99, INTERACTIVE, 2.0));
    joined(&mut q, &stuck);
    joined(&mut q, &[small]);
    q.news(ModelId(0), at(1.0));
    q.news(ModelId(1), at(1.0));
    let mut looked = Vec::new();
    while let Some(call) = q.call_up() {
        looked.push(call.0);
        let seat = stuck.iter().chain([&small]).find(|s| s.id == call).unwrap();
        if call == small.id { q.grant(seat) } else { assert!(q.joins(seat, ONE)) }
    }
    assert_eq!(looked, [0, 1, 2, 3, 4, 5, 6, 7, 99]);
}

#[test]
fn one_round_serves_all_who_waited_for_the_same_moment() {
    let mut q = queue();
    let seats: Vec<Seat> = (0..100).map(|i| seat(i, AGENT, 1.0)).collect();
    joined(&mut q, &seats);
    let mut looks = 0;
    for _ in &seats {
        q.time_came(ModelId(0), at(5.0), at(5.0));
        while let Some(call) = q.call_up() {
            looks += 1;
            assert!(q.joins(seats.iter().find(|s| s.id == call).unwrap(), ONE));
        }
    }
    assert_eq!(looks, 8, "a hundred timers, one round");
    q.time_came(ModelId(0), at(5.5), at(5.5));
    assert!(q.call_up().is_some());
}

#[test]
fn the_line_has_an_end_and_no_class_fills_it_alone() {
    let mut q = Queue::new(&catalog(), Settings { most: 8, class_share: 0.75, vain: 8 });
    let seats: Vec<Seat> = (0..7).map(|i| seat(i, AGENT, 1.0)).collect();
    joined(&mut q, &seats[..6]);
    assert!(!q.joins(&seats[6], ONE));
    joined(&mut q, &[seat(10, INTERACTIVE, 1.0), seat(11, BACKGROUND, 1.0)]);
    assert!(!q.joins(&seat(12, INTERACTIVE, 1.0), ONE), "full");
    assert!(q.joins(&seats[0], ONE), "whoever is in may stay");
    assert_eq!(q.len(), 8);
}

/// Arrivals (class, cost), and how many come for each place.
fn arrivals() -> impl Strategy<Value = (Vec<(u8, f64)>, usize)> {
    (prop::collection::vec((0u8..3, 1.0..1000.0f64), 300..600), 1usize..4)
}

proptest! {
    #[test]
    fn nobody_starves_below_the_floor_of_its_class((arrivals, pace) in arrivals()) {
        let catalog = Arc::new(catalog());
        let mut q = queue();
        let largest = arrivals.iter().map(|(_, cost)| *cost).fold(0.0, f64::max);
        // Granted in all, and to each class, since it last had nobody waiting.
        let mut since = [(0.0, 0.0); 3];
        let mut seats = Vec::new();
        for (i, (class, cost)) in arrivals.iter().enumerate() {
            let seat = seat(i as u64, *class, i as f64);
            seats.push((seat, *cost));
            prop_assert!(q.joins(&seat, of(*cost)));
            if i % pace > 0 && i > 20 {
                continue;
            }
            q.news(ModelId(0), at(i as f64));
            let Some(call) = q.call_up() else { continue };
            let (seat, cost) = seats[call.0 as usize];
            q.grant(&seat);
            while let Some(call) = q.call_up() {
                let (seat, cost) = seats[call.0 as usize];
                prop_assert!(q.joins(&seat, of(cost)));
            }
            for (class, (all, own)) in since.iter_mut().enumerate() {
                if q.lines[class].waiting == 0 {
                    (*all, *own) = (0.0, 0.0);
                    continue;
                }
                *all += cost;
                *own += if seat.class.index() == class { cost } else { 0.0 };
                let floor = catalog.classes[class].floor;
                // One call of its own, and what it earns while the two other classes, which may have saved up a claim to
                // two calls each, go first.
                let slack = largest * (1.0 + floor * 2.0 * SAVED_MAX);
                prop_assert!(*own >= floor * *all - slack, "class {class}: {own} of {all}");
            }
        }
    }
}
