//! A rate for writes, or for a scan, changeable while they run.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt as _};
use jiff::Timestamp;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use crate::digest::{Digests, Question};
use crate::keeps::Keeps;
use crate::ports::{Condemned, Count, Error, OpenExecution, Place, Precision, Range, Read, Rewrite, Write};
use crate::record::{Key, Record};
use crate::sign::{Page, Wanted};

/// How many records may be written (or read) per second. Clones share one setting, so that an operator's hand on one of them
/// slows or speeds a copy under way; a waiting write feels it at once.
#[derive(Clone, Debug)]
pub struct Rate {
    limit: watch::Sender<Option<NonZeroU32>>,
    passed: Arc<AtomicU64>,
}

impl Rate {
    /// A rate in records per second; `None` is as fast as the stores go.
    pub fn new(records_per_second: Option<NonZeroU32>) -> Self {
        Self {
            limit: watch::Sender::new(records_per_second),
            passed: Arc::default(),
        }
    }

    /// Changes the rate, in records per second; `None` is as fast as the stores go.
    pub fn set(&self, records_per_second: Option<NonZeroU32>) {
        self.limit.send_replace(records_per_second);
    }

    /// The rate now, in records per second.
    pub fn get(&self) -> Option<NonZeroU32> {
        *self.limit.borrow()
    }

    /// Records that were let through so far.
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }
}

/// Keeps to a [`Rate`], call by call.
///
/// It never bursts beyond one call's records: time not used is not saved up, so that a pause is not followed by a rush.
#[derive(Debug)]
struct Pacer {
    rate: Rate,
    /// When what was done so far is paid for, kept in records rather than time so that a new rate applies at once.
    debt: Mutex<Debt>,
}

/// Records done and not yet waited for, as of a moment.
#[derive(Debug)]
struct Debt {
    records: f64,
    as_of: Instant,
}

impl Pacer {
    fn new(rate: Rate) -> Self {
        Self {
            rate,
            debt: Mutex::new(Debt {
                records: 0.0,
                as_of: Instant::now(),
            }),
        }
    }

    /// Waits until what was done before is paid for, then takes on `records` more.
    async fn wait(&self, records: usize) {
        self.until_paid(records).await;
        self.rate.passed.fetch_add(records as u64, Ordering::Relaxed);
    }

    async fn until_paid(&self, records: usize) {
        let mut changes = self.rate.limit.subscribe();
        let mut debt = self.debt.lock().await;
        loop {
            let rate = *changes.borrow_and_update();
            let now = Instant::now();
            let Some(rate) = rate.map(|rate| f64::from(rate.get())) else {
                *debt = Debt {
                    records: 0.0,
                    as_of: now,
                };
                return;
            };
            debt.records = (debt.records - now.duration_since(debt.as_of).as_secs_f64() * rate).max(0.0);
            debt.as_of = now;
            if debt.records <= 0.0 {
                debt.records = records as f64;
                return;
            }
            let wait = Duration::from_secs_f64(debt.records / rate);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                // The rate lives as long as `self` does, so that its sender cannot be gone.
                _ = changes.changed() => {}
            }
        }
    }

    /// Takes on records that turned out to be more than those waited with.
    async fn owe(&self, records: usize) {
        self.debt.lock().await.records += records as f64;
        self.rate.passed.fetch_add(records as u64, Ordering::Relaxed);
    }
}

/// A [`Write`] around a `Write` that keeps to a [`Rate`]. Deletes are not paced: they are few, and each one late is a
/// record that should not be there.
#[derive(Debug)]
pub struct Paced<W> {
    inner: W,
    pacer: Pacer,
}

impl<W> Paced<W> {
    /// Wraps `inner`.
    pub fn new(inner: W, rate: Rate) -> Self {
        Self {
            inner,
            pacer: Pacer::new(rate),
        }
    }
}

#[async_trait]
impl<W: Write> Write for Paced<W> {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    async fn put(&self, records: &[Record]) -> Result<u64, Error> {
        self.pacer.wait(records.len()).await;
        self.inner.put(records).await
    }

    async fn takes_from(&self, place: &Place) -> Result<bool, Error> {
        self.inner.takes_from(place).await
    }

    async fn take(&self, place: &Place, named: &[Record]) -> Result<Option<u64>, Error> {
        self.pacer.wait(named.len()).await;
        self.inner.take(place, named).await
    }

    async fn rewrite(&self, changes: &[Rewrite]) -> Result<u64, Error> {
        self.pacer.wait(changes.len()).await;
        self.inner.rewrite(changes).await
    }

    async fn delete(&self, condemned: &[Condemned]) -> Result<u64, Error> {
        self.inner.delete(condemned).await
    }
}

/// A [`Read`] whose scans keep to a [`Rate`]; look-ups are not paced, being as many as the records that are written.
pub struct PacedRead {
    inner: Arc<dyn Read>,
    pacer: Pacer,
}

impl PacedRead {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn Read>, rate: Rate) -> Self {
        Self {
            inner,
            pacer: Pacer::new(rate),
        }
    }
}

// Every method goes to the store's own, those with a default among them; but for the store's own order, which no rate
// holds back: without it, records are read in the order of keys.
#[async_trait]
impl Read for PacedRead {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn precision(&self) -> Precision {
        self.inner.precision()
    }

