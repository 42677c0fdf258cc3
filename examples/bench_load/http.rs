//! HTTP/1.1 from the client's side, as cheap as it can be while still checking every answer.
//!
//! Problem: the load side must cost less than the proxy it loads, and yet must notice a wrong status, a short body
//! or a stream without its end, so that a broken proxy cannot look fast. This file reads one answer at a time from a
//! bare socket and hands the decoded body on. It refuses to know what is counted.

use std::io::ErrorKind;
use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// More head than any proxy adds.
const MAX_HEAD: usize = 32 * 1024;

/// A kept-alive connection to the proxy, or to the mock.
pub(crate) struct Connection {
    socket: TcpStream,
    buffer: Box<[u8; 32 * 1024]>,
}

impl Connection {
    pub(crate) async fn open(to: SocketAddr) -> Result<Self> {
        let socket = TcpStream::connect(to).await.with_context(|| format!("cannot connect to {to}"))?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, buffer: Box::new([0; 32 * 1024]) })
    }

    /// Sends one request (all requests here fit into a socket's buffer).
    pub(crate) fn send(&self, request: &[u8]) -> Result<()> {
        let n = self.socket.try_write(request).context("the request could not be written")?;
        ensure!(n == request.len(), "the request was written in part");
        Ok(())
    }

    /// Reads an answer, giving each decoded piece of its body to `sink` until the answer ends or `sink` says stop.
    pub(crate) async fn receive(&mut self, mut sink: impl FnMut(&[u8]) -> bool) -> Result<()> {
        let mut answer = Answer::default();
        loop {
            // Not `try_read`: it would ask the kernel once more before every answer.
            let n = self.socket.read(&mut self.buffer[..]).await?;
            ensure!(n > 0, "the connection ended inside an answer");
            if answer.feed(&self.buffer[..n], &mut sink)? != Step::More {
                return Ok(());
            }
        }
    }

    /// Whether the proxy still holds the connection and has sent nothing more.
    pub(crate) fn is_silent(&mut self) -> bool {
        self.socket.try_read(&mut self.buffer[..]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    More,
    Done,
    Stopped,
}

/// How far into an answer we are.
#[derive(Debug, Default)]
enum Part {
    #[default]
    Head,
    /// So many bytes of a body of known length are missing.
    Whole(usize),
    /// Inside a chunk's size line, with the digits so far.
    Size(usize, bool),
    /// So many bytes of a chunk are missing.
    Chunk(usize),
    /// The line end after a chunk.
    Gap,
    /// The line end after the last chunk.
    End,
}

#[derive(Debug, Default)]
struct Answer {
    part: Part,
    head: Vec<u8>,
}

impl Answer {
    fn feed(&mut self, mut bytes: &[u8], sink: &mut impl FnMut(&[u8]) -> bool) -> Result<Step> {
        while !bytes.is_empty() {
            match &mut self.part {
                Part::Head => bytes = self.head(bytes)?,
                Part::Whole(left) => {
                    ensure!(bytes.len() <= *left, "more bytes than the answer announced");
                    *left -= bytes.len();
                    let done = *left == 0;
                    let stop = !sink(bytes);
                    return Ok(if done {
                        Step::Done
                    } else if stop {
                        Step::Stopped
                    } else {
                        Step::More
                    });
                }
                Part::Size(size, extension) => {
                    match bytes[0] {
                        b'\n' if *size == 0 => self.part = Part::End,
                        b'\n' => self.part = Part::Chunk(*size),
                        b';' => *extension = true,
                        digit if !*extension && digit != b'\r' => *size = *size * 16 + hex(digit)?,
                        _ => {}
                    }
                    bytes = &bytes[1..];
                }
                Part::Chunk(left) => {
                    let (piece, rest) = bytes.split_at(bytes.len().min(*left));
                    *left -= piece.len();
                    if *left == 0 {
                        self.part = Part::Gap;
                    }
                    if !sink(piece) {
                        return Ok(Step::Stopped);
                    }
                    bytes = rest;
                }
                Part::Gap => {
                    if bytes[0] == b'\n' {
                        self.part = Part::Size(0, false);
                    }
                    bytes = &bytes[1..];
                }
                Part::End if bytes[0] == b'\n' => {
                    ensure!(bytes.len() == 1, "bytes after the answer");
                    return Ok(Step::Done);
                }
                Part::End => bytes = &bytes[1..],
            }
        }
        Ok(Step::More)
    }

    fn head<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8]> {
        let before = self.head.len();
        self.head.extend_from_slice(bytes);
        let Some(end) = memchr::memmem::find(&self.head, b"\r\n\r\n") else {
            ensure!(self.head.len() <= MAX_HEAD, "a head of more than {MAX_HEAD} bytes");
            return Ok(&[]);
        };
        let head = &self.head[..end + 2];
        if !head.starts_with(b"HTTP/1.1 200 ") {
            bail!("not a 200: {}", String::from_utf8_lossy(&self.head[..self.head.len().min(600)]));
        }
        self.part = match value(head, b"\ncontent-length:") {
            Some(length) => Part::Whole(std::str::from_utf8(length)?.parse()?),
            None => {
                let coding = value(head, b"\ntransfer-encoding:").context("neither length nor chunks")?;
                ensure!(coding.eq_ignore_ascii_case(b"chunked"), "an unknown transfer encoding");
                Part::Size(0, false)
            }
        };
        Ok(&bytes[end + 4 - before..])
    }
}

fn hex(digit: u8) -> Result<usize> {
    Ok(char::from(digit).to_digit(16).with_context(|| format!("chunk size digit {digit:#x}"))? as usize)
}

/// The value of the header whose lower-case name, between line feed and colon, is `name`.
fn value<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut rest = head;
    while let Some(at) = memchr::memchr(b'\n', rest) {
        rest = &rest[at..];
        if rest.len() > name.len() && rest[..name.len()].eq_ignore_ascii_case(name) {
            let value = &rest[name.len()..];
            return Some(value[..memchr::memchr(b'\r', value)?].trim_ascii());
        }
        rest = &rest[1..];
    }
    None
}
