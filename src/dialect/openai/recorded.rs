//! The codec against recorded answers of real providers. The recordings are public, and not part of this repository:
//! the tests look for them under `$GRIDTIE_SHARED/fixtures`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::*;
use crate::dialect::retry_after::retry_after;
use crate::domain::{Answer, AskKind, FailureKind, TenantId, UsageSource};

/// A recorded stream.
struct Recorded {
    name: String,
    bytes: Vec<u8>,
    /// It holds an error event.
    fails: bool,
    /// It was cut when it was recorded.
    cut: bool,
}

fn fixtures() -> Option<PathBuf> {
    let Ok(shared) = std::env::var("GRIDTIE_SHARED") else {
        eprintln!("skipped: GRIDTIE_SHARED is unset");
        return None;
    };
    Some(Path::new(&shared).join("fixtures"))
}

/// Tells whoever counts (`.ci/run`) that a recording was used. One line in one write, as tests run side by side.
fn used(path: &Path) {
    use std::io::Write as _;
    let Some(log) = std::env::var_os("GRIDTIE_RECORDED_LOG") else { return };
    let mut log = std::fs::File::options().create(true).append(true).open(log).unwrap();
    log.write_all(format!("{}\n", path.display()).as_bytes()).unwrap();
}

fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path, out) } else { out.push(path) }
    }
    out.sort();
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    walk(root, &mut out);
    out
}

/// The first data of a stream tells its dialect better than a folder's name.
fn is_chat(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let first = text.lines().find_map(|l| l.strip_prefix("data:")).unwrap_or_default();
    serde_json::from_str::<Value>(first).is_ok_and(|v| v["choices"].is_array())
}

fn streams() -> Vec<Recorded> {
    let Some(root) = fixtures() else { return Vec::new() };
    let mut found = Vec::new();
    for path in files(&root) {
        let name = path.strip_prefix(&root).unwrap().display().to_string();
        let bytes = match path.extension().and_then(|e| e.to_str()) {
            Some("sse") => std::fs::read(&path).unwrap(),
            Some("jsonl") => framed(&std::fs::read_to_string(&path).unwrap()),
            _ => continue,
        };
        if is_chat(&bytes) {
            used(&path);
            let fails = bytes.windows(9).any(|w| w == b"\"error\":{");
            found.push(Recorded { fails, cut: name.contains("cut"), name, bytes });
        }
    }
    assert!(found.len() >= 14, "only {} recorded streams were found", found.len());
    found
}

fn framed(lines: &str) -> Vec<u8> {
    let events = lines.lines().filter(|l| !l.trim().is_empty()).map(|l| format!("data: {l}\n\n"));
    (events.collect::<String>() + "data: [DONE]\n\n").into_bytes()
}

/// The name that the stream gives its model last: with it as the client's name, most streams need no change.
fn model(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let names = text.split("\"model\":").skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"'));
    names.filter_map(|rest| rest.split('"').next()).last().unwrap_or_default().to_owned()
}

fn choices_of(bytes: &[u8]) -> u32 {
    let text = String::from_utf8_lossy(bytes);
    if text.contains("\"index\":1,\"delta\"") { 2 } else { 1 }
}

fn terms(recorded: &Recorded, client_model: &str, form: Form) -> Terms {
    Terms {
        kind: AskKind::Chat,
        client_model: Arc::from(client_model),
        usage_asked: true,
        choices: choices_of(&recorded.bytes),
        own_input: 10,
        form,
    }
}

#[derive(PartialEq, Debug)]
struct Outcome {
    bytes: Vec<u8>,
    deltas: String,
    content: u32,
    usage: Option<crate::domain::Usage>,
    end: Result<(), FailureKind>,
}

fn run(terms: Terms, reads: impl IntoIterator<Item = Bytes>) -> Outcome {
    let mut relay = Relay::new(terms);
    let (mut bytes, mut deltas, mut content, mut end) = (Vec::new(), String::new(), 0, None);
    let mut take = |step: Step| {
        bytes.extend_from_slice(&step.bytes);
        for delta in &step.deltas {
            deltas.push_str(&format!("{delta:?}\n"));
        }
        content += step.content_events;
        step.end
    };
    for read in reads {
        end = take(relay.push(read));
        if end.is_some() {
            break;
        }
    }
    if end.is_none() {
        end = take(relay.closed(None));
    }
    Outcome { bytes, deltas, content, usage: relay.usage(), end: end.unwrap().map_err(|f| f.kind) }
}

fn replace_models(bytes: &[u8], model: &str) -> String {
    let mut out = String::new();
    for line in String::from_utf8_lossy(bytes).split_inclusive('\n') {
        let old = line.split("\"model\":\"").nth(1).and_then(|rest| rest.split('"').next());
        match old {
            Some(old) => out.push_str(&line.replacen(
                &format!("\"model\":\"{old}\""),
                &format!("\"model\":\"{model}\""),
                1,
            )),
            None => out.push_str(line),
        }
    }
    out
}

