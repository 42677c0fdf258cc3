//! Pools: what they are, where, and what we speak to there.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use super::Lower;
use crate::config::origin::Origin;
use crate::config::quantity::spelt;
use crate::config::raw::{self, PoolKind};
use crate::config::read::{At, unknown};
use crate::config::settings::{UpstreamSettings, Written};
use crate::discover::{self, DnsName};
use crate::domain::{Address, ContactWindow, EnginePrior, Grants, Pool, Reach, Tenure, Timestamp};
use crate::engine;
use crate::probe;
use crate::upstream::{grpc, openai, simulated};

/// A pool with more endpoints than this is a mistake, or several pools.
const ENDPOINTS_MAX: usize = 256;

/// Round trips before anything is measured: a data centre next door, and a cloud on the same continent.
const ROUND_TRIP_OWNED: Duration = Duration::from_millis(5);
const ROUND_TRIP_METERED: Duration = Duration::from_millis(60);

/// Faster than this is a flood of DNS questions, slower is not discovery.
const RESOLVE: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
const RESOLVE_USUAL: Duration = Duration::from_secs(30);

/// Engines' metrics: more often is work for the engine, and after ten seconds a report is too old to be used.
const POLL: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(10);
const POLL_USUAL: Duration = Duration::from_secs(1);

/// A SYN that is not answered in this time will not be: the network retries after a second, we go elsewhere.
const CONNECT_USUAL: Duration = Duration::from_millis(500);

/// Keys of a pool that only some kinds know.
const KEYS_BY_KIND: [(&str, &[PoolKind]); 15] = [
    ("engine", &[PoolKind::Simulated]),
    ("door", &[PoolKind::Simulated]),
    ("answer_tokens", &[PoolKind::Simulated]),
    ("seed", &[PoolKind::Simulated]),
    ("endpoints", &[PoolKind::Openai, PoolKind::Grpc]),
    ("resolve", &[PoolKind::Openai, PoolKind::Grpc]),
    ("key", &[PoolKind::Openai, PoolKind::Grpc]),
    ("ca", &[PoolKind::Openai, PoolKind::Grpc]),
    ("allow_private", &[PoolKind::Openai, PoolKind::Grpc]),
    ("connect", &[PoolKind::Openai, PoolKind::Grpc]),
    ("flavour", &[PoolKind::Openai]),
    ("base_path", &[PoolKind::Openai]),
    ("metrics", &[PoolKind::Openai]),
    ("metrics_every", &[PoolKind::Openai]),
    ("egress_proxy", &[PoolKind::Openai]),
];

pub(super) fn tenure(pool: &raw::Pool) -> Tenure {
    match pool.tenure.value {
        raw::Tenure::Owned => Tenure::Owned,
        raw::Tenure::Metered => Tenure::Metered,
    }
}

const fn kind_word(kind: PoolKind) -> &'static str {
    match kind {
        PoolKind::Simulated => "simulated",
        PoolKind::Openai => "openai",
        PoolKind::Grpc => "grpc",
    }
}

/// A pool with all that belongs to it.
pub(super) struct Lowered {
    pub pool: Pool,
    pub upstream: UpstreamSettings,
    pub endpoints: discover::Endpoints,
    pub probe: Option<probe::Settings>,
}

/// What the settings of every pool over a network have in common.
struct Way {
    key: Option<SecretString>,
    ca_pem: Option<String>,
    allow_private: bool,
    connect_timeout: Duration,
}

