//! Both ports of a store with a clock at each call: where the time of a copy or a comparison goes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use crossfade_visibility::digest::{Digests, Question};
use crossfade_visibility::keeps::Keeps;
use crossfade_visibility::ports::{
    Condemned, Count, Error, OpenExecution, Pages, Place, Precision, Range, Read, Rewrite, Write,
};
use crossfade_visibility::record::{Key, Record};
use crossfade_visibility::sign::{Page, Wanted};
use futures::stream::{self, BoxStream, StreamExt as _};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The calls of one kind.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Phase {
    /// Which store and call.
    pub(crate) name: String,
    /// How many.
    pub(crate) calls: u64,
    /// How long they took, those at one time counted each.
    pub(crate) seconds: f64,
}

/// The clock that all of a job's stores share.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clock(Arc<Mutex<Times>>);

#[derive(Debug, Default)]
struct Times {
    /// Calls and their time, by name.
    calls: BTreeMap<String, (u64, Duration)>,
    /// How many calls are under way, and since when any is.
    under_way: u32,
    since: Option<Instant>,
    /// How long any call was under way.
    waiting: Duration,
}

impl Clock {
    /// What was measured so far, by name.
    pub(crate) fn phases(&self) -> Vec<Phase> {
        let Ok(times) = self.0.lock() else { return Vec::new() };
        let phase = |(name, (calls, took)): (&String, &(u64, Duration))| Phase {
            name: name.clone(),
            calls: *calls,
            seconds: took.as_secs_f64(),
        };
        times.calls.iter().map(phase).collect()
    }

    /// For how many seconds at least one call was under way.
    pub(crate) fn waiting(&self) -> f64 {
        self.0.lock().map_or(0.0, |times| times.waiting.as_secs_f64())
    }

    /// Notes how long `work` takes, as a call of this name to the store in this role.
    pub(crate) async fn time<T>(&self, role: &str, call: &str, work: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        if let Ok(mut times) = self.0.lock() {
            times.under_way += 1;
            times.since.get_or_insert(begun);
        }
        let done = work.await;
        if let Ok(mut times) = self.0.lock() {
            let (calls, sum) = times.calls.entry(format!("{role} {call}")).or_default();
            *calls += 1;
            *sum += begun.elapsed();
            times.under_way -= 1;
            if times.under_way == 0
                && let Some(since) = times.since.take()
            {
                times.waiting += since.elapsed();
            }
        }
        done
    }
}

/// One port of a store, timed.
pub(crate) struct Timed<P> {
    /// The store's part: `source` or `target`.
    pub(crate) role: &'static str,
    /// The port.
    pub(crate) port: P,
    /// Where the times go.
    pub(crate) clock: Clock,
}

impl<P: Sync> Timed<P> {
    /// Pages, each of them timed.
    fn timed<'a, T: Send + 'a>(&'a self, call: &'static str, pages: BoxStream<'a, T>) -> BoxStream<'a, T> {
        let timed = stream::unfold(pages, move |mut pages| async move {
            let next = self.clock.time(self.role, call, pages.next()).await?;
            Some((next, pages))
        });
        timed.boxed()
    }
}

#[async_trait]
impl Read for Timed<Arc<dyn Read>> {
    fn describe(&self) -> String {
        self.port.describe()
    }

    fn precision(&self) -> Precision {
        self.port.precision()
    }

    fn keeps(&self) -> Keeps {
        self.port.keeps()
    }

    fn versioned(&self) -> bool {
        self.port.versioned()
    }

    fn hint(&self, record: &Record) {
        self.port.hint(record);
    }

    async fn scan(&self, range: &Range, limit: usize) -> Result<Vec<Record>, Error> {
        self.clock.time(self.role, "scan", self.port.scan(range, limit)).await
    }

    fn in_own_order(&self, limit: usize) -> Option<Pages<'_>> {
        Some(self.timed("scan", self.port.in_own_order(limit)?))
    }

    async fn in_list_order(&self, namespace_id: Option<&str>, limit: usize) -> Result<Option<Pages<'_>>, Error> {
        let pages = self.port.in_list_order(namespace_id, limit).await?;
        Ok(pages.map(|pages| self.timed("scan", pages)))
    }

    fn place(&self) -> Option<Place> {
        self.port.place()
    }

    async fn scan_names(&self, range: &Range, limit: usize) -> Result<Vec<Record>, Error> {
        let names = self.port.scan_names(range, limit);
        self.clock.time(self.role, "names", names).await
    }

    fn names_in_own_order(&self, limit: usize) -> Option<Pages<'_>> {
        Some(self.timed("names", self.port.names_in_own_order(limit)?))
    }

    async fn get(&self, keys: &[Key]) -> Result<Vec<Record>, Error> {
        self.clock.time(self.role, "get", self.port.get(keys)).await
    }

    async fn versions(&self, keys: &[Key]) -> Result<BTreeMap<Key, Option<i64>>, Error> {
        self.clock.time(self.role, "versions", self.port.versions(keys)).await
    }

    async fn versions_of(&self, records: &[Record]) -> Result<BTreeMap<Key, Option<i64>>, Error> {
        let found = self.port.versions_of(records);
        self.clock.time(self.role, "versions", found).await
    }

    async fn gone(&self, records: &[Record]) -> Result<Vec<Key>, Error> {
        self.clock.time(self.role, "gone", self.port.gone(records)).await
    }

    async fn count(&self, namespace_id: Option<&str>) -> Result<BTreeMap<String, Count>, Error> {
        self.clock.time(self.role, "count", self.port.count(namespace_id)).await
    }

    async fn digests(&self, question: Question<'_>) -> Result<Option<Digests>, Error> {
        self.clock.time(self.role, "digests", self.port.digests(question)).await
    }

    fn signs(&self, wanted: Wanted) -> Option<BoxStream<'_, Result<Page, Error>>> {
        let pages = self.port.signs(wanted)?;
        let timed = stream::unfold(pages, move |mut pages| async move {
            let next = self.clock.time(self.role, "signs", pages.next()).await?;
            Some((next, pages))
        });
        Some(timed.boxed())
    }

    fn dialect(&self) -> Option<&'static str> {
        self.port.dialect()
    }

    async fn namespaces(&self) -> Result<Vec<String>, Error> {
        self.clock.time(self.role, "namespaces", self.port.namespaces()).await
    }

    async fn open_started_before(
        &self,
        before: Timestamp,
        range: &Range,
        limit: usize,
    ) -> Result<Vec<OpenExecution>, Error> {
        let found = self.port.open_started_before(before, range, limit);
        self.clock.time(self.role, "open", found).await
    }
}

#[async_trait]
impl Write for Timed<Arc<dyn Write>> {
    fn describe(&self) -> String {
        self.port.describe()
    }

    async fn put(&self, records: &[Record]) -> Result<u64, Error> {
        self.clock.time(self.role, "put", self.port.put(records)).await
    }

    async fn takes_from(&self, place: &Place) -> Result<bool, Error> {
        self.port.takes_from(place).await
    }

    async fn take(&self, place: &Place, named: &[Record]) -> Result<Option<u64>, Error> {
        self.clock.time(self.role, "take", self.port.take(place, named)).await
    }

    async fn rewrite(&self, changes: &[Rewrite]) -> Result<u64, Error> {
        self.clock.time(self.role, "rewrite", self.port.rewrite(changes)).await
    }

    async fn delete(&self, condemned: &[Condemned]) -> Result<u64, Error> {
        self.clock.time(self.role, "delete", self.port.delete(condemned)).await
    }
}
