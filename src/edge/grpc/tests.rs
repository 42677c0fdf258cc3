use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream};
use smallvec::smallvec;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

use super::{ExplainAsk, Explained, Explains, Face, Health, MAX_STREAMS, Row, Settings, Term, Verdict};
use crate::dialect::gridtie::v1;
use crate::dialect::gridtie::v1::inference_client::InferenceClient;
use crate::domain::request::Part;
use crate::domain::{
    Answer, CallId, Catalog, Choice, Delta, Embedded, Failure, FailureKind, FinishReason, Generated, Refusal,
    TenantId, Timestamp, Usage, UsageSource, Usd,
};
use crate::edge::listen::{self, Shutdown};
use crate::edge::openai::Calls;
use crate::edge::room::Rooms;
use crate::flow::{Answered, Bill, Broken, Head, Inbound, Out, Refused};
use crate::upstream::{PieceBody, Whole, WholeBody};

/// Longer than anything here takes; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

type Relay = Pin<Box<dyn Stream<Item = Out> + Send>>;
type Answering = Pin<Box<dyn Future<Output = Result<Answered<Relay>, Refused>> + Send>>;

/// A backend that does what a script says.
#[derive(Clone)]
struct Script(Arc<dyn Fn(Inbound) -> Answering + Send + Sync>);

impl Script {
    fn new<F>(play: impl Fn(Inbound) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Answered<Relay>, Refused>> + Send + 'static,
    {
        Self(Arc::new(move |inbound| Box::pin(play(inbound))))
    }

    fn refusing(refusal: Refusal) -> Self {
        Self::new(move |_| {
            let refusal = refusal.clone();
            async move { Err(Refused { call: CallId(7), pool: Some("west".into()), attempts: 2, refusal }) }
        })
    }
}

impl Calls for Script {
    type Relay = Relay;

    fn call(&self, inbound: Inbound) -> impl Future<Output = Result<Answered<Relay>, Refused>> + Send {
        (self.0)(inbound)
    }

    fn catalog(&self) -> Arc<Catalog> {
        Arc::new(Catalog::default())
    }

