//! How the commands that ask a running router reach it: its admin listener, over gRPC.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::config::{Reference, Surroundings};
use crate::dialect::gridtie::v1::admin_client::AdminClient;

/// Somebody waits at a terminal.
const CONNECT: Duration = Duration::from_secs(2);
const ANSWER: Duration = Duration::from_secs(10);
/// Where the token is, unless it is said.
const TOKEN: &str = "env:GRIDTIE_ADMIN_TOKEN";

/// Which router.
#[derive(clap::Args, Clone, Debug)]
pub struct Reach {
    /// Admin address of the router: HOST:PORT, or http://HOST:PORT
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9901")]
    pub admin: String,
    /// Where the admin token is: env:NAME or file:PATH. Without it, $GRIDTIE_ADMIN_TOKEN, if that is set
    #[arg(long, value_name = "WHERE")]
    pub token: Option<String>,
}

/// A router that answers.
pub(super) struct Reached {
    client: AdminClient<Channel>,
    token: Option<AsciiMetadataValue>,
    origin: String,
}

impl Reach {
    pub(super) async fn connect(&self) -> anyhow::Result<Reached> {
        let origin = match self.admin.split_once("://") {
            None => format!("http://{}", self.admin),
            Some(("http", _)) => self.admin.clone(),
            Some((scheme, _)) => bail!("{scheme}:// is not spoken to the admin address; give HOST:PORT"),
        };
        let endpoint = Endpoint::from_shared(origin.clone())
            .with_context(|| format!("`{}` is not an address", self.admin))?
            .connect_timeout(CONNECT)
            .timeout(ANSWER);
        let channel = endpoint.connect().await.map_err(|_| {
            anyhow!("no router answers at {origin}: is one running, and is this its admin address (--admin)?")
        })?;
        Ok(Reached { client: AdminClient::new(channel), token: self.read_token()?, origin })
    }

    fn read_token(&self) -> anyhow::Result<Option<AsciiMetadataValue>> {
        let text = self.token.as_deref().unwrap_or(TOKEN);
        let reference = Reference::parse(text).context("--token is env:NAME or file:PATH")?;
        let secret = match Surroundings::Real.read(&reference, Path::new(".")) {
            Ok(secret) => secret,
            Err(_) if self.token.is_none() => return Ok(None),
            Err(error) => bail!("{reference}: {error}"),
        };
        let mut value = AsciiMetadataValue::try_from(format!("Bearer {}", secret.expose()))
            .map_err(|_| anyhow!("{reference}: a token holds visible ASCII only"))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

impl Reached {
    /// Asks one thing.
    pub(super) async fn ask<T, R, F>(
        &self,
        message: T,
        call: impl FnOnce(AdminClient<Channel>, Request<T>) -> F,
    ) -> anyhow::Result<R>
    where
        F: Future<Output = Result<tonic::Response<R>, Status>>,
    {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("authorization", token.clone());
        }
        let answer = call(self.client.clone(), request).await;
        answer.map(tonic::Response::into_inner).map_err(|status| self.said(&status))
    }

    fn said(&self, status: &Status) -> anyhow::Error {
        match status.code() {
            tonic::Code::Unauthenticated => anyhow!(
                "{} wants its admin token: name it with --token, or set GRIDTIE_ADMIN_TOKEN",
                self.origin
            ),
            tonic::Code::Unimplemented => {
                anyhow!("{} is not the admin address of a Gridtie", self.origin)
            }
            _ if status.message().is_empty() => anyhow!("{}: {}", self.origin, status.code()),
            _ => anyhow!("{}", status.message()),
        }
    }
}

/// Runs a command that waits for a router.
pub(super) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}
