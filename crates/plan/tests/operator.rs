//! What each message does in each condition, and that none does harm.

use std::collections::BTreeSet;

use crossfade_plan::{
    drift::DriftClass,
    message::{Approval, Remark, SetRate},
    operator::{refuse, take, validate},
    problem::{Code, Problem},
    progress::{BackOrder, Condition, HostState, Outcome, Progress},
    settings::HostConfig,
    spec::{Spec, example},
    stage::{Gate, Stage},
};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn progress(stage: Stage, condition: Condition) -> Progress {
    let spec = Spec::from_json(&example()).expect("a spec");
    let mut progress = Progress::new("move".into(), "move.0".into(), spec, NOW);
    progress.stage = stage;
    progress.condition = condition;
    progress
}

/// Every condition that a migration can be in, with what belongs to it.
fn situations() -> Vec<(&'static str, Progress)> {
    let running = || Condition::Running {
        doing: "working".into(),
    };
    let mut paused = progress(Stage::ExistingRecords, Condition::Paused);
    paused.paused = Some(Remark::default());
    let problems = vec![Problem::new(Code::HostDown, "node-a is down")];
    let stuck = progress(Stage::DualWrite, Condition::NeedsOperator { problems });
    let back = |ends| {
        let mut back = progress(
            Stage::Verify,
            Condition::RollingBack {
                doing: "restoring".into(),
            },
        );
        back.back = Some(BackOrder {
            ends,
            remark: Remark::default(),
        });
        back
    };
    let mut promoting = progress(Stage::Promote, running());
    promoting.hosts = vec![HostState {
        name: "node-a".into(),
        config: HostConfig::Dual,
        ordered: HostConfig::Promoted,
        restart_millis: None,
    }];
    let waiting = Condition::Waiting {
        reason: "the Retention wait".into(),
        until: None,
        next_wake_up: None,
    };
    let ended = Condition::Ended {
        result: Outcome::Migrated,
    };
    vec![
        ("running preflight", progress(Stage::Preflight, running())),
        ("running dual-write", progress(Stage::DualWrite, running())),
        (
            "at the gate cutover",
            progress(Stage::Cutover, Condition::AwaitingApproval { gate: Gate::Cutover }),
        ),
        ("waiting", progress(Stage::ExistingRecords, waiting)),
        ("paused", paused),
        ("needs the operator", stuck),
        ("promoting the first host", promoting),
        ("rolling back", back(Outcome::RolledBack)),
        ("ended", progress(Stage::Finish, ended)),
    ]
}

fn messages() -> Vec<(&'static str, Option<Value>)> {
    vec![
        ("approve", Some(json!("cutover"))),
        (
            "approve",
            Some(json!({"gate": "dual-write", "by": "alice", "note": "go"})),
        ),
        ("approve", Some(json!({"gate": "verify"}))),
        ("approve", Some(json!({"gate": "cutover", "accept_drift": ["extra"]}))),
        ("pause", None),
        ("resume", Some(json!({"by": "bob"}))),
        ("skip-wait", Some(json!("no time"))),
        ("rollback", Some(json!({"by": "bob", "note": "errors in the log"}))),
        ("abort", None),
        ("set-rate", Some(json!({"records_per_second": 500}))),
        ("set-rate", Some(json!({"records_per_second": null}))),
    ]
}

/// The fields that a message changed, besides the audit log.
fn changes(before: &Progress, after: &Progress) -> String {
    let fields = |progress: &Progress| match serde_json::to_value(progress) {
        Ok(Value::Object(fields)) => fields,
        other => panic!("{other:?}"),
    };
    let (before, after): (Map<String, Value>, Map<String, Value>) = (fields(before), fields(after));
    let changed: Vec<&str> = after
        .iter()
        .filter(|(name, value)| *name != "audit" && before.get(*name) != Some(*value))
        .map(|(name, _)| name.as_str())
        .collect();
    if changed.is_empty() {
        "nothing".to_owned()
    } else {
        changed.join(", ")
    }
}

