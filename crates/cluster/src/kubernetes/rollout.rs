//! A workload rolled out again, once for each content that it is to bring.
//!
//! As `kubectl rollout restart` does it: a new annotation of the pods' template, so that the controller replaces its pods by the
//! workload's own strategy. A second annotation says what the rollout is for. So an attempt that was killed at any moment leaves
//! behind all that the next one needs: the same words there mean that the rollout was begun, and it is only awaited.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{Kubernetes, KubernetesError, Right, Workload};

/// As whom we change objects.
pub(crate) const MANAGER: &str = "crossfade";

/// What `kubectl rollout restart` writes.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// What the last rollout of ours was for.
const ROLLED_OUT_FOR: &str = "crossfade/rolled-out-for";

/// Pause between two looks at a rollout.
const PAUSE: Duration = Duration::from_millis(500);

/// What is told while a workload's status is older than its spec.
const UNSEEN: &str = "its controller has not seen the change yet (is kube-controller-manager up?)";

/// How often beginning a rollout is tried again because the workload changed between the look and the write.
const TRIES: u32 = 8;

/// What a workload is and how far it is.
pub(crate) struct WorkloadState {
    version: Option<String>,
    rolled_out_for: Option<Mark>,
    /// Since when its controller has said that it exceeded its deadline.
    late_since: Option<String>,
    /// What its pods are made from.
    pub(crate) pods: PodSpec,
    selector: LabelSelector,
    never: Option<(String, &'static str)>,
    progress: Progress,
}

/// What [`ROLLED_OUT_FOR`] says: for what, and since when the rollout before was late. That one's lateness stands in the
/// workload's status until the next rollout has made its first step (kubernetes 1.35.4: pkg/controller/deployment/progress.go).
struct Mark {
    token: String,
    late_before: Option<String>,
}

/// How far a rollout is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Progress {
    Done,
    Going(String),
    Stuck(String),
}

impl Kubernetes {
    /// Rolls each workload out, one after another, each completely before the next, unless that was begun already for the same
    /// `token`. Says whether any rollout was begun by this call.
    ///
    /// # Errors
    /// A workload cannot be rolled out at all, or is not within the time.
    pub async fn roll_out(&self, token: &str, within: Duration) -> Result<bool, KubernetesError> {
        let (begun, client) = (Instant::now(), self.client().await?);
        // A mark has no more than what it is compared for.
        let token: String = Sha256::digest(token.as_bytes())
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        self.check_rolls_out().await?;
        let mut any = false;
        for workload in &self.workloads {
            any |= self.begin(&client, workload, &token).await?;
            self.come_up(&client, workload, begun, within).await?;
        }
        Ok(any)
    }

    /// The addresses of the workloads' pods that are ready.
    ///
    /// # Errors
    /// They cannot be asked for.
    pub async fn addresses(&self) -> Result<BTreeSet<IpAddr>, KubernetesError> {
        let client = self.client().await?;
        let mut addresses = BTreeSet::new();
        for workload in &self.workloads {
            let selector = self.state(&client, workload).await?.selector;
            let pods = self.pods(&client, &selector).await?;
            let ready = pods.iter().filter(|pod| is_ready(pod));
            addresses.extend(ready.filter_map(|pod| pod.status.as_ref()?.pod_ip.as_ref()?.parse::<IpAddr>().ok()));
        }
        Ok(addresses)
    }

    /// Why a workload would not take part in a rollout, as far as it tells itself.
    ///
    /// # Errors
    /// The first such workload, or one that cannot be read.
    pub async fn check_rolls_out(&self) -> Result<(), KubernetesError> {
        let client = self.client().await?;
        for workload in &self.workloads {
            if let Some((why, remedy)) = self.state(&client, workload).await?.never {
                let workload = workload.clone();
                return Err(KubernetesError::NeverRollsOut { workload, why, remedy });
            }
        }
        Ok(())
    }

