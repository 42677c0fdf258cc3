use super::*;

/// Ten calls, one a second, in two conversations.
fn ten() -> Traffic {
    let rows = (0..10).map(|i| format!("{i},100,5,{},{}\n", i % 2, 1 + i % 3));
    read(&format!("at_s,input,output,session,client\n{}", rows.collect::<String>())).unwrap()
}

fn at(s: f64) -> Instant {
    Instant::from_secs_f64(s)
}

fn sessions(traffic: &Traffic) -> usize {
    Facts::of(traffic).sessions
}

#[test]
fn facts_count_what_is_there() {
    let facts = Facts::of(&ten());
    assert_eq!((facts.calls, facts.sessions), (10, 2));
    assert_eq!(facts.span, Duration::from_secs(10));
    close(facts.rate, 1.0, 1e-9);
    close(facts.gap_cv, 0.0, 1e-9);
    close(facts.shareable, 0.8, 1e-9);
    assert_eq!(facts.by_class.iter().sum::<usize>(), 10);
    let none = Facts::of(&Traffic::default());
    assert_eq!((none.calls, none.rate, none.peak_minute), (0, 0.0, 1.0));
}

#[test]
fn sizes_are_told_by_nearest_rank() {
    let rows: String = (1..=100).map(|i| format!("{i},{i},7\n")).collect();
    let facts = Facts::of(&read(&format!("at_s,input,output\n{rows}")).unwrap());
    assert_eq!(facts.input, Sizes { mean: 50.5, median: 50, p99: 99 });
}

#[test]
fn a_window_begins_at_its_start_and_ends_before_its_end() {
    let part = ten().window(at(2.5), at(6.0));
    assert_eq!(secs(&part), [0.5, 1.5, 2.5]);
    assert!(ten().window(at(20.0), at(30.0)).arrivals.is_empty());
    assert!(ten().window(at(6.0), at(2.0)).arrivals.is_empty());
}

#[test]
fn the_peak_is_where_most_calls_come() {
    let t = read("at_s,input,output\n0,1,1\n5,1,1\n6,1,1\n7,1,1\n20,1,1\n21,1,1\n").unwrap();
    assert_eq!(t.peak(Duration::from_secs(3)), at(5.0));
    assert_eq!(t.peak(Duration::ZERO), Instant::START);
}

#[test]
fn parts_of_a_sum_are_strangers() {
    let both = Traffic::superpose(&[ten(), ten()]);
    assert_eq!(both.arrivals.len(), 20);
    assert_eq!(sessions(&both), 4);
    close(Facts::of(&both).shareable, 0.8, 1e-9);
    let clients: std::collections::BTreeSet<_> = both.arrivals.iter().map(|a| a.client).collect();
    assert_eq!(clients.into_iter().collect::<Vec<_>>(), [1, 2, 3, 5, 6, 7]);
    assert!(both.arrivals.is_sorted_by_key(|a| a.at));
}

#[test]
fn a_multiple_keeps_length_sizes_and_sharing() {
    let five = ten().scaled(5.0, Duration::from_secs(3), 1);
    assert_eq!(five.arrivals.len(), 50);
    assert!(five.arrivals.last().unwrap().at < at(10.0));
    assert!(five.arrivals.is_sorted_by_key(|a| a.at));
    assert!(sessions(&five) >= 10);
    assert_eq!(ten().scaled(1.0, Duration::from_secs(3), 1), ten(), "once is the original");
    assert_eq!(ten().scaled(5.0, Duration::from_secs(3), 1), five, "and it is the same each time");
    assert_ne!(ten().scaled(5.0, Duration::from_secs(3), 2), five);
    assert!(ten().scaled(0.0, Duration::from_secs(3), 1).arrivals.is_empty());
    assert_eq!(ten().scaled(f64::NAN, Duration::from_secs(3), 1), ten());
}

#[test]
fn a_fraction_takes_whole_conversations() {
    let many: String = (0..4000).map(|i| format!("{i},10,1,{}\n", i / 4)).collect();
    let half = read(&format!("at_s,input,output,session\n{many}")).unwrap().scaled(0.5, reshape::SHIFT, 1);
    close(half.arrivals.len() as f64, 2000.0, 200.0);
    assert_eq!(half.arrivals.len(), 4 * sessions(&half));
}

#[test]
fn a_surge_is_within_its_time_and_nowhere_else() {
    let rows: String = (0..6000).map(|i| format!("{}.5,10,1\n", i)).collect();
    let calm = read(&format!("at_s,input,output\n{rows}")).unwrap();
    let t = calm.surge(at(600.0), Duration::from_secs(300), 17.0, 3);
    let count = |t: &Traffic, from, to| t.window(at(from), at(to)).arrivals.len();
    assert_eq!(count(&t, 0.0, 600.0), 600);
    assert_eq!(count(&t, 600.0, 900.0), 17 * 300);
    assert_eq!(count(&t, 900.0, 6000.0), 5100);
    assert!(t.arrivals.is_sorted_by_key(|a| a.at));
    let late = calm.surge(at(5900.0), Duration::from_secs(1000), 17.0, 3);
    assert_eq!(count(&late, 5900.0, 9000.0), 17 * 100);
    assert!(late.arrivals.is_sorted_by_key(|a| a.at));
    assert!(late.arrivals.last().unwrap().at <= at(6001.0));
}

