//! PostgreSQL: plugins `postgres12` and `postgres12_pgx`, which differ in the server's driver only; and, to be read,
//! `postgres` and `postgres_pgx` of servers up to 1.23, whose table lacks half of the columns.
//!
//! # Order
//!
//! Scans must be in the order of the keys' bytes, and the primary key is in the database's collation. Sorting by
//! `COLLATE "C"` cannot use it and would sort the table for every page. But keys are UUIDs in lower case, and for these
//! every collation agrees with the bytes (dashes stand at the same places, digits come before letters). So the
//! primary key's own order is used unless the collation is another *and* some key is no such UUID; should one turn up
//! later, in a page, the scan goes on by `COLLATE "C"` from its cursor, which is the same place in both orders.

mod connect;
mod digest;
mod fault;
mod indexes;
mod inspect;
mod listed;
mod pressure;
mod put;
mod renaming;
mod row;
mod signs;
mod tls;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use crossfade_visibility::digest::{Digests, Question};
use crossfade_visibility::keeps::Keeps;
use crossfade_visibility::ports::{
    Condemned, Count, Error, OpenExecution, Pages, Precision, Range, Read, Rewrite, Write,
};
use crossfade_visibility::record::{Key, Record, latest_of_each};
use crossfade_visibility::sign::{Page, Wanted};
use futures::stream::BoxStream;
use jiff::Timestamp;
use tokio::sync::OnceCell;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use self::connect::{Lane, Session};
pub(crate) use self::inspect::{LIMITS, inspect};
use self::put::Copying;
pub(crate) use self::renaming::rename_attributes;
use self::row::Batch;
use crate::columns::{ALL, Columns, sorts_as_bytes};
use crate::entry::PostgresEntry;
use crate::error::OpenError;
use crate::schema::{Family, OLDEST, STANDARD, missing, missing_columns};

/// What is appended to a key to sort it by its bytes.
const BY_BYTES: &str = " COLLATE \"C\"";

/// One visibility database.
pub(crate) struct Postgres {
    name: String,
    columns: Columns,
    reads: Lane,
    writes: Lane,
    /// Whether the primary key's order was looked into, and found to be that of the bytes or not to matter.
    order_known: OnceCell<()>,
    sort_by_bytes: AtomicBool,
    /// Records written through this store.
    written: AtomicU64,
    copying: Copying,
    copy: String,
    /// Which of the columns are there to be copied, and their types.
    copied: Vec<bool>,
    copy_types: Vec<Type>,
    put: String,
    rewrite: String,
    delete: String,
}

impl Postgres {
    pub(crate) async fn open(entry: PostgresEntry) -> Result<Self, OpenError> {
        let name = entry.describe();
        let entry = Arc::new(entry);
        let reads = Lane::new(entry.clone(), true);
        let columns = inspect::columns(&name, reads.open().await?.get()?).await?;
        if columns.is_empty() {
            return Err(OpenError::NoSchema { store: name });
        }
        let missing = match entry.family {
            Family::StandardSql => missing(STANDARD, |column| columns.has(column)),
            _ => missing_columns(OLDEST, |column| columns.has(column)),
        };
        if !missing.is_empty() {
            return Err(OpenError::SchemaTooOld {
                store: name,
                missing: missing.join(", "),
            });
        }
        let put = match columns.versioned() {
            true => include_str!("../../sql/postgres/put.sql"),
            false => include_str!("../../sql/postgres/put_if_absent.sql"),
        };
        let delete = include_str!("../../sql/postgres/delete.sql");
        let copied: Vec<bool> = ALL.iter().map(|(name, _)| columns.has(name)).collect();
        Ok(Self {
            copying: Copying::default(),
            copy: columns.for_writing(include_str!("../../sql/postgres/copy.sql")),
            copy_types: row::TYPES
                .iter()
                .zip(&copied)
                .filter(|(_, present)| **present)
                .map(|(of, _)| of.clone())
                .collect(),
            copied,
            put: columns.for_writing(put),
            rewrite: columns.for_writing(include_str!("../../sql/postgres/rewrite.sql")),
            // Where there is no version, none is later than the one given.
            delete: delete.replace("{version}", if columns.versioned() { "_version" } else { "$3::bigint" }),
            writes: Lane::new(entry, false),
            order_known: OnceCell::new(),
            sort_by_bytes: AtomicBool::new(false),
            written: AtomicU64::new(0),
            name,
            columns,
            reads,
        })
    }

