//! A server that runs in pods of Kubernetes, by the cluster's own API: its files are keys of ConfigMaps and Secrets, and it is
//! restarted by rolling its Deployments and StatefulSets out again.
//!
//! - `keys`: a key is read, and replaced only while it is as it was read; its original is kept in an object of its own.
//! - `beside`: what else is kept in that object, for a way back without the migration.
//! - `rollout`: a rollout is begun once for each content that it is to bring, and awaited.
//! - `mounts`: how the containers see a key. A mounted *folder* shows a key's new content once the kubelet has synced; a key
//!   that is mounted by `subPath` never changes under a running container.
//! - `rights`: what the API is asked for, and what is missing of it. No call needs more than deploy/kubernetes/rbac.yaml grants.

mod beside;
mod error;
mod keys;
mod mounts;
mod rights;
mod rollout;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, ApiResource, DynamicObject};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};

pub use beside::KeyStanding;
pub use error::KubernetesError;
pub use keys::{Content, GivenBack, kept_in};
pub use mounts::{Helm, Seen};
pub use rights::Right;

/// The bound of one call.
const CALL: Duration = Duration::from_secs(30);

/// What a server runs as in a namespace of a Kubernetes cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kubernetes {
    /// The namespace.
    pub namespace: String,
    /// Its workloads, in the order in which they are rolled out.
    pub workloads: Vec<Workload>,
    /// The context of the kubeconfig; its current one when absent.
    pub context: Option<String>,
    /// The kubeconfig. When absent the one that KUBECONFIG names, or else `~/.kube/config`, or else the service account of the
    /// pod that this runs in.
    pub kubeconfig: Option<PathBuf>,
}

/// A Deployment or a StatefulSet. Written `deployment/NAME` or `statefulset/NAME`, as kubectl has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Workload {
    /// Whether it is a StatefulSet.
    pub is_stateful: bool,
    /// Its name.
    pub name: String,
}

/// A key of a ConfigMap or a Secret: what a pod has as a file. Written `configmap/NAME/KEY` or `secret/NAME/KEY`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigKey {
    /// Whether it is of a Secret.
    pub is_secret: bool,
    /// The object's name.
    pub name: String,
    /// The key in its data.
    pub key: String,
}

/// Something that is not written as it has to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not {expected}")]
pub struct NotAName {
    /// What was given.
    pub given: String,
    /// What is expected.
    pub expected: &'static str,
}

impl FromStr for Workload {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let (is_stateful, name) = match text.split_once('/') {
            Some(("deployment", name)) => (false, name),
            Some(("statefulset", name)) => (true, name),
            _ => (false, ""),
        };
        if is_object_name(name) {
            return Ok(Self {
                is_stateful,
                name: name.to_owned(),
            });
        }
        Err(NotAName {
            given: text.to_owned(),
            expected: "a workload: write deployment/NAME or statefulset/NAME",
        })
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_stateful { "statefulset" } else { "deployment" };
        write!(f, "{kind}/{}", self.name)
    }
}

impl FromStr for ConfigKey {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let mut parts = text.split('/');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(kind @ ("configmap" | "secret")), Some(name), Some(key), None)
                if is_object_name(name) && !key.is_empty() && key.chars().all(fits) =>
            {
                Ok(Self {
                    is_secret: kind == "secret",
                    name: name.to_owned(),
                    key: key.to_owned(),
                })
            }
            _ => Err(NotAName {
                given: text.to_owned(),
                expected: "a key of a ConfigMap or Secret: write configmap/NAME/KEY or secret/NAME/KEY",
            }),
        }
    }
}

impl fmt::Display for ConfigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.kind(), self.name, self.key)
    }
}

impl ConfigKey {
    fn kind(&self) -> &'static str {
        if self.is_secret { "secret" } else { "configmap" }
    }

    fn resource(&self) -> ApiResource {
        if self.is_secret {
            ApiResource::erase::<Secret>(&())
        } else {
            ApiResource::erase::<ConfigMap>(&())
        }
    }
}

impl Workload {
    fn resource(&self) -> ApiResource {
        if self.is_stateful {
            ApiResource::erase::<StatefulSet>(&())
        } else {
            ApiResource::erase::<Deployment>(&())
        }
    }
}

/// A DNS subdomain, as objects are named.
fn is_object_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    (1..=253).contains(&name.len()) && name.chars().all(fits)
}

impl Kubernetes {
    async fn client(&self) -> Result<kube::Client, KubernetesError> {
        // The client makes its TLS settings with the process's provider, and takes none from its caller; where another one is
        // set already, that one does as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let no_access = |reason: String| KubernetesError::NoAccess { reason };
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        let mut config = match (&self.kubeconfig, &self.context) {
            (Some(path), _) => {
                let kubeconfig = Kubeconfig::read_from(path).map_err(|error| no_access(error.to_string()))?;
                Config::from_custom_kubeconfig(kubeconfig, &options)
                    .await
                    .map_err(|error| no_access(error.to_string()))?
            }
            (None, Some(_)) => Config::from_kubeconfig(&options)
                .await
                .map_err(|error| no_access(error.to_string()))?,
            (None, None) => Config::infer().await.map_err(|error| no_access(error.to_string()))?,
        };
        config.connect_timeout = Some(CALL);
        config.read_timeout = Some(CALL);
        config.reset_reader_on_write = true;
        kube::Client::try_from(config).map_err(|error| no_access(error.to_string()))
    }

    fn objects(&self, client: &kube::Client, resource: &ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(client.clone(), &self.namespace, resource)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_is_read_and_printed_as_kubectl_has_it() {
        for text in ["deployment/temporal-history", "statefulset/a.b"] {
            assert_eq!(text.parse::<Workload>().map(|it| it.to_string()), Ok(text.to_owned()));
        }
        for text in ["configmap/temporal-config/production.yaml", "secret/s/K_1"] {
            assert_eq!(text.parse::<ConfigKey>().map(|it| it.to_string()), Ok(text.to_owned()));
        }
        for wrong in [
            "",
            "deployment/",
            "pod/a",
            "deployment/A",
            "deployment/a/b",
            "temporal-history",
        ] {
            assert!(wrong.parse::<Workload>().is_err(), "{wrong}");
        }
        for wrong in [
            "configmap/a",
            "configmap/a/b/c",
            "/etc/temporal/a.yaml",
            "secret//k",
            "secret/a/",
            "configmap/a/ü",
        ] {
            assert!(wrong.parse::<ConfigKey>().is_err(), "{wrong}");
        }
    }
}
