//! A class that promises to be in time, and what its misses cost then.

use super::*;

/// A world where the interactive class promises 99 %.
fn promising() -> World {
    let mut c = catalog();
    c.classes[INTERACTIVE.index()].in_time = Some(0.99);
    World::new(c, 2)
}

/// What a miss of a new call counts as.
fn miss_usd(w: &mut World, class: ClassId, now: f64) -> f64 {
    let facts = CallFacts { class, ..w.facts(now) };
    w.fleet.asking(&facts, &[], at(now)).call.miss_usd
}

/// So many calls in a row, one a second, whose first token takes `ttft`.
fn serve(w: &mut World, n: u32, ttft: f64, from: f64) {
    for i in 0..n {
        w.serve(CHEAP, ttft, from + f64::from(i));
    }
}

#[test]
fn a_miss_costs_what_the_class_says_until_too_many_are_late() {
    let mut w = promising();
    serve(&mut w, 50, 0.3, 0.0);
    assert_eq!(miss_usd(&mut w, INTERACTIVE, 60.0), 0.010);
    serve(&mut w, 20, 1.4, 60.0);
    let dear = miss_usd(&mut w, INTERACTIVE, 90.0);
    assert!(dear > 0.025, "{dear}");
    assert_eq!(miss_usd(&mut w, BACKGROUND, 90.0), 0.005, "no promise, no price");
}

#[test]
fn a_call_that_came_late_after_waiting_breaks_the_promise_however_quick_its_answer_was() {
    let mut w = promising();
    let facts = w.facts(0.0);
    let mut ticket = w.start_at(&facts, CHEAP, 2.0);
    w.fleet.first_token(&facts, &mut ticket, at(2.1));
    assert!(miss_usd(&mut w, INTERACTIVE, 3.0) > 0.010);
}

#[test]
fn a_reload_that_leaves_the_promise_as_it_was_leaves_its_price_too() {
    let mut w = promising();
    serve(&mut w, 20, 1.4, 0.0);
    let before = miss_usd(&mut w, INTERACTIVE, 30.0);
    let mut same = catalog();
    same.classes[INTERACTIVE.index()].in_time = Some(0.99);
    w.fleet.adopt(Arc::new(same), Settings::default(), &[], at(30.0));
    assert_eq!(miss_usd(&mut w, INTERACTIVE, 30.0), before);
    w.fleet.adopt(Arc::new(catalog()), Settings::default(), &[], at(30.0));
    assert_eq!(miss_usd(&mut w, INTERACTIVE, 30.0), 0.010);
}
