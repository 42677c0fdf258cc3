use serde_json::Value;

use super::*;
use crate::dialect::openai::encode_request;

fn wrong(kind: AskKind, json: &str) -> String {
    decode_request(kind, json.as_bytes()).unwrap_err().field.unwrap_or_default()
}

fn with_message(message: &str) -> String {
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":"a"}},{message}]}}"#)
}

#[test]
fn the_wrong_field_is_named_as_openai_spells_it() {
    for (message, field) in [
        (r#"{"role":"user","content":[{"type":"video"}]}"#, "messages[1].content[0].type"),
        (r#"{"role":"user","content":[{"type":"text"}]}"#, "messages[1].content[0].text"),
        (r#"{"role":"user"}"#, "messages[1].content"),
        (r#"{"role":"user","content":7}"#, "messages[1].content"),
        (r#"{"role":"robot","content":"x"}"#, "messages[1].role"),
        (r#"{"content":"x"}"#, "messages[1].role"),
        (r#"{"role":"assistant"}"#, "messages[1].content"),
        (r#"{"role":"tool","content":"x"}"#, "messages[1].tool_call_id"),
        (
            r#"{"role":"assistant","tool_calls":[{"id":"a","function":{"name":"f"}}]}"#,
            "messages[1].tool_calls[0].function.arguments",
        ),
        (
            r#"{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,%"}}]}"#,
            "messages[1].content[0].image_url.url",
        ),
        (r#"{"role":"user","role":"system","content":"x"}"#, "messages[1]"),
        ("7", "messages[1]"),
    ] {
        assert_eq!(wrong(AskKind::Chat, &with_message(message)), field, "{message}");
    }
    for (member, field) in [
        (r#""temperature":3"#, "temperature"),
        (r#""temperature":"hot""#, "temperature"),
        (r#""tools":[{"type":"function","function":{}}]"#, "tools[0].function.name"),
        (r#""tools":[{"type":"custom"}]"#, "tools[0].type"),
        (r#""tool_choice":"maybe""#, "tool_choice"),
        (r#""response_format":{"type":"xml"}"#, "response_format.type"),
        (r#""n":0"#, "n"),
        (r#""stop":[1]"#, "stop[0]"),
        (r#""service_tier":"priority""#, "service_tier"),
        (r#""modalities":["text","audio"]"#, "modalities[1]"),
    ] {
        let json = format!(r#"{{"model":"m","messages":[],{member}}}"#);
        assert_eq!(wrong(AskKind::Chat, &json), field, "{member}");
    }
    assert_eq!(wrong(AskKind::Completion, r#"{"prompt":[1,2]}"#), "prompt[0]");
    assert_eq!(wrong(AskKind::Embed, r#"{"input":[]}"#), "input");
    assert_eq!(wrong(AskKind::Embed, r#"{"input":"a","encoding_format":"hex"}"#), "encoding_format");
    assert_eq!(wrong(AskKind::Embed, "{}"), "input");
}

#[test]
fn hostile_json_is_refused_and_never_panics() {
    let deep = format!(r#"{{"messages":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    assert!(decode_request(AskKind::Chat, deep.as_bytes()).is_err());
    for bad in ["", "[]", "{", "{\"messages\":[{}]}", "{\"a\":1,\"a\":2}"] {
        assert!(decode_request(AskKind::Chat, bad.as_bytes()).is_err(), "{bad}");
    }
}

/// Reads, writes and compares as JSON.
fn round_trip(kind: AskKind, json: &str, stream: bool) {
    let ask = decode_request(kind, json.as_bytes()).unwrap();
    let written = encode_request(&ask, "m", stream);
    let (written, expected): (Value, Value) =
        (serde_json::from_slice(&written).unwrap(), serde_json::from_str(json).unwrap());
    assert_eq!(written, expected);
}

#[test]
fn a_chat_survives_the_way_through_canonical_form() {
    round_trip(
        AskKind::Chat,
        r#"{"model":"m","messages":[
        {"role":"system","content":"be brief"},
        {"role":"user","name":"ann","content":[{"type":"text","text":"what?"},
            {"type":"image_url","image_url":{"url":"data:image/png;base64,AAEC","detail":"low"}},
            {"type":"image_url","image_url":{"url":"https://x/y.png"}}]},
        {"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\": 1}"}}]},
        {"role":"tool","tool_call_id":"c1","content":"7"},
        {"role":"assistant","content":"seven","reasoning_content":"hm"}],
        "tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object","properties":{"z":{},"a":{}}},"strict":true}}],
        "tool_choice":{"type":"function","function":{"name":"f"}},"parallel_tool_calls":false,
        "response_format":{"type":"json_schema","json_schema":{"name":"s","schema":{"type":"object"},"strict":true}},
        "max_tokens":9,"temperature":0.5,"top_p":0.9,"top_k":40,"stop":["x","y"],"n":2,"seed":-3,"presence_penalty":1.0,
        "frequency_penalty":-1.0,"logprobs":true,"top_logprobs":2,"user":"u",
        "stream":true,"stream_options":{"include_usage":true}}"#,
        true,
    );
}

#[test]
fn completions_and_embeddings_survive_too() {
    round_trip(
        AskKind::Completion,
        r#"{"model":"m","prompt":["a","b"],"echo":true,"suffix":"s","logprobs":3,"max_tokens":5}"#,
        false,
    );
    round_trip(AskKind::Completion, r#"{"model":"m","prompt":"a"}"#, false);
    round_trip(AskKind::Embed, r#"{"model":"m","input":["a",[1,2]],"dimensions":8}"#, false);
    let ids = decode_request(AskKind::Embed, br#"{"input":[1,2],"encoding_format":"base64"}"#).unwrap();
    let Ask::Embed(embed) = ids else { panic!("an embedding") };
    assert!(embed.base64 && matches!(embed.inputs.as_slice(), [EmbedInput::Tokens(t)] if t == &[1, 2]));
}

#[test]
fn schemas_keep_the_order_of_their_members() {
    let json =
        r#"{"messages":[],"tools":[{"type":"function","function":{"name":"f","parameters":{"z":1,"a":2}}}]}"#;
    let ask = decode_request(AskKind::Chat, json.as_bytes()).unwrap();
    let written = encode_request(&ask, "m", false);
    assert!(String::from_utf8_lossy(&written).contains(r#"{"z":1,"a":2}"#));
}

#[test]
fn deprecated_functions_become_tools() {
    let json = r#"{"messages":[
        {"role":"assistant","content":null,"function_call":{"name":"f","arguments":"{}"}},
        {"role":"function","name":"f","content":"7"}],"functions":[{"name":"f"}]}"#;
    let Ask::Chat(chat) = decode_request(AskKind::Chat, json.as_bytes()).unwrap() else { panic!("a chat") };
    assert_eq!(chat.tools.len(), 1);
    assert!(matches!(&chat.messages[0].parts[0], Part::ToolCall(call) if call.id == "f"));
    assert!(matches!(&chat.messages[1].parts[0], Part::ToolResult { call_id, .. } if call_id == "f"));
}
