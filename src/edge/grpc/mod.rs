//! The gRPC face: `gridtie.v1.Inference`, with standard health checks and, where wanted, reflection.
//!
//! It decodes, calls and encodes. It knows nothing of pools beyond their names, and takes its errors from
//! [`status`](super::status). Authentication looks at the head of a call only, before its message is read.

mod backend;
mod counted;
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

use http::{HeaderMap, HeaderValue};
use tokio::net::TcpListener;
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tower::Service;

pub use backend::{Backend, Explains};
pub(crate) use explain::timestamp;
pub use explain::{ExplainAsk, Explained, Row, Term, Verdict};
pub use health::Health;

use crate::dialect::gridtie::DESCRIPTORS;
use crate::dialect::gridtie::v1::inference_server::{InferenceServer, SERVICE_NAME};
use crate::domain::{Refusal, TenantId};
use crate::edge::listen::{self, Peer, Shutdown, Tower};
use crate::edge::room::Rooms;
use counted::Counted;

/// Finds out who asks, from the head of a call.
pub type Authenticate = dyn Fn(&HeaderMap, &Peer) -> Result<TenantId, Refusal> + Send + Sync;

/// What an operator may set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The largest message taken, in bytes.
    pub max_message: usize,
    /// Where all messages that are being read or worked on have their place.
    pub bodies: Rooms,
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
        Self { max_message: MAX_MESSAGE, bodies: Rooms::default(), reflection: true }
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
        let Settings { max_message, bodies, reflection } = settings;
        let guarded = Guarded { inner: service, authenticate, max_message, bodies };
        let mut routes = Routes::new(guarded).add_service(health_service);
        if reflection {
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

    /// The face as a tower service, for any listener that says who the [`Peer`] is.
    pub fn into_routes(self) -> Routes {
        self.routes
    }

    /// Serves the face until it is shut down and every connection is closed.
    pub async fn serve(self, listener: TcpListener, settings: listen::Settings, shutdown: Shutdown) {
        listen::serve(listener, settings, shutdown, move |peer| Tower::new(self.routes.clone(), peer)).await;
    }
}

/// Lets a call in once it is known who asks: before its message is read, which costs memory. A message that turns out
/// to be too large is answered in our words.
#[derive(Clone)]
struct Guarded<S> {
    inner: S,
    authenticate: Arc<Authenticate>,
    max_message: usize,
    bodies: Rooms,
}

impl<S: NamedService> NamedService for Guarded<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Guarded<S>
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
                let (head, body) = request.into_parts();
                let (body, held) = Counted::new(body, self.bodies.clone());
                let answer = self.inner.call(http::Request::from_parts(head, Body::new(body)));
                let limit = self.max_message as u64;
                Box::pin(async move {
                    let response = answer.await?;
                    drop(held);
                    Ok(if too_large(&response) {
                        status::of(&Refusal::TooLarge { limit }).into_http()
                    } else {
                        response
                    })
                })
            }
            Err(refusal) => {
                let response = status::of(&refusal).into_http();
                Box::pin(async move { Ok(response) })
            }
        }
    }
}

/// The library says OUT_OF_RANGE for a message above its limit, and nothing of ours does.
fn too_large<B>(response: &http::Response<B>) -> bool {
    let out_of_range = HeaderValue::from(tonic::Code::OutOfRange as i32);
    response.headers().get(Status::GRPC_STATUS) == Some(&out_of_range)
}

#[cfg(test)]
mod tests;
