//! Faults planted in the tables of a Cassandra keyspace, each in the row of an execution of its own.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use e2e::judge::Judge;
use e2e::servers::progress::Lines;
use e2e::testbed::{NAMESPACE, Plan, Store, Testbed};
use e2e::traffic::Traffic;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::value::CqlTimestamp;
use uuid::Uuid;

use super::Picked;

/// What is done to the row of a completed execution, and what the judge says of it.
const FAULTS: [(&str, &str); 5] = [
    ("DELETE FROM closed_executions WHERE", "is missing"),
    ("UPDATE closed_executions SET status = 3 WHERE", "the status is"),
    ("UPDATE closed_executions SET memo = null WHERE", "the memo is"),
    (
        "UPDATE closed_executions SET start_time = '2026-01-01 00:00:00.001+0000' WHERE",
        "start_time is",
    ),
    (
        "UPDATE closed_executions SET task_queue = 'elsewhere' WHERE",
        "task_queue is",
    ),
];

/// A row that makes an execution look open, under the run id that is to be put in.
const OPEN: &str = "INSERT INTO open_executions (namespace_id, namespace_partition, workflow_id, run_id, start_time, \
                    execution_time, workflow_type_name, encoding, task_queue) VALUES (?, 0, ?, ?, ?, ?, 'Order', 'Proto3', 'orders')";

#[tokio::test]
async fn the_judge_sees_damage_in_a_cassandra_keyspace() -> Result<()> {
    let testbed = Testbed::start(Plan::reference(), &Lines::default()).await?;
    let traffic = Traffic::begin(testbed.frontend(), NAMESPACE).await?;
    traffic.existing(60).await?;
    let ledger = traffic.end();
    let judge = Judge::new(testbed.frontend(), ledger.clone()).await?;
    let verdict = judge.until_clean(testbed.source(), Duration::from_secs(60)).await?;
    verdict.demand_clean()?;
    testbed.temporal().stop()?;

    let Store::Cassandra { port, keyspace } = testbed.source() else {
        bail!("this testbed is on Cassandra");
    };
    let session: Session = SessionBuilder::new()
        .known_node(format!("127.0.0.1:{port}"))
        .use_keyspace(keyspace, true)
        .build()
        .await?;
    let mut picked = Picked::of(&ledger);
    let mut expected = Vec::new();
    for (fault, complaint) in FAULTS {
        let (_, run) = picked.completed()?;
        let (namespace, closed) = key(&session, &run).await?;
        let statement =
            format!("{fault} namespace_id = ? AND namespace_partition = 0 AND close_time = ? AND run_id = ?");
        let run_id: Uuid = run.parse()?;
        session.query_unpaged(statement, (namespace, closed, run_id)).await?;
        expected.push((run, complaint));
    }
    let (id, run) = picked.completed()?;
    let (namespace, closed) = key(&session, &run).await?;
    let stranger = Uuid::new_v4().to_string();
    for (other, complaint) in [
        (run, "the number of further records"),
        (picked.deleted()?.1, "was deleted and is there"),
        (stranger, "nobody made it"),
    ] {
        let run_id: Uuid = other.parse()?;
        session
            .query_unpaged(OPEN, (namespace, id.as_str(), run_id, closed, closed))
            .await?;
        expected.push((other, complaint));
    }

    let verdict = judge.judge(testbed.source()).await?;
    for (run, complaint) in &expected {
        let seen = verdict
            .complaints
            .iter()
            .any(|sentence| sentence.contains(run.as_str()) && sentence.contains(complaint));
        ensure!(seen, "of {run} the judge did not say `{complaint}`: {verdict:#?}");
    }
    testbed.finish()
}

/// Namespace and close time of a closed execution, which its row is found by.
async fn key(session: &Session, run: &str) -> Result<(Uuid, CqlTimestamp)> {
    let query = "SELECT namespace_id, close_time FROM closed_executions WHERE run_id = ? ALLOW FILTERING";
    let run_id: Uuid = run.parse()?;
    let rows = session.query_unpaged(query, (run_id,)).await?.into_rows_result()?;
    rows.maybe_first_row::<(Uuid, CqlTimestamp)>()?
        .with_context(|| format!("{run} is not in closed_executions"))
}
