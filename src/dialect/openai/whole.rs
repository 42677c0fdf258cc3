//! A whole answer on its way through: the model's name put back, usage read, everything else as it came.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::decode_inner_error;
use super::prepare::{quoted, span, splice};
use super::survey::survey;
use super::usage;
use crate::domain::{AskKind, Failure, FailureKind, Usage};

#[derive(Deserialize)]
struct Top<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    usage: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
    object: Option<&'a RawValue>,
    choices: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
}

/// The answer as the client may have it, and what it used: the upstream's count if it is credible, else ours.
pub fn relay_whole(
    kind: AskKind,
    body: &Bytes,
    client_model: &str,
    own_input: u64,
) -> Result<(Bytes, Usage), Failure> {
    let text = std::str::from_utf8(body).map_err(|_| not_an_answer("it is not UTF-8"))?;
    let top: Top<'_> = serde_json::from_str(text).map_err(|_| not_an_answer("it is not a JSON object"))?;
    if top.error.is_some() || top.object.is_some_and(|o| o.get() == "\"error\"") {
        return Err(decode_inner_error(body));
    }
    let list = match kind {
        AskKind::Chat | AskKind::Completion => top.choices,
        AskKind::Embed => top.data,
    };
    let found = list.map(|l| survey(l.get().as_bytes()));
    let Some(found) = found.filter(|f| f.depth > 1) else {
        return Err(not_an_answer("it holds no choices"));
    };
    // A token for every four bytes of text, as for prompts.
    let own_output = if kind == AskKind::Embed { 0 } else { found.text.div_ceil(4) };
    let used = usage::settle(top.usage.and_then(usage::read), own_input, own_output);
    let model = quoted(client_model);
    let edits = top
        .model
        .filter(|old| old.get().starts_with('"') && old.get().as_bytes() != model)
        .map(|old| (span(body, old.get()), model))
        .into_iter()
        .collect();
    Ok((splice(body, edits), used))
}

fn not_an_answer(why: &str) -> Failure {
    Failure::new(FailureKind::BadResponse, format!("the upstream's answer cannot be read: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::UsageSource;

    const ANSWER: &str = r#"{"id":"x", "choices":[{"index":0,"message":{"model":"no","content":"hello you"}}],"x":1.10, "model":"up","usage":{"prompt_tokens":3,"completion_tokens":2}}"#;

    fn relay(json: &str) -> Result<(Bytes, Usage), Failure> {
        relay_whole(AskKind::Chat, &Bytes::copy_from_slice(json.as_bytes()), "mine", 9)
    }

    #[test]
    fn only_the_model_changes_and_usage_is_read() {
        let (bytes, usage) = relay(ANSWER).unwrap();
        assert_eq!(bytes, ANSWER.replace("\"up\"", "\"mine\""));
        assert_eq!((usage.input, usage.output, usage.source), (3, 2, UsageSource::Reported));
        let body = Bytes::from(ANSWER);
        let (same, _) = relay_whole(AskKind::Chat, &body, "up", 9).unwrap();
        assert_eq!(same.as_ptr(), body.as_ptr());
    }

    #[test]
    fn absent_or_absurd_usage_is_estimated() {
        for usage in ["null", "{}", r#"{"prompt_tokens":-3,"completion_tokens":2}"#, "7"] {
            let json = format!(r#"{{"choices":[{{"message":{{"content":"12345678"}}}}],"usage":{usage}}}"#);
            let (_, used) = relay(&json).unwrap();
            assert_eq!((used.input, used.output, used.source), (9, 2, UsageSource::Estimated), "{usage}");
        }
    }

    #[test]
    fn a_two_hundred_that_holds_no_answer_is_a_failure() {
        for (body, kind) in [
            ("<html></html>", FailureKind::BadResponse),
            ("", FailureKind::BadResponse),
            ("{}", FailureKind::BadResponse),
            (r#"{"choices":[]}"#, FailureKind::BadResponse),
            (r#"{"error":{"code":429,"message":"slow down"}}"#, FailureKind::RateLimited),
            (r#"{"error":{"code":"content_filter","status":400}}"#, FailureKind::ContentFilter),
        ] {
            assert_eq!(relay(body).unwrap_err().kind, kind, "{body}");
        }
    }
}
