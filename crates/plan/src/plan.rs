//! The plan: what preflight found, and exactly what will be done.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    attribute_work::AttributeWork,
    attributes::Attributes,
    dead_letters::DeadLetters,
    estimate::Estimate,
    existing::{self, Existing},
    indexes::{self, Deferral},
    likeness,
    order::{ClusterFacts, HostFacts, StoreFact, StoreFacts, Unfit},
    period::Period,
    problem::{Code, Problem},
    route::{self, Form, Indices, Kind, Pair, Route, Version, Way},
    spec::{ExistingRecords, Service, Spec},
    stage::Stage,
    steps::{Names, steps},
};

/// One planned edit of one file, as an exact unified diff with secrets masked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilePlan {
    /// The stage that makes the edit.
    pub stage: Stage,
    /// The file.
    pub path: String,
    /// The unified diff against the file as the step before leaves it; empty when nothing changes.
    pub diff: String,
}

/// What will be done on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPlan {
    /// The host.
    pub name: String,
    /// The edits of its files, in order.
    pub files: Vec<FilePlan>,
}

/// What preflight knows of one Namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespacePlan {
    /// Its name, or its id when it is deleted and only its records are left.
    pub name: String,
    /// Its id; empty in plans of older workers.
    #[serde(default)]
    pub id: String,
    /// Its Retention Period in seconds; 0 is for ever.
    pub retention_seconds: u64,
    /// Whether histories are archived.
    pub history_archival: bool,
    /// Whether visibility records are archived.
    pub visibility_archival: bool,
    /// Running executions in the source.
    pub open: u64,
    /// Closed executions in the source.
    pub closed: u64,
    /// How what was written before dual writes reaches the target.
    #[serde(default)]
    pub existing: Existing,
}

/// What follows the id of a Namespace of which only records are left.
const DELETED: &str = " (deleted)";

impl NamespacePlan {
    /// Whether the Namespace is deleted and only its records are left.
    pub fn is_deleted(&self) -> bool {
        self.name.ends_with(DELETED)
    }
}

/// What preflight found, and exactly what will be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The way.
    pub route: Route,
    /// How the server is told of the target.
    #[serde(default)]
    pub form: Form,
    /// The indices of the source's datastore, where one of them is the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indices: Option<Indices>,
    /// What the table of routes says of this pair on this version, a line each.
    #[serde(default)]
    pub route_notes: Vec<String>,
    /// The server's version.
    pub server_version: String,
    /// The number of history shards.
    pub shards: u32,
    /// The name of the source datastore.
    pub source_name: String,
    /// The source.
    pub source: StoreFact,
    /// The name of the target datastore; where the source's datastore is the target's, too, the index.
    pub target_name: String,
    /// The target.
    pub target: StoreFact,
    /// The hosts in the order in which they are restarted.
    pub hosts: Vec<HostPlan>,
    /// How long a dynamic config change takes to be read everywhere, in seconds.
    pub poll_seconds: u64,
    /// Every Namespace.
    pub namespaces: Vec<NamespacePlan>,
    /// The records that the source holds now.
    pub records: u64,
    /// The steps, numbered, in words.
    pub steps: Vec<String>,
    /// How long it takes, roughly.
    #[serde(default)]
    pub estimate: Estimate,
    /// The custom search attributes that were registered when the plan was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Attributes>,
    /// Whether the server has to be told the search attributes for the target once it knows it: everywhere but between
    /// SQL stores, whose columns it registers itself.
    #[serde(default)]
    pub registers_attributes: bool,
    /// What the target cannot hold as the source has it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unfit: Vec<Unfit>,
    /// What is done about the target's indexes while records are copied; absent where they stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deferral: Option<Deferral>,
    /// The dead-letter queue of visibility tasks when the plan was made; absent where a worker did not ask, and then it
    /// is in nobody's way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<DeadLetters>,
    /// From this stage on there is no rollback.
    pub point_of_no_return: Stage,
    /// What the operator should know before approving.
    pub warnings: Vec<String>,
}

