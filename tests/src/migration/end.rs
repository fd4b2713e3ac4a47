//! How a migration's workflow ended, as its history says.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;
use temporalio_client::Client;
use temporalio_common::protos::temporal::api::common::v1::{Payloads, WorkflowExecution};
use temporalio_common::protos::temporal::api::enums::v1::HistoryEventFilterType;
use temporalio_common::protos::temporal::api::failure::v1::failure::FailureInfo;
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_common::protos::temporal::api::workflowservice::v1::GetWorkflowExecutionHistoryRequest;
use tonic::IntoRequest;

/// How a workflow ended.
#[derive(Debug, Clone)]
pub enum End {
    /// With a result.
    Completed(Value),
    /// With a failure.
    Failed(Failure),
    /// In another way.
    Other(String),
}

/// A workflow's failure.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Its type.
    pub kind: String,
    /// Its words.
    pub message: String,
    /// Whether the server would retry it.
    pub retryable: bool,
}

impl End {
    /// Waits until the workflow `id` has ended.
    ///
    /// # Errors
    /// When it has not in time.
    pub async fn of(client: &Client, namespace: &str, id: &str, within: Duration) -> Result<Self> {
        let request = GetWorkflowExecutionHistoryRequest {
            namespace: namespace.to_owned(),
            execution: Some(WorkflowExecution {
                workflow_id: id.to_owned(),
                run_id: String::new(),
            }),
            history_event_filter_type: HistoryEventFilterType::CloseEvent as i32,
            ..Default::default()
        };
        let deadline = Instant::now() + within;
        loop {
            let mut service = client.connection().workflow_service();
            let answer = service
                .get_workflow_execution_history(request.clone().into_request())
                .await;
            let seen = match answer {
                Ok(answer) => {
                    let last = answer
                        .into_inner()
                        .history
                        .and_then(|history| history.events.into_iter().last());
                    match last.and_then(|event| event.attributes).map(Self::read) {
                        Some(Some(end)) => return Ok(end),
                        _ => "it still runs".to_owned(),
                    }
                }
                Err(status) => status.to_string(),
            };
            if Instant::now() > deadline {
                bail!("`{id}` has not ended within {within:?}: {seen}");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    fn read(attributes: Attributes) -> Option<Self> {
        match attributes {
            Attributes::WorkflowExecutionCompletedEventAttributes(completed) => {
                Some(Self::Completed(json(completed.result)))
            }
            Attributes::WorkflowExecutionFailedEventAttributes(failed) => {
                let failure = failed.failure.unwrap_or_default();
                let (kind, retryable) = match failure.failure_info {
                    Some(FailureInfo::ApplicationFailureInfo(info)) => (info.r#type, !info.non_retryable),
                    _ => (String::new(), true),
                };
                Some(Self::Failed(Failure {
                    kind,
                    message: failure.message,
                    retryable,
                }))
            }
            Attributes::WorkflowExecutionCanceledEventAttributes(_) => Some(Self::Other("canceled".to_owned())),
            Attributes::WorkflowExecutionTerminatedEventAttributes(_) => Some(Self::Other("terminated".to_owned())),
            Attributes::WorkflowExecutionTimedOutEventAttributes(_) => Some(Self::Other("timed out".to_owned())),
            _ => None,
        }
    }

    /// The result.
    ///
    /// # Errors
    /// When it ended otherwise: how.
    pub fn completed(self) -> Result<Value> {
        match self {
            Self::Completed(result) => Ok(result),
            other => bail!("expected a result, and it ended so: {other:?}"),
        }
    }

    /// The failure.
    ///
    /// # Errors
    /// When it ended otherwise: how.
    pub fn failed(self) -> Result<Failure> {
        match self {
            Self::Failed(failure) => Ok(failure),
            other => bail!("expected a failure, and it ended so: {other:?}"),
        }
    }
}

fn json(payloads: Option<Payloads>) -> Value {
    payloads
        .and_then(|payloads| payloads.payloads.into_iter().next())
        .and_then(|payload| serde_json::from_slice(&payload.data).ok())
        .unwrap_or_default()
}
