//! Where a migration stands: the status answer, the continue-as-new input and the resume point are this one type.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use crate::copying::CopyProgress;
use crate::{
    drift::{Drift, DriftClass},
    guard::GuardProgress,
    indexes::{IndexProgress, IndexState},
    message::{Approval, Remark, cut},
    order::{NamespaceWait, Refreshed},
    plan::Plan,
    problem::Problem,
    report::is_zero,
    settings::HostConfig,
    slices::Slices,
    spec::Spec,
    stage::{Gate, Stage},
    throttle::Throttle,
    warm::Warm,
};

/// The most audit entries that are carried on; older ones are counted, not kept.
pub const AUDIT_LIMIT: usize = 400;

/// The longest audit entry, in characters: with [`AUDIT_LIMIT`] of them the log stays far below what a payload may hold.
pub const ENTRY_LIMIT: usize = 500;

/// How a migration goes right now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Condition {
    /// Working.
    Running {
        /// On what, in words.
        doing: String,
    },
    /// Waiting for an approval.
    AwaitingApproval {
        /// The gate.
        gate: Gate,
    },
    /// Waiting for time to pass.
    Waiting {
        /// For what, in words.
        reason: String,
        /// Until when at the latest, as known now.
        until: Option<Timestamp>,
        /// When it looks again.
        next_wake_up: Option<Timestamp>,
    },
    /// Stopped by the operator.
    Paused,
    /// Stopped by a problem that needs a person; `resume` tries again.
    NeedsOperator {
        /// The problems, each with its next step.
        problems: Vec<Problem>,
    },
    /// Going back.
    RollingBack {
        /// What it does, in words.
        doing: String,
    },
    /// Over.
    Ended {
        /// How.
        result: Outcome,
    },
}

/// How a migration ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The cluster runs on the target.
    Migrated,
    /// The cluster is as it was.
    RolledBack,
    /// Given up by the operator; the cluster is as it was.
    Aborted,
    /// Failed before anything was changed.
    Refused,
}

/// Who asked for the way back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackOrder {
    /// How the run ends after it.
    pub ends: Outcome,
    /// Who and why.
    pub remark: Remark,
}

/// One host's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostState {
    /// The host.
    pub name: String,
    /// The static config it is proven to run with.
    pub config: HostConfig,
    /// The config that was last ordered; differs from `config` while a change is under way.
    pub ordered: HostConfig,
    /// How long its last restart took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_millis: Option<u64>,
}

/// How far refreshing is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RefreshProgress {
    /// All steps so far, added up; the cursor is the last one's.
    pub refreshed: Refreshed,
    /// The records that the source held when it began.
    pub expected: u64,
}

impl RefreshProgress {
    /// Adds a step.
    pub fn add(&mut self, step: &Refreshed) {
        let all = &mut self.refreshed;
        all.scanned += step.scanned;
        all.refreshed += step.refreshed;
        all.left += step.left;
        all.millis += step.millis;
        all.cursor.clone_from(&step.cursor);
        all.done = step.done;
        self.expected = self.expected.max(all.scanned);
    }

    /// Whether nothing was refreshed, nor is to be.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// How far the comparison is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct VerifyProgress {
    /// The round, from 1.
    pub round: u32,
    /// Where this round goes on, if it is one without slices.
    pub cursor: Option<String>,
    /// This round's slices.
    #[serde(default, skip_serializing_if = "Slices::is_none")]
    pub slices: Slices,
    /// Records compared in this round.
    pub compared: u64,
    /// Of these, records that were the same by digests of both stores and not read.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub by_digest: u64,
    /// Drift found in this round.
    pub drift: Drift,
    /// Records repaired in all rounds.
    pub repaired: u64,
    /// A few of the records that differed in this round.
    pub samples: Vec<String>,
    /// Whether the last whole round was clean (or its drift accepted), and when.
    pub clean_at: Option<Timestamp>,
}

/// When a stage began and ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageTiming {
    /// The stage.
    pub stage: Stage,
    /// When its work began (after its gate).
    pub began: Timestamp,
    /// When it was done.
    pub ended: Option<Timestamp>,
}

/// Something that somebody said, or that the migration decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// What: a signal's or update's name, or `migration`.
    pub what: String,
    /// In words, with who.
    pub entry: String,
    /// Whether it was taken.
    pub taken: bool,
}

