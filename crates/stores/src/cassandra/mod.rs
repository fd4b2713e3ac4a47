//! Cassandra: the standard visibility store of servers up to 1.23. Only read: no server writes to one that it was moved
//! to, since 1.24 has none.
//!
//! # What the tables are, and what is asked of them
//!
//! There are two, `open_executions` and `closed_executions`. A Namespace is one partition of each, sorted by time
//! (start, close) and then by run; a close deletes the one row and inserts the other in one batch. The ports ask for
//! records in the order of runs, and for single ones by their run. Neither table can tell where a run is.
//!
//! So a [window](window) of places is read first, keys only, all open ones before all closed ones: it knows for each run
//! of the Namespace the table and the time, sorted by run. Records are then read by their whole primary key, 64 in a
//! request, in the order of the window. It is read again when a scan of the Namespace begins, and when it is older than
//! ten minutes (or twenty times as long as it took). What it takes is bounded whatever the Namespace's size
//! ([`window::CAPACITY`]).
//!
//! # What absence means
//!
//! Whoever asks concludes from absence that a record was deleted, and deletes it at the target. So absence is never
//! taken from the window alone:
//!
//! - A *closed* execution stays where it is. If it is not at the place where the window or an earlier reading had it, it
//!   was deleted.
//! - An *open* one that is not at its place has closed or was deleted. It is looked for among its workflow's closed
//!   executions, by the index that the schema has on `workflow_id`; if it is not there either, once more a second
//!   later, for the batch that closes it is applied to one table after the other.
//! - One that *the window does not have* may be new. Whoever knows it from the other store has hinted at it
//!   ([`Read::hint`]): then it is looked for at the times that the other store has, and among its workflow's open and
//!   closed executions. Otherwise the latest quarter of an hour of both tables is searched, and when that does not
//!   have it, a new window is read, unless one was read within the last half minute.
//!
//! Reads ask for at least a local quorum, since one replica may lack what was written ([`entry`]).
//!
//! A record that is in neither table for the moment in which both are being read may be missing from a scan. In dual
//! mode its close reaches the target by itself; the next comparison looks at it again.

mod connect;
mod entry;
mod fault;
mod inspect;
mod lookup;
mod pages;
mod row;
mod sightings;
mod tls;
mod window;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use crossfade_visibility::keeps::{Column, Keeps};
use crossfade_visibility::ports::{Count, Error, OpenExecution, Precision, Range, Read};
use crossfade_visibility::record::{Key, Record};
use jiff::Timestamp;
use uuid::Uuid;

pub(crate) use self::entry::CassandraEntry;
pub(crate) use self::inspect::inspect;
use self::pages::Pages;
use self::sightings::Sightings;
use self::window::{Builder, CAPACITY, Window};
use crate::error::OpenError;

/// How old a window may be when a scan begins: it is the beginning that makes it new.
const FRESH: Duration = Duration::from_secs(1);

/// How old a window may become in the middle of a scan, at least.
const STALE: Duration = Duration::from_secs(600);

/// A window may become this many times as old as it took to read, so that large Namespaces are not read over and over.
const STALE_BY: u32 = 20;

/// For how long the list of Namespaces is believed in the middle of a scan.
const NAMESPACES_FRESH: Duration = Duration::from_secs(60);

/// One keyspace with both tables.
pub(crate) struct Cassandra {
    name: String,
    pages: Pages,
    windows: Mutex<HashMap<Uuid, Arc<Window>>>,
    /// Held while a window is read: it takes memory and the cluster's time.
    reading: tokio::sync::Mutex<()>,
    namespaces: Mutex<Option<(Instant, Arc<[String]>)>>,
    sightings: Sightings,
}

impl Cassandra {
    pub(crate) async fn open(entry: CassandraEntry) -> Result<Self, OpenError> {
        let name = entry.describe();
        let session = connect::connect(&entry).await?;
        inspect::check(&entry, &session).await?;
        Ok(Self {
            pages: Pages::new(name.clone(), session, &entry.keyspace).await?,
            name,
            windows: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
            namespaces: Mutex::default(),
            sightings: Sightings::default(),
        })
    }

    /// The window at hand, whatever it covers.
    fn window_at_hand(&self, namespace: Uuid) -> Option<Arc<Window>> {
        let windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        windows.get(&namespace).cloned()
    }

    /// A window that covers the runs after `after`: the one at hand, or a new one when a scan begins or it is too old.
    async fn window(&self, namespace: Uuid, after: Option<Uuid>) -> Result<Arc<Window>, Error> {
        let good = |window: &Arc<Window>| {
            let age = window.since.elapsed().saturating_sub(window.took);
            let allowed = if after.is_none() {
                FRESH
            } else {
                STALE.max(window.took * STALE_BY)
            };
            window.goes_on_after(after) && age < allowed
        };
        match self.window_at_hand(namespace).filter(good) {
            Some(window) => Ok(window),
            None => self.read_window(namespace, after).await,
        }
    }

