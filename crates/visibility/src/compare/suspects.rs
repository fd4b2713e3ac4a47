//! A comparison under way: what looked wrong is read again before it is called drift.

use super::drift::{Drifted, Progress};
use super::{Means, Options};
use crate::copy::{Step, Watch};
use crate::ports::{Error, Read, Target};
use crate::record::{Key, Record};
use crate::repair::{by_key, repair};
use crate::sameness::{Class, Yardstick, classify};

/// The two stores, and how finely they can be compared.
pub(super) struct Pair<'a> {
    pub(super) source: &'a dyn Read,
    pub(super) target: &'a dyn Read,
    pub(super) by: Yardstick,
}

/// A record that looked wrong, with the source's reading of it.
pub(super) struct Suspect {
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
pub(super) struct Run<'a> {
    pub(super) pair: Pair<'a>,
    means: Means<'a>,
    pub(super) options: Options,
    pub(super) progress: Progress,
    draft: Progress,
    suspects: Vec<Suspect>,
    /// Records looked at since the last report.
    unreported: u64,
    /// Whether what is looked at is counted already, and behind a cursor that is still to come.
    counted: bool,
}

impl<'a> Run<'a> {
    pub(super) fn new(pair: Pair<'a>, means: Means<'a>, options: Options, from: Progress) -> Self {
        Self {
            pair,
            means,
            options,
            progress: from.clone(),
            draft: from,
            suspects: Vec::new(),
            unreported: 0,
            counted: false,
        }
    }

    /// Takes note of what the two scans say of one key.
    pub(super) fn look(&mut self, in_source: Option<Record>, in_target: Option<Record>) {
        let Some(key) = in_source
            .as_ref()
            .or(in_target.as_ref())
            .map(|record| record.key.clone())
        else {
            return;
        };
        if !self.counted {
            self.unreported += 1;
            self.draft.cursor = Some(key.clone());
        }
        let counts = |record: &Option<Record>| record.as_ref().is_some_and(|record| self.is_recent(record));
        if !counts(&in_source) && !counts(&in_target) {
            return;
        }
        if !self.counted {
            let tally = self.draft.namespaces.entry(key.namespace_id.clone()).or_default();
            tally.source += u64::from(in_source.is_some());
            tally.target += u64::from(in_target.is_some());
            self.found(in_source.is_some().into(), in_target.is_some().into());
        }
        if let (None, Some(held)) = (&in_source, &in_target) {
            self.pair.source.hint(held);
        }
        if classify(in_source.as_ref(), in_target.as_ref(), self.pair.by).is_some() {
            self.suspects.push(Suspect { key, in_source });
        }
    }

    /// Suspects these records, whatever the stores say of them; how many of them the source has, and the target.
    pub(super) async fn suspect(&mut self, keys: &[Key]) -> Result<[u64; 2], Error> {
        let held = by_key(self.pair.target.get(keys).await?);
        held.values().for_each(|held| self.pair.source.hint(held));
        let mut in_source = by_key(self.pair.source.get(keys).await?);
        let found = [in_source.len() as u64, held.len() as u64];
        for key in keys {
            let in_source = in_source.remove(key);
            if classify(in_source.as_ref(), held.get(key), self.pair.by).is_some() {
                self.suspects.push(Suspect {
                    key: key.clone(),
                    in_source,
                });
            }
        }
        Ok(found)
    }

    /// Counts so many records of the source and of the target.
    pub(super) fn found(&mut self, in_source: u64, in_target: u64) {
        self.draft.source_records += in_source;
        self.draft.target_records += in_target;
    }

    /// Counts the records of a part of a Namespace, before those of them that are suspected are looked at. The cursor stays
    /// where it is until the part is [`reached`](Self::reach).
    pub(super) fn count(&mut self, namespace_id: &str, [in_source, in_target]: [u64; 2]) {
        let tally = self.draft.namespaces.entry(namespace_id.to_owned()).or_default();
        tally.source += in_source;
        tally.target += in_target;
        self.found(in_source, in_target);
        self.unreported += in_source.max(in_target);
        self.counted = true;
    }

    /// Goes beyond a part of which everything that is suspected is known by now. As settling takes a pause, it is put
    /// off while there is room for suspects.
    pub(super) async fn reach(&mut self, until: Key, watch: &mut dyn Watch<Progress>) -> Result<Step, Error> {
        self.counted = false;
        self.draft.cursor = Some(until);
        if self.is_full() || (self.is_due() && self.suspects.is_empty()) {
            self.report(watch).await
        } else {
            Ok(Step::Continue)
        }
    }

    /// Tells `watch` how many records were read of which nothing is known yet.
    pub(super) fn tell(&self, ahead: u64, watch: &mut dyn Watch<Progress>) -> Step {
        watch.page(&Progress {
            ahead,
            ..self.progress.clone()
        })
    }

    fn is_recent(&self, record: &Record) -> bool {
        self.options.since.is_none_or(|since| {
            record.is_open() || record.start_time >= since || record.close_time.is_some_and(|closed| closed >= since)
        })
    }

    /// Whether it is time for a [`report`](Self::report).
    pub(super) fn is_due(&self) -> bool {
        // What is counted before it is looked at is reported when all of it is.
        let is_long = !self.counted && self.unreported >= self.options.report_every.max(1);
        is_long || self.is_full()
    }

    /// Whether there are as many suspects as are kept.
    pub(super) fn is_full(&self) -> bool {
        self.suspects.len() >= self.options.suspects.max(1)
    }

    /// Settles what was seen so far and tells `watch`.
    pub(super) async fn report(&mut self, watch: &mut dyn Watch<Progress>) -> Result<Step, Error> {
        if self.counted {
            // Who goes on from here would count again what is behind the cursor that is still to come.
            self.settle().await?;
            return Ok(Step::Continue);
        }
        self.unreported = 0;
        self.settle().await?;
        Ok(watch.page(&self.progress))
    }

    /// Takes note of records that are the same in both stores, all before `until`.
    pub(super) async fn pass(
        &mut self,
        namespace_id: String,
        records: u64,
        until: Key,
        watch: &mut dyn Watch<Progress>,
    ) -> Result<Step, Error> {
        let tally = self.draft.namespaces.entry(namespace_id).or_default();
        tally.source += records;
        tally.target += records;
        self.draft.source_records += records;
        self.draft.target_records += records;
        self.draft.by_digest += records;
        self.draft.cursor = Some(until);
        self.unreported += records;
        if self.is_due() {
            self.report(watch).await
        } else {
            Ok(Step::Continue)
        }
    }

    /// Finds out which suspects are drift, repairs them if asked to, and lets `progress` catch up.
    pub(super) async fn settle(&mut self) -> Result<(), Error> {
        let mut suspects = std::mem::take(&mut self.suspects);
        suspects.sort_by(|a, b| a.key.cmp(&b.key));
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
                let drifted = Drifted::of(suspect.key, class, record.as_ref(), held, self.pair.by);
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

fn chunks<T>(items: Vec<T>, size: usize) -> Vec<Vec<T>> {
    let mut items = items.into_iter();
    std::iter::from_fn(|| {
        let chunk: Vec<T> = items.by_ref().take(size).collect();
        (!chunk.is_empty()).then_some(chunk)
    })
    .collect()
}
