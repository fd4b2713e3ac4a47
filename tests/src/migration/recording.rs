//! Histories of finished migrations, kept for the replay tests of the workflow.
//!
//! Each event is a line of JSON as the SDK writes it, but for two things: payloads that are text are written as text
//! (`{"utf8": "..."}`), so that a person can read them, and what tells of the machine is replaced.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use temporalio_client::{UntypedWorkflow, WorkflowFetchHistoryOptions};

use crate::testbed::{NAMESPACE, Testbed};

/// Names the folder for histories; nothing is recorded without it.
const VARIABLE: &str = "CROSSFADE_RECORD_HISTORIES";

/// What a testbed's folder is called in a recorded history.
const FOLDER: &str = "/tmp/crossfade-demo";

/// Where a process says that it runs, there.
const MACHINE: &str = "@localhost";

/// Writes the history of the last run of migration `id` to `NAME.json`, when histories are to be recorded.
///
/// # Errors
/// When the history cannot be had or written.
pub async fn record(testbed: &Testbed, id: &str, name: &str) -> Result<()> {
    let Some(folder) = std::env::var_os(VARIABLE).filter(|folder| !folder.is_empty()) else {
        return Ok(());
    };
    let client = testbed.client(NAMESPACE).await?;
    let handle = client.get_workflow_handle::<UntypedWorkflow>(id);
    let history = handle
        .fetch_history(WorkflowFetchHistoryOptions::default())
        .to_json()
        .await?;
    let history: Value = serde_json::from_slice(&history)?;
    let machine = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let words = [
        (testbed.folder().to_string_lossy().into_owned(), FOLDER),
        (format!("@{}", machine.trim()), MACHINE),
    ];
    let events = history["events"].as_array().context("a history has events")?;
    let lines: Vec<String> = events.iter().map(|event| neutral(event, &words).to_string()).collect();
    let text = format!("{{\"events\":[\n{}\n]}}\n", lines.join(",\n"));
    for (word, _) in words.iter().filter(|(word, by)| word != by) {
        ensure!(!text.contains(word.as_str()), "{word} is still in the history of {id}");
    }
    let file = PathBuf::from(folder).join(format!("{name}.json"));
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
}

fn neutral(value: &Value, words: &[(String, &str)]) -> Value {
    match value {
        Value::String(text) => Value::String(replaced(text, words)),
        Value::Array(items) => items.iter().map(|item| neutral(item, words)).collect(),
        Value::Object(fields) => {
            let is_payload = fields.contains_key("metadata") && fields.get("data").is_some_and(Value::is_string);
            let inner = |value: &Value| {
                if is_payload {
                    readable(value, words)
                } else {
                    neutral(value, words)
                }
            };
            fields
                .iter()
                .map(|(name, value)| (name.clone(), inner(value)))
                .collect()
        }
        other => other.clone(),
    }
}

/// A part of a payload: its bytes, which the SDK writes in base64, as text where they are text.
fn readable(value: &Value, words: &[(String, &str)]) -> Value {
    match value {
        Value::String(encoded) => {
            let text = BASE64_STANDARD
                .decode(encoded)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok());
            text.map_or_else(|| value.clone(), |text| json!({"utf8": replaced(&text, words)}))
        }
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), readable(value, words)))
            .collect(),
        other => other.clone(),
    }
}

fn replaced(text: &str, words: &[(String, &str)]) -> String {
    words
        .iter()
        .fold(text.to_owned(), |text, (word, by)| text.replace(word.as_str(), by))
}
