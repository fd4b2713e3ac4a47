//! One cell: a migration that is held at a place, a fault, the order to turn back, and what is to be true after it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::migration::{End, Files, is};
use e2e::scene::{ORDERS, Scene, judged, says, until};
use e2e::servers::binaries::{Program, find_or_build};
use e2e::servers::cache::Cache;
use e2e::servers::progress::Lines;
use e2e::testbed::{Engine, NAMESPACE, Plan, TARGET_NAME};
use e2e::traffic::Traffic;
use serde_json::{Value, json};
use temporalio_common::protos::temporal::api::common::v1::WorkflowExecution;
use temporalio_common::protos::temporal::api::workflowservice::v1::DescribeWorkflowExecutionRequest;
use tonic::IntoRequest;

use super::matrix::{Fault, Hold, Row};
use super::target::Target;

/// How long a step may take to fail, or a tool to be called.
const SOON: Duration = Duration::from_secs(120);

/// Who turns back, and why.
const NOTE: &str = r#"{"by": "alice", "note": "not today"}"#;

/// A cluster with traffic on it, on which one migration after the other turns back.
pub(super) struct Ground {
    pub(super) scene: Scene,
    pub(super) traffic: Traffic,
    before: Files,
    target: Target,
    levers: Levers,
}

/// Files that the schema tool and the restart command look for.
struct Levers(tempfile::TempDir);

impl Levers {
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn pull(&self, name: &str) -> Result<()> {
        Ok(std::fs::write(self.path(name), "")?)
    }

    /// Whether it was pulled.
    fn release(&self, name: &str) -> Result<bool> {
        let path = self.path(name);
        let is_there = path.exists();
        if is_there {
            std::fs::remove_file(path)?;
        }
        Ok(is_there)
    }

    /// A program that waits as long as the file `NAME` is there, and makes `NAME-waits` to say so; then `rest`.
    fn script(&self, name: &str, before: &str, rest: &str) -> Result<PathBuf> {
        let (lever, waits) = (self.path(name), self.path(&format!("{name}-waits")));
        let (lever, waits) = (lever.display(), waits.display());
        let text = format!(
            "#!/bin/sh\n{before}if [ -e {lever} ]; then : >{waits}; while [ -e {lever} ]; do sleep 0.1; done; fi\n{rest}\n"
        );
        let path = self.path(&format!("{name}.sh"));
        std::fs::write(&path, text)?;
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }
}

impl Ground {
    pub(super) async fn new() -> Result<Self> {
        let mut plan = Plan::new(Engine::Postgres);
        plan.namespaces = vec![(ORDERS.to_owned(), Duration::from_secs(72 * 3600))];
        plan.target_schema = true;
        plan.target_apart = true;
        let cache = Cache::from_environment()?;
        let tool = find_or_build(&cache, plan.release, Program::SqlTool, &Lines::default())?;
        let levers = Levers(tempfile::tempdir()?);
        let tool = levers.script("tool", "", &format!("exec {} \"$@\"", tool.display()))?;
        let tool = tool.to_string_lossy();
        let mut scene = Scene::of(plan, &[("CROSSFADE_TEMPORAL_SQL_TOOL", &tool)]).await?;
        let target = Target::of(&mut scene)?;
        let before = Files::of(&scene.testbed)?;
        let traffic = Traffic::begin(scene.testbed.frontend(), NAMESPACE).await?;
        traffic.existing(100).await?;
        Ok(Self {
            scene,
            traffic,
            before,
            target,
            levers,
        })
    }

    /// The usual spec, and the host restarted by a command that can be held, or made to fail.
    fn spec(&self, row: &Row) -> Result<Value> {
        let mut spec = self.scene.spec_with(&(row.spec)());
        let host = &self.scene.testbed.temporal().hosts()[0];
        let (script, file) = (host.script.display(), host.config.display());
        let swap = format!(
            "if [ -e {} ] && grep -q '  visibilityStore: {TARGET_NAME}' {file}; then echo 'no room' >&2; exit 1; fi\n",
            self.levers.path("swap").display()
        );
        let back = format!(
            "if [ -e {} ] && ! grep -q secondaryVisibilityStore {file}; then echo 'no room' >&2; exit 1; fi\n",
            self.levers.path("back").display()
        );
        let command = self
            .levers
            .script("restart", &(swap + &back), &format!("exec {script} restart"))?;
        spec["cluster"]["hosts"][0]["restart"] = json!({"command": [command]});
        Ok(spec)
    }

