//! What others do the same with, as programs of their own.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// What a person would write for it.
const PARALLEL_BULK: &str = include_str!("../../peers/parallel_bulk.py");

/// The programs that are there to be measured.
#[derive(Debug, Clone, Default)]
pub(crate) struct Peers {
    /// `elasticdump`.
    pub(crate) elasticdump: Option<PathBuf>,
    /// A Python with psycopg 3 and elasticsearch-py 7.
    pub(crate) python: Option<PathBuf>,
}

impl Peers {
    /// Copies an index by `elasticdump`, `page` documents at a time; `false` where it is not there.
    ///
    /// # Errors
    /// When it fails: with what it said.
    pub(super) async fn dump(&self, from: &str, to: &str, page: usize) -> Result<bool> {
        let Some(program) = &self.elasticdump else {
            return Ok(false);
        };
        let mut command = Command::new(program);
        command.args([
            format!("--input={from}"),
            format!("--output={to}"),
            "--type=data".to_owned(),
            "--quiet".to_owned(),
            format!("--limit={page}"),
        ]);
        succeed(&mut command, None).await.context("elasticdump")?;
        Ok(true)
    }

    /// Copies a database of a `sql` entry to an index by Python; `false` where that is not there.
    ///
    /// # Errors
    /// When it fails: with what it said.
    pub(super) async fn bulk(&self, sql: &Value, url: &str, index: &str) -> Result<bool> {
        let Some(program) = &self.python else {
            return Ok(false);
        };
        let address = sql["connectAddr"].as_str().and_then(|address| address.rsplit_once(':'));
        let (host, port) = address.context("`connectAddr` has no port")?;
        let order = json!({
            "postgres": {
                "host": host, "port": port, "dbname": sql["databaseName"], "user": sql["user"],
                "password": sql["password"], "sslmode": "disable",
            },
            "elasticsearch": url,
            "index": index,
        });
        let mut command = Command::new(program);
        command.args(["-c", PARALLEL_BULK]);
        // Through a pipe: everybody can read the arguments of a process.
        succeed(&mut command, Some(order.to_string()))
            .await
            .context("psycopg with parallel_bulk")?;
        Ok(true)
    }
}

async fn succeed(command: &mut Command, input: Option<String>) -> Result<()> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().context("cannot be run")?;
    let mut pipe = child.stdin.take().context("no pipe to the process")?;
    pipe.write_all(input.unwrap_or_default().as_bytes()).await?;
    drop(pipe);
    let output = child.wait_with_output().await?;
    if !output.status.success() {
        bail!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
