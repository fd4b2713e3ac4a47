//! Config in ConfigMaps and Secrets, and rollouts, on a real kube-apiserver and kube-controller-manager. The kubelets are played.

mod rollouts;

use std::path::PathBuf;
use std::time::Duration;

use crossfade_cluster::kubernetes::{ConfigKey, GivenBack, KeyStanding, Kubernetes, KubernetesError, kept_in};
use e2e::servers::kubernetes::{self as servers};
use e2e::servers::progress::Lines;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::rbac::v1::Role;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

/// The manifest that operators are given.
const RBAC: &str = include_str!("../../../../deploy/kubernetes/rbac.yaml");

/// One control plane for all of these tests: it takes long to come up.
#[tokio::test(flavor = "multi_thread")]
async fn config_and_rollouts_on_a_real_control_plane() {
    let plane = servers::Kubernetes::start(&Lines::default()).await.expect("Kubernetes");
    plane.namespace("temporal").await.expect("namespace");
    plane.create_all(RBAC).await.expect("RBAC");
    let account = plane.kubeconfig_of("temporal", "crossfade").await.expect("kubeconfig");
    let client = plane.client().await.expect("client");
    let place = Place {
        plane: &plane,
        client,
        account,
    };
    keys_are_swapped_and_given_back(&place).await;
    a_change_by_another_stays(&place).await;
    a_secret_is_kept_in_a_secret(&place).await;
    notes_are_kept_beside_originals(&place).await;
    with_these_rights_and_no_fewer(&place).await;
    rollouts::rolled_out_once_and_awaited(&place).await;
    rollouts::a_rollout_that_fails_names_the_pod_and_why(&place).await;
    rollouts::a_stateful_set_is_rolled_out(&place).await;
    rollouts::what_never_rolls_out_is_refused(&place).await;
}

struct Place<'a> {
    plane: &'a servers::Kubernetes,
    client: kube::Client,
    account: PathBuf,
}

impl Place<'_> {
    /// As the service account of the manifest.
    fn with(&self, workloads: &[&str]) -> Kubernetes {
        self.by(&self.account, workloads)
    }

    fn by(&self, kubeconfig: &std::path::Path, workloads: &[&str]) -> Kubernetes {
        Kubernetes {
            namespace: "temporal".to_owned(),
            workloads: workloads.iter().map(|name| name.parse().expect("a workload")).collect(),
            context: None,
            kubeconfig: Some(kubeconfig.to_owned()),
        }
    }

    async fn create(&self, manifest: Value) {
        self.plane.create(&manifest).await.expect("an object");
    }

    fn maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), "temporal")
    }

    fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), "temporal")
    }

    async fn change(&self, name: &str, change: Value) {
        let by = PatchParams {
            field_manager: Some("somebody-else".to_owned()),
            ..PatchParams::default()
        };
        self.maps()
            .patch(name, &by, &Patch::Merge(change))
            .await
            .expect("a change");
    }
}

fn key(text: &str) -> ConfigKey {
    text.parse().expect("a key")
}

fn config_map(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
        "name": name, "namespace": "temporal",
        "labels": {"app.kubernetes.io/managed-by": "Helm", "helm.sh/chart": "temporal-1.0.0"},
        "annotations": {"meta.helm.sh/release-name": "prod"},
    }, "data": data})
}

