//! Watches the heads of HTTP/1 requests go by, for the one thing that the parser hides: whether a request that is sent in
//! chunks also said how long it is.
//!
//! Two machines that believe different ones of the two disagree about where the request ends, and what one takes for
//! the rest of it is a request of somebody else's to the other. The parser believes the chunks and drops the length
//! without a word, so it must be seen before. This is no second parser: it counts the lines of a head, and what it says
//! counts only if the parser found as many. Where it does not know, it says so.

use memchr::memchr;

/// What is looked for in a head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Framing {
    /// One way to tell its length, or none.
    Clear,
    /// A length and chunks.
    Both,
    /// The head did not go by alone: it came together with the end of a request before it.
    Unknown,
}

/// What was counted in a head that went by.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Counted {
    lines: u16,
    lengths: u16,
}

impl Counted {
    /// What it means for a request in chunks that has so many fields, in the parser's count.
    pub(super) fn framing(self, fields: usize) -> Framing {
        match (usize::from(self.lines), usize::from(self.lengths)) {
            (0, _) => Framing::Unknown,
            (lines, 0) if lines == fields => Framing::Clear,
            (lines, lengths @ 1..) if lines == fields + lengths => Framing::Both,
            _ => Framing::Unknown,
        }
    }

    /// As one number, 0 for nothing.
    pub(super) const fn packed(self) -> u32 {
        (self.lines as u32) << 16 | self.lengths as u32
    }

    /// See [`Self::packed`].
    pub(super) const fn unpacked(packed: u32) -> Self {
        Self { lines: (packed >> 16) as u16, lengths: packed as u16 }
    }
}

const LENGTH: &[u8] = b"content-length";

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum At {
    /// In the request line, or in the empty lines that may come before it.
    #[default]
    Request,
    /// In the name of a field; so many bytes of it were as those of [`LENGTH`].
    Name { same: u8, long: bool },
    /// In its value.
    Value,
    /// Behind the empty line.
    Past,
}

/// Reads one head.
#[derive(Default, Debug)]
pub(super) struct Head {
    at: At,
    begun: bool,
    counted: Counted,
}

impl Head {
    /// More bytes. What was counted, once the head is over; bytes after that make it unknown again.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> Option<Counted> {
        if self.at == At::Past && !bytes.is_empty() {
            return Some(Counted::default());
        }
        while let Some((&byte, rest)) = bytes.split_first() {
            bytes = rest;
            self.at = match (self.at, byte) {
                (At::Request, b'\n') if self.begun => At::Name { same: 0, long: false },
                (At::Request, _) => {
                    self.begun |= !matches!(byte, b'\r' | b'\n');
                    At::Request
                }
                (At::Name { same, long }, b':') => {
                    let length = !long && usize::from(same) == LENGTH.len();
                    self.counted.lines = self.counted.lines.saturating_add(1);
                    self.counted.lengths = self.counted.lengths.saturating_add(u16::from(length));
                    At::Value
                }
                (At::Name { .. }, b'\n') => {
                    self.at = At::Past;
                    return Some(self.counted);
                }
                (at @ At::Name { .. }, b'\r') => at,
                (At::Name { same, long }, byte) => {
                    let fits = LENGTH.get(usize::from(same)).is_some_and(|b| byte.eq_ignore_ascii_case(b));
                    At::Name { same: same + u8::from(fits && !long), long: long || !fits }
                }
                (At::Value, b'\n') => At::Name { same: 0, long: false },
                (At::Value, _) => {
                    let end = memchr(b'\n', bytes)?;
                    bytes = &bytes[end..];
                    At::Value
                }
                (At::Past, _) => At::Past,
            };
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(head: &str) -> Option<Counted> {
        Head::default().read(head.as_bytes())
    }

    #[test]
    fn a_length_beside_chunks_is_seen_however_it_is_spelt_and_cut() {
        let head =
            "\r\nPOST / HTTP/1.1\r\nHost: a:1\r\nCONTENT-Length:4\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(counted(head).map(|c| c.framing(2)), Some(Framing::Both));
        let mut by_byte = Head::default();
        let last = head.bytes().filter_map(|byte| by_byte.read(&[byte])).last();
        assert_eq!(last, counted(head));
        let bare = head.replace('\r', "");
        assert_eq!(counted(&bare), counted(head), "the parser takes bare line feeds, too");
    }

    #[test]
    fn other_names_are_no_length() {
        for name in ["content-lengt", "content-length-x", "x-content-length", "content_length"] {
            let head = format!("POST / HTTP/1.1\r\n{name}: 4\r\ntransfer-encoding: chunked\r\n\r\n");
            assert_eq!(counted(&head).map(|c| c.framing(2)), Some(Framing::Clear), "{name}");
        }
        assert_eq!(
            counted("POST / HTTP/1.1\r\nx: content-length: 4\r\n\r\n").map(|c| c.framing(1)),
            Some(Framing::Clear)
        );
    }

    #[test]
    fn what_did_not_go_by_alone_is_unknown() {
        let rest = "ding: x\r\ntransfer-encoding: chunked\r\n\r\n";
        assert_eq!(counted(rest).map(|c| c.framing(3)), Some(Framing::Unknown), "the end of a head");
        assert_eq!(counted("POST / HTTP/1.1\r\nhost: x\r\n"), None);
        assert_eq!(Counted::unpacked(0).framing(0), Framing::Unknown);
        let mut head = Head::default();
        head.read(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n");
        assert_eq!(head.read(b"more").map(|c| c.framing(1)), Some(Framing::Unknown));
        let c = Counted { lines: 7, lengths: 2 };
        assert_eq!(Counted::unpacked(c.packed()), c);
    }
}
