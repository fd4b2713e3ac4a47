//! Two stores in memory and a server that writes to both between any two calls of the code under test.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use async_trait::async_trait;
use crossfade_visibility::memory::Memory;
use crossfade_visibility::ports::{Condemned, Count, Error, OpenExecution, Precision, Range, Read, Rewrite, Write};
use crossfade_visibility::record::{Key, Record, marker_record};
use crossfade_visibility::sign::{Page, Wanted};
use futures::stream::{BoxStream, StreamExt as _};
use jiff::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;

/// One write of the server to one store.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Start(Record),
    Upsert(Record),
    Delete(Key),
}

/// Two stores with a server that writes to both: a few of its events fall before and after every call of a port.
pub(crate) struct Cluster {
    pub(crate) source: Memory,
    pub(crate) target: Memory,
    /// `true` is an event at the source.
    pub(crate) events: Mutex<VecDeque<(bool, Event)>>,
    /// How many events fall at each moment, cyclically.
    pub(crate) gusts: Mutex<VecDeque<usize>>,
    /// Calls of the target's `put` after which the caller is killed (its next call fails), as countdown.
    pub(crate) killed_after_put: Mutex<Option<u32>>,
    pub(crate) dead: Mutex<bool>,
    /// Whether the stores have an order of their own.
    pub(crate) has_signs: bool,
}

impl Cluster {
    fn gust(&self) {
        let mut gusts = self.gusts.lock().expect("no test panics with a lock held");
        let Some(gust) = gusts.pop_front() else { return };
        gusts.push_back(gust);
        for _ in 0..gust {
            self.one_event();
        }
    }

    fn one_event(&self) -> bool {
        let Some((at_source, event)) = self.events.lock().expect("no test panics with a lock held").pop_front() else {
            return false;
        };
        let store = if at_source { &self.source } else { &self.target };
        match event {
            Event::Start(record) => store.server_start(&record),
            Event::Upsert(record) => store.server_upsert(&record),
            Event::Delete(key) => store.server_delete(&key),
        }
        true
    }

    pub(crate) fn drain(&self) {
        while self.one_event() {}
    }

    /// Lets the next attempt begin after a kill.
    pub(crate) fn revive(&self) {
        *self.killed_after_put.lock().expect("no test panics with a lock held") = None;
        *self.dead.lock().expect("no test panics with a lock held") = false;
    }

    fn alive(&self, store: &Memory) -> Result<(), Error> {
        if *self.dead.lock().expect("no test panics with a lock held") {
            return Err(Error::Unreachable {
                store: Read::describe(store),
                reason: "killed".to_owned(),
            });
        }
        Ok(())
    }
}

/// One store of a cluster, as the code under test sees it.
pub(crate) struct Port<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) store: &'a Memory,
}

#[async_trait]
impl Read for Port<'_> {
    fn describe(&self) -> String {
        Read::describe(self.store)
    }
    fn precision(&self) -> Precision {
        self.store.precision()
    }
    fn versioned(&self) -> bool {
        Read::versioned(self.store)
    }
    async fn scan(&self, range: &Range, limit: usize) -> Result<Vec<Record>, Error> {
        self.cluster.alive(self.store)?;
        self.cluster.gust();
        let page = self.store.scan(range, limit).await;
        self.cluster.gust();
        page
    }
    async fn get(&self, keys: &[Key]) -> Result<Vec<Record>, Error> {
        self.cluster.alive(self.store)?;
        self.cluster.gust();
        self.store.get(keys).await
    }
    async fn versions(&self, keys: &[Key]) -> Result<BTreeMap<Key, Option<i64>>, Error> {
        self.cluster.alive(self.store)?;
        self.cluster.gust();
        let versions = self.store.versions(keys).await;
        self.cluster.gust();
        versions
    }
    async fn count(&self, namespace_id: Option<&str>) -> Result<BTreeMap<String, Count>, Error> {
        self.store.count(namespace_id).await
    }
    fn signs(&self, wanted: Wanted) -> Option<BoxStream<'_, Result<Page, Error>>> {
        let pages = self.store.signs(wanted).filter(|_| self.cluster.has_signs)?;
        let pages = pages.map(|page| {
            self.cluster.alive(self.store)?;
            self.cluster.gust();
            page
        });
        Some(pages.boxed())
    }
    async fn namespaces(&self) -> Result<Vec<String>, Error> {
        self.store.namespaces().await
    }
    async fn open_started_before(
        &self,
        before: Timestamp,
        range: &Range,
        limit: usize,
    ) -> Result<Vec<OpenExecution>, Error> {
        self.store.open_started_before(before, range, limit).await
    }
}

