//! A migration as its operator sees it from outside: a workflow that is asked, told and described.

use std::time::Duration;

use crossfade_plan::order::Heartbeat;
use crossfade_workflow::names;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;
use temporalio_client::{
    RpcOptions, UntypedQuery, UntypedUpdate, UntypedWorkflowHandle, WorkflowDescribeOptions,
    WorkflowExecuteUpdateOptions, WorkflowExecutionStatus, WorkflowIdConflictPolicy, WorkflowIdReusePolicy,
    WorkflowQueryOptions, WorkflowStartOptions,
    errors::{WorkflowInteractionError, WorkflowQueryError, WorkflowStartError, WorkflowUpdateError},
};
use temporalio_common::{
    UntypedWorkflow,
    data_converters::{ActivitySerializationContext, RawValue, SerializationContextData},
    protos::temporal::api::{
        common::v1::Payload, errordetails::v1::NamespaceNotFoundFailure, failure::v1::Failure as RemoteFailure,
        workflow::v1::PendingActivityInfo,
    },
    protos::utilities::decode_status_detail,
};
use tonic::{Code, Status};

use crate::{
    connection::{Connected, Place, Settings},
    exit::Failure,
};

/// How long a worker may take to answer a query.
const QUERY_WITHIN: Duration = Duration::from_secs(10);
/// How long a worker may take to answer an update.
const UPDATE_WITHIN: Duration = Duration::from_secs(20);

/// One migration's workflow.
pub(crate) struct Migration {
    connected: Connected,
    id: String,
    handle: UntypedWorkflowHandle<temporalio_client::Client>,
}

/// Why a migration did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// There is no such Namespace.
    #[error("the Temporal Server at {} has no Namespace `{}`. Next step: check --namespace (or TEMPORAL_NAMESPACE)", .0.address, .0.namespace)]
    NoNamespace(Place),
    /// There is no such workflow.
    #[error(
        "there is no migration with workflow id `{id}` on {place}. Next step: check --id, --namespace and --address, or \
         start one with `crossfade start`"
    )]
    NoMigration {
        /// The workflow id.
        id: String,
        /// Where it was looked for.
        place: Place,
    },
    /// Nobody works on the task queue.
    #[error(
        "no worker answers on task queue {}. Next step: start `crossfade worker`",
        names::TASK_QUEUE
    )]
    NoWorker,
    /// Nobody took a message yet, and somebody may.
    #[error(
        "no worker answers on task queue {}; the message waits at the server and may still be taken when one starts. \
         Next step: start `crossfade worker`, then see `crossfade audit`",
        names::TASK_QUEUE
    )]
    Unanswered,
    /// The run is over.
    #[error("the migration `{0}` is over")]
    Over(String),
    /// The migration does not take it.
    #[error("not taken: {0}")]
    NotTaken(String),
    /// The frontend does not answer.
    #[error("the Temporal Server at {address} does not answer: {reason}")]
    NoServer {
        /// `host:port`.
        address: String,
        /// What was seen.
        reason: String,
    },
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        match error {
            AskError::NoServer { .. } | AskError::NoWorker | AskError::Unanswered | AskError::Other(_) => {
                Self::failed(error.to_string())
            }
            AskError::NoNamespace(_) | AskError::NoMigration { .. } | AskError::Over(_) | AskError::NotTaken(_) => {
                Self::refused(error.to_string())
            }
        }
    }
}

/// What the server knows of the workflow without asking a worker.
#[derive(Debug, Clone)]
pub(crate) struct Described {
    /// The current run.
    pub(crate) run_id: String,
    /// Whether it is running, and if not, how it closed.
    pub(crate) status: WorkflowExecutionStatus,
    /// When it closed.
    pub(crate) closed: Option<Timestamp>,
    /// History events of the current run.
    pub(crate) history_events: usize,
    /// What is under way right now.
    pub(crate) activities: Vec<PendingActivity>,
}

/// An activity under way.
#[derive(Debug, Clone)]
pub(crate) struct PendingActivity {
    /// Its name (`crossfade_workflow::names::activity`).
    pub(crate) name: String,
    /// The attempt, from 1.
    pub(crate) attempt: u32,
    /// When this attempt was started; `None` while it waits for a worker.
    pub(crate) started: Option<Timestamp>,
    /// The host whose worker alone can take it, where the server tells (from 1.28 on).
    pub(crate) host: Option<String>,
    /// When the next attempt is due, while it waits for one.
    pub(crate) next_attempt: Option<Timestamp>,
    /// How far it is, as of its last heartbeat.
    pub(crate) heartbeat: Option<Heartbeat>,
    /// Why the attempt before this one failed.
    pub(crate) last_failure: Option<String>,
}

impl Migration {
    /// The migration with workflow id `id`; whether it exists shows with the first question.
    ///
    /// # Errors
    /// No connection.
    pub(crate) async fn find(settings: &Settings, id: &str) -> Result<Self, Failure> {
        Ok(Self::on(settings.connect().await?, id))
    }

