//! The source stays written after promote: going back needs no copy, and an operator ends it when they like.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use e2e::migration::{Files, Operator, is, record};
use e2e::scene::{Scene, is_clean, judged, says};
use e2e::servers::binaries::TEMPORAL_1_30_8;
use e2e::story::worker_variables;
use e2e::testbed::{Engine, NAMESPACE, Plan, TARGET_NAME, Testbed};
use e2e::traffic::Traffic;
use serde_json::{Value, json};

/// From this many events on the server suggests that a run be continued as new.
const LONG: u64 = 150;

/// What the plan's hosts are called in the status.
fn configs(status: &Value) -> Vec<&str> {
    let hosts = status["hosts"].as_array().map_or(&[][..], Vec::as_slice);
    hosts.iter().filter_map(|host| host["config"].as_str()).collect()
}

async fn kept_warm(operator: &Operator, id: &str) -> Result<Value> {
    operator
        .until(id, "both stores written with the roles swapped", |status| {
            !status["warm"]["since"].is_null()
        })
        .await
}

/// The run that a migration is in: 1 for its first.
async fn runs(operator: &Operator, id: &str) -> Result<u64> {
    let status = operator.status(id).await?;
    status["runs"]
        .as_u64()
        .with_context(|| format!("no runs in {status:#}"))
}

/// With what the last host does not come up.
enum Fails {
    /// With the target as its primary, the roles being swapped.
    Swapped,
    /// With the target alone.
    Alone,
}

