//! Stores that cannot be moved to or from: each ends in an error that names the field and the next step, and the cluster
//! is as it was.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use e2e::migration::{End, Files, is};
use e2e::scene::{Scene, says};
use e2e::servers::binaries::{Program, TEMPORAL_1_30_8, find_or_build};
use e2e::servers::cache::Cache;
use e2e::servers::progress::Lines;
use e2e::story::worker_variables;
use e2e::testbed::{NAMESPACE, Plan, Store};
use e2e::traffic::Traffic;
use serde_json::{Value, json};

/// A spec that cannot work on a cluster that moves from Cassandra to Elasticsearch.
struct Bad {
    id: &'static str,
    /// Where the spec is changed, as a JSON pointer, and to what.
    changes: Vec<(&'static str, Value)>,
    says: &'static [&'static str],
}

const HOST: &str = "/target/datastore/elasticsearch/url/host";
const INDEX: &str = "/target/datastore/elasticsearch/indices";
const SET_UP: &str = "/target/setup_schema";

fn bad_stores(source: &Value) -> Vec<Bad> {
    let index = |name: &str| vec![(INDEX, json!({"visibility": name})), (SET_UP, json!(false))];
    let mut no_keyspace = source.clone();
    no_keyspace["cassandra"]["keyspace"] = json!("no_such_keyspace");
    let mut no_cassandra = source.clone();
    no_cassandra["cassandra"]["port"] = json!(1);
    vec![
        Bad {
            id: "unreachable-elasticsearch",
            changes: vec![(HOST, json!("127.0.0.1:1"))],
            says: &["[store-unreachable] target.datastore", "127.0.0.1:1"],
        },
        Bad {
            id: "no-version-of-elasticsearch",
            changes: vec![("/target/datastore/elasticsearch/version", json!("v6"))],
            says: &[
                "[store-unsupported] target.datastore",
                "elasticsearch.version",
                "v7 or v8",
                "Next step: correct `elasticsearch.version`",
            ],
        },
        Bad {
            id: "no-index",
            changes: index("temporal_visibility_v1_nowhere"),
            says: &[
                "[target-schema] target.datastore",
                "temporal_visibility_v1_nowhere",
                "setup_schema: true",
            ],
        },
        Bad {
            id: "index-without-mapping",
            changes: index("bare"),
            says: &["target.datastore", "bare", "mapping"],
        },
        Bad {
            id: "conflicting-mapping",
            changes: index("temporal_visibility_v1_conflict"),
            says: &[
                "[search-attributes] target.datastore",
                "`CustomerId` to long",
                "a Keyword needs keyword",
                "name another index",
            ],
        },
        // Whether or not the tool is to set it up: it takes an index that is there for a good one.
        Bad {
            id: "conflicting-mapping-to-be-set-up",
            changes: vec![(INDEX, json!({"visibility": "temporal_visibility_v1_conflict"}))],
            says: &["[search-attributes] target.datastore", "`CustomerId` to long"],
        },
        Bad {
            id: "read-only-index",
            changes: index("temporal_visibility_v1_full"),
            says: &["[store-permission] target.datastore", "read-only"],
        },
        Bad {
            id: "no-keyspace",
            changes: vec![("/source", json!({"datastore": no_keyspace}))],
            says: &[
                "[store-unsupported] source.datastore: ",
                "no_such_keyspace",
                "Next step: correct `keyspace`",
                "create-keyspace",
            ],
        },
        Bad {
            id: "unreachable-cassandra",
            changes: vec![("/source", json!({"datastore": no_cassandra}))],
            says: &["[store-unreachable] source.datastore: ", "127.0.0.1:1"],
        },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_that_cannot_be_used_end_in_a_clear_error_and_an_untouched_cluster() -> Result<()> {
    let plan = Plan::reference();
    let variables = worker_variables(plan.release)?;
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, path)| (*name, path.as_str())).collect();
    let scene = Scene::of(plan, &variables).await?;
    let traffic = Traffic::begin(scene.testbed.frontend(), NAMESPACE).await?;
    traffic.existing(20).await?;
    bad_indices(&scene).await?;

    let before = Files::of(&scene.testbed)?;
    let pid = scene.testbed.temporal().hosts()[0].pid();
    let Store::Cassandra { port, keyspace } = scene.testbed.source() else {
        bail!("this testbed is on Cassandra");
    };
    let source = json!({"cassandra": {"hosts": "127.0.0.1", "port": port, "keyspace": keyspace}});
    let mut missed = Vec::new();
    for bad in bad_stores(&source) {
        if let Err(error) = refused(&scene, &bad).await {
            missed.push(format!("{}: {error:#}", bad.id));
        }
    }
    ensure!(missed.is_empty(), "{}", missed.join("\n\n"));
    before.are_unchanged()?;
    ensure!(
        scene.testbed.temporal().hosts()[0].pid() == pid,
        "the server was restarted"
    );
    ensure!(scene.visibility_stores().await? == "cassandra");
    drop(traffic.end());
    scene.finish()
}

