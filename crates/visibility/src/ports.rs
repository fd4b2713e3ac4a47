//! The two ports through which every store is met.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use jiff::Timestamp;

use crate::digest::{Digests, Question};
use crate::keeps::Keeps;
use crate::record::{Key, Record};
use crate::sign::{Page, Wanted};

/// Records, page by page.
pub type Pages<'a> = BoxStream<'a, Result<Vec<Record>, Error>>;

/// What a store answers.
#[async_trait]
pub trait Read: Send + Sync {
    /// The store for people: kind, place and database, never a secret.
    fn describe(&self) -> String;

    /// The finest step of time that the store keeps.
    fn precision(&self) -> Precision;

    /// Which parts of a record the store keeps at all; what it does not keep is absent or empty in what it answers.
    fn keeps(&self) -> Keeps {
        Keeps::EVERYTHING
    }

    /// Whether the store keeps a version with each record. Without one, writes can only insert what is absent.
    fn versioned(&self) -> bool;

    /// Tells the store of a record of another store that it will be asked for and may not have. Only stores that cannot
    /// look a run up by its id make use of it: it says where the record would be.
    fn hint(&self, _record: &Record) {}

    /// Up to `limit` records of `range` in the order of [`Key`]. Fewer than `limit` says nothing; none says that the
    /// range holds no more.
    async fn scan(&self, range: &Range, limit: usize) -> Result<Vec<Record>, Error>;

    /// All records as they are at the first of these pages, about `limit` at a time, in an order of the store's own in
    /// which it reads them many times as quick as by their keys; `None` where there is no such order. A page may be
    /// waited for no longer than some minutes. What ends in an error has to begin anew.
    fn in_own_order(&self, _limit: usize) -> Option<Pages<'_>> {
        None
    }

    /// The records of a Namespace, or of all, up to `limit` at a time in the order in which the server lists them: Namespace by
    /// Namespace, what is open first, then what closed last. `None` where that takes longer than [`scan`](Self::scan). Each
    /// page is as of the moment it is read; what is closed meanwhile may come twice, and what the server adds may not come.
    async fn in_list_order(&self, _namespace_id: Option<&str>, _limit: usize) -> Result<Option<Pages<'_>>, Error> {
        Ok(None)
    }

    /// Where the records lie, for a target of the same cluster that can take them over by itself ([`Write::take`]); `None`
    /// where no cluster does that.
    fn place(&self) -> Option<Place> {
        None
    }

    /// As [`scan`](Self::scan), when no more of a record is wanted than what names it: its key, its Workflow Id (or an
    /// empty one, where the record is not to be had by it) and its version. Nothing is said of the rest of it.
    async fn scan_names(&self, range: &Range, limit: usize) -> Result<Vec<Record>, Error> {
        self.scan(range, limit).await
    }

    /// As [`in_own_order`](Self::in_own_order), with no more of a record than [`scan_names`](Self::scan_names) gives.
    fn names_in_own_order(&self, limit: usize) -> Option<Pages<'_>> {
        self.in_own_order(limit)
    }

    /// The records of those of `keys` that exist, in any order. Duplicate keys count once.
    async fn get(&self, keys: &[Key]) -> Result<Vec<Record>, Error>;

    /// Which of `keys` exist, each with its version (`None` in a store without versions).
    async fn versions(&self, keys: &[Key]) -> Result<BTreeMap<Key, Option<i64>>, Error>;

    /// The same, for whoever has the records of these keys from another store: what a record says beside its key may be
    /// the quicker way to it. Only a record that lies where the server puts it is sure to be found: who concludes from
    /// absence that it is nowhere asks [`versions`](Self::versions) as well.
    async fn versions_of(&self, records: &[Record]) -> Result<BTreeMap<Key, Option<i64>>, Error> {
        let keys: Vec<Key> = records.iter().map(|record| record.key.clone()).collect();
        self.versions(&keys).await
    }

    /// Which of `records`, that this store had before, it has no longer. Each is looked for where the server puts it, and
    /// by its key alone before it is said to be gone.
    async fn gone(&self, records: &[Record]) -> Result<Vec<Key>, Error> {
        let held = self.versions_of(records).await?;
        let absent = |key: &&Key| !held.contains_key(*key);
        let suspects: Vec<Key> = records
            .iter()
            .map(|record| &record.key)
            .filter(absent)
            .cloned()
            .collect();
        self.confirm_gone(suspects).await
    }

    /// Those of `suspects` that are nowhere in the store, looked for by their keys alone.
    async fn confirm_gone(&self, mut suspects: Vec<Key>) -> Result<Vec<Key>, Error> {
        if !suspects.is_empty() {
            let held = self.versions(&suspects).await?;
            suspects.retain(|key| !held.contains_key(key));
        }
        Ok(suspects)
    }

    /// Records per Namespace id, open and closed; of one Namespace or of all. Counted in full: as slow as the store
    /// makes it.
    async fn count(&self, namespace_id: Option<&str>) -> Result<BTreeMap<String, Count>, Error>;

    /// Digests of the records of a range, if the store can compute them and where they are told apart by what counts;
    /// `None` if not. Much quicker than a scan; a live store's answer is of one moment.
    async fn digests(&self, _question: Question<'_>) -> Result<Option<Digests>, Error> {
        Ok(None)
    }

    /// The signs of the records of a range as they are at the first of these pages, in an order of the store's own in
    /// which it reads them many times as quick as by their keys; `None` where there is no such order. What ends in an
    /// error has to begin anew.
    fn signs(&self, _wanted: Wanted) -> Option<BoxStream<'_, Result<Page, Error>>> {
        None
    }

    /// What the store's text of search attributes is written in: two stores of one dialect make one text of the same
    /// ones. `None` where nothing is known of that.
    fn dialect(&self) -> Option<&'static str> {
        None
    }

    /// The ids of all Namespaces that have a record, in order; those of deleted Namespaces among them.
    async fn namespaces(&self) -> Result<Vec<String>, Error>;

    /// Up to `limit` open executions of `range` that started before `before`, in the order of [`Key`]; none says that
    /// there are no more.
    async fn open_started_before(
        &self,
        before: Timestamp,
        range: &Range,
        limit: usize,
    ) -> Result<Vec<OpenExecution>, Error>;
}

