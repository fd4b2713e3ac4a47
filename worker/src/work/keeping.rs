//! Open stores, kept from one slice of the work to the next.
//!
//! A slice is five minutes. A store that is opened anew for each sets its connections up again, and Cassandra, which has
//! no order of keys, reads all keys of a Namespace again for an order of its own. So the worker keeps what it opened, for
//! every activity of a migration that asks for the same datastore entry.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError, Weak},
    time::Duration,
};

use crossfade_stores::{OpenError, Reuse, Store};
use crossfade_visibility::ports;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

/// For how long a store is kept that nobody asks for, and one whose schema may change in any case: several slices.
const KEPT_FOR: Duration = Duration::from_secs(15 * 60);

/// Those of this process.
static HERE: LazyLock<Arc<Kept>> = LazyLock::new(|| Arc::new(Kept::new(KEPT_FOR)));

/// What this process keeps.
pub(super) fn here() -> &'static Arc<Kept> {
    &HERE
}

/// A digest of the migration and the resolved entry: there are passwords in the entry, which are held by the driver alone.
/// Another migration begins with stores of its own, for their schema may have been set up in between.
type Name = [u8; 32];

/// One entry's place; locked while it is opened, so that nobody else opens it beside.
type Place = Arc<tokio::sync::Mutex<Held>>;

#[derive(Default)]
struct Held {
    opened: Option<Opened>,
    /// Whether somebody waits for the time to drop it.
    watched: bool,
}

/// Stores that are kept open.
pub(super) struct Kept {
    kept_for: Duration,
    places: Mutex<HashMap<Name, Place>>,
}

struct Opened {
    store: Store,
    opened: Instant,
    asked: Instant,
}

impl Opened {
    /// When it is not given any more, unless it is asked for again before.
    fn until(&self, kept_for: Duration) -> Instant {
        match self.store.reuse() {
            Reuse::Always => self.asked + kept_for,
            Reuse::Briefly => self.opened + kept_for,
            Reuse::Never => self.opened,
        }
    }
}

impl Kept {
    fn new(kept_for: Duration) -> Self {
        Self {
            kept_for,
            places: Mutex::default(),
        }
    }

    /// The store of an entry with its secrets, for a migration: the one that is kept, or opened now.
    pub(super) async fn open(self: &Arc<Self>, migration: &str, entry: &Value) -> Result<Store, OpenError> {
        let name = name(migration, entry);
        let place = Arc::clone(self.places().entry(name).or_default());
        let mut held = place.lock().await;
        let now = Instant::now();
        if let Some(opened) = held.opened.as_mut().filter(|opened| opened.until(self.kept_for) > now) {
            opened.asked = now;
            return Ok(opened.store.clone());
        }
        // Its connections end before new ones begin.
        held.opened = None;
        let store = crossfade_stores::open(entry).await?;
        if store.reuse() != Reuse::Never {
            held.opened = Some(Opened {
                store: store.clone(),
                opened: now,
                asked: now,
            });
            if !std::mem::replace(&mut held.watched, true) {
                tokio::spawn(drop_in_time(Arc::downgrade(self), name));
            }
        }
        Ok(store)
    }

    /// Drops every store whose connections or schema are not what they were, if the error says so: it is opened anew for
    /// whoever asks next.
    pub(super) fn learn_from(&self, error: &ports::Error) {
        let (ports::Error::Unreachable { store: gone, .. } | ports::Error::Schema { store: gone, .. }) = error else {
            return;
        };
        for place in self.places().values() {
            // One that is locked is being opened now.
            if let Ok(mut held) = place.try_lock()
                && held
                    .opened
                    .as_ref()
                    .is_some_and(|opened| opened.store.describe() == *gone)
            {
                held.opened = None;
            }
        }
    }

    /// Drops the store of that name when it is time; otherwise, when that will be.
    async fn drop_or_wait(&self, name: &Name) -> Option<Instant> {
        let place = self.places().get(name).cloned()?;
        let mut held = place.lock().await;
        let until = held.opened.as_ref().map(|opened| opened.until(self.kept_for));
        let later = until.filter(|until| *until > Instant::now());
        if later.is_none() {
            *held = Held::default();
        }
        later
    }