/// Puts the facts together, or says everything that stands in the way.
///
/// # Errors
/// Every problem found, not only the first.
pub fn assemble(
    spec: &Spec,
    cluster: &ClusterFacts,
    hosts: &[HostFacts],
    stores: &StoreFacts,
) -> Result<Plan, Vec<Problem>> {
    let mut problems = Vec::new();
    problems.extend(hosts_disagree(hosts));
    problems.extend(likeness::problems(hosts));
    let Some(first) = hosts.first() else {
        return Err(vec![
            Problem::new(Code::SpecInvalid, "no host answered").at("cluster.hosts"),
        ]);
    };
    let way = pair_way(spec, cluster, first)
        .map_err(|problem| problems.push(problem))
        .ok();
    if cluster.visibility_stores.len() > 1 {
        problems.push(
            Problem::new(
                Code::HostsDisagree,
                format!(
                    "the cluster already has a secondary Visibility store ({})",
                    cluster.visibility_stores.join(", ")
                ),
            )
            .at("cluster.frontend")
            .remedy(
                "remove `secondaryVisibilityStore` (or `indices.secondary_visibility`) from every host, restart, and start \
                 again",
            ),
        );
    }
    problems.extend(way.iter().flat_map(|way| hosts_of_another_form(hosts, way.form)));
    problems.extend(way.as_ref().and_then(|way| cannot_keep_warm(spec, way)));
    let mut namespaces = namespaces(cluster, stores);
    if let Some(way) = &way {
        let close_cleanup = hosts.iter().any(|host| host.close_cleanup);
        let decided = existing::decide(spec, way.pair.source, way.version, close_cleanup, &mut namespaces);
        problems.extend(decided.err());
    }
    problems.extend(unlimited_retention(spec, &namespaces));
    if !namespaces
        .iter()
        .any(|namespace| namespace.name == spec.cluster.canary_namespace)
    {
        problems.push(
            Problem::new(
                Code::SpecInvalid,
                format!(
                    "Namespace `{}` for canaries does not exist on the cluster",
                    spec.cluster.canary_namespace
                ),
            )
            .at("cluster.canary_namespace")
            .remedy("name an existing Namespace in `cluster.canary_namespace`"),
        );
    }
    for (index, name) in spec.cutover.namespaces_first.iter().enumerate() {
        if !namespaces.iter().any(|namespace| namespace.name == *name) {
            problems.push(
                Problem::new(
                    Code::SpecInvalid,
                    format!("Namespace `{name}` does not exist on the cluster"),
                )
                .at(format!("cutover.namespaces_first[{index}]")),
            );
        }
    }
    let Some(way) = way.filter(|_| problems.is_empty()) else {
        return Err(problems);
    };
    let poll_seconds = hosts.iter().map(|host| host.poll_seconds).max().unwrap_or_default();
    let mut warnings: Vec<String> = hosts.iter().flat_map(|host| host.warnings.clone()).collect();
    warnings.extend(stores.warnings.iter().cloned());
    let dead_letters = cluster.dead_letters.as_ref();
    warnings.extend(dead_letters.and_then(|queue| queue.warning(&spec.cluster.frontend)));
    warnings.extend(retention_warnings(spec, &namespaces));
    warnings.extend(stores.unfit.iter().map(unfit_in_words));
    let deferral = Deferral::decide(spec, stores, !existing::refreshables(&namespaces).is_empty());
    warnings.extend(indexes::warnings(spec, stores, deferral.as_ref()));
    let attribute_work = AttributeWork::of(spec, way.pair, cluster.attributes.as_ref());
    warnings.extend(attribute_work.warning(&spec.target.name));
    warnings.extend(alone_in_their_role(spec));
    warnings.extend(spec.lowered());
    warnings.extend(likeness::warnings(hosts));
    if spec.cutover.shadow_reads {
        warnings.push(
            "cutover.shadow_reads: this release leaves the server's shadow reads off, since the server throws their \
             results away; that the target answers right is proven by a marker record and by counts"
                .to_owned(),
        );
    }
    let order = spec.waves().concat();
    Ok(Plan {
        route: way.route,
        form: way.form,
        indices: first.indices.clone(),
        route_notes: way.lines(),
        server_version: cluster.version.clone(),
        shards: cluster.shards,
        source_name: first.source.clone(),
        source: stores.source.clone(),
        target_name: first
            .indices
            .as_ref()
            .map_or_else(|| spec.target.name.clone(), |indices| indices.target.clone()),
        target: stores.target.clone(),
        hosts: order
            .iter()
            .filter_map(|host| hosts.iter().find(|facts| facts.name == host.name))
            .map(|facts| HostPlan {
                name: facts.name.clone(),
                files: facts.files.clone(),
            })
            .collect(),
        poll_seconds,
        steps: steps(
            spec,
            &Names::of(spec, first),
            poll_seconds,
            &namespaces,
            attribute_work,
            deferral.as_ref(),
        ),
        records: stores.source.records,
        estimate: Estimate::of(spec, stores.source.records, &namespaces, poll_seconds),
        namespaces,
        attributes: cluster.attributes.clone(),
        registers_attributes: attribute_work.registered,
        unfit: stores.unfit.clone(),
        deferral,
        dead_letters: cluster.dead_letters.clone(),
        point_of_no_return: Stage::Promote,
        warnings,
    })
}

