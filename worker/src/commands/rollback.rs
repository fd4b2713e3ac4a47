//! `crossfade rollback`: the way back, by the migration itself; and without it, from what it kept beside the files.

mod remains;

use std::time::Duration;

use crossfade_cluster::{
    kubernetes::{ConfigKey, Kubernetes},
    lock,
};
use crossfade_config::{ReadsFromSecondary, Standing, WritingMode, unified_diff};
use crossfade_plan::{
    order::{ConfigureHost, SetDynamicConfig},
    problem::Problem,
    settings::{self, DynamicConfig, HostConfig, Reads},
};
use crossfade_workflow::names::message as name;
use serde_json::json;
use temporalio_client::WorkflowExecutionStatus;

use super::message;
use crate::{
    cli::{Global, Rollback},
    exit::{Exit, Failure, Outcome},
    migration::{AskError, Migration},
    render,
    work::{
        beat::Beat,
        config_files::ConfigFile,
        frontend, host_files,
        hosts::{self, Turns},
        kept_orders::{self, KeptOrder},
    },
};

/// How much longer than its poll interval a host may take to act on a dynamic config file.
const READ_MARGIN: Duration = Duration::from_secs(2);

pub(super) async fn run(global: &Global, args: &Rollback) -> Outcome {
    if !args.from_files {
        return message::remark(global, name::ROLLBACK, &args.remark).await;
    }
    let orders = find(args).await?;
    let first = orders.first().ok_or_else(|| nothing_kept(args))?;
    if !args.cluster_is_gone {
        nobody_works_on_it(global, first, args.migration.is_some()).await?;
    }
    let files = files(&orders).await.map_err(one)?;
    let others: Vec<String> = files
        .iter()
        .filter(|kept| kept.standing == Standing::Others && !args.force.iter().any(|forced| kept.file.is(forced)))
        .map(|kept| kept.file.to_string())
        .collect();
    if !global.json {
        files.iter().for_each(|file| render::text(&file.diff));
    }
    if !others.is_empty() {
        return Err(Failure::refused(format!(
            "changed by somebody else since the migration wrote them: {}. Next step: see the differences above, put these \
             files right by hand or have their changes thrown away with --force FILE, and run this again",
            others.join(", ")
        )));
    }
    if !args.yes {
        let files: Vec<String> = files.iter().map(|kept| kept.file.to_string()).collect();
        if global.json {
            render::json(&json!({"migration": first.context.key, "files": files, "done": false}));
        } else {
            render::note(
                "nothing was changed. Next step: stop the hosts' `crossfade worker`, and run this again with --yes",
            );
        }
        return Ok(Exit::Done);
    }
    let rest = back(&orders, &files).await.map_err(one)?;
    if global.json {
        render::json(&json!({"migration": first.context.key, "done": true, "next_steps": rest}));
    } else {
        render::text("every file is as it was, and the hosts run with them");
        rest.iter().for_each(|step| render::text(format!("Next step: {step}")));
    }
    Ok(Exit::Done)
}

fn one(problem: Problem) -> Failure {
    vec![problem].into()
}

fn nothing_kept(args: &Rollback) -> Failure {
    Failure::refused(format!(
        "beside {} nothing is kept that is to be put back. Next step: check --config, --host, --migration and, for keys in \
         Kubernetes, --kube-namespace; and that this is the machine where the host's worker ran",
        args.configs.join(", ")
    ))
}

/// The static config that is named on the command line: a key in Kubernetes, or else a file.
fn named(args: &Rollback, config: &str) -> Result<ConfigFile, Failure> {
    let Ok(key) = config.parse::<ConfigKey>() else {
        return Ok(ConfigFile::OnDisk(config.into()));
    };
    let namespace = args.kube_namespace.clone().ok_or_else(|| {
        Failure::refused(format!(
            "`{config}` is a key in Kubernetes, and nothing says in which namespace. Next step: give --kube-namespace \
             NAMESPACE, as the spec has it under `restart.kubernetes`; for a file of that name write ./{config}"
        ))
    })?;
    let cluster = Kubernetes {
        namespace,
        workloads: Vec::new(),
        context: args.kube_context.clone(),
        kubeconfig: args.kubeconfig.clone(),
    };
    Ok(ConfigFile::InKubernetes(cluster, key))
}

