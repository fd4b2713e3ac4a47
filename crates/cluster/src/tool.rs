//! Temporal's own schema tools as programs: found, run bare, and what they say of errors.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use crate::process::{Ended, TAIL, run, tail};
use crate::schema::SchemaError;

/// How much of a tool's output is read, in bytes: it prints every statement.
const WORDS: u64 = 1 << 20;

/// A tool by its names.
pub(crate) struct Tool {
    /// Its usual name.
    pub(crate) name: &'static str,
    /// The variable that names it where it is not on the PATH.
    pub(crate) variable: &'static str,
    /// Which releases have it, for the error without it.
    pub(crate) newest: &'static str,
}

impl Tool {
    /// The given program, else the variable's, else the one on the PATH.
    pub(crate) fn find(&self, given: Option<&Path>) -> Result<PathBuf, SchemaError> {
        let no_tool = |looked| SchemaError::NoTool {
            tool: self.name,
            newest: self.newest,
            variable: self.variable,
            looked,
        };
        let named = given
            .map(|path| (path.to_owned(), "at the given path".to_owned()))
            .or_else(|| {
                let path = std::env::var_os(self.variable).filter(|path| !path.is_empty())?;
                Some((PathBuf::from(path), format!("where {} says", self.variable)))
            });
        if let Some((path, whence)) = named {
            return if path.is_file() {
                Ok(path)
            } else {
                Err(no_tool(format!("{whence}, {}", path.display())))
            };
        }
        std::env::var_os("PATH")
            .iter()
            .flat_map(std::env::split_paths)
            .map(|folder| folder.join(self.name))
            .find(|path| path.is_file())
            .ok_or_else(|| no_tool("on the PATH".to_owned()))
    }
}

/// A tool without our environment: it reads SQL_* and ES_*, its drivers PG* and more; only what is meant may reach it.
pub(crate) fn bare(tool: &Path) -> Command {
    let mut command = Command::new(tool);
    command.env_clear();
    for name in ["PATH", "HOME", "TMPDIR"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// One run of a tool, as errors tell of it.
pub(crate) struct Run<'a> {
    /// The program.
    pub(crate) tool: &'a Path,
    /// Its command.
    pub(crate) step: &'static str,
    /// The store, without secrets.
    pub(crate) target: String,
    /// What is never to be told.
    pub(crate) secrets: &'a [&'a str],
    /// Bound of the run.
    pub(crate) within: Duration,
}

impl Run<'_> {
    /// Runs it and gives its output.
    pub(crate) async fn run(self, command: Command) -> Result<String, SchemaError> {
        let start = |source| SchemaError::Start {
            tool: self.tool.to_owned(),
            source,
        };
        let output = tempfile::tempfile().map_err(start)?;
        let ended = run(command, &output, self.within, |_| Ok(())).await.map_err(start)?;
        let said = || hidden(&tail(&output, WORDS), self.secrets);
        match ended {
            Ended::Exited(status) if status.success() => Ok(said()),
            Ended::Exited(status) => Err(SchemaError::Failed {
                tool: self.tool.to_owned(),
                step: self.step,
                status: status.to_string(),
                reason: errors_in(&said()),
                target: self.target,
            }),
            Ended::Killed => Err(SchemaError::TimedOut {
                tool: self.tool.to_owned(),
                step: self.step,
                within: self.within,
                reason: errors_in(&said()),
                target: self.target,
            }),
        }
    }
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

fn hidden(text: &str, secrets: &[&str]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "***");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_errors_are_told_and_the_secret_is_not() {
        let said =
            "T\tDEBUG\ta statement\nT\t\u{1b}[31mERROR\u{1b}[0m\tCannot connect.\t{\"error\": \"no \\\"pass\\\"\"}";
        assert_eq!(hidden(&errors_in(said), &["pass"]), "Cannot connect: no \"***\"");
        assert_eq!(errors_in("panic: no log line"), "panic: no log line");
        assert_eq!(hidden("text", &[""]), "text");
        assert_eq!(last(&"x".repeat(5000)).len(), TAIL as usize);
    }
}
