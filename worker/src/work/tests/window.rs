//! Hosts that differ, one with the new config and one with the old, in every order: whoever writes a record, everybody
//! reads it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use crossfade_plan::{
    order::{Answers, ConfigureHost, ProveReads, ProveWrites},
    settings::{DynamicConfig, HostConfig, Reads, WritingMode},
};
use e2e::{
    servers::{
        progress::Lines,
        temporal::{FLEET_SHARDS, HostPlan, connect},
    },
    testbed::{Engine, NAMESPACE, Plan, Testbed},
};
use temporalio_client::{
    Client,
    tonic::{Code, IntoRequest, Status},
};
use temporalio_common::protos::temporal::api::{
    common::v1::{WorkflowExecution, WorkflowType},
    taskqueue::v1::TaskQueue,
    workflowservice::v1::{
        CountWorkflowExecutionsRequest, StartWorkflowExecutionRequest, TerminateWorkflowExecutionRequest,
    },
};

use super::{
    super::{
        beat::Beat,
        host_files,
        hosts::{self, Turns},
        reads, writes,
    },
    scene::{Scene, keys},
};

/// Executions started through each frontend at each step; every second one is closed.
const EACH: usize = 8;

/// How long a record may be on its way.
const READ_WITHIN: Duration = Duration::from_secs(60);

/// Two hosts that run everything, and how their clients reach each of them.
struct Pair {
    scene: Scene,
    frontends: [String; 2],
    turns: Turns,
    written: usize,
}

impl Pair {
    async fn begin() -> Result<Self> {
        let mut plan = Plan::new(Engine::Postgres);
        plan.target_schema = true;
        plan.hosts = vec![HostPlan::whole("node-a"), HostPlan::whole("node-b")];
        let testbed = Testbed::start(plan, &Lines::default()).await?;
        let own = |index: usize| -> Result<String> {
            let host = testbed.temporal().hosts().get(index).context("no such host")?;
            let frontend = host.listens.iter().find(|(service, _)| *service == "frontend");
            Ok(format!("127.0.0.1:{}", frontend.context("no frontend")?.1))
        };
        Ok(Self {
            frontends: [own(0)?, own(1)?],
            scene: Scene {
                spec: testbed.spec(),
                testbed,
            },
            turns: Turns::default(),
            written: 0,
        })
    }

    async fn configure(&self, migration: &str, index: usize, to: HostConfig, back: bool) -> Result<()> {
        let context = self.scene.context(migration)?;
        let host = context.spec.cluster.hosts.get(index).context("no such host")?.clone();
        let order = ConfigureHost {
            context,
            host,
            to,
            back,
            together_with: Vec::new(),
        };
        hosts::configure(&order, &self.turns, &Beat::default()).await?;
        Ok(())
    }

    /// Brings the dynamic config of both hosts to a state.
    async fn dynamic(&self, migration: &str, to: DynamicConfig) -> Result<u64> {
        let set = host_files::set_dynamic(&self.scene.dynamic(migration, to)?).await?;
        Ok(set.poll_seconds)
    }

    /// Has both stores written, and the secondary or the primary read; both proven on every host, as a migration does.
    async fn both_written(&self, migration: &str, reads: Reads) -> Result<()> {
        let from = match reads {
            Reads::Source => Answers::Source,
            _ => Answers::Target,
        };
        let poll_seconds = self.dynamic(migration, keys(WritingMode::Dual, reads)).await?;
        // No API tells what a server has read; what it does with it is proven next.
        tokio::time::sleep(Duration::from_secs(poll_seconds + 2)).await;
        let context = self.scene.context(migration)?;
        let proven = ProveWrites {
            context: context.clone(),
            proof: "window".to_owned(),
            shards: FLEET_SHARDS,
            source: true,
            target: true,
            attributes: None,
        };
        writes::prove(&proven, &Beat::default()).await?;
        let proven = ProveReads {
            context,
            namespaces: None,
            from,
        };
        reads::prove(&proven, &Beat::default()).await?;
        Ok(())
    }

