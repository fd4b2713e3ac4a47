//! What the API is asked for, in RBAC's words, and whether that is granted.

use std::fmt;

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::{Api, PostParams};

use super::keys::kept_name;
use super::{ConfigKey, Kubernetes, KubernetesError};

/// The manifest that grants everything that this module asks for.
pub(crate) const MANIFEST: &str = "deploy/kubernetes/rbac.yaml";

/// One thing to be allowed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// The verb: `get`, `list`, `create`, `patch`.
    pub verb: &'static str,
    /// The resource, in the plural.
    pub resource: String,
    /// Its API group; empty for the core's.
    pub group: String,
    /// The object, where one is meant.
    pub name: Option<String>,
}

impl Right {
    pub(crate) fn on_key(verb: &'static str, key: &ConfigKey, name: &str) -> Self {
        let resource = key.resource();
        Self {
            verb,
            resource: resource.plural,
            group: resource.group,
            name: (verb != "create").then(|| name.to_owned()),
        }
    }

    pub(crate) fn on_workload(verb: &'static str, workload: &super::Workload) -> Self {
        let resource = workload.resource();
        Self {
            verb,
            resource: resource.plural,
            group: resource.group,
            name: Some(workload.name.clone()),
        }
    }

    pub(crate) fn list_pods() -> Self {
        Self {
            verb: "list",
            resource: "pods".to_owned(),
            group: String::new(),
            name: None,
        }
    }

    /// As `kubectl auth can-i` is asked for it.
    pub(crate) fn asked(&self) -> String {
        let group = if self.group.is_empty() {
            String::new()
        } else {
            format!(".{}", self.group)
        };
        let name = self.name.as_ref().map(|name| format!("/{name}")).unwrap_or_default();
        format!("{} {}{group}{name}", self.verb, self.resource)
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        self.name.as_ref().map_or(Ok(()), |name| write!(f, " `{name}`"))
    }
}

impl Kubernetes {
    /// Every right that editing `keys`, keeping their originals and rolling the workloads out takes.
    pub fn needed_rights(&self, keys: &[ConfigKey]) -> Vec<Right> {
        let mut needed = vec![Right::list_pods()];
        for key in keys {
            needed.push(Right::on_key("create", key, ""));
            for name in [key.name.clone(), kept_name(key)] {
                needed.extend(["get", "patch"].map(|verb| Right::on_key(verb, key, &name)));
            }
        }
        for workload in &self.workloads {
            needed.extend(["get", "patch"].map(|verb| Right::on_workload(verb, workload)));
        }
        needed.sort();
        needed.dedup();
        needed
    }

    /// Asks the API which of the rights that are needed are not granted, and gives an error for each.
    ///
    /// # Errors
    /// The API cannot be asked.
    pub async fn missing_rights(&self, keys: &[ConfigKey]) -> Result<Vec<KubernetesError>, KubernetesError> {
        let api: Api<SelfSubjectAccessReview> = Api::all(self.client().await?);
        let mut missing = Vec::new();
        for right in self.needed_rights(keys) {
            let review = SelfSubjectAccessReview {
                spec: SelfSubjectAccessReviewSpec {
                    resource_attributes: Some(ResourceAttributes {
                        namespace: Some(self.namespace.clone()),
                        verb: Some(right.verb.to_owned()),
                        group: Some(right.group.clone()),
                        resource: Some(right.resource.clone()),
                        name: right.name.clone(),
                        ..ResourceAttributes::default()
                    }),
                    ..SelfSubjectAccessReviewSpec::default()
                },
                ..SelfSubjectAccessReview::default()
            };
            let answer = api.create(&PostParams::default(), &review).await;
            let answer = answer.map_err(|error| self.failed(&right, error))?;
            if !answer.status.is_some_and(|status| status.allowed) {
                missing.push(KubernetesError::Forbidden {
                    right,
                    namespace: self.namespace.clone(),
                });
            }
        }
        Ok(missing)
    }

    pub(crate) fn failed(&self, doing: &Right, error: kube::Error) -> KubernetesError {
        let (doing, namespace) = (doing.clone(), self.namespace.clone());
        match error {
            kube::Error::Api(status) => match status.code {
                // An admission controller says 403 too, for reasons of its own.
                403 if status.message.contains(&format!("cannot {} resource", doing.verb)) => {
                    KubernetesError::Forbidden {
                        right: doing,
                        namespace,
                    }
                }
                404 => KubernetesError::NotFound {
                    what: format!("{} `{}`", doing.resource, doing.name.unwrap_or_default()),
                    namespace,
                },
                401 => KubernetesError::NoAccess {
                    reason: format!("the API server does not know who asks ({})", status.message),
                },
                code => KubernetesError::Refused {
                    doing,
                    message: status.message.clone(),
                    status: code,
                },
            },
            error => KubernetesError::Unreachable {
                doing,
                reason: with_causes(&error),
            },
        }
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        cause = error.source();
    }
    words
}
