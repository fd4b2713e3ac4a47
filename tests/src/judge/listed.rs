//! What the cluster lists for its users, through the frontend.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;
use temporalio_client::Client;
use temporalio_common::protos::temporal::api::common::v1::Payload;
use temporalio_common::protos::temporal::api::workflowservice::v1::ListWorkflowExecutionsRequest;
use tonic::{Code, IntoRequest};

use crate::traffic::Values;

/// Executions in one answer.
const PAGE: i32 = 200;

/// How long a list may take that the server has no time for.
const LISTED_WITHIN: Duration = Duration::from_secs(60);

/// One execution as it is listed.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub(super) status: i32,
    pub(super) memo: Values,
    pub(super) search_attributes: Values,
}

/// Everything in `namespace` that a List Filter finds, by run id.
pub(super) async fn of(client: &Client, namespace: &str, query: &str) -> Result<BTreeMap<String, Vec<Listed>>> {
    let mut request = ListWorkflowExecutionsRequest {
        namespace: namespace.to_owned(),
        page_size: PAGE,
        query: query.to_owned(),
        ..Default::default()
    };
    let mut listed: BTreeMap<String, Vec<Listed>> = BTreeMap::new();
    let deadline = Instant::now() + LISTED_WITHIN;
    loop {
        let mut service = client.connection().workflow_service();
        let page = match service.list_workflow_executions(request.clone().into_request()).await {
            Ok(page) => page.into_inner(),
            // Servers let a Namespace list no more than ten times a second.
            Err(status) if status.code() == Code::ResourceExhausted && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
            Err(status) => return Err(status).with_context(|| format!("cannot list {namespace} by {query}")),
        };
        for info in page.executions {
            let one = Listed {
                status: info.status,
                memo: values(info.memo.unwrap_or_default().fields),
                search_attributes: values(info.search_attributes.unwrap_or_default().indexed_fields),
            };
            let run_id = info.execution.unwrap_or_default().run_id;
            listed.entry(run_id).or_default().push(one);
        }
        if page.next_page_token.is_empty() {
            return Ok(listed);
        }
        request.next_page_token = page.next_page_token;
    }
}

fn values(payloads: impl IntoIterator<Item = (String, Payload)>) -> Values {
    payloads
        .into_iter()
        .map(|(name, payload)| {
            let value = serde_json::from_slice(&payload.data).unwrap_or_else(|_| Value::from(payload.data));
            (name, value)
        })
        .collect()
}
