use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, future, stream};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

use super::{Gridtie, Settings};
use crate::dialect::gridtie::answer::{encode_completed, encode_delta, encode_started};
use crate::dialect::gridtie::v1;
use crate::dialect::gridtie::v1::inference_server::{Inference, InferenceServer};
use crate::domain::request::{Ask, Chat, Message, Part, Role};
use crate::domain::{
    Address, Answer, AskKind, AttemptNo, Body, CallId, Delta, Duration, Failure, FailureKind, FinishReason,
    SessionKey, Usage, UsageSource,
};
use crate::upstream::{Attempt, Onward, Piece, PieceBody, Reply, Upstream, WholeBody};

/// Longer than anything here takes; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

type Events = Pin<Box<dyn Stream<Item = Result<v1::GenerateEvent, Status>> + Send>>;
type Generating = Pin<Box<dyn Future<Output = Result<v1::GenerateResponse, Status>> + Send>>;

/// What came.
#[derive(Clone, Debug)]
struct Came {
    peer: SocketAddr,
    timeout: Option<String>,
    key: Option<String>,
    trace: Option<String>,
    retry: Option<String>,
    message: v1::GenerateRequest,
}

/// Another Gridtie, as far as an upstream can tell.
#[derive(Clone)]
struct Fake {
    came: Arc<Mutex<Vec<Came>>>,
    whole: Arc<dyn Fn() -> Generating + Send + Sync>,
    events: Arc<dyn Fn() -> Events + Send + Sync>,
}

impl Fake {
    fn new() -> Self {
        Self {
            came: Arc::default(),
            whole: Arc::new(|| Box::pin(async { Ok(whole("hi")) })),
            events: Arc::new(|| Box::pin(stream::iter(said(&["a", "b"], true)))),
        }
    }

    fn telling(mut self, events: impl Fn() -> Events + Send + Sync + 'static) -> Self {
        self.events = Arc::new(events);
        self
    }

    fn saying(mut self, whole: impl Fn() -> Generating + Send + Sync + 'static) -> Self {
        self.whole = Arc::new(whole);
        self
    }

    fn note(&self, request: Request<v1::GenerateRequest>) {
        let read = |name: &str| Some(request.metadata().get(name)?.to_str().ok()?.to_owned());
        let came = Came {
            peer: request.remote_addr().unwrap(),
            timeout: read("grpc-timeout"),
            key: read("authorization"),
            trace: read("traceparent"),
            retry: read("grpc-previous-rpc-attempts"),
            message: request.into_inner(),
        };
        self.came.lock().unwrap().push(came);
    }

    fn peers(&self) -> BTreeSet<SocketAddr> {
        self.came.lock().unwrap().iter().map(|came| came.peer).collect()
    }
}

#[tonic::async_trait]
impl Inference for Fake {
    type StreamGenerateStream = Events;

    async fn generate(
        &self,
        request: Request<v1::GenerateRequest>,
    ) -> Result<Response<v1::GenerateResponse>, Status> {
        self.note(request);
        (self.whole)().await.map(Response::new)
    }

    async fn stream_generate(
        &self,
        request: Request<v1::GenerateRequest>,
    ) -> Result<Response<Events>, Status> {
        self.note(request);
        Ok(Response::new((self.events)()))
    }

    async fn embed(&self, request: Request<v1::EmbedRequest>) -> Result<Response<v1::EmbedResponse>, Status> {
        let embeddings =
            request.into_inner().inputs.iter().map(|_| v1::Embedding { values: vec![0.5] }).collect();
        Ok(Response::new(v1::EmbedResponse { embeddings, ..Default::default() }))
    }

