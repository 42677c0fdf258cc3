//! A client that keeps every byte.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{DONE, LONG};

/// What a client got.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    /// The transfer broke.
    pub(crate) broken: bool,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn attempts(&self) -> u32 {
        self.header("x-gridtie-attempts").parse().unwrap_or(0)
    }

    pub(crate) fn has_error_event(&self) -> bool {
        self.text.contains("data: {\"error\":")
    }

    pub(crate) fn is_done(&self) -> bool {
        self.text.ends_with(DONE) && !self.has_error_event()
    }

    pub(crate) fn tokens(&self) -> usize {
        self.text.matches("\"content\":\"").count()
    }

    /// Reads an answer to its end.
    pub(crate) async fn read(response: Response<Incoming>) -> Self {
        let (head, mut body) = response.into_parts();
        let (mut bytes, mut broken) = (Vec::new(), false);
        loop {
            match timeout(LONG, body.frame()).await.expect("the answer goes on and on") {
                None => break,
                Some(Ok(frame)) => bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data)),
                Some(Err(_)) => {
                    broken = true;
                    break;
                }
            }
        }
        let text = String::from_utf8(bytes).unwrap();
        Self { status: head.status.as_u16(), headers: head.headers, text, broken }
    }
}

/// A client with one connection.
pub(crate) struct Client {
    sender: http1::SendRequest<Full<Bytes>>,
    connection: JoinHandle<()>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(socket)).await.unwrap();
        let connection = tokio::spawn(async move { drop(connection.await) });
        Self { sender, connection }
    }

    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Response<Incoming> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "gridtie")
            .header("content-type", "application/json")
            .body(Full::new(body.into()))
            .unwrap();
        self.sender.ready().await.unwrap();
        timeout(LONG, self.sender.send_request(request)).await.expect("an answer begins").unwrap()
    }

    /// A chat of somebody who shows that key.
    pub(crate) async fn chat_as(&mut self, key: &str, body: impl Into<Bytes>) -> Response<Incoming> {
        let request = Request::post("/v1/chat/completions")
            .header("host", "gridtie")
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {key}"))
            .body(Full::new(body.into()))
            .unwrap();
        self.sender.ready().await.unwrap();
        timeout(LONG, self.sender.send_request(request)).await.expect("an answer begins").unwrap()
    }

    pub(crate) async fn chat(&mut self, body: impl Into<Bytes>) -> Response<Incoming> {
        self.send("POST", "/v1/chat/completions", body).await
    }

    /// Closes the connection, whatever is going on there.
    pub(crate) async fn hang_up(self) {
        self.connection.abort();
        let _aborted = self.connection.await;
    }
}

/// One request on a connection of its own, read to the end.
pub(crate) async fn ask(address: SocketAddr, body: impl Into<Bytes>) -> Got {
    let mut client = Client::connect(address).await;
    let response = client.chat(body).await;
    Got::read(response).await
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> Got {
    let mut client = Client::connect(address).await;
    let response = client.send("GET", path, Bytes::new()).await;
    Got::read(response).await
}
