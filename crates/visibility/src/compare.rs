//! Compares two stores record by record, in both directions, while the cluster goes on writing.
//!
//! Both stores are scanned in the one order of [`Key`] and merged. The scans happen at two moments, so that a record
//! written in between looks like drift; such *suspects* are therefore collected, and read again in both stores (the
//! source first) after a pause. What is still wrong is drift if the source's record did not change over the pause; if
//! it did, the record is in motion and looked at again, up to [`Options::rechecks`] times. One that is wrong every time
//! is counted as drift, however lively: a target that never catches up must not hide behind its own traffic. The price
//! is that a record written without end may be counted wrongly; the next comparison tells.
//!
//! A missing record is not hidden by scanning page by page: a key is passed only when both scans are beyond it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::copy::{Step, Watch};
use crate::origin::Origin;
use crate::ports::{Error, Range, Read, Target, Write};
use crate::record::{Key, Record};
use crate::repair::{Repaired, by_key, repair};
use crate::sameness::{Class, Yardstick, classify, differing};

/// How a comparison goes about it.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Records read from each store at a time (at least 1).
    pub page: usize,
    /// How long after the first look suspects are read again. Longer than a write takes to reach the slower store:
    /// seconds.
    pub pause: Duration,
    /// How often suspects that keep changing are read again before they count as drift (at least 1).
    pub rechecks: u32,
    /// Suspects kept before they are read again: this many records, and one page more, are held in memory.
    pub suspects: usize,
    /// After this many records without a suspect, progress is reported.
    pub report_every: u64,
    /// How many records per class are named in the result.
    pub sample: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            page: 1000,
            pause: Duration::from_secs(3),
            rechecks: 3,
            suspects: 2000,
            report_every: 20_000,
            sample: 20,
        }
    }
}

/// One record that is wrong at the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drifted {
    /// Which.
    pub key: Key,
    /// In what way.
    pub class: Class,
    /// The columns that differ, by name; empty when it is missing or extra.
    pub columns: Vec<String>,
    /// The version at the source, if it is there and has one.
    pub source_version: Option<i64>,
    /// The version at the target, if it is there and has one.
    pub target_version: Option<i64>,
}

/// The drift of one class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All of them.
    pub count: u64,
    /// The first of them, at most [`Options::sample`].
    pub sample: Vec<Drifted>,
}

/// What is wrong at the target, as it was before any repair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    /// At the source, not at the target.
    pub missing: Tally,
    /// Of a lower version at the target.
    pub stale: Tally,
    /// Of the same or a later version, with other content.
    pub different: Tally,
    /// At the target, not at the source.
    pub extra: Tally,
}

impl Drift {
    /// All classes together.
    pub fn total(&self) -> u64 {
        self.missing.count + self.stale.count + self.different.count + self.extra.count
    }

    /// The tally of one class.
    pub fn of(&self, class: Class) -> &Tally {
        match class {
            Class::Missing => &self.missing,
            Class::Stale => &self.stale,
            Class::Different => &self.different,
            Class::Extra => &self.extra,
        }
    }

    fn add(&mut self, drifted: Drifted, sample: usize) {
        let tally = match drifted.class {
            Class::Missing => &mut self.missing,
            Class::Stale => &mut self.stale,
            Class::Different => &mut self.different,
            Class::Extra => &mut self.extra,
        };
        tally.count += 1;
        if tally.sample.len() < sample {
            tally.sample.push(drifted);
        }
    }
}

/// What was seen of one Namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NamespaceTally {
    /// Records scanned at the source.
    pub source: u64,
    /// Records scanned at the target.
    pub target: u64,
    /// Drifted ones, of any class, before repair.
    pub drift: u64,
}

/// Where a comparison stands: what it reports, and from where it goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The last key that is settled in both stores; `None` at the beginning.
    pub cursor: Option<Key>,
    /// Records scanned at the source.
    pub source_records: u64,
    /// Records scanned at the target.
    pub target_records: u64,
    /// Records that looked wrong at first and were right when read again.
    pub settled: u64,
    /// What is, or before repair was, wrong.
    pub drift: Drift,
    /// What was repaired on the way.
    pub repaired: Repaired,
    /// The same per Namespace id.
    pub namespaces: BTreeMap<String, NamespaceTally>,
}

/// How a comparison ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What was found.
    pub progress: Progress,
    /// Whether the range is done (and not only stopped).
    pub finished: bool,
}

impl Outcome {
    /// Whether all was compared and nothing was wrong to begin with (what was wrong and is repaired needs another run
    /// to be believed).
    pub fn is_clean(&self) -> bool {
        self.finished && self.progress.drift.total() == 0
    }
}

/// What a comparison may use beside the two stores.
#[derive(Clone, Copy, Default)]
pub struct Means<'a> {
    /// Puts right what is wrong at once.
    pub repair_with: Option<&'a dyn Write>,
    /// Asked about what only the target has, and for what the target lacks.
    pub origin: Option<&'a dyn Origin>,
}

