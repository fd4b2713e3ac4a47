//! `crossfade plan`: show exactly what a migration would do, changing nothing.

use crossfade_plan::plan::Plan;
use crossfade_workflow::names::query;

use crate::{
    cli::{self, Global},
    exit::{Exit, Failure, Outcome},
    migration::Migration,
    render,
    spec_file::SpecFile,
    work::preflight,
};

pub(super) async fn run(global: &Global, args: &cli::Plan) -> Outcome {
    match (&args.file, &args.id) {
        (Some(file), _) => {
            let plan = preflight::plan(&SpecFile::read(file)?.spec).await?;
            show(global, &plan);
            Ok(Exit::Done)
        }
        (None, Some(id)) => show_running(global, id).await,
        (None, None) => Err(Failure::refused("give a spec file, or the --id of a migration")),
    }
}

/// The plan of a migration that has been started.
async fn show_running(global: &Global, id: &str) -> Outcome {
    let migration = Migration::find(&global.connection, id).await?;
    match migration.ask_for::<Option<Plan>>(query::PLAN).await? {
        Ok(Some(plan)) => show(global, &plan),
        Ok(None) => {
            return Err(Failure::failed(format!(
                "`{id}` has no plan: preflight is under way, or refused it. Next step: `crossfade status --id {id}`"
            )));
        }
        Err(unknown) => render::json(&unknown),
    }
    Ok(Exit::Done)
}

fn show(global: &Global, plan: &Plan) {
    if global.json {
        render::json(plan);
    } else {
        render::text(render::plan(plan));
    }
}
