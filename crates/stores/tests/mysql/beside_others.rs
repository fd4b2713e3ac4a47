//! Beside a server that writes the same records.

use std::time::Duration;

use crossfade_visibility::contract::record;
use crossfade_visibility::ports::{Error, Range};
use crossfade_visibility::record::Record;
use mysql_async::prelude::Queryable;
use serde_json::json;

use crate::fixture::{self, server};
use crate::{NAMESPACE, opened};

/// The server's own statement for an upsert (1.30.8: common/persistence/sql/sqlplugin/mysql/visibility.go).
fn upsert(table: &str, columns: &[(&str, String)]) -> String {
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let values: Vec<&str> = columns.iter().map(|(_, value)| value.as_str()).collect();
    let assigned: Vec<String> = names
        .iter()
        .filter(|name| !["namespace_id", "run_id"].contains(name))
        .map(|name| format!("{name} = IF(_version < VALUES(_version), VALUES({name}), {name})"))
        .collect();
    format!(
        "INSERT INTO {table} ({}) VALUES ({}) ON DUPLICATE KEY UPDATE {}",
        names.join(", "),
        values.join(", "),
        assigned.join(", ")
    )
}

/// Two writers of ours and a server write the same records in versions of their own: each record ends as the latest of
/// them, the same in every table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_latest_version_wins_in_every_table() {
    const RECORDS: u32 = 50;
    let entry = server().newest("beside_others");
    let of_version = |version: i64| -> Vec<Record> {
        let records = (0..RECORDS).map(|n| record(NAMESPACE, n));
        let versioned = records.map(|mut record| {
            record.version = Some(version);
            record.search_attributes.insert("Int01".to_owned(), json!(version));
            record
        });
        versioned.collect()
    };
    let ours = async |versions: &[i64]| {
        let store = opened(&entry).await;
        for version in versions {
            let records = of_version(*version);
            for part in records.chunks(25) {
                // A deadlock is worth trying again, as those who call this do.
                while let Err(error) = store.write().put(part).await {
                    assert!(matches!(error, Error::Busy { .. }), "{error}");
                }
            }
        }
    };
    let theirs = async || {
        let mut conn = server().connect("beside_others").await;
        for n in 0..RECORDS {
            let (key, version) = (record(NAMESPACE, n).key, if n % 2 == 0 { 45 } else { 15 });
            let attributes = format!("'{{\"Int01\": {version}}}'");
            let shared = [
                ("namespace_id", format!("'{}'", key.namespace_id)),
                ("run_id", format!("'{}'", key.run_id)),
                ("search_attributes", attributes),
            ];
            let record = ["start_time", "execution_time"].map(|name| (name, "'2024-01-01 00:00:00'".to_owned()));
            let texts = ["workflow_id", "workflow_type_name", "encoding"].map(|name| (name, "'theirs'".to_owned()));
            let version = [("_version", version.to_string())];
            let status = [("status", "2".to_owned())];
            let whole = [&shared[..], &record, &texts, &status, &version].concat();
            loop {
                let done = async {
                    conn.query_drop("START TRANSACTION").await?;
                    conn.query_drop(upsert("executions_visibility", &whole)).await?;
                    for table in ["custom_search_attributes", "chasm_search_attributes"] {
                        conn.query_drop(upsert(table, &[&shared[..], &version].concat()))
                            .await?;
                    }
                    conn.query_drop("COMMIT").await
                };
                match done.await {
                    Ok(()) => break,
                    Err(mysql_async::Error::Server(error)) if [1205, 1213, 9007].contains(&error.code) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    };
    tokio::join!(ours(&[10, 30, 20]), ours(&[40, 5, 30]), theirs());

    let store = opened(&entry).await;
    let records = store.read().scan(&Range::default(), 1000).await.expect("scan");
    assert_eq!(records.len(), RECORDS as usize);
    assert_eq!(fixture::disagreeing("beside_others").await, Vec::<String>::new());
    for found in records {
        let n = (0..RECORDS)
            .find(|n| record(NAMESPACE, *n).key == found.key)
            .expect("one of ours");
        let latest = if n % 2 == 0 { 45 } else { 40 };
        assert_eq!(found.version, Some(latest));
        // What is read is what the table that indexes it says.
        assert_eq!(found.search_attributes["Int01"], json!(latest), "{found:?}");
    }
}

/// A record that somebody keeps locked makes a write busy, after the time that the entry sets; nothing is half written.
#[tokio::test]
async fn a_lock_that_lasts_makes_a_write_busy() {
    let mut entry = server().newest("locked");
    entry["sql"]["connectAttributes"] = json!({"innodb_lock_wait_timeout": 1});
    let store = opened(&entry).await;
    let records: Vec<Record> = (0..3).map(|n| record(NAMESPACE, n)).collect();
    store.write().put(&records[..1]).await.expect("put");
    let mut other = server().connect("locked").await;
    other.query_drop("START TRANSACTION").await.expect("a transaction");
    other
        .query_drop("UPDATE executions_visibility SET task_queue = 'theirs'")
        .await
        .expect("an update");
    let busy = store.write().put(&records).await.expect_err("the record is locked");
    assert!(matches!(busy, Error::Busy { .. }) && busy.is_retryable(), "{busy:?}");
    other.query_drop("COMMIT").await.expect("commit");
    assert_eq!(store.write().put(&records).await.expect("put"), 2);
}

/// The connections are lost between two calls: these fail as worth trying again until the loss is noticed, then connect
/// anew.
#[tokio::test]
async fn connects_again_after_the_connection_was_lost() {
    let entry = server().newest("lost");
    let store = opened(&entry).await;
    assert!(store.read().namespaces().await.expect("namespaces").is_empty());
    assert_eq!(store.write().put(&[record(NAMESPACE, 1)]).await.expect("put"), 1);
    let mut direct = server().connect("lost").await;
    let ours: Vec<u64> = direct
        .query("SELECT id FROM information_schema.processlist WHERE db = 'lost' AND id <> CONNECTION_ID()")
        .await
        .expect("the connections");
    assert!(ours.len() >= 2, "{ours:?}");
    for id in ours {
        direct.query_drop(format!("KILL {id}")).await.expect("a kill");
    }
    let again = async {
        while let Err(error) = store.read().namespaces().await {
            assert!(error.is_retryable(), "{error}");
            tokio::task::yield_now().await;
        }
        while let Err(error) = store.write().put(&[record(NAMESPACE, 2)]).await {
            assert!(error.is_retryable(), "{error}");
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), again)
        .await
        .expect("new connections");
    assert_eq!(store.read().scan(&Range::default(), 10).await.expect("scan").len(), 2);
}

/// A call that is abandoned half way leaves no transaction and no answer behind that the next call would trip over.
#[tokio::test]
async fn an_abandoned_call_leaves_nothing_behind() {
    let store = opened(&server().newest("abandoned")).await;
    let records: Vec<Record> = (0..200).map(|n| record(NAMESPACE, n)).collect();
    for micros in [50, 200, 800, 3_000, 12_000, 50_000] {
        let _ = tokio::time::timeout(Duration::from_micros(micros), store.write().put(&records)).await;
        let _ = tokio::time::timeout(Duration::from_micros(micros), store.read().scan(&Range::default(), 200)).await;
    }
    store.write().put(&records).await.expect("put");
    assert_eq!(
        store.read().scan(&Range::default(), 1000).await.expect("scan").len(),
        200
    );
}
