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

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use crate::process::{Ended, TAIL, run, tail};

/// How much of the tool's output is read, in bytes: it prints every statement.
const WORDS: u64 = 1 << 20;

/// Names the tool where it is not on the PATH.
pub const TOOL_VARIABLE: &str = "CROSSFADE_TEMPORAL_SQL_TOOL";

/// The tool's usual name.
const TOOL: &str = "temporal-sql-tool";

/// A SQL store as the server's config describes it, its secrets resolved.
#[derive(Clone)]
pub struct SqlTarget {
    /// `postgres12`, `postgres12_pgx`, `mysql8` or `sqlite`.
    pub plugin: String,
    /// Name of the database, or path of the SQLite file.
    pub database: String,
    /// Host name or address; empty for SQLite.
    pub host: String,
    /// Port; 0 for SQLite.
    pub port: u16,
    /// User.
    pub user: String,
    password: String,
    attributes: Vec<(String, String)>,
    tls: Option<SqlTls>,
}

#[derive(Clone)]
struct SqlTls {
    ca_file: Option<String>,
    cert_file: Option<String>,
    key_file: Option<String>,
    server_name: Option<String>,
    verify: bool,
}

impl fmt::Debug for SqlTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SqlTarget({} {} at {}:{})",
            self.plugin, self.database, self.host, self.port
        )
    }
}

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

impl SqlTarget {
    /// Reads an entry of `persistence.datastores`: `{"sql": {"pluginName": ..., "databaseName": ..., ...}}`.
    ///
    /// # Errors
    /// [`SchemaError::Datastore`] names the field that is missing or that the tool has no word for.
    pub fn from_datastore(datastore: &serde_json::Value) -> Result<Self, SchemaError> {
        let wrong = |field, value: &str, reason: &str| SchemaError::Datastore {
            field,
            value: value.to_owned(),
            reason: reason.to_owned(),
        };
        let sql = datastore
            .get("sql")
            .ok_or_else(|| wrong("pluginName", "", "is missing: this is not the entry of a SQL datastore"))?;
        let text = |name: &str| sql.get(name).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
        let plugin = text("pluginName");
        let sqlite = plugin == "sqlite";
        if !matches!(plugin.as_str(), "postgres12" | "postgres12_pgx" | "mysql8" | "sqlite") {
            return Err(wrong(
                "pluginName",
                &plugin,
                "is not one of postgres12, postgres12_pgx, mysql8, sqlite",
            ));
        }
        let database = text("databaseName");
        if database.is_empty() {
            return Err(wrong("databaseName", "", "is missing"));
        }
        let address = text("connectAddr");
        let (host, port) = match address.rsplit_once(':') {
            _ if sqlite => (String::new(), 0),
            Some((host, port)) if !host.is_empty() => {
                let port = port
                    .parse()
                    .map_err(|_| wrong("connectAddr", &address, "has no port; write host:port"))?;
                (host.trim_matches(['[', ']']).to_owned(), port)
            }
            _ => return Err(wrong("connectAddr", &address, "is not host:port")),
        };
        let attributes = match sql.get("connectAttributes") {
            Some(serde_json::Value::Object(map)) => map
                .iter()
                .map(|(k, v)| (k.clone(), v.as_str().map_or_else(|| v.to_string(), str::to_owned)))
                .collect(),
            _ => Vec::new(),
        };
        let tls = match sql
            .get("tls")
            .filter(|tls| tls.get("enabled").and_then(|e| e.as_bool()) == Some(true))
        {
            None => None,
            Some(tls) => {
                let file = |name: &str| tls.get(name).and_then(|v| v.as_str()).filter(|v| !v.is_empty());
                if file("caData").or(file("certData")).or(file("keyData")).is_some() {
                    return Err(wrong(
                        "tls",
                        "caData, certData or keyData",
                        "is nothing temporal-sql-tool can take; write files",
                    ));
                }
                Some(SqlTls {
                    ca_file: file("caFile").map(str::to_owned),
                    cert_file: file("certFile").map(str::to_owned),
                    key_file: file("keyFile").map(str::to_owned),
                    server_name: file("serverName").map(str::to_owned),
                    verify: tls
                        .get("enableHostVerification")
                        .and_then(|v| v.as_bool())
                        .unwrap_or(false),
                })
            }
        };
        Ok(Self {
            plugin,
            database,
            host,
            port,
            user: text("user"),
            password: text("password"),
            attributes,
            tls,
        })
    }

    fn named(&self) -> String {
        if self.plugin == "sqlite" {
            self.database.clone()
        } else {
            format!("{} at {}:{} as {}", self.database, self.host, self.port, self.user)
        }
    }

    fn embedded_name(&self) -> &'static str {
        if self.plugin == "mysql8" {
            "mysql/v8/visibility"
        } else {
            "postgresql/v12/visibility"
        }
    }

    /// The options that say which store, none of them secret.
    fn options(&self) -> Vec<String> {
        let mut options = vec![
            "--plugin".to_owned(),
            self.plugin.clone(),
            "--database".to_owned(),
            self.database.clone(),
        ];
        let mut option = |name: &str, value: &str| options.extend([name.to_owned(), value.to_owned()]);
        if self.plugin == "sqlite" {
            // The tool wants an endpoint for every plugin.
            option("--endpoint", "127.0.0.1");
            return options;
        }
        option("--endpoint", if self.host.contains(':') { "" } else { &self.host });
        if let Some(endpoint) = options.iter_mut().rfind(|o| o.is_empty()) {
            *endpoint = format!("[{}]", self.host);
        }
        options.extend([
            "--port".to_owned(),
            self.port.to_string(),
            "--user".to_owned(),
            self.user.clone(),
        ]);
        if let Some(tls) = &self.tls {
            options.push("--tls".to_owned());
            for (name, value) in [
                ("--tls-ca-file", &tls.ca_file),
                ("--tls-cert-file", &tls.cert_file),
                ("--tls-key-file", &tls.key_file),
                ("--tls-server-name", &tls.server_name),
            ] {
                if let Some(value) = value {
                    options.extend([name.to_owned(), value.clone()]);
                }
            }
            if !tls.verify {
                options.push("--tls-disable-host-verification".to_owned());
            }
        }
        options
    }

    fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.trim())
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
    if entries
        .flatten()
        .any(|entry| entry.file_name().to_str().is_some_and(is_version))
    {
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
    if !target.attributes.is_empty() && target.plugin != "sqlite" {
        let pairs: Vec<String> = target
            .attributes
            .iter()
            .map(|(k, v)| format!("{}={}", escaped(k), escaped(v)))
            .collect();
        command.env("SQL_CONNECT_ATTRIBUTES", pairs.join("&"));
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

/// The lines that say what went wrong; all of the output when none does.
fn errors_in(said: &str) -> String {
    let errors: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("ERROR") || line.contains("FATAL"))
        .collect();
    let text = if errors.is_empty() {
        last(said)
    } else {
        errors.join("\n")
    };
    // The tool colours its levels.
    text.replace("\u{1b}[31m", "").replace("\u{1b}[0m", "")
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

/// A part of a URL query.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(b).to_string(),
            _ => format!("%{b:02X}"),
        })
        .collect()
}
