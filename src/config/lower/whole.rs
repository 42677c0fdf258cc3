//! The whole config: brings the parts together and asks what no part alone can tell.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Lower;
use super::routing::policy;
use crate::config::problem::Problem;
use crate::config::quantity::spelt;
use crate::config::raw;
use crate::config::secret::Surroundings;
use crate::config::settings::{Limits, Listen, Log, Records, Simulate, UpstreamSettings, Written};
use crate::domain::{AskKind, Catalog, Offer, PoolId, Tenant};
use crate::edge::auth;
use crate::policy::Policy;
use crate::{discover, fleet, flow, probe};

/// A [`PoolId`] is 16 bits; a decision looks at every pool.
const POOLS_MAX: usize = 256;

/// Calls under way get this long to finish when the router goes down: what orchestrators commonly wait before they kill.
const GRACE: Duration = Duration::from_secs(30);

/// A prompt to judge a pool by: a few pages.
pub(crate) const TYPICAL_INPUT: u32 = 1000;

/// What the text meant, before it is known whether it holds together.
#[derive(Debug)]
pub(in crate::config) struct Parts {
    pub catalog: Catalog,
    pub listen: Listen,
    pub auth: auth::Settings,
    pub routing: fleet::Settings,
    pub upstreams: Vec<UpstreamSettings>,
    pub endpoints: Vec<discover::Endpoints>,
    pub probes: Vec<Option<probe::Settings>>,
    pub limits: Limits,
    pub flow: flow::Settings,
    pub log: Log,
    pub records: Option<Records>,
    pub drain_grace: Duration,
    pub simulate: Simulate,
}

/// What lowering a file comes to.
#[derive(Debug)]
pub(in crate::config) struct Lowered {
    pub parts: Parts,
    pub problems: Vec<Problem>,
    pub secrets: Vec<Range<usize>>,
    pub files: Vec<(PathBuf, String)>,
    pub written: Vec<Written>,
}

/// Lowers a file. What comes back means something only if no problem is an error.
pub(in crate::config) fn lower(
    file: &raw::File,
    dropped: &BTreeSet<&'static str>,
    surroundings: &Surroundings,
    folder: &Path,
) -> Lowered {
    let mut lower = Lower {
        surroundings,
        folder,
        problems: Vec::new(),
        secrets: Vec::new(),
        files: Vec::new(),
        written: Vec::new(),
        dropped,
    };
    let parts = lower.file(file);
    lower.whole(file, &parts);
    let Lower { problems, secrets, files, written, .. } = lower;
    Lowered { parts, problems, secrets, files, written }
}

