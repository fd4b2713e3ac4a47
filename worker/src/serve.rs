//! The worker: one poller for the migration's task queue, one for each host it serves, and what it does when the
//! cluster that it polls goes down under its own hands.

use std::{net::SocketAddr, time::Duration};

use crossfade_workflow::{VisibilityMigration, names};
use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use temporalio_client::{Client, tonic::IntoRequest};
use temporalio_common::protos::grpc::health::v1::HealthCheckRequest;
use temporalio_sdk::{
    Runtime, Worker, WorkerOptions,
    interceptors::{ActivityInboundInterceptor, ExecuteActivityInput, ExecuteActivityOutput, Next},
};

use crate::{
    activities::{ClusterActivities, HostActivities},
    connection::Settings,
    metrics,
};

/// How long activities under way may go on after the worker was asked to stop.
const GRACE: Duration = Duration::from_secs(10);
/// The longest that a heartbeat is held back. An activity learns of its cancellation from the answer to one, so this
/// is how soon a copy stops when the operator pauses or turns back.
const HEARTBEAT_THROTTLE: Duration = Duration::from_secs(3);
/// The longest that a finished activity's result is held while the frontend does not serve.
const HOLD: Duration = Duration::from_secs(600);
/// Pause before another look at a frontend that does not serve, or another attempt to connect.
const PAUSE: Duration = Duration::from_millis(500);

/// What to serve.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Where the workflow runs.
    pub(crate) connection: Settings,
    /// The hosts whose files and services this process handles.
    pub(crate) hosts: Vec<String>,
    /// Where metrics are served, if they are.
    pub(crate) metrics: Option<SocketAddr>,
}

/// Polls until `shutdown`, connecting again whenever the connection or a poller is lost for good.
///
/// # Errors
/// Settings that can never work: they contradict each other or cannot be read; an address for metrics that is taken.
pub(crate) async fn run(options: Options, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    let telemetry = options.metrics.map(metrics::serve).transpose()?.unwrap_or_default();
    let runtime = Runtime::from_current_tokio(telemetry).map_err(|error| anyhow::anyhow!("{error}"))?;
    let host_work = HostActivities::default();
    let shutdown = shutdown.shared();
    loop {
        let connected = tokio::select! {
            connected = options.connection.connect() => connected,
            () = shutdown.clone() => return Ok(()),
        };
        match connected {
            Ok(connected) => {
                tracing::info!(place = %connected.place, hosts = ?options.hosts, "polling");
                match poll(
                    &runtime,
                    &connected.client,
                    &options.hosts,
                    &host_work,
                    shutdown.clone(),
                )
                .await
                {
                    Ok(()) => return Ok(()),
                    Err(error) => tracing::warn!(error = format!("{error:#}"), "polling ended; connecting again"),
                }
            }
            Err(error @ crate::connection::ConnectError::Settings(_)) => return Err(error.into()),
            Err(error) => tracing::warn!(%error, "not connected; trying again"),
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE * 4) => {}
            () = shutdown.clone() => return Ok(()),
        }
    }
}

/// Runs every poller until `shutdown`; the first one that fails ends them all.
async fn poll(
    runtime: &Runtime,
    client: &Client,
    hosts: &[String],
    host_work: &HostActivities,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let mut workers = vec![
        Worker::new(
            runtime,
            client.clone(),
            WorkerOptions::new(names::TASK_QUEUE)
                .graceful_shutdown_period(GRACE)
                .max_heartbeat_throttle_interval(HEARTBEAT_THROTTLE)
                .activity_inbound_interceptor(HoldResults(client.clone()))
                .register_activities(ClusterActivities)
                .register_workflow::<VisibilityMigration>()
                .map_err(|error| anyhow::anyhow!("{error}"))?
                .build(),
        )
        .map_err(|error| anyhow::anyhow!("{error}"))?,
    ];
    for host in hosts {
        let options = WorkerOptions::new(names::host_task_queue(host))
            .graceful_shutdown_period(GRACE)
            .max_heartbeat_throttle_interval(HEARTBEAT_THROTTLE)
            .activity_inbound_interceptor(HoldResults(client.clone()))
            .register_activities(host_work.clone())
            .build();
        workers.push(Worker::new(runtime, client.clone(), options).map_err(|error| anyhow::anyhow!("{error}"))?);
    }
    let stop: Vec<_> = workers.iter().map(Worker::shutdown_handle).collect();
    let stop_all = || stop.iter().for_each(|stop| stop());
    let mut running: FuturesUnordered<_> = workers.iter_mut().map(Worker::run).collect();
    let mut ended = tokio::select! {
        () = shutdown => { stop_all(); Ok(()) }
        first = running.next() => { stop_all(); first.unwrap_or(Ok(())) }
    };
    while let Some(next) = running.next().await {
        ended = ended.and(next);
    }
    ended.map_err(|error| anyhow::anyhow!("{error}"))
}

/// Holds a finished activity's result until the frontend serves. The SDK gives a completion up after some 10 s of
/// retries (temporalio-sdk-core 0.10.1: src/lib.rs, `init_worker`), and the longest activity of a migration ends
/// with the frontend still coming up.
struct HoldResults(Client);

impl ActivityInboundInterceptor for HoldResults {
    fn execute_activity<'a>(
        &'a self,
        input: ExecuteActivityInput,
        next: Next<'a, ExecuteActivityInput, ExecuteActivityOutput<'a>>,
    ) -> ExecuteActivityOutput<'a> {
        async move {
            let result = next.run(input).await;
            if tokio::time::timeout(HOLD, serving(&self.0)).await.is_err() {
                tracing::warn!("giving a result on although the frontend does not serve");
            }
            result
        }
        .boxed()
    }
}

async fn serving(client: &Client) {
    const SERVING: i32 = 1;
    loop {
        let question = HealthCheckRequest {
            service: "temporal.api.workflowservice.v1.WorkflowService".to_owned(),
        };
        let mut request = question.into_request();
        request.set_timeout(PAUSE * 6);
        match client.connection().health_service().check(request).await {
            Ok(answer) if answer.get_ref().status == SERVING => return,
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
}
