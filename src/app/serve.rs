//! A running router: listeners bound, tasks started, and the way down.
//!
//! Going down has four steps. Not ready at once (readiness and gRPC health say so) but still serving for the lame-duck
//! time, so that balancers notice before clients do; then no new connections, and open calls have the grace to finish;
//! then what is left ends with an honest error; then connections that still hang are dropped.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use arc_swap::ArcSwap;
use http::HeaderMap;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::reload::{Doors, Reloader, Reloads};
use super::watchdog;
use crate::config::Checked;
use crate::domain::Duration;
use crate::edge::admin::{self, http::Readiness};
use crate::edge::auth::Gate;
use crate::edge::listen::{self, Peer, Shutdown};
use crate::edge::room::Rooms;
use crate::edge::{grpc, openai};
use crate::fleet::brownout::Taken;
use crate::flow::Router;

/// How often the fleet is asked what time alone has changed, and the wall clock is looked at again.
const TICK: Duration = Duration::from_secs(1);
/// Wall time may be corrected under us; once a minute is often enough for contact windows.
const ANCHOR_EVERY_TICKS: u32 = 60;
/// After the grace, streams get this long to put their last words on the wire.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Where it listens.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bound {
    /// gRPC.
    pub grpc: Option<SocketAddr>,
    /// HTTP.
    pub http: Option<SocketAddr>,
    /// Admin.
    pub admin: Option<SocketAddr>,
}

/// A router whose ports are open, about to serve.
#[derive(Debug)]
pub struct Server {
    router: Router,
    checked: Checked,
    doors: Doors,
    reloader: Reloader,
    reloads: Reloads,
    grpc: Option<TcpListener>,
    http: Option<TcpListener>,
    admin: Option<TcpListener>,
}

/// Opens the ports of `checked`. It was read from `source`, if it was read from a file: then what is there later is taken
/// too.
pub async fn bind(
    router: Router,
    checked: Checked,
    source: Option<PathBuf>,
    seed: u64,
) -> anyhow::Result<Server> {
    let grpc = open("listen.grpc", checked.listen.grpc).await?;
    let http = open("listen.http", checked.listen.http).await?;
    let admin = open("listen.admin", checked.listen.admin).await?;
    let doors = Doors {
        gate: Arc::new(ArcSwap::from_pointee(Gate::new(checked.auth.clone()))),
        tls: tls(checked.listen.tls.as_ref())?,
        admin_tls: tls(checked.listen.admin_tls.as_ref())?,
    };
    let (reloader, reloads) = Reloader::new(&router, checked.clone(), doors.clone(), source, seed);
    Ok(Server { router, checked, doors, reloader, reloads, grpc, http, admin })
}

async fn open(name: &str, address: Option<SocketAddr>) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = address else { return Ok(None) };
    let listener = TcpListener::bind(address).await;
    listener
        .map(Some)
        .with_context(|| format!("cannot listen on {address} ({name}): is something else there?"))
}

/// How quickly to go down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Descent {
    /// Not ready, but still serving.
    pub lame_duck: Duration,
    /// What open calls have to finish.
    pub grace: Duration,
}

impl Server {
    /// Where it listens, ports of 0 filled in.
    pub fn bound(&self) -> Bound {
        let at = |listener: &Option<TcpListener>| listener.as_ref().and_then(|l| l.local_addr().ok());
        Bound { grpc: at(&self.grpc), http: at(&self.http), admin: at(&self.admin) }
    }

    /// To have the config read again.
    pub fn reloads(&self) -> &Reloads {
        &self.reloads
    }

