//! A mock pool's `gridtie.v1.Inference`: the router's own face over one simulated pool.
//!
//! A failure has the status that the face gives a failed upstream, and a cut stream ends with one: gRPC always has a
//! place for the truth, so there is nothing to break below it.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt, stream};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Served;
use crate::domain::{AskKind, CallId, Catalog, Failure, Model, Refusal, TenantId, Timestamp, Usage, Usd};
use crate::edge::grpc::{ExplainAsk, Explains, Explained, Face, Settings};
use crate::edge::listen::{self, Shutdown};
use crate::edge::openai::Calls;
use crate::flow::{Answered, Bill, Broken, Head, Inbound, Out, Refused};
use crate::upstream::{Piece, Pieces, Reply};

#[derive(Clone)]
struct Pool {
    served: Arc<Served>,
    catalog: Arc<Catalog>,
}

/// Serves until stopped, then drops every connection.
pub(super) async fn serve(listener: TcpListener, served: Arc<Served>, stopped: CancellationToken) {
    let model = |name: &Arc<str>| Model {
        name: Arc::clone(name),
        aliases: Vec::new(),
        kind: AskKind::Chat,
        offers: Vec::new(),
    };
    let mut models: Vec<Model> = served.pool.settings().models.iter().map(model).collect();
    models.sort_by(|a, b| a.name.cmp(&b.name));
    let catalog = Arc::new(Catalog { models, ..Catalog::default() });
    let anybody = Arc::new(|_: &http::HeaderMap, _: &listen::Peer| Ok(TenantId(0)));
    // Only the descriptors of reflection can be wrong, and they are compiled in.
    let Ok((face, _health)) = Face::new(Pool { served, catalog }, anybody, Settings::default()) else {
        return;
    };
    let shutdown = Shutdown::new();
    let serving = face.serve(listener, listen::Settings::default(), shutdown.clone());
    tokio::pin!(serving);
    tokio::select! {
        biased;
        () = stopped.cancelled() => {}
        () = &mut serving => return,
    }
    shutdown.cut();
    serving.await;
}

impl Calls for Pool {
    type Relay = Pin<Box<dyn Stream<Item = Out> + Send>>;

    async fn call(&self, inbound: Inbound) -> Result<Answered<Self::Relay>, Refused> {
        let Inbound { request, model, .. } = inbound;
        let (call, reply) = self.served.call(request, &model).await;
        let pool = Arc::clone(&self.served.pool.settings().name);
        let head = Head {
            call,
            pool: Arc::clone(&pool),
            model: Arc::from(model),
            attempts: 1,
            cost: Usd::ZERO,
            reason: "only".to_owned(),
        };
        match reply {
            Ok(Reply::Whole(whole)) => {
                let bill = free(whole.usage);
                Ok(Answered::Whole { head, whole, bill })
            }
            Ok(Reply::Stream(pieces)) => Ok(Answered::Stream { head, body: Box::pin(outs(pieces)) }),
            Err(failure) => Err(refused(call, pool, failure)),
        }
    }

    fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog)
    }

    fn next_id(&self) -> CallId {
        self.served.next_id()
    }

    fn wall(&self) -> Timestamp {
        self.served.pool.clock().now().wall
    }
}

impl Explains for Pool {
    fn explain(&self, _: ExplainAsk) -> Result<Explained, Refusal> {
        let message = "A mock pool decides nothing, so it has nothing to explain.".to_owned();
        Err(Refusal::Invalid { field: None, message, code: Some("unsupported".to_owned()) })
    }
}

fn refused(call: CallId, pool: Arc<str>, failure: Failure) -> Refused {
    Refused { call, pool: Some(pool), attempts: 1, refusal: Refusal::Upstream(Box::new(failure)) }
}

const fn free(usage: Usage) -> Bill {
    Bill { usage, cost: Usd::ZERO }
}

/// A stream on its way, and what was counted of it.
struct Relay {
    pieces: Pieces,
    usage: Usage,
    tokens: u64,
    over: bool,
}

fn outs(pieces: Pieces) -> impl Stream<Item = Out> {
    let relay = Relay { pieces, usage: Usage::default(), tokens: 0, over: false };
    stream::unfold(relay, |mut relay| async move {
        if relay.over {
            return None;
        }
        let out = match relay.pieces.0.next().await {
            Some(Ok(Piece { body, content_events, usage })) => {
                relay.tokens += u64::from(content_events);
                relay.usage = usage.unwrap_or(relay.usage);
                Out::Piece(body)
            }
            None => Out::End(free(relay.usage)),
            Some(Err(failure)) => Out::Broken(Broken {
                code: "stream_interrupted",
                failure: Some(failure),
                tokens_delivered: relay.tokens,
                bill: free(relay.usage),
            }),
        };
        relay.over = !matches!(out, Out::Piece(_));
        Some((out, relay))
    })
}
