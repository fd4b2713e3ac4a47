//! The judge itself: clean about a store that the server wrote, and sure to see what is wrong with one that was tampered with.

mod cassandra;
mod elasticsearch;

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use e2e::judge::{Judge, compare};
use e2e::testbed::{NAMESPACE, Store, Testbed};
use e2e::traffic::{ATTRIBUTES, Entry, Ledger, Status, Traffic};

/// What is done to a store, by the run ids of four executions, and what the judge says of it.
const DAMAGE: [(&str, &str); 7] = [
    (
        "DELETE FROM executions_visibility WHERE run_id = '{completed}'",
        "is missing",
    ),
    (
        "UPDATE executions_visibility SET status = 3 WHERE run_id = '{completed}'",
        "the status is",
    ),
    (
        "UPDATE executions_visibility SET close_time = NULL WHERE run_id = '{completed}'",
        "by its close time",
    ),
    (
        "UPDATE executions_visibility SET memo = NULL WHERE run_id = '{completed}'",
        "the memo is",
    ),
    (
        "UPDATE executions_visibility SET search_attributes = NULL WHERE run_id = '{completed}'",
        "CustomerId (Keyword",
    ),
    (
        "UPDATE executions_visibility SET run_id = '{deleted}' WHERE run_id = '{open}'",
        "was deleted and is there",
    ),
    (
        "UPDATE executions_visibility SET run_id = 'somebody' WHERE run_id = '{open}'",
        "nobody made it",
    ),
];

async fn sees_damage(mut testbed: Testbed) -> Result<()> {
    let traffic = Traffic::begin(testbed.frontend(), NAMESPACE).await?;
    traffic.existing(60).await?;
    let ledger = traffic.end();
    let judge = Judge::new(testbed.frontend(), ledger.clone()).await?;
    let verdict = judge
        .until_clean(testbed.source(), Duration::from_secs(60))
        .await?
        .demand_clean()?;
    ensure!(verdict.judged >= 60, "{} records were judged", verdict.judged);
    testbed.temporal().stop()?;

    let entries = ledger.entries();
    let run = |wanted: &dyn Fn(&Entry) -> bool| {
        entries
            .iter()
            .find(|entry| wanted(entry))
            .map(|entry| entry.run_id.clone())
            .unwrap_or_default()
    };
    let completed = run(&|entry| {
        entry.status == Status::Completed && !entry.deleted && entry.attributes.contains_key("CustomerId")
    });
    let open = run(&|entry| entry.status == Status::Running);
    let deleted = run(&|entry| entry.deleted);
    for (damage, complaint) in DAMAGE {
        let statement = damage
            .replace("{completed}", &completed)
            .replace("{open}", &open)
            .replace("{deleted}", &deleted);
        let copy = copy_of_source(&mut testbed).await?;
        ensure!(compare(testbed.source(), &copy).await?.is_clean(), "a copy is the same");
        execute(&mut testbed, &copy, &statement).await?;
        let verdict = judge.judge(&copy).await?;
        let seen = verdict.complaints.iter().any(|sentence| sentence.contains(complaint));
        ensure!(seen, "after {statement} the judge said {:?}", verdict.complaints);
        ensure!(
            !compare(testbed.source(), &copy).await?.is_clean(),
            "after {statement} the stores compare as the same"
        );
    }
    testbed.finish()
}

async fn copy_of_source(testbed: &mut Testbed) -> Result<Store> {
    match testbed.source().clone() {
        Store::Sqlite { file } => {
            let copy = file.with_extension("copy");
            let _ = std::fs::remove_file(&copy);
            rusqlite::Connection::open(&file)?.execute("VACUUM INTO ?1", [copy.to_string_lossy()])?;
            Ok(Store::Sqlite { file: copy })
        }
        Store::Postgres { port, database } => {
            let copy = format!("{database}_copy");
            if let Some((server, _)) = testbed.postgres_server() {
                server
                    .execute("postgres", &format!("DROP DATABASE IF EXISTS {copy} WITH (FORCE)"))
                    .await?;
                // A template may have no connections.
                let others =
                    format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'");
                server.execute("postgres", &others).await?;
                server
                    .execute("postgres", &format!("CREATE DATABASE {copy} TEMPLATE {database}"))
                    .await?;
            }
            Ok(Store::Postgres { port, database: copy })
        }
        other => bail!("{other:?} is damaged in another way"),
    }
}

async fn execute(testbed: &mut Testbed, store: &Store, statement: &str) -> Result<()> {
    match store {
        Store::Sqlite { file } => Ok(rusqlite::Connection::open(file)?.execute_batch(statement)?),
        Store::Postgres { database, .. } => match testbed.postgres_server() {
            Some((server, _)) => server.execute(database, statement).await,
            None => Ok(()),
        },
        other => bail!("{other:?} takes no SQL"),
    }
}

#[tokio::test]
async fn the_judge_sees_damage_in_a_sqlite_file() -> Result<()> {
    sees_damage(Testbed::sqlite().await?).await
}

#[tokio::test]
async fn the_judge_sees_damage_in_a_postgres_database() -> Result<()> {
    sees_damage(Testbed::postgres().await?).await
}

/// Executions to plant faults in, no one of them twice: workflow id and run id.
struct Picked {
    completed: Vec<Entry>,
    children: Vec<Entry>,
    deleted: Vec<Entry>,
}

impl Picked {
    fn of(ledger: &Ledger) -> Self {
        let (deleted, kept): (Vec<_>, Vec<_>) = ledger.entries().into_iter().partition(|entry| entry.deleted);
        let (children, others): (Vec<_>, Vec<_>) =
            kept.into_iter().partition(|entry| entry.workflow_id.ends_with("-part"));
        let with_everything = |entry: &Entry| {
            entry.status == Status::Completed && entry.attributes.len() == ATTRIBUTES.len() && !entry.memo.is_empty()
        };
        Self {
            completed: others.into_iter().filter(with_everything).collect(),
            children,
            deleted,
        }
    }

    fn completed(&mut self) -> Result<(String, String)> {
        Self::next(&mut self.completed, "completed")
    }

    fn child(&mut self) -> Result<(String, String)> {
        Self::next(&mut self.children, "run as a child")
    }

    fn deleted(&mut self) -> Result<(String, String)> {
        Self::next(&mut self.deleted, "deleted")
    }

    fn next(of: &mut Vec<Entry>, what: &str) -> Result<(String, String)> {
        let entry = of
            .pop()
            .with_context(|| format!("no more executions that were {what}"))?;
        Ok((entry.workflow_id, entry.run_id))
    }
}
