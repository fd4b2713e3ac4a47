//! A server in a pod of Kubernetes: its files are keys of a Secret and a ConfigMap, and it is restarted by rolling its
//! Deployment out.
//!
//! The control plane is real; the kubelet is played: for each pod that the ReplicaSet's controller makes it writes what
//! these hold into the folders that are mounted, starts a real server, and calls the pod ready when that listens.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::migration::{Planted, is, raw_history, stage};
use e2e::scene::{Scene, is_clean, judged, says};
use e2e::servers::binaries::{Program, TEMPORAL_1_30_8, find_or_build};
use e2e::servers::cache::Cache;
use e2e::servers::kubernetes::Kubernetes;
use e2e::servers::kubernetes::kubelet::{Fate, Kubelet, Runs};
use e2e::servers::processes::{Processes, Running, Signal};
use e2e::servers::progress::Lines;
use e2e::testbed::{Engine, NAMESPACE, Plan, TARGET_NAME};
use e2e::told::tells_no_secret;
use e2e::traffic::Traffic;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod, Secret};
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

const CONFIG: &str = "secret/temporal-config/production.yaml";
const DYNAMIC: &str = "configmap/temporal-dynamic-config/dynamic_config.yaml";

/// The last words of a server that does not start.
const REFUSAL: &str = "unable to load configuration";

/// What stands in the server's file already, and what the worker is given for the target; SQLite asks for neither.
const SOURCES_PASSWORD: &str = r#"0ld's "secret"\ü%2F?&+:@#{x}"#;
const TARGETS_PASSWORD: &str = r#"n3w's "secret"\ü%2F?&+:@#{y}"#;
/// The variable that carries the target's to the worker.
const VARIABLE: &str = "NEW_STORE_PASSWORD";

/// The manifest that operators are given.
const RBAC: &str = include_str!("../../deploy/kubernetes/rbac.yaml");

