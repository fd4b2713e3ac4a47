//! Recorded histories, replayed: what runs today goes on with tomorrow's code.
//!
//! `histories/VERSION/*.json` are migrations that ran on a real server with that version's worker; each event is a line,
//! and payloads that are text stand there as `{"utf8": "..."}`. A changed workflow that cannot go on where one of them
//! stood fails here. A released version's are never edited; the next version's are recorded beside them:
//! `CROSSFADE_RECORD_HISTORIES=$PWD/crates/workflow/tests/histories/vX.Y.Z cargo test -p e2e`, and named in `expected.txt`.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails where its material is not what it was"
)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use crossfade_workflow::VisibilityMigration;
use serde_json::Value;
use temporalio_client::WorkflowHistory;
use temporalio_sdk::workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories")
}

/// The recorded histories' files, by `VERSION/NAME`.
fn files() -> BTreeMap<String, PathBuf> {
    let entries = |folder: &Path| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries(&folder())
        .filter(|path| path.is_dir())
        .flat_map(|version| entries(&version).collect::<Vec<_>>())
        .map(|file| {
            let name = file.strip_prefix(folder()).unwrap().with_extension("");
            (name.to_string_lossy().into_owned(), file)
        })
        .collect()
}

/// The recorded histories, by the same names.
fn histories() -> BTreeMap<String, Value> {
    let read = |file: PathBuf| with_base64(serde_json::from_slice(&fs::read(file).unwrap()).unwrap());
    files().into_iter().map(|(name, file)| (name, read(file))).collect()
}

/// As the SDK reads it: text is base64 again.
fn with_base64(value: Value) -> Value {
    match value {
        Value::Object(fields) => match (fields.len(), fields.get("utf8")) {
            (1, Some(Value::String(text))) => Value::from(BASE64_STANDARD.encode(text)),
            _ => Value::Object(
                fields
                    .into_iter()
                    .map(|(name, value)| (name, with_base64(value)))
                    .collect(),
            ),
        },
        Value::Array(items) => items.into_iter().map(with_base64).collect(),
        other => other,
    }
}

async fn replay(history: &Value) -> Result<(), String> {
    let history = WorkflowHistory::from_json(&serde_json::to_vec(history).unwrap()).unwrap();
    let options = WorkflowReplayerOptions::new()
        .register_workflow::<VisibilityMigration>()
        .unwrap()
        .build();
    let replayer = WorkflowReplayer::new(options).unwrap();
    replayer
        .replay_workflow(history)
        .await
        .map_err(|error| error.to_string())
}

#[tokio::test]
async fn every_recorded_migration_replays() {
    let histories = histories();
    for (name, history) in &histories {
        let outcome = replay(history).await;
        assert_eq!(outcome, Ok(()), "{name} does not replay");
    }
    let names: String = histories.keys().map(|name| format!("{name}\n")).collect();
    let expected = fs::read_to_string(folder().join("expected.txt")).unwrap();
    assert_eq!(names, expected, "histories/expected.txt names every history");
}

/// A test that accepts anything proves nothing: each of these changes is one that a worker must notice.
#[tokio::test]
async fn a_history_that_was_tampered_with_does_not_replay() {
    let histories = histories();
    let migrated = histories.get("v0.1.0/migrated").expect("a migration that ended well");
    let scheduled: Vec<usize> = events(migrated)
        .iter()
        .enumerate()
        .filter(|(_, event)| activity(event).is_some())
        .map(|(index, _)| index)
        .collect();
    assert!(scheduled.len() > 10, "{} activities", scheduled.len());
    for index in [0, scheduled.len() / 2, scheduled.len() - 1] {
        let mut tampered = migrated.clone();
        let event = &mut tampered["events"][scheduled[index]];
        *activity_mut(event) = Value::from("another-activity");
        let outcome = replay(&tampered).await.expect_err("another activity was scheduled");
        assert!(outcome.contains("TMPRL1100"), "{outcome}");
    }
}

/// Nothing of the machine that it was recorded on, and no secret.
#[test]
fn no_history_tells_of_a_machine() {
    for (name, file) in files() {
        let text = fs::read_to_string(file).unwrap();
        // Paths and passwords stand in payloads, which are JSON within JSON.
        for path in text.split("\\\"/").skip(1) {
            let path = path.split('\\').next().unwrap_or_default();
            assert!(path.starts_with("tmp/crossfade-demo"), "/{path} is in {name}");
        }
        for identity in text.split("\"identity\":\"").skip(1) {
            let identity = identity.split('"').next().unwrap_or_default();
            let neutral = identity.is_empty() || identity.ends_with("@localhost") || identity == "history-service";
            assert!(neutral, "{identity} is in {name}");
        }
        assert!(!text.contains(r#"password\":\""#), "a password is in {name}");
    }
}

fn events(history: &Value) -> &[Value] {
    history["events"].as_array().map_or(&[], Vec::as_slice)
}

const SCHEDULED: &str = "/attributes/ActivityTaskScheduledEventAttributes/activity_type/name";

fn activity(event: &Value) -> Option<&Value> {
    event.pointer(SCHEDULED)
}

fn activity_mut(event: &mut Value) -> &mut Value {
    event.pointer_mut(SCHEDULED).expect("an activity was scheduled")
}
