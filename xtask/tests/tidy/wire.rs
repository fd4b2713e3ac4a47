//! The names on the wire.

use crossfade_plan::message;
use crossfade_workflow::names;

use crate::tree::document;

/// Running workflows and recorded histories depend on these: a name here is never changed, only added.
#[test]
fn names_on_the_wire_stay() {
    let activities = [
        (names::activity::TAKE_LOCK, "take-lock"),
        (names::activity::RELEASE_LOCK, "release-lock"),
        (names::activity::INSPECT_CLUSTER, "inspect-cluster"),
        (names::activity::INSPECT_HOST, "inspect-host"),
        (names::activity::INSPECT_STORES, "inspect-stores"),
        (names::activity::PREPARE_TARGET, "prepare-target"),
        (names::activity::CONFIGURE_HOST, "configure-host"),
        (names::activity::SET_DYNAMIC_CONFIG, "set-dynamic-config"),
        (names::activity::PROVE_WRITES, "prove-writes"),
        (names::activity::REGISTER_ATTRIBUTES, "register-attributes"),
        (names::activity::REFRESH_RECORDS, "refresh-records"),
        (names::activity::PARK_INDEXES, "park-indexes"),
        (names::activity::RESTORE_INDEXES, "restore-indexes"),
        (names::activity::COPY_RECORDS, "copy-records"),
        (names::activity::READ_WAIT, "read-wait"),
        (names::activity::COMPARE_RECORDS, "compare-records"),
        (names::activity::WATCH_WRITES, "watch-writes"),
        (names::activity::COUNT_DEAD_LETTERS, "count-dead-letters"),
        (names::activity::PROVE_READS, "prove-reads"),
        (names::activity::FINAL_CHECK, "final-check"),
    ];
    let others = [
        (names::WORKFLOW_TYPE, "VisibilityMigration"),
        (names::TASK_QUEUE, "visibility-migration"),
        (names::failure::INVALID_INPUT, "InvalidInput"),
        (names::failure::REFUSED, "Refused"),
        (names::failure::ABORTED, "Aborted"),
        (names::patch::FAILING_ORDERS_END, "failing-orders-end-on-the-way-back"),
        (names::patch::WATCHED_WHILE_WARM, "watched-while-warm"),
    ];
    for (name, pinned) in activities.iter().chain(&others) {
        assert_eq!(name, pinned);
    }
    assert_eq!(names::host_task_queue("node-a"), "visibility-migration/host/node-a");
    assert_eq!(names::query::ALL, ["status", "plan", "audit", "report"]);
    assert_eq!(
        message::names::ALL,
        [
            "approve",
            "pause",
            "resume",
            "skip-wait",
            "rollback",
            "abort",
            "finish",
            "set-rate"
        ]
    );
    // Every constant that is declared is in one of the lists above; the list of queries is itself one.
    let declared = document("crates/workflow/src/names.rs").matches("pub const ").count();
    let pinned = activities.len() + others.len() + names::query::ALL.len() + 1;
    assert_eq!(declared, pinned, "a new name on the wire belongs into this test");
}
