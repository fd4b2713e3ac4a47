//! Both ports over a map, and a server's own writes: for tests of copy and compare without a database.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt as _};
use jiff::Timestamp;

use crate::digest::{Cell, Digest, Digests, Question};
use crate::keeps::{Column, Keeps};
use crate::memo;
use crate::ports::{Condemned, Count, Error, OpenExecution, Precision, Range, Read, Rewrite, Write};
use crate::record::{Key, Record, latest_of_each, marker_record};
use crate::sign::{Page, Signer, Wanted};

/// A store in memory.
#[derive(Debug)]
pub struct Memory {
    name: String,
    versioned: bool,
    keeps: Keeps,
    precision: Precision,
    records: Mutex<BTreeMap<Key, Record>>,
}

impl Memory {
    /// An empty store that keeps versions, as SQL since schema v1.9 does.
    pub fn versioned(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            versioned: true,
            keeps: Keeps::EVERYTHING,
            precision: Precision::Nanosecond,
            records: Mutex::default(),
        }
    }

    /// An empty store without versions, as SQL before schema v1.9.
    pub fn unversioned(name: &str) -> Self {
        Self {
            versioned: false,
            ..Self::versioned(name)
        }
    }

    /// This store, while it is empty, as one that keeps only these columns and times no finer than this.
    #[must_use]
    pub fn keeping(self, keeps: Keeps, precision: Precision) -> Self {
        Self {
            keeps,
            precision,
            ..self
        }
    }

    /// The server's write of a start: leaves a record that is there as it is.
    pub fn server_start(&self, record: &Record) {
        let record = self.stored(record);
        self.records().entry(record.key.clone()).or_insert(record);
    }

    /// The server's write of an upsert or a close: a later version wins; without versions the last one does.
    pub fn server_upsert(&self, record: &Record) {
        let record = self.stored(record);
        let mut records = self.records();
        let loses = self.versioned
            && records
                .get(&record.key)
                .is_some_and(|held| held.version >= record.version);
        if !loses {
            records.insert(record.key.clone(), record);
        }
    }

    /// The server's delete: whatever is there.
    pub fn server_delete(&self, key: &Key) {
        self.records().remove(key);
    }

    /// All records, in order.
    pub fn all(&self) -> Vec<Record> {
        self.records().values().cloned().collect()
    }

    fn records(&self) -> MutexGuard<'_, BTreeMap<Key, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stored(&self, record: &Record) -> Record {
        let mut nothing = marker_record(&record.key.namespace_id, "", &record.key.run_id, Timestamp::UNIX_EPOCH);
        (nothing.history_length, nothing.history_size_bytes) = (None, None);
        (nothing.execution_duration, nothing.state_transition_count) = (None, None);
        (nothing.root_workflow_id, nothing.root_run_id) = (None, None);
        let mut stored = record.filled_from(&nothing, self.keeps);
        for time in [&mut stored.start_time, &mut stored.execution_time] {
            *time = self.precision.truncate(*time);
        }
        stored.close_time = stored.close_time.map(|at| self.precision.truncate(at));
        stored.version = self.versioned.then(|| record.version.unwrap_or(0));
        stored
    }
}

#[async_trait]
impl Read for Memory {
    fn describe(&self) -> String {
        format!("memory {}", self.name)
    }

    fn precision(&self) -> Precision {
        self.precision
    }

    fn keeps(&self) -> Keeps {
        self.keeps
    }

    fn versioned(&self) -> bool {
        self.versioned
    }

    async fn scan(&self, range: &Range, limit: usize) -> Result<Vec<Record>, Error> {
        Ok(self
            .records()
            .values()
            .filter(|r| range.contains(&r.key))
            .take(limit)
            .cloned()
            .collect())
    }

    async fn get(&self, keys: &[Key]) -> Result<Vec<Record>, Error> {
        let records = self.records();
        let mut keys: Vec<&Key> = keys.iter().collect();
        keys.sort_unstable();
        keys.dedup();
        Ok(keys.into_iter().filter_map(|key| records.get(key).cloned()).collect())
    }

    async fn versions(&self, keys: &[Key]) -> Result<BTreeMap<Key, Option<i64>>, Error> {
        let records = self.records();
        Ok(keys
            .iter()
            .filter_map(|key| records.get(key).map(|r| (key.clone(), r.version)))
            .collect())
    }

    async fn count(&self, namespace_id: Option<&str>) -> Result<BTreeMap<String, Count>, Error> {
        let mut counts: BTreeMap<String, Count> = BTreeMap::new();
        for record in self
            .records()
            .values()
            .filter(|r| namespace_id.is_none_or(|id| id == r.key.namespace_id))
        {
            let count = counts.entry(record.key.namespace_id.clone()).or_default();
            if record.is_open() {
                count.open += 1
            } else {
                count.closed += 1
            }
        }
        Ok(counts)
    }

