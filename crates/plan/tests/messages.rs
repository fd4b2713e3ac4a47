//! What operators may say, what it does, and that nothing malformed harms the run.

use crossfade_plan::{
    message::{
        Side,
        names::{ABORT, ALL, APPROVE, FINISH, PAUSE, RESUME, ROLLBACK, SET_RATE, SKIP_WAIT},
    },
    operator::{take, validate},
    period::Period,
    problem::{Code, Problem},
    progress::{AUDIT_LIMIT, Condition, HostState, Outcome, Progress},
    settings::HostConfig,
    spec::{Spec, example},
    stage::{Gate, Stage},
};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

fn now() -> Timestamp {
    "2026-03-01T02:00:00Z".parse().expect("a time")
}

fn progress() -> Progress {
    let spec = Spec::from_json(&example()).expect("the example is good");
    Progress::new("visibility-migration".to_owned(), "key".to_owned(), spec, now())
}

fn waiting_at(gate: Gate) -> Progress {
    let mut progress = progress();
    progress.stage = gate.opens();
    progress.condition = Condition::AwaitingApproval { gate };
    progress
}

fn stuck() -> Progress {
    let mut progress = progress();
    progress.condition = Condition::NeedsOperator {
        problems: vec![Problem::new(Code::HostDown, "down")],
    };
    progress
}

fn promoting() -> Progress {
    let mut progress = progress();
    progress.stage = Stage::Promote;
    progress.hosts = vec![HostState {
        name: "node-a".to_owned(),
        config: HostConfig::Dual,
        ordered: HostConfig::Promoted,
        restart_millis: None,
    }];
    progress
}

/// Says `name` with `input`; what is answered must be in the audit log, and the validator must have said the same.
#[track_caller]
fn say(progress: &mut Progress, name: &str, input: Option<Value>) -> Result<String, String> {
    let expected = validate(progress, name, input.as_ref()).map_err(|rejected| rejected.0);
    let answer = take(progress, name, input.as_ref(), now()).map_err(|rejected| rejected.0);
    assert_eq!(answer, expected, "the validator and the handler agree");
    let entry = progress.audit.last().expect("an entry");
    assert_eq!((entry.what.as_str(), entry.taken), (name, answer.is_ok()));
    answer
}

#[track_caller]
fn check_taken(mut progress: Progress, name: &str, input: Option<Value>, told: &str) -> Progress {
    let answer = say(&mut progress, name, input).expect("taken");
    assert_eq!(answer, told);
    progress
}

/// Checks that a message is not taken and changes nothing but the audit log.
#[track_caller]
fn check_not_taken(progress: &Progress, name: &str, input: Option<Value>, told: &str) {
    let mut after = progress.clone();
    let why = say(&mut after, name, input).expect_err("not taken");
    assert!(why.contains(told), "`{told}` expected in: {why}");
    after.audit.clone_from(&progress.audit);
    assert_eq!(&after, progress, "nothing else changed");
}

#[test]
fn an_approval_counts_at_its_gate_ahead_of_time_and_once() {
    let at_gate = check_taken(
        waiting_at(Gate::DualWrite),
        APPROVE,
        Some(json!({"gate": "dual-write", "by": "alice", "note": "go"})),
        "`dual-write` approved by alice",
    );
    assert_eq!(at_gate.approvals[&Gate::DualWrite].note.as_deref(), Some("go"));
    let ahead = check_taken(
        progress(),
        APPROVE,
        Some(json!("promote")),
        "`promote` approved by someone, ahead of time: it counts when the gate is reached",
    );
    let twice = check_taken(
        ahead.clone(),
        APPROVE,
        Some(json!({"gate": "promote", "by": "mallory"})),
        "`promote` was approved already",
    );
    assert_eq!(twice.approvals, ahead.approvals, "the first approval stays");
}

#[test]
fn an_approval_can_accept_a_class_of_drift() {
    let progress = check_taken(
        waiting_at(Gate::Cutover),
        APPROVE,
        Some(json!({"gate": "cutover", "by": "alice", "accept_drift": ["extra"]})),
        "`cutover` approved by alice, accepting drift: extra",
    );
    assert_eq!(progress.accepted_drift.len(), 1);
}

