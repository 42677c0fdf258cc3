//! How fast a line moves, and what that says to those who come.

use super::*;

/// So many calls of ten tokens wait from the start, and five a second find a place.
fn moving(waiting: u64, seconds: u32) -> (Queue, Vec<Seat>) {
    let mut q = queue();
    let seats: Vec<Seat> = (0..waiting).map(|i| seat(i, AGENT, 500.0)).collect();
    for seat in &seats {
        assert!(q.join(seat, of(10.0), at(0.0)));
    }
    for i in 1..=5 * seconds {
        q.granted(&seats[i as usize - 1], at(f64::from(i) / 5.0));
    }
    (q, seats)
}

fn near(is: Option<f64>, should_be: f64) {
    assert!(is.is_some_and(|is| (is / should_be - 1.0).abs() < 0.01), "{is:?} and not {should_be}");
}

#[test]
fn a_call_will_wait_as_long_as_those_before_it_take() {
    let (q, _) = moving(300, 20);
    // 200 calls of ten, at fifty a second, and its own share is the whole.
    let new = seat(999, AGENT, 600.0);
    near(q.predicted_s(&new, 10.0, at(20.0)), 40.0);
    near(q.predicted_s(&seat(999, BACKGROUND, 600.0), 10.0, at(20.0)), 40.0);
    assert_eq!(
        q.predicted_s(&seat(999, INTERACTIVE, 600.0), 10.0, at(20.0)),
        Some(0.0),
        "dearer ones go first"
    );
    assert_eq!(q.predicted_s(&of_small(new), 10.0, at(20.0)), None, "another model's line is another line");
    let other = Seat { tenant: TenantId(9), ..new };
    near(q.predicted_s(&other, 10.0, at(20.0)), 10.0 / 50.0);
}

#[test]
fn a_line_that_stands_and_one_that_has_just_begun_predict_nothing() {
    let (q, _) = moving(300, 20);
    let new = seat(999, AGENT, 600.0);
    assert!(q.predicted_s(&new, 10.0, at(24.9)).is_some());
    assert_eq!(q.predicted_s(&new, 10.0, at(25.1)), None);
    let (q, _) = moving(300, 1);
    assert_eq!(q.predicted_s(&new, 10.0, at(1.0)), None, "five are an accident");
}

#[test]
fn time_in_which_nobody_waited_does_not_slow_the_line() {
    let (mut q, seats) = moving(50, 10);
    assert!(q.is_empty());
    let more: Vec<Seat> = (100..300).map(|i| seat(i, AGENT, 500.0)).collect();
    for seat in &more {
        assert!(q.join(seat, of(10.0), at(12.0)));
    }
    near(q.predicted_s(&seat(999, AGENT, 600.0), 10.0, at(12.0)), 40.0);
    assert_eq!(seats.len(), 50);
}

#[test]
fn what_goes_past_the_line_takes_its_places() {
    let (mut q, _) = moving(300, 20);
    let past = seat(1000, INTERACTIVE, 30.0);
    for i in 1..=100u32 {
        q.went_past(&past, 10.0, at(20.0 + f64::from(i) / 5.0));
    }
    near(q.predicted_s(&seat(999, AGENT, 600.0), 10.0, at(40.0)), 40.0);
}

proptest! {
    #[test]
    fn work_that_waits_is_the_sum_of_what_waits(
        deeds in prop::collection::vec((0u64..40, 0u16..3, 1.0..1e6f64, 0u8..3), 1..300)
    ) {
        let mut q = queue();
        let mut waiting: BTreeMap<u64, (u16, f64)> = BTreeMap::new();
        for (id, tenant, cost, deed) in deeds {
            // Whose a call is does not change.
            let tenant = waiting.get(&id).map_or(tenant, |(tenant, _)| *tenant);
            let seat = Seat { tenant: TenantId(tenant), ..seat(id, AGENT, id as f64) };
            match deed {
                0 => q.leave(&seat),
                1 => q.granted(&seat, at(1.0)),
                _ => { q.join(&seat, of(cost), at(1.0)); }
            }
            if deed < 2 { waiting.remove(&id); } else { waiting.insert(id, (tenant, cost)); }
            let line = &q.lines[AGENT as usize];
            let sum: f64 = waiting.values().map(|(_, cost)| cost).sum();
            prop_assert!((line.rows[0].work() - sum).abs() < 1e-3);
            for t in 0..3 {
                let own: f64 = waiting.values().filter(|(tenant, _)| *tenant == t).map(|(_, cost)| cost).sum();
                prop_assert!((line.shares.work(TenantId(t)) - own).abs() < 1e-3 );
            }
        }
    }
}
