//! A whole migration between two PostgreSQL databases under traffic, on two hosts, with a schema to be made and a password to be kept.

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use e2e::migration::{Files, raw_history};
use e2e::servers::binaries::{Program, TEMPORAL_1_30_8, find_or_build};
use e2e::servers::cache::Cache;
use e2e::servers::postgres::{PASSWORD, USER};
use e2e::servers::progress::Lines;
use e2e::testbed::{Engine, NAMESPACE, Plan, Store, TARGET_NAME};
use e2e::told::{kept_beside_the_files, tells_no_secret};
use e2e::traffic::Traffic;
use serde_json::{Value, json};

use e2e::scene::{Scene, is_clean, judged, says};

/// The migration.
const ID: &str = "move-to-a-new-database";

/// The variable that carries the target's password to the worker.
const VARIABLE: &str = "NEW_STORE_PASSWORD";

/// Who writes the target, with a password that no form of writing leaves as it is. It has no blank: the server's own
/// connection to PostgreSQL turns one into a `+` (1.30.8: common/persistence/sql/sqlplugin/postgresql/session/session.go).
const MOVER: &str = "mover";
const MOVERS_PASSWORD: &str = r#"m0ver's"secret"\ü%2F?&+:@#{x}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_two_hosts_moves_from_one_postgres_database_to_another() -> Result<()> {
    let tool = find_or_build(
        &Cache::from_environment()?,
        &TEMPORAL_1_30_8,
        Program::SqlTool,
        &Lines::default(),
    )?;
    let tool = tool.to_string_lossy();
    let plan = Plan::new(Engine::Postgres).on_two_hosts();
    let mut scene = Scene::of(
        plan,
        &[(VARIABLE, MOVERS_PASSWORD), ("CROSSFADE_TEMPORAL_SQL_TOOL", &tool)],
    )
    .await?;
    let operator = scene.operator.clone();
    let id = ID;
    let before = Files::of(&scene.testbed)?;
    let hosts = scene.testbed.temporal().hosts().to_vec();
    let pids = || hosts.iter().map(|host| host.pid()).collect::<Vec<_>>();
    let first_pids = pids();

    let traffic = Traffic::begin(scene.testbed.frontend(), NAMESPACE).await?;
    traffic.existing(200).await?;
    let going = traffic.keep_going(5);
    // As many slices as there may be, of hardly a record each: what a store of any size comes to at the most.
    let mut spec = scene.spec_with(&json!({
        "keep_source_datastore": false,
        "copy": {"defer_indexes": "always"},
        "slices": {"at_once": 4, "records": 1},
        "verify": {"by": "digests"},
    }));
    let (server, _) = scene.testbed.postgres_server().context("no PostgreSQL")?;
    let mover = format!(
        "CREATE ROLE {MOVER} LOGIN PASSWORD '{}' IN ROLE {USER}; ALTER ROLE {MOVER} SET role TO {USER}",
        MOVERS_PASSWORD.replace('\'', "''")
    );
    server.execute("postgres", &mover).await?;
    spec["target"]["datastore"]["sql"]["user"] = json!(MOVER);
    spec["target"]["datastore"]["sql"]["password"] = json!({"env": VARIABLE});
    operator.start(id, &spec).await?;
    operator.at_gate(id, "dual-write").await?;
    before.are_unchanged()?;
    says(
        &operator.audit(id).await?,
        &["target ready: the schema was brought from"],
    )?;
    let plan = operator.query(id, "plan", None).await?.to_string();
    says(
        &plan,
        &[TARGET_NAME, "secondaryVisibilityStore", "node-front", "node-back"],
    )?;
    for gate in ["dual-write", "cutover", "promote"] {
        let status = operator.at_gate(id, gate).await?;
        if gate == "cutover" {
            let hosts = status["hosts"].as_array().map_or(&[][..], Vec::as_slice);
            ensure!(
                hosts.len() == 2 && hosts.iter().all(|host| host["config"] == "dual"),
                "{status:#}"
            );
            ensure!(scene.visibility_stores().await? == "postgres12,postgres12");
        }
        operator.approve(id, gate).await?;
        if gate == "dual-write" {
            killed_without_indexes(&mut scene, id).await?;
        }
    }
    let report = operator.end(&scene.testbed, id).await?.completed()?;
    going.stop().await?;
    traffic.settle().await?;
    is_clean(&report)?;
    ensure!(
        report["copied"].as_u64() > Some(150),
        "the copy had little to do: {}",
        report["copied"]
    );
    // Slices in which something is just being written are read; of the others nothing is.
    ensure!(
        report["by_digest"].as_u64() > Some(100) && report["by_digest"].as_u64() <= report["compared"].as_u64(),
        "compared by digests: {} of {}",
        report["by_digest"],
        report["compared"]
    );
    says(
        &operator.audit(id).await?,
        &[
            "of the target's indexes set aside",
            "set aside while records were copied, built again",
        ],
    )?;
    has_the_schema_of_the_source(&mut scene)?;
    ensure!(scene.visibility_stores().await? == "postgres12");
    ensure!(
        pids().iter().zip(&first_pids).all(|(now, then)| now != then),
        "a host was not restarted"
    );
    let (events, status) = (operator.history_length(id).await?, operator.status(id).await?);
    ensure!(events < 2_000, "{events} events");
    let (runs, earlier) = (status["runs"].as_u64(), status["earlier_events"].as_u64());
    let slices = status["copy"]["slices"]["total"].as_u64();
    ensure!(slices > Some(200) && runs > Some(1), "{status:#}");
    ensure!(
        runs.zip(earlier)
            .is_some_and(|(runs, earlier)| earlier < (runs - 1) * 2_000),
        "{status:#}"
    );
    let files = Files::of(&scene.testbed)?.text();
    says(&files, &[&format!("visibilityStore: {TARGET_NAME}")])?;
    ensure!(
        !files.contains("secondaryVisibility") && !files.contains("temporal_visibility\""),
        "{files}"
    );
    judged(&scene.testbed, scene.testbed.target(), [traffic.end()]).await?;

    nothing_else_tells_a_secret(&scene, id).await?;
    scene.finish()
}

