//! What is read, of rows that stay where they are.

use crossfade_stores::{SchemaState, inspect, open};
use crossfade_visibility::contract;
use crossfade_visibility::ports::{Error, Precision, Target};
use crossfade_visibility::record::{Key, Record, marker_record};
use jiff::Timestamp;

use crate::fixture::{KEYSPACE, Server, kept, open_record, shared};
use crate::{namespace, scanned, store, within};

#[tokio::test]
async fn passes_the_reading_clauses_of_the_contract() {
    shared().keyspace("contract");
    let entry = shared().cassandra.datastore("contract");
    let opened = open(&entry).await.unwrap_or_else(|error| panic!("{error}"));
    let server = Server::new(shared().cassandra.port(), "contract").await;
    let read = opened.read();
    let target = Target {
        read: &*read,
        write: &server,
    };
    contract::scans_in_order_from_any_key(target)
        .await
        .expect("the store to answer");
    contract::counts_and_lists_open(target)
        .await
        .expect("the store to answer");
}

#[tokio::test]
async fn gives_what_the_server_wrote_and_nothing_more() {
    let (server, store, namespace) = (Server::shared().await, store().await, namespace(1));
    let closed = contract::record(&namespace, 1);
    let open = open_record(&namespace, 2);
    // What the server writes where there is nothing: no memo, an execution time of 0.
    let mut bare = marker_record(
        &namespace,
        "",
        &contract::record(&namespace, 3).key.run_id,
        closed.start_time,
    );
    (bare.execution_time, bare.status) = (Timestamp::UNIX_EPOCH, 7);
    server.write(&[closed.clone(), open.clone(), bare.clone()]).await;
    bare.execution_time = bare.start_time;

    let expected: Vec<Record> = sorted([closed, open, bare].iter().map(kept).collect());
    assert_eq!(scanned(&*store, within(&namespace), 10).await, expected);
    let keys: Vec<Key> = expected.iter().map(|record| record.key.clone()).collect();
    assert_eq!(sorted(store.get(&keys).await.expect("records")), expected);
    let versions = store.versions(&keys).await.expect("versions");
    assert!(versions.len() == 3 && versions.values().all(Option::is_none));
    assert_eq!(store.precision(), Precision::Millisecond);
    assert!(!store.versioned());
    let odd = Key::new(namespace.to_uppercase(), keys[0].run_id.clone());
    assert!(store.get(&[odd, Key::new("n", "r")]).await.expect("records").is_empty());
}

#[tokio::test]
async fn is_never_written_to() {
    let opened = open(&shared().cassandra.datastore(KEYSPACE)).await.expect("a store");
    let refused = opened.write().put(&[contract::record(&namespace(2), 1)]).await;
    assert!(matches!(refused, Err(Error::SourceOnly { .. })), "{refused:?}");
}

#[tokio::test]
async fn tells_what_it_is() {
    let facts = inspect(&shared().cassandra.datastore(KEYSPACE))
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(facts.engine.starts_with("Apache Cassandra 5.0."), "{}", facts.engine);
    assert_eq!(facts.schema.version().as_deref(), Some("v1.0"));
    assert_eq!(facts.schema_faults("1.23.1"), Some(Vec::new()));
    assert_eq!(facts.schema_faults("1.24.0"), None);
    assert!(facts.writable.is_none() && facts.warnings.is_empty(), "{facts:?}");
    let mut other = shared().cassandra.datastore(KEYSPACE);
    other["cassandra"]["hosts"] = "localhost".into();
    let again = inspect(&other).await.unwrap_or_else(|error| panic!("{error}"));
    assert!(
        facts.identity.is_some() && facts.identity == again.identity,
        "one store, whatever its address"
    );
}

#[tokio::test]
async fn a_keyspace_without_the_schema_is_told_from_one_with_half_of_it() {
    let server = Server::shared().await;
    let run = async |statement: &str| {
        server.session.query_unpaged(statement, ()).await.expect("a statement");
    };
    run("CREATE KEYSPACE empty WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}").await;
    let entry = shared().cassandra.datastore("empty");
    let facts = inspect(&entry).await.unwrap_or_else(|error| panic!("{error}"));
    assert!(matches!(facts.schema, SchemaState::Absent));
    let missing = open(&entry).await.expect_err("it must not open").to_string();
    assert!(missing.contains("has no visibility schema"), "{missing}");

    shared().keyspace("half");
    run("DROP INDEX half.closed_by_workflow_id").await;
    run("ALTER TABLE half.closed_executions DROP task_queue").await;
    let entry = shared().cassandra.datastore("half");
    let half = open(&entry).await.expect_err("it must not open").to_string();
    assert!(
        half.contains("closed_by_workflow_id") && half.contains("closed_executions.task_queue"),
        "{half}"
    );
    let facts = inspect(&entry).await.unwrap_or_else(|error| panic!("{error}"));
    assert!(
        facts.schema_faults("1.23.1").is_some_and(|faults| faults.len() == 1),
        "{facts:?}"
    );
    assert!(
        facts
            .warnings
            .iter()
            .any(|warning| warning.contains("closed_by_workflow_id")),
        "{facts:?}"
    );
}

fn sorted(mut records: Vec<Record>) -> Vec<Record> {
    records.sort_by(|a, b| a.key.cmp(&b.key));
    records
}
