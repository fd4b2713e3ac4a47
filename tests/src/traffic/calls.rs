//! Calls that outlast the server's restarts: each is made until it is answered, and made twice is made once.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use temporalio_client::Client;
use temporalio_common::protos::temporal::api::common::v1::{Memo, Payload, Payloads, WorkflowExecution, WorkflowType};
use temporalio_common::protos::temporal::api::enums::v1::HistoryEventFilterType;
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_common::protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_common::protos::temporal::api::workflow::v1::WorkflowExecutionInfo;
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    DeleteWorkflowExecutionRequest, DescribeWorkflowExecutionRequest, GetWorkflowExecutionHistoryRequest,
    RequestCancelWorkflowExecutionRequest, SignalWorkflowExecutionRequest, StartWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
};
use temporalio_common::search_attributes::SearchAttributes;
use tonic::{Code, IntoRequest, Response, Status};

use super::attributes::{self, Values};
use super::order::{OrderInput, WORKFLOW_TYPE};

/// How long one call may take before it is made again.
const ONE_CALL: Duration = Duration::from_secs(10);

/// How long the cluster may be away before traffic gives up: longer than any restart, shorter than a test.
const PATIENCE: Duration = Duration::from_secs(180);

/// The calls of traffic in one Namespace.
#[derive(Clone)]
pub(super) struct Calls {
    pub(super) client: Client,
    pub(super) namespace: String,
    pub(super) task_queue: String,
}

/// How a call ended that the server answered.
pub(super) enum Answer<T> {
    Given(T),
    /// There is no such execution, or it has ended already.
    NotThere,
}

impl Calls {
    /// Starts an order and returns its run id. The request id makes the server answer a repeated start with the first run.
    pub(super) async fn start(
        &self,
        workflow_id: &str,
        input: &OrderInput,
        run_timeout: Option<Duration>,
        cron_schedule: &str,
    ) -> Result<String> {
        let memo = attributes::memo_at_start(input.number);
        let request = StartWorkflowExecutionRequest {
            namespace: self.namespace.clone(),
            workflow_id: workflow_id.to_owned(),
            workflow_type: Some(WorkflowType {
                name: WORKFLOW_TYPE.to_owned(),
            }),
            task_queue: Some(TaskQueue {
                name: self.task_queue.clone(),
                ..Default::default()
            }),
            input: Some(Payloads {
                payloads: vec![payload(&serde_json::to_value(input)?)],
            }),
            request_id: request_id(),
            workflow_run_timeout: run_timeout.map(TryInto::try_into).transpose().context("run timeout")?,
            memo: (!memo.is_empty()).then(|| Memo {
                fields: memo.iter().map(|(key, value)| (key.clone(), payload(value))).collect(),
            }),
            search_attributes: search_attributes(&attributes::at_start(input.number))?,
            cron_schedule: cron_schedule.to_owned(),
            ..Default::default()
        };
        let answer = self
            .until_answered(&format!("start {workflow_id}"), || {
                let mut service = self.client.connection().workflow_service();
                let request = request.clone();
                async move { service.start_workflow_execution(request.into_request()).await }
            })
            .await?;
        match answer {
            Answer::Given(started) => Ok(started.run_id),
            Answer::NotThere => bail!(
                "{workflow_id} cannot be started: Namespace {} is not there",
                self.namespace
            ),
        }
    }

    pub(super) async fn signal(&self, workflow_id: &str, run_id: &str, name: &str, input: Option<Value>) -> Result<()> {
        let request = SignalWorkflowExecutionRequest {
            namespace: self.namespace.clone(),
            workflow_execution: execution(workflow_id, run_id),
            signal_name: name.to_owned(),
            input: input.map(|input| Payloads {
                payloads: vec![payload(&input)],
            }),
            request_id: request_id(),
            ..Default::default()
        };
        let answer = self
            .until_answered(&format!("signal {workflow_id}"), || {
                let mut service = self.client.connection().workflow_service();
                let request = request.clone();
                async move { service.signal_workflow_execution(request.into_request()).await }
            })
            .await?;
        match answer {
            Answer::Given(_) => Ok(()),
            Answer::NotThere => bail!("{workflow_id} was to wait for signal {name}, and has ended"),
        }
    }

    pub(super) async fn cancel(&self, workflow_id: &str, run_id: &str) -> Result<()> {
        let request = RequestCancelWorkflowExecutionRequest {
            namespace: self.namespace.clone(),
            workflow_execution: execution(workflow_id, run_id),
            request_id: request_id(),
            reason: "the customer changed their mind".to_owned(),
            ..Default::default()
        };
        self.until_answered(&format!("cancel {workflow_id}"), || {
            let mut service = self.client.connection().workflow_service();
            let request = request.clone();
            async move { service.request_cancel_workflow_execution(request.into_request()).await }
        })
        .await
        .map(drop)
    }

