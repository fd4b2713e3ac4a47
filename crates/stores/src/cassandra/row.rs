//! Rows and records.

use crossfade_visibility::ports::Error;
use crossfade_visibility::record::{Key, RUNNING, Record};
use jiff::Timestamp;
use scylla::DeserializeRow;
use scylla::value::CqlTimestamp;
use serde_json::Map;
use uuid::Uuid;

/// A row of `open_executions`.
#[derive(DeserializeRow)]
pub(super) struct OpenRow {
    pub(super) run_id: Uuid,
    pub(super) start_time: CqlTimestamp,
    workflow_id: Option<String>,
    execution_time: Option<CqlTimestamp>,
    workflow_type_name: Option<String>,
    memo: Option<Vec<u8>>,
    encoding: Option<String>,
    task_queue: Option<String>,
}

/// A row of `closed_executions`.
#[derive(DeserializeRow)]
pub(super) struct ClosedRow {
    pub(super) run_id: Uuid,
    pub(super) close_time: CqlTimestamp,
    start_time: Option<CqlTimestamp>,
    workflow_id: Option<String>,
    execution_time: Option<CqlTimestamp>,
    workflow_type_name: Option<String>,
    memo: Option<Vec<u8>>,
    encoding: Option<String>,
    task_queue: Option<String>,
    status: Option<i32>,
    history_length: Option<i64>,
}

/// A row as the server reads it: an absent text is empty, an absent time is none
/// (1.23.1: visibility/store/standard/cassandra/visibility_store.go, `readOpenWorkflowExecutionRecord`).
pub(super) trait Row {
    /// The row's run.
    fn run(&self) -> Uuid;

    /// The row as a record of a Namespace.
    fn record(self, store: &str, namespace_id: &str) -> Result<Record, Error>;
}

impl Row for OpenRow {
    fn run(&self) -> Uuid {
        self.run_id
    }

    fn record(self, store: &str, namespace_id: &str) -> Result<Record, Error> {
        let key = Key::new(namespace_id, self.run_id.to_string());
        let start_time = time(store, &key, "start_time", Some(self.start_time))?;
        Ok(Record {
            start_time,
            execution_time: execution_time(store, &key, self.execution_time, start_time)?,
            status: RUNNING,
            close_time: None,
            history_length: None,
            ..bare(
                key,
                Texts {
                    workflow_id: self.workflow_id,
                    workflow_type: self.workflow_type_name,
                    memo: self.memo,
                    encoding: self.encoding,
                    task_queue: self.task_queue,
                },
            )
        })
    }
}

impl Row for ClosedRow {
    fn run(&self) -> Uuid {
        self.run_id
    }

    fn record(self, store: &str, namespace_id: &str) -> Result<Record, Error> {
        let key = Key::new(namespace_id, self.run_id.to_string());
        let start_time = time(store, &key, "start_time", self.start_time)?;
        let status = self.status.ok_or_else(|| absent(store, &key, "status"))?;
        Ok(Record {
            start_time,
            execution_time: execution_time(store, &key, self.execution_time, start_time)?,
            status,
            close_time: Some(time(store, &key, "close_time", Some(self.close_time))?),
            history_length: self.history_length,
            ..bare(
                key,
                Texts {
                    workflow_id: self.workflow_id,
                    workflow_type: self.workflow_type_name,
                    memo: self.memo,
                    encoding: self.encoding,
                    task_queue: self.task_queue,
                },
            )
        })
    }
}

struct Texts {
    workflow_id: Option<String>,
    workflow_type: Option<String>,
    memo: Option<Vec<u8>>,
    encoding: Option<String>,
    task_queue: Option<String>,
}

/// What both tables keep, with everything that neither keeps left empty.
fn bare(key: Key, texts: Texts) -> Record {
    Record {
        key,
        version: None,
        workflow_id: texts.workflow_id.unwrap_or_default(),
        workflow_type: texts.workflow_type.unwrap_or_default(),
        status: RUNNING,
        start_time: Timestamp::UNIX_EPOCH,
        execution_time: Timestamp::UNIX_EPOCH,
        close_time: None,
        history_length: None,
        history_size_bytes: None,
        execution_duration: None,
        state_transition_count: None,
        memo: texts.memo.filter(|memo| !memo.is_empty()),
        memo_encoding: texts.encoding.unwrap_or_default(),
        task_queue: texts.task_queue.unwrap_or_default(),
        search_attributes: Map::new(),
        parent_workflow_id: None,
        parent_run_id: None,
        root_workflow_id: None,
        root_run_id: None,
        task_key: None,
    }
}

fn absent(store: &str, key: &Key, column: &'static str) -> Error {
    Error::Unreadable {
        store: store.to_owned(),
        key: key.clone(),
        column,
        reason: "it is null, and the server always writes it".to_owned(),
    }
}

fn time(store: &str, key: &Key, column: &'static str, at: Option<CqlTimestamp>) -> Result<Timestamp, Error> {
    let at = at.ok_or_else(|| absent(store, key, column))?;
    Timestamp::from_millisecond(at.0).map_err(|error| Error::Unreadable {
        store: store.to_owned(),
        key: key.clone(),
        column,
        reason: error.to_string(),
    })
}

/// An unset execution time is written as 0 (1.23.1: common/persistence/cassandra `UnixMilliseconds`), and old rows have
/// none at all; both mean the start, as in the SQL stores' reading (visibility/store/standard/sql `rowToInfo`).
fn execution_time(store: &str, key: &Key, at: Option<CqlTimestamp>, start: Timestamp) -> Result<Timestamp, Error> {
    match at {
        None | Some(CqlTimestamp(0)) => Ok(start),
        Some(at) => time(store, key, "execution_time", Some(at)),
    }
}
