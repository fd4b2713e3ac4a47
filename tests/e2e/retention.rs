//! The Retention wait: nothing is copied, and what only the source has goes with time, or is written when it closes.

use anyhow::{Context, Result, ensure};
use e2e::migration::{awaits, is, record};
use e2e::namespaces;
use e2e::servers::temporal::connect;
use e2e::testbed::{Engine, NAMESPACE, Plan, Store};
use e2e::traffic::{Status, Traffic};
use serde_json::{Value, json};
use std::time::Duration;
use temporalio_common::protos::temporal::api::common::v1::WorkflowExecution;
use temporalio_common::protos::temporal::api::namespace::v1::NamespaceConfig;
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    TerminateWorkflowExecutionRequest, UpdateNamespaceRequest,
};
use tonic::IntoRequest;

use crate::namespace_rows::set_retention;
use e2e::scene::{Scene, is_clean, judged, says};

/// A Namespace whose records go after a minute and a quarter.
const SHORT: &str = "short";
const SHORT_SECONDS: u16 = 75;

/// A Namespace that appears while the migration waits.
const LATE: &str = "late";

#[tokio::test(flavor = "multi_thread")]
async fn records_from_before_are_waited_for_until_they_are_gone() -> Result<()> {
    let mut plan = Plan::new(Engine::Sqlite);
    plan.namespaces = vec![(SHORT.to_owned(), Duration::from_secs(3601))];
    let scene = Scene::of(plan, &[]).await?;
    set_retention(&scene.testbed, 3601, SHORT_SECONDS).await?;
    waited_until_gone(&scene).await?;
    skipped(&scene).await?;
    scene.finish()
}

async fn waited_until_gone(scene: &Scene) -> Result<()> {
    let (operator, frontend) = (&scene.operator, scene.testbed.frontend());
    let traffic = Traffic::begin(frontend, SHORT).await?;
    traffic.existing(30).await?;
    let id = "wait-for-retention";
    operator
        .start(id, &scene.spec_with(&json!({"existing_records": "wait", "gates": []})))
        .await?;

    let closed = |status: &Value| is(status, "waiting") && of_short(status)["closed"].as_u64() > Some(0);
    let status = operator.until(id, "waiting for closed records", closed).await?;
    let reason = status["condition"]["reason"].as_str().unwrap_or_default();
    says(
        reason,
        &["short: ", "closed records (Retention Period 1m 15s)", "open executions"],
    )?;
    let at = |value: &Value| -> Result<jiff::Timestamp> { Ok(value.as_str().context("no time")?.parse()?) };
    let until = at(&status["condition"]["until"])?;
    let length = until.duration_since(at(&status["dual_since"])?);
    ensure!(
        length.as_secs() == i64::from(SHORT_SECONDS),
        "until {until}, that is {length:#}: {status:#}"
    );
    ensure!(at(&status["condition"]["next_wake_up"])? <= until, "{status:#}");

    // Meanwhile the cluster lives on: a Namespace appears, with records that both stores get.
    let client = connect(frontend, NAMESPACE).await?;
    namespaces::register(client.connection(), LATE, Duration::from_secs(72 * 3600)).await?;
    let late = Traffic::begin(frontend, LATE).await?;
    late.existing(10).await?;

    let only_open = |status: &Value| {
        is(status, "waiting") && of_short(status)["closed"] == 0 && of_short(status)["open"].as_u64() > Some(0)
    };
    let status = operator
        .until(id, "waiting for open executions alone", only_open)
        .await?;
    ensure!(
        status["condition"]["until"].is_null(),
        "nobody knows when they close: {status:#}"
    );
    ensure!(
        status["wait"].as_array().map(Vec::len) == Some(1),
        "the late Namespace is waited for: {status:#}"
    );

    retain(scene, SHORT, 2 * 3600).await?;
    let changed = |status: &Value| of_short(status)["retention_seconds"] == 7200;
    operator
        .until(id, "the changed Retention Period was read", changed)
        .await?;

    let client = connect(frontend, SHORT).await?;
    for entry in traffic
        .ledger()
        .entries()
        .into_iter()
        .filter(|entry| entry.status == Status::Running)
    {
        let request = TerminateWorkflowExecutionRequest {
            namespace: SHORT.to_owned(),
            workflow_execution: Some(WorkflowExecution {
                workflow_id: entry.workflow_id,
                run_id: entry.run_id,
            }),
            ..Default::default()
        };
        client
            .connection()
            .workflow_service()
            .terminate_workflow_execution(request.into_request())
            .await?;
    }
    let report = operator.end(&scene.testbed, id).await?.completed()?;
    is_clean(&report)?;
    record(&scene.testbed, id, "waited-for-retention").await?;
    ensure!(report["copied"] == 0, "nothing was to be copied: {report:#}");
    drop(traffic.end());
    judged(&scene.testbed, scene.testbed.target(), [late.end()]).await
}

