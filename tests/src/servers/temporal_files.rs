//! The files of a Temporal host, written as people write them: with comments, quotes and an indentation of their own.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use super::temporal_ports::Ports;

/// What the static config of one host says.
pub(super) struct StaticConfig<'a> {
    pub(super) host: &'a str,
    pub(super) ports: &'a Ports,
    pub(super) metrics: u16,
    pub(super) history_shards: u32,
    /// Name, comment and entry of each datastore; the first holds the cluster, the second its Visibility.
    pub(super) datastores: [(&'a str, &'a str, &'a Value); 2],
    pub(super) dynamic_config: &'a Path,
    /// Spaces for each level.
    pub(super) indent: usize,
}

impl StaticConfig<'_> {
    pub(super) fn render(&self) -> String {
        let Ports {
            clients,
            frontend,
            http,
            history,
            matching,
            worker,
            membership,
        } = self.ports;
        let [main, visibility] = &self.datastores;
        let mut text = format!(
            "# Temporal on {host}. Changes go through review; see the runbook of the platform team.\n\
             log:\n  stdout: true\n  level: info    # debug fills the disk within the hour\n\n\
             persistence:\n  defaultStore: {}\n  visibilityStore: {}   # List, Count and the UI read from here\n  \
             numHistoryShards: {}   # fixed when the cluster was made\n  datastores:\n",
            main.0,
            visibility.0,
            self.history_shards,
            host = self.host,
        );
        for (name, comment, entry) in &self.datastores {
            let _ = writeln!(text, "    # {comment}\n    {name}:");
            mapping(&mut text, entry, 6);
        }
        let _ = write!(
            text,
            "\nglobal:\n  membership:\n    maxJoinDuration: 30s\n    broadcastAddress: \"127.0.0.1\"\n  \
             metrics:\n    prometheus:\n      timerType: \"histogram\"\n      listenAddress: \"127.0.0.1:{}\"\n\nservices:\n",
            self.metrics
        );
        let services = [
            ("frontend", frontend),
            ("history", history),
            ("matching", matching),
            ("worker", worker),
        ];
        for ((name, port), membership) in services.into_iter().zip(membership) {
            let _ = write!(
                text,
                "  {name}:\n    rpc:\n      grpcPort: {port}\n      membershipPort: {membership}\n      bindOnIP: '127.0.0.1'\n"
            );
            if name == "frontend" {
                let _ = writeln!(text, "      httpPort: {http}");
            }
        }
        let _ = write!(
            text,
            "\nclusterMetadata:\n  enableGlobalNamespace: false\n  failoverVersionIncrement: 10\n  masterClusterName: \"active\"\n  \
             currentClusterName: \"active\"\n  clusterInformation:\n    active:\n      enabled: true\n      initialFailoverVersion: 1\n      \
             rpcName: \"frontend\"\n      rpcAddress: \"127.0.0.1:{clients}\"\n\ndcRedirectionPolicy:\n  policy: \"noop\"\n\n\
             publicClient:\n  hostPort: \"127.0.0.1:{clients}\"\n\n\
             # Switches that need no restart.\ndynamicConfigClient:\n  filepath: \"{}\"\n  pollInterval: \"5s\"\n",
            self.dynamic_config.display()
        );
        indented(&text, self.indent)
    }
}

/// The dynamic config file as it is before anyone migrates anything.
pub(super) fn dynamic_config() -> &'static str {
    "# Cluster-wide switches; every host reads this file again within five seconds.\n\
     limit.maxIDLength:\n  - value: 255\n    constraints: {}\n\n\
     # The nightly export lists a lot.\n\
     frontend.namespaceRPS.visibility:\n  - value: 100\n    constraints: {}\n\n\
     # A deletion waits for the next checkpoint (1.30.8:service/history/transfer_queue_task_executor_base.go).\n\
     history.transferProcessorUpdateAckInterval:\n  - value: 1s\n    constraints: {}\n\n\
     # A record that is deleted before its close was written comes back (visibility_queue_task_executor.go).\n\
     history.visibilityProcessorEnsureCloseBeforeDelete:\n  - value: true\n    constraints: {}\n\
     history.visibilityProcessorUpdateAckInterval:\n  - value: 1s\n    constraints: {}\n"
}

