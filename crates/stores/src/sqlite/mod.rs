//! SQLite: plugin `sqlite`, in a file beside which the server may be running.
//!
//! Reads go through a connection that cannot write. Writes come in small transactions with pauses between them, because
//! the server's driver waits for no lock unless its config says so (`busy_timeout` under `connectAttributes`): a write
//! that meets ours is an error to it, which it tries again, and must have a fair chance to pass.

mod connection;
mod inspect;
mod row;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use crossfade_visibility::keeps::Keeps;
use crossfade_visibility::ports::{Condemned, Count, Error, OpenExecution, Precision, Range, Read, Rewrite, Write};
use crossfade_visibility::record::{Key, Record, latest_of_each};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, named_params};

use self::connection::{Lane, is_about_content, of};
pub(crate) use self::inspect::{LIMITS, inspect};
use crate::columns::Columns;
use crate::entry::SqliteEntry;
use crate::error::OpenError;
use crate::schema::{OLDEST, missing_columns};

/// Records written per transaction: some ten milliseconds of the file's only write lock (a record goes into more than
/// seventy indexes).
const TRANSACTION: usize = 50;

/// The longest pause after a transaction.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// One visibility file.
pub(crate) struct Sqlite {
    name: String,
    columns: Columns,
    statements: Arc<Statements>,
    reads: Lane,
    writes: Lane,
    /// How long to leave the lock free after each transaction, as a part of what it took: as long for a server that
    /// gives up at once, less for one that waits.
    pause_factor: f64,
}

/// The statements, filled with the columns that the table has.
struct Statements {
    columns: Columns,
    scan: String,
    scan_namespace: String,
    get: String,
    version: String,
    put: String,
    rewrite: String,
    delete: String,
}

impl Statements {
    fn new(columns: Columns) -> Self {
        let read = |statement: &str| columns.for_reading(statement, |_| "NULL".to_owned(), "");
        let put = match columns.versioned() {
            true => include_str!("../../sql/sqlite/put.sql"),
            false => include_str!("../../sql/sqlite/put_if_absent.sql"),
        };
        let delete = include_str!("../../sql/sqlite/delete.sql");
        Self {
            scan: read(include_str!("../../sql/sqlite/scan.sql")),
            scan_namespace: read(include_str!("../../sql/sqlite/scan_namespace.sql")),
            get: read(include_str!("../../sql/sqlite/get.sql")),
            version: read(include_str!("../../sql/sqlite/version.sql")),
            put: columns.for_writing(put),
            rewrite: columns.for_writing(include_str!("../../sql/sqlite/rewrite.sql")),
            // Where there is no version, none is later than the one given.
            delete: delete.replace("{version}", if columns.versioned() { "_version" } else { ":at_most" }),
            columns,
        }
    }

    fn write(&self, transaction: &Transaction<'_>, statement: &str, record: &Record) -> rusqlite::Result<u64> {
        let parameters = row::parameters(record, |column| self.columns.has(column));
        let changed = transaction
            .prepare_cached(statement)?
            .execute(row::bound(&parameters).as_slice())?;
        Ok(changed as u64)
    }

    fn get(&self, connection: &Connection, store: &str, key: &Key) -> Result<Option<Record>, Error> {
        let fault = |error: rusqlite::Error| of(store, &error);
        let mut statement = connection.prepare_cached(&self.get).map_err(fault)?;
        let parameters = named_params! {":namespace_id": key.namespace_id, ":run_id": key.run_id};
        let mut rows = statement.query(parameters).map_err(fault)?;
        rows.next()
            .map_err(fault)?
            .map(|row| row::record(store, row))
            .transpose()
    }
}

impl Sqlite {
    pub(crate) async fn open(entry: SqliteEntry) -> Result<Self, OpenError> {
        let name = inspect::describe(&entry);
        inspect::check_file(&entry)?;
        let reads = Lane::new(name.clone(), entry.path.clone(), true);
        let columns = inspect::columns(&reads, &entry).await?;
        if columns.is_empty() {
            return Err(OpenError::NoSchema { store: name });
        }
        let missing = missing_columns(OLDEST, |column| columns.has(column));
        if !missing.is_empty() {
            return Err(OpenError::SchemaTooOld {
                store: name,
                missing: missing.join(", "),
            });
        }
        Ok(Self {
            pause_factor: if entry.busy_timeout { 0.25 } else { 1.0 },
            writes: Lane::new(name.clone(), entry.path, entry.read_only),
            statements: Arc::new(Statements::new(columns.clone())),
            name,
            columns,
            reads,
        })
    }