impl Lower<'_> {
    pub(super) fn pool(&mut self, order: u32, raw: &raw::Pool) -> Lowered {
        self.keys_of_the_kind(raw);
        let (mut upstream, endpoints, priors) = match raw.kind.value {
            PoolKind::Simulated => self.simulated(raw),
            PoolKind::Openai => {
                let upstream = UpstreamSettings::OpenAi(self.openai(raw));
                (upstream, self.endpoints(raw), (EnginePrior::default(), None))
            }
            PoolKind::Grpc => {
                let upstream = UpstreamSettings::Grpc(self.grpc(raw));
                (upstream, self.endpoints(raw), (EnginePrior::default(), None))
            }
        };
        let (engine_prior, round_trip) = priors;
        let name: Arc<str> = raw.name.value.0.as_str().into();
        let usual_round_trip = round_trip.unwrap_or(match tenure(raw) {
            Tenure::Owned => ROUND_TRIP_OWNED,
            Tenure::Metered => ROUND_TRIP_METERED,
        });
        let contact = raw.contact.as_ref().and_then(|contact| self.contact(contact));
        let lease = self.lease(raw);
        let grants = self.grants(raw.grants.as_ref());
        if let UpstreamSettings::Simulated(settings) = &mut upstream {
            settings.door.contact = contact;
            settings.door.lease = lease;
            let door = settings.door.grants.requests_per_minute;
            settings.door.grants =
                Grants { requests_per_minute: door.or(grants.requests_per_minute), ..grants };
        }
        let known = endpoints.names.is_empty().then_some(endpoints.fixed.len());
        let pool = Pool {
            tenure: tenure(raw),
            power: self.power(raw, known),
            region: raw.region.as_ref().map(|region| region.0.as_str().into()),
            failure_domain: raw.failure_domain.as_ref().map_or_else(|| name.clone(), |d| d.0.as_str().into()),
            contact,
            lease,
            grants,
            rtt_prior: raw.round_trip.as_ref().map_or(usual_round_trip, |d| d.value),
            max_in_flight: raw.max_in_flight.as_ref().map(|n| self.at_least_one(Some(n), n.value)),
            order: raw.order.unwrap_or(order),
            weight: raw.weight.map_or(1.0, |weight| weight.0),
            engine_prior: expected(engine_prior, raw.expect.as_ref()),
            name,
        };
        Lowered { pool, upstream, endpoints, probe: self.probe(raw) }
    }

    fn keys_of_the_kind(&mut self, pool: &raw::Pool) {
        let kind = pool.kind.value;
        for (key, kinds) in KEYS_BY_KIND {
            let Some(span) = pool.place.has(key) else { continue };
            if !kinds.contains(&kind) {
                let (pool, kind) = (&pool.name.value.0, kind_word(kind));
                let message = format!("the pool `{pool}` is of kind \"{kind}\", which has no `{key}`");
                let problem = self.error(span, message);
                let words = kinds.iter().map(|k| format!("kind = \"{}\"", kind_word(*k))).collect::<Vec<_>>();
                problem.label = format!("only for {}", words.join(" and "));
                problem.help = Some("remove the key or change the kind".to_owned());
            }
        }
    }

    fn contact(&mut self, raw: &raw::Contact) -> Option<ContactWindow> {
        let (period, length) = (raw.period.value, raw.length.value);
        if period.is_zero() || length.is_zero() {
            self.error(raw.place.span.clone(), "a contact window needs a period and a length above zero");
            return None;
        }
        if length > period {
            let message = format!(
                "the contact window ({}) is longer than its period ({})",
                spelt(length),
                spelt(period)
            );
            let problem = self.error(raw.length.span.clone(), message);
            problem.label = "longer than the period".to_owned();
            problem.help = Some("a pool that is always in reach needs no `contact`".to_owned());
            return None;
        }
        Some(ContactWindow { period, length, anchor: raw.anchor.unwrap_or(Timestamp::from_millis(0)) })
    }

    fn simulated(
        &mut self,
        raw: &raw::Pool,
    ) -> (UpstreamSettings, discover::Endpoints, (EnginePrior, Option<Duration>)) {
        let pool = &*raw.name.value.0;
        if raw.engine.is_empty() && !self.dropped.contains("pool.engine") {
            let problem =
                self.error(raw.place.span.clone(), format!("the simulated pool `{pool}` has no engine"));
            problem.help = Some("add [[pool.engine]] with a `preset`".to_owned());
        }
        let mut engines = Vec::new();
        for group in &raw.engine {
            let Some(engine) = engine::Settings::preset(&group.preset.value) else {
                let known = engine::Settings::PRESETS.iter().map(|(name, _)| *name);
                self.note(unknown("preset", &group.preset.value, known, group.preset.span.clone(), ""));
                continue;
            };
            let count = self.at_least_one(group.count.as_ref(), 1) as usize;
            if engines.len() + count > ENDPOINTS_MAX {
                let message = format!("the pool `{pool}` has more than {ENDPOINTS_MAX} engines");
                self.error(group.place.key("count"), message);
                break;
            }
            let engine = self.as_written(engine, group);
            engines.extend(std::iter::repeat_n(engine, count));
        }
        if let Some(none) =
            raw.door.as_ref().and_then(|d| d.requests_per_minute.as_ref()).filter(|n| n.value == 0)
        {
            self.error(none.span.clone(), "expected at least 1; to refuse everything, write `refuse = true`");
        }
        let settings = simulated(raw, engines);
        let address = |origin| Arc::new(Address { origin, socket: None });
        let endpoints =
            discover::Endpoints { fixed: settings.origins().map(address).collect(), ..Default::default() };
        let priors = (engine::Settings::mean_prior(&settings.engines), Some(2 * settings.door.delay));
        (UpstreamSettings::Simulated(settings), endpoints, priors)
    }

    /// The preset with what the config says of it.
    fn as_written(&mut self, engine: engine::Settings, raw: &raw::Engine) -> engine::Settings {
        let mut said =
            ["first_token", "spread", "output_tokens_per_s"].into_iter().filter_map(|key| raw.place.has(key));
        match engine {
            engine::Settings::Opaque(usual) => engine::Settings::Opaque(engine::Opaque {
                ttft_median_s: raw
                    .first_token
                    .as_ref()
                    .map_or(usual.ttft_median_s, |d| d.value.as_secs_f64()),
                ttft_sigma: raw.spread.map_or(usual.ttft_sigma, |s| s.0),
                tpot_s: raw.output_tokens_per_s.map_or(usual.tpot_s, |rate| 1.0 / rate.0),
                ..usual
            }),
            engine::Settings::Batching(_) => {
                if let Some(span) = said.next() {
                    let problem = self.error(span, "this preset computes its times");
                    problem.help = Some("only preset = \"cloud\" can be told them".to_owned());
                }
                engine
            }
        }
    }

    fn openai(&mut self, raw: &raw::Pool) -> openai::Settings {
        for (key, text, sound) in [
            ("base_path", &raw.base_path, is_path as fn(&str) -> bool),
            ("metrics", &raw.metrics, is_path),
            ("egress_proxy", &raw.egress_proxy, is_proxy),
        ] {
            let Some(text) = text.as_ref().filter(|text| !sound(&text.value)) else { continue };
            self.hide_password(text);
            let problem = self.error(text.span.clone(), format!("this is no `{key}`"));
            problem.help = Some(match key {
                "base_path" | "metrics" => {
                    "it begins with `/`, for example \"/v1\", without `?` and `#`".to_owned()
                }
                _ => "it is `http://host:port`, without user and password".to_owned(),
            });
        }
        let Way { key, ca_pem, allow_private, connect_timeout } = self.way(raw);
        let settings = openai::Settings {
            flavour: raw.flavour.unwrap_or_default(),
            base_path: raw.base_path.as_ref().map(|path| path.value.clone()),
            metrics: raw.metrics.as_ref().map(|path| path.value.clone()),
            key,
            ca_pem,
            proxy: raw.egress_proxy.as_ref().map(|proxy| proxy.value.clone()),
            allow_private,
            connect_timeout,
            ..openai::Settings::default()
        };
        self.roots_work(raw, || openai::OpenAi::new(&settings).map_err(|e| e.to_string()).map(drop));
        settings
    }

    fn grpc(&mut self, raw: &raw::Pool) -> grpc::Settings {
        let Way { key, ca_pem, allow_private, connect_timeout } = self.way(raw);
        let settings =
            grpc::Settings { key, ca_pem, allow_private, connect_timeout, ..grpc::Settings::default() };
        self.roots_work(raw, || grpc::Gridtie::new(&settings).map_err(|e| e.to_string()).map(drop));
        settings
    }

    /// Roots are only known to be right when somebody parses them.
    fn roots_work(&mut self, raw: &raw::Pool, build: impl FnOnce() -> Result<(), String>) {
        let Some(ca) = raw.ca.as_ref().filter(|_| !self.surroundings.unread()) else { return };
        // A reference that could not be read was noted already.
        let read = self.surroundings.read(&ca.value, self.folder).is_ok();
        if let Some(why) = read.then(|| build().err()).flatten() {
            let message = format!("the pool `{}` cannot be set up: {why}", raw.name.value.0);
            self.error(ca.span.clone(), message);
        }
    }

    /// What every pool over a network has.
    fn way(&mut self, raw: &raw::Pool) -> Way {
        let connect_timeout = raw.connect.as_ref().map_or(CONNECT_USUAL, |d| d.value);
        if connect_timeout.is_zero() || connect_timeout > Duration::from_secs(60) {
            self.error(raw.place.key("connect"), "expected a time above zero and at most 60s");
        }
        let key = self.secret_if(raw.key.as_ref());
        if let (Some(reference), Some(secret)) = (&raw.key, &key)
            && http::HeaderValue::from_str(secret.expose()).is_err()
        {
            let message = format!(
                "what `{}` holds cannot be a key: it has line breaks or odd characters",
                reference.value
            );
            self.error(reference.span.clone(), message);
        }
        Way {
            key: key.map(|key| key.value().clone()),
            ca_pem: self.secret_if(raw.ca.as_ref()).map(|pem| pem.expose().to_owned()),
            allow_private: allow_private(raw),
            connect_timeout,
        }
    }

    fn endpoints(&mut self, raw: &raw::Pool) -> discover::Endpoints {
        let pool = &*raw.name.value.0;
        if raw.endpoints.is_empty() {
            let message = format!("the pool `{pool}` has no endpoint");
            let problem = self.error(raw.place.key("endpoints"), message);
            problem.help = Some("add `endpoints = [\"https://host\"]`".to_owned());
        }
        if let Some(one_too_many) = raw.endpoints.get(ENDPOINTS_MAX) {
            let message = format!("the pool `{pool}` has more than {ENDPOINTS_MAX} endpoints");
            self.error(one_too_many.span.clone(), message);
        }
        let mut seen = BTreeMap::new();
        let mut endpoints = discover::Endpoints {
            every: self.resolve(raw.resolve.as_ref()),
            allow_private: allow_private(raw),
            ..Default::default()
        };
        for text in raw.endpoints.iter().take(ENDPOINTS_MAX) {
            let origin = match Origin::parse(&text.value) {
                Ok(origin) => origin,
                Err(why) => {
                    self.hide_password(text);
                    let problem = self.error(text.span.clone(), format!("this is no endpoint: {why}"));
                    problem.help = Some("for example \"https://api.example.com\"".to_owned());
                    continue;
                }
            };
            if seen.insert(origin.text.clone(), ()).is_some() {
                self.error(text.span.clone(), "this endpoint is there twice").label = "remove it".to_owned();
            }
            self.reachable(raw, text, &origin);
            self.written.push(Written {
                pool: pool.into(),
                origin: origin.text.clone(),
                host: origin.host.clone(),
                port: origin.port,
                span: text.span.clone(),
            });
            if origin.many {
                endpoints.names.push(DnsName { origin: origin.text, host: origin.host, port: origin.port });
            } else {
                endpoints.fixed.push(Arc::new(Address { origin: origin.text, socket: None }));
            }
        }
        endpoints
    }

    /// An address with an `@` has a password before it.
    fn hide_password(&mut self, text: &At<String>) {
        if text.value.contains('@') {
            self.secrets.push(text.span.clone());
        }
    }

    fn resolve(&mut self, every: Option<&At<Duration>>) -> Duration {
        let Some(every) = every else { return RESOLVE_USUAL };
        if !RESOLVE.contains(&every.value) {
            self.error(every.span.clone(), "expected a time from 1s to 1h");
        }
        every.value
    }

    /// How its engines are asked how busy they are.
    fn probe(&mut self, raw: &raw::Pool) -> Option<probe::Settings> {
        let every = raw.metrics_every.as_ref().map_or(POLL_USUAL, |every| every.value);
        if !POLL.contains(&every) {
            self.error(raw.place.key("metrics_every"), "expected a time from 100ms to 10s");
        }
        match &raw.metrics {
            Some(_) => Some(probe::Settings { every }),
            None if raw.metrics_every.is_some() => {
                let problem = self.error(raw.place.key("metrics_every"), "there is no `metrics` to ask for");
                problem.help = Some("add `metrics = \"/metrics\"`".to_owned());
                None
            }
            None => None,
        }
    }

    fn reachable(&mut self, raw: &raw::Pool, text: &At<String>, origin: &Origin) {
        let span: Range<usize> = text.span.clone();
        let reach = origin.reach();
        if reach == Reach::Forbidden {
            let problem =
                self.error(span, "a link-local, metadata or other special address is never an endpoint");
            problem.help =
                Some("credentials of this machine could be read there; no setting allows it".to_owned());
            return;
        }
        if matches!(reach, Reach::Private | Reach::Loopback) && !allow_private(raw) {
            let problem = self.error(span, "this metered pool is at a private address");
            problem.label = "private".to_owned();
            problem.help = Some("add `allow_private = true` to the pool if that is meant".to_owned());
        } else if reach == Reach::Public && !origin.tls && raw.key.is_some() {
            let problem = self.warn(span, "the key of this pool is sent in clear text");
            problem.label = "http, and not a private address".to_owned();
            problem.help = Some("use https://".to_owned());
        }
    }
}