/// The kept orders of the hosts that are asked for, all of one migration, in the order of the way back: hosts that serve
/// clients first, as they were restarted last.
async fn find(args: &Rollback) -> Result<Vec<KeptOrder>, Failure> {
    let mut found = Vec::new();
    for config in &args.configs {
        let config = named(args, config)?;
        found.extend(kept_orders::beside(&config).await.map_err(one)?);
    }
    found.retain(|kept| args.hosts.is_empty() || args.hosts.contains(&kept.host.name));
    // A migration began where the one before it had ended, so only the latest can be open.
    let latest = found
        .iter()
        .max_by_key(|kept| kept.since)
        .map(|kept| kept.context.key.clone());
    let Some(key) = args.migration.clone().or(latest) else {
        return Ok(found);
    };
    found.retain(|kept| kept.context.key == key);
    let mut open = false;
    for kept in &found {
        open |= args.migration.is_some() || is_open(kept).await.map_err(one)?;
    }
    if !open {
        found.clear();
    }
    let order = |kept: &KeptOrder| {
        let hosts = kept.context.spec.hosts_in_order();
        std::cmp::Reverse(hosts.iter().position(|host| host.name == kept.host.name))
    };
    found.sort_by_key(order);
    Ok(found)
}

/// Whether any of the host's files is not as it was before this migration, and was last written by it.
async fn is_open(kept: &KeptOrder) -> Result<bool, Problem> {
    let key = &kept.context.key;
    let dynamic = host_files::dynamic_now(&kept.context.spec, &kept.host).await?.file;
    let both = [
        ConfigFile::of(&kept.host)?.standing(key).await?,
        dynamic.standing(key).await?,
    ];
    // Without a file of its own, the change is somebody else's: of a later migration, perhaps.
    Ok(both.contains(&Standing::Ours) || both == [Standing::Others; 2])
}

/// The migration must have been ended from outside: one that runs goes back by itself, and one that came to its end has
/// nothing to go back to.
async fn nobody_works_on_it(global: &Global, kept: &KeptOrder, named: bool) -> Result<(), Failure> {
    let id = &kept.context.migration;
    let mut connection = global.connection.clone();
    connection.namespace = Some(kept.context.control_namespace.clone());
    let gone = "Next step: when the cluster that ran it is gone for good, say so with --cluster-is-gone";
    let migration = Migration::find(&connection, id).await.map_err(|failure| Failure {
        message: format!("{}. {gone}", failure.message),
        ..failure
    })?;
    match migration.describe().await {
        Ok(described) => match described.status {
            WorkflowExecutionStatus::Running => Err(Failure::refused(format!(
                "the migration `{id}` runs. Next step: `crossfade rollback --id {id}`; when it cannot, terminate its workflow \
                 and run this again"
            ))),
            WorkflowExecutionStatus::Completed => Err(Failure::refused(format!(
                "the migration `{id}` came to its end by itself, so there is nothing to put back. Next step: `crossfade \
                 report --id {id}`"
            ))),
            _ => Ok(()),
        },
        Err(AskError::NoMigration { .. }) if named => Ok(()),
        Err(error @ AskError::NoMigration { .. }) => Err(Failure::refused(format!(
            "{error}. When it is too old to be known there, and did not end by itself, name it: --migration {}",
            kept.context.key
        ))),
        Err(error) => {
            let failure = Failure::from(error);
            Err(Failure {
                message: format!("{}. {gone}", failure.message),
                ..failure
            })
        }
    }
}

/// A file that is to be put back.
struct KeptFile {
    file: ConfigFile,
    key: String,
    standing: Standing,
    diff: String,
}

/// The files that the migration wrote, each once, with what putting them back would change.
async fn files(orders: &[KeptOrder]) -> Result<Vec<KeptFile>, Problem> {
    let mut files: Vec<KeptFile> = Vec::new();
    for kept in orders {
        let dynamic = host_files::dynamic_now(&kept.context.spec, &kept.host).await?.file;
        for file in [ConfigFile::of(&kept.host)?, dynamic] {
            let name = file.to_string();
            if files.iter().any(|other| other.file.is(&name)) {
                continue;
            }
            let key = &kept.context.key;
            let Some(original) = file.kept_copy(key).await? else {
                continue;
            };
            let now = file.read().await?.bytes;
            let text = String::from_utf8_lossy;
            files.push(KeptFile {
                standing: file.standing(key).await?,
                diff: unified_diff(&name, &text(&now), &text(&original)),
                key: key.clone(),
                file,
            });
        }
    }
    Ok(files)
}

