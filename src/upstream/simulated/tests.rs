use futures_util::StreamExt;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use super::*;
use crate::domain::request::{
    Completion, Embed, EmbedInput, Message, Part, Role, Sampling, Tool, ToolChoice,
};
use crate::domain::{
    Address, Answer, AskKind, AttemptNo, CallId, Choice, ContactWindow, Delta, FinishReason, Grants, Quota,
    Request, Timestamp, Usage,
};
use crate::engine::{self, Batching, Speed};
use crate::upstream::{Onward, PieceBody, Pieces, WholeBody};

/// Round numbers: 1 s and 10 ms a token to prefill, steps of 0.1 s for one sequence.
fn engine() -> engine::Settings {
    let engine::Settings::Batching(h100) = engine::Settings::H100 else { panic!("it looks inside") };
    let speed = Speed {
        prefill_floor_s: 0.0,
        prefill_base_s: 1.0,
        prefill_token_s: 0.01,
        prefill_knee: u32::MAX,
        step_base_s: 0.1,
        step_seq_s: 0.0,
        interference: 1.0,
    };
    engine::Settings::Batching(Batching { speed, ..h100 })
}

fn settings() -> Settings {
    Settings { name: Arc::from("p"), engines: vec![engine()], ..Settings::default() }
}

fn pool(settings: Settings) -> Simulated {
    Simulated::new(settings, Clock::starting_at(Timestamp::from_millis(0)))
}

fn says(role: Role, text: &str) -> Message {
    Message { role, parts: vec![Part::Text(text.to_owned())], name: None }
}

fn chat(text: &str) -> Chat {
    Chat { messages: vec![says(Role::User, text)], ..Chat::default() }
}

fn limited(text: &str, max_tokens: u32) -> Chat {
    Chat { sampling: Sampling { max_tokens: Some(max_tokens), ..Sampling::default() }, ..chat(text) }
}

fn attempt(ask: Ask, stream: bool) -> Attempt {
    let kind = match &ask {
        Ask::Chat(_) => AskKind::Chat,
        Ask::Completion(_) => AskKind::Completion,
        Ask::Embed(_) => AskKind::Embed,
    };
    let request = Request {
        kind,
        stream,
        stream_usage: true,
        body: Body::Canonical(Box::new(ask)),
        input_tokens: 1,
        forward: Vec::new(),
    };
    Attempt {
        call: CallId(1),
        no: AttemptNo(0),
        request: Arc::new(request),
        upstream_model: Arc::from("m"),
        client_model: Arc::from("m"),
        address: Arc::new(Address { origin: Arc::from("sim://p/0"), socket: None }),
        timeout: Duration::from_secs(600),
        onward: Onward::default(),
    }
}

async fn whole(pool: &Simulated, ask: Ask) -> Result<(Answer, Usage), Failure> {
    match pool.call(attempt(ask, false)).await? {
        Reply::Whole(whole) => match whole.body {
            WholeBody::Canonical(answer) => Ok((answer, whole.usage)),
            WholeBody::Bytes(_) => panic!("it speaks no wire"),
        },
        Reply::Stream(_) => panic!("a whole answer was asked for"),
    }
}

async fn choices(pool: &Simulated, ask: Ask) -> Vec<Choice> {
    match whole(pool, ask).await.expect("an answer").0 {
        Answer::Generated(generated) => generated.choices,
        Answer::Embedded(_) => panic!("text was asked for"),
    }
}

fn text(choice: &Choice) -> String {
    choice.parts.iter().map(|p| if let Part::Text(t) = p { t.as_str() } else { "" }).collect()
}

async fn open(pool: &Simulated, ask: Ask) -> Pieces {
    match pool.call(attempt(ask, true)).await.expect("a stream") {
        Reply::Stream(pieces) => pieces,
        Reply::Whole(_) => panic!("a stream was asked for"),
    }
}

/// All deltas, with the seconds at which they came, and how it ended.
async fn read(pool: &Simulated, ask: Ask) -> (Vec<(f64, Delta)>, Result<(), Failure>) {
    let mut pieces = open(pool, ask).await;
    let mut out = Vec::new();
    while let Some(piece) = pieces.0.next().await {
        match piece {
            Ok(piece) => {
                let PieceBody::Canonical(deltas) = piece.body else { panic!("it speaks no wire") };
                let at = pool.0.clock.mono().as_secs_f64();
                out.extend(deltas.into_iter().map(|d| (at, d)));
            }
            Err(failure) => {
                assert!(pieces.0.next().await.is_none(), "nothing follows a failure");
                return (out, Err(failure));
            }
        }
    }
    (out, Ok(()))
}

