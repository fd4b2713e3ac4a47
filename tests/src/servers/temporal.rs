//! A real Temporal cluster on 127.0.0.1: one or more hosts, each with its config file and its way to be restarted.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use temporalio_client::{Client, ClientOptions, Connection, ConnectionOptions, Url};
use temporalio_common::protos::grpc::health::v1::HealthCheckRequest;
use temporalio_common::protos::grpc::health::v1::health_client::HealthClient;
use tonic::IntoRequest;

use super::balancer::Balancer;
use super::binaries::Release;
use super::processes::{Processes, read_pid, tail};
use super::temporal_files::{self, StaticConfig};
use super::temporal_ports::{Ports, ports};

/// Shards of the history service: few, so that one canary on each is quick, and more than one, so that it matters.
pub const HISTORY_SHARDS: u32 = 4;

/// The same where several hosts share them: as many as it takes for the ring to give each host one. A history host without
/// any never says that it serves (1.30.8: service/history/shard/controller_impl.go).
pub const FLEET_SHARDS: u32 = 16;

/// How long a server may take to serve; a cold start on a busy machine takes some seconds.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// The four services, in the order in which they may be started.
pub const SERVICES: [&str; 4] = ["history", "matching", "frontend", "worker"];

/// One host to be: its name, the services on it, and the indentation its owners like.
#[derive(Debug, Clone)]
pub struct HostPlan {
    /// The name in the spec.
    pub name: String,
    /// The services that run there.
    pub services: Vec<&'static str>,
    /// Spaces for each level of its config file.
    pub indent: usize,
}

impl HostPlan {
    /// A host that runs everything.
    #[must_use]
    pub fn whole(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            services: SERVICES.to_vec(),
            indent: 2,
        }
    }

    /// A host with these services.
    #[must_use]
    pub fn with(name: &str, services: &[&'static str]) -> Self {
        Self {
            name: name.to_owned(),
            services: services.to_vec(),
            indent: 2,
        }
    }
}