    /// Runs one of a pair of paging statements, the second for one Namespace.
    async fn page<T: Send + 'static>(
        &self,
        [of_all, of_namespace]: [String; 2],
        range: &Range,
        limit: usize,
        read: fn(&str, &Row<'_>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let after = range.after.clone().unwrap_or_else(|| Key::new("", ""));
        let (statement, namespace_id, run_id) = match range.namespace_id.clone() {
            None => (of_all, after.namespace_id, after.run_id),
            Some(namespace) if after.namespace_id > namespace => return Ok(Vec::new()),
            Some(namespace) if after.namespace_id == namespace => (of_namespace, namespace, after.run_id),
            Some(namespace) => (of_namespace, namespace, String::new()),
        };
        let call = move |connection: &mut Connection, store: &str| {
            let fault = |error: rusqlite::Error| of(store, &error);
            let mut statement = connection.prepare_cached(&statement).map_err(fault)?;
            let parameters = named_params! {":namespace_id": namespace_id, ":run_id": run_id, ":limit": limit};
            let mut rows = statement.query(parameters).map_err(fault)?;
            let mut page = Vec::new();
            while let Some(row) = rows.next().map_err(fault)? {
                page.push(read(store, row)?);
            }
            Ok(page)
        };
        self.reads.run(call).await
    }

    /// Runs `call` for every item, in small transactions, each of which is whole or not at all.
    async fn write_all<T: Send + 'static>(
        &self,
        items: Vec<T>,
        call: fn(&Statements, &Transaction<'_>, &str, &T) -> Result<u64, Error>,
    ) -> Result<u64, Error> {
        let (statements, pause_factor) = (self.statements.clone(), self.pause_factor);
        let write = move |connection: &mut Connection, store: &str| {
            let fault = |error: rusqlite::Error| of(store, &error);
            let (mut changed, mut pause) = (0, Duration::ZERO);
            for items in items.chunks(TRANSACTION) {
                std::thread::sleep(pause.min(LONGEST_PAUSE));
                let start = Instant::now();
                let transaction = connection
                    .transaction_with_behavior(TransactionBehavior::Immediate)
                    .map_err(fault)?;
                for item in items {
                    changed += call(&statements, &transaction, store, item)?;
                }
                transaction.commit().map_err(fault)?;
                pause = start.elapsed().mul_f64(pause_factor);
            }
            Ok(changed)
        };
        self.writes.run(write).await
    }
}

/// The error of writing one record: its own fault, or the store's.
fn refused(store: &str, record: &Record, error: &rusqlite::Error) -> Error {
    match is_about_content(error) {
        true => {
            let (store, key, reason) = (store.to_owned(), record.key.clone(), error.to_string());
            Error::Refused { store, key, reason }
        }
        false => of(store, error),
    }
}

#[async_trait]
impl Read for Sqlite {
    fn describe(&self) -> String {
        self.name.clone()
    }

    fn precision(&self) -> Precision {
        Precision::Microsecond
    }

    fn keeps(&self) -> Keeps {
        self.columns.keeps()
    }

    fn versioned(&self) -> bool {
        self.columns.versioned()
    }

    async fn scan(&self, range: &Range, limit: usize) -> Result<Vec<Record>, Error> {
        let statements = [self.statements.scan.clone(), self.statements.scan_namespace.clone()];
        let mut records = self.page(statements, range, limit, row::record).await?;
        records.retain(|record| range.contains(&record.key));
        Ok(records)
    }

    async fn get(&self, keys: &[Key]) -> Result<Vec<Record>, Error> {
        let (mut keys, statements) = (keys.to_vec(), self.statements.clone());
        keys.sort();
        keys.dedup();
        let call = move |connection: &mut Connection, store: &str| {
            let records = keys
                .iter()
                .filter_map(|key| statements.get(connection, store, key).transpose());
            records.collect()
        };
        self.reads.run(call).await
    }

    async fn versions(&self, keys: &[Key]) -> Result<BTreeMap<Key, Option<i64>>, Error> {
        let (keys, statements) = (keys.to_vec(), self.statements.clone());
        let call = move |connection: &mut Connection, store: &str| {
            let fault = |error: rusqlite::Error| of(store, &error);
            let mut statement = connection.prepare_cached(&statements.version).map_err(fault)?;
            let mut versions = BTreeMap::new();
            for key in keys {
                let parameters = named_params! {":namespace_id": key.namespace_id, ":run_id": key.run_id};
                let version = statement
                    .query_row(parameters, |row| row.get(0))
                    .optional()
                    .map_err(fault)?;
                if let Some(version) = version {
                    versions.insert(key, version);
                }
            }
            Ok(versions)
        };
        self.reads.run(call).await
    }

