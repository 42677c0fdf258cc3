//! The gRPC face: `gridtie.v1.Inference`, with standard health checks and, where wanted, reflection.
//!
//! It decodes, calls and encodes. It knows nothing of pools beyond their names, and takes its errors from
//! [`status`](super::status). Authentication looks at the head of a call only, before its message is read.

mod backend;
mod explain;
mod health;
mod inbound;
mod inference;
mod reply;
mod status;

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::HeaderMap;
use hyper::body::Incoming;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tower::{Service, ServiceExt as _};

pub use backend::Backend;
pub use explain::{ExplainAsk, Explained, Row, Term, Verdict};
pub use health::Health;

use crate::dialect::gridtie::DESCRIPTORS;
use crate::dialect::gridtie::v1::inference_server::{InferenceServer, SERVICE_NAME};
use crate::domain::{Refusal, TenantId};
use crate::edge::listen::{self, Peer, Shutdown};

/// Finds out who asks, from the head of a call.
pub type Authenticate = dyn Fn(&HeaderMap, &Peer) -> Result<TenantId, Refusal> + Send + Sync;

/// What an operator may set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The largest message taken, in bytes.
    pub max_message: usize,
    /// Serve reflection, so that tools find out by themselves what there is.
    pub reflection: bool,
}

/// The body limit of the other faces; a conversation with pictures fits.
const MAX_MESSAGE: usize = 32 << 20;

/// HTTP/2 streams at once on a connection. A gRPC client has one connection for all its calls and queues beyond this
/// without a word, so that a low limit looks like a slow router; a thousand calls at once are one busy application.
pub const MAX_STREAMS: u32 = 1_024;

impl Default for Settings {
    fn default() -> Self {
        Self { max_message: MAX_MESSAGE, reflection: true }
    }
}

/// The face, ready to be served. Cheap to clone.
#[derive(Clone)]
pub struct Face {
    routes: Routes,
}

impl fmt::Debug for Face {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Face")
    }
}

impl Face {
    /// A face of `backend`; its health is told by what is returned with it.
    pub fn new<B: Backend>(
        backend: B,
        authenticate: Arc<Authenticate>,
        settings: Settings,
    ) -> Result<(Self, Health), tonic_reflection::server::Error> {
        let service = InferenceServer::new(inference::Inference::new(backend))
            .max_decoding_message_size(settings.max_message);
        let (health, health_service) = Health::new(&[SERVICE_NAME]);
        let mut routes =
            Routes::new(Authenticated { inner: service, authenticate }).add_service(health_service);
        if settings.reflection {
            let described = || {
                tonic_reflection::server::Builder::configure()
                    .register_encoded_file_descriptor_set(DESCRIPTORS)
                    .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                    // The admin service is described in the same set, but served elsewhere.
                    .with_service_name(SERVICE_NAME)
                    .with_service_name("grpc.health.v1.Health")
            };
            routes = routes.add_service(described().build_v1()?).add_service(described().build_v1alpha()?);
        }
        Ok((Self { routes: routes.prepare() }, health))
    }

    /// Serves the face until it is shut down and every connection is closed.
    pub async fn serve(self, listener: TcpListener, settings: listen::Settings, shutdown: Shutdown) {
        serve_routes(self.routes, listener, settings, shutdown).await;
    }
}

/// Serves gRPC routes: every request knows its [`Peer`].
pub async fn serve_routes(
    routes: Routes,
    listener: TcpListener,
    settings: listen::Settings,
    shutdown: Shutdown,
) {
    let make = move |peer: Peer| {
        let routes = routes.clone();
        TowerToHyperService::new(tower::service_fn(move |request: http::Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(peer.clone());
            routes.clone().oneshot(request)
        }))
    };
    listen::serve(listener, settings, shutdown, make).await;
}

/// Lets a call in once it is known who asks: before its message is read, which costs memory.
#[derive(Clone)]
struct Authenticated<S> {
    inner: S,
    authenticate: Arc<Authenticate>,
}

impl<S: NamedService> NamedService for Authenticated<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Authenticated<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let found = match request.extensions().get::<Peer>() {
            Some(peer) => (self.authenticate)(request.headers(), peer),
            None => Err(Refusal::Internal { message: "a request without a connection".to_owned() }),
        };
        match found {
            Ok(tenant) => {
                request.extensions_mut().insert(tenant);
                Box::pin(self.inner.call(request))
            }
            Err(refusal) => {
                let response = status::of(&refusal).into_http();
                Box::pin(async move { Ok(response) })
            }
        }
    }
}

#[cfg(test)]
mod tests;
