//! How far a comparison came, in a small file: with it a comparison that was stopped goes on.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use crossfade_visibility::{
    compare::{Drifted, NamespaceTally, Progress},
    record::Key,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CLASSES, findings::cannot_write};
use crate::exit::Failure;

/// The file of `--resume`.
pub(super) struct CursorFile {
    path: PathBuf,
    /// What is compared.
    question: Value,
}

/// Its content. Of records it holds keys, versions and names of columns.
#[derive(Serialize, Deserialize)]
struct Content {
    question: Value,
    since: Option<Timestamp>,
    cursor: Option<(String, String)>,
    source_records: u64,
    target_records: u64,
    by_digest: u64,
    settled: u64,
    /// Source, target and drift by Namespace id.
    namespaces: BTreeMap<String, (u64, u64, u64)>,
    /// Number and names of each class, in the order of [`CLASSES`].
    drift: Vec<(u64, Vec<Named>)>,
}

/// A record that differs.
#[derive(Serialize, Deserialize)]
struct Named {
    key: (String, String),
    columns: Vec<String>,
    source_version: Option<i64>,
    target_version: Option<i64>,
}

impl CursorFile {
    pub(super) fn new(path: &Path, question: Value) -> Self {
        Self {
            path: path.to_owned(),
            question,
        }
    }

    fn content(&self) -> Result<Option<Content>, Failure> {
        let refused = |why: String| {
            Failure::refused(format!(
                "--resume: {}: {why}. Next step: name the file of this comparison, or remove it to begin anew",
                self.path.display()
            ))
        };
        let bytes = match fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|error| refused(format!("cannot be read: {error}")))?,
        };
        let content: Content = serde_json::from_slice(&bytes).map_err(|error| {
            refused(format!(
                "expected what an earlier `crossfade diff --resume` wrote: {error}"
            ))
        })?;
        if content.question != self.question {
            return Err(refused(format!(
                "is of another comparison, of {}; expected {}",
                content.question, self.question
            )));
        }
        Ok(Some(content))
    }

    /// Where the comparison stands, if it was begun.
    pub(super) fn read(&self) -> Result<Option<Progress>, Failure> {
        let Some(content) = self.content()? else {
            return Ok(None);
        };
        let key = |(namespace_id, run_id): (String, String)| Key::new(namespace_id, run_id);
        let mut progress = Progress {
            cursor: content.cursor.map(key),
            source_records: content.source_records,
            target_records: content.target_records,
            by_digest: content.by_digest,
            settled: content.settled,
            ..Progress::default()
        };
        for (id, (source, target, drift)) in content.namespaces {
            progress.namespaces.insert(id, NamespaceTally { source, target, drift });
        }
        let tallies = [
            &mut progress.drift.missing,
            &mut progress.drift.stale,
            &mut progress.drift.different,
            &mut progress.drift.extra,
        ];
        for ((tally, class), (count, named)) in tallies.into_iter().zip(CLASSES).zip(content.drift) {
            tally.count = count;
            tally.sample = named
                .into_iter()
                .map(|named| Drifted {
                    key: key(named.key),
                    class,
                    columns: named.columns,
                    source_version: named.source_version,
                    target_version: named.target_version,
                })
                .collect();
        }
        Ok(Some(progress))
    }

    /// Since when records are compared: as the comparison began, for `24h` has moved on meanwhile.
    pub(super) fn since(&self, given: Option<Timestamp>) -> Option<Timestamp> {
        match self.content() {
            Ok(Some(content)) => content.since,
            _ => given,
        }
    }

    /// Keeps where the comparison stands. Whoever reads the file finds the old content or the new.
    pub(super) fn write(&self, progress: &Progress, since: Option<Timestamp>) -> Result<(), Failure> {
        let pair = |key: &Key| (key.namespace_id.clone(), key.run_id.clone());
        let named = |drifted: &Drifted| Named {
            key: pair(&drifted.key),
            columns: drifted.columns.clone(),
            source_version: drifted.source_version,
            target_version: drifted.target_version,
        };
        let content = Content {
            question: self.question.clone(),
            since,
            cursor: progress.cursor.as_ref().map(pair),
            source_records: progress.source_records,
            target_records: progress.target_records,
            by_digest: progress.by_digest,
            settled: progress.settled,
            namespaces: progress
                .namespaces
                .iter()
                .map(|(id, tally)| (id.clone(), (tally.source, tally.target, tally.drift)))
                .collect(),
            drift: CLASSES
                .into_iter()
                .map(|class| progress.drift.of(class))
                .map(|tally| (tally.count, tally.sample.iter().map(named).collect()))
                .collect(),
        };
        let failed = |error: io::Error| cannot_write(&self.path, &error).context("--resume");
        let mut beside = self.path.clone().into_os_string();
        beside.push(".new");
        fs::write(
            &beside,
            serde_json::to_vec(&content).map_err(|error| failed(error.into()))?,
        )
        .map_err(failed)?;
        fs::rename(&beside, &self.path).map_err(failed)
    }

    /// The comparison is done.
    pub(super) fn remove(&self) -> Result<(), Failure> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(cannot_write(&self.path, &error).context("--resume"))
            }
            _ => Ok(()),
        }
    }
}
