use proptest::prelude::*;

use super::*;

/// What a client would see: name and data of every event that has data, and the bytes relayed.
/// Raw bytes, data, and whether there was data.
type Block = (Vec<u8>, Vec<u8>, bool);

fn read(chunks: impl IntoIterator<Item = Bytes>) -> (Vec<Block>, Vec<u8>) {
    let mut framer = Framer::default();
    let mut batches: Vec<Batch> = chunks.into_iter().map(|c| framer.push(c)).collect();
    batches.push(framer.finish());
    let (mut seen, mut raw) = (Vec::new(), Vec::new());
    for batch in &batches {
        let mut at = 0;
        for event in batch.events() {
            assert_eq!(event.range.start, at, "events stand back to back");
            at = event.range.end;
            if let Data::Line { text, at } = &event.data {
                assert_eq!(&batch.bytes()[*at..*at + text.len()], *text);
            }
            if event.data != Data::None {
                seen.push((event.name.to_vec(), event.data.bytes().to_vec(), event.terminated));
            }
        }
        assert_eq!(at, batch.bytes().len());
        raw.extend_from_slice(batch.bytes());
    }
    (seen, raw)
}

fn whole(text: &[u8]) -> Vec<(String, String)> {
    let (seen, _) = read([Bytes::copy_from_slice(text)]);
    let text = |b: Vec<u8>| String::from_utf8(b).unwrap();
    seen.into_iter().map(|(n, d, _)| (text(n), text(d))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(n, d)| ((*n).to_owned(), (*d).to_owned())).collect()
}

#[test]
fn every_line_ending_ends_a_line() {
    for text in ["data: a\n\ndata: b\n\n", "data: a\r\n\r\ndata: b\r\n\r\n", "data: a\r\rdata: b\r\r"] {
        assert_eq!(whole(text.as_bytes()), pairs(&[("", "a"), ("", "b")]), "{text:?}");
    }
    assert_eq!(whole(b"data: a\r\n\ndata: b\n\r\n"), pairs(&[("", "a"), ("", "b")]));
}

#[test]
fn a_byte_order_mark_is_skipped_once() {
    let (seen, raw) = read([Bytes::from_static(b"\xEF\xBB"), Bytes::from_static(b"\xBFdata: a\n\n")]);
    assert_eq!(seen[0].1, b"a");
    assert_eq!(raw, b"data: a\n\n");
}

#[test]
fn comments_carry_no_data_and_fields_are_read_as_the_grammar_says() {
    assert_eq!(whole(b": ping\n\nevent: error\ndata:{}\n\n"), pairs(&[("error", "{}")]));
    assert_eq!(whole(b"data\ndata:  two\nid: 7\ndatax: no\n\n"), pairs(&[("", "\n two")]));
    assert_eq!(whole(b"event: ping\n\n\n\n"), pairs(&[]));
}

#[test]
fn the_last_event_may_lack_its_end_and_says_so() {
    let (seen, _) = read([Bytes::from_static(b"data: a\n\ndata: [DONE]")]);
    assert_eq!(seen, [(vec![], b"a".to_vec(), true), (vec![], b"[DONE]".to_vec(), false)]);
    let (seen, _) = read([Bytes::from_static(b"data: [DONE]\r\n\r")]);
    assert_eq!(seen, [(vec![], b"[DONE]".to_vec(), true)]);
}

#[test]
fn a_read_of_whole_events_is_not_copied() {
    let read = Bytes::from_static(b"data: a\n\ndata: b\n\ndata: c");
    let batch = Framer::default().push(read.clone());
    assert_eq!(batch.bytes().as_ptr(), read.as_ptr());
    assert_eq!(batch.events().count(), 2);
}

#[test]
fn p21_a_line_without_an_end_overflows() {
    let mut framer = Framer::default();
    let piece = Bytes::from(vec![b'x'; 1 << 20]);
    for _ in 0..16 {
        assert!(framer.push(piece.clone()).bytes().is_empty());
        assert!(!framer.overflows());
    }
    framer.push(piece);
    assert!(framer.overflows());
}

fn bits_of_streams() -> impl Strategy<Value = Vec<u8>> {
    let bit = prop::sample::select(vec![
        "data: {\"a\":\"ü€\"}",
        "data:",
        "\n",
        "\r",
        "\r\n",
        "\n\n",
        "\r\n\r\n",
        ": c",
        "event: error",
        "x",
        ":",
        "\u{feff}",
        "data",
        " ",
        "[DONE]",
    ]);
    prop::collection::vec(bit, 0..24).prop_map(|bits| bits.concat().into_bytes())
}

proptest! {
    #[test]
    fn n07_the_cuts_between_reads_change_nothing(
        text in bits_of_streams(),
        cuts in prop::collection::vec(1usize..9, 0..64),
    ) {
        let all = Bytes::from(text);
        let mut rest = all.clone();
        let mut chunks = Vec::new();
        for cut in cuts {
            chunks.push(rest.split_to(cut.min(rest.len())));
        }
        chunks.push(rest);
        let ones = all.iter().map(|b| Bytes::copy_from_slice(&[*b]));
        let expected = read([all.clone()]);
        prop_assert_eq!(read(chunks), expected.clone());
        prop_assert_eq!(read(ones), expected);
    }
}
