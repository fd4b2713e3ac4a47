//! Rows and records.

use crossfade_visibility::ports::{Error, OpenExecution, Precision};
use crossfade_visibility::record::{Key, PROTO3, Record};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use serde_json::{Map, Value};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Json, ToSql, Type};

/// A row's key; `CHAR(64)` comes padded with spaces.
pub(super) fn key(store: &str, row: &Row) -> Result<Key, Error> {
    let unknown = Key::new("?", "?");
    let namespace_id: String = value(store, row, &unknown, 0, "namespace_id")?;
    let run_id: String = value(store, row, &unknown, 1, "run_id")?;
    Ok(Key::new(
        namespace_id.trim_end_matches(' '),
        run_id.trim_end_matches(' '),
    ))
}

/// A row of all columns ([`crate::columns::ALL`]) as a record.
pub(super) fn record(store: &str, row: &Row) -> Result<Record, Error> {
    let key = key(store, row)?;
    Ok(Record {
        version: value(store, row, &key, 2, "_version")?,
        start_time: time(store, row, &key, 3, "start_time")?,
        execution_time: time(store, row, &key, 4, "execution_time")?,
        workflow_id: value(store, row, &key, 5, "workflow_id")?,
        workflow_type: value(store, row, &key, 6, "workflow_type_name")?,
        status: value(store, row, &key, 7, "status")?,
        close_time: value::<Option<DateTime>>(store, row, &key, 8, "close_time")?
            .map(|at| timestamp(store, &key, "close_time", at))
            .transpose()?,
        history_length: value(store, row, &key, 9, "history_length")?,
        history_size_bytes: value(store, row, &key, 10, "history_size_bytes")?,
        execution_duration: value(store, row, &key, 11, "execution_duration")?,
        state_transition_count: value(store, row, &key, 12, "state_transition_count")?,
        memo: value(store, row, &key, 13, "memo")?,
        memo_encoding: value(store, row, &key, 14, "encoding")?,
        task_queue: value(store, row, &key, 15, "task_queue")?,
        search_attributes: attributes(store, &key, value(store, row, &key, 16, "search_attributes")?)?,
        parent_workflow_id: value(store, row, &key, 17, "parent_workflow_id")?,
        parent_run_id: value(store, row, &key, 18, "parent_run_id")?,
        root_workflow_id: value(store, row, &key, 19, "root_workflow_id")?,
        root_run_id: value(store, row, &key, 20, "root_run_id")?,
        task_key: None,
        key,
    })
}

/// A row of key, Workflow Id, type and start.
pub(super) fn open_execution(store: &str, row: &Row) -> Result<OpenExecution, Error> {
    let key = key(store, row)?;
    Ok(OpenExecution {
        workflow_id: value(store, row, &key, 2, "workflow_id")?,
        workflow_type: value(store, row, &key, 3, "workflow_type_name")?,
        start_time: time(store, row, &key, 4, "start_time")?,
        key,
    })
}

fn value<'a, T: FromSql<'a>>(
    store: &str,
    row: &'a Row,
    key: &Key,
    index: usize,
    column: &'static str,
) -> Result<T, Error> {
    row.try_get(index).map_err(|error| Error::Unreadable {
        store: store.to_owned(),
        key: key.clone(),
        column,
        reason: super::fault::reason(&error),
    })
}

fn time(store: &str, row: &Row, key: &Key, index: usize, column: &'static str) -> Result<Timestamp, Error> {
    timestamp(store, key, column, value(store, row, key, index, column)?)
}

fn timestamp(store: &str, key: &Key, column: &'static str, at: DateTime) -> Result<Timestamp, Error> {
    Offset::UTC.to_timestamp(at).map_err(|error| Error::Unreadable {
        store: store.to_owned(),
        key: key.clone(),
        column,
        reason: error.to_string(),
    })
}

fn attributes(store: &str, key: &Key, value: Option<Value>) -> Result<Map<String, Value>, Error> {
    match value {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(attributes)) => Ok(attributes),
        Some(_) => Err(Error::Unreadable {
            store: store.to_owned(),
            key: key.clone(),
            column: "search_attributes",
            reason: "expected a JSON object".to_owned(),
        }),
    }
}

/// How a time is written: cut to microseconds, as the server does (1.30.8: sqlplugin/postgresql/typeconv.go).
pub(super) fn civil(at: Timestamp) -> DateTime {
    Offset::UTC.to_datetime(Precision::Microsecond.truncate(at))
}

/// The types of the columns in the order of [`crate::columns::ALL`], as Temporal's schema has them.
pub(super) const TYPES: [Type; 21] = [
    Type::BPCHAR,
    Type::BPCHAR,
    Type::INT8,
    Type::TIMESTAMP,
    Type::TIMESTAMP,
    Type::VARCHAR,
    Type::VARCHAR,
    Type::INT4,
    Type::TIMESTAMP,
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::BYTEA,
    Type::VARCHAR,
    Type::VARCHAR,
    Type::JSONB,
    Type::VARCHAR,
    Type::VARCHAR,
    Type::VARCHAR,
    Type::VARCHAR,
];

