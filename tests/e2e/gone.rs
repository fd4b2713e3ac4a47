//! A source that is decommissioned before the migration is over: the last check cannot be made, and its operator decides.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::migration::{is, stage};
use e2e::scene::{Scene, says};
use e2e::testbed::{Engine, NAMESPACE, Plan, TARGET_NAME};
use e2e::traffic::Traffic;
use serde_json::json;

/// The ten tries of the last check lie 243 s apart altogether.
const TRIES: Duration = Duration::from_secs(240);
/// With the time that each takes, on a machine with much else to do.
const TRIED: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_gone_at_the_end_is_the_operators_to_decide() -> Result<()> {
    let plan = Plan {
        main: Engine::Sqlite,
        source: Engine::Postgres,
        target: Engine::Sqlite,
        ..Plan::new(Engine::Sqlite)
    };
    let mut scene = Scene::of(plan, &[]).await?;
    let id = "source-gone";
    let traffic = Traffic::begin(scene.testbed.frontend(), NAMESPACE).await?;
    traffic.existing(40).await?;
    scene
        .operator
        .start(id, &scene.spec_with(&json!({"gates": ["finish"]})))
        .await?;
    scene.operator.at_gate(id, "finish").await?;
    ensure!(scene.visibility_stores().await? == "sqlite");

    let (postgres, _) = scene.testbed.postgres_server().context("this testbed has PostgreSQL")?;
    postgres.stop()?;
    let operator = &scene.operator;
    operator.approve(id, "finish").await?;
    let began = Instant::now();
    let stuck = operator
        .until_within(TRIED, id, "waiting for its operator", |status| {
            is(status, "needs-operator")
        })
        .await?;
    ensure!(began.elapsed() >= TRIES, "given up after {:?}", began.elapsed());
    ensure!(
        stage(&stuck) == "finish" && stuck["can_roll_back"] == false,
        "{stuck:#}"
    );
    says(
        &stuck["condition"]["problems"].to_string(),
        &["store-unreachable", "bring the source back", "accept_drift", "missing"],
    )?;

    // Said once, it is not waited for again as long.
    let accepted = Instant::now();
    let input = r#"{"gate": "finish", "accept_drift": ["missing"], "by": "alice", "note": "it was decommissioned"}"#;
    operator.signal(id, "approve", Some(input)).await?;
    let report = operator.end(&scene.testbed, id).await?.completed()?;
    ensure!(accepted.elapsed() < TRIES, "{:?}", accepted.elapsed());
    ensure!(report["result"] == "migrated", "{report:#}");
    says(
        &report["unchecked"].to_string(),
        &["store-unreachable", "cannot be reached"],
    )?;
    says(&report["accepted_drift"].to_string(), &["missing"])?;
    says(
        &operator.audit(id).await?,
        &["accepting drift: missing", "finished without the last check"],
    )?;
    let config = std::fs::read_to_string(&scene.testbed.temporal().hosts()[0].config)?;
    says(&config, &[&format!("visibilityStore: {TARGET_NAME}")])?;
    drop(traffic.end());
    scene.finish()
}