#[async_trait]
impl Write for Port<'_> {
    fn describe(&self) -> String {
        Read::describe(self.store)
    }
    async fn put(&self, records: &[Record]) -> Result<u64, Error> {
        self.cluster.alive(self.store)?;
        self.cluster.gust();
        let before: BTreeMap<Key, Option<i64>> = self
            .store
            .versions(&records.iter().map(|r| r.key.clone()).collect::<Vec<_>>())
            .await?;
        let written = self.store.put(records).await;
        for (key, version) in self.store.versions(&before.keys().cloned().collect::<Vec<_>>()).await? {
            assert!(
                version >= before[&key],
                "{key} went back from {:?} to {version:?}",
                before[&key]
            );
        }
        let mut countdown = self
            .cluster
            .killed_after_put
            .lock()
            .expect("no test panics with a lock held");
        match *countdown {
            Some(0) => *self.cluster.dead.lock().expect("no test panics with a lock held") = true,
            Some(n) => *countdown = Some(n - 1),
            None => {}
        }
        self.cluster.gust();
        written
    }
    async fn rewrite(&self, changes: &[Rewrite]) -> Result<u64, Error> {
        self.cluster.alive(self.store)?;
        self.cluster.gust();
        self.store.rewrite(changes).await
    }
    async fn delete(&self, condemned: &[Condemned]) -> Result<u64, Error> {
        self.cluster.alive(self.store)?;
        self.cluster.gust();
        self.store.delete(condemned).await
    }
}

/// What happens to one execution: what is there before, and how long it lives on.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) namespace: u8,
    pub(crate) run: u16,
    /// What the source has of it at first, if anything: its version.
    pub(crate) at_source: Option<u8>,
    /// Whether the target has it too, of that version (`true`) or of an older one.
    pub(crate) at_target: Option<bool>,
    /// The server's events to come: moment, lag of the target's half behind the source's, and what.
    pub(crate) events: Vec<(u16, i16, u8)>,
}

pub(crate) fn life() -> impl Strategy<Value = Life> {
    let event = (0..400_u16, 0..60_i16, 0..4_u8);
    (
        0..3_u8,
        0..200_u16,
        prop::option::of(1..20_u8),
        prop::option::of(any::<bool>()),
        vec(event, 0..4),
    )
        .prop_map(|(namespace, run, at_source, at_target, mut events)| {
            events.sort_by_key(|event| event.0);
            Life {
                namespace,
                run,
                at_source,
                at_target,
                events,
            }
        })
}

pub(crate) fn record(life: &Life, version: i64) -> Record {
    // Run ids as servers make them, and in one Namespace others.
    let run_id = match life.namespace {
        2 => format!("{:04}", life.run),
        _ => format!("{:08x}-0000-4000-8000-000000000000", u32::from(life.run) << 24),
    };
    let mut record = marker_record(&format!("n{}", life.namespace), "w", &run_id, Timestamp::UNIX_EPOCH);
    record.version = Some(version);
    record.task_queue = format!("content of version {version}");
    record
}

/// Builds a cluster. `parallel` lets the target's half of a write come before the source's, as servers from 1.29 do.
pub(crate) fn cluster(lives: &[Life], gusts: &[usize], versioned: bool, parallel: bool) -> Cluster {
    let new = |name: &str| {
        if versioned {
            Memory::versioned(name)
        } else {
            Memory::unversioned(name)
        }
    };
    let (source, target) = (new("source"), new("target"));
    let mut timeline: Vec<(i32, bool, Event)> = Vec::new();
    let lives: BTreeMap<(u8, u16), &Life> = lives.iter().map(|life| ((life.namespace, life.run), life)).collect();
    for life in lives.values() {
        let mut version = i64::from(life.at_source.unwrap_or(0)) * 2;
        if life.at_source.is_some() {
            source.server_upsert(&record(life, version));
            match life.at_target {
                Some(true) => target.server_upsert(&record(life, version)),
                // Without versions nothing tells an older record, so that a copy alone cannot mend it.
                Some(false) if versioned => target.server_upsert(&record(life, version - 1)),
                _ => {}
            }
        }
        // What the execution's mutable state holds: whatever the server writes next says that.
        let mut current: Option<Record> = None;
        // Each store sees the events of one execution in their order.
        let mut last = [0_i32; 2];
        for (moment, lag, what) in &life.events {
            version += 2;
            let event = match what {
                // A start after others is what refreshing an execution's tasks writes: a later version of the state as
                // it is (1.30.8: service/history/visibility_queue_task_executor.go reads it when the task runs).
                0 if life.at_source.is_none() => {
                    let state = current.get_or_insert_with(|| record(life, version));
                    Event::Start(Record {
                        version: Some(version),
                        ..state.clone()
                    })
                }
                3 => Event::Delete(record(life, version).key),
                _ => Event::Upsert(current.insert(record(life, version)).clone()),
            };
            let moment = i32::from(*moment);
            let lag = if parallel {
                i32::from(*lag) - 30
            } else {
                i32::from(*lag)
            };
            let at_source = moment.max(last[0] + 1).max(if parallel { 0 } else { last[1] });
            let at_target = (moment + lag)
                .max(last[1] + 1)
                .max(if parallel { 0 } else { at_source });
            last = [at_source, at_target];
            timeline.push((at_source, true, event.clone()));
            timeline.push((at_target, false, event));
            if *what == 3 {
                // A run id is never used again.
                break;
            }
        }
    }
    timeline.sort_by_key(|(moment, at_source, _)| (*moment, !at_source));
    Cluster {
        source,
        target,
        events: Mutex::new(
            timeline
                .into_iter()
                .map(|(_, at_source, event)| (at_source, event))
                .collect(),
        ),
        gusts: Mutex::new(gusts.iter().copied().collect()),
        killed_after_put: Mutex::new(None),
        dead: Mutex::new(false),
        has_signs: false,
    }
}
