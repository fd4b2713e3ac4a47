//! The migrated cluster's frontend: connecting, the cluster's facts, and the migration lock.

use std::time::Duration;

use crossfade_cluster::{ApiKey, ConnectSettings, Frontend, TlsSettings, frontend::NamespaceLife, lock};
use crossfade_plan::{
    dead_letters::DeadLetters,
    order::{ClusterFacts, Context, NamespaceFacts},
    problem::{Code, Problem},
    spec::Spec,
};

use super::{
    attributes,
    problems::{call, connect},
    secrets, stores,
};

/// How the spec reaches the frontend.
pub(crate) fn settings(spec: &Spec) -> Result<ConnectSettings, Problem> {
    let mut settings = ConnectSettings::plaintext(spec.cluster.frontend.as_str());
    settings.tls = spec.cluster.tls.as_ref().map(|tls| TlsSettings {
        ca_file: tls.ca_file.as_ref().map(Into::into),
        cert_file: tls.cert_file.as_ref().map(Into::into),
        key_file: tls.key_file.as_ref().map(Into::into),
        server_name: tls.server_name.clone(),
    });
    if let Some(reference) = &spec.cluster.api_key {
        settings.api_key = Some(ApiKey::new(secrets::resolve(reference, "cluster.api_key")?));
    }
    Ok(settings)
}

/// Connects to the frontend, trying for a few seconds.
pub(crate) async fn open(spec: &Spec) -> Result<Frontend, Problem> {
    Frontend::connect(&settings(spec)?)
        .await
        .map_err(|error| connect(&error))
}

/// Connects to the frontend and waits until it serves, for work that may meet a restart.
pub(crate) async fn await_open(spec: &Spec, within: Duration) -> Result<Frontend, Problem> {
    let mut settings = settings(spec)?;
    settings.connect_within = within;
    let frontend = Frontend::connect(&settings).await.map_err(|error| connect(&error))?;
    frontend
        .await_serving(within)
        .await
        .map_err(|error| Problem::new(Code::ClusterUnreachable, error.to_string()).at("cluster.frontend"))?;
    Ok(frontend)
}

/// Asks the cluster about itself.
pub(crate) async fn inspect(context: &Context) -> Result<ClusterFacts, Problem> {
    let frontend = open(&context.spec).await?;
    let cluster = frontend.cluster().await.map_err(|error| call(&error))?;
    let namespaces = frontend.namespaces().await.map_err(|error| call(&error))?;
    // A source that this worker cannot find is told with more words where it is opened.
    let attributes = match stores::source_entry(context).await {
        Ok(_) => Some(attributes::found(context, &frontend).await?),
        Err(_) => None,
    };
    Ok(ClusterFacts {
        attributes,
        dead_letters: Some(dead_letters(&frontend).await?),
        version: cluster.version.to_string(),
        name: cluster.name,
        shards: cluster.history_shards,
        visibility_stores: std::iter::once(cluster.visibility.primary)
            .chain(cluster.visibility.secondary)
            .collect(),
        namespaces: namespaces
            .into_iter()
            .filter(|namespace| namespace.state != NamespaceLife::Deleted)
            .map(|namespace| NamespaceFacts {
                retention_seconds: namespace.retention.map_or(0, |retention| retention.as_secs()),
                history_archival: namespace.history_archival,
                visibility_archival: namespace.visibility_archival,
                custom_search_attributes: u32::try_from(namespace.aliases.len()).unwrap_or(u32::MAX),
                name: namespace.name,
                id: namespace.id,
            })
            .collect(),
    })
}

/// Counts the visibility tasks that the server gave up on.
pub(crate) async fn count_dead_letters(context: &Context) -> Result<DeadLetters, Problem> {
    dead_letters(&open(&context.spec).await?).await
}

/// The same of an open frontend. The call is one of the admin API, which an operator may have closed.
async fn dead_letters(frontend: &Frontend) -> Result<DeadLetters, Problem> {
    match frontend.dead_letters().await {
        Ok(Some(counted)) => Ok(DeadLetters::Counted {
            visibility: counted.visibility,
        }),
        Ok(None) => Ok(DeadLetters::NotKept),
        Err(error) if error.is_transient() => Err(call(&error)),
        Err(error) => Ok(DeadLetters::Unknown { why: error.to_string() }),
    }
}

/// Takes the cluster's migration lock; `control_cluster` is the id of the cluster that runs the workflow. Whether a migration
/// that holds it still runs is asked there, too.
pub(crate) async fn take_lock(
    context: &Context,
    control_cluster: String,
    control: Option<&Frontend>,
) -> Result<(), Problem> {
    let frontend = open(&context.spec).await?;
    match lock::acquire(&frontend, &owner(context, control_cluster), control)
        .await
        .map_err(|error| lock_problem(&error))?
    {
        lock::Acquire::Acquired { taken_from } => {
            if let Some(former) = taken_from {
                tracing::warn!(
                    workflow_id = former.workflow_id,
                    "took a lock over from a migration that is gone"
                );
            }
            Ok(())
        }
        lock::Acquire::HeldBy(holder) => {
            let since = holder.since.map(|since| format!(" since {since}")).unwrap_or_default();
            let (id, namespace) = (&holder.owner.workflow_id, &holder.owner.namespace);
            let end = format!("wait for `{id}` to end, or end it: `tctl workflow signal -w {id} -n abort`");
            let (place, remedy) = match holder.state {
                lock::HolderState::Elsewhere => (
                    format!(" on the cluster with id {}", holder.owner.cluster_id),
                    format!(
                        "{end}, on that cluster. Once you have seen that it does not run any more: `tctl --address {} \
                         --namespace {} workflow terminate -w {}`",
                        context.spec.cluster.frontend,
                        lock::NAMESPACE,
                        lock::WORKFLOW_ID
                    ),
                ),
                _ => (String::new(), end),
            };
            let message = format!("migration `{id}` (Namespace {namespace}{place}) holds this cluster{since}");
            Err(Problem::new(Code::MigrationRunning, message)
                .at("cluster.frontend")
                .remedy(remedy))
        }
    }
}

/// Gives the lock back; nothing is to be done when it is gone already.
pub(crate) async fn release_lock(context: &Context, control_cluster: String) -> Result<(), Problem> {
    let frontend = open(&context.spec).await?;
    match lock::release(&frontend, &owner(context, control_cluster)).await {
        Ok(()) => Ok(()),
        Err(lock::LockError::NotOwner(_)) => Ok(()),
        Err(error) => Err(lock_problem(&error)),
    }
}

fn owner(context: &Context, cluster_id: String) -> lock::Owner {
    lock::Owner {
        cluster_id,
        namespace: context.control_namespace.clone(),
        workflow_id: context.migration.clone(),
    }
}

fn lock_problem(error: &lock::LockError) -> Problem {
    let code = if error.is_transient() {
        Code::ClusterUnreachable
    } else {
        Code::MigrationRunning
    };
    Problem::new(code, error.to_string()).at("cluster.frontend")
}
