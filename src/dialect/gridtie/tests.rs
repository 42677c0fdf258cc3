use bytes::Bytes;
use smallvec::SmallVec;

use super::answer::{
    Step, decode_embedded, decode_event, decode_generated, encode_completed, encode_delta, encode_generated,
    encode_started,
};
use super::request::{Encoded, capabilities, embed, encode, generate, hints};
use super::v1;
use crate::dialect::FieldError;
use crate::domain::request::{Ask, Part};
use crate::domain::{
    Answer, AskKind, Capabilities, Choice, Delta, FinishReason, Generated, Usage, UsageSource,
};

fn part(content: v1::part::Content) -> v1::Part {
    v1::Part { content: Some(content) }
}

fn text(text: &str) -> v1::Part {
    part(v1::part::Content::Text(text.to_owned()))
}

fn turn(role: v1::Role, parts: Vec<v1::Part>) -> v1::Message {
    v1::Message { role: role.into(), parts, name: String::new() }
}

fn ask(messages: Vec<v1::Message>) -> v1::GenerateRequest {
    v1::GenerateRequest { model: "m".to_owned(), messages, ..Default::default() }
}

fn hello() -> v1::GenerateRequest {
    ask(vec![turn(v1::Role::User, vec![text("hello")])])
}

fn image(image: v1::Image) -> v1::GenerateRequest {
    ask(vec![turn(v1::Role::User, vec![text("look"), part(v1::part::Content::Image(image))])])
}

fn field(request: v1::GenerateRequest) -> String {
    generate(request, false).unwrap_err().field.unwrap_or_default()
}

/// Everything a conversation can hold.
fn everything() -> v1::GenerateRequest {
    use v1::part::Content;
    v1::GenerateRequest {
        messages: vec![
            turn(v1::Role::System, vec![text("be brief")]),
            v1::Message {
                name: "ann".to_owned(),
                ..turn(
                    v1::Role::User,
                    vec![
                        text("what is this?"),
                        part(Content::Image(v1::Image {
                            source: Some(v1::image::Source::Data(Bytes::from_static(b"\x89PNG"))),
                            mime: "image/png".to_owned(),
                            detail: "low".to_owned(),
                        })),
                    ],
                )
            },
            turn(
                v1::Role::Assistant,
                vec![
                    part(Content::Reasoning("hm".to_owned())),
                    part(Content::ToolCall(v1::ToolCall {
                        id: "c1".to_owned(),
                        name: "find".to_owned(),
                        arguments_json: "{\"q\":1}".to_owned(),
                    })),
                ],
            ),
            turn(
                v1::Role::Tool,
                vec![part(Content::ToolResult(v1::ToolResult {
                    call_id: "c1".to_owned(),
                    text: "a cat".to_owned(),
                }))],
            ),
        ],
        tools: vec![v1::Tool {
            name: "find".to_owned(),
            description: "finds".to_owned(),
            parameters_json: "{\"type\":\"object\"}".to_owned(),
            strict: Some(true),
        }],
        tool_choice: Some(v1::ToolChoice { choice: Some(v1::tool_choice::Choice::Tool("find".to_owned())) }),
        parallel_tool_calls: Some(false),
        response_format: Some(v1::ResponseFormat {
            form: Some(v1::response_format::Form::JsonSchema(v1::JsonSchema {
                name: "s".to_owned(),
                schema_json: "{}".to_owned(),
                strict: None,
            })),
        }),
        sampling: Some(v1::Sampling {
            max_tokens: Some(7),
            temperature: Some(0.5),
            top_p: Some(0.9),
            top_k: Some(40),
            stop: vec!["END".to_owned()],
            n: Some(2),
            seed: Some(-3),
            presence_penalty: Some(1.0),
            frequency_penalty: Some(-1.0),
            logprobs: Some(5),
        }),
        user: "u".to_owned(),
        ..ask(Vec::new())
    }
}

#[test]
fn a_request_survives_the_way_through_the_domain() {
    let asked = generate(everything(), true).unwrap();
    assert_eq!(asked.kind, AskKind::Chat);
    assert_eq!((asked.max_tokens, asked.n), (Some(7), 2));
    let Encoded::Generate(again) = encode(&asked.ask, "m") else { panic!("not a generation") };
    assert_eq!(again, everything());
}

