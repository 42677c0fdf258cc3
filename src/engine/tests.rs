use proptest::prelude::*;

use super::*;
use crate::domain::{ContactWindow, Duration, Grants, Lease, Timestamp};

mod calibration;

fn at(secs: f64) -> Instant {
    Instant::from_secs_f64(secs)
}

fn job(input: u32, output: u32) -> Job {
    Job { input, output, sequences: 1, report_every: 0, prefix: Arc::from([]), seed: 7 }
}

fn in_session(input: u32, output: u32, session: u64) -> Job {
    Job { prefix: Arc::from([Block { hash: session, tokens: input }]), ..job(input, output) }
}

/// Round numbers, to be checked in the head: 1 s and 10 ms a token to prefill, steps of 0.1 s and 0.1 s a sequence.
fn round() -> Batching {
    Batching {
        speed: Speed {
            prefill_floor_s: 0.0,
            prefill_base_s: 1.0,
            prefill_token_s: 0.01,
            prefill_knee: u32::MAX,
            step_base_s: 0.1,
            step_seq_s: 0.1,
            interference: 2.0,
        },
        max_batch: 4,
        kv_tokens: 10_000,
        queue: 3,
        prefix_cache: true,
        power: Power { idle_w: 1.0, decode_w: 10.0, prefill_w: 100.0 },
    }
}

fn engine(settings: Batching) -> Engine {
    Engine::new(Settings::Batching(settings), Instant::START)
}

/// Runs to the end, event by event, as a simulator does.
fn drain(engine: &mut Engine) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some(next) = engine.next_event() {
        engine.advance(next, &mut events);
    }
    events
}

fn finish_of(events: &[Event], id: JobId) -> Option<Instant> {
    events.iter().find(|e| e.job == id && matches!(e.what, What::Finished { .. })).map(|e| e.at)
}

fn first_of(events: &[Event], id: JobId) -> Option<Instant> {
    events.iter().find(|e| e.job == id && matches!(e.what, What::FirstToken { .. })).map(|e| e.at)
}

fn near(a: Option<Instant>, secs: f64) {
    let a = a.expect("it happened").as_secs_f64();
    assert!((a - secs).abs() < 1e-6, "{a} s instead of {secs} s");
}

#[test]
fn a_job_alone_takes_its_prefill_and_its_steps() {
    let mut e = engine(round());
    let id = e.submit(job(100, 11), at(5.0)).unwrap();
    let events = drain(&mut e);
    near(first_of(&events, id), 7.0);
    near(finish_of(&events, id), 9.0);
    assert_eq!(events.len(), 2);
}

#[test]
fn prompts_wait_for_each_other_and_slow_down_those_who_decode() {
    let mut e = engine(round());
    let a = e.submit(job(100, 11), at(0.0)).unwrap();
    let b = e.submit(job(100, 2), at(0.0)).unwrap();
    let events = drain(&mut e);
    near(first_of(&events, a), 2.0);
    near(first_of(&events, b), 4.0);
    // While b is prefilled a's steps take 0.4 s: five of its ten. Then b's one step with two in the batch takes 0.3 s,
    // and a's remaining four take 0.2 s each.
    near(finish_of(&events, b), 4.3);
    near(finish_of(&events, a), 5.1);
}

#[test]
fn a_full_queue_turns_the_next_job_away_and_a_giant_never_fits() {
    let mut e = engine(round());
    for _ in 0..4 {
        e.submit(job(10, 10), at(0.0)).unwrap();
    }
    assert_eq!(e.submit(job(10, 10), at(0.0)), Err(Rejected::QueueFull));
    assert_eq!(e.submit(job(9_000, 1_001), at(0.0)), Err(Rejected::NeverFits));
    assert_eq!(e.submit(Job { sequences: 5, ..job(1, 2) }, at(0.0)), Err(Rejected::NeverFits));
    assert_eq!(e.load().waiting, 3);
    assert!(e.submit(job(10, 10), at(2.0)).is_ok(), "one moved up when the first prompt was done");
}

#[test]
fn admission_waits_for_kv_room_and_nobody_overtakes() {
    let mut e = engine(round());
    let big = e.submit(job(9_000, 900), at(0.0)).unwrap();
    let too_big_now = e.submit(job(5_000, 2), at(0.0)).unwrap();
    let small = e.submit(job(10, 2), at(0.0)).unwrap();
    let events = drain(&mut e);
    let freed = finish_of(&events, big).unwrap();
    assert!(first_of(&events, too_big_now).unwrap() > freed);
    assert!(first_of(&events, small).unwrap() > first_of(&events, too_big_now).unwrap());
    assert_eq!(e.load(), Load { kv_tokens: 10_000, ..Load::default() });
}

