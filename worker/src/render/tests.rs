//! What people see, as whole texts, from fixed values.

use std::time::Duration;

use crossfade_plan::{
    drift::{Drift, DriftClass},
    estimate::Estimate,
    existing::Existing,
    indexes::{Deferral, IndexState, IndexesBuilt, What},
    message::{Approval, Remark},
    order::{Copied, Heartbeat, Limit, NamespaceWait, StoreFact},
    plan::{FilePlan, HostPlan, NamespacePlan, Plan},
    problem::{Code, Problem},
    progress::{
        AuditEntry, BackOrder, Condition, CutoverProgress, HostState, Outcome, Progress, StageTiming, Status,
        VerifyProgress,
    },
    report::Report,
    route::{Form, Route},
    settings::HostConfig,
    slices::{Slice, Slices},
    spec::{Spec, example},
    stage::{Gate, Stage},
};
use crossfade_workflow::names::activity;
use jiff::Timestamp;

use super::{audit, live, page, plan, report, status, words};
use crate::migration::PendingActivity;

fn at(seconds: u64) -> Timestamp {
    let begin: Timestamp = "2026-03-01T02:00:00Z".parse().expect("a time");
    begin + Duration::from_secs(seconds)
}

fn fact(description: &str, records: u64, schema: Option<&str>) -> StoreFact {
    StoreFact {
        description: description.to_owned(),
        plugin: "PostgreSQL 15.3".to_owned(),
        schema_version: schema.map(str::to_owned),
        records,
        indexes: None,
    }
}

fn some_plan() -> Plan {
    let namespace = |name: &str, retention_seconds, open, closed, archival| NamespacePlan {
        name: name.to_owned(),
        retention_seconds,
        history_archival: archival,
        visibility_archival: archival,
        open,
        closed,
        id: format!("id-of-{name}"),
        existing: Existing {
            why: "the source holds whole records".to_owned(),
            seconds: 617,
            cost: "none".to_owned(),
            ..Existing::default()
        },
    };
    let namespaces = vec![
        namespace("default", 259_200, 12, 1_234_000, false),
        namespace("temporal-system", 604_800, 2, 0, false),
        namespace("staging", 0, 0, 553, true),
    ];
    let spec = Spec::from_json(&example()).expect("the example is good");
    Plan {
        estimate: Estimate::of(&spec, 1_234_567, &namespaces, 10),
        route: Route::Dual,
        form: Form::SecondaryStore,
        indices: None,
        route_notes: vec!["SQL to SQL on server 1.30.8, by `secondaryVisibilityStore`".into()],
        server_version: "1.30.8".to_owned(),
        shards: 4,
        source_name: "pg-visibility".to_owned(),
        source: fact(
            "PostgreSQL database 'temporal_visibility' at 127.0.0.1:5432",
            1_234_567,
            Some("1.9"),
        ),
        target_name: "postgres-visibility-new".to_owned(),
        target: fact(
            "PostgreSQL database 'temporal_visibility_new' at 127.0.0.1:5432",
            0,
            None,
        ),
        hosts: vec![HostPlan {
            name: "node-a".to_owned(),
            files: vec![
                FilePlan {
                    stage: Stage::DualWrite,
                    path: "/etc/temporal/config/production.yaml".to_owned(),
                    diff: "--- a\n+++ b\n@@ -3,2 +3,3 @@\n persistence:\n   visibilityStore: pg-visibility\n+  \
                           secondaryVisibilityStore: postgres-visibility-new\n"
                        .to_owned(),
                },
                FilePlan {
                    stage: Stage::Promote,
                    path: "/etc/temporal/dynamicconfig/production.yaml".to_owned(),
                    diff: String::new(),
                },
            ],
        }],
        poll_seconds: 10,
        namespaces,
        records: 1_234_567,
        attributes: None,
        dead_letters: None,
        registers_attributes: false,
        unfit: Vec::new(),
        deferral: Some(Deferral {
            set_aside: true,
            what: What::Indexes,
            indexes: Some(71),
            records: 1_234_567,
            kept: None,
        }),
        steps: vec![
            "1. prepare-target: check the schema".to_owned(),
            "2. gate dual-write: wait for `approve`".to_owned(),
        ],
        point_of_no_return: Stage::Promote,
        warnings: vec!["the file /etc/temporal/x.yaml is a symlink".to_owned()],
    }
}