#[test]
fn a_prompt_and_texts_to_embed_survive_too() {
    let prompt = v1::GenerateRequest {
        model: "m".to_owned(),
        completion: Some(v1::Completion {
            prompts: vec!["a".to_owned(), "b".to_owned()],
            echo: true,
            suffix: Some("z".to_owned()),
        }),
        sampling: Some(v1::Sampling::default()),
        ..Default::default()
    };
    let asked = generate(prompt.clone(), false).unwrap();
    assert_eq!(asked.kind, AskKind::Completion);
    let Encoded::Generate(again) = encode(&asked.ask, "m") else { panic!("not a generation") };
    assert_eq!(again, prompt);

    let tokens = v1::embed_input::Input::Tokens(v1::TokenIds { ids: vec![1, 2, 3] });
    let words = v1::embed_input::Input::Text("12345678".to_owned());
    let texts = v1::EmbedRequest {
        model: "e".to_owned(),
        inputs: vec![v1::EmbedInput { input: Some(tokens) }, v1::EmbedInput { input: Some(words) }],
        dimensions: Some(8),
        routing: None,
    };
    let asked = embed(texts.clone()).unwrap();
    assert_eq!(asked.input_tokens, 3 + 2, "token ids count as they are, text by its bytes");
    let Encoded::Embed(again) = encode(&asked.ask, "e") else { panic!("not an embedding") };
    assert_eq!(again, texts);
}

#[test]
fn what_a_request_needs_is_read_off_its_content() {
    let needs = generate(everything(), true).unwrap().needs;
    let all: Vec<_> = needs.names().collect();
    assert_eq!(all, ["chat", "stream", "tools", "images", "json", "logprobs", "n"]);
    assert_eq!(generate(hello(), false).unwrap().needs, Capabilities::CHAT);
}

#[test]
fn a_picture_counts_by_the_piece_and_text_by_its_bytes() {
    let plain = generate(hello(), false).unwrap().input_tokens;
    assert_eq!(plain, 2, "five bytes are two tokens");
    let url = v1::Image {
        source: Some(v1::image::Source::Url("https://x/y.png".to_owned())),
        ..Default::default()
    };
    assert_eq!(generate(image(url), false).unwrap().input_tokens, 1_001);
}

#[test]
fn an_error_names_the_field_as_the_proto_spells_it() {
    use v1::part::Content;
    let mut cases: Vec<(v1::GenerateRequest, &str)> = vec![
        (v1::GenerateRequest::default(), "model"),
        (ask(Vec::new()), "messages"),
        (ask(vec![turn(v1::Role::Unspecified, vec![text("x")])]), "messages[0].role"),
        (
            ask(vec![v1::Message { role: 77, parts: vec![text("x")], name: String::new() }]),
            "messages[0].role",
        ),
        (ask(vec![turn(v1::Role::User, Vec::new())]), "messages[0].parts"),
        (ask(vec![turn(v1::Role::User, vec![text("x"), v1::Part::default()])]), "messages[0].parts[1]"),
        (
            ask(vec![turn(v1::Role::User, vec![part(Content::Refusal("no".to_owned()))])]),
            "messages[0].parts[0].refusal",
        ),
        (
            ask(vec![turn(v1::Role::Tool, vec![part(Content::ToolResult(v1::ToolResult::default()))])]),
            "messages[0].parts[0].tool_result.call_id",
        ),
        (image(v1::Image::default()), "messages[0].parts[1].image"),
        (
            image(v1::Image {
                source: Some(v1::image::Source::Data(Bytes::from_static(b"x"))),
                ..Default::default()
            }),
            "messages[0].parts[1].image.mime",
        ),
        (
            image(v1::Image {
                source: Some(v1::image::Source::Url("file:///etc/passwd".to_owned())),
                ..Default::default()
            }),
            "messages[0].parts[1].image.url",
        ),
        (v1::GenerateRequest { completion: Some(v1::Completion::default()), ..hello() }, "completion"),
        (
            v1::GenerateRequest { completion: Some(v1::Completion::default()), ..ask(Vec::new()) },
            "completion.prompts",
        ),
        (
            v1::GenerateRequest {
                tools: vec![v1::Tool {
                    name: "t".to_owned(),
                    parameters_json: "{".to_owned(),
                    ..Default::default()
                }],
                ..hello()
            },
            "tools[0].parameters_json",
        ),
        (
            v1::GenerateRequest {
                tools: vec![v1::Tool { name: "t".to_owned(), ..Default::default() }; 2],
                ..hello()
            },
            "tools[1].name",
        ),
        (
            v1::GenerateRequest {
                tool_choice: Some(v1::ToolChoice {
                    choice: Some(v1::tool_choice::Choice::Tool("nobody".to_owned())),
                }),
                ..hello()
            },
            "tool_choice.tool",
        ),
    ];
    for (sampling, at) in wrong_sampling() {
        cases.push((v1::GenerateRequest { sampling: Some(sampling), ..hello() }, at));
    }
    for (request, at) in cases {
        assert_eq!(field(request), at);
    }
}

