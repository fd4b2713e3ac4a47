//! Look-ups by the ids of documents.
//!
//! A document is got by its id from the shard as it is at that moment, written or deleted, without a refresh: a refresh
//! for each page of a copy is most of what a look-up by search costs, and leaves the index in small segments. The id is
//! the one that the server gives ([`document::id`]). Where it had to be cut the server at work may have cut it otherwise;
//! such a record is looked up by its key.

use std::collections::BTreeMap;

use crossfade_visibility::ports::{Error, Read as _};
use crossfade_visibility::record::{Key, Record};
use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Body, Call, USUAL};
use super::{Elasticsearch, KEYS_AT_ONCE, document, fault};

impl Elasticsearch {
    /// Which of `records` are here, each with its version.
    pub(super) async fn versions_by_id(&self, records: &[Record]) -> Result<BTreeMap<Key, Option<i64>>, Error> {
        let (cut, usual): (Vec<&Record>, Vec<&Record>) =
            records.iter().partition(|record| document::has_cut_id(record));
        let cut: Vec<Key> = cut.into_iter().map(|record| record.key.clone()).collect();
        let mut versions = self.versions(&cut).await?;
        for records in usual.chunks(KEYS_AT_ONCE) {
            let ids: Vec<String> = records.iter().map(|record| document::id(record)).collect();
            let found = self.versions_at(&ids).await?;
            for (record, version) in records.iter().zip(found) {
                if let Some(version) = version {
                    let known = versions.entry(record.key.clone()).or_default();
                    *known = (*known).max(Some(version));
                }
            }
        }
        Ok(versions)
    }

    /// Which of `records` are not where the server puts them; those with an id that it may have cut otherwise among them.
    pub(super) async fn absent_by_id(&self, records: &[Record]) -> Result<Vec<Key>, Error> {
        let (cut, usual): (Vec<&Record>, Vec<&Record>) =
            records.iter().partition(|record| document::has_cut_id(record));
        let mut absent: Vec<Key> = cut.into_iter().map(|record| record.key.clone()).collect();
        for records in usual.chunks(KEYS_AT_ONCE) {
            let ids: Vec<String> = records.iter().map(|record| document::id(record)).collect();
            let found = self.versions_at(&ids).await?;
            let lacking = records.iter().zip(found).filter(|(_, version)| version.is_none());
            absent.extend(lacking.map(|(record, _)| record.key.clone()));
        }
        Ok(absent)
    }

    /// The version of each document, in the order of `ids`.
    async fn versions_at(&self, ids: &[String]) -> Result<Vec<Option<i64>>, Error> {
        let answer = self
            .cluster
            .ask(Call {
                method: Method::POST,
                path: format!("{}/_mget", self.index),
                query: &[
                    ("_source", "false"),
                    ("filter_path", "docs.found,docs._version,docs.error"),
                ],
                body: Body::Json(json!({"ids": ids}).to_string()),
                timeout: USUAL,
            })
            .await?;
        let documents = answer["docs"].as_array().map(Vec::as_slice).unwrap_or_default();
        if documents.len() != ids.len() {
            return Err(Error::Failed {
                store: self.cluster.name.clone(),
                reason: format!("a look-up of {} ids was answered for {}", ids.len(), documents.len()),
            });
        }
        let version = |document: &Value| match &document["error"] {
            Value::Null => Ok(document["_version"].as_i64().filter(|_| document["found"] == true)),
            error => Err(self.not_looked_up(error)),
        };
        documents.iter().map(version).collect()
    }

    fn not_looked_up(&self, error: &Value) -> Error {
        let store = self.cluster.name.clone();
        match fault::kind(error) {
            "index_not_found_exception" => Error::Schema {
                store,
                reason: "the index is gone".to_owned(),
            },
            "security_exception" => Error::Denied {
                store,
                reason: "a document cannot be looked up by its id (multi get)".to_owned(),
            },
            // A shard that is just nowhere, or moving.
            kind => Error::Busy {
                store,
                reason: format!("a document could not be looked up: {kind}"),
            },
        }
    }
}
