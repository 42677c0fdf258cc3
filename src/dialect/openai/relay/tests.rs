use proptest::prelude::*;

use super::*;
use crate::domain::UsageSource;

pub(super) fn terms(form: Form, usage_asked: bool) -> Terms {
    let client_model = Arc::from("m");
    Terms { kind: AskKind::Chat, client_model, usage_asked, choices: 1, own_input: 7, form }
}

fn chunk(delta: &str, finish: &str) -> String {
    format!(
        r#"data: {{"id":"x","model":"m","choices":[{{"index":0,"delta":{delta},"finish_reason":{finish}}}]}}{}"#,
        "\n\n"
    )
}

fn role() -> String {
    chunk(r#"{"role":"assistant","content":""}"#, "null")
}

fn text() -> String {
    chunk(r#"{"content":"a"}"#, "null")
}

fn stop() -> String {
    chunk("{}", "\"stop\"")
}

const USAGE: &str =
    "data: {\"choices\":[],\"model\":\"m\",\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n";
const END: &str = "data: [DONE]\n\n";

struct Outcome {
    bytes: String,
    content: u32,
    usage: Option<Usage>,
    end: Result<(), FailureKind>,
}

fn run(terms: Terms, text: &str) -> Outcome {
    let mut relay = Relay::new(terms);
    let first = relay.push(Bytes::copy_from_slice(text.as_bytes()));
    let (mut bytes, mut content) = (first.bytes.to_vec(), first.content_events);
    let end = first.end.unwrap_or_else(|| {
        let last = relay.closed(None);
        bytes.extend_from_slice(&last.bytes);
        content += last.content_events;
        last.end.unwrap()
    });
    let bytes = String::from_utf8(bytes).unwrap();
    Outcome { bytes, content, usage: relay.usage(), end: end.map_err(|f| f.kind) }
}

fn relayed(text: &str) -> Outcome {
    run(terms(Form::Bytes, true), text)
}

#[test]
fn a_whole_stream_goes_through_unchanged_and_uncopied() {
    let text = [&*role(), &text(), &text(), &stop(), USAGE, END].concat();
    let read = Bytes::from(text.clone());
    let mut relay = Relay::new(terms(Form::Bytes, true));
    let step = relay.push(read.clone());
    assert_eq!(step.bytes, text);
    assert_eq!(step.bytes.as_ptr(), read.as_ptr());
    assert_eq!((step.content_events, step.end), (2, Some(Ok(()))));
    assert_eq!(step.usage.unwrap().source, UsageSource::Reported);
    assert!(relay.push(Bytes::from("data: x\n\n")).end.is_none(), "over is over");
}

#[test]
fn the_clients_name_of_the_model_is_put_back_everywhere() {
    let text =
        [role(), text(), stop()].concat().replace(r#""model":"m""#, r#""model":"vendor\/m-2025""#) + END;
    assert_eq!(relayed(&text).bytes, text.replace(r#""vendor\/m-2025""#, r#""m""#));
}

#[test]
fn only_the_usage_chunk_is_taken_out_and_only_if_nobody_asked() {
    let azure = "data: {\"choices\":[],\"prompt_filter_results\":[],\"model\":\"\"}\n\n";
    let text = [azure, &*role(), &text(), &stop(), USAGE, END].concat();
    let out = run(terms(Form::Bytes, false), &text);
    assert_eq!(out.bytes, text.replace(USAGE, "").replace("\"model\":\"\"", "\"model\":\"m\""));
    assert_eq!(out.usage.unwrap().input, 3);
}

#[test]
fn p17_an_end_without_done_is_mended_if_every_choice_ended() {
    let text = [role(), text(), stop()].concat();
    let out = relayed(&text);
    assert_eq!((out.bytes, out.end), (text.clone() + END, Ok(())));
    let cut = text.trim_end();
    assert_eq!(relayed(cut).bytes, text.clone() + END, "even without the last blank line");
    assert_eq!(relayed(&(text.clone() + "data: [DONE]")).bytes, text + END);
}

#[test]
fn p16_an_end_before_every_choice_ended_is_truncated() {
    let two = Terms { choices: 2, ..terms(Form::Bytes, true) };
    let text = [role(), text()].concat();
    for (terms, text) in [
        (terms(Form::Bytes, true), text.clone()),
        (terms(Form::Bytes, true), String::new()),
        (terms(Form::Bytes, true), END.to_owned()),
        (terms(Form::Bytes, true), ": ping\n\n".to_owned()),
        (two, text + &stop()),
    ] {
        assert_eq!(run(terms, &text).end, Err(FailureKind::Truncated), "{text}");
    }
}

#[test]
fn a_broken_connection_after_the_whole_answer_is_no_failure() {
    let mut relay = Relay::new(terms(Form::Bytes, true));
    relay.push(Bytes::from([role(), text(), stop()].concat()));
    assert!(relay.awaits_done());
    let reset = Failure::new(FailureKind::Disconnected, "reset");
    assert_eq!(relay.closed(Some(reset.clone())).end, Some(Ok(())));
    let mut relay = Relay::new(terms(Form::Bytes, true));
    relay.push(Bytes::from(text()));
    assert!(!relay.awaits_done());
    assert_eq!(relay.closed(Some(reset.clone())).end, Some(Err(reset)));
}

#[test]
fn an_error_event_ends_the_stream_by_its_code_after_what_came_before() {
    let error = r#"data: {"error":{"code":429,"message":"slow down"}}"#.to_owned() + "\n\n";
    let out = relayed(&[&*text(), &error, END].concat());
    assert_eq!((out.bytes, out.end), (text(), Err(FailureKind::RateLimited)));
    let named = "event: error\ndata: {\"error\":{\"message\":\"x\",\"type\":\"server_error\"}}\n\n";
    assert_eq!(relayed(named).end, Err(FailureKind::ServerError));
    let aborted = chunk("{}", "\"abort\"");
    assert_eq!(relayed(&(text() + &aborted)).end, Err(FailureKind::ServerError));
}

#[test]
fn p20_an_event_that_cannot_be_read_is_dropped_and_the_third_is_one_too_many() {
    let bad = "data: {\"choices\":[{\n\n";
    let out = relayed(&[&*text(), bad, &text(), bad, &stop(), END].concat());
    assert_eq!((out.bytes, out.end), ([&*text(), &text(), &stop(), END].concat(), Ok(())));
    let out = relayed(&[&*text(), bad, bad, bad, &stop(), END].concat());
    assert_eq!(out.end, Err(FailureKind::BadResponse));
    assert_eq!(relayed(&[bad, &text()].concat()).end, Err(FailureKind::BadResponse), "first");
    let latin = [b"data: {\"choices\":[],\"x\":\"", &[0xe4][..], b"\"}\n\n"].concat();
    let step = Relay::new(terms(Form::Bytes, true)).push(latin.into());
    assert!(matches!(step.end, Some(Err(f)) if f.kind == FailureKind::BadResponse));
}

#[test]
fn p19_comments_and_heartbeats_are_not_content() {
    let ping = ": ping\n\n";
    let out = relayed(
        &[ping, "data: {\"type\":\"ping\"}\n\n", ping, &role(), ping, &text(), ping, &stop(), END].concat(),
    );
    assert_eq!((out.bytes, out.content), ([&*role(), &text(), ping, &stop(), END].concat(), 1));
}

#[test]
fn p28_content_after_the_end_of_its_choice_is_ignored_and_counted() {
    let mut relay = Relay::new(terms(Form::Bytes, true));
    let step = relay.push(Bytes::from([&*text(), &stop(), &text(), &stop(), USAGE, END].concat()));
    assert_eq!(step.bytes, [&*text(), &stop(), &stop(), USAGE, END].concat());
    assert_eq!((step.content_events, relay.dropped()), (1, (0, 1)));
}

#[test]
fn p23_nonsense_usage_gives_way_to_our_own_count() {
    for usage in [
        "{\"prompt_tokens\":-1,\"completion_tokens\":1}",
        "{}",
        "7",
        "{\"prompt_tokens\":0,\"completion_tokens\":0}",
    ] {
        let chunk = format!("data: {{\"choices\":[],\"usage\":{usage}}}\n\n");
        let found = relayed(&[&*text(), &text(), &chunk, &stop(), END].concat()).usage.unwrap();
        assert_eq!((found.input, found.output, found.source), (7, 2, UsageSource::Estimated), "{usage}");
    }
}

#[test]
fn data_on_several_lines_becomes_one_line() {
    let text = "data: {\"model\":\ndata: \"up\",\"choices\":[{\"index\":0,\r\ndata: \"delta\":{\"content\":\"a\"}}]}\n\n";
    let out = relayed(&[text, &stop(), END].concat());
    let expected = "data: {\"model\": \"m\",\"choices\":[{\"index\":0, \"delta\":{\"content\":\"a\"}}]}\n\n";
    assert_eq!(out.bytes, [expected, &stop(), END].concat());
}

#[test]
fn p21_an_event_beyond_the_limit_ends_the_stream() {
    let mut relay = Relay::new(terms(Form::Bytes, true));
    let piece = Bytes::from(vec![b'a'; 1 << 20]);
    let end = (0..20).find_map(|_| relay.push(piece.clone()).end);
    assert!(matches!(end, Some(Err(f)) if f.kind == FailureKind::TooLarge));
}

#[test]
fn canonical_tool_calls_count_from_zero_and_end_in_tool_calls() {
    let call = |i: u32| {
        chunk(
            &format!(
                r#"{{"tool_calls":[{{"index":{i},"id":"c{i}","function":{{"name":"f","arguments":"{{}}"}}}}]}}"#
            ),
            "null",
        )
    };
    let mut relay = Relay::new(terms(Form::Canonical, true));
    let step = relay.push(Bytes::from([&*call(1), &call(3), &call(1), &stop(), USAGE, END].concat()));
    assert!(step.bytes.is_empty());
    let indices: Vec<u32> = step
        .deltas
        .iter()
        .filter_map(|d| if let Delta::ToolCall { index, .. } = d { Some(*index) } else { None })
        .collect();
    assert_eq!(indices, [0, 1, 0]);
    assert!(matches!(
        step.deltas.last(),
        Some(Delta::Finish { reason: crate::domain::FinishReason::ToolCalls, .. })
    ));
    assert_eq!((step.content_events, step.usage.map(|u| u.output), step.end), (3, Some(2), Some(Ok(()))));
}

fn bits_of_streams() -> impl Strategy<Value = Vec<u8>> {
    let bits: Vec<Vec<u8>> = [
        role(),
        text(),
        stop(),
        USAGE.to_owned(),
        END.to_owned(),
        ": c\n\n".to_owned(),
        "event: error\n".to_owned(),
        "data: {\"error\":7}\n\n".to_owned(),
        "data: {\n\n".to_owned(),
        chunk(r#"{"content":"b"}"#, "null").replace("\"m\"", "\"up\""),
        "data: {\"choices\":\ndata: []}\r\n\r\n".to_owned(),
    ]
    .into_iter()
    .map(String::into_bytes)
    .collect();
    let bit = prop_oneof![4 => prop::sample::select(bits), 1 => prop::collection::vec(any::<u8>(), 0..6)];
    prop::collection::vec(bit, 0..12).prop_map(|bits| bits.concat())
}

proptest! {
    #[test]
    fn n07_any_stream_ends_once_and_however_it_was_cut_the_same(
        stream in bits_of_streams(),
        usage_asked in any::<bool>(),
        at in any::<prop::sample::Index>(),
    ) {
        let run = |reads: &[Bytes]| {
            let mut relay = Relay::new(terms(Form::Bytes, usage_asked));
            let (mut bytes, mut ends) = (Vec::new(), Vec::new());
            let mut steps: Vec<Step> = reads.iter().map(|r| relay.push(r.clone())).collect();
            steps.push(relay.closed(None));
            for step in steps {
                bytes.extend_from_slice(&step.bytes);
                ends.extend(step.end.map(|end| end.map_err(|f| f.kind)));
            }
            (bytes, ends)
        };
        let all = Bytes::from(stream);
        let whole = run(std::slice::from_ref(&all));
        prop_assert_eq!(whole.1.len(), 1);
        let read = Framer::default().push(Bytes::from(whole.0.clone()));
        let done = read.events().any(|e| e.data.bytes().trim_ascii() == b"[DONE]");
        prop_assert_eq!(done, whole.1[0].is_ok(), "an end if and only if it is whole");
        let at = at.index(all.len() + 1);
        prop_assert_eq!(run(&[all.slice(..at), all.slice(at..)]), whole);
    }
}
