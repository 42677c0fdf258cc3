//! No policy beats the certified bound, in worlds drawn at random. Providers are never late by chance here: a bound is one
//! of what is expected, and a single run may be luckier than that.

use super::*;
use crate::engine::draw::{below, mix, unit};

/// Pools and classes, drawn from a seed.
fn world(seed: u64) -> String {
    let of = |what: u64, choices: &[&str]| choices[below(mix(seed, what), choices.len())].to_owned();
    let engine = of(1, &["h100", "a100", "a100-bloom"]);
    let (first, finish) = (of(2, &["400ms", "1s", "3s"]), of(3, &["20s", "60s", "300s"]));
    let (delay, cheap, dear) = (of(4, &["0ms", "40ms"]), of(5, &["30", "120"]), of(6, &["60", "600"]));
    let price = 0.2 + 3.0 * unit(mix(seed, 7));
    format!(
        r#"
[listen]
grpc = "127.0.0.1:50051"
http = "127.0.0.1:8080"
admin = "127.0.0.1:9901"
[routing]
default_class = "interactive"
[[class]]
name = "interactive"
first_token = "{first}"
miss_usd = 0.010
deadline = "300s"
[[class]]
name = "background"
finish = "{finish}"
miss_usd = 0.005
deadline = "600s"
may_wait = true
[[model]]
name = "chat"
[[pool]]
name = "own"
tenure = "owned"
kind = "simulated"
door = {{ delay = "{delay}" }}
  [[pool.engine]]
  preset = "{engine}"
  count = 2
  [[pool.offer]]
  model = "chat"
[[pool]]
name = "cheap"
tenure = "metered"
kind = "simulated"
grants = {{ requests_per_minute = {cheap} }}
  [[pool.engine]]
  preset = "cloud"
  first_token = "600ms"
  spread = 0.0
  [[pool.offer]]
  model = "chat"
  input = {price:.2}
  output = 2.40
[[pool]]
name = "dear"
tenure = "metered"
kind = "simulated"
grants = {{ requests_per_minute = {dear}, tokens_per_minute = 200_000 }}
  [[pool.engine]]
  preset = "cloud"
  first_token = "300ms"
  spread = 0.0
  [[pool.offer]]
  model = "chat"
  input = 4.20
  output = 8.80
[simulate]
mix = {{ interactive = 0.7, background = 0.3 }}
load = 1.0
"#
    )
}

/// Bursts of single calls, and conversations with prefixes.
fn workload(seed: u64) -> String {
    let (rate, peak) = (1.0 + 4.0 * unit(mix(seed, 11)), 2.0 + 8.0 * unit(mix(seed, 12)));
    format!(
        "name = \"bursts\"\nhours = 0.05\n[[bursty]]\nper_s = {rate:.2}\ncv = 6\npeak = {peak:.1}\n\
         input = {{ mean = 900, sigma = 0.8 }}\noutput = {{ mean = 60, sigma = 0.8 }}\n[[chat]]\nper_s = 0.2\n"
    )
}

#[test]
fn no_policy_beats_the_bound_in_worlds_drawn_at_random() {
    let folder = Folder::new("bounds");
    for seed in 0..6 {
        let config = folder.file("world.toml", &world(seed));
        let trace = folder.file("bursts.toml", &workload(seed));
        let line = ["--config", &config, "--trace", &trace, "--policy", "all", "--seed", "1,2", "--no-tune"];
        let report = played(&line).report;
        assert_eq!(report.bounds.len(), 2);
        for run in &report.runs {
            let bound = report.bounds.iter().find(|bound| bound.seed == run.seed).unwrap();
            let (j, least) = (run.j(), bound.j.unwrap());
            assert!(least <= j + 1e-9, "{seed}: {} has J {j}, the bound is {least}", run.policy);
            assert!(run.attainment() <= bound.goodput.unwrap() + 1e-9, "{seed}: {}", run.policy);
            for (class, most) in run.classes.iter().zip(&bound.goodput_by_class) {
                assert!(class.attainment() <= most + 1e-9, "{seed}: {}", run.policy);
            }
        }
    }
}
