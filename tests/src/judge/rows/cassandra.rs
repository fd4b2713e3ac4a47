//! A Cassandra keyspace: the table of open executions, and the table of closed ones.

use anyhow::{Context, Result};
use futures::TryStreamExt;
use jiff::{SignedDuration, Timestamp};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::value::CqlTimestamp;
use uuid::Uuid;

use super::{Kept, Row, Rows, memo};

/// What a table keeps, closed executions' columns last (1.23.1:schema/cassandra/visibility/schema.cql).
const COLUMNS: [&str; 7] = [
    "run_id",
    "workflow_id",
    "workflow_type_name",
    "encoding",
    "task_queue",
    "status",
    "history_length",
];

/// The status of everything in the table of open executions, which has no such column.
const RUNNING: i32 = 1;

/// Namespace id, run id, workflow id, type, times, memo, encoding, task queue.
type Open = (
    Uuid,
    Uuid,
    Option<String>,
    Option<String>,
    Option<CqlTimestamp>,
    Option<CqlTimestamp>,
    Option<Vec<u8>>,
    Option<String>,
    Option<String>,
);

/// The same, and close time, status, history length.
type Closed = (
    Uuid,
    Uuid,
    Option<String>,
    Option<String>,
    Option<CqlTimestamp>,
    Option<CqlTimestamp>,
    Option<Vec<u8>>,
    Option<String>,
    Option<String>,
    Option<CqlTimestamp>,
    Option<i32>,
    Option<i64>,
);

const OPEN: &str = "SELECT namespace_id, run_id, workflow_id, workflow_type_name, start_time, execution_time, memo, \
                    encoding, task_queue FROM open_executions";

const CLOSED: &str = "SELECT namespace_id, run_id, workflow_id, workflow_type_name, start_time, execution_time, memo, \
                      encoding, task_queue, close_time, status, history_length FROM closed_executions";

pub(super) async fn read(port: u16, keyspace: &str) -> Result<Rows> {
    let session: Session = SessionBuilder::new()
        .known_node(format!("127.0.0.1:{port}"))
        .use_keyspace(keyspace, true)
        .build()
        .await
        .context("cannot connect")?;
    let mut rows = Rows::new(Kept {
        columns: COLUMNS.into(),
        search_attributes: false,
        unit: SignedDuration::from_millis(1),
    });
    let mut open = session.query_iter(OPEN, ()).await?.rows_stream::<Open>()?;
    while let Some((namespace, run, id, kind, start, execution, memo, encoding, queue)) = open.try_next().await? {
        let closed = (None, Some(RUNNING), None);
        add(
            &mut rows,
            (namespace, run, id, kind, start, execution, memo, encoding, queue),
            closed,
        )?;
    }
    let mut closed = session.query_iter(CLOSED, ()).await?.rows_stream::<Closed>()?;
    while let Some((namespace, run, id, kind, start, execution, memo, encoding, queue, close, status, length)) =
        closed.try_next().await?
    {
        add(
            &mut rows,
            (namespace, run, id, kind, start, execution, memo, encoding, queue),
            (close, status, length),
        )?;
    }
    Ok(rows)
}

fn add(
    rows: &mut Rows,
    (namespace, run, id, kind, start, execution, bytes, encoding, queue): Open,
    (close, status, length): (Option<CqlTimestamp>, Option<i32>, Option<i64>),
) -> Result<()> {
    let run_id = run.to_string();
    let texts = [
        ("run_id", Some(run_id.clone())),
        ("workflow_id", id),
        ("workflow_type_name", kind),
        ("encoding", encoding),
        ("task_queue", queue),
        ("status", status.map(|status| status.to_string())),
        ("history_length", length.map(|length| length.to_string())),
    ];
    let times = [
        ("start_time", start),
        ("execution_time", execution),
        ("close_time", close),
    ];
    let row = Row {
        columns: texts
            .into_iter()
            .filter_map(|(name, text)| Some((name, text?)))
            .collect(),
        times: times
            .into_iter()
            .filter_map(|(name, time)| Some((name, time?)))
            .map(|(name, time)| Ok((name, Timestamp::from_millisecond(time.0)?)))
            .collect::<Result<_>>()
            .with_context(|| format!("run {run_id}"))?,
        memo: memo(&bytes.unwrap_or_default()).with_context(|| format!("run {run_id}"))?,
        search_attributes: Default::default(),
        found_by: None,
        more: 0,
    };
    rows.add((namespace.to_string(), run_id), row);
    Ok(())
}
