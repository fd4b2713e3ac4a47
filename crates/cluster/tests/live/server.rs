//! A real Temporal server on SQLite files, started, restarted and stopped by a script of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crossfade_cluster::{ConnectSettings, Frontend};
use e2e::servers::ports::free_ports;

use crate::cache::{Release, V1_21_6, V1_23_1, V1_30_8};

/// Makes a test for each release of each function named, and gives it the server that all tests of the release share.
macro_rules! on_each_release {
    ($($test:ident),+ $(,)?) => {
        mod on_1_30_8 {
            $(#[tokio::test] async fn $test() { super::$test(crate::server::shared(crate::cache::V1_30_8).await).await; })+
        }
        mod on_1_23_1 {
            $(#[tokio::test] async fn $test() { super::$test(crate::server::shared(crate::cache::V1_23_1).await).await; })+
        }
        mod on_1_21_6 {
            $(#[tokio::test] #[ignore = "run by `cargo verify --all`, which builds 1.21.6"] async fn $test() { super::$test(crate::server::shared(crate::cache::V1_21_6).await).await; })+
        }
    };
}
pub(crate) use on_each_release;

pub(crate) const SHARDS: u32 = 4;
pub(crate) const NAMESPACE: &str = "canaries";

/// A server with a folder of its own. A watchdog stops it and removes the folder when this process ends, however.
pub(crate) struct Server {
    pub(crate) release: Release,
    pub(crate) dir: PathBuf,
    pub(crate) ports: Ports,
    watchdog: Child,
}

#[derive(Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) frontend: u16,
    pub(crate) history: u16,
    pub(crate) matching: u16,
    worker: u16,
    membership: [u16; 4],
}

impl Ports {
    fn free() -> Self {
        let free = free_ports(8).expect("free ports");
        Self {
            frontend: free[0],
            history: free[1],
            matching: free[2],
            worker: free[3],
            membership: [free[4], free[5], free[6], free[7]],
        }
    }
}

/// How a server is set up, where it is not the usual way.
pub(crate) struct Plan<'a> {
    pub(crate) release: Release,
    /// Text for the config's section `global`.
    pub(crate) global: &'a str,
    /// Entry of the Visibility store; without it, a SQLite file.
    pub(crate) visibility: Option<serde_json::Value>,
    /// Entry of a secondary Visibility store.
    pub(crate) secondary: Option<serde_json::Value>,
    /// Lines for the dynamic config.
    pub(crate) dynamic: &'a str,
}

impl Plan<'_> {
    pub(crate) fn new(release: Release) -> Self {
        Self {
            release,
            global: "",
            visibility: None,
            secondary: None,
            dynamic: "",
        }
    }
}

/// The server that all tests of this binary share for a release; only those that restart theirs start another.
pub(crate) async fn shared(release: Release) -> &'static Server {
    static NEWEST: OnceLock<Server> = OnceLock::new();
    static STANDARD: OnceLock<Server> = OnceLock::new();
    static OLDEST: OnceLock<Server> = OnceLock::new();
    let shared = match release {
        V1_30_8 => &NEWEST,
        V1_23_1 => &STANDARD,
        V1_21_6 => &OLDEST,
        other => panic!("no shared server of {other:?}"),
    };
    let server = shared.get_or_init(|| Server::start(Plan::new(release)));
    server.frontend().await;
    server
}

impl Server {
    pub(crate) fn start(plan: Plan<'_>) -> Self {
        Self::start_with(plan, |_| {})
    }