fn pair_way(spec: &Spec, cluster: &ClusterFacts, host: &HostFacts) -> Result<Way, Problem> {
    let version = Version::parse(&cluster.version).ok_or_else(|| {
        Problem::new(
            Code::ServerTooOld,
            format!("`{}` is not a server version", cluster.version),
        )
        .at("cluster.frontend")
    })?;
    let source = Kind::of(&host.source_kind, host.source_plugin.as_deref()).ok_or_else(|| {
        Problem::new(
            Code::StoreUnsupported,
            format!("the source `{}` is of an unknown kind", host.source),
        )
        .at("persistence.visibilityStore")
    })?;
    route::open(Pair::new(source, target_kind(spec)?).at(host.place), version)
}

/// Roles can only be swapped where the server takes the pair the other way round.
fn cannot_keep_warm(spec: &Spec, way: &Way) -> Option<Problem> {
    let keep_warm = spec.promote.keep_warm.filter(|_| !way.can_keep_warm())?;
    Some(
        Problem::new(
            Code::PairUnsupported,
            format!(
                "the source cannot be kept written for {keep_warm} after promote: server {} does not take the pair the other \
                 way round",
                way.version
            ),
        )
        .at("promote.keep_warm")
        .remedy("leave `promote.keep_warm` out; a longer `cutover.soak` gives time with a way back before promote"),
    )
}

/// The kind of the target's entry.
///
/// # Errors
/// When its plugin is not one that any server knows.
pub fn target_kind(spec: &Spec) -> Result<Kind, Problem> {
    let entry = &spec.target.datastore;
    let section = ["sql", "elasticsearch", "cassandra"]
        .into_iter()
        .find(|section| entry.contains_key(*section));
    let plugin = entry
        .get("sql")
        .and_then(|sql| sql.get("pluginName"))
        .and_then(|name| name.as_str());
    section.and_then(|section| Kind::of(section, plugin)).ok_or_else(|| {
        Problem::new(
            Code::StoreUnsupported,
            format!(
                "plugin `{}` is not one of postgres12, postgres12_pgx, sqlite, mysql8",
                plugin.unwrap_or("(none)")
            ),
        )
        .at("target.datastore")
    })
}

fn hosts_disagree(hosts: &[HostFacts]) -> Vec<Problem> {
    let sources: BTreeSet<(&str, &str)> = hosts
        .iter()
        .map(|host| (host.source.as_str(), host.source_fingerprint.as_str()))
        .collect();
    if sources.len() < 2 {
        return Vec::new();
    }
    let seen = hosts
        .iter()
        .map(|host| format!("{}: {}", host.name, host.source))
        .collect::<Vec<_>>()
        .join(", ");
    vec![
        Problem::new(
            Code::HostsDisagree,
            format!("the hosts use different visibility stores ({seen})"),
        )
        .at("cluster.hosts"),
    ]
}

/// Hosts whose planned edits are of another form than the server takes: their workers do not know it.
fn hosts_of_another_form(hosts: &[HostFacts], form: Form) -> impl Iterator<Item = Problem> {
    hosts
        .iter()
        .filter(move |host| host.indices.is_some() != (form == Form::SecondaryIndex))
        .map(move |host| {
            Problem::new(
                Code::HostsDisagree,
                format!(
                    "the worker of {} does not plan its edits by `{form}`, which this server needs",
                    host.name
                ),
            )
            .at("cluster.hosts")
            .remedy(format!(
                "run the same release of Crossfade on {} as elsewhere, and start again",
                host.name
            ))
        })
}