/// As [`compare_with`], with nothing but a way to write.
///
/// # Errors
///
/// Those of [`compare_with`].
pub async fn compare(
    source: &dyn Read,
    target: &dyn Read,
    repair_with: Option<&dyn Write>,
    slice: &Range,
    from: Progress,
    options: Options,
    watch: &mut dyn Watch<Progress>,
) -> Result<Outcome, Error> {
    let means = Means {
        repair_with,
        origin: None,
    };
    compare_with(source, target, means, slice, from, options, watch).await
}

/// Compares the records of `slice` (a Namespace or all; its `after` is ignored) that come after `from`'s cursor, and
/// puts right what is wrong at once when given a way to write. `from` is [`Progress::default`] or that of an earlier,
/// stopped run of the same slice.
///
/// # Errors
///
/// What either store reports; the last progress reported is where to go on.
pub async fn compare_with(
    source: &dyn Read,
    target: &dyn Read,
    means: Means<'_>,
    slice: &Range,
    from: Progress,
    options: Options,
    watch: &mut dyn Watch<Progress>,
) -> Result<Outcome, Error> {
    let mut run = Run {
        pair: Pair {
            source,
            target,
            by: Yardstick::between(source, target),
        },
        means,
        options,
        progress: from.clone(),
        draft: from,
        suspects: Vec::new(),
    };
    let page = options.page.max(1);
    let mut in_source = Scan::new(source, slice, run.draft.cursor.clone(), page);
    let mut in_target = Scan::new(target, slice, run.draft.cursor.clone(), page);
    let mut unreported: u64 = 0;
    loop {
        let (at_source, at_target) = futures::future::try_join(in_source.peek(), in_target.peek()).await?;
        let (from_source, from_target) = match (at_source, at_target) {
            (None, None) => break,
            (Some(_), None) => (true, false),
            (None, Some(_)) => (false, true),
            (Some(a), Some(b)) => (a <= b, b <= a),
        };
        run.look(
            if from_source { in_source.next() } else { None },
            if from_target { in_target.next() } else { None },
        );
        unreported += 1;
        if unreported >= options.report_every.max(1) || run.suspects.len() >= options.suspects.max(1) {
            unreported = 0;
            run.settle().await?;
            if watch.page(&run.progress) == Step::Stop {
                return Ok(Outcome {
                    progress: run.progress,
                    finished: false,
                });
            }
        }
    }
    run.settle().await?;
    // The last report is made whatever the watcher says to it: there is nothing left to stop.
    let _ = watch.page(&run.progress);
    Ok(Outcome {
        progress: run.progress,
        finished: true,
    })
}

/// The two stores, and how finely they can be compared.
struct Pair<'a> {
    source: &'a dyn Read,
    target: &'a dyn Read,
    by: Yardstick,
}

/// A record that looked wrong, with the source's reading of it.
struct Suspect {
    key: Key,
    in_source: Option<Record>,
}

/// A record that is wrong at the target, as the source has it, or else as the target does.
struct Found {
    drifted: Drifted,
    record: Record,
}

fn records_of(found: &[Found], of: impl Fn(Class) -> bool) -> Vec<Record> {
    found
        .iter()
        .filter(|found| of(found.drifted.class))
        .map(|found| found.record.clone())
        .collect()
}

/// A comparison under way. `draft` runs ahead; `progress` is what is settled and may be reported.
struct Run<'a> {
    pair: Pair<'a>,
    means: Means<'a>,
    options: Options,
    progress: Progress,
    draft: Progress,
    suspects: Vec<Suspect>,
}

