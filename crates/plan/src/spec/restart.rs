//! How a host's services are restarted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::period::Period;

/// How a host's services are restarted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Restart {
    /// A program and its arguments, run without a shell; exit status 0 means it was restarted.
    Command(#[schemars(length(min = 1))] Vec<String>),
    /// A systemd unit, restarted with `systemctl restart`.
    Systemd(String),
    /// Services of a Docker Compose project, restarted container by container through the Docker Engine's API.
    Compose(ComposeProject),
    /// Workloads of Kubernetes, rolled out again one after another. The host's files are keys of ConfigMaps or Secrets then:
    /// `config` and `dynamic_config` are written `configmap/NAME/KEY` or `secret/NAME/KEY`.
    Kubernetes(KubernetesWorkloads),
}

/// What runs a host's server in pods of Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KubernetesWorkloads {
    /// The namespace of Kubernetes.
    #[schemars(length(min = 1))]
    pub namespace: String,
    /// The Deployments and StatefulSets whose pods read this host's config, in the order in which they are rolled out:
    /// `deployment/NAME` or `statefulset/NAME`.
    #[schemars(length(min = 1))]
    pub workloads: Vec<String>,
    /// The context of the kubeconfig; its current one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// The kubeconfig, a path on the machine of this host's worker; when absent the worker's KUBECONFIG, its user's
    /// `~/.kube/config`, or the service account of the pod that it runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<String>,
    /// The longest that a change of a ConfigMap or Secret takes to reach the files in the pods: the kubelet's `syncFrequency`
    /// (1m by default) and half of it again, and what its caches take.
    #[serde(default = "default_sync")]
    pub sync: Period,
}

/// What runs a host's server in containers of Docker Compose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ComposeProject {
    /// The project's name, as `docker compose ls` shows it.
    #[schemars(length(min = 1))]
    pub project: String,
    /// The services whose containers read this host's config file, in the order in which they are restarted.
    #[schemars(length(min = 1))]
    pub services: Vec<String>,
    /// Where the engine is, as DOCKER_HOST says it, such as `unix:///run/user/1000/docker.sock`; what the worker's own
    /// DOCKER_HOST says when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
}

const fn default_sync() -> Period {
    Period::from_secs(120)
}
