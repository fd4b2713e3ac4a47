//! A rate for writes, changeable while they run.

use std::num::NonZeroU32;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use crate::ports::{Condemned, Error, Rewrite, Write};
use crate::record::Record;

/// How many records may be written per second. Clones share one setting, so that an operator's hand on one of them
/// slows or speeds a copy under way; a waiting write feels it at once.
#[derive(Clone, Debug)]
pub struct Rate(watch::Sender<Option<NonZeroU32>>);

impl Rate {
    /// A rate in records per second; `None` is as fast as the stores go.
    pub fn new(records_per_second: Option<NonZeroU32>) -> Self {
        Self(watch::Sender::new(records_per_second))
    }

    /// Changes the rate, in records per second; `None` is as fast as the stores go.
    pub fn set(&self, records_per_second: Option<NonZeroU32>) {
        self.0.send_replace(records_per_second);
    }

    /// The rate now, in records per second.
    pub fn get(&self) -> Option<NonZeroU32> {
        *self.0.borrow()
    }
}

/// A [`Write`] around a `Write` that keeps to a [`Rate`].
///
/// It never bursts beyond one call's records: time not used is not saved up, so that a pause is not followed by a rush.
/// Deletes are not paced: they are few, and each one late is a record that should not be there.
#[derive(Debug)]
pub struct Paced<W> {
    inner: W,
    rate: Rate,
    /// When what was written so far is paid for, kept in records rather than time so that a new rate applies at once.
    debt: Mutex<Debt>,
}

/// Records written and not yet waited for, as of a moment.
#[derive(Debug)]
struct Debt {
    records: f64,
    as_of: Instant,
}

impl<W> Paced<W> {
    /// Wraps `inner`.
    pub fn new(inner: W, rate: Rate) -> Self {
        Self {
            inner,
            rate,
            debt: Mutex::new(Debt {
                records: 0.0,
                as_of: Instant::now(),
            }),
        }
    }

    /// Waits until what was written before is paid for, then takes on `records` more.
    async fn wait(&self, records: usize) {
        let mut changes = self.rate.0.subscribe();
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
}

#[async_trait]
impl<W: Write> Write for Paced<W> {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    async fn put(&self, records: &[Record]) -> Result<u64, Error> {
        self.wait(records.len()).await;
        self.inner.put(records).await
    }

    async fn rewrite(&self, changes: &[Rewrite]) -> Result<u64, Error> {
        self.wait(changes.len()).await;
        self.inner.rewrite(changes).await
    }

    async fn delete(&self, condemned: &[Condemned]) -> Result<u64, Error> {
        self.inner.delete(condemned).await
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
