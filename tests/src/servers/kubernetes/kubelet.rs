//! The kubelets' part, played: each pod of a namespace is said to be as the test decides, and told of when it is gone.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// Pause between two looks at the pods.
const PAUSE: Duration = Duration::from_millis(100);

/// What becomes of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Its container is being made.
    Coming,
    /// It serves at this address.
    Ready(String),
    /// Its container ends with this exit status and these last words, again and again.
    Crashing(i32, String),
}

/// Somebody who runs pods.
pub trait Runs: Send + 'static {
    /// What has become of a pod by now. Asked again and again.
    fn look(&mut self, pod: &Pod) -> impl Future<Output = Fate> + Send;

    /// A pod that is no more.
    fn gone(&mut self, _name: &str) {}
}

impl<F: FnMut(&Pod) -> Fate + Send + 'static> Runs for F {
    async fn look(&mut self, pod: &Pod) -> Fate {
        self(pod)
    }
}

/// A kubelet for the pods of one namespace. It stops with this value.
#[derive(Debug)]
pub struct Kubelet(JoinHandle<()>);

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Kubelet {
    /// Begins to run the pods of `namespace`.
    #[must_use]
    pub fn start(client: kube::Client, namespace: &str, mut runs: impl Runs) -> Self {
        let pods: Api<Pod> = Api::namespaced(client, namespace);
        Self(tokio::spawn(async move {
            let mut said = BTreeMap::new();
            loop {
                // A pod that changed or went meanwhile is looked at again.
                let _ = turn(&pods, &mut runs, &mut said).await;
                tokio::time::sleep(PAUSE).await;
            }
        }))
    }

    /// Ends it with all that it runs; when this returns it writes nothing any more.
    pub async fn stop(mut self) {
        self.0.abort();
        // What it runs ends with it.
        let _ = (&mut self.0).await;
    }
}

/// By the pods' uids: a StatefulSet's next pod has the name of the one before.
type Said = BTreeMap<String, (String, Fate)>;

async fn turn(pods: &Api<Pod>, runs: &mut impl Runs, said: &mut Said) -> Result<()> {
    let there = pods.list(&ListParams::default()).await?.items;
    let is_there = |uid: &String| there.iter().any(|pod| pod.metadata.uid.as_ref() == Some(uid));
    let gone: Vec<String> = said.keys().filter(|uid| !is_there(uid)).cloned().collect();
    for uid in gone {
        if let Some((name, _)) = said.remove(&uid) {
            runs.gone(&name);
        }
    }
    for pod in &there {
        let (uid, name) = (
            pod.metadata.uid.clone().unwrap_or_default(),
            pod.metadata.name.clone().unwrap_or_default(),
        );
        let fate = runs.look(pod).await;
        if said.get(&uid).is_some_and(|(_, said)| *said == fate) {
            continue;
        }
        let status = Patch::Merge(json!({"metadata": {"uid": uid}, "status": status(pod, &fate)}));
        pods.patch_status(&name, &PatchParams::default(), &status).await?;
        said.insert(uid, (name, fate));
    }
    Ok(())
}

fn status(pod: &Pod, fate: &Fate) -> Value {
    let name = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.containers.first())
        .map(|container| container.name.clone());
    let is_ready = matches!(fate, Fate::Ready(_));
    let container = |ready: bool, state: Value, last: Value| json!([{"name": name, "image": "none", "imageID": "", "ready": ready, "restartCount": 0, "state": state, "lastState": last}]);
    let (address, containers) = match fate {
        Fate::Coming => (
            None,
            container(false, json!({"waiting": {"reason": "ContainerCreating"}}), json!({})),
        ),
        Fate::Ready(address) => (Some(address), container(true, json!({"running": {}}), json!({}))),
        Fate::Crashing(status, words) => (
            None,
            container(
                false,
                json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}}),
                json!({"terminated": {"exitCode": status, "reason": "Error", "message": words}}),
            ),
        ),
    };
    let ready = if is_ready { "True" } else { "False" };
    json!({
        "phase": if is_ready { "Running" } else { "Pending" },
        "podIP": address,
        "podIPs": address.map(|address| json!([{"ip": address}])),
        "conditions": [
            {"type": "Ready", "status": ready, "lastTransitionTime": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()},
            {"type": "ContainersReady", "status": ready},
        ],
        "containerStatuses": containers,
    })
}
