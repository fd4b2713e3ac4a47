//! PostgreSQL by its driver alone.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context, Result};
use crossfade_visibility::record::Record;
use futures::{SinkExt as _, TryStreamExt as _, future, pin_mut};
use jiff::civil::DateTime;
use jiff::tz::Offset;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls};

use super::HANDS;
use crate::records;

/// The columns of a record; the others are generated from them.
const COLUMNS: [&str; 21] = [
    "namespace_id",
    "run_id",
    "_version",
    "start_time",
    "execution_time",
    "workflow_id",
    "workflow_type_name",
    "status",
    "close_time",
    "history_length",
    "history_size_bytes",
    "execution_duration",
    "state_transition_count",
    "memo",
    "encoding",
    "task_queue",
    "search_attributes",
    "parent_workflow_id",
    "parent_run_id",
    "root_workflow_id",
    "root_run_id",
];

/// Bytes of one message of a `COPY`.
const MESSAGE: usize = 1 << 18;

/// A server, and a database in it with the schema and no records.
pub(crate) struct Postgres {
    entry: Value,
    host: String,
    port: u16,
}

impl Postgres {
    pub(super) fn of(entry: &Value) -> Result<Self> {
        let address = entry["sql"]["connectAddr"].as_str().context("no `postgres` entry")?;
        let (host, port) = address.rsplit_once(':').context("`connectAddr` has no port")?;
        Ok(Self {
            host: host.to_owned(),
            port: port.parse().context("`connectAddr` has no port")?,
            entry: entry.clone(),
        })
    }

    /// Where it listens.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The datastore entry of another database of the server.
    pub(crate) fn entry(&self, database: &str) -> Value {
        let mut entry = self.entry.clone();
        entry["sql"]["databaseName"] = json!(database);
        entry
    }

    fn text(&self, field: &str) -> &str {
        self.entry["sql"][field].as_str().unwrap_or_default()
    }