/// Starts a migration that cannot work, and checks what it says as its failure: preflight ends it.
async fn refused(scene: &Scene, bad: &Bad) -> Result<()> {
    let operator = &scene.operator;
    let mut spec = scene.testbed.spec();
    for (pointer, value) in &bad.changes {
        let (parent, name) = pointer.rsplit_once('/').context("a pointer")?;
        let parent = if parent.is_empty() {
            Some(&mut spec)
        } else {
            spec.pointer_mut(parent)
        };
        parent.context("no such place in the spec")?[name] = value.clone();
    }
    operator.start(bad.id, &spec).await?;
    let stopped = |status: &Value| is(status, "ended") || is(status, "awaiting-approval");
    let message = match operator.until(bad.id, "its end", stopped).await {
        Ok(status) if is(&status, "awaiting-approval") => {
            operator.signal(bad.id, "abort", None).await?;
            operator.until(bad.id, "its end", |status| is(status, "ended")).await?;
            bail!("it was taken, and waits for its first approval");
        }
        Ok(_) => {
            let client = scene.testbed.client(NAMESPACE).await?;
            End::of(&client, NAMESPACE, bad.id, Duration::from_secs(30))
                .await?
                .failed()?
                .message
        }
        Err(_) => {
            let status = operator.status(bad.id).await?;
            operator.signal(bad.id, "abort", None).await?;
            operator.until(bad.id, "its end", |status| is(status, "ended")).await?;
            bail!("it was not refused: {status:#}");
        }
    };
    says(&message, bad.says)?;
    ensure!(message.contains("Next step: "), "no next step: {message}");
    Ok(())
}

/// Indices that Temporal cannot use, beside the one that it could.
async fn bad_indices(scene: &Scene) -> Result<()> {
    let Store::Elasticsearch { url, .. } = scene.testbed.target() else {
        bail!("this testbed moves to Elasticsearch");
    };
    let client = reqwest::Client::builder().no_proxy().build()?;
    let put = async |path: &str, body: Value| -> Result<()> {
        let answer = client.put(format!("{url}/{path}")).json(&body).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "PUT {path} answers {status}: {text}");
        Ok(())
    };
    // As a server makes it that starts before anyone has set it up: by writing.
    put(
        "bare/_doc/1",
        json!({"WorkflowId": "x", "RunId": "y", "NamespaceId": "z"}),
    )
    .await?;
    let tool = find_or_build(
        &Cache::from_environment()?,
        &TEMPORAL_1_30_8,
        Program::ElasticsearchTool,
        &Lines::default(),
    )?;
    let node = scene
        .testbed
        .elasticsearch()
        .context("this testbed has Elasticsearch")?;
    node.create_temporal_index(&tool, "temporal_visibility_v1_conflict")?;
    put(
        "temporal_visibility_v1_conflict/_mapping",
        json!({"properties": {"CustomerId": {"type": "long"}}}),
    )
    .await?;
    node.create_temporal_index(&tool, "temporal_visibility_v1_full")?;
    put(
        "temporal_visibility_v1_full/_settings",
        json!({"index.blocks.read_only_allow_delete": true}),
    )
    .await
}
