use super::*;
use crate::domain::{ContactWindow, Timestamp};
use crate::engine::{Opaque, Settings};

/// The first token after a second, the others after another second each.
const ENGINE: Settings = Settings::Opaque(Opaque {
    ttft_median_s: 1.0,
    ttft_sigma: 0.0,
    prefill_token_s: 0.0,
    tpot_s: 1.0,
    max_jobs: 10,
});

/// Contact for the first ten seconds of every hour, and half a second to get there.
fn reachable() -> Door {
    let contact = ContactWindow {
        period: Duration::from_secs(3_600),
        length: Duration::from_secs(10),
        anchor: Timestamp::from_millis(0),
    };
    Door { delay: Duration::from_millis(500), contact: Some(contact), ..Door::default() }
}

/// One pool and what is due there.
struct Play {
    pools: Pools,
    agenda: Vec<(Instant, usize, Due)>,
    entries: usize,
}

impl Play {
    fn new(door: Door) -> Self {
        let settings = PoolSettings { engines: vec![ENGINE], addresses: vec![], door, seed: 1 };
        Self { pools: Pools::new(&[settings], Instant::START), agenda: vec![], entries: 0 }
    }

    fn put(&mut self, due: Vec<(Instant, Due)>) {
        for (at, what) in due {
            self.entries += 1;
            self.agenda.push((at, self.entries, what));
        }
    }

    fn send(&mut self, at_ms: u64, output: u32, stream: bool) -> FlightId {
        let ask = Ask {
            pool: PoolId(0),
            endpoint: 0,
            input: 10,
            output,
            stream,
            prefix: [].into(),
            call: self.entries as u64,
            no: 0,
        };
        let mut due = Vec::new();
        let sent = self.pools.send(ask, now(at_ms), &mut due).unwrap();
        self.put(due);
        sent
    }

    /// What is heard until then, with the millisecond.
    fn until(&mut self, end_ms: u64) -> Vec<(u64, FlightId, String)> {
        let mut told = Vec::new();
        loop {
            let next = self.agenda.iter().min().copied().filter(|(at, ..)| *at <= now(end_ms).mono);
            let Some(entry @ (at, _, what)) = next else { return told };
            self.agenda.retain(|e| *e != entry);
            let ms = at.as_nanos() / 1_000_000;
            let (mut due, mut heard) = (Vec::new(), Vec::new());
            self.pools.happen(what, now(ms), &mut due, &mut heard);
            self.put(due);
            told.extend(heard.into_iter().map(|(id, heard)| (ms, id, said(heard))));
        }
    }
}

fn now(ms: u64) -> Now {
    Now { mono: Instant::START + Duration::from_millis(ms), wall: Timestamp::from_millis(ms) }
}

fn said(heard: Heard) -> String {
    match heard {
        Heard::First { .. } => "first".to_owned(),
        Heard::More { total } => format!("{total} tokens"),
        Heard::End { .. } => "end".to_owned(),
        Heard::Failed(failure) => failure.kind.name().to_owned(),
    }
}

#[test]
fn an_answer_is_lost_when_contact_ends_and_not_when_it_would_have_been_whole() {
    let mut play = Play::new(reachable());
    let call = play.send(0, 100, true);
    let heard = play.until(3_000_000);
    // There after 0.5 s, and the first token a second later. The last that gets out is made at 9.5 s.
    let expected = [(2_000, "first"), (10_500, "9 tokens"), (10_500, "disconnected")];
    assert_eq!(heard, expected.map(|(at, what)| (at, call, what.to_owned())));
}

#[test]
fn answers_that_are_lost_together_are_lost_in_the_order_in_which_they_were_asked_for() {
    let mut play = Play::new(reachable());
    let short = play.send(0, 1, true);
    let first = play.send(1_000, 100, true);
    assert_eq!(play.until(3_000).len(), 3);
    let second = play.send(3_000, 100, true);
    assert_eq!(second, short, "the number is dealt again");
    let lost: Vec<_> = play.until(20_000).into_iter().filter(|(.., what)| what == "disconnected").collect();
    let lost: Vec<_> = lost.into_iter().map(|(at, id, _)| (at, id)).collect();
    assert_eq!(lost, [(10_500, first), (10_500, second)]);
}

#[test]
fn half_of_a_stream_is_truncated_and_half_of_a_whole_answer_is_a_lost_connection() {
    let mut play = Play::new(Door { truncate_rate: 1.0, truncate_after: 2, ..Door::default() });
    let (stream, whole) = (play.send(0, 10, true), play.send(1, 10, false));
    let heard = play.until(100_000);
    let ends: Vec<_> =
        heard.into_iter().filter(|(.., what)| !what.ends_with("tokens") && what != "first").collect();
    assert_eq!(ends, [(2_000, stream, "truncated".to_owned()), (2_001, whole, "disconnected".to_owned())]);
}
