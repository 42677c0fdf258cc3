//! What reading a request costs before it is dispatched, the names of its blocks included: `cargo bench --bench peek`.

use bytes::Bytes;
use divan::{Bencher, black_box, counter::BytesCount};
use gridtie::dialect::chain::Chain;
use gridtie::dialect::openai::peek;
use gridtie::domain::{AskKind, TenantId};

fn main() {
    divan::main();
}

/// A conversation of about so many bytes, in turns of 500.
fn chat(bytes: usize) -> Bytes {
    let turn = |i: usize| {
        let role = if i.is_multiple_of(2) { "user" } else { "assistant" };
        format!(r#"{{"role":"{role}","content":"{}"}}"#, "somewhat \"quoted\" text.\\n".repeat(18))
    };
    let mut body = String::from(r#"{"model":"chat-large","stream":true,"messages":["#);
    let mut turns = 0;
    while body.len() < bytes {
        if turns > 0 {
            body.push(',');
        }
        body.push_str(&turn(turns).replace("\"quoted\"", "\\\"quoted\\\""));
        turns += 1;
    }
    body.push_str("]}");
    body.into()
}

/// All of it.
#[divan::bench(args = [4096, 65536])]
fn a_chat(bencher: Bencher<'_, '_>, bytes: usize) {
    let body = chat(bytes);
    assert!(peek(AskKind::Chat, &body, TenantId(1)).is_ok_and(|p| p.prefix.len() >= bytes / 3000));
    bencher
        .counter(BytesCount::new(body.len()))
        .bench_local(|| peek(AskKind::Chat, black_box(&body), TenantId(1)).is_ok());
}

/// The names of blocks alone.
#[divan::bench(args = [4096, 65536])]
fn a_chain(bencher: Bencher<'_, '_>, bytes: usize) {
    let body = chat(bytes);
    bencher.counter(BytesCount::new(body.len())).bench_local(|| {
        let mut chain = Chain::of(TenantId(1));
        chain.text(black_box(&body));
        chain.blocks()
    });
}