fn progress() -> Progress {
    let spec = Spec::from_json(&example()).expect("the example is good");
    let mut progress = Progress::new("visibility-migration".to_owned(), "key".to_owned(), spec, at(0));
    let done = |stage, began, ended| StageTiming {
        stage,
        began: at(began),
        ended: Some(at(ended)),
    };
    progress.timings = vec![
        done(Stage::Preflight, 0, 3),
        done(Stage::PrepareTarget, 3, 5),
        done(Stage::DualWrite, 605, 672),
        StageTiming {
            stage: Stage::ExistingRecords,
            began: at(672),
            ended: None,
        },
    ];
    progress.stage = Stage::ExistingRecords;
    progress.condition = Condition::Running {
        doing: "copying".to_owned(),
    };
    progress.plan = Some(some_plan());
    progress.dual_since = Some(at(671));
    progress.hosts = vec![HostState {
        name: "node-a".to_owned(),
        config: HostConfig::Dual,
        ordered: HostConfig::Dual,
        restart_millis: Some(4_200),
    }];
    let approval = Approval {
        gate: Gate::DualWrite,
        by: Some("alice".to_owned()),
        note: Some("window 42".to_owned()),
        accept_drift: [].into(),
    };
    progress.approvals.insert(Gate::DualWrite, approval);
    progress.opened.insert(Gate::DualWrite);
    progress.note(at(0), "migration", true, "began");
    progress.note(at(400), "approve", false, "unknown gate `dualwrite`");
    progress.note(at(600), "approve", true, "`dual-write` approved by alice");
    progress
}

fn copying() -> (Progress, Vec<PendingActivity>) {
    let mut progress = progress();
    progress.copy.expected = 1_234_567;
    let copied = Copied {
        scanned: 400_000,
        written: 399_000,
        withdrawn: 3,
        bytes: 512_345_678,
        millis: 80_000,
        ..Copied::default()
    };
    progress.copy.copied = copied;
    progress.records_per_second = Some(5_000);
    let slice = |number, scanned| Slice {
        number,
        cursor: Some(format!("32049b68-7872-4094-8e63-d0dd59896a83/{number}8")),
        until: (number < 4).then(|| format!("32049b68-7872-4094-8e63-d0dd59896a83/{}0", number + 1)),
        middle: None,
        scanned,
        millis: 10_000,
        under_way: number != 3,
        records_per_second: None,
        source_records_per_second: None,
    };
    progress.copy.slices = Slices {
        total: 16,
        done: 2,
        begun: 4,
        open: vec![slice(3, 60_000), slice(4, 9_000)],
    };
    let activity = PendingActivity {
        name: activity::COPY_RECORDS.to_owned(),
        attempt: 2,
        started: Some(at(752)),
        host: None,
        next_attempt: None,
        heartbeat: Some(Heartbeat {
            scanned: 50_000,
            doing: "copying".to_owned(),
            limit: Some(Limit {
                records_per_second: Some(1_200),
                because: Some("node a: 130 of 200 writes wait".to_owned()),
            }),
            ..Heartbeat::default()
        }),
        last_failure: Some("[store-failed] the store is busy".to_owned()),
    };
    (progress, vec![activity])
}

fn verified() -> Progress {
    let mut progress = progress();
    progress.timings[3].ended = Some(at(900));
    progress.timings.push(StageTiming {
        stage: Stage::Verify,
        began: at(900),
        ended: Some(at(1_000)),
    });
    progress.stage = Stage::Cutover;
    progress.condition = Condition::AwaitingApproval { gate: Gate::Cutover };
    progress.copy.expected = 1_234_567;
    progress.copy.copied = Copied {
        scanned: 1_234_570,
        written: 1_234_000,
        done: true,
        millis: 200_000,
        ..Copied::default()
    };
    progress.verify = VerifyProgress {
        round: 2,
        compared: 1_234_580,
        drift: Drift {
            extra: 1,
            ..Drift::default()
        },
        repaired: 4,
        samples: vec!["extra 32049b68-7872-4094-8e63-d0dd59896a83/0199".to_owned()],
        ..VerifyProgress::default()
    };
    progress.accepted_drift.insert(DriftClass::Extra);
    progress
}

fn migrated() -> Progress {
    let mut progress = verified();
    progress.stage = Stage::Finish;
    progress.cutover = CutoverProgress::Soaked;
    progress.hosts[0].config = HostConfig::Promoted;
    progress.hosts[0].ordered = HostConfig::Promoted;
    progress.final_records = Some(1_234_590);
    progress.condition = Condition::Ended {
        result: Outcome::Migrated,
    };
    progress
}