#[test]
fn approvals_that_name_no_gate_of_this_migration_change_nothing() {
    for (input, told) in [
        (None, "came without input"),
        (Some(Value::Null), "came without input"),
        (Some(json!("cut-over")), "unknown gate `cut-over`"),
        (
            Some(json!("verify")),
            "has no gate `verify`; it has dual-write, cutover, promote",
        ),
        (Some(json!(1)), "could not be read"),
        (Some(json!(["cutover"])), "could not be read"),
        (Some(json!({"gate": 1})), "could not be read"),
        (Some(json!({"by": "alice"})), "missing field `gate`"),
        (Some(json!({"gate": "cutover", "force": true})), "unknown field `force`"),
        (
            Some(json!({"gate": "cutover", "accept_drift": ["all"]})),
            "unknown variant `all`",
        ),
    ] {
        check_not_taken(&waiting_at(Gate::Cutover), APPROVE, input, told);
    }
}

#[test]
fn pausing_and_resuming() {
    let paused = check_taken(
        progress(),
        PAUSE,
        Some(json!({"by": "alice", "note": "lunch"})),
        "paused (alice: lunch)",
    );
    let twice = check_taken(paused, PAUSE, None, "it was paused already");
    let resumed = check_taken(twice, RESUME, None, "resumed (no remark)");
    assert_eq!((resumed.paused.is_none(), resumed.try_again), (true, false));
    check_not_taken(&resumed, RESUME, None, "not paused");
    let again = check_taken(stuck(), RESUME, Some(json!("corrected")), "resumed (corrected)");
    assert!(again.try_again);
    check_not_taken(&progress(), PAUSE, Some(json!(5)), "expected no input");
    check_not_taken(&progress(), PAUSE, Some(json!(["alice", "lunch"])), "expected no input");
    check_not_taken(&progress(), PAUSE, Some(json!({"who": "alice"})), "unknown field `who`");
}

#[test]
fn the_way_back_is_open_until_the_first_host_is_promoted() {
    for (name, ends) in [(ROLLBACK, Outcome::RolledBack), (ABORT, Outcome::Aborted)] {
        let mut going = progress();
        say(&mut going, name, None).expect("taken");
        assert_eq!(going.back.as_ref().map(|back| back.ends), Some(ends));
        assert_eq!(
            say(&mut going, ROLLBACK, None).as_deref(),
            Ok("it is going back already")
        );
        assert_eq!(going.back.map(|back| back.ends), Some(ends), "the first order stays");
        check_not_taken(&promoting(), name, None, "the point of no return has passed");
    }
}

#[test]
fn the_wait_can_be_skipped_until_it_is_over() {
    let progress = check_taken(
        progress(),
        SKIP_WAIT,
        None,
        "the Retention wait is skipped; verify will copy what is missing (no remark)",
    );
    assert!(progress.skip_wait);
    let mut over = progress;
    over.wait_over = true;
    check_not_taken(&over, SKIP_WAIT, None, "over already");
}

#[test]
fn keeping_the_source_written_can_be_ended_where_it_was_asked_for() {
    check_not_taken(&progress(), FINISH, None, "does not keep the source written");
    let mut warm = progress();
    warm.spec.promote.keep_warm = Some(Period::from_secs(60));
    let mut over = check_taken(
        warm,
        FINISH,
        None,
        "the source is left as soon as the target is the primary (no remark)",
    );
    assert!(over.warm.finish);
    over.warm.over = true;
    check_not_taken(&over, FINISH, None, "not kept written any more");
}

#[test]
fn a_source_that_fails_while_it_is_kept_can_be_left_and_a_target_that_fails_cannot_be_left_alone() {
    let mut asked = progress();
    asked.spec.promote.keep_warm = Some(Period::from_secs(60));
    asked.guard.look_again();
    asked.guard.failing_since = Some(Timestamp::UNIX_EPOCH);
    asked.guard.fails = Side::Target;
    check_not_taken(&asked, FINISH, None, "writes to the target fail");
    asked.guard.fails = Side::Source;
    asked.guard.lost = true;
    asked.condition = Condition::NeedsOperator { problems: Vec::new() };
    let left = "the source is left as soon as the target is the primary (no remark)";
    assert!(check_taken(asked.clone(), FINISH, None, left).try_again);
    let told = "rollback ordered (no remark); writes to the source fail: the way back ends when it takes them and nothing is \
                given up";
    check_taken(asked.clone(), ROLLBACK, None, told);
    // What else needs a person is not answered by it.
    asked.guard.lost = false;
    assert!(!check_taken(asked, FINISH, None, left).try_again);
}