    fn keeps(&self) -> Keeps {
        self.inner.keeps()
    }

    fn versioned(&self) -> bool {
        self.inner.versioned()
    }

    fn hint(&self, record: &Record) {
        self.inner.hint(record);
    }

    async fn scan(&self, range: &Range, limit: usize) -> Result<Vec<Record>, Error> {
        self.pacer.wait(0).await;
        let page = self.inner.scan(range, limit).await?;
        self.pacer.owe(page.len()).await;
        Ok(page)
    }

    fn place(&self) -> Option<Place> {
        self.inner.place()
    }

    async fn scan_names(&self, range: &Range, limit: usize) -> Result<Vec<Record>, Error> {
        self.pacer.wait(0).await;
        let page = self.inner.scan_names(range, limit).await?;
        // Each of them is read, if not by us.
        self.pacer.owe(page.len()).await;
        Ok(page)
    }

    async fn get(&self, keys: &[Key]) -> Result<Vec<Record>, Error> {
        self.inner.get(keys).await
    }

    async fn versions(&self, keys: &[Key]) -> Result<BTreeMap<Key, Option<i64>>, Error> {
        self.inner.versions(keys).await
    }

    async fn versions_of(&self, records: &[Record]) -> Result<BTreeMap<Key, Option<i64>>, Error> {
        self.inner.versions_of(records).await
    }

    async fn gone(&self, records: &[Record]) -> Result<Vec<Key>, Error> {
        self.inner.gone(records).await
    }

    async fn count(&self, namespace_id: Option<&str>) -> Result<BTreeMap<String, Count>, Error> {
        self.inner.count(namespace_id).await
    }

    async fn digests(&self, question: Question<'_>) -> Result<Option<Digests>, Error> {
        self.inner.digests(question).await
    }

    fn signs(&self, wanted: Wanted) -> Option<BoxStream<'_, Result<Page, Error>>> {
        let pages = self.inner.signs(wanted)?;
        let paced = stream::unfold(pages, async |mut pages| {
            self.pacer.wait(0).await;
            let page = pages.next().await?;
            if let Ok(page) = &page {
                self.pacer.owe(page.records.len()).await;
            }
            Some((page, pages))
        });
        Some(paced.boxed())
    }

    fn dialect(&self) -> Option<&'static str> {
        self.inner.dialect()
    }

    async fn namespaces(&self) -> Result<Vec<String>, Error> {
        self.inner.namespaces().await
    }

    async fn open_started_before(
        &self,
        before: Timestamp,
        range: &Range,
        limit: usize,
    ) -> Result<Vec<OpenExecution>, Error> {
        self.inner.open_started_before(before, range, limit).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;
    use crate::record::marker_record;

    fn records(n: usize) -> Vec<Record> {
        (0..n)
            .map(|i| marker_record("n", "w", &format!("{i:03}"), jiff::Timestamp::UNIX_EPOCH))
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn keeps_to_the_rate() -> Result<(), Error> {
        let paced = Paced::new(Memory::versioned("m"), Rate::new(NonZeroU32::new(100)));
        let start = Instant::now();
        for _ in 0..5 {
            paced.put(&records(50)).await?;
        }
        // The first call is free, each of the four others waits for the 50 records before it.
        assert_eq!(start.elapsed().as_secs_f64().round(), 2.0);
        assert_eq!(paced.pacer.rate.passed(), 250);
        // What a cluster takes over by itself, too.
        let place = Place {
            cluster: "c".to_owned(),
            name: "n".to_owned(),
        };
        for _ in 0..2 {
            paced.take(&place, &records(50)).await?;
        }
        assert_eq!(start.elapsed().as_secs_f64().round(), 3.0);
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_write_feels_a_new_rate() -> Result<(), Error> {
        let rate = Rate::new(NonZeroU32::new(1));
        let paced = Paced::new(Memory::versioned("m"), rate.clone());
        let start = Instant::now();
        paced.put(&records(1000)).await?;
        let faster = async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            rate.set(None);
        };
        let (written, ()) = futures::join!(paced.put(&[]), faster);
        written?;
        assert_eq!(start.elapsed().as_secs(), 10);
        assert_eq!(rate.get(), None);
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_scan_keeps_to_the_rate() -> Result<(), Error> {
        let memory = Memory::versioned("m");
        memory.put(&records(100)).await?;
        let paced = PacedRead::new(Arc::new(memory), Rate::new(NonZeroU32::new(10)));
        let start = Instant::now();
        let mut range = Range::default();
        while let Some(last) = paced.scan(&range, 25).await?.pop() {
            range.after = Some(last.key);
        }
        // The fifth finds nothing, and waits for the fourth.
        assert_eq!(start.elapsed().as_secs(), 10);
        assert_eq!(paced.pacer.rate.passed(), 100);
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn idle_time_is_not_saved_up() -> Result<(), Error> {
        let paced = Paced::new(Memory::versioned("m"), Rate::new(NonZeroU32::new(10)));
        tokio::time::sleep(Duration::from_secs(60)).await;
        let start = Instant::now();
        paced.put(&records(10)).await?;
        paced.put(&records(10)).await?;
        assert!(start.elapsed() >= Duration::from_secs(1));
        Ok(())
    }
}
