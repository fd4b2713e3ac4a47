//! A real control plane of Kubernetes: etcd, kube-apiserver and kube-controller-manager. There are no nodes, so nothing runs in
//! its pods by itself: the test plays the kubelets ([`kubelet`]), and says of each pod what a kubelet would say.

pub mod kubelet;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Namespace, Service, ServiceAccount};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, PostParams, TypeMeta};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use super::binaries::{KUBERNETES, Program, find_or_build};
use super::cache::Cache;
use super::ports::free_ports;
use super::processes::{Processes, Running, Signal, tail};
use super::progress::Progress;

/// How long each of the servers may take to answer.
const READY_WITHIN: Duration = Duration::from_secs(180);

/// The token of the one who may do everything.
const ADMIN: &str = "the-administrator-of-this-test";

/// What the pods of these tests need. What else the controller manager can do takes memory alone.
const CONTROLLERS: &str = "deployment-controller,replicaset-controller,statefulset-controller,garbage-collector-controller,namespace-controller";

/// A control plane of this process's own. It stops with this value.
#[derive(Debug)]
pub struct Kubernetes {
    url: String,
    servers: Vec<Running>,
    // The watch goes after the servers, the folder last.
    _processes: Processes,
    folder: tempfile::TempDir,
}

impl Drop for Kubernetes {
    fn drop(&mut self) {
        // The store last: what is above it would complain.
        for server in self.servers.iter_mut().rev() {
            let _ = server.stop(Signal::Kill);
        }
    }
}

impl Kubernetes {
    /// Builds what is not built yet, installs etcd where the machine is a Debian and this is root, and starts all three.
    ///
    /// # Errors
    /// When a program is not to be had, or does not answer in time: with what to do, or its log.
    pub async fn start(progress: &dyn Progress) -> Result<Self> {
        let cache = Cache::from_environment()?;
        let apiserver = find_or_build(&cache, &KUBERNETES, Program::KubeApiserver, progress)?;
        let controllers = find_or_build(&cache, &KUBERNETES, Program::KubeControllerManager, progress)?;
        let etcd = etcd(progress)?;
        progress.started("starting Kubernetes");
        let folder = tempfile::tempdir()?;
        let processes = Processes::watch(&folder.path().join("pids"))?;
        let at = |name: &str| folder.path().join(name);
        let ports = free_ports(3)?;
        let store = format!("http://127.0.0.1:{}", ports[0]);
        let peer = format!("http://127.0.0.1:{}", ports[1]);
        let mut command = Command::new(etcd);
        command.arg("--data-dir").arg(at("etcd"));
        command.args(["--listen-client-urls", &store, "--advertise-client-urls", &store]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("default={peer}")]);
        let mut this = Self {
            url: format!("https://127.0.0.1:{}", ports[2]),
            servers: vec![processes.spawn("etcd", &mut command, &at("etcd.log"))?],
            _processes: processes,
            folder,
        };
        this.serve(&apiserver, &store, ports[2]).await?;
        this.control(&controllers)?;
        progress.finished("Kubernetes answers");
        Ok(this)
    }

    async fn serve(&mut self, program: &Path, store: &str, port: u16) -> Result<()> {
        let at = |name: &str| self.folder.path().join(name);
        let key = rcgen::KeyPair::generate()?;
        fs::write(at("accounts.key"), key.serialize_pem())?;
        fs::write(at("accounts.pub"), key.public_key_pem())?;
        fs::write(at("tokens.csv"), format!("{ADMIN},admin,admin,\"system:masters\"\n"))?;
        let mut command = Command::new(program);
        command.args(["--etcd-servers", store, "--bind-address", "127.0.0.1"]);
        command.args(["--secure-port", &port.to_string()]);
        command.args([
            "--service-cluster-ip-range",
            "10.0.0.0/24",
            "--authorization-mode",
            "RBAC",
        ]);
        // Pods come to be without the token of their account, for which there is no kubelet to mount it.
        command.args(["--disable-admission-plugins", "ServiceAccount"]);
        command.args(["--service-account-issuer", "crossfade-test"]);
        command
            .arg("--service-account-signing-key-file")
            .arg(at("accounts.key"));
        command.arg("--service-account-key-file").arg(at("accounts.pub"));
        command.arg("--token-auth-file").arg(at("tokens.csv"));
        command.arg("--cert-dir").arg(at("certs"));
        let log = at("apiserver.log");
        let mut running = self._processes.spawn("kube-apiserver", &mut command, &log)?;
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if let Ok(client) = self.client().await
                // The first Service is there when the server's own objects are.
                && Api::<Service>::namespaced(client.clone(), "default").get("kubernetes").await.is_ok()
                && Api::<Namespace>::all(client).get("default").await.is_ok()
            {
                break;
            }
            if Instant::now() > deadline || !running.is_running() {
                bail!("kube-apiserver does not answer:\n{}", tail(&log));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        self.servers.push(running);
        Ok(())
    }

    fn control(&mut self, program: &Path) -> Result<()> {
        let mut command = Command::new(program);
        command.arg("--kubeconfig").arg(self.kubeconfig()?);
        command.args(["--leader-elect=false", "--secure-port=0"]);
        command.args(["--controllers", CONTROLLERS]);
        let log = self.folder.path().join("controllers.log");
        let running = self._processes.spawn("kube-controller-manager", &mut command, &log)?;
        self.servers.push(running);
        Ok(())
    }

    /// The kubeconfig of the administrator.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn kubeconfig(&self) -> Result<PathBuf> {
        self.kubeconfig_with("admin", ADMIN)
    }

    /// The kubeconfig of a service account, whose token the API gives.
    ///
    /// # Errors
    /// When there is no such account.
    pub async fn kubeconfig_of(&self, namespace: &str, account: &str) -> Result<PathBuf> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await?, namespace);
        let asked = TokenRequest::default();
        let answer = accounts
            .create_token_request(account, &PostParams::default(), &asked)
            .await?;
        let token = answer.status.context("no token")?.token;
        self.kubeconfig_with(&format!("{namespace}-{account}"), &token)
    }

    fn kubeconfig_with(&self, name: &str, token: &str) -> Result<PathBuf> {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {
                "server": self.url, "certificate-authority": self.folder.path().join("certs/apiserver.crt"),
            }}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}],
            "current-context": "test",
        });
        let path = self.folder.path().join(format!("{name}.kubeconfig"));
        fs::write(&path, config.to_string())?;
        Ok(path)
    }

    /// A client with every right.
    ///
    /// # Errors
    /// When the server has no certificate yet.
    pub async fn client(&self) -> Result<kube::Client> {
        // Where another one is the process's already, it does as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = Kubeconfig::read_from(self.kubeconfig()?)?;
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
        Ok(kube::Client::try_from(config)?)
    }

    /// Makes a namespace of a test's own.
    ///
    /// # Errors
    /// When it is there already.
    pub async fn namespace(&self, name: &str) -> Result<()> {
        self.create(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
            .await
    }

    /// Makes an object from its manifest.
    ///
    /// # Errors
    /// When the API refuses it.
    pub async fn create(&self, manifest: &Value) -> Result<()> {
        let object: DynamicObject = serde_json::from_value(manifest.clone())?;
        let types = object.types.clone().context("an object without a kind")?;
        let api = api_of(self.client().await?, &types, object.metadata.namespace.as_deref())?;
        api.create(&PostParams::default(), &object)
            .await
            .with_context(|| format!("the API refuses {} {:?}", types.kind, object.metadata.name))?;
        Ok(())
    }

    /// Makes each object of a file of manifests.
    ///
    /// # Errors
    /// When one of them is refused.
    pub async fn create_all(&self, manifests: &str) -> Result<()> {
        for manifest in manifests.split("\n---\n") {
            self.create(&yaml_serde::from_str(manifest)?).await?;
        }
        Ok(())
    }
}

