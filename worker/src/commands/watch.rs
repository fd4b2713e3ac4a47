//! `crossfade watch`: a migration, live, until it ends.

use std::time::Duration;

use crossfade_plan::progress::{Condition, Outcome as Ended, Status};
use crossfade_workflow::names::query;
use jiff::Timestamp;
use serde_json::Value;
use temporalio_client::WorkflowExecutionStatus;

use super::status::{closed, with_server};
use crate::{
    cli::{self, Global},
    exit::{Exit, Failure, Outcome},
    migration::{AskError, Described, Migration},
    render::{self, live::MigrationView},
};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);

pub(super) async fn run(global: &Global, args: &cli::Migration) -> Outcome {
    let migration = Migration::find(&global.connection, &args.id).await?;
    until_the_end(global, &migration).await
}

/// Watches until the migration ends. A server that restarts and a worker that is away are waited for.
pub(super) async fn until_the_end(global: &Global, migration: &Migration) -> Outcome {
    // What does not exist now will not appear by waiting.
    migration.describe().await?;
    let mut view = MigrationView::new();
    let mut shown = Value::Null;
    loop {
        match look(migration).await {
            Ok((answer, described)) => {
                let status = serde_json::from_value::<Status>(answer.clone()).ok();
                if global.json && answer != shown {
                    render::json(&with_server(answer.clone(), &described));
                }
                shown = answer;
                if let Some(status) = &status {
                    view.show(status, &described.activities, Timestamp::now());
                }
                let ended = status
                    .as_ref()
                    .is_some_and(|status| matches!(status.condition, Condition::Ended { .. }));
                if ended || described.status != WorkflowExecutionStatus::Running {
                    drop(view);
                    return finish(global, migration, status.as_ref(), &described).await;
                }
            }
            Err(error @ (AskError::NoServer { .. } | AskError::NoWorker | AskError::Other(_))) => {
                view.show_silence(&error, Timestamp::now());
                if let Ok(described) = migration.describe().await
                    && described.status != WorkflowExecutionStatus::Running
                {
                    drop(view);
                    return Err(closed(migration, &described).await);
                }
            }
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn look(migration: &Migration) -> Result<(Value, Described), AskError> {
    let described = migration.describe().await?;
    Ok((migration.ask(query::STATUS).await?, described))
}

async fn finish(global: &Global, migration: &Migration, status: Option<&Status>, described: &Described) -> Outcome {
    let Some(status) = status else {
        return Err(closed(migration, described).await);
    };
    if !global.json {
        render::text(render::status(status, &[], None, Timestamp::now()));
    }
    match status.condition {
        Condition::Ended {
            result: Ended::Migrated,
        } => Ok(Exit::Done),
        Condition::Ended {
            result: Ended::RolledBack | Ended::Aborted,
        } => Ok(Exit::Failed),
        Condition::Ended { result: Ended::Refused } => {
            let why = migration.failure().await.unwrap_or_else(|| "refused".to_owned());
            Err(Failure::refused(why))
        }
        _ => Err(closed(migration, described).await),
    }
}