    pub(crate) async fn state(
        &self,
        client: &kube::Client,
        workload: &Workload,
    ) -> Result<WorkloadState, KubernetesError> {
        let right = Right::on_workload("get", workload);
        if workload.is_stateful {
            let api: Api<StatefulSet> = Api::namespaced(client.clone(), &self.namespace);
            let found = api
                .get(&workload.name)
                .await
                .map_err(|error| self.failed(&right, error))?;
            Ok(of_stateful_set(found))
        } else {
            let api: Api<Deployment> = Api::namespaced(client.clone(), &self.namespace);
            let found = api
                .get(&workload.name)
                .await
                .map_err(|error| self.failed(&right, error))?;
            Ok(of_deployment(found))
        }
    }

    async fn begin(&self, client: &kube::Client, workload: &Workload, token: &str) -> Result<bool, KubernetesError> {
        let right = Right::on_workload("patch", workload);
        let api = self.objects(client, &workload.resource());
        for _ in 0..TRIES {
            let state = self.state(client, workload).await?;
            if state.rolled_out_for.is_some_and(|mark| mark.token == token) {
                return Ok(false);
            }
            let late_before = state.late_since.map(|since| format!(" {since}")).unwrap_or_default();
            let marks = json!({
                RESTARTED_AT: Timestamp::now().to_string(),
                ROLLED_OUT_FOR: format!("{token}{late_before}"),
            });
            let change = Patch::Merge(json!({
                "metadata": {"resourceVersion": state.version},
                "spec": {"template": {"metadata": {"annotations": marks}}},
            }));
            let parameters = PatchParams {
                field_manager: Some(MANAGER.to_owned()),
                ..PatchParams::default()
            };
            match api.patch(&workload.name, &parameters, &change).await {
                Ok(_) => return Ok(true),
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(self.failed(&right, error)),
            }
        }
        Err(KubernetesError::Refused {
            doing: right,
            message: format!("it was changed by others each of {TRIES} times between reading and writing it"),
            status: 429,
        })
    }

    async fn come_up(
        &self,
        client: &kube::Client,
        workload: &Workload,
        begun: Instant,
        within: Duration,
    ) -> Result<(), KubernetesError> {
        loop {
            let (selector, progress) = match self.state(client, workload).await {
                Ok(state) => (Some(state.selector), state.progress),
                // The API server may be away for a moment, as in an upgrade.
                Err(error) if error.is_transient() => (None, Progress::Going(error.to_string())),
                Err(error) => return Err(error),
            };
            let is_late = begun.elapsed() + PAUSE >= within;
            match progress {
                Progress::Done => return Ok(()),
                Progress::Going(_) if !is_late => tokio::time::sleep(PAUSE).await,
                Progress::Going(state) => {
                    return Err(KubernetesError::NotRolledOut {
                        workload: workload.clone(),
                        within,
                        state,
                        pods: self.troubles(client, selector.as_ref()).await,
                    });
                }
                Progress::Stuck(state) => {
                    return Err(KubernetesError::Stuck {
                        workload: workload.clone(),
                        state,
                        pods: self.troubles(client, selector.as_ref()).await,
                    });
                }
            }
        }
    }

    async fn pods(&self, client: &kube::Client, selector: &LabelSelector) -> Result<Vec<Pod>, KubernetesError> {
        let api: Api<Pod> = Api::namespaced(client.clone(), &self.namespace);
        let listed = api.list(&ListParams::default().labels(&in_words(selector))).await;
        let listed = listed.map_err(|error| self.failed(&Right::list_pods(), error))?;
        Ok(listed.items)
    }

    async fn troubles(&self, client: &kube::Client, selector: Option<&LabelSelector>) -> Vec<String> {
        let Some(selector) = selector else { return Vec::new() };
        match self.pods(client, selector).await {
            Ok(pods) => pods.iter().filter_map(trouble).collect(),
            Err(error) => vec![error.to_string()],
        }
    }
}

fn mark(metadata: Option<&ObjectMeta>) -> Option<Mark> {
    let mut words = metadata?
        .annotations
        .as_ref()?
        .get(ROLLED_OUT_FOR)?
        .split(' ')
        .map(str::to_owned);
    Some(Mark {
        token: words.next()?,
        late_before: words.next(),
    })
}

