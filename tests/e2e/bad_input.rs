//! Everything that an operator can get wrong: a clear error each time, and a cluster that nobody has touched.

use std::fs;

use anyhow::{Context, Result, ensure};
use e2e::migration::{Failure, Files, Operator, awaits, payload, signal_with_payloads, start_with_payloads};
use e2e::servers::binaries::{Program, TEMPORAL_1_30_8, find_or_build, module_dir};
use e2e::servers::cache::Cache;
use e2e::servers::postgres::{PASSWORD, SchemaKind, SchemaTool};
use e2e::servers::progress::Lines;
use e2e::testbed::{Engine, NAMESPACE, Plan};
use e2e::traffic::Traffic;
use serde_json::{Value, json};

use crate::namespace_rows::set_retention;
use e2e::scene::{ORDERS, Scene, says};

/// A secret that is typed where it must not be.
const TYPED: &str = "hunter2-typed-into-the-spec";

/// A spec that cannot work.
struct Wrong {
    what: &'static str,
    /// Where the spec is changed, as a JSON pointer, and to what.
    changes: Vec<(&'static str, Value)>,
    kind: &'static str,
    parts: Vec<String>,
}

fn wrong<const N: usize>(
    what: &'static str,
    changes: impl IntoIterator<Item = (&'static str, Value)>,
    kind: &'static str,
    parts: [&str; N],
) -> Wrong {
    Wrong {
        what,
        changes: changes.into_iter().collect(),
        kind,
        parts: parts.map(str::to_owned).to_vec(),
    }
}

/// What the spec itself says wrongly, and what it says of the world.
fn wrong_specs(password_file: &str, rendered: &str, source: &Value) -> Vec<Wrong> {
    const INVALID: &str = "InvalidInput";
    const REFUSED: &str = "Refused";
    let elasticsearch = json!({"elasticsearch": {
        "version": "v7", "url": {"scheme": "http", "host": "127.0.0.1:1"}, "indices": {"visibility": "next"},
    }});
    vec![
        wrong(
            "an unknown field",
            [("/targt", json!({}))],
            INVALID,
            ["targt: unknown field `targt`"],
        ),
        wrong(
            "a missing field",
            [("/target/name", Value::Null)],
            INVALID,
            ["target.name", "a string"],
        ),
        wrong(
            "a wrong type",
            [("/keep_source_datastore", json!("yes"))],
            INVALID,
            ["keep_source_datastore", "true or false"],
        ),
        wrong(
            "an unknown gate",
            [("/gates", json!(["lunch"]))],
            INVALID,
            ["gates[0]", "lunch", "cutover"],
        ),
        wrong(
            "several mistakes at once",
            [
                ("/existing_records", json!("later")),
                ("/cluster/hosts/0/config", json!("relative.yaml")),
                ("/x", json!(1)),
            ],
            INVALID,
            ["existing_records", "\"wait\"", "unknown field `x`"],
        ),
        wrong(
            "a secret in the spec",
            [("/target/datastore/sql/password", json!(TYPED))],
            INVALID,
            [
                "[secret-in-spec] target.datastore.sql.password",
                "not shown",
                "{\"env\": \"NAME\"}",
            ],
        ),
        wrong(
            "no such file",
            [("/cluster/hosts/0/config", json!("/no/such/production.yaml"))],
            REFUSED,
            ["[config-unreadable]", "/no/such/production.yaml"],
        ),
        wrong(
            "a file that the container renders anew at each start",
            [("/cluster/hosts/0/config", json!(rendered))],
            REFUSED,
            [
                "[config-refused]",
                "docker.yaml",
                "config_template.yaml",
                "under another name",
            ],
        ),
        wrong(
            "a file that is no config",
            [("/cluster/hosts/0/config", json!("/etc/passwd"))],
            REFUSED,
            ["/etc/passwd"],
        ),
        wrong(
            "the same source and target",
            [("/target/datastore", source.clone())],
            REFUSED,
            ["[same-store] target.datastore", "database of its own"],
        ),
        wrong(
            "a name that another datastore has",
            [("/target/name", json!("default"))],
            REFUSED,
            ["[config-refused]", "production.yaml:", "default"],
        ),
        wrong(
            "a host without a worker",
            [("/cluster/hosts/0/name", json!("node-z"))],
            REFUSED,
            ["[host-worker-missing] host node-z", "crossfade worker --host node-z"],
        ),
        wrong(
            "an unreachable frontend",
            [("/cluster/frontend", json!("127.0.0.1:1"))],
            REFUSED,
            ["[cluster-unreachable] cluster.frontend", "127.0.0.1:1", "Next step"],
        ),
        wrong(
            "an unreachable store",
            [("/target/datastore/sql/connectAddr", json!("127.0.0.1:1"))],
            REFUSED,
            ["[store-unreachable] target.datastore", "127.0.0.1:1", "Next step"],
        ),
        wrong(
            "a wrong password",
            [("/target/datastore/sql/password", json!({"file": password_file}))],
            REFUSED,
            ["[store-login] target.datastore", "check user and password"],
        ),
        wrong(
            "a password that is nowhere",
            [("/target/datastore/sql/password", json!({"env": "NO_SUCH_VARIABLE"}))],
            REFUSED,
            ["[secret-missing] target.datastore.sql.password", "NO_SUCH_VARIABLE"],
        ),
        wrong(
            "a pair that the server refuses",
            [("/target/datastore", elasticsearch)],
            REFUSED,
            [
                "[pair-unsupported] target.datastore",
                "SQL to Elasticsearch",
                "1.21",
                "1.28",
            ],
        ),
        wrong(
            "a target without a schema",
            [("/target/setup_schema", json!(false))],
            REFUSED,
            ["[target-schema] target.datastore", "setup_schema: true"],
        ),
        wrong(
            "a target with an old schema",
            [
                ("/target/setup_schema", json!(false)),
                ("/target/datastore/sql/databaseName", json!("old_visibility")),
            ],
            REFUSED,
            ["[target-schema] target.datastore", "v1.13", "setup_schema: true"],
        ),
        wrong(
            "a Namespace that keeps its records for ever",
            [("/existing_records", json!("wait"))],
            REFUSED,
            ["[retention-unlimited]", ORDERS, "existing_records: backfill"],
        ),
        wrong(
            "Namespaces that there are not",
            [
                ("/cutover", json!({"namespaces_first": ["nowhere"]})),
                ("/cluster/canary_namespace", json!("neither")),
            ],
            REFUSED,
            [
                "cutover.namespaces_first[0]",
                "nowhere",
                "cluster.canary_namespace",
                "neither",
            ],
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_ends_in_a_clear_error_and_an_untouched_cluster() -> Result<()> {
    let (cache, lines) = (Cache::from_environment()?, Lines::default());
    let program = find_or_build(&cache, &TEMPORAL_1_30_8, Program::SqlTool, &lines)?;
    let tool = program.to_string_lossy().into_owned();
    let mut plan = Plan::new(Engine::Postgres);
    plan.namespaces = vec![(ORDERS.to_owned(), std::time::Duration::from_secs(3601))];
    let mut scene = Scene::of(plan, &[("CROSSFADE_TEMPORAL_SQL_TOOL", &tool)]).await?;
    let orders = Traffic::begin(scene.testbed.frontend(), ORDERS).await?;
    orders.existing(20).await?;
    set_retention(&scene.testbed, 3601, 0).await?;
    old_schema(
        &mut scene,
        SchemaTool {
            program,
            source: module_dir(&cache, &TEMPORAL_1_30_8, &lines)?,
        },
    )
    .await?;

    let before = Files::of(&scene.testbed)?;
    let pid = scene.testbed.temporal().hosts()[0].pid();
    wrong_inputs(&scene).await?;
    wrong_specs_are_refused(&scene).await?;
    let untouched = async || -> Result<()> {
        before.are_unchanged()?;
        ensure!(
            scene.testbed.temporal().hosts()[0].pid() == pid,
            "the server was restarted"
        );
        ensure!(scene.visibility_stores().await? == "postgres12");
        Ok(())
    };
    untouched().await?;
    wrong_signals(&scene).await?;
    untouched().await?;
    drop(orders.end());
    scene.finish()
}

/// A database whose visibility schema an older server made.
async fn old_schema(scene: &mut Scene, tool: SchemaTool) -> Result<()> {
    let (postgres, _) = scene.testbed.postgres_server().context("this testbed has PostgreSQL")?;
    let name = "old_visibility";
    postgres.create_temporal_database(&tool, name, SchemaKind::Visibility)?;
    let older = "UPDATE schema_version SET curr_version = '1.12'; \
                 ALTER TABLE executions_visibility DROP COLUMN TemporalUsedWorkerDeploymentVersions;";
    postgres.execute(name, older).await
}

/// Inputs that are not even a spec.
async fn wrong_inputs(scene: &Scene) -> Result<()> {
    let operator = &scene.operator;
    let client = scene.testbed.client(NAMESPACE).await?;
    let refused = operator
        .start_with("not-json", Some("{target:"))
        .await
        .expect_err("tctl refuses it itself");
    says(&format!("{refused:#}"), &["not valid JSON"])?;
    operator.start_with("no-input", None).await?;
    says(
        &invalid(scene, "no-input").await?,
        &["there is no input", "the spec, one JSON object", "Next step"],
    )?;
    for (id, input, parts) in [
        ("a-list", "[1, 2]", ["the spec, and got a list"]),
        ("a-string", "\"hello\"", ["the spec, and got a string"]),
        ("a-number", "7", ["the spec, and got a number"]),
        ("nothing", "null", ["there is no input"]),
    ] {
        operator.start_with(id, Some(input)).await?;
        says(&invalid(scene, id).await?, &parts).with_context(|| id)?;
    }
    let spec = scene.testbed.spec().to_string().into_bytes();
    for (id, payloads, part) in [
        (
            "broken-json",
            vec![payload("json/plain", b"{\"cluster\": ")],
            "it is not JSON",
        ),
        (
            "not-utf-8",
            vec![payload("json/plain", &[0xff, 0xfe, 0x00])],
            "it is not JSON",
        ),
        (
            "plain-bytes",
            vec![payload("binary/plain", b"\x00\x01")],
            "binary/plain",
        ),
        (
            "a-secret-codec",
            vec![payload("binary/encrypted", &spec)],
            "binary/encrypted",
        ),
        (
            "two-arguments",
            vec![payload("json/plain", &spec), payload("json/plain", b"1")],
            "2 arguments",
        ),
    ] {
        start_with_payloads(&client, id, payloads).await?;
        says(&invalid(scene, id).await?, &[part]).with_context(|| id)?;
    }
    Ok(())
}

async fn invalid(scene: &Scene, id: &str) -> Result<String> {
    let failure = failure(scene, id).await?;
    ensure!(failure.kind == "InvalidInput", "{id}: {failure:?}");
    Ok(failure.message)
}

async fn failure(scene: &Scene, id: &str) -> Result<Failure> {
    let end = scene.operator.end(&scene.testbed, id).await?;
    let failure = end.failed().with_context(|| format!("in {id}"))?;
    ensure!(!failure.retryable, "{id}: {failure:?}");
    Ok(failure)
}

/// The config as the images of servers up to 1.29 have it: written beside the template that it comes from.
fn as_rendered(scene: &Scene) -> Result<String> {
    let folder = scene.testbed.folder().join("image");
    fs::create_dir(&folder)?;
    let file = folder.join("docker.yaml");
    fs::copy(&scene.testbed.temporal().hosts()[0].config, &file)?;
    fs::write(
        folder.join("config_template.yaml"),
        "log:\n  level: {{ .Env.LOG_LEVEL }}\n",
    )?;
    Ok(file.display().to_string())
}

async fn wrong_specs_are_refused(scene: &Scene) -> Result<()> {
    let password_file = scene.testbed.folder().join("wrong-password");
    fs::write(&password_file, "not-the-password-8471")?;
    let good = scene.testbed.spec();
    let mut source = good["target"]["datastore"].clone();
    source["sql"]["databaseName"] = json!("temporal_visibility");
    let specs = wrong_specs(&password_file.to_string_lossy(), &as_rendered(scene)?, &source);
    // Each takes some seconds of waiting at most; started together, they are refused side by side.
    for (number, wrong) in specs.iter().enumerate() {
        let mut spec = good.clone();
        for (pointer, value) in &wrong.changes {
            change(&mut spec, pointer, value.clone())?;
        }
        scene.operator.start(&format!("wrong-{number}"), &spec).await?;
    }
    let mut missed = Vec::new();
    for (number, wrong) in specs.iter().enumerate() {
        let checked = async {
            let failure = failure(scene, &format!("wrong-{number}")).await?;
            ensure!(
                failure.kind == wrong.kind,
                "it failed as {}: {}",
                failure.kind,
                failure.message
            );
            let parts: Vec<&str> = wrong.parts.iter().map(String::as_str).chain(["Next step: "]).collect();
            says(&failure.message, &parts)?;
            for secret in [TYPED, PASSWORD, "not-the-password-8471"] {
                ensure!(
                    !failure.message.contains(secret),
                    "a secret is told: {}",
                    failure.message
                );
            }
            Ok(())
        };
        if let Err(error) = checked.await {
            missed.push(format!("{}: {error:#}", wrong.what));
        }
    }
    ensure!(missed.is_empty(), "{}", missed.join("\n\n"));
    ensure!(
        !scene.worker.output()?.contains(PASSWORD),
        "the password is in the worker's log"
    );
    Ok(())
}

/// Sets a field, or removes it when the value is `null` and it is there.
fn change(spec: &mut Value, pointer: &str, value: Value) -> Result<()> {
    let (parent, name) = pointer.rsplit_once('/').context("a pointer")?;
    let parent = spec
        .pointer_mut(parent)
        .with_context(|| format!("no {parent} in the spec"))?;
    parent[name] = value;
    Ok(())
}

/// Signals that say nothing that can be done: each is recorded, and the run goes on unharmed.
async fn wrong_signals(scene: &Scene) -> Result<()> {
    let operator = &scene.operator;
    let client = scene.testbed.client(NAMESPACE).await?;
    let id = "signalled";
    operator.start(id, &scene.testbed.spec()).await?;
    operator.at_gate(id, "dual-write").await?;
    for (name, input) in [
        ("approve", Some("\"lunch\"")),
        ("approve", None),
        ("approve", Some("[\"cutover\"]")),
        ("approve", Some("{\"gate\": \"cutover\", \"by\": 7}")),
        ("approve", Some("{\"gates\": \"cutover\"}")),
        ("approve", Some("\"verify\"")),
        ("set-rate", None),
        ("set-rate", Some("{\"records_per_second\": 0}")),
        ("set-rate", Some("{\"records_per_second\": -5}")),
        ("set-rate", Some("{\"records_per_second\": \"fast\"}")),
        ("resume", None),
        ("pause", Some("[1]")),
        ("rollback", Some("{\"why\": 1}")),
        ("no-such-signal", Some("1")),
        // Early, and twice.
        ("approve", Some("{\"gate\": \"promote\", \"by\": \"alice\"}")),
        ("approve", Some("\"promote\"")),
    ] {
        operator.signal(id, name, input).await?;
    }
    for (name, payloads) in [
        ("approve", vec![payload("json/plain", b"\"dual-wr")]),
        ("approve", vec![payload("binary/plain", b"\"dual-write\"")]),
        (
            "approve",
            vec![payload("json/plain", b"\"dual-write\""), payload("json/plain", b"1")],
        ),
        ("rollback", vec![payload("json/plain", &[0xff])]),
        ("abort", vec![payload("nonsense", b"{}")]),
    ] {
        signal_with_payloads(&client, id, name, payloads).await?;
    }
    let recorded = |status: &Value| {
        status["rejected"]
            .as_array()
            .is_some_and(|rejected| rejected.len() >= 18)
    };
    let status = operator.until(id, "18 signals recorded as not taken", recorded).await?;
    ensure!(awaits(&status, "dual-write"), "a wrong signal moved it: {status:#}");
    ensure!(
        status["approvals"]
            .as_object()
            .is_some_and(|approvals| approvals.len() == 1),
        "{status:#}"
    );
    let audit = operator.audit(id).await?;
    says(
        &audit,
        &[
            "approve refused: approve: unknown gate `lunch`; the gates are",
            "approve refused: approve came without input; expected a gate",
            "approve refused: approve could not be read:",
            "approve refused: this migration has no gate `verify`; it has dual-write, cutover, promote",
            "set-rate refused: set-rate could not be read: there was no input",
            "0 records a second would never end",
            "resume refused: it is not paused",
            "pause refused: it could not be read",
            "rollback refused: it could not be read",
            "approve taken: `promote` approved by alice, ahead of time",
            "approve taken: `promote` was approved already",
            "approve refused: it is not JSON",
            "approve refused: its encoding is `binary/plain`",
            "approve refused: 2 arguments came",
            "rollback refused: it is not JSON",
            "abort refused: its encoding is `nonsense`",
        ],
    )?;
    ends_and_hears_nothing_more(operator, scene, id).await
}

async fn ends_and_hears_nothing_more(operator: &Operator, scene: &Scene, id: &str) -> Result<()> {
    operator.signal(id, "rollback", Some("\"enough\"")).await?;
    let report = operator.end(&scene.testbed, id).await?.completed()?;
    ensure!(report["result"] == "rolled-back", "{report:#}");
    for (name, input) in [("approve", Some("\"dual-write\"")), ("resume", None)] {
        let late = operator.signal(id, name, input).await.expect_err("it is over");
        says(&format!("{late:#}"), &["already completed"])?;
    }
    let late = operator
        .crossfade(&["approve", "dual-write", "--id", id])
        .await
        .expect_err("it is over");
    says(&format!("{late:#}"), &["the migration is over"])
}
