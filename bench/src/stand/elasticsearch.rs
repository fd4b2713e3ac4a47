//! Elasticsearch by plain HTTP.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result, bail};
use futures::future;
use reqwest::Method;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::{HANDS, Peers};
use crate::records::ATTRIBUTES;

/// Documents of one page of a scroll, and of one bulk request: about a megabyte.
const PAGE: usize = 1_000;

/// A node, and the name that those of its indices that we may make begin with.
pub(crate) struct Elasticsearch {
    entry: Value,
    url: String,
    prefix: String,
    http: reqwest::Client,
}

/// A page of a scroll of which only the number of hits is wanted.
#[derive(Deserialize)]
struct Page {
    #[serde(rename = "_scroll_id")]
    scroll: String,
    hits: Hits,
}

#[derive(Deserialize)]
struct Hits {
    hits: Vec<IgnoredAny>,
}

impl Elasticsearch {
    pub(super) fn of(entry: &Value) -> Result<Self> {
        let section = &entry["elasticsearch"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Ok(Self {
            url: format!(
                "http://{}",
                text(&section["url"]["host"]).context("no `elasticsearch` entry")?
            ),
            prefix: text(&section["indices"]["visibility"]).context("the `elasticsearch` entry names no index")?,
            // No proxy: the node is on this machine, whatever the environment says of others.
            http: reqwest::Client::builder().no_proxy().build()?,
            entry: entry.clone(),
        })
    }

    fn index(&self, name: &str) -> String {
        format!("{}_{name}", self.prefix)
    }

    /// Where it listens.
    pub(super) fn port(&self) -> Result<u16> {
        let (_, port) = self.url.rsplit_once(':').context("the host has no port")?;
        port.parse().context("the host has no port")
    }

    /// The datastore entry of the index of a short name.
    pub(crate) fn entry(&self, name: &str) -> Value {
        let mut entry = self.entry.clone();
        entry["elasticsearch"]["indices"]["visibility"] = json!(self.index(name));
        entry
    }

    async fn send(&self, method: Method, path: &str, kind: &'static str, body: Vec<u8>) -> Result<(u16, Vec<u8>)> {
        let request = self
            .http
            .request(method, format!("{}/{path}", self.url))
            .header("content-type", kind)
            .body(body);
        let answer = request.send().await.with_context(|| format!("no answer to {path}"))?;
        Ok((answer.status().as_u16(), answer.bytes().await?.to_vec()))
    }

    async fn ask(&self, method: Method, path: &str, body: &Value) -> Result<Vec<u8>> {
        let text = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let (status, answer) = self.send(method, path, "application/json", text.into_bytes()).await?;
        if status >= 300 {
            bail!(
                "{path} was answered with {status}: {}",
                String::from_utf8_lossy(&answer)
            );
        }
        Ok(answer)
    }

    /// The node's own version, as it names itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) async fn version(&self) -> Result<String> {
        let about: Value = serde_json::from_slice(&self.ask(Method::GET, "", &Value::Null).await?)?;
        let number = about["version"]["number"].as_str().unwrap_or("of no version");
        Ok(format!("Elasticsearch {number}"))
    }

    /// Makes an index anew, by Temporal's template and with fields for the records' search attributes.
    ///
    /// # Errors
    /// When the node refuses.
    pub(crate) async fn fresh(&self, name: &str) -> Result<()> {
        self.drop(name).await?;
        let field = |(name, kind): &(&str, &str)| {
            let mut mapped = json!({"type": kind});
            if *kind == "scaled_float" {
                mapped["scaling_factor"] = json!(10_000);
            }
            ((*name).to_owned(), mapped)
        };
        let fields: Map<String, Value> = ATTRIBUTES.iter().map(field).collect();
        self.ask(
            Method::PUT,
            &self.index(name),
            &json!({"mappings": {"properties": fields}}),
        )
        .await?;
        Ok(())
    }

    /// Removes an index, if it is there.
    ///
    /// # Errors
    /// When the node refuses.
    pub(crate) async fn drop(&self, name: &str) -> Result<()> {
        let path = format!("{}?ignore_unavailable=true", self.index(name));
        self.ask(Method::DELETE, &path, &Value::Null).await?;
        Ok(())
    }

    /// Has everything written so far seen by searches: what any way to fill an index ends with.
    ///
    /// # Errors
    /// When the node refuses.
    pub(crate) async fn refresh(&self, name: &str) -> Result<()> {
        let path = format!("{}/_refresh", self.index(name));
        self.ask(Method::POST, &path, &Value::Null).await?;
        Ok(())
    }

    /// Fails unless an index has so many documents.
    ///
    /// # Errors
    /// When it has more or fewer.
    pub(crate) async fn expect(&self, name: &str, records: u64) -> Result<()> {
        let path = format!("{}/_count", self.index(name));
        let answer: Value = serde_json::from_slice(&self.ask(Method::GET, &path, &Value::Null).await?)?;
        if answer["count"].as_u64() != Some(records) {
            bail!(
                "{} has {} documents and should have {records}",
                self.index(name),
                answer["count"]
            );
        }
        Ok(())
    }

