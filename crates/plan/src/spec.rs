//! What the operator asks for: the workflow's input, as JSON or YAML of one published schema.

mod check;
mod places;
mod restart;
mod waves;

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use check::{example, schema};
pub use restart::{ComposeProject, KubernetesWorkloads, Restart};
pub use waves::RollingRestart;

use crate::{period::Period, problem::Problem, stage::Gate};

/// The spec: everything a migration needs to know from its operator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The cluster whose Visibility store moves.
    pub cluster: Cluster,
    /// The store it moves to.
    pub target: Target,
    /// The store it leaves; found in the hosts' own configuration when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// How the records written before dual writes began reach the target.
    #[serde(default)]
    pub existing_records: ExistingRecords,
    /// How records are copied.
    #[serde(default, skip_serializing_if = "Copying::is_default")]
    pub copy: Copying,
    /// The stage boundaries that wait for an `approve` signal; `[]` runs through without asking.
    #[serde(default = "default_gates")]
    pub gates: BTreeSet<Gate>,
    /// How reads move to the target.
    #[serde(default)]
    pub cutover: Cutover,
    /// How the target becomes the primary.
    #[serde(default, skip_serializing_if = "Promote::is_default")]
    pub promote: Promote,
    /// Whether the old datastore's definition stays in the files after promote.
    #[serde(default = "yes")]
    pub keep_source_datastore: bool,
    /// The most records a second that are copied or refreshed. When absent copies are unlimited, and 50 executions a
    /// second are refreshed. `set-rate` changes it at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub records_per_second: Option<u32>,
    /// How it keeps out of the cluster's way.
    #[serde(default, skip_serializing_if = "Throttle::is_default")]
    pub throttle: Throttle,
    /// How the work on all records is shared out: copying them, and comparing them.
    #[serde(default, skip_serializing_if = "Slices::is_default")]
    pub slices: Slices,
    /// How every record is compared.
    #[serde(default, skip_serializing_if = "Verify::is_default")]
    pub verify: Verify,
    /// How it is watched whether the server's writes reach the target, from dual writes to promote.
    #[serde(default, skip_serializing_if = "Guard::is_default")]
    pub guard: Guard,
}

/// How every record is compared, before reads move and before promote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    /// What is compared.
    #[serde(default)]
    pub by: VerifyBy,
}

impl Verify {
    /// Whether nothing else was asked for.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What of the records is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum VerifyBy {
    /// Every record is read from both stores and compared column by column.
    #[default]
    Records,
    /// Both stores compute digests of their records, and only records whose digests differ are read: for two Postgres
    /// servers from 14; between other stores every record is read. A digest has 64 bits, and one kind of difference may
    /// escape it: values of two search attributes of one record that were exchanged, the one a multiple of 32 names and
    /// values after the other. Digests are taken only while nothing limits how fast records are read.
    Digests,
}

/// How it is watched whether the server's writes reach the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Guard {
    /// For how long writes to the target may fail before the source alone is written. The server gives a record up after
    /// about an hour of failing (from 1.23 on), and until then holds up what it writes to the source.
    #[serde(default = "default_budget")]
    pub budget: Period,
    /// How often it is looked. Each look writes up to four canaries and asks the target whether it can be written.
    #[serde(default = "default_interval")]
    pub interval: Period,
}

impl Guard {
    /// Whether nothing else was asked for.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            budget: default_budget(),
            interval: default_interval(),
        }
    }
}

/// How a migration keeps out of the cluster's way, beside `records_per_second`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Throttle {
    /// Whether copying and comparing go slower while a store or the cluster does not keep up: Elasticsearch's queues for
    /// writes and what it turns away, PostgreSQL's latency and how late its standbys are, and `cluster_metrics`. What
    /// cannot be read counts as not keeping up. `set-rate` switches it off and on.
    #[serde(default = "yes")]
    pub automatic: bool,
    /// Where the history hosts serve their metrics, such as `http://127.0.0.1:9090/metrics`: how long the cluster's own
    /// visibility tasks take is read there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cluster_metrics: Vec<String>,
    /// The most records a second that are read from the source, by a copy and by a comparison.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub source_records_per_second: Option<u32>,
}

impl Throttle {
    /// Whether nothing else was asked for.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            automatic: true,
            cluster_metrics: Vec::new(),
            source_records_per_second: None,
        }
    }
}

/// How the work on all records is shared out: in slices, which any worker may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Slices {
    /// How many are worked on at the same time, by all workers together. More than there are processors or connections
    /// for help no more.
    #[serde(default = "default_at_once")]
    #[schemars(range(min = 1, max = 64))]
    pub at_once: u32,
    /// About how many records one has. When absent that follows from how many there are; there are never more than 256
    /// slices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub records: Option<u64>,
}

