//! Scans in the order of the keys, at a price that does not grow with the index.
//!
//! Sorting by a keyword looks at every document that the query lets through, for every page: with a plain `search_after`
//! a page of 1,000 out of 300,000 took a quarter of a second, and a scan's time grows with the square of the index. So a
//! page is a *window*: the documents of one Namespace whose run id lies between two texts, about as far apart as a page
//! is large. Run ids are UUIDs and spread evenly, so that the width of a window is learned from the ones before. What a
//! window is has no bearing on what is found: run ids that are no UUIDs only make the windows of another size.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crossfade_visibility::ports::{Error, OpenExecution, Range};
use crossfade_visibility::record::{Key, Record};
use jiff::Timestamp;
use serde_json::json;

use super::client::USUAL;
use super::names::ask_for_names;
use super::{Elasticsearch, What, document};

/// The beginning of a UUID as a number: its first 12 digits.
const DIGITS: u32 = 12;

/// One beyond the last such number.
const END: u64 = 1 << (4 * DIGITS);

/// The most records of one page: well below the default `index.max_result_window` of 10,000.
pub(super) const LARGEST_PAGE: usize = 5000;

/// How old the list of Namespaces may be that a scan of all of them goes by. One that appears meanwhile behind or before
/// the cursor is written by the server to both stores, or seen by the next scan.
const NAMESPACES_FOR: Duration = Duration::from_secs(60);

/// What scans have learned.
#[derive(Default)]
pub(super) struct Windows {
    /// How wide a window of one record is, per Namespace.
    widths: Mutex<BTreeMap<String, f64>>,
    namespaces: Mutex<Option<(Instant, Vec<String>)>>,
}

impl Elasticsearch {
    /// A page of `range`, not empty unless the range holds no more.
    pub(super) async fn scan_windows(&self, range: &Range, limit: usize, what: What) -> Result<Vec<Record>, Error> {
        let after = range.after.as_ref();
        if limit == 0 {
            return Ok(Vec::new());
        }
        if let Some(namespace) = &range.namespace_id {
            return match after {
                Some(after) if after.namespace_id > *namespace => Ok(Vec::new()),
                Some(after) if after.namespace_id == *namespace => {
                    self.scan_namespace(namespace, &after.run_id, range, limit, what).await
                }
                _ => self.scan_namespace(namespace, "", range, limit, what).await,
            };
        }
        for namespace in self.namespaces_from(after).await? {
            let run = after
                .filter(|after| after.namespace_id == namespace)
                .map_or("", |after| after.run_id.as_str());
            let page = self.scan_namespace(&namespace, run, range, limit, what).await?;
            if !page.is_empty() {
                return Ok(page);
            }
        }
        Ok(Vec::new())
    }

    /// The Namespaces that a scan of all has before it. Looked up anew at the beginning of a scan.
    async fn namespaces_from(&self, after: Option<&Key>) -> Result<Vec<String>, Error> {
        let known = self.windows.namespaces.lock().ok().and_then(|known| known.clone());
        let known = known.filter(|(at, _)| after.is_some() && at.elapsed() < NAMESPACES_FOR);
        let mut namespaces = match known {
            Some((_, namespaces)) => namespaces,
            None => {
                let buckets = self.by_namespace(None).await?;
                let ids = buckets.iter().filter_map(|bucket| bucket.pointer("/key/id")?.as_str());
                let mut namespaces: Vec<String> = ids.map(str::to_owned).collect();
                namespaces.sort();
                if let Ok(mut known) = self.windows.namespaces.lock() {
                    *known = Some((Instant::now(), namespaces.clone()));
                }
                namespaces
            }
        };
        namespaces.retain(|namespace| after.is_none_or(|after| *namespace >= after.namespace_id));
        Ok(namespaces)
    }

    /// The next records of one Namespace after a run id, none when there are no more.
    async fn scan_namespace(
        &self,
        namespace: &str,
        after: &str,
        range: &Range,
        limit: usize,
        what: What,
    ) -> Result<Vec<Record>, Error> {
        let last = match &range.until {
            Some(until) if until.namespace_id.as_str() < namespace => return Ok(Vec::new()),
            Some(until) if until.namespace_id == namespace => Some(until.run_id.as_str()),
            _ => None,
        };
        let limit = limit.min(LARGEST_PAGE);
        let mut width = self.width(namespace).await? * limit as f64;
        let mut from = after.to_owned();
        loop {
            let to = upper(&from, width).filter(|to| last.is_none_or(|last| to.as_str() < last));
            let mut run = json!({"gt": from});
            if let Some(last) = to.as_deref().or(last) {
                run["lte"] = json!(last);
            }
            let mut body = json!({
                "size": limit, "version": true, "track_total_hits": false, "sort": ["RunId"],
                "query": {"bool": {"filter": [{"term": {"NamespaceId": namespace}}, {"range": {"RunId": run}}]}},
            });
            if what == What::Names {
                ask_for_names(&mut body);
            }
            let (_, records) = self.found_of(what, self.searching(&body, USUAL)).await?;
            if !records.is_empty() {
                // A full page tells only of the part of its window up to its last record.
                let end = match records.last() {
                    Some(last) if records.len() == limit => Some(last.key.run_id.as_str()),
                    _ => to.as_deref(),
                };
                self.learn(namespace, &from, end, records.len());
                return Ok(without_twins(records));
            }
            match to {
                Some(to) => from = to,
                None => return Ok(Vec::new()),
            }
            width *= 16.0;
        }
    }

