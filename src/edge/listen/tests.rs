use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::client::conn::{http1 as client1, http2 as client2};
use hyper::service::service_fn;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::*;

type Out = BoxBody<Bytes, Infallible>;
type Pieces = mpsc::Receiver<Bytes>;

fn short() -> Settings {
    let ms = Duration::from_millis;
    Settings { handshake: ms(80), head: ms(80), idle: ms(80), write_stall: ms(80), ..Settings::default() }
}

fn whole(text: impl Into<Bytes>) -> Response<Out> {
    Response::new(Full::new(text.into()).boxed())
}

fn streamed(pieces: Pieces) -> Response<Out> {
    let frames = futures_util::stream::unfold(pieces, |mut pieces| async {
        let piece = pieces.recv().await?;
        Some((Ok::<_, Infallible>(Frame::data(piece)), pieces))
    });
    Response::new(BodyExt::boxed(StreamBody::new(SyncStream(Box::pin(frames)))))
}

/// `BoxBody` wants `Sync`, which nothing uses.
struct SyncStream<S>(Pin<Box<S>>);

impl<S: futures_util::Stream> futures_util::Stream for SyncStream<S> {
    type Item = S::Item;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

struct Server {
    address: SocketAddr,
    shutdown: Shutdown,
    done: JoinHandle<()>,
}

/// Serves with a function of the request and the peer.
async fn start<F, A>(settings: Settings, handle: F) -> Server
where
    F: Fn(Peer, Request<Incoming>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<Out>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = Shutdown::new();
    let make = move |peer: Peer| {
        let handle = handle.clone();
        service_fn(move |request| {
            let answer = handle(peer.clone(), request);
            async move { Ok::<_, Infallible>(answer.await) }
        })
    };
    let done = tokio::spawn(serve(listener, settings, shutdown.clone(), make));
    Server { address, shutdown, done }
}

async fn hello(settings: Settings) -> Server {
    start(settings, |_, _| async { whole("hello") }).await
}

type Client1 = client1::SendRequest<Empty<Bytes>>;

async fn connect1(address: SocketAddr) -> Client1 {
    let socket = TcpStream::connect(address).await.unwrap();
    let (client, connection) = client1::handshake(TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    client
}

fn get() -> Request<Empty<Bytes>> {
    Request::get("http://localhost/").header("host", "localhost").body(Empty::new()).unwrap()
}

async fn text(response: Response<Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().into()).unwrap()
}

/// Reads until the other end closes or resets.
async fn read_all(mut socket: TcpStream) -> Vec<u8> {
    let mut seen = Vec::new();
    let _ = socket.read_to_end(&mut seen).await;
    seen
}

#[tokio::test]
async fn one_port_speaks_both_versions_of_http() {
    let server = hello(Settings::default()).await;
    let mut client = connect1(server.address).await;
    for _ in 0..3 {
        assert_eq!(text(client.send_request(get()).await.unwrap()).await, "hello");
    }
    let socket = TcpStream::connect(server.address).await.unwrap();
    let (mut client, connection) =
        client2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    assert_eq!(text(client.send_request(get()).await.unwrap()).await, "hello");
}

#[tokio::test]
async fn a_request_that_comes_byte_by_byte_is_understood() {
    let server = hello(Settings::default()).await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    for byte in b"PUT / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" {
        socket.write_all(&[*byte]).await.unwrap();
    }
    assert!(read_all(socket).await.starts_with(b"HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let server = hello(short()).await;
    assert_eq!(read_all(TcpStream::connect(server.address).await.unwrap()).await, b"");
}

#[tokio::test]
async fn s06_a_head_that_never_ends_is_cut_off() {
    let server = hello(short()).await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
    let seen = read_all(socket).await;
    assert!(!seen.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&seen));
}

#[tokio::test]
async fn s05_a_head_beyond_the_limit_is_refused() {
    let server = hello(Settings::default()).await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let head = format!("GET / HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "x".repeat(HEAD_BYTES + 1));
    socket.write_all(head.as_bytes()).await.unwrap();
    assert!(read_all(socket).await.starts_with(b"HTTP/1.1 431"));
}

/// A service that reads whole bodies and repeats them.
async fn echo() -> Server {
    start(Settings::default(), |_, request: Request<Incoming>| async {
        whole(
            request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default(),
        )
    })
    .await
}

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn s09_a_request_with_a_length_and_chunks_is_refused_and_what_follows_is_not_read() {
    let server = echo().await;
    let host = "POST / HTTP/1.1\r\nhost: x\r\n";
    for both in [
        "content-length: 4\r\ntransfer-encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 4\r\ncontent-length: 5\r\n",
    ] {
        // As the first request of a connection, and as a later one.
        for before in ["", "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi"] {
            let mut socket = TcpStream::connect(server.address).await.unwrap();
            if !before.is_empty() {
                socket.write_all(before.as_bytes()).await.unwrap();
                let mut answer = Vec::new();
                while !answer.ends_with(b"hi") {
                    answer.push(socket.read_u8().await.unwrap());
                }
            }
            let request = format!("{host}{both}\r\n0\r\n\r\n{SMUGGLED}");
            socket.write_all(request.as_bytes()).await.unwrap();
            let seen = String::from_utf8(read_all(socket).await).unwrap();
            assert!(seen.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{both}: {seen}");
            assert_eq!(seen.matches("HTTP/1.1").count(), 1, "{both}: {seen}");
        }
    }
}

#[tokio::test]
async fn requests_in_chunks_are_served_on_one_connection_and_the_last_if_a_length_could_hide() {
    let server = echo().await;
    let chunked = "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    for _ in 0..3 {
        socket.write_all(chunked.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"hi") {
            answer.push(socket.read_u8().await.unwrap());
        }
        assert!(!String::from_utf8(answer).unwrap().contains("connection: close"));
    }
    // Pipelined: the second head goes by together with the first request, and could hold anything.
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let hidden = chunked.replace("transfer", "content-length: 4\r\ntransfer");
    socket.write_all(format!("{chunked}{hidden}{SMUGGLED}").as_bytes()).await.unwrap();
    let seen = String::from_utf8(read_all(socket).await).unwrap();
    assert_eq!(seen.matches("HTTP/1.1 ").count(), 2, "{seen}");
    assert_eq!(seen.matches("connection: close").count(), 1, "{seen}");
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let (release, released) = oneshot::channel::<()>();
    let released = Arc::new(Mutex::new(Some(released)));
    let (entered, mut has_entered) = mpsc::channel(1);
    let server = start(short(), move |_, request| {
        let wait = if request.uri().path() == "/slow" { released.lock().unwrap().take() } else { None };
        let entered = entered.clone();
        async move {
            if let Some(wait) = wait {
                entered.send(()).await.unwrap();
                wait.await.unwrap();
            }
            whole("hello")
        }
    })
    .await;
    let mut busy = TcpStream::connect(server.address).await.unwrap();
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    has_entered.recv().await.unwrap();
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    // The idle one began later and is closed by the server; the busy one is older than the limit by then.
    assert!(read_all(idle).await.ends_with(b"hello"));
    release.send(()).unwrap();
    assert!(read_all(busy).await.ends_with(b"hello"));
}

#[tokio::test]
async fn a_connection_beyond_the_cap_is_closed_at_once() {
    let server = hello(Settings { max_connections: 1, ..Settings::default() }).await;
    let mut first = connect1(server.address).await;
    assert_eq!(text(first.send_request(get()).await.unwrap()).await, "hello");
    assert_eq!(read_all(TcpStream::connect(server.address).await.unwrap()).await, b"");
    assert_eq!(text(first.send_request(get()).await.unwrap()).await, "hello");
}

#[tokio::test]
async fn o06_the_kernels_buffer_for_a_client_is_bounded() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    tune(&socket, &Settings::default()).unwrap();
    assert!(socket.nodelay().unwrap());
    // Linux doubles what is asked for.
    let size = socket2::SockRef::from(&socket).send_buffer_size().unwrap();
    assert!(size <= 2 * 64 * 1024, "{size}");
}

#[tokio::test]
async fn o06_a_client_that_does_not_read_is_cut_off_and_its_answer_dropped() {
    let (give, pieces) = mpsc::channel::<Bytes>(1);
    let pieces = Arc::new(Mutex::new(Some(pieces)));
    let server = start(short(), move |_, _| {
        let pieces = pieces.lock().unwrap().take().unwrap();
        async move { streamed(pieces) }
    })
    .await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket2::SockRef::from(&socket).set_recv_buffer_size(4096).unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    // Sending fails once the receiver, and so the body, is dropped.
    let piece = Bytes::from(vec![b'x'; 16 * 1024]);
    while give.send(piece.clone()).await.is_ok() {}
    drop(socket);
}

#[tokio::test]
async fn an_answer_is_not_lost_because_the_body_was_not_read() {
    let server = start(Settings::default(), |_, _| async {
        let mut response = whole("too large");
        response.headers_mut().insert("connection", "close".parse().unwrap());
        response
    })
    .await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let size = 8 << 20;
    socket
        .write_all(format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {size}\r\n\r\n").as_bytes())
        .await
        .unwrap();
    socket.write_all(&vec![b'x'; size]).await.unwrap();
    assert!(read_all(socket).await.ends_with(b"too large"));
}

#[tokio::test]
async fn shutdown_lets_a_stream_finish_and_takes_no_new_connection() {
    let (give, pieces) = mpsc::channel::<Bytes>(1);
    let pieces = Arc::new(Mutex::new(Some(pieces)));
    let server = start(Settings::default(), move |_, _| {
        let pieces = pieces.lock().unwrap().take().unwrap();
        async move { streamed(pieces) }
    })
    .await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    let mut client = connect1(server.address).await;
    let mut response = client.send_request(get()).await.unwrap();
    give.send(Bytes::from_static(b"one")).await.unwrap();
    assert_eq!(response.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
    server.shutdown.begin();
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap_or(0), 0);
    give.send(Bytes::from_static(b"two")).await.unwrap();
    assert_eq!(response.frame().await.unwrap().unwrap().into_data().unwrap(), "two");
    drop(give);
    assert!(response.frame().await.is_none());
    server.done.await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_a_shutdown() {
    let server = hello(Settings::default()).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        answer.push(idle.read_u8().await.unwrap());
    }
    // This client keeps its connection for as long as it may.
    server.shutdown.begin();
    tokio::time::timeout(Duration::from_millis(900), server.done).await.expect("it lingers").unwrap();
    assert_eq!(read_all(idle).await, b"");
}

#[tokio::test]
async fn k05_the_second_step_of_a_shutdown_waits_for_nobody() {
    let (give, pieces) = mpsc::channel::<Bytes>(1);
    let pieces = Arc::new(Mutex::new(Some(pieces)));
    let server = start(Settings::default(), move |_, _| {
        let pieces = pieces.lock().unwrap().take().unwrap();
        async move { streamed(pieces) }
    })
    .await;
    let mut client = connect1(server.address).await;
    let response = client.send_request(get()).await.unwrap();
    server.shutdown.begin();
    server.shutdown.cut();
    server.done.await.unwrap();
    assert!(give.is_closed());
    assert!(response.into_body().collect().await.is_err());
}

struct Authority {
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { ca: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    /// Chain and key as PEM.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.ca).unwrap().pem(), key.serialize_pem())
    }

    fn pem(&self) -> String {
        self.ca.pem()
    }
}

async fn tls_server(authority: &Authority, client_ca: Option<&str>) -> Server {
    let (chain, key) = authority.issue("localhost");
    let tls = Tls::from_pem(chain.as_bytes(), key.as_bytes(), client_ca.map(str::as_bytes)).unwrap();
    let settings = Settings { tls: Some(Arc::new(tls)), ..Settings::default() };
    start(settings, |peer, request| async move {
        whole(format!("{:?} {}", request.version(), peer.certificate.is_some()))
    })
    .await
}

/// The answer to one request over TLS, by the version that ALPN chose.
async fn ask_tls(
    address: SocketAddr,
    authority: &Authority,
    identity: Option<(String, String)>,
    alpn: &[&str],
) -> Result<String, Box<dyn std::error::Error>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut config = match identity {
        None => config.with_no_client_auth(),
        Some((chain, key)) => config.with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(chain.as_bytes())?],
            PrivateKeyDer::from_pem_slice(key.as_bytes())?,
        )?,
    };
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    let socket = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost")?;
    let socket = TlsConnector::from(Arc::new(config)).connect(name, socket).await?;
    let chosen = socket.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    let response = if chosen.as_deref() == Some(b"h2") {
        let (mut client, connection) = client2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await?;
        tokio::spawn(connection);
        client.send_request(get()).await?
    } else {
        let (mut client, connection) = client1::handshake(TokioIo::new(socket)).await?;
        tokio::spawn(connection);
        client.send_request(get()).await?
    };
    Ok(String::from_utf8(response.into_body().collect().await?.to_bytes().into())?)
}

