//! What the workflow orders and what it is answered: each activity's input and output.
//!
//! None of these carries a record, a memo, a search attribute's value or a secret: keys, counts and
//! names only. Every field that is added later must have a default, so that histories still read.

mod records;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use crate::heartbeat::{Heartbeat, Limit};
use crate::{
    attributes::Attributes,
    dead_letters::DeadLetters,
    indexes::IndexFact,
    plan::FilePlan,
    route::{Indices, Place},
    settings::{DynamicConfig, HostConfig},
    spec::{Host, Spec},
};

pub use records::{CompareRecords, Compared, Copied, CopyRecords, RefreshRecords, Refreshed};

/// What every order needs to know: which migration, and what was asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Context {
    /// The workflow id of the migration.
    pub migration: String,
    /// What tells this migration from any other, also from an earlier one with the same workflow id; fit to be
    /// part of a file name.
    pub key: String,
    /// The Namespace that the migration's workflow runs in.
    pub control_namespace: String,
    /// The name of the source datastore, once preflight has found it.
    pub source: Option<String>,
    /// The indices of the source's datastore, where the second store is told to the server as one of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indices: Option<Indices>,
    /// The spec.
    pub spec: Spec,
}

/// What the cluster says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterFacts {
    /// The server's version, such as `1.30.8`.
    pub version: String,
    /// The cluster's name.
    pub name: String,
    /// The number of history shards.
    pub shards: u32,
    /// The plugin names of the stores in use: primary, then secondary if there is one.
    pub visibility_stores: Vec<String>,
    /// Every Namespace, temporal-system too.
    pub namespaces: Vec<NamespaceFacts>,
    /// The custom search attributes that are registered; `None` from a worker that did not ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Attributes>,
    /// The dead-letter queue of visibility tasks; `None` from a worker that did not ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<DeadLetters>,
}

/// One Namespace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NamespaceFacts {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// How long closed executions are kept, in seconds; 0 is for ever.
    pub retention_seconds: u64,
    /// Whether histories are archived when the Retention Period ends.
    pub history_archival: bool,
    /// Whether visibility records are archived when the Retention Period ends.
    pub visibility_archival: bool,
    /// Custom search attributes.
    pub custom_search_attributes: u32,
}

/// What a host's files say. The diffs have their secrets masked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostFacts {
    /// The host's name.
    pub name: String,
    /// `persistence.visibilityStore`: the source.
    pub source: String,
    /// The kind of the source (`sql`, `elasticsearch`, `cassandra`).
    pub source_kind: String,
    /// Its plugin (`postgres12`, `sqlite`), for SQL.
    pub source_plugin: Option<String>,
    /// Where the target is, seen from the source; counts for two Elasticsearch stores only.
    #[serde(default)]
    pub place: Place,
    /// The indices of the source's datastore, where the planned edits tell the server of its second store as one of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indices: Option<Indices>,
    /// A fingerprint of the source's entry without its secrets, equal on hosts that use the same store.
    pub source_fingerprint: String,
    /// The dynamic config file.
    pub dynamic_config: String,
    /// How often the server reads the dynamic config file, in seconds.
    pub poll_seconds: u64,
    /// Every edit that is planned for this host's files, in order.
    pub files: Vec<FilePlan>,
    /// Whether `history.visibilityProcessorEnableCloseWorkflowCleanup` stands in the dynamic config file, whatever its
    /// value: what was cleaned up while it was on stays so.
    #[serde(default)]
    pub close_cleanup: bool,
    /// What is meant to be the same on every host, part by part, as short fingerprints without secrets; none from a worker of
    /// an earlier release.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<String, String>,
    /// Things an operator should know about these files.
    pub warnings: Vec<String>,
}

/// What both stores say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoreFacts {
    /// The source.
    pub source: StoreFact,
    /// The target.
    pub target: StoreFact,
    /// The source's records by Namespace, leftovers of deleted Namespaces too.
    pub namespaces: Vec<NamespaceRecords>,
    /// Where the source's records are cut into slices; nowhere by a worker that knows of none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cuts: Vec<String>,
    /// What the target cannot hold as the source has it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unfit: Vec<Unfit>,
    /// Things an operator should know about these stores.
    pub warnings: Vec<String>,
}

/// One thing that the target cannot hold as the source has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unfit {
    /// What, in words: the column and the bound.
    pub what: String,
    /// In how many records.
    pub records: u64,
    /// How many records were looked at.
    pub of: u64,
    /// Whether such a record cannot be written at all (else it is written with less detail).
    pub refused: bool,
    /// The key of one of them.
    pub example: String,
}

/// What one store says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoreFact {
    /// The store in words, without secrets.
    pub description: String,
    /// Its plugin or kind.
    pub plugin: String,
    /// The version of its visibility schema; `None` when it has none yet.
    pub schema_version: Option<String>,
    /// How many records it holds.
    pub records: u64,
    /// Its indexes, where they can be set aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indexes: Option<IndexFact>,
}