    /// Starts a migration, and has it get to its place.
    async fn is_held(&mut self, id: &str, row: &Row) -> Result<Option<tokio_postgres::Client>> {
        let spec = self.spec(row)?;
        let operator = self.scene.operator.clone();
        let mut held = None;
        match row.hold {
            Hold::Itself => operator.start(id, &spec).await?,
            Hold::Paused => {
                self.scene.worker.kill()?;
                operator.start(id, &spec).await?;
                operator.signal(id, "pause", None).await?;
                self.scene.worker.again(&self.scene.testbed)?;
            }
            Hold::Tool | Hold::Restart => {
                let name = if row.hold == Hold::Tool { "tool" } else { "restart" };
                self.levers.release(&format!("{name}-waits"))?;
                self.levers.pull(name)?;
                operator.start(id, &spec).await?;
                let waits = self.levers.path(&format!("{name}-waits"));
                until("a command that is held", || waits.exists()).await?;
            }
            Hold::Table => {
                operator.start(id, &spec).await?;
                operator.at_gate(id, row.stage).await?;
                held = Some(self.target.holds_its_table().await?);
                operator.approve(id, row.stage).await?;
            }
            Hold::Swap => {
                self.levers.pull("swap")?;
                operator.start(id, &spec).await?;
            }
        }
        operator.until(id, "where it turns back", row.here).await?;
        Ok(held)
    }

    /// Lets go what is held by a command.
    fn is_let_go(&self) -> Result<()> {
        self.levers.release("tool")?;
        self.levers.release("restart")?;
        self.levers.release("swap").map(drop)
    }

