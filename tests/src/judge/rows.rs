//! Every record of a Visibility store, read with SQL of our own.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use prost::Message;
use rusqlite::OpenFlags;
use serde_json::{Map, Value};
use temporalio_common::protos::temporal::api::common::v1::Memo;

use crate::servers::postgres::connect;
use crate::testbed::Store;

/// The columns that say what a record is and that are compared as they are (1.30.8:schema/*/visibility/schema.sql).
const PLAIN: [&str; 15] = [
    "_version",
    "workflow_id",
    "workflow_type_name",
    "status",
    "history_length",
    "history_size_bytes",
    "execution_duration",
    "state_transition_count",
    "encoding",
    "task_queue",
    "parent_workflow_id",
    "parent_run_id",
    "root_workflow_id",
    "root_run_id",
    "run_id",
];

/// The columns that are times.
const TIMES: [&str; 3] = ["start_time", "execution_time", "close_time"];

/// SQLite has no lists: the server joins them with this (1.30.8:common/persistence/sql/sqlplugin/sqlite/typeconv.go).
const LIST_SEPARATOR: char = '♡';

/// Namespace id and run id: what identifies a record.
pub(super) type Key = (String, String);

/// A payload's metadata and its data.
pub(super) type Content = (BTreeMap<String, Vec<u8>>, Vec<u8>);

/// One record.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    /// Each plain column, and each time in one common form; absent where it is NULL.
    pub(super) columns: BTreeMap<&'static str, String>,
    /// Each entry of the memo. A memo's bytes come in any order of its keys.
    pub(super) memo: BTreeMap<String, Content>,
    /// The search attributes by the store's own field names, lists as lists.
    pub(super) search_attributes: Map<String, Value>,
}

impl Row {
    pub(super) fn column(&self, name: &str) -> &str {
        self.columns.get(name).map_or("", String::as_str)
    }
}

/// What one row is before it is understood: namespace id, plain columns, times, memo, search attributes.
struct Raw {
    namespace_id: String,
    plain: Vec<Option<String>>,
    times: Vec<Option<String>>,
    memo: Option<Vec<u8>>,
    search_attributes: Option<String>,
}

/// Reads all records of `store`.
pub(super) async fn read(store: &Store) -> Result<BTreeMap<Key, Row>> {
    let raw = match store {
        Store::Sqlite { file } => sqlite(file)?,
        Store::Postgres { port, database } => postgres(*port, database).await?,
    };
    let mut rows = BTreeMap::new();
    for record in raw {
        let (key, row) = understand(record, matches!(store, Store::Sqlite { .. }))?;
        if rows.insert(key.clone(), row).is_some() {
            bail!("{store:?} has two records of run {} in Namespace {}", key.1, key.0);
        }
    }
    Ok(rows)
}

