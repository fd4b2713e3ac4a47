//! SQLite files made from Temporal's schema.

use std::time::Duration;

use crossfade_stores::{SchemaState, inspect};
use crossfade_visibility::contract::{self, record};
use crossfade_visibility::ports::{Condemned, Error, Range, Rewrite};
use crossfade_visibility::record::marker_record;
use serde_json::json;

use crate::{fixture, opened};

#[tokio::test]
async fn passes_the_contract() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = opened(&fixture::sqlite(directory.path(), "v.db")).await;
    contract::all(store.target()).await.expect("contract");
}

/// The columns that the server's queries use must hold what the server itself would have written.
#[tokio::test]
async fn keeps_the_servers_own_columns_and_full_text_tables() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = opened(&fixture::sqlite(directory.path(), "v.db")).await;
    let first = record("00000000-0000-4000-8000-00000000000a", 1);
    store.write().put(std::slice::from_ref(&first)).await.expect("put");
    let direct = rusqlite::Connection::open(directory.path().join("v.db")).expect("the file");
    let text = |sql: &str| {
        direct
            .query_row(sql, [], |row| row.get::<_, String>(0))
            .unwrap_or_else(|e| e.to_string())
    };
    assert_eq!(
        text("SELECT start_time FROM executions_visibility"),
        "2023-11-14 22:13:20.123457+00:00"
    );
    assert_eq!(
        text("SELECT close_time FROM executions_visibility"),
        "2023-11-14 22:14:50.123458+00:00"
    );
    assert_eq!(text("SELECT KeywordList02 FROM executions_visibility"), "a b♡c");
    assert_eq!(
        text("SELECT Datetime01 FROM executions_visibility"),
        "2024-02-29 12:34:56.123+00:00"
    );
    let found = |table: &str, word: &str| {
        let sql = format!("SELECT COUNT(*) FROM {table} WHERE {table} MATCH '{word}'");
        direct
            .query_row(&sql, [], |row| row.get::<_, i64>(0))
            .expect("a full text query")
    };
    let check = |words: i64, mended: i64, elements: i64| {
        assert_eq!(found("executions_visibility_fts_text", "words"), words);
        assert_eq!(found("executions_visibility_fts_text", "mended"), mended);
        assert_eq!(found("executions_visibility_fts_keyword_list", "\"a b\""), elements);
        direct
            .execute("INSERT INTO executions_visibility_fts_text (executions_visibility_fts_text) VALUES ('integrity-check')", [])
            .expect("the full text table agrees with the table");
    };
    check(1, 0, 1);

    let mut later = first.clone();
    later.version = Some(99);
    later.search_attributes.insert("Text01".to_owned(), json!("mended"));
    store.write().put(std::slice::from_ref(&later)).await.expect("put");
    check(0, 1, 1);
    let mut to = later.clone();
    to.search_attributes.remove("Text01");
    let rewritten = store
        .write()
        .rewrite(&[Rewrite { seen: later, to }])
        .await
        .expect("rewrite");
    assert_eq!(rewritten, 1);
    check(0, 0, 1);
    store
        .write()
        .delete(&[Condemned {
            key: first.key,
            at_most: None,
        }])
        .await
        .expect("delete");
    check(0, 0, 0);
}

/// A server that writes all the time, and one that holds the lock for a while, are waited for.
#[tokio::test]
async fn works_beside_another_writer() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = opened(&fixture::sqlite(directory.path(), "v.db")).await;
    let path = directory.path().join("v.db");
    let (locked, is_locked) = std::sync::mpsc::channel();
    let other = std::thread::spawn(move || {
        let connection = rusqlite::Connection::open(path).expect("the file");
        connection.execute_batch("BEGIN IMMEDIATE").expect("the lock");
        locked.send(()).expect("the test to wait");
        std::thread::sleep(Duration::from_millis(300));
        connection.execute_batch("COMMIT").expect("commit");
    });
    is_locked.recv().expect("the lock to be taken");
    assert!(
        store
            .read()
            .scan(&Range::default(), 1)
            .await
            .expect("reads need no lock")
            .is_empty()
    );
    let records: Vec<_> = (0..250)
        .map(|n| record("00000000-0000-4000-8000-00000000000a", n))
        .collect();
    assert_eq!(store.write().put(&records).await.expect("the write waits"), 250);
    other.join().expect("the other writer");
}

#[tokio::test]
async fn tells_facts_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().expect("a directory");
    let entry = fixture::sqlite(directory.path(), "v.db");
    let facts = inspect(&entry).await.expect("facts");
    assert_eq!(facts.writable, Some(Ok(())));
    assert_eq!((facts.records_estimate, facts.warnings.len()), (Some(0), 1));
    assert!(facts.free_bytes.is_some_and(|bytes| bytes > 0) && facts.bytes.is_some_and(|bytes| bytes > 0));
    assert_eq!(facts.schema_faults("1.30.8"), Some(Vec::new()));
    assert!(matches!(facts.schema, SchemaState::Tables { recorded: None, .. }));
    assert!(
        opened(&entry)
            .await
            .read()
            .namespaces()
            .await
            .expect("namespaces")
            .is_empty(),
        "the probe stayed"
    );

    let mut patient = entry.clone();
    patient["sql"]["connectAttributes"]["busy_timeout"] = json!(10000);
    assert_eq!(inspect(&patient).await.expect("facts").warnings, Vec::<String>::new());
    let mut alias = entry.clone();
    let path = directory.path().join("./v.db");
    alias["sql"]["databaseName"] = json!(path);
    assert_eq!(inspect(&alias).await.expect("facts").identity, facts.identity);
    let other = fixture::sqlite(directory.path(), "w.db");
    assert_ne!(inspect(&other).await.expect("facts").identity, facts.identity);
}

/// A file opened read-only by the server's entry can be read, and says so when written to.
#[tokio::test]
async fn a_read_only_entry_is_readable() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut entry = fixture::sqlite(directory.path(), "v.db");
    entry["sql"]["connectAttributes"]["mode"] = json!("ro");
    let store = opened(&entry).await;
    assert!(store.read().scan(&Range::default(), 1).await.expect("scan").is_empty());
    let marker = marker_record("n", "w", "r", jiff::Timestamp::UNIX_EPOCH);
    assert!(matches!(store.write().put(&[marker]).await, Err(Error::Denied { .. })));
    assert!(matches!(inspect(&entry).await.expect("facts").writable, Some(Err(_))));
}
