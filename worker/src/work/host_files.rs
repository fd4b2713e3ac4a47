//! A host's files: what they say, what each step would change, and the steps themselves.

use std::path::{Path, PathBuf};

use crossfade_config::{
    DynamicEdit, ReadsFromSecondary, SourceBecomes, StaticConfig, StaticEdit, WritingMode, edit_dynamic, redact,
};
use crossfade_plan::{
    order::{Context, DynamicConfigSet, HostFacts, InspectHost, SetDynamicConfig},
    problem::{Code, Problem},
    route::{self, Form, Indices, Pair, Place, Version},
    settings::{self, DynamicConfig, HostConfig, Reads},
    spec::{Host, Spec},
};
use serde_json::Value;

use super::{
    alone, attributes,
    beat::Beat,
    config_files::{ConfigFile, Content, NotGivenBack},
    containers, frontend, kept_orders,
    planned_edits::planned_edits,
    pods,
    problems::{call, refused},
    secrets, units,
};

/// Empties memo and search attributes in the main store once a closed execution's record is written
/// (1.23.1: common/dynamicconfig/constants.go).
const CLOSE_CLEANUP: &str = "history.visibilityProcessorEnableCloseWorkflowCleanup";

/// A host's static config, read and understood.
pub(crate) struct StaticFile {
    /// The file as it is.
    pub(crate) content: Content,
    /// What it says.
    pub(crate) config: StaticConfig,
}

/// Reads a host's static config.
pub(crate) async fn read_static(host: &Host) -> Result<StaticFile, Problem> {
    let content = ConfigFile::of(host)?.read().await?;
    let config = StaticConfig::parse(&host.config, &content.bytes).map_err(|refusal| refused(&refusal))?;
    Ok(StaticFile { content, config })
}

/// The edit that brings a static config from the state before to `to`; `None` for the original, which is restored.
pub(crate) fn static_edit(context: &Context, to: HostConfig) -> Result<Option<StaticEdit>, Problem> {
    let spec = &context.spec;
    let source = context.source.clone().unwrap_or_default();
    if let Some(indices) = &context.indices {
        return Ok(index_edit(source, indices, to));
    }
    Ok(match to {
        HostConfig::Original => None,
        HostConfig::Dual => Some(StaticEdit::AttachSecondary {
            name: spec.target.name.clone(),
            datastore: secrets::resolve_entry(&spec.target.datastore, "target.datastore")?,
        }),
        HostConfig::Warm => Some(StaticEdit::Promote {
            source,
            target: spec.target.name.clone(),
            source_becomes: SourceBecomes::Secondary,
        }),
        HostConfig::Promoted => Some(StaticEdit::Promote {
            source,
            target: spec.target.name.clone(),
            source_becomes: if spec.keep_source_datastore {
                SourceBecomes::Defined
            } else {
                SourceBecomes::Removed
            },
        }),
    })
}

/// The same where source and target are indices of one datastore.
fn index_edit(datastore: String, indices: &Indices, to: HostConfig) -> Option<StaticEdit> {
    match to {
        HostConfig::Original => None,
        HostConfig::Dual => Some(StaticEdit::AttachSecondaryIndex {
            datastore,
            index: indices.target.clone(),
        }),
        HostConfig::Warm | HostConfig::Promoted => Some(StaticEdit::PromoteIndex {
            datastore,
            source: indices.source.clone(),
            target: indices.target.clone(),
            keep_source: to == HostConfig::Warm,
        }),
    }
}

/// Whether a host's file has the roles swapped: the target first, the source written beside it.
pub(crate) fn is_swapped(context: &Context, config: &StaticConfig) -> bool {
    let source = context.source.as_deref();
    let primary = config.visibility_store().map(|store| store.value.as_str());
    let Some(ours) = &context.indices else {
        let secondary = config.secondary_visibility_store().map(|store| store.value.as_str());
        return primary == Some(context.spec.target.name.as_str()) && secondary == source;
    };
    let indices = primary
        .and_then(|primary| config.datastore(primary))
        .and_then(|entry| Some(entry.value.pointer("/elasticsearch/indices")?.clone()))
        .unwrap_or_default();
    indices["visibility"] == ours.target.as_str() && indices["secondary_visibility"] == ours.source.as_str()
}

