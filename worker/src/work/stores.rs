//! The two stores: found, opened, and looked at before anything depends on them.

use std::collections::BTreeMap;

use crossfade_config::StaticConfig;
use crossfade_plan::{
    order::{Context, NamespaceRecords, StoreFact, StoreFacts},
    plan,
    problem::{Code, Problem},
    route::{self, Kind, Place, Version},
    spec::{Host, Spec},
};
use crossfade_stores::{Facts, SchemaFault, Store};
use crossfade_visibility::{division, ports};
use serde_json::{Value, json};

use super::{
    attributes,
    config_files::ConfigFile,
    cursor, fitting, frontend,
    host_files::read_static,
    indexing, keeping,
    problems::{call, open as open_problem, store as store_problem},
    secrets, throttling,
};

/// Where the spec says what the source is.
const SOURCE_IN_SPEC: &str = "source.datastore";

/// Both stores, open. They are those that this worker keeps for the migration ([`keeping`]).
pub(crate) struct Pair {
    /// The store being left.
    pub(crate) source: Store,
    /// The store moved to.
    pub(crate) target: Store,
}

/// Opens both stores, at the same time: where they are far away each takes a while.
pub(crate) async fn open(context: &Context) -> Result<Pair, Problem> {
    let (source, target) = tokio::join!(open_source(context), open_target(context));
    Ok(Pair {
        source: source?,
        target: target?,
    })
}

/// Opens the source.
pub(crate) async fn open_source(context: &Context) -> Result<Store, Problem> {
    let (entry, place) = located_source(context).await?;
    keeping::here()
        .open(&context.key, &entry)
        .await
        .map_err(|error| open_problem(&error, &place))
}

/// Opens the target.
pub(crate) async fn open_target(context: &Context) -> Result<Store, Problem> {
    keeping::here()
        .open(&context.key, &target_entry(&context.spec)?)
        .await
        .map_err(|error| open_problem(&error, "target.datastore"))
}

/// What an error of an open store means; one that is gone is not kept.
pub(crate) fn trouble(error: &ports::Error) -> Problem {
    keeping::here().learn_from(error);
    store_problem(error)
}

/// The target's entry with its secrets.
pub(crate) fn target_entry(spec: &Spec) -> Result<Value, Problem> {
    secrets::resolve_entry(&spec.target.datastore, "target.datastore")
}

/// The source's entry with its secrets.
pub(crate) async fn source_entry(context: &Context) -> Result<Value, Problem> {
    located_source(context).await.map(|(entry, _)| entry)
}

/// The source's entry and where it stands: the spec's, or the one in the first host config that can be read here.
pub(crate) async fn located_source(context: &Context) -> Result<(Value, String), Problem> {
    if let Some(source) = &context.spec.source {
        let entry = secrets::resolve_entry(&source.datastore, SOURCE_IN_SPEC)?;
        return Ok((entry, SOURCE_IN_SPEC.to_owned()));
    }
    let mut unread = Vec::new();
    for host in &context.spec.cluster.hosts {
        match entry_in(host, context).await {
            Ok((entry, place)) => return Ok((with_source_index(entry, context), place)),
            Err(problem) => unread.push(problem.to_string()),
        }
    }
    Err(Problem::new(
        Code::ConfigUnreadable,
        format!(
            "this worker finds the source's address in no host's config: {}",
            unread.join("; ")
        ),
    )
    .at("cluster.hosts")
    .remedy("run this worker where a host's config can be read, or give `source.datastore` in the spec"))
}

/// Where source and target are indices of one datastore, promote leaves nothing of the source in its entry.
fn with_source_index(mut entry: Value, context: &Context) -> Value {
    let indices = entry.pointer_mut("/elasticsearch/indices");
    if let (Some(ours), Some(indices)) = (&context.indices, indices) {
        *indices = json!({ "visibility": ours.source });
    }
    entry
}

/// The source's entry in a host's config, and its line there. Where promote has removed it, it is still in the kept copy.
async fn entry_in(host: &Host, context: &Context) -> Result<(Value, String), Problem> {
    let config = read_static(host).await?.config;
    let name = match &context.source {
        Some(name) => name.clone(),
        None => config
            .visibility_store()
            .map(|store| store.value.clone())
            .unwrap_or_default(),
    };
    if let Some(entry) = config.datastore(&name) {
        return Ok((entry.value.clone(), format!("{}:{}", host.config, entry.line)));
    }
    let kept = ConfigFile::of(host)?.kept_copy(&context.key).await?;
    kept.and_then(|kept| StaticConfig::parse(&host.config, &kept).ok())
        .and_then(|config| config.datastore(&name).map(|entry| entry.value.clone()))
        .map(|entry| (entry, format!("datastore `{name}` in the copy kept of {}", host.config)))
        .ok_or_else(|| Problem::new(Code::ConfigUnreadable, format!("no datastore `{name}`")).at(&host.config))
}

