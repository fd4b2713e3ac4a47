//! A host's files: what they say, what each step would change, and the steps themselves.

use std::path::{Path, PathBuf};

use crossfade_config::{
    DynamicEdit, Edited, FileError, FileState, ReadsFromSecondary, Restored, SourceBecomes, StaticConfig, StaticEdit,
    WritingMode, Written, edit_dynamic, edit_static, redact, unified_diff,
};
use crossfade_plan::{
    order::{Context, DynamicConfigSet, HostFacts, InspectHost, SetDynamicConfig},
    plan::FilePlan,
    problem::{Code, Problem},
    route::{self, Form, Indices, Pair, Place, Version},
    settings::{self, DynamicConfig, HostConfig, Reads},
    spec::{Host, Spec},
    stage::Stage,
};
use serde_json::Value;

use super::{
    alone, attributes,
    beat::Beat,
    containers, frontend, kept_orders,
    problems::{call, file_problem, refused},
    secrets,
};

/// Empties memo and search attributes in the main store once a closed execution's record is written
/// (1.23.1: common/dynamicconfig/constants.go).
const CLOSE_CLEANUP: &str = "history.visibilityProcessorEnableCloseWorkflowCleanup";

/// A host's static config, read and understood.
pub(crate) struct StaticFile {
    /// The file as it is on disk.
    pub(crate) state: FileState,
    /// What it says.
    pub(crate) config: StaticConfig,
}

/// Reads a host's static config.
pub(crate) fn read_static(host: &Host) -> Result<StaticFile, Problem> {
    let state = crossfade_config::read(&host.config).map_err(|error| file_problem(&error))?;
    let config = StaticConfig::parse(&host.config, &state.bytes).map_err(|refusal| refused(&refusal))?;
    Ok(StaticFile { state, config })
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

fn dynamic_edit(to: &DynamicConfig) -> Option<DynamicEdit> {
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
            if client.filepath.is_absolute() && !containers::run(host) && !same_file(&named, &client.filepath) =>
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
        poll_seconds: client.poll_interval.as_secs(),
    })
}

