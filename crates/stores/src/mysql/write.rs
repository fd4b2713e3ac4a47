//! What is written, each batch in one transaction over all tables.

use std::collections::BTreeMap;

use async_trait::async_trait;
use crossfade_visibility::ports::{Condemned, Error, Rewrite, Write};
use crossfade_visibility::record::{Key, Record, latest_of_each};
use mysql_async::Value;

use super::connect::Session;
use super::{BATCH, Mysql, fault, row, statements};

/// About how many bytes one statement writes at most: a part of the smallest packet that servers are set to take.
const BATCH_BYTES: usize = 1 << 20;

/// How often a batch is begun anew because another writer came between.
const ATTEMPTS: usize = 5;

impl Mysql {
    /// Runs a part of a transaction, then commits; rolls back when it fails, or asks to be run again.
    async fn put_batch(&self, records: &[&Record]) -> Result<u64, Error> {
        for _ in 0..ATTEMPTS {
            let mut session = self.begin().await?;
            match self.put_once(&mut session, records).await {
                Ok(Some(written)) => {
                    commit(session).await?;
                    return Ok(written);
                }
                Ok(None) => session.roll_back().await,
                Err(error) => {
                    session.roll_back().await;
                    return Err(error);
                }
            }
        }
        Err(Error::Busy {
            store: self.name.clone(),
            reason: "others insert the same records again and again".to_owned(),
        })
    }

