//! Takes another config while the router runs.
//!
//! A signal, a file that changed and an operator all lead to the same: the file is read and checked as at the start, what
//! it names is tried out, the new upstreams are built; only then is it taken, at once. Whatever is wrong on the way, the
//! config that runs goes on, and logs, metrics and admin say why. One at a time, in one task, which alone knows which
//! config runs.

mod changes;
mod sight;
mod trial;

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use self::changes::{Fixed, position};
use self::sight::{Sight, Watcher, look};
use self::trial::Lookup;
use super::build;
use super::upkeep::Upkeep;
use crate::config::{self, Checked, Problems, Surroundings};
use crate::domain::{Catalog, Duration, PoolId, TenantId};
use crate::edge::admin::configs::{Change, Configs, Outcome, Rejected, Reload, Running, Standing};
use crate::edge::auth::{self, ClientKey, Gate};
use crate::edge::listen;
use crate::flow::{Next, Router};
use crate::telemetry::Reloaded;
use crate::upstream::Upstream;

/// How often the files are looked at. A change is taken after it was seen twice: within a second.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// So many looks after a refusal the config is tried again: a secret or a name may have appeared since.
const RETRY_LOOKS: u32 = 20;
/// More than these wait for their turn only if something asks in a loop.
const ASKS: usize = 64;
/// Of a config with more mistakes than this, the rest are only counted.
const WHY_MAX: usize = 16;

/// Who wants it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cause {
    /// An operator, over the admin listener.
    Asked,
    /// SIGHUP.
    Signal,
    /// What is in the files changed.
    Files,
    /// Nobody; it was refused before.
    Again,
}

impl Cause {
    const fn name(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Signal => "signal",
            Self::Files => "files",
            Self::Again => "again",
        }
    }
}

struct Ask {
    cause: Cause,
    only_try: bool,
    tell: Option<oneshot::Sender<Reload>>,
}

/// Asks for the config to be read again. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reloads {
    asks: mpsc::Sender<Ask>,
    standing: Arc<ArcSwap<Standing>>,
    file: bool,
}

impl std::fmt::Debug for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ask").field("cause", &self.cause).finish_non_exhaustive()
    }
}

impl Reloads {
    /// A signal says that the config is to be read again. Does not wait for what comes of it: the log says.
    pub fn signal(&self) {
        let full = self.asks.try_send(Ask { cause: Cause::Signal, only_try: false, tell: None }).is_err();
        if full {
            tracing::warn!("the config is being read again already");
        }
    }
}

impl Configs for Reloads {
    fn standing(&self) -> Arc<Standing> {
        self.standing.load_full()
    }

    fn reload(&self, only_try: bool) -> Pin<Box<dyn Future<Output = Result<Reload, String>> + Send + '_>> {
        Box::pin(async move {
            if !self.file {
                return Err("There is no file to read: the router was started without --config.".to_owned());
            }
            let (tell, told) = oneshot::channel();
            let ask = Ask { cause: Cause::Asked, only_try, tell: Some(tell) };
            let going_down = |_| "The router is going down.".to_owned();
            self.asks.send(ask).await.map_err(|_| going_down(()))?;
            told.await.map_err(|_| going_down(()))
        })
    }
}

/// What of the faces follows a config.
#[derive(Clone, Debug)]
pub(super) struct Doors {
    pub(super) gate: Arc<ArcSwap<Gate>>,
    pub(super) tls: Option<Arc<listen::Tls>>,
    pub(super) admin_tls: Option<Arc<listen::Tls>>,
}

/// See the module.
pub(super) struct Reloader {
    router: Router,
    doors: Doors,
    upkeep: Upkeep,
    source: Option<PathBuf>,
    surroundings: Surroundings,
    lookup: Lookup,
    running: Checked,
    /// By the id that a pool has in its own config.
    ids: Vec<PoolId>,
    fixed: Fixed,
    standing: Arc<ArcSwap<Standing>>,
    asks: mpsc::Receiver<Ask>,
    watcher: Watcher,
    looks_since_refusal: u32,
}

