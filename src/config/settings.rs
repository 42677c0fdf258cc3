//! What a config means: checked, complete, nothing left to look up. This is all that the wiring of a router needs.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::problem::{Problem, Problems};
use super::secret::Secret;
use crate::domain::{Catalog, ClassId, PoolId};
use crate::edge::{auth, listen};
use crate::telemetry::LogSink;
use crate::upstream::{grpc, openai, simulated};
use crate::{discover, fleet, flow, probe};

/// A config that was found right.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The file it came from, for people.
    pub name: Arc<str>,
    /// Pools, offers, models, classes, tenants.
    pub catalog: Arc<Catalog>,
    /// Where to listen.
    pub listen: Listen,
    /// Who may ask.
    pub auth: auth::Settings,
    /// How a pool is chosen.
    pub routing: fleet::Settings,
    /// What we speak to, by [`PoolId`](crate::domain::PoolId).
    pub upstreams: Vec<UpstreamSettings>,
    /// Where that is, by [`PoolId`](crate::domain::PoolId).
    pub endpoints: Vec<discover::Endpoints>,
    /// How their engines are asked how busy they are, by [`PoolId`](crate::domain::PoolId); absent is not at all.
    pub probes: Vec<Option<probe::Settings>>,
    /// The most that one caller may ask of the router itself.
    pub limits: Limits,
    /// How calls are carried out.
    pub flow: flow::Settings,
    /// What is logged, and how.
    pub log: Log,
    /// Decisions on record, if any are kept.
    pub records: Option<Records>,
    /// How long calls under way may take to finish when the router goes down.
    pub drain_grace: Duration,
    /// What simulations of it play.
    pub simulate: Simulate,
    /// What is probably not meant, though it works.
    pub warnings: Problems,
    /// What it was read from.
    pub read: ReadFrom,
}

/// What a config was read from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReadFrom {
    /// SHA-256 of its text, in hex.
    pub digest: String,
    /// The files of secrets that it names, each with the digest of what was in it.
    pub secrets: Vec<(PathBuf, String)>,
    /// Its endpoints.
    pub endpoints: Vec<Written>,
}

/// An endpoint as it is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// Of that pool.
    pub pool: Arc<str>,
    /// Scheme and authority.
    pub origin: Arc<str>,
    /// A name or an address.
    pub host: Arc<str>,
    /// The port.
    pub port: u16,
    /// Where it stands in the text.
    pub(super) span: Range<usize>,
}

impl Checked {
    /// A problem that showed only when the config was tried out, at that endpoint if it is about one.
    pub fn trouble(&self, endpoint: Option<&Written>, message: String, help: &str) -> Problems {
        let problem = match endpoint {
            Some(written) => Problem::error(written.span.clone(), message),
            None => Problem::whole(message),
        };
        self.warnings.instead(vec![problem.help(help)])
    }
}

/// Where to listen; absent is closed.
#[derive(Clone, Debug)]
pub struct Listen {
    /// gRPC.
    pub grpc: Option<SocketAddr>,
    /// HTTP.
    pub http: Option<SocketAddr>,
    /// Admin.
    pub admin: Option<SocketAddr>,
    /// gRPC reflection on the grpc listener.
    pub reflection: bool,
    /// TLS of grpc and http.
    pub tls: Option<Tls>,
    /// TLS of admin.
    pub admin_tls: Option<Tls>,
}

/// A server's TLS identity. All PEM, and known to work together (unless secrets were not read at all).
#[derive(Clone, Debug)]
pub struct Tls {
    /// The certificate chain.
    pub cert: Secret,
    /// The private key.
    pub key: Secret,
    /// Roots of clients; with them a client must show a certificate.
    pub client_ca: Option<Secret>,
}

impl Tls {
    /// For a listener.
    pub fn build(&self) -> Result<listen::Tls, listen::TlsError> {
        let client_ca = self.client_ca.as_ref().map(|pem| pem.expose().as_bytes());
        listen::Tls::from_pem(self.cert.expose().as_bytes(), self.key.expose().as_bytes(), client_ca)
    }
}

/// What we speak to.
#[derive(Clone, PartialEq, Debug)]
pub enum UpstreamSettings {
    /// Engines inside this process.
    Simulated(simulated::Settings),
    /// OpenAI's HTTP API.
    OpenAi(openai::Settings),
    /// `gridtie.v1.Inference`.
    Grpc(grpc::Settings),
}

/// The most that one caller may ask of the router itself.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of a request's body.
    pub body: u64,
    /// Connections at once, a listener.
    pub connections: u32,
    /// Calls at once on one HTTP/2 connection.
    pub streams: u32,
}

impl Default for Limits {
    /// 32 MiB hold a long conversation with a few pictures; 10,000 connections are half of what a process may usually
    /// open, the other half being for the way out; 128 streams are what a window of a usual size can feed.
    fn default() -> Self {
        Self { body: 32 << 20, connections: 10_000, streams: 128 }
    }
}

/// What simulations play on the pools of a config.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Simulate {
    /// Shares of the classes among calls whose trace has none; empty is the usual mix.
    pub mix: Vec<(ClassId, f64)>,
    /// Mean demand over what the owned pools can do; absent leaves the pools as large as they are.
    pub load: Option<f64>,
    /// Routers side by side; none at all is one.
    pub routers: u16,
    /// How often engines of owned pools tell them how busy they are; absent is never.
    pub told_every: Option<Duration>,
    /// What happens to pools, in the order of the file.
    pub events: Vec<SimulateEvent>,
}

/// Something that happens to a pool in a simulation.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SimulateEvent {
    /// When, from the start of the traffic.
    pub at: Duration,
    /// When it is over; absent is never.
    pub ends: Option<Duration>,
    /// To whom.
    pub pool: PoolId,
    /// What.
    pub trouble: Trouble,
}

/// See [`SimulateEvent`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Trouble {
    /// Every connection is refused, and answers under way break off.
    Refuses,
    /// One endpoint, or all, takes so many times as long.
    Slow {
        /// Which, from 0; absent is all.
        endpoint: Option<u32>,
        /// How many times.
        factor: f64,
    },
}

/// What is logged, and how.
#[derive(Clone, Debug)]
pub struct Log {
    /// A filter as `tracing` knows it.
    pub filter: String,
    /// The form; absent is text on a terminal, JSON otherwise.
    pub format: Option<LogFormat>,
    /// Where the line of each call goes.
    pub calls: LogSink,
}

/// Decisions on record.
#[derive(Clone, PartialEq, Debug)]
pub struct Records {
    /// Where to.
    pub file: PathBuf,
    /// The share of calls, 0 to 1.
    pub share: f64,
    /// The largest that the file becomes, in bytes.
    pub max_size: u64,
}

/// The form of log lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}
