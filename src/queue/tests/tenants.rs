//! Tenants of one class.

use super::*;
use crate::queue::row::Rank;

const LAP: f64 = 4096.0;

fn of_tenant(tenant: u16, seat: Seat) -> Seat {
    Seat { tenant: TenantId(tenant), ..seat }
}

/// News, and room for one: whose turn it was.
fn next(q: &mut Queue, seats: &[Seat], now: f64) -> Option<Seat> {
    q.news(ModelId(0), at(now));
    let call = q.call_up()?;
    let seat = *seats.iter().find(|s| s.id == call).unwrap();
    q.grant(&seat);
    Some(seat)
}

#[test]
fn a_crowd_of_one_tenant_holds_up_the_call_of_another_by_a_lap_at_most() {
    let mut q = queue();
    let mut seats: Vec<Seat> = (0..10_000).map(|i| of_tenant(1, seat(i, INTERACTIVE, 5.0))).collect();
    for seat in &seats {
        assert!(q.joins(seat, of(1000.0)));
    }
    for round in 0..20u32 {
        let victim = of_tenant(2, seat(20_000 + u64::from(round), INTERACTIVE, 9.0));
        seats.push(victim);
        assert!(q.joins(&victim, of(1000.0)));
        let before = std::iter::from_fn(|| next(&mut q, &seats, 1.0)).position(|s| s.id == victim.id);
        assert!(before.is_some_and(|n| n as f64 * 1000.0 <= LAP + 1000.0), "{before:?} calls went before it");
    }
}

#[test]
fn among_tenants_that_had_about_the_same_the_most_urgent_call_goes_first() {
    let mut q = queue();
    let seats: Vec<Seat> =
        (0..60u16).map(|i| of_tenant(i, seat(i.into(), AGENT, f64::from(60 - i)))).collect();
    joined(&mut q, &seats);
    let (got, _) = room_for(&mut q, &seats, 60, 20.5);
    let in_time = (0..40).rev();
    let late = 40..60;
    assert_eq!(got, in_time.chain(late).collect::<Vec<_>>());
}

