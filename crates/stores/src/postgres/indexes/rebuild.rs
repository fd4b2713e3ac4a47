//! Building what is set aside, several at once while that is quick.
//!
//! # Two ways
//!
//! `CREATE INDEX` keeps writers out of the table while it works, lets other such builds work beside it, and leaves
//! nothing when it is ended. `CREATE INDEX CONCURRENTLY` keeps nobody out, reads the table twice, waits for every older
//! transaction, leaves an invalid index when it is ended, and only one of them works on a table at a time: its lock
//! shuts out its like. So the first way is taken, in several sessions, under a limit of how long a writer may have to
//! wait; between two builds the waiting writers have their turn. As soon as one index takes longer, it and all that
//! follow are built the second way, one after another.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossfade_visibility::copy::{Step, Watch};
use crossfade_visibility::indexing::{Building, Definition, Pace, Parked, Rebuilding, Rebuilt};
use crossfade_visibility::ports::Error;
use futures::future::try_join_all;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::super::Postgres;
use super::{LOCK, Place, Workshop};

/// How often it is looked how far the sessions are.
const LOOK: Duration = Duration::from_millis(500);

/// How long a build may wait for writers before those behind it wait too long.
const LOCK_WITHIN: &str = "2s";

/// What the builders share with the one that watches them.
#[derive(Default)]
struct Yard {
    left: VecDeque<Definition>,
    /// What took too long the quick way, and what came after it.
    slow: VecDeque<Definition>,
    /// Names by the process that builds them.
    under_way: BTreeMap<i32, String>,
    built: u64,
    slowly: u64,
}

/// How a build of one index ended.
enum Attempt {
    Built,
    TooLong,
}

impl Postgres {
    pub(super) async fn rebuild(
        &self,
        parked: &Parked,
        pace: Pace,
        watch: &mut dyn Watch<Rebuilding>,
    ) -> Result<Rebuilt, Error> {
        let workshop = self.workshop().await?;
        if !self.lock_alone(&workshop.client, watch).await? {
            return Ok(Rebuilt::default());
        }
        let Workshop { client, place } = &workshop;
        let wanted = self.wanted(client, place, parked).await?;
        let mut lacking = self.lacking(client, place, &wanted).await?;
        let total = wanted.len() as u64;
        let there = total - lacking.len() as u64;
        // What takes longest first, so that the sessions end together.
        lacking.sort_by_key(|index| !index.statement.contains(" USING gin "));
        let yard = Mutex::new(Yard {
            left: lacking.into(),
            ..Yard::default()
        });
        let done = tokio::select! {
            done = self.build_all(&yard, pace) => { done?; true }
            done = self.look_after(client, &yard, total, there, watch) => { done?; false }
        };
        let (built, slowly) = {
            let yard = seen(&yard);
            (yard.built, yard.slowly)
        };
        if done {
            self.finish(client, place, &wanted).await?;
            watch.page(&Rebuilding {
                total,
                built: total,
                ..Rebuilding::default()
            });
        }
        Ok(Rebuilt {
            built,
            slowly,
            finished: done,
        })
    }

