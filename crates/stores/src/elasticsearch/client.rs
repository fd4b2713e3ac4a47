//! HTTP to a cluster: its nodes, who we are, what is tried again.
//!
//! Every call may be repeated without harm, so that a node that does not answer is passed over for the next one, and a
//! cluster that says that it is busy is asked again for some seconds before the caller is told.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use crossfade_visibility::ports::Error;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, HOST};
use reqwest::{Client, ClientBuilder, Method, Url};
use serde_json::Value;

use super::entry::{ElasticsearchEntry, Signing, host_and_port};
use super::{fault, sign};
use crate::error::OpenError;
use crate::tls_section::TlsSection;
use crate::verifier::Names;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long one search, look-up or bulk may take. Less than a deleted document's version is remembered (60 s), see
/// [`super::write`].
pub(super) const USUAL: Duration = Duration::from_secs(30);

/// How long a count of everything may take.
pub(super) const LONG: Duration = Duration::from_secs(1800);

/// The pauses before a busy cluster is asked again.
pub(super) const PAUSES: [Duration; 6] = [
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(900),
    Duration::from_secs(2),
    Duration::from_secs(3),
    Duration::from_secs(4),
];

/// One call.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    /// Without a leading slash; names in it are safe for a path.
    pub(super) path: String,
    pub(super) query: &'a [(&'a str, &'a str)],
    pub(super) body: Body,
    pub(super) timeout: Duration,
}

/// What a call carries.
#[derive(Clone)]
pub(super) enum Body {
    Nothing,
    Json(String),
    /// Lines of JSON, as a bulk is written. Shared by all tries.
    Lines(Bytes),
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: u16,
    /// Null when it is no JSON (that of a proxy, say).
    pub(super) body: Value,
}

/// The same as it came.
pub(super) struct Said {
    status: u16,
    bytes: Bytes,
}

impl Said {
    fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or(Value::Null)
}

/// A cluster.
pub(super) struct Cluster {
    /// The store for people.
    pub(super) name: String,
    nodes: Vec<Node>,
    /// The node that answered last.
    current: AtomicUsize,
    login: Option<(String, String)>,
    signing: Option<Signing>,
}

/// One node, with its connections.
struct Node {
    url: Url,
    /// What is sent as `Host` when the URL's host is another name only for TLS.
    host: Option<String>,
    client: Client,
}

impl Cluster {
    /// Connects to the nodes of an entry: those named, or when it says so all that these tell of.
    pub(super) async fn connect(entry: &ElasticsearchEntry) -> Result<Self, OpenError> {
        let mut cluster = Self {
            name: entry.describe(),
            nodes: nodes(entry, &entry.urls)?,
            current: AtomicUsize::new(0),
            login: entry.login.clone(),
            signing: entry.signing.clone(),
        };
        if entry.sniff {
            let found = cluster.sniff(&entry.urls).await?;
            cluster.nodes = nodes(entry, &found)?;
        }
        if entry.healthcheck {
            cluster.keep_healthy().await?;
        }
        Ok(cluster)
    }

    /// The published HTTP addresses of all nodes.
    async fn sniff(&self, given: &[Url]) -> Result<Vec<Url>, OpenError> {
        let answer = self
            .ask(Call::get("_nodes/http"))
            .await
            .map_err(|error| fault::opening(self.login.as_ref(), error))?;
        let scheme = given.first().map_or("http", Url::scheme);
        let nodes = answer["nodes"].as_object().into_iter().flatten();
        let addresses = nodes.filter_map(|(_, node)| node.pointer("/http/publish_address")?.as_str());
        // `10.0.0.1:9200`, or `name/10.0.0.1:9200` where the node was given a name to publish.
        let urls: Vec<Url> = addresses
            .filter_map(|address| {
                let (name, address) = address.split_once('/').unwrap_or(("", address));
                let host = match address.rsplit_once(':') {
                    Some((_, port)) if !name.is_empty() => format!("{name}:{port}"),
                    _ => address.to_owned(),
                };
                Url::parse(&format!("{scheme}://{host}/")).ok()
            })
            .collect();
        if urls.is_empty() {
            return Err(OpenError::Failed {
                store: self.name.clone(),
                reason: "enableSniff is set, and no node tells its HTTP address".to_owned(),
            });
        }
        Ok(urls)
    }

