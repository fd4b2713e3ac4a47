//! The columns of `executions_visibility` that make a record, and which of them one table has.

use std::collections::BTreeSet;

use crossfade_visibility::keeps::{Column, Keeps};
use crossfade_visibility::record::Key;

/// The columns in the order in which records are read and written, with PostgreSQL's type for an absent one.
/// `_version` is third so that both keys come first; nothing depends on it here (MySQL's driver moves it).
pub(crate) const ALL: [(&str, &str); 21] = [
    ("namespace_id", "bpchar"),
    ("run_id", "bpchar"),
    (VERSION, "bigint"),
    ("start_time", "timestamp"),
    ("execution_time", "timestamp"),
    ("workflow_id", "varchar"),
    ("workflow_type_name", "varchar"),
    ("status", "integer"),
    ("close_time", "timestamp"),
    ("history_length", "bigint"),
    ("history_size_bytes", "bigint"),
    ("execution_duration", "bigint"),
    ("state_transition_count", "bigint"),
    ("memo", "bytea"),
    ("encoding", "varchar"),
    ("task_queue", "varchar"),
    ("search_attributes", "jsonb"),
    ("parent_workflow_id", "varchar"),
    ("parent_run_id", "varchar"),
    ("root_workflow_id", "varchar"),
    ("root_run_id", "varchar"),
];

/// The columns that some schema lacks, and what of a record they hold.
const PARTS: [(&str, Column); 9] = [
    ("execution_time", Column::ExecutionTime),
    ("history_length", Column::HistoryLength),
    ("history_size_bytes", Column::HistorySizeBytes),
    ("execution_duration", Column::ExecutionDuration),
    ("state_transition_count", Column::StateTransitionCount),
    ("task_queue", Column::TaskQueue),
    ("search_attributes", Column::SearchAttributes),
    ("parent_workflow_id", Column::Parent),
    ("root_workflow_id", Column::Root),
];

/// The column that orders writes, since schema v1.9.
const VERSION: &str = "_version";

/// The columns that one table has, by lower-case name: PostgreSQL folds names, SQLite keeps them.
#[derive(Clone, Debug)]
pub(crate) struct Columns(BTreeSet<String>);

impl Columns {
    pub(crate) fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().map(|name| name.to_lowercase()).collect())
    }

    pub(crate) fn has(&self, column: &str) -> bool {
        self.0.contains(&column.to_lowercase())
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn versioned(&self) -> bool {
        self.has(VERSION)
    }

    /// What of a record the table keeps.
    pub(crate) fn keeps(&self) -> Keeps {
        let absent: Vec<Column> = PARTS
            .iter()
            .filter(|(name, _)| !self.has(name))
            .map(|(_, column)| *column)
            .collect();
        Keeps::all_but(&absent)
    }

    /// Fills a statement's `{columns}` for reading (an absent one is NULL), `{version}`, and `{collation}` with what is
    /// given.
    pub(crate) fn for_reading(&self, statement: &str, null: impl Fn(&str) -> String, collation: &str) -> String {
        let columns: Vec<String> = ALL
            .iter()
            .map(|(name, sql_type)| {
                if self.has(name) {
                    (*name).to_owned()
                } else {
                    null(sql_type)
                }
            })
            .collect();
        let version = if self.versioned() {
            VERSION.to_owned()
        } else {
            null("bigint")
        };
        statement
            .replace("{columns}", &columns.join(", "))
            .replace("{version}", &version)
            .replace("{collation}", collation)
    }

    /// Fills a statement's `{columns}`, `{parameters}` and `{assignments}` for writing those columns that there are.
    pub(crate) fn for_writing(&self, statement: &str) -> String {
        let present: Vec<&str> = ALL
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| self.has(name))
            .collect();
        let parameters: Vec<String> = present.iter().map(|name| format!(":{name}")).collect();
        let assignments: Vec<String> = present.iter().map(|name| format!("{name} = EXCLUDED.{name}")).collect();
        statement
            .replace("{columns}", &present.join(", "))
            .replace("{parameters}", &parameters.join(", "))
            .replace("{assignments}", &assignments.join(", "))
    }
}

/// Whether every collation sorts a key among others of its kind as its bytes do: one of UUIDs in lower case, as keys are.
pub(crate) fn sorts_as_bytes(key: &Key) -> bool {
    let is_uuid = |text: &str| {
        text.len() == 36
            && text.bytes().enumerate().all(|(at, byte)| match at {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
            })
    };
    is_uuid(&key.namespace_id) && is_uuid(&key.run_id)
}
