//! The real servers that are measured on, and what the stores alone can do: bounds and peers.

mod elasticsearch;
mod postgres;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::Value;

pub(crate) use self::elasticsearch::Elasticsearch;
pub(crate) use self::postgres::Postgres;

/// Connections, or sessions, that a bound may use at a time: as many as a small machine has processors.
const HANDS: usize = 2;

/// The servers.
pub(crate) struct Stand {
    pub(crate) postgres: Postgres,
    pub(crate) elasticsearch: Elasticsearch,
    /// Where what is loaded again and again is kept.
    pub(crate) folder: tempfile::TempDir,
}

impl Stand {
    /// The servers of a file with two datastore entries as Temporal's config has them, `postgres` and `elasticsearch`:
    /// a database with the Visibility schema, in a server in which others may be made, and an index beside which others
    /// may be made.
    ///
    /// # Errors
    /// When the file cannot be read or lacks something.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let stores: Value = serde_json::from_slice(&text).with_context(|| format!("{} is no JSON", file.display()))?;
        Ok(Self {
            postgres: Postgres::of(&stores["postgres"])?,
            elasticsearch: Elasticsearch::of(&stores["elasticsearch"])?,
            folder: tempfile::Builder::new().prefix("crossfade-bench-").tempdir()?,
        })
    }
}

/// How long `work` takes, in seconds.
pub(crate) async fn timed<T>(work: impl Future<Output = Result<T>>) -> Result<f64> {
    let begun = Instant::now();
    work.await?;
    Ok(begun.elapsed().as_secs_f64())
}