impl std::fmt::Debug for Reloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloader").field("source", &self.source).finish_non_exhaustive()
    }
}

/// A config that may be taken.
struct Good {
    next: Next,
    checked: Checked,
    ids: Vec<PoolId>,
    tenants: Vec<TenantId>,
    known: std::collections::BTreeMap<Arc<str>, crate::discover::Known>,
}

impl Reloader {
    /// Over a router that runs `running`, which was read from `source` if it was read from a file.
    pub(super) fn new(
        router: &Router,
        running: Checked,
        doors: Doors,
        source: Option<PathBuf>,
        seed: u64,
    ) -> (Self, Reloads) {
        let standing = Arc::new(ArcSwap::from_pointee(Standing {
            running: Running {
                source: running.name.clone(),
                sha256: running.read.digest.clone(),
                since: router.clock().now().wall,
                edition: 1,
            },
            rejected: None,
            needs_restart: Vec::new(),
        }));
        let (tell, asks) = mpsc::channel(ASKS);
        let reloads = Reloads { asks: tell, standing: standing.clone(), file: source.is_some() };
        let mut upkeep = Upkeep::new(router.clone(), seed);
        let ids: Vec<PoolId> = (0..running.catalog.pools.len()).map(|i| PoolId(i as u16)).collect();
        for (i, pool) in running.catalog.pools.iter().enumerate() {
            let endpoints = &running.endpoints[i];
            let known = crate::discover::Known::new(endpoints);
            upkeep.look_up(&pool.name, ids[i], endpoints.clone(), known);
            upkeep.poll(&pool.name, ids[i], running.probes[i]);
        }
        let mut reloader = Self {
            router: router.clone(),
            doors,
            upkeep,
            source,
            surroundings: Surroundings::Real,
            lookup: trial::system(),
            fixed: Fixed::of(&running),
            running,
            ids,
            standing,
            asks,
            watcher: Watcher::default(),
            looks_since_refusal: 0,
        };
        let read = reloader.read_from(Some(reloader.running.read.digest.clone()), true);
        reloader.watcher.was_read(read);
        (reloader, reloads)
    }

    /// Takes configs for as long as it is polled.
    pub(super) async fn run(mut self) {
        loop {
            let ask = tokio::select! {
                biased;
                ask = self.asks.recv() => ask,
                () = sleep(LOOK_EVERY), if self.source.is_some() => match self.looks().await {
                    Some(cause) => Some(Ask { cause, only_try: false, tell: None }),
                    None => continue,
                },
            };
            let Some(ask) = ask else { return };
            let reload = self.reload(ask.only_try, ask.cause).await;
            if let Some(tell) = ask.tell {
                // Whoever asked may have gone.
                let _gone = tell.send(reload);
            }
        }
    }

    async fn looks(&mut self) -> Option<Cause> {
        let secrets = self.running.read.secrets.iter().map(|(path, _)| path.clone());
        let now = look(self.source.iter().cloned().chain(secrets).collect()).await;
        if self.watcher.sees(now) {
            return Some(Cause::Files);
        }
        self.looks_since_refusal += 1;
        let refused = self.standing.load().rejected.is_some();
        (refused && self.looks_since_refusal >= RETRY_LOOKS).then_some(Cause::Again)
    }

    /// The files of the running config, with what was in them when they were read.
    fn read_from(&self, config: Option<String>, secrets: bool) -> Sight {
        let config = self.source.iter().map(|path| (path.clone(), config.clone()));
        let secrets = self.running.read.secrets.iter().filter(|_| secrets);
        config.chain(secrets.map(|(path, digest)| (path.clone(), Some(digest.clone())))).collect()
    }