/// Goes back, in the order in which no write is lost; answers with what is left to be done.
async fn back(orders: &[KeptOrder], files: &[KeptFile]) -> Result<Vec<String>, Problem> {
    let rest = remains::of(orders).await?;
    // A host whose roles are swapped writes the target first: it would leave the source behind once it writes one store alone.
    for kept in orders {
        if host_files::is_swapped(&kept.context, &host_files::read_static(&kept.host).await?.config) {
            render::note(format!(
                "{}: restarting with the source as primary again",
                kept.host.name
            ));
            configure(kept, HostConfig::Dual).await?;
        }
    }
    for step in [Step::Reads, Step::Writes] {
        let mut wait = Duration::ZERO;
        for kept in orders {
            wait = wait.max(turned(kept, step).await?);
        }
        tokio::time::sleep(wait).await;
    }
    // What somebody else changed, and the operator gives up.
    for kept in files.iter().filter(|kept| kept.standing == Standing::Others) {
        put_back(kept).await?;
    }
    for kept in orders {
        if ConfigFile::of(&kept.host)?.standing(&kept.context.key).await? == Standing::NeverWritten {
            continue;
        }
        render::note(format!("{}: restarting with its former config", kept.host.name));
        configure(kept, HostConfig::Original).await?;
    }
    // The keys stay until no host has a second store: without them a host's mode would be its default.
    for kept in orders {
        set(kept, DynamicConfig::Original).await?;
    }
    let mut rest = rest;
    if let Some(first) = orders.first()
        && let Err(why) = unlocked(first).await
    {
        rest.push(format!(
            "the lock of the cluster could not be given back ({why}); the next migration takes it over by itself once this \
             one is seen to be gone"
        ));
    }
    Ok(rest)
}

/// Brings a host to a config on the way back, once.
async fn configure(kept: &KeptOrder, to: HostConfig) -> Result<(), Problem> {
    let order = ConfigureHost {
        context: kept.context.clone(),
        host: kept.host.clone(),
        to,
        back: true,
        together_with: Vec::new(),
    };
    hosts::configure(&order, &Turns::default(), &Beat::default())
        .await
        .map(drop)
}

/// What is turned in the dynamic config before a host is touched.
#[derive(Clone, Copy)]
enum Step {
    /// Reads come from the source.
    Reads,
    /// The target is written no more.
    Writes,
}

/// Turns one thing back where it is not so; how long it takes until every service has read it.
async fn turned(kept: &KeptOrder, step: Step) -> Result<Duration, Problem> {
    let now = host_files::dynamic_now(&kept.context.spec, &kept.host).await?;
    let dual = matches!(now.mode, Some(mode) if mode != WritingMode::Off);
    let is_so = match step {
        Step::Reads => now.reads == ReadsFromSecondary::default(),
        Step::Writes => !dual,
    };
    if is_so {
        return Ok(Duration::ZERO);
    }
    let (words, writing_mode) = match step {
        Step::Reads if dual => ("reads from the source", settings::WritingMode::Dual),
        Step::Reads => ("reads from the source", settings::WritingMode::Off),
        Step::Writes => ("writing mode off", settings::WritingMode::Off),
    };
    render::note(format!("{}: dynamic config: {words}", kept.host.name));
    let to = DynamicConfig::Set {
        writing_mode,
        reads: Reads::Source,
    };
    set(kept, to).await?;
    Ok(Duration::from_secs(now.poll_seconds) + READ_MARGIN)
}

async fn set(kept: &KeptOrder, to: DynamicConfig) -> Result<(), Problem> {
    let order = SetDynamicConfig {
        context: kept.context.clone(),
        host: kept.host.clone(),
        to,
        attributes: None,
    };
    host_files::set_dynamic(&order).await.map(drop)
}

async fn put_back(kept: &KeptFile) -> Result<(), Problem> {
    let Some(original) = kept.file.kept_copy(&kept.key).await? else {
        return Ok(());
    };
    let now = kept.file.read().await?;
    let written = kept.file.write_if_unchanged(&now.sha256, &original, &kept.key).await;
    written.map(drop)
}

/// Gives the cluster's lock back, if it is this migration's.
async fn unlocked(kept: &KeptOrder) -> Result<(), String> {
    let frontend = frontend::open(&kept.context.spec)
        .await
        .map_err(|problem| problem.message)?;
    let holder = lock::holder(&frontend, None).await.map_err(|error| error.to_string())?;
    match holder {
        Some(holder) if holder.owner.workflow_id == kept.context.migration => lock::release(&frontend, &holder.owner)
            .await
            .map_err(|error| error.to_string()),
        _ => Ok(()),
    }
}
