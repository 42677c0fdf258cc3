//! Placements side by side: the mean time to the first token, which is what they are about.

use crate::sim::Tally;

/// A table of the runs, where they differ in placement; else nothing.
pub(super) fn table(runs: &[Tally]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for run in runs {
        if !names.contains(&run.policy.as_str()) {
            names.push(&run.policy);
        }
    }
    if !names.iter().any(|name| name.contains('+')) {
        return String::new();
    }
    let width = names.iter().map(|name| name.len()).max().unwrap_or(0).max(6);
    let mut text = format!(
        "\nFirst token of all answered calls, seconds\n{:<width$}    MEAN     P50     P99\n",
        "POLICY"
    );
    for name in names {
        let mut all: Vec<f32> = runs
            .iter()
            .filter(|run| run.policy == name)
            .flat_map(|run| &run.classes)
            .flat_map(|c| c.ttft_ms.clone())
            .collect();
        all.sort_unstable_by(f32::total_cmp);
        let mean = all.iter().map(|ms| f64::from(*ms)).sum::<f64>() / all.len().max(1) as f64;
        let rank = |q: f64| {
            let at = ((all.len() as f64 * q).ceil() as usize).max(1) - 1;
            all.get(at).map_or(f64::NAN, |ms| f64::from(*ms))
        };
        let s = |ms: f64| ms / 1e3;
        text.push_str(&format!(
            "{name:<width$} {:>7.3} {:>7.3} {:>7.3}\n",
            s(mean),
            s(rank(0.5)),
            s(rank(0.99))
        ));
    }
    text
}
