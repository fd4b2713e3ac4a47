//! Bulk writes, under the versions of the server.
//!
//! The server writes with `version_type: external`, the task's id being the version (1.30.8:
//! common/persistence/visibility/store/elasticsearch/client/bulk_processor_v7.go): a document is replaced only by a later
//! version, decided inside the shard. So do we:
//!
//! - **put** is `index` with `external`: absent or lower is written, equal or later is a conflict (409), which is done.
//!   A record without a version is written as 0, which only ever inserts.
//! - **rewrite** must keep the version, and a condition on the sequence number would raise it by one, which may be just the
//!   version of the server's next task. It is `index` with `external_gte` at the version that was seen, after the
//!   content was seen to be what it should. Versions only grow, and one version is one write of the server: what has
//!   been written since has a later version, and the exchange loses.
//! - **delete** is `external_gte` at the latest version that it may be.
//!
//! A deleted document's version is remembered for `index.gc_deletes`, 60 s by default. Within that time a put or rewrite
//! of a lower version loses to a delete. So a rewrite never brings back what the server deleted after we looked: it is
//! not sent later than [`SINCE_SEEN`]. (A put may come later: whoever puts asks the source afterwards.) It also means that a record that we delete is not put again within a minute at the same
//! version; a comparison after that puts it right.
//!
//! Items are judged one by one. What the cluster had no room for is sent again after a pause, some times and in shorter
//! requests (see [`sizing`](super::sizing)); what it refuses is named when the others are done.

use crossfade_visibility::ports::{Condemned, Error, Rewrite};
use crossfade_visibility::record::{Key, Record, latest_of_each};
use reqwest::Method;
use serde::Serialize;
use serde_json::Value;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::client::{Body, Call, PAUSES, USUAL};
use super::{Elasticsearch, document, fault};

/// How many of the records that are refused at once are named.
const NAMED: usize = 20;

/// How long after its document was looked at a rewrite may still be sent. With the pauses and the time of one call it is
/// over before a delete in between is forgotten.
const SINCE_SEEN: Duration = Duration::from_secs(15);

/// Bytes of an ordinary document and its action.
const ROOM: usize = 1_536;

/// One action of a bulk, with its lines.
struct Item {
    key: Key,
    lines: Vec<u8>,
}

/// What one request came to.
#[derive(Default)]
struct Sent {
    /// Documents that changed.
    changed: u64,
    /// Items that the cluster had no room for, or was too long with others.
    again: Vec<Item>,
    /// Items that it refuses, with why.
    refused: Vec<(Key, String)>,
}

/// What is to be done, as a bulk's line says it.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Action<'a> {
    Index(Document<'a>),
    Delete(Document<'a>),
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "_id")]
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version_type: Option<&'static str>,
}

impl Item {
    fn index(record: &Record, id: &str, version: i64, version_type: &'static str) -> Self {
        let mut lines = Vec::with_capacity(ROOM);
        let (version, version_type) = (Some(version), Some(version_type));
        line(
            &mut lines,
            &Action::Index(Document {
                id,
                version,
                version_type,
            }),
        );
        line(&mut lines, &document::Source(record));
        Self {
            key: record.key.clone(),
            lines,
        }
    }

    fn delete(key: &Key, id: &str, version: Option<i64>) -> Self {
        let mut lines = Vec::new();
        let version_type = version.map(|_| "external_gte");
        line(
            &mut lines,
            &Action::Delete(Document {
                id,
                version,
                version_type,
            }),
        );
        Self {
            key: key.clone(),
            lines,
        }
    }
}

/// Appends a value and the end of its line.
fn line(lines: &mut Vec<u8>, value: &impl Serialize) {
    // Nothing that is written here can fail: neither the memory it goes to, nor texts as names.
    let written = serde_json::to_writer(&mut *lines, value);
    debug_assert!(written.is_ok(), "{written:?}");
    lines.push(b'\n');
}

impl Elasticsearch {
    pub(super) async fn put_batch(&self, records: &[Record]) -> Result<u64, Error> {
        if records.is_empty() {
            return Ok(0);
        }
        self.index_exists().await?;
        let records = latest_of_each(records);
        // Where a Workflow Id had to be cut, the server at work may have cut it otherwise.
        let cut: Vec<Key> = records
            .iter()
            .filter(|record| document::has_cut_id(record))
            .map(|record| record.key.clone())
            .collect();
        let held = self.fetch(&cut).await?;
        let items = records.iter().map(|record| {
            let id = held
                .get(&record.key)
                .map_or_else(|| document::id(record), |hit| hit.id.clone());
            Item::index(record, &id, record.version.unwrap_or(0), "external")
        });
        self.bulk(items.collect(), None).await
    }

