//! `crossfade audit`: who did what when.

use crossfade_plan::progress::AuditEntry;
use crossfade_workflow::names::query;

use crate::{
    cli::{self, Global},
    exit::{Exit, Outcome},
    migration::Migration,
    render,
};

pub(super) async fn run(global: &Global, args: &cli::Migration) -> Outcome {
    let migration = Migration::find(&global.connection, &args.id).await?;
    match migration.ask_for::<Vec<AuditEntry>>(query::AUDIT).await? {
        Ok(entries) if global.json => render::json(&entries),
        Ok(entries) => render::text(render::audit(&entries)),
        Err(unknown) => render::json(&unknown),
    }
    Ok(Exit::Done)
}