    async fn begin(&self) -> Result<Session<'_>, Error> {
        let mut session = self.writes.session().await?;
        session.command("START TRANSACTION").await?;
        Ok(session)
    }

    /// Writes those records that are absent or of a lower version. `None` when another writer inserted one of them since
    /// it was looked for: what is not there cannot be locked.
    async fn put_once(&self, session: &mut Session<'_>, records: &[&Record]) -> Result<Option<u64>, Error> {
        let held = self
            .lock_versions(session, records.iter().map(|record| &record.key))
            .await?;
        let versioned = self.tables.records.versioned();
        let (mut absent, mut older) = (Vec::new(), Vec::new());
        for record in records {
            match held.get(&record.key) {
                None => absent.push(*record),
                Some(version) if versioned && version.unwrap_or(0) < record.version.unwrap_or(0) => older.push(*record),
                Some(_) => {}
            }
        }
        // Apart, since only so the count of changes tells: of these each is one, or none if another was quicker.
        if !absent.is_empty() {
            let put = include_str!("../../sql/mysql/put_if_absent.sql");
            if self.write_records(session, put, &absent).await? != absent.len() as u64 {
                return Ok(None);
            }
        }
        if !older.is_empty() {
            self.write_records(session, include_str!("../../sql/mysql/put.sql"), &older)
                .await?;
        }
        let written = [absent, older].concat();
        if !written.is_empty() {
            self.write_attributes(session, &written).await?;
        }
        Ok(Some(written.len() as u64))
    }

    /// The versions of those of the keys that exist, locked.
    async fn lock_versions<'a>(
        &self,
        session: &mut Session<'_>,
        keys: impl ExactSizeIterator<Item = &'a Key>,
    ) -> Result<BTreeMap<Key, Option<i64>>, Error> {
        let lock = self
            .tables
            .for_reading(include_str!("../../sql/mysql/lock_versions.sql"), false);
        let lock = statements::with_keys(&lock, keys.len());
        let rows = session.rows(&lock, statements::key_parameters(keys)).await?;
        rows.iter()
            .map(|row| Ok((row::key(&self.name, row)?, row::plain(&self.name, row, 2)?)))
            .collect()
    }

    /// Runs a statement over records; gives how many rows changed, as MySQL counts.
    async fn write_records(
        &self,
        session: &mut Session<'_>,
        statement: &str,
        records: &[&Record],
    ) -> Result<u64, Error> {
        let parameters = |records: &[&Record]| {
            let values = records.iter().flat_map(|record| row::parameters(record, &self.tables));
            values.collect::<Vec<Value>>()
        };
        let all = self.tables.for_writing(statement, records.len());
        let error = match session.change(&all, parameters(records)).await {
            Ok(changed) => return Ok(changed),
            Err(error) => error,
        };
        let one = self.tables.for_writing(statement, 1);
        self.blame(session, error, records, &one, |record| parameters(&[record]))
            .await
    }

    /// Sets the attributes of records that this transaction has written, in the tables that index them.
    async fn write_attributes(&self, session: &mut Session<'_>, records: &[&Record]) -> Result<(), Error> {
        let statement = include_str!("../../sql/mysql/attributes.sql");
        for table in &self.tables.attributes {
            let parameters = |records: &[&Record]| {
                let values = records
                    .iter()
                    .flat_map(|record| row::attribute_parameters(record, table));
                values.collect::<Vec<Value>>()
            };
            let all = table.for_writing(statement, records.len());
            if let Err(error) = session.change(&all, parameters(records)).await {
                let one = table.for_writing(statement, 1);
                self.blame(session, error, records, &one, |record| parameters(&[record]))
                    .await?;
            }
        }
        Ok(())
    }

    /// Finds out whose value the server refuses, by writing one record after another. The transaction is rolled back in
    /// any case.
    async fn blame<T>(
        &self,
        session: &mut Session<'_>,
        error: mysql_async::Error,
        records: &[&Record],
        one: &str,
        parameters: impl Fn(&Record) -> Vec<Value>,
    ) -> Result<T, Error> {
        if fault::is_about_content(&error) {
            for record in records {
                if let Err(error) = session.change(one, parameters(record)).await {
                    return Err(Error::Refused {
                        store: self.name.clone(),
                        key: record.key.clone(),
                        reason: fault::reason(&error),
                    });
                }
            }
        }
        Err(fault::of(&self.name, &error))
    }

    async fn rewrite_once(&self, session: &mut Session<'_>, changes: &[Rewrite]) -> Result<u64, Error> {
        let keys: BTreeMap<&Key, ()> = changes.iter().map(|change| (&change.seen.key, ())).collect();
        let lock = self.tables.for_reading(include_str!("../../sql/mysql/lock.sql"), false);
        let lock = statements::with_keys(&lock, keys.len());
        let mut held = BTreeMap::new();
        for row in session
            .rows(&lock, statements::key_parameters(keys.into_keys()))
            .await?
        {
            let record = row::record(&self.name, &self.tables, &row)?;
            held.insert(record.key.clone(), record);
        }
        let unchanged = changes
            .iter()
            .filter(|change| held.get(&change.seen.key) == Some(&change.seen));
        let records: Vec<Record> = unchanged.map(|change| change.to.clone()).collect();
        let records = latest_of_each(&records);
        if !records.is_empty() {
            self.write_records(session, include_str!("../../sql/mysql/rewrite.sql"), &records)
                .await?;
            self.write_attributes(session, &records).await?;
        }
        Ok(records.len() as u64)
    }

    async fn delete_once(&self, session: &mut Session<'_>, condemned: &[&Condemned]) -> Result<u64, Error> {
        let held = self
            .lock_versions(session, condemned.iter().map(|condemned| &condemned.key))
            .await?;
        let (mut deleted, mut gone) = (Vec::new(), Vec::new());
        for Condemned { key, at_most } in condemned {
            match held.get(key) {
                None => gone.push(key),
                Some(Some(version)) if at_most.is_some_and(|most| *version > most) => {}
                Some(_) => deleted.push(key),
            }
        }
        let tables = self.tables.attributes.iter().map(|table| table.name);
        for table in std::iter::once("executions_visibility").chain(tables.clone()) {
            self.delete_keys(session, include_str!("../../sql/mysql/delete.sql"), table, &deleted)
                .await?;
        }
        for table in tables {
            self.delete_keys(
                session,
                include_str!("../../sql/mysql/delete_orphans.sql"),
                table,
                &gone,
            )
            .await?;
        }
        Ok(deleted.len() as u64)
    }

    async fn delete_keys(
        &self,
        session: &mut Session<'_>,
        statement: &str,
        table: &str,
        keys: &[&Key],
    ) -> Result<(), Error> {
        if keys.is_empty() {
            return Ok(());
        }
        let statement = statements::without_comments(statement).replace("{table}", table);
        let statement = statements::with_keys(&statement, keys.len());
        let done = session
            .change(&statement, statements::key_parameters(keys.iter().copied()))
            .await;
        done.map(|_| ()).map_err(|error| fault::of(&self.name, &error))
    }
}

