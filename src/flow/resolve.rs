//! From names to ids: the last step that can find fault with a request before it costs anything.

use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use super::Inbound;
use crate::domain::names::{nearest, shown};
use crate::domain::{CallFacts, CallId, Catalog, ClassId, Instant, ModelId, Refusal, SessionKey};

/// Looks up what the call names. Everything that does not exist is refused with the nearest thing that does.
pub fn resolve(catalog: &Catalog, id: CallId, now: Instant, inbound: &Inbound) -> Result<CallFacts, Refusal> {
    let model = model(catalog, &inbound.model)?;
    let class = class(catalog, inbound.class.as_deref())?;
    known(
        "pool",
        &inbound.hints.pools,
        |name| catalog.pool_id(name).is_some(),
        || catalog.live_pools().map(|(_, p)| &*p.name).collect(),
    )?;
    known(
        "region",
        &inbound.hints.regions,
        |name| regions(catalog).any(|r| r == name),
        || regions(catalog).collect(),
    )?;
    let limit = catalog.class(class).deadline;
    let deadline = now + inbound.timeout.map_or(limit, |t| t.min(limit));
    Ok(CallFacts {
        id,
        kind: inbound.request.kind,
        model,
        class,
        tenant: inbound.tenant,
        input_tokens: inbound.request.input_tokens,
        max_tokens: inbound.max_tokens,
        n: inbound.n.max(1),
        needs: inbound.needs,
        stream: inbound.request.stream,
        session: inbound.session.as_deref().map(|name| session_key(inbound.tenant.0, name)),
        prefix: Arc::clone(&inbound.prefix),
        hints: inbound.hints.clone(),
        arrived: now,
        deadline,
        client_retry: inbound.client_retry,
    })
}

fn model(catalog: &Catalog, name: &str) -> Result<ModelId, Refusal> {
    catalog.model_id(name).ok_or_else(|| Refusal::ModelNotFound {
        model: shown(name),
        nearest: nearest(name, catalog.live_models().map(|m| &*m.name)).map(str::to_owned),
    })
}

fn class(catalog: &Catalog, name: Option<&str>) -> Result<ClassId, Refusal> {
    let Some(name) = name else { return Ok(catalog.default_class) };
    catalog
        .class_id(name)
        .ok_or_else(|| unknown("class", name, catalog.live_classes().map(|c| &*c.name).collect()))
}

fn regions(catalog: &Catalog) -> impl Iterator<Item = &str> {
    catalog.live_pools().filter_map(|(_, p)| p.region.as_deref())
}

fn known<'a>(
    what: &'static str,
    asked: &[Arc<str>],
    exists: impl Fn(&str) -> bool,
    all: impl Fn() -> Vec<&'a str>,
) -> Result<(), Refusal> {
    match asked.iter().find(|name| !exists(name)) {
        Some(name) => Err(unknown(what, name, all())),
        None => Ok(()),
    }
}

fn unknown(what: &'static str, name: &str, mut all: Vec<&str>) -> Refusal {
    all.sort_unstable();
    all.dedup();
    let hint =
        nearest(name, all.iter().copied()).map(|n| format!("did you mean `{n}`? ")).unwrap_or_default();
    Refusal::Invalid {
        field: Some(what.to_owned()),
        message: format!("no {what} is called `{}`; {hint}there are: {}", shown(name), all.join(", ")),
        code: Some(format!("unknown_{what}")),
    }
}

/// Tenant and name hashed together: equal names of two tenants share nothing.
fn session_key(tenant: u16, name: &str) -> SessionKey {
    let mut hash = Xxh3::new();
    hash.update(&tenant.to_le_bytes());
    hash.update(name.as_bytes());
    SessionKey(hash.digest())
}
