//! Temporal's own Elasticsearch tool on a real Elasticsearch.

use std::time::Duration;

use crossfade_cluster::index_schema::{IndexOrder, IndexTarget, set_up_index};
use crossfade_cluster::schema::{SchemaError, SchemaOutcome};
use e2e::servers::elasticsearch::Elasticsearch;
use reqwest::Method;
use serde_json::{Value, json};

use crate::cache::V1_30_8;
use crate::elastic::{TEMPLATE, elastic};

const APPLIED: SchemaOutcome = SchemaOutcome::Applied { from: None, to: None };
const CURRENT: SchemaOutcome = SchemaOutcome::Current { version: None };

fn order(entry: &Value) -> IndexOrder {
    IndexOrder {
        target: IndexTarget::from_datastore(entry).expect("a datastore"),
        tool: Some(V1_30_8.program("temporal-elasticsearch-tool")),
        within: Duration::from_secs(60),
    }
}

async fn field(node: &Elasticsearch, index: &str, field: &str) -> Value {
    let (_, answer) = node
        .request(Method::GET, &format!("/{index}/_mapping"), None)
        .await
        .expect("a mapping");
    answer[index]["mappings"]["properties"][field]["type"].clone()
}

async fn settings(node: &Elasticsearch, index: &str) -> Value {
    let (_, answer) = node
        .request(Method::GET, &format!("/{index}/_settings"), None)
        .await
        .expect("settings");
    answer[index]["settings"]["index"]["sort"]["field"].clone()
}

#[tokio::test]
async fn an_index_is_created_by_the_template_once_and_nothing_else_is_touched() {
    let node = elastic().await;
    let _template = TEMPLATE.lock().await;
    let index = "temporal_visibility_v1_created";
    let order = order(&node.datastore(index));
    assert_eq!(set_up_index(&order).await.expect("set up"), APPLIED);
    assert_eq!(field(node, index, "CloseTime").await, "date_nanos");
    assert_eq!(settings(node, index).await, json!(["CloseTime", "StartTime", "RunId"]));
    let record = json!({"WorkflowId": "kept"});
    let put = node
        .request(Method::PUT, &format!("/{index}/_doc/1?refresh=true"), Some(record))
        .await;
    assert_eq!(put.expect("put").0, 201);
    assert_eq!(set_up_index(&order).await.expect("set up again"), CURRENT);
    let (status, _) = node
        .request(Method::GET, &format!("/{index}/_doc/1"), None)
        .await
        .expect("got");
    assert_eq!(status, 200);
    let (_, cluster) = node
        .request(Method::GET, "/_cluster/settings", None)
        .await
        .expect("settings");
    assert_eq!(cluster["persistent"], json!({}), "another application may live here");
}

#[tokio::test]
async fn an_index_that_a_write_created_is_healed_or_named() {
    let node = elastic().await;
    let _template = TEMPLATE.lock().await;
    let index = "temporal_visibility_v1_bare";
    // Before there is a template, or by a name that it did not cover: both end in an index without its fields.
    let _ = node
        .request(Method::DELETE, "/_template/temporal_visibility_v1_template", None)
        .await;
    let created = node
        .request(Method::PUT, &format!("/{index}"), None)
        .await
        .expect("created");
    assert_eq!(created.0, 200, "{}", created.1);
    assert_eq!(field(node, index, "CloseTime").await, Value::Null);
    let healed = set_up_index(&order(&node.datastore(index))).await.expect("set up");
    assert_eq!(healed, CURRENT);
    assert_eq!(field(node, index, "CloseTime").await, "date_nanos");

    let index = "temporal_visibility_v1_guessed";
    let written = node
        .request(
            Method::PUT,
            &format!("/{index}"),
            Some(json!({"mappings": {"properties": {"StartTime": {"type": "keyword"}}}})),
        )
        .await
        .expect("created");
    assert_eq!(written.0, 200, "{}", written.1);
    let error = set_up_index(&order(&node.datastore(index)))
        .await
        .expect_err("a keyword is no time");
    let said = error.to_string();
    assert!(matches!(error, SchemaError::Failed { .. }), "{said}");
    assert!(
        said.contains("update-schema --index") && said.contains("StartTime") && said.contains(index),
        "{said}"
    );
}

#[tokio::test]
async fn what_goes_wrong_is_said_before_anything_is_touched() {
    let node = elastic().await;
    let _template = TEMPLATE.lock().await;
    let error = set_up_index(&order(&node.datastore("visibility")))
        .await
        .expect_err("not covered");
    let said = error.to_string();
    assert!(
        said.starts_with("datastore.elasticsearch.indices.visibility: \"visibility\"")
            && said.contains("temporal_visibility_v1"),
        "{said}"
    );
    let (status, _) = node.request(Method::GET, "/visibility", None).await.expect("asked");
    assert_eq!(status, 404);

    let mut away = node.datastore("temporal_visibility_v1_away");
    away["elasticsearch"]["url"]["host"] = json!("127.0.0.1:9");
    away["elasticsearch"]["username"] = json!("temporal");
    away["elasticsearch"]["password"] = json!("pa55word");
    let mut away = order(&away);
    let error = set_up_index(&away).await.expect_err("nobody there");
    assert!(error.is_transient(), "{error}");
    let said = format!("{error} {away:?}");
    assert!(said.contains("127.0.0.1:9") && !said.contains("pa55word"), "{said}");
    away.tool = Some("/no/such/tool".into());
    let said = set_up_index(&away).await.expect_err("no tool").to_string();
    assert!(
        said.contains("temporal-elasticsearch-tool") && said.contains("CROSSFADE_TEMPORAL_ELASTICSEARCH_TOOL"),
        "{said}"
    );

    for (change, expected) in [
        (json!({"elasticsearch": null}), "datastore.elasticsearch: "),
        (
            json!({"elasticsearch": {"url": {"scheme": "ftp", "host": "h:1"}}}),
            "ftp",
        ),
        (json!({"elasticsearch": {"url": {"scheme": "http"}}}), "url.host"),
        (
            json!({"elasticsearch": {"url": {"scheme": "http", "host": "h:1"}}}),
            "indices.visibility",
        ),
        (
            json!({"elasticsearch": {"url": {"scheme": "https", "host": "h:1"}, "indices": {"visibility": "v"},
                                     "password": "pa55word", "tls": {"enabled": true, "keyData": "abc"}}}),
            "elasticsearch.tls",
        ),
    ] {
        let said = IndexTarget::from_datastore(&change).expect_err(expected).to_string();
        assert!(said.contains(expected) && !said.contains("pa55word"), "{said}");
    }
}