    fn next_id(&self) -> CallId {
        CallId(1)
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(0)
    }
}

impl Explains for Script {
    fn explain(&self, ask: ExplainAsk) -> Result<Explained, Refusal> {
        if ask.model == "nobody" {
            return Err(Refusal::ModelNotFound { model: ask.model, nearest: Some("m".to_owned()) });
        }
        let row = |pool: &str, excluded: Option<String>| Row {
            pool: pool.into(),
            upstream_model: "up".into(),
            terms: match excluded {
                None => vec![Term { name: "price", usd: 0.002, note: String::new() }],
                Some(_) => Vec::new(),
            },
            total_usd: excluded.is_none().then_some(0.002),
            excluded,
            cost_usd: Some(0.001),
            ttft: Some(Duration::from_millis(250)),
            finish: None,
        };
        Ok(Explained {
            verdict: Verdict::Dispatch("west".into()),
            reason: format!("{} tokens", ask.input_tokens),
            rows: vec![row("west", None), row("east", Some("drained".to_owned()))],
            class: "interactive".into(),
            policy: "price",
            at: Timestamp::from_millis(1_500),
        })
    }
}

struct Running {
    address: SocketAddr,
    channel: Channel,
    health: Health,
    shutdown: Shutdown,
    serving: tokio::task::JoinHandle<()>,
}

impl Running {
    fn client(&self) -> InferenceClient<Channel> {
        InferenceClient::new(self.channel.clone())
    }
}

/// A face on a port of its own; only the key `open-sesame` is let in if `locked`.
async fn serve(script: Script, locked: bool) -> Running {
    serve_with(script, locked, Settings::default()).await
}

async fn serve_with(script: Script, locked: bool, settings: Settings) -> Running {
    let authenticate = move |headers: &http::HeaderMap, _: &listen::Peer| {
        let open = !locked || headers.get("authorization").is_some_and(|key| key == "Bearer open-sesame");
        if open { Ok(TenantId(3)) } else { Err(Refusal::Unauthenticated) }
    };
    let (face, health) = Face::new(script, Arc::new(authenticate), settings).unwrap();
    health.set_serving(true).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = Shutdown::new();
    let settings = listen::Settings { max_streams: MAX_STREAMS, ..listen::Settings::default() };
    let serving = tokio::spawn(face.serve(listener, settings, shutdown.clone()));
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    Running { address, channel, health, shutdown, serving }
}

fn hello() -> v1::GenerateRequest {
    let content = v1::part::Content::Text("hello".to_owned());
    v1::GenerateRequest {
        model: "m".to_owned(),
        messages: vec![v1::Message {
            role: v1::Role::User.into(),
            parts: vec![v1::Part { content: Some(content) }],
            name: String::new(),
        }],
        ..Default::default()
    }
}

fn head() -> Head {
    Head {
        call: CallId(0xabc),
        pool: "west".into(),
        model: "m".into(),
        attempts: 2,
        cost: Usd::from_nanos(1_000),
        reason: "price: west $0.001 < east $0.002".to_owned(),
    }
}

fn bill() -> Bill {
    let usage = Usage {
        input: 10,
        cached: 4,
        cache_write: 0,
        output: 5,
        reasoning: 0,
        source: UsageSource::Reported,
    };
    Bill { usage, cost: Usd::from_nanos(2_500) }
}

fn whole(answer: Answer) -> Answered<Relay> {
    Answered::Whole {
        head: head(),
        whole: Whole { body: WholeBody::Canonical(answer), usage: bill().usage, aside: None },
        bill: bill(),
    }
}

fn said(text: &str) -> Answer {
    let parts = vec![Part::Text(text.to_owned())];
    let choice = Choice { index: 0, parts, finish: FinishReason::Stop, logprobs: None };
    Answer::Generated(Generated { id: Some("id".to_owned()), choices: vec![choice] })
}

fn text(text: &str) -> Out {
    Out::Piece(PieceBody::Canonical(smallvec![Delta::Text {
        choice: 0,
        text: text.to_owned(),
        logprobs: None
    }]))
}

fn finish() -> Out {
    let deltas =
        smallvec![Delta::Finish { choice: 0, reason: FinishReason::Stop }, Delta::Usage(bill().usage)];
    Out::Piece(PieceBody::Canonical(deltas))
}

fn streaming(outs: impl Fn() -> Vec<Out> + Send + Sync + 'static) -> Script {
    Script::new(move |_| {
        let body: Relay = Box::pin(stream::iter(outs()));
        async move { Ok(Answered::Stream { head: head(), body }) }
    })
}

#[tokio::test]
async fn a_whole_answer_comes_with_its_bill_and_its_reason() {
    let running = serve(Script::new(|_| async { Ok(whole(said("hi"))) }), false).await;
    let answer = running.client().generate(hello()).await.unwrap().into_inner();
    assert_eq!(answer.id, "id");
    assert_eq!(answer.choices[0].finish_reason(), v1::FinishReason::Stop);
    let usage = answer.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.cached_input_tokens, usage.estimated), (10, 4, false));
    let routing = answer.routing.unwrap();
    assert_eq!(routing.call_id, "0000000000000abc");
    assert_eq!((routing.pool.as_str(), routing.attempts), ("west", 2));
    assert_eq!((routing.cost_nano_usd, routing.cost_usd.as_str()), (2_500, "0.000002500"));
    assert!(!routing.cost_estimated && routing.reason.contains("east"));
}

#[tokio::test]
async fn vectors_come_in_the_order_of_the_inputs() {
    let vectors = vec![vec![1.0, 2.0], vec![3.0]];
    let answer = Answer::Embedded(Embedded { vectors });
    let running = serve(
        Script::new(move |_| {
            let answer = answer.clone();
            async { Ok(whole(answer)) }
        }),
        false,
    )
    .await;
    let input = |text: &str| v1::EmbedInput { input: Some(v1::embed_input::Input::Text(text.to_owned())) };
    let ask = v1::EmbedRequest {
        model: "e".to_owned(),
        inputs: vec![input("a"), input("b")],
        ..Default::default()
    };
    let answer = running.client().embed(ask).await.unwrap().into_inner();
    assert_eq!(answer.embeddings[1].values, [3.0]);
}

