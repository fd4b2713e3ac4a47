//! `crossfade status`: where a migration stands.

use crossfade_plan::progress::Status;
use crossfade_workflow::names::query;
use jiff::Timestamp;
use serde_json::{Value, json};
use temporalio_client::WorkflowExecutionStatus;

use crate::{
    cli::{self, Global},
    exit::{Exit, Failure, Outcome},
    migration::{AskError, Described, Migration},
    render,
};

pub(super) async fn run(global: &Global, args: &cli::Migration) -> Outcome {
    let migration = Migration::find(&global.connection, &args.id).await?;
    let described = migration.describe().await?;
    let answer = match migration.ask(query::STATUS).await {
        Ok(answer) => answer,
        Err(AskError::NoWorker) if described.status != WorkflowExecutionStatus::Running => {
            return Err(closed(&migration, &described).await);
        }
        Err(error) => return Err(error.into()),
    };
    if global.json {
        render::json(&with_server(answer, &described));
        return Ok(Exit::Done);
    }
    let failure = match described.status {
        WorkflowExecutionStatus::Running | WorkflowExecutionStatus::Completed => None,
        _ => migration.failure().await,
    };
    match serde_json::from_value::<Status>(answer.clone()) {
        Ok(status) => {
            let now = Timestamp::now();
            render::text(render::status(&status, &described.activities, failure.as_deref(), now));
        }
        Err(error) => {
            render::note(format!(
                "the worker's answer is of another version ({error}); it is shown as it came"
            ));
            render::text(format!("{answer:#}"));
        }
    }
    Ok(Exit::Done)
}

/// What is known of a closed migration that no worker answers for.
pub(super) async fn closed(migration: &Migration, described: &Described) -> Failure {
    let when = described
        .closed
        .map(|at| format!(" on {}", render::exact_time(at)))
        .unwrap_or_default();
    let why = migration
        .failure()
        .await
        .map(|why| format!(": {why}"))
        .unwrap_or_default();
    Failure::failed(format!(
        "`{}` closed as {:?}{when}{why}\nno worker answers for its details. Next step: start `crossfade worker` and ask again",
        migration.id(),
        described.status
    ))
}

/// The status with what the server itself tells added under `server`.
pub(super) fn with_server(mut status: Value, described: &Described) -> Value {
    if let Some(fields) = status.as_object_mut() {
        let activities: Vec<Value> = described
            .activities
            .iter()
            .map(|activity| {
                json!({
                    "name": activity.name,
                    "attempt": activity.attempt,
                    "started": activity.started,
                    "next_attempt": activity.next_attempt,
                    "heartbeat": activity.heartbeat,
                    "last_failure": activity.last_failure,
                })
            })
            .collect();
        let server = json!({
            "run_id": described.run_id,
            "workflow_status": format!("{:?}", described.status),
            "closed": described.closed,
            "history_events": described.history_events,
            "activities": activities,
        });
        fields.insert("server".to_owned(), server);
    }
    status
}
