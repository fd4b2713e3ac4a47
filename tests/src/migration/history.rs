//! What a workflow's history holds: for what must not be in it, and for who did what in which time.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use prost::Message;
use temporalio_client::Client;
use temporalio_common::protos::temporal::api::common::v1::WorkflowExecution;
use temporalio_common::protos::temporal::api::history::v1::HistoryEvent;
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_common::protos::temporal::api::workflowservice::v1::GetWorkflowExecutionHistoryRequest;
use tonic::IntoRequest;

/// The events of every run of the workflow `id`, the last run first, as the server sends them: payloads are in there as
/// they are.
///
/// # Errors
/// When the frontend does not answer.
pub async fn raw_history(client: &Client, namespace: &str, id: &str) -> Result<Vec<u8>> {
    let runs = runs(client, namespace, id).await?;
    Ok(runs.iter().flatten().flat_map(Message::encode_to_vec).collect())
}

/// The task queues of the activities of one type that the workflow `id` ordered at once: those of each of its steps together.
///
/// # Errors
/// When the frontend does not answer.
pub async fn ordered_at_once(client: &Client, namespace: &str, id: &str, activity: &str) -> Result<Vec<Vec<String>>> {
    let mut steps: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for event in runs(client, namespace, id).await?.into_iter().flatten() {
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

/// An activity that came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activity {
    /// When it was ordered.
    pub scheduled: SystemTime,
    /// When its answer was there.
    pub completed: SystemTime,
    /// The worker that answered, by the name that it gives itself.
    pub worker: String,
}

/// The activities of one type that every run of the workflow `id` has an answer of.
///
/// # Errors
/// When the frontend does not answer, or with a history that is none.
pub async fn activities(client: &Client, namespace: &str, id: &str, name: &str) -> Result<Vec<Activity>> {
    let mut done = Vec::new();
    for run in runs(client, namespace, id).await? {
        // By the event that ordered it.
        let mut scheduled = BTreeMap::new();
        let mut workers = BTreeMap::new();
        for event in run {
            let at = event.event_time.context("an event without its time")?;
            let at = SystemTime::UNIX_EPOCH + Duration::new(u64::try_from(at.seconds)?, u32::try_from(at.nanos)?);
            match event.attributes {
                Some(Attributes::ActivityTaskScheduledEventAttributes(of))
                    if of.activity_type.as_ref().is_some_and(|kind| kind.name == name) =>
                {
                    scheduled.insert(event.event_id, at);
                }
                Some(Attributes::ActivityTaskStartedEventAttributes(of)) => {
                    workers.insert(of.scheduled_event_id, of.identity);
                }
                Some(Attributes::ActivityTaskCompletedEventAttributes(of)) => {
                    let Some(scheduled) = scheduled.get(&of.scheduled_event_id).copied() else {
                        continue;
                    };
                    done.push(Activity {
                        scheduled,
                        completed: at,
                        worker: workers.remove(&of.scheduled_event_id).unwrap_or_default(),
                    });
                }
                _ => {}
            }
        }
    }
    Ok(done)
}

/// The events of every run, the last run first.
async fn runs(client: &Client, namespace: &str, id: &str) -> Result<Vec<Vec<HistoryEvent>>> {
    let mut request = GetWorkflowExecutionHistoryRequest {
        namespace: namespace.to_owned(),
        execution: Some(WorkflowExecution {
            workflow_id: id.to_owned(),
            run_id: String::new(),
        }),
        ..Default::default()
    };
    let mut runs = Vec::new();
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
            runs.push(std::mem::take(&mut events));
            if before.is_empty() {
                return Ok(runs);
            }
            let run_id = std::mem::take(&mut before);
            request.execution.get_or_insert_default().run_id = run_id;
        }
    }
}
