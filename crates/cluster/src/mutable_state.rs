//! What the history service itself holds of an execution, and asking it to write the Visibility record anew.
//!
//! The mutable state is the only place that has the search attributes and the memo of an execution whose Visibility
//! store keeps none. A *refresh* makes the history service generate an execution's tasks again, its Visibility task
//! among them, which then goes to every store that the writing mode names.
//!
//! Field numbers: 1.30.8: proto/internal/temporal/server/api/{adminservice,persistence}/v1; the same in 1.21.0 to
//! 1.32.2, but for the name of [`MutableState::attributes_removed`].

use std::collections::{BTreeMap, HashMap};

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;

use crate::error::CallError;
use crate::execution::{ExecutionKey, ExecutionStatus, Payload, timestamp};
use crate::frontend::Frontend;

/// An execution as the history service holds it.
#[derive(Clone, PartialEq)]
pub struct MutableState {
    /// Where it stands.
    pub status: ExecutionStatus,
    /// Whether this run is the one that its workflow id means, or was. One that lost against another run while
    /// clusters were apart is a zombie, and no store has a record of it.
    pub zombie: bool,
    /// When it was started.
    pub start_time: Option<Timestamp>,
    /// When it was closed.
    pub close_time: Option<Timestamp>,
    /// The workflow id and run id of its parent, where it has one.
    pub parent: Option<(String, String)>,
    /// The Task Queue's name.
    pub task_queue: String,
    /// Search attributes by the name that the server keeps: `Keyword01` where the execution was started over a SQL
    /// store, the user's own name elsewhere.
    pub search_attributes: BTreeMap<String, Payload>,
    /// Memo, by key.
    pub memo: BTreeMap<String, Payload>,
    /// Memo and search attributes were removed from here once the record was written, because of the dynamic config
    /// `history.visibilityProcessorEnableCloseWorkflowCleanup`. A refresh would then write an empty memo and no
    /// attributes into every store (1.30.8: service/history/visibility_queue_task_executor.go, processCloseExecution).
    /// Called `close_visibility_task_completed` up to 1.26.
    pub attributes_removed: bool,
}

impl std::fmt::Debug for MutableState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Names only: the values are the users'.
        f.debug_struct("MutableState")
            .field("status", &self.status)
            .field("zombie", &self.zombie)
            .field("search_attributes", &self.search_attributes.keys())
            .field("memo", &self.memo.keys())
            .field("attributes_removed", &self.attributes_removed)
            .finish_non_exhaustive()
    }
}

/// What came of asking for a refresh.
#[derive(Debug, Clone)]
pub enum Refreshed {
    /// The tasks were generated. The record is written in the background, usually within a second.
    Refreshed,
    /// There is nothing to refresh from: the mutable state is gone, or the whole Namespace.
    NotFound,
    /// The server refused, or did not answer in time. Asking again is harmless.
    Failed(CallError),
}

impl Frontend {
    /// The mutable state of one run; `None` when it is gone, or the Namespace is. `namespace` is a name.
    ///
    /// # Errors
    /// When the call fails otherwise, or the answer holds no execution.
    pub async fn mutable_state(
        &self,
        namespace: &str,
        workflow_id: &str,
        run_id: &str,
    ) -> Result<Option<MutableState>, CallError> {
        const CALL: &str = "DescribeMutableState";
        let request = DescribeRequest {
            namespace: namespace.to_owned(),
            execution: Some(execution(workflow_id, run_id)),
            skip_force_reload: true,
        };
        let answer: DescribeResponse = match self.admin(CALL, request).await {
            Err(error) if error.is_not_found() => return Ok(None),
            other => other?,
        };
        let wrong = || CallError::answer(CALL, self.address(), "no database_mutable_state of a workflow");
        let state = answer.database_mutable_state.ok_or_else(wrong)?;
        let (info, state) = (
            state.execution_info.ok_or_else(wrong)?,
            state.execution_state.ok_or_else(wrong)?,
        );
        let start_time = state.start_time.or(info.start_time);
        Ok(Some(MutableState {
            status: ExecutionStatus::from_number(state.status),
            zombie: state.state == ZOMBIE,
            start_time: start_time.and_then(|t| timestamp(t.seconds, t.nanos)),
            close_time: info.close_time.and_then(|t| timestamp(t.seconds, t.nanos)),
            // As the server itself asks (1.23.1: service/history/visibility_queue_task_executor.go, getVisibilityRequestBase).
            parent: (!info.parent_workflow_id.is_empty() && !info.parent_run_id.is_empty())
                .then_some((info.parent_workflow_id, info.parent_run_id)),
            task_queue: info.task_queue,
            search_attributes: info.search_attributes.into_iter().collect(),
            memo: info.memo.into_iter().collect(),
            attributes_removed: info.attributes_removed,
        }))
    }