    /// The server's own version, as it names itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) async fn version(&self) -> Result<String> {
        let row = self.connect(self.text("databaseName")).await?;
        let row = row.query_one("SHOW server_version", &[]).await?;
        Ok(format!("PostgreSQL {}", row.get::<_, String>(0)))
    }

    async fn connect(&self, database: &str) -> Result<Client> {
        let mut config = tokio_postgres::Config::new();
        config
            .host(&self.host)
            .port(self.port)
            .user(self.text("user"))
            .password(self.text("password"))
            .dbname(database);
        let connected = config.connect(NoTls).await;
        let (client, connection) = connected.with_context(|| format!("cannot connect to {database}"))?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Statements outside of any database of ours.
    async fn administer(&self, statements: &[String]) -> Result<()> {
        let client = self.connect("postgres").await?;
        for statement in statements {
            let done = client.batch_execute(statement).await;
            done.with_context(|| format!("cannot run {statement}"))?;
        }
        Ok(())
    }

    /// Makes `database` anew, with the schema and no records.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn fresh(&self, database: &str) -> Result<()> {
        self.twin(database, self.text("databaseName")).await
    }

    /// Makes `database` anew without any index but that of the key, and leaves the server nothing to write out: what is
    /// measured then is neither the building of indexes nor what came before.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn fresh_unindexed(&self, database: &str) -> Result<()> {
        self.fresh(database).await?;
        self.drop_indexes(database).await?;
        self.settle().await
    }

    /// Makes `database` anew, with everything that `like` has.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn twin(&self, database: &str, like: &str) -> Result<()> {
        self.administer(&[
            format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)"),
            format!("CREATE DATABASE {database} TEMPLATE {like}"),
        ])
        .await
    }

    /// Removes `database`.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn drop(&self, database: &str) -> Result<()> {
        self.administer(&[format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)")])
            .await
    }

    /// Has everything written out, so that nothing measured pays for what was before.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn settle(&self) -> Result<()> {
        self.administer(&["CHECKPOINT".to_owned()]).await
    }

    /// Drops every index of the table but the primary key's; gives the statements that make them again.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn drop_indexes(&self, database: &str) -> Result<Vec<String>> {
        let client = self.connect(database).await?;
        let rows = client
            .query(
                "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index \
                 WHERE indrelid = 'executions_visibility'::regclass AND NOT indisprimary ORDER BY indexrelid",
                &[],
            )
            .await?;
        let mut definitions = Vec::new();
        for row in rows {
            let (name, definition): (String, String) = (row.get(0), row.get(1));
            client.batch_execute(&format!("DROP INDEX {name}")).await?;
            definitions.push(definition);
        }
        Ok(definitions)
    }

    /// Makes indexes, by two sessions at a time.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn build_indexes(&self, database: &str, definitions: Vec<String>) -> Result<()> {
        let waiting = Mutex::new(VecDeque::from(definitions));
        let session = || async {
            let client = self.connect(database).await?;
            loop {
                let next = waiting.lock().ok().and_then(|mut waiting| waiting.pop_front());
                let Some(definition) = next else {
                    return Ok::<(), anyhow::Error>(());
                };
                client.batch_execute(&definition).await?;
            }
        };
        future::try_join_all((0..HANDS).map(|_| session())).await?;
        Ok(())
    }

    /// Fills an empty database with `count` records, as quickly as it can be done, and has the planner know.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn fill(&self, database: &str, count: u64) -> Result<()> {
        let definitions = self.drop_indexes(database).await?;
        let client = self.connect(database).await?;
        let columns = COLUMNS.join(", ");
        let table = client
            .prepare(&format!("SELECT {columns} FROM executions_visibility"))
            .await?;
        let types: Vec<_> = table.columns().iter().map(|column| column.type_().clone()).collect();
        let sink = client
            .copy_in(&format!(
                "COPY executions_visibility ({columns}) FROM STDIN (FORMAT binary)"
            ))
            .await?;
        let writer = BinaryCopyInWriter::new(sink, &types);
        pin_mut!(writer);
        for number in 0..count {
            let record = records::record(number);
            let attributes = Value::Object(record.search_attributes.clone());
            let times = Times::of(&record);
            let row: [&(dyn ToSql + Sync); 21] = [
                &record.key.namespace_id,
                &record.key.run_id,
                &record.version,
                &times.start,
                &times.execution,
                &record.workflow_id,
                &record.workflow_type,
                &record.status,
                &times.close,
                &record.history_length,
                &record.history_size_bytes,
                &record.execution_duration,
                &record.state_transition_count,
                &record.memo,
                &record.memo_encoding,
                &record.task_queue,
                &attributes,
                &record.parent_workflow_id,
                &record.parent_run_id,
                &record.root_workflow_id,
                &record.root_run_id,
            ];
            writer.as_mut().write(&row).await?;
        }
        writer.finish().await?;
        self.build_indexes(database, definitions).await?;
        client.batch_execute("VACUUM ANALYZE executions_visibility").await?;
        Ok(())
    }

    /// Writes all records to `file` in the form that [`Self::load`] takes.
    ///
    /// # Errors
    /// When the server refuses or the file cannot be written.
    pub(crate) async fn dump(&self, database: &str, file: &Path) -> Result<()> {
        let client = self.connect(database).await?;
        let columns = COLUMNS.join(", ");
        let stream = client
            .copy_out(&format!(
                "COPY executions_visibility ({columns}) TO STDOUT (FORMAT binary)"
            ))
            .await?;
        pin_mut!(stream);
        let mut file = tokio::io::BufWriter::with_capacity(MESSAGE, tokio::fs::File::create(file).await?);
        while let Some(bytes) = stream.try_next().await? {
            file.write_all(&bytes).await?;
        }
        file.flush().await?;
        Ok(())
    }

    /// Binary `COPY` of what [`Self::dump`] wrote.
    ///
    /// # Errors
    /// When the server refuses or the file cannot be read.
    pub(crate) async fn load(&self, database: &str, file: &Path) -> Result<()> {
        let client = self.connect(database).await?;
        let columns = COLUMNS.join(", ");
        let sink = client
            .copy_in(&format!(
                "COPY executions_visibility ({columns}) FROM STDIN (FORMAT binary)"
            ))
            .await?;
        pin_mut!(sink);
        let mut file = tokio::fs::File::open(file).await?;
        loop {
            let mut message = Vec::with_capacity(MESSAGE);
            (&mut file).take(MESSAGE as u64).read_to_end(&mut message).await?;
            if message.is_empty() {
                break;
            }
            sink.send(std::io::Cursor::new(message)).await?;
        }
        sink.finish().await?;
        Ok(())
    }

    /// Reads all records once and looks at none; gives their number.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn read_all(&self, database: &str) -> Result<u64> {
        let client = self.connect(database).await?;
        let columns = COLUMNS.join(", ");
        let nothing: [&str; 0] = [];
        let rows = client
            .query_raw(&format!("SELECT {columns} FROM executions_visibility"), nothing)
            .await?;
        pin_mut!(rows);
        let mut count = 0;
        while rows.try_next().await?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    /// The key of the record at a place in the order of keys, counted from 1.
    ///
    /// # Errors
    /// When the server refuses, or there are not so many records.
    pub(crate) async fn key_at(&self, database: &str, place: i64) -> Result<(String, String)> {
        let client = self.connect(database).await?;
        let row = client
            .query_one(
                "SELECT TRIM(namespace_id), TRIM(run_id) FROM executions_visibility \
                 ORDER BY namespace_id COLLATE \"C\", run_id COLLATE \"C\" OFFSET $1 LIMIT 1",
                &[&(place - 1)],
            )
            .await
            .with_context(|| format!("there are fewer than {place} records"))?;
        Ok((row.get(0), row.get(1)))
    }
}

/// A record's times as the columns have them.
struct Times {
    start: DateTime,
    execution: DateTime,
    close: Option<DateTime>,
}

impl Times {
    fn of(record: &Record) -> Self {
        let civil = |at| Offset::UTC.to_datetime(at);
        Self {
            start: civil(record.start_time),
            execution: civil(record.execution_time),
            close: record.close_time.map(civil),
        }
    }
}
