//! Documents by their names: listed for a copy within the cluster, which reads and writes them itself.
//!
//! Of a document its version and three fields are asked for, which lie in columns: no document is read for them, nor its id,
//! which lies with the document. The id is the one that the server gives a record of these names. What is not found under it,
//! or has no Workflow Id to make one of, is read and put as ever; so is one whose id had to be cut, which may have been cut
//! otherwise.
//!
//! # Why page by page, by ids
//!
//! One `_reindex` of everything, in slices, would be the shorter way to say it. It could not be right: it does not tell
//! what it put, so that nobody could tell afterwards what the server deleted while it ran from what the server is about to
//! write; it ends at the first document that the mapping refuses; it goes on when whoever asked for it is killed, and its
//! results stay in an index of the cluster's own. Nor is it quicker: on one machine of two processors, 30,000 documents of
//! 1 kB took 8.8 to 11.2 s in one, 9.9 to 10.6 s in two slices, and 7.7 to 7.9 s in pages of 1,000, three of them at once
//! (Elasticsearch 7.10.2; what else ran there took its part of each).

use crossfade_visibility::ports::{Error, Place};
use crossfade_visibility::record::{Key, Record};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

use super::client::{Body, Call, USUAL};
use super::{Elasticsearch, KEYS_AT_ONCE, document, inspect};

/// What a search gives of each document.
pub(super) fn ask_for_names(body: &mut Value) {
    body["_source"] = json!(false);
    body["stored_fields"] = json!("_none_");
    body["docvalue_fields"] = json!(["NamespaceId", "WorkflowId", "RunId"]);
}

/// A page of names as a search or a scroll answers it.
#[derive(Deserialize)]
pub(super) struct Page {
    #[serde(rename = "_scroll_id")]
    pub(super) scroll: Option<String>,
    #[serde(default)]
    timed_out: bool,
    #[serde(rename = "_shards")]
    shards: Shards,
    hits: Hits,
}

#[derive(Deserialize)]
struct Shards {
    failed: u64,
}

#[derive(Deserialize)]
struct Hits {
    hits: Vec<Hit>,
}

#[derive(Deserialize)]
struct Hit {
    #[serde(rename = "_version")]
    version: Option<i64>,
    #[serde(default)]
    fields: Fields,
}

#[derive(Default, Deserialize)]
struct Fields {
    #[serde(rename = "NamespaceId", default)]
    namespace_id: Vec<String>,
    #[serde(rename = "WorkflowId", default)]
    workflow_id: Vec<String>,
    #[serde(rename = "RunId", default)]
    run_id: Vec<String>,
}

impl Page {
    /// Whether every shard answered in full.
    pub(super) fn is_whole(&self) -> bool {
        self.shards.failed == 0 && !self.timed_out
    }

    /// The names of the page.
    pub(super) fn records(self, store: &str) -> Result<Vec<Record>, Error> {
        self.hits.hits.into_iter().map(|hit| hit.name(store)).collect()
    }
}

impl Hit {
    fn name(self, store: &str) -> Result<Record, Error> {
        let mut fields = self.fields;
        let lacking = |column| Error::Unreadable {
            store: store.to_owned(),
            key: Key::new("?", "?"),
            column,
            reason: "is missing".to_owned(),
        };
        let namespace_id = fields.namespace_id.pop().ok_or_else(|| lacking("NamespaceId"))?;
        let run_id = fields.run_id.pop().ok_or_else(|| lacking("RunId"))?;
        let workflow_id = fields.workflow_id.pop().unwrap_or_default();
        Ok(Record::name(Key::new(namespace_id, run_id), workflow_id, self.version))
    }
}

/// What `_reindex` came to.
#[derive(Deserialize)]
struct Taken {
    total: u64,
    created: u64,
    updated: u64,
    version_conflicts: u64,
    #[serde(default)]
    timed_out: bool,
    #[serde(default)]
    failures: Vec<Value>,
}

impl Elasticsearch {
    /// Where the documents lie; `None` of a cluster that has no id (yet).
    pub(super) fn place_in_cluster(&self) -> Option<Place> {
        self.cluster_id.as_ref().map(|cluster| Place {
            cluster: cluster.clone(),
            name: self.index.clone(),
        })
    }

    /// Whether documents of `place` can be put here as they are.
    pub(super) async fn takes_documents_of(&self, place: &Place) -> Result<bool, Error> {
        if self.cluster_id.as_ref() != Some(&place.cluster) || self.index == place.name {
            return Ok(false);
        }
        let there = match inspect::mapping(&self.cluster, &place.name).await {
            Ok(Some(mapping)) => mapping,
            Ok(None) | Err(Error::Denied { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let Some(here) = inspect::mapping(&self.cluster, &self.index).await? else {
            return Ok(false);
        };
        // Times that were numbers in an index of long ago would be read as others here.
        let same = |(field, kind): (&str, &str)| here.kind(field).is_none_or(|here| here == kind);
        Ok(there.fields().all(same))
    }

    /// Has the cluster put the documents of these names; `None` when it did not put them all.
    pub(super) async fn take_documents(&self, place: &Place, named: &[Record]) -> Result<Option<u64>, Error> {
        if named
            .iter()
            .any(|record| record.workflow_id.is_empty() || document::has_cut_id(record))
        {
            return Ok(None);
        }
        self.index_exists().await?;
        let mut changed = 0;
        for named in named.chunks(KEYS_AT_ONCE) {
            match self.take_by_ids(place, named).await {
                Ok(Some(taken)) => changed += taken,
                Ok(None) => return Ok(None),
                // A right that is lacking there, or a document that is refused: told when they are put.
                Err(Error::Denied { reason, .. } | Error::Schema { reason, .. }) => {
                    tracing::debug!(reason, "documents are not taken over within the cluster");
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Some(changed))
    }

    async fn take_by_ids(&self, place: &Place, named: &[Record]) -> Result<Option<u64>, Error> {
        let ids: Vec<String> = named.iter().map(document::id).collect();
        let body = json!({
            "source": {"index": place.name, "size": ids.len(), "query": {"ids": {"values": ids}}},
            "dest": {"index": self.index, "version_type": "external"},
            "conflicts": "proceed",
            // The only page: that there are no more is not looked for.
            "max_docs": ids.len(),
        });
        self.written.store(true, Ordering::SeqCst);
        let call = Call {
            method: Method::POST,
            path: "_reindex".to_owned(),
            query: &[],
            body: Body::Json(body.to_string()),
            timeout: USUAL,
        };
        let answer = self.cluster.ask_in_bytes(call).await?;
        let taken: Option<Taken> = serde_json::from_slice(&answer).ok();
        // What it did not find is gone, or another copy of the shard was asked that is not as far.
        let whole = |taken: &Taken| {
            taken.failures.is_empty()
                && !taken.timed_out
                && taken.total == ids.len() as u64
                && taken.created + taken.updated + taken.version_conflicts == taken.total
        };
        Ok(taken.filter(whole).map(|taken| taken.created + taken.updated))
    }
}