impl Lower<'_> {
    fn file(&mut self, file: &raw::File) -> Parts {
        let mut tenants = vec![Tenant { name: "anonymous".into() }];
        let auth = self.auth(file, &mut tenants);
        let listen = self.listen(file, &auth);
        let classes = self.classes(file);
        let default_class = self.default_class(file, &classes);
        let mut models = self.models(file);
        let (mut pools, mut offers): (Vec<_>, Vec<Offer>) = Default::default();
        let (mut upstreams, mut endpoints, mut probes): (Vec<_>, Vec<_>, Vec<_>) = Default::default();
        let mut seen = BTreeMap::new();
        for (i, raw) in file.pool.iter().take(POOLS_MAX).enumerate() {
            self.fresh(&mut seen, "pool", &raw.name);
            let lowered = self.pool(i as u32, raw);
            self.offers((PoolId(i as u16), raw), policy(file) == Policy::Price, &mut models, &mut offers);
            pools.push(lowered.pool);
            upstreams.push(lowered.upstream);
            endpoints.push(lowered.endpoints);
            probes.push(lowered.probe);
        }
        let lineage = Default::default();
        let catalog = Catalog { pools, offers, models, classes, tenants, default_class, lineage };
        Parts {
            simulate: self.simulate(file.simulate.as_ref(), &catalog, &upstreams),
            catalog,
            listen,
            auth,
            routing: self.routing(file),
            upstreams,
            endpoints,
            probes,
            limits: self.limits(file.limits.as_ref()),
            flow: flow::Settings::default(),
            log: self.log(file.log.as_ref()),
            records: file.records.as_ref().map(|raw| self.records(raw)),
            drain_grace: file.shutdown.as_ref().and_then(|s| s.grace).unwrap_or(GRACE),
        }
    }

    fn whole(&mut self, file: &raw::File, parts: &Parts) {
        if file.pool.is_empty() && !self.dropped.contains("pool") {
            let problem = self.error(file.place.key("pool"), "there is no pool");
            problem.help = Some("add [[pool]] with `name`, `tenure`, `kind` and what it offers".to_owned());
        }
        if let Some(one_too_many) = file.pool.get(POOLS_MAX) {
            self.error(one_too_many.place.span.clone(), format!("there are more than {POOLS_MAX} pools"));
        }
        self.own_listeners(file, parts);
        self.models_without_offers(file, parts);
        self.targets_out_of_reach(file, parts);
    }

    /// An endpoint that is one of our own listeners is a loop.
    fn own_listeners(&mut self, file: &raw::File, parts: &Parts) {
        let own = [parts.listen.grpc, parts.listen.http, parts.listen.admin];
        for text in file.pool.iter().flat_map(|pool| &pool.endpoints) {
            let Ok(origin) = crate::config::origin::Origin::parse(&text.value) else { continue };
            let ip = if &*origin.host == "localhost" { "127.0.0.1" } else { &origin.host }.parse().ok();
            let ours = own.iter().flatten().any(|listener| {
                listener.port() == origin.port
                    && ip.is_some_and(|ip: std::net::IpAddr| {
                        ip == listener.ip() || (listener.ip().is_unspecified() && ip.is_loopback())
                    })
            });
            if ours {
                let problem = self.error(text.span.clone(), "this endpoint is the router itself");
                problem.help =
                    Some("calls would go round in circles; move the listener or the endpoint".to_owned());
            }
        }
    }

    fn models_without_offers(&mut self, file: &raw::File, parts: &Parts) {
        if self.dropped.contains("pool") || self.dropped.contains("pool.offer") {
            return;
        }
        for model in &file.model {
            let id = parts.catalog.model_id(&model.name.value.0);
            if id.is_some_and(|id| parts.catalog.model(id).offers.is_empty()) {
                let message = format!("nobody offers the model `{}`", model.name.value.0);
                let problem = self.warn(model.name.span.clone(), message);
                problem.label = "calls for it are refused".to_owned();
                problem.help = Some("add a [[pool.offer]] of it, or remove the model".to_owned());
            }
        }
    }

    /// A class whose first-token target no pool can meet even with nothing to do.
    fn targets_out_of_reach(&mut self, file: &raw::File, parts: &Parts) {
        for class in file.class.iter().flatten() {
            let Some(target) = &class.first_token else { continue };
            let beyond = |model: &&crate::domain::Model| {
                let best = model.offers.iter().map(|id| first_token_s(&parts.catalog, *id)).reduce(f64::min);
                model.kind == AskKind::Chat && best.is_some_and(|best| best > target.value.as_secs_f64())
            };
            let models: Vec<&str> = parts.catalog.models.iter().filter(beyond).map(|m| &*m.name).collect();
            if !models.is_empty() {
                let message = format!(
                    "no pool is expected to give the first token of {} within {}, even without load",
                    models.join(", "),
                    spelt(target.value)
                );
                let problem = self.warn(target.span.clone(), message);
                problem.label = format!("every call of class `{}` would miss it", class.name.value.0);
                problem.help =
                    Some("set a later target, or say what pools can do in [pool.expect]".to_owned());
            }
        }
    }
}

/// Expected seconds to the first token of a typical prompt at an idle endpoint.
fn first_token_s(catalog: &Catalog, offer: crate::domain::OfferId) -> f64 {
    let pool = catalog.pool(catalog.offer(offer).pool);
    let prior = pool.engine_prior;
    pool.rtt_prior.as_secs_f64() + prior.ttft_base_s + prior.prefill_s_per_token * f64::from(TYPICAL_INPUT)
}
