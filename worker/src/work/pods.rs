//! Hosts whose server runs in pods: whether those read the keys that are edited, and how they come to run with them.

use std::{collections::BTreeSet, net::IpAddr, path::Path, time::Duration};

use crossfade_cluster::kubernetes::{ConfigKey, Helm, Kubernetes, NotAName, Seen};
use crossfade_plan::{
    order::{ConfigureHost, Context},
    problem::{Code, Problem},
    spec::{Host, KubernetesWorkloads, Restart},
};
use serde_json::Value;
use tokio::net::TcpStream;

use super::{config_files::ConfigFile, problems::kubernetes as kubernetes_problem};

/// How long an address that no packet comes back from is tried.
const REACHED_WITHIN: Duration = Duration::from_secs(3);

/// What runs a host's server; `None` where that is not Kubernetes.
pub(crate) fn of(host: &Host) -> Option<&KubernetesWorkloads> {
    match &host.restart {
        Restart::Kubernetes(workloads) => Some(workloads),
        Restart::Command(_) | Restart::Systemd(_) | Restart::Compose(_) => None,
    }
}

/// The cluster as it is asked.
///
/// # Errors
/// A workload is not named as one.
pub(crate) fn kubernetes(workloads: &KubernetesWorkloads, host: &Host) -> Result<Kubernetes, Problem> {
    let named: Result<Vec<_>, NotAName> = workloads.workloads.iter().map(|name| name.parse()).collect();
    Ok(Kubernetes {
        namespace: workloads.namespace.clone(),
        workloads: named.map_err(|error| misnamed(&error, host))?,
        context: workloads.context.clone(),
        kubeconfig: workloads.kubeconfig.as_ref().map(Into::into),
    })
}

/// A file's key.
///
/// # Errors
/// It is not named as one.
pub(crate) fn config_key(name: &str, host: &Host) -> Result<ConfigKey, Problem> {
    name.parse().map_err(|error: NotAName| misnamed(&error, host))
}

fn misnamed(error: &NotAName, host: &Host) -> Problem {
    Problem::new(Code::SpecInvalid, error.to_string()).at(format!("host {}", host.name))
}

/// Everything that would keep a host's pods from taking part: rights that are missing, workloads that never roll out, and
/// containers that do not read the config, or would not see an edit of the dynamic config.
pub(crate) async fn unfit(
    workloads: &KubernetesWorkloads,
    host: &Host,
    dynamic: &str,
    named_by_server: &Path,
) -> Vec<Problem> {
    let at = format!("host {}", host.name);
    let found = look(workloads, host, dynamic, named_by_server).await;
    let problems = found.unwrap_or_else(|problem| vec![problem]);
    problems.into_iter().map(|problem| problem.at(&at)).collect()
}

async fn look(
    workloads: &KubernetesWorkloads,
    host: &Host,
    dynamic: &str,
    named_by_server: &Path,
) -> Result<Vec<Problem>, Problem> {
    let cluster = kubernetes(workloads, host)?;
    let (config, dynamic) = (config_key(&host.config, host)?, config_key(dynamic, host)?);
    let missing = cluster.missing_rights(&[config.clone(), dynamic.clone()]).await;
    let missing = missing.map_err(|error| kubernetes_problem(&error))?;
    if !missing.is_empty() {
        return Ok(missing.iter().map(kubernetes_problem).collect());
    }
    let mut problems = Vec::new();
    if let Err(error) = cluster.check_rolls_out().await {
        problems.push(kubernetes_problem(&error));
    }
    for key in [&config, &dynamic] {
        let (seen, blind) = cluster.seen(key).await.map_err(|error| kubernetes_problem(&error))?;
        problems.extend(blind.iter().map(|workload| {
            Problem::new(
                Code::ConfigRefused,
                format!(
                    "no container of {workload} has `{key}` mounted, so that it would not read what is written there"
                ),
            )
            .remedy("name the key that its containers read (`kubectl get -o yaml`: volumes), or mount it into them")
        }));
        if *key == dynamic {
            problems.extend(
                seen.iter()
                    .filter_map(|seen| dynamic_config_unseen(seen, key, named_by_server)),
            );
        }
    }
    Ok(problems)
}