#[test]
fn a_cancelled_job_frees_its_lane_its_room_and_its_place_in_line() {
    let mut e = engine(round());
    let first = e.submit(job(100, 10), at(0.0)).unwrap();
    let second = e.submit(job(100, 10), at(0.0)).unwrap();
    let third = e.submit(job(100, 1), at(0.0)).unwrap();
    assert!(e.cancel(second, at(0.5)));
    assert!(e.cancel(first, at(1.0)));
    assert!(!e.cancel(first, at(1.0)), "only once");
    let events = drain(&mut e);
    near(finish_of(&events, third), 3.0);
    assert!(events.iter().all(|e| e.job == third));
    assert_eq!(e.load().kv_used, 0);
}

#[test]
fn the_second_turn_of_a_session_prefills_only_what_is_new() {
    let mut e = engine(round());
    e.submit(in_session(100, 1, 9), at(0.0)).unwrap();
    let second = e.submit(in_session(150, 1, 9), at(10.0)).unwrap();
    let events = drain(&mut e);
    near(finish_of(&events, second), 11.5);
    assert!(events.contains(&Event {
        at: finish_of(&events, second).unwrap(),
        job: second,
        what: What::Finished { cached: 100 }
    }));
}

#[test]
fn the_last_token_of_a_prompt_is_always_computed() {
    let mut e = engine(round());
    e.submit(in_session(100, 1, 9), at(0.0)).unwrap();
    let again = e.submit(in_session(100, 1, 9), at(10.0)).unwrap();
    near(finish_of(&drain(&mut e), again), 11.01);
}

#[test]
fn prefixes_make_room_for_jobs_least_recently_used_first() {
    let mut e = engine(round());
    e.submit(in_session(3_000, 1, 1), at(0.0)).unwrap();
    e.submit(in_session(3_000, 1, 2), at(100.0)).unwrap();
    e.submit(in_session(3_000, 1, 1), at(200.0)).unwrap();
    drain(&mut e);
    assert_eq!(e.load().kv_cached, 6_000);
    e.submit(job(5_000, 1), at(300.0)).unwrap();
    drain(&mut e);
    assert_eq!(e.load().kv_cached, 3_000);
    let kept = e.submit(in_session(3_000, 1, 1), at(400.0)).unwrap();
    near(finish_of(&drain(&mut e), kept), 401.01);
}

#[test]
fn a_chain_of_blocks_is_cached_up_to_the_first_block_that_differs() {
    let chain = |hashes: [u64; 3]| Job {
        prefix: hashes.map(|hash| Block { hash, tokens: 100 }).into_iter().collect(),
        ..job(300, 1)
    };
    let mut e = engine(round());
    e.submit(chain([1, 2, 3]), at(0.0)).unwrap();
    let fork = e.submit(chain([1, 2, 4]), at(10.0)).unwrap();
    near(finish_of(&drain(&mut e), fork), 12.0);
}

#[test]
fn an_embedding_ends_with_its_prefill() {
    let mut e = engine(round());
    let id = e.submit(job(50, 0), at(0.0)).unwrap();
    let events = drain(&mut e);
    assert_eq!(events, [Event { at: at(1.5), job: id, what: What::Finished { cached: 0 } }]);
}

#[test]
fn energy_adds_up_prefill_decode_and_idle() {
    let mut e = engine(round());
    e.submit(job(100, 6), at(1.0)).unwrap();
    drain(&mut e);
    // 1 s idle, 2 s prefill, 5 steps of 0.2 s, 1 s idle.
    let joules = e.energy_j(at(5.0));
    assert!((joules - 212.0).abs() < 1e-3, "{joules}");
}

#[test]
fn a_brownout_stretches_what_comes_after_it() {
    let mut e = engine(round());
    e.slow_down(4.0, at(0.0));
    let id = e.submit(job(100, 6), at(0.0)).unwrap();
    let mut events = Vec::new();
    e.advance(at(8.0), &mut events);
    near(first_of(&events, id), 8.0);
    e.slow_down(1.0, at(8.0));
    near(finish_of(&drain(&mut e), id), 9.0);
}

#[test]
fn long_prompts_cost_no_less_per_token_and_not_their_square() {
    let Settings::Batching(h100) = Settings::H100 else { panic!("it looks inside") };
    let s = h100.speed;
    assert!(s.prefill_s(100_000, 100_000) < 14.0 * s.prefill_s(8_192, 8_192));
    let mut before = 0.0;
    for n in (0..200_000).step_by(1_000) {
        let now = s.prefill_s(n, n);
        assert!(now > before);
        before = now;
    }
}