    /// The router behind the faces.
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// Serves until `stop`, then goes down; `hurry` cuts the way short.
    pub async fn run(
        self,
        stop: impl Future<Output = ()>,
        hurry: impl Future<Output = ()>,
        descent: Descent,
    ) -> anyhow::Result<()> {
        let Self { router, checked, doors, reloader, reloads, grpc, http, admin } = self;
        let gate = doors.gate;
        let shutdown = Shutdown::new();
        let admin_shutdown = Shutdown::new();
        let mut servers = JoinSet::new();
        let mut background = JoinSet::new();
        let data = Data {
            router: &router,
            gate: &gate,
            checked: &checked,
            settings: data_settings(&checked, doors.tls),
            bodies: Rooms::holding(checked.limits.body as usize),
            shutdown: shutdown.clone(),
        };
        let health = grpc.map(|listener| spawn_grpc(&mut servers, listener, &data)).transpose()?;
        if let Some(health) = &health {
            health.set_serving(true).await;
        }
        if let Some(listener) = http {
            spawn_http(&mut servers, listener, &data);
        }
        if let Some(listener) = admin {
            let settings = listen::Settings { tls: doors.admin_tls, ..listen::Settings::default() };
            let shown = Shown { router: &router, gate: &gate, reloads };
            spawn_admin(&mut background, listener, shown, settings, admin_shutdown.clone())?;
        }
        spawn_ticks(&mut background, &router);
        background.spawn(reloader.run());

        stop.await;
        tracing::info!(open_calls = router.open_calls(), "going down");
        router.start_draining();
        if let Some(health) = &health {
            health.set_serving(false).await;
        }
        let down = go_down(&router, &shutdown, &mut servers, health.as_ref(), descent);
        tokio::select! {
            biased;
            () = hurry => tracing::warn!("told twice to stop: not waiting for open calls"),
            () = down => {}
        }
        router.end_grace();
        // An account is closed before its last words are on the wire, so it is the connections that are waited for.
        shutdown.begin();
        let last_words = async {
            router.all_closed().await;
            while servers.join_next().await.is_some() {}
        };
        let _in_time = timeout(LAST_WORDS, last_words).await;
        shutdown.cut();
        admin_shutdown.cut();
        router.telemetry().flush();
        Ok(())
    }
}

async fn go_down(
    router: &Router,
    shutdown: &Shutdown,
    servers: &mut JoinSet<()>,
    health: Option<&grpc::Health>,
    descent: Descent,
) {
    sleep(descent.lame_duck).await;
    // Watchers have been told; a watch that stays open would hold up the listener.
    if let Some(health) = health {
        health.close().await;
    }
    shutdown.begin();
    let finish = async {
        router.all_closed().await;
        while servers.join_next().await.is_some() {}
    };
    if timeout(descent.grace, finish).await.is_err() {
        tracing::warn!(open_calls = router.open_calls(), "the grace is over");
    }
}

fn tls(settings: Option<&crate::config::Tls>) -> anyhow::Result<Option<Arc<listen::Tls>>> {
    Ok(settings.map(|tls| tls.build().map(Arc::new)).transpose()?)
}

fn data_settings(checked: &Checked, tls: Option<Arc<listen::Tls>>) -> listen::Settings {
    listen::Settings {
        tls,
        max_connections: checked.limits.connections as usize,
        max_streams: checked.limits.streams,
        ..listen::Settings::default()
    }
}

/// What the data faces share.
struct Data<'a> {
    router: &'a Router,
    gate: &'a Arc<ArcSwap<Gate>>,
    checked: &'a Checked,
    settings: listen::Settings,
    bodies: Rooms,
    shutdown: Shutdown,
}

fn spawn_grpc(
    servers: &mut JoinSet<()>,
    listener: TcpListener,
    data: &Data<'_>,
) -> anyhow::Result<grpc::Health> {
    let Data { router, gate, checked, settings, bodies, shutdown } = data;
    let gate = Arc::clone(gate);
    let who = Arc::new(move |headers: &HeaderMap, _: &Peer| gate.load().client(headers));
    let face = grpc::Settings {
        max_message: checked.limits.body as usize,
        bodies: bodies.clone(),
        reflection: checked.listen.reflection,
    };
    let (face, health) = grpc::Face::new((*router).clone(), who, face)?;
    let max_streams = settings.max_streams.max(grpc::MAX_STREAMS);
    servers.spawn(face.serve(
        listener,
        listen::Settings { max_streams, ..settings.clone() },
        shutdown.clone(),
    ));
    Ok(health)
}

