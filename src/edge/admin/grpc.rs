//! `gridtie.v1.Admin`: the pools as they are, now and whenever they change, and the levers an operator needs most.
//!
//! Who may call is decided by the listener ([`http`](super::http)) before anything gets here.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, stream};
use tokio::time::{Interval, MissedTickBehavior};
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::configs::{Configs, reload_to_wire, standing_to_wire};
use crate::dialect::gridtie::DESCRIPTORS;
use crate::dialect::gridtie::answer::encode_prices;
use crate::dialect::gridtie::v1;
use crate::dialect::gridtie::v1::admin_server::{Admin, AdminServer, SERVICE_NAME};
use crate::domain::names::{nearest, shown};
use crate::domain::{Catalog, Duration, PoolId, Tenure};
use crate::edge::grpc::timestamp;
use crate::fleet::brownout::Taken;
use crate::fleet::status::{EndpointStatus, OfferStatus, PoolStatus};
use crate::flow::Router;

/// How often a watch looks. A person sees no difference, and a look costs some microseconds.
const LOOK: Duration = Duration::from_millis(250);
/// The longest silence of a watch, unless it asks for another.
const SILENCE: Duration = Duration::from_secs(5);
/// The bounds of what it may ask for, in seconds.
const SILENCE_S: (u64, u64) = (1, 60);

/// The service and its reflection, for the admin listener.
pub fn routes(router: Router, configs: Arc<dyn Configs>) -> Result<Routes, tonic_reflection::server::Error> {
    let described = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .with_service_name(SERVICE_NAME)
    };
    Ok(Routes::new(AdminServer::new(Service { router, configs }))
        .add_service(described().build_v1()?)
        .add_service(described().build_v1alpha()?)
        .prepare())
}

#[derive(Debug)]
struct Service {
    router: Router,
    configs: Arc<dyn Configs>,
}

type Watch = Pin<Box<dyn Stream<Item = Result<v1::ListPoolsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Admin for Service {
    type WatchPoolsStream = Watch;

    async fn list_pools(
        &self,
        _: Request<v1::ListPoolsRequest>,
    ) -> Result<Response<v1::ListPoolsResponse>, Status> {
        Ok(Response::new(list(&self.router, &*self.configs)))
    }

    async fn watch_pools(&self, request: Request<v1::WatchPoolsRequest>) -> Result<Response<Watch>, Status> {
        let silence = match request.into_inner().max_interval {
            None => SILENCE,
            Some(asked) => Duration::try_from(asked)
                .ok()
                .filter(|asked| (SILENCE_S.0..=SILENCE_S.1).contains(&asked.as_secs()))
                .ok_or_else(|| wrong("max_interval", "From 1 to 60 seconds."))?,
        };
        Ok(Response::new(Box::pin(watch(self.router.clone(), self.configs.clone(), silence))))
    }

    async fn drain_pool(
        &self,
        request: Request<v1::DrainPoolRequest>,
    ) -> Result<Response<v1::DrainPoolResponse>, Status> {
        let pool = find(&self.router.catalog(), &request.into_inner().pool)?;
        self.router.drain(pool);
        Ok(Response::new(v1::DrainPoolResponse { pool: one(&self.router, pool) }))
    }

    async fn resume_pool(
        &self,
        request: Request<v1::ResumePoolRequest>,
    ) -> Result<Response<v1::ResumePoolResponse>, Status> {
        let pool = find(&self.router.catalog(), &request.into_inner().pool)?;
        self.router.resume(pool);
        Ok(Response::new(v1::ResumePoolResponse { pool: one(&self.router, pool) }))
    }

    async fn reload(
        &self,
        request: Request<v1::ReloadRequest>,
    ) -> Result<Response<v1::ReloadResponse>, Status> {
        match self.configs.reload(request.into_inner().only_try).await {
            Ok(reload) => Ok(Response::new(reload_to_wire(reload))),
            Err(why) => {
                let mut details = ErrorDetails::new();
                details.set_error_info("NOTHING_TO_RELOAD", "gridtie", []);
                Err(Status::with_error_details(Code::FailedPrecondition, why, details))
            }
        }
    }
}