/// How many records of one Namespace a store holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceRecords {
    /// The Namespace's id.
    pub namespace_id: String,
    /// Running executions.
    pub open: u64,
    /// Closed executions.
    pub closed: u64,
}

/// Order: set the target's schema up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PrepareTarget {
    /// The migration.
    pub context: Context,
    /// The server's version, which decides the schema version needed.
    pub server_version: String,
}

/// The target is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetReady {
    /// The store in words, without secrets; `None` leaves it as the plan has it.
    pub description: Option<String>,
    /// The version of its visibility schema.
    pub schema_version: Option<String>,
    /// What was done, in words.
    pub done: String,
}

/// Order for one host: look at the files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InspectHost {
    /// The migration.
    pub context: Context,
    /// The host.
    pub host: Host,
}

/// Order for one host: have this static config, restarted and healthy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfigureHost {
    /// The migration.
    pub context: Context,
    /// The host.
    pub host: Host,
    /// The state to reach.
    pub to: HostConfig,
    /// Whether this is a step of the way back: then nothing is put back when it fails, it is tried again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub back: bool,
    /// The hosts that go down at the same time: they are not waited for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub together_with: Vec<String>,
}

/// A host has its config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostConfigured {
    /// Whether the file was changed by this order (else it was so already).
    pub edited: bool,
    /// Whether the services were restarted by this order.
    pub restarted: bool,
    /// How long the restart took until everything was healthy, in milliseconds.
    pub restart_millis: u64,
}

/// Order for one host: have these keys in the dynamic config file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetDynamicConfig {
    /// The migration.
    pub context: Context,
    /// The host.
    pub host: Host,
    /// The state to reach.
    pub to: DynamicConfig,
    /// The search attributes as preflight found them, given where reads move: a change is a problem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Attributes>,
}

/// A host's dynamic config file is as ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DynamicConfigSet {
    /// The file.
    pub path: String,
    /// Whether it was changed by this order.
    pub edited: bool,
    /// How often the server reads it, in seconds.
    pub poll_seconds: u64,
}

/// Order: prove by canaries on every history shard where the server writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProveWrites {
    /// The migration.
    pub context: Context,
    /// Tells this proof's canaries from those of other proofs.
    pub proof: String,
    /// The number of history shards.
    pub shards: u32,
    /// Whether canaries must be in the source.
    pub source: bool,
    /// Whether canaries must be in the target.
    pub target: bool,
    /// The search attributes as preflight found them; a change is a problem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Attributes>,
}

/// Canaries were seen where they should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WritesProven {
    /// How many canaries were seen, one for each shard.
    pub canaries: u32,
    /// When the last of them had been seen.
    pub at: Timestamp,
}

/// Order: have the server know the source's custom search attributes for the target, too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegisterAttributes {
    /// The migration.
    pub context: Context,
    /// The search attributes as preflight found them; a change is a problem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Attributes>,
}

/// The server knows them, read back.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AttributesRegistered {
    /// How many the target's index has now, of those that the source's has.
    pub agreed: u32,
    /// The names that were registered by this order.
    pub added: Vec<String>,
    /// How many names, over all Namespaces, the target itself moves into their columns from now on; absent where records
    /// come with the right names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renamed: Option<u32>,
}

/// Order: say what the Retention wait still waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadWait {
    /// The migration.
    pub context: Context,
    /// When dual writes began.
    pub dual_since: Timestamp,
}

/// What the Retention wait still waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitFacts {
    /// When the answer was read.
    pub at: Timestamp,
    /// Each Namespace that still has records from before dual writes.
    pub namespaces: Vec<NamespaceWait>,
}

/// What is waited for in one Namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceWait {
    /// The Namespace's name, or its id when it is deleted.
    pub namespace: String,
    /// Its Retention Period now, in seconds; 0 is for ever.
    pub retention_seconds: u64,
    /// Records closed before `dual_since` that are still there.
    pub closed: u64,
    /// Executions started before `dual_since` that still run.
    pub open: u64,
}

/// Which store a proof of reads expects the answers from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answers {
    /// The source.
    Source,
    /// The target.
    Target,
}

/// Order: prove through the frontend which store answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProveReads {
    /// The migration.
    pub context: Context,
    /// The Namespaces to ask; every registered one when absent.
    pub namespaces: Option<BTreeSet<String>>,
    /// The store that must answer.
    pub from: Answers,
}

/// The right store answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadsProven {
    /// The Namespaces asked.
    pub namespaces: u32,
    /// The records that the frontend counted in them, equal to the store's own count.
    pub counted: u64,
}

/// Order: after promote, check that the target has everything that the source had.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FinalCheck {
    /// The migration.
    pub context: Context,
}

/// The final check's result.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FinallyChecked {
    /// Records in the target.
    pub records: u64,
    /// Records of the source that the target lacks though the execution still exists.
    pub missing: u64,
    /// Records of the source whose execution was deleted after promote.
    pub deleted_since: u64,
}
