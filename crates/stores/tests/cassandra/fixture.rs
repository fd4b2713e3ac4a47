//! A real Cassandra of these tests' own with Temporal's own schema, and rows written as server 1.23.1 writes them.

use std::path::Path;
use std::sync::OnceLock;

use async_trait::async_trait;
use crossfade_visibility::ports::{Condemned, Error, Rewrite, Write};
use crossfade_visibility::record::Record;
use e2e::servers::binaries::{Program, TEMPORAL_1_23_1, find_or_build, module_dir};
use e2e::servers::cache::Cache;
use e2e::servers::cassandra::{Cassandra, Options};
use e2e::servers::postgres::{SchemaKind, SchemaTool};
use e2e::servers::processes::Processes;
use e2e::servers::progress::Lines;
use jiff::{SignedDuration, Timestamp};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::unprepared::Statement;
use scylla::value::CqlTimestamp;
use serde_json::{Map, Value};
use tempfile::TempDir;
use uuid::Uuid;

/// The keyspace of most tests, each of which has Namespaces of its own in it.
pub(crate) const KEYSPACE: &str = "temporal_visibility";

/// How many tombstones one request of the shared node may meet.
pub(crate) const TOMBSTONES: usize = 500;

/// A node, with the folder that it lives in.
pub(crate) struct Node {
    pub(crate) cassandra: Cassandra,
    pub(crate) processes: Processes,
    pub(crate) folder: TempDir,
}

impl Node {
    /// Starts a node of one test's own.
    pub(crate) async fn start(options: impl FnOnce(&Path) -> Options) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let processes = Processes::watch(&folder.path().join("processes")).expect("a watch");
        let options = Options {
            heap_megabytes: 768,
            ..options(folder.path())
        };
        let cassandra = Cassandra::start(&folder.path().join("node"), &options, &processes, &Lines::default()).await;
        Self {
            cassandra: cassandra.unwrap_or_else(|error| panic!("Cassandra does not start: {error:#}")),
            processes,
            folder,
        }
    }

    /// Makes a keyspace with Temporal's visibility schema.
    pub(crate) fn keyspace(&self, name: &str) {
        let cache = Cache::from_environment().expect("the cache of servers");
        let tool = SchemaTool {
            program: find_or_build(&cache, &TEMPORAL_1_23_1, Program::CassandraTool, &Lines::default())
                .unwrap_or_else(|error| panic!("temporal-cassandra-tool: {error:#}")),
            source: module_dir(&cache, &TEMPORAL_1_23_1, &Lines::default()).unwrap_or_else(|error| panic!("{error:#}")),
        };
        let made = self
            .cassandra
            .create_temporal_keyspace(&tool, name, SchemaKind::Visibility);
        made.unwrap_or_else(|error| panic!("{error:#}"));
    }
}

/// The node that most tests share, with [`KEYSPACE`] in it. It dies with this test binary.
pub(crate) fn shared() -> &'static Node {
    static NODE: OnceLock<Node> = OnceLock::new();
    NODE.get_or_init(|| {
        // On a thread of its own: a runtime cannot be blocked on within another.
        let started = std::thread::spawn(|| {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            let node = runtime.block_on(Node::start(|_| {
                let few = TOMBSTONES.to_string();
                Options::default()
                    .with("tombstone_failure_threshold", &few)
                    .with("tombstone_warn_threshold", &few)
            }));
            node.keyspace(KEYSPACE);
            node
        });
        started.join().expect("the node to start")
    })
}

/// Writes as server 1.23.1 does (common/persistence/visibility/store/standard/cassandra/visibility_store.go): times in
/// milliseconds, and the time of the event as the time of the write.
pub(crate) struct Server {
    pub(crate) session: Session,
    keyspace: String,
}

impl Server {
    pub(crate) async fn new(port: u16, keyspace: &str) -> Self {
        let session = SessionBuilder::new()
            .known_node(format!("127.0.0.1:{port}"))
            .build()
            .await;
        Self {
            session: session.expect("a session"),
            keyspace: keyspace.to_owned(),
        }
    }

    /// Of the shared node.
    pub(crate) async fn shared() -> Self {
        Self::new(shared().cassandra.port(), KEYSPACE).await
    }

    /// `RecordWorkflowExecutionStarted`; with a time to live as servers long ago wrote closed ones.
    pub(crate) async fn start(&self, record: &Record, time_to_live: Option<i32>) {
        let statement = format!(
            "INSERT INTO {}.open_executions (namespace_id, namespace_partition, workflow_id, run_id, start_time, execution_time, \
             workflow_type_name, memo, encoding, task_queue) VALUES (?, 0, ?, ?, ?, ?, ?, ?, ?, ?){}",
            self.keyspace,
            time_to_live.map_or_else(String::new, |seconds| format!(" USING TTL {seconds}")),
        );
        let mut statement = Statement::new(statement);
        statement.set_timestamp(Some(record.start_time.as_millisecond()));
        let values = (
            uuid(&record.key.namespace_id),
            &record.workflow_id,
            uuid(&record.key.run_id),
            millis(record.start_time),
            millis(record.execution_time),
            &record.workflow_type,
            &record.memo,
            &record.memo_encoding,
            &record.task_queue,
        );
        self.session.query_unpaged(statement, values).await.expect("a start");
    }

