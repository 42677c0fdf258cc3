//! One state machine, two clocks: the same happenings through `flow` (tasks, paused tokio time) and through an event
//! queue (integers) must give the same attempts at the same moments with the same ends.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use futures_util::StreamExt;
use gridtie::call::{Call, Close, Event, Step};
use gridtie::domain::{Duration, Failure, FailureKind, Instant, Now, Timestamp, Usage};
use gridtie::flow::Answered;
use gridtie::upstream::Attempt;
use gridtie::upstream::scripted::{Happening, Script};

use crate::world::{self, SEED, inbound, ms, world};

const CALLS: u64 = 90;
/// Every call lives on its own residue modulo this, so that no two calls ever act in the same millisecond.
const RESIDUES: u64 = 97;

/// Every third call asks for a whole answer.
fn streams(call: u64) -> bool {
    !call.is_multiple_of(3)
}

/// What the pools do, from the call and the attempt alone.
fn script(call: u64, no: u8, origin: &str) -> Script {
    let r = |n: u64| ms(n * RESIDUES);
    let hash = call.wrapping_mul(0x9e37_79b9).rotate_left(u32::from(no) + 3) >> 5;
    let owned = origin.contains("owned");
    match hash % 8 {
        0 if owned => Script::failing(r(1), FailureKind::Connect),
        1 if owned => Script::failing(r(2), FailureKind::ServerError),
        2 => Script::failing(r(1), FailureKind::RateLimited),
        hash if !streams(call) => match hash {
            3 if owned => Script(vec![(r(1), Happening::Silence)]),
            4 => Script::failing(r(3), FailureKind::Truncated),
            _ => Script::whole(r(2 + hash), Usage { input: 100, output: hash, ..Usage::default() }),
        },
        3 if owned => Script(vec![(r(1), Happening::Silence)]),
        4 => Script::stream(r(2), r(1), 9).cut(
            5,
            r(1),
            Happening::Fail(Failure::new(FailureKind::Truncated, "cut")),
        ),
        5 if owned => Script::stream(r(1), r(1), 5).cut(3, r(1), Happening::Silence),
        _ => Script::stream(r(2), r(1), 6 + (hash % 5) as u32),
    }
}

fn arrival(i: u64) -> Duration {
    ms(i * RESIDUES * 3 + i)
}

/// Call ids are dealt in order of arrival by the router; the script needs the order, so it is looked up here.
fn order(router_ids: &[u64]) -> BTreeMap<u64, u64> {
    router_ids.iter().enumerate().map(|(i, id)| (*id, i as u64)).collect()
}

fn ids() -> Vec<u64> {
    let world = world(|_| Script(vec![]));
    (0..CALLS).map(|_| world.router.next_id().0).collect()
}

async fn through_flow() -> BTreeMap<u64, String> {
    let ids = ids();
    let index = order(&ids);
    let world = world(move |a: &Attempt| script(index[&a.call.0], a.no.0, &a.address.origin));
    let calls = (0..CALLS).map(|i| {
        let router = world.router.clone();
        async move {
            tokio::time::sleep(arrival(i)).await;
            if let Ok(Answered::Stream { body, .. }) = router.call(inbound(streams(i))).await {
                body.count().await;
            }
        }
    });
    futures_util::future::join_all(calls).await;
    world.router.all_closed().await;
    let kept = world.kept.0.lock().unwrap();
    kept.iter().map(|(id, record)| (id.0, record.clone())).collect()
}

/// Something due in the queue: the start of a call, a line of a script, or an alarm.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Due {
    Start,
    Script {
        attempt: u32,
        line: usize,
    },
    Alarm,
    /// It is its turn to look.
    Turn,
}

/// A call as the queue plays it.
struct Played {
    call: Call,
    attempt: u32,
    script: Script,
}

type Queue = BinaryHeap<Reverse<(Instant, u64, Due)>>;