#[test]
fn the_rate_is_a_whole_number_or_none() {
    let slow = check_taken(
        progress(),
        SET_RATE,
        Some(json!({"records_per_second": 5000})),
        "the rate is 5000 records a second now",
    );
    assert_eq!(slow.records_per_second, Some(5_000));
    let free = check_taken(
        slow,
        SET_RATE,
        Some(json!({"records_per_second": null})),
        "the rate is unlimited now",
    );
    assert_eq!(free.records_per_second, None);
    let reading = check_taken(
        free,
        SET_RATE,
        Some(json!({"records_per_second": 700, "store": "source", "automatic": false})),
        "the rate of reading the source is 700 records a second now, whatever the pressure on the stores",
    );
    assert_eq!(reading.records_per_second, None);
    assert_eq!(reading.throttle.source_records_per_second, Some(700));
    assert!(reading.throttle.off);
    let minding = check_taken(
        reading,
        SET_RATE,
        Some(json!({"records_per_second": 9, "store": "target", "automatic": true})),
        "the rate is 9 records a second now, and less under pressure",
    );
    assert!(!minding.throttle.off);
    assert_eq!(minding.throttle.source_records_per_second, Some(700));
    for (input, told) in [
        (None, "there was no input"),
        (Some(json!(5_000)), "is absent"),
        (Some(json!({})), "is absent"),
        (Some(json!({"records_per_second": 0})), "would never end"),
        (Some(json!({"records_per_second": -1})), "expected"),
        (Some(json!({"records_per_second": 1.5})), "expected"),
        (Some(json!({"records_per_second": "fast"})), "expected"),
        (Some(json!({"records_per_second": 4_294_967_296_u64})), "expected"),
        (
            Some(json!({"records_per_second": 5, "store": "both"})),
            "unknown variant `both`",
        ),
        (
            Some(json!({"records_per_second": 5, "automatic": "no"})),
            "\"automatic\": true or false",
        ),
    ] {
        check_not_taken(&progress(), SET_RATE, input, told);
    }
}

#[test]
fn after_the_end_nothing_is_taken() {
    let mut ended = progress();
    ended.condition = Condition::Ended {
        result: Outcome::Migrated,
    };
    for name in ALL {
        check_not_taken(&ended, name, Some(json!("cutover")), "the migration is over");
    }
    check_not_taken(&progress(), "restart", None, "unknown message `restart`");
}

#[test]
fn what_operators_say_cannot_outgrow_the_run() {
    let mut progress = progress();
    let long = "ä".repeat(50_000);
    for _ in 0..AUDIT_LIMIT {
        for input in [
            json!({"by": long, "note": long}),
            json!({ long.as_str(): 1 }),
            json!(long),
        ] {
            let _ = say(&mut progress, PAUSE, Some(input));
        }
        progress.paused = None;
    }
    let _ = say(
        &mut progress,
        APPROVE,
        Some(json!({"gate": "cutover", "by": long, "note": long})),
    );
    assert_eq!(progress.audit.len(), AUDIT_LIMIT);
    assert!(progress.audit_dropped > 0);
    let size = serde_json::to_vec(&progress).expect("JSON").len();
    assert!(size < 1 << 20, "{size} bytes are carried from run to run");
}

proptest! {
    #[test]
    fn no_message_harms_the_run(name in 0..=ALL.len(), text in ".{0,40}", number in any::<i64>(), form in 0..6) {
        let input = match form {
            0 => None,
            1 => Some(json!(text)),
            2 => Some(json!(number)),
            3 => Some(json!({"gate": text, "by": number})),
            4 => Some(json!({"records_per_second": number})),
            _ => Some(json!([text, {"note": text}])),
        };
        let name = ALL.get(name).copied().unwrap_or("unknown");
        for mut progress in [progress(), waiting_at(Gate::Cutover), stuck(), promoting()] {
            let before = progress.audit.len();
            let _ = say(&mut progress, name, input.clone());
            prop_assert_eq!(progress.audit.len(), before + 1);
            let carried = serde_json::to_value(&progress).expect("JSON");
            prop_assert_eq!(serde_json::from_value::<Progress>(carried).expect("reads again"), progress);
        }
    }
}