    /// How wide a window of one record is: as learned, else by how many records there are.
    async fn width(&self, namespace: &str) -> Result<f64, Error> {
        let known = self
            .windows
            .widths
            .lock()
            .ok()
            .and_then(|widths| widths.get(namespace).copied());
        if let Some(width) = known {
            return Ok(width);
        }
        let body = json!({"query": {"term": {"NamespaceId": namespace}}});
        let answer = self
            .cluster
            .ask(super::Call {
                method: reqwest::Method::POST,
                body: super::Body::Json(body.to_string()),
                ..super::Call::get(format!("{}/_count", self.index))
            })
            .await?;
        let count = answer["count"].as_u64().unwrap_or(0).max(1);
        Ok(END as f64 / count as f64)
    }

    /// Takes note of how many records lie between two run ids, by halves with what was known before.
    fn learn(&self, namespace: &str, from: &str, end: Option<&str>, records: usize) {
        let (Some(from), Some(end)) = (position(from), end.and_then(position)) else {
            return;
        };
        if let Ok(mut widths) = self.windows.widths.lock() {
            let seen = (end.saturating_sub(from).max(1)) as f64 / records as f64;
            let known = widths.entry(namespace.to_owned()).or_insert(seen);
            *known = (*known + seen) / 2.0;
        }
    }

    /// A page of open executions: they are few enough to be sorted.
    pub(super) async fn open_page(
        &self,
        before: Timestamp,
        range: &Range,
        limit: usize,
    ) -> Result<Vec<OpenExecution>, Error> {
        let mut filter = vec![
            json!({"term": {"ExecutionStatus": "Running"}}),
            json!({"range": {"StartTime": {"lt": before.to_string()}}}),
        ];
        if let Some(namespace) = &range.namespace_id {
            filter.push(json!({"term": {"NamespaceId": namespace}}));
        }
        let mut body = json!({
            "size": limit.min(LARGEST_PAGE), "track_total_hits": false, "sort": ["NamespaceId", "RunId"],
            "_source": ["NamespaceId", "RunId", "WorkflowId", "WorkflowType", "StartTime"],
            "query": {"bool": {"filter": filter}},
        });
        if let Some(after) = &range.after {
            body["search_after"] = json!([after.namespace_id, after.run_id]);
        }
        let mut hits = self.hits(&body).await?;
        let open = hits
            .iter_mut()
            .map(|hit| document::open_execution(&self.cluster.name, hit));
        let mut open = open.collect::<Result<Vec<OpenExecution>, Error>>()?;
        open.retain(|open| range.contains(&open.key));
        Ok(open)
    }
}

/// The beginning of a run id as a number; `None` if it is not that of a UUID.
fn position(run_id: &str) -> Option<u64> {
    let digits = run_id.bytes().filter(|byte| *byte != b'-').take(DIGITS as usize);
    let (mut position, mut read) = (0, 0);
    for byte in digits {
        position = position * 16 + u64::from(char::from(byte).to_digit(16)?);
        read += 1;
    }
    Some(position << (4 * (DIGITS - read)))
}

/// The text that ends a window of `width` after `from`; `None` when that is the end, or `from` is no beginning of a UUID.
fn upper(from: &str, width: f64) -> Option<String> {
    let end = position(from)?.saturating_add((width as u64).max(1));
    let to = format!("{:08x}-{:04x}", end >> 16, end & 0xffff);
    (end < END && to.as_str() > from).then_some(to)
}

/// A page sorted by run id, of two documents with one key only the later version.
fn without_twins(mut page: Vec<Record>) -> Vec<Record> {
    page.sort_by(|a, b| a.key.cmp(&b.key).then(b.version.cmp(&a.version)));
    page.dedup_by(|later, first| later.key == first.key);
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_go_on_from_where_they_ended_and_end() {
        assert_eq!(upper("", 65536.0).as_deref(), Some("00000001-0000"));
        assert_eq!(upper("00000001-0000", 1.0).as_deref(), Some("00000001-0001"));
        assert_eq!(
            upper("12345678-9abc-4def-8000-000000000000", 0.1).as_deref(),
            Some("12345678-9abd")
        );
        assert_eq!(upper("", END as f64), None);
        assert_eq!(upper("ffffffff-ffff-4fff", 1.0), None);
        for odd in ["zoë", "~", "g"] {
            assert_eq!(upper(odd, 1.0), None, "{odd}");
        }
        // Capital digits come before small ones: an end that is not after its beginning is none.
        assert!(upper("F", 1.0).is_none_or(|to| to.as_str() > "F"));
    }
}
