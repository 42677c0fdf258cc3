//! The presets against the public measurements: fitted anew, tried on cells that were left out of the fit, and compared
//! with docs/calibration.md, whose tables these tests print (`cargo test --lib calibration -- --nocapture`).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::*;

/// What docs/calibration.md promises of relative errors on cells left out of the fit.
const MEDIAN_MAX: f64 = 0.05;
const P95_MAX: f64 = 0.15;

/// Between 2048 and 4096 nothing was measured: a knee is at the one, or halfway to the other.
const KNEES: [u32; 2] = [2048, 3072];

/// Name of the preset, preset, model.
type Known = (&'static str, Settings, &'static str);

/// By hardware, since engines on the same hardware share a knee.
const MEASURED: [(&str, [Known; 2]); 2] = [
    (
        "a100-80gb",
        [("a100", Settings::A100, "llama2-70b"), ("a100-bloom", Settings::A100_BLOOM, "bloom-176b")],
    ),
    (
        "h100-80gb",
        [("h100", Settings::H100, "llama2-70b"), ("h100-bloom", Settings::H100_BLOOM, "bloom-176b")],
    ),
];

/// A prompt's length and a batch, with the median seconds of what was measured there, for answers of 128 tokens.
type Cells = BTreeMap<(u32, u32), f64>;

/// Of the repetitions of one cell: seconds of prefill, seconds a step.
type Times = (Vec<f64>, Vec<f64>);

#[derive(Clone, Debug)]
struct Table {
    prefill: Cells,
    step: Cells,
}

impl Table {
    fn read(text: &str, model: &str, hardware: &str, parallel: &str) -> Self {
        let mut times = BTreeMap::<(u32, u32), Times>::new();
        for line in text.lines().skip(1) {
            let f: Vec<&str> = line.split(',').collect();
            if (f[0], f[1], f[4], f[10]) == (model, hardware, "128", parallel) {
                let cell = times.entry((f[2].parse().unwrap(), f[3].parse().unwrap())).or_default();
                cell.0.push(f[7].parse::<f64>().unwrap() / 1e3);
                cell.1.push(f[8].parse::<f64>().unwrap() / 1e3);
            }
        }
        let medians = |of: fn(&Times) -> &Vec<f64>| -> Cells {
            times.iter().map(|(cell, t)| (*cell, quantile(of(t), 0.5))).collect()
        };
        Self { prefill: medians(|t| &t.0), step: medians(|t| &t.1) }
    }

    /// Prefill as the machine has it: a prompt at a time.
    fn prompts(&self) -> Vec<(u32, f64)> {
        self.prefill
            .iter()
            .filter(|((_, batch), _)| *batch == 1)
            .map(|((prompt, _), s)| (*prompt, *s))
            .collect()
    }

    fn batches(&self) -> Vec<((u32, u32), f64)> {
        self.step.iter().map(|(cell, s)| (*cell, *s)).collect()
    }
}

/// By the nearest rank: never smaller than an error that occurred.
fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((share * sorted.len() as f64).ceil() as usize).max(1) - 1]
}

fn sizes(errors: &[(u32, f64)]) -> Vec<f64> {
    errors.iter().map(|(_, e)| e.abs()).collect()
}

fn measurements() -> Option<String> {
    let Ok(shared) = std::env::var("GRIDTIE_SHARED") else {
        eprintln!("skipped: GRIDTIE_SHARED is not set, so there are no measurements to compare with");
        return None;
    };
    let path = format!("{shared}/traces/splitwise_perf_model.csv");
    Some(std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}")))
}

/// `base + each * x` with the least sum of squared relative errors.
fn line(points: &[(f64, f64)]) -> (f64, f64) {
    let sum = |of: fn(f64, f64) -> f64| points.iter().map(|(x, y)| of(*x, *y)).sum::<f64>();
    let (s, sx, sxx) = (sum(|_, y| 1.0 / (y * y)), sum(|x, y| x / (y * y)), sum(|x, y| x * x / (y * y)));
    let (sy, sxy) = (sum(|_, y| 1.0 / y), sum(|x, y| x / y));
    let det = s * sxx - sx * sx;
    ((sy * sxx - sxy * sx) / det, (s * sxy - sx * sy) / det)
}

fn squares(prompts: &[(u32, f64)], speed: &Speed) -> f64 {
    prompts.iter().map(|(n, s)| (speed.prefill_s(*n, *n) / s - 1.0).powi(2)).sum()
}