#[tokio::test]
async fn a_stream_begins_with_where_it_comes_from_and_ends_with_its_bill() {
    use v1::generate_event::Event;
    let running = serve(streaming(|| vec![text("a"), text("b"), finish(), Out::End(bill())]), false).await;
    let stream = running.client().stream_generate(hello()).await.unwrap().into_inner();
    let events: Vec<Event> = stream.map(|event| event.unwrap().event.unwrap()).collect().await;
    let [
        Event::Started(started),
        Event::Delta(a),
        Event::Delta(_),
        Event::ChoiceFinished(_),
        Event::Completed(done),
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert!(started.routing.as_ref().unwrap().cost_estimated);
    assert_eq!(a.content, Some(v1::delta::Content::Text("a".to_owned())));
    assert_eq!(done.routing.as_ref().unwrap().cost_nano_usd, 2_500);
    assert_eq!(done.usage.as_ref().unwrap().output_tokens, 5);
}

#[tokio::test]
async fn a_stream_that_breaks_says_so_and_has_no_end() {
    let broken = || Broken {
        code: "stream_interrupted",
        failure: Some(Failure::new(FailureKind::Truncated, "cut")),
        tokens_delivered: 17,
        bill: bill(),
    };
    let running = serve(streaming(move || vec![text("a"), Out::Broken(broken())]), false).await;
    let mut stream = running.client().stream_generate(hello()).await.unwrap().into_inner();
    stream.next().await.unwrap().unwrap();
    stream.next().await.unwrap().unwrap();
    let status = stream.next().await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let info = status.get_details_error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("STREAM_INTERRUPTED", "gridtie"));
    assert_eq!(info.metadata["tokens_delivered"], "17");
    assert_eq!(status.metadata().get("x-gridtie-cost-usd").unwrap(), "0.000002500");
    assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "-1");
}

#[tokio::test]
async fn an_answer_of_the_wrong_kind_is_our_mistake_and_not_a_panic() {
    let bytes = || Out::Piece(PieceBody::Bytes("data: x\n\n".into()));
    let running = serve(streaming(move || vec![bytes()]), false).await;
    assert_eq!(running.client().generate(hello()).await.unwrap_err().code(), Code::Internal);
    let mut stream = running.client().stream_generate(hello()).await.unwrap().into_inner();
    stream.next().await.unwrap().unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap_err().code(), Code::Internal);
}

#[tokio::test]
async fn a_limit_of_the_caller_comes_with_when_and_what() {
    let refusal = Refusal::RateLimited {
        message: "100 calls a minute".to_owned(),
        retry_after: Duration::from_secs(7),
    };
    let script = Script::new(move |_| {
        let refusal = refusal.clone();
        async { Err(Refused { call: CallId(7), pool: None, attempts: 0, refusal }) }
    });
    let status = serve(script, false).await.client().generate(hello()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(Duration::from_secs(7)));
    let quota = status.get_details_quota_failure().unwrap();
    assert_eq!(quota.violations[0].description, "100 calls a minute");
    assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "7000");
    assert_eq!(status.metadata().get("x-gridtie-call").unwrap(), "0000000000000007");
}

#[tokio::test]
async fn after_attempts_of_our_own_the_client_is_told_not_to_retry() {
    let failure = Failure::new(FailureKind::ServerError, "boom");
    let running = serve(Script::refusing(Refusal::Upstream(Box::new(failure))), false).await;
    let status = running.client().generate(hello()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "-1");
    assert_eq!(status.metadata().get("x-gridtie-pool").unwrap(), "west");
    assert_eq!(status.metadata().get("x-gridtie-attempts").unwrap(), "2");
    assert_eq!(status.get_details_error_info().unwrap().metadata["attempts"], "2");
}

#[tokio::test]
async fn a_long_message_does_not_burst_the_trailers() {
    let message = "é".repeat(100_000);
    let running = serve(Script::refusing(Refusal::Internal { message }), false).await;
    let status = running.client().generate(hello()).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert!(status.message().len() <= 1_024);
}

#[tokio::test]
async fn an_empty_request_is_told_which_field_and_how_to_mend_it() {
    let running = serve(Script::refusing(Refusal::Draining), false).await;
    let field = |status: tonic::Status| {
        assert_eq!(status.code(), Code::InvalidArgument);
        status.get_details_bad_request().unwrap().field_violations[0].field.clone()
    };
    let mut client = running.client();
    let nothing = v1::GenerateRequest::default();
    assert_eq!(field(client.generate(nothing.clone()).await.unwrap_err()), "model");
    assert_eq!(field(client.stream_generate(nothing).await.unwrap_err()), "model");
    assert_eq!(field(client.embed(v1::EmbedRequest::default()).await.unwrap_err()), "model");
    assert_eq!(field(client.explain(v1::ExplainRequest::default()).await.unwrap_err()), "model");
    let mut partless = hello();
    partless.messages[0].parts.push(v1::Part::default());
    assert_eq!(field(client.generate(partless).await.unwrap_err()), "messages[0].parts[1]");
    let mut request = Request::new(hello());
    request.metadata_mut().insert("grpc-timeout", "soon".parse().unwrap());
    assert_eq!(field(client.generate(request).await.unwrap_err()), "grpc-timeout");
}