impl Slices {
    /// Whether nothing else was asked for.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Slices {
    fn default() -> Self {
        Self {
            at_once: default_at_once(),
            records: None,
        }
    }
}

/// The cluster whose Visibility store moves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// The frontend's gRPC address, `host:port`.
    #[schemars(length(min = 1))]
    pub frontend: String,
    /// TLS towards the frontend; plain text when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// The API key towards the frontend, by reference: `{"env": NAME}` or `{"file": PATH}`. Needs `tls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<SecretReference>,
    /// The Namespace in which canaries are started, and deleted again.
    #[serde(default = "default_namespace")]
    #[schemars(length(min = 1))]
    pub canary_namespace: String,
    /// The machines (or pod sets) that run the server.
    #[schemars(length(min = 1))]
    pub hosts: Vec<Host>,
    /// How many of them are restarted at the same time.
    #[serde(default, skip_serializing_if = "RollingRestart::is_default")]
    pub restart: RollingRestart,
    /// The dynamic config file on the hosts; the static config's `dynamicConfigClient.filepath` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dynamic_config: Option<String>,
}

/// TLS settings by file paths, on the machine of the worker that connects.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The authority that signed the server's certificate, PEM; the system's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// The client's certificate, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<String>,
    /// The client's key, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
    /// The name expected in the server's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

/// A secret by reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SecretReference {
    /// The value of an environment variable.
    Env(String),
    /// The first line of a file.
    File(String),
}

/// One machine (or pod set) with one server config and one way to restart it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// The host's name: its work runs on task queue `visibility-migration/host/NAME`.
    #[schemars(length(min = 1))]
    pub name: String,
    /// The static config file, an absolute path on that host; in Kubernetes `configmap/NAME/KEY` or `secret/NAME/KEY`.
    #[schemars(length(min = 1))]
    pub config: String,
    /// The services that run there.
    #[serde(default = "all_services")]
    #[schemars(length(min = 1))]
    pub services: BTreeSet<Service>,
    /// How its services are restarted.
    pub restart: Restart,
    /// The longest a restart may take until every service there is healthy again.
    #[serde(default = "default_restart_within")]
    pub restart_within: Period,
    /// The dynamic config file on this host, when it differs from `cluster.dynamic_config`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dynamic_config: Option<String>,
}

/// A Temporal service; the order is the one in which hosts are restarted safely (frontends last).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// The worker service, for the server's own workflows.
    Worker,
    /// The matching service: task queues.
    Matching,
    /// The history service: the one that writes visibility.
    History,
    /// The frontend service: the one that reads visibility for clients.
    Frontend,
    /// The internal frontend.
    InternalFrontend,
}

/// The store that the cluster moves to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The key it gets under `persistence.datastores`. Up to server 1.24 another index of the source's Elasticsearch gets
    /// none, and any name will do: it becomes an index of the source's own datastore.
    #[schemars(length(min = 1))]
    pub name: String,
    /// The server's own datastore entry, secrets by reference (`password: {env: NAME}` or `{file: PATH}`).
    pub datastore: Map<String, Value>,
    /// Whether the schema is set up when it is missing, by Temporal's own tools.
    #[serde(default)]
    pub setup_schema: bool,
}

/// The store that the cluster leaves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The server's own datastore entry as this worker reaches it, secrets by reference.
    pub datastore: Map<String, Value>,
}

/// How existing records reach the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExistingRecords {
    /// Copy or refresh what the target lacks while the cluster writes on; which of the two is decided for each Namespace.
    #[default]
    Backfill,
    /// Wait the longest Retention Period after dual writes began, and for open workflows to close.
    Wait,
    /// As `backfill`, then wait as well.
    Both,
    /// Refresh all that the target lacks from the cluster's own state, also where Archival is on (what is closed is then
    /// archived a second time); copy what has no state left.
    Refresh,
}

impl ExistingRecords {
    /// Whether records are copied or refreshed.
    pub fn backfills(self) -> bool {
        self != Self::Wait
    }

    /// Whether the Retention Period is waited for.
    pub fn waits(self) -> bool {
        matches!(self, Self::Wait | Self::Both)
    }
}

/// How records are copied.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Copying {
    /// Whether the target does without its secondary indexes (an index of Elasticsearch: without refreshes and replicas)
    /// while it is filled. They are built again before verify, and on the way back.
    #[serde(default)]
    pub defer_indexes: DeferIndexes,
}