    fn fault(&self, error: &tokio_postgres::Error) -> Error {
        fault::of(&self.name, error)
    }

    /// What is appended to a key where it is sorted or bounded.
    fn collation(&self) -> &'static str {
        match self.sort_by_bytes.load(Ordering::Relaxed) {
            true => BY_BYTES,
            false => "",
        }
    }

    async fn query(&self, statement: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        let statement = self
            .columns
            .for_reading(statement, |sql_type| format!("NULL::{sql_type}"), self.collation());
        let mut guard = self.reads.session().await?;
        let session = guard.get()?;
        let prepared = session.prepare(&statement).await.map_err(|error| self.fault(&error))?;
        session
            .client
            .query(&prepared, parameters)
            .await
            .map_err(|error| self.fault(&error))
    }

    /// Runs one of a pair of paging statements, the second for one Namespace, in the order of the keys' bytes.
    async fn page(
        &self,
        statements: [&str; 2],
        range: &Range,
        limit: usize,
        before: Option<&(dyn ToSql + Sync)>,
    ) -> Result<Vec<Row>, Error> {
        self.order_known.get_or_try_init(|| self.learn_order()).await?;
        let rows = self.page_as_sorted(statements, range, limit, before).await?;
        if !self.sort_by_bytes.load(Ordering::Relaxed) && !in_byte_order(&self.name, &rows)? {
            self.sort_by_bytes.store(true, Ordering::Relaxed);
            return self.page_as_sorted(statements, range, limit, before).await;
        }
        Ok(rows)
    }

    async fn page_as_sorted(
        &self,
        [of_all, of_namespace]: [&str; 2],
        range: &Range,
        limit: usize,
        before: Option<&(dyn ToSql + Sync)>,
    ) -> Result<Vec<Row>, Error> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let (after_namespace, after_run) = range
            .after
            .as_ref()
            .map_or(("", ""), |key| (key.namespace_id.as_str(), key.run_id.as_str()));
        let (statement, namespace, run) = match range.namespace_id.as_deref() {
            None => (of_all, after_namespace, after_run),
            Some(namespace) if after_namespace > namespace => return Ok(Vec::new()),
            Some(namespace) if after_namespace == namespace => (of_namespace, namespace, after_run),
            Some(namespace) => (of_namespace, namespace, ""),
        };
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&namespace, &run, &limit];
        parameters.extend(before);
        self.query(statement, &parameters).await
    }

    /// Rows as records, beside whoever asks: what is read ahead must not take the time of what is looked at.
    async fn decoded(&self, rows: Vec<Row>) -> Result<Vec<Record>, Error> {
        let name = self.name.clone();
        let decoded = tokio::task::spawn_blocking(move || rows.iter().map(|row| row::record(&name, row)).collect());
        decoded.await.map_err(|error| Error::Failed {
            store: self.name.clone(),
            reason: error.to_string(),
        })?
    }

    async fn learn_order(&self) -> Result<(), Error> {
        let mut guard = self.reads.session().await?;
        let client = &guard.get()?.client;
        // Asked once, and therefore not prepared, which would be a journey more.
        let ask = async |statement: &str| {
            let row = client.query_typed_opt(statement, &[]).await;
            let row = row.map_err(|error| self.fault(&error))?;
            Ok::<bool, Error>(row.is_some_and(|row| row.try_get(0).unwrap_or(false)))
        };
        let in_byte_order = ask(include_str!("../../sql/postgres/byte_order.sql")).await?;
        if !in_byte_order && ask(include_str!("../../sql/postgres/odd_key.sql")).await? {
            self.sort_by_bytes.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn rewrite_batch(&self, session: &mut Session, changes: &[Rewrite]) -> Result<u64, Error> {
        let fault = |error: tokio_postgres::Error| self.fault(&error);
        let lock = include_str!("../../sql/postgres/lock.sql");
        let lock = self
            .columns
            .for_reading(lock, |sql_type| format!("NULL::{sql_type}"), "");
        let lock = session.prepare(&lock).await.map_err(fault)?;
        let rewrite = session.prepare(&self.rewrite).await.map_err(fault)?;

        let transaction = session.client.transaction().await.map_err(fault)?;
        // In the order of the keys, so that two writers cannot deadlock.
        let keys: BTreeSet<&Key> = changes.iter().map(|change| &change.seen.key).collect();
        let (namespaces, runs) = halves(keys);
        let mut held = BTreeMap::new();
        for row in transaction.query(&lock, &[&namespaces, &runs]).await.map_err(fault)? {
            let record = row::record(&self.name, &row)?;
            held.insert(record.key.clone(), record);
        }
        let unchanged = changes
            .iter()
            .filter(|change| held.get(&change.seen.key) == Some(&change.seen));
        let records: Vec<Record> = unchanged.map(|change| change.to.clone()).collect();
        let records = latest_of_each(&records);
        if !records.is_empty() {
            transaction
                .execute(&rewrite, &Batch::new(&records).parameters())
                .await
                .map_err(fault)?;
        }
        transaction.commit().await.map_err(fault)?;
        Ok(records.len() as u64)
    }

    fn count_of(&self, rows: Vec<Row>) -> Result<BTreeMap<String, Count>, Error> {
        let mut counts: BTreeMap<String, Count> = BTreeMap::new();
        for row in rows {
            let column = |error: tokio_postgres::Error| self.fault(&error);
            let namespace: String = row.try_get(0).map_err(column)?;
            let open: bool = row.try_get(1).map_err(column)?;
            let records: i64 = row.try_get(2).map_err(column)?;
            let count = counts.entry(namespace.trim_end_matches(' ').to_owned()).or_default();
            let side = if open { &mut count.open } else { &mut count.closed };
            *side += records.unsigned_abs();
        }
        Ok(counts)
    }
}

#[async_trait]
impl Read for Postgres {
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
        let statements = [
            include_str!("../../sql/postgres/scan.sql"),
            include_str!("../../sql/postgres/scan_namespace.sql"),
        ];
        let rows = self.page(statements, range, limit, None).await?;
        let mut records = self.decoded(rows).await?;
        records.retain(|record| range.contains(&record.key));
        Ok(records)
    }

    async fn in_list_order(&self, namespace_id: Option<&str>, limit: usize) -> Result<Option<Pages<'_>>, Error> {
        self.listed(namespace_id, limit).await
    }

    async fn get(&self, keys: &[Key]) -> Result<Vec<Record>, Error> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let (namespaces, runs) = halves(keys);
        let rows = self
            .query(include_str!("../../sql/postgres/get.sql"), &[&namespaces, &runs])
            .await?;
        rows.iter().map(|row| row::record(&self.name, row)).collect()
    }

    async fn versions(&self, keys: &[Key]) -> Result<BTreeMap<Key, Option<i64>>, Error> {
        if keys.is_empty() {
            return Ok(BTreeMap::new());
        }
        let (namespaces, runs) = halves(keys);
        let rows = self
            .query(include_str!("../../sql/postgres/versions.sql"), &[&namespaces, &runs])
            .await?;
        let version = |row: &Row| row.try_get(2).map_err(|error| self.fault(&error));
        rows.iter()
            .map(|row| Ok((row::key(&self.name, row)?, version(row)?)))
            .collect()
    }

    async fn gone(&self, records: &[Record]) -> Result<Vec<Key>, Error> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let (namespaces, runs) = halves(records.iter().map(|record| &record.key));
        let rows = self
            .query(include_str!("../../sql/postgres/gone.sql"), &[&namespaces, &runs])
            .await?;
        let place = |row: &Row| row.try_get::<_, i64>(0).map_err(|error| self.fault(&error));
        let places: Result<Vec<i64>, Error> = rows.iter().map(place).collect();
        let record = |place: i64| records.get(usize::try_from(place - 1).ok()?);
        Ok(places?
            .into_iter()
            .filter_map(record)
            .map(|record| record.key.clone())
            .collect())
    }

    async fn count(&self, namespace_id: Option<&str>) -> Result<BTreeMap<String, Count>, Error> {
        let rows = match namespace_id {
            None => self.query(include_str!("../../sql/postgres/count.sql"), &[]).await?,
            Some(id) => {
                self.query(include_str!("../../sql/postgres/count_namespace.sql"), &[&id])
                    .await?
            }
        };
        self.count_of(rows)
    }

    async fn digests(&self, question: Question<'_>) -> Result<Option<Digests>, Error> {
        self.digest(question).await
    }

    fn signs(&self, wanted: Wanted) -> Option<BoxStream<'_, Result<Page, Error>>> {
        Some(self.signed(wanted))
    }

    fn dialect(&self) -> Option<&'static str> {
        Some(signs::DIALECT)
    }

    async fn namespaces(&self) -> Result<Vec<String>, Error> {
        let rows = self
            .query(include_str!("../../sql/postgres/namespaces.sql"), &[])
            .await?;
        let ids: Result<Vec<String>, _> = rows.iter().map(|row| row.try_get::<_, String>(0)).collect();
        let ids = ids.map_err(|error| self.fault(&error))?;
        let mut ids: Vec<String> = ids.iter().map(|id| id.trim_end_matches(' ').to_owned()).collect();
        ids.sort();
        Ok(ids)
    }

    async fn open_started_before(
        &self,
        before: Timestamp,
        range: &Range,
        limit: usize,
    ) -> Result<Vec<OpenExecution>, Error> {
        let statements = [
            include_str!("../../sql/postgres/open.sql"),
            include_str!("../../sql/postgres/open_namespace.sql"),
        ];
        let before = row::civil(before);
        let rows = self.page(statements, range, limit, Some(&before)).await?;
        let open: Result<Vec<_>, Error> = rows.iter().map(|row| row::open_execution(&self.name, row)).collect();
        let mut open = open?;
        open.retain(|open| range.contains(&open.key));
        Ok(open)
    }
}