#[test]
fn a_repetition_is_other_conversations_at_the_same_pace() {
    let t = ten().repeated(Duration::from_secs(25));
    assert_eq!(t.arrivals.len(), 25);
    assert_eq!(sessions(&t), 6);
    assert_eq!(secs(&t)[24], 24.0);
}

#[test]
fn a_shape_gives_each_step_its_share_of_the_calls() {
    let profile = Profile::new(Duration::from_secs(600), vec![1.0, 0.0, 3.0]).unwrap();
    let rows: String = (0..4000).map(|i| format!("{i},10,1\n")).collect();
    let t = read(&format!("at_s,input,output\n{rows}")).unwrap();
    let shaped = t.shaped_by(&profile, Duration::from_secs(300));
    let count = |from, to| shaped.window(at(from), at(to)).arrivals.len();
    assert_eq!((count(0.0, 100.0), count(100.0, 200.0), count(200.0, 300.0)), (1000, 0, 3000));
    assert!(shaped.arrivals.is_sorted_by_key(|a| a.at));
}

#[test]
fn a_profile_is_a_column_of_even_steps() {
    let text = "t_s,small,large\n0,1,10\n600,2,20.5\n1200,3,30\n";
    let profile = Profile::read("r.csv", text, "large").unwrap();
    assert_eq!(profile, Profile::new(Duration::from_secs(600), vec![10.0, 20.5, 30.0]).unwrap());
    assert_eq!(profile.span(), Duration::from_secs(1800));
    close(profile.mean(), 20.1667, 1e-4);
    assert!(Profile::read("r.csv", "t_s,a\n600,1\n1200,2\n1800,1\n", "a").is_ok(), "it need not begin at 0");
    for (text, want) in [
        ("a,b\n", "r.csv:1: no column t_s"),
        ("t_s,b\n0,1\n", "r.csv:1: no column is called `large`; columns are b"),
        ("t_s,large\n0,1\n600,x\n", "r.csv:3: no time and rate in `600,x`"),
        ("t_s,large\n0,1\n600,2\n1500,2\n", "r.csv:4: t_s is 1500 where 1200 belongs"),
        ("t_s,large\n0,1\n0,2\n", "r.csv:3:"),
        ("t_s,large\n0,1\n", "r.csv: not a profile"),
        ("t_s,large\n0,0\n1,0\n", "r.csv: not a profile"),
        ("t_s,large\n0,1\n1e300,1\n", "r.csv: not a profile"),
    ] {
        let said = Profile::read("r.csv", text, "large").unwrap_err().to_string();
        assert!(said.contains(want), "{said}");
    }
}

/// Experiment E2: a bursty trace and Azure's conversations at once, in the rhythm of a ServeGen day.
#[test]
fn bursts_survive_the_rhythm_of_a_day() {
    let Some(conv) = shared(AZURE) else { return };
    let Some(rates) = shared_text("servegen_language_rates_14d_10min.csv") else { return };
    let profile = Profile::read("rates", &rates, "m_large_rps").unwrap();
    assert_eq!(profile.span(), Duration::from_secs(14 * 86_400));
    close(profile.mean(), 196.0, 1.0);
    let day = profile.day(1).unwrap();
    assert_eq!(profile.day(14), None);
    let code = described("hours = 0.95\n[[bursty]]\nper_s = 2.57\n", 1).unwrap();
    let both = Traffic::superpose(&[conv.clone(), code.clone()]);
    let hour = Duration::from_secs(3600);
    let shaped = both.shaped_by(&day, hour);
    assert_eq!(shaped.arrivals.len(), conv.arrivals.len() + code.arrivals.len());
    assert!(shaped.arrivals.is_sorted_by_key(|a| a.at));
    // The busier half of the day's steps has the share of the calls that it has of the profile, but for the bursts.
    let mut by_rate: Vec<usize> = (0..day.rates().len()).collect();
    by_rate.sort_by(|a, b| day.rates()[*b].total_cmp(&day.rates()[*a]));
    let step = hour.as_secs_f64() / by_rate.len() as f64;
    let calls =
        |i: usize| shaped.window(at(i as f64 * step), at((i + 1) as f64 * step)).arrivals.len() as f64;
    let busier = &by_rate[..by_rate.len() / 2];
    let want = busier.iter().map(|i| day.rates()[*i]).sum::<f64>() / (day.mean() * by_rate.len() as f64);
    let found = busier.iter().map(|i| calls(*i)).sum::<f64>() / shaped.arrivals.len() as f64;
    assert!(want > 0.6, "a day has a rhythm: {want}");
    close(found, want, 0.03);
    let (before, after) = (Facts::of(&both), Facts::of(&shaped));
    assert!(before.gap_cv > 1.3 && after.gap_cv > 0.95 * before.gap_cv, "{before:?}\n{after:?}");
    let six = shaped.scaled(6.0, reshape::SHIFT, 1);
    close(Facts::of(&six).peak_minute, after.peak_minute, 0.35 * after.peak_minute);
}

#[test]
fn six_hours_round_the_peak_of_a_day_are_busier_than_the_day() {
    let Some(day) = shared(SERVEGEN) else { return };
    let hours = Duration::from_secs(6 * 3600);
    let part = day.around_peak(hours);
    let (all, part) = (Facts::of(&day), Facts::of(&part));
    close(part.span.as_secs_f64(), hours.as_secs_f64(), 5.0);
    assert!(part.rate > 1.1 * all.rate, "{part:?} {all:?}");
}