fn wrong_sampling() -> Vec<(v1::Sampling, &'static str)> {
    let none = v1::Sampling::default;
    vec![
        (v1::Sampling { max_tokens: Some(0), ..none() }, "sampling.max_tokens"),
        (v1::Sampling { temperature: Some(f64::NAN), ..none() }, "sampling.temperature"),
        (v1::Sampling { top_p: Some(1.5), ..none() }, "sampling.top_p"),
        (v1::Sampling { n: Some(1_000), ..none() }, "sampling.n"),
        (v1::Sampling { logprobs: Some(21), ..none() }, "sampling.logprobs"),
        (v1::Sampling { stop: vec!["a".to_owned(), String::new()], ..none() }, "sampling.stop[1]"),
        (v1::Sampling { stop: vec!["a".to_owned(); 17], ..none() }, "sampling.stop"),
    ]
}

#[test]
fn json_that_nests_too_deep_is_refused_but_brackets_in_text_are_not() {
    let schema = |json: String| {
        let tools = vec![v1::Tool { name: "t".to_owned(), parameters_json: json, ..Default::default() }];
        generate(v1::GenerateRequest { tools, ..hello() }, false)
    };
    let nested = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n));
    assert!(schema(nested(63)).is_ok());
    assert!(schema(nested(64)).unwrap_err().message.contains("deep"));
    assert!(schema(format!("{{\"a\":\"{}\\\"\"}}", "[".repeat(500))).is_ok());
}

#[test]
fn hints_are_checked_and_absent_ones_ask_nothing() {
    let nothing = hints(None).unwrap();
    assert!(nothing.class.is_none() && nothing.session.is_none() && nothing.hints.pools.is_empty());
    let wrong = |routing| -> FieldError { hints(Some(routing)).unwrap_err() };
    let negative = v1::RoutingHints { max_cost_usd: Some(-1.0), ..Default::default() };
    assert_eq!(wrong(negative).field.as_deref(), Some("routing.max_cost_usd"));
    let unnamed = v1::RoutingHints { pools: vec!["a".to_owned(), String::new()], ..Default::default() };
    assert_eq!(wrong(unnamed).field.as_deref(), Some("routing.pools[1]"));
}

#[test]
fn an_unknown_capability_is_named_with_those_that_exist() {
    let error = capabilities("needs", &["tools".to_owned(), "telepathy".to_owned()]).unwrap_err();
    assert_eq!(error.field.as_deref(), Some("needs[1]"));
    assert!(error.message.contains("images"));
}

fn usage() -> Usage {
    Usage { input: 10, cached: 4, cache_write: 1, output: 5, reasoning: 2, source: UsageSource::Reported }
}

