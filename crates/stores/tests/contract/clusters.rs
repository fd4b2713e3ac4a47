//! Elasticsearch and OpenSearch nodes for these tests, with indices made from Temporal's own templates.

use e2e::servers::elasticsearch::{Elasticsearch, Options};
use e2e::servers::opensearch;
use e2e::servers::processes::Processes;
use e2e::servers::progress::Lines;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::fixture;

/// A node of its own for one test, or one for all tests. It is gone when the test binary is.
pub(crate) struct Node {
    pub(crate) server: Elasticsearch,
    pub(crate) processes: Processes,
    _folder: TempDir,
}

/// Which product a node is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Product {
    Elasticsearch,
    OpenSearch,
}

impl Product {
    pub(crate) const BOTH: [Self; 2] = [Self::Elasticsearch, Self::OpenSearch];

    /// The node that tests share.
    pub(crate) async fn shared(self) -> &'static Node {
        static NODES: [OnceCell<Node>; 2] = [OnceCell::const_new(), OnceCell::const_new()];
        NODES[self as usize].get_or_init(|| self.start(&[])).await
    }

    /// A node with settings of its own.
    pub(crate) async fn start(self, settings: &[(&str, &str)]) -> Node {
        let folder = tempfile::tempdir().expect("a folder");
        let processes = Processes::watch(&folder.path().join("pids")).expect("a watch over processes");
        let options = match self {
            Self::Elasticsearch => Options::default(),
            Self::OpenSearch => opensearch::options(),
        };
        let options = settings
            .iter()
            .fold(options, |options, (setting, value)| options.with(setting, value));
        let server = match self {
            Self::Elasticsearch => Elasticsearch::start(folder.path(), &options, &processes, &Lines::default()).await,
            Self::OpenSearch => opensearch::start(folder.path(), &options, &processes, &Lines::default()).await,
        };
        Node {
            server: server.unwrap_or_else(|error| panic!("{error:#}")),
            processes,
            _folder: folder,
        }
    }
}

impl Node {
    /// One request that must succeed.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let (status, answer) = request(&self.server.url(), method, path, body).await;
        assert!(status < 300, "{path}: {status} {answer}");
        answer
    }

    /// An index made from Temporal's template of a version, with fields of its own; its datastore entry.
    pub(crate) async fn index(&self, name: &str, template: &str, fields: Value) -> Value {
        let file = fixture::schema(&format!(
            "elasticsearch/visibility/versioned/{template}/index_template_v7.json"
        ));
        let template = std::fs::read_to_string(file).expect("a template");
        let mut template: Value = serde_json::from_str(&template).expect("JSON");
        self.ask(
            Method::PUT,
            "/_template/temporal_visibility_v1_template",
            Some(template.clone()),
        )
        .await;
        for (field, mapped) in fields.as_object().into_iter().flatten() {
            template["mappings"]["properties"][field] = mapped.clone();
        }
        let index = format!("temporal_visibility_v1_{name}");
        let body = json!({"settings": template["settings"], "mappings": template["mappings"]});
        self.ask(Method::PUT, &format!("/{index}"), Some(body)).await;
        self.server.datastore(&index)
    }
}

/// One request; the status and the JSON that came back.
pub(crate) async fn request(url: &str, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
    let answer = e2e::servers::elasticsearch::request(url, method, path, body).await;
    answer.unwrap_or_else(|error| panic!("{error:#}"))
}