    pub(super) async fn rewrite_batch(&self, changes: &[Rewrite]) -> Result<u64, Error> {
        let until = Instant::now() + SINCE_SEEN;
        let keys: Vec<Key> = changes.iter().map(|change| change.seen.key.clone()).collect();
        let held = self.fetch(&keys).await?;
        let unchanged = changes.iter().filter_map(|change| {
            let held = held.get(&change.seen.key)?;
            // A version never goes down here: the exchange would lose.
            (held.record == change.seen && change.to.version >= change.seen.version).then_some((held, change))
        });
        let items = unchanged.map(|(held, change)| {
            let version = change.to.version.unwrap_or(0);
            Item::index(&change.to, &held.id, version, "external_gte")
        });
        self.bulk(items.collect(), Some(until)).await
    }

    pub(super) async fn delete_batch(&self, condemned: &[Condemned]) -> Result<u64, Error> {
        let keys: Vec<Key> = condemned.iter().map(|condemned| condemned.key.clone()).collect();
        let held = self.fetch(&keys).await?;
        let items = condemned.iter().filter_map(|condemned| {
            let hit = held.get(&condemned.key)?;
            let allowed = condemned
                .at_most
                .is_none_or(|at_most| hit.record.version.is_none_or(|version| version <= at_most));
            allowed.then(|| Item::delete(&condemned.key, &hit.id, condemned.at_most))
        });
        self.bulk(items.collect(), None).await
    }

    /// The first write to an index that is gone would make another one, without Temporal's mapping.
    pub(super) async fn index_exists(&self) -> Result<(), Error> {
        let answer = self.cluster.call(&Call::head(self.index.clone())).await?;
        match answer.status {
            200..=299 => Ok(()),
            404 => Err(Error::Schema {
                store: self.cluster.name.clone(),
                reason: "the index is gone".to_owned(),
            }),
            status => Err(fault::of(&self.cluster.name, status, &answer.body)),
        }
    }

    /// Carries out all of `items`, in as many requests as it takes, none of them sent after `until`; gives the number of
    /// documents that changed.
    async fn bulk(&self, items: Vec<Item>, until: Option<Instant>) -> Result<u64, Error> {
        if items.is_empty() {
            return Ok(0);
        }
        let mut changed = 0;
        let mut refused = Vec::new();
        let mut waiting = items;
        let mut pauses = PAUSES.iter();
        loop {
            let mut again = Vec::new();
            let mut requests = in_requests(waiting, self.sizing.bytes());
            while let Some(request) = requests.pop() {
                if until.is_some_and(|until| Instant::now() > until) {
                    return Err(Error::Busy {
                        store: self.cluster.name.clone(),
                        reason: "it took too long since the documents were looked at to change them safely".to_owned(),
                    });
                }
                let sent = self.send(request, &mut requests).await?;
                changed += sent.changed;
                again.extend(sent.again);
                refused.extend(sent.refused);
            }
            waiting = again;
            if waiting.is_empty() {
                break;
            }
            match pauses.next() {
                Some(pause) => tokio::time::sleep(*pause).await,
                None => {
                    return Err(Error::Busy {
                        store: self.cluster.name.clone(),
                        reason: format!("it has no room for {} more writes (HTTP 429 or 503)", waiting.len()),
                    });
                }
            }
        }
        self.named(refused).map_or(Ok(changed), Err)
    }

    /// The error that names what was refused: the first record with why, and the others.
    fn named(&self, refused: Vec<(Key, String)>) -> Option<Error> {
        let others = refused.len().saturating_sub(1);
        let mut refused = refused.into_iter();
        let (key, mut reason) = refused.next()?;
        if others > 0 {
            let named: Vec<String> = refused
                .take(NAMED)
                .map(|(key, reason)| format!("{key} ({reason})"))
                .collect();
            reason.push_str(&format!("; and {others} others with it: {}", named.join(", ")));
            if others > NAMED {
                reason.push_str(", ...");
            }
        }
        Some(Error::Refused {
            store: self.cluster.name.clone(),
            key,
            reason,
        })
    }

