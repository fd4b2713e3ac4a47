//! Proof that services serve: Temporal's own gRPC health, bounded.

use std::fmt;
use std::time::{Duration, Instant};

use temporalio_common::protos::grpc::health::v1::health_check_response::ServingStatus;
use temporalio_common::protos::grpc::health::v1::health_client::HealthClient;
use temporalio_common::protos::grpc::health::v1::{HealthCheckRequest, HealthCheckResponse};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::connect::{Checked, ConnectSettings};
use crate::error::ConnectError;
use crate::frontend::Frontend;

/// Bound of a single question.
const ASK: Duration = Duration::from_secs(3);

/// Pause between two questions.
const PAUSE: Duration = Duration::from_millis(250);

/// A service of a Temporal server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// Serves clients.
    Frontend,
    /// Owns shards and writes Visibility. It says SERVING some 5 s after it has its shards
    /// (1.30.8: service/history/service.go); older servers at once.
    History,
    /// Owns task queues.
    Matching,
    /// Runs the system's own workflows. It has no gRPC server and so no health of its own
    /// (1.30.8: service/worker/service.go); [`Frontend::members`] shows whether it joined.
    Worker,
}

impl Service {
    /// The name under which it answers health checks; `None` for the worker.
    /// Sources, 1.30.8: service/{frontend/interface.go, history/handler.go, matching/handler.go}.
    pub fn health_name(self) -> Option<&'static str> {
        match self {
            Self::Frontend => Some("temporal.api.workflowservice.v1.WorkflowService"),
            Self::History => Some("temporal.api.workflowservice.v1.HistoryService"),
            Self::Matching => Some("temporal.api.workflowservice.v1.MatchingService"),
            Self::Worker => None,
        }
    }

    /// The name in server configs and membership rings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Frontend => "frontend",
            Self::History => "history",
            Self::Matching => "matching",
            Self::Worker => "worker",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a service says of its health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It serves.
    Serving,
    /// It runs and does not serve: it starts, stops, or waits for its shards or the ring.
    NotServing,
    /// Nobody answers; the words of the transport or of the server.
    Away(String),
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serving => f.write_str("SERVING"),
            Self::NotServing => f.write_str("NOT_SERVING"),
            Self::Away(reason) => write!(f, "no answer ({reason})"),
        }
    }
}

/// A service that did not come to serve in time.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "{service} at {address} does not serve after {waited:?}; last answer: {last}; \
     look into the log of the server on that host"
)]
pub struct NotServing {
    /// Which service.
    pub service: Service,
    /// Where it was asked.
    pub address: String,
    /// For how long.
    pub waited: Duration,
    /// What it said last.
    pub last: Health,
}

impl Frontend {
    /// Asks the frontend once for its health, at most 3 s.
    pub async fn health(&self) -> Health {
        let mut service = self.connection.health_service();
        judge(async move { service.check(question(Service::Frontend)).await }).await
    }

    /// Waits until the frontend serves and gives the time that it took.
    ///
    /// # Errors
    /// [`NotServing`] when `within` is over.
    pub async fn await_serving(&self, within: Duration) -> Result<Duration, NotServing> {
        wait(Service::Frontend, self.address(), within, || self.health()).await
    }

    /// Holds a finished result back until the frontend serves, at most for `within`, then gives it on in any case.
    ///
    /// A worker completes activities with retries of about 10 s whatever it is told (temporalio-sdk-core 0.10.1:
    /// src/lib.rs, `init_worker`), so the result of an activity that ends while its cluster restarts would be lost.
    /// Its worker wraps every activity in this. `false` beside the result: the frontend did not serve in time.
    pub async fn hold_until_serving<T>(&self, within: Duration, result: T) -> (T, bool) {
        match self.await_serving(within).await {
            Ok(_) => (result, true),
            Err(error) => {
                tracing::warn!(%error, "giving a result on although the frontend does not serve");
                (result, false)
            }
        }
    }
}

/// A service on one host, asked directly: history and matching have health of their own behind the frontend.
#[derive(Clone)]
pub struct ServiceHealth {
    service: Service,
    address: String,
    channel: Option<Channel>,
}

impl ServiceHealth {
    /// Prepares to ask `service` at `settings.address`; nothing is sent yet.
    /// Between services the server uses its internode TLS, which need not be that of the frontend.
    ///
    /// # Errors
    /// As [`Frontend::connect`] for wrong settings.
    pub fn new(service: Service, settings: &ConnectSettings) -> Result<Self, ConnectError> {
        let channel = match service.health_name() {
            Some(_) => Some(Checked::read(settings)?.channel("address")?),
            None => None,
        };
        Ok(Self {
            service,
            address: settings.address.clone(),
            channel,
        })
    }

    /// Asks once, at most 3 s. The worker service, which cannot be asked, counts as serving.
    pub async fn health(&self) -> Health {
        match &self.channel {
            None => Health::Serving,
            Some(channel) => {
                let mut client = HealthClient::new(channel.clone());
                let service = self.service;
                judge(async move { client.check(question(service)).await }).await
            }
        }
    }

    /// Waits until it serves and gives the time that it took.
    ///
    /// # Errors
    /// [`NotServing`] when `within` is over.
    pub async fn await_serving(&self, within: Duration) -> Result<Duration, NotServing> {
        wait(self.service, &self.address, within, || self.health()).await
    }
}

fn question(service: Service) -> Request<HealthCheckRequest> {
    let mut request = Request::new(HealthCheckRequest {
        service: service.health_name().unwrap_or_default().to_owned(),
    });
    request.set_timeout(ASK);
    request
}

async fn judge(answer: impl Future<Output = Result<Response<HealthCheckResponse>, Status>>) -> Health {
    match tokio::time::timeout(ASK, answer).await {
        Ok(Ok(response)) if response.get_ref().status == ServingStatus::Serving as i32 => Health::Serving,
        Ok(Ok(_)) => Health::NotServing,
        Ok(Err(status)) => Health::Away(status.message().to_owned()),
        Err(_) => Health::Away(format!("none within {ASK:?}")),
    }
}

async fn wait<Asked: Future<Output = Health>>(
    service: Service,
    address: &str,
    within: Duration,
    ask: impl Fn() -> Asked,
) -> Result<Duration, NotServing> {
    let started = Instant::now();
    loop {
        let last = ask().await;
        if last == Health::Serving {
            return Ok(started.elapsed());
        }
        if started.elapsed() + PAUSE >= within {
            return Err(NotServing {
                service,
                address: address.to_owned(),
                waited: started.elapsed(),
                last,
            });
        }
        tokio::time::sleep(PAUSE).await;
    }
}
