//! The real servers that are measured on, and what the stores alone can do: bounds and peers.

mod elasticsearch;
mod peers;
mod postgres;
mod processors;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use self::elasticsearch::Elasticsearch;
pub(crate) use self::peers::Peers;
pub(crate) use self::postgres::Postgres;
use self::processors::Server;
pub(crate) use self::processors::TICKS;

/// Connections, or sessions, that a bound may use at a time: as many as a small machine has processors.
const HANDS: usize = 2;

/// The servers.
pub(crate) struct Stand {
    pub(crate) postgres: Postgres,
    pub(crate) elasticsearch: Elasticsearch,
    /// Who else is measured.
    pub(crate) peers: Peers,
    /// Where what is loaded again and again is kept.
    pub(crate) folder: tempfile::TempDir,
    postgres_server: Option<Server>,
    elasticsearch_server: Option<Server>,
}

/// What something took of the clock, and of the processors. A machine that others share changes the first, not the others.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Taken {
    /// By the clock.
    pub(crate) seconds: f64,
    /// Of PostgreSQL's time on processors; 0 where it runs elsewhere.
    pub(crate) postgres_cpu_seconds: f64,
    /// Of Elasticsearch's.
    pub(crate) elasticsearch_cpu_seconds: f64,
}

impl Stand {
    /// The servers of a file with two datastore entries as Temporal's config has them, `postgres` and `elasticsearch`:
    /// a database with the Visibility schema, in a server in which others may be made, and an index beside which others
    /// may be made.
    ///
    /// # Errors
    /// When the file cannot be read or lacks something.
    pub(crate) fn read(file: &Path, peers: Peers) -> Result<Self> {
        let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let stores: Value = serde_json::from_slice(&text).with_context(|| format!("{} is no JSON", file.display()))?;
        let (postgres, elasticsearch) = (
            Postgres::of(&stores["postgres"])?,
            Elasticsearch::of(&stores["elasticsearch"])?,
        );
        Ok(Self {
            postgres_server: Server::at(postgres.port())?,
            elasticsearch_server: Server::at(elasticsearch.port()?)?,
            postgres,
            elasticsearch,
            peers,
            folder: tempfile::Builder::new().prefix("crossfade-bench-").tempdir()?,
        })
    }
}

impl Stand {
    /// Seconds on processors of both servers so far.
    fn processors(&self) -> Result<(f64, f64)> {
        let seconds = |server: &Option<Server>| server.as_ref().map_or(Ok(0.0), Server::seconds);
        Ok((seconds(&self.postgres_server)?, seconds(&self.elasticsearch_server)?))
    }

    /// Does `work`; gives what it came to and what it took.
    ///
    /// # Errors
    /// Those of the work.
    pub(crate) async fn taken<T>(&self, work: impl Future<Output = Result<T>>) -> Result<(T, Taken)> {
        let (begun, before) = (Instant::now(), self.processors()?);
        let done = work.await?;
        let (seconds, after) = (begun.elapsed().as_secs_f64(), self.processors()?);
        let taken = Taken {
            seconds,
            postgres_cpu_seconds: after.0 - before.0,
            elasticsearch_cpu_seconds: after.1 - before.1,
        };
        Ok((done, taken))
    }
}

/// How long `work` takes, in seconds.
pub(crate) async fn timed<T>(work: impl Future<Output = Result<T>>) -> Result<f64> {
    let begun = Instant::now();
    work.await?;
    Ok(begun.elapsed().as_secs_f64())
}
