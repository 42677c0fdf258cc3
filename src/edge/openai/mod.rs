//! The OpenAI-compatible face: `/v1/chat/completions`, `/v1/completions`, `/v1/embeddings` and `/v1/models`.
//!
//! A plain hyper service, because every call passes here: one pass over the headers, one over the body, and the
//! bytes of an answer go on as they came. What it does not know: TLS and sockets ([`listen`](super::listen)), keys
//! (a function it is given), and where a call goes.

mod answer;
mod body;
mod hints;
mod models;

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::{FutureExt as _, Stream};
use http::header::CONNECTION;
use http::{HeaderMap, Method, Request, Response, Version};
use hyper::body::Incoming;
use hyper::service::Service;

pub use answer::AnswerBody;
pub use body::Limits;

use super::listen::Peer;
use super::status::HttpFault;
use crate::dialect::openai::{self, Peek};
use crate::domain::names::nearest;
use crate::domain::{self, AskKind, CallId, Catalog, Refusal, TenantId, Timestamp};
use crate::flow::{Answered, Inbound, Out, Refused, RelayBody, Router};
use answer::Origin;
use hints::Hinted;

/// What the face needs of the router.
pub trait Calls: Send + Sync + 'static {
    /// The rest of a streamed answer.
    type Relay: Stream<Item = Out> + Send + Unpin + 'static;

    /// Carries out a call. Dropping the future means that the client has gone.
    fn call(&self, inbound: Inbound) -> impl Future<Output = Result<Answered<Self::Relay>, Refused>> + Send;
    /// What there is.
    fn catalog(&self) -> Arc<Catalog>;
    /// A fresh id, for an error about something that never became a call.
    fn next_id(&self) -> CallId;
    /// Wall time, for `created`.
    fn wall(&self) -> Timestamp;
}

impl Calls for Router {
    type Relay = RelayBody;

    fn call(&self, inbound: Inbound) -> impl Future<Output = Result<Answered, Refused>> + Send {
        Self::call(self, inbound)
    }

    fn catalog(&self) -> Arc<Catalog> {
        Self::catalog(self)
    }

    fn next_id(&self) -> CallId {
        Self::next_id(self)
    }

    fn wall(&self) -> Timestamp {
        self.clock().now().wall
    }
}

/// Finds out who asks.
pub type Auth = Arc<dyn Fn(&HeaderMap, &Peer) -> Result<TenantId, Refusal> + Send + Sync>;

/// The face; one for all connections.
pub struct Face<C> {
    calls: C,
    auth: Auth,
    limits: Limits,
}

impl<C> fmt::Debug for Face<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Face").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl<C: Calls> Face<C> {
    /// A face in front of `calls`.
    pub fn new(calls: C, auth: Auth, limits: Limits) -> Arc<Self> {
        Arc::new(Self { calls, auth, limits })
    }

    /// The service for one connection.
    pub fn connection(self: &Arc<Self>, peer: Peer) -> Connection<C> {
        Connection { face: Arc::clone(self), peer: Arc::new(peer) }
    }
}

/// The face as one connection sees it.
pub struct Connection<C> {
    face: Arc<Face<C>>,
    peer: Arc<Peer>,
}

impl<C> fmt::Debug for Connection<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl<C: Calls> Service<Request<Incoming>> for Connection<C> {
    type Response = Response<AnswerBody<C::Relay>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (face, peer) = (Arc::clone(&self.face), Arc::clone(&self.peer));
        Box::pin(async move {
            // A bug costs one request, not the connection with all its others.
            let answer = AssertUnwindSafe(face.respond(&peer, request)).catch_unwind().await;
            Ok(answer.unwrap_or_else(|_| face.fell_over()))
        })
    }
}

/// What a path stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Route<'a> {
    Ask(AskKind),
    Models,
    Model(&'a str),
}

const PATHS: [&str; 4] = ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/models"];

fn route(path: &str) -> Option<Route<'_>> {
    Some(match path {
        "/v1/chat/completions" => Route::Ask(AskKind::Chat),
        "/v1/completions" => Route::Ask(AskKind::Completion),
        "/v1/embeddings" => Route::Ask(AskKind::Embed),
        "/v1/models" => Route::Models,
        _ => Route::Model(path.strip_prefix("/v1/models/").filter(|id| !id.is_empty())?),
    })
}

