//! The only factory of stores.

use std::collections::BTreeMap;
use std::sync::Arc;

use crossfade_visibility::indexing::Indexing;
use crossfade_visibility::limits::Limits;
use crossfade_visibility::ports::{Read, Target, Write};
use crossfade_visibility::pressure::Gauge;
use serde_json::Value;

use crate::cassandra::Cassandra;
use crate::elasticsearch::Elasticsearch;
use crate::entry::Entry;
use crate::error::OpenError;
use crate::facts::Facts;
use crate::mysql::Mysql;
use crate::postgres::Postgres;
use crate::schema::Family;
use crate::source_only::SourceOnly;
use crate::sqlite::Sqlite;

/// The field (`Keyword01`) in which an attribute is looked for, by the users' name for it (`CustomerId`), by Namespace id.
pub type AttributeFields = BTreeMap<String, BTreeMap<String, String>>;

/// An open store with a visibility schema. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Store {
    read: Arc<dyn Read>,
    write: Arc<dyn Write>,
    reuse: Reuse,
    indexing: Option<Arc<dyn Indexing>>,
    gauged: Option<Arc<dyn Gauged>>,
}

/// A store that tells how hard it works.
pub(crate) trait Gauged: Send + Sync {
    /// A new watcher, which counts from now.
    fn gauge(self: Arc<Self>) -> Arc<dyn Gauge>;
}

/// For how long an open store may serve others than the one that opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// As long as somebody uses it: no server changes its schema any more.
    Always,
    /// Some minutes: what it learned of its schema when it was opened may change with the next version of the server.
    Briefly,
    /// Not at all: its file may be replaced, and what was opened goes on with the one that was there.
    Never,
}

impl Store {
    fn new<S: Read + Write + 'static>(store: S, reuse: Reuse) -> Self {
        let store = Arc::new(store);
        Self {
            read: store.clone(),
            write: store,
            reuse,
            indexing: None,
            gauged: None,
        }
    }

    /// A store that can do without what serves its readers alone while it is filled, and tells how hard it works.
    fn with_indexing<S: Read + Write + Indexing + Gauged + 'static>(store: S, reuse: Reuse) -> Self {
        let store = Arc::new(store);
        Self {
            read: store.clone(),
            write: store.clone(),
            reuse,
            indexing: Some(store.clone()),
            gauged: Some(store),
        }
    }

    /// A store of a family that servers of today cannot have: it is only ever left.
    pub(crate) fn source_only<S: Read + 'static>(store: S) -> Self {
        let write = SourceOnly { name: store.describe() };
        Self {
            read: Arc::new(store),
            write: Arc::new(write),
            reuse: Reuse::Always,
            indexing: None,
            gauged: None,
        }
    }

    /// The store for people: kind, place and database, never a secret.
    pub fn describe(&self) -> String {
        self.read.describe()
    }

    /// For how long it may be used again.
    pub fn reuse(&self) -> Reuse {
        self.reuse
    }

    /// What the store answers.
    pub fn read(&self) -> Arc<dyn Read> {
        self.read.clone()
    }

    /// What the store takes. Nothing is written before the first write, nor opened for writing unless somebody has it made
    /// ready. A store of a family that newer servers have no more (Cassandra, standard SQL) refuses every write.
    pub fn write(&self) -> Arc<dyn Write> {
        self.write.clone()
    }

    /// How the store's secondary indexes, or settings that serve its readers, are set aside and brought back; `None` where
    /// it cannot do without them.
    pub fn indexing(&self) -> Option<Arc<dyn Indexing>> {
        self.indexing.clone()
    }

    /// A new watcher of how hard the store works; `None` where it does not tell.
    pub fn gauge(&self) -> Option<Arc<dyn Gauge>> {
        self.gauged.clone().map(Gauged::gauge)
    }

    /// Both ports, to copy or repair into.
    pub fn target(&self) -> Target<'_> {
        Target {
            read: &*self.read,
            write: &*self.write,
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.describe())
    }
}

