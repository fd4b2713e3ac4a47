//! Every record of a Visibility store in one common form, read by means of our own.

mod cassandra;
mod elasticsearch;
mod sql;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use jiff::Timestamp;
use prost::Message;
use serde_json::{Map, Value};
use temporalio_common::protos::temporal::api::common::v1::Memo;

use crate::testbed::Store;

/// The columns that are times, as SQL stores name them.
pub(super) const TIMES: [&str; 3] = ["start_time", "execution_time", "close_time"];

/// Namespace id and run id: what identifies a record.
pub(super) type Key = (String, String);

/// A payload's metadata and its data.
pub(super) type Content = (BTreeMap<String, Vec<u8>>, Vec<u8>);

/// One record.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    /// Each column that is no time, by the name that SQL stores give it; absent where there is no value.
    pub(super) columns: BTreeMap<&'static str, String>,
    /// Each of [`TIMES`] that has a value.
    pub(super) times: BTreeMap<&'static str, Timestamp>,
    /// Each entry of the memo. A memo's bytes come in any order of its keys.
    pub(super) memo: BTreeMap<String, Content>,
    /// The search attributes by the store's own field names, lists as lists.
    pub(super) search_attributes: Map<String, Value>,
    /// What a query finds the record by, in lower case, where that is not the above itself: PostgreSQL's own columns.
    pub(super) found_by: Option<Map<String, Value>>,
    /// How many more records the store has of the same execution: none, in a store that is right.
    pub(super) more: usize,
}

/// What a kind of store keeps of an execution, and how exactly.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    /// The columns that it has at all.
    pub(super) columns: BTreeSet<&'static str>,
    /// Whether it has custom search attributes.
    pub(super) search_attributes: bool,
    /// The smallest difference of times that it can tell.
    pub(super) unit: jiff::SignedDuration,
}

/// All records of a store.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    pub(super) kept: Kept,
    pub(super) by_key: BTreeMap<Key, Row>,
}

impl Row {
    pub(super) fn column(&self, name: &str) -> &str {
        self.columns.get(name).map_or("", String::as_str)
    }
}

impl Kept {
    /// Whether two times are the same one, as far as a store with this unit can tell.
    pub(super) fn same_time(&self, one: Option<&Timestamp>, other: Option<&Timestamp>) -> bool {
        match (one, other) {
            (Some(one), Some(other)) => one.duration_since(*other).abs() < self.unit || one == other,
            (one, other) => one == other,
        }
    }

    /// What two stores both keep.
    pub(super) fn in_common(&self, other: &Self) -> Self {
        Self {
            columns: self.columns.intersection(&other.columns).copied().collect(),
            search_attributes: self.search_attributes && other.search_attributes,
            unit: self.unit.max(other.unit),
        }
    }
}

impl Rows {
    fn new(kept: Kept) -> Self {
        Self {
            kept,
            by_key: BTreeMap::new(),
        }
    }

    fn add(&mut self, key: Key, row: Row) {
        match self.by_key.get_mut(&key) {
            Some(there) => there.more += 1,
            None => {
                self.by_key.insert(key, row);
            }
        }
    }
}

/// Reads all records of `store`.
pub(super) async fn read(store: &Store) -> Result<Rows> {
    match store {
        Store::Sqlite { file } => sql::sqlite(file),
        Store::Postgres { port, database } => sql::postgres(*port, database).await,
        Store::Elasticsearch { url, index } => elasticsearch::read(url, index)
            .await
            .with_context(|| format!("the index {index} at {url}")),
        Store::Cassandra { port, keyspace } => cassandra::read(*port, keyspace)
            .await
            .with_context(|| format!("the keyspace {keyspace} on port {port}")),
    }
}

/// The entries of a memo, whatever the order in which its bytes have them.
fn memo(bytes: &[u8]) -> Result<BTreeMap<String, Content>> {
    let memo = Memo::decode(bytes).context("the memo is not a temporal.api.common.v1.Memo")?;
    Ok(memo
        .fields
        .into_iter()
        .map(|(key, payload)| (key, (payload.metadata.into_iter().collect(), payload.data)))
        .collect())
}

/// Reads a time as a store writes it. Without an offset it is UTC.
pub(super) fn instant(text: &str) -> Result<Timestamp> {
    let zoned = text.ends_with('Z') || text.get(19..).is_some_and(|rest| rest.contains(['+', '-']));
    Ok(if zoned {
        text.parse()?
    } else {
        format!("{text}Z").parse()?
    })
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn times_are_read_as_any_store_writes_them() {
        let wanted: Timestamp = "2026-11-22T15:03:25.123456Z".parse().unwrap();
        for text in [
            "2026-11-22 15:03:25.123456+00:00",
            "2026-11-22 15:03:25.123456",
            "2026-11-22T15:03:25.123456Z",
            "2026-11-22T16:03:25.123456+01:00",
        ] {
            assert_eq!(instant(text).unwrap(), wanted, "{text}");
        }
        assert!(instant("yesterday").is_err());
    }

    #[test]
    fn times_are_the_same_when_the_coarser_store_cannot_tell_them_apart() {
        let kept = |nanoseconds| Kept {
            columns: BTreeSet::new(),
            search_attributes: true,
            unit: SignedDuration::from_nanos(nanoseconds),
        };
        let (exact, cut): (Timestamp, Timestamp) = (
            "2026-11-22T15:03:25.123456789Z".parse().unwrap(),
            "2026-11-22T15:03:25.123Z".parse().unwrap(),
        );
        let both = kept(1).in_common(&kept(1_000_000));
        assert!(both.same_time(Some(&exact), Some(&cut)));
        assert!(!kept(1_000).same_time(Some(&exact), Some(&cut)));
        assert!(kept(1).same_time(Some(&cut), Some(&cut)));
        assert!(!both.same_time(Some(&exact), None));
        assert!(both.same_time(None, None));
    }
}
