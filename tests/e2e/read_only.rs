//! A target index that its cluster makes read-only, as Elasticsearch does when a disk is nearly full: it is left, the
//! operator may pause meanwhile, what it lacks is filled in when it takes writes again, and out of a second gap there is a
//! way back although it takes none.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::migration::{Files, is, stage};
use e2e::scene::{Scene, judged, says};
use e2e::servers::binaries::TEMPORAL_1_30_8;
use e2e::story::worker_variables;
use e2e::testbed::{Engine, NAMESPACE, Plan, Store};
use e2e::traffic::Traffic;
use reqwest::Method;
use serde_json::{Map, Value, json};

/// With what it takes to notice the failure, to tell the hosts, and on a machine with much else to do.
const LEFT_WITHIN: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_takes_no_writes_is_left_and_filled_and_left_behind() -> Result<()> {
    let plan = Plan::pair(&TEMPORAL_1_30_8, Engine::Elasticsearch, Engine::Elasticsearch);
    let tools = worker_variables(&TEMPORAL_1_30_8)?;
    let tools: Vec<(&str, &str)> = tools.iter().map(|(name, path)| (*name, path.as_str())).collect();
    let scene = Scene::of(plan, &tools).await?;
    let id = "read-only";
    let traffic = Traffic::begin(scene.testbed.frontend(), NAMESPACE).await?;
    traffic.existing(40).await?;
    let going = traffic.keep_going(3);
    let before = Files::of(&scene.testbed)?;
    let operator = scene.operator.clone();
    let spec = scene.spec_with(&json!({
        "gates": ["cutover"],
        "copy": {"defer_indexes": "always"},
        "guard": {"budget": "5s", "interval": "1s"},
    }));
    operator.start(id, &spec).await?;
    operator.at_gate(id, "cutover").await?;
    let dynamic_config = scene.testbed.temporal().dynamic_config().to_owned();
    says(&fs::read_to_string(&dynamic_config)?, &["value: \"dual\""])?;
    says(
        &operator.audit(id).await?,
        &[
            "of the target's settings set aside",
            "set aside while records were copied, put back",
        ],
    )?;
    has_the_settings_of_the_source(&scene).await?;

    blocked(&scene, true).await?;
    let left = |status: &Value| !status["guard"]["gap"]["off"].is_null();
    operator
        .until_within(LEFT_WITHIN, id, "the target is left", left)
        .await?;
    says(
        &operator.audit(id).await?,
        &[
            "guard taken: writes to the target fail",
            "told to write and read the source",
        ],
    )?;
    let written = traffic.ledger().kept();
    traffic.existing(written + 10).await?;

    // Whoever pauses it then finds it where it was: the source alone is written, also once the target would take writes.
    operator.signal(id, "pause", Some(r#"{"by": "alice"}"#)).await?;
    let paused = operator
        .until(id, "paused in the gap", |status| is(status, "paused"))
        .await?;
    ensure!(left(&paused), "{paused:#}");
    blocked(&scene, false).await?;
    says(&fs::read_to_string(&dynamic_config)?, &["value: \"off\""])?;

    operator.signal(id, "resume", None).await?;
    let filled = |status: &Value| !status["guard"]["gaps"][0]["filled"].is_null();
    let status = operator.until(id, "the gap is filled", filled).await?;
    ensure!(
        status["guard"]["gaps"][0]["repaired"].as_u64() >= Some(10),
        "{status:#}"
    );
    let status = operator.at_gate(id, "cutover").await?;
    ensure!(stage(&status) == "cutover", "{status:#}");
    says(&fs::read_to_string(&dynamic_config)?, &["value: \"dual\""])?;

    // The second time the operator has enough of it.
    blocked(&scene, true).await?;
    operator
        .until_within(LEFT_WITHIN, id, "the target is left again", left)
        .await?;
    operator.signal(id, "rollback", Some(r#"{"by": "alice"}"#)).await?;
    let report = operator.end(&scene.testbed, id).await?.completed()?;
    ensure!(report["result"] == "rolled-back", "{report:#}");
    before.are_unchanged()?;
    going.stop().await?;
    traffic.settle().await?;
    judged(&scene.testbed, scene.testbed.source(), [traffic.end()]).await?;
    blocked(&scene, false).await?;
    has_the_settings_of_the_source(&scene).await?;
    scene.finish()
}

/// Both indices are made from one template: nothing is left of what was set aside while the target was filled.
async fn has_the_settings_of_the_source(scene: &Scene) -> Result<()> {
    let source = settings(scene, scene.testbed.source()).await?;
    ensure!(!source.is_empty(), "the source has no settings");
    ensure!(source == settings(scene, scene.testbed.target()).await?, "{source:?}");
    Ok(())
}

/// The settings of an index, but for those that no two indices share.
async fn settings(scene: &Scene, store: &Store) -> Result<Map<String, Value>> {
    let Store::Elasticsearch { index, .. } = store else {
        anyhow::bail!("both stores are indices of Elasticsearch")
    };
    let elasticsearch = scene
        .testbed
        .elasticsearch()
        .context("this testbed has Elasticsearch")?;
    let path = format!("/{index}/_settings?flat_settings=true");
    let (status, answer) = elasticsearch.request(Method::GET, &path, None).await?;
    ensure!(status == 200, "{status}: {answer}");
    let mut settings = answer[index]["settings"].as_object().cloned().unwrap_or_default();
    settings.retain(|name, _| !["index.creation_date", "index.provided_name", "index.uuid"].contains(&name.as_str()));
    Ok(settings)
}

/// Makes the target index read-only, or takes that from it, by the setting that Elasticsearch itself makes when a disk is
/// past its flood stage.
async fn blocked(scene: &Scene, blocked: bool) -> Result<()> {
    let Store::Elasticsearch { index, .. } = scene.testbed.target() else {
        anyhow::bail!("this target is an index of Elasticsearch")
    };
    let elasticsearch = scene
        .testbed
        .elasticsearch()
        .context("this testbed has Elasticsearch")?;
    // `null` takes the setting away.
    let value = if blocked { json!(true) } else { Value::Null };
    let body = json!({"index.blocks.read_only_allow_delete": value});
    let (status, answer) = elasticsearch
        .request(Method::PUT, &format!("/{index}/_settings"), Some(body))
        .await?;
    ensure!(status == 200, "{status}: {answer}");
    Ok(())
}