#[tokio::test(flavor = "multi_thread")]
async fn a_server_in_a_pod_moves_as_one_on_the_machine_does() -> Result<()> {
    let plane = Kubernetes::start(&Lines::default()).await?;
    plane.namespace("temporal").await?;
    // "For config in Secrets the same two rules with `secrets`."
    let rights = RBAC.replace("resources: [configmaps]", "resources: [configmaps, secrets]");
    plane.create_all(&rights).await?;
    let mut scene = Scene::of(Plan::new(Engine::Sqlite), &[(VARIABLE, TARGETS_PASSWORD)]).await?;
    let (operator, testbed) = (&scene.operator, &scene.testbed);
    let traffic = Traffic::begin(testbed.frontend(), NAMESPACE).await?;
    traffic.existing(60).await?;

    let host = testbed.temporal().hosts()[0].clone();
    let mounted = testbed.folder().join("pod");
    let dynamic = testbed.temporal().dynamic_config();
    let inside = mounted.join("dynamic_config/dynamic_config.yaml");
    let config =
        fs::read_to_string(&host.config)?.replace(&dynamic.display().to_string(), &inside.display().to_string());
    let config = with_a_password(&config);
    let dynamic = fs::read_to_string(dynamic)?;
    host.stop()?;
    let (secret, map) = (
        json!({"stringData": {"production.yaml": config}}),
        json!({"data": {"dynamic_config.yaml": dynamic}}),
    );
    plane
        .create(&of_helm("Secret", "v1", "temporal-config", secret))
        .await?;
    plane
        .create(&of_helm("ConfigMap", "v1", "temporal-dynamic-config", map))
        .await?;
    // The dynamic config is mounted by subPath at first: a mistake that no error would ever tell of.
    plane.create(&deployment(&mounted, true)).await?;
    let client = plane.client().await?;
    let refuses = Arc::new(AtomicBool::new(false));
    let pods = Pods::new(client.clone(), &mounted, &scene, &refuses)?;
    let kubelet = Kubelet::start(client.clone(), "temporal", pods);
    scene.answers().await?;

    let account = plane
        .kubeconfig_of("temporal", "crossfade")
        .await?
        .display()
        .to_string();
    let mut spec = scene.spec_with(&json!({"gates": ["promote"]}));
    spec["target"]["datastore"]["sql"]["user"] = json!("mover");
    spec["target"]["datastore"]["sql"]["password"] = json!({"env": VARIABLE});
    spec["cluster"]["dynamic_config"] = json!(DYNAMIC);
    spec["cluster"]["hosts"][0]["config"] = json!(CONFIG);
    spec["cluster"]["hosts"][0]["restart"] = json!({"kubernetes": {
        "namespace": "temporal",
        "workloads": ["deployment/temporal-frontend"],
        "kubeconfig": account,
        "sync": "3s",
    }});
    operator.start("by-sub-path", &spec).await?;
    let refused = operator.end(testbed, "by-sub-path").await?.failed()?;
    says(
        &format!("{refused:?}"),
        &[
            "mounted by subPath",
            "without `subPath`",
            "deployment/temporal-frontend",
        ],
    )?;

    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "temporal");
    let whole = Patch::Merge(json!({"spec": deployment(&mounted, false)["spec"]}));
    let before = pod_names(&client).await?;
    deployments
        .patch("temporal-frontend", &PatchParams::default(), &whole)
        .await?;
    let deadline = Instant::now() + Duration::from_secs(120);
    // A pod that is gone leaves a server that answers for a moment; the next one is ready once it was stopped.
    while !ready_pods(&client)
        .await?
        .is_some_and(|ready| ready.is_disjoint(&before))
    {
        ensure!(Instant::now() < deadline, "the pods are not replaced");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    scene.answers().await?;

    // A server that does not start with the new config: the former one is rolled out again.
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "temporal");
    refuses.store(true, Ordering::Relaxed);
    operator.start("does-not-start", &spec).await?;
    let stopped = operator
        .until("does-not-start", "stopping for the operator", |status| {
            is(status, "needs-operator")
        })
        .await?;
    says(
        &stopped.to_string(),
        &[
            "host-down",
            "pod temporal-frontend-",
            REFUSAL,
            "The former config is back",
        ],
    )?;
    ensure!(static_config(&client).await? == config, "the former config is not back");
    refuses.store(false, Ordering::Relaxed);

    // Cured, it goes on; then the workflow is gone, and what is kept in Kubernetes is all there is.
    let command = [
        "rollback",
        "--from-files",
        "--config",
        CONFIG,
        "--kube-namespace",
        "temporal",
        "--kubeconfig",
    ];
    let command = [&command[..], &[account.as_str()]].concat();
    operator.signal("does-not-start", "resume", None).await?;
    let is_dual = |status: &Value| stage(status) == "dual-write" && status["hosts"][0]["config"] == "dual";
    operator
        .until("does-not-start", "both stores in the config", is_dual)
        .await?;
    let runs = operator.crossfade(&command).await.expect_err("it runs");
    says(
        &format!("{runs:#}"),
        &["runs", "crossfade rollback --id does-not-start"],
    )?;
    scene.worker.kill()?;
    operator.told(&["terminate", "-w", "does-not-start"]).await?;
    let shown = operator.crossfade(&command).await?;
    ensure!(
        shown["done"] == false && shown["files"] == json!([CONFIG, DYNAMIC]),
        "{shown}"
    );
    ensure!(static_config(&client).await? != config, "the config is back already");
    let theirs = data(&maps, "temporal-dynamic-config", "dynamic_config.yaml").await? + "# frozen until Monday\n";
    let change = Patch::Merge(json!({"data": {"dynamic_config.yaml": theirs}}));
    maps.patch("temporal-dynamic-config", &PatchParams::default(), &change)
        .await?;
    let mut command = [&command[..], &["--yes"]].concat();
    let refused = operator.crossfade(&command).await.expect_err("somebody changed a key");
    says(
        &format!("{refused:#}"),
        &["changed by somebody else", DYNAMIC, "--force"],
    )?;
    ensure!(
        data(&maps, "temporal-dynamic-config", "dynamic_config.yaml").await? == theirs,
        "their change is gone"
    );
    command.extend(["--force", DYNAMIC]);
    let with_both = pod_names(&client).await?;
    let done = operator.crossfade(&command).await?;
    ensure!(done["done"] == true && done["next_steps"] == json!([]), "{done}");
    ensure!(static_config(&client).await? == config, "the config is another");
    ensure!(
        data(&maps, "temporal-dynamic-config", "dynamic_config.yaml").await? == dynamic,
        "the dynamic config is another"
    );
    ensure!(
        pod_names(&client).await?.is_disjoint(&with_both),
        "the pod was not replaced"
    );
    ensure!(scene.visibility_stores().await? == "sqlite", "it is not as it was");
    let again = operator
        .crossfade(&command)
        .await
        .expect_err("nothing is to be put back");
    says(&format!("{again:#}"), &["nothing is kept that is to be put back"])?;
    scene.worker.again(testbed)?;

    let started = pod_names(&client).await?;
    let going = traffic.keep_going(2);
    operator.start("in-a-pod", &spec).await?;
    operator.at_gate("in-a-pod", "promote").await?;
    ensure!(
        pod_names(&client).await?.is_disjoint(&started),
        "the pod was not replaced"
    );
    let plan = operator.query("in-a-pod", "plan", None).await?.to_string();
    says(
        &plan,
        &["Helm release `prod`", "values.yaml", TARGET_NAME, CONFIG, DYNAMIC],
    )?;
    operator.approve("in-a-pod", "promote").await?;
    let report = operator.end(testbed, "in-a-pod").await?.completed()?;
    going.stop().await?;
    traffic.settle().await?;
    is_clean(&report)?;
    let now = static_config(&client).await?;
    says(
        &now,
        &[
            &format!("visibilityStore: {TARGET_NAME}"),
            &inside.display().to_string(),
        ],
    )?;
    ensure!(
        data(&maps, "temporal-dynamic-config", "dynamic_config.yaml").await? == dynamic,
        "keys are left"
    );
    judged(testbed, testbed.target(), [traffic.end()]).await?;

    let now: Value = yaml_serde::from_str(&now)?;
    let stores = &now["persistence"]["datastores"];
    ensure!(
        stores["visibility"]["sql"]["password"] == SOURCES_PASSWORD
            && stores[TARGET_NAME]["sql"]["password"] == TARGETS_PASSWORD,
        "the server's own file has not both passwords"
    );
    let token: Value = serde_json::from_str(&fs::read_to_string(&account)?)?;
    let token = token["users"][0]["user"]["token"].as_str().context("no token")?;
    let told = vec![
        (
            "what going back from what is kept shows",
            shown.to_string().into_bytes(),
        ),
        ("what it says when it refuses", format!("{refused:#}").into_bytes()),
        ("what it says at its end", done.to_string().into_bytes()),
        ("what stopped for the operator", stopped.to_string().into_bytes()),
        ("Kubernetes, but for what Secrets hold", all_but_secrets(&client).await?),
    ];
    let secrets = [SOURCES_PASSWORD, TARGETS_PASSWORD, token];
    for id in ["by-sub-path", "does-not-start"] {
        let history = raw_history(&testbed.client(NAMESPACE).await?, NAMESPACE, id).await?;
        for secret in secrets {
            Planted::new(secret).is_not_in(id, &history)?;
        }
    }
    tells_no_secret(&scene, "in-a-pod", &secrets, told).await?;
    // It would write into the folder that is removed now.
    kubelet.stop().await;
    scene.finish()
}