    async fn count(&self, namespace_id: Option<&str>) -> Result<BTreeMap<String, Count>, Error> {
        let namespace_id = namespace_id.map(str::to_owned);
        let call = move |connection: &mut Connection, store: &str| {
            let count = || -> rusqlite::Result<BTreeMap<String, Count>> {
                let mut counts: BTreeMap<String, Count> = BTreeMap::new();
                let mut statement = connection.prepare_cached(include_str!("../../sql/sqlite/count.sql"))?;
                let mut rows = statement.query(named_params! {":namespace_id": namespace_id})?;
                while let Some(row) = rows.next()? {
                    let count = counts.entry(row.get(0)?).or_default();
                    let side = if row.get(1)? {
                        &mut count.open
                    } else {
                        &mut count.closed
                    };
                    *side += row.get::<_, i64>(2)?.unsigned_abs();
                }
                Ok(counts)
            };
            count().map_err(|error| of(store, &error))
        };
        self.reads.run(call).await
    }

    async fn namespaces(&self) -> Result<Vec<String>, Error> {
        let call = |connection: &mut Connection, store: &str| {
            let list = || -> rusqlite::Result<Vec<String>> {
                let mut statement = connection.prepare_cached(include_str!("../../sql/sqlite/namespaces.sql"))?;
                statement.query_map([], |row| row.get(0))?.collect()
            };
            list().map_err(|error| of(store, &error))
        };
        self.reads.run(call).await
    }

    async fn open_started_before(
        &self,
        before: Timestamp,
        range: &Range,
        limit: usize,
    ) -> Result<Vec<OpenExecution>, Error> {
        let statements = || {
            let all = include_str!("../../sql/sqlite/open.sql").to_owned();
            [all, include_str!("../../sql/sqlite/open_namespace.sql").to_owned()]
        };
        let mut range = range.clone();
        let mut found = Vec::new();
        while found.len() < limit {
            let page = self.page(statements(), &range, limit, row::open_execution).await?;
            let Some(last) = page.last().map(|open| open.key.clone()) else {
                break;
            };
            found.extend(
                page.into_iter()
                    .filter(|open| range.contains(&open.key) && open.start_time < before),
            );
            range.after = Some(last);
        }
        found.truncate(limit);
        Ok(found)
    }
}

#[async_trait]
impl Write for Sqlite {
    fn describe(&self) -> String {
        self.name.clone()
    }

    async fn put(&self, records: &[Record]) -> Result<u64, Error> {
        if records.is_empty() {
            return Ok(0);
        }
        let records: Vec<Record> = latest_of_each(records).into_iter().cloned().collect();
        let put = |statements: &Statements, transaction: &Transaction<'_>, store: &str, record: &Record| {
            let written = statements.write(transaction, &statements.put, record);
            written.map_err(|error| refused(store, record, &error))
        };
        self.write_all(records, put).await
    }

    async fn rewrite(&self, changes: &[Rewrite]) -> Result<u64, Error> {
        if changes.is_empty() {
            return Ok(0);
        }
        let rewrite = |statements: &Statements, transaction: &Transaction<'_>, store: &str, change: &Rewrite| {
            if statements.get(transaction, store, &change.seen.key)?.as_ref() != Some(&change.seen) {
                return Ok(0);
            }
            let written = statements.write(transaction, &statements.rewrite, &change.to);
            written.map_err(|error| refused(store, &change.to, &error))
        };
        self.write_all(changes.to_vec(), rewrite).await
    }

    async fn delete(&self, condemned: &[Condemned]) -> Result<u64, Error> {
        if condemned.is_empty() {
            return Ok(0);
        }
        let delete = |statements: &Statements, transaction: &Transaction<'_>, store: &str, condemned: &Condemned| {
            let delete = || -> rusqlite::Result<u64> {
                let key = &condemned.key;
                let parameters = named_params! {
                    ":namespace_id": key.namespace_id, ":run_id": key.run_id, ":at_most": condemned.at_most,
                };
                Ok(transaction.prepare_cached(&statements.delete)?.execute(parameters)? as u64)
            };
            delete().map_err(|error| of(store, &error))
        };
        self.write_all(condemned.to_vec(), delete).await
    }
}
