//! What a server does to one store, by its own statements (1.30.8: common/persistence/sql/sqlplugin/postgresql and
//! common/persistence/visibility/store/elasticsearch), and what is there, read without the product.

use std::collections::BTreeMap;
use std::sync::Arc;

use crossfade_stores::Store;
use crossfade_visibility::ports::Read;
use reqwest::Method;
use serde_json::{Value, json};
use tokio_postgres::{Client, NoTls};

use crate::clusters::{Node, request};
use crate::fixture::{PASSWORD, postgres};

/// One execution's record, as far as it matters here: its content is its version's.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) namespace: String,
    pub(crate) run: String,
    pub(crate) version: i64,
}

impl Row {
    fn content(&self) -> String {
        format!("content of version {}", self.version)
    }

    /// When it was closed, as it is for good from some version on; a few at the same time.
    fn close_time(&self) -> Option<String> {
        let day = self.run.bytes().next_back().unwrap_or_default() % 4 + 1;
        (self.version > CLOSED_AFTER).then(|| format!("2024-01-0{day}T00:00:00Z"))
    }
}

/// The last version with which an execution is open.
const CLOSED_AFTER: i64 = 22;

/// One write of the server to one store.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Start(Row),
    Upsert(Row),
    Delete(Row),
}

/// A store, with the server's way to it beside the product's.
pub(crate) struct Server {
    pub(crate) store: Store,
    /// The same, kept for what is read out of it page by page.
    pub(crate) read: Arc<dyn Read>,
    way: Way,
}

enum Way {
    Postgres(Client),
    Elasticsearch { url: String, index: String },
}

/// Content and version, by run.
pub(crate) type Rows = BTreeMap<String, (String, i64)>;

const COLUMNS: &str = "namespace_id, run_id, _version, task_queue, start_time, execution_time, workflow_id, \
                       workflow_type_name, status, encoding, close_time";
const VALUES: &str = "$1, $2, $3, $4, '2024-01-01', '2024-01-01', 'workflow', 'type', 1, 'Proto3', \
                      ($5::text::timestamptz AT TIME ZONE 'UTC')";

impl Server {
    pub(crate) async fn of_postgres(store: Store, database: &str) -> Self {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(postgres().port).dbname(database);
        config.user("temporal").password(PASSWORD);
        let (client, connection) = config.connect(NoTls).await.expect("a connection");
        tokio::spawn(connection);
        Self {
            read: store.read(),
            store,
            way: Way::Postgres(client),
        }
    }

    pub(crate) fn of_elasticsearch(store: Store, node: &Node, entry: &Value) -> Self {
        let index = entry["elasticsearch"]["indices"]["visibility"].as_str();
        Self {
            read: store.read(),
            store,
            way: Way::Elasticsearch {
                url: node.server.url(),
                index: index.expect("an index").to_owned(),
            },
        }
    }

    pub(crate) async fn write(&self, event: &Event) {
        match &self.way {
            Way::Postgres(client) => to_postgres(client, event).await,
            Way::Elasticsearch { url, index } => to_elasticsearch(url, index, event).await,
        }
    }

    /// Has searches see everything that was written so far.
    pub(crate) async fn refresh(&self) {
        if let Way::Elasticsearch { url, index } = &self.way {
            let (status, answer) = request(url, Method::POST, &format!("/{index}/_refresh"), None).await;
            assert_eq!(status, 200, "{answer}");
        }
    }

    pub(crate) async fn rows(&self, namespace: &str) -> Rows {
        match &self.way {
            Way::Postgres(client) => {
                let all =
                    "SELECT RTRIM(run_id), task_queue, _version FROM executions_visibility WHERE namespace_id = $1";
                let rows = client.query(all, &[&namespace]).await.expect("rows");
                rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect()
            }
            Way::Elasticsearch { url, index } => {
                self.refresh().await;
                let all = json!({"size": 1000, "version": true, "query": {"term": {"NamespaceId": namespace}}});
                let (status, found) = request(url, Method::POST, &format!("/{index}/_search"), Some(all)).await;
                assert_eq!(status, 200, "{found}");
                let hits = found["hits"]["hits"].as_array().expect("hits");
                let text = |hit: &Value, field: &str| hit["_source"][field].as_str().expect("text").to_owned();
                let row = |hit: &Value| {
                    let version = hit["_version"].as_i64().expect("a version");
                    (text(hit, "RunId"), (text(hit, "TaskQueue"), version))
                };
                hits.iter().map(row).collect()
            }
        }
    }
}

async fn to_postgres(client: &Client, event: &Event) {
    let insert =
        format!("INSERT INTO executions_visibility ({COLUMNS}) VALUES ({VALUES}) ON CONFLICT (namespace_id, run_id)");
    let (statement, row) = match event {
        Event::Start(row) => (format!("{insert} DO NOTHING"), row),
        Event::Upsert(row) => (
            format!(
                "{insert} DO UPDATE SET _version = EXCLUDED._version, task_queue = EXCLUDED.task_queue, \
                 close_time = EXCLUDED.close_time \
                 WHERE executions_visibility._version < EXCLUDED._version"
            ),
            row,
        ),
        Event::Delete(row) => {
            let delete = "DELETE FROM executions_visibility WHERE namespace_id = $1 AND run_id = $2";
            client
                .execute(delete, &[&row.namespace, &row.run])
                .await
                .expect("a delete");
            return;
        }
    };
    let written = client
        .execute(
            &statement,
            &[
                &row.namespace,
                &row.run,
                &row.version,
                &row.content(),
                &row.close_time(),
            ],
        )
        .await;
    written.expect("a write");
}

async fn to_elasticsearch(url: &str, index: &str, event: &Event) {
    let (method, row) = match event {
        Event::Start(row) | Event::Upsert(row) => (Method::PUT, row),
        Event::Delete(row) => (Method::DELETE, row),
    };
    let path = format!(
        "/{index}/_doc/workflow~{}?version={}&version_type=external",
        row.run, row.version
    );
    let mut document = json!({
        "NamespaceId": row.namespace, "RunId": row.run, "WorkflowId": "workflow", "WorkflowType": "type",
        "ExecutionStatus": "Running", "StartTime": "2024-01-01T00:00:00Z", "ExecutionTime": "2024-01-01T00:00:00Z",
        "TaskQueue": row.content(), "VisibilityTaskKey": format!("1~{}", row.version),
    });
    if let Some(at) = row.close_time() {
        document["CloseTime"] = json!(at);
    }
    let body = (method == Method::PUT).then_some(document);
    let (status, answer) = request(url, method, &path, body).await;
    // 404: it was not there; 409: what is there is newer.
    assert!([200, 201, 404, 409].contains(&status), "{status}: {answer}");
}