/// Tries every number of short prompts on the floor; the others make the line.
fn fit_prompts(prompts: &[(u32, f64)], knee: u32) -> Speed {
    let unit = Speed { prefill_token_s: 1.0, prefill_knee: knee, ..blank() };
    let fits = (0..=prompts.len() - 2).map(|on_floor| {
        let (short, long) = prompts.split_at(on_floor);
        let sum = |power| short.iter().map(|(_, s)| s.powi(power)).sum::<f64>();
        let points: Vec<_> = long.iter().map(|(n, s)| (unit.prefill_s(*n, *n), *s)).collect();
        let (base, each) = line(&points);
        let floor = if short.is_empty() { 0.0 } else { sum(-1) / sum(-2) };
        Speed { prefill_floor_s: floor, prefill_base_s: base, prefill_token_s: each, ..unit }
    });
    fits.min_by(|a, b| squares(prompts, a).total_cmp(&squares(prompts, b))).unwrap()
}

/// Both models of one hardware with the knee that suits them best together.
fn fit_hardware(prompts: &[Vec<(u32, f64)>; 2]) -> [Speed; 2] {
    let fits = KNEES.map(|knee| [fit_prompts(&prompts[0], knee), fit_prompts(&prompts[1], knee)]);
    let loss = |f: &[Speed; 2]| squares(&prompts[0], &f[0]) + squares(&prompts[1], &f[1]);
    fits.into_iter().min_by(|a, b| loss(a).total_cmp(&loss(b))).unwrap()
}

fn fit_steps(cells: &[((u32, u32), f64)]) -> Speed {
    let points: Vec<_> = cells.iter().map(|((_, batch), s)| (f64::from(*batch), *s)).collect();
    let (base, each) = line(&points);
    Speed { step_base_s: base, step_seq_s: each, ..blank() }
}

fn blank() -> Speed {
    Speed {
        prefill_floor_s: 0.0,
        prefill_base_s: 0.0,
        prefill_token_s: 0.0,
        prefill_knee: u32::MAX,
        step_base_s: 0.0,
        step_seq_s: 0.0,
        interference: 1.0,
    }
}

/// Relative errors at each prompt of model `of` with that prompt left out of everything that is fitted.
fn prompts_left_out(prompts: &[Vec<(u32, f64)>; 2], of: usize) -> Vec<(u32, f64)> {
    let error = |i: usize| {
        let (n, s) = prompts[of][i];
        let mut rest = prompts.clone();
        rest[of].remove(i);
        (n, fit_hardware(&rest)[of].prefill_s(n, n) / s - 1.0)
    };
    (0..prompts[of].len()).map(error).collect()
}

/// The same for steps: at each cell, as (batch, error).
fn steps_left_out(cells: &[((u32, u32), f64)]) -> Vec<(u32, f64)> {
    let error = |i: usize| {
        let ((_, batch), s) = cells[i];
        let mut rest = cells.to_vec();
        rest.remove(i);
        (batch, fit_steps(&rest).step_s(batch) / s - 1.0)
    };
    (0..cells.len()).map(error).collect()
}

/// For each preset: its name, settings, measurements, and errors of prefill and of steps on cells left out.
struct Tried {
    name: &'static str,
    speed: Speed,
    preset: Settings,
    table: Table,
    prefill: Vec<(u32, f64)>,
    step: Vec<(u32, f64)>,
    fitted: Speed,
    every_second: Vec<(u32, f64)>,
}

impl Tried {
    /// Without the ends of the measured range.
    fn inner_prefill(&self) -> Vec<f64> {
        self.prefill.iter().filter(|(n, _)| (129..8192).contains(n)).map(|(_, e)| e.abs()).collect()
    }

    fn inner_steps(&self) -> Vec<f64> {
        self.step.iter().filter(|(batch, _)| *batch < 64).map(|(_, e)| e.abs()).collect()
    }
}

