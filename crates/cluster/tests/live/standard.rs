//! A server of 1.23.1 on standard Visibility, which counts nothing and keeps no search attributes.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use crossfade_cluster::canary::{self, Flock};
use crossfade_cluster::listing::{Count, CountedBy};
use crossfade_cluster::mutable_state::Refreshed;
use crossfade_cluster::register::{Index, IndexKind, Registration, register};
use crossfade_cluster::{ExecutionKey, ExecutionStatus, Frontend};
use serde_json::{Value, json};
use temporalio_common::protos::temporal::api::enums::v1::IndexedValueType;

use crate::cache::{TCTL, V1_23_1, V1_30_8};
use crate::elastic::{TEMPLATE, elastic};
use crate::postgres::{PASSWORD, postgres};
use crate::server::{NAMESPACE, Plan, SHARDS, Server, until};

/// A database with the schema of standard Visibility, and its entry in the server's config.
pub(crate) fn standard_database(name: &str) -> Value {
    let entry = postgres().entry(name);
    tool(
        &["--plugin", "postgres"],
        name,
        "schema/postgresql/v96/visibility/versioned",
    );
    with_plugin(entry, "postgres")
}

/// A database with the schema of 1.23.1 that counts and keeps search attributes, and its entry.
fn advanced_database(name: &str) -> Value {
    tool(
        &["--plugin", "postgres12"],
        name,
        "schema/postgresql/v12/visibility/versioned",
    );
    postgres().entry(name)
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

/// Dynamic config with both stores written, and no cache of attributes.
pub(crate) const DUAL: &str = "system.secondaryVisibilityWritingMode:\n  - value: dual\n\
                    system.enableReadFromSecondaryVisibility:\n  - value: false\n\
                    system.forceSearchAttributesCacheRefreshOnRead:\n  - value: true\n";

/// The same, with reads from the secondary store.
pub(crate) fn read_from_secondary(server: &Server) {
    let text = DUAL.replace("Visibility:\n  - value: false", "Visibility:\n  - value: true");
    std::fs::write(server.dir.join("dynamic.yaml"), text).expect("dynamic.yaml");
}

/// Starts one execution with a custom attribute, once the server takes it.
pub(crate) async fn start_with(frontend: &Frontend, seed: &str, name: &str) -> ExecutionKey {
    let attributes = BTreeMap::from([(name.to_owned(), json!("c-1"))]);
    let mut flock = flock(frontend, seed, attributes).await;
    flock.shards = 1;
    let mut key = None;
    until("a start with the attribute", async || {
        match canary::start(frontend, &flock).await {
            Ok(keys) => key = keys.into_iter().next(),
            Err(error) => assert!(error.to_string().contains(name), "{error}"),
        }
        key.is_some()
    })
    .await;
    key.expect("started")
}

/// The names under which the history service keeps the attributes of an execution.
pub(crate) async fn kept_as(frontend: &Frontend, key: &ExecutionKey) -> Vec<String> {
    let state = frontend
        .mutable_state(NAMESPACE, &key.workflow_id, &key.run_id)
        .await
        .expect("asked")
        .expect("there");
    state.search_attributes.into_keys().collect()
}

/// Registers names for the standard store, as an administrator did once: by an index that is not known and merged.
pub(crate) fn tctl_adds(server: &Server, names: &[(&str, &str)], skip_schema: bool) {
    let mut command = Command::new(TCTL.program("tctl"));
    command.args([
        "--address",
        &format!("127.0.0.1:{}", server.ports.frontend),
        "--auto_confirm",
        "--ns",
        NAMESPACE,
    ]);
    command.args(["--context_timeout", "120", "admin", "cluster", "add-search-attributes"]);
    if skip_schema {
        command.arg("--skip-schema-update");
    }
    for (name, kind) in names {
        command.args(["--name", name, "--type", kind]);
    }
    let output = command.output().expect("tctl");
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test]
async fn attributes_of_a_standard_store_get_columns_and_starts_go_on() {
    let server = Server::start(Plan {
        visibility: Some(standard_database("standard_to_columns")),
        secondary: Some(advanced_database("columns")),
        dynamic: DUAL,
        ..Plan::new(V1_23_1)
    });
    let frontend = server.frontend().await;
    let (source, target) = (
        Index::standard(),
        Index {
            kind: IndexKind::Columns,
            name: "columns".to_owned(),
        },
    );
    let namespaces = [NAMESPACE.to_owned()];
    let move_attributes = async || {
        let within = Duration::from_secs(60);
        register(&frontend, &source, &target, &namespaces, Duration::from_secs(1), within)
            .await
            .expect("registered")
    };
    assert_eq!(move_attributes().await, Registration::default(), "there is none");

    tctl_adds(&server, &[("CustomerId", "Keyword"), ("Amount", "Double")], true);
    let old = start_with(&frontend, "before", "CustomerId").await;
    assert_eq!(kept_as(&frontend, &old).await, ["CustomerId"]);
    let before = frontend.registered_attributes().await.expect("registered");

    let done = move_attributes().await;
    let named = frontend
        .namespace(NAMESPACE)
        .await
        .expect("asked")
        .expect("there")
        .aliases;
    let wanted = [("Double01", "Amount"), ("Keyword01", "CustomerId")];
    let wanted: BTreeMap<String, String> = wanted.map(|(c, n)| (c.to_owned(), n.to_owned())).into();
    assert_eq!(named, wanted);
    assert_eq!(done.wanted.keys().collect::<Vec<_>>(), ["Amount", "CustomerId"]);
    assert_eq!(done.named[NAMESPACE], done.wanted);
    let again = move_attributes().await;
    assert_eq!((again.wanted, again.named), (done.wanted, BTreeMap::new()));

    let after = frontend.registered_attributes().await.expect("registered");
    assert_ne!(before.fingerprint(&[""]), after.fingerprint(&[""]));
    let changes = after.changes(&before, &["", "columns"]);
    assert_eq!(changes.len(), 4, "{changes:?}");

    // The Namespace's new names reach the frontend with its next refresh, and starts never fail meanwhile.
    let mut number = 0;
    let mut fresh = old.clone();
    until("starts use the column", async || {
        number += 1;
        let attributes = BTreeMap::from([("CustomerId".to_owned(), json!("c-1"))]);
        let mut flock = flock(&frontend, &format!("after-{number}"), attributes).await;
        flock.shards = 1;
        fresh = canary::start(&frontend, &flock)
            .await
            .expect("no start is refused")
            .remove(0);
        kept_as(&frontend, &fresh).await == ["Keyword01"]
    })
    .await;
    let refreshed = frontend.refresh(&old).await;
    assert!(matches!(refreshed, Refreshed::Refreshed), "{refreshed:?}");
    let columns = |key: &ExecutionKey| {
        let query = format!(
            "SELECT keyword01, search_attributes FROM executions_visibility WHERE run_id = '{}'",
            key.run_id
        );
        postgres().ask("columns", &query).expect("asked")
    };
    until("the new one is in its column", async || {
        columns(&fresh) == r#"c-1|{"Keyword01": "c-1"}"#
    })
    .await;
    // What was started before keeps its name, which no column answers to: the target has to rename it.
    assert_eq!(columns(&old), r#"|{"CustomerId": "c-1"}"#);

    read_from_secondary(&server);
    until("the secondary answers", async || {
        frontend
            .try_count(NAMESPACE, "")
            .await
            .is_ok_and(|count| count.is_some())
    })
    .await;
    let listed = frontend
        .list(NAMESPACE, "CustomerId = 'c-1'", 100)
        .await
        .expect("listed");
    assert!(listed.iter().any(|e| e.run_id == fresh.run_id), "{listed:?}");
    assert!(!listed.iter().any(|e| e.run_id == old.run_id), "{listed:?}");
}

#[tokio::test]
async fn attributes_of_a_standard_store_get_into_an_index() {
    let index = "temporal_visibility_v1_standard";
    let node = elastic().await;
    let template = TEMPLATE.lock().await;
    node.create_temporal_index(&V1_30_8.program("temporal-elasticsearch-tool"), index)
        .expect("an index");
    drop(template);
    let server = Server::start(Plan {
        visibility: Some(standard_database("standard_to_index")),
        secondary: Some(node.datastore(index)),
        dynamic: DUAL,
        ..Plan::new(V1_23_1)
    });
    let frontend = server.frontend().await;
    tctl_adds(&server, &[("CustomerId", "Keyword"), ("Amount", "Double")], true);
    let target = Index {
        kind: IndexKind::Names,
        name: index.to_owned(),
    };
    let move_attributes = async || {
        let within = Duration::from_secs(60);
        register(
            &frontend,
            &Index::standard(),
            &target,
            &[],
            Duration::from_secs(1),
            within,
        )
        .await
        .expect("registered")
    };
    let done = move_attributes().await;
    let registered = frontend.registered_attributes().await.expect("registered");
    assert_eq!(registered.index(index), registered.index(""), "{registered:?}");
    assert_eq!(done.wanted, registered.index(""));
    assert_eq!(done.added, done.wanted);
    assert_eq!(move_attributes().await.added, BTreeMap::new());
    // The server puts no field for what counts as registered already.
    let mapped = async || {
        let mapping = frontend
            .index_attributes(index, NAMESPACE)
            .await
            .expect("asked")
            .mapping;
        mapping.expect("this version gives the mapping")
    };
    assert!(!mapped().await.contains_key("CustomerId"));

    let key = start_with(&frontend, "indexed", "CustomerId").await;
    assert_eq!(kept_as(&frontend, &key).await, ["CustomerId"]);
    read_from_secondary(&server);
    until("the secondary answers", async || {
        frontend
            .try_count(NAMESPACE, "")
            .await
            .is_ok_and(|count| count.is_some())
    })
    .await;
    until("the record is in the index, with the attribute", async || {
        let found = frontend.find(NAMESPACE, &key.workflow_id, 10).await.expect("found");
        found
            .iter()
            .any(|execution| execution.search_attributes.contains_key("CustomerId"))
    })
    .await;
    // What is added from now on is the server's own work.
    let fresh = BTreeMap::from([("Fresh".to_owned(), IndexedValueType::Int)]);
    frontend.add_search_attributes(NAMESPACE, &fresh).await.expect("added");
    assert_eq!(mapped().await.get("Fresh").map(String::as_str), Some("long"));
}