    fn places(&self) -> std::sync::MutexGuard<'_, HashMap<Name, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes the store of that name when it was not asked for in time.
async fn drop_in_time(kept: Weak<Kept>, name: Name) {
    while let Some(kept) = kept.upgrade() {
        let Some(until) = kept.drop_or_wait(&name).await else {
            return;
        };
        drop(kept);
        tokio::time::sleep_until(until).await;
    }
}

fn name(migration: &str, entry: &Value) -> Name {
    let mut digest = Sha256::new();
    digest.update(migration);
    digest.update([0]);
    digest.update(entry.to_string());
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, Result, ensure};
    use e2e::servers::{
        binaries::{Program, TEMPORAL_1_23_1, find_or_build, module_dir},
        cache::Cache,
        postgres::{Postgres, SchemaKind, SchemaTool},
        processes::Processes,
        progress::Lines,
    };

    use super::*;

    const DATABASE: &str = "kept";

    async fn server(folder: &std::path::Path, processes: &Processes) -> Result<Postgres> {
        let (cache, lines) = (Cache::from_environment()?, Lines::default());
        let tool = SchemaTool {
            program: find_or_build(&cache, &TEMPORAL_1_23_1, Program::SqlTool, &lines)?,
            source: module_dir(&cache, &TEMPORAL_1_23_1, &lines)?,
        };
        let server = Postgres::start(&folder.join("postgres"), processes, &lines).await?;
        server.create_temporal_database(&tool, DATABASE, SchemaKind::Visibility)?;
        Ok(server)
    }

    /// How many connections of ours there are to the database.
    async fn connections(server: &Postgres) -> Result<i64> {
        let asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND application_name = 'crossfade'";
        let asked = server.connect("postgres").await?.query_one(asked, &[&DATABASE]).await?;
        Ok(asked.try_get(0)?)
    }

    fn are_one(a: &Store, b: &Store) -> bool {
        Arc::ptr_eq(&a.read(), &b.read())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_store_is_kept_for_its_migration_until_it_is_idle_or_gone() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let processes = Processes::watch(&folder.path().join("processes"))?;
        let mut server = server(folder.path(), &processes).await?;
        let entry = server.datastore(DATABASE);

        let kept = Arc::new(Kept::new(Duration::from_secs(3600)));
        let (first, second) = tokio::try_join!(kept.open("one", &entry), kept.open("one", &entry))?;
        ensure!(are_one(&first, &second), "each slice opened a store of its own");
        ensure!(connections(&server).await? == 1);
        let other = kept.open("two", &entry).await?;
        ensure!(!are_one(&first, &other), "the store of another migration");
        ensure!(connections(&server).await? == 2);

        // A server that has no time is still there; one that went away is not.
        let (store, reason) = (first.describe(), "for a test".to_owned());
        kept.learn_from(&ports::Error::Busy { store, reason });
        ensure!(are_one(&first, &kept.open("one", &entry).await?));
        server.kill()?;
        let error = first.read().count(None).await.err().context("an answer of nobody")?;
        ensure!(matches!(error, ports::Error::Unreachable { .. }), "{error}");
        kept.learn_from(&error);
        server.resume(&processes).await?;
        let again = kept.open("one", &entry).await?;
        ensure!(!are_one(&first, &again), "a dead store was given again");
        again.read().count(None).await?;

        // Nobody asks any more.
        drop((first, second, other, again, kept));
        let kept = Arc::new(Kept::new(Duration::from_millis(200)));
        drop(kept.open("one", &entry).await?);
        let deadline = Instant::now() + Duration::from_secs(30);
        while connections(&server).await? > 0 {
            ensure!(Instant::now() < deadline, "an idle store keeps its connections");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    #[test]
    fn the_name_of_a_store_holds_no_secret_and_tells_one_from_another() {
        let entry = |password: &str| serde_json::json!({"sql": {"password": password}});
        assert_eq!(name("m", &entry("s3cret")), name("m", &entry("s3cret")));
        assert_ne!(name("m", &entry("s3cret")), name("m", &entry("other")));
        assert_ne!(name("m", &entry("s3cret")), name("n", &entry("s3cret")));
    }
}
