//! A walk over JSON text that is already known to be JSON: how deep it is, how much text it holds, how many pictures.
//!
//! It builds nothing, copies nothing and does not recurse, so that a prompt of megabytes costs one look at its bytes. The
//! blocks of a prompt are cut in passing.

use crate::dialect::chain::{Chain, Weight};

/// What a piece of JSON holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Survey {
    /// The deepest nesting of arrays and objects.
    pub depth: u32,
    /// Bytes of text in values: no member names, no `data:` URLs, no other encoded media.
    pub text: u64,
    /// Numbers, as lists of token ids have them.
    pub numbers: u64,
    /// Members called `image_url`: pictures.
    pub images: u32,
}

/// A picture in tokens, between OpenAI's 85 (low detail) and 765 (a square of 1024): only an estimate.
pub(super) const IMAGE_TOKENS: u64 = 765;

/// Member names whose text is encoded media, not words.
const MEDIA: [&[u8]; 3] = [b"data", b"file_data", b"b64_json"];

/// Members that say where a picture is.
const PLACE: [&[u8]; 2] = [b"url", b"image_url"];

/// Looks at `json`, which must be valid.
pub(super) fn survey(json: &[u8]) -> Survey {
    walk(json, |_, _| {})
}

/// The same, and all that is full of it goes into blocks of the chain.
pub(super) fn survey_into(json: &[u8], chain: &mut Chain) -> Survey {
    let mut hashed = 0;
    walk(json, |end, weight| hashed += chain.weigh(&json[hashed..end], weight))
}

/// Says of everything that costs tokens where it ends and what it weighs.
#[inline]
fn walk(json: &[u8], mut weigh: impl FnMut(usize, Weight)) -> Survey {
    let mut found = Survey::default();
    let mut depth = 0u32;
    let mut at = 0;
    let mut name: &[u8] = &[];
    // What the picture costs whose place is not known yet: pictures at other places are other pictures.
    let mut picture = 0;
    while let Some(&byte) = json.get(at) {
        at += 1;
        match byte {
            b'{' | b'[' => {
                depth += 1;
                found.depth = found.depth.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                let text = string(&json[at..]);
                at += text.len() + 1;
                if names_a_member(&json[at.min(json.len())..]) {
                    name = text;
                    if name == b"image_url" {
                        found.images += 1;
                        picture = 4 * IMAGE_TOKENS;
                    }
                } else {
                    let words = !MEDIA.contains(&name) && !text.starts_with(b"data:");
                    let quarters = if words { text.len() as u64 } else { 0 };
                    found.text += quarters;
                    if picture > 0 && PLACE.contains(&name) {
                        weigh(at - 1, Weight::Whole(std::mem::take(&mut picture) + quarters));
                    } else {
                        weigh(at - 1, if words { Weight::Text(quarters) } else { Weight::Whole(0) });
                    }
                }
            }
            b'-' | b'0'..=b'9' => {
                found.numbers += 1;
                let more = json[at..].iter().take_while(|b| !matches!(b, b',' | b']' | b'}')).count();
                at += more;
                weigh(at, Weight::Whole(4));
            }
            _ => {}
        }
    }
    found
}

/// The string that `rest` begins with, without its closing quote, escapes as they are.
fn string(rest: &[u8]) -> &[u8] {
    let mut from = 0;
    while let Some(at) = rest.get(from..).and_then(|r| memchr::memchr2(b'"', b'\\', r)) {
        if rest[from + at] == b'"' {
            return &rest[..from + at];
        }
        from += at + 2;
    }
    rest
}

fn names_a_member(after: &[u8]) -> bool {
    after.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_counted_and_not_read_as_text() {
        let json = br#"[{"role":"user","content":[{"type":"text","text":"what \"is\" this"},
            {"type":"image_url","image_url":{"url":"data:image/png;base64,AAAABBBBCCCC"}},
            {"type":"input_audio","input_audio":{"data":"AAAA","format":"wav"}}]}]"#;
        let found = survey(json);
        assert_eq!((found.images, found.depth), (1, 5));
        let words = ["user", "text", r#"what \"is\" this"#, "image_url", "input_audio", "wav"];
        assert_eq!(found.text, words.iter().map(|w| w.len() as u64).sum::<u64>());
    }

    #[test]
    fn token_ids_are_counted() {
        assert_eq!(survey(b"[[1,22],[-3]]").numbers, 3);
    }

    #[test]
    fn depth_is_found_without_recursion() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert_eq!(survey(deep.as_bytes()).depth, 100_000);
    }
}