/// As `kubectl rollout status` sees it (kubernetes 1.35.4: staging/src/k8s.io/kubectl/pkg/polymorphichelpers/rollout_status.go).
fn of_deployment(found: Deployment) -> WorkloadState {
    let (spec, status) = (found.spec.unwrap_or_default(), found.status.unwrap_or_default());
    let wanted = spec.replicas.unwrap_or(1);
    let updated = status.updated_replicas.unwrap_or(0);
    let old = status.replicas.unwrap_or(0) - updated;
    let available = status.available_replicas.unwrap_or(0);
    let late_since = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| {
            condition.type_ == "Progressing" && condition.reason.as_deref() == Some("ProgressDeadlineExceeded")
        })
        .map(|condition| {
            condition
                .last_update_time
                .as_ref()
                .map(|time| time.0.to_string())
                .unwrap_or_default()
        });
    let rolled_out_for = mark(spec.template.metadata.as_ref());
    let late_before = rolled_out_for.as_ref().and_then(|mark| mark.late_before.as_ref());
    let is_late = late_since.is_some() && late_since.as_ref() != late_before;
    let state = format!("{updated} of {wanted} pods are new, {available} of those available, {old} old ones left");
    let progress = if status.observed_generation < found.metadata.generation {
        Progress::Going(UNSEEN.to_owned())
    } else if updated >= wanted && old <= 0 && available >= updated {
        Progress::Done
    } else if is_late {
        Progress::Stuck(state)
    } else {
        Progress::Going(state)
    };
    let is_paused = spec.paused == Some(true);
    WorkloadState {
        version: found.metadata.resource_version,
        rolled_out_for,
        late_since,
        pods: spec.template.spec.unwrap_or_default(),
        selector: spec.selector,
        never: is_paused.then(|| ("its rollouts are paused".to_owned(), "`kubectl rollout resume` it")),
        progress,
    }
}

fn of_stateful_set(found: StatefulSet) -> WorkloadState {
    let (spec, status) = (found.spec.unwrap_or_default(), found.status.unwrap_or_default());
    let wanted = spec.replicas.unwrap_or(1);
    let updated = status.updated_replicas.unwrap_or(0);
    let available = status.available_replicas.unwrap_or(0);
    let is_one_revision = status.update_revision == status.current_revision;
    let state = format!("{updated} of {wanted} pods are new, {available} of {wanted} available");
    let progress = if status.observed_generation < found.metadata.generation {
        Progress::Going(UNSEEN.to_owned())
    } else if is_one_revision && available >= wanted && status.ready_replicas.unwrap_or(0) >= wanted {
        Progress::Done
    } else {
        Progress::Going(state)
    };
    let strategy = spec.update_strategy.unwrap_or_default();
    let partition = strategy
        .rolling_update
        .and_then(|rolling| rolling.partition)
        .unwrap_or(0);
    let never = if strategy.type_.as_deref() == Some("OnDelete") {
        let why = "its update strategy is OnDelete, by which it keeps its old pods".to_owned();
        Some((why, "set `updateStrategy.type: RollingUpdate`"))
    } else if partition > 0 {
        let why = format!("its update strategy leaves pods below number {partition} as they are");
        Some((why, "set `updateStrategy.rollingUpdate.partition: 0`"))
    } else {
        None
    };
    WorkloadState {
        version: found.metadata.resource_version,
        rolled_out_for: mark(spec.template.metadata.as_ref()),
        late_since: None,
        pods: spec.template.spec.unwrap_or_default(),
        selector: spec.selector,
        never,
        progress,
    }
}

/// A selector as a list is asked with it.
fn in_words(selector: &LabelSelector) -> String {
    let mut parts: Vec<String> = selector
        .match_labels
        .iter()
        .flatten()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    for expression in selector.match_expressions.iter().flatten() {
        let (key, values) = (&expression.key, expression.values.clone().unwrap_or_default().join(","));
        parts.push(match expression.operator.as_str() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.clone(),
        });
    }
    parts.join(",")
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && conditions
            .into_iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// What keeps a pod from being ready, with its name; `None` for one that is, or that is on its way out.