#[test]
fn recorded_streams_go_through_byte_for_byte_but_for_the_model() {
    for recorded in streams().iter().filter(|r| !r.fails && !r.cut) {
        for model in [model(&recorded.bytes), "ours".to_owned()] {
            let read = Bytes::copy_from_slice(&recorded.bytes);
            let out = run(terms(recorded, &model, Form::Bytes), [read]);
            assert_eq!(out.end, Ok(()), "{}", recorded.name);
            assert!(out.content > 0, "{}", recorded.name);
            // Comments before the first content are not handed on, and an end is made whole.
            let uncommented =
                |text: &str| text.split_inclusive("\n\n").filter(|e| !e.starts_with(':')).collect::<String>();
            let expected = uncommented(&replace_models(&recorded.bytes, &model));
            let expected = expected.trim_end_matches('\n').to_owned() + "\n\n";
            let relayed = uncommented(&String::from_utf8(out.bytes).unwrap());
            assert!(relayed == expected, "{} differs", recorded.name);
        }
    }
}

#[test]
fn recorded_streams_come_out_the_same_however_they_are_cut_into_reads() {
    for recorded in streams() {
        let all = Bytes::copy_from_slice(&recorded.bytes);
        // Every offset of a short stream; about five hundred of a long one, because the work is quadratic.
        let step = all.len() / 500 + 1;
        for form in [Form::Bytes, Form::Canonical] {
            let terms = terms(&recorded, "ours", form);
            let expected = run(terms.clone(), [all.clone()]);
            let ones = all.iter().map(|b| Bytes::copy_from_slice(&[*b]));
            assert_eq!(run(terms.clone(), ones), expected, "{} byte by byte", recorded.name);
            for at in (0..all.len()).step_by(step) {
                let out = run(terms.clone(), [all.slice(..at), all.slice(at..)]);
                assert_eq!(out, expected, "{} cut at {at}", recorded.name);
            }
        }
    }
}

#[test]
fn recorded_streams_that_are_cut_never_pass_for_whole() {
    let mut checked = 0;
    for recorded in streams() {
        let whole = run(terms(&recorded, "ours", Form::Canonical), [Bytes::copy_from_slice(&recorded.bytes)]);
        let mut bytes = Relay::new(terms(&recorded, "ours", Form::Bytes));
        let mut canonical = Relay::new(terms(&recorded, "ours", Form::Canonical));
        let mut deltas = String::new();
        for (at, byte) in recorded.bytes.iter().enumerate() {
            let mut cut = canonical.clone();
            let last = cut.closed(None);
            if last.end == Some(Ok(())) {
                let all: String = last.deltas.iter().map(|d| format!("{d:?}\n")).collect();
                let silent = deltas.clone() + &all != whole.deltas;
                assert!(!silent, "{} cut at {at}: silently shorter", recorded.name);
                let mended = bytes.clone().closed(None);
                assert!(mended.bytes.ends_with(b"data: [DONE]\n\n"), "{} cut at {at}", recorded.name);
            }
            checked += 1;
            for relay in [&mut bytes, &mut canonical] {
                for delta in relay.push(Bytes::copy_from_slice(&[*byte])).deltas {
                    deltas.push_str(&format!("{delta:?}\n"));
                }
            }
        }
    }
    eprintln!("{checked} cuts");
}

#[test]
fn recorded_streams_that_fail_say_so() {
    for recorded in streams().iter().filter(|r| r.fails || r.cut) {
        let out = run(terms(recorded, "ours", Form::Bytes), [Bytes::copy_from_slice(&recorded.bytes)]);
        let expected = if recorded.cut {
            FailureKind::Truncated
        } else if recorded.name.starts_with("openrouter") {
            FailureKind::BadRequest
        } else {
            FailureKind::ServerError
        };
        assert_eq!(out.end, Err(expected), "{}", recorded.name);
        assert!(!out.bytes.windows(6).any(|w| w == b"[DONE]"), "{}", recorded.name);
    }
}

