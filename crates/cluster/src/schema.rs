//! Temporal's own schema tools on a target store. This crate holds no schema.
//!
//! SQL servers: `temporal-sql-tool`, which carries the schemas or takes a folder of them, and does nothing to a
//! database that is up to date.
//!
//! SQLite: the tool has no embedded schema for it and records no version (1.30.8: tools/common/schema/handler.go takes
//! mysql and postgresql names only; schema/sqlite is one file, not a series of versions). Two ways are left: the tool
//! with that one file, which makes the Visibility tables alone, or the server itself, which makes all its tables at its
//! start when `connectAttributes` has `setup: "true"`, and takes a file that has them as it is (1.30.8:
//! common/persistence/sql/sqlplugin/sqlite/plugin.go, createDBConnection). Neither ever upgrades a SQLite file.

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use crate::sql_target::SqlTarget;
use crate::tool::{Run, Tool, bare};

/// Names the tool where it is not on the PATH.
pub const TOOL_VARIABLE: &str = TOOL.variable;

const TOOL: Tool = Tool {
    name: "temporal-sql-tool",
    variable: "CROSSFADE_TEMPORAL_SQL_TOOL",
    newest: "",
};

/// Where the schema comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemaSource {
    /// The copy inside of the tool; it brings the schema to the tool's own version. Not for SQLite.
    Embedded,
    /// Temporal's folder for one database: `schema/postgresql/v12/visibility`, `schema/mysql/v8/visibility` (its
    /// `versioned` folder will do too) or `schema/sqlite/v3/visibility` of a server's source.
    Folder(PathBuf),
}

/// What to do to a target.
#[derive(Debug, Clone)]
pub struct SchemaOrder {
    /// The store.
    pub target: SqlTarget,
    /// The tool; without it [`TOOL_VARIABLE`] and then the PATH are looked through.
    pub tool: Option<PathBuf>,
    /// Where the schema comes from.
    pub source: SchemaSource,
    /// Whether to create the database when it is missing.
    pub create_database: bool,
    /// Bound of each run of the tool.
    pub within: Duration,
}

/// What became of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemaOutcome {
    /// It was at this version already; nothing was changed.
    Current {
        /// Its version, such as `1.13`; unknown for SQLite.
        version: Option<String>,
    },
    /// It was changed.
    Applied {
        /// The version before; `0.0` for an empty database.
        from: Option<String>,
        /// The version now.
        to: Option<String>,
    },
    /// Nothing was done, and nothing need be: the server makes the tables in this SQLite file when it starts with it.
    /// Check after that start that the table `executions_visibility` is there.
    ByServer,
}

/// A schema that could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// The entry of the datastore.
    #[error("datastore.{field}: {value:?} {reason}")]
    Datastore {
        /// The field.
        field: &'static str,
        /// The value seen; never a secret.
        value: String,
        /// What is wrong with it and what to write instead.
        reason: String,
    },
    /// No tool.
    #[error(
        "{tool} was not found {looked}; install it from the release of your Temporal server{newest}, or set {variable} to \
         its path"
    )]
    NoTool {
        /// Its name.
        tool: &'static str,
        /// What to know of releases; may be empty.
        newest: &'static str,
        /// The variable that names it.
        variable: &'static str,
        /// Where it was looked for.
        looked: String,
    },
    /// The schema's folder.
    #[error("schema folder {} {reason}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is missing in it.
        reason: String,
    },
    /// The tool could not be run.
    #[error("cannot run {}: {source}", tool.display())]
    Start {
        /// The tool.
        tool: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The tool said no.
    #[error("{} {step} on {target} failed ({status}): {reason}", tool.display())]
    Failed {
        /// The tool.
        tool: PathBuf,
        /// Its command.
        step: &'static str,
        /// The store, without secrets.
        target: String,
        /// Exit status or signal.
        status: String,
        /// The end of its output.
        reason: String,
    },
    /// The tool took too long.
    #[error("{} {step} on {target} did not end within {within:?} and was killed: {reason}", tool.display())]
    TimedOut {
        /// The tool.
        tool: PathBuf,
        /// Its command.
        step: &'static str,
        /// The store, without secrets.
        target: String,
        /// The bound.
        within: Duration,
        /// The end of its output.
        reason: String,
    },
}

impl SchemaError {
    /// Whether the same call may succeed later: the store may have been away.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::TimedOut { .. })
    }
}

/// Brings the Visibility schema of a target to the newest version that the source has. Calling it again is harmless.
///
/// # Errors
/// See [`SchemaError`]; the target may be left between two versions, and the next call goes on from there.
pub async fn set_up(order: &SchemaOrder) -> Result<SchemaOutcome, SchemaError> {
    if order.target.plugin == "sqlite" {
        return set_up_sqlite(order).await;
    }
    let tool = TOOL.find(order.tool.as_deref())?;
    let source = match &order.source {
        SchemaSource::Embedded => ["--schema-name".to_owned(), order.target.embedded_name().to_owned()],
        SchemaSource::Folder(folder) => ["--schema-dir".to_owned(), versioned(folder)?.display().to_string()],
    };
    if order.create_database {
        let name = &order.target.database;
        // The tool writes the name into its statement as it is, so the store would fold or refuse others.
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if !name.chars().all(plain) || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(SchemaError::Datastore {
                field: "sql.databaseName",
                value: name.clone(),
                reason: "cannot be created by temporal-sql-tool, only lower case letters, digits and '_' can; \
                         create the database yourself"
                    .to_owned(),
            });
        }
        use_tool(order, &tool, "create-database", &[]).await?;
    }
    use_tool(
        order,
        &tool,
        "setup-schema",
        &["--version".to_owned(), "0.0".to_owned()],
    )
    .await?;
    let said = use_tool(order, &tool, "update-schema", &source).await?;
    Ok(outcome_of(&said))
}

