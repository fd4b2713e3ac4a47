//! Parked workflows: executions that exist to be seen and that nobody ever runs.

use std::collections::BTreeMap;
use std::time::Duration;

use temporalio_common::protos::temporal::api::common::v1::{Memo, SearchAttributes, WorkflowType};
use temporalio_common::protos::temporal::api::enums::v1::{TaskQueueKind, WorkflowIdReusePolicy};
use temporalio_common::protos::temporal::api::errordetails::v1::WorkflowExecutionAlreadyStartedFailure;
use temporalio_common::protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_common::protos::temporal::api::workflowservice::v1::StartWorkflowExecutionRequest;
use temporalio_common::protos::utilities::decode_status_detail;
use tonic::Code;

use crate::error::CallError;
use crate::execution::json_payload;
use crate::frontend::{Frontend, call};

/// A queue that no worker polls.
const TASK_QUEUE: &str = "crossfade-parked";

/// What to park.
pub(crate) struct Parked<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) workflow_id: &'a str,
    pub(crate) workflow_type: &'a str,
    pub(crate) memo: &'a BTreeMap<String, serde_json::Value>,
    pub(crate) search_attributes: &'a BTreeMap<String, serde_json::Value>,
    /// The server closes it after this; `None` is never.
    pub(crate) lifetime: Option<Duration>,
    /// No workflow task is made before this is over, so that no queue keeps tasks which nobody fetches.
    /// Servers that do not know a delayed start make one task, which is harmless.
    pub(crate) delay: Duration,
    /// Whether an id whose last run is closed may be used again.
    pub(crate) again: bool,
}

/// What came of it; either way the run id of the one that is there.
pub(crate) enum Parking {
    /// Started by this call, or by an earlier try of this very call.
    Started(String),
    /// There was one already.
    There(String),
}

impl Frontend {
    /// Parks a workflow. `request_id` makes a repeated call give the same run.
    pub(crate) async fn park(&self, parked: Parked<'_>, request_id: String) -> Result<Parking, CallError> {
        let fields = |values: &BTreeMap<String, serde_json::Value>| {
            values
                .iter()
                .map(|(name, value)| (name.clone(), json_payload(value)))
                .collect()
        };
        let reuse = if parked.again {
            WorkflowIdReusePolicy::AllowDuplicate
        } else {
            WorkflowIdReusePolicy::RejectDuplicate
        };
        let request = StartWorkflowExecutionRequest {
            namespace: parked.namespace.to_owned(),
            workflow_id: parked.workflow_id.to_owned(),
            workflow_type: Some(WorkflowType {
                name: parked.workflow_type.to_owned(),
            }),
            task_queue: Some(TaskQueue {
                name: TASK_QUEUE.to_owned(),
                kind: TaskQueueKind::Normal as i32,
                ..Default::default()
            }),
            workflow_execution_timeout: parked.lifetime.and_then(|d| d.try_into().ok()),
            workflow_start_delay: parked.delay.try_into().ok(),
            workflow_id_reuse_policy: reuse as i32,
            identity: self.connection.identity().to_owned(),
            request_id,
            memo: Some(Memo {
                fields: fields(parked.memo),
            }),
            search_attributes: Some(SearchAttributes {
                indexed_fields: fields(parked.search_attributes),
            }),
            ..Default::default()
        };
        const CALL: &str = "StartWorkflowExecution";
        match call!(
            self,
            workflow_service,
            start_workflow_execution,
            "StartWorkflowExecution",
            request
        )
        .await
        {
            Ok(started) => Ok(Parking::Started(started.run_id)),
            Err(CallError::Status {
                code: Code::AlreadyExists,
                details,
                ..
            }) => {
                let failure: Option<WorkflowExecutionAlreadyStartedFailure> = decode_status_detail(&details);
                match failure.map(|f| f.run_id).filter(|id| !id.is_empty()) {
                    Some(run_id) => Ok(Parking::There(run_id)),
                    None => Err(CallError::answer(
                        CALL,
                        self.address(),
                        "already started, without the run id",
                    )),
                }
            }
            Err(error) => Err(error),
        }
    }
}
