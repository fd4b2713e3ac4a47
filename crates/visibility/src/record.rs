//! One visibility record, in no store's dialect.

use std::fmt;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::keeps::{Column, Keeps};

/// What identifies a record in every store: the Namespace's id and the run's id.
///
/// Keys are ordered by the bytes of `namespace_id`, then of `run_id`: the one order that every store can be made to
/// scan in, whatever its collation. In practice both are lower-case UUIDs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The Namespace's id (a UUID), not its name.
    pub namespace_id: String,
    /// The run's id (a UUID).
    pub run_id: String,
}

impl Key {
    /// A key from its two parts.
    pub fn new(namespace_id: impl Into<String>, run_id: impl Into<String>) -> Self {
        Self {
            namespace_id: namespace_id.into(),
            run_id: run_id.into(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace_id, self.run_id)
    }
}

/// `WORKFLOW_EXECUTION_STATUS_RUNNING`: the only status of an open execution (api: enums/v1/workflow.proto).
pub const RUNNING: i32 = 1;

/// `WORKFLOW_EXECUTION_STATUS_COMPLETED` (api: enums/v1/workflow.proto).
pub const COMPLETED: i32 = 2;

/// Memo encoding written by every supported server (1.30.8: common/persistence/visibility/store: `Memo.EncodingType`).
pub const PROTO3: &str = "Proto3";

/// One execution as a visibility store keeps it: all columns of `executions_visibility` as of schema v1.13, of which
/// older schemas hold a part.
///
/// Never `Serialize`: records hold users' data and must not reach a history, a log or a report. `Debug` names the
/// record and shows none of its content.
#[derive(Clone, PartialEq)]
pub struct Record {
    /// Namespace and run.
    pub key: Key,
    /// The store's ordering number for writes of this record (the server's task id); `None` where the store keeps
    /// none (SQL schemas before v1.9, Cassandra).
    pub version: Option<i64>,
    /// The Workflow Id.
    pub workflow_id: String,
    /// The Workflow Type's name.
    pub workflow_type: String,
    /// `WorkflowExecutionStatus` as a number; see [`RUNNING`].
    pub status: i32,
    /// When the execution started.
    pub start_time: Timestamp,
    /// When its first task was or will be scheduled.
    pub execution_time: Timestamp,
    /// When it closed; `None` while open.
    pub close_time: Option<Timestamp>,
    /// Events in its history; known once closed.
    pub history_length: Option<i64>,
    /// Bytes of its history; known once closed.
    pub history_size_bytes: Option<i64>,
    /// Close time minus execution time, in nanoseconds; known once closed.
    pub execution_duration: Option<i64>,
    /// State transitions; known once closed.
    pub state_transition_count: Option<i64>,
    /// The memo as the server encoded it; see [`crate::memo`] for why its bytes are never compared.
    pub memo: Option<Vec<u8>>,
    /// How `memo` is encoded, [`PROTO3`] in practice.
    pub memo_encoding: String,
    /// The Task Queue's name.
    pub task_queue: String,
    /// Search attributes by field name (`Keyword01` in SQL stores). Lists are arrays here, whatever the store does.
    pub search_attributes: Map<String, Value>,
    /// The parent's Workflow Id, if it has a parent.
    pub parent_workflow_id: Option<String>,
    /// The parent's run id, if it has a parent.
    pub parent_run_id: Option<String>,
    /// The root's Workflow Id; `None` where the schema has no such column (before v1.5).
    pub root_workflow_id: Option<String>,
    /// The root's run id; `None` where the schema has no such column (before v1.5).
    pub root_run_id: Option<String>,
    /// Elasticsearch's `VisibilityTaskKey`, `shard~task`: which task wrote the document. It says nothing of the
    /// execution, so it is carried and never compared; `None` in every other family.
    pub task_key: Option<String>,
}

impl Record {
    /// What names a record, and nothing else of it. The Workflow Id is empty where the record is not to be had by it.
    pub fn name(key: Key, workflow_id: String, version: Option<i64>) -> Self {
        Self {
            key,
            version,
            workflow_id,
            workflow_type: String::new(),
            status: 0,
            start_time: Timestamp::UNIX_EPOCH,
            execution_time: Timestamp::UNIX_EPOCH,
            close_time: None,
            history_length: None,
            history_size_bytes: None,
            execution_duration: None,
            state_transition_count: None,
            memo: None,
            memo_encoding: String::new(),
            task_queue: String::new(),
            search_attributes: Map::new(),
            parent_workflow_id: None,
            parent_run_id: None,
            root_workflow_id: None,
            root_run_id: None,
            task_key: None,
        }
    }