    /// Writes through each frontend, and reads everything that this migration's steps wrote through each.
    async fn whatever_is_written_is_read(&mut self, migration: &str, step: &str) -> Result<()> {
        for frontend in &self.frontends {
            let client = connect(frontend, NAMESPACE).await?;
            for _ in 0..EACH {
                let id = format!("{migration}-{}", self.written);
                start(&client, &id)
                    .await
                    .with_context(|| format!("{step}: {frontend}"))?;
                if self.written.is_multiple_of(2) {
                    terminate(&client, &id).await?;
                }
                self.written += 1;
            }
        }
        for frontend in &self.frontends {
            let client = connect(frontend, NAMESPACE).await?;
            let deadline = Instant::now() + READ_WITHIN;
            let all = format!("WorkflowId STARTS_WITH '{migration}-'");
            let closed = format!("{all} AND ExecutionStatus = 'Terminated'");
            loop {
                let counted = (count(&client, &all).await?, count(&client, &closed).await?);
                if counted == (self.written, self.written / 2) {
                    break;
                }
                if Instant::now() > deadline {
                    bail!(
                        "{step}: through {frontend} {} executions are read, {} of them closed; {} were started and {} closed",
                        counted.0,
                        counted.1,
                        self.written,
                        self.written / 2
                    );
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        Ok(())
    }
}

/// Makes a call until it is answered: shards move while a host restarts.
async fn answered<T>(mut call: impl AsyncFnMut() -> Result<T, Status>) -> Result<T> {
    let deadline = Instant::now() + READ_WITHIN;
    loop {
        match call().await {
            Ok(answer) => return Ok(answer),
            Err(status) if Instant::now() > deadline => bail!("{status}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

async fn start(client: &Client, id: &str) -> Result<()> {
    let request = StartWorkflowExecutionRequest {
        namespace: NAMESPACE.to_owned(),
        workflow_id: id.to_owned(),
        workflow_type: Some(WorkflowType {
            name: "Window".to_owned(),
        }),
        task_queue: Some(TaskQueue {
            name: "nobody-polls".to_owned(),
            ..TaskQueue::default()
        }),
        request_id: id.to_owned(),
        ..StartWorkflowExecutionRequest::default()
    };
    // Asked again with the same request id, the server answers with the same run.
    answered(async || {
        let mut service = client.connection().workflow_service();
        service.start_workflow_execution(request.clone().into_request()).await
    })
    .await
    .map(drop)
}

async fn terminate(client: &Client, id: &str) -> Result<()> {
    let request = TerminateWorkflowExecutionRequest {
        namespace: NAMESPACE.to_owned(),
        workflow_execution: Some(WorkflowExecution {
            workflow_id: id.to_owned(),
            run_id: String::new(),
        }),
        ..TerminateWorkflowExecutionRequest::default()
    };
    let terminated = answered(async || {
        let mut service = client.connection().workflow_service();
        let answer = service.terminate_workflow_execution(request.clone().into_request());
        match answer.await {
            Err(status) if status.code() == Code::NotFound => Ok(None),
            answer => answer.map(Some),
        }
    });
    terminated.await.map(drop)
}

async fn count(client: &Client, query: &str) -> Result<usize> {
    let request = CountWorkflowExecutionsRequest {
        namespace: NAMESPACE.to_owned(),
        query: query.to_owned(),
    };
    let counted = answered(async || {
        let mut service = client.connection().workflow_service();
        service.count_workflow_executions(request.clone().into_request()).await
    });
    Ok(usize::try_from(counted.await?.into_inner().count)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_while_hosts_differ_is_read_through_each_of_them() -> Result<()> {
    let mut pair = Pair::begin().await?;
    let [a, b] = [0, 1];
    let first = "a-then-b";
    pair.dynamic(first, keys(WritingMode::Off, Reads::Source)).await?;
    for host in [a, b] {
        pair.configure(first, host, HostConfig::Dual, false).await?;
    }
    // Roles are swapped, and swapped back in the order in which that leaves the other host with the new config.
    pair.both_written(first, Reads::Source).await?;
    for (host, to, step) in [
        (a, HostConfig::Warm, "a swapped, b not yet"),
        (b, HostConfig::Warm, "both swapped"),
        (a, HostConfig::Dual, "a back, b still swapped"),
        (b, HostConfig::Dual, "both back"),
    ] {
        pair.configure(first, host, to, to == HostConfig::Dual).await?;
        pair.whatever_is_written_is_read(first, step).await?;
    }
    pair.both_written(first, Reads::Target).await?;
    for (host, step) in [(a, "a promoted, b not yet"), (b, "both promoted")] {
        pair.configure(first, host, HostConfig::Promoted, false).await?;
        pair.whatever_is_written_is_read(first, step).await?;
    }
    pair.dynamic(first, DynamicConfig::Removed).await?;
    pair.whatever_is_written_is_read(first, "keys removed").await?;

    // The other order, from the beginning.
    for host in [b, a] {
        pair.configure(first, host, HostConfig::Original, false).await?;
    }
    let second = "b-then-a";
    pair.written = 0;
    pair.dynamic(first, DynamicConfig::Original).await?;
    pair.dynamic(second, keys(WritingMode::Off, Reads::Source)).await?;
    for host in [b, a] {
        pair.configure(second, host, HostConfig::Dual, false).await?;
    }
    pair.both_written(second, Reads::Target).await?;
    for (host, step) in [(b, "b promoted, a not yet"), (a, "both promoted")] {
        pair.configure(second, host, HostConfig::Promoted, false).await?;
        pair.whatever_is_written_is_read(second, step).await?;
    }
    pair.dynamic(second, DynamicConfig::Removed).await?;
    pair.whatever_is_written_is_read(second, "keys removed").await?;
    ensure!(pair.written == 2 * EACH * 3, "{} executions", pair.written);
    pair.scene.testbed.finish()
}
