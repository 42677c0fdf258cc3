//! Beside the rules: small texts, and the public traces where `GRIDTIE_SHARED` points.

mod describing;
mod reading;
mod reshaping;

use super::*;
use crate::domain::catalog::{Catalog, Class, Model};
use crate::domain::{AskKind, Duration};

/// Three classes and two models.
fn catalog() -> Catalog {
    let class = |name: &str| Class {
        name: name.into(),
        deadline: Duration::from_secs(600),
        ..crate::domain::plain::class()
    };
    let model =
        |name: &str| Model { name: name.into(), aliases: vec![], kind: AskKind::Chat, offers: vec![] };
    Catalog {
        classes: vec![class("interactive"), class("agent"), class("background")],
        models: vec![model("large"), model("small")],
        ..Catalog::default()
    }
}

fn read(text: &str) -> Result<Traffic, BadTraffic> {
    let catalog = catalog();
    let mix = Mix::of(&catalog);
    Traffic::read("t.csv", text, &ReadOptions { catalog: &catalog, model: ModelId(1), mix: &mix, seed: 7 })
}

fn described(text: &str, seed: u64) -> Result<Traffic, BadTraffic> {
    let catalog = catalog();
    let mix = Mix::of(&catalog);
    let options = ReadOptions { catalog: &catalog, model: ModelId(1), mix: &mix, seed };
    Described::read("w.toml", text)?.traffic(&options)
}

/// A file of `$GRIDTIE_SHARED/traces`.
fn shared_text(file: &str) -> Option<String> {
    let Ok(shared) = std::env::var("GRIDTIE_SHARED") else {
        eprintln!("skipped: GRIDTIE_SHARED is not set, so there is no {file}");
        return None;
    };
    let path = format!("{shared}/traces/{file}");
    Some(std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}")))
}

fn shared(file: &str) -> Option<Traffic> {
    shared_text(file).map(|text| read(&text).unwrap())
}

const AZURE: &str = "AzureLLMInferenceTrace_conv_2023.csv";
const MOONCAKE: &str = "mooncake_fast25_conversation.jsonl";
const SERVEGEN: &str = "servegen_m-large_day_5rps.csv";

fn secs(traffic: &Traffic) -> Vec<f64> {
    traffic.arrivals.iter().map(|a| a.at.as_secs_f64()).collect()
}

fn close(found: f64, want: f64, within: f64) {
    assert!((found - want).abs() <= within, "{found} is not {want} ± {within}");
}