    /// The mutable states of many runs of one Namespace, in the order of `keys`, at most `at_once` (1 at least) calls at
    /// a time. `namespace` is the Namespace's name; the ids in `keys` are not looked at.
    ///
    /// # Errors
    /// The first call that failed.
    pub async fn mutable_states(
        &self,
        namespace: &str,
        keys: &[ExecutionKey],
        at_once: usize,
    ) -> Result<Vec<Option<MutableState>>, CallError> {
        stream::iter(keys.to_vec())
            .map(|key| async move { self.mutable_state(namespace, &key.workflow_id, &key.run_id).await })
            .buffered(at_once.max(1))
            .try_collect()
            .await
    }

    /// Has the history service write the Visibility record of one run anew, to every store of the writing mode.
    ///
    /// More than the record is generated: all tasks of an open run; the close and the retention timer of a closed one,
    /// and with archival on it is archived again (1.30.8: service/history/workflow/task_generator.go,
    /// GenerateWorkflowCloseTasks). All of them may be done twice. Look at [`MutableState::attributes_removed`] first.
    pub async fn refresh(&self, key: &ExecutionKey) -> Refreshed {
        let request = RefreshRequest {
            execution: Some(execution(&key.workflow_id, &key.run_id)),
            namespace_id: key.namespace_id.clone(),
        };
        match self.admin::<_, RefreshResponse>("RefreshWorkflowTasks", request).await {
            Ok(RefreshResponse {}) => Refreshed::Refreshed,
            Err(error) if error.is_not_found() => Refreshed::NotFound,
            Err(error) => Refreshed::Failed(error),
        }
    }

    /// [`Frontend::refresh`] for many runs, in the order of `keys`, at most `at_once` (1 at least) at a time.
    /// The caller keeps to a rate by the size of what it hands in.
    pub async fn refresh_all(&self, keys: &[ExecutionKey], at_once: usize) -> Vec<Refreshed> {
        stream::iter(keys.to_vec())
            .map(|key| async move { self.refresh(&key).await })
            .buffered(at_once.max(1))
            .collect()
            .await
    }
}

/// `WORKFLOW_EXECUTION_STATE_ZOMBIE` (1.30.8: proto/internal/temporal/server/api/enums/v1/workflow.proto).
const ZOMBIE: i32 = 4;

fn execution(workflow_id: &str, run_id: &str) -> Execution {
    Execution {
        workflow_id: workflow_id.to_owned(),
        run_id: run_id.to_owned(),
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct Execution {
    #[prost(string, tag = "1")]
    workflow_id: String,
    #[prost(string, tag = "2")]
    run_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RefreshRequest {
    #[prost(message, optional, tag = "2")]
    execution: Option<Execution>,
    /// Tag 1, the Namespace's name, was given up before 1.21.
    #[prost(string, tag = "3")]
    namespace_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RefreshResponse {}

#[derive(Clone, PartialEq, prost::Message)]
struct DescribeRequest {
    #[prost(string, tag = "1")]
    namespace: String,
    #[prost(message, optional, tag = "2")]
    execution: Option<Execution>,
    /// What is in the cache is good enough, and spares the main store a read. Older servers always read.
    #[prost(bool, tag = "3")]
    skip_force_reload: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct DescribeResponse {
    #[prost(message, optional, tag = "4")]
    database_mutable_state: Option<StoredState>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredState {
    #[prost(message, optional, tag = "7")]
    execution_info: Option<ExecutionInfo>,
    #[prost(message, optional, tag = "8")]
    execution_state: Option<ExecutionState>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ExecutionInfo {
    #[prost(string, tag = "4")]
    parent_workflow_id: String,
    #[prost(string, tag = "5")]
    parent_run_id: String,
    #[prost(string, tag = "9")]
    task_queue: String,
    #[prost(message, optional, tag = "20")]
    start_time: Option<Time>,
    #[prost(map = "string, message", tag = "52")]
    search_attributes: HashMap<String, Payload>,
    #[prost(map = "string, message", tag = "53")]
    memo: HashMap<String, Payload>,
    #[prost(message, optional, tag = "66")]
    close_time: Option<Time>,
    #[prost(bool, tag = "67")]
    attributes_removed: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ExecutionState {
    #[prost(int32, tag = "3")]
    state: i32,
    #[prost(int32, tag = "4")]
    status: i32,
    #[prost(message, optional, tag = "6")]
    start_time: Option<Time>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Time {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}
