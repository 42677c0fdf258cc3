//! Recorded answers of real providers, replayed through the whole router: what the client receives is what the provider
//! sent, byte for byte, but for the model's name. The recordings are public and not part of this repository; they are
//! looked for under `$GRIDTIE_SHARED/fixtures`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::wire::{
    Act, Asked, BASE, Client, DONE, Endpoint, Got, JSON, Running, chunk, last_chunk, pool, response,
    stream_head,
};

/// An exchange as it was recorded.
#[derive(Clone)]
struct Recorded {
    path: PathBuf,
    /// The answer.
    bytes: Vec<u8>,
    /// The request, or one that could have led to the answer.
    request: Value,
    embeds: bool,
    stream: bool,
    choices: usize,
}

impl Recorded {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap()
    }

    /// It holds an error, or ends before its answer does.
    fn fails(&self) -> bool {
        let ends = self.text().matches("\"finish_reason\":\"").count();
        self.stream && (self.text().contains("\"error\":{") || ends < self.choices)
    }
}

fn fixtures() -> Option<PathBuf> {
    let Ok(shared) = std::env::var("GRIDTIE_SHARED") else {
        eprintln!("SKIPPED: GRIDTIE_SHARED is unset, so there are no recordings");
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

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path, found) } else { found.push(path) }
    }
    found.sort();
}

/// What was recorded beside it.
fn meta(path: &Path) -> Value {
    let name = path.file_name().unwrap().to_str().unwrap();
    let stem = name.trim_end_matches(".sse").trim_end_matches(".chunks.jsonl").trim_end_matches(".json");
    let meta = std::fs::read(path.with_file_name(format!("{stem}.meta.json")));
    meta.map_or(Value::Null, |meta| serde_json::from_slice(&meta).unwrap())
}

/// The recording in this file, if it is an answer in OpenAI's dialect.
fn recorded(path: &Path) -> Option<Recorded> {
    let name = path.file_name()?.to_str()?;
    let stream = name.ends_with(".sse") || name.ends_with(".jsonl");
    if !stream && (!name.ends_with(".json") || name.ends_with(".meta.json")) {
        return None;
    }
    let mut bytes = std::fs::read(path).unwrap();
    if name.ends_with(".jsonl") {
        bytes = framed(std::str::from_utf8(&bytes).ok()?);
    }
    let text = std::str::from_utf8(&bytes).ok()?;
    let first = if stream { text.lines().find_map(|line| line.strip_prefix("data:"))? } else { text };
    let first: Value = serde_json::from_str(first).ok()?;
    let embeds = first["object"] == "list" && first["data"][0]["object"] == "embedding";
    let chats = if stream { first["choices"].is_array() } else { first["object"] == "chat.completion" };
    let meta = meta(path);
    let status = meta["response"]["status"].as_u64().unwrap_or(200);
    if !(chats || embeds) || status != 200 {
        return None;
    }
    let choices = if text.contains("\"index\":1,\"delta\"") { 2 } else { 1 };
    let mut request = json!({"messages": [{"role": "user", "content": "hi"}], "input": "hi", "n": choices});
    let uri = meta["request"]["uri"].as_str().unwrap_or_default();
    let same_dialect = uri.contains("/chat/completions") || uri.contains("/embeddings");
    if same_dialect && meta["request"]["body"].is_object() {
        request = meta["request"]["body"].clone();
    }
    Some(Recorded { path: path.to_owned(), bytes, request, embeds, stream, choices })
}

fn framed(lines: &str) -> Vec<u8> {
    let lines = lines.lines().filter(|line| !line.trim().is_empty());
    (lines.map(|line| format!("data: {line}\n\n")).collect::<String>() + DONE).into_bytes()
}

fn all(stream: bool) -> Option<Vec<Recorded>> {
    let mut paths = Vec::new();
    walk(&fixtures()?, &mut paths);
    Some(paths.iter().filter_map(|path| recorded(path)).filter(|r| r.stream == stream).collect())
}

/// Which recording is asked for: the client says it in a member that passes through.
fn asked_for(asked: &Asked) -> usize {
    let request: Value = serde_json::from_str(&asked.body).unwrap();
    assert!(request["model"] == "up" || request["model"] == "up-embed", "{}", request["model"]);
    assert!(request["stream"] != true || request["stream_options"]["include_usage"] == true);
    request["user"].as_str().unwrap().parse().unwrap()
}

fn replay(recorded: &Recorded, size: usize) -> Vec<Act> {
    if !recorded.stream {
        return vec![response("200 OK", JSON, &recorded.bytes)];
    }
    let chunks: Vec<u8> = recorded.bytes.chunks(size).flat_map(|part| chunk(part).to_vec()).collect();
    vec![stream_head(), Act::Repeat(chunks.into(), 1, Duration::ZERO), last_chunk()]
}

/// A router before a server that replays all of them, its streams cut into chunks of this size.
async fn router(all: &[Recorded], size: usize) -> Running {
    let answers = all.to_vec();
    let server = Endpoint::start(move |asked| replay(&answers[asked_for(asked)], size)).await;
    let capable = "upstream = \"up\"\ncapabilities = [\"tools\", \"images\", \"json\", \"logprobs\", \"n\"]";
    let pool = pool("recorded", "openai", &[server.origin()]).replace("upstream = \"up\"", capable);
    let embed = "[[pool.offer]]\nmodel = \"embed\"\nupstream = \"up-embed\"\n";
    let models = "[[model]]\nname = \"embed\"\nkind = \"embed\"\n";
    // One that fails before its content must not keep the others away.
    let base = BASE.replace(
        "short_wait",
        "health = { failures = 255, local_failures = 255, success_ratio = 0.0 }\nshort_wait",
    );
    Running::start(&[&base, models, &pool, embed].concat()).await
}

