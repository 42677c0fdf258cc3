//! How busy an engine says it is: on its page of metrics (Prometheus' text format, and OpenMetrics), or in the header of
//! an answer (ORCA, as vLLM and Triton write it).
//!
//! Of thousands of lines a handful matter, and all are strangers': whatever is not one of those, or is not as it must be, is
//! passed over. A page without any of them says nothing, which is not the same as idle (vLLM without its statistics serves
//! such a page).

use crate::domain::EngineLoad;

/// What a series is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Series {
    Running,
    Waiting,
    KvUsed,
}

/// vLLM, SGLang and TGI. The colon is an underscore where Ray serves the page. vLLM's `perc` is a share.
const SERIES: [(&str, Series); 11] = [
    ("vllm:num_requests_running", Series::Running),
    ("vllm:num_requests_waiting", Series::Waiting),
    ("vllm:kv_cache_usage_perc", Series::KvUsed),
    ("vllm:gpu_cache_usage_perc", Series::KvUsed),
    ("sglang:num_running_reqs", Series::Running),
    ("sglang:num_queue_reqs", Series::Waiting),
    ("sglang:full_token_usage", Series::KvUsed),
    ("sglang:token_usage", Series::KvUsed),
    ("tgi_batch_current_size", Series::Running),
    ("tgi_queue_size", Series::Waiting),
    ("tgi:queue_size", Series::Waiting),
];

/// Series of one name beyond this are passed over: models times data-parallel ranks of one server.
const GROUPS_MAX: usize = 64;
/// No server works on more.
const CALLS_MAX: f64 = 1e6;
/// Ranks of one scheduler all say the same; they are no others' calls.
const SAME_CALLS: [&str; 4] = ["tp_rank", "pp_rank", "moe_ep_rank", "pid"];

/// The values of one kind, by what tells series apart.
#[derive(Debug, Default)]
struct Groups(Vec<(u64, f64)>);

impl Groups {
    fn add(&mut self, key: u64, value: f64) {
        if let Some((_, most)) = self.0.iter_mut().find(|(known, _)| *known == key) {
            *most = most.max(value);
        } else if self.0.len() < GROUPS_MAX {
            self.0.push((key, value));
        }
    }

    fn sum(&self) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.iter().map(|(_, value)| value).sum())
    }
}

/// What a page of metrics says, if it says anything. Calls of several models and data-parallel ranks are added up; of their
/// KV caches the mean is taken.
pub fn of_page(page: &[u8]) -> Option<EngineLoad> {
    let (mut running, mut waiting, mut kv) = (Groups::default(), Groups::default(), Groups::default());
    for line in page.split(|b| *b == b'\n') {
        let Ok(line) = std::str::from_utf8(line) else { continue };
        let Some((series, key, value)) = sample(line) else { continue };
        match series {
            Series::Running => running.add(key, value),
            Series::Waiting => waiting.add(key, value),
            Series::KvUsed => kv.add(key, value),
        }
    }
    let kv_used = kv.sum().map(|sum| sum / kv.0.len() as f64);
    said(running.sum(), waiting.sum(), kv_used)
}

/// `name{label="value"} 3.0`, of a name that matters.
fn sample(line: &str) -> Option<(Series, u64, f64)> {
    let end = line.find(|c: char| c == '{' || c.is_ascii_whitespace())?;
    let (name, rest) = line.split_at(end);
    let same = |known: &str| {
        let spelt = |(a, b): (u8, u8)| a == b || (a == b':' && b == b'_');
        known.len() == name.len() && known.bytes().zip(name.bytes()).all(spelt)
    };
    let (_, series) = *SERIES.iter().find(|(known, _)| same(known))?;
    let (key, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (0, rest),
    };
    let value = number(rest.split_ascii_whitespace().next()?)?;
    Some((series, key, value))
}

/// What tells this series from others of its name, and what follows its labels.
fn labels(mut rest: &str) -> Option<(u64, &str)> {
    let mut key = 0xcbf2_9ce4_8422_2325;
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((key, rest));
        }
        let (name, value) = rest.split_once("=\"")?;
        let end = closing_quote(value)?;
        let (value, after) = value.split_at(end);
        if !SAME_CALLS.contains(&name.trim()) {
            // Fowler, Noll and Vo's hash, FNV-1a: two series that are taken for one are one that is not counted.
            for byte in name.bytes().chain([0]).chain(value.bytes()).chain([0]) {
                key = (key ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
        rest = after.get(1..)?;
    }
}

fn closing_quote(value: &str) -> Option<usize> {
    let mut escaped = false;
    value.bytes().position(|b| {
        let closes = b == b'"' && !escaped;
        escaped = b == b'\\' && !escaped;
        closes
    })
}

/// What an `endpoint-load-metrics` header says, if it says anything that is of use here. Takes all forms that were seen: with
/// `TEXT` or `JSON` before it or nothing, and with or without `named_metrics.`; the binary form is not read.
pub fn of_header(value: &[u8]) -> Option<EngineLoad> {
    /// vLLM's and Triton's are a tenth of this.
    const VALUE_MAX: usize = 4096;
    let text = std::str::from_utf8(value).ok().filter(|text| text.len() <= VALUE_MAX)?.trim();
    let text = ["TEXT ", "JSON "].iter().find_map(|form| text.strip_prefix(form)).unwrap_or(text).trim();
    let (mut running, mut waiting, mut kv_used) = (None, None, None);
    let mut put = |name: &str, value: f64| {
        let name = name.strip_prefix("named_metrics.").unwrap_or(name);
        match name {
            "num_requests_running" | "num_running_requests" => running = Some(value),
            "num_requests_waiting" | "num_waiting_requests" => waiting = Some(value),
            "kv_cache_usage_perc" | "kv_cache_utilization" => kv_used = Some(value),
            _ => {}
        }
    };
    if text.starts_with('{') {
        let all: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).ok()?;
        let named = all.get("named_metrics").and_then(|named| named.as_object());
        for (name, value) in named.into_iter().flatten().chain(&all) {
            if let Some(value) = value.as_f64().and_then(sound) {
                put(name, value);
            }
        }
    } else {
        for pair in text.split(',') {
            let Some((name, value)) = pair.split_once('=') else { continue };
            if let Some(value) = number(value.trim()) {
                put(name.trim(), value);
            }
        }
    }
    said(running, waiting, kv_used)
}

fn number(text: &str) -> Option<f64> {
    sound(text.parse().ok()?)
}

/// Not negative, not infinite, not NaN.
fn sound(value: f64) -> Option<f64> {
    (0.0..=CALLS_MAX).contains(&value).then_some(value)
}

fn said(running: Option<f64>, waiting: Option<f64>, kv_used: Option<f64>) -> Option<EngineLoad> {
    let calls = |n: f64| n.min(CALLS_MAX).round() as u32;
    let load = EngineLoad {
        running: running.map(calls),
        waiting: waiting.map(calls),
        // A share above one is none.
        kv_permille: kv_used.filter(|share| *share <= 1.0).map(|share| (share * 1000.0).round() as u16),
    };
    (!load.is_empty()).then_some(load)
}

#[cfg(test)]
mod tests;
