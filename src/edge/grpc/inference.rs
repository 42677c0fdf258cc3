//! The service itself: each method reads, calls and writes.

use std::pin::Pin;

use futures_util::Stream;
use tonic::{Request, Response, Status};

use super::reply::Events;
use super::{Backend, explain, inbound, reply, status};
use crate::dialect::FieldError;
use crate::dialect::gridtie::answer::encode_prices;
use crate::dialect::gridtie::request::{self, Asked, Hinted};
use crate::dialect::gridtie::v1;
use crate::domain::{AskKind, Catalog, Model, Refusal, TenantId};
use crate::flow::{Inbound, Refused};

/// The service over a backend.
#[derive(Debug)]
pub(super) struct Inference<B> {
    backend: B,
}

impl<B: Backend> Inference<B> {
    pub(super) const fn new(backend: B) -> Self {
        Self { backend }
    }
}

/// Reads a request, message and metadata.
fn read<T>(
    request: Request<T>,
    stream: bool,
    message: impl FnOnce(T) -> Result<(Asked, Hinted), FieldError>,
) -> Result<Inbound, Status> {
    let tenant = tenant(&request)?;
    let (metadata, _, body) = request.into_parts();
    message(body)
        .and_then(|(asked, hinted)| inbound::read(asked, hinted, stream, &metadata, tenant))
        .map_err(wrong)
}

fn tenant<T>(request: &Request<T>) -> Result<TenantId, Status> {
    let tenant = request.extensions().get::<TenantId>().copied();
    tenant.ok_or_else(|| status::of(&Refusal::Unauthenticated))
}

fn generate(mut message: v1::GenerateRequest, stream: bool) -> Result<(Asked, Hinted), FieldError> {
    let hinted = request::hints(message.routing.take())?;
    Ok((request::generate(message, stream)?, hinted))
}

fn embed(mut message: v1::EmbedRequest) -> Result<(Asked, Hinted), FieldError> {
    let hinted = request::hints(message.routing.take())?;
    Ok((request::embed(message)?, hinted))
}

fn wrong(error: FieldError) -> Status {
    status::of(&error.into())
}

fn refused(refused: Refused) -> Status {
    status::refused(&refused)
}

#[tonic::async_trait]
impl<B: Backend> v1::inference_server::Inference for Inference<B> {
    type StreamGenerateStream = Pin<Box<dyn Stream<Item = <Events<B::Relay> as Stream>::Item> + Send>>;

    async fn generate(
        &self,
        request: Request<v1::GenerateRequest>,
    ) -> Result<Response<v1::GenerateResponse>, Status> {
        let inbound = read(request, false, |message| generate(message, false))?;
        let answered = self.backend.call(inbound).await.map_err(refused)?;
        reply::generated(answered).map(Response::new)
    }

    async fn stream_generate(
        &self,
        request: Request<v1::GenerateRequest>,
    ) -> Result<Response<Self::StreamGenerateStream>, Status> {
        let inbound = read(request, true, |message| generate(message, true))?;
        let answered = self.backend.call(inbound).await.map_err(refused)?;
        Ok(Response::new(Box::pin(reply::streamed(answered)?)))
    }

    async fn embed(&self, request: Request<v1::EmbedRequest>) -> Result<Response<v1::EmbedResponse>, Status> {
        let inbound = read(request, false, embed)?;
        let answered = self.backend.call(inbound).await.map_err(refused)?;
        reply::embedded(answered).map(Response::new)
    }

    async fn list_models(
        &self,
        _: Request<v1::ListModelsRequest>,
    ) -> Result<Response<v1::ListModelsResponse>, Status> {
        let catalog = self.backend.catalog();
        let models = catalog.live_models().map(|model| model_to_wire(&catalog, model)).collect();
        Ok(Response::new(v1::ListModelsResponse { models }))
    }

    async fn explain(
        &self,
        request: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainResponse>, Status> {
        let tenant = tenant(&request)?;
        let ask = explain::read(request.into_inner(), tenant).map_err(wrong)?;
        let explained = self.backend.explain(ask).map_err(|refusal| status::of(&refusal))?;
        Ok(Response::new(explain::write(explained)))
    }
}

fn model_to_wire(catalog: &Catalog, model: &Model) -> v1::Model {
    let kind = match model.kind {
        AskKind::Chat => v1::AskKind::Chat,
        AskKind::Completion => v1::AskKind::Completion,
        AskKind::Embed => v1::AskKind::Embed,
    };
    let offer = |id: &crate::domain::OfferId| {
        let offer = catalog.offer(*id);
        v1::ModelOffer {
            pool: catalog.pool(offer.pool).name.to_string(),
            context_window: offer.context_window,
            capabilities: offer.capabilities.names().map(str::to_owned).collect(),
            prices: Some(encode_prices(&offer.prices)),
        }
    };
    v1::Model {
        name: model.name.to_string(),
        aliases: model.aliases.iter().map(ToString::to_string).collect(),
        kind: kind.into(),
        offers: model.offers.iter().map(offer).collect(),
    }
}
