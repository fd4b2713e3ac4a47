//! MySQL: plugin `mysql8`, and to read from plugin `mysql` of servers up to 1.23, whose schema has no search attributes.
//!
//! # Three tables
//!
//! A record is a row of `executions_visibility`. Its search attributes lie there too, all of them; those of users and
//! those of the server's own components are indexed in two more tables, which hold all of them once more. The server
//! writes the three in one transaction, `executions_visibility` first, and so does this driver: the lock of that row is
//! the lock of the record.
//!
//! # Order
//!
//! Scans must be in the order of the keys' bytes, and the primary key is in the table's collation, by default one that
//! does not tell case. For UUIDs in lower case, which keys are, that is the same order: so the primary key's own order is
//! used unless the collation is another than that of the bytes *and* some key is no such UUID. Should one turn up later,
//! in a page, the scan goes on by bytes from its cursor, which is the same place in both orders.

mod connect;
mod entry;
mod fault;
mod inspect;
mod row;
mod statements;
mod tls;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use crossfade_visibility::keeps::Keeps;
use crossfade_visibility::ports::{Count, Error, OpenExecution, Precision, Range, Read};
use crossfade_visibility::record::{Key, Record};
use jiff::Timestamp;
use mysql_async::{Row, Value};
use tokio::sync::OnceCell;

use self::connect::Lane;
pub(crate) use self::entry::MysqlEntry;
pub(crate) use self::inspect::{inspect, limits};
use self::statements::Tables;
use crate::columns::sorts_as_bytes;
use crate::error::OpenError;
use crate::schema::{ExpectedSchema, Family, OLDEST, SchemaVersion, missing};

/// How many keys one statement looks up, and how many records one writes. Small enough for the optimizer to look each
/// up by the primary key, and for a packet of records of the usual size.
const BATCH: usize = 200;

/// One visibility database.
pub(crate) struct Mysql {
    name: String,
    tables: Tables,
    reads: Lane,
    writes: Lane,
    /// Whether the primary key's order was looked into, and found to be that of the bytes or not to matter.
    order_known: OnceCell<()>,
    sort_by_bytes: AtomicBool,
}

impl Mysql {
    pub(crate) async fn open(entry: MysqlEntry) -> Result<Self, OpenError> {
        let (name, family) = (entry.describe(), entry.family);
        let entry = Arc::new(entry);
        let reads = Lane::new(entry.clone(), true);
        let mut session = reads.open().await?;
        let tables = inspect::tables(&name, &mut session).await?;
        session.keep();
        if tables.records.is_empty() {
            return Err(OpenError::NoSchema { store: name });
        }
        let columns = tables.together();
        let missing = missing(oldest(family), |column| columns.has(column));
        if !missing.is_empty() {
            return Err(OpenError::SchemaTooOld {
                store: name,
                missing: missing.join(", "),
            });
        }
        Ok(Self {
            writes: Lane::new(entry, false),
            order_known: OnceCell::new(),
            sort_by_bytes: AtomicBool::new(false),
            name,
            tables,
            reads,
        })
    }

    async fn query(&self, statement: &str, parameters: Vec<Value>) -> Result<Vec<Row>, Error> {
        let statement = self
            .tables
            .for_reading(statement, self.sort_by_bytes.load(Ordering::Relaxed));
        let mut session = self.reads.session().await?;
        let rows = session.rows(&statement, parameters).await?;
        session.keep();
        Ok(rows)
    }

    /// Runs a statement for keys, so many at a time.
    async fn query_keys(&self, statement: &str, keys: &[Key]) -> Result<Vec<Row>, Error> {
        let keys: Vec<&Key> = keys.iter().collect::<BTreeSet<_>>().into_iter().collect();
        let mut rows = Vec::with_capacity(keys.len());
        for keys in keys.chunks(BATCH) {
            let statement = statements::with_keys(statement, keys.len());
            let parameters = statements::key_parameters(keys.iter().copied());
            rows.extend(self.query(&statement, parameters).await?);
        }
        Ok(rows)
    }

    /// Runs one of a pair of paging statements, the second for one Namespace, in the order of the keys' bytes.
    async fn page(
        &self,
        statements: [&str; 2],
        range: &Range,
        limit: usize,
        before: Option<Timestamp>,
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
        before: Option<Timestamp>,
    ) -> Result<Vec<Row>, Error> {
        let (after_namespace, after_run) = range
            .after
            .as_ref()
            .map_or(("", ""), |key| (key.namespace_id.as_str(), key.run_id.as_str()));
        let (statement, keys) = match range.namespace_id.as_deref() {
            None => (of_all, vec![after_namespace, after_namespace, after_run]),
            Some(namespace) if after_namespace > namespace => return Ok(Vec::new()),
            Some(namespace) if after_namespace == namespace => (of_namespace, vec![namespace, after_run]),
            Some(namespace) => (of_namespace, vec![namespace, ""]),
        };
        let mut parameters: Vec<Value> = keys.into_iter().map(Value::from).collect();
        parameters.extend(before.map(row::civil));
        parameters.push(Value::from(u64::try_from(limit).unwrap_or(u64::MAX)));
        self.query(statement, parameters).await
    }