/// Has the last host not come up so, as long as the file is there that this names.
fn does_not_come_up(testbed: &Testbed, spec: &mut Value, fails: Fails) -> Result<PathBuf> {
    let cut_off = testbed.folder().join("node-front-is-cut-off");
    std::fs::write(&cut_off, "")?;
    let mut hosts = testbed.temporal().hosts().iter();
    let host = hosts.find(|host| host.name == "node-front").context("no such host")?;
    let (script, file) = (host.script.display(), host.config.display());
    let secondary = match fails {
        Fails::Swapped => "grep",
        Fails::Alone => "! grep",
    };
    let start = format!(
        "if [ -e {} ] && grep -q '  visibilityStore: {TARGET_NAME}' {file} && {secondary} -q secondaryVisibilityStore {file}; then\n\
         {script} stop\necho 'no room on this host' >&2\nexit 1\nfi\nexec {script} restart",
        cut_off.display()
    );
    for host in spec["cluster"]["hosts"].as_array_mut().context("no hosts")? {
        if host["name"] == "node-front" {
            host["restart"] = json!({"command": ["sh", "-c", start]});
        }
    }
    Ok(cut_off)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_source_is_kept_written_until_the_operator_turns_back_or_finishes() -> Result<()> {
    let tools = worker_variables(&TEMPORAL_1_30_8)?;
    let tools: Vec<(&str, &str)> = tools.iter().map(|(name, path)| (*name, path.as_str())).collect();
    let mut plan = Plan::new(Engine::Postgres).on_two_hosts();
    plan.dynamic_config = format!("limit.historyCount.suggestContinueAsNew:\n  - value: {LONG}\n");
    let mut scene = Scene::of(plan, &tools).await?;
    let operator = scene.operator.clone();
    let before = Files::of(&scene.testbed)?;
    let traffic = Traffic::begin(scene.testbed.frontend(), NAMESPACE).await?;
    traffic.existing(60).await?;
    let mut spec = scene.spec_with(&json!({"gates": ["dual-write"], "promote": {"keep_warm": "7d"}}));

    let (back, forward) = ("kept-warm-and-back", "kept-warm-and-finished");
    let going = traffic.keep_going(4);
    operator.start(back, &spec).await?;
    operator.at_gate(back, "dual-write").await?;
    let plan = operator.query(back, "plan", None).await?.to_string();
    says(
        &plan,
        &[
            "the secondaryVisibilityStore; restart",
            "keep both written for 7days, or until `finish`",
        ],
    )?;
    operator.approve(back, "dual-write").await?;
    let status = kept_warm(&operator, back).await?;
    ensure!(configs(&status) == ["warm", "warm"], "{status:#}");
    ensure!(status["can_roll_back"] == true, "{status:#}");
    ensure!(scene.visibility_stores().await? == "postgres12,postgres12");
    let files = Files::of(&scene.testbed)?.text();
    ensure!(
        files.matches(&format!("  visibilityStore: {TARGET_NAME}")).count() == 2
            && files.matches("secondaryVisibilityStore: \"visibility\"").count() == 2,
        "{files}"
    );
    // A worker that is gone for a while changes nothing about it.
    scene.worker.kill()?;
    scene.worker.again(&scene.testbed)?;
    // What is written now is to be there after the way back, and no copy is made on it.
    let made = traffic.ledger().kept();
    traffic.reaches(made + 20).await;
    operator.signal(back, "rollback", Some(r#"{"by": "alice"}"#)).await?;
    let report = operator.end(&scene.testbed, back).await?.completed()?;
    ensure!(report["result"] == "rolled-back", "{report:#}");
    record(&scene.testbed, back, "kept-warm-and-back").await?;
    before.are_unchanged()?;
    ensure!(scene.visibility_stores().await? == "postgres12");
    going.stop().await?;
    traffic.settle().await?;
    judged(&scene.testbed, scene.testbed.source(), [traffic.ledger().clone()]).await?;

    turns_back_half_way(&scene, &traffic, &before, spec.clone()).await?;

    let going = traffic.keep_going(4);
    let cut_off = does_not_come_up(&scene.testbed, &mut spec, Fails::Alone)?;
    operator.start(forward, &spec).await?;
    operator.approve(forward, "dual-write").await?;
    kept_warm(&operator, forward).await?;
    let made = traffic.ledger().kept();
    traffic.reaches(made + 20).await;
    going.stop().await?;
    traffic.settle().await?;
    // Both stores have everything, the one that is left too.
    for store in [scene.testbed.source(), scene.testbed.target()] {
        judged(&scene.testbed, store, [traffic.ledger().clone()]).await?;
    }
    // The history grows past what the server likes a run to have, and `finish` is what the next run hears of.
    let run = runs(&operator, forward).await?;
    while operator.history_length(forward).await? <= LONG {
        operator.crossfade(&["pause", "--id", forward]).await?;
        operator.crossfade(&["resume", "--id", forward]).await?;
    }
    operator.signal(forward, "finish", Some(r#"{"by": "bob"}"#)).await?;
    // One host has the target alone, the last one does not come up with that: it has what it had, and so have all the keys
    // that tell it to write.
    let status = operator
        .until(forward, "needing the operator", |status| is(status, "needs-operator"))
        .await?;
    ensure!(configs(&status) == ["promoted", "warm"], "{status:#}");
    ensure!(status["can_roll_back"] == false, "{status:#}");
    ensure!(
        runs(&operator, forward).await? > run,
        "the run was not continued as new"
    );
    let keys = std::fs::read_to_string(scene.testbed.temporal().dynamic_config())?;
    says(
        &keys,
        &["secondaryVisibilityWritingMode", "enableReadFromSecondaryVisibility"],
    )?;
    std::fs::remove_file(cut_off)?;
    operator.signal(forward, "resume", None).await?;
    let report = operator.end(&scene.testbed, forward).await?.completed()?;
    is_clean(&report)?;
    says(&operator.audit(forward).await?, &["finish taken", "the source is left"])?;
    let files = Files::of(&scene.testbed)?.text();
    ensure!(
        !files.contains("secondaryVisibility") && files.contains(&format!("visibilityStore: {TARGET_NAME}")),
        "{files}"
    );
    let status = operator.status(forward).await?;
    ensure!(configs(&status) == ["promoted", "promoted"], "{status:#}");
    let keys = std::fs::read_to_string(scene.testbed.temporal().dynamic_config())?;
    ensure!(!keys.contains("econdaryVisibility"), "{keys}");
    record(&scene.testbed, forward, "kept-warm-and-finished")
        .await
        .context("its history")?;
    judged(&scene.testbed, scene.testbed.target(), [traffic.end()]).await?;
    scene.finish()
}

/// The first host has its roles swapped, the last one does not come up so and gets its former file back: from there the way back
/// is open, too.
async fn turns_back_half_way(scene: &Scene, traffic: &Traffic, before: &Files, mut spec: Value) -> Result<()> {
    let id = "swapped-half-and-back";
    let operator = &scene.operator;
    let cut_off = does_not_come_up(&scene.testbed, &mut spec, Fails::Swapped)?;
    let going = traffic.keep_going(4);
    operator.start(id, &spec).await?;
    operator.approve(id, "dual-write").await?;
    let asked = |status: &Value| is(status, "needs-operator");
    let status = operator.until(id, "needing the operator", asked).await?;
    ensure!(configs(&status) == ["warm", "dual"], "{status:#}");
    ensure!(status["can_roll_back"] == true, "{status:#}");
    says(
        &status["condition"].to_string(),
        &["no room on this host", "`rollback`"],
    )?;
    let files = Files::of(&scene.testbed)?.text();
    ensure!(
        files.matches(&format!("  visibilityStore: {TARGET_NAME}")).count() == 1
            && files.matches("secondaryVisibilityStore").count() == 2,
        "{files}"
    );
    // Each of the two has its own primary now, and both write both stores.
    let made = traffic.ledger().kept();
    traffic.reaches(made + 10).await;
    operator.signal(id, "rollback", None).await?;
    let report = operator.end(&scene.testbed, id).await?.completed()?;
    ensure!(report["result"] == "rolled-back", "{report:#}");
    before.are_unchanged()?;
    ensure!(scene.visibility_stores().await? == "postgres12");
    going.stop().await?;
    traffic.settle().await?;
    std::fs::remove_file(cut_off)?;
    judged(&scene.testbed, scene.testbed.source(), [traffic.ledger().clone()]).await
}
