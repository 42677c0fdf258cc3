use std::sync::Arc;

use serde_json::Value;

use super::*;
use crate::dialect::sse::Framer;
use crate::domain::UsageSource;

fn encoder(kind: AskKind, include_usage: bool) -> StreamEncoder {
    StreamEncoder::new(kind, Meta { id: "id".into(), created: 5, model: Arc::from("m") }, include_usage)
}

fn events(bytes: Bytes) -> Vec<String> {
    let batch = Framer::default().push(bytes);
    batch.events().map(|e| String::from_utf8(e.data.bytes().to_vec()).unwrap()).collect()
}

fn all() -> Vec<Delta> {
    vec![
        Delta::Reasoning { choice: 0, text: "hm".into() },
        Delta::Text { choice: 0, text: "a\n\"é".into(), logprobs: None },
        Delta::Refusal { choice: 1, text: "no".into() },
        Delta::ToolCall {
            choice: 0,
            index: 0,
            id: Some("c".into()),
            name: Some("f".into()),
            arguments: String::new(),
        },
        Delta::ToolCall { choice: 0, index: 0, id: None, name: None, arguments: "{}".into() },
        Delta::Finish { choice: 0, reason: FinishReason::ToolCalls },
        Delta::Finish { choice: 1, reason: FinishReason::Stop },
    ]
}

#[test]
fn what_is_written_reads_back_the_same() {
    let usage =
        Usage { input: 9, cached: 3, output: 4, reasoning: 1, source: UsageSource::Reported, cache_write: 0 };
    let mut encoder = encoder(AskKind::Chat, true);
    let mut written = events(encoder.push(&all()));
    written.extend(events(encoder.finish(&usage)));
    assert_eq!(written.pop().as_deref(), Some("[DONE]"));
    let read: Vec<Delta> =
        written.iter().flat_map(|e| decode_chunk(AskKind::Chat, e.as_bytes()).unwrap()).collect();
    let mut expected = all();
    expected.push(Delta::Usage(usage));
    assert_eq!(format!("{read:?}"), format!("{expected:?}"));
}

#[test]
fn chunks_have_openais_form() {
    let mut encoder = encoder(AskKind::Chat, true);
    let text = |t: &str| Delta::Text { choice: 0, text: t.into(), logprobs: None };
    let written = events(encoder.push(&[text("a"), text("b")]));
    assert_eq!(
        written[0],
        r#"{"id":"id","object":"chat.completion.chunk","created":5,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"a"},"logprobs":null,"finish_reason":null}],"usage":null}"#
    );
    let second: Value = serde_json::from_str(&written[1]).unwrap();
    assert_eq!(second["choices"][0]["delta"], serde_json::json!({"content":"b"}), "one role a choice");
}

#[test]
fn completions_have_text_and_no_usage_unless_asked() {
    let mut encoder = encoder(AskKind::Completion, false);
    let written = events(encoder.push(&all()));
    let first: Value = serde_json::from_str(&written[0]).unwrap();
    assert_eq!(
        (&first["object"], &first["choices"][0]["text"]),
        (&"text_completion".into(), &"a\n\"é".into())
    );
    assert!(first.get("usage").is_none());
    let read: Vec<Delta> =
        written.iter().flat_map(|e| decode_chunk(AskKind::Completion, e.as_bytes()).unwrap()).collect();
    assert_eq!(read.len(), 3);
    assert_eq!(encoder.finish(&Usage::default()), "data: [DONE]\n\n");
}

#[test]
fn engines_peculiarities_are_understood() {
    let read = |json: &str| format!("{:?}", decode_chunk(AskKind::Chat, json.as_bytes()).unwrap());
    let parts = r#"{"choices":[{"delta":{"content":[{"type":"text","text":"a"},{"type":"thinking"},{"type":"text","text":"b"}]}}]}"#;
    assert!(read(parts).contains(r#"text: "ab""#));
    let object = r#"{"choices":[{"delta":{"tool_calls":[{"function":{"name":"f","arguments":{"a":1}}}]}}]}"#;
    assert!(read(object).contains(r#"arguments: "{\"a\":1}""#));
    let legacy = r#"{"choices":[{"delta":{"function_call":{"name":"f","arguments":""}}}]}"#;
    assert!(read(legacy).contains("ToolCall"));
    let both = r#"{"choices":[{"delta":{"content":"","reasoning":"x"},"finish_reason":"eos_token"}]}"#;
    assert!(read(both).contains("Reasoning") && read(both).contains("Stop"));
}

#[test]
fn errors_and_nonsense_are_told_apart() {
    let error = |json: &str| decode_chunk(AskKind::Chat, json.as_bytes()).unwrap_err();
    assert!(matches!(error(r#"{"error":{"code":503}}"#), ChunkError::Failed(_)));
    assert!(matches!(error(r#"{"choices":[{"delta":{},"finish_reason":"error"}]}"#), ChunkError::Failed(_)));
    for bad in ["", "{}", "7", r#"{"choices":[{"index":"x"}]}"#, r#"{"choices":{}}"#] {
        assert!(matches!(error(bad), ChunkError::Malformed(_)), "{bad}");
    }
}