fn near(a: f64, b: f64) {
    // Tokio's timers tick in milliseconds.
    assert!((a - b).abs() < 0.005, "{a} s instead of {b} s");
}

#[tokio::test(start_paused = true)]
async fn an_answer_takes_the_way_there_the_engine_and_the_way_back() {
    let door = Door { delay: Duration::from_millis(300), ..Door::default() };
    let pool = pool(Settings { door, ..settings() });
    // 40 bytes are 10 tokens: 1.1 s of prefill, then 10 further tokens.
    let (_, usage) = whole(&pool, Ask::Chat(limited(&"x".repeat(40), 11))).await.unwrap();
    near(pool.0.clock.mono().as_secs_f64(), 0.3 + 1.1 + 1.0 + 0.3);
    assert_eq!((usage.input, usage.output, usage.cached), (10, 11, 0));
}

#[tokio::test(start_paused = true)]
async fn a_stream_comes_token_by_token_and_ends_with_the_bill() {
    let door = Door { delay: Duration::from_millis(300), ..Door::default() };
    let pool = pool(Settings { door, ..settings() });
    let (deltas, end) = read(&pool, Ask::Chat(limited(&"x".repeat(40), 11))).await;
    assert_eq!(end, Ok(()));
    let texts: Vec<f64> = deltas.iter().filter(|(_, d)| is_text(d)).map(|(at, _)| *at).collect();
    assert_eq!(texts.len(), 11);
    for (i, at) in texts.iter().enumerate() {
        near(*at, 1.7 + 0.1 * i as f64);
    }
    let tail: Vec<_> = deltas.iter().rev().take(2).map(|(_, d)| d).collect();
    assert!(matches!(tail[0], Delta::Usage(u) if u.output == 11));
    assert!(matches!(tail[1], Delta::Finish { reason: FinishReason::Length, .. }));
}

fn is_text(delta: &Delta) -> bool {
    matches!(delta, Delta::Text { .. })
}

fn joined(deltas: &[(f64, Delta)]) -> String {
    deltas.iter().map(|(_, d)| if let Delta::Text { text, .. } = d { text.as_str() } else { "" }).collect()
}

#[tokio::test(start_paused = true)]
async fn the_same_prompt_gets_the_same_answer_streamed_or_whole_and_another_one_another() {
    let pool = pool(settings());
    let (deltas, _) = read(&pool, Ask::Chat(chat("Tell me about grids."))).await;
    let again = choices(&pool, Ask::Chat(chat("Tell me about grids."))).await;
    let other = choices(&pool, Ask::Chat(chat("Tell me about rivers."))).await;
    assert_eq!(joined(&deltas), text(&again[0]));
    assert_ne!(text(&again[0]), text(&other[0]));
    assert!(text(&again[0]).ends_with('.'), "{}", text(&again[0]));
    assert_eq!(again[0].finish, FinishReason::Stop);
}

#[tokio::test(start_paused = true)]
async fn a_stop_sequence_ends_the_text_before_itself() {
    let pool = pool(settings());
    let full = text(&choices(&pool, Ask::Chat(chat("Stop here"))).await[0]);
    let stop = full[full.len() / 2..full.len() / 2 + 3].to_owned();
    let ask =
        Chat { sampling: Sampling { stop: vec![stop.clone()], ..Sampling::default() }, ..chat("Stop here") };
    let cut = choices(&pool, Ask::Chat(ask.clone())).await;
    assert_eq!(text(&cut[0]), full.split(&stop).next().unwrap());
    assert_eq!(cut[0].finish, FinishReason::Stop);
    assert_eq!(joined(&read(&pool, Ask::Chat(ask)).await.0), text(&cut[0]));
}