/// The server's own files have the passwords, in a form that gives them back, and nothing else has them in any.
async fn nothing_else_tells_a_secret(scene: &Scene, id: &str) -> Result<()> {
    let files = Files::of(&scene.testbed)?.text();
    says(&files, &[PASSWORD])?;
    let movers = |text: &str| -> Result<bool> {
        let config: Value = yaml_serde::from_str(text)?;
        let entry = &config["persistence"]["datastores"][TARGET_NAME]["sql"];
        Ok(entry["user"] == MOVER && entry["password"] == MOVERS_PASSWORD)
    };
    for host in scene.testbed.temporal().hosts() {
        ensure!(movers(&fs::read_to_string(&host.config)?)?, "{}", host.config.display());
    }

    let history = raw_history(&scene.testbed.client(NAMESPACE).await?, NAMESPACE, id).await?;
    says(&String::from_utf8_lossy(&history), &[VARIABLE])?;
    let kept = kept_beside_the_files(&scene.testbed)?.into_bytes();
    let more = vec![("the names and notes of what is kept", kept)];
    tells_no_secret(scene, id, &[PASSWORD, MOVERS_PASSWORD], more).await
}

/// The worker is killed while it fills a target without indexes, and another one goes on.
async fn killed_without_indexes(scene: &mut Scene, id: &str) -> Result<()> {
    let aside = |status: &Value| status["indexes"]["set_aside"].as_u64() > Some(60);
    scene
        .operator
        .until(id, "the target's indexes set aside", aside)
        .await?;
    scene.worker.kill()?;
    scene.worker.again(&scene.testbed)
}

/// Both were made by the same tool, and every index that was set aside is there again.
fn has_the_schema_of_the_source(scene: &mut Scene) -> Result<()> {
    let (source, target) = (scene.testbed.source().clone(), scene.testbed.target().clone());
    let (Store::Postgres { database: source, .. }, Store::Postgres { database: target, .. }) = (source, target) else {
        bail!("these are no databases of PostgreSQL");
    };
    let (server, _) = scene.testbed.postgres_server().context("no PostgreSQL")?;
    let (source, target) = (server.schema_of(&source)?, server.schema_of(&target)?);
    ensure!(
        source == target,
        "the target's schema differs from the source's:\n{target}"
    );
    Ok(())
}
