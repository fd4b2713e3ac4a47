//! SQL stores: SQLite and PostgreSQL, with Temporal's advanced schema of any version or the standard one.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail};
use jiff::SignedDuration;
use rusqlite::OpenFlags;
use serde_json::{Map, Value};

use super::{Kept, Row, Rows, TIMES, instant, memo};
use crate::servers::postgres::connect;

/// The columns that say what a record is and that are compared as they are (1.30.8:schema/*/visibility/schema.sql).
/// Older schemas have fewer.
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

/// The column that only advanced schemas have.
const SEARCH_ATTRIBUTES: &str = "search_attributes";

/// SQLite has no lists: the server joins them with this (1.30.8:common/persistence/sql/sqlplugin/sqlite/typeconv.go).
const LIST_SEPARATOR: char = '♡';

/// What one row is before it is understood.
struct Raw {
    namespace_id: String,
    memo: Option<Vec<u8>>,
    search_attributes: Option<String>,
    /// The whole row in JSON, where it was asked for.
    whole: Option<String>,
    /// The values of the plain columns, then those of the times.
    texts: Vec<Option<String>>,
}

/// What there is to read in a store with these columns.
struct Table {
    kept: Kept,
    plain: Vec<&'static str>,
}

impl Table {
    fn with(columns: &BTreeSet<String>) -> Result<Self> {
        let plain: Vec<&str> = PLAIN.into_iter().filter(|name| columns.contains(*name)).collect();
        if !plain.contains(&"run_id") {
            bail!("there is no table executions_visibility of Temporal's: it has {columns:?}");
        }
        Ok(Self {
            kept: Kept {
                columns: plain.iter().copied().collect(),
                search_attributes: columns.contains(SEARCH_ATTRIBUTES),
                unit: SignedDuration::from_micros(1),
            },
            plain,
        })
    }

    /// Selects namespace id, memo, search attributes as text, then every plain column and every time as text.
    fn query(&self, text: impl Fn(&str) -> String, time: impl Fn(&str) -> String) -> String {
        let search_attributes = match self.kept.search_attributes {
            true => text(SEARCH_ATTRIBUTES),
            false => text("NULL"),
        };
        let columns: Vec<String> = [text("namespace_id"), "memo".to_owned(), search_attributes]
            .into_iter()
            .chain(self.plain.iter().map(|name| text(name)))
            .chain(TIMES.iter().map(|name| time(name)))
            .collect();
        format!("SELECT {} FROM executions_visibility", columns.join(", "))
    }

    fn understood(self, raw: Vec<Raw>, joined_lists: bool) -> Result<Rows> {
        let mut rows = Rows::new(self.kept);
        for record in raw {
            let (plain, times) = record.texts.split_at(self.plain.len());
            let columns: std::collections::BTreeMap<&str, String> = self
                .plain
                .iter()
                .zip(plain)
                .filter_map(|(name, value)| Some((*name, value.clone()?)))
                .collect();
            let run_id = columns.get("run_id").cloned().context("a record without a run id")?;
            let of_run = || format!("run {run_id}");
            let times = TIMES
                .into_iter()
                .zip(times)
                .filter_map(|(name, value)| Some((name, value.as_deref()?)))
                .map(|(name, value)| Ok((name, instant(value).with_context(|| format!("{name} is {value}"))?)))
                .collect::<Result<_>>()
                .with_context(of_run)?;
            let row = Row {
                columns,
                times,
                memo: memo(&record.memo.unwrap_or_default()).with_context(of_run)?,
                search_attributes: attributes(record.search_attributes, joined_lists).with_context(of_run)?,
                found_by: record
                    .whole
                    .map(|whole| serde_json::from_str(&whole))
                    .transpose()
                    .with_context(of_run)?,
                more: 0,
            };
            rows.add((record.namespace_id, run_id), row);
        }
        Ok(rows)
    }
}

pub(super) fn sqlite(file: &Path) -> Result<Rows> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let seen = || format!("cannot read the store {}", file.display());
    let connection = rusqlite::Connection::open_with_flags(file, flags).with_context(seen)?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    let mut names = connection.prepare("SELECT name FROM pragma_table_info('executions_visibility')")?;
    let names = names
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<BTreeSet<String>>>()?;
    let table = Table::with(&names).with_context(seen)?;
    let text = |name: &str| format!("CAST({name} AS TEXT)");
    let count = 3 + table.plain.len() + TIMES.len();
    let mut statement = connection.prepare(&table.query(text, text)).with_context(seen)?;
    let raw = statement.query_map([], |row| {
        Ok(Raw {
            namespace_id: row.get(0)?,
            memo: row.get(1)?,
            search_attributes: row.get(2)?,
            whole: None,
            texts: (3..count)
                .map(|index| row.get(index))
                .collect::<rusqlite::Result<_>>()?,
        })
    })?;
    table.understood(raw.collect::<rusqlite::Result<_>>()?, true)
}

pub(super) async fn postgres(port: u16, database: &str) -> Result<Rows> {
    let seen = || format!("cannot read the store {database}");
    let client = connect(port, database).await?;
    let names = "SELECT column_name::text FROM information_schema.columns \
                 WHERE table_schema = current_schema() AND table_name = 'executions_visibility'";
    let names = client.query(names, &[]).await.with_context(seen)?;
    let names = names
        .iter()
        .map(|row| row.try_get(0))
        .collect::<Result<BTreeSet<String>, _>>()?;
    let table = Table::with(&names).with_context(seen)?;
    let query = table.query(
        |name| format!("{name}::text"),
        |name| format!("to_char({name}, 'YYYY-MM-DD HH24:MI:SS.US')"),
    );
    // A row's generated columns are what a query finds it by.
    let query = query.replace(
        " FROM executions_visibility",
        ", to_jsonb(executions_visibility)::text FROM executions_visibility",
    );
    let count = 3 + table.plain.len() + TIMES.len();
    // Ids are CHAR(64): padded with spaces.
    let unpadded = |text: String| text.trim_end().to_owned();
    let raw = client
        .query(&query, &[])
        .await
        .with_context(seen)?
        .into_iter()
        .map(|row| {
            Ok(Raw {
                namespace_id: unpadded(row.try_get(0)?),
                memo: row.try_get(1)?,
                search_attributes: row.try_get(2)?,
                whole: row.try_get(count)?,
                texts: (3..count)
                    .map(|index| Ok(row.try_get::<_, Option<String>>(index)?.map(unpadded)))
                    .collect::<Result<_>>()?,
            })
        })
        .collect::<Result<_>>()?;
    table.understood(raw, false)
}

fn attributes(text: Option<String>, joined_lists: bool) -> Result<Map<String, Value>> {
    let Some(text) = text else { return Ok(Map::new()) };
    let mut attributes: Map<String, Value> =
        serde_json::from_str(&text).with_context(|| format!("search attributes {text}"))?;
    if joined_lists {
        for (name, value) in &mut attributes {
            if let Some(text) = value.as_str()
                && (name.starts_with("KeywordList") || text.contains(LIST_SEPARATOR))
            {
                *value = text.split(LIST_SEPARATOR).collect();
            }
        }
    }
    Ok(attributes)
}
