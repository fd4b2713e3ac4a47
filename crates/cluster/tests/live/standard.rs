//! A server of 1.23.1 on standard Visibility, which counts nothing and keeps no search attributes.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use crossfade_cluster::canary::{self, Flock};
use crossfade_cluster::listing::{Count, CountedBy};
use crossfade_cluster::{ExecutionKey, ExecutionStatus, Frontend};
use serde_json::{Value, json};

use crate::cache::V1_23_1;
use crate::postgres::{PASSWORD, postgres};
use crate::server::{NAMESPACE, Plan, SHARDS, Server, until};

/// A database with the schema of standard Visibility, and its entry in the server's config.
fn standard_database(name: &str) -> Value {
    let entry = postgres().entry(name);
    tool(
        &["--plugin", "postgres"],
        name,
        "schema/postgresql/v96/visibility/versioned",
    );
    with_plugin(entry, "postgres")
}

fn with_plugin(mut entry: Value, plugin: &str) -> Value {
    entry["sql"]["pluginName"] = json!(plugin);
    entry
}

fn tool(plugin: &[&str], database: &str, schema: &str) {
    let port = postgres().port().to_string();
    let folder = V1_23_1.source(schema).display().to_string();
    for step in [
        vec!["create-database"],
        vec!["setup-schema", "-v", "0.0"],
        vec!["update-schema", "-d", &folder],
    ] {
        let output = Command::new(V1_23_1.program("temporal-sql-tool"))
            .args(["--endpoint", "127.0.0.1", "--port", &port, "--user", "temporal"])
            .args(plugin)
            .args(["--database", database])
            .args(&step)
            .env("SQL_PASSWORD", PASSWORD)
            .output()
            .expect("the schema tool");
        assert!(output.status.success(), "{step:?}: {output:?}");
    }
}

async fn flock(frontend: &Frontend, seed: &str, attributes: BTreeMap<String, Value>) -> Flock {
    Flock {
        namespace: NAMESPACE.to_owned(),
        namespace_id: frontend
            .namespace(NAMESPACE)
            .await
            .expect("namespace")
            .expect("namespace")
            .id,
        seed: seed.to_owned(),
        shards: SHARDS,
        memo: BTreeMap::from([("note".to_owned(), json!("kept"))]),
        search_attributes: attributes,
        lifetime: Duration::from_secs(600),
        at_once: 2,
    }
}

#[tokio::test]
async fn a_store_that_cannot_count_is_counted_by_listing() {
    let server = Server::start(Plan {
        visibility: Some(standard_database("standard_counted")),
        ..Plan::new(V1_23_1)
    });
    let frontend = server.frontend().await;
    assert_eq!(
        frontend.cluster().await.expect("cluster").visibility.primary,
        "postgres"
    );
    assert_eq!(frontend.try_count(NAMESPACE, "").await.expect("asked"), None);
    let error = frontend
        .try_count("no-such-one", "")
        .await
        .expect_err("no such Namespace");
    assert!(error.is_not_found(), "{error}");
    let count = async || frontend.count_all(NAMESPACE).await.expect("counted");
    let by_listing = |executions| Count {
        executions,
        by: CountedBy::Listing,
    };
    assert_eq!(count().await, by_listing(0));

    let flock = flock(&frontend, "standard's own", BTreeMap::new()).await;
    let keys = canary::start(&frontend, &flock).await.expect("started");
    until("all are counted", async || {
        count().await == by_listing(keys.len() as u64)
    })
    .await;
    let closed: &ExecutionKey = &keys[0];
    frontend
        .terminate(NAMESPACE, &closed.workflow_id, &closed.run_id, "test")
        .await
        .expect("terminated");
    // An id with a quote in it goes another way.
    let plain = Flock {
        seed: "plain".to_owned(),
        ..flock.clone()
    };
    let plain = canary::start(&frontend, &plain).await.expect("started");
    let found = async |key: &ExecutionKey| {
        let found = frontend.find(NAMESPACE, &key.workflow_id, 10).await.expect("found");
        assert!(found.len() <= 1, "{found:?}");
        found.into_iter().next().map(|execution| execution.status)
    };
    until("the closed one is closed", async || {
        found(closed).await == Some(ExecutionStatus::Terminated)
    })
    .await;
    assert_eq!(found(&keys[1]).await, Some(ExecutionStatus::Running));
    until("one without a quote is there", async || {
        found(&plain[0]).await == Some(ExecutionStatus::Running)
    })
    .await;
    until("all are counted", async || {
        count().await == by_listing((keys.len() + plain.len()) as u64)
    })
    .await;
    assert!(
        frontend
            .find(NAMESPACE, "nobody's", 10)
            .await
            .expect("asked")
            .is_empty()
    );
}
