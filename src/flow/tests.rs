//! What the buffer of a stream counts. Everything else about the driver is tried from outside (`tests/it/flow.rs`).

use smallvec::smallvec;

use super::Out;
use super::relay::weight;
use crate::domain::Delta;
use crate::upstream::PieceBody;

#[test]
fn a_piece_weighs_at_least_the_text_that_it_holds() {
    let text = "x".repeat(1 << 20);
    let arguments = text.clone();
    let call = Delta::ToolCall { choice: 0, index: 0, id: None, name: None, arguments };
    for delta in [Delta::Reasoning { choice: 0, text }, call] {
        assert!(weight(&Out::Piece(PieceBody::Canonical(smallvec![delta]))) >= 1 << 20);
    }
    let small = Delta::Text { choice: 0, text: String::new(), logprobs: None };
    assert!(weight(&Out::Piece(PieceBody::Canonical(smallvec![small]))) > 0);
}
