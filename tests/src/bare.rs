//! Visibility stores with Temporal's schema and no cluster: to measure on.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

use crate::servers::binaries::{Program, TEMPORAL_1_30_8, find_or_build, module_dir};
use crate::servers::cache::Cache;
use crate::servers::elasticsearch::{self, Elasticsearch};
use crate::servers::postgres::{Postgres, SchemaKind, SchemaTool};
use crate::servers::processes::Processes;
use crate::servers::progress::Progress;

/// The database and the index, both empty.
const DATABASE: &str = "temporal_visibility";
const INDEX: &str = "temporal_visibility_v1_bare";

/// A PostgreSQL and an Elasticsearch, each with the Visibility schema of server 1.30.8. They end when this is dropped.
#[derive(Debug)]
pub struct BareStores {
    // Dropped in this order: the servers before the watch over them, and the folder last.
    postgres: Postgres,
    elasticsearch: Elasticsearch,
    _processes: Processes,
    entries: PathBuf,
    folder: tempfile::TempDir,
}

impl BareStores {
    /// Starts both servers, Elasticsearch with at most so much heap, and sets their schemas up by Temporal's tools.
    ///
    /// # Errors
    /// When a program is missing or a server does not start: with what to do, or its log.
    pub async fn start(heap_megabytes: u32, progress: &dyn Progress) -> Result<Self> {
        let cache = Cache::from_environment()?;
        let release = &TEMPORAL_1_30_8;
        let tool = SchemaTool {
            program: find_or_build(&cache, release, Program::SqlTool, progress)?,
            source: module_dir(&cache, release, progress)?,
        };
        let index_tool = find_or_build(&cache, release, Program::ElasticsearchTool, progress)?;
        let folder = tempfile::Builder::new().prefix("crossfade-bare-").tempdir()?;
        // PostgreSQL runs as another user and has to get through.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711))?;
        let processes = Processes::watch(&folder.path().join("pids"))?;

        let postgres = Postgres::start(&folder.path().join("postgres"), &processes, progress).await?;
        postgres.create_temporal_database(&tool, DATABASE, SchemaKind::Visibility)?;
        let options = elasticsearch::Options {
            heap_megabytes,
            ..elasticsearch::Options::default()
        };
        let node = folder.path().join("elasticsearch");
        let elasticsearch = Elasticsearch::start(&node, &options, &processes, progress).await?;
        elasticsearch.create_temporal_index(&index_tool, INDEX)?;

        let entries = folder.path().join("stores.json");
        let both = json!({
            "postgres": postgres.datastore(DATABASE),
            "elasticsearch": elasticsearch.datastore(INDEX),
        });
        fs::write(&entries, both.to_string()).with_context(|| format!("cannot write {}", entries.display()))?;
        fs::set_permissions(&entries, fs::Permissions::from_mode(0o600))?;
        Ok(Self {
            postgres,
            elasticsearch,
            _processes: processes,
            entries,
            folder,
        })
    }

    /// A JSON file with the datastore entry of each, `postgres` and `elasticsearch`.
    #[must_use]
    pub fn entries(&self) -> &Path {
        &self.entries
    }

    /// Stops both servers and removes all that they wrote.
    ///
    /// # Errors
    /// When one does not stop or the folder cannot be removed.
    pub fn finish(mut self) -> Result<()> {
        self.postgres.stop()?;
        // Nobody reads its data again, and it would spend seconds on writing it out.
        self.elasticsearch.kill()?;
        self.folder.close().context("cannot remove the stores' folder")
    }
}