async fn data(maps: &Api<ConfigMap>, name: &str, key: &str) -> Result<String> {
    let data = maps.get(name).await?.data.context("no data")?;
    data.get(key).cloned().with_context(|| format!("no {key}"))
}

/// The server's static config, as its Secret holds it.
async fn static_config(client: &kube::Client) -> Result<String> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "temporal");
    let data = secrets.get("temporal-config").await?.data.context("no data")?;
    let text = data.get("production.yaml").context("no production.yaml")?;
    String::from_utf8(text.0.clone()).context("not UTF-8")
}

/// All objects in which anything may have been left, Secrets without their data.
async fn all_but_secrets(client: &kube::Client) -> Result<Vec<u8>> {
    let everything = ListParams::default();
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "temporal");
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "temporal");
    let pods: Api<Pod> = Api::namespaced(client.clone(), "temporal");
    let events: Api<Event> = Api::namespaced(client.clone(), "temporal");
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "temporal");
    let mut text = serde_json::to_vec(&maps.list(&everything).await?)?;
    text.extend(serde_json::to_vec(&deployments.list(&everything).await?)?);
    text.extend(serde_json::to_vec(&pods.list(&everything).await?)?);
    text.extend(serde_json::to_vec(&events.list(&everything).await?)?);
    for secret in secrets.list(&everything).await? {
        text.extend(serde_json::to_vec(&secret.metadata)?);
    }
    says(
        &String::from_utf8_lossy(&text),
        &[
            "temporal-config-crossfade-kept",
            "temporal-dynamic-config-crossfade-kept",
        ],
    )?;
    Ok(text)
}

/// With a password in the entry of the Visibility store.
fn with_a_password(config: &str) -> String {
    let password = Value::from(SOURCES_PASSWORD);
    let lines = config.lines().map(|line| {
        let at = line.find("pluginName:");
        at.map_or_else(
            || line.to_owned(),
            |margin| format!("{line}\n{}password: {password}", " ".repeat(margin)),
        )
    });
    lines.map(|line| line + "\n").collect()
}

async fn pod_names(client: &kube::Client) -> Result<BTreeSet<String>> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), "temporal");
    let pods = pods.list(&ListParams::default()).await?;
    Ok(pods.items.into_iter().filter_map(|pod| pod.metadata.name).collect())
}

/// The names of all pods, once each of them is ready.
async fn ready_pods(client: &kube::Client) -> Result<Option<BTreeSet<String>>> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), "temporal");
    let pods = pods.list(&ListParams::default()).await?.items;
    let is_ready = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
    let ready = !pods.is_empty() && pods.iter().all(is_ready);
    Ok(ready.then(|| pods.into_iter().filter_map(|pod| pod.metadata.name).collect()))
}

