//! A whole migration between two SQLite files under traffic, with everything that an operator may say on the way.

use anyhow::{Context, Result, ensure};
use e2e::migration::{Files, awaits, is, record, stage};
use e2e::testbed::{Engine, NAMESPACE, TARGET_NAME};
use e2e::traffic::Traffic;
use serde_json::json;

use e2e::scene::{ORDERS, Scene, is_clean, judged, says};

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_moves_from_one_sqlite_file_to_another_under_traffic() -> Result<()> {
    let scene = Scene::on(Engine::Sqlite).await?;
    let (operator, frontend) = (&scene.operator, scene.testbed.frontend());
    let id = "move-to-a-new-file";
    let before = Files::of(&scene.testbed)?;

    let shop = Traffic::begin(frontend, NAMESPACE).await?;
    let orders = Traffic::begin(frontend, ORDERS).await?;
    shop.existing(200).await?;
    orders.existing(60).await?;
    let (going, also_going) = (shop.keep_going(4), orders.keep_going(2));

    let mut spec = scene.testbed.spec();
    spec["cutover"] = json!({"namespaces_first": [ORDERS], "soak": "3s"});
    // Slow, so that there is time to say something while it copies.
    spec["records_per_second"] = json!(5);
    operator.start(id, &spec).await?;
    // Nobody has to sit and wait for this gate.
    operator
        .signal(
            id,
            "approve",
            Some(r#"{"gate": "cutover", "by": "alice", "note": "ahead of time"}"#),
        )
        .await?;

    operator.at_gate(id, "dual-write").await?;
    before.are_unchanged().context("before the first gate")?;
    queries_answer(&scene, id).await?;
    a_second_migration_is_refused(&scene, id).await?;

    operator.approve(id, "dual-write").await?;
    operator
        .until(id, "copying", |status| {
            stage(status) == "existing-records" && status["copy"]["expected"] != 0
        })
        .await?;
    steered_while_it_copies(&scene, id).await?;

    let status = operator.at_gate(id, "promote").await?;
    ensure!(status["approvals"]["cutover"]["by"] == "alice", "{status:#}");
    ensure!(status["can_roll_back"] == true, "{status:#}");
    says(
        &Files::of(&scene.testbed)?.text(),
        &["secondaryVisibilityStore: \"visibility-next\""],
    )?;
    operator.approve(id, "promote").await?;
    let report = operator.end(&scene.testbed, id).await?.completed()?;

    going.stop().await?;
    also_going.stop().await?;
    shop.settle().await?;
    orders.settle().await?;
    is_clean(&report)?;
    ensure!(report["gates_approved"] == 3, "{report:#}");
    ensure!(
        report["copied"].as_u64() > Some(150),
        "the copy had little to do: {}",
        report["copied"]
    );
    ensure!(
        operator.query(id, "report", None).await? == report,
        "the query and the result differ"
    );
    record(&scene.testbed, id, "migrated").await?;
    let events = operator.history_length(id).await?;
    ensure!(events < 2_000, "{events} events");

    let counted = scene.worker.metrics().await?;
    for (metric, at_least) in [
        ("crossfade_records_written_total{activity=\"copy-records\"}", 100),
        ("crossfade_records_read_total{activity=\"compare-records\"}", 260),
        ("crossfade_records_per_second_limit{activity=\"copy-records\"}", 0),
        ("temporal_num_pollers", 0),
    ] {
        let line = counted.lines().find(|line| line.starts_with(metric));
        let value = line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        ensure!(value >= Some(at_least), "{metric}: {line:?} in\n{counted}");
    }

    let files = Files::of(&scene.testbed)?.text();
    says(&files, &[&format!("visibilityStore: {TARGET_NAME}")])?;
    ensure!(!files.contains("secondaryVisibility"), "{files}");
    judged(&scene.testbed, scene.testbed.target(), [shop.end(), orders.end()]).await?;

    let late = operator.signal(id, "approve", Some("\"promote\"")).await;
    says(&format!("{:?}", late.expect_err("it is over")), &["already completed"])?;
    scene.finish()
}

async fn queries_answer(scene: &Scene, id: &str) -> Result<()> {
    let operator = &scene.operator;
    for input in [None, Some("1"), Some(r#"{"any": "thing"}"#)] {
        let status = operator.query(id, "status", input).await?;
        ensure!(awaits(&status, "dual-write"), "{status:#}");
        let command = status["awaited_command"].as_str().context("no command")?;
        says(command, &["tctl workflow signal", id, "approve", "\"dual-write\""])?;
        let plan = operator.query(id, "plan", input).await?;
        ensure!(
            plan["server_version"] == "1.30.8" && plan["route"] == "dual",
            "{plan:#}"
        );
        let files = plan["hosts"][0]["files"].as_array().context("no files")?;
        let diffs: String = files.iter().filter_map(|file| file["diff"].as_str()).collect();
        says(
            &diffs,
            &[
                "+  secondaryVisibilityStore: \"visibility-next\"",
                "-  visibilityStore: visibility ",
                "system.secondaryVisibilityWritingMode",
            ],
        )?;
        let audit = operator.query(id, "audit", input).await?;
        ensure!(audit.as_array().is_some_and(|entries| !entries.is_empty()), "{audit:#}");
        let report = operator.query(id, "report", input).await?;
        ensure!(report["migration"] == id && report["result"].is_null(), "{report:#}");
    }
    says(
        &operator.audit(id).await?,
        &["`cutover` approved by alice, ahead of time"],
    )
}

async fn a_second_migration_is_refused(scene: &Scene, first: &str) -> Result<()> {
    let operator = &scene.operator;
    operator.start("another", &scene.testbed.spec()).await?;
    let failure = operator.end(&scene.testbed, "another").await?.failed()?;
    ensure!(failure.kind == "Refused" && !failure.retryable, "{failure:?}");
    record(&scene.testbed, "another", "refused").await?;
    says(&failure.message, &["migration-running", first, "Next step"])
}

/// Pause, resume and the rate: by signals from tctl and by updates from the product's own command line.
async fn steered_while_it_copies(scene: &Scene, id: &str) -> Result<()> {
    let operator = &scene.operator;
    operator.signal(id, "pause", Some("\"lunch\"")).await?;
    let paused = operator
        .until(id, "paused by tctl", |status| is(status, "paused"))
        .await?;
    let copied = paused["copy"]["copied"]["scanned"].clone();
    operator
        .signal(id, "set-rate", Some(r#"{"records_per_second": 10}"#))
        .await?;
    let still = operator.status(id).await?;
    ensure!(still["records_per_second"] == 10, "{still:#}");
    ensure!(
        is(&still, "paused") && still["copy"]["copied"]["scanned"] == copied,
        "{still:#}"
    );
    operator.signal(id, "resume", None).await?;
    operator
        .until(id, "copying again", |status| is(status, "running"))
        .await?;

    let answer = operator
        .crossfade(&["pause", "--id", id, "--by", "bob", "--note", "tea"])
        .await?;
    ensure!(answer["accepted"] == true, "{answer}");
    operator
        .until(id, "paused by the CLI", |status| is(status, "paused"))
        .await?;
    operator.crossfade(&["set-rate", "none", "--id", id]).await?;
    operator.crossfade(&["resume", "--id", id, "--by", "bob"]).await?;
    let refused = operator
        .crossfade(&["resume", "--id", id])
        .await
        .expect_err("it is not paused");
    says(&format!("{refused:#}"), &["not paused"])?;
    says(
        &operator.audit(id).await?,
        &[
            "pause taken: paused (lunch)",
            "set-rate taken: the rate is 10 records a second now",
            "pause taken: paused (bob: tea)",
            "set-rate taken: the rate is unlimited now",
        ],
    )
}