    /// Waits until no other session builds, then holds the lock as a builder does. False when it was told to stop.
    /// It asks again and again and never waits in the server, where a build would wait for it in turn.
    async fn lock_alone(&self, client: &Client, watch: &mut dyn Watch<Rebuilding>) -> Result<bool, Error> {
        let fault = |error: tokio_postgres::Error| self.fault(&error);
        loop {
            let alone = client
                .query_one("SELECT PG_TRY_ADVISORY_LOCK($1)", &[&LOCK])
                .await
                .and_then(|row| row.try_get::<_, bool>(0))
                .map_err(fault)?;
            if alone {
                self.lock_with_others(client).await?;
                let unlock = "SELECT PG_ADVISORY_UNLOCK($1)";
                client.query_one(unlock, &[&LOCK]).await.map_err(fault)?;
                return Ok(true);
            }
            let waiting = Rebuilding {
                waiting_for: Some("an index that an earlier attempt is still building".to_owned()),
                ..Rebuilding::default()
            };
            if watch.page(&waiting) == Step::Stop {
                return Ok(false);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn lock_with_others(&self, client: &Client) -> Result<(), Error> {
        let shared = "SELECT PG_TRY_ADVISORY_LOCK_SHARED($1)";
        let locked = client.query_one(shared, &[&LOCK]).await;
        let locked = locked.and_then(|row| row.try_get::<_, bool>(0));
        match locked.map_err(|error| self.fault(&error))? {
            true => Ok(()),
            false => Err(Error::Busy {
                store: self.name.clone(),
                reason: "its indexes are being set aside".to_owned(),
            }),
        }
    }

    /// All that is to be there in the end: what the store has noted, and what it was only told of.
    async fn wanted(&self, client: &Client, place: &Place, parked: &Parked) -> Result<Vec<Definition>, Error> {
        let mut wanted: BTreeMap<String, Definition> = BTreeMap::new();
        let noted = self.noted(client, place).await?;
        for index in parked.indexes.iter().cloned().chain(noted) {
            wanted.insert(index.name.clone(), index);
        }
        for index in wanted.values() {
            if concurrently(index).is_none() {
                return Err(self.schema(format!(
                    "what is noted for index {} is not a statement that creates an index",
                    index.name
                )));
            }
        }
        Ok(wanted.into_values().collect())
    }

    /// Those that are not there. What an ended build left is removed: nobody builds now.
    async fn lacking(&self, client: &Client, place: &Place, wanted: &[Definition]) -> Result<Vec<Definition>, Error> {
        let present = self.present(client, place, wanted).await?;
        for (name, found) in &present {
            if !found.whole {
                tracing::info!(
                    index = name,
                    store = self.name,
                    "removing what a build that was ended left"
                );
                let drop = format!(
                    "SET lock_timeout = '{LOCK_WITHIN}'; DROP INDEX {}; SET lock_timeout = 0",
                    found.quoted
                );
                client.batch_execute(&drop).await.map_err(|error| self.fault(&error))?;
            }
        }
        let is_there = |index: &Definition| present.get(&index.name).is_some_and(|found| found.whole);
        Ok(wanted.iter().filter(|index| !is_there(index)).cloned().collect())
    }

    async fn present(
        &self,
        client: &Client,
        place: &Place,
        wanted: &[Definition],
    ) -> Result<BTreeMap<String, Found>, Error> {
        let names: Vec<&str> = wanted.iter().map(|index| index.name.as_str()).collect();
        let present = include_str!("../../../sql/postgres/indexes/present.sql");
        let rows = client.query(present, &[&place.table, &names]).await;
        let found = |row: &tokio_postgres::Row| -> Result<(String, Found), tokio_postgres::Error> {
            let found = Found {
                whole: row.try_get(1)?,
                quoted: row.try_get(2)?,
            };
            Ok((row.try_get(0)?, found))
        };
        let rows = rows.map_err(|error| self.fault(&error))?;
        rows.iter()
            .map(|row| found(row).map_err(|error| self.fault(&error)))
            .collect()
    }

    async fn build_all(&self, yard: &Mutex<Yard>, pace: Pace) -> Result<(), Error> {
        let sessions = pace.sessions.max(1).min(seen(yard).left.len());
        try_join_all((0..sessions).map(|_| self.build_quickly(yard, pace.longest_block))).await?;
        if seen(yard).slow.is_empty() {
            return Ok(());
        }
        self.build_slowly(yard).await
    }

    /// One session's work while builds are quick.
    async fn build_quickly(&self, yard: &Mutex<Yard>, longest_block: Duration) -> Result<(), Error> {
        let (client, process) = self.builder().await?;
        // These sessions share the server's processors among them already: workers of each session's own only cost more (a
        // sixth of all processor time, measured with two sessions). The limit comes last, so that it ends no other setting.
        let limits = format!(
            "SET max_parallel_maintenance_workers = 0; SET lock_timeout = '{LOCK_WITHIN}'; SET statement_timeout = {}",
            longest_block.as_millis().max(1)
        );
        client
            .batch_execute(&limits)
            .await
            .map_err(|error| self.fault(&error))?;
        loop {
            let next = {
                let mut yard = seen(yard);
                if !yard.slow.is_empty() {
                    let rest = std::mem::take(&mut yard.left);
                    yard.slow.extend(rest);
                }
                let next = yard.left.pop_front();
                if let Some(index) = &next {
                    yard.under_way.insert(process, index.name.clone());
                }
                next
            };
            let Some(index) = next else { return Ok(()) };
            let attempt = self.build(&client, &index, &index.statement).await;
            let mut yard = seen(yard);
            yard.under_way.remove(&process);
            match attempt? {
                Attempt::Built => yard.built += 1,
                Attempt::TooLong => yard.slow.push_front(index),
            }
        }
    }

    /// The rest, by the way that keeps nobody out.
    async fn build_slowly(&self, yard: &Mutex<Yard>) -> Result<(), Error> {
        let (client, process) = self.builder().await?;
        loop {
            let next = {
                let mut yard = seen(yard);
                let next = yard.slow.pop_front();
                if let Some(index) = &next {
                    yard.under_way.insert(process, index.name.clone());
                }
                next
            };
            let Some(index) = next else { return Ok(()) };
            let statement = concurrently(&index).unwrap_or_default();
            let attempt = self.build(&client, &index, &statement).await;
            let mut yard = seen(yard);
            yard.under_way.remove(&process);
            match attempt? {
                Attempt::Built => (yard.built, yard.slowly) = (yard.built + 1, yard.slowly + 1),
                // Nothing limits this session but a person who ended the build.
                Attempt::TooLong => {
                    return Err(Error::Busy {
                        store: self.name.clone(),
                        reason: format!("the build of index {} was ended", index.name),
                    });
                }
            }
        }
    }

    /// A session that builds, and its process.
    async fn builder(&self) -> Result<(Client, i32), Error> {
        let client = self.workshop().await?.client;
        self.lock_with_others(&client).await?;
        let process = client.query_one("SELECT PG_BACKEND_PID()", &[]).await;
        let process = process.and_then(|row| row.try_get(0));
        Ok((client, process.map_err(|error| self.fault(&error))?))
    }

    async fn build(&self, client: &Client, index: &Definition, statement: &str) -> Result<Attempt, Error> {
        let space = index.tablespace.as_deref().unwrap_or_default();
        // One limit is on all that the session does: a busy server may reach it before the build begins.
        let build = async {
            client
                .query_one("SELECT SET_CONFIG('default_tablespace', $1, FALSE)", &[&space])
                .await?;
            // Prepared, so that it is one statement and no more.
            client.execute(statement, &[]).await
        };
        match build.await {
            Ok(_) => Ok(Attempt::Built),
            Err(error)
                if error
                    .code()
                    .is_some_and(|code| [SqlState::QUERY_CANCELED, SqlState::LOCK_NOT_AVAILABLE].contains(code)) =>
            {
                Ok(Attempt::TooLong)
            }
            Err(error) => Err(self.fault(&error)),
        }
    }

    /// Tells how far it is, again and again, until told to stop.
    async fn look_after(
        &self,
        client: &Client,
        yard: &Mutex<Yard>,
        total: u64,
        there: u64,
        watch: &mut dyn Watch<Rebuilding>,
    ) -> Result<(), Error> {
        loop {
            let (built, names) = {
                let yard = seen(yard);
                (yard.built, yard.under_way.clone())
            };
            let processes: Vec<i32> = names.keys().copied().collect();
            let progress = include_str!("../../../sql/postgres/indexes/progress.sql");
            let rows = client.query(progress, &[&processes]).await;
            let rows = rows.map_err(|error| self.fault(&error))?;
            let building = |row: &tokio_postgres::Row| {
                Some(Building {
                    name: names.get(&row.try_get::<_, i32>(0).ok()?)?.clone(),
                    phase: row.try_get(1).ok()?,
                    percent: row
                        .try_get::<_, Option<i64>>(2)
                        .ok()?
                        .and_then(|percent| u8::try_from(percent).ok()),
                })
            };
            let progress = Rebuilding {
                total,
                built: there + built,
                under_way: rows.iter().filter_map(building).collect(),
                waiting_for: None,
            };
            if watch.page(&progress) == Step::Stop {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Has the planner know the table and what its indexes compute. The latter from a small sample, since some seventy
    /// indexes compute the same, and each is counted for itself; the columns then from the usual one.
    async fn analyze(&self, client: &Client, place: &Place) -> Result<(), tokio_postgres::Error> {
        let columns = client
            .query_one(
                include_str!("../../../sql/postgres/indexes/columns.sql"),
                &[&place.table],
            )
            .await?;
        let (table, columns): (_, String) = (&place.table_name, columns.try_get(0)?);
        client
            .batch_execute(&format!(
                "SET default_statistics_target = 10; ANALYZE {table}; RESET default_statistics_target; \
                 ANALYZE {table} ({columns})"
            ))
            .await
    }

    /// Everything is there: nothing is set aside any more. What is known of the columns that indexes compute is counted
    /// anew, without which the planner would not know these indexes' worth.
    async fn finish(&self, client: &Client, place: &Place, wanted: &[Definition]) -> Result<(), Error> {
        let present = self.present(client, place, wanted).await?;
        let lacking = wanted
            .iter()
            .find(|index| !present.get(&index.name).is_some_and(|found| found.whole));
        if let Some(index) = lacking {
            return Err(Error::Busy {
                store: self.name.clone(),
                reason: format!("index {} was built and is gone again", index.name),
            });
        }
        if let Err(error) = self.analyze(client, place).await {
            tracing::debug!(%error, store = self.name, "the table could not be analysed");
        }
        let forget = format!("DROP TABLE IF EXISTS {}", place.parked);
        client.batch_execute(&forget).await.map_err(|error| self.fault(&error))
    }
}

/// An index of the table by one of the names that are set aside.
struct Found {
    /// Whether it can be used; else it is what an ended build left.
    whole: bool,
    quoted: String,
}

/// The statement that keeps nobody out; `None` if it is not one that `pg_get_indexdef` gave.
fn concurrently(index: &Definition) -> Option<String> {
    let rest = index.statement.strip_prefix("CREATE INDEX ")?;
    Some(format!("CREATE INDEX CONCURRENTLY {rest}"))
}

fn seen(yard: &Mutex<Yard>) -> MutexGuard<'_, Yard> {
    yard.lock().unwrap_or_else(PoisonError::into_inner)
}
