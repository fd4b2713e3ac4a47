//! What a Cassandra cluster tells of itself and of the keyspace.

use crossfade_visibility::limits::{Length, Limits, Text};
use crossfade_visibility::ports::{self, Precision};
use jiff::Timestamp;
use scylla::client::session::Session;
use scylla::deserialize::row::DeserializeRow;
use scylla::serialize::row::SerializeRow;

use super::connect::connect;
use super::entry::CassandraEntry;
use super::fault;
use crate::columns::Columns;
use crate::error::OpenError;
use crate::facts::{ColumnSet, Facts, SchemaState};
use crate::schema::{ExpectedSchema, Family, SchemaVersion, missing};

/// The only schema that there ever was (1.23.1: schema/cassandra/version.go).
const SCHEMA: ExpectedSchema = ExpectedSchema {
    family: Family::Cassandra,
    version: SchemaVersion::v1(0),
};

/// The indexes without which a record that has moved cannot be found.
const INDEXES: [&str; 2] = ["open_by_workflow_id", "closed_by_workflow_id"];

/// What the tables can hold. Nothing is ever written to them from here.
const LIMITS: Limits = Limits {
    precision: Precision::Millisecond,
    times: (Timestamp::MIN, Timestamp::MAX),
    name: Length::Any,
    keyword: Length::Any,
    text: Text::Of(Length::Any),
    nul: true,
    lists: false,
    double_below: None,
    document: None,
};

/// What is asked of a cluster before anything is read: what one keyspace has.
struct Keyspace {
    exists: bool,
    tables: Vec<(String, uuid::Uuid)>,
    columns: Columns,
    indexes: Vec<String>,
}

impl Keyspace {
    async fn read(entry: &CassandraEntry, session: &Session) -> Result<Self, ports::Error> {
        let (store, name) = (entry.describe(), (entry.keyspace.as_str(),));
        let found: Vec<(String,)> =
            rows(&store, session, include_str!("../../sql/cassandra/keyspace.cql"), name).await?;
        let tables = rows(&store, session, include_str!("../../sql/cassandra/tables.cql"), name).await?;
        let columns: Vec<(String, String)> =
            rows(&store, session, include_str!("../../sql/cassandra/columns.cql"), name).await?;
        let indexes: Vec<(String, String)> =
            rows(&store, session, include_str!("../../sql/cassandra/indexes.cql"), name).await?;
        Ok(Self {
            exists: !found.is_empty(),
            tables,
            columns: Columns::new(columns.into_iter().map(|(table, column)| format!("{table}.{column}"))),
            indexes: indexes.into_iter().map(|(_, index)| index).collect(),
        })
    }

    fn has(&self, table: &str) -> bool {
        self.tables.iter().any(|(name, _)| name == table)
    }

    /// Whether at least one of the two tables is there.
    fn has_schema(&self) -> bool {
        self.has("open_executions") || self.has("closed_executions")
    }

    /// What the tables lack, columns and indexes.
    fn lacks(&self) -> Vec<&'static str> {
        let mut lacks = missing(SCHEMA, |column| self.columns.has(column));
        lacks.extend(
            INDEXES
                .iter()
                .filter(|index| !self.indexes.iter().any(|found| found == *index)),
        );
        lacks
    }
}

/// Whether the keyspace can be read as it is.
pub(super) async fn check(entry: &CassandraEntry, session: &Session) -> Result<(), OpenError> {
    let store = entry.describe();
    let keyspace = Keyspace::read(entry, session).await?;
    if !keyspace.exists {
        return Err(unknown(entry));
    }
    if !keyspace.has_schema() {
        return Err(OpenError::NoSchema { store });
    }
    let missing = keyspace.lacks();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(OpenError::SchemaTooOld {
            store,
            missing: missing.join(", "),
        })
    }
}

/// What a preflight wants to know; a missing schema is no error, a missing keyspace is.
pub(crate) async fn inspect(entry: CassandraEntry) -> Result<Facts, OpenError> {
    let store = entry.describe();
    let session = connect(&entry).await?;
    let keyspace = Keyspace::read(&entry, &session).await?;
    if !keyspace.exists {
        return Err(unknown(&entry));
    }
    let server: Vec<(String, String)> =
        rows(&store, &session, include_str!("../../sql/cassandra/server.cql"), ()).await?;
    let (version, cluster) = server.into_iter().next().unwrap_or_default();
    // A table's id is made when the table is, and no two have the same.
    let closed = keyspace.tables.iter().find(|(name, _)| name == "closed_executions");
    let lacking: Vec<&str> = INDEXES
        .into_iter()
        .filter(|index| !keyspace.indexes.iter().any(|found| found == index))
        .collect();
    let mut warnings = Vec::new();
    if keyspace.has_schema() && !lacking.is_empty() {
        warnings.push(format!(
            "the schema lacks the index {}; create it as in Temporal's schema/cassandra/visibility, since without it records \
             cannot be found and the store cannot be read",
            lacking.join(", ")
        ));
    }
    let schema = if keyspace.has_schema() {
        SchemaState::Tables {
            recorded: recorded(&entry, &session, &keyspace).await?,
            columns: ColumnSet(keyspace.columns.clone()),
        }
    } else {
        SchemaState::Absent
    };
    Ok(Facts {
        family: Family::Cassandra,
        engine: format!("Apache Cassandra {version}, cluster '{cluster}'"),
        identity: closed.map(|(_, id)| format!("cassandra/{id}")),
        schema,
        writable: None,
        // Cassandra estimates partitions only, and a Namespace is one.
        records_estimate: None,
        bytes: None,
        free_bytes: None,
        limits: LIMITS,
        warnings,
        store,
    })
}

fn unknown(entry: &CassandraEntry) -> OpenError {
    OpenError::UnknownKeyspace {
        store: entry.describe(),
        keyspace: entry.keyspace.clone(),
    }
}

/// The schema's version as the tool recorded it.
async fn recorded(
    entry: &CassandraEntry,
    session: &Session,
    keyspace: &Keyspace,
) -> Result<Option<SchemaVersion>, ports::Error> {
    if !keyspace.has("schema_version") {
        return Ok(None);
    }
    let statement = include_str!("../../sql/cassandra/schema_version.cql").replace("{keyspace}", &entry.keyspace);
    let versions: Vec<(String,)> = rows(&entry.describe(), session, &statement, (entry.keyspace.as_str(),)).await?;
    Ok(versions.first().and_then(|(version,)| version.parse().ok()))
}

async fn rows<R>(
    store: &str,
    session: &Session,
    statement: &str,
    values: impl SerializeRow,
) -> Result<Vec<R>, ports::Error>
where
    R: for<'frame, 'metadata> DeserializeRow<'frame, 'metadata>,
{
    let failed = |reason: String| ports::Error::Failed {
        store: store.to_owned(),
        reason,
    };
    let answer = session.query_unpaged(statement, values).await;
    let answer = answer.map_err(|error| fault::of(store, &error))?;
    let answer = answer.into_rows_result().map_err(|error| failed(error.to_string()))?;
    let rows = answer.rows::<R>().map_err(|error| failed(error.to_string()))?;
    rows.collect::<Result<_, _>>()
        .map_err(|error| failed(error.to_string()))
}
