//! Giving an index fields for custom search attributes.
//!
//! The server does it itself when an attribute is registered, but not for those that count as registered already because
//! an index without a name has them (1.27.3: common/searchattribute/manager.go, `GetSearchAttributes`).

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::client::{Body, Call, Cluster, USUAL};
use super::entry::ElasticsearchEntry;
use super::fault;
use crate::error::OpenError;

/// Adds fields of these types to the index. A field that is there with the same type stays; one with another type is
/// refused by Elasticsearch, and then none is added.
pub(crate) async fn map_fields(entry: ElasticsearchEntry, fields: &[(&str, &str)]) -> Result<(), OpenError> {
    let cluster = Cluster::connect(&entry).await?;
    let properties: Map<String, Value> = fields
        .iter()
        .map(|(name, kind)| ((*name).to_owned(), field(kind)))
        .collect();
    let call = Call {
        method: Method::PUT,
        path: format!("{}/_mapping", entry.index),
        query: &[],
        body: Body::Json(json!({ "properties": properties }).to_string()),
        timeout: USUAL,
    };
    cluster
        .ask(call)
        .await
        .map(drop)
        .map_err(|error| fault::opening(entry.login.as_ref(), error))
}

/// As the server maps it (1.23.1: common/persistence/visibility/store/elasticsearch/client/client_v7.go,
/// `convertMappingBody` and `buildMappingBody`).
fn field(kind: &str) -> Value {
    match kind {
        "scaled_float" => json!({ "type": kind, "scaling_factor": 10_000 }),
        _ => json!({ "type": kind }),
    }
}
