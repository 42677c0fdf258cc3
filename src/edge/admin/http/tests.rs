use std::net::SocketAddr;
use std::sync::Mutex;
use std::task::{Context, Poll};

use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::edge::listen;

/// A gRPC service that answers with a status and the address it was called from.
#[derive(Clone)]
struct Grpc;

impl tower::Service<Request<Incoming>> for Grpc {
    type Response = Response<GrpcBody>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let peer = request.extensions().get::<Peer>().unwrap();
        let status = tonic::Status::not_found(peer.address.ip().to_string());
        std::future::ready(Ok(status.into_http()))
    }
}

async fn serve(readiness: Readiness, token: Option<&'static str>) -> SocketAddr {
    let readiness = Mutex::new(readiness);
    let sources = Arc::new(Sources {
        readiness: Box::new(move || readiness.lock().unwrap().clone()),
        brownout: Box::new(|| "none\n".to_owned()),
        metrics: Box::new(|| "gridtie_up 1\n# EOF\n".to_owned()),
        auth: Box::new(move |headers, _| match token {
            Some(token) if headers.get("authorization").is_none_or(|given| given != token) => {
                Err(Refusal::Unauthenticated)
            }
            _ => Ok(()),
        }),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (settings, shutdown) = (listen::Settings::default(), listen::Shutdown::new());
    let make = move |peer| Admin::new(Arc::clone(&sources), Grpc, peer);
    tokio::spawn(listen::serve(listener, settings, shutdown, make));
    address
}

struct Got {
    status: u16,
    headers: HeaderMap,
    text: String,
}

async fn ask(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Got {
    let socket = TcpStream::connect(address).await.unwrap();
    let (mut client, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    let mut builder = Request::builder().method(method).uri(format!("http://{address}{path}"));
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let request = builder.body(Empty::<Bytes>::new()).unwrap();
    let (head, body) = client.send_request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Got { status: head.status.as_u16(), headers: head.headers, text: String::from_utf8(body.into()).unwrap() }
}

#[tokio::test]
async fn readiness_is_what_the_router_says_and_liveness_is_not() {
    for (readiness, status, text) in [
        (Readiness::Ready, 200, "ready\n"),
        (Readiness::Draining, 503, "draining\n"),
        (
            Readiness::NothingServes("all pools ejected".to_owned()),
            503,
            "nothing serves: all pools ejected\n",
        ),
    ] {
        let address = serve(readiness, Some("Bearer t")).await;
        let got = ask(address, "GET", "/readyz", &[]).await;
        assert_eq!((got.status, got.text.as_str()), (status, text));
        assert_eq!(ask(address, "GET", "/livez", &[]).await.status, 200);
    }
}

#[tokio::test]
async fn metrics_are_open_metrics_text() {
    let address = serve(Readiness::Ready, None).await;
    let got = ask(address, "GET", "/metrics", &[]).await;
    assert_eq!((got.status, got.text.as_str()), (200, "gridtie_up 1\n# EOF\n"));
    assert!(got.headers["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
}

#[tokio::test]
async fn pages_and_methods_that_do_not_exist_say_what_does() {
    let address = serve(Readiness::Ready, None).await;
    for path in ["/livez", "/readyz", "/metrics", "/brownout"] {
        assert!(ask(address, "GET", "/", &[]).await.text.contains(path));
        assert!(ask(address, "GET", "/nothing", &[]).await.text.contains(path));
    }
    assert_eq!(ask(address, "GET", "/v1/models", &[]).await.status, 404);
    let got = ask(address, "POST", "/metrics", &[]).await;
    assert_eq!((got.status, &got.headers["allow"]), (405, &HeaderValue::from_static("GET, HEAD")));
    assert_eq!(ask(address, "HEAD", "/readyz", &[]).await.text, "");
}

#[tokio::test]
async fn grpc_goes_to_grpc_and_knows_its_peer() {
    let address = serve(Readiness::Ready, None).await;
    let got =
        ask(address, "POST", "/gridtie.v1.Admin/X", &[("content-type", "application/grpc+proto")]).await;
    assert_eq!(
        (&got.headers["grpc-status"], &got.headers["grpc-message"]),
        (&HeaderValue::from_static("5"), &HeaderValue::from_static("127.0.0.1"))
    );
}

#[tokio::test]
async fn s19_without_the_token_only_probes_are_answered() {
    let address = serve(Readiness::Ready, Some("Bearer t")).await;
    for path in ["/", "/metrics", "/brownout"] {
        let got = ask(address, "GET", path, &[]).await;
        assert_eq!(
            (got.status, &got.headers["www-authenticate"]),
            (401, &HeaderValue::from_static("Bearer"))
        );
        assert_eq!(ask(address, "GET", path, &[("authorization", "Bearer t")]).await.status, 200);
    }
    let grpc = ("content-type", "application/grpc");
    let got = ask(address, "POST", "/gridtie.v1.Admin/X", &[grpc]).await;
    assert_eq!((got.status, &got.headers["grpc-status"]), (200, &HeaderValue::from_static("16")));
    let got = ask(address, "POST", "/gridtie.v1.Admin/X", &[grpc, ("authorization", "Bearer t")]).await;
    assert_eq!(got.headers["grpc-status"], "5");
}