fn dynamic_config_unseen(seen: &Seen, key: &ConfigKey, named_by_server: &Path) -> Option<Problem> {
    let container = format!("container {} of {}", seen.container, seen.workload);
    if seen.alone {
        return Some(
            Problem::new(
                Code::ConfigRefused,
                format!("{container} has the dynamic config `{key}` mounted by subPath: it would go on reading what was there when its pod came to be"),
            )
            .remedy("mount the volume as a folder, without `subPath`, roll the workload out, and start again"),
        );
    }
    (named_by_server.is_absolute() && Path::new(&seen.at) != named_by_server).then(|| {
        Problem::new(
            Code::ConfigRefused,
            format!(
                "the server in {container} reads its dynamic config from `{}`, and has `{key}` at `{}`",
                named_by_server.display(),
                seen.at
            ),
        )
        .remedy("name in `dynamic_config` the key that is mounted where the server reads")
    })
}

/// Brings the host's pods to run with what its config says now, and waits until they are ready. Whether this call began it.
///
/// # Errors
/// They do not come up: which one, and why.
pub(crate) async fn roll_out(order: &ConfigureHost, workloads: &KubernetesWorkloads) -> Result<bool, Problem> {
    let host = &order.host;
    let content = ConfigFile::of(host)?.read().await?;
    let token = format!("{} {}", order.context.key, content.sha256);
    let rolled_out = kubernetes(workloads, host)?
        .roll_out(&token, host.restart_within.0)
        .await;
    rolled_out.map_err(|error| kubernetes_problem(&error).at(format!("host {}", host.name)))
}

/// The addresses of a host's ready pods.
///
/// # Errors
/// Kubernetes cannot be asked.
pub(crate) async fn addresses(workloads: &KubernetesWorkloads, host: &Host) -> Result<BTreeSet<IpAddr>, Problem> {
    let addresses = kubernetes(workloads, host)?.addresses().await;
    addresses.map_err(|error| kubernetes_problem(&error))
}

/// Whether a pod's address is one that this machine reaches: a worker outside the cluster reaches none as a rule, and has to
/// believe Kubernetes that its pods are ready.
pub(crate) async fn is_reached(address: std::net::SocketAddr) -> bool {
    match tokio::time::timeout(REACHED_WITHIN, TcpStream::connect(address)).await {
        Ok(Ok(_)) => true,
        // Somebody is there to refuse.
        Ok(Err(error)) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        Err(_) => false,
    }
}

/// What the operator of a Helm release has to do, so that its next upgrade does not take the migration back: `name` is the
/// static config.
pub(crate) fn helms_config(context: &Context, name: &str, helm: &Helm) -> String {
    let target = &context.spec.target;
    let values = serde_json::json!({"server": {"config": {"persistence": {
        "visibilityStore": target.name,
        "datastores": {target.name.clone(): crossfade_config::redact(&Value::Object(target.datastore.clone()))},
    }}}});
    // What cannot be printed as YAML is JSON, which a values.yaml may hold as well.
    let values = yaml_serde::to_string(&values).unwrap_or_else(|_| values.to_string());
    let values: Vec<String> = values.lines().map(|line| format!("      {line}")).collect();
    format!(
        "`{name}` belongs to {}, whose next upgrade writes it anew: no `helm upgrade` until the migration has ended. To make it \
         permanent, then put what the config says into values.yaml before the next one; in the words of Temporal's own chart, \
         where the spec's own references stand for secrets:\n{}",
        release(helm),
        values.join("\n")
    )
}

/// The same for the dynamic config.
pub(crate) fn helms_dynamic_config(name: &str, helm: &Helm) -> String {
    format!(
        "`{name}` belongs to {}, whose upgrade would take the migration's keys away: no `helm upgrade` until the migration has \
         ended. Then it is as it was before, and values.yaml (`server.dynamicConfig` in Temporal's own chart) needs no change",
        release(helm)
    )
}

fn release(helm: &Helm) -> String {
    let chart = helm.chart.as_ref().map(|chart| format!(" (chart {chart})"));
    format!("the Helm release `{}`{}", helm.release, chart.unwrap_or_default())
}
