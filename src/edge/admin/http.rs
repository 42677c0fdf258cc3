//! The admin listener: what a load balancer, a scraper and an operator ask, and gRPC on the same port.
//!
//! It answers with what it is given: whether we are ready, the metrics' text. It decides only who may ask, and that a
//! request with gRPC's content type goes to the gRPC service.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::service::Service;
use tonic::body::Body as GrpcBody;

use crate::domain::Refusal;
use crate::edge::listen::{Peer, Tower};
use crate::edge::status;

/// May we get calls?
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Readiness {
    /// Yes.
    Ready,
    /// No: we are going down.
    Draining,
    /// No: nothing can serve, for this reason.
    NothingServes(String),
}

/// Lets a caller in, or says why not.
pub type Auth = Box<dyn Fn(&HeaderMap, &Peer) -> Result<(), Refusal> + Send + Sync>;

/// What the listener answers with.
pub struct Sources {
    /// For `/readyz`.
    pub readiness: Box<dyn Fn() -> Readiness + Send + Sync>,
    /// For `/brownout`: a line for each step that is taken.
    pub brownout: Box<dyn Fn() -> String + Send + Sync>,
    /// For `/metrics`, in the OpenMetrics text format.
    pub metrics: Box<dyn Fn() -> String + Send + Sync>,
    /// Who may see more than `/livez` and `/readyz`, and who may call gRPC.
    pub auth: Auth,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sources")
    }
}

/// The service for one connection. `G` is the gRPC service.
#[derive(Clone, Debug)]
pub struct Admin<G> {
    sources: Arc<Sources>,
    peer: Peer,
    grpc: Tower<G>,
}

impl<G: Clone> Admin<G> {
    /// For the connection of `peer`.
    pub fn new(sources: Arc<Sources>, grpc: G, peer: Peer) -> Self {
        Self { sources, grpc: Tower::new(grpc, peer.clone()), peer }
    }
}

type Answer<B> = Response<Either<Full<Bytes>, Either<GrpcBody, B>>>;

impl<G, B> Service<Request<Incoming>> for Admin<G>
where
    G: tower::Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    G::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Answer<B>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer<B>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        if !is_grpc(request.headers()) {
            let page = page(&self.sources, &self.peer, &request);
            return Box::pin(async move { Ok(page.map(Either::Left)) });
        }
        if let Err(refusal) = (self.sources.auth)(request.headers(), &self.peer) {
            let wire = status::wire(&refusal);
            let refused = tonic::Status::new(wire.grpc, wire.message).into_http::<GrpcBody>();
            return Box::pin(async move { Ok(refused.map(|body| Either::Right(Either::Left(body)))) });
        }
        let answer = self.grpc.call(request);
        Box::pin(async move { Ok(answer.await?.map(|body| Either::Right(Either::Right(body)))) })
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

const TEXT: &str = "text/plain; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const INDEX: &str = "gridtie admin\n\n\
    /livez     the process answers\n\
    /readyz    it may get calls\n\
    /metrics   OpenMetrics\n\
    /brownout  what is done for lack of room, since when and why\n\
    gRPC       gridtie.v1.Admin, on this port\n";

fn page(sources: &Sources, peer: &Peer, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if !matches!(path, "/" | "/livez" | "/readyz" | "/metrics" | "/brownout") {
        return text(StatusCode::NOT_FOUND, TEXT, format!("There is nothing here.\n\n{INDEX}"));
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, TEXT, "This page can only be read.\n");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match path {
        "/livez" => return text(StatusCode::OK, TEXT, "ok\n"),
        "/readyz" => return ready((sources.readiness)()),
        _ => {}
    }
    if let Err(refusal) = (sources.auth)(request.headers(), peer) {
        let wire = status::wire(&refusal);
        let mut refused = text(wire.http, TEXT, wire.message);
        if wire.http == StatusCode::UNAUTHORIZED {
            refused.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        return refused;
    }
    match path {
        "/metrics" => text(StatusCode::OK, OPEN_METRICS, (sources.metrics)()),
        "/brownout" => text(StatusCode::OK, TEXT, (sources.brownout)()),
        _ => text(StatusCode::OK, TEXT, INDEX),
    }
}

fn ready(readiness: Readiness) -> Response<Full<Bytes>> {
    match readiness {
        Readiness::Ready => text(StatusCode::OK, TEXT, "ready\n"),
        Readiness::Draining => text(StatusCode::SERVICE_UNAVAILABLE, TEXT, "draining\n"),
        Readiness::NothingServes(why) => {
            text(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("nothing serves: {why}\n"))
        }
    }
}

fn text(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
