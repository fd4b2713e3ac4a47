//! Two indices of one datastore: the only form in which servers up to 1.24 take a second Elasticsearch store.

use anyhow::{Context, Result, bail, ensure};
use e2e::scene::says;
use e2e::servers::binaries::TEMPORAL_1_23_1;
use e2e::story::Story;
use e2e::testbed::{Engine, Plan, Store, Testbed};
use serde_json::{Value, json};

/// What the plan says and shows, what stands in the file while both are written, and the way back after the two indices
/// changed their roles.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_index_is_added_to_its_datastore_and_taken_away_again() -> Result<()> {
    let id = "index-there-and-back";
    let plan = Plan::pair(&TEMPORAL_1_23_1, Engine::Elasticsearch, Engine::Elasticsearch);
    let mut story = Story::begin(id, plan, |spec| spec["promote"] = json!({"keep_warm": "1h"})).await?;
    let testbed = &story.scene.testbed;
    let (source, target) = (index(testbed.source())?, index(testbed.target())?);
    let plan = story.scene.operator.query(id, "plan", None).await?;
    ensure!(plan["form"] == "secondary-index", "{plan:#}");
    ensure!(
        plan["indices"] == json!({"source": source, "target": target}),
        "{plan:#}"
    );
    ensure!(
        (&plan["source_name"], &plan["target_name"]) == (&json!("es-visibility"), &json!(target)),
        "{plan:#}"
    );
    let text = plan.to_string();
    says(
        &text,
        &[
            &format!("add `{target}` to `es-visibility` as indices.secondary_visibility"),
            &format!(
                "make `{target}` the indices.visibility of `es-visibility` and `{source}` its indices.secondary_visibility"
            ),
            &format!("make `{target}` the indices.visibility of `es-visibility`, without a secondary"),
            "system.secondaryVisibilityWritingMode",
        ],
    )?;
    ensure!(!text.contains("secondaryVisibilityStore:"), "{plan:#}");
    for (stage, lines) in [
        (
            "dual-write",
            vec![format!("+          secondary_visibility: \"{target}\"")],
        ),
        (
            "promote",
            vec![
                format!("-          visibility: \"{source}\""),
                format!("+          visibility: \"{target}\""),
                format!("-          secondary_visibility: \"{target}\""),
                format!("+          secondary_visibility: \"{source}\""),
            ],
        ),
    ] {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        says(&static_diff(&plan, stage)?, &lines)?;
    }

    let before = datastore(&story.scene.testbed)?;
    story.to_cutover().await?;
    let mut wanted = before.clone();
    wanted["elasticsearch"]["indices"]["secondary_visibility"] = json!(target);
    let dual = datastore(&story.scene.testbed)?;
    ensure!(dual == wanted, "while both are written: {dual:#}");
    let stores = story.scene.visibility_stores().await?;
    ensure!(stores == "elasticsearch,elasticsearch", "{stores}");
    story.to_promote().await?;
    let operator = story.scene.operator.clone();
    operator.approve(id, "promote").await?;
    operator
        .until(id, "both written with the roles changed", |status| {
            !status["warm"]["since"].is_null()
        })
        .await?;
    wanted["elasticsearch"]["indices"]["visibility"] = json!(target);
    wanted["elasticsearch"]["indices"]["secondary_visibility"] = json!(source);
    let warm = datastore(&story.scene.testbed)?;
    ensure!(warm == wanted, "with the roles changed: {warm:#}");
    story.turns_back().await
}

fn index(store: &Store) -> Result<String> {
    match store {
        Store::Elasticsearch { index, .. } => Ok(index.clone()),
        other => bail!("{other:?} is no index"),
    }
}

/// The planned edit of the static config in a stage.
fn static_diff(plan: &Value, stage: &str) -> Result<String> {
    plan["hosts"][0]["files"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|file| file["stage"] == stage)
        .filter_map(|file| file["diff"].as_str())
        .find(|diff| diff.contains("isibility: \""))
        .map(ToOwned::to_owned)
        .with_context(|| format!("no edit of the static config in {stage}: {plan:#}"))
}

/// The only Visibility datastore, as it stands in the file.
fn datastore(testbed: &Testbed) -> Result<Value> {
    let text = std::fs::read_to_string(&testbed.temporal().hosts()[0].config)?;
    let config: Value = yaml_serde::from_str(&text)?;
    Ok(config["persistence"]["datastores"]["es-visibility"].clone())
}