/// The edit that gives a host whose roles were swapped its roles back: both stores written, the source first.
pub(crate) fn unswap(context: &Context) -> StaticEdit {
    let source = context.source.clone().unwrap_or_default();
    match &context.indices {
        Some(indices) => StaticEdit::PromoteIndex {
            datastore: source,
            source: indices.target.clone(),
            target: indices.source.clone(),
            keep_source: true,
        },
        None => StaticEdit::Promote {
            source: context.spec.target.name.clone(),
            target: source,
            source_becomes: SourceBecomes::Secondary,
        },
    }
}

/// The edit that brings a dynamic config to a state; `None` for the original, which is restored.
pub(crate) fn dynamic_edit(to: &DynamicConfig) -> Option<DynamicEdit> {
    match to {
        DynamicConfig::Original => None,
        DynamicConfig::Removed => Some(DynamicEdit::Remove),
        DynamicConfig::Set { writing_mode, reads } => Some(DynamicEdit::Set {
            writing_mode: match writing_mode {
                settings::WritingMode::Off => WritingMode::Off,
                settings::WritingMode::Dual => WritingMode::Dual,
            },
            reads: match reads {
                Reads::Source => ReadsFromSecondary::default(),
                Reads::Target => ReadsFromSecondary {
                    everywhere: true,
                    ..ReadsFromSecondary::default()
                },
                Reads::Some(namespaces) => ReadsFromSecondary {
                    everywhere: false,
                    namespaces: namespaces.iter().map(|name| (name.clone(), true)).collect(),
                },
            },
        }),
    }
}

/// Where a host's server reads its dynamic config, and how often.
struct DynamicFile {
    path: PathBuf,
    /// The same as the server knows it: in a container another path.
    named_by_server: PathBuf,
    poll_seconds: u64,
}

fn dynamic_file(spec: &Spec, host: &Host, config: &StaticConfig) -> Result<DynamicFile, Problem> {
    let client = config.dynamic_config_client().map_err(|refusal| refused(&refusal))?;
    let place = format!("{}:{}", host.config, client.line);
    let named = spec.dynamic_config_of(host).map(PathBuf::from);
    let path = match named {
        Some(named)
            if client.filepath.is_absolute()
                && !containers::run(host)
                && pods::of(host).is_none()
                && !same_file(&named, &client.filepath) =>
        {
            return Err(Problem::new(
                Code::ConfigRefused,
                format!(
                    "the server reads its dynamic config from `{}`, the spec names `{}`",
                    client.filepath.display(),
                    named.display()
                ),
            )
            .at(place)
            .remedy("leave `dynamic_config` out of the spec, or name the file that the server reads"));
        }
        Some(named) => named,
        None if client.filepath.is_absolute() => client.filepath.clone(),
        None => {
            return Err(Problem::new(
                Code::ConfigRefused,
                format!(
                    "`{}` is relative to the folder that the server was started in",
                    client.filepath.display()
                ),
            )
            .at(place)
            .remedy("name the file by its absolute path in `cluster.dynamic_config`"));
        }
    };
    Ok(DynamicFile {
        path,
        named_by_server: client.filepath,
        // What the server reads again changes in a pod only once the kubelet has synced.
        poll_seconds: client.poll_interval.as_secs() + pods::of(host).map_or(0, |workloads| workloads.sync.0.as_secs()),
    })
}