    /// Sends one request. One that is too long is cut in two, which are added to `requests`.
    async fn send(&self, items: Vec<Item>, requests: &mut Vec<Vec<Item>>) -> Result<Sent, Error> {
        let mut body = Vec::with_capacity(items.iter().map(|item| item.lines.len()).sum());
        for item in &items {
            body.extend_from_slice(&item.lines);
        }
        let bytes = body.len();
        self.written.store(true, Ordering::SeqCst);
        let call = Call {
            method: Method::POST,
            path: format!("{}/_bulk", self.index),
            query: &[("filter_path", "items.*.status,items.*.error")],
            body: Body::Lines(body.into()),
            timeout: USUAL,
        };
        let begun = Instant::now();
        let answer = match self.cluster.call(&call).await {
            Ok(answer) if answer.status != 413 => answer,
            // A node may hang up in the middle of a request that is too long before its answer is read.
            Err(error) if !is_cut_off(&error) || !self.is_there().await => {
                if matches!(error, Error::Busy { .. }) {
                    self.sizing.was_overrun();
                }
                return Err(error);
            }
            Ok(_) | Err(_) => return self.cut(items, bytes, requests),
        };
        if !(200..300).contains(&answer.status) {
            if fault::is_passing(answer.status, &answer.body) {
                self.sizing.was_overrun();
            }
            return Err(fault::of(&self.cluster.name, answer.status, &answer.body));
        }
        let sent = self.judge(items, &answer.body)?;
        if sent.again.is_empty() {
            self.sizing.went_well(bytes, begun.elapsed());
        } else {
            self.sizing.was_overrun();
        }
        Ok(sent)
    }

    fn cut(&self, mut items: Vec<Item>, bytes: usize, requests: &mut Vec<Vec<Item>>) -> Result<Sent, Error> {
        self.sizing.was_overrun();
        if items.len() > 1 {
            let half = items.split_off(items.len() / 2);
            requests.extend([half, items]);
            return Ok(Sent::default());
        }
        let reason = format!("its document has {bytes} bytes, more than the cluster takes (http.max_content_length)");
        Ok(Sent {
            refused: items.pop().map(|item| (item.key, reason)).into_iter().collect(),
            ..Sent::default()
        })
    }

    async fn is_there(&self) -> bool {
        self.cluster.once(&Call::head("")).await.is_ok()
    }

    /// What became of each item.
    fn judge(&self, items: Vec<Item>, answer: &Value) -> Result<Sent, Error> {
        let store = || self.cluster.name.clone();
        let results = answer["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        if results.len() != items.len() {
            return Err(Error::Failed {
                store: store(),
                reason: format!("a bulk of {} items was answered for {}", items.len(), results.len()),
            });
        }
        let mut sent = Sent::default();
        for (item, result) in items.into_iter().zip(results) {
            let result = result
                .as_object()
                .and_then(|result| result.values().next())
                .unwrap_or(&Value::Null);
            let (status, error) = (result["status"].as_u64().unwrap_or(0), &result["error"]);
            match u16::try_from(status).unwrap_or(0) {
                200..=299 => sent.changed += 1,
                _ if fault::is_block(error) => return Err(fault::of(&self.cluster.name, 403, error)),
                // Already as late, or later; already gone.
                409 => {}
                404 if error.is_null() => {}
                404 => {
                    return Err(Error::Schema {
                        store: store(),
                        reason: "the index is gone".to_owned(),
                    });
                }
                429 | 500..=599 => sent.again.push(item),
                401 | 403 => {
                    return Err(Error::Denied {
                        store: store(),
                        reason: format!("HTTP {status}: {}", fault::kind(error)),
                    });
                }
                _ => sent.refused.push((item.key, fault::about_content(error))),
            }
        }
        Ok(sent)
    }
}

/// Whether a request may have been too long for the other side.
fn is_cut_off(error: &Error) -> bool {
    matches!(error, Error::Unreachable { reason, .. } if !reason.contains("tcp connect"))
}

/// Cuts items into requests of at most so many bytes, or one item.
fn in_requests(items: Vec<Item>, most: usize) -> Vec<Vec<Item>> {
    let mut requests: Vec<Vec<Item>> = Vec::new();
    let mut bytes = 0;
    for item in items {
        bytes += item.lines.len();
        match requests.last_mut() {
            Some(request) if bytes <= most => request.push(item),
            _ => {
                bytes = item.lines.len();
                requests.push(vec![item]);
            }
        }
    }
    requests
}