#[test]
fn a_whole_answer_survives_the_wire() {
    let logprobs = serde_json::value::RawValue::from_string("{\"content\":[]}".to_owned()).unwrap();
    let answer = Generated {
        id: Some("x".to_owned()),
        choices: vec![Choice {
            index: 0,
            parts: vec![Part::Reasoning("r".to_owned()), Part::Text("t".to_owned())],
            finish: FinishReason::Length,
            logprobs: Some(logprobs),
        }],
    };
    let before = format!("{:?}", Answer::Generated(answer.clone()));
    let wire = encode_generated(answer, &usage(), v1::Routing::default());
    let (after, counted) = decode_generated(wire).unwrap();
    assert_eq!(format!("{after:?}"), before);
    assert_eq!(counted, Some(usage()));
}

#[test]
fn the_steps_of_a_stream_survive_the_wire() {
    let deltas = vec![
        Delta::Reasoning { choice: 0, text: "hm".to_owned() },
        Delta::Text { choice: 1, text: "hi".to_owned(), logprobs: None },
        Delta::Refusal { choice: 0, text: "no".to_owned() },
        Delta::ToolCall {
            choice: 0,
            index: 0,
            id: Some("c".to_owned()),
            name: Some("f".to_owned()),
            arguments: "{".to_owned(),
        },
        Delta::ToolCall { choice: 0, index: 0, id: None, name: None, arguments: "}".to_owned() },
        Delta::Finish { choice: 0, reason: FinishReason::ToolCalls },
    ];
    for delta in deltas {
        let before: SmallVec<[Delta; 2]> = SmallVec::from_iter([delta.clone()]);
        let Step::Deltas(after) = decode_event(encode_delta(delta).unwrap()).unwrap() else {
            panic!("not a delta")
        };
        assert_eq!(format!("{after:?}"), format!("{before:?}"));
    }
    assert!(encode_delta(Delta::Usage(usage())).is_none(), "the settled count comes at the end");
    assert!(matches!(decode_event(encode_started(v1::Routing::default())), Ok(Step::Started)));
    let Ok(Step::Completed(counted)) = decode_event(encode_completed(&usage(), v1::Routing::default()))
    else {
        panic!("not the end")
    };
    assert_eq!(counted, Some(usage()));
}

#[test]
fn a_nonsense_answer_is_an_error_and_an_unknown_event_is_skipped() {
    assert!(decode_generated(v1::GenerateResponse::default()).is_err());
    let unfinished = v1::GenerateResponse { choices: vec![v1::Choice::default()], ..Default::default() };
    assert!(decode_generated(unfinished).is_err(), "a choice must say why it ended");
    assert!(decode_embedded(v1::EmbedResponse::default(), 1).is_err());
    let Ok(Step::Deltas(none)) = decode_event(v1::GenerateEvent::default()) else { panic!("not skipped") };
    assert!(none.is_empty());
}

#[test]
fn a_count_that_contradicts_itself_is_cut_to_sense() {
    let wire = v1::Usage {
        input_tokens: 3,
        cached_input_tokens: 9,
        output_tokens: 1,
        reasoning_tokens: 8,
        ..Default::default()
    };
    let completed = v1::generate_event::Event::Completed(v1::Completed { usage: Some(wire), routing: None });
    let Ok(Step::Completed(Some(usage))) = decode_event(v1::GenerateEvent { event: Some(completed) }) else {
        panic!("not the end")
    };
    assert_eq!((usage.cached, usage.reasoning), (3, 1));
}

#[test]
fn a_count_that_no_call_can_have_is_none() {
    for (input_tokens, output_tokens) in [(u64::MAX, 1), (1, u64::MAX), (10_000_001, 1)] {
        let wire = v1::Usage { input_tokens, output_tokens, ..Default::default() };
        let completed =
            v1::generate_event::Event::Completed(v1::Completed { usage: Some(wire), routing: None });
        let step = decode_event(v1::GenerateEvent { event: Some(completed) });
        assert!(matches!(step, Ok(Step::Completed(None))), "{input_tokens}, {output_tokens}: {step:?}");
    }
}

#[test]
fn a_conversation_is_not_lost_when_it_is_an_assistants_silence() {
    let silent = ask(vec![turn(v1::Role::User, vec![text("x")]), turn(v1::Role::Assistant, Vec::new())]);
    let Ask::Chat(chat) = generate(silent, false).unwrap().ask else { panic!("not a chat") };
    assert_eq!(chat.messages.len(), 2);
}