#[async_trait]
impl Write for Postgres {
    fn describe(&self) -> String {
        self.name.clone()
    }

    async fn make_ready(&self) -> Result<(), Error> {
        let mut guard = self.writes.session().await?;
        let prepared = guard.get()?.prepare(&self.copy).await;
        prepared.map(drop).map_err(|error| self.fault(&error))
    }

    async fn put(&self, records: &[Record]) -> Result<u64, Error> {
        if records.is_empty() {
            return Ok(0);
        }
        let written = self.put_batch(records).await?;
        let before = self.written.fetch_add(written, Ordering::Relaxed);
        // At 1,000, 10,000, 100,000 records and so on.
        let step = |records: u64| (records / 100).checked_ilog10().unwrap_or(0);
        if step(before + written) > step(before) {
            self.tell_planner(before + written).await;
        }
        Ok(written)
    }

    async fn rewrite(&self, changes: &[Rewrite]) -> Result<u64, Error> {
        if changes.is_empty() {
            return Ok(0);
        }
        let mut guard = self.writes.session().await?;
        self.rewrite_batch(guard.get()?, changes).await
    }

    async fn delete(&self, condemned: &[Condemned]) -> Result<u64, Error> {
        if condemned.is_empty() {
            return Ok(0);
        }
        let mut condemned: Vec<&Condemned> = condemned.iter().collect();
        condemned.sort_by(|a, b| a.key.cmp(&b.key));
        let mut guard = self.writes.session().await?;
        let session = guard.get()?;
        let fault = |error: tokio_postgres::Error| self.fault(&error);
        let prepared = session.prepare(&self.delete).await.map_err(fault)?;
        let transaction = session.client.transaction().await.map_err(fault)?;
        let deletes = condemned.iter().map(|condemned| {
            let (transaction, prepared, key) = (&transaction, &prepared, &condemned.key);
            async move {
                let parameters: [&(dyn ToSql + Sync); 3] = [&key.namespace_id, &key.run_id, &condemned.at_most];
                transaction.execute(prepared, &parameters).await
            }
        });
        let deleted = futures::future::try_join_all(deletes).await.map_err(fault)?;
        transaction.commit().await.map_err(fault)?;
        Ok(deleted.into_iter().sum())
    }
}

fn halves<'a>(keys: impl IntoIterator<Item = &'a Key>) -> (Vec<&'a str>, Vec<&'a str>) {
    keys.into_iter()
        .map(|key| (key.namespace_id.as_str(), key.run_id.as_str()))
        .unzip()
}

/// Whether a page is such that every collation sorts it as its bytes do.
fn in_byte_order(store: &str, rows: &[Row]) -> Result<bool, Error> {
    for row in rows {
        let key = row::key(store, row)?;
        if !sorts_as_bytes(&key) {
            return Ok(false);
        }
    }
    Ok(true)
}