    async fn reload(&mut self, only_try: bool, cause: Cause) -> Reload {
        let Some(path) = self.source.clone() else {
            let why = vec!["there is no file to read: the router was started without --config".to_owned()];
            return self.told(Outcome::Rejected(why), Vec::new());
        };
        let surroundings = self.surroundings.clone();
        let read = move || (config::digest_of(&path), config::load_from(&path, &surroundings));
        let (digest, loaded) = match tokio::task::spawn_blocking(read).await {
            Ok(read) => read,
            // A bug of ours in reading must not end the router.
            Err(_) => {
                return self.refuse(None, vec!["the config could not be read".to_owned()], (only_try, cause));
            }
        };
        let good = match loaded {
            Ok(checked) => self.tried(checked).await,
            Err(problems) => Err(problems),
        };
        match good {
            Err(problems) => self.refuse(digest, why(&problems), (only_try, cause)),
            Ok(good) => {
                let mut changes = changes::changes(&self.running, &good.checked);
                let needs_restart = self.fixed.differs(&good.checked);
                let unchanged = changes.is_empty() && good.checked.read.digest == self.running.read.digest;
                changes.extend(needs_restart.iter().cloned());
                if only_try {
                    return self.told(if unchanged { Outcome::Unchanged } else { Outcome::Good }, changes);
                }
                if unchanged {
                    return self.keep(good.checked, changes);
                }
                self.take(good, needs_restart, cause);
                self.told(Outcome::Taken, changes)
            }
        }
    }

    /// Builds what the config needs, and looks up what it names.
    async fn tried(&self, checked: Checked) -> Result<Good, Problems> {
        let known = trial::hosts(&self.running, &checked, &self.router, &self.lookup).await?;
        let whole = |message: String| checked.trouble(None, message, "the config that runs goes on");
        let mut upstreams: Vec<Arc<dyn Upstream>> = Vec::new();
        let mut renewed = Vec::new();
        for (i, pool) in checked.catalog.pools.iter().enumerate() {
            let settings = &checked.upstreams[i];
            let same =
                position(&self.running, &pool.name).filter(|a| self.running.upstreams[*a] == *settings);
            let runs = same.and_then(|a| self.router.upstream(self.ids[a]));
            upstreams.push(match runs {
                Some(upstream) => upstream,
                None => {
                    renewed.push(i);
                    build::upstream(settings, self.router.clock())
                        .map_err(|error| whole(format!("pool `{}` cannot be set up: {error:#}", pool.name)))?
                }
            });
        }
        let own = Catalog::clone(&checked.catalog);
        let successor = own
            .succeed(&self.router.catalog(), self.router.editions())
            .map_err(|error| whole(error.to_string()))?;
        let ids = successor.pools;
        let mut placed: Vec<Option<Arc<dyn Upstream>>> = vec![None; successor.catalog.pools.len()];
        for (upstream, id) in upstreams.into_iter().zip(&ids) {
            placed[id.index()] = Some(upstream);
        }
        let pools = checked.catalog.pools.iter().zip(&ids);
        let next = Next {
            catalog: Arc::new(successor.catalog),
            routing: checked.routing,
            settings: checked.flow.clone(),
            upstreams: placed,
            renewed: renewed.into_iter().map(|i| ids[i]).collect(),
            endpoints: pools
                .filter_map(|(pool, id)| Some((*id, known.get(&pool.name)?.addresses())))
                .collect(),
        };
        Ok(Good { next, checked, ids, tenants: successor.tenants, known })
    }

