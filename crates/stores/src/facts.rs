//! What a preflight wants to know of a store.

use crossfade_visibility::limits::Limits;

use crate::columns::Columns;
use crate::mapping::Mapping;
use crate::schema::{ExpectedSchema, Family, SchemaVersion, expected_schema, missing};

/// What is found in a store without changing it.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The store for people: kind, place and database.
    pub store: String,
    /// Which schemas this store can have.
    pub family: Family,
    /// The engine and its version, as `PostgreSQL 15.3`.
    pub engine: String,
    /// What tells this database from any other, whatever address or path it is reached by; two entries with the same
    /// identity are one store. `None` when the engine does not tell.
    pub identity: Option<String>,
    /// The visibility schema.
    pub schema: SchemaState,
    /// Whether a record can be written and deleted, tried in a way that leaves nothing behind (a transaction that is
    /// rolled back, where there are any); the reason if not. `None` without a schema.
    pub writable: Option<Result<(), String>>,
    /// About how many records there are: an estimate that costs nothing where the engine has one.
    pub records_estimate: Option<u64>,
    /// Bytes that the table (PostgreSQL, with indexes), the file (SQLite) or the index with its replicas (Elasticsearch) takes.
    pub bytes: Option<u64>,
    /// Bytes free where the store lies, where that can be seen from here.
    pub free_bytes: Option<u64>,
    /// What the store can hold of a record's values.
    pub limits: Limits,
    /// What is not wrong and still worth telling an operator.
    pub warnings: Vec<String>,
}

/// The state of a store's visibility schema.
#[derive(Clone, Debug)]
pub enum SchemaState {
    /// No table `executions_visibility` (SQL), no tables `open_executions` and `closed_executions` (Cassandra), no index
    /// (Elasticsearch).
    Absent,
    /// The tables are there: SQL of both families, Cassandra.
    Tables {
        /// What Temporal's schema tool recorded; `None` where it recorded nothing. SQLite files record no version that
        /// means anything (the tool sets up whatever the server of its version has as "0.1").
        recorded: Option<SchemaVersion>,
        /// Which columns the tables have.
        columns: ColumnSet,
    },
    /// The index is there: Elasticsearch. Nothing records its version; the fields that it maps tell.
    Index {
        /// Which fields are mapped, and to what.
        mapping: Mapping,
    },
}

impl SchemaState {
    /// Whether there is a schema at all, right or wrong.
    pub fn is_present(&self) -> bool {
        !matches!(self, Self::Absent)
    }

    /// The version for people: `v1.13` as recorded, `template v13` as far as the mapping shows, `unrecorded`; `None`
    /// without a schema.
    pub fn version(&self) -> Option<String> {
        match self {
            Self::Absent => None,
            Self::Tables { recorded, .. } => {
                Some(recorded.map_or_else(|| "unrecorded".to_owned(), |version| version.to_string()))
            }
            Self::Index { mapping } => Some(mapping.template().map_or_else(
                || "of no known template".to_owned(),
                |version| format!("template v{}", version.major),
            )),
        }
    }
}

/// The columns that tables have; the server's own are judged by [`Facts::schema_faults`].
#[derive(Clone)]
pub struct ColumnSet(pub(crate) Columns);

impl ColumnSet {
    /// Whether there is a column of this name, in whatever case; Cassandra's with its table.
    pub fn has(&self, column: &str) -> bool {
        self.0.has(column)
    }
}

impl std::fmt::Debug for ColumnSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ColumnSet({} columns)", self.0.len())
    }
}

/// What is wrong with a store's schema for one server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaFault {
    /// No table, no index.
    #[error("there is no visibility schema; set it up with {}, {expected}", .expected.family.tool())]
    Absent {
        /// What the server expects.
        expected: ExpectedSchema,
    },
    /// The recorded version is lower.
    #[error("the visibility schema is {found} and the server expects {expected}; update it with {} update-schema", .expected.family.tool())]
    TooOld {
        /// What is recorded.
        found: SchemaVersion,
        /// What the server expects.
        expected: ExpectedSchema,
    },
    /// Columns are missing, whatever the recorded version says.
    #[error("the visibility schema lacks the columns {}, which {expected} has; update it with {}", .columns.join(", "), .expected.family.tool())]
    MissingColumns {
        /// Their names; Cassandra's with their table.
        columns: Vec<String>,
        /// What the server expects.
        expected: ExpectedSchema,
    },
    /// The index was made by a first write, without Temporal's template: every list fails, and the schema tool takes it
    /// for a good one.
    #[error(
        "the index was created without Temporal's index template ({reason}), so that no query works on it, and its mapping cannot be put right in place; \
         stop what writes to it, delete the index, put the template with {} setup-schema and create the index again with create-index ({expected}). \
         Set action.auto_create_index to false, so that it does not come back by itself",
        .expected.family.tool()
    )]
    NotFromTemplate {
        /// What gives it away.
        reason: String,
        /// What the server expects.
        expected: ExpectedSchema,
    },
    /// The index lacks fields: they are written and cannot be queried.
    #[error("the index does not map {}, which {expected} does; update it with {} update-schema (or the upgrade.sh of that version)", .fields.join(", "), .expected.family.tool())]
    MissingFields {
        /// Their names.
        fields: Vec<String>,
        /// What the server expects.
        expected: ExpectedSchema,
    },
    /// A field is mapped to another type than the server's queries need.
    #[error(
        "the index maps {field} to {found} where {expected} has {wanted}; a mapping cannot be changed in place: create another index with the right template and use that"
    )]
    WrongType {
        /// The field.
        field: String,
        /// The type that it has.
        found: String,
        /// The type that it needs.
        wanted: String,
        /// What the server expects.
        expected: ExpectedSchema,
    },
}

impl Facts {
    /// Whether the schema is at least what a server of this version expects (see [`expected_schema`]), judged by the
    /// recorded version and by the columns or fields themselves; empty when it is. `None` when it is not known what that
    /// server expects, or when it has no such stores any more.
    pub fn schema_faults(&self, server_version: &str) -> Option<Vec<SchemaFault>> {
        let expected = expected_schema(self.family, server_version)?;
        Some(match &self.schema {
            SchemaState::Absent => vec![SchemaFault::Absent { expected }],
            SchemaState::Tables { recorded, columns } => table_faults(*recorded, columns, expected),
            SchemaState::Index { mapping } => mapping.faults(expected),
        })
    }
}

fn table_faults(recorded: Option<SchemaVersion>, columns: &ColumnSet, expected: ExpectedSchema) -> Vec<SchemaFault> {
    let mut faults = Vec::new();
    if let Some(found) = recorded.filter(|found| *found < expected.version) {
        faults.push(SchemaFault::TooOld { found, expected });
    }
    let missing = missing(expected, |column| columns.0.has(column));
    if !missing.is_empty() {
        let columns = missing.into_iter().map(str::to_owned).collect();
        faults.push(SchemaFault::MissingColumns { columns, expected });
    }
    faults
}