fn of_helm(kind: &str, version: &str, name: &str, mut rest: Value) -> Value {
    rest["apiVersion"] = json!(version);
    rest["kind"] = json!(kind);
    rest["metadata"] = json!({
        "name": name,
        "namespace": "temporal",
        "labels": {"app.kubernetes.io/managed-by": "Helm", "helm.sh/chart": "temporal-1.0.0"},
        "annotations": {"meta.helm.sh/release-name": "prod"},
    });
    rest
}

/// One pod with the whole server in it, which gives its ports up before the next one comes.
fn deployment(mounted: &Path, by_sub_path: bool) -> Value {
    let folder = mounted.join("dynamic_config");
    let mut dynamic = json!({"name": "dynamic", "mountPath": folder});
    if by_sub_path {
        dynamic = json!({"name": "dynamic", "mountPath": folder.join("dynamic_config.yaml"), "subPath": "dynamic_config.yaml"});
    }
    let labels = json!({"app": "temporal"});
    of_helm(
        "Deployment",
        "apps/v1",
        "temporal-frontend",
        json!({"spec": {
            "replicas": 1,
            // Longer than any server takes to listen.
            "progressDeadlineSeconds": 60,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {
                "containers": [{"name": "temporal", "image": "none", "volumeMounts": [
                    {"name": "config", "mountPath": mounted.join("config")},
                    dynamic,
                ]}],
                "volumes": [
                    {"name": "config", "secret": {"secretName": "temporal-config"}},
                    {"name": "dynamic", "configMap": {"name": "temporal-dynamic-config"}},
                ],
            }},
        }}),
    )
}

/// Runs each pod as a real server on this machine.
struct Pods {
    client: kube::Client,
    mounted: PathBuf,
    program: PathBuf,
    frontend: String,
    log: PathBuf,
    processes: Processes,
    running: BTreeMap<String, Running>,
    /// Whether no server starts with a config that has a second store.
    refuses: Arc<AtomicBool>,
}

impl Pods {
    fn new(client: kube::Client, mounted: &Path, scene: &Scene, refuses: &Arc<AtomicBool>) -> Result<Self> {
        let cache = Cache::from_environment()?;
        Ok(Self {
            client,
            mounted: mounted.to_owned(),
            program: find_or_build(&cache, &TEMPORAL_1_30_8, Program::TemporalServer, &Lines::default())?,
            frontend: scene.testbed.frontend().to_owned(),
            log: scene.testbed.folder().join("pods.log"),
            processes: Processes::watch(&mounted.join("pids"))?,
            running: BTreeMap::new(),
            refuses: Arc::clone(refuses),
        })
    }

    /// What the Secret and the ConfigMap hold, in the folders that are mounted. A file that has its content already is left
    /// as it is.
    async fn sync(&self) -> Result<()> {
        let config = static_config(&self.client).await?;
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), "temporal");
        let dynamic = data(&maps, "temporal-dynamic-config", "dynamic_config.yaml").await?;
        for (folder, file, text) in [
            ("config", "production.yaml", config),
            ("dynamic_config", "dynamic_config.yaml", dynamic),
        ] {
            let path = self.mounted.join(folder).join(file);
            if fs::read_to_string(&path).is_ok_and(|there| there == text) {
                continue;
            }
            fs::create_dir_all(self.mounted.join(folder))?;
            let fresh = path.with_extension("fresh");
            fs::write(&fresh, text)?;
            fs::rename(fresh, path)?;
        }
        Ok(())
    }

    async fn run(&mut self, name: &str) -> Result<Fate> {
        self.sync().await?;
        let config = static_config(&self.client).await?;
        if self.refuses.load(Ordering::Relaxed) && config.contains("secondaryVisibilityStore") {
            return Ok(Fate::Crashing(1, REFUSAL.to_owned()));
        }
        if !self.running.contains_key(name) {
            let mut command = Command::new(&self.program);
            let config = self.mounted.join("config/production.yaml");
            command
                .arg("--config-file")
                .arg(config)
                .args(["--allow-no-auth", "start"]);
            let running = self.processes.spawn(name, &mut command, &self.log)?;
            self.running.insert(name.to_owned(), running);
        }
        if !self.running.get_mut(name).is_some_and(Running::is_running) {
            return Ok(Fate::Crashing(1, fs::read_to_string(&self.log)?));
        }
        match tokio::net::TcpStream::connect(&self.frontend).await {
            Ok(_) => Ok(Fate::Ready("127.0.0.1".to_owned())),
            Err(_) => Ok(Fate::Coming),
        }
    }
}

impl Runs for Pods {
    async fn look(&mut self, pod: &Pod) -> Fate {
        let name = pod.metadata.name.clone().unwrap_or_default();
        self.run(&name).await.unwrap_or(Fate::Coming)
    }

    fn gone(&mut self, name: &str) {
        if let Some(mut running) = self.running.remove(name) {
            let _ = running.stop(Signal::Term);
        }
    }
}