fn namespaces(cluster: &ClusterFacts, stores: &StoreFacts) -> Vec<NamespacePlan> {
    let records = |id: &str| stores.namespaces.iter().find(|records| records.namespace_id == id);
    let mut namespaces: Vec<NamespacePlan> = cluster
        .namespaces
        .iter()
        .map(|facts| NamespacePlan {
            name: facts.name.clone(),
            id: facts.id.clone(),
            retention_seconds: facts.retention_seconds,
            history_archival: facts.history_archival,
            visibility_archival: facts.visibility_archival,
            open: records(&facts.id).map_or(0, |records| records.open),
            closed: records(&facts.id).map_or(0, |records| records.closed),
            existing: Existing::default(),
        })
        .collect();
    namespaces.extend(
        stores
            .namespaces
            .iter()
            .filter(|records| !cluster.namespaces.iter().any(|facts| facts.id == records.namespace_id))
            .map(|records| NamespacePlan {
                name: format!("{}{DELETED}", records.namespace_id),
                id: records.namespace_id.clone(),
                retention_seconds: 0,
                history_archival: false,
                visibility_archival: false,
                open: records.open,
                closed: records.closed,
                existing: Existing::default(),
            }),
    );
    namespaces
}

fn unlimited_retention(spec: &Spec, namespaces: &[NamespacePlan]) -> Vec<Problem> {
    if !spec.existing_records.waits() {
        return Vec::new();
    }
    namespaces
        .iter()
        .filter(|namespace| namespace.retention_seconds == 0 && namespace.closed > 0)
        .map(|namespace| {
            Problem::new(
                Code::RetentionUnlimited,
                format!(
                    "Namespace `{}` keeps its {} closed records for ever, so waiting for them to go never ends",
                    namespace.name, namespace.closed
                ),
            )
            .at("existing_records")
        })
        .collect()
}

fn retention_warnings(spec: &Spec, namespaces: &[NamespacePlan]) -> Vec<String> {
    if spec.existing_records != ExistingRecords::Wait {
        return Vec::new();
    }
    namespaces
        .iter()
        .filter(|namespace| namespace.closed > 0 && !namespace.visibility_archival)
        .map(|namespace| {
            format!(
                "Namespace {}: its {} closed records are not archived and will be gone after the wait (Retention \
                 Period {}); set up Archival first to keep them, or use existing_records: backfill",
                namespace.name,
                namespace.closed,
                Period::from_secs(namespace.retention_seconds)
            )
        })
        .collect()
}

/// In a cluster of several hosts: services of which only one host is named. Clients wait while it restarts, and what they ask
/// fails when that takes longer than they try.
fn alone_in_their_role(spec: &Spec) -> impl Iterator<Item = String> {
    let hosts = &spec.cluster.hosts;
    let roles = [
        (Service::Frontend, "frontend", "every call"),
        (Service::History, "history", "every call to an execution"),
        (Service::Matching, "matching", "queries and workers' polls"),
    ];
    roles.into_iter().filter_map(move |(service, name, waiting)| {
        let with_it: Vec<&str> = hosts
            .iter()
            .filter(|host| host.services.contains(&service))
            .map(|host| host.name.as_str())
            .collect();
        match with_it.as_slice() {
            [host] if hosts.len() > 1 => Some(format!(
                "{name} runs on {host} alone: {waiting} wait while it restarts; a second host for it keeps clients from \
                 noticing"
            )),
            _ => None,
        }
    })
}

fn unfit_in_words(unfit: &Unfit) -> String {
    format!(
        "the target cannot hold {} ({} of {} records, for example {}): {}",
        unfit.what,
        unfit.records,
        unfit.of,
        unfit.example,
        if unfit.refused {
            "such records are not carried over, verify counts them as missing, and the server's own writes of such records \
             fail"
        } else {
            "they are carried over with less detail"
        }
    )
}
