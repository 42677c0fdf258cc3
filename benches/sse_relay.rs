//! What a relayed event costs: nanoseconds for a chunk of about 300 bytes, in reads of one event and of sixteen, with
//! the model's name as it comes and with another name put in its place, and decoded to canonical form.
//!
//! `cargo bench --bench sse_relay`

use std::sync::Arc;

use bytes::Bytes;
use divan::{Bencher, counter::ItemsCount};
use gridtie::dialect::openai::{Form, Relay, Terms};
use gridtie::domain::AskKind;

/// As OpenAI sends it.
const EVENT: &str = concat!(
    r#"data: {"id":"chatcmpl-AbCdEfGhIjKlMnOpQrStUvWxYz012","object":"chat.completion.chunk","created":1731368640,"#,
    r#""model":"gpt-4o-mini-2024-07-18","service_tier":"default","system_fingerprint":"fp_0ba0d124f1","#,
    r#""choices":[{"index":0,"delta":{"content":" unable\n"},"logprobs":null,"finish_reason":null}],"usage":null,"#,
    r#""obfuscation":"gyXb2h"}"#,
    "\n\n"
);

const SAME: &str = "gpt-4o-mini-2024-07-18";

fn main() {
    eprintln!("an event of {} bytes; throughput is in events", EVENT.len());
    divan::main();
}

fn relay(client_model: &str, form: Form) -> Relay {
    let client_model = Arc::from(client_model);
    Relay::new(Terms { kind: AskKind::Chat, client_model, usage_asked: true, choices: 1, own_input: 1, form })
}

fn run(bencher: Bencher<'_, '_>, events: usize, client_model: &str, form: Form) {
    let read = Bytes::from(EVENT.repeat(events));
    let mut relay = relay(client_model, form);
    bencher.counter(ItemsCount::new(events)).bench_local(|| {
        let step = relay.push(divan::black_box(read.clone()));
        assert_eq!(step.content_events as usize, events);
        step
    });
}

/// Nothing changes: the read goes on as it came.
#[divan::bench(args = [1, 16])]
fn same_model(bencher: Bencher<'_, '_>, events: usize) {
    run(bencher, events, SAME, Form::Bytes);
}

/// The client knows the model by another name.
#[divan::bench(args = [1, 16])]
fn other_model(bencher: Bencher<'_, '_>, events: usize) {
    run(bencher, events, "fast", Form::Bytes);
}

/// Another dialect at the face.
#[divan::bench(args = [1, 16])]
fn canonical(bencher: Bencher<'_, '_>, events: usize) {
    run(bencher, events, "fast", Form::Canonical);
}