#[test]
fn status_while_copying() {
    let (progress, activities) = copying();
    insta::assert_snapshot!(status(&Status::of(&progress), &activities, None, at(762)));
}

/// The copy is done, and the target's indexes are being built again.
fn rebuilding() -> (Progress, Vec<PendingActivity>) {
    let (mut progress, mut activities) = copying();
    progress.copy.copied = verified().copy.copied;
    progress.indexes.state = IndexState {
        ordered: true,
        set_aside: 71,
        building_since: Some(at(752)),
        ..IndexState::default()
    };
    progress.condition = Condition::Running {
        doing: "building the target's indexes again".to_owned(),
    };
    activities[0].name = activity::RESTORE_INDEXES.to_owned();
    activities[0].heartbeat = Some(Heartbeat {
        indexes: Some(IndexesBuilt { built: 12, total: 71 }),
        doing: "12 of 71 indexes built, now by_close_time (building index: scanning table, 45 %)".to_owned(),
        ..Heartbeat::default()
    });
    (progress, activities)
}

#[test]
fn status_while_indexes_are_built_again() {
    let (mut progress, activities) = rebuilding();
    let now = Status::of(&progress);
    assert_eq!(live::Amounts::of(&now, &activities, at(762)).built, Some((12, 71)));
    insta::assert_snapshot!(status(&now, &activities, None, at(762)));
    progress.indexes.state.restored_at = Some(at(800));
    assert_eq!(
        live::Amounts::of(&Status::of(&progress), &[], at(801)).built,
        Some((71, 71))
    );
}

/// The way back goes on without a target that is gone, and says what was left and what brings it back.
#[test]
fn report_of_a_way_back_that_left_indexes_aside() {
    let (mut progress, _) = rebuilding();
    progress.condition = Condition::Ended {
        result: Outcome::RolledBack,
    };
    let left = "71 of the target's indexes are set aside still, since they could not be built again ([store-unreachable] gone. \
                Next step: x); `crossfade indexes --store 'postgres://temporal@127.0.0.1:5432/new' --restore` brings them back";
    progress.indexes.state.left = Some(left.to_owned());
    insta::assert_snapshot!(report(&Report::of(&progress)));
}

#[test]
fn status_at_a_gate() {
    insta::assert_snapshot!(status(&Status::of(&verified()), &[], None, at(4_600)));
}

#[test]
fn status_while_waiting_for_retention() {
    let mut progress = progress();
    progress.condition = Condition::Waiting {
        reason: "the Retention Period".to_owned(),
        until: Some(at(260_000)),
        next_wake_up: Some(at(4_300)),
    };
    let namespace = |namespace: &str, retention_seconds, closed, open| NamespaceWait {
        namespace: namespace.to_owned(),
        retention_seconds,
        closed,
        open,
    };
    progress.wait = vec![
        namespace("default", 259_200, 1_200_000, 12),
        namespace("b1f (deleted)", 0, 3, 0),
    ];
    insta::assert_snapshot!(status(&Status::of(&progress), &[], None, at(700)));
}

#[test]
fn status_with_a_problem() {
    let mut progress = progress();
    let problem =
        Problem::new(Code::HostDown, "node-a did not come up within 5m; the old file is back").at("host node-a");
    progress.condition = Condition::NeedsOperator {
        problems: vec![problem],
    };
    progress.hosts[0].ordered = HostConfig::Promoted;
    insta::assert_snapshot!(status(&Status::of(&progress), &[], None, at(700)));
    progress.hosts[0].ordered = HostConfig::Dual;
    progress.back = Some(BackOrder {
        ends: Outcome::RolledBack,
        remark: Remark::default(),
    });
    let text = status(&Status::of(&progress), &[], None, at(700));
    assert!(text.contains("it is going back: `resume`"), "{text}");
}

#[test]
fn status_of_a_refused_migration() {
    let mut progress = progress();
    progress.timings.truncate(1);
    progress.timings[0].ended = None;
    progress.stage = Stage::Preflight;
    (progress.hosts, progress.dual_since, progress.audit) = (Vec::new(), None, Vec::new());
    progress.condition = Condition::Ended {
        result: Outcome::Refused,
    };
    let why = "[spec-invalid] a: unknown field `a`. Next step: correct the spec\n[same-store] target: one store";
    insta::assert_snapshot!(status(&Status::of(&progress), &[], Some(why), at(4)));
}

