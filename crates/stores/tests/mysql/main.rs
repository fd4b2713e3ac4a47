//! The MySQL driver against the nearest real server that can be had: see `e2e::servers::mysql`.
//!
//! Run it with `cargo test -p crossfade-stores --test mysql`.

mod beside_others;
mod columns;
mod fixture;
mod opening;
mod standard;

use crossfade_stores::{Family, SchemaFault, SchemaState, Store, inspect, open};
use crossfade_visibility::contract::{self, record};
use crossfade_visibility::ports::{Error, Range};
use crossfade_visibility::record::{Key, Record, marker_record};
use serde_json::{Value, json};

use crate::fixture::server;

/// A Namespace of these tests.
const NAMESPACE: &str = "00000000-0000-4000-8000-00000000000a";

async fn opened(entry: &Value) -> Store {
    open(entry).await.unwrap_or_else(|error| panic!("{error}"))
}

#[tokio::test]
async fn passes_the_contract_with_the_newest_schema() {
    let store = opened(&server().newest("newest")).await;
    contract::all(store.target()).await.expect("contract");
}

/// Schema v1.4 has no versions, no roots and no table for the server's own components.
#[tokio::test]
async fn passes_the_contract_with_a_schema_without_versions() {
    let store = opened(&server().of_1_23("without_versions")).await;
    assert!(!store.read().versioned());
    contract::all(store.target()).await.expect("contract");
}

/// Schemas v1.9 and v1.10 have versions and only one table of attributes.
#[tokio::test]
async fn passes_the_contract_with_one_table_of_attributes() {
    let entry = server().newest("one_table");
    server().execute("one_table", &["DROP TABLE chasm_search_attributes"]);
    let store = opened(&entry).await;
    assert!(store.read().versioned());
    contract::all(store.target()).await.expect("contract");
}

/// Keys that are no UUIDs are sorted otherwise by a collation that does not tell case; scans still go by bytes, from the
/// start or when such a key turns up under way.
#[tokio::test]
async fn scans_by_bytes_whatever_the_collation() {
    let entry = server().newest("odd_keys");
    server().execute(
        "odd_keys",
        &["ALTER TABLE executions_visibility CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"],
    );
    let collated = server().collated("collated");
    for entry in [entry, collated] {
        let store = opened(&entry).await;
        let scan = || async {
            let (mut keys, mut range) = (Vec::new(), Range::default());
            loop {
                let page = store.read().scan(&range, 2).await.expect("scan");
                let Some(last) = page.last() else { return keys };
                range.after = Some(last.key.clone());
                keys.extend(page.into_iter().map(|record| record.key));
            }
        };
        assert!(scan().await.is_empty(), "nothing odd yet");
        // None of them equal without regard to case: they could not be in one table.
        let runs = ["b", "A", "c-b", "ca", "Z", "é", "D"];
        for run in runs {
            let marker = marker_record("n", "w", run, jiff::Timestamp::UNIX_EPOCH);
            assert_eq!(store.write().put(&[marker]).await.expect("put"), 1);
        }
        let mut expected: Vec<Key> = runs.map(|run| Key::new("n", run)).to_vec();
        expected.sort();
        assert_eq!(scan().await, expected);
        let reopened = opened(&entry).await;
        let page = reopened.read().scan(&Range::default(), 99).await.expect("scan");
        assert_eq!(page.into_iter().map(|record| record.key).collect::<Vec<_>>(), expected);
        let of_one = Range {
            namespace_id: Some("n".to_owned()),
            after: Some(Key::new("n", "Z")),
            until: None,
        };
        assert_eq!(reopened.read().scan(&of_one, 99).await.expect("scan").len(), 4);
    }
}

/// One record that the database refuses is named, without its content, and the others of its batch stay out.
#[tokio::test]
async fn names_the_record_that_is_refused() {
    let store = opened(&server().newest("refused")).await;
    let mut records: Vec<Record> = (0..5).map(|n| record(NAMESPACE, n)).collect();
    let good = records[3].clone();
    let attribute = |field: &str, value: Value| Record {
        search_attributes: serde_json::Map::from_iter([(field.to_owned(), value)]),
        ..good.clone()
    };
    let refused = [
        attribute("Keyword01", json!("sensitive".repeat(29))),
        attribute("Int01", json!("sensitive")),
        Record {
            memo: Some(b"sensitive ".repeat(7_000)),
            ..good.clone()
        },
        Record {
            workflow_id: "sensitive".repeat(29),
            ..good.clone()
        },
    ];
    for bad in refused {
        records[3] = bad;
        match store.write().put(&records).await {
            Err(error @ Error::Refused { .. }) => {
                let message = error.to_string();
                assert!(message.contains(&records[3].key.run_id), "{message}");
                assert!(!message.contains("sensitive"), "{message}");
                assert!(!error.is_retryable());
            }
            other => panic!("{other:?}"),
        }
        assert!(store.read().namespaces().await.expect("namespaces").is_empty());
    }
}

