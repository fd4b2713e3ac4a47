//! A real Elasticsearch, or OpenSearch, of one node in a folder of the testbed.

use std::ffi::OsString;
use std::fs;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::Method;
use serde_json::{Value, json};

use super::cache::Cache;
use super::java;
use super::jvm::{ELASTICSEARCH_7_10_2, JvmRelease, find_or_fetch};
use super::node::Node;
use super::ports::free_ports;
use super::processes::Processes;
use super::progress::Progress;

const READY_WITHIN: Duration = Duration::from_secs(120);

/// How long one request may take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);

/// How a node is to be started.
#[derive(Debug, Clone)]
pub struct Options {
    /// The name of its process and log, unique within the testbed.
    pub name: String,
    /// The most heap in megabytes.
    pub heap_megabytes: u32,
    /// Settings of the node, as its `elasticsearch.yml` names them, such as `http.max_content_length`.
    pub settings: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: "elasticsearch".to_owned(),
            heap_megabytes: 512,
            settings: Vec::new(),
        }
    }
}

impl Options {
    /// The same under another name, for a second node.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// With one more setting; a later one of the same name wins.
    #[must_use]
    pub fn with(mut self, setting: &str, value: &str) -> Self {
        self.settings.push((setting.to_owned(), value.to_owned()));
        self
    }
}

/// A node that runs. It is stopped when dropped.
#[derive(Debug)]
pub struct Elasticsearch {
    node: Node,
}

impl Deref for Elasticsearch {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

impl DerefMut for Elasticsearch {
    fn deref_mut(&mut self) -> &mut Node {
        &mut self.node
    }
}

impl Elasticsearch {
    /// Starts Elasticsearch 7.10.2 with its data in `folder` on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When it cannot be fetched: with what is lacking; or does not start: with its log.
    pub async fn start(
        folder: &Path,
        options: &Options,
        processes: &Processes,
        progress: &dyn Progress,
    ) -> Result<Self> {
        Self::start_release(&ELASTICSEARCH_7_10_2, folder, options, processes, progress).await
    }

    pub(super) async fn start_release(
        release: &JvmRelease,
        folder: &Path,
        options: &Options,
        processes: &Processes,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let home = find_or_fetch(&Cache::from_environment()?, release, progress)?;
        let data = folder.join("data");
        fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
        let ports = free_ports(2)?;
        let mut arguments = java::options(options.heap_megabytes);
        arguments.extend(["-cp".into(), release.class_path(&home)?]);
        arguments.extend([release.class().context("the release has a class")?.into(), data.into()]);
        arguments.extend(ports.iter().map(|port| OsString::from(port.to_string())));
        let usual = [
            // Without it the node waits three seconds for others to elect a master with.
            ("discovery.type", "single-node"),
            // The machine's disk may be fuller than a cluster likes; a test that is about this sets it.
            ("cluster.routing.allocation.disk.threshold_enabled", "false"),
        ];
        let given = options.settings.iter().map(|(name, value)| (&**name, &**value));
        arguments.extend(
            usual
                .into_iter()
                .chain(given)
                .map(|(name, value)| format!("{name}={value}").into()),
        );
        let mut node = Self {
            node: Node::new(&options.name, folder, ports[0], arguments, READY_WITHIN)?,
        };
        node.resume(processes).await?;
        Ok(node)
    }

    /// Starts the node again on its port and its data, after [`Node::stop`] or [`Node::kill`]; one that runs is stopped.
    ///
    /// # Errors
    /// When it is not ready (green or yellow) within two minutes: with the end of its log.
    pub async fn resume(&mut self, processes: &Processes) -> Result<()> {
        let ready = async |node: &Node| {
            let health = "/_cluster/health?wait_for_status=yellow&timeout=1s";
            match request(&url(node), Method::GET, health, None).await? {
                (200, _) => Ok(()),
                (status, answer) => bail!("it answers {status}: {answer}"),
            }
        };
        self.node.start(processes, ready).await
    }

    /// `host:port`, as the server's config writes it in `url.host`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// `http://host:port`.
    #[must_use]
    pub fn url(&self) -> String {
        url(self)
    }

    /// Sends one request, such as `PUT /_cluster/settings`, and returns the status and the JSON that came back.
    ///
    /// # Errors
    /// When there is no answer, or it is not JSON.
    pub async fn request(&self, method: Method, path: &str, body: Option<Value>) -> Result<(u16, Value)> {
        request(&self.url(), method, path, body).await
    }

    /// Changes settings of the running cluster until it is stopped.
    ///
    /// # Errors
    /// When the node refuses them.
    pub async fn put_cluster_settings(&self, settings: Value) -> Result<()> {
        let body = json!({"transient": settings});
        match self.request(Method::PUT, "/_cluster/settings", Some(body)).await? {
            (200, _) => Ok(()),
            (status, answer) => bail!("the settings were refused ({status}): {answer}"),
        }
    }

    /// Puts Temporal's settings and index template in place and creates `index`, with `temporal-elasticsearch-tool`.
    ///
    /// # Errors
    /// When the tool fails: with what it said.
    pub fn create_temporal_index(&self, tool: &Path, index: &str) -> Result<()> {
        for arguments in [&["setup-schema"][..], &["create-index", "--index", index]] {
            let output = Command::new(tool)
                .args(["--endpoint", &self.url()])
                .args(arguments)
                .output()
                .with_context(|| format!("cannot run {}", tool.display()))?;
            if !output.status.success() {
                bail!(
                    "temporal-elasticsearch-tool {} failed: {}{}",
                    arguments.join(" "),
                    String::from_utf8_lossy(&output.stdout),
                    String::from_utf8_lossy(&output.stderr)
                );
            }
        }
        Ok(())
    }

    /// The server's own datastore entry for `index`, with the keys of Temporal's own samples.
    #[must_use]
    pub fn datastore(&self, index: &str) -> Value {
        json!({"elasticsearch": {
            "version": "v7",
            "logLevel": "error",
            "url": {"scheme": "http", "host": self.address()},
            "indices": {"visibility": index},
            "closeIdleConnectionsInterval": "15s",
        }})
    }
}

fn url(node: &Node) -> String {
    format!("http://127.0.0.1:{}", node.port())
}

/// Sends one request to the node at `url`; returns the status and the JSON that came back (null for no body).
///
/// # Errors
/// When there is no answer, or it is not JSON.
pub async fn request(url: &str, method: Method, path: &str, body: Option<Value>) -> Result<(u16, Value)> {
    let client = reqwest::Client::builder().no_proxy().timeout(ANSWERED_WITHIN).build()?;
    let mut asked = client.request(method, format!("{url}{path}"));
    if let Some(body) = body {
        asked = asked.json(&body);
    }
    let answer = asked
        .send()
        .await
        .with_context(|| format!("no answer from {url}{path}"))?;
    let status = answer.status().as_u16();
    let text = answer.text().await?;
    let body = if text.is_empty() {
        Value::Null
    } else {
        serde_json::from_str(&text).with_context(|| format!("{url}{path} answers {status} with no JSON: {text}"))?
    };
    Ok((status, body))
}
