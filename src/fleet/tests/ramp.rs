use super::*;
use crate::domain::Growth;

/// The own pool dies under twice what the provider takes at once: what goes where, minute by minute.
fn minutes(seconds: u32) -> (Vec<u32>, Vec<u32>, u32) {
    let mut c = catalog();
    let growth = Growth { factor: 1.5, every: Duration::from_secs(900), above: 100_000 };
    c.pools[CHEAP.index()].grants.growth = Some(growth);
    let mut w = World::new(c, 1);
    w.fleet.drain(OWN, at(0.0));
    let count = (seconds / 60) as usize;
    let (mut cheap, mut dear, mut lost) = (vec![0; count], vec![0; count], 0);
    // A thousand tokens and a hundred: three calls a second are 198,000 a minute.
    for i in 0..3 * seconds {
        let now = f64::from(i) / 3.0;
        let minute = (i / 180) as usize;
        let facts = w.facts(now);
        let Decision::Dispatch(d) = w.decide(&facts, &[], now) else {
            lost += 1;
            continue;
        };
        if d.pool == CHEAP {
            cheap[minute] += 1
        } else {
            dear[minute] += 1
        }
        let mut t = w.fleet.started(&facts, d, at(now));
        w.fleet.first_token(&facts, &mut t, at(now + 0.2));
        w.end(&facts, t, ok(1000, 100), now + 0.3);
    }
    (cheap, dear, lost)
}

#[test]
fn p29_what_a_provider_may_not_take_yet_overflows_to_the_next_without_a_swing() {
    let (cheap, dear, lost) = minutes(3600);
    assert_eq!(lost, 0);
    assert!(cheap[5] < 120 && dear[5] > 60, "{cheap:?}");
    assert!(cheap[59] > 170, "it grows into it: {cheap:?}");
    for pair in cheap[1..].windows(2) {
        assert!(f64::from(pair[1]) > 0.9 * f64::from(pair[0]), "it swings: {cheap:?}");
    }
}