    /// From here on nothing can fail.
    fn take(&mut self, good: Good, needs_restart: Vec<Change>, cause: Cause) {
        let Good { next, checked, ids, tenants, mut known } = good;
        for pool in &self.running.catalog.pools {
            match position(&checked, &pool.name) {
                None => self.upkeep.end(&pool.name),
                Some(_) if known.contains_key(&pool.name) => self.upkeep.end_lookups(&pool.name),
                Some(_) => {}
            }
        }
        // A round of questions that is under way would ask the old addresses with a new key.
        self.upkeep.end_polls();
        let edition = self.router.adopt(next);
        // A key lets in who belongs to a tenant of the new config, so the router must know it first.
        self.doors.gate.store(Arc::new(Gate::new(keys(&checked, &tenants))));
        let identities = [
            (&self.doors.tls, checked.listen.tls.as_ref()),
            (&self.doors.admin_tls, checked.listen.admin_tls.as_ref()),
        ];
        for (door, identity) in identities {
            if let (Some(door), Some(Ok(newer))) = (door, identity.map(config::Tls::build)) {
                door.replace(&newer);
            }
        }
        for (i, pool) in checked.catalog.pools.iter().enumerate() {
            if let Some(known) = known.remove(&pool.name) {
                self.upkeep.look_up(&pool.name, ids[i], checked.endpoints[i].clone(), known);
            }
            self.upkeep.poll(&pool.name, ids[i], checked.probes[i]);
        }
        (self.running, self.ids) = (checked, ids);
        tracing::info!(
            file = &*self.running.name,
            sha256 = self.running.read.digest,
            edition,
            cause = cause.name(),
            "config taken"
        );
        self.router.telemetry().reloaded(Reloaded::Taken);
        let running = Running {
            source: self.running.name.clone(),
            sha256: self.running.read.digest.clone(),
            since: self.router.clock().now().wall,
            edition,
        };
        self.standing.store(Arc::new(Standing { running, rejected: None, needs_restart }));
        let read = self.read_from(Some(self.running.read.digest.clone()), true);
        self.watcher.was_read(read);
    }

    /// It says what the running one says.
    fn keep(&mut self, checked: Checked, needs_restart: Vec<Change>) -> Reload {
        self.running.read = checked.read;
        self.router.telemetry().reloaded(Reloaded::Unchanged);
        let standing = Standing { rejected: None, ..Standing::clone(&self.standing.load()) };
        self.standing.store(Arc::new(standing));
        let read = self.read_from(Some(self.running.read.digest.clone()), true);
        self.watcher.was_read(read);
        self.told(Outcome::Unchanged, needs_restart)
    }

    fn refuse(
        &mut self,
        sha256: Option<String>,
        why: Vec<String>,
        (only_try, cause): (bool, Cause),
    ) -> Reload {
        if only_try {
            return self.told(Outcome::Rejected(why), Vec::new());
        }
        self.looks_since_refusal = 0;
        let standing = Standing::clone(&self.standing.load());
        // The same again is no news.
        let known = standing.rejected.as_ref().is_some_and(|r| r.why == why && r.sha256 == sha256);
        if !(known && cause == Cause::Again) {
            for line in &why {
                tracing::error!(cause = cause.name(), "config refused, the one before goes on: {line}");
            }
            self.router.telemetry().reloaded(Reloaded::Rejected);
            let read = self.read_from(sha256.clone(), false);
            self.watcher.was_read(read);
            let at = self.router.clock().now().wall;
            let rejected = Some(Rejected { sha256, at, why: why.clone() });
            self.standing.store(Arc::new(Standing { rejected, ..standing }));
        }
        self.told(Outcome::Rejected(why), Vec::new())
    }

    fn told(&self, outcome: Outcome, changes: Vec<Change>) -> Reload {
        Reload { outcome, changes, standing: self.standing.load_full() }
    }
}

/// One line a problem.
fn why(problems: &Problems) -> Vec<String> {
    let mut lines: Vec<String> = problems.lines().collect();
    if let Some(more) = lines.len().checked_sub(WHY_MAX).filter(|more| *more > 0) {
        lines.truncate(WHY_MAX);
        lines.push(format!("and {more} more; `gridtie check` shows all"));
    }
    lines
}

/// Who may ask, with the ids that the router has for tenants.
fn keys(checked: &Checked, tenants: &[TenantId]) -> auth::Settings {
    let auth::Settings { keys, admin_token } = checked.auth.clone();
    let own = |key: ClientKey| {
        let tenant = tenants.get(key.tenant.index()).copied().unwrap_or_default();
        ClientKey { tenant, ..key }
    };
    auth::Settings { keys: keys.into_iter().map(own).collect(), admin_token }
}

#[cfg(test)]
mod tests;
