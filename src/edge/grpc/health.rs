//! `grpc.health.v1.Health`, with Watch: what load balancers and clients ask before they send calls.

use tonic_health::ServingStatus;
use tonic_health::pb::health_server;
use tonic_health::server::{HealthReporter, HealthService};

/// Tells the health of a face. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Health {
    reporter: HealthReporter,
    /// The empty name stands for the whole server.
    services: Vec<&'static str>,
}

impl Health {
    /// The server as a whole counts as serving; its services are unknown until [`Self::set_serving`].
    pub(crate) fn new(services: &[&'static str]) -> (Self, health_server::HealthServer<HealthService>) {
        let reporter = HealthReporter::new();
        let service = health_server::HealthServer::new(HealthService::from_health_reporter(reporter.clone()));
        let services = std::iter::once("").chain(services.iter().copied()).collect();
        (Self { reporter, services }, service)
    }

    /// Ready for calls, or (in a drain) not any more. Everybody who watches is told at once.
    pub async fn set_serving(&self, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in &self.services {
            self.reporter.set_service_status(service, status).await;
        }
    }

    /// Ends every watch. A watch has no end of its own and would hold up a shutdown.
    pub async fn close(&self) {
        let mut reporter = self.reporter.clone();
        for service in &self.services {
            reporter.clear_service_status(service).await;
        }
    }
}