#[test]
fn an_opaque_provider_draws_its_first_token_and_keeps_its_pace() {
    let settings = Opaque { ttft_sigma: 0.0, prefill_token_s: 0.0, max_jobs: 2, ..cloud() };
    let mut e = Engine::new(Settings::Opaque(settings), Instant::START);
    let a = e.submit(Job { report_every: 1, ..job(10, 3) }, at(0.0)).unwrap();
    let b = e.submit(job(10, 3), at(0.0)).unwrap();
    assert_eq!(e.submit(job(1, 1), at(0.0)), Err(Rejected::QueueFull));
    let events = drain(&mut e);
    near(first_of(&events, a), 0.4);
    near(finish_of(&events, b), 0.425);
    let totals: Vec<_> = events.iter().filter(|e| e.job == a).map(|e| e.what).collect();
    assert_eq!(
        totals,
        [What::FirstToken { cached: 0 }, What::Tokens { total: 2 }, What::Finished { cached: 0 }]
    );
}

fn cloud() -> Opaque {
    let Settings::Opaque(o) = Settings::CLOUD else { panic!("it is seen from outside") };
    o
}

#[test]
fn the_median_and_the_spread_of_a_log_normal_are_the_ones_asked_for() {
    let mut draws: Vec<f64> = (0..10_000).map(|i| draw::log_normal(i, 0.4, 0.5)).collect();
    draws.sort_by(f64::total_cmp);
    assert!((draws[5_000] / 0.4 - 1.0).abs() < 0.03, "{}", draws[5_000]);
    assert!(((draws[8_413] / 0.4).ln() - 0.5).abs() < 0.03, "{}", draws[8_413]);
}

mod gate {
    use super::*;

    fn now(secs: u64) -> crate::domain::Now {
        crate::domain::Now { mono: at(secs as f64), wall: Timestamp::from_millis(secs * 1_000) }
    }

    #[test]
    fn a_lease_opens_the_gate_and_its_end_breaks_answers_off() {
        let lease = Lease {
            from: Some(Timestamp::from_millis(100_000)),
            until: Some(Timestamp::from_millis(200_000)),
        };
        let mut gate = Gate::new(Door { lease: Some(lease), ..Door::default() });
        let early = Turned::Unreachable { opens_in: Some(Duration::from_secs(10)) };
        assert_eq!(gate.knock(now(90), 0, 1), Err(early));
        assert_eq!(gate.knock(now(150), 0, 1).unwrap().contact_ends, Some(at(200.0)));
        assert_eq!(gate.knock(now(200), 0, 1), Err(Turned::Unreachable { opens_in: None }));
        assert!(!gate.reachable(now(200)) && gate.reachable(now(199)));
    }

    #[test]
    fn a_rate_limit_says_when_to_come_back_and_keeps_its_word() {
        let mut gate = Gate::new(Door {
            grants: Grants { requests_per_minute: Some(60), ..Grants::default() },
            ..Door::default()
        });
        for _ in 0..10 {
            assert!(gate.knock(now(100), 0, 100).is_ok());
        }
        let Err(Turned::RateLimited { retry_after }) = gate.knock(now(100), 0, 100) else {
            panic!("ten seconds' worth is all")
        };
        assert_eq!(retry_after, Duration::from_secs(1));
        assert!(gate.knock(now(101), 0, 100).is_ok());
        assert!(gate.knock(now(101), 0, 100).is_err());
    }

    #[test]
    fn outside_of_contact_there_is_no_way_in() {
        let contact = ContactWindow {
            period: Duration::from_secs(100),
            length: Duration::from_secs(40),
            anchor: Timestamp::from_millis(0),
        };
        let mut gate = Gate::new(Door { contact: Some(contact), ..Door::default() });
        let inside = gate.knock(now(10), 0, 100).unwrap();
        assert_eq!(inside.contact_ends, Some(at(40.0)));
        let outside = gate.knock(now(60), 0, 100);
        assert_eq!(outside, Err(Turned::Unreachable { opens_in: Some(Duration::from_secs(40)) }));
    }

    #[test]
    fn faults_come_at_their_rate_and_by_the_seed() {
        let door = Door { error_rate: 0.2, truncate_rate: 0.25, ..Door::default() };
        let run = || {
            let mut gate = Gate::new(door.clone());
            (0..10_000).map(|seed| gate.knock(now(0), seed, 100)).collect::<Vec<_>>()
        };
        let outcomes = run();
        assert_eq!(outcomes, run());
        let errors = outcomes.iter().filter(|o| **o == Err(Turned::Error { status: 500 })).count();
        let cuts = outcomes.iter().flatten().filter(|p| p.breaks == Some(Break::Truncate(20))).count();
        assert!((1_850..2_150).contains(&errors), "{errors}");
        assert!((1_850..2_150).contains(&cuts), "{cuts}");
    }
}

/// Something a driver does at a moment.
#[derive(Clone, Debug)]
enum Step {
    Submit(Job),
    /// The how-manieth submission so far, wrapped around.
    Cancel(usize),
    Look,
}