fn through_queue() -> BTreeMap<u64, String> {
    let catalog = world::catalog();
    let start = Timestamp::from_millis(1_800_000_000_000);
    let mut fleet = {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async { world::fleet(&catalog, &world::clock()) })
    };
    let ids = ids();
    let mut queue: Queue =
        (0..CALLS).map(|i| Reverse((Instant::START + arrival(i), i, Due::Start))).collect();
    let mut calls: BTreeMap<u64, Played> = BTreeMap::new();
    while let Some(Reverse((at, i, due))) = queue.pop() {
        let now =
            Now { mono: at, wall: Timestamp::from_millis(start.as_millis() + at.as_nanos() / 1_000_000) };
        let played = calls.entry(i).or_insert_with(|| Played {
            call: Call::new(world::facts(ids[i as usize], at, streams(i)), SEED),
            attempt: 0,
            script: Script(vec![]),
        });
        if played.call.closed() {
            continue;
        }
        if due == Due::Turn && !fleet.is_called(played.call.facts().id) {
            continue;
        }
        let event = match happens(played, &due, at) {
            Happens::Nothing => continue,
            Happens::GoesOn => None,
            Happens::Event(event) => Some(event),
        };
        let step = event.map_or(Step::Continue, |event| played.call.on(event, &mut fleet, &catalog, now));
        match step {
            Step::Send(send) => {
                played.attempt += 1;
                played.script = script(i, send.no.0, &send.dispatch.address.origin);
                queue_line(&mut queue, played, i, at, 0);
            }
            Step::Wait => {}
            Step::Continue | Step::Commit => {
                if let Due::Script { line, .. } = due {
                    queue_line(&mut queue, played, i, at, line + 1);
                }
            }
            Step::Close(Close::Answered | Close::Refused(_) | Close::Broken { .. } | Close::Gone) => {}
        }
        if let Some(called) = fleet.call_up().and_then(|id| ids.iter().position(|i| *i == id.0)) {
            queue.push(Reverse((at, called as u64, Due::Turn)));
        }
        if calls[&i].call.closed() {
            continue;
        }
        // Timers of tokio are due at whole milliseconds, rounded up.
        let alarm = Instant::from_nanos(calls[&i].call.wake_at().as_nanos().div_ceil(1_000_000) * 1_000_000);
        queue.push(Reverse((alarm, i, Due::Alarm)));
    }
    ids.iter().enumerate().map(|(i, id)| (*id, format!("{:?}", calls[&(i as u64)].call.record()))).collect()
}

/// What is due, as the machine is told of it.
enum Happens {
    /// It belongs to an attempt that is no more, or it never happens.
    Nothing,
    /// The script goes on, and the machine need not hear of it.
    GoesOn,
    Event(Event),
}

fn happens(played: &mut Played, due: &Due, at: Instant) -> Happens {
    let (attempt, line) = match due {
        Due::Start => return Happens::Event(Event::Start),
        Due::Turn => return Happens::Event(Event::Tick),
        Due::Alarm if played.call.wake_at() <= at => return Happens::Event(Event::Tick),
        Due::Alarm => return Happens::Nothing,
        Due::Script { attempt, line } => (*attempt, *line),
    };
    if attempt != played.attempt {
        return Happens::Nothing;
    }
    match played.script.0.get(line).map(|(_, happening)| happening.clone()) {
        Some(Happening::Open) => Happens::GoesOn,
        Some(Happening::Content) => {
            played.call.piece(1, None, at);
            if played.call.committed() { Happens::GoesOn } else { Happens::Event(Event::FirstContent) }
        }
        Some(Happening::End(usage)) => {
            played.call.piece(0, Some(usage), at);
            Happens::Event(Event::End)
        }
        Some(Happening::Whole(usage)) => Happens::Event(Event::Whole(usage)),
        Some(Happening::Fail(failure)) => Happens::Event(Event::Failed(failure)),
        Some(Happening::Silence) | None => Happens::Nothing,
    }
}

fn queue_line(queue: &mut Queue, played: &Played, i: u64, at: Instant, line: usize) {
    if let Some((delay, _)) = played.script.0.get(line) {
        queue.push(Reverse((at + *delay, i, Due::Script { attempt: played.attempt, line })));
    }
}

#[tokio::test(start_paused = true)]
async fn sockets_and_event_queue_drive_a_call_to_the_same_account() {
    let flow = through_flow().await;
    let queue = std::thread::spawn(through_queue).join().unwrap();
    assert_eq!(flow.len() as u64, CALLS);
    for (id, record) in &flow {
        assert_eq!(record, &queue[id], "call {id:016x}");
    }
    let failed = flow.values().filter(|r| r.contains("Failed(")).count();
    let whole = (0..CALLS).filter(|i| !streams(*i)).count();
    let answered =
        flow.values().filter(|r| r.contains("first_token: None") && r.contains("result: Ok")).count();
    assert!(answered > whole / 2, "{answered} whole answers of {whole}");
    assert!(failed > 20, "the script is too kind to prove anything: {failed} calls with a failed attempt");
}