fn spawn_http(servers: &mut JoinSet<()>, listener: TcpListener, data: &Data<'_>) {
    let Data { router, gate, checked, settings, bodies, shutdown } = data;
    let gate = Arc::clone(gate);
    let who: openai::Auth = Arc::new(move |headers: &HeaderMap, _: &Peer| gate.load().client(headers));
    let body = checked.limits.body as usize;
    let limits = openai::Limits { body, bodies: bodies.clone(), ..openai::Limits::default() };
    let face = openai::Face::new((*router).clone(), who, limits);
    let connection = move |peer| face.connection(peer);
    servers.spawn(listen::serve(listener, settings.clone(), shutdown.clone(), connection));
}

/// What the admin listener shows.
struct Shown<'a> {
    router: &'a Router,
    gate: &'a Arc<ArcSwap<Gate>>,
    reloads: Reloads,
}

fn spawn_admin(
    tasks: &mut JoinSet<()>,
    listener: TcpListener,
    Shown { router, gate, reloads }: Shown<'_>,
    settings: listen::Settings,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let routes = admin::grpc::routes(router.clone(), Arc::new(reloads))?;
    let (ready, metrics, pressed, gate) = (router.clone(), router.clone(), router.clone(), gate.clone());
    let sources = Arc::new(admin::http::Sources {
        readiness: Box::new(move || readiness(&ready)),
        brownout: Box::new(move || brownout(&pressed)),
        metrics: Box::new(move || metrics.metrics_text()),
        auth: Box::new(move |headers, peer| gate.load().admin(peer.address.ip(), headers)),
    });
    tasks.spawn(listen::serve(listener, settings, shutdown, move |peer| {
        admin::http::Admin::new(sources.clone(), routes.clone(), peer)
    }));
    Ok(())
}

/// Ready if some pool that is not drained has an endpoint that is not ejected.
fn readiness(router: &Router) -> Readiness {
    if router.draining() {
        return Readiness::Draining;
    }
    let now = router.clock().now();
    if router.with_fleet(|fleet| fleet.serves(now)) {
        return Readiness::Ready;
    }
    let status = router.with_fleet(|fleet| fleet.status(now));
    let known = status.pools.iter().filter(|pool| pool.state != "leaving");
    let states: Vec<String> = known.map(|pool| format!("{} is {}", pool.name, pool.state)).collect();
    Readiness::NothingServes(states.join(", "))
}

/// `2 defer for 12 s: calls that cannot wait would have to for 1.4 s`, a line for each step.
fn brownout(router: &Router) -> String {
    let now = router.clock().now();
    let steps = router.with_fleet(|fleet| fleet.brownout());
    let line = |taken: &Taken| {
        let seconds = now.wall.as_millis().saturating_sub(taken.since.as_millis()) / 1_000;
        format!("{} {} for {seconds} s: {}\n", taken.step.level(), taken.step, taken.why)
    };
    match steps.is_empty() {
        true => "none\n".to_owned(),
        false => steps.iter().map(line).collect(),
    }
}

/// What time alone changes.
fn spawn_ticks(tasks: &mut JoinSet<()>, router: &Router) {
    tasks.spawn(watchdog::watch(router.clone()));
    let router = router.clone();
    tasks.spawn(async move {
        let mut ticks = 0_u32;
        loop {
            sleep(TICK).await;
            ticks = ticks.wrapping_add(1);
            if ticks.is_multiple_of(ANCHOR_EVERY_TICKS) {
                router.clock().anchor();
            }
            router.tick();
        }
    });
}
