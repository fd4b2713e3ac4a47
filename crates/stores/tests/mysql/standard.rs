//! The plugin `mysql` of servers up to 1.23: read, and never written.

use crossfade_stores::{Family, inspect};
use crossfade_visibility::contract::record;
use crossfade_visibility::keeps::Column;
use crossfade_visibility::ports::{Count, Error, Range};
use crossfade_visibility::record::Key;
use serde_json::json;

use crate::fixture::server;
use crate::{NAMESPACE, opened};

#[tokio::test]
async fn reads_what_the_old_server_wrote() {
    let entry = server().standard("standard");
    // As the server's own statements leave them (1.23.1: common/persistence/sql/sqlplugin/mysql/visibility.go).
    server().execute(
        "standard",
        &[
            &format!(
                "INSERT INTO executions_visibility (namespace_id, workflow_id, run_id, start_time, execution_time, workflow_type_name, \
                 status, memo, encoding, task_queue) VALUES ('{NAMESPACE}', 'open', '00000000-0000-4000-8000-0000000000b1', \
                 '2024-01-01 10:00:00.123456', '1970-01-01 00:00:00', 'Order', 1, NULL, 'Proto3', 'orders')"
            ),
            &format!(
                "INSERT INTO executions_visibility (namespace_id, workflow_id, run_id, start_time, execution_time, workflow_type_name, \
                 close_time, status, history_length, memo, encoding, task_queue) VALUES ('{NAMESPACE}', 'closed', \
                 '00000000-0000-4000-8000-0000000000a1', '2024-01-01 10:00:00', '2024-01-01 10:05:00', 'Order', \
                 '2024-01-01 11:00:00.5', 2, 11, X'0A00', 'Proto3', 'orders')"
            ),
        ],
    );
    let store = opened(&entry).await;
    let read = store.read();
    let kept: Vec<Column> = Column::ALL
        .into_iter()
        .filter(|column| read.keeps().has(*column))
        .collect();
    assert_eq!(kept, [Column::ExecutionTime, Column::HistoryLength, Column::TaskQueue]);
    assert!(!read.versioned());

    let records = read.scan(&Range::default(), 10).await.expect("scan");
    let [closed, open] = &records[..] else {
        panic!("{records:?}")
    };
    assert_eq!(
        (closed.workflow_id.as_str(), closed.status, closed.history_length),
        ("closed", 2, Some(11))
    );
    assert_eq!(closed.close_time, "2024-01-01T11:00:00.5Z".parse().ok());
    assert_eq!(closed.memo.as_deref(), Some(&[10, 0][..]));
    assert_eq!(
        (open.close_time, open.memo.as_deref(), open.version),
        (None, None, None)
    );
    assert_eq!(
        open.execution_time, open.start_time,
        "as the server reads a time that is not set"
    );
    assert!(open.search_attributes.is_empty() && open.root_run_id.is_none());
    let counts = read.count(None).await.expect("counts");
    assert_eq!(counts.get(NAMESPACE), Some(&Count { open: 1, closed: 1 }));
    let before = "2024-01-01T10:00:01Z".parse().expect("a time");
    let listed = read
        .open_started_before(before, &Range::default(), 10)
        .await
        .expect("open ones");
    assert_eq!(listed.len(), 1);
    assert_eq!(
        read.versions(&[open.key.clone(), Key::new("n", "r")])
            .await
            .expect("versions")
            .len(),
        1
    );

    let refused = store.write().put(&[record(NAMESPACE, 1)]).await;
    assert!(matches!(refused, Err(Error::SourceOnly { .. })), "{refused:?}");

    let facts = inspect(&entry).await.expect("facts");
    assert_eq!(
        (facts.family, facts.schema.version().as_deref()),
        (Family::StandardSql, Some("v1.1"))
    );
    assert_eq!(facts.schema_faults("1.23.1"), Some(Vec::new()));
    assert_eq!(facts.schema_faults("1.24.1"), None, "no such stores any more");
}

/// Its records go into a store of today, and compare equal by what both keep.
#[tokio::test]
async fn is_a_source_to_copy_from() {
    use crossfade_visibility::compare::{self, compare};
    use crossfade_visibility::copy::{self, Step, copy};

    let source = server().standard("standard_source");
    let rows: Vec<String> = (0..500)
        .map(|n| {
            format!(
                "('{NAMESPACE}', 'w{n}', '{:08x}-0000-4000-8000-000000000000', '2024-01-01 10:00:00.123456', '2024-01-01 10:00:00.123456', \
                 'Order', 1, NULL, 'Proto3', 'orders')",
                n * 7919
            )
        })
        .collect();
    server().execute(
        "standard_source",
        &[&format!(
            "INSERT INTO executions_visibility (namespace_id, workflow_id, run_id, start_time, execution_time, workflow_type_name, \
             status, memo, encoding, task_queue) VALUES {}",
            rows.join(", ")
        )],
    );
    let (source, target) = (opened(&source).await, opened(&server().newest("standard_target")).await);
    let mut watch = |_: &copy::Progress| Step::Continue;
    let options = copy::Options::pages_of(128);
    let done = copy(
        &*source.read(),
        target.target(),
        &Range::default(),
        copy::Progress::default(),
        options,
        &mut watch,
    )
    .await;
    let done = done.expect("copy").progress;
    assert_eq!((done.scanned, done.written), (500, 500));
    let mut watch = |_: &compare::Progress| Step::Continue;
    let (from, to, range) = (source.read(), target.read(), Range::default());
    let options = compare::Options::default();
    let done = compare(
        &*from,
        &*to,
        None,
        &range,
        compare::Progress::default(),
        options,
        &mut watch,
    );
    assert!(done.await.expect("compare").is_clean());
    let one = target
        .read()
        .scan(&Range::default(), 1)
        .await
        .expect("scan")
        .pop()
        .expect("a record");
    assert_eq!((one.version, json!(one.search_attributes)), (Some(0), json!({})));
}
