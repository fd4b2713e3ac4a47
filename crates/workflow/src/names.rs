//! Every name on the wire, pinned: running workflows and recorded histories depend on them.

/// The workflow type.
pub const WORKFLOW_TYPE: &str = "VisibilityMigration";
/// The task queue of the workflow and of every activity that is not bound to a host.
pub const TASK_QUEUE: &str = "visibility-migration";

/// The task queue of the work bound to one host.
pub fn host_task_queue(host: &str) -> String {
    format!("{TASK_QUEUE}/host/{host}")
}

/// Signals and updates: the same names, the same inputs.
pub use crossfade_plan::message::names as message;

/// Queries.
pub mod query {
    /// Where the migration stands (`plan::progress::Progress`, without plan and audit log).
    pub const STATUS: &str = "status";
    /// What preflight found and what will be done (`plan::plan::Plan`).
    pub const PLAN: &str = "plan";
    /// Who did what when (`plan::progress::AuditEntry`, a list).
    pub const AUDIT: &str = "audit";
    /// The report (`plan::report::Report`).
    pub const REPORT: &str = "report";

    /// All of them.
    pub const ALL: [&str; 4] = [STATUS, PLAN, AUDIT, REPORT];
}

/// Activities.
pub mod activity {
    /// Take the cluster's migration lock.
    pub const TAKE_LOCK: &str = "take-lock";
    /// Give the lock back.
    pub const RELEASE_LOCK: &str = "release-lock";
    /// Ask the cluster about itself.
    pub const INSPECT_CLUSTER: &str = "inspect-cluster";
    /// Look at a host's files.
    pub const INSPECT_HOST: &str = "inspect-host";
    /// Look at both stores.
    pub const INSPECT_STORES: &str = "inspect-stores";
    /// Set the target's schema up.
    pub const PREPARE_TARGET: &str = "prepare-target";
    /// Edit a host's static config, restart, prove it healthy.
    pub const CONFIGURE_HOST: &str = "configure-host";
    /// Edit a host's dynamic config.
    pub const SET_DYNAMIC_CONFIG: &str = "set-dynamic-config";
    /// Prove where the server writes.
    pub const PROVE_WRITES: &str = "prove-writes";
    /// Have the server know the source's search attributes for the target.
    pub const REGISTER_ATTRIBUTES: &str = "register-attributes";
    /// Watch whether the server's writes reach the target.
    pub const WATCH_WRITES: &str = "watch-writes";
    /// Count what lies in the dead-letter queue.
    pub const COUNT_DEAD_LETTERS: &str = "count-dead-letters";
    /// Have the server write anew what the target lacks.
    pub const REFRESH_RECORDS: &str = "refresh-records";
    /// Set the target's indexes aside.
    pub const PARK_INDEXES: &str = "park-indexes";
    /// Build again what is set aside.
    pub const RESTORE_INDEXES: &str = "restore-indexes";
    /// Copy what the target lacks.
    pub const COPY_RECORDS: &str = "copy-records";
    /// Say what the Retention wait still waits for.
    pub const READ_WAIT: &str = "read-wait";
    /// Compare every record, repair what differs.
    pub const COMPARE_RECORDS: &str = "compare-records";
    /// Prove where the frontend reads.
    pub const PROVE_READS: &str = "prove-reads";
    /// Check the target after promote.
    pub const FINAL_CHECK: &str = "final-check";
}

/// Failure types of the workflow itself; activities fail with `plan::problem::Code` names.
pub mod failure {
    /// The input is not a spec.
    pub const INVALID_INPUT: &str = "InvalidInput";
    /// Preflight found something that stands in the way; nothing was changed.
    pub const REFUSED: &str = "Refused";
    /// The operator gave the migration up; the cluster is as it was.
    pub const ABORTED: &str = "Aborted";
}

/// What later releases do otherwise, marked in a history from the moment on at which they do it. A run without the mark goes
/// on as it began.
pub mod patch {
    /// An order that fails is not tried again once the way back is ordered.
    pub const FAILING_ORDERS_END: &str = "failing-orders-end-on-the-way-back";
    /// Both stores are watched while the source is kept written after promote.
    pub const WATCHED_WHILE_WARM: &str = "watched-while-warm";
}
