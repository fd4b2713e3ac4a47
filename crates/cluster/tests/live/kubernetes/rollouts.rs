//! Rollouts of Deployments and StatefulSets, whose pods a played kubelet runs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossfade_cluster::kubernetes::KubernetesError;
use e2e::servers::kubernetes::kubelet::{Fate, Kubelet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::{HOST, Place, key};

/// What a rollout may take: more than any machine needs.
const WITHIN: Duration = Duration::from_secs(180);

fn workload(kind: &str, name: &str, more: &Value) -> Value {
    let mut spec = json!({
        "replicas": 2,
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": {
            "containers": [{"name": "temporal", "image": "none", "volumeMounts": [
                {"name": "config", "mountPath": "/etc/temporal/config"},
                {"name": "dynamic", "mountPath": "/etc/temporal/dynamic/d.yaml", "subPath": "d.yaml"},
            ]}],
            "volumes": [
                {"name": "config", "configMap": {"name": "temporal-config"}},
                {"name": "dynamic", "configMap": {"name": "temporal-dynamic-config"}},
            ],
        }},
    });
    for (field, value) in more.as_object().expect("an object") {
        spec[field] = value.clone();
    }
    json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": "temporal"}, "spec": spec})
}

async fn pods(place: &Place<'_>) -> Vec<String> {
    let api: Api<Pod> = Api::namespaced(place.client.clone(), "temporal");
    let pods = api.list(&ListParams::default()).await.expect("pods").items;
    let mut names: Vec<String> = pods.into_iter().filter_map(|pod| pod.metadata.name).collect();
    names.sort();
    names
}