#[tokio::test(start_paused = true)]
async fn every_choice_says_something_else_and_ends_once() {
    let pool = pool(settings());
    let ask = Chat { sampling: Sampling { n: Some(3), ..Sampling::default() }, ..chat("Three ways") };
    let (deltas, _) = read(&pool, Ask::Chat(ask.clone())).await;
    let ends: Vec<_> = deltas
        .iter()
        .filter_map(|(_, d)| if let Delta::Finish { choice, .. } = d { Some(*choice) } else { None })
        .collect();
    assert_eq!(ends.len(), 3);
    let all = choices(&pool, Ask::Chat(ask)).await;
    assert_eq!(all.len(), 3);
    assert_ne!(text(&all[0]), text(&all[1]));
    for choice in &all {
        let streamed: String = deltas
            .iter()
            .filter_map(|(_, d)| match d {
                Delta::Text { choice: c, text, .. } if *c == choice.index => Some(text.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(streamed, text(choice));
    }
}

fn weather() -> Tool {
    let schema = json!({"type": "object", "required": ["city"], "properties": {
        "city": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]}}});
    Tool {
        name: "get_weather".to_owned(),
        description: Some("The current temperature somewhere".to_owned()),
        parameters: Some(raw(&schema)),
        strict: None,
    }
}

fn raw(value: &Value) -> Box<RawValue> {
    to_raw_value(value).unwrap()
}

fn calls(choice: &Choice) -> Vec<(String, Value)> {
    let one = |p: &Part| match p {
        Part::ToolCall(call) => Some((call.name.clone(), serde_json::from_str(&call.arguments).unwrap())),
        _ => None,
    };
    choice.parts.iter().filter_map(one).collect()
}

#[tokio::test(start_paused = true)]
async fn a_tool_is_called_when_it_must_be_or_when_the_user_talks_about_it() {
    let pool = pool(settings());
    let ask = |text: &str, tool_choice| Chat { tools: vec![weather()], tool_choice, ..chat(text) };
    let mentioned = choices(&pool, Ask::Chat(ask("What's the weather in Oslo?", ToolChoice::Auto))).await;
    assert_eq!(mentioned[0].finish, FinishReason::ToolCalls);
    let (name, arguments) = calls(&mentioned[0]).remove(0);
    assert_eq!(name, "get_weather");
    assert!(arguments["city"].is_string());
    for (text, tool_choice, called) in [
        ("How are you?", ToolChoice::Auto, 0),
        ("How are you?", ToolChoice::Required, 1),
        ("How are you?", ToolChoice::Named("get_weather".to_owned()), 1),
        ("What's the weather in Oslo?", ToolChoice::None, 0),
    ] {
        let answer = choices(&pool, Ask::Chat(ask(text, tool_choice.clone()))).await;
        assert_eq!(calls(&answer[0]).len(), called, "{text} {tool_choice:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_tools_result_the_model_answers() {
    let pool = pool(settings());
    let mut ask = Chat { tools: vec![weather()], ..chat("What's the weather in Oslo?") };
    let result = Part::ToolResult { call_id: "call_1".to_owned(), text: "4 degrees".to_owned() };
    ask.messages.push(Message { role: Role::Tool, parts: vec![result], name: None });
    let answer = choices(&pool, Ask::Chat(ask)).await;
    assert_eq!(answer[0].finish, FinishReason::Stop);
    assert!(!text(&answer[0]).is_empty());
}

#[tokio::test(start_paused = true)]
async fn streamed_tool_calls_add_up_to_the_whole_ones() {
    let pool = pool(settings());
    let ask = Chat { tools: vec![weather()], tool_choice: ToolChoice::Required, ..chat("Go") };
    let (deltas, _) = read(&pool, Ask::Chat(ask.clone())).await;
    let (mut names, mut arguments) = (Vec::new(), String::new());
    for (_, delta) in &deltas {
        if let Delta::ToolCall { id, name, arguments: more, .. } = delta {
            assert_eq!(id.is_some(), name.is_some());
            names.extend(name.clone());
            arguments.push_str(more);
        }
    }
    let whole = choices(&pool, Ask::Chat(ask)).await;
    let arguments: Value = serde_json::from_str(&arguments).unwrap();
    assert_eq!(calls(&whole[0]), [(names.remove(0), arguments)]);
}

#[tokio::test(start_paused = true)]
async fn a_json_answer_fits_its_schema() {
    let pool = pool(settings());
    let schema = json!({"type": "object", "required": ["n", "tags"], "properties": {
        "n": {"type": "integer", "minimum": 3, "maximum": 5}, "tags": {"type": "array", "items": {"type": "string"}, "minItems": 2}}});
    let format = Format::JsonSchema { name: "s".to_owned(), schema: raw(&schema), strict: Some(true) };
    let answer = choices(&pool, Ask::Chat(Chat { format, ..chat("Data, please") })).await;
    let value: Value = serde_json::from_str(&text(&answer[0])).unwrap();
    assert!((3..=5).contains(&value["n"].as_i64().unwrap()));
    assert_eq!(value["tags"].as_array().unwrap().len(), 2);
    let object = choices(&pool, Ask::Chat(Chat { format: Format::JsonObject, ..chat("Data, please") })).await;
    assert!(serde_json::from_str::<Value>(&text(&object[0])).unwrap().is_object());
}

#[tokio::test(start_paused = true)]
async fn the_next_turn_of_a_conversation_finds_its_prefix_cached() {
    let pool = pool(settings());
    let mut ask = limited(&"a long story ".repeat(400), 5);
    let (_, first) = whole(&pool, Ask::Chat(ask.clone())).await.unwrap();
    assert_eq!(first.cached, 0);
    ask.messages.push(says(Role::Assistant, "Indeed."));
    ask.messages.push(says(Role::User, "Go on."));
    let (_, second) = whole(&pool, Ask::Chat(ask)).await.unwrap();
    assert_eq!(second.cached, first.input);
    assert!(second.input > first.input);
}

#[tokio::test(start_paused = true)]
async fn dropping_a_call_at_any_stage_takes_it_off_the_engine() {
    let pool = pool(settings());
    let ask = || Ask::Chat(limited("x", 100));
    let prefilling = tokio::time::timeout(Duration::from_millis(500), whole(&pool, ask())).await;
    assert!(prefilling.is_err());
    assert_eq!(pool.loads()[0].running, 0);
    let mut stream = open(&pool, ask()).await;
    for _ in 0..3 {
        stream.0.next().await.unwrap().unwrap();
    }
    assert_eq!(pool.loads()[0].running, 1);
    drop(stream);
    assert_eq!(pool.loads()[0].running, 0);
}

#[tokio::test(start_paused = true)]
async fn calls_at_once_share_the_engine_and_a_full_one_says_when_to_come_back() {
    let engine::Settings::Batching(b) = engine() else { panic!("it looks inside") };
    let tight =
        Settings { engines: vec![engine::Settings::Batching(Batching { queue: 1, ..b })], ..settings() };
    let pool = pool(tight);
    let ask = || whole(&pool, Ask::Chat(limited("x", 2)));
    let (a, b, c) = tokio::join!(ask(), ask(), ask());
    assert!(a.is_ok() && b.is_ok());
    let full = c.unwrap_err();
    assert_eq!((full.kind, full.status), (FailureKind::Overloaded, Some(503)));
    assert!(full.retry_after.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_cut_stream_keeps_what_came_and_never_ends_well() {
    let door = Door { truncate_rate: 1.0, truncate_after: 4, ..Door::default() };
    let pool = pool(Settings { door, ..settings() });
    let (deltas, end) = read(&pool, Ask::Chat(limited("x", 10))).await;
    assert_eq!(end.unwrap_err().kind, FailureKind::Truncated);
    assert_eq!(deltas.len(), 4);
    assert!(deltas.iter().all(|(_, d)| is_text(d)));
    let short = read(&pool, Ask::Chat(limited("x", 2))).await;
    assert!(short.1.is_err() && short.0.iter().all(|(_, d)| is_text(d)), "a short answer is cut too");
    let unary = whole(&pool, Ask::Chat(limited("x", 10))).await.unwrap_err();
    assert_eq!(unary.kind, FailureKind::Disconnected);
    let vectors = whole(&pool, Ask::Embed(embed("x"))).await.unwrap_err();
    assert_eq!(vectors.kind, FailureKind::Disconnected);
}

#[tokio::test(start_paused = true)]
async fn a_stalled_stream_says_nothing_more() {
    let door = Door { stall_rate: 1.0, stall_after: 4, ..Door::default() };
    let pool = pool(Settings { door, ..settings() });
    let mut stream = open(&pool, Ask::Chat(limited("x", 10))).await;
    for _ in 0..4 {
        stream.0.next().await.unwrap().unwrap();
    }
    assert!(tokio::time::timeout(Duration::from_secs(3_600), stream.0.next()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_door_turns_calls_away_as_a_real_one_would() {
    let pool = pool(settings());
    for (door, kind, status, unprocessed) in [
        (Door { refuse: true, ..Door::default() }, FailureKind::Connect, None, true),
        (Door { error_rate: 1.0, ..Door::default() }, FailureKind::ServerError, Some(500), false),
        (
            Door { error_rate: 1.0, error_status: 529, ..Door::default() },
            FailureKind::Overloaded,
            Some(529),
            false,
        ),
        (
            Door { grants: Grants { requests_per_minute: Some(0), ..Grants::default() }, ..Door::default() },
            FailureKind::RateLimited,
            Some(429),
            false,
        ),
    ] {
        pool.set_door(door);
        let failure = whole(&pool, Ask::Chat(chat("x"))).await.unwrap_err();
        assert_eq!((failure.kind, failure.status, failure.unprocessed), (kind, status, unprocessed));
    }
    let mut elsewhere = attempt(Ask::Chat(chat("x")), false);
    elsewhere.address = Arc::new(Address { origin: Arc::from("sim://p/1"), socket: None });
    assert_eq!(pool.call(elsewhere).await.unwrap_err().kind, FailureKind::Connect);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_contact_breaks_what_is_under_way() {
    let contact = ContactWindow {
        period: Duration::from_secs(100),
        length: Duration::from_secs(2),
        anchor: Timestamp::from_millis(0),
    };
    let pool = pool(Settings { door: Door { contact: Some(contact), ..Door::default() }, ..settings() });
    let (deltas, end) = read(&pool, Ask::Chat(limited("x", 50))).await;
    assert_eq!(end.unwrap_err().kind, FailureKind::Disconnected);
    near(pool.0.clock.mono().as_secs_f64(), 2.0);
    assert!((8..=11).contains(&deltas.len()), "{}", deltas.len());
    let closed = whole(&pool, Ask::Chat(chat("x"))).await.unwrap_err();
    assert_eq!((closed.kind, closed.retry_after), (FailureKind::Connect, Some(Duration::from_secs(98))));
}

/// The pool of the test before, behind a second of network.
#[tokio::test(start_paused = true)]
async fn what_was_made_before_the_end_of_contact_still_arrives() {
    let contact = ContactWindow {
        period: Duration::from_secs(100),
        length: Duration::from_secs(3),
        anchor: Timestamp::from_millis(0),
    };
    let door = Door { contact: Some(contact), delay: Duration::from_secs(1), ..Door::default() };
    let pool = pool(Settings { door, ..settings() });
    let (deltas, end) = read(&pool, Ask::Chat(limited("x", 50))).await;
    assert_eq!(end.unwrap_err().kind, FailureKind::Disconnected);
    near(pool.0.clock.mono().as_secs_f64(), 4.0);
    assert!((8..=11).contains(&deltas.len()), "{}", deltas.len());
}

#[tokio::test(start_paused = true)]
async fn a_cut_is_heard_of_as_late_as_the_network_is_long() {
    let delay = Duration::from_secs(3);
    let door = Door { truncate_rate: 1.0, truncate_after: 0, delay, ..Door::default() };
    let pool = pool(Settings { door, ..settings() });
    whole(&pool, Ask::Chat(limited("x", 10))).await.unwrap_err();
    near(pool.0.clock.mono().as_secs_f64(), 6.0);
}

#[tokio::test(start_paused = true)]
async fn vectors_count_as_no_tokens_against_a_quota() {
    let quota = Quota { tokens: 2, every: Duration::from_secs(100), anchor: Timestamp::from_millis(0) };
    let door = Door { grants: Grants { quota: Some(quota), ..Grants::default() }, ..Door::default() };
    let pool = pool(Settings { door, ..settings() });
    assert!(whole(&pool, Ask::Embed(embed("eightchr"))).await.is_ok());
    let failure = whole(&pool, Ask::Embed(embed("x"))).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::QuotaExhausted);
}

#[tokio::test(start_paused = true)]
async fn what_no_model_takes_is_the_callers_mistake_and_says_which() {
    let pool = pool(Settings { context_window: Some(100), models: vec![Arc::from("m")], ..settings() });
    let crowd = Sampling { n: Some(1_000), ..Sampling::default() };
    let failure = whole(&pool, Ask::Chat(Chat { sampling: crowd, ..chat("x") })).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::BadRequest);
    assert_eq!(failure.detail.unwrap().param.as_deref(), Some("n"));
    let long = whole(&pool, Ask::Chat(limited("x", 100))).await.unwrap_err();
    assert_eq!(long.kind, FailureKind::ContextTooLong);
    let mut unknown = attempt(Ask::Chat(chat("x")), false);
    unknown.upstream_model = Arc::from("q");
    assert_eq!(pool.call(unknown).await.unwrap_err().kind, FailureKind::ModelMissing);
}

fn embed(text: &str) -> Embed {
    Embed { inputs: vec![EmbedInput::Text(text.to_owned())], ..Embed::default() }
}

#[tokio::test(start_paused = true)]
async fn vectors_have_length_one_the_size_asked_for_and_repeat() {
    let pool = pool(settings());
    let vectors = async |ask| match whole(&pool, Ask::Embed(ask)).await.unwrap() {
        (Answer::Embedded(e), usage) => (e.vectors, usage),
        (Answer::Generated(_), _) => panic!("vectors were asked for"),
    };
    let (one, usage) = vectors(embed("a text")).await;
    assert_eq!((one[0].len(), usage.input, usage.output), (256, 2, 0));
    assert_eq!(one, vectors(embed("a text")).await.0);
    assert_ne!(one, vectors(embed("another")).await.0);
    let short = vectors(Embed { dimensions: Some(8), ..embed("a text") }).await.0;
    assert_eq!(short[0].len(), 8);
    let norm: f32 = short[0].iter().map(|x| x * x).sum();
    assert!((norm - 1.0).abs() < 1e-5);
    let none = Embed { dimensions: Some(0), ..embed("a text") };
    assert_eq!(whole(&pool, Ask::Embed(none)).await.unwrap_err().kind, FailureKind::BadRequest);
}

#[tokio::test(start_paused = true)]
async fn a_completion_echoes_its_prompts_and_answers_each() {
    let pool = pool(settings());
    let prompts = vec!["Once".to_owned(), "Twice".to_owned()];
    let sampling = Sampling { n: Some(2), max_tokens: Some(5), ..Sampling::default() };
    let ask = Completion { prompts, echo: true, suffix: None, sampling };
    let all = choices(&pool, Ask::Completion(ask)).await;
    assert_eq!(all.len(), 4);
    assert!(text(&all[1]).starts_with("Once") && text(&all[2]).starts_with("Twice"));
}

#[tokio::test(start_paused = true)]
async fn log_probabilities_spell_the_text_they_are_about() {
    let pool = pool(settings());
    let sampling = Sampling { logprobs: Some(2), max_tokens: Some(6), ..Sampling::default() };
    let ask = Chat { sampling: sampling.clone(), ..chat("x") };
    let chosen = choices(&pool, Ask::Chat(ask.clone())).await.remove(0);
    let table: Value = serde_json::from_str(chosen.logprobs.as_ref().unwrap().get()).unwrap();
    let tokens = table["content"].as_array().unwrap();
    let spelt: String = tokens.iter().map(|t| t["token"].as_str().unwrap()).collect();
    assert_eq!(spelt, text(&chosen));
    assert!(tokens.iter().all(|t| t["logprob"].as_f64().unwrap() < 0.0 && t["top_logprobs"].as_array().unwrap().len() == 2));
    let legacy = Completion { prompts: vec!["p".to_owned()], sampling, ..Completion::default() };
    let chosen = choices(&pool, Ask::Completion(legacy)).await.remove(0);
    let table: Value = serde_json::from_str(chosen.logprobs.unwrap().get()).unwrap();
    assert_eq!(table["tokens"].as_array().unwrap().len(), table["text_offset"].as_array().unwrap().len());
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_run() {
    let run = async || {
        let door = Door { error_rate: 0.2, truncate_rate: 0.2, truncate_after: 3, ..Door::default() };
        let pool = pool(Settings { door, seed: 42, ..settings() });
        let mut log = Vec::new();
        let started = pool.0.clock.mono();
        for call in 0..30 {
            let mut attempt = attempt(Ask::Chat(limited("x", 6)), false);
            attempt.call = CallId(call);
            let end = pool.call(attempt).await.map(|_| ()).map_err(|f| f.kind);
            log.push((pool.0.clock.mono().since(started), end));
        }
        log
    };
    let first = run().await;
    assert_eq!(first, run().await);
    assert!(first.iter().any(|(_, e)| e.is_ok()) && first.iter().any(|(_, e)| e.is_err()));
}