fn trouble(pod: &Pod) -> Option<String> {
    if is_ready(pod) || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let status = pod.status.clone().unwrap_or_default();
    let name = pod.metadata.name.clone().unwrap_or_default();
    let containers = status
        .init_container_statuses
        .iter()
        .flatten()
        .chain(status.container_statuses.iter().flatten());
    let mut why: Vec<String> = containers
        .filter(|container| !container.ready)
        .filter_map(|container| {
            let state = container.state.clone().unwrap_or_default();
            let last = container
                .last_state
                .clone()
                .unwrap_or_default()
                .terminated
                .or(state.terminated);
            let waiting = state.waiting.map(|waiting| {
                [waiting.reason, waiting.message]
                    .into_iter()
                    .flatten()
                    .collect::<Vec<_>>()
                    .join(": ")
            });
            let ended = last.map(|ended| {
                let reason = ended.reason.unwrap_or_default();
                let message = ended
                    .message
                    .map(|message| format!(": {}", message.trim()))
                    .unwrap_or_default();
                format!("ended with exit status {} ({reason}){message}", ended.exit_code)
            });
            let words: Vec<String> = [waiting, ended]
                .into_iter()
                .flatten()
                .filter(|words| !words.is_empty())
                .collect();
            (!words.is_empty()).then(|| format!("container {} {}", container.name, words.join(", ")))
        })
        .collect();
    if why.is_empty() {
        let conditions = status.conditions.iter().flatten();
        why = conditions
            .filter(|condition| condition.status == "False")
            .filter_map(|condition| {
                let reason = condition.reason.as_ref()?;
                let message = condition
                    .message
                    .as_ref()
                    .map(|message| format!(": {message}"))
                    .unwrap_or_default();
                Some(format!("{reason}{message}"))
            })
            .collect();
        why.dedup();
    }
    if why.is_empty() {
        why.push(format!(
            "it is {}",
            status.phase.unwrap_or_else(|| "unknown".to_owned())
        ));
    }
    Some(format!("pod {name}: {}; see `kubectl logs {name}`", why.join(", ")))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn pod(status: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "history-1"}, "status": status})).expect("a pod")
    }

    #[test]
    fn a_pod_says_what_keeps_it() {
        let crashing = pod(json!({"phase": "Running", "containerStatuses": [{
            "name": "temporal", "ready": false, "restartCount": 3, "image": "i", "imageID": "",
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
            "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "message": "no such datastore"}},
        }]}));
        let said = trouble(&crashing).expect("trouble");
        for words in [
            "history-1",
            "temporal",
            "CrashLoopBackOff: back-off 40s",
            "exit status 1",
            "no such datastore",
        ] {
            assert!(said.contains(words), "{said}");
        }
        let homeless = pod(json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
        ]}));
        assert!(trouble(&homeless).is_some_and(|said| said.contains("Unschedulable: 0/3 nodes")));
        let ready = pod(json!({"conditions": [{"type": "Ready", "status": "True"}]}));
        assert_eq!(trouble(&ready), None);
    }

    #[test]
    fn the_lateness_of_an_earlier_rollout_is_not_this_ones() {
        let late = |mark: &str| {
            let found = json!({
                "metadata": {"generation": 2},
                "spec": {"selector": {}, "template": {"metadata": {"annotations": {ROLLED_OUT_FOR: mark}}}},
                "status": {"observedGeneration": 2, "replicas": 1, "conditions": [{
                    "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
                    "lastUpdateTime": "2026-01-02T03:04:05Z",
                }]},
            });
            of_deployment(serde_json::from_value(found).expect("a deployment"))
        };
        let first = late("token");
        assert!(matches!(first.progress, Progress::Stuck(_)), "{:?}", first.progress);
        let next = late(&format!("next {}", first.late_since.expect("late")));
        assert!(matches!(next.progress, Progress::Going(_)), "{:?}", next.progress);
        assert_eq!(next.rolled_out_for.map(|mark| mark.token).as_deref(), Some("next"));
    }

    #[test]
    fn a_selector_is_asked_for_in_words() {
        let selector: LabelSelector = serde_json::from_value(json!({
            "matchLabels": {"app": "temporal"},
            "matchExpressions": [
                {"key": "role", "operator": "In", "values": ["a", "b"]},
                {"key": "old", "operator": "DoesNotExist"},
            ],
        }))
        .expect("a selector");
        assert_eq!(in_words(&selector), "app=temporal,role in (a,b),!old");
    }
}
