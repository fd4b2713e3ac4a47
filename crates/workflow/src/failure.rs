//! Between an activity's failure and the [`Problem`]s that it stands for.

use anyhow::anyhow;
use crossfade_plan::problem::{Code, Problem, listing};
use temporalio_common::error::{ActivityExecutionError, ApplicationFailure, IncomingError, RetryState, TimeoutType};
use temporalio_workflow::WorkflowTermination;

/// The problems that an activity failed with; `task_queue` names the host queue it was bound to, if any.
pub(crate) fn problems_of(error: &ActivityExecutionError, host: Option<&str>) -> Vec<Problem> {
    match error.cause() {
        Some(IncomingError::Application(failure)) => match failure.details::<Vec<Problem>>() {
            Ok(Some(problems)) if !problems.is_empty() => problems,
            _ => vec![Problem::new(
                Code::Unexpected,
                error.cause().map_or_else(String::new, |c| c.failure().message.clone()),
            )],
        },
        Some(IncomingError::Timeout(timeout)) => vec![timed_out(timeout.timeout_type(), error, host)],
        _ => vec![Problem::new(Code::Unexpected, error.to_string())],
    }
}

/// Whether an activity failed only because it was asked to stop: the server does not try such a one again,
/// whatever it failed of (service/history/workflow/mutable_state_impl.go, `RetryActivity`, 1.30.8).
pub(crate) fn was_stopped(error: &ActivityExecutionError) -> bool {
    match error {
        ActivityExecutionError::Cancelled(_) => true,
        ActivityExecutionError::Failed(failed) => failed.retry_state() == RetryState::CancelRequested,
        _ => false,
    }
}

fn timed_out(kind: TimeoutType, error: &ActivityExecutionError, host: Option<&str>) -> Problem {
    match (kind, host) {
        (TimeoutType::ScheduleToStart, Some(host)) => {
            Problem::new(Code::HostWorkerMissing, format!("no worker answers for host `{host}`"))
                .at(format!("host {host}"))
                .remedy(format!("start one on that host: `crossfade worker --host {host}`"))
        }
        _ => Problem::new(Code::Unexpected, format!("an activity timed out ({kind:?}): {error}")),
    }
}

/// The workflow ends as failed: `type_name` is pinned in `names::failure`, the problems are its details.
pub(crate) fn fail(type_name: &str, problems: &[Problem]) -> WorkflowTermination {
    ApplicationFailure::builder(anyhow!(listing(problems)))
        .type_name(type_name.to_owned())
        .non_retryable(true)
        .details(problems.to_vec())
        .build()
        .into()
}
