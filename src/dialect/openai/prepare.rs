//! Pass-through of a request: the client's own bytes, with the model's name replaced and usage asked for.
//!
//! Everything else goes on byte for byte, in its order, known to us or not.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use serde_json::value::RawValue;

use super::peek::{Top, top};
use crate::domain::AskKind;

/// What a request that is passed through asks of the reader of its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// The answer will be streamed.
    pub stream: bool,
    /// Ask for usage in the stream. Some servers know no `stream_options` and refuse them.
    pub ask_usage: bool,
}

/// The same bytes with another model, and (streamed) with usage asked for. Unknown fields survive byte for byte. A
/// body that is not a JSON object goes on as it is: the upstream will say what is wrong with it.
pub fn prepare_request(kind: AskKind, body: &Bytes, model: &str, stream: bool) -> Bytes {
    prepare(kind, body, model, Options { stream, ask_usage: true })
}

/// [`prepare_request`] for servers that differ.
pub fn prepare(kind: AskKind, body: &Bytes, model: &str, options: Options) -> Bytes {
    let Ok(top) = top(body) else { return body.clone() };
    let mut edits: Vec<(Range<usize>, Bytes)> = Vec::new();
    if let Some(old) = top.model {
        let new = quoted(model);
        if old.get().as_bytes() != new {
            edits.push((span(body, old.get()), new));
        }
    }
    if kind != AskKind::Embed && options.stream && options.ask_usage {
        edits.extend(usage_edit(body, &top));
    }
    splice(body, edits)
}

/// Asks for usage: into `stream_options` if it is there, else as a new last member.
fn usage_edit(body: &Bytes, top: &Top<'_>) -> Option<(Range<usize>, Bytes)> {
    let Some(options) = top.stream_options else {
        let end = memchr::memrchr(b'}', body)?;
        return Some((end..end, Bytes::from_static(br#","stream_options":{"include_usage":true}"#)));
    };
    let at = span(body, options.get());
    let Ok(members) = serde_json::from_str::<Members<'_>>(options.get()) else {
        return options.get().eq("null").then_some((at, Bytes::from_static(br#"{"include_usage":true}"#)));
    };
    match members.include_usage {
        Some(asked) if asked.get() == "true" => None,
        Some(asked) => Some((span(body, asked.get()), Bytes::from_static(b"true"))),
        None => {
            let empty = options.get()[1..].trim_start().starts_with('}');
            let member: &[u8] = if empty { br#""include_usage":true"# } else { br#""include_usage":true,"# };
            Some((at.start + 1..at.start + 1, Bytes::from_static(member)))
        }
    }
}

#[derive(serde::Deserialize)]
struct Members<'a> {
    #[serde(borrow, default, deserialize_with = "super::peek::present")]
    include_usage: Option<&'a RawValue>,
}

/// Where `part` stands in `whole`, of which it must be a slice.
pub(super) fn span(whole: &[u8], part: &str) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    start..start + part.len()
}

/// `text` as a JSON string.
pub(super) fn quoted(text: &str) -> Bytes {
    serde_json::to_vec(text).unwrap_or_else(|_| b"\"\"".to_vec()).into()
}

/// `body` with each range replaced. The ranges must not overlap.
pub(super) fn splice(body: &Bytes, mut edits: Vec<(Range<usize>, Bytes)>) -> Bytes {
    if edits.is_empty() {
        return body.clone();
    }
    edits.sort_by_key(|(range, _)| range.start);
    let grown: usize = edits.iter().map(|(_, new)| new.len()).sum();
    let mut out = BytesMut::with_capacity(body.len() + grown);
    let mut at = 0;
    for (range, new) in &edits {
        out.extend_from_slice(&body[at..range.start]);
        out.extend_from_slice(new);
        at = range.end;
    }
    out.extend_from_slice(&body[at..]);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(body: &str, stream: bool) -> String {
        let out = prepare_request(AskKind::Chat, &Bytes::copy_from_slice(body.as_bytes()), "up", stream);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn only_the_model_changes() {
        let body = "{ \"x\" : 1e999,\t\"model\" : \"mine\" , \"z\":\"\\u00fc\"}\n";
        assert_eq!(prepared(body, false), body.replace("\"mine\"", "\"up\""));
        let same = Bytes::from_static(br#"{"model":"up","messages":[]}"#);
        assert_eq!(prepare_request(AskKind::Chat, &same, "up", false).as_ptr(), same.as_ptr());
    }

    #[test]
    fn a_streamed_request_asks_for_usage() {
        let usage = r#""include_usage":true"#;
        for (before, after) in [
            (r#"{"model":"m"}"#, format!(r#"{{"model":"up","stream_options":{{{usage}}}}}"#)),
            (
                r#"{"stream_options":{},"model":"m"}"#,
                format!(r#"{{"stream_options":{{{usage}}},"model":"up"}}"#),
            ),
            (
                r#"{"stream_options": { "a":1},"model":"m"}"#,
                format!(r#"{{"stream_options": {{{usage}, "a":1}},"model":"up"}}"#),
            ),
            (
                r#"{"model":"m","stream_options":{"include_usage":false}}"#,
                format!(r#"{{"model":"up","stream_options":{{{usage}}}}}"#),
            ),
            (
                r#"{"model":"m","stream_options":null}"#,
                format!(r#"{{"model":"up","stream_options":{{{usage}}}}}"#),
            ),
            (
                r#"{"model":"m","stream_options":{"include_usage":null}}"#,
                format!(r#"{{"model":"up","stream_options":{{{usage}}}}}"#),
            ),
            (
                r#"{"model":"m","stream_options":{"include_usage":true}}"#,
                format!(r#"{{"model":"up","stream_options":{{{usage}}}}}"#),
            ),
        ] {
            assert_eq!(prepared(before, true), after);
            serde_json::from_str::<serde_json::Value>(&after).unwrap();
        }
    }

    #[test]
    fn an_embedding_and_a_server_without_stream_options_get_none() {
        let body = Bytes::from_static(br#"{"model":"m"}"#);
        assert_eq!(prepare_request(AskKind::Embed, &body, "m", true), body);
        let options = Options { stream: true, ask_usage: false };
        assert_eq!(prepare(AskKind::Chat, &body, "m", options), body);
    }

    #[test]
    fn a_model_name_cannot_break_out_of_its_string() {
        let body = Bytes::from_static(br#"{"model":"m"}"#);
        let out = prepare_request(AskKind::Chat, &body, "a\"},{\"b", false);
        let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(json["model"], "a\"},{\"b");
    }
}
