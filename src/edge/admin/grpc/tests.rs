use std::sync::Arc;

use futures_util::StreamExt as _;
use tokio::net::TcpListener;
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

use super::*;
use crate::clock::Clock;
use crate::dialect::gridtie::v1::admin_client::AdminClient;
use crate::domain::{
    Address, AskKind, Capabilities, Class, ClassId, EnginePrior, Hints, Model, ModelId, Offer, OfferId, Pool,
    Price, Prices, Refusal, Tenant, TenantId, Timestamp,
};
use crate::edge::admin::configs::{Reload, Running, Standing};
use crate::edge::grpc::{ExplainAsk, Explains, Verdict};
use crate::edge::listen::{self, Shutdown, Tower};
use crate::fleet::{self, Fleet};
use crate::flow::{self, Parts};
use crate::ledger::InMemory;
use crate::telemetry::{LogWriter, Telemetry};
use crate::upstream::Upstream;
use crate::upstream::scripted::{Script, Scripted};

/// Longer than anything here takes; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

fn catalog() -> Arc<Catalog> {
    let pool = |name: &str, tenure| Pool {
        name: name.into(),
        tenure,
        region: Some("eu".into()),
        failure_domain: "site".into(),
        contact: None,
        lease: None,
        power: None,
        rtt_prior: Duration::from_millis(1),
        grants: Default::default(),
        max_in_flight: Some(9),
        order: 0,
        weight: 1.0,
        engine_prior: EnginePrior::default(),
    };
    let offer = |pool, dollars| Offer {
        pool: PoolId(pool),
        model: ModelId(0),
        hours: None,
        upstream_model: "up".into(),
        prices: Prices { input: Price::per_million(dollars), ..Prices::default() },
        context_window: None,
        capabilities: Capabilities::CHAT_DEFAULT,
    };
    let class = Class {
        name: "interactive".into(),
        miss_usd: 0.01,
        delay_usd_per_s: 0.001,
        ..crate::domain::plain::class()
    };
    Arc::new(Catalog {
        pools: vec![pool("owned", Tenure::Owned), pool("cloud", Tenure::Metered)],
        offers: vec![offer(0, 0.0), offer(1, 2.0)],
        models: vec![Model {
            name: "chat".into(),
            aliases: Vec::new(),
            kind: AskKind::Chat,
            offers: vec![OfferId(0), OfferId(1)],
        }],
        classes: vec![class],
        tenants: vec![Tenant { name: "anonymous".into() }],
        default_class: ClassId(0),
        lineage: Default::default(),
    })
}

fn router() -> Router {
    let catalog = catalog();
    let clock = Clock::starting_at(Timestamp::from_millis(1_800_000_000_000));
    let mut fleet = Fleet::new(Arc::clone(&catalog), fleet::Settings::default(), clock.now());
    for (i, name) in ["owned", "cloud"].into_iter().enumerate() {
        let address = Address { origin: format!("sim://{name}").into(), socket: None };
        fleet.set_endpoints(PoolId(i as u16), &[Arc::new(address)], clock.now());
    }
    let upstream: Arc<dyn Upstream> = Arc::new(Scripted::new(|_| Script(Vec::new())));
    Router::new(Parts {
        fleet,
        upstreams: vec![upstream; 2],
        clock,
        seed: 1,
        ledger: Arc::new(InMemory::default()),
        telemetry: Arc::new(Telemetry::new(&catalog, LogWriter::memory())),
        settings: flow::Settings::default(),
        catalog,
    })
}

/// A config that nobody changes.
#[derive(Debug)]
struct Still;

impl Configs for Still {
    fn standing(&self) -> Arc<Standing> {
        let running = Running {
            source: "test.toml".into(),
            sha256: "ab".repeat(32),
            since: Timestamp::from_millis(1_700_000_000_000),
            edition: 1,
        };
        Arc::new(Standing { running, rejected: None, needs_restart: Vec::new() })
    }

    fn reload(&self, _: bool) -> Pin<Box<dyn Future<Output = Result<Reload, String>> + Send + '_>> {
        Box::pin(std::future::ready(Err("there is no file".to_owned())))
    }
}

#[tokio::test]
async fn without_a_file_a_reload_is_refused_as_impossible() {
    let refused = client(&router()).await.reload(v1::ReloadRequest::default()).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::FailedPrecondition, "there is no file"));
}

async fn client(router: &Router) -> AdminClient<Channel> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let routes = routes(router.clone(), Arc::new(Still)).unwrap();
    let make = move |peer| Tower::new(routes.clone(), peer);
    tokio::spawn(listen::serve(listener, listen::Settings::default(), Shutdown::new(), make));
    AdminClient::connect(format!("http://{address}")).await.unwrap()
}

fn drain(pool: &str) -> v1::DrainPoolRequest {
    v1::DrainPoolRequest { pool: pool.to_owned() }
}

