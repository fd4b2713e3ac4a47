//! Elasticsearch 7.10 to 8, and OpenSearch: one protocol, one driver.
//!
//! # What a reading sees
//!
//! A search sees what was written before the index was last refreshed, once a second by default and never where
//! `refresh_interval` is -1. Copy and repair are right only if a look-up sees what was written, and what was deleted,
//! before it began; so [`get`](Read::get), [`versions`](Read::versions), counts and lists refresh the index first, while
//! [`versions_of`](Read::versions_of) asks by the documents' ids, which needs no refresh. A scan refreshes it when something was written through this store, and otherwise once a second: a page may be as old
//! as that, which is as if it had been read so much earlier.
//!
//! # Order
//!
//! See [`scan`], and [`scroll`] for a reading in no order. Where there is a point in time (OpenSearch from 2.4, Elasticsearch
//! from 7.12 but for the plain build) none is opened. A scan has no need of it: its keys are unique and never change, so
//! that paging by them neither skips nor repeats anything, and a view that ages with the scan would only show records that
//! are gone. Nor is it quicker: 20,000 documents, in pages of 1,000, three times on a busy machine, were read by their keys
//! in 12.0 to 19.9 s within a point in time and in 12.1 to 14.9 s by windows (OpenSearch 2.19.1). In the index's own order
//! it took 2.9 to 5.3 s, a scroll 3.4 to 7.6 s, which is the same there; and it was wrong: `search_after` of `_doc` does not
//! tell one shard from another, so that of 5,000 documents in three shards it gave 4,987. What does tell them apart
//! (`_shard_doc`) OpenSearch 2.19 refuses. A scroll is right in every version.
//!
//! # Writes
//!
//! See [`write`], and [`names`] for what a cluster takes over from another index of its own.

mod client;
mod document;
mod entry;
mod fault;
mod fields;
mod ids;
mod inspect;
mod names;
mod pressure;
mod scan;
mod scroll;
mod settings;
mod sign;
mod signs;
mod sizing;
mod write;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use crossfade_visibility::ports::{
    Condemned, Count, Error, OpenExecution, Pages, Place, Precision, Range, Read, Rewrite, Write,
};
use crossfade_visibility::record::{Key, Record};
use crossfade_visibility::sign::{Page as Signs, Wanted};
use futures::stream::BoxStream;
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use self::client::{Body, Call, Cluster, LONG, USUAL};
use self::document::{Hit, Page};
pub(crate) use self::entry::ElasticsearchEntry;
pub(crate) use self::fields::map_fields;
pub(crate) use self::inspect::{inspect, limits};
use self::scan::{LARGEST_PAGE, Windows};
use self::sizing::Sizing;
use crate::error::OpenError;
use crate::mapping::Mapping;

/// Keys in one look-up: far below `index.max_terms_count` and `index.max_result_window`.
const KEYS_AT_ONCE: usize = 1000;

/// Buckets in one answer of an aggregation.
const BUCKETS: usize = 1000;

/// How old a view a scan may be of what others write.
const FRESH: Duration = Duration::from_secs(1);

/// How much of each record is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Whole,
    /// What names it.
    Names,
}

/// One visibility index.
pub(crate) struct Elasticsearch {
    cluster: Cluster,
    /// What no other cluster has.
    cluster_id: Option<String>,
    index: String,
    /// Whether something was written through this store since the index was last refreshed.
    written: AtomicBool,
    refreshed: Mutex<Option<Instant>>,
    windows: Windows,
    sizing: Sizing,
}

impl Elasticsearch {
    pub(crate) async fn open(entry: ElasticsearchEntry) -> Result<Self, OpenError> {
        let cluster = Cluster::connect(&entry).await?;
        let opening = |error| fault::opening(entry.login.as_ref(), error);
        let root = inspect::engine(&cluster).await.map_err(opening)?;
        let store = cluster.name.clone();
        let Some(mapping) = inspect::mapping(&cluster, &entry.index).await.map_err(opening)? else {
            return Err(OpenError::NoSchema { store });
        };
        if let Some(reason) = unreadable(&mapping) {
            return Err(OpenError::WrongSchema { store, reason });
        }
        Ok(Self {
            cluster,
            cluster_id: root.cluster_id,
            index: entry.index,
            written: AtomicBool::new(false),
            refreshed: Mutex::new(None),
            windows: Windows::default(),
            sizing: Sizing::default(),
        })
    }

