//! The server of 1.23.1, started with a static config: it prints none, but its log says which stores it made.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::real_server;

/// What a server needs besides `persistence`, for one that runs its history service alone.
pub(crate) const REST: &str = "
log: {stdout: true, level: info}
global:
  membership: {maxJoinDuration: 30s, broadcastAddress: \"127.0.0.1\"}
services:
  frontend: {rpc: {grpcPort: 7233, membershipPort: 6933, bindOnLocalHost: true}}
  matching: {rpc: {grpcPort: 7235, membershipPort: 6935, bindOnLocalHost: true}}
  worker: {rpc: {grpcPort: 7239, membershipPort: 6939, bindOnLocalHost: true}}
  history: {rpc: {grpcPort: 7234, membershipPort: 6934, bindOnLocalHost: true}}
clusterMetadata:
  enableGlobalNamespace: false
  failoverVersionIncrement: 10
  masterClusterName: active
  currentClusterName: active
  clusterInformation:
    active: {enabled: true, initialFailoverVersion: 1, rpcName: frontend, rpcAddress: \"localhost:7233\"}
";

/// Starts the history service of 1.23.1 with this static config, on free ports, and returns what it logged until it had made its stores or ended.
pub(crate) fn history_of_1_23(config: &str, folder: &Path) -> String {
    let named = std::env::var_os("CROSSFADE_TEMPORAL_SERVER_1_23_1")
        .filter(|v| !v.is_empty())
        .map(PathBuf::from);
    let binary = named.unwrap_or_else(|| real_server::cache().join("1.23.1/bin/temporal-server"));
    assert!(
        binary.is_file(),
        "{} is not there: run `cargo xtask servers`, or set CROSSFADE_TEMPORAL_SERVER_1_23_1 to a temporal-server 1.23.1",
        binary.display()
    );
    // Both listeners stay until both ports are known, so that they differ.
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let ports: Vec<String> = listeners
        .iter()
        .map(|listener| listener.local_addr().expect("an address").port().to_string())
        .collect();
    drop(listeners);
    let config = config.replace("7234", &ports[0]).replace("6934", &ports[1]);
    fs::write(folder.join("host.yaml"), config).expect("written");
    let log = folder.join("log");
    let output = fs::File::create(&log).expect("a log");
    let mut server = Command::new(binary)
        .args(["--root", "/", "--env", "host", "--config"])
        .arg(folder)
        .args(["start", "--service", "history"])
        .stdin(Stdio::null())
        .stderr(output.try_clone().expect("a log"))
        .stdout(output)
        .spawn()
        .expect("the server runs");
    let deadline = Instant::now() + Duration::from_secs(90);
    let said = loop {
        let ended = server.try_wait().expect("it is ours").is_some();
        let said = fs::read_to_string(&log).expect("a log");
        if ended || said.contains("\"msg\":\"history starting\"") || Instant::now() > deadline {
            break said;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let _ = server.kill();
    server.wait().expect("it is ours");
    said
}
