//! Everything that a workflow's history holds, for what must not be in it.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use prost::Message;
use temporalio_client::Client;
use temporalio_common::protos::temporal::api::common::v1::WorkflowExecution;
use temporalio_common::protos::temporal::api::history::v1::{HistoryEvent, history_event::Attributes};
use temporalio_common::protos::temporal::api::workflowservice::v1::GetWorkflowExecutionHistoryRequest;
use tonic::IntoRequest;

/// The events of every run of the workflow `id`, the last run first, as the server sends them: payloads are in there as
/// they are.
///
/// # Errors
/// When the frontend does not answer.
pub async fn raw_history(client: &Client, namespace: &str, id: &str) -> Result<Vec<u8>> {
    let events = events(client, namespace, id).await?;
    Ok(events.iter().flat_map(HistoryEvent::encode_to_vec).collect())
}

/// The task queues of the activities of one type that the workflow `id` ordered at once: those of each of its steps together.
///
/// # Errors
/// When the frontend does not answer.
pub async fn ordered_at_once(client: &Client, namespace: &str, id: &str, activity: &str) -> Result<Vec<Vec<String>>> {
    let mut steps: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for event in events(client, namespace, id).await? {
        if let Some(Attributes::ActivityTaskScheduledEventAttributes(scheduled)) = event.attributes
            && scheduled.activity_type.is_some_and(|of| of.name == activity)
        {
            let queue = scheduled.task_queue.map(|queue| queue.name).unwrap_or_default();
            let step = steps.entry(scheduled.workflow_task_completed_event_id);
            step.or_default().push(queue);
        }
    }
    Ok(steps.into_values().collect())
}

async fn events(client: &Client, namespace: &str, id: &str) -> Result<Vec<HistoryEvent>> {
    let mut request = GetWorkflowExecutionHistoryRequest {
        namespace: namespace.to_owned(),
        execution: Some(WorkflowExecution {
            workflow_id: id.to_owned(),
            run_id: String::new(),
        }),
        ..Default::default()
    };
    let mut events = Vec::new();
    // The run that went on as the one that is read.
    let mut before = String::new();
    loop {
        let mut service = client.connection().workflow_service();
        let answer = service
            .get_workflow_execution_history(request.clone().into_request())
            .await?;
        let page = answer.into_inner();
        for event in page.history.context("a page without a history")?.events {
            if let Some(Attributes::WorkflowExecutionStartedEventAttributes(started)) = &event.attributes {
                before.clone_from(&started.continued_execution_run_id);
            }
            events.push(event);
        }
        request.next_page_token = page.next_page_token;
        if request.next_page_token.is_empty() {
            if before.is_empty() {
                return Ok(events);
            }
            let run_id = std::mem::take(&mut before);
            request.execution.get_or_insert_default().run_id = run_id;
        }
    }
}