#[test]
fn every_message_in_every_condition() {
    let mut table = String::new();
    for (name, before) in situations() {
        table.push_str(&format!("{name}\n"));
        for (message, input) in messages() {
            let mut after = before.clone();
            let shown = input.as_ref().map_or(String::new(), |input| format!(" {input}"));
            let would = validate(&before, message, input.as_ref());
            let answer = take(&mut after, message, input.as_ref(), NOW);
            assert_eq!(would, answer, "a validator says what the handler does");
            let entry = after.audit.last().unwrap();
            assert_eq!(
                (after.audit.len(), entry.what.as_str(), entry.taken),
                (1, message, answer.is_ok())
            );
            let (mark, words) = match answer {
                Ok(words) => ("taken", words),
                Err(rejected) => {
                    assert_eq!(changes(&before, &after), "nothing", "what is rejected changes nothing");
                    ("REJECTED", rejected.to_string())
                }
            };
            table.push_str(&format!(
                "  {message}{shown}\n    {mark}: {words}\n    changes {}\n",
                changes(&before, &after)
            ));
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn what_is_malformed_is_told_and_changes_nothing() {
    let mut told = String::new();
    for (message, input) in [
        ("approve", None),
        ("approve", Some(json!(null))),
        ("approve", Some(json!("cut-over"))),
        ("approve", Some(json!(7))),
        ("approve", Some(json!(["cutover"]))),
        ("approve", Some(json!({}))),
        ("approve", Some(json!({"gate": "cutover", "because": "x"}))),
        ("approve", Some(json!({"gate": "cutover", "by": 7}))),
        (
            "approve",
            Some(json!({"gate": "cutover", "accept_drift": ["everything"]})),
        ),
        ("pause", Some(json!(7))),
        ("pause", Some(json!({"who": "bob"}))),
        ("set-rate", None),
        ("set-rate", Some(json!(500))),
        ("set-rate", Some(json!({}))),
        ("set-rate", Some(json!({"records_per_second": 0}))),
        ("set-rate", Some(json!({"records_per_second": -1}))),
        ("set-rate", Some(json!({"records_per_second": 1.5}))),
        ("set-rate", Some(json!({"records_per_second": 4294967296_u64}))),
        ("set-rate", Some(json!({"records_per_second": 5, "burst": 9}))),
        ("go-on", None),
    ] {
        let before = progress(
            Stage::DualWrite,
            Condition::Running {
                doing: "working".into(),
            },
        );
        let mut after = before.clone();
        let rejected = take(&mut after, message, input.as_ref(), NOW).unwrap_err().to_string();
        assert_eq!(changes(&before, &after), "nothing");
        assert!(!after.audit[0].taken && after.audit[0].entry == rejected);
        let shown = input.map_or("(no input)".to_owned(), |input| input.to_string());
        told.push_str(&format!("{message} {shown}\n  {rejected}\n"));
    }
    insta::assert_snapshot!(told);
}

#[test]
fn approving_twice_is_once_and_accepting_more_drift_is_heard() {
    let mut progress = progress(
        Stage::Verify,
        Condition::Running {
            doing: "comparing".into(),
        },
    );
    let mut say = |input: Value| take(&mut progress, "approve", Some(&input), NOW).unwrap();
    assert!(say(json!({"gate": "cutover", "by": "alice"})).contains("ahead of time"));
    assert_eq!(
        say(json!({"gate": "cutover", "by": "eve"})),
        "`cutover` was approved already"
    );
    let extra = say(json!({"gate": "cutover", "by": "bob", "accept_drift": ["extra", "stale"]}));
    assert!(extra.ends_with("accepting drift: stale, extra"), "{extra}");
    assert_eq!(
        progress.accepted_drift,
        BTreeSet::from([DriftClass::Stale, DriftClass::Extra])
    );
    assert_eq!(progress.approvals[&Gate::Cutover].by.as_deref(), Some("bob"));
}

#[test]
fn the_first_order_back_is_the_one_that_counts() {
    let mut progress = progress(
        Stage::Verify,
        Condition::Running {
            doing: "comparing".into(),
        },
    );
    take(&mut progress, "rollback", Some(&json!("first")), NOW).unwrap();
    take(&mut progress, "abort", Some(&json!("second")), NOW).unwrap();
    let order = progress.back.unwrap();
    assert_eq!(
        (order.ends, order.remark.note.as_deref()),
        (Outcome::RolledBack, Some("first"))
    );
}

#[test]
fn what_could_not_be_decoded_is_in_the_audit_log() {
    let mut progress = progress(Stage::Verify, Condition::Paused);
    let rejected = refuse(&mut progress, "approve", "it is not JSON".into(), NOW);
    assert_eq!(rejected.to_string(), progress.audit[0].entry);
    assert!(!progress.audit[0].taken);
}

fn any_json() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("gate".to_owned()),
        Just("by".to_owned()),
        Just("note".to_owned()),
        Just("accept_drift".to_owned()),
        Just("records_per_second".to_owned()),
        Just("cutover".to_owned()),
        any::<String>(),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((word.clone(), inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_input_does_harm(input in prop::option::of(any_json()), which in 0..9_usize, message in 0..8_usize) {
        for answer in [
            Approval::from_json(input.as_ref()).err(),
            Remark::from_json(input.as_ref()).err(),
            SetRate::from_json(input.as_ref()).err(),
        ] {
            prop_assert!(answer.is_none_or(|rejected| !rejected.to_string().is_empty()));
        }
        let (_, before) = situations().swap_remove(which);
        let name = crossfade_plan::message::names::ALL.get(message).copied().unwrap_or("unknown");
        let mut after = before.clone();
        let taken = take(&mut after, name, input.as_ref(), NOW).is_ok();
        prop_assert!(taken || changes(&before, &after) == "nothing");
        // Whatever was said, the state can still be carried to the next run.
        let carried: Progress = serde_json::from_value(serde_json::to_value(&after).unwrap()).unwrap();
        prop_assert_eq!(carried, after);
    }
}