/// What a store takes. Every call may be repeated with the same effect as once.
#[async_trait]
pub trait Write: Send + Sync {
    /// The store for people: kind, place and database, never a secret.
    fn describe(&self) -> String;

    /// Makes ready for a write to come: where the store is far away, connections take a while, which may pass while the first
    /// records are read. Whoever does not ask for it, or does not wait for it, only waits at the first write.
    async fn make_ready(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Inserts records that are absent and replaces those of a *lower* version; never touches an equal or later one. In
    /// a store without versions it only inserts. A record without a version is written as version 0. Of several records
    /// with one key the latest version counts. Gives the number that changed. After an error some may be written.
    async fn put(&self, records: &[Record]) -> Result<u64, Error>;

    /// Whether this store can take over records of `place` by itself, unchanged: it is of the same cluster, may read
    /// there, and takes every field as it is.
    async fn takes_from(&self, _place: &Place) -> Result<bool, Error> {
        Ok(false)
    }

    /// As [`put`](Self::put), with the records as they are in `place` when the cluster reads them there: not older than
    /// `named`, which holds their names alone ([`Read::scan_names`]). `None` when they are not all taken over, some of
    /// them possibly: they are to be read and put.
    async fn take(&self, _place: &Place, _named: &[Record]) -> Result<Option<u64>, Error> {
        Ok(None)
    }

    /// Replaces records whatever their version, each only while the store still holds exactly what was seen (content
    /// and version). Gives the number replaced.
    async fn rewrite(&self, changes: &[Rewrite]) -> Result<u64, Error>;

    /// Deletes records, each only if its version is not later than the one given. Gives the number deleted.
    async fn delete(&self, condemned: &[Condemned]) -> Result<u64, Error>;
}

#[async_trait]
impl<W: Write + ?Sized> Write for Arc<W> {
    fn describe(&self) -> String {
        (**self).describe()
    }

    async fn make_ready(&self) -> Result<(), Error> {
        (**self).make_ready().await
    }

    async fn put(&self, records: &[Record]) -> Result<u64, Error> {
        (**self).put(records).await
    }

    async fn takes_from(&self, place: &Place) -> Result<bool, Error> {
        (**self).takes_from(place).await
    }

    async fn take(&self, place: &Place, named: &[Record]) -> Result<Option<u64>, Error> {
        (**self).take(place, named).await
    }

    async fn rewrite(&self, changes: &[Rewrite]) -> Result<u64, Error> {
        (**self).rewrite(changes).await
    }

    async fn delete(&self, condemned: &[Condemned]) -> Result<u64, Error> {
        (**self).delete(condemned).await
    }
}

/// Where a store's records lie, for others of the same cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The cluster, by what no other has: its id.
    pub cluster: String,
    /// What the records are under there: the index.
    pub name: String,
}

/// A part of a store's records: of one Namespace or all, after one key (a cursor) and up to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// Only this Namespace id.
    pub namespace_id: Option<String>,
    /// Only keys after this one.
    pub after: Option<Key>,
    /// Only keys up to and with this one.
    pub until: Option<Key>,
}

impl Range {
    /// Whether `key` lies in the range.
    pub fn contains(&self, key: &Key) -> bool {
        self.namespace_id.as_ref().is_none_or(|id| *id == key.namespace_id)
            && self.after.as_ref().is_none_or(|after| key > after)
            && self.until.as_ref().is_none_or(|until| key <= until)
    }
}

/// Records of one Namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Executions that run.
    pub open: u64,
    /// Executions that ended, however they did.
    pub closed: u64,
}

impl Count {
    /// Open and closed together.
    pub fn total(self) -> u64 {
        self.open + self.closed
    }
}

