//! What operators say to a migration: `approve`, `pause`, `resume`, `skip-wait`, `rollback`, `abort`, `finish`, `set-rate`.
//!
//! Each is an update, so that the answer says at once whether it was taken.

use crossfade_plan::message::{Approval, Remark, SetRate};
use crossfade_workflow::names::message as name;
use serde::Serialize;
use serde_json::json;

use crate::{
    cli::{self, Global},
    exit::{Exit, Failure, Outcome},
    migration::{AskError, Migration},
    render,
};

pub(super) async fn approve(global: &Global, args: &cli::Approve) -> Outcome {
    let approval = Approval {
        gate: args.gate,
        by: args.author.by.clone(),
        note: args.author.note.clone(),
        accept_drift: args.accept_drift.iter().copied().collect(),
    };
    tell(global, &args.migration.id, name::APPROVE, &approval).await
}

pub(super) async fn remark(global: &Global, message: &str, args: &cli::Remark) -> Outcome {
    let remark = Remark {
        by: args.author.by.clone(),
        note: args.author.note.clone(),
    };
    tell(global, &args.migration.id, message, &remark).await
}

pub(super) async fn set_rate(global: &Global, args: &cli::SetRate) -> Outcome {
    let rate = SetRate {
        records_per_second: args.rate.0,
        store: args.store.map(Into::into).unwrap_or_default(),
        automatic: args.automatic,
    };
    tell(global, &args.migration.id, name::SET_RATE, &rate).await
}

async fn tell(global: &Global, id: &str, message: &str, input: &impl Serialize) -> Outcome {
    let input = serde_json::to_value(input).map_err(|error| Failure::failed(error.to_string()))?;
    let migration = Migration::find(&global.connection, id).await?;
    match migration.tell(message, Some(&input)).await {
        Ok(answer) if global.json => render::json(&json!({ "migration": id, "accepted": true, "answer": answer })),
        Ok(answer) => render::text(format!("{id}: {answer}")),
        Err(error) => {
            return Err(refused(&migration, error)
                .await
                .context(&format!("{message} on `{id}`")));
        }
    }
    Ok(Exit::Done)
}

/// Why a message was not taken; for a migration that is over, how it ended.
async fn refused(migration: &Migration, error: AskError) -> Failure {
    if matches!(error, AskError::Over(_) | AskError::NoMigration { .. })
        && let Ok(described) = migration.describe().await
    {
        let when = described
            .closed
            .map(|at| format!(" on {}", render::exact_time(at)))
            .unwrap_or_default();
        return Failure::refused(format!(
            "the migration is over: it closed as {:?}{when}",
            described.status
        ));
    }
    error.into()
}