    async fn list_models(
        &self,
        _: Request<v1::ListModelsRequest>,
    ) -> Result<Response<v1::ListModelsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn explain(&self, _: Request<v1::ExplainRequest>) -> Result<Response<v1::ExplainResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

fn usage() -> Usage {
    Usage { input: 10, output: 2, source: UsageSource::Reported, ..Usage::default() }
}

fn whole(text: &str) -> v1::GenerateResponse {
    let part = v1::Part { content: Some(v1::part::Content::Text(text.to_owned())) };
    v1::GenerateResponse {
        choices: vec![v1::Choice {
            parts: vec![part],
            finish_reason: v1::FinishReason::Stop.into(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// The events of a stream with these texts.
fn said(texts: &[&str], completed: bool) -> Vec<Result<v1::GenerateEvent, Status>> {
    let mut events = vec![encode_started(v1::Routing::default()), v1::GenerateEvent::default()];
    let text = |text: &&str| Delta::Text { choice: 0, text: (*text).to_owned(), logprobs: None };
    events.extend(texts.iter().map(text).filter_map(encode_delta));
    events.extend(encode_delta(Delta::Finish { choice: 0, reason: FinishReason::Stop }));
    if completed {
        events.push(encode_completed(&usage(), v1::Routing::default()));
    }
    events.into_iter().map(Ok).collect()
}

/// Serves on a port of its own, or again on `port`, until the sender says so.
async fn serve(fake: &Fake, server: Server, port: u16) -> (u16, oneshot::Sender<()>) {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (stop, stopped) = oneshot::channel();
    let mut server = server;
    let router = server.add_service(InferenceServer::new(fake.clone()));
    tokio::spawn(
        router
            .serve_with_incoming_shutdown(TcpIncoming::from(listener), async { stopped.await.unwrap_or(()) }),
    );
    (port, stop)
}

fn upstream(settings: &Settings) -> Gridtie {
    Gridtie::new(settings).unwrap()
}

fn plain(port: u16) -> Arc<Address> {
    Arc::new(Address { origin: format!("http://127.0.0.1:{port}").into(), socket: None })
}

fn asking(body: Body, kind: AskKind, stream: bool, address: &Arc<Address>) -> Attempt {
    let forward = vec![("traceparent", "00-1-2-3".to_owned())];
    let request =
        crate::domain::Request { kind, stream, stream_usage: false, body, input_tokens: 7, forward };
    Attempt {
        call: CallId(1),
        no: AttemptNo(0),
        request: Arc::new(request),
        upstream_model: "up".into(),
        client_model: "m".into(),
        address: Arc::clone(address),
        timeout: Duration::from_secs(9),
        onward: Onward::default(),
    }
}

fn attempt(stream: bool, address: &Arc<Address>) -> Attempt {
    let message = Message { role: Role::User, parts: vec![Part::Text("hello".to_owned())], name: None };
    let ask = Ask::Chat(Chat { messages: vec![message], ..Chat::default() });
    asking(Body::Canonical(Box::new(ask)), AskKind::Chat, stream, address)
}

async fn collect(reply: Reply) -> Vec<Result<Piece, Failure>> {
    let Reply::Stream(pieces) = reply else { panic!("{reply:?}") };
    pieces.0.collect().await
}

#[tokio::test]
async fn a_whole_answer_is_read_and_counted_where_nobody_counted() {
    let fake = Fake::new();
    let (port, _stop) = serve(&fake, Server::builder(), 0).await;
    let reply = upstream(&Settings::default()).call(attempt(false, &plain(port))).await.unwrap();
    let Reply::Whole(whole) = reply else { panic!("{reply:?}") };
    let WholeBody::Canonical(Answer::Generated(answer)) = whole.body else { panic!("not canonical") };
    assert_eq!(answer.choices[0].finish, FinishReason::Stop);
    assert_eq!((whole.usage.input, whole.usage.output, whole.usage.source), (7, 1, UsageSource::Estimated));
}

#[tokio::test]
async fn deadline_key_model_and_trace_go_along() {
    let fake = Fake::new();
    let (port, _stop) = serve(&fake, Server::builder(), 0).await;
    let settings = Settings { key: Some("s3cret".into()), ..Settings::default() };
    let gridtie = upstream(&settings);
    gridtie.call(attempt(false, &plain(port))).await.unwrap();
    let came = fake.came.lock().unwrap().pop().unwrap();
    assert_eq!(came.timeout.as_deref(), Some("9000000u"));
    assert_eq!(came.key.as_deref(), Some("Bearer s3cret"));
    assert_eq!(came.trace.as_deref(), Some("00-1-2-3"));
    assert_eq!(came.message.model, "up");
    assert!(!format!("{gridtie:?}").contains("s3cret"));
}

#[tokio::test]
async fn class_and_session_and_a_clients_own_retry_go_along_and_nothing_is_made_up() {
    let fake = Fake::new();
    let (port, _stop) = serve(&fake, Server::builder(), 0).await;
    let gridtie = upstream(&Settings::default());
    let sent = |attempt: Attempt| {
        let (gridtie, fake) = (gridtie.clone(), fake.clone());
        async move {
            gridtie.call(attempt).await.unwrap();
            let came = fake.came.lock().unwrap().pop().unwrap();
            (came.message.routing, came.retry)
        }
    };
    let plain = attempt(false, &plain(port));
    assert_eq!(sent(plain.clone()).await, (None, None));
    let onward =
        Onward { class: Some("agent".into()), session: Some(SessionKey(0xbeef)), client_retry: true };
    let hints = v1::RoutingHints {
        traffic_class: "agent".to_owned(),
        session: "000000000000beef".to_owned(),
        ..v1::RoutingHints::default()
    };
    assert_eq!(sent(Attempt { onward, ..plain }).await, (Some(hints), Some("1".to_owned())));
}

#[tokio::test]
async fn n14_a_stream_is_whole_only_with_its_end() {
    let fake = Fake::new();
    let (port, _stop) = serve(&fake, Server::builder(), 0).await;
    let gridtie = upstream(&Settings::default());
    let pieces = collect(gridtie.call(attempt(true, &plain(port))).await.unwrap()).await;
    let pieces: Vec<Piece> = pieces.into_iter().map(Result::unwrap).collect();
    let content: Vec<u32> = pieces.iter().map(|piece| piece.content_events).collect();
    assert_eq!(content, [1, 1, 0, 0], "neither the head nor an unknown event is a piece");
    assert_eq!(pieces.last().unwrap().usage, Some(usage()));

    let cut = Fake::new().telling(|| Box::pin(stream::iter(said(&["a"], false))));
    let (port, _stop) = serve(&cut, Server::builder(), 0).await;
    let pieces = collect(gridtie.call(attempt(true, &plain(port))).await.unwrap()).await;
    assert_eq!(pieces.last().unwrap().as_ref().unwrap_err().kind, FailureKind::Truncated);
}

#[tokio::test]
async fn a_request_of_another_dialect_is_translated() {
    let fake = Fake::new();
    let (port, _stop) = serve(&fake, Server::builder(), 0).await;
    let gridtie = upstream(&Settings::default());
    let json = |json: &'static str| Body::OpenAi(Bytes::from_static(json.as_bytes()));
    let chat = json(r#"{"model":"m","messages":[{"role":"user","content":"hello"}],"max_tokens":3}"#);
    gridtie.call(asking(chat, AskKind::Chat, false, &plain(port))).await.unwrap();
    let came = fake.came.lock().unwrap().pop().unwrap().message;
    assert_eq!(came.messages[0].role(), v1::Role::User);
    assert_eq!(came.sampling.unwrap().max_tokens, Some(3));

    let embed = json(r#"{"model":"m","input":["a","b"]}"#);
    let reply = gridtie.call(asking(embed, AskKind::Embed, false, &plain(port))).await.unwrap();
    let Reply::Whole(whole) = reply else { panic!("{reply:?}") };
    let WholeBody::Canonical(Answer::Embedded(answer)) = whole.body else { panic!("no vectors") };
    assert_eq!(answer.vectors.len(), 2);

    let wrong = json(r#"{"model":"m","messages":[{"role":"wizard","content":"x"}]}"#);
    let failure = gridtie.call(asking(wrong, AskKind::Chat, false, &plain(port))).await.unwrap_err();
    assert_eq!((failure.kind, failure.unprocessed), (FailureKind::Unsupported, true));
    assert_eq!(failure.detail.unwrap().param.as_deref(), Some("messages[0].role"));
}

#[tokio::test]
async fn nobody_there_is_a_connect_failure_that_cost_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let gridtie = upstream(&Settings::default());
    let failure = gridtie.call(attempt(false, &plain(port))).await.unwrap_err();
    assert_eq!((failure.kind, failure.unprocessed), (FailureKind::Connect, true));
}

#[tokio::test]
async fn s13_forbidden_addresses_are_not_dialled() {
    for host in ["169.254.169.254", "168.63.129.16", "100.100.100.200", "[64:ff9b::a9fe:a9fe]"] {
        let metadata = Arc::new(Address { origin: format!("http://{host}").into(), socket: None });
        let failure = upstream(&Settings::default()).call(attempt(false, &metadata)).await.unwrap_err();
        assert!(failure.message.contains("may not be dialled"), "{failure:?}");
    }
    let settings = Settings { allow_private: false, ..Settings::default() };
    let failure = upstream(&settings).call(attempt(false, &plain(1))).await.unwrap_err();
    assert!(failure.message.contains("may not be dialled"), "{failure:?}");
}

/// Tells when it is dropped.
struct Tell(Option<oneshot::Sender<()>>);

impl Drop for Tell {
    fn drop(&mut self) {
        if let Some(tell) = self.0.take() {
            let _ = tell.send(());
        }
    }
}

#[tokio::test]
async fn o10_dropping_the_pieces_cancels_at_the_other_end() {
    let (tell, told) = oneshot::channel();
    let tell = Mutex::new(Some(Tell(Some(tell))));
    let fake = Fake::new().telling(move || {
        let tell = tell.lock().unwrap().take();
        let forever = stream::unfold(tell, |tell| async move {
            std::future::pending::<()>().await;
            Some((Ok(v1::GenerateEvent::default()), tell))
        });
        Box::pin(stream::iter(said(&["a"], false)).chain(forever))
    });
    let (port, _stop) = serve(&fake, Server::builder(), 0).await;
    let reply = upstream(&Settings::default()).call(attempt(true, &plain(port))).await.unwrap();
    let Reply::Stream(mut pieces) = reply else { panic!("{reply:?}") };
    pieces.0.next().await.unwrap().unwrap();
    drop(pieces);
    tokio::time::timeout(PATIENCE, told).await.expect("cancelled").unwrap();
}

/// Answers once it is allowed to.
fn gated() -> (Fake, watch::Sender<bool>) {
    let (open, gate) = watch::channel(false);
    let fake = Fake::new().saying(move || {
        let mut gate = gate.clone();
        Box::pin(async move {
            gate.wait_for(|open| *open).await.map_err(|_| Status::aborted(""))?;
            Ok(whole("hi"))
        })
    });
    (fake, open)
}

/// Lets `n` calls in, waits until all have arrived, and lets them go.
async fn calls(n: usize, gridtie: &Gridtie, address: &Arc<Address>, fake: &Fake, open: &watch::Sender<bool>) {
    let calls: Vec<_> = (0..n).map(|_| tokio::spawn(gridtie.call(attempt(false, address)))).collect();
    let arrived = async {
        while fake.came.lock().unwrap().len() < n {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, arrived).await.expect("all arrive");
    open.send_replace(true);
    for call in future::join_all(calls).await {
        call.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_full_connection_is_joined_by_another_and_calls_then_share_the_fullest() {
    let (fake, open) = gated();
    let (port, _stop) = serve(&fake, Server::builder(), 0).await;
    let gridtie = upstream(&Settings::default());
    calls(200, &gridtie, &plain(port), &fake, &open).await;
    assert_eq!(fake.peers().len(), 4, "200 calls at 64 a connection");
    fake.came.lock().unwrap().clear();
    for _ in 0..8 {
        gridtie.call(attempt(false, &plain(port))).await.unwrap();
    }
    assert_eq!(fake.peers().len(), 1, "the others run empty");
}

#[tokio::test]
async fn calls_beyond_all_places_wait_for_one() {
    let (fake, open) = gated();
    let (port, _stop) = serve(&fake, Server::builder(), 0).await;
    let gridtie = upstream(&Settings { max_connections: 1, ..Settings::default() });
    open.send_replace(true);
    let calls: Vec<_> = (0..150).map(|_| tokio::spawn(gridtie.call(attempt(false, &plain(port))))).collect();
    for call in future::join_all(calls).await {
        call.unwrap().unwrap();
    }
    assert_eq!(fake.peers().len(), 1);
}

#[tokio::test]
async fn n16_a_peer_that_allows_one_stream_gets_more_connections() {
    let (fake, open) = gated();
    let server = Server::builder().max_concurrent_streams(1);
    let (port, _stop) = serve(&fake, server, 0).await;
    let gridtie = upstream(&Settings::default());
    gridtie.shared.lanes.acquire(&plain(port)).await.map(drop).unwrap();
    // The peer's limit comes with its first frame.
    let told = async {
        while gridtie.shared.lanes.allowed(&plain(port)) != 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("told");
    open.send_replace(true);
    for _ in 0..3 {
        gridtie.call(attempt(false, &plain(port))).await.unwrap();
    }
    let two =
        future::join(gridtie.call(attempt(false, &plain(port))), gridtie.call(attempt(false, &plain(port))));
    let (one, other) = two.await;
    assert!(one.is_ok() && other.is_ok());
    assert_eq!(fake.peers().len(), 2);
}

#[tokio::test]
async fn n13_a_goaway_lets_streams_finish_and_sends_new_calls_to_a_fresh_connection() {
    let (fake, open) = gated();
    let (gate, first) = (fake.whole.clone(), Arc::new(std::sync::atomic::AtomicBool::new(true)));
    let fake = fake.saying(move || match first.swap(false, std::sync::atomic::Ordering::Relaxed) {
        true => gate(),
        false => Box::pin(async { Ok(whole("at once")) }),
    });
    let (port, stop) = serve(&fake, Server::builder(), 0).await;
    let gridtie = upstream(&Settings::default());
    let before = tokio::spawn(gridtie.call(attempt(false, &plain(port))));
    while fake.came.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    stop.send(()).unwrap();
    let again = Fake::new();
    let moved = async {
        while TcpListener::bind(("127.0.0.1", port)).await.is_err() {
            tokio::task::yield_now().await;
        }
        let (_, _stop) = serve(&again, Server::builder(), port).await;
        while again.came.lock().unwrap().is_empty() {
            gridtie.call(attempt(false, &plain(port))).await.expect("no call is lost on the way");
        }
    };
    tokio::time::timeout(PATIENCE, moved).await.expect("new calls move");
    open.send_replace(true);
    before.await.unwrap().unwrap();
}

async fn reset_all(socket: tokio::net::TcpStream, reason: h2::Reason, after_head: bool) {
    let mut connection = h2::server::handshake(socket).await.unwrap();
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        if after_head {
            let head = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
            respond.send_response(head, false).unwrap().send_reset(reason);
        } else {
            respond.send_reset(reason);
        }
    }
}

/// A server that answers the head of each call with a reset.
async fn resetting(reason: h2::Reason, after_head: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(reset_all(socket, reason, after_head));
        }
    });
    port
}

/// Answers each call with a head and one event, and then resets it.
async fn reset_within(socket: tokio::net::TcpStream) {
    let mut connection = h2::server::handshake(socket).await.unwrap();
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        let head = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
        let mut body = respond.send_response(head, false).unwrap();
        let event = said(&["a"], false).remove(1).unwrap();
        let message = prost::Message::encode_to_vec(&event);
        let frame = [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat();
        body.send_data(Bytes::from(frame), false).unwrap();
        tokio::spawn(async move {
            // What is queued is dropped with a reset, so it must be out before.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            body.send_reset(h2::Reason::INTERNAL_ERROR);
        });
    }
}

#[tokio::test]
async fn n14_a_reset_within_the_data_is_no_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(reset_within(socket));
        }
    });
    let reply = upstream(&Settings::default()).call(attempt(true, &plain(port))).await;
    let failure = match reply {
        Ok(reply) => collect(reply).await.pop().unwrap().unwrap_err(),
        Err(failure) => failure,
    };
    assert_eq!((failure.kind, failure.unprocessed), (FailureKind::Disconnected, false), "{failure:?}");
}

#[tokio::test]
async fn n15_a_refused_stream_was_not_worked_on_and_a_reset_one_may_have_been() {
    let gridtie = upstream(&Settings::default());
    let refused = resetting(h2::Reason::REFUSED_STREAM, false).await;
    let failure = gridtie.call(attempt(false, &plain(refused))).await.unwrap_err();
    assert_eq!((failure.kind, failure.unprocessed), (FailureKind::Disconnected, true), "{failure:?}");
    let reset = resetting(h2::Reason::INTERNAL_ERROR, true).await;
    let failure = match gridtie.call(attempt(true, &plain(reset))).await {
        Ok(reply) => collect(reply).await.pop().unwrap().unwrap_err(),
        Err(failure) => failure,
    };
    assert_eq!((failure.kind, failure.unprocessed), (FailureKind::Disconnected, false), "{failure:?}");
}

#[tokio::test]
async fn a_private_authority_is_trusted_only_where_it_is_named() {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let pem = signed.cert.pem();
    let identity = Identity::from_pem(&pem, signed.signing_key.serialize_pem());
    let server = Server::builder().tls_config(ServerTlsConfig::new().identity(identity)).unwrap();
    let (port, _stop) = serve(&Fake::new(), server, 0).await;
    let socket = Some(SocketAddr::from(([127, 0, 0, 1], port)));
    let address = Arc::new(Address { origin: format!("https://localhost:{port}").into(), socket });
    let trusting = upstream(&Settings { ca_pem: Some(pem), ..Settings::default() });
    trusting.call(attempt(false, &address)).await.unwrap();
    let failure = upstream(&Settings::default()).call(attempt(false, &address)).await.unwrap_err();
    assert_eq!((failure.kind, failure.unprocessed), (FailureKind::Tls, true));
    assert!(Gridtie::new(&Settings { ca_pem: Some("no".to_owned()), ..Settings::default() }).is_err());
}

#[tokio::test]
async fn o07_many_unread_streams_harm_nobody_on_the_same_connection() {
    /// Small frames: what h2 keeps a budget for.
    const TOKENS: usize = 1_000;
    let tokens = vec!["twenty bytes of text"; TOKENS];
    let fake = Fake::new().telling(move || Box::pin(stream::iter(said(&tokens, true))));
    let (port, _stop) = serve(&fake, Server::builder(), 0).await;
    let gridtie = upstream(&Settings::default());
    let mut unread = Vec::new();
    for _ in 0..40 {
        unread.push(gridtie.call(attempt(true, &plain(port))).await.unwrap());
    }
    let pieces = collect(gridtie.call(attempt(true, &plain(port))).await.unwrap()).await;
    assert_eq!(pieces.len(), TOKENS + 2);
    assert!(pieces.iter().all(Result::is_ok));
    assert_eq!(fake.peers().len(), 1);
    for reply in unread {
        assert!(collect(reply).await.iter().all(Result::is_ok));
    }
}

#[test]
fn deltas_of_a_piece_are_canonical() {
    let deltas = smallvec::smallvec![Delta::Text { choice: 0, text: String::new(), logprobs: None }];
    let piece = super::pieces::piece(deltas);
    assert!(matches!(piece.body, PieceBody::Canonical(_)));
    assert_eq!(piece.content_events, 0, "no text, no content");
}

#[test]
fn its_streams_share_connections_and_it_says_so() {
    assert!(upstream(&Settings::default()).shares_connections());
}