/// Owned capacity is usually next door; a metered pool that is there is more likely a trick.
fn allow_private(raw: &raw::Pool) -> bool {
    raw.allow_private.unwrap_or(tenure(raw) == Tenure::Owned)
}

fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '\\'))
}

fn is_proxy(text: &str) -> bool {
    Origin::parse(text).is_ok_and(|origin| !origin.many && !origin.tls)
}

fn expected(usual: EnginePrior, raw: Option<&raw::Expect>) -> EnginePrior {
    let Some(raw) = raw else { return usual };
    EnginePrior {
        ttft_base_s: raw.first_token.map_or(usual.ttft_base_s, |d| d.as_secs_f64()),
        prefill_s_per_token: raw.prefill_tokens_per_s.map_or(usual.prefill_s_per_token, |rate| 1.0 / rate.0),
        prefill_s_per_pair: raw.prefill_tokens_per_s.map_or(usual.prefill_s_per_pair, |_| 0.0),
        prefill_square_to: usual.prefill_square_to,
        tpot_s: raw.output_tokens_per_s.map_or(usual.tpot_s, |rate| 1.0 / rate.0),
        slots: raw.slots.map_or(usual.slots, |slots| slots.max(1)),
        kv_tokens: usual.kv_tokens,
    }
}

fn door(raw: Option<&raw::Door>) -> engine::Door {
    let usual = engine::Door::default();
    let Some(raw) = raw else { return usual };
    engine::Door {
        delay: raw.delay.unwrap_or(usual.delay),
        contact: None,
        lease: None,
        refuse: raw.refuse.unwrap_or(usual.refuse),
        grants: Grants {
            requests_per_minute: raw.requests_per_minute.as_ref().map(|n| n.value),
            ..Grants::default()
        },
        error_rate: raw.error_rate.map_or(usual.error_rate, |share| share.0),
        error_status: raw.error_status.map_or(usual.error_status, |status| status.0 as u16),
        truncate_rate: raw.truncate_rate.map_or(usual.truncate_rate, |share| share.0),
        truncate_after: raw.truncate_after.unwrap_or(usual.truncate_after),
        stall_rate: raw.stall_rate.map_or(usual.stall_rate, |share| share.0),
        stall_after: raw.stall_after.unwrap_or(usual.stall_after),
    }
}

fn simulated(raw: &raw::Pool, engines: Vec<engine::Settings>) -> simulated::Settings {
    let usual = simulated::OutputLength::default();
    let name = |offer: &raw::Offer| Arc::from(offer.upstream.as_deref().unwrap_or(&offer.model.value.0));
    let contexts: Option<Vec<u32>> = raw.offer.iter().map(|o| o.context.as_ref().map(|c| c.value)).collect();
    simulated::Settings {
        name: raw.name.value.0.as_str().into(),
        engines,
        door: door(raw.door.as_ref()),
        output: simulated::OutputLength { median: raw.answer_tokens.map_or(usual.median, |n| n.0), ..usual },
        // The router keeps each model's own window; this is what the pool as a whole would take.
        context_window: contexts.and_then(|all| all.into_iter().max()),
        models: raw.offer.iter().map(name).collect(),
        seed: u64::from(raw.seed.unwrap_or(0)),
    }
}