/// An execution that still runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenExecution {
    /// Namespace and run.
    pub key: Key,
    /// The Workflow Id.
    pub workflow_id: String,
    /// The Workflow Type's name.
    pub workflow_type: String,
    /// When it started.
    pub start_time: Timestamp,
}

/// One exchange of a record for another, see [`Write::rewrite`].
#[derive(Clone, Debug, PartialEq)]
pub struct Rewrite {
    /// What the store was seen to hold.
    pub seen: Record,
    /// What it is to hold. Its version is written as given.
    pub to: Record,
}

/// One record to delete, see [`Write::delete`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condemned {
    /// Which.
    pub key: Key,
    /// Only if its version is not later than this; `None` deletes any. A store without versions deletes any.
    pub at_most: Option<i64>,
}

/// Both ports of the store that is written to. They are two, so that a write can be paced or counted by a wrapper.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// What it holds.
    pub read: &'a dyn Read,
    /// Where it is written.
    pub write: &'a dyn Write,
}

/// The finest step of time that a store keeps, from fine to coarse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precision {
    /// Elasticsearch (`date_nanos`).
    Nanosecond,
    /// PostgreSQL and MySQL by type; SQLite because the server truncates what it writes there
    /// (1.30.8: common/persistence/sql/sqlplugin/sqlite/typeconv.go).
    Microsecond,
    /// Cassandra.
    Millisecond,
}

impl Precision {
    /// `at` with everything finer than this step cut off, as the server does when it writes.
    pub fn truncate(self, at: Timestamp) -> Timestamp {
        let step: i128 = match self {
            Self::Nanosecond => return at,
            Self::Microsecond => 1_000,
            Self::Millisecond => 1_000_000,
        };
        let nanoseconds = at.as_nanosecond();
        // Cutting towards the past can leave jiff's range only within one step of its very beginning.
        Timestamp::from_nanosecond(nanoseconds - nanoseconds.rem_euclid(step)).unwrap_or(at)
    }

    /// The coarser of two.
    pub fn coarser(self, other: Self) -> Self {
        self.max(other)
    }
}

/// Why a store did not do what it was asked. No message holds a password or a record's content.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store cannot be reached, or went away. Worth trying again.
    #[error("{store} cannot be reached: {reason}. Check that it runs and that this machine may connect to it")]
    Unreachable {
        /// The store, as it describes itself.
        store: String,
        /// What the driver said.
        reason: String,
    },
    /// The store is there and did not answer in time, or something else held a lock. Worth trying again.
    #[error("{store} is busy: {reason}. It is tried again; if this lasts, lower the rate or look for a long lock")]
    Busy {
        /// The store, as it describes itself.
        store: String,
        /// What the driver said.
        reason: String,
    },
    /// A right is lacking.
    #[error(
        "{store} does not allow it: {reason}. Grant the user of this datastore the rights that the server itself needs: to read, write and delete records"
    )]
    Denied {
        /// The store, as it describes itself.
        store: String,
        /// What the driver said.
        reason: String,
    },
    /// The store takes no writes from anyone: somebody made it read-only, or it did so itself for want of space.
    #[error(
        "{store} takes no writes: {reason}. Free space on its nodes if their disks are full, and take the block away \
         (index.blocks.read_only_allow_delete: null, or whichever it names)"
    )]
    ReadOnly {
        /// The store, as it describes itself.
        store: String,
        /// What the driver said.
        reason: String,
    },
    /// The table or a column is not as expected.
    #[error("{store} has not the expected schema: {reason}. Set it up or update it with Temporal's schema tool")]
    Schema {
        /// The store, as it describes itself.
        store: String,
        /// What the driver said.
        reason: String,
    },
    /// The store refuses this record's content; it would refuse it again.
    #[error("{store} refuses record {key}: {reason}")]
    Refused {
        /// The store, as it describes itself.
        store: String,
        /// Which record.
        key: Key,
        /// What the driver said, without the record's content.
        reason: String,
    },
    /// A record in the store cannot be understood.
    #[error("{store} holds a record that cannot be read: {key}, column {column}: {reason}")]
    Unreadable {
        /// The store, as it describes itself.
        store: String,
        /// Which record.
        key: Key,
        /// Which column.
        column: &'static str,
        /// What was expected.
        reason: String,
    },
    /// Reading meets too many deleted rows, or data that cannot be read. Nothing that is tried again helps.
    #[error("{store} cannot be read: {reason}")]
    Clogged {
        /// The store, as it describes itself.
        store: String,
        /// What the driver said, and what to do.
        reason: String,
    },
    /// The store is of a family that is only ever a source.
    #[error(
        "{store} can only be moved away from: it is of a kind without search attributes, which servers have up to 1.23; name another store as the target"
    )]
    SourceOnly {
        /// The store, as it describes itself.
        store: String,
    },
    /// Anything else that the driver reports.
    #[error("{store} failed: {reason}")]
    Failed {
        /// The store, as it describes itself.
        store: String,
        /// What the driver said.
        reason: String,
    },
}

impl Error {
    /// Whether the same call may well succeed later with nothing changed by anyone.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Busy { .. } | Self::Failed { .. })
    }
}
