//! A server that is a unit of systemd, restarted by `systemctl`.

use anyhow::{Result, ensure};
use e2e::migration::{Files, is};
use e2e::scene::{Scene, is_clean, judged, says};
use e2e::servers::binaries::{Program, TEMPORAL_1_30_8, find_or_build};
use e2e::servers::cache::Cache;
use e2e::servers::progress::Lines;
use e2e::servers::systemd::Systemd;
use e2e::testbed::{Engine, NAMESPACE, TARGET_NAME};
use e2e::traffic::Traffic;
use serde_json::json;

const UNIT: &str = "temporal.service";

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_a_unit_of_systemd_moves() -> Result<()> {
    let mut scene = Scene::on(Engine::Sqlite).await?;
    let traffic = Traffic::begin(scene.testbed.frontend(), NAMESPACE).await?;
    traffic.existing(60).await?;
    scene.testbed.temporal().hosts()[0].stop()?;
    let systemd = Systemd::boot(&scene.testbed)?;
    systemd.unit(UNIT, &unit(&scene)?)?;
    systemd.systemctl(&["start", UNIT])?;
    scene.answers().await?;
    scene.worker.kill()?;
    scene.worker.runs_under(systemd.inside());
    scene.worker.again(&scene.testbed)?;
    let operator = scene.operator.clone();
    let testbed = &scene.testbed;

    let mut spec = scene.spec_with(&json!({"gates": ["dual-write", "promote"]}));
    spec["cluster"]["hosts"][0]["restart"] = json!({"systemd": "temporl.service"});
    operator.start("mistyped", &spec).await?;
    let refused = operator.end(testbed, "mistyped").await?.failed()?;
    says(
        &refused.message,
        &["`temporl.service`", "not-found", "systemctl status"],
    )?;

    spec["cluster"]["hosts"][0]["restart"] = json!({"systemd": UNIT});
    let before = Files::of(testbed)?;
    let lives = |systemd: &Systemd| systemd.systemctl(&["show", "--value", "--property=InvocationID", UNIT]);
    let first = lives(&systemd)?;
    let id = "a-unit";
    let going = traffic.keep_going(2);
    operator.start(id, &spec).await?;
    operator.at_gate(id, "dual-write").await?;
    ensure!(
        lives(&systemd)? == first,
        "the unit was restarted before anyone approved it"
    );
    operator.approve(id, "dual-write").await?;
    operator.at_gate(id, "promote").await?;
    let second = lives(&systemd)?;
    ensure!(second != first, "the unit was not restarted");
    operator.approve(id, "promote").await?;
    operator.until(id, "its end", |status| is(status, "ended")).await?;
    let report = operator.end(testbed, id).await?.completed()?;
    ensure!(lives(&systemd)? != second, "the unit was not restarted to promote it");
    going.stop().await?;
    traffic.settle().await?;
    is_clean(&report)?;
    ensure!(before.are_unchanged().is_err(), "nothing was edited");
    says(
        &Files::of(testbed)?.text(),
        &[&format!("visibilityStore: {TARGET_NAME}")],
    )?;
    judged(testbed, testbed.target(), [traffic.end()]).await?;
    systemd.systemctl(&["stop", UNIT])?;
    scene.finish()
}

/// The server as people run it.
fn unit(scene: &Scene) -> Result<String> {
    let cache = Cache::from_environment()?;
    let program = find_or_build(&cache, &TEMPORAL_1_30_8, Program::TemporalServer, &Lines::default())?;
    let host = &scene.testbed.temporal().hosts()[0];
    Ok(format!(
        "[Unit]\nDefaultDependencies=no\n[Service]\nExecStart={} --config-file {} --allow-no-auth start\n\
         StandardOutput=append:{log}\nStandardError=append:{log}\n",
        program.display(),
        host.config.display(),
        log = host.log.display(),
    ))
}
