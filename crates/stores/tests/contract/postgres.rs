//! A PostgreSQL server of our own, in a collation that is not that of the bytes.

use crossfade_stores::{SchemaFault, inspect};
use crossfade_visibility::compare::{self, compare};
use crossfade_visibility::contract::{self, record};
use crossfade_visibility::copy::{self, Step, copy};
use crossfade_visibility::ports::{Error, Range};
use crossfade_visibility::record::{Key, Record, marker_record};
use serde_json::json;

use crate::fixture::{self, postgres};
use crate::opened;

#[tokio::test]
async fn passes_the_contract_with_the_newest_schema() {
    let store = opened(&postgres().visibility("newest", "v1.13")).await;
    contract::all(store.target()).await.expect("contract");
}

#[tokio::test]
async fn passes_the_contract_with_schemas_without_versions() {
    for version in ["v1.8", "v1.5"] {
        let name = version.replace('.', "_");
        let store = opened(&postgres().visibility(&name, version)).await;
        assert!(!store.read().versioned());
        contract::all(store.target()).await.expect(version);
    }
}

/// The oldest schema lacks columns: what it has is kept, what it lacks reads as absent.
#[tokio::test]
async fn works_with_the_oldest_schema() {
    let store = opened(&postgres().visibility("oldest", "v1.3")).await;
    let written = record("00000000-0000-4000-8000-00000000000a", 1);
    assert_eq!(store.write().put(std::slice::from_ref(&written)).await.expect("put"), 1);
    let read = store
        .read()
        .get(std::slice::from_ref(&written.key))
        .await
        .expect("get")
        .pop()
        .expect("it");
    let expected = Record {
        version: None,
        execution_duration: None,
        state_transition_count: None,
        parent_workflow_id: None,
        parent_run_id: None,
        root_workflow_id: None,
        root_run_id: None,
        task_key: None,
        ..written
    };
    assert_eq!(read, expected);
}

/// Keys that are no UUIDs are sorted otherwise by this database (letters without regard to case); scans still go by
/// bytes, from the start or when such a key turns up under way.
#[tokio::test]
async fn scans_by_bytes_whatever_the_collation() {
    let store = opened(&postgres().visibility("odd_keys", "v1.13")).await;
    let at = jiff::Timestamp::UNIX_EPOCH;
    let put = |run: &'static str| {
        let store = store.clone();
        async move {
            store
                .write()
                .put(&[marker_record("n", "w", run, at)])
                .await
                .expect("put")
        }
    };
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
    for run in ["b", "A", "a", "B", "a-b", "ab", "Z", "é"] {
        put(run).await;
    }
    let mut expected: Vec<Key> = ["A", "B", "Z", "a", "a-b", "ab", "b", "é"]
        .map(|run| Key::new("n", run))
        .to_vec();
    expected.sort();
    assert_eq!(scan().await, expected);
    let reopened = opened(&postgres().entry("odd_keys")).await;
    let keys: Vec<Key> = reopened
        .read()
        .scan(&Range::default(), 99)
        .await
        .expect("scan")
        .into_iter()
        .map(|r| r.key)
        .collect();
    assert_eq!(keys, expected);
}

/// One record that the database refuses is named, without its content, and the others of its batch stay out.
#[tokio::test]
async fn names_the_record_that_is_refused() {
    let store = opened(&postgres().visibility("refused", "v1.13")).await;
    let namespace = "00000000-0000-4000-8000-00000000000a";
    let mut records: Vec<Record> = (0..5).map(|n| record(namespace, n)).collect();
    for (field, value) in [
        ("Keyword01", "x".repeat(256)),
        ("Datetime01", "sensitive".to_owned()),
        ("Text01", "'sensitive".to_owned()),
    ] {
        records[3].search_attributes = serde_json::Map::from_iter([(field.to_owned(), json!(value))]);
        match store.write().put(&records).await {
            Err(error @ Error::Refused { .. }) => {
                let message = error.to_string();
                assert!(message.contains(&records[3].key.run_id), "{message}");
                assert!(!message.contains("sensitive"), "{message}");
                assert!(!error.is_retryable());
            }
            other => panic!("{field}: {other:?}"),
        }
        assert!(store.read().namespaces().await.expect("namespaces").is_empty());
    }
}

