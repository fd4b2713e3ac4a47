//! Clocks that do not agree, by libfaketime around the product's worker: told before anything is changed, and where one
//! goes wrong later, before its times are reasoned with.

use std::fs;

use anyhow::{Result, ensure};
use e2e::migration::{Files, is};
use e2e::scene::{Scene, says};
use e2e::servers::faketime::Faketime;
use e2e::servers::progress::Lines;
use e2e::testbed::{Engine, Plan};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_off_is_told_and_nothing_is_reasoned_with_its_times() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let clock = Faketime::of(&folder.path().join("clock"), &Lines::default())?;
    let variables = clock.variables();
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    clock.set("-60s")?;
    let scene = Scene::of(Plan::new(Engine::Sqlite), &variables).await?;
    let operator = &scene.operator;
    let before = Files::of(&scene.testbed)?;
    let spec = scene.spec_with(&json!({"gates": ["dual-write", "cutover"]}));

    operator.start("slow-clock", &spec).await?;
    let failure = operator.end(&scene.testbed, "slow-clock").await?.failed()?;
    ensure!(failure.kind == "Refused" && !failure.retryable, "{failure:?}");
    says(
        &failure.message,
        &[
            "[clock-skew] host node-a",
            "the clock of host `node-a` is",
            "s behind that of the server",
            "NTP",
        ],
    )?;
    before.are_unchanged()?;

    clock.set("+0s")?;
    operator.start("lost-clock", &spec).await?;
    operator.at_gate("lost-clock", "dual-write").await?;
    clock.set("+90s")?;
    operator.approve("lost-clock", "dual-write").await?;
    let stuck = operator
        .until("lost-clock", "waiting for its operator", |status| {
            is(status, "needs-operator")
        })
        .await?;
    says(
        &stuck["condition"]["problems"].to_string(),
        &[
            "clock-skew",
            "the clock of a history host is",
            "s behind that of this worker's machine",
        ],
    )?;
    ensure!(stuck["dual_since"].is_null(), "{stuck:#}");
    clock.set("+0s")?;
    operator.signal("lost-clock", "resume", None).await?;
    let status = operator.at_gate("lost-clock", "cutover").await?;
    ensure!(!status["dual_since"].is_null(), "{status:#}");
    operator.signal("lost-clock", "abort", None).await?;
    operator
        .until("lost-clock", "its end", |status| is(status, "ended"))
        .await?;
    before.are_unchanged()?;
    drop(fs::remove_file(folder.path().join("clock")));
    scene.finish()
}