pub(super) async fn rolled_out_once_and_awaited(place: &Place<'_>) {
    let _kubelet = Kubelet::start(place.client.clone(), "temporal", |_: &Pod| {
        Fate::Ready("10.1.2.3".to_owned())
    });
    for name in HOST.iter().map(|name| name.trim_start_matches("deployment/")) {
        place.create(workload("Deployment", name, &json!({}))).await;
    }
    let kubernetes = place.with(&HOST);
    let (seen, blind) = kubernetes
        .seen(&key("configmap/temporal-config/p.yaml"))
        .await
        .expect("mounts");
    assert!(blind.is_empty() && seen.len() == 4, "{seen:?} {blind:?}");
    assert!(
        seen.iter()
            .all(|seen| seen.at == "/etc/temporal/config/p.yaml" && !seen.alone),
        "{seen:?}"
    );
    let (seen, _) = kubernetes
        .seen(&key("configmap/temporal-dynamic-config/d.yaml"))
        .await
        .expect("mounts");
    assert!(
        seen.iter()
            .all(|seen| seen.at == "/etc/temporal/dynamic/d.yaml" && seen.alone),
        "{seen:?}"
    );

    assert!(kubernetes.roll_out("m one", WITHIN).await.expect("rolled out"));
    let first = pods(place).await;
    assert_eq!(first.len(), 8, "{first:?}");
    assert_eq!(kubernetes.addresses().await.expect("addresses").len(), 1);
    assert!(
        !kubernetes.roll_out("m one", WITHIN).await.expect("already"),
        "the same rollout is begun once"
    );
    assert_eq!(pods(place).await, first);

    // An attempt that was cut short right after it began the first of them.
    let marks = place.deployments().get("temporal-worker").await.expect("deployment");
    let generation = marks.metadata.generation;
    let cut_short = {
        let kubernetes = place.with(&HOST[..1]);
        tokio::spawn(async move { kubernetes.roll_out("m two", WITHIN).await })
    };
    loop {
        let now = place.deployments().get("temporal-worker").await.expect("deployment");
        if now.metadata.generation != generation {
            break;
        }
        assert!(!cut_short.is_finished(), "it ended without a rollout");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    cut_short.abort();
    assert!(kubernetes.roll_out("m two", WITHIN).await.expect("rolled out"));
    let worker = place.deployments().get("temporal-worker").await.expect("deployment");
    assert_eq!(
        worker.metadata.generation,
        generation.map(|generation| generation + 1),
        "it was rolled out once"
    );
    let second = pods(place).await;
    assert!(
        second.len() == 8 && second.iter().all(|pod| !first.contains(pod)),
        "{first:?} {second:?}"
    );
}

pub(super) async fn a_rollout_that_fails_names_the_pod_and_why(place: &Place<'_>) {
    let words = Arc::new(Mutex::new(None));
    let told = Arc::clone(&words);
    let _kubelet = Kubelet::start(place.client.clone(), "temporal", move |pod: &Pod| {
        let is_ours = pod
            .metadata
            .name
            .as_ref()
            .is_some_and(|name| name.starts_with("temporal-history"));
        let crash: Option<String> = told.lock().expect("lock").clone();
        match crash {
            Some(words) if is_ours => Fate::Crashing(1, words),
            _ => Fate::Ready("10.1.2.3".to_owned()),
        }
    });
    let kubernetes = place.with(&["deployment/temporal-history"]);
    *words.lock().expect("lock") = Some("no such datastore".to_owned());
    let refused = kubernetes
        .roll_out("m three", Duration::from_secs(20))
        .await
        .expect_err("crashes");
    let said = refused.to_string();
    for words in [
        "deployment/temporal-history",
        "pod temporal-history-",
        "CrashLoopBackOff",
        "no such datastore",
        "kubectl logs",
    ] {
        assert!(said.contains(words), "{said}");
    }
    assert!(matches!(refused, KubernetesError::NotRolledOut { .. }), "{refused}");

    let deadline = async |seconds: u32| {
        let change = Patch::Merge(json!({"spec": {"progressDeadlineSeconds": seconds}}));
        let patched = place
            .deployments()
            .patch("temporal-history", &PatchParams::default(), &change)
            .await;
        patched.expect("a deadline");
    };
    deadline(1).await;
    let refused = kubernetes.roll_out("m three", WITHIN).await.expect_err("crashes");
    assert!(matches!(refused, KubernetesError::Stuck { .. }), "{refused}");
    assert!(refused.to_string().contains("pod temporal-history-"), "{refused}");

    // The way back is another rollout, to which the lateness of the first is nothing.
    deadline(600).await;
    *words.lock().expect("lock") = None;
    assert!(kubernetes.roll_out("m back", WITHIN).await.expect("rolled out"));
}

pub(super) async fn a_stateful_set_is_rolled_out(place: &Place<'_>) {
    let _kubelet = Kubelet::start(place.client.clone(), "temporal", |_: &Pod| {
        Fate::Ready("10.1.2.3".to_owned())
    });
    place
        .create(workload("StatefulSet", "history", &json!({"serviceName": "history"})))
        .await;
    let admin = place.by(&place.plane.kubeconfig().expect("kubeconfig"), &["statefulset/history"]);
    let uids = async || {
        let api: Api<Pod> = Api::namespaced(place.client.clone(), "temporal");
        let pods = api
            .list(&ListParams::default().labels("app=history"))
            .await
            .expect("pods")
            .items;
        pods.into_iter().filter_map(|pod| pod.metadata.uid).collect::<Vec<_>>()
    };
    assert!(admin.roll_out("m one", WITHIN).await.expect("rolled out"));
    let first = uids().await;
    assert_eq!(first.len(), 2);
    assert!(!admin.roll_out("m one", WITHIN).await.expect("already"));
    assert!(admin.roll_out("m two", WITHIN).await.expect("rolled out"));
    let second = uids().await;
    assert!(
        second.len() == 2 && second.iter().all(|uid| !first.contains(uid)),
        "{first:?} {second:?}"
    );
}

pub(super) async fn what_never_rolls_out_is_refused(place: &Place<'_>) {
    place
        .create(workload("Deployment", "paused", &json!({"paused": true})))
        .await;
    let by_hand = json!({"serviceName": "by-hand", "updateStrategy": {"type": "OnDelete"}});
    place.create(workload("StatefulSet", "by-hand", &by_hand)).await;
    let admin = place.plane.kubeconfig().expect("kubeconfig");
    for (name, words) in [
        ("deployment/paused", "kubectl rollout resume"),
        ("statefulset/by-hand", "OnDelete"),
    ] {
        let kubernetes = place.by(&admin, &[name]);
        let refused = kubernetes.check_rolls_out().await.expect_err("never");
        assert!(refused.to_string().contains(words), "{refused}");
        let refused = kubernetes.roll_out("m one", WITHIN).await.expect_err("never");
        assert!(matches!(refused, KubernetesError::NeverRollsOut { .. }), "{refused}");
    }
}