/// Looks at both stores for preflight. The target may still be without a schema when it is to be set up.
pub(crate) async fn inspect(context: &Context, server_version: &str) -> Result<StoreFacts, Vec<Problem>> {
    pair_is_open(context, server_version)
        .await
        .map_err(|problem| vec![problem])?;
    let mut problems = Vec::new();
    let located = located_source(context).await.map_err(|problem| vec![problem])?;
    let source = facts(&located.0, &located.1)
        .await
        .map_err(|problem| problems.push(problem));
    let entry = target_entry(&context.spec).map_err(|problem| vec![problem])?;
    server_can_log_in(&entry).map_err(|problem| vec![problem])?;
    let target = match facts(&entry, "target.datastore").await {
        Ok(facts) => Ok(Some(facts)),
        // A database or file that is yet to be made by the schema tool.
        Err(problem) if problem.code == Code::TargetSchema && context.spec.target.setup_schema => Ok(None),
        Err(problem) => {
            problems.push(problem);
            Err(())
        }
    };
    let (Ok(source), Ok(target)) = (source, target) else {
        return Err(problems);
    };
    problems.extend(source_problems(&source, &located.1));
    if let Some(target) = &target {
        problems.extend(target_problems(&source, target, &context.spec, server_version));
        problems.extend(attributes::conflicts(context, target).await.err().into_iter().flatten());
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let opened = open_source(context).await.map_err(|problem| vec![problem])?;
    let counts = opened.read().count(None).await.map_err(|error| vec![trouble(&error)])?;
    let namespaces: Vec<NamespaceRecords> = counts
        .into_iter()
        .map(|(namespace_id, count)| NamespaceRecords {
            namespace_id,
            open: count.open,
            closed: count.closed,
        })
        .collect();
    let mut indexes = None;
    let mut opened_target = None;
    if target.as_ref().is_some_and(|target| target.schema.is_present()) {
        no_strangers(context).await.map_err(|problem| vec![problem])?;
        // Not kept: its schema may still be to be changed.
        opened_target = crossfade_stores::open(&entry).await.ok();
    }
    if let Some(target) = &opened_target {
        indexes = indexing::look(target).await.map_err(|problem| vec![problem])?;
    }
    let watched: Vec<&Store> = [&opened].into_iter().chain(&opened_target).collect();
    let blind_spots = throttling::blind_spots(&context.spec, &watched).await;
    let limits = match &target {
        Some(target) => Some(target.limits),
        None => crossfade_stores::limits(&entry).map_err(|error| vec![open_problem(&error, "target.datastore")])?,
    };
    let looked = match limits {
        Some(limits) => fitting::look(&*opened.read(), &source.limits, &limits, fitting::WITHIN)
            .await
            .map_err(|problem| vec![problem])?,
        None => fitting::Looked::default(),
    };
    let records = namespaces
        .iter()
        .map(|namespace| namespace.open + namespace.closed)
        .sum();
    let mut warnings = source.warnings.clone();
    warnings.extend(target.iter().flat_map(|target| target.warnings.clone()));
    warnings.extend(looked.caveat(records));
    warnings.extend(blind_spots.map_err(|problem| vec![problem])?);
    warnings.extend(target.as_ref().and_then(|target| short_of_space(&source, target)));
    Ok(StoreFacts {
        source: StoreFact {
            indexes: indexing::look(&opened).await.map_err(|problem| vec![problem])?,
            ..fact(&source, records)
        },
        target: match &target {
            Some(target) => StoreFact {
                indexes,
                ..fact(target, target.records_estimate.unwrap_or_default())
            },
            None => StoreFact {
                description: format!("{} (to be created)", named_in_spec(&context.spec)),
                plugin: crossfade_stores::plugin_name(&entry).unwrap_or_default(),
                schema_version: None,
                records: 0,
                indexes: None,
            },
        },
        cuts: cuts(&namespaces, &context.spec),
        namespaces,
        unfit: looked.unfit,
        warnings,
    })
}

/// Where the source's records are cut into slices.
fn cuts(namespaces: &[NamespaceRecords], spec: &Spec) -> Vec<String> {
    let records: BTreeMap<String, u64> = namespaces
        .iter()
        .map(|namespace| (namespace.namespace_id.clone(), namespace.open + namespace.closed))
        .collect();
    let slices = division::slices(records.values().sum(), spec.slices.at_once.into(), spec.slices.records);
    division::cuts(&records, slices).iter().map(cursor::write).collect()
}

/// The target has no record of a Namespace that the source does not know. Such a store is another cluster's, and
/// verify would take every record of it for extra and delete it.
pub(crate) async fn no_strangers(context: &Context) -> Result<(), Problem> {
    let source = open_source(context).await?;
    // Not kept: its schema may still be to be changed.
    let target = crossfade_stores::open(&target_entry(&context.spec)?).await;
    let target = match target.map_err(|error| open_problem(&error, "target.datastore")) {
        Ok(target) => target,
        // Its schema is to be brought up to date first; it is asked again then.
        Err(problem) if problem.code == Code::TargetSchema && context.spec.target.setup_schema => return Ok(()),
        Err(problem) => return Err(problem),
    };
    let count = async |store: &Store| store.read().count(None).await.map_err(|error| trouble(&error));
    let known = count(&source).await?;
    let strangers: Vec<(String, u64)> = count(&target)
        .await?
        .into_iter()
        .filter(|(namespace, count)| count.total() > 0 && !known.contains_key(namespace))
        .map(|(namespace, count)| (namespace, count.total()))
        .collect();
    // One whose records the source has lost already, as Cassandra does by itself, is none.
    let strangers = unregistered(context, strangers).await?;
    let Some((example, _)) = strangers.first() else {
        return Ok(());
    };
    let records: u64 = strangers.iter().map(|(_, records)| records).sum();
    Err(Problem::new(
        Code::TargetNotEmpty,
        format!(
            "{} holds {records} records of {} Namespaces that the source knows nothing of, such as {example}: it may be \
             another cluster's store, and verify would remove them",
            target.describe(),
            strangers.len()
        ),
    )
    .at("target.datastore"))
}

/// Those of the Namespaces that the cluster does not know either.
async fn unregistered(context: &Context, mut strangers: Vec<(String, u64)>) -> Result<Vec<(String, u64)>, Problem> {
    if !strangers.is_empty() {
        let frontend = frontend::open(&context.spec).await?;
        let known = frontend.namespaces().await.map_err(|error| call(&error))?;
        strangers.retain(|(id, _)| known.iter().all(|namespace| namespace.id != *id));
    }
    Ok(strangers)
}

/// The server accepts the pair. Asked before either store is opened: why there is no way is worth more to the operator
/// than that there is no driver.
async fn pair_is_open(context: &Context, server_version: &str) -> Result<(), Problem> {
    // What cannot be found or is of no known kind is told with more words where it is opened.
    let Ok(source) = source_entry(context).await else {
        return Ok(());
    };
    let Some(source_kind) = Kind::of_entry(&source) else {
        return Ok(());
    };
    match (plan::target_kind(&context.spec), Version::parse(server_version)) {
        (Ok(target_kind), Some(version)) => {
            let target = secrets::resolve_entry(&context.spec.target.datastore, "target.datastore")?;
            let pair = route::Pair::new(source_kind, target_kind).at(Place::of(&source, &target));
            route::open(pair, version).map(drop)
        }
        _ => Ok(()),
    }
}

/// The server can send the target's password. It puts it into PostgreSQL's address as if into a form's field, where a blank
/// becomes a `+` (1.21.6 to 1.32.2: common/persistence/sql/sqlplugin/postgresql/session/session.go, buildDSN).
fn server_can_log_in(target: &Value) -> Result<(), Problem> {
    let text = |field: &str| target["sql"][field].as_str().unwrap_or_default();
    if !text("pluginName").starts_with("postgres") || !text("password").contains(' ') {
        return Ok(());
    }
    Err(Problem::new(
        Code::StoreLogin,
        "the password has a blank in it, which Temporal's server sends to PostgreSQL as a `+`: no host would come up with it",
    )
    .at("target.datastore.sql.password")
    .remedy("give this user a password without blanks"))
}

/// The target by its name in the config, while there is no store yet to describe.
fn named_in_spec(spec: &Spec) -> &str {
    let datastore = &spec.target.datastore;
    let name = match datastore.get("elasticsearch") {
        Some(elasticsearch) => elasticsearch.pointer("/indices/visibility"),
        None => datastore.get("sql").and_then(|sql| sql.get("databaseName")),
    };
    name.and_then(Value::as_str).unwrap_or(&spec.target.name)
}

/// Why the target cannot be written now, as it says itself; nothing when it can.
pub(crate) async fn unwritable(context: &Context) -> Result<Option<String>, Problem> {
    let entry = target_entry(&context.spec)?;
    Ok(match crossfade_stores::inspect(&entry).await {
        Ok(facts) => match facts.writable {
            Some(Err(reason)) => Some(format!("{} cannot be written: {reason}", facts.store)),
            None => Some(format!("{} has no visibility schema", facts.store)),
            Some(Ok(())) => None,
        },
        Err(error) => Some(error.to_string()),
    })
}

async fn facts(entry: &Value, place: &str) -> Result<Facts, Problem> {
    crossfade_stores::inspect(entry)
        .await
        .map_err(|error| open_problem(&error, place))
}

fn fact(facts: &Facts, records: u64) -> StoreFact {
    StoreFact {
        description: facts.store.clone(),
        plugin: facts.engine.clone(),
        schema_version: facts.schema.version(),
        records,
        indexes: None,
    }
}

fn source_problems(source: &Facts, place: &str) -> Vec<Problem> {
    if source.schema.is_present() {
        return Vec::new();
    }
    vec![
        Problem::new(
            Code::StoreUnsupported,
            format!("{} has no visibility schema", source.store),
        )
        .at(place)
        .remedy("check that `persistence.visibilityStore` names the store that the cluster uses"),
    ]
}

fn target_problems(source: &Facts, target: &Facts, spec: &Spec, server_version: &str) -> Vec<Problem> {
    let at_target = |problem: Problem| problem.at("target.datastore");
    let mut problems = Vec::new();
    if source.identity.is_some() && source.identity == target.identity {
        problems.push(at_target(Problem::new(
            Code::SameStore,
            format!("the target is the source itself: {}", target.store),
        )));
    }
    problems.extend(schema_problems(target, server_version, spec.target.setup_schema));
    if let Some(Err(reason)) = &target.writable {
        problems.push(at_target(Problem::new(
            Code::StorePermission,
            format!("{} cannot be written: {reason}", target.store),
        )));
    }
    problems
}

/// What is wrong with the target's schema for this server, which itself never checks its secondary's; where it is yet
/// `to_be_set_up`, only what the schema tool cannot put right.
pub(crate) fn schema_problems(target: &Facts, server_version: &str, to_be_set_up: bool) -> Vec<Problem> {
    let Some(faults) = target.schema_faults(server_version) else {
        if to_be_set_up {
            return Vec::new();
        }
        let message = format!("the visibility schema that server {server_version} needs is not known to this release");
        return vec![
            Problem::new(Code::TargetSchema, message)
                .at("cluster.frontend")
                .remedy("use a newer Crossfade"),
        ];
    };
    let lasting = |fault: &SchemaFault| {
        matches!(
            fault,
            SchemaFault::NotFromTemplate { .. } | SchemaFault::WrongType { .. }
        )
    };
    faults
        .into_iter()
        .filter(|fault| !to_be_set_up || lasting(fault))
        .map(|fault| {
            let problem = Problem::new(Code::TargetSchema, format!("{}: {fault}", target.store)).at("target.datastore");
            if lasting(&fault) {
                problem.remedy(
                    "name another index, or delete this one if nobody needs it, as the message says; then start again",
                )
            } else {
                problem
            }
        })
        .collect()
}

fn short_of_space(source: &Facts, target: &Facts) -> Option<String> {
    let (needed, free) = (source.bytes?, target.free_bytes?);
    (free < needed).then(|| {
        format!(
            "the source takes {} MiB and only {} MiB are free where the target lies",
            needed >> 20,
            free >> 20
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_that_the_server_cannot_send_is_refused_and_not_told() {
        let entry = |plugin: &str, password: &str| json!({"sql": {"pluginName": plugin, "password": password}});
        for fine in [
            entry("postgres12", "p'ss/w\"rd+%20"),
            entry("mysql8", "with blanks"),
            json!({"elasticsearch": {"password": "with blanks"}}),
        ] {
            assert_eq!(server_can_log_in(&fine), Ok(()), "{fine}");
        }
        for plugin in ["postgres12", "postgres12_pgx"] {
            let told = server_can_log_in(&entry(plugin, "with blanks"))
                .expect_err("refused")
                .to_string();
            assert!(told.contains("target.datastore.sql.password"), "{told}");
            assert!(!told.contains("with blanks"), "{told}");
        }
    }
}