impl Route<'_> {
    const fn allow(self) -> &'static str {
        match self {
            Self::Ask(_) => "POST, OPTIONS",
            Self::Models | Self::Model(_) => "GET, HEAD, OPTIONS",
        }
    }
}

/// Why a request never became a call.
#[derive(Debug)]
enum Fault {
    Http(HttpFault),
    Refused(Refusal),
}

impl From<HttpFault> for Fault {
    fn from(fault: HttpFault) -> Self {
        Self::Http(fault)
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl<C: Calls> Face<C> {
    /// The answer when our own code panicked.
    fn fell_over(&self) -> Response<AnswerBody<C::Relay>> {
        let refusal = Refusal::Internal { message: "the router failed on this request".to_owned() };
        answer::refused(&Refused { call: self.calls.next_id(), pool: None, attempts: 0, refusal })
    }

    async fn respond(&self, peer: &Peer, request: Request<Incoming>) -> Response<AnswerBody<C::Relay>> {
        let version = request.version();
        let mut response = match self.answer(peer, request).await {
            Ok(response) => response,
            Err(Fault::Http(fault)) => answer::fault(&fault, self.calls.next_id()),
            Err(Fault::Refused(refusal)) => {
                let call = self.calls.next_id();
                answer::refused(&Refused { call, pool: None, attempts: 0, refusal })
            }
        };
        if version > Version::HTTP_11 {
            // There it is a stream that ends, not the connection.
            response.headers_mut().remove(CONNECTION);
        }
        response
    }

    async fn answer(
        &self,
        peer: &Peer,
        request: Request<Incoming>,
    ) -> Result<Response<AnswerBody<C::Relay>>, Fault> {
        let path = request.uri().path();
        let route = route(path).ok_or_else(|| HttpFault::Path {
            asked: path.to_owned(),
            nearest: nearest(path, PATHS.into_iter()),
            all: &PATHS,
        })?;
        match (route, request.method()) {
            (_, &Method::OPTIONS) => Ok(answer::options(route.allow())),
            (Route::Ask(kind), &Method::POST) => self.ask(kind, peer, request).await,
            (Route::Models, &Method::GET | &Method::HEAD) => {
                (self.auth)(request.headers(), peer)?;
                Ok(answer::json(models::list(&self.calls.catalog())))
            }
            (Route::Model(id), &Method::GET | &Method::HEAD) => {
                (self.auth)(request.headers(), peer)?;
                Ok(answer::json(models::one(&self.calls.catalog(), id)?))
            }
            _ => Err(HttpFault::Method { allow: route.allow() }.into()),
        }
    }

    async fn ask(
        &self,
        kind: AskKind,
        peer: &Peer,
        request: Request<Incoming>,
    ) -> Result<Response<AnswerBody<C::Relay>>, Fault> {
        let (head, incoming) = request.into_parts();
        // What costs the least to refuse is refused first, and nobody's body is read before we know who it is.
        let hinted = Hinted::read(&head.headers)?;
        let tenant = (self.auth)(&head.headers, peer)?;
        let (body, room) = body::read(incoming, &self.limits).await?;
        let peek = openai::peek(kind, &body).map_err(Refusal::from)?;
        let origin = Origin { kind, include_usage: peek.stream_usage, body: body.clone() };
        let answered = self.calls.call(inbound(kind, body, peek, tenant, hinted)).await;
        drop(room);
        Ok(match answered {
            Ok(answered) => answer::answered(answered, origin, self.calls.wall()),
            Err(refused) => answer::refused(&refused),
        })
    }
}

fn inbound(kind: AskKind, body: bytes::Bytes, peek: Peek, tenant: TenantId, hinted: Hinted) -> Inbound {
    Inbound {
        request: domain::Request {
            kind,
            stream: peek.stream,
            stream_usage: peek.stream_usage,
            body: domain::Body::OpenAi(body),
            input_tokens: peek.input_tokens,
            forward: hinted.forward,
        },
        model: peek.model,
        class: hinted.class,
        tenant,
        session: hinted.session.or(peek.session),
        prefix: Arc::default(),
        hints: hinted.hints,
        needs: peek.needs,
        max_tokens: peek.max_tokens,
        n: peek.n,
        timeout: hinted.timeout.or(hinted.read_timeout.filter(|_| !peek.stream)),
        client_retry: hinted.client_retry,
    }
}

#[cfg(test)]
mod tests;