impl Run<'_> {
    /// Takes note of what the two scans say of one key.
    fn look(&mut self, in_source: Option<Record>, in_target: Option<Record>) {
        let Some(key) = in_source
            .as_ref()
            .or(in_target.as_ref())
            .map(|record| record.key.clone())
        else {
            return;
        };
        let tally = self.draft.namespaces.entry(key.namespace_id.clone()).or_default();
        if in_source.is_some() {
            self.draft.source_records += 1;
            tally.source += 1;
        }
        if in_target.is_some() {
            self.draft.target_records += 1;
            tally.target += 1;
        }
        self.draft.cursor = Some(key.clone());
        if let (None, Some(held)) = (&in_source, &in_target) {
            self.pair.source.hint(held);
        }
        if classify(in_source.as_ref(), in_target.as_ref(), self.pair.by).is_some() {
            self.suspects.push(Suspect { key, in_source });
        }
    }

    /// Finds out which suspects are drift, repairs them if asked to, and lets `progress` catch up.
    async fn settle(&mut self) -> Result<(), Error> {
        let suspects = std::mem::take(&mut self.suspects);
        let looked_at = suspects.len() as u64;
        let found = self.recheck(suspects).await?;
        let found = self.without_those_that_only_expired(found).await?;
        self.draft.settled += looked_at - found.len() as u64;
        if let Some(write) = self.means.repair_with {
            self.restore(&found).await?;
            let keys: Vec<Key> = found.iter().map(|found| found.drifted.key.clone()).collect();
            let target = Target {
                read: self.pair.target,
                write,
            };
            let repaired = repair(self.pair.source, target, &keys, self.options.page).await?;
            self.draft.repaired.add(repaired);
        }
        for Found { drifted, .. } in found {
            self.draft
                .namespaces
                .entry(drifted.key.namespace_id.clone())
                .or_default()
                .drift += 1;
            self.draft.drift.add(drifted, self.options.sample);
        }
        self.progress = self.draft.clone();
        Ok(())
    }

    /// What only the target has is right there while the execution exists: the source let its record expire.
    async fn without_those_that_only_expired(&self, found: Vec<Found>) -> Result<Vec<Found>, Error> {
        let Some(origin) = self.means.origin else {
            return Ok(found);
        };
        let extra: Vec<Record> = records_of(&found, |class| class == Class::Extra);
        if extra.is_empty() {
            return Ok(found);
        }
        let existing = origin.existing(&extra).await?;
        Ok(found
            .into_iter()
            .filter(|found| found.drifted.class != Class::Extra || !existing.contains(&found.drifted.key))
            .collect())
    }

    /// Has what the source cannot give whole written by its origin, before the rest is put right from the source.
    async fn restore(&self, found: &[Found]) -> Result<(), Error> {
        let wrong = records_of(found, |class| matches!(class, Class::Missing | Class::Different));
        match self.means.origin {
            Some(origin) if !wrong.is_empty() => origin.restore(&wrong).await,
            _ => Ok(()),
        }
    }

    async fn recheck(&self, mut suspects: Vec<Suspect>) -> Result<Vec<Found>, Error> {
        let mut found = Vec::new();
        for attempt in 1..=self.options.rechecks.max(1) {
            if suspects.is_empty() {
                break;
            }
            tokio::time::sleep(self.options.pause).await;
            let last = attempt == self.options.rechecks.max(1);
            let mut in_motion = Vec::new();
            for suspects in chunks(suspects, self.options.page.max(1)) {
                self.recheck_page(suspects, last, &mut found, &mut in_motion).await?;
            }
            suspects = in_motion;
        }
        Ok(found)
    }

    async fn recheck_page(
        &self,
        suspects: Vec<Suspect>,
        last: bool,
        found: &mut Vec<Found>,
        in_motion: &mut Vec<Suspect>,
    ) -> Result<(), Error> {
        let keys: Vec<Key> = suspects.iter().map(|suspect| suspect.key.clone()).collect();
        // The source first: a target read later can only be further along.
        let mut in_source = by_key(self.pair.source.get(&keys).await?);
        let in_target = by_key(self.pair.target.get(&keys).await?);
        for suspect in suspects {
            let record = in_source.remove(&suspect.key);
            let held = in_target.get(&suspect.key);
            let Some(class) = classify(record.as_ref(), held, self.pair.by) else {
                continue;
            };
            if last || record == suspect.in_source {
                let drifted = drifted(suspect.key, class, record.as_ref(), held, self.pair.by);
                found.extend(record.or_else(|| held.cloned()).map(|record| Found { drifted, record }));
            } else {
                in_motion.push(Suspect {
                    key: suspect.key,
                    in_source: record,
                });
            }
        }
        Ok(())
    }
}

fn drifted(key: Key, class: Class, source: Option<&Record>, target: Option<&Record>, by: Yardstick) -> Drifted {
    let columns = match (source, target) {
        (Some(source), Some(target)) => differing(source, target, by),
        _ => Vec::new(),
    };
    Drifted {
        key,
        class,
        columns,
        source_version: source.and_then(|record| record.version),
        target_version: target.and_then(|record| record.version),
    }
}

fn chunks<T>(items: Vec<T>, size: usize) -> Vec<Vec<T>> {
    let mut items = items.into_iter();
    std::iter::from_fn(|| {
        let chunk: Vec<T> = items.by_ref().take(size).collect();
        (!chunk.is_empty()).then_some(chunk)
    })
    .collect()
}

/// One store's records in order, a page at a time.
struct Scan<'a> {
    store: &'a dyn Read,
    range: Range,
    page: usize,
    records: VecDeque<Record>,
    ended: bool,
}

impl<'a> Scan<'a> {
    fn new(store: &'a dyn Read, slice: &Range, after: Option<Key>, page: usize) -> Self {
        let range = Range { after, ..slice.clone() };
        Self {
            store,
            range,
            page,
            records: VecDeque::new(),
            ended: false,
        }
    }

    /// The key of the next record, or `None` at the end.
    async fn peek(&mut self) -> Result<Option<&Key>, Error> {
        if self.records.is_empty() && !self.ended {
            self.records = self.store.scan(&self.range, self.page).await?.into();
            match self.records.back() {
                Some(last) => self.range.after = Some(last.key.clone()),
                None => self.ended = true,
            }
        }
        Ok(self.records.front().map(|record| &record.key))
    }

    /// Takes the record that was peeked at.
    fn next(&mut self) -> Option<Record> {
        self.records.pop_front()
    }
}
