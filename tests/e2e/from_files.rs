//! The workflow terminated outright: the cluster goes on working, and `crossfade rollback --from-files` gives every byte back
//! without it.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use e2e::migration::{Files, crossfade, is, stage};
use e2e::scene::{Scene, judged, says};
use e2e::story::worker_variables;
use e2e::testbed::{Engine, NAMESPACE, Plan};
use e2e::traffic::Traffic;
use serde_json::{Value, json};

/// Executions that there are before.
const EXISTING: usize = 60;

/// A migration, and where it is terminated.
struct Case {
    id: &'static str,
    spec: Value,
    here: fn(&Value) -> bool,
    /// Whether somebody changes a file meanwhile.
    meddled: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_migration_is_put_back_from_its_files() -> Result<()> {
    let mut scene = Scene::on(Engine::Sqlite).await?;
    let traffic = Traffic::begin(scene.testbed.frontend(), NAMESPACE).await?;
    traffic.existing(EXISTING).await?;
    let cases = [
        Case {
            id: "terminated-in-dual-write",
            spec: json!({"gates": []}),
            here: |status| stage(status) == "dual-write" && status["hosts"][0]["config"] == "dual",
            meddled: false,
        },
        Case {
            id: "terminated-while-it-soaks",
            spec: json!({"gates": [], "cutover": {"soak": "10m"}}),
            here: |status| is(status, "waiting") && status["cutover"] == "everyone",
            meddled: true,
        },
    ];
    for case in cases {
        terminated(&mut scene, &traffic, &case)
            .await
            .with_context(|| format!("in {}", case.id))?;
    }
    scene.finish()
}

async fn terminated(scene: &mut Scene, traffic: &Traffic, case: &Case) -> Result<()> {
    let (operator, id) = (scene.operator.clone(), case.id);
    let before = Files::of(&scene.testbed)?;
    let going = traffic.keep_going(3);
    operator.start(id, &scene.spec_with(&case.spec)).await?;
    operator.until(id, "where it is terminated", case.here).await?;
    let config = configs(scene);
    let config: Vec<&str> = config.iter().map(String::as_str).collect();
    let command = [&["rollback", "--from-files"][..], &config].concat();
    let runs = operator.crossfade(&command).await.expect_err("it runs");
    says(
        &format!("{runs:#}"),
        &["runs", &format!("crossfade rollback --id {id}")],
    )?;

    scene.worker.kill()?;
    operator.told(&["terminate", "-w", id]).await?;
    traffic.reaches(traffic.ledger().kept() + 5).await;

    // It shows what it would do, and does nothing.
    let shown = operator.crossfade(&command).await?;
    ensure!(shown["done"] == false, "{shown}");
    ensure!(before.are_unchanged().is_err(), "the files are back already");
    let mut command = [&command[..], &["--yes"]].concat();
    let dynamic = scene.testbed.temporal().dynamic_config().display().to_string();
    if case.meddled {
        let mut text = std::fs::read_to_string(&dynamic)?;
        text.push_str("# frozen until Monday\n");
        std::fs::write(&dynamic, text)?;
        let refused = operator.crossfade(&command).await.expect_err("somebody changed a file");
        says(
            &format!("{refused:#}"),
            &["changed by somebody else", &dynamic, "--force"],
        )?;
        says(&std::fs::read_to_string(&dynamic)?, &["frozen until Monday"])?;
        command.extend(["--force", &dynamic]);
    }
    let done = operator.crossfade(&command).await?;
    ensure!(done["done"] == true && done["next_steps"] == json!([]), "{done}");
    before.are_unchanged()?;
    ensure!(scene.visibility_stores().await? == "sqlite", "it is not as it was");
    // Once more there is nothing to do.
    let again = operator
        .crossfade(&command)
        .await
        .expect_err("nothing is to be put back");
    says(&format!("{again:#}"), &["nothing is kept that is to be put back"])?;

    going.stop().await?;
    traffic.existing(traffic.ledger().kept() + 5).await?;
    judged(&scene.testbed, scene.testbed.source(), [traffic.ledger().clone()]).await?;
    scene.worker.again(&scene.testbed)
}

/// `--config FILE` for every host.
fn configs(scene: &Scene) -> Vec<String> {
    let hosts = scene.testbed.temporal().hosts().iter();
    hosts
        .flat_map(|host| ["--config".to_owned(), host.config.display().to_string()])
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn between_two_promoted_hosts_nothing_is_lost_either() -> Result<()> {
    let plan = Plan::new(Engine::Postgres).on_two_hosts();
    let tools = worker_variables(plan.release)?;
    let tools: Vec<(&str, &str)> = tools.iter().map(|(name, path)| (*name, path.as_str())).collect();
    let mut scene = Scene::of(plan, &tools).await?;
    let (operator, id) = (scene.operator.clone(), "terminated-between-promoted-hosts");
    let before = Files::of(&scene.testbed)?;
    let traffic = Traffic::begin(scene.testbed.frontend(), NAMESPACE).await?;
    traffic.existing(EXISTING).await?;
    let going = traffic.keep_going(3);
    operator.start(id, &scene.spec_with(&json!({"gates": []}))).await?;
    let promoted = |status: &Value| {
        let hosts = status["hosts"].as_array().map_or(&[][..], Vec::as_slice);
        hosts.iter().any(|host| host["ordered"] == "promoted")
    };
    operator.until(id, "the first host promoted", promoted).await?;
    // The host that is being restarted has history, without which nothing is taken.
    while operator.signal(id, "pause", None).await.is_err() {
        operator.status(id).await.ok();
    }
    let status = operator.until(id, "paused", |status| is(status, "paused")).await?;
    let configs_of: Vec<&Value> = status["hosts"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|host| &host["config"])
        .collect();
    ensure!(
        configs_of.contains(&&json!("dual")),
        "both hosts are promoted: {status:#}"
    );

    scene.worker.kill()?;
    operator.told(&["terminate", "-w", id]).await?;
    // From here on the source is not written by the promoted host, which has history.
    traffic.reaches(traffic.ledger().kept() + 10).await;
    let config = configs(&scene);
    let config: Vec<&str> = config.iter().map(String::as_str).collect();
    let done = operator
        .crossfade(&[&["rollback", "--from-files", "--yes"][..], &config].concat())
        .await?;
    before.are_unchanged()?;
    ensure!(scene.visibility_stores().await? == "postgres12", "it is not as it was");

    going.stop().await?;
    traffic.existing(traffic.ledger().kept() + 5).await?;
    let step = done["next_steps"][0]
        .as_str()
        .context("nothing is said of what only the target has")?;
    says(step, &["only the target has", "crossfade diff", "--truth"])?;
    for command in step.split('`').filter(|words| words.starts_with("crossfade ")) {
        // As people paste it into their shell.
        let program = crossfade()?;
        let typed = command.replacen("crossfade", &program.to_string_lossy(), 1);
        let output = Command::new("sh").args(["-c", &typed]).output()?;
        let said = [output.stdout, output.stderr].concat();
        // What the source got since it is written again, the target lacks: that is drift, and right.
        let is_well = matches!(output.status.code(), Some(0 | 3));
        ensure!(is_well, "{command}: {}", String::from_utf8_lossy(&said));
    }
    judged(&scene.testbed, scene.testbed.source(), [traffic.ledger().clone()]).await?;
    scene.worker.again(&scene.testbed)?;
    scene.finish()
}
