//! What can go wrong with pods and what they are made from.

use std::time::Duration;

use super::{ConfigKey, Right, Workload};

/// A key that cannot be read or written, or a workload that is not rolled out. Unless it says otherwise nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KubernetesError {
    /// Nothing says which cluster, or as whom.
    #[error(
        "no access to a Kubernetes cluster: {reason}; `kubectl get pods` must work as the worker's user with the same KUBECONFIG, or \
         the worker must run in a pod with a service account"
    )]
    NoAccess {
        /// Why.
        reason: String,
    },
    /// The API server does not answer.
    #[error("the Kubernetes API does not answer ({doing}): {reason}")]
    Unreachable {
        /// What was asked.
        doing: Right,
        /// Why.
        reason: String,
    },
    /// A right is missing.
    #[error(
        "whoever the worker is for Kubernetes may not {right} in namespace `{namespace}`; {} has all that is needed, \
         `kubectl auth can-i {} -n {namespace}` tells whether this is granted", super::rights::MANIFEST, .right.asked()
    )]
    Forbidden {
        /// What it would take.
        right: Right,
        /// Where.
        namespace: String,
    },
    /// The API server said no.
    #[error("Kubernetes refused to {doing}: {message} (status {status})")]
    Refused {
        /// What was asked.
        doing: Right,
        /// Its words.
        message: String,
        /// HTTP status.
        status: u16,
    },
    /// No such ConfigMap, Secret, Deployment or StatefulSet.
    #[error("there is no {what} in namespace `{namespace}`; write it as `kubectl get` shows it")]
    NotFound {
        /// What was looked for.
        what: String,
        /// Where.
        namespace: String,
    },
    /// The object has no such key.
    #[error(
        "{key}: there is no such key; there are: {}", if .there.is_empty() { "none".to_owned() } else { .there.join(", ") }
    )]
    NoKey {
        /// What was looked for.
        key: ConfigKey,
        /// The object's keys.
        there: Vec<String>,
    },
    /// `immutable: true`.
    #[error(
        "{key}: the object is immutable, so that Kubernetes lets nobody change it; make one without `immutable: true` under another \
         name, have the pods mount that, and name it here"
    )]
    Immutable {
        /// The key.
        key: ConfigKey,
    },
    /// Compare-and-swap: the key is not what the edit was made from.
    #[error(
        "{key}: changed meanwhile{by} (sha256 {found}, expected {expected}); nothing was written. Read it again and make the edit anew"
    )]
    Changed {
        /// The key.
        key: Box<ConfigKey>,
        /// Who and when, where the object tells, with a blank before.
        by: String,
        /// Hash that the caller expected.
        expected: String,
        /// Hash found.
        found: String,
    },
    /// Restoring would throw away someone else's change.
    #[error(
        "{key}: was changed by someone else since the migration edited it{by}, so it is left as it is; compare it with the original \
         in {kept}, and take over what is needed by hand"
    )]
    Conflict {
        /// The key.
        key: Box<ConfigKey>,
        /// Who and when, where the object tells, with a blank before.
        by: String,
        /// The object that has the original.
        kept: String,
    },
    /// What is kept cannot be understood.
    #[error("{kept}: {fault}; it is damaged, so the original cannot be restored from it: use your own backup")]
    KeptDamaged {
        /// The object.
        kept: String,
        /// What is wrong.
        fault: String,
    },
    /// The workload would never come to have the new config by a rollout.
    #[error("{workload}: {why}; {remedy}")]
    NeverRollsOut {
        /// The workload.
        workload: Workload,
        /// Why.
        why: String,
        /// The next step.
        remedy: &'static str,
    },
    /// It does not become what it is to be.
    #[error("{workload} was not rolled out within {within:?}: {state}{}", if .pods.is_empty() { String::new() } else { format!("; {}", .pods.join("; ")) })]
    NotRolledOut {
        /// The workload.
        workload: Workload,
        /// How long all workloads had.
        within: Duration,
        /// How far it came.
        state: String,
        /// What keeps its pods, each by name.
        pods: Vec<String>,
    },
    /// Kubernetes itself gave up.
    #[error(
        "{workload} exceeded its progress deadline: {state}{}", if .pods.is_empty() { String::new() } else { format!("; {}", .pods.join("; ")) }
    )]
    Stuck {
        /// The workload.
        workload: Workload,
        /// How far it came.
        state: String,
        /// What keeps its pods, each by name.
        pods: Vec<String>,
    },
}

impl KubernetesError {
    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::NotRolledOut { .. } => true,
            Self::Refused { status, .. } => *status >= 500 || *status == 429,
            _ => false,
        }
    }
}
