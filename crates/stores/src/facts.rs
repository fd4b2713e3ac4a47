//! What a preflight wants to know of a store.

use crate::columns::Columns;
use crate::schema::{SchemaVersion, missing_columns};

/// What is found in a store without changing it.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The store for people: kind, place and database.
    pub store: String,
    /// The engine and its version, as `PostgreSQL 15.3`.
    pub engine: String,
    /// What tells this database from any other, whatever address or path it is reached by; two entries with the same
    /// identity are one store. `None` when the engine does not tell.
    pub identity: Option<String>,
    /// The visibility schema.
    pub schema: SchemaState,
    /// Whether a record can be written and deleted, tried in a transaction that is rolled back; the reason if not.
    /// `None` without a schema.
    pub writable: Option<Result<(), String>>,
    /// About how many records there are: an estimate that costs nothing where the engine has one.
    pub records_estimate: Option<u64>,
    /// Bytes that the table (PostgreSQL, with indexes) or the file (SQLite) takes.
    pub bytes: Option<u64>,
    /// Bytes free where the store lies, where that can be seen from here.
    pub free_bytes: Option<u64>,
    /// What is not wrong and still worth telling an operator.
    pub warnings: Vec<String>,
}

/// The state of a store's visibility schema.
#[derive(Clone, Debug)]
pub enum SchemaState {
    /// No `executions_visibility` table.
    Absent,
    /// The table is there.
    Present {
        /// What Temporal's schema tool recorded; `None` where it recorded nothing. SQLite files record no version that
        /// means anything (the tool sets up whatever the server of its version has as "0.1").
        recorded: Option<SchemaVersion>,
        /// Which columns the table has.
        columns: ColumnSet,
    },
}

/// The columns that a table has; asked through [`Facts::schema_faults`].
#[derive(Clone)]
pub struct ColumnSet(pub(crate) Columns);

impl std::fmt::Debug for ColumnSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ColumnSet({} columns)", self.0.len())
    }
}

/// What is wrong with a store's schema for one server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaFault {
    /// No table.
    #[error("there is no visibility schema; set it up with temporal-sql-tool, version {expected}")]
    Absent {
        /// What the server expects.
        expected: SchemaVersion,
    },
    /// The recorded version is lower.
    #[error(
        "the visibility schema is {found} and the server expects {expected}; update it with temporal-sql-tool update-schema"
    )]
    TooOld {
        /// What is recorded.
        found: SchemaVersion,
        /// What the server expects.
        expected: SchemaVersion,
    },
    /// Columns are missing, whatever the recorded version says.
    #[error("the table executions_visibility lacks {}, which schema {expected} has; update it with Temporal's schema tool", .columns.join(", "))]
    MissingColumns {
        /// Their names.
        columns: Vec<String>,
        /// What the server expects.
        expected: SchemaVersion,
    },
}

impl Facts {
    /// Whether the schema is at least `expected` (see [`expected_schema`](crate::expected_schema)), judged by the
    /// recorded version and by the columns themselves; empty when it is.
    pub fn schema_faults(&self, expected: SchemaVersion) -> Vec<SchemaFault> {
        let SchemaState::Present { recorded, columns } = &self.schema else {
            return vec![SchemaFault::Absent { expected }];
        };
        let mut faults = Vec::new();
        if let Some(found) = recorded.filter(|found| *found < expected) {
            faults.push(SchemaFault::TooOld { found, expected });
        }
        let missing = missing_columns(expected, |column| columns.0.has(column));
        if !missing.is_empty() {
            let columns = missing.into_iter().map(str::to_owned).collect();
            faults.push(SchemaFault::MissingColumns { columns, expected });
        }
        faults
    }
}