/// What a cluster needs to be started.
pub struct ClusterPlan<'a> {
    /// The folder for everything.
    pub folder: &'a Path,
    /// The server's version.
    pub release: &'static Release,
    /// The `temporal-server` binary.
    pub program: &'a Path,
    /// The hosts.
    pub hosts: Vec<HostPlan>,
    /// Name and datastore entry of the cluster's main store.
    pub main: (&'a str, Value),
    /// Name and datastore entry of its Visibility store.
    pub visibility: (&'a str, Value),
}

/// A host of the cluster.
#[derive(Debug, Clone)]
pub struct Host {
    /// The name in the spec.
    pub name: String,
    /// The services that run there.
    pub services: Vec<&'static str>,
    /// The static config file.
    pub config: PathBuf,
    /// The script that starts and stops it.
    pub script: PathBuf,
    /// Where its output goes.
    pub log: PathBuf,
    /// Where its Prometheus metrics are.
    pub metrics: String,
    /// The gRPC port on 127.0.0.1 of each service there; the worker service listens to nobody.
    pub listens: Vec<(&'static str, u16)>,
    pid_file: PathBuf,
}

/// A cluster.
#[derive(Debug)]
pub struct Temporal {
    hosts: Vec<Host>,
    dynamic_config: PathBuf,
    frontend: String,
    balancer: Option<Balancer>,
    kept: bool,
}

impl Temporal {
    /// Writes the files of each host, starts the hosts, and waits until the cluster serves.
    ///
    /// # Errors
    /// When a file cannot be written, or the cluster does not serve in time: with the end of the logs.
    pub async fn start(plan: ClusterPlan<'_>, processes: &Processes) -> Result<Self> {
        let dynamic_config = plan.folder.join("dynamicconfig/production.yaml");
        write(&dynamic_config, temporal_files::dynamic_config())?;
        let (ports, balancer) = ports(&plan.hosts).await?;
        let hosts = plan
            .hosts
            .iter()
            .zip(&ports)
            .map(|(host, (ports, metrics))| write_host(&plan, host, ports, *metrics, &dynamic_config, processes))
            .collect::<Result<Vec<Host>>>()?;
        let cluster = Self {
            hosts,
            dynamic_config,
            frontend: format!("127.0.0.1:{}", ports.first().context("a cluster has a host")?.0.clients),
            balancer,
            kept: false,
        };
        for host in &cluster.hosts {
            host.start()?;
            // The first one writes who the cluster is; a second one that does so at the same moment ends with an error.
            host.begun().await;
        }
        cluster.serving().await?;
        Ok(cluster)
    }

    /// The `host:port` at which clients ask: the frontend, or what spreads them over several.
    #[must_use]
    pub fn frontend(&self) -> &str {
        &self.frontend
    }

    /// What spreads clients over the frontends, where there are several.
    #[must_use]
    pub fn balancer(&self) -> Option<&Balancer> {
        self.balancer.as_ref()
    }

    /// Waits until each host's own services say that they serve.
    ///
    /// # Errors
    /// When one does not within 90 s: with the end of its log.
    pub async fn all_serving(&self) -> Result<()> {
        for host in &self.hosts {
            host.serving().await?;
        }
        Ok(())
    }

    /// The hosts.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The dynamic config file, which all hosts read.
    #[must_use]
    pub fn dynamic_config(&self) -> &Path {
        &self.dynamic_config
    }

    /// Waits until the frontend says that it serves and answers for the system's Namespace.
    ///
    /// # Errors
    /// When it does not within 90 s: with the end of each host's log.
    pub async fn serving(&self) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let asked = tokio::time::timeout(Duration::from_secs(5), is_serving(&self.frontend)).await;
            let refused = match asked {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => format!("{error:#}"),
                Err(_) => "no answer within 5 s".to_owned(),
            };
            let dead = self.hosts.iter().find(|host| !host.is_running());
            if Instant::now() > deadline || dead.is_some() {
                let logs: Vec<String> = self
                    .hosts
                    .iter()
                    .map(|host| format!("{}:\n{}", host.name, tail(&host.log)))
                    .collect();
                let gone = dead
                    .map(|host| format!(" ({} has ended)", host.name))
                    .unwrap_or_default();
                bail!(
                    "Temporal at {} does not serve{gone}: {refused}\n{}",
                    self.frontend,
                    logs.join("\n")
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// A client of `namespace`. Its calls are retried for a few seconds; a restart outlasts that.
    ///
    /// # Errors
    /// When the frontend does not answer.
    pub async fn client(&self, namespace: &str) -> Result<Client> {
        connect(&self.frontend, namespace).await
    }

    /// Leaves the cluster running when this value is dropped.
    pub fn keep(&mut self) {
        self.kept = true;
    }

    /// Stops every host.
    ///
    /// # Errors
    /// When a script fails.
    pub fn stop(&self) -> Result<()> {
        self.hosts.iter().rev().try_for_each(Host::stop)
    }
}

impl Drop for Temporal {
    fn drop(&mut self) {
        if !self.kept {
            for host in &self.hosts {
                let _ = host.kill();
            }
        }
    }
}

impl Host {
    /// Starts the host; nothing happens when it runs.
    ///
    /// # Errors
    /// When the script fails.
    pub fn start(&self) -> Result<()> {
        self.serve("start")
    }

    /// Stops the host as a service manager does: SIGTERM, then SIGKILL after 20 s.
    ///
    /// # Errors
    /// When the script fails.
    pub fn stop(&self) -> Result<()> {
        self.serve("stop")
    }

    /// Kills the host.
    ///
    /// # Errors
    /// When the script fails.
    pub fn kill(&self) -> Result<()> {
        self.serve("kill")
    }

    /// Stops the host and starts it again. Returns as soon as it runs, before it serves.
    ///
    /// # Errors
    /// When the script fails.
    pub fn restart(&self) -> Result<()> {
        self.serve("restart")
    }

    /// The words to put into the spec's `restart: {command: [...]}`.
    #[must_use]
    pub fn restart_command(&self) -> Vec<String> {
        vec![self.script.to_string_lossy().into_owned(), "restart".to_owned()]
    }

    /// Waits until the server says that it starts its services, or has ended.
    async fn begun(&self) {
        let deadline = Instant::now() + READY_WITHIN;
        let says_so = || fs::read_to_string(&self.log).is_ok_and(|log| log.contains("Starting server for services"));
        while !says_so() && self.is_running() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until its own services say that they serve. A history service says so some 5 s after it has its shards
    /// (1.30.8: service/history/service.go).
    ///
    /// # Errors
    /// When one does not within 90 s: with the end of the log.
    pub async fn serving(&self) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        for (service, port) in &self.listens {
            while let Err(refused) = service_serves(service, *port).await {
                if Instant::now() > deadline {
                    bail!("{service} of {}: {refused:#}\n{}", self.name, tail(&self.log));
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }

    /// The pid of the server, while it has one.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        read_pid(&self.pid_file)
    }

    /// Whether its process runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.pid().is_some_and(|pid| {
            // Linux tells a process from its remains; elsewhere only whether there is one.
            match fs::read_to_string(format!("/proc/{pid}/stat")) {
                Ok(stat) => !stat.contains(") Z "),
                Err(_) => !Path::new("/proc/self").exists(),
            }
        })
    }

    fn serve(&self, verb: &str) -> Result<()> {
        let status = Command::new(&self.script)
            .arg(verb)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .with_context(|| format!("cannot run {}", self.script.display()))?;
        if !status.success() {
            bail!("{} {verb} failed ({status})", self.script.display());
        }
        Ok(())
    }
}

/// A client of `namespace` at `frontend` (`host:port`); one of several behind it that is about to serve is waited for.
///
/// # Errors
/// When the frontend does not answer.
pub async fn connect(frontend: &str, namespace: &str) -> Result<Client> {
    let target: Url = format!("http://{frontend}")
        .parse()
        .with_context(|| format!("{frontend} is not an address"))?;
    let options = ConnectionOptions::new(target)
        .identity("e2e")
        .connect_timeout(Duration::from_secs(5))
        .build();
    let deadline = Instant::now() + READY_WITHIN;
    let mut answer = Connection::connect(options.clone()).await;
    while answer
        .as_ref()
        .is_err_and(|error| error.to_string().contains("not healthy"))
        && Instant::now() < deadline
    {
        tokio::time::sleep(Duration::from_millis(200)).await;
        answer = Connection::connect(options.clone()).await;
    }
    let connection = answer.with_context(|| format!("cannot connect to {frontend}"))?;
    Ok(Client::new(connection, ClientOptions::new(namespace).build())?)
}

async fn service_serves(service: &str, port: u16) -> Result<()> {
    // 1.30.8: service/{frontend/interface.go, history/handler.go, matching/handler.go}.
    let name = match service {
        "history" => "History",
        "matching" => "Matching",
        _ => "Workflow",
    };
    let channel =
        tonic::transport::Endpoint::try_from(format!("http://127.0.0.1:{port}"))?.timeout(Duration::from_secs(3));
    let question = HealthCheckRequest {
        service: format!("temporal.api.workflowservice.v1.{name}Service"),
    };
    let answer = HealthClient::new(channel.connect().await?).check(question).await?;
    let status = answer.into_inner().status;
    if status != 1 {
        bail!("health is {status}, not SERVING");
    }
    Ok(())
}

async fn is_serving(frontend: &str) -> Result<()> {
    let client = connect(frontend, "temporal-system").await?;
    let service = "temporal.api.workflowservice.v1.WorkflowService".to_owned();
    let answer = client
        .connection()
        .health_service()
        .check(HealthCheckRequest { service }.into_request())
        .await?
        .into_inner();
    if answer.status != 1 {
        bail!("health is {}, not SERVING", answer.status);
    }
    crate::namespaces::describe(&client, "temporal-system").await.map(drop)
}

fn write_host(
    plan: &ClusterPlan<'_>,
    host: &HostPlan,
    ports: &Ports,
    metrics: u16,
    dynamic_config: &Path,
    processes: &Processes,
) -> Result<Host> {
    let folder = plan.folder.join(&host.name);
    let config = folder.join("config/production.yaml");
    let text = StaticConfig {
        host: &host.name,
        ports,
        metrics,
        history_shards: match plan
            .hosts
            .iter()
            .filter(|host| host.services.contains(&"history"))
            .count()
        {
            0 | 1 => HISTORY_SHARDS,
            _ => FLEET_SHARDS,
        },
        datastores: [
            (plan.main.0, "Mutable state, histories and tasks.", &plan.main.1),
            (
                plan.visibility.0,
                "One record for each execution, for List and Count.",
                &plan.visibility.1,
            ),
        ],
        dynamic_config,
        indent: host.indent,
    }
    .render();
    write(&config, &text)?;
    // It has the database's password in it, as files of this kind do.
    fs::set_permissions(&config, fs::Permissions::from_mode(0o640))?;
    let mut command = vec![plan.program.to_string_lossy().into_owned()];
    // `--config-file` exists from 1.30 on (1.30.8:cmd/server/main.go); older servers take root, folder and name.
    if plan.release.minor() < 30 {
        let folder = config
            .parent()
            .context("the config file has a folder")?
            .to_string_lossy()
            .into_owned();
        command.extend(["--root".into(), "/".into(), "--config".into(), folder]);
        command.extend(["--env".into(), "production".into()]);
    } else {
        command.extend(["--config-file".to_owned(), config.to_string_lossy().into_owned()]);
    }
    command.extend(["--allow-no-auth".to_owned(), "start".to_owned()]);
    if host.services.len() < SERVICES.len() {
        command.extend(
            host.services
                .iter()
                .flat_map(|service| ["--service".to_owned(), (*service).to_owned()]),
        );
    }
    let pid_file = processes.pid_file(&host.name);
    let script = folder.join("serve.sh");
    write(&script, &temporal_files::script(&command, &pid_file))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    Ok(Host {
        name: host.name.clone(),
        services: host.services.clone(),
        config,
        script,
        log: folder.join("server.log"),
        metrics: format!("127.0.0.1:{metrics}"),
        listens: [
            ("frontend", ports.frontend),
            ("history", ports.history),
            ("matching", ports.matching),
        ]
        .into_iter()
        .filter(|(service, _)| host.services.contains(service))
        .collect(),
        pid_file,
    })
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
