//! All documents in the order in which they lie in the index.
//!
//! A document is read from a compressed block that it shares with its neighbours. By their keys documents lie anywhere, so
//! that a block is read and unpacked again for each of them, which takes ten times as long as all else about a page;
//! in the index's own order a block is unpacked once. That takes a view of the whole index that stays as it was: a
//! scroll, which every version has, also where there is no point in time (the plain build). It is not sliced, nor does it
//! ask for one Namespace: the pages of a slice have gaps, and the cluster reads only pages without gaps in one go.

use bytes::Bytes;
use crossfade_visibility::ports::{Error, Pages};
use crossfade_visibility::record::Record;
use futures::stream::{self, StreamExt as _};
use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Body, Call, USUAL};
use super::names::ask_for_names;
use super::{Elasticsearch, LARGEST_PAGE, What};

/// How long the cluster keeps the view after each page: also a slow target has taken a page by then.
const KEPT_FOR: &str = "10m";

/// A scroll. One that is not gone through to its end is given up by the cluster in time.
pub(super) struct Scroll<'a> {
    store: &'a Elasticsearch,
    page: usize,
    query: Value,
    what: What,
    /// Of the cluster's last answer; `None` before the first.
    pub(super) id: Option<String>,
}

impl Elasticsearch {
    pub(super) fn scroll(&self, limit: usize, what: What) -> Pages<'_> {
        let scroll = Scroll {
            what,
            ..Scroll::new(self, limit, json!({"match_all": {}}))
        };
        stream::try_unfold(scroll, |mut scroll| async move {
            let records = scroll.next().await?;
            if records.is_empty() {
                scroll.end().await;
                return Ok(None);
            }
            Ok(Some((records, scroll)))
        })
        .boxed()
    }
}

impl<'a> Scroll<'a> {
    /// Of the documents that `query` finds, so many at a time.
    pub(super) fn new(store: &'a Elasticsearch, page: usize, query: Value) -> Self {
        Self {
            store,
            page: page.clamp(1, LARGEST_PAGE),
            query,
            what: What::Whole,
            id: None,
        }
    }

    async fn next(&mut self) -> Result<Vec<Record>, Error> {
        let call = self.call(self.body().await?);
        let found = self.store.found_of(self.what, call).await;
        let (id, records) = found.map_err(|error| self.without_its_view(error))?;
        self.id = id;
        Ok(records)
    }

    /// The next page as it comes. Whoever takes it apart takes note of its `id`.
    pub(super) async fn fetch(&self) -> Result<Bytes, Error> {
        let call = self.call(self.body().await?);
        let found = self.store.cluster.ask_in_bytes(call).await;
        found.map_err(|error| self.without_its_view(error))
    }

    async fn body(&self) -> Result<Value, Error> {
        Ok(match &self.id {
            None => {
                self.store.refresh().await?;
                let mut body = json!({"size": self.page, "version": true, "sort": ["_doc"], "query": self.query});
                if self.what == What::Names {
                    ask_for_names(&mut body);
                }
                body
            }
            Some(id) => json!({"scroll": KEPT_FOR, "scroll_id": id}),
        })
    }

    /// The view is gone where it was not asked for too long, or its node is.
    fn without_its_view(&self, error: Error) -> Error {
        match error {
            Error::Schema { store, reason } if self.id.is_some() => Error::Busy { store, reason },
            other => other,
        }
    }

    fn call(&self, body: Value) -> Call<'static> {
        let (path, query): (String, &[(&str, &str)]) = match &self.id {
            None => (
                format!("{}/_search", self.store.index),
                &[("scroll", KEPT_FOR), ("allow_partial_search_results", "false")],
            ),
            Some(_) => ("_search/scroll".to_owned(), &[]),
        };
        Call {
            method: Method::POST,
            path,
            query,
            body: Body::Json(body.to_string()),
            timeout: USUAL,
        }
    }

    /// Gives the view back. When that fails it goes by itself in time.
    pub(super) async fn end(&mut self) {
        if let Some(id) = self.id.take() {
            let call = Call {
                method: Method::DELETE,
                path: "_search/scroll".to_owned(),
                query: &[],
                body: Body::Json(json!({"scroll_id": id}).to_string()),
                timeout: USUAL,
            };
            if let Err(error) = self.store.cluster.ask(call).await {
                tracing::debug!(%error, "a scroll was not given back");
            }
        }
    }
}
