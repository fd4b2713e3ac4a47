//! The migration that Temporal's documentation describes, on the server that it is for: Visibility moves from Cassandra to
//! Elasticsearch on Temporal 1.23.1, and the config files end as the documentation shows them.

use std::fs;

use anyhow::{Context, Result, ensure};
use e2e::migration::record;
use e2e::scene::says;
use e2e::story::Story;
use e2e::testbed::{Plan, Testbed};
use e2e::told::{kept_beside_the_files, tells_no_secret};
use serde_json::{Value, json};

/// Who writes to Elasticsearch. This node lets everybody in; who asks for a password gets the same.
const USER: &str = "temporal-writer";
const PASSWORD: &str = r#"3l@stic's "s:ecret"\ü%2F?&+#{x}"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_migration_runs_from_cassandra_to_elasticsearch() -> Result<()> {
    let id = "migrate-visibility-database";
    let secrets = tempfile::tempdir()?;
    let password = secrets.path().join("elasticsearch");
    fs::write(&password, PASSWORD)?;
    let mut story = Story::begin(id, Plan::reference(), |spec| {
        // What the documentation writes besides.
        spec["target"]["datastore"]["elasticsearch"]["logLevel"] = json!("error");
        spec["target"]["datastore"]["elasticsearch"]["closeIdleConnectionsInterval"] = json!("15s");
        spec["target"]["datastore"]["elasticsearch"]["username"] = json!(USER);
        spec["target"]["datastore"]["elasticsearch"]["password"] = json!({"file": password});
        spec["keep_source_datastore"] = json!(false);
    })
    .await?;
    let (config, dynamic) = read(&story.scene.testbed)?;
    ensure!(
        config["persistence"]["visibilityStore"] == "cass-visibility",
        "{config:#}"
    );
    let plan = story.scene.operator.query(id, "plan", None).await?;
    ensure!(plan["server_version"] == "1.23.1", "{plan:#}");
    says(
        &plan.to_string(),
        &[
            "+  secondaryVisibilityStore: es-visibility",
            "system.secondaryVisibilityWritingMode",
            "system.enableReadFromSecondaryVisibility",
        ],
    )?;

    // "Set up secondary Visibility store" and "Run in dual mode".
    story.to_cutover().await?;
    let (dual, dual_dynamic) = read(&story.scene.testbed)?;
    let persistence = &dual["persistence"];
    ensure!(
        persistence["visibilityStore"] == "cass-visibility",
        "the primary while both are written: {persistence:#}"
    );
    ensure!(
        persistence["secondaryVisibilityStore"] == "es-visibility",
        "{persistence:#}"
    );
    let elasticsearch = &persistence["datastores"]["es-visibility"]["elasticsearch"];
    for (name, value) in [
        ("version", "v7"),
        ("logLevel", "error"),
        ("closeIdleConnectionsInterval", "15s"),
        ("username", USER),
        ("password", PASSWORD),
    ] {
        ensure!(elasticsearch[name] == value, "{name}: {elasticsearch:#}");
    }
    ensure!(elasticsearch["url"]["scheme"] == "http", "{elasticsearch:#}");
    switches(&dual_dynamic, false)?;
    let stores = story.scene.visibility_stores().await?;
    ensure!(stores == "cassandra,elasticsearch", "{stores}");

    // "Deprecate primary Visibility store", its first step.
    story.to_promote().await?;
    let (_, read_dynamic) = read(&story.scene.testbed)?;
    switches(&read_dynamic, true)?;

    // And its second.
    let report = story.to_the_end().await?;
    record(&story.scene.testbed, id, "documented").await?;
    let (promoted, promoted_dynamic) = read(&story.scene.testbed)?;
    let mut expected = config;
    expected["persistence"]["visibilityStore"] = json!("es-visibility");
    expected["persistence"]["datastores"]["es-visibility"] = dual["persistence"]["datastores"]["es-visibility"].clone();
    expected["persistence"]["datastores"]
        .as_object_mut()
        .context("datastores")?
        .shift_remove("cass-visibility");
    ensure!(
        promoted == expected,
        "the config at the end is {promoted:#}\nexpected {expected:#}"
    );
    ensure!(
        promoted_dynamic == dynamic,
        "the dynamic config at the end is {promoted_dynamic:#}\nexpected {dynamic:#}"
    );
    let stores = story.scene.visibility_stores().await?;
    ensure!(stores == "elasticsearch", "{stores}");
    let kept = kept_beside_the_files(&story.scene.testbed)?.into_bytes();
    let more = vec![("the names and notes of what is kept", kept)];
    tells_no_secret(&story.scene, id, &[PASSWORD], more).await?;
    story.is_whole(&report).await
}

/// The static and the dynamic config as the server reads them.
fn read(testbed: &Testbed) -> Result<(Value, Value)> {
    let temporal = testbed.temporal();
    let parsed = |path: &std::path::Path| -> Result<Value> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        yaml_serde::from_str(&text).with_context(|| format!("{}:\n{text}", path.display()))
    };
    Ok((parsed(&temporal.hosts()[0].config)?, parsed(temporal.dynamic_config())?))
}

/// Both keys as the documentation writes them while reads come from the primary, or from the secondary.
fn switches(dynamic: &Value, reads_from_secondary: bool) -> Result<()> {
    for (key, value) in [
        ("system.secondaryVisibilityWritingMode", json!("dual")),
        ("system.enableReadFromSecondaryVisibility", json!(reads_from_secondary)),
    ] {
        ensure!(
            dynamic[key] == json!([{"value": value, "constraints": {}}]),
            "{key} is {}",
            dynamic[key]
        );
    }
    Ok(())
}