    /// Reads the places of the runs after `after` anew.
    async fn read_window(&self, namespace: Uuid, after: Option<Uuid>) -> Result<Arc<Window>, Error> {
        let _turn = self.reading.lock().await;
        // Not two of one Namespace at a time.
        self.windows
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&namespace);
        let mut builder = Builder::new(after, CAPACITY);
        self.pages
            .open_keys(namespace, i64::MIN, &mut |(run, at, workflow_id)| {
                builder.open(run, at.0, workflow_id.unwrap_or_default());
            })
            .await?;
        self.pages
            .closed_keys(namespace, i64::MIN, &mut |(run, at)| builder.closed(run, at.0))
            .await?;
        let window = Arc::new(builder.finish());
        tracing::debug!(%namespace, runs = window.len(), took = ?window.took, whole = window.until().is_none(), "read where the rows lie");
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        while !windows.is_empty()
            && windows.values().map(|window| window.weight()).sum::<usize>() + window.weight() > CAPACITY
        {
            let oldest = windows.iter().min_by_key(|(_, window)| window.since).map(|(id, _)| *id);
            oldest.and_then(|oldest| windows.remove(&oldest));
        }
        windows.insert(namespace, window.clone());
        Ok(window)
    }

    /// The Namespaces to go through, from a cursor on.
    async fn namespaces_from(&self, range: &Range) -> Result<Vec<String>, Error> {
        if let Some(namespace) = &range.namespace_id {
            return Ok(vec![namespace.clone()]);
        }
        let after = range.after.as_ref().map(|key| key.namespace_id.as_str());
        let at_hand = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let at_hand = at_hand.filter(|(since, _)| after.is_some() && since.elapsed() < NAMESPACES_FRESH);
        let namespaces: Arc<[String]> = match at_hand {
            Some((_, namespaces)) => namespaces,
            None => {
                let read: Arc<[String]> = self.namespaces().await?.into();
                let mut at_hand = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
                *at_hand = Some((Instant::now(), read.clone()));
                read
            }
        };
        let from = namespaces
            .iter()
            .filter(|id| after.is_none_or(|after| id.as_str() >= after));
        Ok(from.cloned().collect())
    }

    /// Records in order, of the runs that `choose` takes of a window after a run: `range`'s first that still exist.
    async fn first<T>(
        &self,
        range: &Range,
        choose: impl Fn(&Window, Option<Uuid>, Option<Uuid>) -> Vec<Uuid>,
        make: impl Fn(Record) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        for namespace_id in self.namespaces_from(range).await? {
            let Some(namespace) = canonical(&namespace_id) else {
                continue;
            };
            let Some((mut after, until)) = bounds(range, &namespace_id) else {
                continue;
            };
            loop {
                let window = self.window(namespace, after).await?;
                let runs = choose(&window, after, until);
                let Some(last) = runs.last().copied() else {
                    // The next window, if this one was not all of the Namespace.
                    match window.until() {
                        Some(end) if until.is_none_or(|until| end < until) => after = Some(end),
                        _ => break,
                    }
                    continue;
                };
                let found: Vec<T> = self
                    .find(namespace, &namespace_id, &runs)
                    .await?
                    .into_values()
                    .filter_map(&make)
                    .collect();
                if !found.is_empty() {
                    return Ok(found);
                }
                after = Some(last);
            }
        }
        Ok(Vec::new())
    }

    async fn count_of(&self, namespace: Uuid) -> Result<Count, Error> {
        let mut count = Count::default();
        let mut after = None;
        loop {
            let window = self.window(namespace, after).await?;
            count.open += window.open() as u64;
            count.closed += (window.len() - window.open()) as u64;
            match window.until() {
                Some(until) => after = Some(until),
                None => return Ok(count),
            }
        }
    }
}

#[async_trait]
impl Read for Cassandra {
    fn describe(&self) -> String {
        self.name.clone()
    }

    fn precision(&self) -> Precision {
        Precision::Millisecond
    }

    fn keeps(&self) -> Keeps {
        // 1.23.1: schema/cassandra/visibility/schema.cql
        Keeps::all_but(&[
            Column::HistorySizeBytes,
            Column::ExecutionDuration,
            Column::StateTransitionCount,
            Column::SearchAttributes,
            Column::Parent,
            Column::Root,
        ])
    }

    fn versioned(&self) -> bool {
        false
    }

    fn hint(&self, record: &Record) {
        self.sightings.note(record, false);
    }

    async fn scan(&self, range: &Range, limit: usize) -> Result<Vec<Record>, Error> {
        let choose = |window: &Window, after, until| window.runs(after, until, limit.max(1));
        self.first(range, choose, Some).await
    }