/// Many records, more than one statement takes, and large ones, more than one packet should.
#[tokio::test]
async fn writes_and_looks_up_in_batches() {
    let store = opened(&server().newest("batches")).await;
    let mut records: Vec<Record> = (0..900).map(|n| record(NAMESPACE, n)).collect();
    for record in records.iter_mut().take(60) {
        record.memo = Some(vec![7; 60_000]);
    }
    assert_eq!(store.write().put(&records).await.expect("put"), 900);
    let keys: Vec<Key> = records.iter().map(|record| record.key.clone()).collect();
    assert_eq!(store.read().versions(&keys).await.expect("versions").len(), 900);
    let mut found = store.read().get(&keys).await.expect("get");
    found.sort_by(|a, b| a.version.cmp(&b.version));
    assert!(found.iter().zip(&records).all(|(found, put)| found.memo == put.memo));
    assert_eq!(found.len(), 900);
}

#[tokio::test]
async fn tells_facts_and_leaves_nothing_behind() {
    let entry = server().of_1_23("facts");
    let facts = inspect(&entry).await.expect("facts");
    assert_eq!(facts.writable, Some(Ok(())));
    assert_eq!(
        (facts.family, facts.warnings.len()),
        (Family::Sql, 0),
        "{:?}",
        facts.warnings
    );
    assert!(facts.engine.starts_with("TiDB ") && facts.bytes.is_some(), "{facts:?}");
    assert_eq!(facts.schema.version().as_deref(), Some("v1.4"));
    assert_eq!(facts.schema_faults("1.23.1"), Some(Vec::new()));
    let faults = facts.schema_faults("1.30.8").expect("a known server");
    assert!(
        matches!(
            &faults[..],
            [SchemaFault::TooOld { .. }, SchemaFault::MissingColumns { columns, .. }] if columns.iter().any(|c| c == "_version")
        ),
        "{faults:?}"
    );
    let store = opened(&entry).await;
    assert!(
        store.read().namespaces().await.expect("namespaces").is_empty(),
        "the probe stayed"
    );
    let newest = inspect(&server().newest("facts_newest")).await.expect("facts");
    assert_eq!(newest.schema_faults("1.30.8"), Some(Vec::new()));

    let mut alias = entry.clone();
    alias["sql"]["connectAddr"] = json!(format!("localhost:{}", server().port()));
    assert_eq!(inspect(&alias).await.expect("facts").identity, facts.identity);
    let other = inspect(&server().database("facts_of_another")).await.expect("facts");
    assert_ne!(other.identity, facts.identity);
    assert!(matches!(other.schema, SchemaState::Absent) && other.writable.is_none());
}

/// A user that may only read is told so before anything is tried for real.
#[tokio::test]
async fn says_what_a_user_may_not() {
    let mut entry = server().newest("rights");
    server().execute(
        "rights",
        &[
            "CREATE USER 'reader'@'%' IDENTIFIED BY 'reader-password'",
            "GRANT SELECT ON rights.* TO 'reader'@'%'",
        ],
    );
    entry["sql"]["user"] = json!("reader");
    entry["sql"]["password"] = json!("reader-password");
    let facts = inspect(&entry).await.expect("facts");
    assert!(
        matches!(&facts.writable, Some(Err(reason)) if reason.contains("denied")),
        "{facts:?}"
    );
    let store = opened(&entry).await;
    let refused = store.write().put(&[record(NAMESPACE, 1)]).await;
    assert!(matches!(refused, Err(Error::Denied { .. })), "{refused:?}");
    entry["sql"]["databaseName"] = json!("mysql");
    let denied = open(&entry).await.expect_err("another database");
    assert!(!denied.is_retryable(), "{denied:?}");
}
