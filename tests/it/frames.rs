//! HTTP/2 by hand: frames that no library would send, on a connection that does not care how it is answered.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// One frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field that is not indexed and not compressed.
pub(crate) fn field(name: &str, value: &str) -> Vec<u8> {
    [vec![0], text(name), text(value)].concat()
}

fn text(text: &str) -> Vec<u8> {
    let mut length = Vec::new();
    // An integer with a prefix of seven bits (RFC 7541, 5.1).
    match text.len() {
        n @ ..127 => length.push(n as u8),
        n => {
            length.push(127);
            let mut rest = n - 127;
            while rest >= 128 {
                length.push((rest % 128 + 128) as u8);
                rest /= 128;
            }
            length.push(rest as u8);
        }
    }
    [length.as_slice(), text.as_bytes()].concat()
}

/// The fields of a request: `:method` is GET or POST.
pub(crate) fn request(method: &str, path: &str) -> Vec<u8> {
    let method = if method == "GET" { 0x82 } else { 0x83 };
    [vec![method, 0x86], field(":path", path), field(":authority", "gridtie")].concat()
}

/// A connection on which the preface was sent.
pub(crate) struct Hostile(pub(crate) TcpStream);

/// How a connection came to its end.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    /// GOAWAY with this code, and closed.
    GoAway(u32),
    /// Closed without a word.
    Closed,
    /// It is open.
    Open,
}

impl Hostile {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        socket.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        Self(socket)
    }

    /// Sends all that is taken within `time`; how much that was.
    pub(crate) async fn flood(&mut self, bytes: &[u8], time: Duration) -> usize {
        let mut sent = 0;
        let flood = async {
            while sent < bytes.len() {
                match self.0.write(&bytes[sent..]).await {
                    Ok(n @ 1..) => sent += n,
                    _ => break,
                }
            }
        };
        let _in_time = timeout(time, flood).await;
        sent
    }

    /// Reads until the other side closes, for at most `time`.
    pub(crate) async fn end(&mut self, time: Duration) -> Ended {
        let mut seen = Vec::new();
        let read = async {
            let mut buffer = [0; 16 * 1024];
            loop {
                match self.0.read(&mut buffer).await {
                    Ok(n @ 1..) => seen.extend_from_slice(&buffer[..n]),
                    _ => break,
                }
            }
        };
        let closed = timeout(time, read).await.is_ok();
        let code = goaway(&seen);
        match (closed, code) {
            (_, Some(code)) => Ended::GoAway(code),
            (true, None) => Ended::Closed,
            (false, None) => Ended::Open,
        }
    }
}

/// The code of the last GOAWAY among these frames.
fn goaway(mut bytes: &[u8]) -> Option<u32> {
    let mut code = None;
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = bytes {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        if rest.len() < length {
            break;
        }
        if *kind == GOAWAY && length >= 8 {
            code = Some(u32::from_be_bytes([rest[4], rest[5], rest[6], rest[7]]));
        }
        bytes = &rest[length..];
    }
    code
}