    /// Makes everything written so far visible to searches.
    async fn refresh(&self) -> Result<(), Error> {
        // Before the call: what is written during it may or may not be seen.
        self.written.store(false, Ordering::SeqCst);
        let answer = self
            .cluster
            .ask(Call {
                method: Method::POST,
                ..Call::get(format!("{}/_refresh", self.index))
            })
            .await;
        let answer = answer.inspect_err(|_| self.written.store(true, Ordering::SeqCst))?;
        if answer.pointer("/_shards/failed").and_then(Value::as_u64).unwrap_or(0) > 0 {
            self.written.store(true, Ordering::SeqCst);
            return Err(Error::Busy {
                store: self.cluster.name.clone(),
                reason: "not every shard of the index could be refreshed".to_owned(),
            });
        }
        if let Ok(mut refreshed) = self.refreshed.lock() {
            *refreshed = Some(Instant::now());
        }
        Ok(())
    }

    /// Refreshes when there is something of ours to be seen, or the last refresh is a second old.
    async fn refresh_for_scan(&self) -> Result<(), Error> {
        let recent = self.refreshed.lock().ok().and_then(|refreshed| *refreshed);
        let recent = recent.is_some_and(|at| at.elapsed() < FRESH);
        if recent && !self.written.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.refresh().await
    }

    /// One search, in full or not at all.
    async fn search(&self, body: &Value, timeout: Duration) -> Result<Value, Error> {
        let answer = self.cluster.ask(self.searching(body, timeout)).await?;
        if answer["timed_out"] == true {
            return Err(self.not_whole());
        }
        Ok(answer)
    }