    /// The migration with workflow id `id` on a connected server.
    pub(crate) fn on(connected: Connected, id: &str) -> Self {
        Self {
            handle: connected.client.get_workflow_handle::<UntypedWorkflow>(id),
            connected,
            id: id.to_owned(),
        }
    }

    /// The workflow id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Where it runs.
    pub(crate) fn place(&self) -> &Place {
        &self.connected.place
    }

    /// Starts it and gives the run id. `summary` and `details` are for the Temporal UI; where payloads are encoded they are
    /// left out, since the client sends them in plain text (temporalio-client 1.1.1).
    ///
    /// # Errors
    /// Also when a run with this workflow id is under way.
    pub(crate) async fn start(&self, spec: &Value, summary: String, details: String) -> Result<String, Failure> {
        let options = WorkflowStartOptions::new(names::TASK_QUEUE, self.id.as_str())
            .id_reuse_policy(WorkflowIdReusePolicy::AllowDuplicate)
            .id_conflict_policy(WorkflowIdConflictPolicy::Fail)
            .maybe_static_summary((!self.connected.encoded).then_some(summary))
            .maybe_static_details((!self.connected.encoded).then_some(details))
            .build();
        let workflow = UntypedWorkflow::new(names::WORKFLOW_TYPE);
        match self
            .connected
            .client
            .start_workflow(workflow, json_payload(spec), options)
            .await
        {
            Ok(handle) => Ok(handle.info().run_id.clone().unwrap_or_default()),
            Err(WorkflowStartError::AlreadyStarted { run_id, .. }) => Err(Failure::refused(format!(
                "the migration `{}` is running already (run {}). Next step: follow it with `crossfade watch --id {}`, \
                 or start another one with another --id",
                self.id,
                run_id.as_deref().unwrap_or("unknown"),
                self.id
            ))),
            Err(WorkflowStartError::Rpc(status)) => Err(self.explain(&status).into()),
            Err(error) => Err(Failure::failed(error.to_string())),
        }
    }

    /// Asks a query and reads its answer as JSON.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(crate) async fn ask(&self, query: &str) -> Result<Value, AskError> {
        let rpc_options = RpcOptions::builder().timeout(QUERY_WITHIN).build();
        let options = WorkflowQueryOptions::builder().rpc_options(rpc_options).build();
        let asked = self
            .handle
            .query(UntypedQuery::new(query), RawValue::new(Vec::new()), options);
        // The query's own deadline is the server's to keep; ours is for a connection that is stuck.
        match tokio::time::timeout(QUERY_WITHIN * 2, asked).await {
            Err(_) => Err(AskError::NoWorker),
            Ok(Ok(answer)) => read_json(answer.payloads.first()),
            Ok(Err(WorkflowQueryError::NotFound(status) | WorkflowQueryError::Rpc(status))) => {
                Err(self.explain(&status))
            }
            Ok(Err(error)) => Err(AskError::Other(error.to_string())),
        }
    }

    /// Asks a query and reads its answer as a `T`; `Err(Value)` inside is an answer of another form, from another
    /// version of the worker.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(crate) async fn ask_for<T: DeserializeOwned>(&self, query: &str) -> Result<Result<T, Value>, AskError> {
        let answer = self.ask(query).await?;
        Ok(T::deserialize(&answer).map_err(|_| answer))
    }

    /// Tells the migration something by an update, and gives its answer.
    ///
    /// # Errors
    /// Why it was not taken.
    pub(crate) async fn tell(&self, message: &str, input: Option<&Value>) -> Result<String, AskError> {
        let rpc_options = RpcOptions::builder().timeout(UPDATE_WITHIN).build();
        let options = WorkflowExecuteUpdateOptions::builder().rpc_options(rpc_options).build();
        let input = input.map_or_else(|| RawValue::new(Vec::new()), json_payload);
        let told = self.handle.execute_update(UntypedUpdate::new(message), input, options);
        match tokio::time::timeout(UPDATE_WITHIN, told).await {
            Err(_) => Err(AskError::Unanswered),
            Ok(Ok(answer)) => Ok(match read_json(answer.payloads.first())? {
                Value::String(text) => text,
                Value::Null => "accepted".to_owned(),
                other => other.to_string(),
            }),
            Ok(Err(WorkflowUpdateError::Failed(failure))) => Err(AskError::NotTaken(failure_text(&failure))),
            Ok(Err(WorkflowUpdateError::NotFound(status) | WorkflowUpdateError::Rpc(status))) => {
                Err(match self.explain(&status) {
                    AskError::NoWorker => AskError::Unanswered,
                    other => other,
                })
            }
            Ok(Err(error)) => Err(AskError::Other(error.to_string())),
        }
    }

    /// What the server knows of it, without asking a worker.
    ///
    /// # Errors
    /// Why the server does not tell.
    pub(crate) async fn describe(&self) -> Result<Described, AskError> {
        let rpc_options = RpcOptions::builder().timeout(QUERY_WITHIN).build();
        let options = WorkflowDescribeOptions::builder().rpc_options(rpc_options).build();
        let described = self.handle.describe(options).await.map_err(|error| match error {
            WorkflowInteractionError::NotFound(status) | WorkflowInteractionError::Rpc(status) => self.explain(&status),
            other => AskError::Other(other.to_string()),
        })?;
        let mut activities = Vec::new();
        for pending in &described.raw().pending_activities {
            activities.push(self.pending(pending).await);
        }
        Ok(Described {
            run_id: described.run_id().to_owned(),
            status: described.status(),
            closed: described.close_time().and_then(|time| Timestamp::try_from(time).ok()),
            history_events: described.history_length(),
            activities,
        })
    }

    /// One of its activities that has not ended; without its heartbeat where that cannot be decoded.
    async fn pending(&self, info: &PendingActivityInfo) -> PendingActivity {
        let details = info.heartbeat_details.as_ref();
        let details = details.map(|details| details.payloads.clone()).unwrap_or_default();
        let context = SerializationContextData::Activity(ActivitySerializationContext::new());
        let codec = self.connected.client.options().data_converter.codec();
        let details = codec.decode(&context, details).await.unwrap_or_default();
        PendingActivity::read(info, details.first())
    }

    /// Why a closed run failed, from its last event; `None` when it did not, or the server does not tell.
    pub(crate) async fn failure(&self) -> Option<String> {
        use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
        let events = self.handle.fetch_history(Default::default()).into_events().await.ok()?;
        match events.into_iter().next_back()?.attributes? {
            Attributes::WorkflowExecutionFailedEventAttributes(failed) => failed.failure.as_ref().map(failure_text),
            Attributes::WorkflowExecutionTerminatedEventAttributes(ended) => {
                Some(format!("terminated by {}: {}", ended.identity, ended.reason))
            }
            _ => None,
        }
    }

    /// A gRPC status in the operator's words.
    fn explain(&self, status: &Status) -> AskError {
        let message = status.message();
        match status.code() {
            Code::NotFound
                if decode_status_detail::<NamespaceNotFoundFailure>(status.details())
                    .is_some_and(|found| !found.namespace.is_empty()) =>
            {
                AskError::NoNamespace(self.place().clone())
            }
            Code::NotFound if message.contains("already completed") => AskError::Over(self.id.clone()),
            Code::NotFound => AskError::NoMigration {
                id: self.id.clone(),
                place: self.place().clone(),
            },
            // 1.30.8:service/matching/matcher.go, errNoRecentPoller.
            Code::FailedPrecondition if message.contains("no poller") => AskError::NoWorker,
            Code::DeadlineExceeded | Code::Cancelled => AskError::NoWorker,
            Code::Unavailable => AskError::NoServer {
                address: self.place().address.clone(),
                reason: message.to_owned(),
            },
            _ => AskError::Other(format!("the Temporal Server at {}: {message}", self.place())),
        }
    }
}