/// A wait of days that the operator ends, and what was waited for arrives all the same.
async fn skipped(scene: &Scene) -> Result<()> {
    let operator = &scene.operator;
    let traffic = Traffic::begin(scene.testbed.frontend(), NAMESPACE).await?;
    traffic.existing(30).await?;
    let id = "wait-no-longer";
    let mut spec = scene.spec_with(&json!({"existing_records": "wait", "gates": ["cutover"]}));
    let Store::Sqlite { file } = scene.testbed.target() else {
        anyhow::bail!("this testbed is on SQLite")
    };
    let file = file.with_file_name("visibility_third.db");
    spec["target"]["name"] = json!("visibility-third");
    spec["target"]["datastore"]["sql"]["databaseName"] = json!(file);
    operator.start(id, &spec).await?;
    let days = |status: &Value| is(status, "waiting") && !status["condition"]["until"].is_null();
    let status = operator.until(id, "waiting for days", days).await?;
    says(
        &status["condition"]["reason"].to_string(),
        &["default: ", "Retention Period 3d"],
    )?;
    let too_much = operator.signal(id, "skip-wait", Some("[\"now\"]")).await;
    ensure!(too_much.is_ok(), "{too_much:?}");
    operator
        .signal(id, "skip-wait", Some(r#"{"by": "alice", "note": "we copy instead"}"#))
        .await?;
    let status = operator
        .until(id, "the gate behind verify", |status| awaits(status, "cutover"))
        .await?;
    ensure!(
        status["verify"]["repaired"].as_u64() > Some(0),
        "verify carried nothing over: {status:#}"
    );
    says(
        &operator.audit(id).await?,
        &[
            "skip-wait refused",
            "skip-wait taken: the Retention wait is skipped",
            "alice",
        ],
    )?;
    operator.approve(id, "cutover").await?;
    let report = operator.end(&scene.testbed, id).await?.completed()?;
    is_clean(&report)?;
    judged(&scene.testbed, &Store::Sqlite { file }, [traffic.end()]).await
}

/// What a status says of [`SHORT`].
fn of_short(status: &Value) -> &Value {
    let waits = status["wait"].as_array().map_or(&[][..], Vec::as_slice);
    waits
        .iter()
        .find(|wait| wait["namespace"] == SHORT)
        .unwrap_or(&Value::Null)
}

async fn retain(scene: &Scene, namespace: &str, seconds: i64) -> Result<()> {
    let client = connect(scene.testbed.frontend(), namespace).await?;
    let period = Duration::from_secs(seconds.unsigned_abs()).try_into()?;
    let request = UpdateNamespaceRequest {
        namespace: namespace.to_owned(),
        config: Some(NamespaceConfig {
            workflow_execution_retention_ttl: Some(period),
            ..Default::default()
        }),
        ..Default::default()
    };
    client
        .connection()
        .workflow_service()
        .update_namespace(request.into_request())
        .await?;
    Ok(())
}