fn some_job() -> impl Strategy<Value = Job> {
    (1u32..3_000, 0u32..60, 1u32..4, 0u32..5, prop::option::of(0u64..4)).prop_map(
        |(input, output, sequences, report_every, session)| Job {
            input,
            output,
            sequences,
            report_every,
            prefix: session.map(|hash| Block { hash, tokens: input }).into_iter().collect(),
            seed: u64::from(input),
        },
    )
}

fn some_script() -> impl Strategy<Value = Vec<(u64, Step)>> {
    let step = prop_oneof![
        4 => some_job().prop_map(Step::Submit),
        1 => (0usize..40).prop_map(Step::Cancel),
        1 => Just(Step::Look),
    ];
    prop::collection::vec((0u64..4_000_000_000, step), 1..40)
}

struct Run {
    submitted: Vec<(JobId, Job)>,
    cancelled: Vec<JobId>,
    events: Vec<Event>,
}

fn play(settings: Settings, script: &[(u64, Step)], look: bool) -> Run {
    let mut e = Engine::new(settings, Instant::START);
    let mut run = Run { submitted: Vec::new(), cancelled: Vec::new(), events: Vec::new() };
    let mut now = Instant::START;
    for (gap, step) in script {
        now = now + Duration::from_nanos(*gap);
        match step {
            Step::Submit(job) => {
                if let Ok(id) = e.submit(job.clone(), now) {
                    run.submitted.push((id, job.clone()));
                }
            }
            Step::Cancel(which) => {
                if let Some((id, _)) = run.submitted.get(*which)
                    && e.cancel(*id, now)
                {
                    run.cancelled.push(*id);
                }
            }
            Step::Look if look => e.advance(now, &mut run.events),
            Step::Look => {}
        }
    }
    run.events.extend(drain(&mut e));
    assert_eq!(e.load().running + e.load().waiting + e.load().decoding, 0);
    assert_eq!(e.load().kv_used, 0);
    run
}

fn some_settings() -> impl Strategy<Value = Settings> {
    prop_oneof![Just(Settings::Batching(round())), Just(Settings::H100), Just(Settings::CLOUD)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_job_ends_once_with_the_tokens_it_asked_for(settings in some_settings(), script in some_script()) {
        let run = play(settings, &script, true);
        for (id, job) in &run.submitted {
            let own: Vec<_> = run.events.iter().filter(|e| e.job == *id).collect();
            let finished = own.iter().filter(|e| matches!(e.what, What::Finished { .. })).count();
            let cancelled = run.cancelled.contains(id);
            prop_assert_eq!(finished, usize::from(!cancelled));
            let mut total = 0;
            for event in &own {
                match event.what {
                    What::FirstToken { .. } => { prop_assert_eq!(total, 0); total = 1; }
                    What::Tokens { total: t } => { prop_assert!(t > total && t < job.output); total = t; }
                    What::Finished { cached } => { prop_assert!(cached < job.input); total = job.output; }
                }
            }
            prop_assert!(cancelled || total == job.output);
        }
    }

    #[test]
    fn events_come_in_the_order_of_time(settings in some_settings(), script in some_script()) {
        let run = play(settings, &script, false);
        prop_assert!(run.events.is_sorted_by_key(|e| e.at));
    }

    #[test]
    fn the_same_jobs_give_the_same_events_however_often_one_looks(
        settings in some_settings(), script in some_script()
    ) {
        let (often, once) = (play(settings, &script, true), play(settings, &script, false));
        prop_assert_eq!(&often.cancelled, &once.cancelled);
        // Of a cancelled job one hears what one asked for in time.
        let kept = |run: Run| run.events.into_iter().filter(|e| !run.cancelled.contains(&e.job)).collect::<Vec<_>>();
        prop_assert_eq!(kept(often), kept(once));
    }

    /// Only without shared prefixes, which do make later jobs faster, and only for jobs that were there before: the
    /// line is first in, first out, so what comes later can slow them but not move them.
    #[test]
    fn a_job_that_comes_later_never_makes_an_earlier_one_faster(
        jobs in prop::collection::vec((0u64..2_000_000_000, some_job()), 2..12)
    ) {
        let jobs: Vec<_> = jobs.into_iter().map(|(gap, j)| (gap, Step::Submit(Job { prefix: Arc::from([]), ..j }))).collect();
        let settings = Settings::Batching(Batching { queue: 100, ..round() });
        let all = play(settings, &jobs, false);
        let fewer = play(settings, &jobs[..jobs.len() - 1], false);
        for (id, _) in &fewer.submitted {
            let (with, without) = (finish_of(&all.events, *id).unwrap(), finish_of(&fewer.events, *id).unwrap());
            // Each change of the batch rounds times to nanoseconds; a microsecond is far above the sum of it.
            let with = with + Duration::from_micros(1);
            prop_assert!(with >= without, "{id:?}: {} then {}", without.as_nanos(), with.as_nanos());
        }
    }
}
