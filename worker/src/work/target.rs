//! The target's schema, by Temporal's own tools, and checked afterwards by its columns.

use std::time::Duration;

use crossfade_cluster::schema::{SchemaOrder, SchemaOutcome, SchemaSource, SqlTarget, set_up};
use crossfade_plan::{
    order::{PrepareTarget, TargetReady},
    problem::{Code, Problem},
};

use super::{
    problems::{open as open_problem, schema},
    stores::{no_strangers, schema_problems, target_entry},
};

/// The longest that one run of the schema tool may take: it alters tables, which are empty or small here.
const WITHIN: Duration = Duration::from_secs(300);

/// Names a folder of Temporal's schema for the target, where the tool's own copy is not the one wanted.
const SCHEMA_FOLDER_VARIABLE: &str = "CROSSFADE_SCHEMA_DIR";

/// Sets the schema up where that is asked for, and checks it.
pub(crate) async fn prepare(order: &PrepareTarget) -> Result<TargetReady, Vec<Problem>> {
    let spec = &order.context.spec;
    let entry = target_entry(spec).map_err(|problem| vec![problem])?;
    let done = if spec.target.setup_schema {
        let target = SqlTarget::from_datastore(&entry).map_err(|error| vec![schema(&error)])?;
        let file = target.database.clone();
        let outcome = set_up(&SchemaOrder {
            target,
            tool: None,
            source: std::env::var_os(SCHEMA_FOLDER_VARIABLE)
                .map_or(SchemaSource::Embedded, |folder| SchemaSource::Folder(folder.into())),
            create_database: true,
            within: WITHIN,
        })
        .await
        .map_err(|error| vec![schema(&error)])?;
        match outcome {
            SchemaOutcome::Current { .. } => "the schema was up to date".to_owned(),
            SchemaOutcome::Applied { from, to } => format!(
                "the schema was brought from {} to {}",
                from.as_deref().unwrap_or("nothing"),
                to.as_deref().unwrap_or("the tool's version")
            ),
            SchemaOutcome::ByServer => {
                return Ok(TargetReady {
                    description: Some(format!("SQLite file {file}")),
                    schema_version: None,
                    done: "the server makes the schema itself when it starts with this SQLite file".to_owned(),
                });
            }
        }
    } else {
        "the schema was left as it is".to_owned()
    };
    let facts = crossfade_stores::inspect(&entry)
        .await
        .map_err(|error| vec![open_problem(&error, "target.datastore")])?;
    let problems = schema_problems(&facts, &order.server_version);
    if !problems.is_empty() {
        return Err(problems);
    }
    if let Some(Err(reason)) = &facts.writable {
        let message = format!("{} cannot be written: {reason}", facts.store);
        return Err(vec![
            Problem::new(Code::StorePermission, message).at("target.datastore"),
        ]);
    }
    no_strangers(&order.context).await.map_err(|problem| vec![problem])?;
    let schema_version = facts.schema.version();
    Ok(TargetReady {
        description: Some(facts.store),
        schema_version,
        done,
    })
}