/// The script that starts and stops one host: what a service manager does, on a machine that has none.
///
/// `restart` is what an operator puts into the spec. The server it starts does not belong to the caller: it lives in a
/// session of its own and its output goes to `server.log`.
pub(super) fn script(command: &[String], pid_file: &Path) -> String {
    let command: Vec<String> = command.iter().map(|word| quoted(word)).collect();
    format!(
        r#"#!/bin/sh
# Runs this folder's Temporal host. Usage: serve.sh start|stop|kill|restart
set -eu
cd "$(dirname "$0")"
pid_file={pid_file}

# One at a time: a restart that is asked for twice is done twice, one after the other.
if [ -z "${{SERVE_LOCKED:-}}" ] && command -v flock >/dev/null 2>&1; then
    SERVE_LOCKED=1 exec flock --close serve.lock "./$(basename "$0")" "$@"
fi

running() {{
    pid=$(cat "$pid_file" 2>/dev/null) || return 1
    kill -0 "$pid" 2>/dev/null || return 1
    # Ended, but not yet collected by its parent.
    if grep -qs '^State:[[:space:]]*Z' "/proc/$pid/status"; then return 1; fi
}}

start() {{
    if running; then return 0; fi
    detach=""
    if command -v setsid >/dev/null 2>&1; then detach=setsid; fi
    $detach {command} >>server.log 2>&1 </dev/null &
    echo "$!" >"$pid_file.new"
    mv "$pid_file.new" "$pid_file"
}}

# stop SIGNAL: ends the server, by SIGKILL when it has not ended after 20 s.
stop() {{
    if running; then
        kill "-$1" "$pid"
        tries=0
        while running; do
            tries=$((tries + 1))
            if [ "$tries" -eq 200 ]; then kill -KILL "$pid"; fi
            sleep 0.1
        done
    fi
    rm -f "$pid_file"
}}

case "${{1:-}}" in
    start) start ;;
    stop) stop TERM ;;
    kill) stop KILL ;;
    restart) stop TERM; start ;;
    *) echo "usage: $0 start|stop|kill|restart" >&2; exit 2 ;;
esac
"#,
        pid_file = quoted(&pid_file.to_string_lossy()),
        command = command.join(" "),
    )
}

/// `word` as the shell reads it back.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Writes a JSON object as nested YAML mappings with quoted strings.
fn mapping(text: &mut String, value: &Value, depth: usize) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let margin = " ".repeat(depth);
        if value.is_object() {
            let _ = writeln!(text, "{margin}{key}:");
            mapping(text, value, depth + 2);
        } else {
            // A JSON scalar is a YAML scalar.
            let _ = writeln!(text, "{margin}{key}: {value}");
        }
    }
}

/// Turns a text that is indented by two into one that is indented by `step`.
fn indented(text: &str, step: usize) -> String {
    let mut result = String::new();
    for line in text.lines() {
        let content = line.trim_start();
        let margin = (line.len() - content.len()) / 2 * step;
        let _ = writeln!(
            result,
            "{}{content}",
            " ".repeat(if content.is_empty() { 0 } else { margin })
        );
    }
    result
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_config_means_the_same_in_every_indentation() {
        let ports = Ports {
            clients: 1,
            frontend: 1,
            http: 2,
            history: 3,
            matching: 4,
            worker: 5,
            membership: [6, 7, 8, 9],
        };
        let entry = json!({"sql": {"pluginName": "sqlite", "connectAttributes": {"setup": "true"}}});
        let render = |indent| {
            StaticConfig {
                host: "node-a",
                ports: &ports,
                metrics: 10,
                history_shards: 4,
                datastores: [("default", "State.", &entry), ("visibility", "Records.", &entry)],
                dynamic_config: Path::new("/etc/temporal/dynamicconfig.yaml"),
                indent,
            }
            .render()
        };
        let two: Value = yaml_serde::from_str(&render(2)).unwrap();
        let four: Value = yaml_serde::from_str(&render(4)).unwrap();
        assert_eq!(two, four);
        assert_eq!(two["persistence"]["datastores"]["visibility"], entry);
        assert_eq!(two["services"]["frontend"]["rpc"]["httpPort"], 2);
        assert!(render(4).contains("\n    visibilityStore: visibility"));
    }

    #[test]
    fn the_script_stops_what_it_started() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let pid_file = folder.path().join("it's.pid");
        let path = folder.path().join("serve.sh");
        std::fs::write(&path, script(&["sleep".into(), "600".into()], &pid_file)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let serve = |verb: &str| assert!(std::process::Command::new(&path).arg(verb).status().unwrap().success());
        let pid = || super::super::processes::read_pid(&pid_file);
        serve("start");
        let first = pid().unwrap();
        serve("start");
        assert_eq!(pid(), Some(first));
        serve("restart");
        let second = pid().unwrap();
        assert_ne!(first, second);
        serve("stop");
        assert_eq!(pid(), None);
        serve("stop");
    }
}