    pub(super) async fn terminate(&self, workflow_id: &str, run_id: &str) -> Result<()> {
        let request = TerminateWorkflowExecutionRequest {
            namespace: self.namespace.clone(),
            workflow_execution: execution(workflow_id, run_id),
            reason: "fraud".to_owned(),
            ..Default::default()
        };
        self.until_answered(&format!("terminate {workflow_id}"), || {
            let mut service = self.client.connection().workflow_service();
            let request = request.clone();
            async move { service.terminate_workflow_execution(request.into_request()).await }
        })
        .await
        .map(drop)
    }

    pub(super) async fn delete(&self, workflow_id: &str, run_id: &str) -> Result<()> {
        let request = DeleteWorkflowExecutionRequest {
            namespace: self.namespace.clone(),
            workflow_execution: execution(workflow_id, run_id),
        };
        self.until_answered(&format!("delete {workflow_id}"), || {
            let mut service = self.client.connection().workflow_service();
            let request = request.clone();
            async move { service.delete_workflow_execution(request.into_request()).await }
        })
        .await
        .map(drop)
    }

    /// What the cluster's main store says of an execution.
    pub(super) async fn describe(&self, workflow_id: &str, run_id: &str) -> Result<Option<WorkflowExecutionInfo>> {
        let request = DescribeWorkflowExecutionRequest {
            namespace: self.namespace.clone(),
            execution: execution(workflow_id, run_id),
        };
        let answer = self
            .until_answered(&format!("describe {workflow_id}"), || {
                let mut service = self.client.connection().workflow_service();
                let request = request.clone();
                async move { service.describe_workflow_execution(request.into_request()).await }
            })
            .await?;
        Ok(match answer {
            Answer::Given(described) => described.workflow_execution_info,
            Answer::NotThere => None,
        })
    }

    /// The run that followed a run: one that continued as new, or that a schedule brought to its next turn.
    pub(super) async fn next_run(&self, workflow_id: &str, run_id: &str) -> Result<String> {
        let request = GetWorkflowExecutionHistoryRequest {
            namespace: self.namespace.clone(),
            execution: execution(workflow_id, run_id),
            history_event_filter_type: HistoryEventFilterType::CloseEvent as i32,
            ..Default::default()
        };
        let answer = self
            .until_answered(&format!("read the end of {workflow_id}"), || {
                let mut service = self.client.connection().workflow_service();
                let request = request.clone();
                async move { service.get_workflow_execution_history(request.into_request()).await }
            })
            .await?;
        let Answer::Given(answer) = answer else {
            bail!("{workflow_id} run {run_id} has no history")
        };
        let event = answer.history.and_then(|history| history.events.into_iter().last());
        match event.and_then(|event| event.attributes) {
            Some(Attributes::WorkflowExecutionContinuedAsNewEventAttributes(attributes)) => {
                Ok(attributes.new_execution_run_id)
            }
            Some(Attributes::WorkflowExecutionCompletedEventAttributes(attributes))
                if !attributes.new_execution_run_id.is_empty() =>
            {
                Ok(attributes.new_execution_run_id)
            }
            other => bail!("{workflow_id} run {run_id} was to be followed by another run, and ended with {other:?}"),
        }
    }

    /// Makes a call until the server answers it, over restarts.
    async fn until_answered<T, F, Fut>(&self, what: &str, call: F) -> Result<Answer<T>>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = match tokio::time::timeout(ONE_CALL, call()).await {
                Ok(Ok(answer)) => return Ok(Answer::Given(answer.into_inner())),
                Ok(Err(status)) => status,
                Err(_) => Status::deadline_exceeded("no answer"),
            };
            match status.code() {
                Code::NotFound => return Ok(Answer::NotThere),
                // The attributes' aliases reach every service some time after they are registered.
                Code::InvalidArgument if status.message().contains("search attribute") => {}
                Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented => {
                    bail!("cannot {what}: {status}")
                }
                _ => {}
            }
            if Instant::now() > deadline {
                bail!("cannot {what} for {} s: {status}", PATIENCE.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    }
}

/// `value` as the SDK's own converter writes it.
fn payload(value: &Value) -> Payload {
    Payload {
        metadata: [("encoding".to_owned(), b"json/plain".to_vec())].into(),
        data: value.to_string().into_bytes(),
        ..Default::default()
    }
}

fn search_attributes(
    values: &Values,
) -> Result<Option<temporalio_common::protos::temporal::api::common::v1::SearchAttributes>> {
    if values.is_empty() {
        return Ok(None);
    }
    Ok(Some(SearchAttributes::new(attributes::updates(values)?).into_proto()))
}

fn execution(workflow_id: &str, run_id: &str) -> Option<WorkflowExecution> {
    Some(WorkflowExecution {
        workflow_id: workflow_id.to_owned(),
        run_id: run_id.to_owned(),
    })
}

fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}
