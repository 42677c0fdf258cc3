//! Chunked bodies (RFC 9112, 7.1), taken apart where they lie: the data move together at the front of the read.
//!
//! Strict, because two readers that differ about where a body ends are how answers get smuggled: sizes are plain hex,
//! lines end in CRLF. Extensions and trailers are skipped and bounded. Keeps a few bytes of state and no data.

/// A size with its extensions. Nobody sends any; what is longer is an attack.
const LINE_MAX: u32 = 1024;

/// All trailers together.
const TRAILERS_MAX: u32 = 16 * 1024;

/// How far a body was read.
#[derive(Debug)]
pub(super) struct Chunks {
    at: At,
    /// Of the size that is being read, or of the data that are still to come.
    left: u64,
    /// Bytes of the line, or of the trailers.
    line: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    /// The size, of which at least one digit must be there.
    Size {
        any: bool,
    },
    /// Behind the size, up to the end of its line.
    Extension,
    SizeEnd,
    Data,
    DataCr,
    DataLf,
    /// The first byte of a trailer, or of the empty line after them.
    Trailer,
    TrailerRest,
    LastLf,
    End,
}

/// What came of a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Taken {
    /// Bytes of data, now at the front.
    pub(super) data: usize,
    /// Bytes that belonged to the body. Less than all only if the body ended before.
    pub(super) used: usize,
}

/// It is not chunked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Malformed;

impl Chunks {
    pub(super) const fn new() -> Self {
        Self { at: At::Size { any: false }, left: 0, line: 0 }
    }

    /// The last chunk and the trailers are behind us.
    pub(super) fn ended(&self) -> bool {
        self.at == At::End
    }

    /// Takes a read.
    pub(super) fn take(&mut self, read: &mut [u8]) -> Result<Taken, Malformed> {
        let (mut data, mut used) = (0, 0);
        while used < read.len() && self.at != At::End {
            if self.at == At::Data {
                let rest = read.len() - used;
                let now = usize::try_from(self.left).map_or(rest, |left| left.min(rest));
                read.copy_within(used..used + now, data);
                data += now;
                used += now;
                self.left -= now as u64;
                if self.left == 0 {
                    self.at = At::DataCr;
                }
            } else {
                self.at = self.step(read[used])?;
                used += 1;
            }
        }
        Ok(Taken { data, used })
    }

    fn step(&mut self, byte: u8) -> Result<At, Malformed> {
        Ok(match (self.at, byte) {
            (At::Size { any: true }, b'\r') => At::SizeEnd,
            (At::Size { any: true }, b';' | b' ' | b'\t') => At::Extension,
            (At::Size { .. }, digit) => {
                let digit = char::from(digit).to_digit(16).ok_or(Malformed)?;
                self.left = self.left.checked_mul(16).ok_or(Malformed)? + u64::from(digit);
                self.count(LINE_MAX)?;
                At::Size { any: true }
            }
            (At::Extension, b'\r') => At::SizeEnd,
            (At::Extension, b'\n') => return Err(Malformed),
            (At::Extension, _) => {
                self.count(LINE_MAX)?;
                At::Extension
            }
            (At::SizeEnd, b'\n') => {
                self.line = 0;
                if self.left == 0 { At::Trailer } else { At::Data }
            }
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::Size { any: false },
            (At::Trailer, b'\r') => At::LastLf,
            (At::TrailerRest, b'\n') => At::Trailer,
            (At::Trailer | At::TrailerRest, _) => {
                self.count(TRAILERS_MAX)?;
                At::TrailerRest
            }
            (At::LastLf, b'\n') => At::End,
            (At::SizeEnd | At::DataCr | At::DataLf | At::LastLf | At::Data | At::End, _) => {
                return Err(Malformed);
            }
        })
    }

    fn count(&mut self, max: u32) -> Result<(), Malformed> {
        self.line += 1;
        if self.line > max { Err(Malformed) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data of a body that comes in reads of `size` bytes, how much was used, and whether it ended.
    fn read(body: &[u8], size: usize) -> Result<(Vec<u8>, usize, bool), Malformed> {
        let (mut chunks, mut data, mut used) = (Chunks::new(), Vec::new(), 0);
        for read in body.chunks(size) {
            let mut read = read.to_vec();
            let taken = chunks.take(&mut read)?;
            data.extend_from_slice(&read[..taken.data]);
            used += taken.used;
        }
        Ok((data, used, chunks.ended()))
    }

    #[test]
    fn n07_data_are_the_same_wherever_the_reads_are_cut() {
        let body = b"5\r\nhello\r\n00b ;x=\"y\"\r\n, you there\r\nA\r\n0123456789\r\n0\r\nx-cost: 1\r\ny: 2\r\n\r\nHTTP";
        for size in 1..=body.len() {
            let (data, used, ended) = read(body, size).unwrap();
            assert_eq!(data, b"hello, you there0123456789");
            assert_eq!((used, ended), (body.len() - 4, true));
        }
    }

    #[test]
    fn a_body_that_is_cut_has_not_ended() {
        let body = b"5\r\nhello\r\n0\r\n\r\n";
        for end in 0..body.len() {
            let (data, used, ended) = read(&body[..end], 3).unwrap();
            assert!(b"hello".starts_with(&data[..]));
            assert_eq!((used, ended), (end, false));
        }
    }

    #[test]
    fn what_is_not_chunked_is_refused() {
        let long = [b"1;".to_vec(), vec![b'x'; 2000], b"\r\n".to_vec()].concat();
        let trailers = [b"0\r\n".to_vec(), b"x: y\r\n".repeat(5000)].concat();
        for bad in [
            b"\r\n".as_slice(),
            b"5\nhello",
            b"-1\r\n",
            b"+1\r\na\r\n",
            b"0x1\r\na\r\n",
            b"1;\n",
            b"1\r\nab\r\n",
            b"1\r\na\n",
            b"10000000000000000\r\n",
            b"g\r\n",
            b" 1\r\na\r\n",
            b"0\r\n\rx",
            &long,
            &trailers,
        ] {
            assert_eq!(
                read(bad, 7),
                Err(Malformed),
                "{}",
                String::from_utf8_lossy(&bad[..bad.len().min(20)])
            );
        }
    }
}