    /// Writes all documents into files in `folder`, each a bulk request that is ready to be sent.
    ///
    /// # Errors
    /// When the node refuses or a file cannot be written.
    pub(crate) async fn bodies(&self, name: &str, folder: &Path) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        let mut answer = self.begin_scroll(name).await?;
        loop {
            let page: Value = serde_json::from_slice(&answer)?;
            let hits = page["hits"]["hits"].as_array().map(Vec::as_slice).unwrap_or_default();
            let scroll = page["_scroll_id"].as_str().unwrap_or_default();
            if hits.is_empty() {
                self.end_scroll(scroll).await?;
                return Ok(files);
            }
            let mut body = String::new();
            for hit in hits {
                let action = json!({"index": {
                    "_id": hit["_id"], "version": hit["_version"], "version_type": "external",
                }});
                writeln!(body, "{action}\n{}", hit["_source"])?;
            }
            let file = folder.join(format!("bulk-{}", files.len()));
            tokio::fs::write(&file, body).await?;
            files.push(file);
            answer = self.scroll(scroll).await?;
        }
    }

    /// Sends bulk requests, over two connections at a time, and refreshes.
    ///
    /// # Errors
    /// When the node refuses any document.
    pub(crate) async fn load(&self, name: &str, files: &[PathBuf]) -> Result<()> {
        let waiting = Mutex::new(files.iter().collect::<VecDeque<_>>());
        let path = format!("{}/_bulk?filter_path=errors", self.index(name));
        let connection = || async {
            loop {
                let next = waiting.lock().ok().and_then(|mut waiting| waiting.pop_front());
                let Some(file) = next else {
                    return Ok(());
                };
                let body = tokio::fs::read(file).await?;
                let (status, answer) = self.send(Method::POST, &path, "application/x-ndjson", body).await?;
                if status >= 300 || answer != br#"{"errors":false}"# {
                    bail!(
                        "a bulk was answered with {status}: {}",
                        String::from_utf8_lossy(&answer)
                    );
                }
            }
        };
        future::try_join_all((0..HANDS).map(|_| connection())).await?;
        self.refresh(name).await
    }

    /// Elasticsearch's own copy of one index to another, and a refresh.
    ///
    /// # Errors
    /// When the node refuses.
    pub(crate) async fn reindex(&self, from: &str, to: &str, slices: usize) -> Result<()> {
        let body = json!({
            "source": {"index": self.index(from)},
            "dest": {"index": self.index(to), "version_type": "external"},
        });
        let path = format!("_reindex?wait_for_completion=true&slices={slices}");
        let answer: Value = serde_json::from_slice(&self.ask(Method::POST, &path, &body).await?)?;
        if answer["failures"]
            .as_array()
            .is_none_or(|failures| !failures.is_empty())
        {
            bail!("_reindex failed: {}", answer["failures"]);
        }
        self.refresh(to).await
    }

    /// Copies one index to another by the program `elasticdump`, and refreshes; `false` where it is not there.
    ///
    /// # Errors
    /// When it fails.
    pub(crate) async fn elasticdump(&self, peers: &Peers, from: &str, to: &str) -> Result<bool> {
        let place = |name| format!("{}/{}", self.url, self.index(name));
        let is_there = peers.dump(&place(from), &place(to), PAGE).await?;
        self.refresh(to).await?;
        Ok(is_there)
    }

    /// Copies a database to an index by Python's drivers, and refreshes; `false` where they are not there.
    ///
    /// # Errors
    /// When it fails.
    pub(crate) async fn parallel_bulk(&self, peers: &Peers, database: &Value, to: &str) -> Result<bool> {
        let is_there = peers.bulk(&database["sql"], &self.url, &self.index(to)).await?;
        self.refresh(to).await?;
        Ok(is_there)
    }

    /// Has an index make nothing visible until it is told to: what any way to fill one begins with.
    ///
    /// # Errors
    /// When the node refuses.
    pub(crate) async fn set_refreshing_aside(&self, name: &str) -> Result<()> {
        let path = format!("{}/_settings", self.index(name));
        self.ask(Method::PUT, &path, &json!({"index": {"refresh_interval": "-1"}}))
            .await?;
        Ok(())
    }

    /// Reads all documents once and looks at none; gives their number.
    ///
    /// # Errors
    /// When the node refuses.
    pub(crate) async fn read_all(&self, name: &str) -> Result<u64> {
        let mut count = 0;
        let mut answer = self.begin_scroll(name).await?;
        loop {
            let page: Page = serde_json::from_slice(&answer)?;
            if page.hits.hits.is_empty() {
                self.end_scroll(&page.scroll).await?;
                return Ok(count);
            }
            count += page.hits.hits.len() as u64;
            answer = self.scroll(&page.scroll).await?;
        }
    }

    async fn begin_scroll(&self, name: &str) -> Result<Vec<u8>> {
        let body = json!({"size": PAGE, "version": true, "sort": ["_doc"]});
        let path = format!("{}/_search?scroll=1m", self.index(name));
        self.ask(Method::POST, &path, &body).await
    }

    async fn scroll(&self, scroll: &str) -> Result<Vec<u8>> {
        let body = json!({"scroll": "1m", "scroll_id": scroll});
        self.ask(Method::POST, "_search/scroll", &body).await
    }

    async fn end_scroll(&self, scroll: &str) -> Result<()> {
        self.ask(Method::DELETE, "_search/scroll", &json!({"scroll_id": scroll}))
            .await?;
        Ok(())
    }
}
