//! The target's schema, by Temporal's own tools, and checked afterwards by its columns.

use std::time::Duration;

use crossfade_cluster::{
    index_schema::{IndexOrder, IndexTarget, set_up_index},
    schema::{SchemaError, SchemaOrder, SchemaOutcome, SchemaSource, SqlTarget, set_up},
};
use crossfade_plan::{
    order::{PrepareTarget, TargetReady},
    problem::{Code, Problem},
};
use crossfade_stores::OpenError;
use serde_json::Value;

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
    let done = if !spec.target.setup_schema {
        "the schema was left as it is".to_owned()
    } else if entry.get("elasticsearch").is_some_and(Value::is_object) {
        set_up_the_index(&entry).await.map_err(|problem| vec![problem])?
    } else {
        match set_up_the_tables(&entry).await.map_err(|problem| vec![problem])? {
            Done::Now(done) => done,
            Done::ByServer(ready) => return Ok(ready),
        }
    };
    let facts = crossfade_stores::inspect(&entry)
        .await
        .map_err(|error| vec![open_problem(&error, "target.datastore")])?;
    let problems = schema_problems(&facts, &order.server_version, false);
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

/// What came of setting a SQL schema up.
enum Done {
    /// In words.
    Now(String),
    /// The server does it.
    ByServer(TargetReady),
}

async fn set_up_the_tables(entry: &Value) -> Result<Done, Problem> {
    let target = SqlTarget::from_datastore(entry).map_err(|error| schema(&error))?;
    let file = target.database.clone();
    let outcome = set_up(&SchemaOrder {
        target,
        tool: None,
        source: std::env::var_os(SCHEMA_FOLDER_VARIABLE)
            .map_or(SchemaSource::Embedded, |folder| SchemaSource::Folder(folder.into())),
        create_database: true,
        within: WITHIN,
    })
    .await;
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => return Err(tool_failed(&error, entry).await),
    };
    Ok(match outcome {
        SchemaOutcome::Current { .. } => Done::Now("the schema was up to date".to_owned()),
        SchemaOutcome::Applied { from, to } => Done::Now(format!(
            "the schema was brought from {} to {}",
            from.as_deref().unwrap_or("nothing"),
            to.as_deref().unwrap_or("the tool's version")
        )),
        SchemaOutcome::ByServer => Done::ByServer(TargetReady {
            description: Some(format!("SQLite file {file}")),
            schema_version: None,
            done: "the server makes the schema itself when it starts with this SQLite file".to_owned(),
        }),
    })
}

/// Why the tool failed: that the store cannot be reached passes, and the tool says it in too many ways to be read.
async fn tool_failed(error: &SchemaError, entry: &Value) -> Problem {
    match crossfade_stores::inspect(entry).await {
        Err(away @ (OpenError::Unreachable { .. } | OpenError::Busy { .. })) => {
            let problem = open_problem(&away, "target.datastore");
            let message = format!("{error}: {}", problem.message);
            Problem { message, ..problem }
        }
        _ => schema(error),
    }
}

/// The template and the index. The tool takes an index that is there for a good one, so the mapping is checked afterwards.
async fn set_up_the_index(entry: &Value) -> Result<String, Problem> {
    let target = IndexTarget::from_datastore(entry).map_err(|error| schema(&error))?;
    let index = target.index.clone();
    let order = IndexOrder {
        target,
        tool: None,
        within: WITHIN,
    };
    let outcome = match set_up_index(&order).await {
        Ok(outcome) => outcome,
        Err(error) => return Err(tool_failed(&error, entry).await),
    };
    Ok(match outcome {
        SchemaOutcome::Applied { .. } => {
            format!("Temporal's index template was put and the index `{index}` created from it")
        }
        SchemaOutcome::Current { .. } | SchemaOutcome::ByServer => {
            format!("Temporal's index template was put; the index `{index}` was there and has its fields")
        }
    })
}
