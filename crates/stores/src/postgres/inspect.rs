//! What a PostgreSQL database tells of itself.

use std::sync::Arc;

use crossfade_visibility::limits::{Length, Limits, Text};
use crossfade_visibility::ports::{self, Precision};
use crossfade_visibility::record::marker_record;
use jiff::Timestamp;
use tokio_postgres::Row;

use super::connect::{Lane, Session};
use super::fault;
use super::row::Batch;
use crate::columns::Columns;
use crate::entry::PostgresEntry;
use crate::error::OpenError;
use crate::facts::{ColumnSet, Facts, SchemaState};
use crate::schema::Family;

/// What `executions_visibility` can hold (1.30.8: schema/postgresql/v12/visibility/schema.sql).
pub(crate) const LIMITS: Limits = Limits {
    precision: Precision::Microsecond,
    times: (Timestamp::MIN, Timestamp::MAX),
    name: Length::Characters(255),
    keyword: Length::Characters(255),
    text: Text::Tsvector,
    nul: false,
    lists: false,
    // DECIMAL(20, 5)
    double_below: Some(1e15),
    document: None,
};

/// A record that no cluster has, for the write that is rolled back.
const PROBE: &str = "00000000-0000-0000-0000-000000000000";

/// The table's columns; empty when there is no table.
pub(super) async fn columns(store: &str, session: &mut Session) -> Result<Columns, ports::Error> {
    let rows = session
        .client
        .query_typed(include_str!("../../sql/postgres/columns.sql"), &[])
        .await;
    let rows = rows.map_err(|error| fault::of(store, &error))?;
    Ok(Columns::new(rows.iter().filter_map(|row| row.try_get(0).ok())))
}

/// What a preflight wants to know; a missing schema is no error.
pub(crate) async fn inspect(entry: PostgresEntry) -> Result<Facts, OpenError> {
    let store = entry.describe();
    let family = entry.family;
    let lane = Lane::new(Arc::new(entry), family == Family::StandardSql);
    let mut guard = lane.open().await?;
    let session = guard.get()?;
    let columns = columns(&store, session).await?;
    let general = General::read(&store, session).await?;
    let identity = one(session, include_str!("../../sql/postgres/identity.sql"))
        .await
        .ok()
        .flatten();

    let mut facts = Facts {
        family,
        limits: LIMITS,
        engine: format!("PostgreSQL {}", general.version),
        identity,
        schema: SchemaState::Absent,
        writable: None,
        records_estimate: general.records,
        bytes: general.bytes,
        free_bytes: None,
        warnings: general.warnings(),
        store: store.clone(),
    };
    if !columns.is_empty() {
        let recorded = match general.has_schema_version {
            true => one(session, include_str!("../../sql/postgres/schema_version.sql"))
                .await
                .map_err(|error| fault::of(&store, &error))?,
            false => None,
        };
        if family == Family::Sql {
            facts.writable = Some(probe(session, &columns).await);
        }
        facts.schema = SchemaState::Tables {
            recorded: recorded.and_then(|version| version.parse().ok()),
            columns: ColumnSet(columns),
        };
    }
    Ok(facts)
}

/// The first column of the first row, as text.
async fn one(session: &Session, statement: &str) -> Result<Option<String>, tokio_postgres::Error> {
    let row = session.client.query_opt(statement, &[]).await?;
    row.map(|row| row.try_get(0)).transpose()
}

/// The server's settings and the table's size.
struct General {
    version: String,
    encoding: String,
    replica: bool,
    has_schema_version: bool,
    records: Option<u64>,
    bytes: Option<u64>,
}

impl General {
    async fn read(store: &str, session: &Session) -> Result<Self, ports::Error> {
        let read = |row: Row| -> Result<Self, tokio_postgres::Error> {
            Ok(Self {
                version: row.try_get(0)?,
                encoding: row.try_get(1)?,
                replica: row.try_get(2)?,
                has_schema_version: row.try_get(3)?,
                records: u64::try_from(row.try_get::<_, i64>(4)?).ok(),
                bytes: u64::try_from(row.try_get::<_, i64>(5)?).ok(),
            })
        };
        let row = session
            .client
            .query_one(include_str!("../../sql/postgres/facts.sql"), &[])
            .await;
        row.and_then(read).map_err(|error| fault::of(store, &error))
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.replica {
            warnings.push("this server is a read-only replica; the datastore must name the primary".to_owned());
        }
        if self.encoding != "UTF8" {
            warnings.push(format!(
                "the database's encoding is {}, which cannot hold every text; UTF8 is expected",
                self.encoding
            ));
        }
        warnings
    }
}

/// Writes and deletes a record in a transaction that is rolled back; gives the reason if that is not allowed.
async fn probe(session: &mut Session, columns: &Columns) -> Result<(), String> {
    let words = |error: tokio_postgres::Error| fault::reason(&error);
    let put = columns.for_writing(include_str!("../../sql/postgres/rewrite.sql"));
    let delete = include_str!("../../sql/postgres/delete.sql").replace("{version}", "0");
    let record = marker_record(PROBE, "crossfade-probe", PROBE, Timestamp::UNIX_EPOCH);
    let none: Option<i64> = None;
    let transaction = session.client.transaction().await.map_err(words)?;
    transaction
        .execute(put.as_str(), &Batch::new(&[&record]).parameters())
        .await
        .map_err(words)?;
    transaction
        .execute(delete.as_str(), &[&PROBE, &PROBE, &none])
        .await
        .map_err(words)?;
    transaction.rollback().await.map_err(words)
}