    async fn get(&self, keys: &[Key]) -> Result<Vec<Record>, Error> {
        let mut asked: BTreeMap<&str, BTreeSet<Uuid>> = BTreeMap::new();
        for key in keys {
            if let Some(run) = canonical(&key.run_id) {
                asked.entry(&key.namespace_id).or_default().insert(run);
            }
        }
        let mut found = Vec::new();
        for (namespace_id, runs) in asked {
            let Some(namespace) = canonical(namespace_id) else {
                continue;
            };
            let runs: Vec<Uuid> = runs.into_iter().collect();
            found.extend(self.find(namespace, namespace_id, &runs).await?.into_values());
        }
        Ok(found)
    }

    async fn versions(&self, keys: &[Key]) -> Result<BTreeMap<Key, Option<i64>>, Error> {
        let found = self.get(keys).await?;
        Ok(found.into_iter().map(|record| (record.key, None)).collect())
    }

    async fn count(&self, namespace_id: Option<&str>) -> Result<BTreeMap<String, Count>, Error> {
        let namespaces = match namespace_id {
            Some(id) => vec![id.to_owned()],
            None => self.namespaces().await?,
        };
        let mut counts = BTreeMap::new();
        for id in namespaces {
            let Some(namespace) = canonical(&id) else { continue };
            let count = self.count_of(namespace).await?;
            if count.total() > 0 {
                counts.insert(id, count);
            }
        }
        Ok(counts)
    }

    async fn namespaces(&self) -> Result<Vec<String>, Error> {
        let found: BTreeSet<Uuid> = self.pages.namespaces().await?.into_iter().collect();
        Ok(found.into_iter().map(|id| id.to_string()).collect())
    }

    async fn open_started_before(
        &self,
        before: Timestamp,
        range: &Range,
        limit: usize,
    ) -> Result<Vec<OpenExecution>, Error> {
        // The first millisecond that is not before.
        let end = before.as_millisecond() + i64::from(before != Precision::Millisecond.truncate(before));
        let choose = |window: &Window, after, until| window.open_before(end, after, until, limit.max(1));
        let make = |record: Record| {
            (record.is_open() && record.start_time < before).then_some(OpenExecution {
                key: record.key,
                workflow_id: record.workflow_id,
                workflow_type: record.workflow_type,
                start_time: record.start_time,
            })
        };
        self.first(range, choose, make).await
    }
}

/// A UUID in the form that everyone writes; in any other it is not the same key.
fn canonical(text: &str) -> Option<Uuid> {
    let uuid: Uuid = text.parse().ok()?;
    (uuid.to_string() == text).then_some(uuid)
}

/// The runs of one Namespace that lie in a range: after one and up to another. `None` when none can.
fn bounds(range: &Range, namespace_id: &str) -> Option<(Option<Uuid>, Option<Uuid>)> {
    let after = match &range.after {
        Some(after) if after.namespace_id.as_str() > namespace_id => return None,
        Some(after) if after.namespace_id == namespace_id => last_up_to(&after.run_id),
        _ => None,
    };
    let until = match &range.until {
        Some(until) if until.namespace_id.as_str() < namespace_id => return None,
        Some(until) if until.namespace_id == namespace_id => Some(last_up_to(&until.run_id)?),
        _ => None,
    };
    Some((after, until))
}

/// The last UUID whose text does not come after `text`: a cursor may be any text.
fn last_up_to(text: &str) -> Option<Uuid> {
    if let Some(uuid) = canonical(text) {
        return Some(uuid);
    }
    let fits = |n: u128| Uuid::from_u128(n).to_string().as_str() <= text;
    if !fits(0) {
        return None;
    }
    let (mut low, mut high) = (0, u128::MAX);
    while low < high {
        let middle = high - (high - low) / 2;
        if fits(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    Some(Uuid::from_u128(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_is_a_cursor() {
        assert_eq!(last_up_to(""), None);
        assert_eq!(last_up_to("-"), None);
        assert_eq!(last_up_to("g"), Some(Uuid::max()));
        let text = |text: &str| last_up_to(text).map(|uuid| uuid.to_string());
        let exact = "0123abcd-0000-4000-8000-000000000000";
        assert_eq!(text(exact).as_deref(), Some(exact));
        assert_eq!(text("0123").as_deref(), Some("0122ffff-ffff-ffff-ffff-ffffffffffff"));
        assert_eq!(
            text("0123ABCD-0000-4000-8000-000000000000").as_deref(),
            Some("01239fff-ffff-ffff-ffff-ffffffffffff")
        );
        assert_eq!(text(&format!("{exact}!")).as_deref(), Some(exact));
    }

    #[test]
    fn only_the_form_that_everyone_writes_is_a_key() {
        assert!(canonical("0123abcd-0000-4000-8000-000000000000").is_some());
        for odd in [
            "0123ABCD-0000-4000-8000-000000000000",
            "0123abcd000040008000000000000000",
            "run",
            "",
        ] {
            assert_eq!(canonical(odd), None, "{odd}");
        }
    }
}
