//! Elasticsearch, OpenSearch and Cassandra, alone.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use e2e::servers::cassandra::{self, Cassandra};
use e2e::servers::elasticsearch::{self, Elasticsearch};
use e2e::servers::opensearch;
use e2e::servers::processes::Processes;
use e2e::servers::progress::{Lines, Progress};
use reqwest::Method;
use serde_json::json;

fn took(what: &str, since: Instant) {
    Lines::default().finished(&format!("{what} took {:.1} s", since.elapsed().as_secs_f64()));
}

/// A document that was acknowledged is there after a kill; a frozen node answers nothing and goes on when thawed.
async fn keeps_what_it_acknowledged(mut node: Elasticsearch, processes: &Processes) -> Result<()> {
    let (status, answer) = node
        .request(
            Method::PUT,
            "/things/_doc/1?refresh=true",
            Some(json!({"colour": "red"})),
        )
        .await?;
    assert_eq!(status, 201, "{answer}");
    let (_, roles) = node.request(Method::GET, "/_nodes", None).await?;
    let roles = roles["nodes"]
        .as_object()
        .and_then(|nodes| nodes.values().next())
        .map(|node| node["roles"].to_string());
    assert!(roles.is_some_and(|roles| roles.contains("ingest")));

    node.kill()?;
    assert!(node.request(Method::GET, "/things/_doc/1", None).await.is_err());
    let started = Instant::now();
    node.resume(processes).await?;
    took("the second start", started);
    let (_, answer) = node.request(Method::GET, "/things/_doc/1", None).await?;
    assert_eq!(answer["_source"]["colour"], "red", "{answer}");

    node.freeze()?;
    let asked = node.request(Method::GET, "/things/_doc/1", None);
    assert!(tokio::time::timeout(Duration::from_millis(500), asked).await.is_err());
    node.thaw()?;
    assert_eq!(node.request(Method::GET, "/things/_doc/1", None).await?.0, 200);

    // The start option holds: a body of more than a megabyte is refused.
    let body = json!({"colour": "x".repeat(1_100_000)});
    assert!(!matches!(
        node.request(Method::PUT, "/things/_doc/2", Some(body)).await,
        Ok((201, _))
    ));
    node.put_cluster_settings(json!({"cluster.blocks.read_only": true}))
        .await?;
    let refused = node.request(Method::PUT, "/things/_doc/3", Some(json!({}))).await?;
    assert_eq!(refused.0, 403, "{}", refused.1);
    node.stop()
}

#[tokio::test]
async fn elasticsearch_keeps_what_it_acknowledged() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let processes = Processes::watch(&folder.path().join("pids"))?;
    let options = elasticsearch::Options::default().with("http.max_content_length", "1mb");
    let started = Instant::now();
    let node = Elasticsearch::start(&folder.path().join("es"), &options, &processes, &Lines::default()).await?;
    took("Elasticsearch", started);
    keeps_what_it_acknowledged(node, &processes).await
}

#[tokio::test]
async fn opensearch_keeps_what_it_acknowledged() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let processes = Processes::watch(&folder.path().join("pids"))?;
    let options = opensearch::options().with("http.max_content_length", "1mb");
    let started = Instant::now();
    let node = opensearch::start(&folder.path().join("os"), &options, &processes, &Lines::default()).await?;
    took("OpenSearch", started);
    keeps_what_it_acknowledged(node, &processes).await
}

async fn session(node: &Cassandra) -> Result<scylla::client::session::Session> {
    let address = format!("127.0.0.1:{}", node.port());
    Ok(scylla::client::session_builder::SessionBuilder::new()
        .known_node(address)
        .build()
        .await?)
}

async fn colours(node: &Cassandra) -> Result<usize> {
    let rows = session(node)
        .await?
        .query_unpaged("SELECT colour FROM t.things", ())
        .await?
        .into_rows_result()?;
    Ok(rows.rows_num())
}

fn cassandra_folder(folder: &Path) -> std::path::PathBuf {
    folder.join("cassandra")
}

#[tokio::test]
async fn cassandra_keeps_what_it_acknowledged() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let processes = Processes::watch(&folder.path().join("pids"))?;
    let options = cassandra::Options::default();
    let started = Instant::now();
    let mut node = Cassandra::start(
        &cassandra_folder(folder.path()),
        &options,
        &processes,
        &Lines::default(),
    )
    .await?;
    took("Cassandra", started);
    let client = session(&node).await?;
    for statement in [
        "CREATE KEYSPACE t WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
        "CREATE TABLE t.things (id int PRIMARY KEY, colour text)",
        "INSERT INTO t.things (id, colour) VALUES (1, 'red')",
    ] {
        client.query_unpaged(statement, ()).await?;
    }
    drop(client);
    node.kill()?;
    let started = Instant::now();
    node.resume(&processes).await?;
    took("the second start", started);
    assert_eq!(colours(&node).await?, 1);
    node.freeze()?;
    assert!(
        tokio::time::timeout(Duration::from_millis(500), colours(&node))
            .await
            .is_err()
    );
    node.thaw()?;
    assert_eq!(colours(&node).await?, 1);
    node.stop()
}