fn tried(text: &str) -> Vec<Tried> {
    let mut all = Vec::new();
    for (hardware, presets) in MEASURED {
        let tables = presets.map(|(_, _, model)| Table::read(text, model, hardware, "8"));
        let prompts = [tables[0].prompts(), tables[1].prompts()];
        let (fitted, halves) =
            (fit_hardware(&prompts), prompts.clone().map(|p| p.into_iter().step_by(2).collect()));
        let halved = fit_hardware(&halves);
        for (i, (name, preset, _)) in presets.into_iter().enumerate() {
            let Settings::Batching(Batching { speed, .. }) = preset else { panic!("it looks inside") };
            let steps = fit_steps(&tables[i].batches());
            let fitted = Speed { step_base_s: steps.step_base_s, step_seq_s: steps.step_seq_s, ..fitted[i] };
            let others = prompts[i].iter().skip(1).step_by(2);
            let every_second = others.map(|(n, s)| (*n, halved[i].prefill_s(*n, *n) / s - 1.0)).collect();
            all.push(Tried {
                name,
                speed,
                preset,
                table: tables[i].clone(),
                prefill: prompts_left_out(&prompts, i),
                step: steps_left_out(&tables[i].batches()),
                fitted,
                every_second,
            });
        }
    }
    all
}

#[test]
fn the_presets_are_what_the_fit_gives() {
    let Some(text) = measurements() else { return };
    for t in tried(&text) {
        assert_eq!((t.table.prompts().len(), t.table.batches().len()), (7, 13), "{}", t.name);
        assert_eq!(t.speed.prefill_knee, t.fitted.prefill_knee, "{}", t.name);
        let numbers =
            |s: &Speed| [s.prefill_floor_s, s.prefill_base_s, s.prefill_token_s, s.step_base_s, s.step_seq_s];
        for (preset, fitted) in numbers(&t.speed).into_iter().zip(numbers(&t.fitted)) {
            assert!(
                (preset / fitted - 1.0).abs() < 1e-3,
                "{}: {preset} in the preset, {fitted} fitted",
                t.name
            );
        }
    }
}

/// Each cell is left out in turn. Inside the measured range every error counts by itself, and prefill and steps apart;
/// the ends of the range, where the model has to extrapolate, are counted in with all cells of a preset.
#[test]
fn cells_left_out_of_the_fit_are_within_5_percent_at_the_median_and_15_at_the_95th() {
    let Some(text) = measurements() else { return };
    for t in tried(&text) {
        let (inner, steps) = (t.inner_prefill(), t.inner_steps());
        assert_eq!((inner.len(), steps.len()), (5, 12), "{}", t.name);
        let everything = [sizes(&t.prefill), sizes(&t.step)].concat();
        for (what, errors) in [("prefill", inner), ("steps", steps), ("all cells", everything)] {
            let (median, p95) = (quantile(&errors, 0.5), quantile(&errors, 0.95));
            eprintln!("{} {what}: {} cells, median {median:.4}, p95 {p95:.4}", t.name, errors.len());
            assert!(median <= MEDIAN_MAX, "{} {what}: median {median}", t.name);
            assert!(p95 <= P95_MAX, "{} {what}: p95 {p95}", t.name);
        }
    }
}

/// Not the formula but the whole engine: prompts one by one, then a batch of them.
#[test]
fn the_machine_keeps_to_the_measurements() {
    let Some(text) = measurements() else { return };
    for t in tried(&text) {
        let mut errors = Vec::new();
        for ((prompt, batch), seconds) in t.table.batches() {
            let (ttft, tpot) = modelled(t.preset, prompt, batch);
            errors.push((tpot / seconds - 1.0).abs());
            if batch == 1 {
                errors.push((ttft / t.table.prefill[&(prompt, 1)] - 1.0).abs());
            }
        }
        assert!(quantile(&errors, 0.5) < 0.03 && quantile(&errors, 1.0) < 0.10, "{}: {errors:?}", t.name);
    }
}

/// What the machine itself does with a batch of such prompts: first token of the first, pace of the last.
fn modelled(preset: Settings, prompt: u32, batch: u32) -> (f64, f64) {
    let mut e = Engine::new(preset, Instant::START);
    // Long enough that the whole batch still decodes when its last prompt is done, short enough for the KV room.
    let ids: Vec<_> =
        (0..batch).map(|_| e.submit(Job { report_every: 1, ..job(prompt, 300) }, at(0.0))).collect();
    let events = drain(&mut e);
    let last = ids[ids.len() - 1].unwrap();
    let own: Vec<_> = events.iter().filter(|e| e.job == last).map(|e| e.at).collect();
    (first_of(&events, ids[0].unwrap()).unwrap().as_secs_f64(), own[2].secs_since(own[1]))
}

