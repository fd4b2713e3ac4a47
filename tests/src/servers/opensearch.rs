//! A real OpenSearch: to Temporal, and here, an Elasticsearch of another name.

use std::path::Path;

use anyhow::Result;

use super::elasticsearch::{Elasticsearch, Options};
use super::jvm::OPENSEARCH_2_19_1;
use super::processes::Processes;
use super::progress::Progress;

/// The options of a node, under the name of its own.
#[must_use]
pub fn options() -> Options {
    Options::default().named("opensearch")
}

/// Starts OpenSearch 2.19.1 with its data in `folder` on a free port of 127.0.0.1.
///
/// # Errors
/// When it cannot be fetched: with what is lacking; or does not start: with its log.
pub async fn start(
    folder: &Path,
    options: &Options,
    processes: &Processes,
    progress: &dyn Progress,
) -> Result<Elasticsearch> {
    Elasticsearch::start_release(&OPENSEARCH_2_19_1, folder, options, processes, progress).await
}