/// Records by column, as arrays: one statement writes them all.
#[derive(Default)]
pub(super) struct Batch<'a> {
    namespace_id: Vec<&'a str>,
    run_id: Vec<&'a str>,
    version: Vec<i64>,
    start_time: Vec<DateTime>,
    execution_time: Vec<DateTime>,
    workflow_id: Vec<&'a str>,
    workflow_type: Vec<&'a str>,
    status: Vec<i32>,
    close_time: Vec<Option<DateTime>>,
    history_length: Vec<Option<i64>>,
    history_size_bytes: Vec<Option<i64>>,
    execution_duration: Vec<Option<i64>>,
    state_transition_count: Vec<Option<i64>>,
    memo: Vec<Option<&'a [u8]>>,
    encoding: Vec<&'a str>,
    task_queue: Vec<&'a str>,
    search_attributes: Vec<Option<Json<&'a Map<String, Value>>>>,
    parent_workflow_id: Vec<Option<&'a str>>,
    parent_run_id: Vec<Option<&'a str>>,
    root_workflow_id: Vec<&'a str>,
    root_run_id: Vec<&'a str>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(records: &[&'a Record]) -> Self {
        let mut batch = Self::default();
        for record in records {
            batch.push(record);
        }
        batch
    }

    fn push(&mut self, record: &'a Record) {
        self.namespace_id.push(&record.key.namespace_id);
        self.run_id.push(&record.key.run_id);
        self.version.push(record.version.unwrap_or(0));
        self.start_time.push(civil(record.start_time));
        self.execution_time.push(civil(record.execution_time));
        self.workflow_id.push(&record.workflow_id);
        self.workflow_type.push(&record.workflow_type);
        self.status.push(record.status);
        self.close_time.push(record.close_time.map(civil));
        self.history_length.push(record.history_length);
        self.history_size_bytes.push(record.history_size_bytes);
        self.execution_duration.push(record.execution_duration);
        self.state_transition_count.push(record.state_transition_count);
        self.memo.push(record.memo.as_deref());
        // The column takes no NULL; a record without a memo from a store that keeps no encoding has none.
        let no_encoding = record.memo_encoding.is_empty() && record.memo.is_none();
        self.encoding
            .push(if no_encoding { PROTO3 } else { &record.memo_encoding });
        self.task_queue.push(&record.task_queue);
        let attributes = &record.search_attributes;
        self.search_attributes
            .push((!attributes.is_empty()).then_some(Json(attributes)));
        self.parent_workflow_id.push(record.parent_workflow_id.as_deref());
        self.parent_run_id.push(record.parent_run_id.as_deref());
        self.root_workflow_id
            .push(record.root_workflow_id.as_deref().unwrap_or(""));
        self.root_run_id.push(record.root_run_id.as_deref().unwrap_or(""));
    }

    /// How many records there are.
    pub(super) fn len(&self) -> usize {
        self.run_id.len()
    }

    /// One record's columns in the order of [`crate::columns::ALL`].
    pub(super) fn row(&self, row: usize) -> [&(dyn ToSql + Sync); 21] {
        [
            &self.namespace_id[row],
            &self.run_id[row],
            &self.version[row],
            &self.start_time[row],
            &self.execution_time[row],
            &self.workflow_id[row],
            &self.workflow_type[row],
            &self.status[row],
            &self.close_time[row],
            &self.history_length[row],
            &self.history_size_bytes[row],
            &self.execution_duration[row],
            &self.state_transition_count[row],
            &self.memo[row],
            &self.encoding[row],
            &self.task_queue[row],
            &self.search_attributes[row],
            &self.parent_workflow_id[row],
            &self.parent_run_id[row],
            &self.root_workflow_id[row],
            &self.root_run_id[row],
        ]
    }

    /// The columns in the order of [`crate::columns::ALL`].
    pub(super) fn parameters(&self) -> [&(dyn ToSql + Sync); 21] {
        [
            &self.namespace_id,
            &self.run_id,
            &self.version,
            &self.start_time,
            &self.execution_time,
            &self.workflow_id,
            &self.workflow_type,
            &self.status,
            &self.close_time,
            &self.history_length,
            &self.history_size_bytes,
            &self.execution_duration,
            &self.state_transition_count,
            &self.memo,
            &self.encoding,
            &self.task_queue,
            &self.search_attributes,
            &self.parent_workflow_id,
            &self.parent_run_id,
            &self.root_workflow_id,
            &self.root_run_id,
        ]
    }
}
