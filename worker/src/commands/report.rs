//! `crossfade report`: what was done, when and by whose approval, and the proof at the end.

use crossfade_plan::report::Report;
use crossfade_workflow::names::query;
use serde_json::json;

use crate::{
    cli::{self, Global},
    exit::{Exit, Failure, Outcome},
    migration::Migration,
    render,
};

pub(super) async fn run(global: &Global, args: &cli::Report) -> Outcome {
    let migration = Migration::find(&global.connection, &args.migration.id).await?;
    let report = match migration.ask_for::<Report>(query::REPORT).await? {
        Ok(report) => report,
        Err(unknown) => {
            render::note("the worker's answer is of another version; it is shown as it came");
            render::json(&unknown);
            return Ok(Exit::Done);
        }
    };
    if let Some(path) = &args.html {
        std::fs::write(path, render::page(&report))
            .map_err(|error| Failure::failed(format!("{} cannot be written: {error}", path.display())))?;
        if !global.json {
            render::text(format!("wrote {}", path.display()));
            return Ok(Exit::Done);
        }
    }
    if global.json {
        render::json(&json!(report));
    } else {
        render::text(render::report(&report));
    }
    Ok(Exit::Done)
}