/// Where a migration stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The workflow id.
    pub migration: String,
    /// What tells this migration from any other; see [`key_of`].
    pub key: String,
    /// What was asked.
    pub spec: Spec,
    /// When the migration began (its first run).
    pub began: Timestamp,
    /// How many runs it had, continue-as-new included.
    pub runs: u32,
    /// History events of the earlier runs.
    #[serde(default)]
    pub earlier_events: u64,
    /// The stage.
    pub stage: Stage,
    /// How it goes.
    pub condition: Condition,
    /// Paused by whom.
    pub paused: Option<Remark>,
    /// Approvals given, also ahead of time.
    pub approvals: BTreeMap<Gate, Approval>,
    /// Gates that were waited at and opened.
    pub opened: BTreeSet<Gate>,
    /// The way back was asked for.
    pub back: Option<BackOrder>,
    /// `resume` was said while a problem needed the operator: try again.
    #[serde(default)]
    pub try_again: bool,
    /// The workflow's cancellation was noticed; it counts once.
    #[serde(default)]
    pub cancel_seen: bool,
    /// The wait was ended by the operator.
    pub skip_wait: bool,
    /// The most records a second.
    pub records_per_second: Option<u32>,
    /// How it keeps out of the cluster's way.
    #[serde(default, skip_serializing_if = "Throttle::is_default")]
    pub throttle: Throttle,
    /// What preflight found.
    pub plan: Option<Plan>,
    /// Each host's state.
    pub hosts: Vec<HostState>,
    /// Whether dynamic config files may have been changed.
    pub dynamic_config_touched: bool,
    /// When both stores were proven to be written on every shard.
    pub dual_since: Option<Timestamp>,
    /// Where the source's records are cut into slices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cuts: Vec<String>,
    /// Whether the target takes the server's writes.
    #[serde(default, skip_serializing_if = "GuardProgress::is_none")]
    pub guard: GuardProgress,
    /// Refreshing.
    #[serde(default, skip_serializing_if = "RefreshProgress::is_none")]
    pub refresh: RefreshProgress,
    /// The copy.
    pub copy: CopyProgress,
    /// The target's indexes, set aside while records are copied.
    #[serde(default, skip_serializing_if = "IndexProgress::is_none")]
    pub indexes: IndexProgress,
    /// What the Retention wait still waits for.
    pub wait: Vec<NamespaceWait>,
    /// Whether the Retention wait is over.
    pub wait_over: bool,
    /// The comparison.
    pub verify: VerifyProgress,
    /// Drift that the operator accepted, with what it was.
    pub accepted_drift: BTreeSet<DriftClass>,
    /// Steps of the cutover that are done.
    pub cutover: CutoverProgress,
    /// When the soak under way is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soak_until: Option<Timestamp>,
    /// The time in which the source stays written after promote.
    #[serde(default, skip_serializing_if = "Warm::is_none")]
    pub warm: Warm,
    /// The final check.
    pub final_records: Option<u64>,
    /// Why the final check could not be made, where an operator went on without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unchecked: Option<String>,
    /// When each stage began and ended.
    pub timings: Vec<StageTiming>,
    /// Who did what when; the newest last.
    pub audit: Vec<AuditEntry>,
    /// Older audit entries that are no longer kept.
    #[serde(default)]
    pub audit_dropped: u64,
}

/// Steps of the cutover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CutoverProgress {
    /// Reads come from the source.
    #[default]
    NotBegun,
    /// The first Namespaces read the target, proven.
    FirstNamespaces,
    /// Their soak is over.
    FirstSoaked,
    /// Every Namespace reads the target, proven.
    Everyone,
    /// The soak is over.
    Soaked,
}

/// What tells a migration from any other: its workflow id, as far as it fits into a file name, and the beginning of
/// its first run's id, since a workflow id may be used again.
pub fn key_of(workflow_id: &str, first_run_id: &str) -> String {
    const LONGEST: usize = 64;
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let id: String = workflow_id
        .chars()
        .map(|c| if fits(c) { c } else { '-' })
        .take(LONGEST)
        .collect();
    let run: String = first_run_id.chars().filter(char::is_ascii_hexdigit).take(8).collect();
    format!("{id}.{run}").trim_start_matches('.').to_owned()
}

impl Progress {
    /// A migration that has just begun.
    pub fn new(migration: String, key: String, spec: Spec, now: Timestamp) -> Self {
        Self {
            migration,
            key,
            records_per_second: spec.records_per_second,
            throttle: Throttle::of(&spec.throttle),
            spec,
            began: now,
            runs: 1,
            earlier_events: 0,
            stage: Stage::Preflight,
            condition: Condition::Running {
                doing: "starting".to_owned(),
            },
            paused: None,
            approvals: BTreeMap::new(),
            opened: BTreeSet::new(),
            back: None,
            try_again: false,
            cancel_seen: false,
            skip_wait: false,
            plan: None,
            hosts: Vec::new(),
            dynamic_config_touched: false,
            dual_since: None,
            cuts: Vec::new(),
            guard: GuardProgress::default(),
            refresh: RefreshProgress::default(),
            copy: CopyProgress::default(),
            indexes: IndexProgress::default(),
            wait: Vec::new(),
            wait_over: false,
            verify: VerifyProgress::default(),
            accepted_drift: BTreeSet::new(),
            cutover: CutoverProgress::default(),
            soak_until: None,
            warm: Warm::default(),
            final_records: None,
            unchecked: None,
            timings: Vec::new(),
            audit: Vec::new(),
            audit_dropped: 0,
        }
    }

    /// Adds to the audit log, which stays bounded.
    pub fn note(&mut self, at: Timestamp, what: &str, taken: bool, entry: impl Into<String>) {
        self.audit.push(AuditEntry {
            at,
            what: what.to_owned(),
            entry: cut(entry.into(), ENTRY_LIMIT),
            taken,
        });
        if self.audit.len() > AUDIT_LIMIT {
            self.audit.remove(0);
            self.audit_dropped += 1;
        }
    }

