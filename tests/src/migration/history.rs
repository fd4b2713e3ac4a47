//! Everything that a workflow's history holds, for what must not be in it.

use anyhow::{Context, Result};
use prost::Message;
use temporalio_client::Client;
use temporalio_common::protos::temporal::api::common::v1::WorkflowExecution;
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_common::protos::temporal::api::workflowservice::v1::GetWorkflowExecutionHistoryRequest;
use tonic::IntoRequest;

/// The events of every run of the workflow `id`, the last run first, as the server sends them: payloads are in there as
/// they are.
///
/// # Errors
/// When the frontend does not answer.
pub async fn raw_history(client: &Client, namespace: &str, id: &str) -> Result<Vec<u8>> {
    let mut request = GetWorkflowExecutionHistoryRequest {
        namespace: namespace.to_owned(),
        execution: Some(WorkflowExecution {
            workflow_id: id.to_owned(),
            run_id: String::new(),
        }),
        ..Default::default()
    };
    let mut bytes = Vec::new();
    // The run that went on as the one that is read.
    let mut before = String::new();
    loop {
        let mut service = client.connection().workflow_service();
        let answer = service
            .get_workflow_execution_history(request.clone().into_request())
            .await?;
        let page = answer.into_inner();
        for event in page.history.context("a page without a history")?.events {
            bytes.extend(event.encode_to_vec());
            if let Some(Attributes::WorkflowExecutionStartedEventAttributes(started)) = event.attributes {
                before = started.continued_execution_run_id;
            }
        }
        request.next_page_token = page.next_page_token;
        if request.next_page_token.is_empty() {
            if before.is_empty() {
                return Ok(bytes);
            }
            let run_id = std::mem::take(&mut before);
            request.execution.get_or_insert_default().run_id = run_id;
        }
    }
}
