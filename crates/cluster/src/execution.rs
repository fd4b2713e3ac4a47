//! One workflow execution, as the cluster describes it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use temporalio_common::protos::temporal::api::enums::v1::WorkflowExecutionStatus;
use temporalio_common::protos::temporal::api::workflow::v1::WorkflowExecutionInfo;

/// A value as Temporal carries it: bytes, and metadata that names their encoding.
pub use temporalio_common::protos::temporal::api::common::v1::Payload;

/// What identifies an execution in the stores.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct ExecutionKey {
    /// Id (a UUID) of the Namespace, not its name.
    pub namespace_id: String,
    /// Workflow id.
    pub workflow_id: String,
    /// Run id, a UUID.
    pub run_id: String,
}

/// Where an execution stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExecutionStatus {
    /// Open.
    Running,
    /// Closed with a result.
    Completed,
    /// Closed with an error.
    Failed,
    /// Closed by a cancellation that it accepted.
    Canceled,
    /// Closed from outside.
    Terminated,
    /// Closed; another run of the same id goes on.
    ContinuedAsNew,
    /// Closed by the clock.
    TimedOut,
    /// Open, and held by an operator (servers from 1.29 on).
    Paused,
    /// A number that this version does not know, as the server gave it.
    Other(i32),
}

impl ExecutionStatus {
    /// From the number in Temporal's API (`temporal.api.enums.v1.WorkflowExecutionStatus`).
    pub fn from_number(number: i32) -> Self {
        match WorkflowExecutionStatus::try_from(number) {
            Ok(WorkflowExecutionStatus::Running) => Self::Running,
            Ok(WorkflowExecutionStatus::Completed) => Self::Completed,
            Ok(WorkflowExecutionStatus::Failed) => Self::Failed,
            Ok(WorkflowExecutionStatus::Canceled) => Self::Canceled,
            Ok(WorkflowExecutionStatus::Terminated) => Self::Terminated,
            Ok(WorkflowExecutionStatus::ContinuedAsNew) => Self::ContinuedAsNew,
            Ok(WorkflowExecutionStatus::TimedOut) => Self::TimedOut,
            Ok(WorkflowExecutionStatus::Paused) => Self::Paused,
            Ok(WorkflowExecutionStatus::Unspecified) | Err(_) => Self::Other(number),
        }
    }

    /// Whether the execution may still change. An unknown number counts as open: it is not known to be over.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Other(_))
    }
}

/// An execution as a list or a description shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Execution {
    /// Workflow id.
    pub workflow_id: String,
    /// Run id.
    pub run_id: String,
    /// Workflow type.
    pub workflow_type: String,
    /// Task queue; empty on servers that do not keep it with the record.
    pub task_queue: String,
    /// Where it stands.
    pub status: ExecutionStatus,
    /// When it was started.
    pub start_time: Option<Timestamp>,
    /// When its first workflow task was due; later than the start for a delayed start.
    pub execution_time: Option<Timestamp>,
    /// When it was closed.
    pub close_time: Option<Timestamp>,
    /// Number of events; 0 while open in a list.
    pub history_length: i64,
    /// Memo, by key.
    pub memo: BTreeMap<String, Payload>,
    /// Search attributes, by the name (alias) that the Namespace uses.
    pub search_attributes: BTreeMap<String, Payload>,
}

impl Execution {
    pub(crate) fn from_info(info: WorkflowExecutionInfo) -> Option<Self> {
        let key = info.execution?;
        Some(Self {
            workflow_id: key.workflow_id,
            run_id: key.run_id,
            workflow_type: info.r#type.map(|t| t.name).unwrap_or_default(),
            task_queue: info.task_queue,
            status: ExecutionStatus::from_number(info.status),
            start_time: info.start_time.and_then(|t| timestamp(t.seconds, t.nanos)),
            execution_time: info.execution_time.and_then(|t| timestamp(t.seconds, t.nanos)),
            close_time: info.close_time.and_then(|t| timestamp(t.seconds, t.nanos)),
            history_length: info.history_length,
            memo: info.memo.map(|m| m.fields.into_iter().collect()).unwrap_or_default(),
            search_attributes: info
                .search_attributes
                .map(|a| a.indexed_fields.into_iter().collect())
                .unwrap_or_default(),
        })
    }

    /// A memo field written as JSON, as crossfade and most SDKs write it.
    pub fn memo_json(&self, key: &str) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.memo.get(key)?.data).ok()
    }
}

/// A protobuf time; `None` for the zero time and for what lies outside of jiff's years.
pub(crate) fn timestamp(seconds: i64, nanos: i32) -> Option<Timestamp> {
    if seconds == 0 && nanos == 0 {
        return None;
    }
    Timestamp::new(seconds, nanos).ok()
}

/// A JSON value as a payload (`json/plain`), the encoding that every SDK reads.
pub(crate) fn json_payload(value: &serde_json::Value) -> Payload {
    Payload {
        metadata: [("encoding".to_owned(), b"json/plain".to_vec())].into_iter().collect(),
        data: value.to_string().into_bytes(),
        ..Payload::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_status_is_not_taken_for_closed() {
        assert!(ExecutionStatus::from_number(1).is_open());
        assert!(!ExecutionStatus::from_number(2).is_open());
        assert_eq!(ExecutionStatus::from_number(99), ExecutionStatus::Other(99));
        assert!(ExecutionStatus::from_number(99).is_open());
        assert!(ExecutionStatus::from_number(0).is_open());
    }

    #[test]
    fn the_zero_time_is_no_time() {
        assert_eq!(timestamp(0, 0), None);
        assert_eq!(timestamp(1, 5).map(|t| t.as_nanosecond()), Some(1_000_000_005));
        assert_eq!(timestamp(i64::MAX, 0), None);
    }
}