    async fn digests(&self, question: Question<'_>) -> Result<Option<Digests>, Error> {
        let mut cells: BTreeMap<Cell, Digest> = BTreeMap::new();
        for (key, record) in self.records().iter().filter(|(key, _)| question.range.contains(key)) {
            let cell = Cell {
                namespace_id: key.namespace_id.clone(),
                prefix: key.run_id.chars().take(question.digits as usize).collect(),
            };
            let digest = cells.entry(cell).or_default();
            digest.records += 1;
            digest.sum += i128::from(hash(record, question));
        }
        Ok(Some(Digests {
            recipe: "memory".to_owned(),
            cells,
        }))
    }

    fn signs(&self, wanted: Wanted) -> Option<BoxStream<'_, Result<Page, Error>>> {
        let pages = stream::once(async move {
            let mut signer = Signer::new(wanted.terms);
            let mut records: Vec<Record> = self.all();
            records.retain(|record| wanted.range.contains(&record.key));
            // An order of this store's own: another than that of keys, and than that of another store.
            records.sort_by_key(|record| scattered(&(&self.name, &record.key)));
            let pages: Vec<_> = records
                .chunks(wanted.page.max(1))
                .map(|records| {
                    let mut page = Page::with_capacity(records.len());
                    for record in records {
                        let sign = signer.sign_record(record);
                        page.push(&record.key.namespace_id, &record.key.run_id, sign);
                    }
                    Ok(page)
                })
                .collect();
            stream::iter(pages)
        });
        Some(pages.flatten().boxed())
    }

    async fn namespaces(&self) -> Result<Vec<String>, Error> {
        let mut ids: Vec<String> = self.records().keys().map(|key| key.namespace_id.clone()).collect();
        ids.dedup();
        Ok(ids)
    }

    async fn open_started_before(
        &self,
        before: Timestamp,
        range: &Range,
        limit: usize,
    ) -> Result<Vec<OpenExecution>, Error> {
        let records = self.records();
        let open = records
            .values()
            .filter(|r| range.contains(&r.key) && r.is_open() && r.start_time < before);
        let open = open.map(|record| OpenExecution {
            key: record.key.clone(),
            workflow_id: record.workflow_id.clone(),
            workflow_type: record.workflow_type.clone(),
            start_time: record.start_time,
        });
        Ok(open.take(limit).collect())
    }
}

#[async_trait]
impl Write for Memory {
    fn describe(&self) -> String {
        Read::describe(self)
    }

    async fn put(&self, records: &[Record]) -> Result<u64, Error> {
        let mut held = self.records();
        let mut changed = 0;
        for record in latest_of_each(records) {
            let record = self.stored(record);
            let wins = match held.get(&record.key) {
                None => true,
                Some(held) => self.versioned && held.version < record.version,
            };
            if wins {
                changed += 1;
                held.insert(record.key.clone(), record);
            }
        }
        Ok(changed)
    }

    async fn rewrite(&self, changes: &[Rewrite]) -> Result<u64, Error> {
        let mut held = self.records();
        let mut changed = 0;
        for change in changes {
            if held.get(&change.seen.key).is_some_and(|held| *held == change.seen) {
                held.insert(change.to.key.clone(), self.stored(&change.to));
                changed += 1;
            }
        }
        Ok(changed)
    }

    async fn delete(&self, condemned: &[Condemned]) -> Result<u64, Error> {
        let mut held = self.records();
        let mut deleted = 0;
        for Condemned { key, at_most } in condemned {
            let spared =
                |held: &Record| matches!((held.version, at_most), (Some(version), Some(most)) if version > *most);
            if held.get(key).is_some_and(|held| !spared(held)) {
                held.remove(key);
                deleted += 1;
            }
        }
        Ok(deleted)
    }
}

fn scattered(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// A record's share in a digest: of what counts, by its words.
fn hash(record: &Record, question: Question<'_>) -> u64 {
    let by = question.by;
    let time = |at: Timestamp| by.precision.truncate(at);
    let part = |column: Column, value: &dyn fmt::Debug| by.keeps.has(column).then(|| format!("{value:?}"));
    let memo = record.memo.as_deref().filter(|memo| !memo.is_empty());
    let text = (
        (
            &record.key,
            question.versions.then_some(record.version),
            &record.workflow_id,
            &record.workflow_type,
            record.status,
            time(record.start_time),
            record.close_time.map(time),
            memo.map(|memo| (memo::entries(memo), &record.memo_encoding)),
        ),
        [
            part(Column::ExecutionTime, &time(record.execution_time)),
            part(Column::HistoryLength, &record.history_length),
            part(Column::HistorySizeBytes, &record.history_size_bytes),
            part(Column::ExecutionDuration, &record.execution_duration),
            part(Column::StateTransitionCount, &record.state_transition_count),
            part(Column::TaskQueue, &record.task_queue),
            part(Column::SearchAttributes, &record.search_attributes),
            part(Column::Parent, &(&record.parent_workflow_id, &record.parent_run_id)),
            part(Column::Root, &(&record.root_workflow_id, &record.root_run_id)),
        ],
    );
    scattered(&format!("{text:?}"))
}