/// Errors on left-out prompts where the form of the model was not chosen: fewer accelerators, the knee of eight.
fn elsewhere(text: &str) -> String {
    let mut out = String::new();
    for (hardware, presets) in MEASURED {
        let Settings::Batching(Batching { speed, .. }) = presets[0].1 else { panic!("it looks inside") };
        for parallel in ["4", "2"] {
            let prompts = Table::read(text, "llama2-70b", hardware, parallel).prompts();
            let error = |i: usize| {
                let (n, s) = prompts[i];
                let mut rest = prompts.clone();
                rest.remove(i);
                percent(fit_prompts(&rest, speed.prefill_knee).prefill_s(n, n) / s - 1.0)
            };
            let errors: Vec<_> = (0..prompts.len()).map(error).collect();
            writeln!(out, "| {}, {parallel} in parallel | {} |", presets[0].0, errors.join(" | ")).unwrap();
        }
    }
    out
}

fn percent(e: f64) -> String {
    format!("{:+.1}", e * 100.0)
}

/// Median and largest error by kind, then over all cells of a preset.
fn summary(t: &Tried) -> String {
    let mut out = format!("| {} |", t.name);
    for errors in [t.inner_prefill(), t.inner_steps()] {
        write!(out, " {:.1} | {:.1} |", quantile(&errors, 0.5) * 1e2, quantile(&errors, 1.0) * 1e2).unwrap();
    }
    let all = [sizes(&t.prefill), sizes(&t.step)].concat();
    for share in [0.5, 0.95, 1.0] {
        write!(out, " {:.1} |", quantile(&all, share) * 1e2).unwrap();
    }
    out
}

/// The rows of docs/calibration.md that come from measurements.
fn rows(tried: &[Tried]) -> String {
    let mut out = String::new();
    for t in tried {
        let f = &t.speed;
        let ms = |s: f64| s * 1e3;
        writeln!(
            out,
            "| {} | {:.1} | {:.1} | {:.4} | {} | {:.1} | {:.3} |",
            t.name,
            ms(f.prefill_floor_s),
            ms(f.prefill_base_s),
            ms(f.prefill_token_s),
            f.prefill_knee,
            ms(f.step_base_s),
            ms(f.step_seq_s)
        )
        .unwrap();
    }
    for t in tried {
        for ((n, s), (_, out_error)) in t.table.prompts().into_iter().zip(&t.prefill) {
            let own = t.speed.prefill_s(n, n);
            let (measured, own_ms) = (s * 1e3, own * 1e3);
            let (e, left) = (percent(own / s - 1.0), percent(*out_error));
            writeln!(out, "| {} | {n} | {measured:.1} | {own_ms:.1} | {e} | {left} |", t.name).unwrap();
        }
        for (((n, batch), s), (_, out_error)) in t.table.batches().into_iter().zip(&t.step) {
            let own = t.speed.step_s(batch);
            let (measured, own_ms) = (s * 1e3, own * 1e3);
            let (e, left) = (percent(own / s - 1.0), percent(*out_error));
            writeln!(out, "| {} | {n} × {batch} | {measured:.1} | {own_ms:.1} | {e} | {left} |", t.name)
                .unwrap();
        }
        let halves: Vec<_> = t.every_second.iter().map(|(_, e)| percent(*e)).collect();
        writeln!(out, "| {} | {} |", t.name, halves.join(" | ")).unwrap();
        let batched = |of: &dyn Fn(u32) -> f64| {
            let cells = t.table.prefill.iter().filter(|((_, batch), _)| *batch > 1);
            cells.map(|((_, b), s)| percent(of(*b) / s - 1.0)).collect::<Vec<_>>().join(" | ")
        };
        let one_by_one = |b: u32| f64::from(b) * t.speed.prefill_s(512, 512);
        writeln!(out, "| {}, one by one | {} |", t.name, batched(&one_by_one)).unwrap();
        let at_once = |b: u32| t.speed.prefill_s(512 * b, 512 * b);
        writeln!(out, "| {}, as one prompt | {} |", t.name, batched(&at_once)).unwrap();
    }
    out
}

#[test]
fn the_document_says_what_was_calculated() {
    let Some(text) = measurements() else { return };
    let tried = tried(&text);
    let summaries: String = tried.iter().map(|t| summary(t) + "\n").collect();
    let rows = summaries + &rows(&tried) + &elsewhere(&text);
    eprintln!("{rows}");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/calibration.md");
    let document = std::fs::read_to_string(path).unwrap();
    for row in rows.lines() {
        assert!(document.lines().any(|line| line.trim() == row), "docs/calibration.md lacks: {row}");
    }
}