#[test]
fn a_late_call_goes_before_one_in_time_of_a_tenant_that_had_its_lap_and_the_class_is_as_urgent_as_before() {
    let mut q = queue();
    let mut seats: Vec<Seat> = (0..9).map(|i| of_tenant(1, seat(i, AGENT, 90.0 + i as f64))).collect();
    seats.push(of_tenant(2, seat(20, AGENT, 5.0)));
    seats.push(of_tenant(3, seat(30, BACKGROUND, 500.0)));
    for seat in &seats {
        assert!(q.joins(seat, of(LAP)));
    }
    let order: Vec<u64> = std::iter::from_fn(|| next(&mut q, &seats, 6.0)).map(|s| s.id.0).collect();
    // The background's floor takes a place now and then.
    let order: Vec<u64> = order.into_iter().filter(|id| *id != 30).collect();
    assert_eq!(order, [0, 20, 1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn who_comes_back_has_not_been_forgotten_within_the_lap() {
    let mut q = queue();
    let many: Vec<Seat> = (0..100).map(|i| of_tenant(1, seat(i, AGENT, 50.0))).collect();
    joined(&mut q, &many[..1]);
    for seat in &many[1..] {
        assert!(q.joins(seat, of(500.0)));
    }
    // Always one call of the other waits, and always the most urgent: it comes back as soon as it was served.
    let (mut own, mut others) = (0i32, 0i32);
    let mut seats = many.clone();
    for i in 0..60 {
        let back = of_tenant(2, seat(1000 + i, AGENT, 10.0));
        if seats.last().is_none_or(|s| s.tenant == TenantId(1) || !q.seats.contains_key(&s.id)) {
            seats.push(back);
            assert!(q.joins(&back, of(500.0)));
        }
        match next(&mut q, &seats, 1.0).unwrap().tenant {
            TenantId(2) => own += 1,
            _ => others += 1,
        }
    }
    assert!((own - others).abs() <= 18, "{own} and {others}");
}

#[test]
fn o04_shares_are_of_tokens_and_not_of_calls() {
    let mut q = queue();
    let huge = 1_000_000.0;
    let seats: Vec<Seat> = (0..10)
        .map(|i| of_tenant(1, seat(i, AGENT, 50.0)))
        .chain((10..2_010).map(|i| of_tenant(2, seat(i, AGENT, 60.0))))
        .collect();
    for seat in &seats {
        assert!(q.joins(seat, of(if seat.tenant == TenantId(1) { huge } else { 1_000.0 })));
    }
    let order: Vec<u16> =
        std::iter::from_fn(|| next(&mut q, &seats, 1.0)).map(|seat| seat.tenant.0).take(2_002).collect();
    let between: Vec<usize> = order.split(|tenant| *tenant == 1).map(<[u16]>::len).collect();
    assert_eq!(between[0], 0, "it is the first that is due");
    assert!(
        between[1].abs_diff(1_000) <= 5,
        "a thousand calls of a thousand tokens are its like: {between:?}"
    );
}

#[test]
fn what_goes_past_the_line_counts_towards_the_share() {
    let mut q = queue();
    let seats = [
        of_tenant(1, seat(1, AGENT, 5.0)),
        of_tenant(1, seat(2, AGENT, 6.0)),
        of_tenant(2, seat(3, AGENT, 9.0)),
    ];
    for seat in &seats {
        assert!(q.joins(seat, of(100.0)));
    }
    q.went_past(&seats[0], 3.0 * LAP, at(0.0));
    let order: Vec<u64> = std::iter::from_fn(|| next(&mut q, &seats, 1.0)).map(|s| s.id.0).collect();
    assert_eq!(order, [3, 1, 2]);
}

fn full(most: usize, class_share: f64) -> Queue {
    Queue::new(&catalog(), Settings { most, class_share, vain: 8 })
}

#[test]
fn in_a_full_line_a_small_tenant_takes_the_place_of_the_last_of_the_largest() {
    let mut q = full(8, 1.0);
    let crowd: Vec<Seat> = (0..8).map(|i| of_tenant(1, seat(i, AGENT, 10.0 + i as f64))).collect();
    joined(&mut q, &crowd);
    assert!(!q.joins(&of_tenant(1, seat(50, AGENT, 1.0)), ONE), "its own are enough");
    let small = of_tenant(2, seat(60, INTERACTIVE, 5.0));
    assert!(q.joins(&small, ONE));
    assert_eq!(q.len(), 8);
    assert_eq!(q.call_up(), Some(CallId(7)), "it is told");
    assert!(q.is_called(CallId(7)));
    assert_eq!(q.call_up(), None, "once");
    assert!(!q.joins(&crowd[7], ONE), "and may not stay");
    q.leave(&crowd[7]);
    assert!(!q.is_called(CallId(7)));
    assert_eq!((q.len(), q.leaving.len()), (8, 0));
    // Until they have about as many.
    let more: Vec<Seat> = (61..80).map(|i| of_tenant(2, seat(i, INTERACTIVE, 5.0))).collect();
    let joined = more.iter().filter(|s| q.joins(s, ONE)).count();
    assert_eq!(joined, 3, "four and four");
}

#[test]
fn in_a_class_at_its_limit_only_calls_of_that_class_make_room() {
    let mut q = full(8, 0.5);
    joined(&mut q, &[0, 1, 2, 3].map(|i| of_tenant(1, seat(i, AGENT, 10.0))));
    joined(&mut q, &[4, 5, 6].map(|i| of_tenant(3, seat(i, BACKGROUND, 10.0))));
    assert!(q.joins(&of_tenant(2, seat(60, AGENT, 5.0)), ONE));
    assert_eq!(q.call_up(), Some(CallId(3)));
    assert_eq!((q.lines[1].waiting, q.len()), (4, 7));
}

#[test]
fn a_call_that_had_to_make_room_may_still_find_a_place_or_go_away() {
    let mut q = full(2, 1.0);
    let crowd = [of_tenant(1, seat(1, AGENT, 1.0)), of_tenant(1, seat(2, AGENT, 2.0))];
    joined(&mut q, &crowd);
    let small = of_tenant(2, seat(3, AGENT, 3.0));
    joined(&mut q, &[small]);
    assert_eq!(q.call_up(), Some(CallId(2)));
    q.grant(&crowd[1]);
    q.leave(&crowd[1]);
    assert!(!q.is_called(CallId(2)));
    q.leave(&small);
    q.leave(&crowd[0]);
    assert!(q.is_empty() && q.displaced.is_empty() && q.leaving.is_empty() && q.seats.is_empty());
}

/// The same by the rules and without an index.
#[derive(Default)]
struct Plain {
    /// Seat, cost, news looked at.
    waiting: Vec<(Seat, f64, u64)>,
    tags: BTreeMap<TenantId, f64>,
    front: f64,
    news: u64,
}

impl Plain {
    fn came(&mut self, seat: Seat, cost: f64) {
        if self.waiting.iter().all(|(s, ..)| s.tenant != seat.tenant) {
            let tag = self.tags.entry(seat.tenant).or_default();
            *tag = tag.max(self.front);
        }
        self.waiting.push((seat, cost, self.news));
    }

    fn left(&mut self, seat: &Seat) {
        self.waiting.retain(|(s, ..)| s.id != seat.id);
        if self.waiting.is_empty() {
            (self.tags, self.front) = Default::default();
        }
    }

    fn granted(&mut self, seat: &Seat) {
        let cost = self.waiting.iter().find(|(s, ..)| s.id == seat.id).unwrap().1;
        let tag = self.tags.entry(seat.tenant).or_default();
        let start = tag.max(self.front - LAP);
        *tag = start + cost;
        self.front = self.front.max(start);
        self.left(seat);
    }

    fn first(&self, now: f64) -> Option<CallId> {
        let place = |s: &Seat| {
            let lap = (self.tags[&s.tenant] / LAP) as u64;
            let turn = s.turn();
            let late = s.due < at(now);
            (lap, if late { Rank::Late(std::cmp::Reverse(turn)) } else { Rank::InTime(turn) })
        };
        let may = self.waiting.iter().filter(|(.., looked)| *looked < self.news);
        may.map(|(s, ..)| place(s)).min().map(|(_, rank)| rank.call())
    }
}

#[derive(Clone, Debug)]
enum Do {
    Join {
        tenant: u16,
        due: f64,
        cost: f64,
    },
    Leave(prop::sample::Index),
    /// Room for so many.
    News(usize),
}

fn deeds() -> impl Strategy<Value = Vec<Do>> {
    let join = (0u16..5, 0.0..300.0f64, 1.0..9000.0f64);
    let deed = prop_oneof![
        6 => join.prop_map(|(tenant, due, cost)| Do::Join { tenant, due, cost }),
        1 => any::<prop::sample::Index>().prop_map(Do::Leave),
        4 => (0usize..4).prop_map(Do::News),
    ];
    prop::collection::vec(deed, 1..200)
}

proptest! {
    #[test]
    fn the_index_says_what_the_rules_say(deeds in deeds()) {
        let (mut q, mut plain) = (queue(), Plain::default());
        for (i, deed) in deeds.iter().enumerate() {
            let now = i as f64;
            match deed {
                Do::Join { tenant, due, cost } => {
                    let seat = of_tenant(*tenant, seat(i as u64, AGENT, *due));
                    prop_assert!(q.joins(&seat, of(*cost)));
                    plain.came(seat, *cost);
                }
                Do::Leave(index) => {
                    if plain.waiting.is_empty() { continue }
                    let seat = plain.waiting[index.index(plain.waiting.len())].0;
                    q.leave(&seat);
                    plain.left(&seat);
                }
                Do::News(places) => {
                    q.news(ModelId(0), at(now));
                    // Nobody hears of news while nobody waits.
                    plain.news += u64::from(!plain.waiting.is_empty());
                    for looked in 0.. {
                        // After eight in vain the rest are left alone.
                        let expected = if looked < *places + 8 { plain.first(now) } else { None };
                        let called = q.call_up();
                        prop_assert_eq!(called, expected, "news {} look {}", i, looked);
                        let Some(call) = called else { break };
                        let at = plain.waiting.iter().position(|(s, ..)| s.id == call).unwrap();
                        let (seat, cost, _) = plain.waiting[at];
                        if looked < *places {
                            q.grant(&seat);
                            plain.granted(&seat);
                        } else {
                            prop_assert!(q.joins(&seat, of(cost)));
                            plain.waiting[at].2 = plain.news;
                        }
                    }
                }
            }
            let line = &q.lines[AGENT as usize];
            prop_assert_eq!(line.waiting, plain.waiting.len());
            prop_assert!(line.rows[0].tenants() <= 2 * 5 && line.shares.known() <= 5);
            prop_assert!(line.waiting > 0 || line.shares.known() + line.rows[0].tenants() == 0);
        }
    }

    #[test]
    fn tenants_that_wait_all_the_time_get_the_same(
        costs in prop::collection::vec((1.0..9000.0f64, 0.0..100.0f64), 400..600),
        urgent in 0u16..3,
    ) {
        let mut q = queue();
        // The calls of one are always the most urgent, and it has by far the most.
        let mut seats = Vec::new();
        for (i, (cost, due)) in costs.iter().enumerate() {
            let tenant = if i % 5 < 3 { urgent } else { (urgent + i as u16 % 5 - 2) % 3 };
            let due = if tenant == urgent { *due } else { 100.0 + due };
            seats.push(of_tenant(tenant, seat(i as u64, AGENT, due)));
            prop_assert!(q.joins(&seats[i], of(*cost)));
        }
        let largest = costs.iter().map(|(cost, _)| *cost).fold(0.0, f64::max);
        let mut served = [0.0f64; 3];
        while (0..3).all(|t| q.lines[AGENT as usize].shares.waiting(TenantId(t)) > 0) {
            let seat = next(&mut q, &seats, 50.0).unwrap();
            served[seat.tenant.index()] += costs[seat.id.0 as usize].0;
            let (most, least) = (served.iter().copied().fold(0.0, f64::max), served.iter().copied().fold(f64::MAX, f64::min));
            prop_assert!(most - least <= LAP + largest, "{served:?}");
        }
    }
}