impl Copying {
    /// Whether it says nothing.
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether the target does without its indexes while it is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DeferIndexes {
    /// Where it pays: the target is nearly empty and many records are to be copied.
    #[default]
    Auto,
    /// Its indexes stay.
    Never,
    /// Wherever it can, however few the records are.
    Always,
}

/// How reads move to the target.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cutover {
    /// Namespaces whose reads move first; the rest follow after the soak.
    #[serde(default)]
    pub namespaces_first: Vec<String>,
    /// How long reads stay on the target, watched, before the next step (after the first Namespaces, and before promote).
    #[serde(default)]
    pub soak: Period,
    /// Asks for the server's shadow reads. This release leaves them off and says so in the plan: the server throws
    /// their results away (visibility_manager_dual.go, 1.25 to 1.32), so they prove nothing about the target.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shadow_reads: bool,
}

/// How the target becomes the primary.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Promote {
    /// How long the source stays written beside the target after the roles were swapped, so that going back needs no copy;
    /// the signal `finish` ends it sooner. When absent the source is left at once. Only for pairs that the server accepts
    /// the other way round, too: SQL with SQL, Elasticsearch with Elasticsearch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_warm: Option<Period>,
}

impl Promote {
    /// Whether it says nothing.
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Spec {
    /// Reads a spec and reports every mistake at once, each with its field.
    ///
    /// # Errors
    /// All problems found: unknown and missing fields, wrong types, literal secrets, values that do not fit together.
    pub fn from_json(value: &Value) -> Result<Self, Vec<Problem>> {
        check::parse(value)
    }

    /// Stands in for an input that could not be read, so that a refused run still answers its queries.
    pub fn unread() -> Self {
        Self {
            cluster: Cluster {
                frontend: String::new(),
                tls: None,
                api_key: None,
                canary_namespace: default_namespace(),
                hosts: Vec::new(),
                restart: RollingRestart::default(),
                dynamic_config: None,
            },
            target: Target {
                name: String::new(),
                datastore: Map::new(),
                setup_schema: false,
            },
            source: None,
            existing_records: ExistingRecords::default(),
            copy: Copying::default(),
            gates: BTreeSet::new(),
            cutover: Cutover::default(),
            promote: Promote::default(),
            keep_source_datastore: true,
            records_per_second: None,
            throttle: Throttle::default(),
            slices: Slices::default(),
            verify: Verify::default(),
            guard: Guard::default(),
        }
    }

    /// The dynamic config path that the spec names for `host`, if any.
    pub fn dynamic_config_of<'a>(&'a self, host: &'a Host) -> Option<&'a str> {
        host.dynamic_config
            .as_deref()
            .or(self.cluster.dynamic_config.as_deref())
    }

    /// The hosts in the order in which they are restarted: those that serve clients last.
    pub fn hosts_in_order(&self) -> Vec<&Host> {
        let mut hosts: Vec<&Host> = self.cluster.hosts.iter().collect();
        hosts.sort_by_key(|host| host.services.iter().next_back().copied());
        hosts
    }
}

fn default_gates() -> BTreeSet<Gate> {
    BTreeSet::from([Gate::DualWrite, Gate::Cutover, Gate::Promote])
}

fn default_namespace() -> String {
    "default".to_owned()
}

/// Long enough for a store's restart or failover, and a twelfth of what the server takes to give a record up.
const fn default_budget() -> Period {
    Period::from_secs(300)
}

/// Twenty looks within the budget, and a few canaries a minute.
const fn default_interval() -> Period {
    Period::from_secs(15)
}

/// Beside its stores a copy gains little beyond two, and four cost it nothing to speak of: with 1, 2, 4 and 8 at once 20,000
/// records took 1.0, 1.0, 1.1 and 1.0 s into a Postgres without secondary indexes, and 4.5, 3.0, 3.7 and 3.1 s into
/// Elasticsearch (two processors for everything, which others shared: differences of a fifth mean nothing). Where stores are
/// far, each more at once waits while the others do: 1, 2 and 4 took 50.8, 28.2 and 18.0 s for 100,000 records, 200 ms there
/// and back. Beyond four there is memory to pay, 61 MB and 91 MB for eight after 47 MB and 71 MB, and connections of the
/// stores. `cargo xtask bench slices` and `scale` measure it anew.
const fn default_at_once() -> u32 {
    4
}

fn default_restart_within() -> Period {
    Period::from_secs(300)
}

fn all_services() -> BTreeSet<Service> {
    BTreeSet::from([Service::Frontend, Service::History, Service::Matching, Service::Worker])
}

const fn yes() -> bool {
    true
}