    /// Whether the execution is open (running).
    pub fn is_open(&self) -> bool {
        self.status == RUNNING
    }

    /// About how many bytes of content it has: its texts, its memo and its search attributes as JSON, and eight for each
    /// number and time. What a store adds of its own (headers, indexes) is not in it.
    pub fn bytes(&self) -> u64 {
        let optional = [
            &self.parent_workflow_id,
            &self.parent_run_id,
            &self.root_workflow_id,
            &self.root_run_id,
            &self.task_key,
        ];
        let texts = [
            &self.key.namespace_id,
            &self.key.run_id,
            &self.workflow_id,
            &self.workflow_type,
            &self.memo_encoding,
            &self.task_queue,
        ];
        let texts: usize = texts
            .into_iter()
            .chain(optional.into_iter().flatten())
            .map(String::len)
            .sum();
        let attributes: usize = self
            .search_attributes
            .iter()
            .map(|(name, value)| name.len() + size(value))
            .sum();
        let memo = self.memo.as_ref().map_or(0, Vec::len);
        (texts + attributes + memo + NUMBERS * 8) as u64
    }

    /// This record, with what its store does not keep taken from `held`: the whole record that a store which keeps more
    /// should have. Without a version of its own it has that of `held`.
    pub fn filled_from(&self, held: &Self, keeps: Keeps) -> Self {
        let mut whole = self.clone();
        whole.version = whole.version.or(held.version);
        whole.task_key = whole.task_key.or_else(|| held.task_key.clone());
        for column in Column::ALL.into_iter().filter(|column| !keeps.has(*column)) {
            whole.take(column, held);
        }
        whole
    }

    fn take(&mut self, column: Column, from: &Self) {
        match column {
            Column::ExecutionTime => self.execution_time = from.execution_time,
            Column::HistoryLength => self.history_length = from.history_length,
            Column::HistorySizeBytes => self.history_size_bytes = from.history_size_bytes,
            Column::ExecutionDuration => self.execution_duration = from.execution_duration,
            Column::StateTransitionCount => self.state_transition_count = from.state_transition_count,
            Column::TaskQueue => self.task_queue.clone_from(&from.task_queue),
            Column::SearchAttributes => self.search_attributes.clone_from(&from.search_attributes),
            Column::Parent => {
                self.parent_workflow_id.clone_from(&from.parent_workflow_id);
                self.parent_run_id.clone_from(&from.parent_run_id);
            }
            Column::Root => {
                self.root_workflow_id.clone_from(&from.root_workflow_id);
                self.root_run_id.clone_from(&from.root_run_id);
            }
        }
    }
}

/// Columns of a fixed size: version, status, three times, and four numbers that are known once it is closed.
const NUMBERS: usize = 9;

/// About how long a value is as JSON.
fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + size(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("key", &format_args!("{}", self.key))
            .field("version", &self.version)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// Of each key in `records` the one with the latest version, in the order of the keys: one statement cannot write a
/// row twice, and writers that lock rows in one order cannot deadlock.
pub fn latest_of_each(records: &[Record]) -> Vec<&Record> {
    let mut records: Vec<&Record> = records.iter().collect();
    records.sort_by(|a, b| a.key.cmp(&b.key).then(b.version.cmp(&a.version)));
    records.dedup_by(|later, first| later.key == first.key);
    records
}

/// A record that no cluster wrote, to be put into one store only: when the frontend finds it by its Workflow Id, it
/// reads from that store. It is closed and completed at `at`, so that nothing waits for it, and has version 0, so that
/// any real write would win.
pub fn marker_record(namespace_id: &str, workflow_id: &str, run_id: &str, at: Timestamp) -> Record {
    Record {
        key: Key::new(namespace_id, run_id),
        version: Some(0),
        workflow_id: workflow_id.to_owned(),
        workflow_type: MARKER_TYPE.to_owned(),
        status: COMPLETED,
        start_time: at,
        execution_time: at,
        close_time: Some(at),
        history_length: Some(0),
        history_size_bytes: Some(0),
        execution_duration: Some(0),
        state_transition_count: Some(0),
        memo: None,
        memo_encoding: PROTO3.to_owned(),
        task_queue: String::new(),
        search_attributes: Map::new(),
        parent_workflow_id: None,
        parent_run_id: None,
        root_workflow_id: Some(workflow_id.to_owned()),
        root_run_id: Some(run_id.to_owned()),
        task_key: None,
    }
}

/// The Workflow Type of [`marker_record`]s, by which left-overs can be told from real executions.
pub const MARKER_TYPE: &str = "crossfade-marker";