async fn play(client: &mut Client, nth: usize, recorded: &Recorded) -> Got {
    let mut request = recorded.request.clone();
    let (path, model) =
        if recorded.embeds { ("/v1/embeddings", "embed") } else { ("/v1/chat/completions", "chat") };
    request["model"] = model.into();
    request["user"] = nth.to_string().into();
    request["stream"] = recorded.stream.into();
    if recorded.stream {
        request["stream_options"] = json!({"include_usage": true});
    } else if let Some(members) = request.as_object_mut() {
        members.remove("stream_options");
    }
    Got::read(client.send("POST", path, request.to_string()).await).await
}

/// The value of the top-level `model` replaced; everything else untouched.
fn renamed(json: &str, model: &str) -> String {
    #[derive(serde::Deserialize)]
    struct Top<'a> {
        #[serde(borrow)]
        model: Option<&'a serde_json::value::RawValue>,
    }
    let Ok(Top { model: Some(old) }) = serde_json::from_str::<Top<'_>>(json) else { return json.to_owned() };
    let at = old.get().as_ptr() as usize - json.as_ptr() as usize;
    format!("{}\"{model}\"{}", &json[..at], &json[at + old.get().len()..])
}

fn has_content(event: &str) -> bool {
    let Some(data) = event.strip_prefix("data: ") else { return false };
    let Ok(chunk) = serde_json::from_str::<Value>(data) else { return false };
    let choices = chunk["choices"].as_array().cloned().unwrap_or_default();
    choices.iter().any(|choice| {
        ["content", "reasoning", "reasoning_content", "refusal", "tool_calls"].iter().any(
            |part| match &choice["delta"][part] {
                Value::String(text) => !text.is_empty(),
                Value::Array(list) => !list.is_empty(),
                _ => false,
            },
        )
    })
}

/// What the client must receive: all events as they came but for the model, without the comments before the first content.
fn expected(recorded: &Recorded) -> String {
    let (mut out, mut begun) = (String::new(), false);
    for event in recorded.text().split_inclusive("\n\n") {
        begun |= has_content(event);
        if event.starts_with(':') && !begun {
            continue;
        }
        match event.strip_prefix("data: ") {
            Some(data) => out.push_str(&format!("data: {}", renamed(data, "chat"))),
            None => out.push_str(event),
        }
    }
    out.trim_end().to_owned() + "\n\n"
}

#[tokio::test]
async fn recorded_streams_reach_the_client_byte_for_byte_but_for_the_model() {
    let Some(all) = all(true) else { return };
    assert!(all.len() >= 14, "only {} recorded streams were found", all.len());
    let failing = all.iter().filter(|recorded| recorded.fails()).count();
    for size in [usize::MAX, 61] {
        let gridtie = router(&all, size).await;
        let mut client = Client::connect(gridtie.http).await;
        for (nth, recorded) in all.iter().enumerate() {
            let (got, name) = (play(&mut client, nth, recorded).await, recorded.name());
            let expected = expected(recorded);
            if recorded.fails() {
                broken_honestly(&got, &expected, &name);
            } else {
                assert_eq!(got.status, 200, "{name}: {}", got.text);
                assert!(got.text == expected, "{name} differs:\n{}\n--- expected\n{expected}", got.text);
                assert!(got.is_done(), "{name} has no end");
            }
            used(&recorded.path);
        }
    }
    eprintln!("recorded streams: {}, of which {failing} fail and say so", all.len());
}

/// All that came before the fault, then an error, and no end.
fn broken_honestly(got: &Got, expected: &str, name: &str) {
    assert!(!got.text.contains("[DONE]"), "{name} looks whole: {}", got.text);
    if got.status != 200 {
        assert!(got.text.starts_with("{\"error\":{"), "{name}: {}", got.text);
        return;
    }
    let at =
        got.text.rfind("data: {\"error\":").unwrap_or_else(|| panic!("{name} ends in silence: {}", got.text));
    assert!(expected.starts_with(&got.text[..at]), "{name}: {}", got.text);
    assert!(got.text[at..].contains("\"stream_interrupted\""), "{name}: {}", got.text);
}

#[tokio::test]
async fn recorded_answers_reach_the_client_byte_for_byte_but_for_the_model() {
    let Some(all) = all(false) else { return };
    let embeddings = all.iter().filter(|recorded| recorded.embeds).count();
    assert!(all.len() >= 20 && embeddings > 0, "only {} recorded answers were found", all.len());
    let gridtie = router(&all, usize::MAX).await;
    let mut client = Client::connect(gridtie.http).await;
    for (nth, recorded) in all.iter().enumerate() {
        let (got, name) = (play(&mut client, nth, recorded).await, recorded.name());
        assert_eq!(got.status, 200, "{name}: {}", got.text);
        let model = if recorded.embeds { "embed" } else { "chat" };
        assert!(got.text == renamed(recorded.text(), model), "{name} differs: {}", got.text);
        used(&recorded.path);
    }
    eprintln!("recorded whole answers: {}, of which {embeddings} embeddings", all.len());
}
