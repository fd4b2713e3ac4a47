//! A whole migration whose payloads a codec server keeps the key of, with that server gone for a while.

use std::fs;

use anyhow::{Context, Result, ensure};
use e2e::migration::{Operator, crossfade_command, is, raw_history, stage};
use e2e::scene::{Scene, judged, says, until};
use e2e::servers::codec::CodecServer;
use e2e::servers::progress::Lines;
use e2e::testbed::{Engine, NAMESPACE, Plan, TARGET_NAME};
use e2e::traffic::Traffic;
use serde_json::json;

const ID: &str = "behind-a-codec";

/// What the codec server lets in.
const AUTH: &str = "Bearer t0ken-of-the-codec";

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_by_way_of_a_codec_server_shows_nothing_to_who_has_no_key() -> Result<()> {
    let mut scene = Scene::of(Plan::new(Engine::Sqlite), &[]).await?;
    let mut codec = CodecServer::start(&scene.testbed, AUTH, &Lines::default()).await?;
    let endpoint = codec.endpoint();
    scene.worker.kill()?;
    scene
        .worker
        .knows(&[("TEMPORAL_CODEC_ENDPOINT", &endpoint), ("TEMPORAL_CODEC_AUTH", AUTH)]);
    scene.worker.again(&scene.testbed)?;
    let outsider = Operator::of(&scene.testbed)?;
    let operator = outsider.clone().with(&[
        ("TEMPORAL_CLI_CODEC_ENDPOINT", &endpoint),
        ("TEMPORAL_CLI_CODEC_AUTH", AUTH),
        ("TEMPORAL_CODEC_ENDPOINT", &endpoint),
        ("TEMPORAL_CODEC_AUTH", AUTH),
    ]);

    let traffic = Traffic::begin(scene.testbed.frontend(), NAMESPACE).await?;
    traffic.existing(120).await?;
    let going = traffic.keep_going(3);
    // Slow, so that there is a middle.
    let spec = scene.testbed.folder().join("spec.json");
    fs::write(&spec, scene.spec_with(&json!({"records_per_second": 10})).to_string())?;
    // What tctl starts it with is sent in plain text, also with a codec (1.18.0: cli_curr/util.go, processJSONInput).
    operator
        .crossfade(&["start", "--id", ID, &spec.to_string_lossy()])
        .await?;
    operator.at_gate(ID, "dual-write").await?;
    operator.approve(ID, "dual-write").await?;
    let copying = |status: &serde_json::Value| stage(status) == "existing-records" && status["copy"]["expected"] != 0;
    operator.until(ID, "copying", copying).await?;
    let status = operator.crossfade(&["status", "--id", ID]).await?;
    ensure!(status.to_string().contains("existing-records"), "{status:#}");
    refused_without_the_codec(&scene)?;

    // Workers can neither be told anything nor tell anything, and one of them is lost as well.
    codec.stop()?;
    scene.worker.kill()?;
    scene.worker.again(&scene.testbed)?;
    let log = scene.worker.log().to_owned();
    let told = || fs::read_to_string(&log).is_ok_and(|text| text.contains("the codec server at"));
    until("the worker tells of the codec server", told).await?;
    codec.again(&scene.testbed).await?;

    operator.at_gate(ID, "cutover").await?;
    operator.approve(ID, "cutover").await?;
    operator.at_gate(ID, "promote").await?;
    // A signal in plain text is understood, too.
    outsider.approve(ID, "promote").await?;
    operator.until(ID, "its end", |status| is(status, "ended")).await?;
    let report = operator.query(ID, "report", None).await?;
    ensure!(report["result"] == "migrated", "{report:#}");
    going.stop().await?;
    traffic.settle().await?;
    judged(&scene.testbed, scene.testbed.target(), [traffic.end()]).await?;

    let client = scene.testbed.client(NAMESPACE).await?;
    let history = raw_history(&client, NAMESPACE, ID).await?;
    let history = String::from_utf8_lossy(&history);
    says(&history, &["binary/encrypted"])?;
    let folder = scene.testbed.folder().to_string_lossy();
    for word in [
        TARGET_NAME,
        "datastore",
        "secondaryVisibilityStore",
        "records_per_second",
        &*folder,
    ] {
        ensure!(!history.contains(word), "the history has `{word}` in plain text");
    }
    ensure!(
        !scene.worker.output()?.contains(AUTH),
        "the worker's log has the authorization"
    );
    codec.stop()?;
    scene.finish()
}

/// Who has the connection and not the codec is told which setting is missing.
fn refused_without_the_codec(scene: &Scene) -> Result<()> {
    let output = crossfade_command(scene.testbed.frontend())?
        .args(["status", "--id", ID])
        .output()
        .context("cannot run crossfade")?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success(), "{told}");
    says(&told, &["is a codec in use?", "TEMPORAL_CODEC_ENDPOINT"])
}