/// Hands on what came, and answers `hi`.
fn recording() -> (Script, Arc<Mutex<Vec<Inbound>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let recorder = Arc::clone(&seen);
    let script = Script::new(move |inbound| {
        recorder.lock().unwrap().push(inbound);
        async { Ok(whole(said("hi"))) }
    });
    (script, seen)
}

#[tokio::test]
async fn deadline_tenant_hints_and_trace_reach_the_router() {
    let (script, seen) = recording();
    let running = serve(script, false).await;
    let mut request = Request::new(hello());
    request.set_timeout(Duration::from_secs(9));
    let metadata = request.metadata_mut();
    for (name, value) in [
        ("traceparent", "00-1-2-3"),
        ("x-gridtie-class", "agent"),
        ("x-gridtie-pools", "west, east"),
        ("x-gridtie-max-cost-usd", "0.5"),
        ("grpc-previous-rpc-attempts", "1"),
        ("cookie", "secret"),
    ] {
        metadata.insert(name, value.parse().unwrap());
    }
    request.get_mut().routing = Some(v1::RoutingHints {
        traffic_class: "background".to_owned(),
        session: "s".to_owned(),
        ..Default::default()
    });
    running.client().generate(request).await.unwrap();
    let inbound = seen.lock().unwrap().pop().unwrap();
    assert_eq!(inbound.timeout, Some(Duration::from_secs(9)));
    assert_eq!(inbound.tenant, TenantId(3));
    assert_eq!(inbound.class.as_deref(), Some("background"), "the message wins over the metadata");
    assert_eq!(inbound.session.as_deref(), Some("s"));
    assert_eq!(inbound.hints.max_cost_usd, Some(0.5));
    assert_eq!(inbound.hints.pools.iter().map(|pool| &**pool).collect::<Vec<_>>(), ["west", "east"]);
    assert!(inbound.client_retry);
    assert_eq!(inbound.request.forward, [("traceparent", "00-1-2-3".to_owned())]);
}