async fn commit(mut session: Session<'_>) -> Result<(), Error> {
    session.command("COMMIT").await?;
    session.keep();
    Ok(())
}

async fn finish<T>(session: Session<'_>, done: Result<T, Error>) -> Result<T, Error> {
    match done {
        Ok(value) => {
            commit(session).await?;
            Ok(value)
        }
        Err(error) => {
            session.roll_back().await;
            Err(error)
        }
    }
}

#[async_trait]
impl Write for Mysql {
    fn describe(&self) -> String {
        self.name.clone()
    }

    async fn put(&self, records: &[Record]) -> Result<u64, Error> {
        let mut written = 0;
        for batch in batches(&latest_of_each(records)) {
            written += self.put_batch(batch).await?;
        }
        Ok(written)
    }

    async fn rewrite(&self, changes: &[Rewrite]) -> Result<u64, Error> {
        let mut rewritten = 0;
        for changes in changes.chunks(BATCH) {
            let mut session = self.begin().await?;
            let done = self.rewrite_once(&mut session, changes).await;
            rewritten += finish(session, done).await?;
        }
        Ok(rewritten)
    }

    async fn delete(&self, condemned: &[Condemned]) -> Result<u64, Error> {
        let mut condemned: Vec<&Condemned> = condemned.iter().collect();
        // In the order of the keys, so that two writers cannot deadlock; and each once, at the highest version named.
        condemned.sort_by(|a, b| a.key.cmp(&b.key).then_with(|| later(b, a)));
        condemned.dedup_by(|next, first| next.key == first.key);
        let mut deleted = 0;
        for condemned in condemned.chunks(BATCH) {
            let mut session = self.begin().await?;
            let done = self.delete_once(&mut session, condemned).await;
            deleted += finish(session, done).await?;
        }
        Ok(deleted)
    }
}

/// Orders by how late a version is named; any version (`None`) is the latest.
fn later(a: &Condemned, b: &Condemned) -> std::cmp::Ordering {
    let rank = |condemned: &Condemned| condemned.at_most.map_or((1, 0), |version| (0, version));
    rank(a).cmp(&rank(b))
}

/// Records in batches of at most [`BATCH`] and, unless one alone is larger, [`BATCH_BYTES`].
fn batches<'a, 'r>(records: &'a [&'r Record]) -> Vec<&'a [&'r Record]> {
    let (mut batches, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (at, record) in records.iter().enumerate() {
        let size = record.memo.as_ref().map_or(0, Vec::len) + record.search_attributes.len() * 256 + 1024;
        if at - start == BATCH || (at > start && bytes + size > BATCH_BYTES) {
            batches.push(&records[start..at]);
            (start, bytes) = (at, 0);
        }
        bytes += size;
    }
    if start < records.len() {
        batches.push(&records[start..]);
    }
    batches
}

#[cfg(test)]
mod tests {
    use crossfade_visibility::record::marker_record;
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn batches_are_bounded_by_records_and_by_bytes() {
        let record = |bytes: usize| Record {
            memo: Some(vec![0; bytes]),
            ..marker_record("n", "w", "r", Timestamp::UNIX_EPOCH)
        };
        let sizes = |records: &[Record]| {
            let records: Vec<&Record> = records.iter().collect();
            batches(&records).iter().map(|batch| batch.len()).collect::<Vec<_>>()
        };
        assert_eq!(sizes(&[]), Vec::<usize>::new());
        assert_eq!(sizes(&vec![record(0); 450]), [200, 200, 50]);
        assert_eq!(sizes(&vec![record(400_000); 5]), [2, 2, 1]);
        assert_eq!(sizes(&[record(9_000_000), record(0)]), [1, 1]);
    }
}
