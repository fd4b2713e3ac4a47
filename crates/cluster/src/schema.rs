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

use tokio::process::Command;

use crate::process::{Ended, TAIL, run, tail};
pub use crate::sql_target::SqlTarget;

/// How much of the tool's output is read, in bytes: it prints every statement.
const WORDS: u64 = 1 << 20;

/// Names the tool where it is not on the PATH.
pub const TOOL_VARIABLE: &str = "CROSSFADE_TEMPORAL_SQL_TOOL";

/// The tool's usual name.
const TOOL: &str = "temporal-sql-tool";

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
    #[error("datastore.sql.{field}: {value:?} {reason}")]
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
        "temporal-sql-tool was not found {looked}; install it from the release of your Temporal server, or set \
         {TOOL_VARIABLE} to its path"
    )]
    NoTool {
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
    let tool = find_tool(order.tool.as_deref())?;
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
                field: "databaseName",
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
            field: "databaseName",
            value: database.clone(),
            reason: "is not the absolute path of a file; a SQLite store in memory is gone with its server".to_owned(),
        });
    }
    let SchemaSource::Folder(folder) = &order.source else {
        if by_server {
            return Ok(SchemaOutcome::ByServer);
        }
        return Err(SchemaError::Datastore {
            field: "connectAttributes",
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
    let tool = find_tool(order.tool.as_deref())?;
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

fn find_tool(given: Option<&Path>) -> Result<PathBuf, SchemaError> {
    let named = given.map(|path| (path.to_owned(), "at the given path")).or_else(|| {
        let path = std::env::var_os(TOOL_VARIABLE).filter(|path| !path.is_empty())?;
        Some((PathBuf::from(path), "where CROSSFADE_TEMPORAL_SQL_TOOL says"))
    });
    if let Some((path, whence)) = named {
        let looked = format!("{whence}, {}", path.display());
        return if path.is_file() {
            Ok(path)
        } else {
            Err(SchemaError::NoTool { looked })
        };
    }
    std::env::var_os("PATH")
        .iter()
        .flat_map(std::env::split_paths)
        .map(|folder| folder.join(TOOL))
        .find(|path| path.is_file())
        .ok_or_else(|| SchemaError::NoTool {
            looked: "on the PATH".to_owned(),
        })
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
    let start = |source| SchemaError::Start {
        tool: tool.to_owned(),
        source,
    };
    let mut command = Command::new(tool);
    // The tool reads SQL_*, and the drivers read PG* and more; only what is meant may reach them.
    command.env_clear();
    for name in ["PATH", "HOME", "TMPDIR"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
        .env("SQL_PASSWORD", &target.password)
        .args(target.options())
        .arg(step)
        .args(more);
    if let Some(attributes) = target.attributes_as_query() {
        command.env("SQL_CONNECT_ATTRIBUTES", attributes);
    }
    let output = tempfile::tempfile().map_err(start)?;
    let ended = run(command, &output, order.within, |_| Ok(())).await.map_err(start)?;
    let said = || hidden(&tail(&output, WORDS), &target.password);
    match ended {
        Ended::Exited(status) if status.success() => Ok(said()),
        Ended::Exited(status) => Err(SchemaError::Failed {
            tool: tool.to_owned(),
            step,
            target: target.named(),
            status: status.to_string(),
            reason: errors_in(&said()),
        }),
        Ended::Killed => Err(SchemaError::TimedOut {
            tool: tool.to_owned(),
            step,
            target: target.named(),
            within: order.within,
            reason: errors_in(&said()),
        }),
    }
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

/// What went wrong, from the tool's log; the end of its output when it logged no error.
fn errors_in(said: &str) -> String {
    let errors: Vec<String> = said.lines().filter_map(error_in).collect();
    if errors.is_empty() {
        last(said)
    } else {
        errors.join("; ")
    }
}

/// A log line is time, level, words and a JSON object, separated by tabs; levels are coloured.
fn error_in(line: &str) -> Option<String> {
    let fields: Vec<&str> = line.splitn(4, '\t').collect();
    let level = fields.get(1)?;
    if !level.contains("ERROR") && !level.contains("FATAL") {
        return None;
    }
    let words = fields.get(2)?.trim_end_matches('.');
    let details: Option<serde_json::Value> = fields.get(3).and_then(|json| serde_json::from_str(json).ok());
    Some(
        match details.as_ref().and_then(|d| d.get("error")).and_then(|e| e.as_str()) {
            Some(error) => format!("{words}: {error}"),
            None => words.to_owned(),
        },
    )
}

/// The end of a long text.
fn last(said: &str) -> String {
    let skip = said.chars().count().saturating_sub(TAIL as usize);
    said.chars().skip(skip).collect()
}

fn hidden(text: &str, secret: &str) -> String {
    if secret.is_empty() {
        text.to_owned()
    } else {
        text.replace(secret, "***")
    }
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

    #[test]
    fn only_the_errors_are_told_and_the_secret_is_not() {
        let said =
            "T\tDEBUG\ta statement\nT\t\u{1b}[31mERROR\u{1b}[0m\tCannot connect.\t{\"error\": \"no \\\"pass\\\"\"}";
        assert_eq!(hidden(&errors_in(said), "pass"), "Cannot connect: no \"***\"");
        assert_eq!(errors_in("panic: no log line"), "panic: no log line");
        assert_eq!(hidden("text", ""), "text");
        assert_eq!(last(&"x".repeat(5000)).len(), TAIL as usize);
    }
}