    /// Drops the nodes that do not answer.
    async fn keep_healthy(&mut self) -> Result<(), OpenError> {
        let mut healthy = Vec::new();
        let mut last = None;
        for node in std::mem::take(&mut self.nodes) {
            match self.attempt(&node, &Call::head("")).await {
                Ok(_) => healthy.push(node),
                Err(error) => last = Some(fault::network(&self.name, &error)),
            }
        }
        self.nodes = healthy;
        match last {
            Some(error) if self.nodes.is_empty() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// One call, answered with success; anything else is an error.
    pub(super) async fn ask(&self, call: Call<'_>) -> Result<Value, Error> {
        self.ask_in_bytes(call).await.map(|bytes| value(&bytes))
    }

    /// The same, with the answer as it came.
    pub(super) async fn ask_in_bytes(&self, call: Call<'_>) -> Result<Bytes, Error> {
        let answer = self.call_in_bytes(&call).await?;
        if answer.is_success() {
            return Ok(answer.bytes);
        }
        Err(fault::of(&self.name, answer.status, &value(&answer.bytes)))
    }

    /// One call, whatever the answer's status; a busy cluster is asked again first.
    pub(super) async fn call(&self, call: &Call<'_>) -> Result<Answer, Error> {
        let Said { status, bytes } = self.call_in_bytes(call).await?;
        Ok(Answer {
            status,
            body: value(&bytes),
        })
    }

    async fn call_in_bytes(&self, call: &Call<'_>) -> Result<Said, Error> {
        for pause in PAUSES {
            let said = self
                .once(call)
                .await
                .map_err(|error| fault::network(&self.name, &error))?;
            if said.is_success() || !fault::is_passing(said.status, &value(&said.bytes)) {
                return Ok(said);
            }
            tokio::time::sleep(pause).await;
        }
        self.once(call)
            .await
            .map_err(|error| fault::network(&self.name, &error))
    }

    /// One call without a pause, to the first node that can be connected to.
    pub(super) async fn once(&self, call: &Call<'_>) -> Result<Said, reqwest::Error> {
        let first = self.current.load(Ordering::Relaxed);
        let mut tried = 0;
        loop {
            let at = (first + tried) % self.nodes.len().max(1);
            tried += 1;
            match self.attempt(&self.nodes[at], call).await {
                Ok(answer) => {
                    self.current.store(at, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(error) if tried >= self.nodes.len() || error.is_timeout() => return Err(error),
                Err(error) => {
                    tracing::debug!(%error, store = self.name, "a node did not answer; the next one is asked")
                }
            }
        }
    }

    async fn attempt(&self, node: &Node, call: &Call<'_>) -> Result<Said, reqwest::Error> {
        let mut url = node.url.clone();
        url.set_path(&format!("{}{}", node.url.path(), call.path));
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(call.query);
        }
        let mut request = node.client.request(call.method.clone(), url).timeout(call.timeout);
        if let Some((user, password)) = &self.login {
            request = request.basic_auth(user, Some(password));
        }
        if let Some(host) = &node.host {
            request = request.header(HOST, host);
        }
        request = match &call.body {
            Body::Nothing => request,
            Body::Json(body) => request.header(CONTENT_TYPE, "application/json").body(body.clone()),
            Body::Lines(body) => request.header(CONTENT_TYPE, "application/x-ndjson").body(body.clone()),
        };
        let mut request = request.build()?;
        if let Some(signing) = &self.signing {
            sign::sign(&mut request, signing);
        }
        let response = node.client.execute(request).await?;
        let status = response.status().as_u16();
        let bytes = response.bytes().await?;
        Ok(Said { status, bytes })
    }
}

impl Call<'_> {
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            query: &[],
            body: Body::Nothing,
            timeout: USUAL,
        }
    }

    pub(super) fn head(path: impl Into<String>) -> Self {
        Self {
            method: Method::HEAD,
            ..Self::get(path)
        }
    }
}

fn nodes(entry: &ElasticsearchEntry, urls: &[Url]) -> Result<Vec<Node>, OpenError> {
    let tls = |reason: String| OpenError::Tls {
        store: entry.describe(),
        reason,
    };
    // https without a section is verified against what this machine trusts, as Go does it.
    let section = entry.tls.clone().unwrap_or_else(TlsSection::verified);
    let config = section.client_config(Names::Host).map_err(tls)?;
    let nodes = urls.iter().map(|url| {
        let builder = ClientBuilder::new()
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_keepalive(Duration::from_secs(15))
            .tls_backend_preconfigured(config.clone());
        let builder = match entry.close_idle_after {
            Some(after) => builder.pool_idle_timeout(after),
            None => builder,
        };
        // The server's client uses no proxy for a store with a tls section, and none to its own machine. Compressing
        // an answer pays only where there is a network to carry it.
        let local = is_loopback(url);
        let builder = if local || entry.tls.is_some() {
            builder.no_proxy()
        } else {
            builder
        };
        let (url, host, builder) = name_for_tls(&section, url, builder.gzip(!local));
        let client = builder.build().map_err(|error| tls(fault::words(&error)))?;
        Ok(Node { url, host, client })
    });
    nodes.collect()
}

/// With a `serverName` the certificate is verified for that name, and it is the one sent: the URL has it as its host,
/// and the true host is what it resolves to.
fn name_for_tls(section: &TlsSection, url: &Url, builder: ClientBuilder) -> (Url, Option<String>, ClientBuilder) {
    let (Some(name), "https", Some(host)) = (&section.server_name, url.scheme(), url.host_str()) else {
        return (url.clone(), None, builder);
    };
    let mut named = url.clone();
    if named.set_host(Some(name)).is_err() {
        return (url.clone(), None, builder);
    }
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    (
        named,
        Some(host_and_port(url)),
        builder.dns_resolver(Arc::new(Alias(host))),
    )
}

/// Resolves every name to where one host is.
struct Alias(String);

impl Resolve for Alias {
    fn resolve(&self, _name: Name) -> Resolving {
        let host = self.0.clone();
        Box::pin(async move {
            // The port is the URL's.
            let addresses: Vec<_> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            let addresses: Addrs = Box::new(addresses.into_iter());
            Ok(addresses)
        })
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
