//! The wire: what running workflows, recorded histories and scripts depend on. A change here breaks them.

use std::collections::BTreeSet;

use crossfade_plan::{
    drift::DriftClass,
    message::names,
    order::{Compared, Copied, Heartbeat},
    problem::{Code, Problem},
    progress::{Condition, CopyProgress, CutoverProgress, Outcome, Progress, Status},
    report::Report,
    route::Route,
    settings::{DynamicConfig, HostConfig, Reads, WritingMode},
    slices::Rates,
    spec::{Service, Spec, example},
    stage::{Gate, Stage},
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

fn now() -> Timestamp {
    "2026-03-01T02:00:00Z".parse().expect("a time")
}

fn progress() -> Progress {
    let spec = Spec::from_json(&example()).expect("the example is good");
    let mut progress = Progress::new("visibility-migration".to_owned(), "key".to_owned(), spec, now());
    progress.note(now(), names::PAUSE, true, "paused");
    progress
}

#[track_caller]
fn check(value: impl Serialize, expected: Value) {
    assert_eq!(serde_json::to_value(value).expect("JSON"), expected);
}

#[test]
fn names_are_pinned() {
    check(
        Stage::ALL,
        json!([
            "preflight",
            "prepare-target",
            "dual-write",
            "existing-records",
            "verify",
            "cutover",
            "promote",
            "finish"
        ]),
    );
    check(
        Gate::ALL,
        json!([
            "prepare-target",
            "dual-write",
            "existing-records",
            "verify",
            "cutover",
            "promote",
            "finish"
        ]),
    );
    check(
        names::ALL,
        json!([
            "approve",
            "pause",
            "resume",
            "skip-wait",
            "rollback",
            "abort",
            "finish",
            "set-rate"
        ]),
    );
    check(
        [
            DriftClass::Missing,
            DriftClass::Stale,
            DriftClass::Different,
            DriftClass::Extra,
        ],
        json!(["missing", "stale", "different", "extra"]),
    );
    check(
        [
            Outcome::Migrated,
            Outcome::RolledBack,
            Outcome::Aborted,
            Outcome::Refused,
        ],
        json!(["migrated", "rolled-back", "aborted", "refused"]),
    );
    check(
        [HostConfig::Original, HostConfig::Dual, HostConfig::Promoted],
        json!(["original", "dual", "promoted"]),
    );
    check(
        [
            Service::Worker,
            Service::Matching,
            Service::History,
            Service::Frontend,
            Service::InternalFrontend,
        ],
        json!(["worker", "matching", "history", "frontend", "internal-frontend"]),
    );
    check(
        [
            CutoverProgress::NotBegun,
            CutoverProgress::FirstNamespaces,
            CutoverProgress::FirstSoaked,
            CutoverProgress::Everyone,
            CutoverProgress::Soaked,
        ],
        json!(["not-begun", "first-namespaces", "first-soaked", "everyone", "soaked"]),
    );
    check(Route::Dual, json!("dual"));
}

#[test]
fn stages_and_gates_name_each_other() {
    for stage in Stage::ALL {
        assert_eq!(
            stage.gate().map(Gate::opens),
            (stage != Stage::Preflight).then_some(stage)
        );
        check(stage, json!(stage.name()));
    }
    for gate in Gate::ALL {
        assert_eq!(gate.to_string().parse(), Ok(gate));
    }
    let mut way = vec![Stage::Preflight];
    while let Some(next) = way.last().and_then(|stage| stage.next()) {
        way.push(next);
    }
    assert_eq!(way, Stage::ALL);
}

#[test]
fn codes_are_pinned_and_each_tells_what_to_do() {
    let names: BTreeSet<&str> = Code::ALL.iter().map(|code| code.name()).collect();
    assert_eq!(names.len(), Code::ALL.len(), "no name twice");
    for code in Code::ALL {
        check(code, json!(code.name()));
        assert!(!code.remedy().is_empty() && !code.remedy().ends_with('.'), "{code}");
    }
    let table: Vec<String> = Code::ALL
        .iter()
        .map(|code| format!("{code}{}", if code.retryable() { " (tried again)" } else { "" }))
        .collect();
    insta::assert_snapshot!(table.join("\n"));
}

#[test]
fn conditions_say_what_they_are() {
    check(
        Condition::Running {
            doing: "copying".to_owned(),
        },
        json!({"is": "running", "doing": "copying"}),
    );
    check(
        Condition::AwaitingApproval { gate: Gate::Cutover },
        json!({"is": "awaiting-approval", "gate": "cutover"}),
    );
    check(Condition::Paused, json!({"is": "paused"}));
    check(
        Condition::Ended {
            result: Outcome::Migrated,
        },
        json!({"is": "ended", "result": "migrated"}),
    );
    check(
        Condition::NeedsOperator {
            problems: vec![Problem::new(Code::HostDown, "down").at("host a").remedy("look")],
        },
        json!({
            "is": "needs-operator",
            "problems": [{"code": "host-down", "place": "host a", "message": "down", "remedy": "look"}],
        }),
    );
}

#[test]
fn dynamic_config_orders_are_pinned() {
    check(
        DynamicConfig::Set {
            writing_mode: WritingMode::Dual,
            reads: Reads::Some(["staging".to_owned()].into()),
        },
        json!({"set": {"writing_mode": "dual", "reads": {"some": ["staging"]}}}),
    );
    check(DynamicConfig::Removed, json!("removed"));
    check(DynamicConfig::Original, json!("original"));
}

#[test]
fn a_migration_that_begins_looks_like_this() {
    insta::assert_json_snapshot!("progress", progress());
    insta::assert_json_snapshot!("status", Status::of(&progress()));
    insta::assert_json_snapshot!("report", Report::of(&progress()));
}

#[test]
fn what_is_carried_on_reads_back_the_same() {
    let written = serde_json::to_value(progress()).expect("JSON");
    assert_eq!(serde_json::from_value::<Progress>(written).expect("reads"), progress());
    let written = serde_json::to_value(Status::of(&progress())).expect("JSON");
    assert_eq!(
        serde_json::from_value::<Status>(written).expect("reads"),
        Status::of(&progress())
    );
}

#[test]
fn a_heartbeat_of_less_still_reads() {
    let least = json!({"cursor": null, "scanned": 5, "written": 3});
    let heartbeat: Heartbeat = serde_json::from_value(least).expect("reads");
    assert_eq!((heartbeat.scanned, heartbeat.drift.total()), (5, 0));
}

#[test]
fn steps_of_a_copy_add_up() {
    let mut copy = progress().copy;
    copy.expected = 1_000;
    assert_eq!(copy.seconds_left(), None, "no pace yet");
    let step = |scanned, done| Copied {
        cursor: Some(format!("after {scanned}")),
        done,
        scanned,
        written: scanned / 2,
        withdrawn: 1,
        bytes: 10 * scanned,
        millis: 1_000,
        middle: None,
    };
    copy.slices.begin(&[], None);
    let hand_out = |copy: &mut CopyProgress| {
        let slices = copy.slices.hand_out(&[], 1, Rates::default());
        slices.first().expect("one that waits").clone()
    };
    let slice = hand_out(&mut copy);
    assert_eq!(slice.cursor, None);
    copy.add(slice.number, Some(&step(100, false)));
    assert_eq!((copy.seconds_left(), copy.pace()), (Some(9), Some(100)));
    // One that was stopped, and nobody knows how far it came.
    let slice = hand_out(&mut copy);
    copy.add(slice.number, None);
    let slice = hand_out(&mut copy);
    assert_eq!(slice.cursor.as_deref(), Some("after 100"));
    copy.add(slice.number, Some(&step(900, true)));
    assert_eq!(
        (copy.copied.scanned, copy.copied.written, copy.copied.withdrawn),
        (1_000, 500, 2)
    );
    assert_eq!((copy.copied.done, copy.copied.bytes), (true, 10_000));
    assert_eq!(copy.seconds_left(), Some(0));
    check(
        Compared::default(),
        json!({
            "cursor": null, "done": false, "compared": 0, "repaired": 0, "samples": [], "millis": 0,
            "drift": {"missing": 0, "stale": 0, "different": 0, "extra": 0},
        }),
    );
}

#[test]
fn the_awaited_command_can_be_pasted() {
    let mut progress = progress();
    assert_eq!(progress.awaited_command(), None);
    progress.condition = Condition::AwaitingApproval { gate: Gate::DualWrite };
    assert_eq!(
        progress.awaited_command().as_deref(),
        Some("tctl workflow signal -w visibility-migration -n approve -i '\"dual-write\"'")
    );
    progress.condition = Condition::Paused;
    assert_eq!(
        progress.awaited_command().as_deref(),
        Some("tctl workflow signal -w visibility-migration -n resume")
    );
}
