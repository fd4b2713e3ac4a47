//! What a SQLite file tells of itself.

use std::os::unix::fs::MetadataExt;

use crossfade_visibility::limits::{Length, Limits, Text};
use crossfade_visibility::ports::{Error, Precision};
use crossfade_visibility::record::marker_record;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::connection::{Lane, of};
use super::row;
use crate::columns::Columns;
use crate::entry::SqliteEntry;
use crate::error::OpenError;
use crate::facts::{ColumnSet, Facts, SchemaState};
use crate::schema::{Family, SchemaVersion};

/// What the file can hold: SQLite enforces no length of its columns' types.
pub(crate) const LIMITS: Limits = Limits {
    precision: Precision::Microsecond,
    times: (Timestamp::MIN, Timestamp::MAX),
    name: Length::Any,
    keyword: Length::Any,
    text: Text::Of(Length::Any),
    nul: true,
    lists: false,
    double_below: None,
    document: None,
};

/// A record that no cluster has, for the write that is rolled back.
const PROBE: &str = "00000000-0000-0000-0000-000000000000";

/// The store for people.
pub(super) fn describe(entry: &SqliteEntry) -> String {
    format!("SQLite file {}", entry.path.display())
}

/// Says what is wrong with the file before the engine says "unable to open".
pub(super) fn check_file(entry: &SqliteEntry) -> Result<(), OpenError> {
    let store = describe(entry);
    match std::fs::metadata(&entry.path) {
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(_) => Err(OpenError::NotADatabase {
            path: entry.path.clone(),
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(OpenError::MissingFile {
            path: entry.path.clone(),
        }),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Err(OpenError::Denied {
            store,
            reason: error.to_string(),
        }),
        Err(error) => Err(OpenError::Unreachable {
            store,
            reason: error.to_string(),
        }),
    }
}

/// The table's columns; empty when there is no table.
pub(super) async fn columns(lane: &Lane, entry: &SqliteEntry) -> Result<Columns, OpenError> {
    let call = |connection: &mut Connection, store: &str| {
        let names = || -> rusqlite::Result<Vec<String>> {
            let mut statement = connection.prepare(include_str!("../../sql/sqlite/columns.sql"))?;
            statement.query_map([], |row| row.get(0))?.collect()
        };
        names().map(Columns::new).map_err(|error| of(store, &error))
    };
    lane.run(call).await.map_err(|error| match error {
        Error::Schema { .. } => OpenError::NotADatabase {
            path: entry.path.clone(),
        },
        Error::Unreachable { store, reason } => OpenError::Denied { store, reason },
        other => other.into(),
    })
}

/// What a preflight wants to know; a missing schema is no error.
pub(crate) async fn inspect(entry: SqliteEntry) -> Result<Facts, OpenError> {
    check_file(&entry)?;
    let store = describe(&entry);
    let reads = Lane::new(store.clone(), entry.path.clone(), true);
    let columns = columns(&reads, &entry).await?;
    let has_table = !columns.is_empty();
    let general = reads
        .run(move |connection, store| General::read(connection, store, has_table))
        .await?;

    let metadata = std::fs::metadata(&entry.path).ok();
    let mut facts = Facts {
        family: Family::Sql,
        limits: LIMITS,
        engine: format!("SQLite, journal mode {}", general.journal),
        identity: metadata.as_ref().map(|file| format!("{}/{}", file.dev(), file.ino())),
        schema: SchemaState::Absent,
        writable: None,
        records_estimate: general.records,
        bytes: Some(general.bytes),
        free_bytes: free_bytes(&entry),
        warnings: warnings(&entry, &general.journal),
        store: store.clone(),
    };
    if has_table {
        let probed = columns.clone();
        let writes = Lane::new(store, entry.path.clone(), entry.read_only);
        let written = writes
            .run(move |connection, store| probe(connection, store, &probed))
            .await;
        facts.writable = Some(written.map_err(|error| error.to_string()));
        facts.schema = SchemaState::Tables {
            recorded: general.recorded,
            columns: ColumnSet(columns),
        };
    }
    Ok(facts)
}

/// What the file says of itself.
struct General {
    journal: String,
    recorded: Option<SchemaVersion>,
    records: Option<u64>,
    bytes: u64,
}

impl General {
    fn read(connection: &mut Connection, store: &str, has_table: bool) -> Result<Self, Error> {
        let read = || -> rusqlite::Result<Self> {
            let number = |sql: &str| {
                connection
                    .query_row(sql, [], |row| row.get::<_, i64>(0))
                    .map(i64::unsigned_abs)
            };
            // Counted by the engine, because the file alone is short of what still lies in the write-ahead log.
            let bytes = number("PRAGMA page_count")?.saturating_mul(number("PRAGMA page_size")?);
            let recorded: Option<String> = match number(include_str!("../../sql/sqlite/has_schema_version.sql"))? {
                0 => None,
                _ => connection
                    .query_row(include_str!("../../sql/sqlite/schema_version.sql"), [], |row| {
                        row.get(0)
                    })
                    .optional()?,
            };
            let recorded = recorded.and_then(|version| version.parse().ok());
            Ok(Self {
                journal: connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?,
                // 0.x numbers SQLite's own schema, not the one that other engines count.
                recorded: recorded.filter(|version: &SchemaVersion| version.major > 0),
                records: if has_table {
                    Some(number("SELECT COUNT(*) FROM executions_visibility")?)
                } else {
                    None
                },
                bytes,
            })
        };
        read().map_err(|error| of(store, &error))
    }
}

fn warnings(entry: &SqliteEntry, journal: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    if !journal.eq_ignore_ascii_case("wal") {
        warnings.push(format!(
            "its journal mode is {journal}: reading blocks the server's writes and the other way round; set \
             journal_mode: wal under connectAttributes in the server's config"
        ));
    }
    if !entry.busy_timeout {
        warnings.push(
            "the server gives up at once when another process writes to this file, and tries again later; set \
             busy_timeout: 10000 under connectAttributes in the server's config to have it wait"
                .to_owned(),
        );
    }
    warnings
}

fn free_bytes(entry: &SqliteEntry) -> Option<u64> {
    let file_system = rustix::fs::statvfs(&entry.path).ok()?;
    Some(file_system.f_bavail.saturating_mul(file_system.f_frsize))
}

/// Writes and deletes a record in a transaction that is rolled back.
fn probe(connection: &mut Connection, store: &str, columns: &Columns) -> Result<(), Error> {
    let record = marker_record(PROBE, "crossfade-probe", PROBE, Timestamp::UNIX_EPOCH);
    let mut write = || -> rusqlite::Result<()> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let parameters = row::parameters(&record, |column| columns.has(column));
        let put = columns.for_writing(include_str!("../../sql/sqlite/rewrite.sql"));
        transaction.execute(&put, row::bound(&parameters).as_slice())?;
        let delete = include_str!("../../sql/sqlite/delete.sql").replace("{version}", "0");
        let nothing: Option<i64> = None;
        let key = rusqlite::named_params! {":namespace_id": PROBE, ":run_id": PROBE, ":at_most": nothing};
        transaction.execute(&delete, key)?;
        transaction.rollback()
    };
    write().map_err(|error| of(store, &error))
}
