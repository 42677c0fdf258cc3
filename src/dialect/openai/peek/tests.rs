use super::*;

fn chat(json: &str) -> Result<Peek, FieldError> {
    peek(AskKind::Chat, &Bytes::copy_from_slice(json.as_bytes()))
}

fn field(json: &str) -> String {
    chat(json).unwrap_err().field.unwrap_or_default()
}

#[test]
fn a_plain_chat_is_read() {
    let found = chat(r#"{"model":"m","messages":[{"role":"user","content":"12345678"}]}"#).unwrap();
    assert_eq!(
        found,
        Peek {
            model: "m".into(),
            stream: false,
            stream_usage: false,
            max_tokens: None,
            n: 1,
            needs: Capabilities::CHAT,
            input_tokens: 3,
            session: None,
        }
    );
}

#[test]
fn everything_that_routing_asks_is_read() {
    let found = chat(
        r#"{"model":"a\u002fb","stream":true,"stream_options":{"include_usage":true},"n":2,"max_tokens":5,
        "max_completion_tokens":7,"logprobs":true,"response_format":{"type":"json_object"},"prompt_cache_key":"s",
        "tools":[{"type":"function","function":{"name":"f"}}],"unknown":[1,{"x":null}],
        "messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AA"}}]}]}"#,
    )
    .unwrap();
    assert_eq!((found.model.as_str(), found.n, found.max_tokens), ("a/b", 2, Some(7)));
    assert!(found.stream && found.stream_usage);
    assert_eq!(found.session.as_deref(), Some("s"));
    let names: Vec<_> = found.needs.names().collect();
    assert_eq!(names, ["chat", "stream", "tools", "images", "json", "logprobs", "n"]);
    assert!(found.input_tokens > 765 && found.input_tokens < 800, "{}", found.input_tokens);
}

#[test]
fn an_embedding_is_read_and_never_streamed() {
    let body = Bytes::from_static(br#"{"model":"e","input":[[1,2,3],[4]],"stream":true}"#);
    let found = peek(AskKind::Embed, &body).unwrap();
    assert_eq!((found.needs, found.stream, found.input_tokens), (Capabilities::EMBED, false, 4));
}

#[test]
fn the_wrong_field_is_named() {
    assert_eq!(field(r#"{"messages":[]}"#), "model");
    assert_eq!(field(r#"{"model":7,"messages":[]}"#), "model");
    assert_eq!(field(r#"{"model":null,"messages":[]}"#), "model");
    assert_eq!(field(r#"{"model":"m"}"#), "messages");
    assert_eq!(field(r#"{"model":"m","messages":[],"n":0}"#), "n");
    assert_eq!(field(r#"{"model":"m","messages":[],"max_tokens":-1}"#), "max_tokens");
    assert_eq!(field(r#"{"model":"m","messages":[],"stream":"yes"}"#), "stream");
    let long = format!(r#"{{"model":"{}","messages":[]}}"#, "m".repeat(300));
    assert_eq!(field(&long), "model");
}

#[test]
fn s12_a_request_cannot_choose_where_it_goes() {
    for (member, at) in [
        (r#""api_base":"http://x""#, "api_base"),
        (r#""base_url":"http://x""#, "base_url"),
        (r#""metadata":{"api_base":"http://x"}"#, "metadata.api_base"),
        (r#""extra_body":{"a":1,"base_url":"x"}"#, "extra_body.base_url"),
    ] {
        assert_eq!(field(&format!(r#"{{"model":"m","messages":[],{member}}}"#)), at);
    }
}

#[test]
fn s08_hostile_json_is_refused_and_never_panics() {
    let deep = format!(r#"{{"model":"m","messages":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    assert!(chat(&deep).unwrap_err().message.contains("nested"));
    for bad in [
        "",
        "[]",
        "7",
        "{",
        r#"{"model":"a","model":"b","messages":[]}"#,
        r#"{"model":"m","messages":[],}"#,
        "{\"model\":\"m\u{0}\",\"messages\":[]}",
        r#"{"model":"m","messages":[1e]}"#,
        r#"{"model":"\ud800","messages":[]}"#,
    ] {
        assert!(chat(bad).is_err(), "{bad}");
    }
    assert!(peek(AskKind::Chat, &Bytes::from_static(b"{\"model\":\"\xff\"}")).is_err());
    assert!(chat(r#"{"model":"m","messages":[],"temperature":1e999}"#).is_ok(), "not ours to judge");
}

#[test]
fn the_choices_of_an_answer_are_counted() {
    let count = |json: &str| choices(AskKind::Completion, json.as_bytes());
    assert_eq!(count(r#"{"prompt":"a"}"#), 1);
    assert_eq!(count(r#"{"prompt":["a","b"],"n":2}"#), 4);
    assert_eq!(count(r#"{"prompt":[1,2,3],"n":2}"#), 2);
    assert_eq!(count(r#"{"prompt":[[1],[2]]}"#), 2);
    assert_eq!(count("nonsense"), 1);
    assert_eq!(choices(AskKind::Chat, br#"{"n":3,"prompt":["a","b"]}"#), 3);
}
