//! How a command ends: its exit status, and what it says when it did not do what it was asked.

use std::process::{ExitCode, Termination};

use crossfade_plan::problem::{Code, Problem};
use serde_json::{Value, json};

/// The exit status of every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// Tried, and failed.
    Failed = 1,
    /// Not tried: bad input, or not feasible.
    Refused = 2,
    /// Done, and records differ.
    Drift = 3,
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self as u8)
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    /// The exit status.
    pub(crate) exit: Exit,
    /// The whole message: what was seen, what was expected, the next step.
    pub(crate) message: String,
    /// Each problem by itself, for `--json`.
    pub(crate) problems: Vec<Value>,
}

/// What a command comes to.
pub(crate) type Outcome = Result<Exit, Failure>;

impl Failure {
    /// It was tried, and failed.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Failed,
            message: message.into(),
            problems: Vec::new(),
        }
    }

    /// It was not tried: the input is bad, or what was asked is not feasible.
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Refused,
            ..Self::failed(message)
        }
    }

    /// Adds to the start of the message what was being done.
    #[must_use]
    pub(crate) fn context(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// The form under `--json`.
    pub(crate) fn to_json(&self) -> Value {
        let mut object = json!({ "error": self.message, "exit_status": self.exit as u8 });
        if !self.problems.is_empty() {
            object["problems"] = Value::Array(self.problems.clone());
        }
        object
    }
}

impl From<Vec<Problem>> for Failure {
    /// Problems that a retry may cure are failures; all others were refused before anything was done.
    fn from(problems: Vec<Problem>) -> Self {
        let transient = problems
            .iter()
            .any(|problem| problem.code.retryable() || problem.code == Code::Unexpected);
        Self {
            exit: if transient { Exit::Failed } else { Exit::Refused },
            message: problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
            problems: problems.iter().map(|problem| json!(problem)).collect(),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::failed(format!("{error:#}"))
    }
}