    async fn learn_order(&self) -> Result<(), Error> {
        let yes = |rows: Vec<Row>| match rows.first() {
            Some(row) => row::plain::<i64>(&self.name, row, 0).map(|value| value != 0),
            None => Ok(false),
        };
        let in_byte_order = yes(self
            .query(include_str!("../../sql/mysql/byte_order.sql"), Vec::new())
            .await?)?;
        if !in_byte_order
            && yes(self
                .query(include_str!("../../sql/mysql/odd_key.sql"), Vec::new())
                .await?)?
        {
            self.sort_by_bytes.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// The oldest schema whose rows can be read.
fn oldest(family: Family) -> ExpectedSchema {
    let version = match family {
        Family::StandardSql => SchemaVersion::v1(1),
        _ => OLDEST,
    };
    ExpectedSchema { family, version }
}

#[async_trait]
impl Read for Mysql {
    fn describe(&self) -> String {
        self.name.clone()
    }

    fn precision(&self) -> Precision {
        Precision::Microsecond
    }

    fn keeps(&self) -> Keeps {
        self.tables.keeps()
    }

    fn versioned(&self) -> bool {
        self.tables.records.versioned()
    }

    async fn scan(&self, range: &Range, limit: usize) -> Result<Vec<Record>, Error> {
        let statements = [
            include_str!("../../sql/mysql/scan.sql"),
            include_str!("../../sql/mysql/scan_namespace.sql"),
        ];
        let rows = self.page(statements, range, limit, None).await?;
        let records: Result<Vec<Record>, Error> = rows
            .iter()
            .map(|row| row::record(&self.name, &self.tables, row))
            .collect();
        let mut records = records?;
        records.retain(|record| range.contains(&record.key));
        Ok(records)
    }

    async fn get(&self, keys: &[Key]) -> Result<Vec<Record>, Error> {
        let rows = self.query_keys(include_str!("../../sql/mysql/get.sql"), keys).await?;
        rows.iter()
            .map(|row| row::record(&self.name, &self.tables, row))
            .collect()
    }

    async fn versions(&self, keys: &[Key]) -> Result<BTreeMap<Key, Option<i64>>, Error> {
        let rows = self
            .query_keys(include_str!("../../sql/mysql/versions.sql"), keys)
            .await?;
        rows.iter()
            .map(|row| Ok((row::key(&self.name, row)?, row::plain(&self.name, row, 2)?)))
            .collect()
    }

    async fn count(&self, namespace_id: Option<&str>) -> Result<BTreeMap<String, Count>, Error> {
        let statement = match namespace_id {
            None => include_str!("../../sql/mysql/count.sql"),
            Some(_) => include_str!("../../sql/mysql/count_namespace.sql"),
        };
        let rows = self
            .query(statement, namespace_id.map(Value::from).into_iter().collect())
            .await?;
        let mut counts: BTreeMap<String, Count> = BTreeMap::new();
        for row in rows {
            let count = counts.entry(row::plain(&self.name, &row, 0)?).or_default();
            let open = row::plain::<i32>(&self.name, &row, 1)? == crossfade_visibility::record::RUNNING;
            let side = if open { &mut count.open } else { &mut count.closed };
            *side += row::plain::<u64>(&self.name, &row, 2)?;
        }
        Ok(counts)
    }

    async fn namespaces(&self) -> Result<Vec<String>, Error> {
        let mut ids: Vec<String> = Vec::new();
        loop {
            let after = Value::from(ids.last().map_or("", String::as_str));
            let rows = self
                .query(include_str!("../../sql/mysql/next_namespace.sql"), vec![after])
                .await?;
            match rows.first() {
                Some(row) => ids.push(row::plain(&self.name, row, 0)?),
                None => break,
            }
        }
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
            include_str!("../../sql/mysql/open.sql"),
            include_str!("../../sql/mysql/open_namespace.sql"),
        ];
        let rows = self.page(statements, range, limit, Some(before)).await?;
        let open: Result<Vec<_>, Error> = rows.iter().map(|row| row::open_execution(&self.name, row)).collect();
        let mut open = open?;
        open.retain(|open| range.contains(&open.key));
        Ok(open)
    }
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