    /// Waits until what the stage is at has failed for want of the target: tried again, or told.
    async fn step_fails(&self, id: &str, activity: &str) -> Result<()> {
        let deadline = Instant::now() + SOON;
        loop {
            let status = self.scene.operator.status(id).await?;
            if is(&status, "needs-operator") || !status["guard"]["gap"].is_null() || self.tries(id, activity).await? > 1
            {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{activity} does not fail without the target: {status:#}"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// At which attempt an activity is.
    async fn tries(&self, id: &str, activity: &str) -> Result<i32> {
        let client = self.scene.testbed.client(NAMESPACE).await?;
        let request = DescribeWorkflowExecutionRequest {
            namespace: NAMESPACE.to_owned(),
            execution: Some(WorkflowExecution {
                workflow_id: id.to_owned(),
                run_id: String::new(),
            }),
        };
        let mut service = client.connection().workflow_service();
        let described = service.describe_workflow_execution(request.into_request()).await?;
        let pending = described.into_inner().pending_activities;
        let named = pending
            .iter()
            .filter(|one| one.activity_type.as_ref().is_some_and(|kind| kind.name == activity));
        Ok(named.map(|one| one.attempt).max().unwrap_or_default())
    }

    async fn is_ordered_back(&self, id: &str, fault: Fault) -> Result<()> {
        let operator = &self.scene.operator;
        match fault {
            Fault::Cancel => operator.told(&["cancel", "-w", id]).await.map(drop),
            Fault::Abort => operator.signal(id, "abort", Some(NOTE)).await,
            _ => operator.signal(id, "rollback", Some(NOTE)).await,
        }
    }

    /// A migration gets to `row`, turns back there with `fault`, and leaves everything as it was.
    pub(super) async fn turned_back(&mut self, id: &str, row: &Row, fault: Fault) -> Result<()> {
        let host = self.scene.testbed.temporal().hosts()[0].clone();
        let operator = self.scene.operator.clone();
        let first = host.pid();
        let going = self.traffic.keep_going(3);
        let held = self.is_held(id, row).await?;
        let is_step_held = matches!(row.hold, Hold::Tool | Hold::Restart);

        if fault.is_of_the_target() {
            self.target.fails(&mut self.scene, fault).await?;
            if let Some(activity) = row.uses_target {
                self.is_let_go()?;
                self.step_fails(id, activity).await.context("the step itself")?;
            }
        }
        let killed_before = fault == Fault::WorkerKilled && (is_step_held || !row.restarted);
        if killed_before {
            self.scene.worker.kill()?;
        }
        if fault == Fault::HostFails {
            self.levers.pull("back")?;
        }
        let second = host.pid();
        self.is_ordered_back(id, fault).await?;
        self.is_let_go()?;
        drop(held);
        if killed_before {
            self.scene.worker.again(&self.scene.testbed)?;
        } else if fault == Fault::WorkerKilled {
            until("the server goes down", || host.pid() != second).await?;
            self.scene.worker.kill()?;
            until("the server is started again, without the worker", || host.is_running()).await?;
            self.scene.worker.again(&self.scene.testbed)?;
        }
        let mended = self.is_mended(id, fault).await?;

        let end = operator.end(&self.scene.testbed, id).await?;
        ended(fault, end)?;
        let report = operator.query(id, "report", None).await?;
        ensure!(report["result"] == result_of(fault), "{report:#}");
        self.before.are_unchanged()?;
        if !mended {
            self.target.is_mended(&mut self.scene, fault).await?;
            if row.without_indexes && fault.is_of_the_target() {
                self.target.gets_its_indexes(&mut self.scene, &report).await?;
            }
        }
        self.target.is_whole(&mut self.scene)?;
        ensure!((host.pid() != first) == row.restarted, "restarted: {}", !row.restarted);
        let stores = self.scene.visibility_stores().await?;
        ensure!(stores == "postgres12", "{stores}");

        going.stop().await?;
        // What is written from now on is in the source, as what was written before is.
        self.traffic.existing(self.traffic.ledger().kept() + 5).await?;
        let source = self.scene.testbed.source();
        judged(&self.scene.testbed, source, [self.traffic.ledger().clone()]).await
    }

    /// Where the way back waits for a person, what they are told is done; whether it was to be done.
    async fn is_mended(&mut self, id: &str, fault: Fault) -> Result<bool> {
        let operator = self.scene.operator.clone();
        if fault != Fault::HostFails && !fault.is_of_the_target() {
            return Ok(false);
        }
        let stops =
            |status: &Value| is(status, "needs-operator") && status["going_back"] == true || is(status, "ended");
        let status = operator.until(id, "the way back stops, or ends", stops).await?;
        if is(&status, "ended") {
            ensure!(fault.is_of_the_target(), "the host was not missed: {status:#}");
            return Ok(false);
        }
        if fault == Fault::HostFails {
            let told = status["condition"].to_string();
            says(&told, &["restart-failed", "host node-a", "no room", "resume"])?;
            ensure!(self.levers.release("back")?, "nothing was in the way");
        } else {
            self.target.is_mended(&mut self.scene, fault).await?;
        }
        operator.signal(id, "resume", None).await?;
        Ok(true)
    }
}

fn result_of(fault: Fault) -> &'static str {
    match fault {
        Fault::Abort | Fault::Cancel => "aborted",
        _ => "rolled-back",
    }
}

fn ended(fault: Fault, end: End) -> Result<()> {
    match (result_of(fault), end) {
        ("rolled-back", End::Completed(report)) => {
            ensure!(report["result"] == "rolled-back", "{report:#}");
            Ok(())
        }
        ("aborted", End::Failed(failure)) => {
            ensure!(failure.kind == "Aborted" && !failure.retryable, "{failure:?}");
            says(&failure.message, &["gave the migration up", "the cluster is as it was"])
        }
        (_, end) => bail!("it ended so: {end:?}"),
    }
}