#[tokio::test]
async fn pools_are_listed_with_their_offers_and_endpoints() {
    let list = client(&router()).await.list_pools(v1::ListPoolsRequest {}).await.unwrap().into_inner();
    let names: Vec<_> = list.pools.iter().map(|pool| pool.name.as_str()).collect();
    assert_eq!(names, ["owned", "cloud"]);
    let owned = &list.pools[0];
    assert_eq!((owned.tenure(), owned.state()), (v1::Tenure::Owned, v1::State::Healthy));
    assert_eq!((owned.region.as_str(), owned.failure_domain.as_str()), ("eu", "site"));
    assert_eq!(owned.max_in_flight, Some(9));
    assert_eq!(owned.endpoints[0].address, "sim://owned");
    let offer = &list.pools[1].offers[0];
    assert_eq!((offer.model.as_str(), offer.upstream_model.as_str()), ("chat", "up"));
    assert_eq!(offer.prices.unwrap().input_usd_per_million, 2.0);
    assert!(offer.ttft.is_some());
    assert_eq!(list.at.unwrap().seconds, 1_800_000_000);
    assert!(!list.draining);
}

#[tokio::test]
async fn a_drained_pool_is_out_until_it_is_resumed_and_twice_is_once() {
    let router = router();
    let mut client = client(&router).await;
    for _ in 0..2 {
        let pool = client.drain_pool(drain("owned")).await.unwrap().into_inner().pool.unwrap();
        assert_eq!((pool.drained, pool.state()), (true, v1::State::Drained));
    }
    let ask = v1::ResumePoolRequest { pool: "owned".to_owned() };
    let pool = client.resume_pool(ask).await.unwrap().into_inner().pool.unwrap();
    assert_eq!((pool.drained, pool.state()), (false, v1::State::SlowStart));
}

#[tokio::test]
async fn an_unknown_pool_is_not_found_and_the_nearest_is_named() {
    let status = client(&router()).await.drain_pool(drain("ownd")).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().contains("`owned`"), "{}", status.message());
    assert_eq!(status.get_details_error_info().unwrap().reason, "POOL_NOT_FOUND");
    let status = client(&router()).await.drain_pool(drain("")).await.unwrap_err();
    assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "pool");
}

#[tokio::test]
async fn a_watch_says_how_it_is_and_then_what_changes_and_ends_with_the_router() {
    let router = router();
    let mut client = client(&router).await;
    let mut watch = client.watch_pools(v1::WatchPoolsRequest::default()).await.unwrap().into_inner();
    let first = watch.next().await.unwrap().unwrap();
    assert!(first.pools.iter().all(|pool| !pool.drained));
    client.drain_pool(drain("cloud")).await.unwrap();
    let second = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap().unwrap().unwrap();
    assert!(second.pools[1].drained);
    router.start_draining();
    let last = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap().unwrap().unwrap();
    assert!(last.draining);
    assert!(watch.next().await.is_none());
    let ask = v1::WatchPoolsRequest { max_interval: Some(prost_types::Duration { seconds: 0, nanos: 1 }) };
    assert_eq!(client.watch_pools(Request::new(ask)).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test(start_paused = true)]
async fn a_watch_is_never_silent_for_longer_than_it_asked() {
    let mut watch = Box::pin(watch(router(), Arc::new(Still), Duration::from_secs(3)));
    let clock = Clock::system();
    watch.next().await.unwrap().unwrap();
    let before = clock.mono();
    watch.next().await.unwrap().unwrap();
    assert_eq!(clock.mono().since(before), Duration::from_secs(3), "nothing changed");
}

fn ask() -> ExplainAsk {
    ExplainAsk {
        model: "chat".to_owned(),
        kind: AskKind::Chat,
        input_tokens: 1_000,
        max_tokens: None,
        n: 1,
        stream: true,
        needs: Capabilities::CHAT,
        class: None,
        session: None,
        hints: Hints::default(),
        timeout: None,
        without: Vec::new(),
        tenant: TenantId(0),
    }
}

#[tokio::test]
async fn the_routers_own_explanation_adds_up_and_can_leave_pools_out() {
    let router = router();
    let explained = router.explain(ask()).unwrap();
    assert_eq!(explained.verdict, Verdict::Dispatch("owned".into()));
    assert_eq!(explained.rows.len(), 2);
    for row in &explained.rows {
        let sum: f64 = row.terms.iter().map(|term| term.usd).sum();
        assert!((sum - row.total_usd.unwrap()).abs() < 1e-12, "{row:?}");
        assert_eq!(&*row.upstream_model, "up");
    }
    let without = |pools: &[&str]| {
        let without = pools.iter().map(|pool| (*pool).to_owned()).collect();
        router.explain(ExplainAsk { without, ..ask() })
    };
    assert_eq!(without(&["owned"]).unwrap().verdict, Verdict::Dispatch("cloud".into()));
    let Err(Refusal::Invalid { message, .. }) = without(&["ownd"]) else { panic!("accepted") };
    assert!(message.contains("`owned`"));
    assert!(without(&["owned", "cloud"]).is_err(), "an empty list would mean all");
}
