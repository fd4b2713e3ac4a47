//! A target that dies while it is written and read: it is left, the cluster goes on, and what the target lacks afterwards
//! is filled in before it is read again. Then the cluster moves back by a migration of its own, and what has become the source
//! dies while it is kept written after promote: the operator is asked, and it is whole again when it is back.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::migration::{Operator, awaits, is, record, stage};
use e2e::scene::{Scene, is_clean, judged, says};
use e2e::servers::binaries::TEMPORAL_1_30_8;
use e2e::story::worker_variables;
use e2e::testbed::{Engine, NAMESPACE, Plan};
use e2e::traffic::Traffic;
use serde_json::{Value, json};

/// How long the target may fail.
const BUDGET: Duration = Duration::from_secs(6);
/// With what it takes to notice that, to tell the hosts, and on a machine with much else to do.
const LEFT_WITHIN: Duration = Duration::from_secs(60);
/// How long the source stays written after promote: while it dies, comes back and is judged, and then nobody says `finish`.
const KEPT_WARM: &str = "180s";
/// The store in which the cluster begins.
const OLD: &str = "visibility";

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_dies_is_left_and_filled_when_it_is_back() -> Result<()> {
    let plan = Plan::pair(&TEMPORAL_1_30_8, Engine::Sqlite, Engine::Postgres);
    let tools = worker_variables(&TEMPORAL_1_30_8)?;
    let tools: Vec<(&str, &str)> = tools.iter().map(|(name, path)| (*name, path.as_str())).collect();
    let mut scene = Scene::of(plan, &tools).await?;
    let id = "target-dies";
    let traffic = Traffic::begin(scene.testbed.frontend(), NAMESPACE).await?;
    traffic.existing(40).await?;
    let going = traffic.keep_going(3);
    let operator = scene.operator.clone();
    let spec = scene.spec_with(&json!({
        "gates": ["cutover", "promote"],
        "guard": {"budget": format!("{}s", BUDGET.as_secs()), "interval": "1s"},
    }));
    operator.start(id, &spec).await?;
    operator.at_gate(id, "cutover").await?;
    operator.approve(id, "cutover").await?;
    operator.at_gate(id, "promote").await?;
    let dynamic_config = scene.testbed.temporal().dynamic_config().to_owned();
    says(
        &fs::read_to_string(&dynamic_config)?,
        &["value: \"dual\"", "value: true"],
    )?;

    // It dies at the worst moment: it is what everybody reads.
    let died = Instant::now();
    let (postgres, _) = scene.testbed.postgres_server().context("this testbed has PostgreSQL")?;
    postgres.kill()?;
    let left = |status: &Value| !status["guard"]["gap"]["off"].is_null();
    let status = operator
        .until_within(LEFT_WITHIN, id, "the target is left", left)
        .await?;
    ensure!(died.elapsed() >= BUDGET, "left after {:?}", died.elapsed());
    ensure!(status["can_roll_back"] == true, "{status:#}");
    let since: jiff::Timestamp = status["guard"]["gap"]["since"].as_str().unwrap_or_default().parse()?;
    let noticed: jiff::Timestamp = status["guard"]["gap"]["noticed"].as_str().unwrap_or_default().parse()?;
    ensure!(since < noticed, "{status:#}");
    let text = fs::read_to_string(&dynamic_config)?;
    says(&text, &["value: \"off\"", "value: false"])?;
    let audit = operator.audit(id).await?;
    says(
        &audit,
        &[
            "guard taken: writes to the target fail",
            "the target is not written any more",
            "told to write and read the source",
        ],
    )?;

    // Meanwhile the cluster makes executions and lists them.
    let before = traffic.ledger().entries().len();
    traffic.existing(before + 20).await?;
    let deadline = Instant::now() + Duration::from_secs(30);
    while operator.told(&["list", "--pagesize", "1"]).await.is_err() {
        ensure!(Instant::now() < deadline, "nobody can list anything");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    let (postgres, processes) = scene.testbed.postgres_server().context("this testbed has PostgreSQL")?;
    postgres.resume(processes).await?;
    let filled = |status: &Value| !status["guard"]["gaps"][0]["filled"].is_null();
    let status = operator.until(id, "the gap is filled", filled).await?;
    ensure!(status["guard"]["gap"].is_null(), "{status:#}");
    ensure!(status["guard"]["gaps"][0]["repaired"].as_u64() > Some(0), "{status:#}");
    let at_gate = |status: &Value| awaits(status, "promote");
    let status = operator.until(id, "the gate before promote, again", at_gate).await?;
    ensure!(
        stage(&status) == "promote" && status["cutover"] == "soaked",
        "{status:#}"
    );
    says(
        &fs::read_to_string(&dynamic_config)?,
        &["value: \"dual\"", "value: true"],
    )?;

    operator.approve(id, "promote").await?;
    let report = operator.end(&scene.testbed, id).await?.completed()?;
    is_clean(&report)?;
    ensure!(report["gaps"].as_array().map(Vec::len) == Some(1), "{report:#}");
    says(
        &operator.audit(id).await?,
        &["both stores are written again since", "the gap in the target is filled"],
    )?;
    let events = operator.history_length(id).await?;
    ensure!(events < 1_000, "{events} events");
    going.stop().await?;
    traffic.settle().await?;
    judged(&scene.testbed, scene.testbed.target(), [traffic.ledger().clone()]).await?;

    the_source_dies_while_it_is_kept_written(&mut scene, &traffic).await?;
    judged(&scene.testbed, scene.testbed.source(), [traffic.end()]).await?;
    scene.finish()
}

/// Back to the old store, by a migration whose target it is. PostgreSQL is the source now.
async fn the_source_dies_while_it_is_kept_written(scene: &mut Scene, traffic: &Traffic) -> Result<()> {
    let id = "source-dies";
    let operator = scene.operator.clone();
    let config = fs::read_to_string(&scene.testbed.temporal().hosts()[0].config)?;
    let config: Value = yaml_serde::from_str(&config)?;
    let old = &config["persistence"]["datastores"][OLD];
    let spec = scene.spec_with(&json!({
        "target": {"name": OLD, "datastore": old},
        "gates": [],
        "guard": {"budget": format!("{}s", BUDGET.as_secs()), "interval": "1s"},
        "promote": {"keep_warm": KEPT_WARM},
    }));
    let going = traffic.keep_going(3);
    operator.start(id, &spec).await?;
    let warm = |status: &Value| !status["warm"]["since"].is_null();
    operator
        .until(id, "both stores written with the roles swapped", warm)
        .await?;

    let died = Instant::now();
    let (postgres, _) = scene.testbed.postgres_server().context("this testbed has PostgreSQL")?;
    postgres.kill()?;
    // It is told before anybody is asked, and nothing is changed by itself.
    let told = |status: &Value| !status["guard"]["failing_since"].is_null();
    let status = operator
        .until_within(LEFT_WITHIN, id, "told that the source fails", told)
        .await?;
    ensure!(
        status["guard"]["fails"] == "source" && is(&status, "waiting") && status["can_roll_back"] == true,
        "{status:#}"
    );
    let asked = |status: &Value| is(status, "needs-operator");
    let status = operator
        .until_within(LEFT_WITHIN, id, "the operator is asked", asked)
        .await?;
    ensure!(died.elapsed() >= BUDGET, "asked after {:?}", died.elapsed());
    says(
        &status["condition"].to_string(),
        &["source-fails", "is not whole", "then `resume`", "`finish`"],
    )?;
    // Who resumes before it is put right is asked again.
    operator.signal(id, "resume", None).await?;
    is_asked_times(&operator, id, 2).await?;
    let dynamic_config = fs::read_to_string(scene.testbed.temporal().dynamic_config())?;
    says(&dynamic_config, &["value: \"dual\""])?;

    let (postgres, processes) = scene.testbed.postgres_server().context("this testbed has PostgreSQL")?;
    postgres.resume(processes).await?;
    operator.signal(id, "resume", None).await?;
    let again = |status: &Value| status["guard"]["failing_since"].is_null() && is(status, "waiting");
    operator.until(id, "both stores written again", again).await?;
    going.stop().await?;
    traffic.settle().await?;
    // What failed was tried again: a way back would need no copy, as before.
    judged(&scene.testbed, scene.testbed.target(), [traffic.ledger().clone()]).await?;
    let status = operator.status(id).await?;
    ensure!(is(&status, "waiting") && status["warm"]["over"] == false, "{status:#}");

    let report = operator.end(&scene.testbed, id).await?.completed()?;
    is_clean(&report)?;
    let until: jiff::Timestamp = status["warm"]["until"].as_str().unwrap_or_default().parse()?;
    ensure!(jiff::Timestamp::now() >= until, "it has ended before {until}");
    let audit = operator.audit(id).await?;
    says(
        &audit,
        &[
            "guard taken: writes to the source fail",
            "guard taken: the source takes writes again",
            "the source is left",
        ],
    )?;
    ensure!(!audit.contains("finish taken"), "{audit}");
    record(&scene.testbed, id, "kept-warm-while-the-source-fails").await
}

/// Waits until the operator was asked so many times.
async fn is_asked_times(operator: &Operator, id: &str, times: usize) -> Result<()> {
    let deadline = Instant::now() + LEFT_WITHIN;
    loop {
        let audit = operator.audit(id).await?;
        if audit.matches("stopped: [source-fails]").count() == times {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "not asked {times} times:\n{audit}");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
