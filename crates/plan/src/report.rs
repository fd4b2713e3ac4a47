//! The report: what was done, when, by whose approval, and the proof at the end.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    drift::{Drift, DriftClass},
    guard::Gap,
    message::Approval,
    progress::{AuditEntry, Condition, HostState, Outcome, Progress, StageTiming},
};

/// What was done, when, by whose approval, and the proof at the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The workflow id.
    pub migration: String,
    /// How it ended; `None` while it goes on.
    pub result: Option<Outcome>,
    /// When it began.
    pub began: Timestamp,
    /// The server's version.
    pub server_version: Option<String>,
    /// The source: its name and description.
    pub source: Option<String>,
    /// The target: its name and description.
    pub target: Option<String>,
    /// When both stores were proven to be written.
    pub dual_since: Option<Timestamp>,
    /// Times in which the target was not written, the newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<Gap>,
    /// Executions whose records the server wrote anew from its own state.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refreshed: u64,
    /// Records that the copy wrote.
    pub copied: u64,
    /// Their content in bytes, about; 0 where it was not counted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub copied_bytes: u64,
    /// What became of the target's indexes, in words, where they were set aside meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indexes: Option<String>,
    /// Records of the last whole comparison.
    pub compared: u64,
    /// Of these, records that were the same by digests of both stores and not read.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub by_digest: u64,
    /// Its drift.
    pub drift: Drift,
    /// Records repaired.
    pub repaired: u64,
    /// Drift that the operator accepted.
    pub accepted_drift: BTreeSet<DriftClass>,
    /// Why the last check against the source could not be made, where an operator went on without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unchecked: Option<String>,
    /// Records in the target at the end.
    pub records: Option<u64>,
    /// Gates that were waited at and approved.
    pub gates_approved: u32,
    /// The approvals.
    pub approvals: Vec<Approval>,
    /// When each stage began and ended.
    pub stages: Vec<StageTiming>,
    /// Each host's state.
    pub hosts: Vec<HostState>,
    /// What can be done now.
    pub next_steps: Vec<String>,
    /// The audit log.
    pub audit: Vec<AuditEntry>,
}

/// Whether a number that counts something need not be written down.
pub(crate) const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Report {
    /// The report of a migration as it stands.
    pub fn of(progress: &Progress) -> Self {
        let result = match &progress.condition {
            Condition::Ended { result } => Some(*result),
            _ => None,
        };
        let plan = progress.plan.as_ref();
        Self {
            migration: progress.migration.clone(),
            result,
            began: progress.began,
            server_version: plan.map(|plan| plan.server_version.clone()),
            source: plan.map(|plan| format!("{} ({})", plan.source_name, plan.source.description)),
            target: plan.map(|plan| format!("{} ({})", plan.target_name, plan.target.description)),
            dual_since: progress.dual_since,
            gaps: progress.guard.gaps.iter().chain(&progress.guard.gap).cloned().collect(),
            refreshed: progress.refresh.refreshed.refreshed,
            copied: progress.copy.copied.written,
            copied_bytes: progress.copy.copied.bytes,
            indexes: progress.indexes.state.words(),
            compared: progress.verify.compared,
            by_digest: progress.verify.by_digest,
            drift: progress.verify.drift,
            repaired: progress.verify.repaired,
            accepted_drift: progress.accepted_drift.clone(),
            unchecked: progress.unchecked.clone(),
            records: progress.final_records,
            gates_approved: u32::try_from(progress.opened.len()).unwrap_or(u32::MAX),
            approvals: progress.approvals.values().cloned().collect(),
            stages: progress.timings.clone(),
            hosts: progress.hosts.clone(),
            next_steps: next_steps(progress, result),
            audit: progress.audit.clone(),
        }
    }
}

fn next_steps(progress: &Progress, result: Option<Outcome>) -> Vec<String> {
    let indices = progress.plan.as_ref().and_then(|plan| plan.indices.as_ref());
    let source = match (indices, &progress.plan) {
        (Some(indices), _) => indices.source.as_str(),
        (None, Some(plan)) => plan.source_name.as_str(),
        (None, None) => "the source",
    };
    match result {
        Some(Outcome::Migrated) => {
            let mut steps = vec![format!(
                "`{source}` is no longer read or written: take a last backup, then decommission it when you are ready"
            )];
            // Of two indices in one datastore, the datastore is the target's.
            if progress.spec.keep_source_datastore && indices.is_none() {
                steps.push(format!(
                    "remove `{source}` from `persistence.datastores` on every host at the next edit"
                ));
            }
            steps.push("delete the kept copies in the `.crossfade` folders beside the edited files".to_owned());
            steps
        }
        Some(Outcome::RolledBack | Outcome::Aborted) => {
            let mut steps = vec![format!(
                "the cluster runs on `{source}` as before; the target's records can be dropped"
            )];
            steps.extend(progress.indexes.state.left.clone());
            steps.push("start again with the same spec and another workflow id when you are ready".to_owned());
            steps
        }
        Some(Outcome::Refused) | None => progress.awaited_command().into_iter().collect(),
    }
}
