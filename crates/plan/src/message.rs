//! What operators may say: signals and updates, read so that nothing malformed can harm the run.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{drift::DriftClass, stage::Gate};

/// The names of signals and updates, pinned on the wire.
pub mod names {
    /// Approve a gate.
    pub const APPROVE: &str = "approve";
    /// Stop before the next step.
    pub const PAUSE: &str = "pause";
    /// Go on after a pause, or try again after a problem.
    pub const RESUME: &str = "resume";
    /// End the Retention wait now.
    pub const SKIP_WAIT: &str = "skip-wait";
    /// Go back to the state before the migration.
    pub const ROLLBACK: &str = "rollback";
    /// Give the migration up: go back, and end the workflow as failed.
    pub const ABORT: &str = "abort";
    /// Leave the source now, which is kept written beside the target after promote.
    pub const FINISH: &str = "finish";
    /// Change the most records a second.
    pub const SET_RATE: &str = "set-rate";

    /// All of them.
    pub const ALL: [&str; 8] = [APPROVE, PAUSE, RESUME, SKIP_WAIT, ROLLBACK, ABORT, FINISH, SET_RATE];
}

/// The longest name of who says something, in characters.
const BY_LIMIT: usize = 100;
/// The longest note, in characters. What operators say is carried through every run, so it has to end somewhere.
const NOTE_LIMIT: usize = 300;

/// An approval of one gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// The gate.
    pub gate: Gate,
    /// Who approved, as they called themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Classes of drift that the operator accepts with this approval; the report says so for ever.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub accept_drift: BTreeSet<DriftClass>,
}

/// Who says something, and why: the optional input of `pause`, `resume`, `skip-wait`, `rollback`, `abort` and `finish`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remark {
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.by, &self.note) {
            (Some(by), Some(note)) => write!(f, "{by}: {note}"),
            (Some(text), None) | (None, Some(text)) => f.write_str(text),
            (None, None) => f.write_str("no remark"),
        }
    }
}

/// The input of `set-rate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetRate {
    /// The most records a second; `null` lifts the limit.
    pub records_per_second: Option<u32>,
    /// Which store is meant.
    #[serde(default)]
    pub store: Side,
    /// Whether the pressure on the stores slows the migration down; as it was when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub automatic: Option<bool>,
}

/// One of the two stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The one that is left: a limit on what is read there.
    Source,
    /// The one that is moved to: a limit on what is written there.
    #[default]
    Target,
}

impl Side {
    /// Whether it is the target, which is what is meant where nothing is said.
    pub(crate) const fn is_target(&self) -> bool {
        matches!(self, Self::Target)
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Target => "target",
        })
    }
}

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Rejected(pub String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApprovalObject {
    gate: String,
    #[serde(default)]
    by: Option<String>,
    #[serde(default)]
    note: Option<String>,
    #[serde(default)]
    accept_drift: BTreeSet<DriftClass>,
}

impl Approval {
    /// Reads `"cutover"` or `{"gate": "cutover", "by": "alice", "note": "...", "accept_drift": ["extra"]}`.
    ///
    /// # Errors
    /// What was expected, when there is no input, another form, or no such gate.
    pub fn from_json(input: Option<&Value>) -> Result<Self, Rejected> {
        const EXPECTED: &str = "expected a gate such as \"cutover\" or {\"gate\": \"cutover\", \"by\": \"NAME\"}";
        let object = match input {
            None | Some(Value::Null) => return Err(Rejected(format!("approve came without input; {EXPECTED}"))),
            Some(Value::String(gate)) => ApprovalObject {
                gate: gate.clone(),
                by: None,
                note: None,
                accept_drift: BTreeSet::new(),
            },
            // Only an object: serde would read a list as its fields in order.
            Some(value @ Value::Object(_)) => ApprovalObject::deserialize(value)
                .map_err(|error| Rejected(format!("approve could not be read: {error}; {EXPECTED}")))?,
            Some(_) => return Err(Rejected(format!("approve could not be read; {EXPECTED}"))),
        };
        let gate = object
            .gate
            .parse()
            .map_err(|error| Rejected(format!("approve: {error}")))?;
        Ok(Self {
            gate,
            by: object.by.map(|by| cut(by, BY_LIMIT)),
            note: object.note.map(|note| cut(note, NOTE_LIMIT)),
            accept_drift: object.accept_drift,
        })
    }
}

impl Remark {
    /// Reads nothing, a plain string (taken as the note), or `{"by": ..., "note": ...}`.
    ///
    /// # Errors
    /// What was expected, for any other form.
    pub fn from_json(input: Option<&Value>) -> Result<Self, Rejected> {
        const EXPECTED: &str = "expected no input, or {\"by\": \"NAME\", \"note\": \"WHY\"}";
        let remark = match input {
            None | Some(Value::Null) => Self::default(),
            Some(Value::String(note)) => Self {
                by: None,
                note: Some(note.clone()),
            },
            Some(value @ Value::Object(_)) => Self::deserialize(value)
                .map_err(|error| Rejected(format!("it could not be read: {error}; {EXPECTED}")))?,
            Some(_) => return Err(Rejected(format!("it could not be read; {EXPECTED}"))),
        };
        Ok(Self {
            by: remark.by.map(|by| cut(by, BY_LIMIT)),
            note: remark.note.map(|note| cut(note, NOTE_LIMIT)),
        })
    }
}

impl SetRate {
    /// Reads `{"records_per_second": 5000, "store": "source", "automatic": false}`, of which the rate alone is needed;
    /// `null` lifts the limit.
    ///
    /// # Errors
    /// What was expected, when the rate is absent, zero, negative, not whole, or too large for 32 bits.
    pub fn from_json(input: Option<&Value>) -> Result<Self, Rejected> {
        const EXPECTED: &str = "expected {\"records_per_second\": N} with N from 1 to 4294967295, or null for no limit; \
             beside it may stand \"store\": \"source\" or \"target\", and \"automatic\": true or false";
        let rejected = |why: String| Rejected(format!("set-rate could not be read: {why}; {EXPECTED}"));
        let value = input
            .filter(|value| !value.is_null())
            .ok_or_else(|| rejected("there was no input".to_owned()))?;
        if value.get("records_per_second").is_none() {
            return Err(rejected("`records_per_second` is absent".to_owned()));
        }
        let rate = Self::deserialize(value).map_err(|error| rejected(error.to_string()))?;
        if rate.records_per_second == Some(0) {
            return Err(rejected("0 records a second would never end; use `pause`".to_owned()));
        }
        Ok(rate)
    }
}

/// The first `limit` characters of `text`, with a mark where something is left out.
pub(crate) fn cut(mut text: String, limit: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(limit) {
        text.truncate(end);
        text.push_str(" [...]");
    }
    text
}