    /// `RecordWorkflowExecutionClosed`.
    pub(crate) async fn close(&self, record: &Record) {
        let close = record.close_time.expect("a close time");
        let mut batch = Batch::new(BatchType::Logged);
        batch.append_statement(
            format!(
                "DELETE FROM {}.open_executions WHERE namespace_id = ? AND namespace_partition = 0 AND start_time = ? AND run_id = ?",
                self.keyspace
            )
            .as_str(),
        );
        batch.append_statement(self.insert_closed(None).as_str());
        let at = close.max(record.start_time + SignedDuration::from_secs(1));
        batch.set_timestamp(Some(at.as_millisecond()));
        let deleted = (
            uuid(&record.key.namespace_id),
            millis(record.start_time),
            uuid(&record.key.run_id),
        );
        self.session
            .batch(&batch, (deleted, closed(record)))
            .await
            .expect("a close");
    }

    /// Only the second half of a close, with a time to live if given.
    pub(crate) async fn close_half(&self, record: &Record, time_to_live: Option<i32>) {
        let mut statement = Statement::new(self.insert_closed(time_to_live));
        statement.set_timestamp(Some(record.close_time.expect("a close time").as_millisecond()));
        self.session
            .query_unpaged(statement, closed(record))
            .await
            .expect("a close");
    }

    fn insert_closed(&self, time_to_live: Option<i32>) -> String {
        format!(
            "INSERT INTO {}.closed_executions (namespace_id, namespace_partition, workflow_id, run_id, start_time, execution_time, \
             close_time, workflow_type_name, status, history_length, memo, encoding, task_queue) \
             VALUES (?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?){}",
            self.keyspace,
            time_to_live.map_or_else(String::new, |seconds| format!(" USING TTL {seconds}")),
        )
    }

    /// `DeleteWorkflowExecution`, of an open or a closed one.
    pub(crate) async fn delete(&self, record: &Record) {
        let (table, column, at) = match record.close_time {
            Some(close) => ("closed_executions", "close_time", close),
            None => ("open_executions", "start_time", record.start_time),
        };
        let statement = format!(
            "DELETE FROM {}.{table} WHERE namespace_id = ? AND namespace_partition = 0 AND {column} = ? AND run_id = ?",
            self.keyspace
        );
        let values = (uuid(&record.key.namespace_id), millis(at), uuid(&record.key.run_id));
        self.session.query_unpaged(statement, values).await.expect("a delete");
    }

    /// Puts records as they are: open ones as started, closed ones as closed.
    pub(crate) async fn write(&self, records: &[Record]) {
        for records in records.chunks(64) {
            let written = records.iter().map(|record| async move {
                if record.is_open() {
                    self.start(record, None).await;
                } else {
                    self.close(record).await;
                }
            });
            futures::future::join_all(written).await;
        }
    }
}

/// So that the clauses of the contract which only need records to be there can be held against the driver.
#[async_trait]
impl Write for Server {
    fn describe(&self) -> String {
        "the server's own writes".to_owned()
    }

    async fn put(&self, records: &[Record]) -> Result<u64, Error> {
        self.write(records).await;
        Ok(records.len() as u64)
    }

    async fn rewrite(&self, _: &[Rewrite]) -> Result<u64, Error> {
        unreachable!("no server rewrites")
    }

    async fn delete(&self, _: &[Condemned]) -> Result<u64, Error> {
        unreachable!("not by this port")
    }
}

type Closed<'a> = (
    Uuid,
    &'a str,
    Uuid,
    CqlTimestamp,
    CqlTimestamp,
    CqlTimestamp,
    &'a str,
    i32,
    Option<i64>,
    &'a Option<Vec<u8>>,
    &'a str,
    &'a str,
);

fn closed(record: &Record) -> Closed<'_> {
    (
        uuid(&record.key.namespace_id),
        &record.workflow_id,
        uuid(&record.key.run_id),
        millis(record.start_time),
        millis(record.execution_time),
        millis(record.close_time.expect("a close time")),
        &record.workflow_type,
        record.status,
        record.history_length,
        &record.memo,
        &record.memo_encoding,
        &record.task_queue,
    )
}

fn uuid(text: &str) -> Uuid {
    text.parse().expect("a UUID")
}

fn millis(at: Timestamp) -> CqlTimestamp {
    CqlTimestamp(at.as_millisecond())
}

/// What is left of a record in these tables.
pub(crate) fn kept(record: &Record) -> Record {
    let millisecond = |at: Timestamp| Timestamp::from_millisecond(at.as_millisecond()).expect("a time");
    Record {
        version: None,
        start_time: millisecond(record.start_time),
        execution_time: millisecond(record.execution_time),
        close_time: record.close_time.map(millisecond),
        history_length: record.history_length.filter(|_| !record.is_open()),
        history_size_bytes: None,
        execution_duration: None,
        state_transition_count: None,
        search_attributes: Map::new(),
        parent_workflow_id: None,
        parent_run_id: None,
        root_workflow_id: None,
        root_run_id: None,
        ..record.clone()
    }
}

/// A record of the contract, open.
pub(crate) fn open_record(namespace_id: &str, n: u32) -> Record {
    Record {
        status: 1,
        close_time: None,
        history_length: None,
        ..crossfade_visibility::contract::record(namespace_id, n)
    }
}

/// The entry of the shared node with a field of it changed.
pub(crate) fn entry_with(field: &str, value: Value) -> Value {
    let mut entry = shared().cassandra.datastore(KEYSPACE);
    entry["cassandra"][field] = value;
    entry
}
