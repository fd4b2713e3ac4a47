//! Inputs that `tctl` would not send: any bytes under any encoding, any number of them.

use anyhow::Result;
use temporalio_client::Client;
use temporalio_common::protos::temporal::api::common::v1::{Payload, Payloads, WorkflowExecution, WorkflowType};
use temporalio_common::protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    SignalWorkflowExecutionRequest, StartWorkflowExecutionRequest,
};
use tonic::IntoRequest;

use crate::testbed::NAMESPACE;

/// A payload of `bytes` that says it is of `encoding`.
#[must_use]
pub fn payload(encoding: &str, bytes: &[u8]) -> Payload {
    Payload {
        metadata: [("encoding".to_owned(), encoding.as_bytes().to_vec())].into(),
        data: bytes.to_vec(),
        ..Default::default()
    }
}

/// Starts a migration with these payloads for its input.
///
/// # Errors
/// When the server refuses.
pub async fn start_with_payloads(client: &Client, id: &str, payloads: Vec<Payload>) -> Result<()> {
    let request = StartWorkflowExecutionRequest {
        namespace: NAMESPACE.to_owned(),
        workflow_id: id.to_owned(),
        workflow_type: Some(WorkflowType {
            name: "VisibilityMigration".to_owned(),
        }),
        task_queue: Some(TaskQueue {
            name: "visibility-migration".to_owned(),
            ..Default::default()
        }),
        input: Some(Payloads { payloads }),
        request_id: uuid::Uuid::new_v4().to_string(),
        ..Default::default()
    };
    let mut service = client.connection().workflow_service();
    service.start_workflow_execution(request.into_request()).await?;
    Ok(())
}

/// Sends a signal with these payloads for its input.
///
/// # Errors
/// When the server refuses.
pub async fn signal_with_payloads(client: &Client, id: &str, name: &str, payloads: Vec<Payload>) -> Result<()> {
    let request = SignalWorkflowExecutionRequest {
        namespace: NAMESPACE.to_owned(),
        workflow_execution: Some(WorkflowExecution {
            workflow_id: id.to_owned(),
            run_id: String::new(),
        }),
        signal_name: name.to_owned(),
        input: Some(Payloads { payloads }),
        request_id: uuid::Uuid::new_v4().to_string(),
        ..Default::default()
    };
    let mut service = client.connection().workflow_service();
    service.signal_workflow_execution(request.into_request()).await?;
    Ok(())
}