#[test]
fn status_at_the_end() {
    insta::assert_snapshot!(status(&Status::of(&migrated()), &[], None, at(5_000)));
}

#[test]
fn live_counts_what_the_activity_did_since_the_status() {
    let (progress, activities) = copying();
    let status = Status::of(&progress);
    let amounts = live::Amounts::of(&status, &activities, at(762));
    // 400,000 in 80 s and 50,000 in 10 s are 5,000 a second.
    assert_eq!(amounts.copied, Some((450_000, 1_234_567)));
    assert_eq!(amounts.copy_pace, "5,000 a second, 2m 36s left");
    assert_eq!(amounts.compared, None);
    insta::assert_snapshot!(live::detail_lines(&status, &activities, at(762)).join("\n"));
}

#[test]
fn live_adds_up_all_slices_under_way() {
    let (progress, mut activities) = copying();
    activities.push(activities[0].clone());
    let amounts = live::Amounts::of(&Status::of(&progress), &activities, at(762));
    // 400,000 in 80 s and 2 x 50,000 in 10 s each are 5,000 a second for each of the two.
    assert_eq!(amounts.copied, Some((500_000, 1_234_567)));
    assert_eq!(amounts.copy_pace, "10,000 a second, 1m 13s left");
}

#[test]
fn sizes_are_said_as_people_say_them() {
    for (bytes, said) in [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1_000, "1.0 kB"),
        (9_940, "9.9 kB"),
        (9_960, "10 kB"),
        (999_600, "1.0 MB"),
        (2_500_000_000_000, "2.5 TB"),
        (u64::MAX, "18447 PB"),
    ] {
        assert_eq!(words::size(bytes), said);
    }
    assert_eq!(words::percent(999, 1_000), "99 %");
    assert_eq!(words::percent(0, 0), "0 %");
}

#[test]
fn live_shows_what_is_awaited() {
    insta::assert_snapshot!(live::detail_lines(&Status::of(&verified()), &[], at(1_000)).join("\n"));
}

#[test]
fn the_whole_plan() {
    insta::assert_snapshot!(plan(&some_plan()));
}

#[test]
fn report_of_a_migrated_cluster() {
    insta::assert_snapshot!(report(&Report::of(&migrated())));
}

#[test]
fn report_while_it_goes_on() {
    insta::assert_snapshot!(report(&Report::of(&progress())));
}

#[test]
fn the_audit_log() {
    insta::assert_snapshot!(audit(&migrated().audit));
}

#[test]
fn the_page_escapes_everything_and_asks_for_nothing() {
    let mut progress = migrated();
    let evil = "<script>alert('\"&')</script>";
    progress.migration = evil.to_owned();
    progress.note(at(1), evil, true, evil);
    progress.hosts[0].name = evil.to_owned();
    if let Some(approval) = progress.approvals.get_mut(&Gate::DualWrite) {
        approval.by = Some(evil.to_owned());
        approval.note = Some(evil.to_owned());
    }
    if let Some(plan) = &mut progress.plan {
        plan.source_name = evil.to_owned();
        plan.target.description = evil.to_owned();
        plan.server_version = evil.to_owned();
    }
    let page = page(&Report::of(&progress));
    assert!(page.starts_with("<!DOCTYPE html>"));
    assert!(page.contains("&lt;script&gt;"));
    assert!(!page.contains("<script"), "nothing runs");
    for asked in ["http://", "https://", "src=", "href=", "url(", "@import"] {
        assert!(!page.contains(asked), "the page asks for nothing: {asked}");
    }
    assert!(page.contains("1,234,590"));
}

#[test]
fn an_answer_with_fields_of_a_newer_worker_still_reads() {
    let mut answer = serde_json::to_value(Status::of(&verified())).expect("JSON");
    answer["newer"] = 1.into();
    answer["hosts"][0]["newer"] = 1.into();
    let read: Status = serde_json::from_value(answer).expect("reads");
    assert_eq!(read, Status::of(&verified()));
}

#[test]
fn an_audit_log_without_entries_is_a_header() {
    let entry = AuditEntry {
        at: at(0),
        what: "pause".to_owned(),
        entry: "paused".to_owned(),
        taken: true,
    };
    assert_eq!(audit(&[]), "  WHEN  WHAT    ENTRY");
    assert_eq!(audit(&[entry]).lines().count(), 2);
}
