//! The worker killed by SIGKILL in the middle of every stage that changes something, and the server once.

use anyhow::{Context, Result, bail, ensure};
use e2e::migration::{Worker, is, payload, record, signal_with_payloads, stage};
use e2e::testbed::{Engine, NAMESPACE, Store};
use e2e::traffic::Traffic;
use serde_json::json;

use e2e::scene::{Scene, is_clean, judged, until};

/// More messages than a run's history has events before it is continued as new.
const MESSAGES: u64 = 1_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_outlives_its_worker_and_its_server() -> Result<()> {
    let mut scene = Scene::on(Engine::Sqlite).await?;
    let operator = scene.operator.clone();
    let host = scene.testbed.temporal().hosts()[0].clone();
    let traffic = Traffic::begin(scene.testbed.frontend(), NAMESPACE).await?;
    traffic.existing(200).await?;
    let going = traffic.keep_going(3);
    let id = "through-thick-and-thin";
    let spec = scene.spec_with(&json!({
        "records_per_second": 4,
        "slices": {"at_once": 3, "records": 50},
        "cutover": {"soak": "2s"},
    }));
    operator.start(id, &spec).await?;

    operator.at_gate(id, "dual-write").await?;
    talked_at(&scene, id).await?;
    operator.approve(id, "dual-write").await?;
    scene.killed_while_it_restarts().await.context("in dual-write")?;

    let mut other = Worker::named("another-worker", &scene.testbed, &[])?;
    operator
        .until(id, "copying", |status| {
            stage(status) == "existing-records" && status["copy"]["expected"] != 0
        })
        .await?;
    let copied = records(scene.testbed.target())?;
    grows(scene.testbed.target(), copied + 10).await?;
    // Its slices are the other's, once it is seen to be dead.
    scene.worker.kill()?;
    grows(scene.testbed.target(), copied + 20)
        .await
        .context("after one of two workers was killed while it copied")?;
    host.kill()?;
    host.start()?;
    scene.testbed.temporal().serving().await?;
    let status = operator
        .until(id, "copying after the server was killed", |status| {
            is(status, "running")
        })
        .await?;
    ensure!(
        stage(&status) == "existing-records",
        "the copy was over before the server was killed: {status:#}"
    );
    ensure!(
        status["copy"]["slices"]["open"].as_array().map_or(0, Vec::len) > 1,
        "it does not copy several slices at once: {status:#}"
    );
    operator
        .signal(id, "set-rate", Some(r#"{"records_per_second": null}"#))
        .await?;

    operator.at_gate(id, "cutover").await?;
    other.kill()?;
    scene.worker.again(&scene.testbed)?;
    operator.approve(id, "cutover").await?;
    operator
        .until(id, "cutover", |status| {
            stage(status) == "cutover" && is(status, "running")
        })
        .await?;
    scene.worker.kill()?;
    scene.worker.again(&scene.testbed)?;

    operator.at_gate(id, "promote").await?;
    operator.approve(id, "promote").await?;
    scene.killed_while_it_restarts().await.context("in promote")?;
    let report = operator.end(&scene.testbed, id).await?.completed()?;

    going.stop().await?;
    traffic.settle().await?;
    is_clean(&report)?;
    record(&scene.testbed, id, "killed-and-continued").await?;
    ensure!(report["gates_approved"] == 3, "{report:#}");
    let status = operator.status(id).await?;
    let slices = &status["copy"]["slices"];
    ensure!(
        slices["total"].as_u64() > Some(3) && slices["done"] == slices["total"],
        "{slices:#}"
    );
    ensure!(
        status["runs"] == 2 && status["earlier_events"].as_u64() > Some(MESSAGES),
        "it did not continue as new: {status:#}"
    );
    let events = operator.history_length(id).await?;
    ensure!(events < 2_000, "{events} events");
    judged(&scene.testbed, scene.testbed.target(), [traffic.end()]).await?;
    scene.finish()
}

/// Says so much that the history grows long, and the migration goes on in a run of its own.
async fn talked_at(scene: &Scene, id: &str) -> Result<()> {
    let client = scene.testbed.client(NAMESPACE).await?;
    for _ in 0..MESSAGES {
        let rate = payload("json/plain", br#"{"records_per_second": 4}"#);
        signal_with_payloads(&client, id, "set-rate", vec![rate]).await?;
    }
    Ok(())
}

async fn grows(store: &Store, records_at_least: i64) -> Result<()> {
    until(&format!("{records_at_least} records in the target"), || {
        records(store).is_ok_and(|records| records >= records_at_least)
    })
    .await
}

fn records(store: &Store) -> Result<i64> {
    let Store::Sqlite { file } = store else {
        bail!("not a SQLite store")
    };
    let database = rusqlite::Connection::open_with_flags(file, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    Ok(database.query_row("SELECT count(*) FROM executions_visibility", [], |row| row.get(0))?)
}