/// Opens the store that a datastore entry of the server's own config describes (as JSON, secrets resolved).
///
/// # Errors
///
/// One [`OpenError`] per kind of trouble; the store must have a schema of at least server 1.21.
pub async fn open(entry: &Value) -> Result<Store, OpenError> {
    match Entry::parse(entry)? {
        Entry::Sqlite(entry) => Ok(Store::new(Sqlite::open(entry).await?, Reuse::Never)),
        Entry::Postgres(entry) if entry.family == Family::StandardSql => {
            Ok(Store::source_only(Postgres::open(entry).await?))
        }
        Entry::Postgres(entry) => Ok(Store::with_indexing(Postgres::open(entry).await?, Reuse::Briefly)),
        Entry::Elasticsearch(entry) => Ok(Store::with_indexing(Elasticsearch::open(entry).await?, Reuse::Briefly)),
        Entry::Cassandra(entry) => Ok(Store::source_only(Cassandra::open(entry).await?)),
        Entry::Mysql(entry) if entry.family == Family::StandardSql => Ok(Store::source_only(Mysql::open(entry).await?)),
        Entry::Mysql(entry) => Ok(Store::new(Mysql::open(entry).await?, Reuse::Briefly)),
    }
}

/// What the store that a datastore entry describes will be able to hold, while it is yet to be made. `None` for a store
/// that is only ever moved away from.
///
/// # Errors
///
/// Those of [`open`] that concern the entry.
pub fn limits(entry: &Value) -> Result<Option<Limits>, OpenError> {
    Ok(match Entry::parse(entry)? {
        Entry::Sqlite(_) => Some(crate::sqlite::LIMITS),
        Entry::Postgres(entry) if entry.family == Family::Sql => Some(crate::postgres::LIMITS),
        Entry::Mysql(entry) if entry.family == Family::Sql => Some(crate::mysql::limits()),
        Entry::Elasticsearch(_) => Some(crate::elasticsearch::limits(None)),
        Entry::Postgres(_) | Entry::Mysql(_) | Entry::Cassandra(_) => None,
    })
}

/// Looks at the store that a datastore entry describes, changing nothing. A store without a schema is no error here.
///
/// # Errors
///
/// Those of [`open`] except for what is said of the schema.
pub async fn inspect(entry: &Value) -> Result<Facts, OpenError> {
    match Entry::parse(entry)? {
        Entry::Sqlite(entry) => crate::sqlite::inspect(entry).await,
        Entry::Postgres(entry) => crate::postgres::inspect(entry).await,
        Entry::Elasticsearch(entry) => crate::elasticsearch::inspect(entry).await,
        Entry::Mysql(entry) => crate::mysql::inspect(entry).await,
        Entry::Cassandra(entry) => crate::cassandra::inspect(entry).await,
    }
}

/// Gives an Elasticsearch index fields, by name and type (`keyword`, `long`), for search attributes that it does not map
/// yet. Nothing is done to another store, which has columns. Harmless when repeated.
///
/// # Errors
///
/// Those of [`open`]; a field that is there with another type cannot be changed and is refused.
pub async fn map_fields(entry: &Value, fields: &[(&str, &str)]) -> Result<(), OpenError> {
    match Entry::parse(entry)? {
        Entry::Elasticsearch(entry) => crate::elasticsearch::map_fields(entry, fields).await,
        _ => Ok(()),
    }
}

/// Has a PostgreSQL store move attributes that come under the users' own names into their fields, from now on whoever
/// writes them, and those of the records that are there. A value that its field cannot take stays under its name, where
/// no query finds it. Gives the number of records that had such names; `None` for another store, where nothing is done.
/// Harmless when repeated; later fields take the place of earlier ones.
///
/// # Errors
///
/// Those of [`open`]; [`OpenError::Denied`] when the user may not make functions, or triggers on the table.
pub async fn rename_attributes(entry: &Value, fields: &AttributeFields) -> Result<Option<u64>, OpenError> {
    match Entry::parse(entry)? {
        Entry::Postgres(entry) => crate::postgres::rename_attributes(entry, fields).await.map(Some),
        _ => Ok(None),
    }
}