async fn set_up_sqlite(order: &SchemaOrder) -> Result<SchemaOutcome, SchemaError> {
    let database = &order.target.database;
    let by_server = order.target.attribute("setup") == Some("true");
    if order.target.attribute("mode") == Some("memory") || !Path::new(database).is_absolute() {
        return Err(SchemaError::Datastore {
            field: "sql.databaseName",
            value: database.clone(),
            reason: "is not the absolute path of a file; a SQLite store in memory is gone with its server".to_owned(),
        });
    }
    let SchemaSource::Folder(folder) = &order.source else {
        if by_server {
            return Ok(SchemaOutcome::ByServer);
        }
        return Err(SchemaError::Datastore {
            field: "sql.connectAttributes",
            value: "setup".to_owned(),
            reason:
                "is not \"true\", so the server would not make its tables, and temporal-sql-tool carries no schema \
                     for SQLite; set it, or name the folder schema/sqlite/v3/visibility of the server's source"
                    .to_owned(),
        });
    };
    let file = folder.join("schema.sql");
    if !file.is_file() {
        return Err(SchemaError::Folder {
            path: folder.clone(),
            reason: "has no schema.sql in it".to_owned(),
        });
    }
    let tool = TOOL.find(order.tool.as_deref())?;
    let step = [
        "--disable-versioning".to_owned(),
        "--schema-file".to_owned(),
        file.display().to_string(),
    ];
    match use_tool(order, &tool, "setup-schema", &step).await {
        Ok(_) => Ok(SchemaOutcome::Applied { from: None, to: None }),
        // The statements that make it start with the table of the records.
        Err(SchemaError::Failed { reason, .. }) if reason.contains("table executions_visibility already exists") => {
            Ok(SchemaOutcome::Current { version: None })
        }
        Err(error) => Err(error),
    }
}

/// The folder with a folder for each version.
fn versioned(folder: &Path) -> Result<PathBuf, SchemaError> {
    let inner = folder.join("versioned");
    let found = if inner.is_dir() { inner } else { folder.to_owned() };
    let is_version = |name: &str| {
        name.strip_prefix('v')
            .is_some_and(|n| n.starts_with(|c: char| c.is_ascii_digit()))
    };
    let entries = std::fs::read_dir(&found).map_err(|e| SchemaError::Folder {
        path: found.clone(),
        reason: format!("cannot be read: {e}"),
    })?;
    // The tool passes over a link in silence, and then reports success.
    let is_folder = |entry: &std::fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    let mut names = entries
        .flatten()
        .filter(is_folder)
        .filter_map(|entry| entry.file_name().into_string().ok());
    if names.any(|name| is_version(&name)) {
        Ok(found)
    } else {
        Err(SchemaError::Folder {
            path: found,
            reason: "has no folders named v0.1, v1.0 and so on".to_owned(),
        })
    }
}

/// Runs one command of the tool and gives its output.
async fn use_tool(
    order: &SchemaOrder,
    tool: &Path,
    step: &'static str,
    more: &[String],
) -> Result<String, SchemaError> {
    let target = &order.target;
    let mut command = bare(tool);
    command
        .env("SQL_PASSWORD", &target.password)
        .args(target.options())
        .arg(step)
        .args(more);
    if let Some(attributes) = target.attributes_as_query() {
        command.env("SQL_CONNECT_ATTRIBUTES", attributes);
    }
    let run = Run {
        tool,
        step,
        target: target.named(),
        secrets: &[&target.password],
        within: order.within,
    };
    run.run(command).await
}

/// What the tool's last words say about versions (1.30.8: tools/common/schema/updatetask.go, executeUpdates).
fn outcome_of(said: &str) -> SchemaOutcome {
    let word = |text: &str| text.split_whitespace().next().unwrap_or_default().to_owned();
    if let Some((_, rest)) = said.rsplit_once("found zero updates from current version ") {
        return SchemaOutcome::Current {
            version: Some(word(rest)),
        };
    }
    let from = said.split_once("for current version ").map(|(_, rest)| word(rest));
    let to = said
        .rsplit_once("Schema updated from ")
        .and_then(|(_, rest)| rest.split_once(" to "))
        .map(|(_, v)| word(v));
    SchemaOutcome::Applied { from, to }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tools_words_are_understood() {
        let applied = "DEBUG running 2 updates for current version 1.2\nDEBUG Schema updated from 1.2 to 1.3 {..}\n\
                       DEBUG Schema updated from 1.3 to 1.4\t{..}\nINFO UpdateSchemaTask done";
        assert_eq!(
            outcome_of(applied),
            SchemaOutcome::Applied {
                from: Some("1.2".into()),
                to: Some("1.4".into())
            }
        );
        assert_eq!(
            outcome_of("DEBUG found zero updates from current version 1.13\t{..}"),
            SchemaOutcome::Current {
                version: Some("1.13".into())
            }
        );
        assert_eq!(
            outcome_of("words of another release"),
            SchemaOutcome::Applied { from: None, to: None }
        );
    }
}