#[tokio::test]
async fn tls_speaks_both_versions_by_alpn() {
    let authority = Authority::new();
    let server = tls_server(&authority, None).await;
    let ask = async |alpn: &[&str]| ask_tls(server.address, &authority, None, alpn).await.unwrap();
    assert_eq!(ask(&["h2", "http/1.1"]).await, "HTTP/2.0 false");
    assert_eq!(ask(&["http/1.1"]).await, "HTTP/1.1 false");
    assert_eq!(ask(&[]).await, "HTTP/1.1 false");
}

#[tokio::test]
async fn s20_with_a_client_ca_only_its_certificates_get_in() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = tls_server(&authority, Some(&authority.pem())).await;
    let known = Some(authority.issue("client"));
    let answer = ask_tls(server.address, &authority, known, &["h2"]).await.unwrap();
    assert_eq!(answer, "HTTP/2.0 true");
    assert!(ask_tls(server.address, &authority, None, &["h2"]).await.is_err());
    let unknown = Some(stranger.issue("client"));
    assert!(ask_tls(server.address, &authority, unknown, &["h2"]).await.is_err());
}

#[tokio::test]
async fn a_replaced_certificate_serves_the_next_connection() {
    let (old, new) = (Authority::new(), Authority::new());
    let tls = |authority: &Authority| {
        let (chain, key) = authority.issue("localhost");
        Tls::from_pem(chain.as_bytes(), key.as_bytes(), None).unwrap()
    };
    let live = Arc::new(tls(&old));
    let server = hello(Settings { tls: Some(Arc::clone(&live)), ..Settings::default() }).await;
    assert!(ask_tls(server.address, &old, None, &[]).await.is_ok());
    live.replace(&tls(&new));
    assert!(ask_tls(server.address, &old, None, &[]).await.is_err());
    assert!(ask_tls(server.address, &new, None, &[]).await.is_ok());
}

#[test]
fn pem_that_is_none_is_named_and_never_quoted() {
    let authority = Authority::new();
    let (chain, key) = authority.issue("localhost");
    let (chain, key) = (chain.as_bytes(), key.as_bytes());
    let error = |chain: &[u8], key: &[u8], ca| Tls::from_pem(chain, key, ca).unwrap_err();
    assert!(matches!(error(b"", key, None), TlsError::NoCertificate));
    assert!(matches!(error(chain, b"canary", None), TlsError::Key));
    assert!(!error(chain, b"canary", None).to_string().contains("canary"));
    assert!(matches!(error(chain, key, Some(b"")), TlsError::Verifier(_)));
    let (_, other) = authority.issue("localhost");
    assert!(matches!(error(chain, other.as_bytes(), None), TlsError::Rustls(_)));
}