#[test]
fn recorded_answers_are_read_whole_and_relayed_unchanged() {
    let Some(root) = fixtures() else { return };
    let mut read = 0;
    for path in files(&root).iter().filter(|p| p.extension().is_some_and(|e| e == "json")) {
        let bytes = Bytes::from(std::fs::read(path).unwrap());
        let Ok(json) = serde_json::from_slice::<Value>(&bytes) else { continue };
        let chat = json["object"] == "chat.completion" && json["choices"].is_array();
        let kind = if chat {
            AskKind::Chat
        } else if json["object"] == "list" && json["data"][0]["object"] == "embedding" {
            AskKind::Embed
        } else {
            continue;
        };
        let name = path.display();
        read += 1;
        used(path);
        let (answer, usage) = decode_whole(kind, &bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        if json["usage"].is_object() {
            let usage = usage.unwrap_or_else(|| panic!("{name}: usage"));
            assert_eq!(usage.input, json["usage"]["prompt_tokens"].as_u64().unwrap(), "{name}");
        }
        if let Answer::Embedded(embedded) = &answer {
            assert!(embedded.vectors.iter().all(|v| v.len() > 100), "{name}");
        }
        let upstream_model = json["model"].as_str().unwrap_or_default();
        let (same, used) = relay_whole(kind, &bytes, upstream_model, 10).unwrap();
        assert_eq!(same, bytes, "{name}");
        assert_eq!(used.source == UsageSource::Reported, usage.is_some(), "{name}");
    }
    assert!(read >= 20, "only {read} recorded answers were found");
}

#[test]
fn recorded_requests_survive_canonical_form() {
    let Some(root) = fixtures() else { return };
    let mut read = 0;
    for path in files(&root).iter().filter(|p| p.to_string_lossy().ends_with(".meta.json")) {
        let meta: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let uri = meta["request"]["uri"].as_str().unwrap_or_default();
        let kind = if uri.contains("/chat/completions") {
            AskKind::Chat
        } else if uri.contains("/embeddings") {
            AskKind::Embed
        } else {
            continue;
        };
        let body = Bytes::from(meta["request"]["body"].to_string());
        if !meta["request"]["body"]["model"].is_string() {
            continue;
        }
        let name = path.display();
        let peeked = peek(kind, &body, TenantId(0)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(peeked.model, meta["request"]["body"]["model"], "{name}");
        let ask = match decode_request(kind, &body) {
            Ok(ask) => ask,
            // Refusing what canonical form cannot say is right; that it cannot be read would not be.
            Err(e) if e.code.as_deref() == Some("unsupported_parameter") => continue,
            Err(e) => panic!("{name}: {e}"),
        };
        read += 1;
        used(path);
        let written = encode_request(&ask, &peeked.model, peeked.stream);
        let again = decode_request(kind, &written).unwrap_or_else(|e| panic!("{name}: {e}"));
        // How the face wants vectors spelt is not asked of the upstream.
        let ask = format!("{ask:?}").replace("base64: true", "base64: false");
        assert_eq!(format!("{again:?}"), ask, "{name}");
    }
    assert!(read >= 15, "only {read} recorded requests were found");
}

#[test]
fn recorded_errors_reach_their_class() {
    let Some(root) = fixtures() else { return };
    use FailureKind as K;
    for (file, kind, wait_ms) in [
        ("openai/errors/chat_404_model_not_found.json", K::ModelMissing, None),
        ("openai/errors/embeddings_404.json", K::ModelMissing, None),
        ("openrouter/error_429.json", K::RateLimited, None),
        ("errors_made_up/azure_429.json", K::RateLimited, Some(5_731)),
        ("errors_made_up/azure_429_ptu_negative_headers.json", K::RateLimited, Some(43)),
        ("errors_made_up/openai_429_insufficient_quota.json", K::QuotaExhausted, None),
        ("errors_made_up/openai_429_tpm.json", K::RateLimited, Some(3_890)),
        ("errors_made_up/openai_503_overloaded.json", K::Overloaded, None),
        ("errors_made_up/openrouter_503_retry_after.json", K::Overloaded, Some(60_000)),
        ("errors_made_up/html_502_from_proxy.html", K::ServerError, None),
        ("errors_made_up/anthropic_529.json", K::Overloaded, None),
    ] {
        let path = root.join(file);
        used(&path);
        let body = std::fs::read(&path).unwrap();
        let meta = path.with_extension("meta.json");
        let meta: Value = serde_json::from_slice(&std::fs::read(meta).unwrap()).unwrap();
        let status = meta["response"]["status"].as_u64().unwrap() as u16;
        let mut headers = http::HeaderMap::new();
        for (name, value) in meta["response"]["headers"].as_object().unwrap() {
            let name: http::HeaderName = name.parse().unwrap();
            headers.insert(name, value.as_str().unwrap().parse().unwrap());
        }
        assert_eq!(decode_error(status, &body).kind, kind, "{file}");
        if file != "errors_made_up/anthropic_529.json" {
            let wait = retry_after(&headers).map(|w| w.as_millis() as u64);
            assert_eq!(wait, wait_ms, "{file}");
        }
    }
    let filtered = std::fs::read(root.join("azure/prompt_content_filter.1.json")).unwrap();
    assert_eq!(decode_inner_error(&filtered).kind, K::ContentFilter);
}