fn sqlite(file: &std::path::Path) -> Result<Vec<Raw>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = rusqlite::Connection::open_with_flags(file, flags)
        .with_context(|| format!("cannot open the store {}", file.display()))?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    let text = |name: &&str| format!("CAST({name} AS TEXT)");
    let columns: Vec<String> = PLAIN.iter().chain(&TIMES).map(text).collect();
    let query = format!(
        "SELECT namespace_id, memo, CAST(search_attributes AS TEXT), {} FROM executions_visibility",
        columns.join(", ")
    );
    let mut statement = connection
        .prepare(&query)
        .with_context(|| format!("cannot read the store {}", file.display()))?;
    let rows = statement.query_map([], |row| {
        let texts: Vec<Option<String>> = (3..3 + columns.len())
            .map(|index| row.get(index))
            .collect::<rusqlite::Result<_>>()?;
        let (plain, times) = texts.split_at(PLAIN.len());
        Ok(Raw {
            namespace_id: row.get(0)?,
            memo: row.get(1)?,
            search_attributes: row.get(2)?,
            plain: plain.to_vec(),
            times: times.to_vec(),
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

async fn postgres(port: u16, database: &str) -> Result<Vec<Raw>> {
    let client = connect(port, database).await?;
    let plain = PLAIN.iter().map(|name| format!("{name}::text"));
    let times = TIMES
        .iter()
        .map(|name| format!("to_char({name}, 'YYYY-MM-DD HH24:MI:SS.US')"));
    let columns: Vec<String> = plain.chain(times).collect();
    let query = format!(
        "SELECT namespace_id::text, memo, search_attributes::text, {} FROM executions_visibility",
        columns.join(", ")
    );
    let rows = client
        .query(&query, &[])
        .await
        .with_context(|| format!("cannot read the store {database}"))?;
    rows.into_iter()
        .map(|row| {
            let texts: Vec<Option<String>> = (3..3 + columns.len())
                .map(|index| row.try_get(index))
                .collect::<Result<_, _>>()?;
            let (plain, times) = texts.split_at(PLAIN.len());
            Ok(Raw {
                // CHAR(64): padded with spaces.
                namespace_id: row.try_get::<_, String>(0)?.trim_end().to_owned(),
                memo: row.try_get(1)?,
                search_attributes: row.try_get(2)?,
                plain: plain
                    .iter()
                    .map(|text| text.as_ref().map(|text| text.trim_end().to_owned()))
                    .collect(),
                times: times.to_vec(),
            })
        })
        .collect()
}

fn understand(raw: Raw, joined_lists: bool) -> Result<(Key, Row)> {
    let mut columns = BTreeMap::new();
    for (name, value) in PLAIN.into_iter().zip(raw.plain) {
        columns.extend(value.map(|value| (name, value)));
    }
    let run_id = columns.get("run_id").cloned().context("a record without a run id")?;
    for (name, value) in TIMES.into_iter().zip(raw.times) {
        let Some(value) = value else { continue };
        let at = instant(&value).with_context(|| format!("run {run_id}: {name} is {value}"))?;
        columns.insert(name, at.to_string());
    }
    let memo = Memo::decode(raw.memo.unwrap_or_default().as_slice())
        .with_context(|| format!("run {run_id}: the memo is not a temporal.api.common.v1.Memo"))?
        .fields
        .into_iter()
        .map(|(key, payload)| (key, (payload.metadata.into_iter().collect(), payload.data)))
        .collect();
    let mut search_attributes: Map<String, Value> = match raw.search_attributes {
        Some(text) => serde_json::from_str(&text).with_context(|| format!("run {run_id}: search attributes {text}"))?,
        None => Map::new(),
    };
    if joined_lists {
        for (name, value) in &mut search_attributes {
            if let Some(text) = value.as_str()
                && (name.starts_with("KeywordList") || text.contains(LIST_SEPARATOR))
            {
                *value = text.split(LIST_SEPARATOR).collect();
            }
        }
    }
    Ok((
        (raw.namespace_id, run_id),
        Row {
            columns,
            memo,
            search_attributes,
        },
    ))
}

/// Reads a time as a store writes it, in whole microseconds: what both kinds of store keep.
pub(super) fn instant(text: &str) -> Result<jiff::Timestamp> {
    // Without an offset it is UTC.
    let zoned = text.ends_with('Z') || text.get(19..).is_some_and(|rest| rest.contains(['+', '-']));
    let at: jiff::Timestamp = if zoned {
        text.parse()?
    } else {
        format!("{text}Z").parse()?
    };
    Ok(jiff::Timestamp::from_microsecond(at.as_microsecond())?)
}

#[cfg(test)]
mod tests {
    use super::instant;

    #[test]
    fn times_are_read_as_either_store_writes_them() {
        let wanted: jiff::Timestamp = "2026-11-22T15:03:25.123456Z".parse().unwrap();
        for text in [
            "2026-11-22 15:03:25.123456+00:00",
            "2026-11-22 15:03:25.123456",
            "2026-11-22T15:03:25.123456Z",
            "2026-11-22 15:03:25.123456789+00:00",
        ] {
            assert_eq!(instant(text).unwrap(), wanted, "{text}");
        }
        assert!(instant("yesterday").is_err());
    }
}