#[tokio::test]
async fn messages_share_one_room_until_they_are_answered() {
    let (entered, mut has_entered) = tokio::sync::mpsc::channel(2);
    let (answer, may_answer) = tokio::sync::watch::channel(false);
    let script = Script::new(move |_| {
        let (entered, mut may_answer) = (entered.clone(), may_answer.clone());
        async move {
            entered.send(()).await.unwrap();
            may_answer.wait_for(|may| *may).await.unwrap();
            let refusal = Refusal::Draining;
            Err(Refused { call: CallId(7), pool: None, attempts: 0, refusal })
        }
    });
    let settings = Settings { bodies: Rooms::new(100 << 10), ..Settings::default() };
    let running = serve_with(script, false, settings).await;
    let message = |kib: usize| {
        let mut message = hello();
        let content = v1::part::Content::Text("x".repeat(kib << 10));
        message.messages[0].parts = vec![v1::Part { content: Some(content) }];
        message
    };
    let mut first = running.client();
    let first = tokio::spawn(async move { first.generate(message(60)).await });
    has_entered.recv().await.unwrap();
    let full = running.client().generate(message(60)).await.unwrap_err();
    assert_eq!(full.code(), Code::Unavailable, "{full:?}");
    assert_eq!(full.get_error_details().error_info().unwrap().reason, "OVERLOADED");
    answer.send(true).unwrap();
    assert!(first.await.unwrap().is_err());
    let after = running.client().generate(message(60)).await.unwrap_err();
    assert_eq!(after.get_error_details().error_info().unwrap().reason, "DRAINING", "the room was given back");
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

fn telling() -> (Arc<Mutex<Option<Tell>>>, oneshot::Receiver<()>) {
    let (tell, told) = oneshot::channel();
    (Arc::new(Mutex::new(Some(Tell(Some(tell))))), told)
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_cancels_the_call() {
    let (tell, told) = telling();
    let (begun, has_begun) = telling();
    let script = Script::new(move |_| {
        let tell = tell.lock().unwrap().take();
        drop(begun.lock().unwrap().take());
        async move {
            let _tell = tell;
            std::future::pending().await
        }
    });
    let running = serve(script, false).await;
    let mut client = running.client();
    let call = tokio::spawn(async move { client.generate(hello()).await });
    has_begun.await.unwrap();
    call.abort();
    tokio::time::timeout(PATIENCE, told).await.expect("cancelled").unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_cancels_it() {
    let (tell, told) = telling();
    let script = Script::new(move |_| {
        let tell = tell.lock().unwrap().take();
        let forever = stream::unfold(tell, |tell| async move {
            std::future::pending::<()>().await;
            Some((text("never"), tell))
        });
        let body: Relay = Box::pin(stream::iter([text("a")]).chain(forever));
        async move { Ok(Answered::Stream { head: head(), body }) }
    });
    let running = serve(script, false).await;
    let mut stream = running.client().stream_generate(hello()).await.unwrap().into_inner();
    stream.next().await.unwrap().unwrap();
    drop(stream);
    tokio::time::timeout(PATIENCE, told).await.expect("cancelled").unwrap();
}

#[tokio::test]
async fn a_call_without_a_key_is_refused_before_its_message_is_read() {
    let (script, seen) = recording();
    let running = serve(script, true).await;
    let status = running.client().generate(v1::GenerateRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert_eq!(status.get_details_error_info().unwrap().reason, "INVALID_API_KEY");
    assert!(seen.lock().unwrap().is_empty());
    let mut request = Request::new(hello());
    request.metadata_mut().insert("authorization", "Bearer open-sesame".parse().unwrap());
    running.client().generate(request).await.unwrap();
}

#[tokio::test]
async fn a_message_above_the_limit_is_refused_and_one_below_is_taken() {
    let (script, _) = recording();
    let running = serve(script, false).await;
    let sized = |bytes: usize| {
        let mut request = hello();
        request.messages[0].parts[0].content = Some(v1::part::Content::Text("x".repeat(bytes)));
        request
    };
    running.client().generate(sized(31 << 20)).await.unwrap();
    let status = running.client().generate(sized(33 << 20)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.get_details_error_info().unwrap().reason, "REQUEST_TOO_LARGE");
}

#[tokio::test]
async fn k09_who_watches_the_health_is_told_of_a_drain_at_once_and_let_go_at_the_end() {
    let running = serve(Script::refusing(Refusal::Draining), true).await;
    let mut client = HealthClient::new(running.channel.clone());
    for service in ["", "gridtie.v1.Inference"] {
        let ask = HealthCheckRequest { service: service.to_owned() };
        let status = client.check(ask).await.unwrap().into_inner();
        assert_eq!(status.status(), ServingStatus::Serving, "no key is needed to ask");
    }
    let ask = HealthCheckRequest { service: "gridtie.v1.Inference".to_owned() };
    let mut watch = client.watch(ask).await.unwrap().into_inner();
    assert_eq!(watch.next().await.unwrap().unwrap().status(), ServingStatus::Serving);
    running.health.set_serving(false).await;
    assert_eq!(watch.next().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    running.shutdown.begin();
    running.health.close().await;
    assert!(watch.next().await.is_none());
    tokio::time::timeout(PATIENCE, running.serving)
        .await
        .expect("a watch does not hold up a shutdown")
        .unwrap();
}

#[tokio::test]
async fn an_explanation_is_a_table_with_named_terms() {
    let running = serve(Script::refusing(Refusal::Draining), false).await;
    let ask = |model: &str| v1::ExplainRequest { model: model.to_owned(), ..Default::default() };
    let table = running.client().explain(ask("m")).await.unwrap().into_inner();
    assert_eq!(table.verdict(), v1::explain_response::Verdict::Dispatch);
    assert_eq!((table.pool.as_str(), table.reason.as_str()), ("west", "1000 tokens"));
    assert_eq!(table.rows[0].terms[0].name, "price");
    assert_eq!(table.rows[1].excluded, "drained");
    assert_eq!(table.at.unwrap().nanos, 500_000_000);
    let status = running.client().explain(ask("nobody")).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().contains("`m`"));
}

#[tokio::test]
async fn s23_reflection_shows_the_service_and_not_the_admin() {
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let running = serve(Script::refusing(Refusal::Draining), false).await;
    let ask = tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(running.channel.clone());
    let mut answers = client.server_reflection_info(stream::iter([ask])).await.unwrap().into_inner();
    let answer = answers.next().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    let mut names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    names.sort_unstable();
    assert_eq!(names, ["gridtie.v1.Inference", "grpc.health.v1.Health"]);
}

#[tokio::test]
async fn many_calls_share_one_connection() {
    let (script, seen) = recording();
    let running = serve(script, false).await;
    let calls = (0..200).map(|_| {
        let mut client = running.client();
        async move { client.generate(hello()).await.unwrap() }
    });
    futures_util::future::join_all(calls).await;
    assert_eq!(seen.lock().unwrap().len(), 200);
    assert_ne!(running.address.port(), 0);
}

mod through {
    //! Another Gridtie as a pool, from its upstream to its face.

    use super::*;
    use crate::domain::request::{Ask, Chat, Message, Role};
    use crate::domain::{Address, AskKind, AttemptNo, Body, Request as Asked};
    use crate::upstream::grpc::{self, Gridtie};
    use crate::upstream::{Attempt, Onward, Reply, Upstream};

    fn attempt(running: &Running, stream: bool) -> Attempt {
        let message = Message { role: Role::User, parts: vec![Part::Text("hello".to_owned())], name: None };
        let chat = Ask::Chat(Chat { messages: vec![message], ..Chat::default() });
        let request = Asked {
            kind: AskKind::Chat,
            stream,
            stream_usage: stream,
            body: Body::Canonical(Box::new(chat)),
            input_tokens: 2,
            forward: Vec::new(),
        };
        Attempt {
            call: CallId(1),
            no: AttemptNo(0),
            request: Arc::new(request),
            upstream_model: "up".into(),
            client_model: "m".into(),
            address: Arc::new(Address { origin: format!("http://{}", running.address).into(), socket: None }),
            timeout: Duration::from_secs(9),
            onward: Onward::default(),
        }
    }

    fn gridtie() -> Gridtie {
        Gridtie::new(&grpc::Settings::default()).unwrap()
    }

    #[tokio::test]
    async fn a_call_goes_through_two_routers() {
        let (script, seen) = recording();
        let running = serve(script, false).await;
        let Reply::Whole(whole) = gridtie().call(attempt(&running, false)).await.unwrap() else {
            panic!("not whole")
        };
        assert_eq!(whole.usage, bill().usage);
        let inbound = seen.lock().unwrap().pop().unwrap();
        assert_eq!((inbound.model.as_str(), inbound.timeout), ("up", Some(Duration::from_secs(9))));
    }

    #[tokio::test]
    async fn a_stream_goes_through_two_routers_and_breaks_honestly() {
        let running = serve(streaming(|| vec![text("a"), finish(), Out::End(bill())]), false).await;
        let Reply::Stream(pieces) = gridtie().call(attempt(&running, true)).await.unwrap() else {
            panic!("not a stream")
        };
        let pieces: Vec<_> = pieces.0.map(Result::unwrap).collect().await;
        assert_eq!(pieces.last().unwrap().usage, Some(bill().usage));

        let broken =
            || Broken { code: "stream_interrupted", failure: None, tokens_delivered: 1, bill: bill() };
        let running = serve(streaming(move || vec![text("a"), Out::Broken(broken())]), false).await;
        let Reply::Stream(pieces) = gridtie().call(attempt(&running, true)).await.unwrap() else {
            panic!("not a stream")
        };
        let mut pieces: Vec<_> = pieces.0.collect().await;
        assert_eq!(pieces.pop().unwrap().unwrap_err().kind, FailureKind::Disconnected);
    }

    #[tokio::test]
    async fn a_refusal_there_is_a_failure_here_that_says_when_to_come_back() {
        let refusal = Refusal::Overloaded { retry_after: Duration::from_secs(3), message: "full".to_owned() };
        let running = serve(Script::refusing(refusal), false).await;
        let failure = gridtie().call(attempt(&running, false)).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Overloaded);
        assert_eq!((failure.retry_after, failure.status), (Some(Duration::from_secs(3)), Some(503)));
        let running = serve(Script::refusing(Refusal::Draining), true).await;
        let failure = gridtie().call(attempt(&running, false)).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Credentials);
    }
}