#[tokio::test]
async fn tells_facts_and_leaves_nothing_behind() {
    let entry = postgres().visibility("facts", "v1.9");
    let facts = inspect(&entry).await.expect("facts");
    assert_eq!(facts.writable, Some(Ok(())));
    assert!(facts.engine.starts_with("PostgreSQL ") && facts.warnings.is_empty() && facts.bytes.is_some());
    assert_eq!(facts.schema_faults("1.29.1"), Some(Vec::new()));
    let faults = facts.schema_faults("1.30.8").expect("known");
    assert!(
        matches!(
            &faults[..],
            [SchemaFault::TooOld { .. }, SchemaFault::MissingColumns { .. }]
        ),
        "{faults:?}"
    );
    assert!(faults[0].to_string().contains("v1.9") && faults[0].to_string().contains("v1.13"));
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

    let mut alias = entry.clone();
    alias["sql"]["connectAddr"] = json!(format!("localhost:{}", postgres().port));
    alias["sql"]["pluginName"] = json!("postgres12_pgx");
    assert_eq!(inspect(&alias).await.expect("facts").identity, facts.identity);
    let other = postgres().database("facts_of_another");
    let other = inspect(&other).await.expect("facts");
    assert_ne!(other.identity, facts.identity);
    assert!(matches!(
        &other.schema_faults("1.30.8").expect("known")[..],
        [SchemaFault::Absent { .. }]
    ));
}

/// A role that may only read is told so before anything is tried for real.
#[tokio::test]
async fn says_what_a_role_may_not() {
    let mut entry = postgres().visibility("rights", "v1.13");
    postgres().execute(
        "rights",
        "CREATE ROLE reader LOGIN PASSWORD 'reader'; GRANT SELECT ON executions_visibility TO reader",
    );
    entry["sql"]["user"] = json!("reader");
    entry["sql"]["password"] = json!("reader");
    let facts = inspect(&entry).await;
    // The version table is out of its reach too.
    assert!(
        matches!(facts, Err(crossfade_stores::OpenError::Denied { .. })),
        "{facts:?}"
    );
    postgres().execute("rights", "GRANT SELECT ON schema_version TO reader");
    let facts = inspect(&entry).await.expect("facts");
    assert!(
        matches!(&facts.writable, Some(Err(reason)) if reason.contains("permission denied")),
        "{facts:?}"
    );
    let store = opened(&entry).await;
    let refused = store
        .write()
        .put(&[record("00000000-0000-4000-8000-00000000000a", 1)])
        .await;
    assert!(matches!(refused, Err(Error::Denied { .. })), "{refused:?}");
}

/// The connection is lost between two calls: they fail as worth trying again until the loss is noticed, then connect
/// anew.
#[tokio::test]
async fn connects_again_after_the_connection_was_lost() {
    let store = opened(&postgres().visibility("lost", "v1.13")).await;
    assert!(store.read().namespaces().await.expect("namespaces").is_empty());
    postgres().execute(
        "postgres",
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = 'lost'",
    );
    let again = async {
        while let Err(error) = store.read().namespaces().await {
            assert!(error.is_retryable(), "{error}");
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), again)
        .await
        .expect("a new connection");
}

/// Both directions between the two engines: what each writes in its own way is the same record.
#[tokio::test]
async fn copies_and_compares_with_sqlite_in_both_directions() {
    let directory = tempfile::tempdir().expect("a directory");
    let entries = [
        postgres().visibility("pair_source", "v1.13"),
        fixture::sqlite(directory.path(), "middle.db"),
        postgres().visibility("pair_target", "v1.13"),
    ];
    let mut stores = Vec::new();
    for entry in &entries {
        stores.push(opened(entry).await);
    }
    let records: Vec<Record> = (0..700)
        .map(|n| record(&format!("{:08x}-0000-4000-8000-000000000000", n % 3), n))
        .collect();
    stores[0].write().put(&records).await.expect("put");
    for pair in stores.windows(2) {
        let [source, target] = pair else { continue };
        let mut pages = 0;
        let mut watch = |_: &copy::Progress| {
            pages += 1;
            Step::Continue
        };
        let options = copy::Options::pages_of(128);
        let progress = copy::Progress::default();
        let done = copy(
            &*source.read(),
            target.target(),
            &Range::default(),
            progress,
            options,
            &mut watch,
        )
        .await;
        let done = done.expect("copy").progress;
        assert_eq!((done.scanned, done.written, done.withdrawn), (700, 700, 0));
        assert_eq!(pages, 6);
    }
    for (from, to) in [(0, 1), (1, 2), (0, 2), (2, 0)] {
        let mut watch = |_: &compare::Progress| Step::Continue;
        let (source, target) = (stores[from].read(), stores[to].read());
        let (progress, options) = (compare::Progress::default(), compare::Options::default());
        let done = compare(
            &*source,
            &*target,
            None,
            &Range::default(),
            progress,
            options,
            &mut watch,
        )
        .await;
        let done = done.expect("compare");
        assert!(done.is_clean(), "{from} to {to}: {:?}", done.progress.drift);
        assert_eq!((done.progress.source_records, done.progress.target_records), (700, 700));
    }
}