fn find(catalog: &Catalog, name: &str) -> Result<PoolId, Status> {
    if name.is_empty() {
        return Err(wrong("pool", "Name the pool; ListPools has those there are."));
    }
    catalog.pool_id(name).ok_or_else(|| {
        let names = || catalog.live_pools().map(|(_, pool)| &*pool.name);
        let hint = nearest(name, names()).map(|near| format!(" Did you mean `{near}`?")).unwrap_or_default();
        let all = names().collect::<Vec<_>>().join(", ");
        let message = format!("No pool is called `{}`.{hint} There are: {all}.", shown(name));
        let mut details = ErrorDetails::new();
        details.set_error_info("POOL_NOT_FOUND", "gridtie", []);
        Status::with_error_details(Code::NotFound, message, details)
    })
}

fn wrong(field: &str, message: &str) -> Status {
    let mut details = ErrorDetails::with_bad_request_violation(field, message);
    details.set_error_info("INVALID_REQUEST", "gridtie", []);
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// What a watch remembers.
struct Watching {
    router: Router,
    configs: Arc<dyn Configs>,
    look: Interval,
    /// Looks in a row that may find nothing new.
    patience: u32,
    last: Option<v1::ListPoolsResponse>,
    over: bool,
}

/// All pools, at once, on every change of state, and after `silence`; until the router goes down, because a watch must
/// not hold that up.
fn watch(
    router: Router,
    configs: Arc<dyn Configs>,
    silence: Duration,
) -> impl Stream<Item = Result<v1::ListPoolsResponse, Status>> + Send {
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let patience = (silence.as_millis() / LOOK.as_millis()) as u32;
    let watching = Watching { router, configs, look, patience, last: None, over: false };
    stream::unfold(watching, |mut watching| async move {
        if watching.over {
            return None;
        }
        let mut looks = 0;
        loop {
            watching.look.tick().await;
            looks += 1;
            let now = list(&watching.router, &*watching.configs);
            let news = watching
                .last
                .as_ref()
                .is_none_or(|last| states(last).ne(states(&now)) || rest(last) != rest(&now));
            if news || now.draining || looks >= watching.patience {
                watching.over = now.draining;
                watching.last = Some(now.clone());
                return Some((Ok(now), watching));
            }
        }
    })
}

/// What counts as a change beside [`states`].
fn rest(list: &v1::ListPoolsResponse) -> (&Option<v1::ConfigStatus>, &[v1::BrownoutStep]) {
    (&list.config, &list.brownout)
}

/// What counts as a change: who is there, and how it is. Not how busy.
fn states(list: &v1::ListPoolsResponse) -> impl Iterator<Item = (&str, i32)> {
    list.pools.iter().flat_map(|pool| {
        let endpoints = pool.endpoints.iter().map(|endpoint| (endpoint.address.as_str(), endpoint.state));
        let offers = pool.offers.iter().map(|offer| (offer.model.as_str(), offer.state));
        std::iter::once((pool.name.as_str(), pool.state)).chain(endpoints).chain(offers)
    })
}

fn list(router: &Router, configs: &dyn Configs) -> v1::ListPoolsResponse {
    let now = router.clock().now();
    let (status, catalog) = router.with_fleet(|fleet| (fleet.status(now), fleet.catalog().clone()));
    v1::ListPoolsResponse {
        pools: listed(&catalog, status.pools),
        at: Some(timestamp(now.wall)),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        draining: router.draining(),
        config: Some(standing_to_wire(&configs.standing())),
        brownout: status.brownout.into_iter().map(step_to_wire).collect(),
    }
}

fn step_to_wire(taken: Taken) -> v1::BrownoutStep {
    v1::BrownoutStep {
        step: taken.step.name().to_owned(),
        level: taken.step.level().into(),
        since: Some(timestamp(taken.since)),
        why: taken.why,
    }
}

/// Those of the config in its order, then those that are left only for their last calls.
fn listed(catalog: &Catalog, all: Vec<PoolStatus>) -> Vec<v1::PoolStatus> {
    let mut all: Vec<Option<PoolStatus>> = all.into_iter().map(Some).collect();
    let mut ids: Vec<PoolId> = catalog.live_pools().map(|(id, _)| id).collect();
    let left = |(i, pool): (usize, &Option<PoolStatus>)| {
        let id = PoolId(i as u16);
        (!catalog.has_pool(id) && pool.as_ref().is_some_and(|pool| pool.in_flight > 0)).then_some(id)
    };
    ids.extend(all.iter().enumerate().filter_map(left));
    let status = |id: PoolId| Some((id, all.get_mut(id.index())?.take()?));
    ids.into_iter().filter_map(status).map(|(id, pool)| pool_to_wire(catalog, id, pool)).collect()
}

fn one(router: &Router, pool: PoolId) -> Option<v1::PoolStatus> {
    let now = router.clock().now();
    let (status, catalog) = router.with_fleet(|fleet| (fleet.status(now), fleet.catalog().clone()));
    Some(pool_to_wire(&catalog, pool, status.pools.into_iter().nth(pool.index())?))
}

fn pool_to_wire(catalog: &Catalog, id: PoolId, pool: PoolStatus) -> v1::PoolStatus {
    let tenure = match pool.tenure {
        Tenure::Owned => v1::Tenure::Owned,
        Tenure::Metered => v1::Tenure::Metered,
    };
    v1::PoolStatus {
        name: pool.name.to_string(),
        tenure: tenure.into(),
        region: pool.region.as_deref().unwrap_or_default().to_owned(),
        failure_domain: catalog.pool(id).failure_domain.to_string(),
        state: state(pool.state).into(),
        drained: pool.drained,
        in_flight: pool.in_flight,
        max_in_flight: pool.max_in_flight,
        endpoints: pool.endpoints.into_iter().map(endpoint_to_wire).collect(),
        offers: pool.offers.into_iter().map(|offer| offer_to_wire(catalog, id, offer)).collect(),
        utilisation: pool.utilisation,
        scarcity_usd_per_s: pool.scarcity_usd_per_s,
        served: pool.served,
        failed: pool.failed,
        watts: pool.watts,
        max_watts: pool.max_watts,
        lease_ends: pool.lease_ends.map(timestamp),
    }
}

fn endpoint_to_wire(endpoint: EndpointStatus) -> v1::EndpointStatus {
    v1::EndpointStatus {
        address: endpoint.address,
        state: state(endpoint.state).into(),
        in_flight: endpoint.in_flight,
        queued_work_s: endpoint.work_s,
        report: endpoint.report.map(|(load, age_s)| v1::EngineReport {
            running: load.running,
            waiting: load.waiting,
            kv_used: load.kv_permille.map(|kv| f64::from(kv) / 1000.0),
            age: Duration::try_from_secs_f64(age_s).ok().and_then(|age| age.try_into().ok()),
        }),
    }
}

fn offer_to_wire(catalog: &Catalog, pool: PoolId, offer: OfferStatus) -> v1::OfferStatus {
    let same =
        |known: &&crate::domain::Offer| known.pool == pool && catalog.model(known.model).name == offer.model;
    let upstream_model = catalog.offers.iter().find(same).map(|known| known.upstream_model.to_string());
    let seconds = |s: f64| Duration::try_from_secs_f64(s).ok()?.try_into().ok();
    v1::OfferStatus {
        upstream_model: upstream_model.unwrap_or_default(),
        model: offer.model.to_string(),
        state: state(offer.state).into(),
        prices: Some(encode_prices(&offer.prices)),
        ttft: seconds(offer.ttft_s),
        time_per_token: seconds(offer.tpot_s),
        error_rate: offer.p_err,
        served: offer.served,
        failed: offer.failed,
    }
}

fn state(word: &str) -> v1::State {
    match word {
        "healthy" => v1::State::Healthy,
        "slow_start" => v1::State::SlowStart,
        "probation" => v1::State::Probation,
        "ejected" => v1::State::Ejected,
        "cooldown" => v1::State::Cooldown,
        "drained" => v1::State::Drained,
        "disabled" => v1::State::Disabled,
        "no_contact" => v1::State::NoContact,
        "no_lease" => v1::State::NoLease,
        "no_endpoints" => v1::State::Empty,
        "leaving" => v1::State::Leaving,
        _ => v1::State::Unspecified,
    }
}

#[cfg(test)]
mod tests;
