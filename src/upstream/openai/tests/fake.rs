//! A fake upstream on loopback that plays a script, byte for byte.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// What a fake upstream does once it has read a request.
#[derive(Clone)]
pub(super) enum Act {
    Send(String),
    /// Keeps the connection open until the other side closes it.
    Hold,
    /// Closes so that the other side sees a reset.
    Reset,
    /// Reads another request of the same connection.
    Again,
}

/// A fake upstream: every connection plays the same acts.
pub(super) struct Fake {
    pub(super) socket: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    pub(super) connections: Arc<Mutex<u32>>,
    /// Somebody hung up on a [`Act::Hold`].
    pub(super) hung_up: Arc<Notify>,
}

impl Fake {
    pub(super) async fn new(acts: Vec<Act>) -> Self {
        Self::with(acts, None).await
    }

    pub(super) async fn with(acts: Vec<Act>, tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Self {
            socket: listener.local_addr().unwrap(),
            seen: Arc::default(),
            connections: Arc::default(),
            hung_up: Arc::default(),
        };
        let (seen, connections, hung_up) =
            (Arc::clone(&fake.seen), Arc::clone(&fake.connections), Arc::clone(&fake.hung_up));
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                *connections.lock().unwrap() += 1;
                let (acts, seen, hung_up) = (acts.clone(), Arc::clone(&seen), Arc::clone(&hung_up));
                let tls = tls.clone();
                tokio::spawn(async move {
                    if acts.iter().any(|a| matches!(a, Act::Reset)) {
                        socket2::SockRef::from(&tcp).set_linger(Some(Duration::ZERO)).unwrap();
                    }
                    match tls {
                        None => play(tcp, acts, &seen, &hung_up).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(tcp).await {
                                play(stream, acts, &seen, &hung_up).await;
                            }
                        }
                    }
                });
            }
        });
        fake
    }

    pub(super) fn origin(&self) -> String {
        format!("http://{}", self.socket)
    }

    pub(super) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

async fn play<S: AsyncRead + AsyncWrite + Unpin>(
    mut io: S,
    acts: Vec<Act>,
    seen: &Mutex<Vec<String>>,
    hung_up: &Notify,
) {
    let Some(request) = read_request(&mut io).await else { return };
    seen.lock().unwrap().push(request);
    for act in acts {
        match act {
            Act::Send(text) => {
                if io.write_all(text.as_bytes()).await.is_err() {
                    return;
                }
                let _ = io.flush().await;
            }
            Act::Hold => {
                let mut rest = [0; 64];
                while matches!(io.read(&mut rest).await, Ok(n) if n > 0) {}
                hung_up.notify_one();
                return;
            }
            Act::Reset => return,
            Act::Again => match read_request(&mut io).await {
                Some(request) => seen.lock().unwrap().push(request),
                None => return,
            },
        }
    }
    let _ = io.shutdown().await;
}

async fn read_request<S: AsyncRead + Unpin>(io: &mut S) -> Option<String> {
    let mut text = Vec::new();
    loop {
        text.push(io.read_u8().await.ok()?);
        if text.ends_with(b"\r\n\r\n") {
            break;
        }
    }
    let head = String::from_utf8(text.clone()).unwrap().to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|t| t.split("\r\n").next());
    let mut body = vec![0; length.map_or(0, |l| l.parse().unwrap())];
    io.read_exact(&mut body).await.ok()?;
    text.extend(body);
    Some(String::from_utf8(text).unwrap())
}
