//! Nodes that the testbeds of one process share: a JVM takes seconds to start and half a gigabyte to run.

use std::ops::Deref;
use std::path::PathBuf;

use anyhow::Result;
use tokio::sync::OnceCell;

use super::cassandra::{self, Cassandra};
use super::elasticsearch::{self, Elasticsearch};
use super::opensearch;
use super::processes::Processes;
use super::progress::Progress;

/// A node of the testbed's own, which it may stop and kill, or one that others use too.
#[derive(Debug)]
pub enum Node<T: 'static> {
    /// Nobody else's.
    Own(T),
    /// Started once for this process; it ends with it.
    Shared(&'static T),
}

impl<T> Node<T> {
    /// The node for changing what it is doing; `None` for one that others use too.
    pub fn own(&mut self) -> Option<&mut T> {
        match self {
            Self::Own(node) => Some(node),
            Self::Shared(_) => None,
        }
    }
}

impl<T> Deref for Node<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Self::Own(node) => node,
            Self::Shared(node) => node,
        }
    }
}

/// The watch over the shared nodes: with the process gone, they are killed and their folder is removed.
struct Watch {
    folder: PathBuf,
    processes: Processes,
}

static WATCH: OnceCell<Watch> = OnceCell::const_new();
static CASSANDRA: OnceCell<Cassandra> = OnceCell::const_new();
static ELASTICSEARCH: OnceCell<Elasticsearch> = OnceCell::const_new();
static OTHER_ELASTICSEARCH: OnceCell<Elasticsearch> = OnceCell::const_new();
static OPENSEARCH: OnceCell<Elasticsearch> = OnceCell::const_new();

async fn watch() -> Result<&'static Watch> {
    WATCH
        .get_or_try_init(|| async {
            let folder = tempfile::Builder::new().prefix("crossfade-shared-").tempdir()?.keep();
            let processes = Processes::watch_and_remove(&folder.join("pids"), &folder)?;
            Ok(Watch { folder, processes })
        })
        .await
}

/// The Cassandra of this process, started at the first call.
///
/// # Errors
/// When it does not start.
pub async fn cassandra(progress: &dyn Progress) -> Result<&'static Cassandra> {
    CASSANDRA
        .get_or_try_init(|| async {
            let Watch { folder, processes } = watch().await?;
            let options = cassandra::Options::default().without_durable_schema();
            Cassandra::start(&folder.join("cassandra"), &options, processes, progress).await
        })
        .await
}

/// The Elasticsearch of this process, started at the first call.
///
/// # Errors
/// When it does not start.
pub async fn elasticsearch(progress: &dyn Progress) -> Result<&'static Elasticsearch> {
    one_of(&ELASTICSEARCH, "elasticsearch", progress).await
}

/// Another Elasticsearch than [`elasticsearch()`] gives, started at the first call.
///
/// # Errors
/// When it does not start.
pub async fn other_elasticsearch(progress: &dyn Progress) -> Result<&'static Elasticsearch> {
    one_of(&OTHER_ELASTICSEARCH, "elasticsearch-b", progress).await
}

/// The OpenSearch of this process, started at the first call.
///
/// # Errors
/// When it does not start.
pub async fn opensearch(progress: &dyn Progress) -> Result<&'static Elasticsearch> {
    OPENSEARCH
        .get_or_try_init(|| async {
            let Watch { folder, processes } = watch().await?;
            opensearch::start(&folder.join("opensearch"), &opensearch::options(), processes, progress).await
        })
        .await
}

async fn one_of(
    cell: &'static OnceCell<Elasticsearch>,
    name: &str,
    progress: &dyn Progress,
) -> Result<&'static Elasticsearch> {
    cell.get_or_try_init(|| async {
        let Watch { folder, processes } = watch().await?;
        let options = elasticsearch::Options::default().named(name);
        Elasticsearch::start(&folder.join(name), &options, processes, progress).await
    })
    .await
}