async fn keys_are_swapped_and_given_back(place: &Place<'_>) {
    let original = "# ours\r\npersistence: {a: 'ü'}   \n\n";
    place
        .create(config_map(
            "temporal-config",
            &json!({"p.yaml": original, "other": "o"}),
        ))
        .await;
    let (kubernetes, file) = (place.with(&[]), key("configmap/temporal-config/p.yaml"));
    let read = kubernetes.read(&file).await.expect("read");
    assert_eq!(read.bytes, original.as_bytes(), "byte for byte");
    let helm = read.helm.as_ref().expect("Helm's marks");
    assert_eq!(
        (helm.release.as_str(), helm.chart.as_deref()),
        ("prod", Some("temporal-1.0.0"))
    );
    kubernetes.check_writable(&file).await.expect("writable");
    assert_eq!(kubernetes.kept_copy(&file, "m").await.expect("none yet"), None);
    assert_eq!(
        kubernetes.restore(&file, "m").await.expect("nothing"),
        GivenBack::NeverWritten
    );

    assert!(
        kubernetes
            .write_if_unchanged(&file, &read.sha256, b"one\n", "m")
            .await
            .expect("written")
    );
    assert!(
        !kubernetes
            .write_if_unchanged(&file, &read.sha256, b"one\n", "m")
            .await
            .expect("there already")
    );
    let one = kubernetes.read(&file).await.expect("read");
    assert!(
        kubernetes
            .write_if_unchanged(&file, &one.sha256, b"two\n", "m")
            .await
            .expect("written")
    );
    assert_eq!(
        kubernetes.kept_copy(&file, "m").await.expect("kept").as_deref(),
        Some(original.as_bytes())
    );
    let now = place
        .maps()
        .get("temporal-config")
        .await
        .expect("object")
        .data
        .expect("data");
    assert_eq!((now["p.yaml"].as_str(), now["other"].as_str()), ("two\n", "o"));

    let kept = place.maps().get("temporal-config-crossfade-kept").await.expect("kept");
    assert_eq!(kept.metadata.annotations, None, "what is kept has none of Helm's marks");
    let at = kept_in(&file, "m");
    let at = at.rsplit('/').next().expect("a key");
    assert_eq!(kept.data.expect("data").get(at).map(String::as_str), Some(original));

    assert_eq!(
        kubernetes.restore(&file, "m").await.expect("restored"),
        GivenBack::Restored
    );
    assert_eq!(kubernetes.read(&file).await.expect("read").bytes, original.as_bytes());
    assert_eq!(
        kubernetes.restore(&file, "m").await.expect("again"),
        GivenBack::AlreadyOriginal
    );

    let missing = kubernetes
        .read(&key("configmap/temporal-config/q.yaml"))
        .await
        .expect_err("no key");
    assert!(missing.to_string().contains("there are: other, p.yaml"), "{missing}");
    // RBAC tells nobody what is not there whom it does not let look.
    let admin = place.by(&place.plane.kubeconfig().expect("kubeconfig"), &[]);
    let missing = admin
        .read(&key("configmap/nowhere/q.yaml"))
        .await
        .expect_err("no object");
    assert!(missing.to_string().contains("configmap/nowhere"), "{missing}");
    let frozen = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "frozen", "namespace": "temporal"},
        "immutable": true, "data": {"a": "b"}});
    place.create(frozen).await;
    let refused = admin
        .check_writable(&key("configmap/frozen/a"))
        .await
        .expect_err("immutable");
    assert!(matches!(refused, KubernetesError::Immutable { .. }), "{refused}");
}