fn same_file(a: &PathBuf, b: &PathBuf) -> bool {
    a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// Looks at a host's files and works every edit out, changing nothing.
pub(crate) async fn inspect(order: &InspectHost) -> Result<HostFacts, Vec<Problem>> {
    let (spec, host) = (&order.context.spec, &order.host);
    let one = |problem: Problem| vec![problem];
    let file = read_static(host).map_err(one)?;
    let dynamic = dynamic_file(spec, host, &file.config).map_err(one)?;
    let mut problems = containers::unread(host, &dynamic.path, &dynamic.named_by_server).await;
    problems.extend(rendered(host));
    for path in [PathBuf::from(&host.config), dynamic.path.clone()] {
        if let Err(error) = crossfade_config::check_writable(&path) {
            problems.push(file_problem(&error));
        }
    }
    let source = visibility_store(spec, host, &file.config)
        .map_err(|problem| problems.push(problem))
        .ok();
    let mut context = order.context.clone();
    let mut files = None;
    if let Some(source) = &source {
        context.source = Some(source.name.clone());
        match told_as_indices(spec, source).await {
            Ok(indices) => {
                context.indices = indices;
                files = planned_edits(&context, host, &file.state, &dynamic)
                    .map_err(|problem| problems.push(problem))
                    .ok();
            }
            Err(problem) => problems.push(problem),
        }
    }
    let (close_cleanup, keys) = dynamic_facts(&dynamic).map_err(one)?;
    let mut parts = file.config.parts();
    parts.insert("the dynamic config file".to_owned(), keys);
    match (source, files) {
        (Some(source), Some(files)) if problems.is_empty() => Ok(HostFacts {
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
            warnings: Vec::new(),
        }),
        _ => Err(problems),
    }
}

/// Whether the dynamic config file has the key that empties closed executions in the main store, and what tells it from
/// another host's.
fn dynamic_facts(dynamic: &DynamicFile) -> Result<(bool, String), Problem> {
    let state = crossfade_config::read(&dynamic.path).map_err(|error| file_problem(&error))?;
    let config =
        crossfade_config::DynamicConfig::parse(&dynamic.path, &state.bytes).map_err(|refusal| refused(&refusal))?;
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

/// Every edit in order, each diff against the file as the edit before leaves it.
fn planned_edits(
    context: &Context,
    host: &Host,
    original: &FileState,
    dynamic: &DynamicFile,
) -> Result<Vec<FilePlan>, Problem> {
    let mut plans = Vec::new();
    let mut add = |stage: Stage, path: &str, before: &[u8], edited: &Edited| {
        let before = String::from_utf8_lossy(before);
        plans.push(FilePlan {
            stage,
            path: path.to_owned(),
            diff: unified_diff(path, &before, edited.text()),
        });
    };
    let dynamic_path = dynamic.path.display().to_string();
    let mut dynamic_bytes = crossfade_config::read(&dynamic.path)
        .map_err(|error| file_problem(&error))?
        .bytes;
    let mut static_bytes = original.bytes.clone();
    for step in steps(&context.spec) {
        match step {
            Step::Static(stage, to) => {
                let Some(edit) = static_edit(context, to)? else {
                    continue;
                };
                let edited = edit_static(&host.config, &static_bytes, &edit).map_err(|refusal| refused(&refusal))?;
                add(stage, &host.config, &static_bytes, &edited);
                static_bytes = edited.into_bytes();
            }
            Step::Dynamic(stage, to) => {
                let Some(edit) = dynamic_edit(&to) else { continue };
                let edited = edit_dynamic(&dynamic.path, &dynamic_bytes, &edit).map_err(|refusal| refused(&refusal))?;
                add(stage, &dynamic_path, &dynamic_bytes, &edited);
                dynamic_bytes = edited.into_bytes();
            }
        }
    }
    plans.retain(|plan| !plan.diff.is_empty());
    Ok(plans)
}

enum Step {
    Static(Stage, HostConfig),
    Dynamic(Stage, DynamicConfig),
}

fn steps(spec: &Spec) -> Vec<Step> {
    let set = |writing_mode, reads| DynamicConfig::Set { writing_mode, reads };
    let mut steps = vec![
        Step::Dynamic(Stage::DualWrite, set(settings::WritingMode::Off, Reads::Source)),
        Step::Static(Stage::DualWrite, HostConfig::Dual),
        Step::Dynamic(Stage::DualWrite, set(settings::WritingMode::Dual, Reads::Source)),
    ];
    if !spec.cutover.namespaces_first.is_empty() {
        let first = Reads::Some(spec.cutover.namespaces_first.iter().cloned().collect());
        steps.push(Step::Dynamic(Stage::Cutover, set(settings::WritingMode::Dual, first)));
    }
    steps.push(Step::Dynamic(
        Stage::Cutover,
        set(settings::WritingMode::Dual, Reads::Target),
    ));
    if spec.promote.keep_warm.is_some() {
        steps.extend([
            Step::Dynamic(Stage::Promote, set(settings::WritingMode::Dual, Reads::Source)),
            Step::Static(Stage::Promote, HostConfig::Warm),
            Step::Dynamic(Stage::Promote, set(settings::WritingMode::Off, Reads::Source)),
        ]);
    }
    steps.extend([
        Step::Static(Stage::Promote, HostConfig::Promoted),
        Step::Dynamic(Stage::Promote, DynamicConfig::Removed),
    ]);
    steps
}

/// What a host's dynamic config file says of the second store now: where the file is, how often it is read in seconds, the
/// mode of writing where one is set, and who reads the second store.
pub(crate) fn dynamic_now(spec: &Spec, host: &Host) -> Result<DynamicNow, Problem> {
    let file = dynamic_file(spec, host, &read_static(host)?.config)?;
    let state = crossfade_config::read(&file.path).map_err(|error| file_problem(&error))?;
    let config =
        crossfade_config::DynamicConfig::parse(&file.path, &state.bytes).map_err(|refusal| refused(&refusal))?;
    Ok(DynamicNow {
        mode: config.writing_mode().and_then(|mode| mode.value.ok()),
        reads: config.reads_from_secondary(),
        path: file.path,
        poll_seconds: file.poll_seconds,
    })
}

/// What [`dynamic_now`] finds.
pub(crate) struct DynamicNow {
    /// The file.
    pub(crate) path: PathBuf,
    /// How often the server reads it.
    pub(crate) poll_seconds: u64,
    /// The mode of writing.
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
    let dynamic = dynamic_file(spec, host, &read_static(host)?.config)?;
    let edited = match dynamic_edit(&order.to) {
        None => match crossfade_config::restore(&dynamic.path, key) {
            Ok(restored) => restored == Restored::Restored,
            // Somebody else changed it meanwhile: what is needed of the way back is that our keys are gone.
            Err(error @ FileError::Conflict { .. }) => {
                let state = crossfade_config::read(&dynamic.path).map_err(|error| file_problem(&error))?;
                let removed = edit_dynamic(&dynamic.path, &state.bytes, &DynamicEdit::Remove);
                if removed.map_err(|refusal| refused(&refusal))?.is_changed() {
                    return Err(file_problem(&error).remedy(
                        "take both `system.*SecondaryVisibility*` keys out of the file by hand, or put the kept copy \
                         back; then `resume`",
                    ));
                }
                false
            }
            Err(error) => return Err(file_problem(&error)),
        },
        Some(edit) => {
            kept_orders::keep(&order.context, host)?;
            let state = crossfade_config::read(&dynamic.path).map_err(|error| file_problem(&error))?;
            let edited = edit_dynamic(&dynamic.path, &state.bytes, &edit).map_err(|refusal| refused(&refusal))?;
            let written = crossfade_config::write_if_unchanged(&dynamic.path, &state.sha256, &edited.into_bytes(), key)
                .map_err(|error| file_problem(&error))?;
            written == Written::Written
        }
    };
    Ok(DynamicConfigSet {
        path: dynamic.path.display().to_string(),
        edited,
        poll_seconds: dynamic.poll_seconds,
    })
}