impl PendingActivity {
    fn read(info: &PendingActivityInfo, heartbeat: Option<&Payload>) -> Self {
        let time = |seconds, nanos| Timestamp::new(seconds, nanos).ok();
        Self {
            name: info
                .activity_type
                .as_ref()
                .map(|kind| kind.name.clone())
                .unwrap_or_default(),
            attempt: u32::try_from(info.attempt).unwrap_or(1).max(1),
            started: info
                .last_started_time
                .as_ref()
                .and_then(|at| time(at.seconds, at.nanos)),
            host: info
                .activity_options
                .as_ref()
                .and_then(|options| options.task_queue.as_ref())
                .and_then(|queue| {
                    queue
                        .name
                        .strip_prefix(&names::host_task_queue(""))
                        .map(ToOwned::to_owned)
                }),
            next_attempt: info
                .next_attempt_schedule_time
                .as_ref()
                .and_then(|at| time(at.seconds, at.nanos)),
            heartbeat: heartbeat.and_then(|payload| serde_json::from_slice(&payload.data).ok()),
            last_failure: info.last_failure.as_ref().map(failure_text),
        }
    }
}

/// A failure with its causes, outermost first, each message once.
fn failure_text(failure: &RemoteFailure) -> String {
    let mut messages = vec![failure.message.clone()];
    let mut cause = failure.cause.as_deref();
    while let Some(failure) = cause {
        if !failure.message.is_empty() && !messages.iter().any(|message| message.contains(&failure.message)) {
            messages.push(failure.message.clone());
        }
        cause = failure.cause.as_deref();
    }
    messages.retain(|message| !message.is_empty());
    messages.join(": ")
}

fn json_payload(value: &Value) -> RawValue {
    RawValue::new(vec![Payload {
        metadata: [("encoding".to_owned(), b"json/plain".to_vec())].into(),
        data: value.to_string().into_bytes(),
        ..Payload::default()
    }])
}

fn read_json(payload: Option<&Payload>) -> Result<Value, AskError> {
    match payload {
        None => Ok(Value::Null),
        Some(payload) if payload.data.is_empty() => Ok(Value::Null),
        Some(payload) => serde_json::from_slice(&payload.data).map_err(|error| {
            AskError::Other(format!(
                "the answer is not JSON ({error}): is a codec in use? Next step: set \
                     TEMPORAL_CODEC_ENDPOINT as the worker has it"
            ))
        }),
    }
}