async fn a_change_by_another_stays(place: &Place<'_>) {
    place
        .create(config_map("temporal-dynamic-config", &json!({"d.yaml": "old\n"})))
        .await;
    let (kubernetes, file) = (place.with(&[]), key("configmap/temporal-dynamic-config/d.yaml"));
    let planned = kubernetes.read(&file).await.expect("read");
    place
        .change("temporal-dynamic-config", json!({"data": {"d.yaml": "theirs\n"}}))
        .await;
    let refused = kubernetes
        .write_if_unchanged(&file, &planned.sha256, b"ours\n", "m")
        .await
        .expect_err("changed");
    let said = refused.to_string();
    for words in [
        "configmap/temporal-dynamic-config/d.yaml",
        "somebody-else",
        "nothing was written",
        "read it again",
    ] {
        assert!(said.to_lowercase().contains(words), "{said}");
    }
    assert_eq!(kubernetes.read(&file).await.expect("read").bytes, b"theirs\n");

    // A change of something else in the object is no change of the file.
    let planned = kubernetes.read(&file).await.expect("read");
    place
        .change(
            "temporal-dynamic-config",
            json!({"metadata": {"labels": {"team": "x"}}, "data": {"e.yaml": "e"}}),
        )
        .await;
    assert!(
        kubernetes
            .write_if_unchanged(&file, &planned.sha256, b"ours\n", "m")
            .await
            .expect("written")
    );
    place
        .change("temporal-dynamic-config", json!({"data": {"d.yaml": "theirs again\n"}}))
        .await;
    let refused = kubernetes.restore(&file, "m").await.expect_err("theirs");
    let said = refused.to_string();
    for words in ["somebody-else", "left as it is", &kept_in(&file, "m")] {
        assert!(said.contains(words), "{said}");
    }
    assert_eq!(kubernetes.read(&file).await.expect("read").bytes, b"theirs again\n");
}

async fn a_secret_is_kept_in_a_secret(place: &Place<'_>) {
    let planted = "password: planted-secret\n";
    place
        .create(
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "in-secret", "namespace": "temporal"},
        "stringData": {"p.yaml": planted}}),
        )
        .await;
    let admin = place.by(&place.plane.kubeconfig().expect("kubeconfig"), &[]);
    let file = key("secret/in-secret/p.yaml");
    let read = admin.read(&file).await.expect("read");
    assert_eq!(read.bytes, planted.as_bytes());
    assert!(!format!("{read:?}").contains("planted"), "{read:?}");
    assert!(
        admin
            .write_if_unchanged(&file, &read.sha256, b"new\n", "m")
            .await
            .expect("written")
    );
    let secrets: Api<Secret> = Api::namespaced(place.client.clone(), "temporal");
    let there = secrets.list(&ListParams::default()).await.expect("secrets").items;
    let names: Vec<_> = there.iter().filter_map(|secret| secret.metadata.name.clone()).collect();
    assert_eq!(names, ["in-secret", "in-secret-crossfade-kept"]);
    let maps = place.maps().list(&ListParams::default()).await.expect("maps").items;
    assert!(
        !format!("{maps:?}").contains("planted"),
        "a secret's original is in no ConfigMap"
    );
    assert_eq!(admin.restore(&file, "m").await.expect("restored"), GivenBack::Restored);
    assert_eq!(admin.read(&file).await.expect("read").bytes, planted.as_bytes());
    // Whoever the manifest is for may not look into Secrets.
    let refused = place.with(&[]).read(&file).await.expect_err("no right");
    let said = refused.to_string();
    assert!(
        said.contains("get secrets `in-secret`") && said.contains("namespace `temporal`"),
        "{said}"
    );
}