    fn searching(&self, body: &Value, timeout: Duration) -> Call<'static> {
        Call {
            method: Method::POST,
            path: format!("{}/_search", self.index),
            query: &[("allow_partial_search_results", "false")],
            body: Body::Json(body.to_string()),
            timeout,
        }
    }

    fn not_whole(&self) -> Error {
        Error::Busy {
            store: self.cluster.name.clone(),
            reason: "not every shard of the index answered in time".to_owned(),
        }
    }

    /// The records that a call finds, and what the next page of a scroll is asked for by. They are read beside whoever
    /// asks: a page is read while others are written.
    async fn found(&self, call: Call<'_>) -> Result<(Option<String>, Vec<Record>), Error> {
        let answer = self.cluster.ask_in_bytes(call).await?;
        let store = self.cluster.name.clone();
        let read = tokio::task::spawn_blocking(move || {
            let page = serde_json::from_slice::<Page>(&answer);
            let whole = page.ok().filter(Page::is_whole);
            whole
                .map(|page| Ok((page.scroll.clone(), page.records(&store)?)))
                .transpose()
        });
        let read = read.await.map_err(|error| Error::Failed {
            store: self.cluster.name.clone(),
            reason: error.to_string(),
        })?;
        read?.ok_or_else(|| self.not_whole())
    }

    /// The same, of a call that asks for so much of each.
    async fn found_of(&self, what: What, call: Call<'_>) -> Result<(Option<String>, Vec<Record>), Error> {
        match what {
            What::Whole => self.found(call).await,
            What::Names => self.names_found(call).await,
        }
    }

    async fn names_found(&self, call: Call<'_>) -> Result<(Option<String>, Vec<Record>), Error> {
        let answer = self.cluster.ask_in_bytes(call).await?;
        let page = serde_json::from_slice::<names::Page>(&answer);
        let page = page
            .ok()
            .filter(names::Page::is_whole)
            .ok_or_else(|| self.not_whole())?;
        Ok((page.scroll.clone(), page.records(&self.cluster.name)?))
    }

    /// The hits of a search.
    async fn hits(&self, body: &Value) -> Result<Vec<Value>, Error> {
        let mut answer = self.search(body, USUAL).await?;
        match answer.pointer_mut("/hits/hits").map(Value::take) {
            Some(Value::Array(hits)) => Ok(hits),
            _ => Err(Error::Failed {
                store: self.cluster.name.clone(),
                reason: "a search answered without hits".to_owned(),
            }),
        }
    }

    /// The documents of `keys` as they are now. Of two with one key (an index that was copied together by hand can have
    /// them) that of the later version.
    async fn fetch(&self, keys: &[Key]) -> Result<BTreeMap<Key, Hit>, Error> {
        let mut found: BTreeMap<Key, Hit> = BTreeMap::new();
        if keys.is_empty() {
            return Ok(found);
        }
        self.refresh().await?;
        for keys in keys.chunks(KEYS_AT_ONCE) {
            let mut body = json!({"version": true, "size": KEYS_AT_ONCE, "track_total_hits": false});
            body["query"] = among(keys);
            for mut hit in self.hits(&body).await? {
                let hit = document::hit(&self.cluster.name, &mut hit)?;
                let older = |held: &Hit| held.record.version < hit.record.version;
                if found.get(&hit.record.key).is_none_or(older) {
                    found.insert(hit.record.key.clone(), hit);
                }
            }
        }
        let asked: std::collections::BTreeSet<&Key> = keys.iter().collect();
        found.retain(|key, _| asked.contains(key));
        Ok(found)
    }

    /// The buckets of a composite aggregation over NamespaceId, all pages of them.
    async fn by_namespace(&self, namespace_id: Option<&str>) -> Result<Vec<Value>, Error> {
        self.refresh().await?;
        let mut buckets = Vec::new();
        let mut after = Value::Null;
        loop {
            let mut body = json!({
                "size": 0,
                "track_total_hits": false,
                "aggs": {"namespaces": {
                    "composite": {"size": BUCKETS, "sources": [{"id": {"terms": {"field": "NamespaceId"}}}]},
                    "aggs": {"open": {"filter": {"term": {"ExecutionStatus": "Running"}}}},
                }},
            });
            if let Some(id) = namespace_id {
                body["query"] = json!({"term": {"NamespaceId": id}});
            }
            if !after.is_null() {
                body["aggs"]["namespaces"]["composite"]["after"] = after;
            }
            let mut answer = self.search(&body, LONG).await?;
            let page = &mut answer["aggregations"]["namespaces"];
            after = page["after_key"].take();
            match page["buckets"].take() {
                Value::Array(page) if !page.is_empty() => buckets.extend(page),
                _ => return Ok(buckets),
            }
            if after.is_null() {
                return Ok(buckets);
            }
        }
    }
}

/// What keeps the index from being read in the order of its keys, or counted.
fn unreadable(mapping: &Mapping) -> Option<String> {
    let wrong = [
        ("NamespaceId", "keyword"),
        ("RunId", "keyword"),
        ("ExecutionStatus", "keyword"),
    ]
    .into_iter()
    .find(|(field, kind)| mapping.kind(field) != Some(kind))?;
    let found = mapping.kind(wrong.0).unwrap_or("not mapped");
    Some(format!(
        "the index was created without Temporal's index template ({} is {found}, not {}): stop what writes to it, delete it, put the \
         template and create it again with temporal-elasticsearch-tool",
        wrong.0, wrong.1
    ))
}

/// The query for the documents of `keys`, and possibly of other pairings of their halves.
fn among(keys: &[Key]) -> Value {
    let mut namespaces: Vec<&str> = keys.iter().map(|key| key.namespace_id.as_str()).collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    let mut runs: Vec<&str> = keys.iter().map(|key| key.run_id.as_str()).collect();
    runs.sort_unstable();
    runs.dedup();
    json!({"bool": {"filter": [{"terms": {"NamespaceId": namespaces}}, {"terms": {"RunId": runs}}]}})
}

#[async_trait]
impl Read for Elasticsearch {
    fn describe(&self) -> String {
        self.cluster.name.clone()
    }

    fn precision(&self) -> Precision {
        Precision::Nanosecond
    }

    fn versioned(&self) -> bool {
        true
    }

    async fn scan(&self, range: &Range, limit: usize) -> Result<Vec<Record>, Error> {
        self.refresh_for_scan().await?;
        self.scan_windows(range, limit, What::Whole).await
    }

