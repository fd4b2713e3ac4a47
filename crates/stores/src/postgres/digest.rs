//! Digests computed by the database: one statement goes through the table once, and sends a few bytes for each cell.
//!
//! The hash is PostgreSQL's own of whole rows (`hash_record_extended`, since 14), which is an order of magnitude quicker than MD5 of
//! their text. It folds a number of eight bytes into four before it hashes it, so that these go in as the bytes they are sent
//! as. It is not promised to be the same in all releases and on all processors; where it were not, everything would look
//! different and be read.

use std::collections::BTreeMap;
use std::time::Duration;

use crossfade_visibility::digest::{Cell, Digest, Digests, MOST_DIGITS, Question};
use crossfade_visibility::keeps::{Column, Keeps};
use crossfade_visibility::ports::{Error, Precision};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use super::Postgres;
use crate::columns::Columns;

/// What a session for digests is set to, against what others are: one goes through all of a table, and compiling a statement
/// that runs once takes longer than it saves. Of the cells the planner expects as many as there are records, and would sort all
/// records as they are, on a disk, before it adds the first two up: twice the work. There is room for the cells. (Servers before
/// 13 have no incremental sort to set.)
const SESSION: &str = "SET enable_seqscan = on; SET enable_bitmapscan = on; SET jit = off; SET enable_sort = off; \
                       SELECT SET_CONFIG(name, 'off', FALSE) FROM pg_settings WHERE name = 'enable_incremental_sort'; \
                       SET statement_timeout = ";

/// How long a statement may take for which nobody says so.
const WITHIN: Duration = Duration::from_secs(12 * 3600);

/// The columns that go into a record's hash, and which part of a record they are. An absent text and an empty one are the
/// same, and so are no search attributes and an empty object.
const CONTENT: [(&str, &str, Option<Column>); 15] = [
    ("workflow_id", "workflow_id", None),
    ("workflow_type_name", "workflow_type_name", None),
    ("status", "status", None),
    ("start_time", "TIMESTAMP_SEND(start_time)", None),
    (
        "execution_time",
        "TIMESTAMP_SEND(execution_time)",
        Some(Column::ExecutionTime),
    ),
    ("close_time", "TIMESTAMP_SEND(close_time)", None),
    (
        "history_length",
        "INT8SEND(history_length)",
        Some(Column::HistoryLength),
    ),
    (
        "history_size_bytes",
        "INT8SEND(history_size_bytes)",
        Some(Column::HistorySizeBytes),
    ),
    (
        "execution_duration",
        "INT8SEND(execution_duration)",
        Some(Column::ExecutionDuration),
    ),
    (
        "state_transition_count",
        "INT8SEND(state_transition_count)",
        Some(Column::StateTransitionCount),
    ),
    ("task_queue", "task_queue", Some(Column::TaskQueue)),
    (
        "parent_workflow_id",
        "COALESCE(parent_workflow_id, ''), COALESCE(parent_run_id, '')",
        Some(Column::Parent),
    ),
    (
        "root_workflow_id",
        "COALESCE(root_workflow_id, ''), COALESCE(root_run_id, '')",
        Some(Column::Root),
    ),
    (
        "search_attributes",
        "COALESCE(search_attributes, '{}')",
        Some(Column::SearchAttributes),
    ),
    ("encoding", "CASE WHEN LENGTH(memo) > 0 THEN encoding END", None),
];

fn content(columns: &Columns, keeps: Keeps, versions: bool) -> String {
    let counts =
        |(name, _, part): &&(&str, &str, Option<Column>)| columns.has(name) && part.is_none_or(|part| keeps.has(part));
    let mut content: Vec<&str> = CONTENT.iter().filter(counts).map(|(_, text, _)| *text).collect();
    content.push(include_str!("../../sql/postgres/digest_memo.sql"));
    if versions {
        content.push("INT8SEND(_version)");
    }
    content.join(", ")
}

impl Postgres {
    pub(super) async fn digest(&self, question: Question<'_>) -> Result<Option<Digests>, Error> {
        let Question { range, by, .. } = question;
        if by.precision != Precision::Microsecond || question.digits > MOST_DIGITS {
            return Ok(None);
        }
        self.order_known.get_or_try_init(|| self.learn_order()).await?;
        let content = content(&self.columns, by.keeps, question.versions);
        let cell = match question.digits {
            0 => "'\\x'::bytea".to_owned(),
            digits => format!("SUBSTRING(BPCHARSEND(run_id), 1, {digits})"),
        };
        let (mut bounds, mut parameters) = (Vec::new(), Vec::<&(dyn ToSql + Sync)>::new());
        let collation = self.collation();
        if let Some(namespace_id) = &range.namespace_id {
            parameters.push(namespace_id);
            bounds.push("namespace_id = $1".to_owned());
        }
        for (compared, end) in [(">", &range.after), ("<=", &range.until)] {
            if let Some(key) = end {
                parameters.extend::<[&(dyn ToSql + Sync); 2]>([&key.namespace_id, &key.run_id]);
                let last = parameters.len();
                bounds.push(format!(
                    "(namespace_id{collation}, run_id{collation}) {compared} (${}, ${last})",
                    last - 1
                ));
            }
        }
        let bounds = match bounds.is_empty() {
            true => String::new(),
            false => format!("WHERE {}", bounds.join(" AND ")),
        };
        let statement = include_str!("../../sql/postgres/digest.sql")
            .replace("{cell}", &cell)
            .replace("{content}", &content)
            .replace("{bounds}", &bounds);
        let client = self.reads.another().await?;
        let fault = |error: tokio_postgres::Error| self.fault(&error);
        // Milliseconds; 0 would be without end.
        let within = question.within.unwrap_or(WITHIN).as_millis().max(1);
        client
            .batch_execute(&format!("{SESSION}{within}"))
            .await
            .map_err(fault)?;
        let rows = match client.query(&statement, &parameters).await {
            Ok(rows) => rows,
            // A server before 14.
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_FUNCTION) => return Ok(None),
            Err(error) if question.within.is_some() && error.code() == Some(&SqlState::QUERY_CANCELED) => {
                return Ok(None);
            }
            Err(error) => return Err(self.fault(&error)),
        };
        let mut cells = BTreeMap::new();
        for row in rows {
            let namespace_id: String = row.try_get(0).map_err(fault)?;
            let prefix: Vec<u8> = row.try_get(1).map_err(fault)?;
            let records: i64 = row.try_get(2).map_err(fault)?;
            let sum: String = row.try_get(3).map_err(fault)?;
            let cell = Cell {
                namespace_id: namespace_id.trim_end_matches(' ').to_owned(),
                prefix: String::from_utf8_lossy(&prefix).into_owned(),
            };
            let digest = Digest {
                records: records.unsigned_abs(),
                sum: sum.parse().map_err(|_| Error::Failed {
                    store: self.name.clone(),
                    reason: "a sum of hashes is no number".to_owned(),
                })?,
            };
            cells.insert(cell, digest);
        }
        Ok(Some(Digests {
            recipe: format!("postgresql {content}"),
            cells,
        }))
    }
}