fn api_of(client: kube::Client, types: &TypeMeta, namespace: Option<&str>) -> Result<Api<DynamicObject>> {
    let (group, version) = types.api_version.rsplit_once('/').unwrap_or(("", &types.api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &types.kind));
    Ok(match namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, &resource),
        None => Api::all_with(client, &resource),
    })
}

/// Kubernetes' store: the one on PATH, else Debian's.
fn etcd(progress: &dyn Progress) -> Result<PathBuf> {
    let find = || {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut candidates = std::env::split_paths(&path).map(|folder| folder.join("etcd"));
        candidates.find(|candidate| candidate.is_file())
    };
    if let Some(found) = find() {
        return Ok(found);
    }
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("etcd is needed and is not on PATH; install it (Debian: `apt-get install etcd-server`)");
    }
    progress.started("installing etcd with apt-get");
    let output = Command::new("apt-get")
        .args(["install", "-y", "--no-install-recommends", "etcd-server"])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .output()
        .context("cannot run apt-get")?;
    let found = find().with_context(|| {
        format!(
            "`apt-get install etcd-server` failed, so install etcd by hand: {}",
            String::from_utf8_lossy(&output.stderr)
        )
    })?;
    progress.finished("installed etcd");
    Ok(found)
}

/// The modules of Kubernetes that are parts of one tree there, and have versions of their own elsewhere.
const STAGED: [&str; 31] = [
    "api",
    "apiextensions-apiserver",
    "apimachinery",
    "apiserver",
    "cli-runtime",
    "client-go",
    "cloud-provider",
    "cluster-bootstrap",
    "code-generator",
    "component-base",
    "component-helpers",
    "controller-manager",
    "cri-api",
    "cri-client",
    "csi-translation-lib",
    "dynamic-resource-allocation",
    "endpointslice",
    "externaljwt",
    "kms",
    "kube-aggregator",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
    "metrics",
    "mount-utils",
    "pod-security-admission",
    "sample-apiserver",
    "sample-cli-plugin",
    "sample-controller",
];

/// What a module that depends on Kubernetes must say: in its own go.mod the staged modules are folders, which count there only.
pub(super) fn requirements(version: &str) -> String {
    let staged = version.replacen("1.", "0.", 1);
    let replaced: String = STAGED
        .iter()
        .map(|module| format!("\tk8s.io/{module} => k8s.io/{module} v{staged}\n"))
        .collect();
    format!("\nrequire k8s.io/kubernetes v{version}\n\nreplace (\n{replaced})\n")
}
