//! Standard visibility in PostgreSQL: plugins `postgres` and `postgres_pgx` of servers up to 1.23, only read.

use async_trait::async_trait;
use crossfade_stores::{OpenError, inspect, open};
use crossfade_visibility::contract;
use crossfade_visibility::keeps::{Column, Keeps};
use crossfade_visibility::ports::{Condemned, Error, Rewrite, Target, Write};
use crossfade_visibility::record::Record;
use crossfade_visibility::sameness::{Yardstick, differing};
use jiff::Timestamp;
use jiff::tz::Offset;
use serde_json::{Map, json};
use tokio_postgres::types::ToSql;

use crate::fixture::{PASSWORD, postgres};
use crate::opened;

/// Writes as server 1.23.1 does (common/persistence/sql/sqlplugin/postgresql/visibility.go).
struct Server(tokio_postgres::Client);

impl Server {
    async fn new(database: &str) -> Self {
        let mut config = tokio_postgres::Config::new();
        config
            .host("127.0.0.1")
            .port(postgres().port)
            .user("temporal")
            .password(PASSWORD)
            .dbname(database);
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.expect("a connection");
        tokio::spawn(connection);
        Self(client)
    }
}

#[async_trait]
impl Write for Server {
    fn describe(&self) -> String {
        "the server's own writes".to_owned()
    }

    async fn put(&self, records: &[Record]) -> Result<u64, Error> {
        let insert = "INSERT INTO executions_visibility (namespace_id, workflow_id, run_id, start_time, execution_time, \
                      workflow_type_name, close_time, status, history_length, memo, encoding, task_queue) \
                      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
        for record in records {
            let civil = |at: Timestamp| Offset::UTC.to_datetime(at);
            let values: [&(dyn ToSql + Sync); 12] = [
                &record.key.namespace_id,
                &record.workflow_id,
                &record.key.run_id,
                &civil(record.start_time),
                &civil(record.execution_time),
                &record.workflow_type,
                &record.close_time.map(civil),
                &record.status,
                &record.history_length,
                &record.memo,
                &record.memo_encoding,
                &record.task_queue,
            ];
            self.0.execute(insert, &values).await.expect("a row");
        }
        Ok(records.len() as u64)
    }

    async fn rewrite(&self, _: &[Rewrite]) -> Result<u64, Error> {
        unreachable!("no server rewrites")
    }

    async fn delete(&self, _: &[Condemned]) -> Result<u64, Error> {
        unreachable!("not by this port")
    }
}

#[tokio::test]
async fn passes_the_reading_clauses_of_the_contract() {
    let store = opened(&postgres().standard("standard")).await;
    let (read, server) = (store.read(), Server::new("standard").await);
    let target = Target {
        read: &*read,
        write: &server,
    };
    contract::scans_in_order_from_any_key(target)
        .await
        .expect("the store to answer");
    contract::counts_and_lists_open(target)
        .await
        .expect("the store to answer");
    let refused = store.write().put(&[contract::record("n", 1)]).await;
    assert!(matches!(refused, Err(Error::SourceOnly { .. })), "{refused:?}");
}

#[tokio::test]
async fn gives_what_the_table_keeps_and_says_what_it_does_not() {
    let entry = postgres().standard("standard_kept");
    let read = opened(&entry).await.read();
    let written = contract::record("0123abcd-0000-4000-8000-000000000000", 1);
    let server = Server::new("standard_kept").await;
    server.put(std::slice::from_ref(&written)).await.expect("a row");
    let got = read
        .get(std::slice::from_ref(&written.key))
        .await
        .expect("a record")
        .pop()
        .expect("one record");
    let lacking = [
        Column::HistorySizeBytes,
        Column::ExecutionDuration,
        Column::StateTransitionCount,
        Column::SearchAttributes,
        Column::Parent,
        Column::Root,
    ];
    assert_eq!(read.keeps(), Keeps::all_but(&lacking));
    assert!(!read.versioned() && got.version.is_none() && got.search_attributes == Map::new());
    assert_eq!(
        differing(&written, &got, Yardstick::between(&*read, &*read)),
        Vec::<String>::new()
    );

    let facts = inspect(&entry).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(facts.schema.version().as_deref(), Some("v1.1"));
    assert_eq!(facts.schema_faults("1.23.1"), Some(Vec::new()));
    assert_eq!(facts.schema_faults("1.24.0"), None);
    assert!(
        facts.writable.is_none() && facts.engine.starts_with("PostgreSQL"),
        "{facts:?}"
    );
}

#[tokio::test]
async fn the_plugin_must_fit_the_schema() {
    let mut entry = postgres().standard("standard_misnamed");
    entry["sql"]["pluginName"] = json!("postgres12");
    let refused = open(&entry).await.expect_err("it must not open");
    assert!(
        matches!(&refused, OpenError::SchemaTooOld { missing, .. } if missing.contains("search_attributes")),
        "{refused:?}"
    );
    entry["sql"]["pluginName"] = json!("postgres_pgx");
    assert!(open(&entry).await.is_ok());
}
