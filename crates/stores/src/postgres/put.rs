//! Putting records: the bulk of a copy straight into the table, everything else by the versioned statement.
//!
//! `COPY` into the table itself is the quickest way there is, and cannot lose to or overwrite anyone: the primary key
//! refuses it as a whole as soon as one record is there already, whoever wrote it and however late. Then the statement
//! decides record by record. A target that fills up lacks nearly everything that is put, so that this is rare; where it
//! is not, `COPY` is left alone for longer and longer. Staging the records in a table of their own first would write
//! each of them twice, and need the right to make one.

use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};

use crossfade_visibility::ports::Error;
use crossfade_visibility::record::{Record, latest_of_each};
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::error::SqlState;

use super::row::Batch;
use super::{Postgres, fault};

/// The fewest records that are copied: below it the round trip more costs as much as is saved.
const COPIED_FROM: usize = 32;

/// Puts without a try at most, after one was in vain.
const LONGEST_WAIT: u32 = 256;

/// When to try `COPY`: after it was in vain once, not for the next put; after another time not for the next two, and so
/// on.
#[derive(Debug, Default)]
pub(super) struct Copying {
    /// Puts until the next try.
    wait: AtomicU32,
    /// How long the wait is that follows if it is in vain.
    next: AtomicU32,
}

impl Copying {
    fn is_worth_trying(&self) -> bool {
        let one_less = |wait: u32| wait.checked_sub(1);
        self.wait
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less)
            .is_err()
    }

    fn worked(&self) {
        self.next.store(0, Ordering::Relaxed);
    }

    fn never_works(&self) {
        self.wait.store(u32::MAX, Ordering::Relaxed);
    }

    fn was_in_vain(&self) {
        let wait = self.next.load(Ordering::Relaxed).max(1);
        self.wait.store(wait, Ordering::Relaxed);
        self.next.store((wait * 2).min(LONGEST_WAIT), Ordering::Relaxed);
    }
}

impl Postgres {
    /// Writes records, of each key the latest. When the server refuses a value, finds out whose.
    pub(super) async fn put_batch(&self, records: &[Record]) -> Result<u64, Error> {
        if records.len() >= COPIED_FROM
            && self.copying.is_worth_trying()
            // As they come: in this order they will lie in the table, which is a help to whoever reads it through.
            && let Some(written) = self.copy_in(&Batch::new(&records.iter().collect::<Vec<_>>())).await?
        {
            return Ok(written);
        }
        let records = latest_of_each(records);
        let batch = Batch::new(&records);
        let mut guard = self.writes.session().await?;
        let session = guard.get()?;
        let prepared = session.prepare(&self.put).await.map_err(|error| self.fault(&error))?;
        let error = match session.client.execute(&prepared, &batch.parameters()).await {
            Ok(written) => return Ok(written),
            Err(error) if fault::is_about_content(&error) => error,
            Err(error) => return Err(self.fault(&error)),
        };
        let transaction = session.client.transaction().await.map_err(|error| self.fault(&error))?;
        for record in records {
            let refused = transaction
                .execute(&prepared, &Batch::new(&[record]).parameters())
                .await;
            if let Err(error) = refused {
                let reason = fault::reason(&error);
                return Err(Error::Refused {
                    store: self.name.clone(),
                    key: record.key.clone(),
                    reason,
                });
            }
        }
        // Dropping the transaction rolls it back: the batch as a whole was refused and stays so.
        Err(self.fault(&error))
    }

    /// Copies records that are absent. `None` if that is not the way: one is there before, a value is refused (the
    /// statement finds out whose), or the table is one that takes no `COPY` (row security, a view).
    async fn copy_in(&self, batch: &Batch<'_>) -> Result<Option<u64>, Error> {
        let mut guard = self.writes.session().await?;
        let session = guard.get()?;
        let prepared = session.prepare(&self.copy).await.map_err(|error| self.fault(&error))?;
        let sink = match session.client.copy_in(&prepared).await {
            Ok(sink) => sink,
            Err(error) => {
                // Refused before it began, the driver gets out of step with the server (tokio-postgres 0.7.18: what it
                // sends to end the copy is answered, and it takes that for the answer to the next request).
                guard.discard();
                let takes_none = [SqlState::FEATURE_NOT_SUPPORTED, SqlState::WRONG_OBJECT_TYPE];
                if error.code().is_some_and(|code| takes_none.contains(code)) {
                    self.copying.never_works();
                    return Ok(None);
                }
                return Err(self.fault(&error));
            }
        };
        let sent = async {
            let mut writer = pin!(BinaryCopyInWriter::new(sink, &self.copy_types));
            for row in 0..batch.len() {
                let mut values = batch.row(row).to_vec();
                let mut present = self.copied.iter();
                values.retain(|_| present.next().copied().unwrap_or(false));
                writer.as_mut().write(&values).await?;
            }
            writer.finish().await
        };
        match sent.await {
            Ok(written) => {
                self.copying.worked();
                Ok(Some(written))
            }
            Err(error) if fault::is_about_content(&error) => {
                self.copying.was_in_vain();
                Ok(None)
            }
            Err(error) => Err(self.fault(&error)),
        }
    }

    /// Has the table analysed if it holds far more than the planner believes. Only to be quick: what goes wrong does not
    /// matter (a role that may not is answered with a warning).
    pub(super) async fn tell_planner(&self, written: u64) {
        let Ok(mut guard) = self.writes.session().await else {
            return;
        };
        let Ok(session) = guard.get() else { return };
        let believed = session
            .client
            .query_typed_one(include_str!("../../sql/postgres/estimate.sql"), &[])
            .await;
        let believed = believed.and_then(|row| row.try_get::<_, i64>(0));
        if believed.is_ok_and(|records| records.saturating_mul(5) < i64::try_from(written).unwrap_or(i64::MAX)) {
            let analyzed = session
                .client
                .batch_execute(include_str!("../../sql/postgres/analyze.sql"))
                .await;
            if let Err(error) = analyzed {
                tracing::debug!(%error, store = self.name, "the table could not be analysed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_vain_again_and_again_is_tried_less_and_less() {
        let copying = Copying::default();
        let mut tried = Vec::new();
        for put in 0..40 {
            if copying.is_worth_trying() {
                tried.push(put);
                copying.was_in_vain();
            }
        }
        assert_eq!(tried, [0, 2, 5, 10, 19, 36]);
        while !copying.is_worth_trying() {}
        copying.worked();
        assert!(copying.is_worth_trying(), "once it works it is always tried");
    }
}