    /// Whether the run is over.
    pub fn has_ended(&self) -> bool {
        matches!(self.condition, Condition::Ended { .. })
    }

    /// Whether the way back is still open: not ended, no host was ordered to be promoted, and a source that was kept written
    /// is not left.
    pub fn can_roll_back(&self) -> bool {
        !self.has_ended() && !self.warm.over && !self.hosts.iter().any(|host| host.ordered == HostConfig::Promoted)
    }

    /// The exact command to type next, where one is waited for.
    pub fn awaited_command(&self) -> Option<String> {
        let signal = |name: &str, input: String| format!("tctl workflow signal -w {} -n {name}{input}", self.migration);
        match &self.condition {
            Condition::AwaitingApproval { gate } => Some(signal("approve", format!(" -i '\"{gate}\"'"))),
            Condition::Paused | Condition::NeedsOperator { .. } => Some(signal("resume", String::new())),
            _ => None,
        }
    }
}

/// The answer to `status`: where the migration stands, without what the other queries answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The workflow id.
    pub migration: String,
    /// The stage.
    pub stage: Stage,
    /// How it goes.
    pub condition: Condition,
    /// The exact tctl command that is waited for, if one is.
    pub awaited_command: Option<String>,
    /// When the migration began.
    pub began: Timestamp,
    /// How many runs it had, continue-as-new included.
    pub runs: u32,
    /// History events of the earlier runs.
    pub earlier_events: u64,
    /// Approvals given.
    pub approvals: BTreeMap<Gate, Approval>,
    /// The gates of this migration.
    pub gates: BTreeSet<Gate>,
    /// Each host's state.
    pub hosts: Vec<HostState>,
    /// When both stores were proven to be written.
    pub dual_since: Option<Timestamp>,
    /// Whether the target takes the server's writes.
    #[serde(default, skip_serializing_if = "GuardProgress::is_none")]
    pub guard: GuardProgress,
    /// Refreshing.
    #[serde(default, skip_serializing_if = "RefreshProgress::is_none")]
    pub refresh: RefreshProgress,
    /// The copy.
    pub copy: CopyProgress,
    /// Seconds until the copy is done, at the pace so far.
    pub copy_seconds_left: Option<u64>,
    /// Records a second that are looked at by the copy, at the pace so far.
    #[serde(default)]
    pub copy_records_per_second: Option<u64>,
    /// The target's indexes, set aside while records are copied.
    #[serde(default, skip_serializing_if = "IndexState::is_none")]
    pub indexes: IndexState,
    /// The most records a second.
    pub records_per_second: Option<u32>,
    /// How it keeps out of the cluster's way.
    #[serde(default, skip_serializing_if = "Throttle::is_default")]
    pub throttle: Throttle,
    /// What the Retention wait still waits for.
    pub wait: Vec<NamespaceWait>,
    /// The comparison.
    pub verify: VerifyProgress,
    /// Drift that the operator accepted.
    pub accepted_drift: BTreeSet<DriftClass>,
    /// Steps of the cutover that are done.
    pub cutover: CutoverProgress,
    /// The time in which the source stays written after promote.
    #[serde(default, skip_serializing_if = "Warm::is_none")]
    pub warm: Warm,
    /// When each stage began and ended.
    pub timings: Vec<StageTiming>,
    /// Whether a rollback is open now.
    pub can_roll_back: bool,
    /// Whether it is on the way back, also while that waits for a person.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub going_back: bool,
    /// Messages that were not taken, the newest last.
    pub rejected: Vec<AuditEntry>,
}

impl Status {
    /// The status of a migration.
    pub fn of(progress: &Progress) -> Self {
        Self {
            migration: progress.migration.clone(),
            stage: progress.stage,
            condition: progress.condition.clone(),
            awaited_command: progress.awaited_command(),
            began: progress.began,
            runs: progress.runs,
            earlier_events: progress.earlier_events,
            approvals: progress.approvals.clone(),
            gates: progress.spec.gates.clone(),
            hosts: progress.hosts.clone(),
            dual_since: progress.dual_since,
            guard: progress.guard.clone(),
            refresh: progress.refresh.clone(),
            copy: progress.copy.clone(),
            copy_seconds_left: progress.copy.seconds_left(),
            copy_records_per_second: progress.copy.pace(),
            indexes: progress.indexes.state.clone(),
            records_per_second: progress.records_per_second,
            throttle: progress.throttle,
            wait: progress.wait.clone(),
            verify: progress.verify.clone(),
            accepted_drift: progress.accepted_drift.clone(),
            cutover: progress.cutover,
            warm: progress.warm,
            timings: progress.timings.clone(),
            can_roll_back: progress.can_roll_back(),
            going_back: progress.back.is_some(),
            rejected: progress.audit.iter().filter(|entry| !entry.taken).cloned().collect(),
        }
    }
}
