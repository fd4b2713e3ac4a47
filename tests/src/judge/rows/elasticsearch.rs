//! An index of Elasticsearch or OpenSearch, over plain HTTP, page after page.

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::SignedDuration;
use serde_json::{Map, Value, json};

use super::{Kept, Key, Row, Rows, instant, memo};

/// Documents in one answer.
const PAGE: usize = 1_000;

/// Each field of a document that SQL stores have as a column
/// (1.30.8:common/persistence/visibility/store/elasticsearch/visibility_store.go, `GenerateESDoc`).
const PLAIN: [(&str, &str); 14] = [
    ("WorkflowId", "workflow_id"),
    ("RunId", "run_id"),
    ("WorkflowType", "workflow_type_name"),
    ("ExecutionStatus", "status"),
    ("HistoryLength", "history_length"),
    ("HistorySizeBytes", "history_size_bytes"),
    ("ExecutionDuration", "execution_duration"),
    ("StateTransitionCount", "state_transition_count"),
    ("TaskQueue", "task_queue"),
    ("ParentWorkflowId", "parent_workflow_id"),
    ("ParentRunId", "parent_run_id"),
    ("RootWorkflowId", "root_workflow_id"),
    ("RootRunId", "root_run_id"),
    ("VisibilityTaskKey", "task_key"),
];

/// The fields that are times.
const TIMES: [(&str, &str); 3] = [
    ("StartTime", "start_time"),
    ("ExecutionTime", "execution_time"),
    ("CloseTime", "close_time"),
];

/// The names of statuses, by their number less one (temporal.api.enums.v1.WorkflowExecutionStatus).
const STATUSES: [&str; 7] = [
    "Running",
    "Completed",
    "Failed",
    "Canceled",
    "Terminated",
    "ContinuedAsNew",
    "TimedOut",
];

pub(super) async fn read(url: &str, index: &str) -> Result<Rows> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let post = async |path: &str, body: &Value| -> Result<Value> {
        let answer = client.post(format!("{url}/{index}/{path}")).json(body).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        if !status.is_success() {
            bail!("POST {path} answers {status}: {text}");
        }
        serde_json::from_str(&text).with_context(|| format!("POST {path} answers in no JSON: {text}"))
    };
    // Without this the last second's documents are not found.
    post("_refresh", &json!({})).await?;
    let mut rows = Rows::new(Kept {
        columns: PLAIN
            .iter()
            .map(|(_, column)| *column)
            .chain(["_version", "_id"])
            .collect(),
        search_attributes: true,
        unit: SignedDuration::from_nanos(1),
    });
    let keyword = |field: &str| json!({field: {"order": "asc", "unmapped_type": "keyword"}});
    let mut query = json!({
        "size": PAGE, "version": true, "track_total_hits": true, "query": {"match_all": {}},
        "sort": [keyword("RunId"), keyword("WorkflowId"), keyword("VisibilityTaskKey")],
    });
    let mut read = 0;
    loop {
        let page = post("_search", &query).await?;
        let failed = &page["_shards"]["failed"];
        if failed.as_u64() != Some(0) {
            bail!("{failed} shards did not answer: {}", page["_shards"]);
        }
        let hits = page["hits"]["hits"].as_array().context("an answer without hits")?;
        for hit in hits {
            let (key, row) = understand(hit).with_context(|| format!("document {}", hit["_id"]))?;
            rows.add(key, row);
        }
        read += hits.len();
        let Some(last) = hits.last().filter(|_| hits.len() == PAGE) else {
            let total = page["hits"]["total"]["value"].as_u64().context("no total")?;
            if u64::try_from(read)? < total {
                bail!("the pages have {read} documents, and the index has {total}");
            }
            return Ok(rows);
        };
        query["search_after"] = last["sort"].clone();
    }
}

fn understand(hit: &Value) -> Result<(Key, Row)> {
    let source = hit["_source"].as_object().context("no _source")?;
    let mut rest: Map<String, Value> = source.clone();
    let mut row = Row {
        columns: [("_version", plain(&hit["_version"])), ("_id", plain(&hit["_id"]))].into(),
        times: Default::default(),
        memo: Default::default(),
        search_attributes: Map::new(),
        found_by: None,
        more: 0,
    };
    for (field, column) in PLAIN {
        let Some(value) = rest.remove(field) else { continue };
        let text = match (column, plain(&value)) {
            ("status", name) => number(&name)?,
            (_, text) => text,
        };
        row.columns.insert(column, text);
    }
    for (field, column) in TIMES {
        let Some(value) = rest.remove(field) else { continue };
        let text = value.as_str().with_context(|| format!("{field} is {value}"))?;
        row.times
            .insert(column, instant(text).with_context(|| format!("{field} is {text}"))?);
    }
    let namespace_id = plain(&rest.remove("NamespaceId").context("no NamespaceId")?);
    let encoding = rest.remove("MemoEncoding");
    if let Some(encoded) = rest.remove("Memo") {
        if encoding.as_ref().and_then(Value::as_str) != Some("Proto3") {
            bail!("the memo's encoding is {encoding:?}");
        }
        let encoded = encoded.as_str().context("the memo is no text")?;
        row.memo = memo(&BASE64_STANDARD.decode(encoded).context("the memo is not base64")?)?;
    }
    row.search_attributes = rest;
    let run_id = row.columns.get("run_id").cloned().context("no RunId")?;
    Ok(((namespace_id, run_id), row))
}

/// A value as SQL prints it.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A status as SQL stores have it.
fn number(name: &str) -> Result<String> {
    let index = STATUSES.iter().position(|known| *known == name);
    let index = index.with_context(|| format!("there is no status {name:?}"))?;
    Ok((index + 1).to_string())
}