fn same_file(a: &PathBuf, b: &PathBuf) -> bool {
    a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

impl DynamicFile {
    fn file(&self, host: &Host) -> Result<ConfigFile, Problem> {
        ConfigFile::named(host, &self.path.display().to_string())
    }
}

/// Looks at a host's files and works every edit out, changing nothing.
pub(crate) async fn inspect(order: &InspectHost) -> Result<HostFacts, Vec<Problem>> {
    let (spec, host) = (&order.context.spec, &order.host);
    let one = |problem: Problem| vec![problem];
    let file = read_static(host).await.map_err(one)?;
    let dynamic = dynamic_file(spec, host, &file.config).map_err(one)?;
    let (config, dynamic_config) = (ConfigFile::of(host).map_err(one)?, dynamic.file(host).map_err(one)?);
    let mut problems = match pods::of(host) {
        Some(workloads) => {
            let path = dynamic.path.display().to_string();
            pods::unfit(workloads, host, &path, &dynamic.named_by_server).await
        }
        None => containers::unread(host, &dynamic.path, &dynamic.named_by_server).await,
    };
    problems.extend(units::unfit(host).await);
    problems.extend(rendered(host));
    for file in [&config, &dynamic_config] {
        problems.extend(file.check_writable().await.err());
    }
    let now = match dynamic_config.read().await {
        Ok(now) => Some(now),
        Err(problem) => {
            problems.retain(|other| *other != problem);
            problems.push(problem);
            None
        }
    };
    let source = visibility_store(spec, host, &file.config)
        .map_err(|problem| problems.push(problem))
        .ok();
    let mut context = order.context.clone();
    let mut files = None;
    if let (Some(source), Some(now)) = (&source, &now) {
        context.source = Some(source.name.clone());
        match told_as_indices(spec, source).await {
            Ok(indices) => {
                context.indices = indices;
                files = planned_edits(&context, host, &file.content.bytes, &dynamic.path, &now.bytes)
                    .map_err(|problem| problems.push(problem))
                    .ok();
            }
            Err(problem) => problems.push(problem),
        }
    }
    match (source, files, now) {
        (Some(source), Some(files), Some(now)) if problems.is_empty() => {
            let (close_cleanup, keys) = dynamic_facts(&dynamic, &now.bytes).map_err(one)?;
            let mut parts = file.config.parts();
            parts.insert("the dynamic config file".to_owned(), keys);
            Ok(HostFacts {
                warnings: helms(&context, host, &file.content, &dynamic, &now),
                name: host.name.clone(),
                source: source.name,
                source_kind: source.kind,
                source_plugin: source.plugin,
                place: source.place,
                indices: context.indices,
                source_fingerprint: source.fingerprint,
                dynamic_config: dynamic.path.display().to_string(),
                poll_seconds: dynamic.poll_seconds,
                files,
                close_cleanup,
                parts,
            })
        }
        _ => Err(problems),
    }
}

/// What belongs to a Helm release, and what follows from that.
fn helms(context: &Context, host: &Host, config: &Content, dynamic: &DynamicFile, now: &Content) -> Vec<String> {
    let of_dynamic = dynamic.path.display().to_string();
    let both = [
        config
            .helm
            .as_ref()
            .map(|helm| pods::helms_config(context, &host.config, helm)),
        now.helm
            .as_ref()
            .map(|helm| pods::helms_dynamic_config(&of_dynamic, helm)),
    ];
    both.into_iter().flatten().collect()
}

/// Whether the dynamic config file has the key that empties closed executions in the main store, and what tells it from
/// another host's.
fn dynamic_facts(dynamic: &DynamicFile, bytes: &[u8]) -> Result<(bool, String), Problem> {
    let config = crossfade_config::DynamicConfig::parse(&dynamic.path, bytes).map_err(|refusal| refused(&refusal))?;
    Ok((config.has(CLOSE_CLEANUP), config.fingerprint()))
}

/// A file that is written anew at each start of its container loses every edit.
fn rendered(host: &Host) -> Option<Problem> {
    let template = crossfade_config::rendered_from(Path::new(&host.config))?;
    Some(
        Problem::new(
            Code::ConfigRefused,
            format!(
                "this file is rendered from {} at each start of the container, so every edit of it would be lost",
                template.display()
            ),
        )
        .at(&host.config)
        .remedy(
            "mount a copy of it as a plain file under another name, start the server with that file, and name it here",
        ),
    )
}

struct SourceStore {
    name: String,
    kind: String,
    plugin: Option<String>,
    place: Place,
    /// With the target's index, where both are Elasticsearch stores.
    indices: Option<Indices>,
    fingerprint: String,
}

/// The indices by which this cluster's server is told of its second store; `None` where the target is a datastore of its
/// own. Only the version tells, so the cluster is asked; a pair that it does not take at all is the plan's to refuse.
async fn told_as_indices(spec: &Spec, source: &SourceStore) -> Result<Option<Indices>, Problem> {
    if source.place != Place::SameCluster {
        return Ok(None);
    }
    let cluster = frontend::open(spec).await?.cluster().await;
    let version = cluster.map_err(|error| call(&error))?.version.to_string();
    let way = Version::parse(&version).and_then(|version| route::open(Pair::indices(), version).ok());
    Ok(source
        .indices
        .clone()
        .filter(|_| way.is_some_and(|way| way.form == Form::SecondaryIndex)))
}

fn visibility_store(spec: &Spec, host: &Host, config: &StaticConfig) -> Result<SourceStore, Problem> {
    let store = config.visibility_store().ok_or_else(|| {
        Problem::new(Code::ConfigRefused, "there is no `persistence.visibilityStore`")
            .at(&host.config)
            .remedy("name the file that has the `persistence` section")
    })?;
    if let Some(secondary) = config.secondary_visibility_store() {
        return Err(Problem::new(
            Code::ConfigRefused,
            format!("`{}` is a secondaryVisibilityStore already", secondary.value),
        )
        .at(format!("{}:{}", host.config, secondary.line))
        .remedy("remove it, restart the host, and start again"));
    }
    let entry = config.datastore(&store.value).ok_or_else(|| {
        Problem::new(
            Code::ConfigRefused,
            format!("visibilityStore `{}` is not among the datastores", store.value),
        )
        .at(format!("{}:{}", host.config, store.line))
    })?;
    let kind = entry
        .value
        .as_object()
        .and_then(|fields| fields.keys().next())
        .cloned()
        .unwrap_or_default();
    let target = secrets::resolve_entry(&spec.target.datastore, "target.datastore")?;
    Ok(SourceStore {
        place: Place::of(&entry.value, &target),
        indices: Indices::of(&entry.value, &target),
        plugin: entry
            .value
            .pointer("/sql/pluginName")
            .and_then(Value::as_str)
            .map(ToOwned::to_owned),
        fingerprint: crossfade_config::sha256(redact(&entry.value).to_string().as_bytes()),
        name: store.value.clone(),
        kind,
    })
}

/// What a host's dynamic config says of the second store now.
///
/// # Errors
/// One of its files cannot be read.
pub(crate) async fn dynamic_now(spec: &Spec, host: &Host) -> Result<DynamicNow, Problem> {
    let dynamic = dynamic_file(spec, host, &read_static(host).await?.config)?;
    let file = dynamic.file(host)?;
    let now = file.read().await?;
    let config =
        crossfade_config::DynamicConfig::parse(&dynamic.path, &now.bytes).map_err(|refusal| refused(&refusal))?;
    Ok(DynamicNow {
        mode: config.writing_mode().and_then(|mode| mode.value.ok()),
        reads: config.reads_from_secondary(),
        poll_seconds: dynamic.poll_seconds,
        file,
    })
}

/// What [`dynamic_now`] finds.
pub(crate) struct DynamicNow {
    /// The file.
    pub(crate) file: ConfigFile,
    /// How long a change takes to be read, in seconds.
    pub(crate) poll_seconds: u64,
    /// The mode of writing, where one is set.
    pub(crate) mode: Option<WritingMode>,
    /// Who reads the second store.
    pub(crate) reads: ReadsFromSecondary,
}

/// Brings a host's dynamic config file to a state.
pub(crate) async fn set_dynamic(order: &SetDynamicConfig) -> Result<DynamicConfigSet, Problem> {
    if order.attributes.is_some() {
        let frontend = frontend::open(&order.context.spec).await?;
        attributes::agree(&order.context, &frontend, order.attributes.as_ref()).await?;
    }
    let (spec, host, key) = (&order.context.spec, &order.host, &order.context.key);
    let _alone = alone::at(host, &Beat::default()).await?;
    let dynamic = dynamic_file(spec, host, &read_static(host).await?.config)?;
    let file = dynamic.file(host)?;
    let edited = match dynamic_edit(&order.to) {
        None => match file.restore(key).await {
            Ok(edited) => edited,
            // Somebody else changed it meanwhile: what is needed of the way back is that our keys are gone.
            Err(NotGivenBack::Others(problem)) => {
                let now = file.read().await?;
                let removed = edit_dynamic(&dynamic.path, &now.bytes, &DynamicEdit::Remove);
                if removed.map_err(|refusal| refused(&refusal))?.is_changed() {
                    return Err(problem.remedy(
                        "take both `system.*SecondaryVisibility*` keys out of the file by hand, or put the kept copy \
                         back; then `resume`",
                    ));
                }
                false
            }
            Err(NotGivenBack::Failed(problem)) => return Err(problem),
        },
        Some(edit) => {
            kept_orders::keep(&order.context, host).await?;
            let now = file.read().await?;
            let edited = edit_dynamic(&dynamic.path, &now.bytes, &edit).map_err(|refusal| refused(&refusal))?;
            file.write_if_unchanged(&now.sha256, &edited.into_bytes(), key).await?
        }
    };
    Ok(DynamicConfigSet {
        path: dynamic.path.display().to_string(),
        edited,
        poll_seconds: dynamic.poll_seconds,
    })
}
