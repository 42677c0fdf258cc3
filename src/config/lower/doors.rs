//! The router's own doors: listeners, keys, limits, logs.

use std::net::{IpAddr, SocketAddr};

use super::Lower;
use crate::config::raw;
use crate::config::read::At;
use crate::config::settings::{Limits, Listen, Log, LogFormat, Records, Tls};
use crate::config::values::Bytes;
use crate::domain::{Tenant, TenantId};
use crate::edge::auth::{self, ClientKey, KEY_PREFIX, KeyHash};
use crate::telemetry::LogSink;

/// Names of the listeners with their default addresses; design: loopback, so that nothing is open by accident.
const LISTENERS: [(&str, SocketAddr); 3] = [
    ("grpc", SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 50051)),
    ("http", SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080)),
    ("admin", SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9901)),
];

/// A [`TenantId`] is 16 bits, and buckets are kept for each.
const KEYS_MAX: usize = 10_000;

impl Lower<'_> {
    pub(super) fn listen(&mut self, file: &raw::File, auth: &auth::Settings) -> Listen {
        let raw = file.listen.as_ref();
        let given = raw.map_or([None; 3], |l| [l.grpc.as_ref(), l.http.as_ref(), l.admin.as_ref()]);
        let [grpc, http, admin] = std::array::from_fn(|i| self.address(given[i], LISTENERS[i]));
        let listen = Listen {
            grpc,
            http,
            admin,
            reflection: raw.and_then(|l| l.reflection).unwrap_or(false),
            tls: raw.and_then(|l| l.tls.as_ref()).and_then(|tls| self.tls(tls)),
            admin_tls: raw.and_then(|l| l.admin_tls.as_ref()).and_then(|tls| self.tls(tls)),
        };
        self.open_doors(file, auth, &listen);
        listen
    }

    fn address(&mut self, given: Option<&At<String>>, default: (&str, SocketAddr)) -> Option<SocketAddr> {
        let (name, default) = default;
        let Some(text) = given else {
            return Some(default);
        };
        if text.value == "off" {
            return None;
        }
        let parsed = text.value.parse().ok();
        if parsed.is_none() {
            let message = format!("`{name}` must be an address with a port, or \"off\"");
            let problem = self.error(text.span.clone(), message);
            problem.help = Some(format!("for example \"{default}\"; names are not resolved here"));
        }
        Some(parsed.unwrap_or(default))
    }

    fn tls(&mut self, tls: &raw::Tls) -> Option<Tls> {
        // All three are read before any is missed, so that every problem shows.
        let (cert, key) = (self.secret(&tls.cert), self.secret(&tls.key));
        let client_ca = self.secret_if(tls.client_ca.as_ref());
        let missing_ca = tls.client_ca.is_some() && client_ca.is_none();
        let read = Tls { cert: cert?, key: key?, client_ca };
        if missing_ca || self.surroundings.unread() {
            return Some(read);
        }
        if let Err(why) = read.build() {
            let problem = self.error(tls.place.span.clone(), format!("this is no TLS identity: {why}"));
            problem.help =
                Some("`cert` is the chain, leaf first; `key` is its private key; both PEM".to_owned());
        }
        Some(read)
    }

    /// Refuses a door that is open to strangers, and two listeners at one port.
    fn open_doors(&mut self, file: &raw::File, auth: &auth::Settings, listen: &Listen) {
        let at = |key: &str| match &file.listen {
            Some(listen) => listen.place.key(key),
            None => file.place.key("listen"),
        };
        let mutual = file.listen.as_ref().and_then(|l| l.tls.as_ref()).is_some_and(|t| t.client_ca.is_some());
        // Keys that were given but could not be read were meant to close the door.
        let keyed =
            !auth.keys.is_empty() || self.dropped.contains("auth.key") || self.dropped.contains("auth");
        for (key, address) in [("grpc", listen.grpc), ("http", listen.http)] {
            let Some(address) = address.filter(|a| !a.ip().to_canonical().is_loopback()) else { continue };
            if !keyed && !mutual {
                let message =
                    format!("`{key}` listens on {address} for everybody: there is no key in `auth`");
                let problem = self.error(at(key), message);
                problem.label = "not loopback".to_owned();
                problem.help = Some("add a key with `gridtie key new`, or listen on 127.0.0.1".to_owned());
            }
        }
        if let Some(address) = listen.admin.filter(|a| !a.ip().to_canonical().is_loopback()) {
            let token = file.auth.as_ref().is_some_and(|a| a.place.has("admin_token").is_some());
            let admin_mutual = listen.admin_tls.as_ref().is_some_and(|t| t.client_ca.is_some());
            if !token && !admin_mutual {
                let message =
                    format!("`admin` listens on {address} for everybody: there is no `admin_token`");
                let problem = self.error(at("admin"), message);
                problem.label = "not loopback".to_owned();
                problem.help =
                    Some("add `admin_token = \"env:NAME\"` to [auth], or listen on 127.0.0.1".to_owned());
            }
        }
        let all = [("grpc", listen.grpc), ("http", listen.http), ("admin", listen.admin)];
        for (i, (key, address)) in all.into_iter().enumerate() {
            let Some(address) = address else { continue };
            let clash = |other: SocketAddr| {
                let ip_clash = other.ip() == address.ip()
                    || other.ip().is_unspecified()
                    || address.ip().is_unspecified();
                other.port() == address.port() && other.port() != 0 && ip_clash
            };
            let other = all[..i].iter().find(|(_, other)| other.is_some_and(clash));
            if let Some((other, _)) = other {
                let message = format!("`{key}` and `{other}` listen on the same port {}", address.port());
                self.error(at(key), message).help = Some("each listener needs a port of its own".to_owned());
            }
        }
    }

    pub(super) fn auth(&mut self, file: &raw::File, tenants: &mut Vec<Tenant>) -> auth::Settings {
        let Some(raw) = &file.auth else {
            return auth::Settings::default();
        };
        let token = raw.admin_token.as_ref();
        let admin_token = self.secret_if(token).map(|secret| secret.value().clone());
        if let Some(one_too_many) = raw.key.get(KEYS_MAX) {
            self.error(one_too_many.place.span.clone(), format!("there are more than {KEYS_MAX} keys"));
        }
        let mut keys: Vec<ClientKey> = Vec::new();
        for key in raw.key.iter().take(KEYS_MAX) {
            let Some(hash) = self.hash(&key.hash) else { continue };
            if keys.iter().any(|known| known.hash == hash) {
                let problem = self.error(key.hash.span.clone(), "this key is there twice");
                problem.help = Some("a key belongs to one tenant".to_owned());
            }
            let tenant = tenants.iter().position(|t| *t.name == *key.tenant.0).unwrap_or_else(|| {
                tenants.push(Tenant { name: key.tenant.0.as_str().into() });
                tenants.len() - 1
            });
            let prefix = key.prefix.as_deref().map(Into::into);
            keys.push(ClientKey { hash, tenant: TenantId(tenant as u16), prefix });
        }
        auth::Settings { keys, admin_token }
    }

    fn hash(&mut self, text: &At<String>) -> Option<KeyHash> {
        let hash = KeyHash::parse(&text.value);
        if hash.is_none() && text.value.starts_with(KEY_PREFIX) {
            self.secrets.push(text.span.clone());
            let problem = self.error(text.span.clone(), "this is a key, not the hash of one");
            problem.label = "hidden, because it opens the door".to_owned();
            problem.help = Some("treat it as leaked and make another with `gridtie key new`".to_owned());
        } else if hash.is_none() {
            self.secrets.push(text.span.clone());
            let problem = self.error(text.span.clone(), "expected `sha256:` and 64 hex digits");
            problem.help = Some("`gridtie key new` prints what belongs here".to_owned());
        }
        hash
    }

    pub(super) fn limits(&mut self, raw: Option<&raw::Limits>) -> Limits {
        let usual = Limits::default();
        let Some(raw) = raw else { return usual };
        Limits {
            body: self.bytes(raw.body.as_ref(), usual.body, 1 << 30),
            connections: self.at_least_one(raw.connections.as_ref(), usual.connections),
            streams: self.at_least_one(raw.streams.as_ref(), usual.streams),
        }
    }

    pub(super) fn records(&mut self, raw: &raw::Records) -> Records {
        /// With the one before it, no more than a disk can spare.
        const MAX_SIZE: u64 = 64 << 20;
        /// One call in a hundred.
        const SHARE: f64 = 0.01;
        if raw.file.value.is_empty() || raw.file.value.contains('\0') {
            let problem = self.error(raw.file.span.clone(), "this is no path of a file");
            problem.help =
                Some("for example \"decisions.jsonl\"; without [records] none are kept".to_owned());
        }
        Records {
            file: self.folder.join(&raw.file.value),
            share: raw.share.map_or(SHARE, |share| share.0),
            max_size: self.bytes(raw.max_size.as_ref(), MAX_SIZE, 1 << 40),
        }
    }

    fn bytes(&mut self, given: Option<&At<Bytes>>, usual: u64, most: u64) -> u64 {
        let Some(given) = given else { return usual };
        if !(1024..=most).contains(&given.value.0) {
            self.error(given.span.clone(), format!("expected a size from 1KiB to {}MiB", most >> 20));
        }
        given.value.0
    }

    pub(super) fn at_least_one(&mut self, given: Option<&At<u32>>, usual: u32) -> u32 {
        let Some(given) = given else { return usual };
        if given.value == 0 {
            self.error(given.span.clone(), "expected at least 1");
        }
        given.value
    }

    pub(super) fn log(&mut self, raw: Option<&raw::Log>) -> Log {
        let filter = raw.and_then(|log| log.filter.as_ref());
        if let Some(filter) = filter
            && filter.value.parse::<tracing_subscriber::EnvFilter>().is_err()
        {
            let problem = self.error(filter.span.clone(), "this is not a log filter");
            problem.help = Some("for example \"info\" or \"info,gridtie::flow=debug\"".to_owned());
        }
        Log {
            filter: filter.map_or_else(|| "info".to_owned(), |filter| filter.value.clone()),
            format: raw.and_then(|log| log.format).map(|format| match format {
                raw::LogFormat::Text => LogFormat::Text,
                raw::LogFormat::Json => LogFormat::Json,
            }),
            calls: match raw.and_then(|log| log.calls) {
                Some(raw::CallLog::Stdout) | None => LogSink::Stdout,
                Some(raw::CallLog::Stderr) => LogSink::Stderr,
                Some(raw::CallLog::Off) => LogSink::Off,
            },
        }
    }
}