    fn in_own_order(&self, limit: usize) -> Option<Pages<'_>> {
        Some(self.scroll(limit, What::Whole))
    }

    fn place(&self) -> Option<Place> {
        self.place_in_cluster()
    }

    async fn scan_names(&self, range: &Range, limit: usize) -> Result<Vec<Record>, Error> {
        self.refresh_for_scan().await?;
        self.scan_windows(range, limit, What::Names).await
    }

    fn names_in_own_order(&self, limit: usize) -> Option<Pages<'_>> {
        Some(self.scroll(limit, What::Names))
    }

    fn signs(&self, wanted: Wanted) -> Option<BoxStream<'_, Result<Signs, Error>>> {
        Some(self.signed(&wanted))
    }

    async fn get(&self, keys: &[Key]) -> Result<Vec<Record>, Error> {
        let found = self.fetch(keys).await?;
        Ok(found.into_values().map(|hit| hit.record).collect())
    }

    async fn versions(&self, keys: &[Key]) -> Result<BTreeMap<Key, Option<i64>>, Error> {
        let mut versions: BTreeMap<Key, Option<i64>> = BTreeMap::new();
        if keys.is_empty() {
            return Ok(versions);
        }
        self.refresh().await?;
        for keys in keys.chunks(KEYS_AT_ONCE) {
            let mut body = json!({
                "version": true, "size": KEYS_AT_ONCE, "track_total_hits": false,
                "_source": false, "docvalue_fields": ["NamespaceId", "RunId"],
            });
            body["query"] = among(keys);
            for hit in self.hits(&body).await? {
                let field = |name: &str| hit.pointer(&format!("/fields/{name}/0")).and_then(Value::as_str);
                let (Some(namespace), Some(run)) = (field("NamespaceId"), field("RunId")) else {
                    continue;
                };
                let version = versions.entry(Key::new(namespace, run)).or_default();
                *version = (*version).max(hit["_version"].as_i64());
            }
        }
        let asked: std::collections::BTreeSet<&Key> = keys.iter().collect();
        versions.retain(|key, _| asked.contains(key));
        Ok(versions)
    }

    async fn versions_of(&self, records: &[Record]) -> Result<BTreeMap<Key, Option<i64>>, Error> {
        self.versions_by_id(records).await
    }

    async fn gone(&self, records: &[Record]) -> Result<Vec<Key>, Error> {
        let suspects = self.absent_by_id(records).await?;
        self.confirm_gone(suspects).await
    }

    async fn count(&self, namespace_id: Option<&str>) -> Result<BTreeMap<String, Count>, Error> {
        let buckets = self.by_namespace(namespace_id).await?;
        let count = |bucket: &Value| {
            let id = bucket.pointer("/key/id")?.as_str()?;
            let all = bucket["doc_count"].as_u64()?;
            let open = bucket.pointer("/open/doc_count")?.as_u64()?;
            let closed = all.saturating_sub(open);
            Some((id.to_owned(), Count { open, closed }))
        };
        Ok(buckets.iter().filter_map(count).collect())
    }

    async fn namespaces(&self) -> Result<Vec<String>, Error> {
        Ok(self.count(None).await?.into_keys().collect())
    }

    async fn open_started_before(
        &self,
        before: Timestamp,
        range: &Range,
        limit: usize,
    ) -> Result<Vec<OpenExecution>, Error> {
        self.refresh().await?;
        self.open_page(before, range, limit).await
    }
}

#[async_trait]
impl Write for Elasticsearch {
    fn describe(&self) -> String {
        self.cluster.name.clone()
    }

    async fn put(&self, records: &[Record]) -> Result<u64, Error> {
        self.put_batch(records).await
    }

    async fn takes_from(&self, place: &Place) -> Result<bool, Error> {
        self.takes_documents_of(place).await
    }

    async fn take(&self, place: &Place, named: &[Record]) -> Result<Option<u64>, Error> {
        self.take_documents(place, named).await
    }

    async fn rewrite(&self, changes: &[Rewrite]) -> Result<u64, Error> {
        self.rewrite_batch(changes).await
    }

    async fn delete(&self, condemned: &[Condemned]) -> Result<u64, Error> {
        self.delete_batch(condemned).await
    }
}