    /// Starts a server as planned; `prepare` fills its folder before.
    pub(crate) fn start_with(plan: Plan<'_>, prepare: impl Fn(&Path)) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("crossfade-cluster-")
            .tempdir()
            .expect("a folder")
            .keep();
        let ports = Ports::free();
        prepare(&dir);
        fs::write(dir.join("server.yaml"), config(&dir, ports, &plan)).expect("config");
        fs::write(dir.join("dynamic.yaml"), plan.dynamic).expect("config");
        script(&dir, "stop.sh", STOP);
        // Older servers take a folder and a name (1.30.8: cmd/server/main.go has both ways).
        let arguments = if plan.release.minor < 30 {
            format!("--root / --config {} --env server --allow-no-auth start", dir.display())
        } else {
            "--config-file server.yaml --allow-no-auth start".to_owned()
        };
        let program = plan.release.program("temporal-server");
        script(
            &dir,
            "start.sh",
            &START
                .replace("BINARY", &program.display().to_string())
                .replace("ARGUMENTS", &arguments),
        );
        script(&dir, "restart.sh", RESTART);
        let watchdog = Command::new("setsid")
            .args(["sh", "-c", "read -r _; ./stop.sh; cd /; rm -rf \"$1\"", "sh"])
            .arg(&dir)
            .current_dir(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("a watchdog");
        let server = Self {
            release: plan.release,
            dir,
            ports,
            watchdog,
        };
        server.run("start.sh");
        server
    }

    pub(crate) fn script(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    pub(crate) fn run(&self, name: &str) {
        let status = Command::new(self.dir.join(name))
            .current_dir(&self.dir)
            .status()
            .expect(name);
        assert!(status.success(), "{name}: {status}");
    }

    pub(crate) fn settings(&self) -> ConnectSettings {
        let mut settings = ConnectSettings::plaintext(format!("127.0.0.1:{}", self.ports.frontend));
        settings.connect_within = Duration::from_secs(60);
        settings
    }

    /// Connects, once the server serves and has the Namespace of the tests.
    pub(crate) async fn frontend(&self) -> Frontend {
        let frontend = match Frontend::connect(&self.settings()).await {
            Ok(frontend) => frontend,
            Err(error) => panic!("{error}\n{}", self.log()),
        };
        frontend
            .await_serving(Duration::from_secs(60))
            .await
            .unwrap_or_else(|e| panic!("{e}\n{}", self.log()));
        let retention = Duration::from_secs(2 * 24 * 3600);
        e2e::namespaces::register(frontend.connection(), NAMESPACE, retention)
            .await
            .unwrap_or_else(|e| panic!("{e:#}\n{}", self.log()));
        // Other parts of the server learn of a Namespace with their next refresh.
        for _ in 0..300 {
            if frontend.list_page(NAMESPACE, "", 1, None).await.is_ok() {
                return frontend;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the Namespace did not appear\n{}", self.log());
    }

    pub(crate) fn pid(&self) -> u32 {
        fs::read_to_string(self.dir.join("pid"))
            .expect("pid")
            .trim()
            .parse()
            .expect("pid")
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.dir.join("server.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().filter(|l| !l.contains("\"level\":\"info\"")).collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Opens the Visibility store's file for reading, beside the running server.
    pub(crate) fn visibility(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.dir.join("visibility.db")).expect("visibility.db")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}

/// Waits up to a minute for something that comes by itself.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..600 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("never came: {what}");
}

fn script(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    fs::write(&path, text).expect(name);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect(name);
}

const START: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit 1
setsid BINARY ARGUMENTS >>server.log 2>&1 </dev/null &
echo $! >pid
"#;

const STOP: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit 1
pid=$(cat pid 2>/dev/null) || exit 0
kill "$pid" 2>/dev/null || exit 0
n=0
while kill -0 "$pid" 2>/dev/null; do
  n=$((n + 1)); [ $n -lt 100 ] || kill -9 "$pid" 2>/dev/null
  sleep 0.1
done
"#;

/// Counts its runs; with a file `slow` it lingers between stop and start for as many seconds as that says.
const RESTART: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit 1
echo run >>restarts
./stop.sh
[ -f slow ] && sleep "$(cat slow)"
./start.sh
echo restarted
"#;

fn config(dir: &Path, ports: Ports, plan: &Plan<'_>) -> String {
    let global = plan.global;
    let store = |name: &str| {
        format!(
            r#"
    {name}:
      sql:
        pluginName: sqlite
        databaseName: "{}/{name}.db"
        connectAddr: localhost
        connectProtocol: tcp
        connectAttributes: {{ cache: private, setup: "true", journal_mode: wal, synchronous: "1", busy_timeout: "10000" }}
        maxConns: 1
        maxIdleConns: 1"#,
            dir.display()
        )
    };
    let service = |name: &str, port: u16, membership: u16| {
        format!("\n  {name}:\n    rpc: {{ grpcPort: {port}, membershipPort: {membership}, bindOnLocalHost: true }}")
    };
    // JSON is YAML.
    let visibility = plan
        .visibility
        .as_ref()
        .map_or_else(|| store("visibility"), |entry| format!("\n    visibility: {entry}"));
    let (secondary, name) = match &plan.secondary {
        Some(entry) => (
            format!("\n    secondary: {entry}"),
            "\n  secondaryVisibilityStore: secondary",
        ),
        None => (String::new(), ""),
    };
    let [m0, m1, m2, m3] = ports.membership;
    format!(
        r#"log: {{ stdout: true, level: info }}
persistence:
  defaultStore: main
  visibilityStore: visibility{name}
  numHistoryShards: {SHARDS}
  datastores:{}{}{}
global:
  membership: {{ maxJoinDuration: 30s, broadcastAddress: "127.0.0.1" }}
{global}services:{}{}{}{}
clusterMetadata:
  enableGlobalNamespace: false
  failoverVersionIncrement: 10
  masterClusterName: active
  currentClusterName: active
  clusterInformation:
    active: {{ enabled: true, initialFailoverVersion: 1, rpcName: frontend, rpcAddress: "127.0.0.1:{}" }}
dcRedirectionPolicy: {{ policy: noop }}
dynamicConfigClient:
  filepath: "{}/dynamic.yaml"
  pollInterval: 5s
"#,
        store("main"),
        visibility,
        secondary,
        service("frontend", ports.frontend, m0),
        service("history", ports.history, m1),
        service("matching", ports.matching, m2),
        service("worker", ports.worker, m3),
        ports.frontend,
        dir.display(),
    )
}