/// What a way back without the migration is found by.
async fn notes_are_kept_beside_originals(place: &Place<'_>) {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "noted", "namespace": "temporal"},
        "stringData": {"p.yaml": "a: 1\n"}});
    place.create(secret).await;
    place
        .create(config_map("temporal-noted", &json!({"p.yaml": "a: 1\n"})))
        .await;
    let admin = place.by(&place.plane.kubeconfig().expect("kubeconfig"), &[]);
    for file in [key("secret/noted/p.yaml"), key("configmap/temporal-noted/p.yaml")] {
        assert_eq!(admin.notes(&file, ".json").await.expect("none"), []);
        let standing = async || admin.standing(&file, "m").await.expect("standing");
        assert_eq!(standing().await, KeyStanding::NeverWritten);
        let keep = async |migration: &str, name: &str, bytes: &[u8]| {
            let kept = admin.keep_note(&file, migration, name, bytes).await;
            kept.expect("a note")
        };
        // Before the original is kept, and again after it; the latest stands.
        let first = keep("m", "host-a.json", b"early").await;
        assert_eq!(standing().await, KeyStanding::NeverWritten, "a note is no write");
        let now = admin.read(&file).await.expect("read").sha256;
        admin
            .write_if_unchanged(&file, &now, b"ours\n", "m")
            .await
            .expect("written");
        assert_eq!(standing().await, KeyStanding::Ours);
        for _ in 0..2 {
            assert_eq!(keep("m", "host-a.json", b"late").await, first);
        }
        let other = keep("another", "host-a.json", b"another's").await;
        keep("m", "promoted.yaml", b"p").await;
        let mut notes = admin.notes(&file, ".json").await.expect("notes");
        notes.sort();
        let mut wanted = [(first.clone(), b"late".to_vec()), (other, b"another's".to_vec())];
        wanted.sort();
        assert_eq!(notes, wanted);
        assert_eq!(admin.read(&first).await.expect("where it said").bytes, b"late");
        let now = admin.read(&file).await.expect("read").sha256;
        admin
            .write_if_unchanged(&file, &now, b"theirs\n", "theirs")
            .await
            .expect("written");
        assert_eq!(standing().await, KeyStanding::Others);
        let theirs = admin.read(&file).await.expect("read").sha256;
        let original = admin.kept_copy(&file, "m").await.expect("kept").expect("an original");
        admin
            .write_if_unchanged(&file, &theirs, &original, "m")
            .await
            .expect("written");
        assert_eq!(standing().await, KeyStanding::Original);
    }
}

const HOST: [&str; 4] = [
    "deployment/temporal-worker",
    "deployment/temporal-matching",
    "deployment/temporal-history",
    "deployment/temporal-frontend",
];

/// Takes each right away by itself: it is named before anything is changed.
async fn with_these_rights_and_no_fewer(place: &Place<'_>) {
    let kubernetes = place.with(&HOST);
    let keys = [
        key("configmap/temporal-config/p.yaml"),
        key("configmap/temporal-dynamic-config/d.yaml"),
    ];
    let missing = kubernetes.missing_rights(&keys).await.expect("answers");
    assert!(missing.is_empty(), "{missing:?}");
    let roles: Api<Role> = Api::namespaced(place.client.clone(), "temporal");
    let whole = serde_json::to_value(roles.get("crossfade").await.expect("role").rules).expect("rules");
    let put = async |rules: &Value| {
        let change = Patch::Merge(json!({"rules": rules}));
        roles
            .patch("crossfade", &PatchParams::default(), &change)
            .await
            .expect("role");
    };
    let rules = whole.as_array().expect("rules").clone();
    for (at, rule) in rules.iter().enumerate() {
        for verb in rule["verbs"].as_array().expect("verbs") {
            let mut fewer = rules.clone();
            let left: Vec<&Value> = rule["verbs"]
                .as_array()
                .expect("verbs")
                .iter()
                .filter(|other| *other != verb)
                .collect();
            if left.is_empty() {
                fewer.remove(at);
            } else {
                fewer[at]["verbs"] = json!(left);
            }
            put(&json!(fewer)).await;
            let wanted = format!(
                "may not {} {}",
                verb.as_str().expect("verb"),
                rule["resources"][0].as_str().expect("resource")
            );
            let mut said = String::new();
            // The server's own view of its roles follows within moments.
            for _ in 0..300 {
                let missing = kubernetes.missing_rights(&keys).await.expect("answers");
                said = missing.iter().map(|error| format!("{error}\n")).collect();
                if said.contains(&wanted) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            for words in [
                wanted.as_str(),
                "namespace `temporal`",
                "deploy/kubernetes/rbac.yaml",
                "kubectl auth can-i",
            ] {
                assert!(said.contains(words), "{words}: {said}");
            }
        }
    }
    put(&whole).await;
    for _ in 0..300 {
        if kubernetes.missing_rights(&keys).await.expect("answers").is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the rights are not back");
}
