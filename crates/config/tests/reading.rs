//! What is read from a static config, and what is refused at reading.

use std::time::Duration;

use crossfade_config::{DynamicConfig, StaticConfig};
use serde_json::json;

const FULL: &str = r#"
x-sql: &sql
  pluginName: postgres12
  connectAddr: db:5432
  password: 0123
persistence:
  defaultStore: default
  visibilityStore: vis
  secondaryVisibilityStore: ""
  numHistoryShards: 512
  datastores:
    default:
      sql:
        <<: *sql
        databaseName: 2024
        connectAttributes: {cache: private, setup: true, timeout: 5}
        maxConns: 20
        user:
    vis:
      sql: &vis
        <<: [{databaseName: visibility}, *sql]
        tls: {enabled: false}
    copy:
      sql: *vis
global:
  membership:
    broadcastAddress: 10.0.0.7
services:
  frontend:
    rpc: {grpcPort: 7233, membershipPort: 6933, bindOnIP: "0.0.0.0", httpPort: 7243}
  history:
    rpc:
      grpcPort: 7234
      bindOnLocalHost: true
dynamicConfigClient:
  filepath: config/dynamic.yaml
  pollInterval: "1m30s"
"#;

#[test]
fn reads_what_the_server_reads() {
    let config = StaticConfig::parse("production.yaml", FULL.as_bytes()).expect("parsed");
    let store = config.visibility_store().expect("a store");
    assert_eq!((store.value.as_str(), store.line), ("vis", 8));
    assert_eq!(config.default_store().map(|s| s.line), Some(7));
    assert_eq!(config.secondary_visibility_store(), None);
    assert_eq!(config.num_history_shards().map(|n| n.value), Some(512));
    let default = config.datastore("default").expect("a datastore");
    assert_eq!(default.line, 12);
    let expected = json!({ "sql": {
        "databaseName": "2024", "connectAttributes": { "cache": "private", "setup": "true", "timeout": "5" }, "maxConns": 20,
        "user": "", "pluginName": "postgres12", "connectAddr": "db:5432", "password": "0123",
    } });
    assert_eq!(default.value, expected);
    let vis = json!({ "sql": {
        "tls": { "enabled": false }, "databaseName": "visibility", "pluginName": "postgres12", "connectAddr": "db:5432",
        "password": "0123",
    } });
    assert_eq!(config.datastore("vis").map(|d| &d.value), Some(&vis));
    assert_eq!(config.datastore("copy").map(|d| &d.value), Some(&vis));
    assert_eq!(
        config.datastores().map(|(name, _)| name).collect::<Vec<_>>(),
        ["default", "vis", "copy"]
    );
    let [frontend, history] = config.services() else {
        panic!("two services")
    };
    assert_eq!(
        (frontend.name.as_str(), frontend.grpc_port, frontend.http_port),
        ("frontend", Some(7233), Some(7243))
    );
    assert_eq!(
        (frontend.bind_on_ip.as_deref(), frontend.bind_on_local_host),
        (Some("0.0.0.0"), false)
    );
    assert_eq!(
        (history.grpc_port, history.bind_on_local_host, history.line),
        (Some(7234), true, 31)
    );
    assert_eq!(config.broadcast_address(), Some("10.0.0.7"));
    let client = config.dynamic_config_client().expect("a client");
    assert_eq!(client.filepath.to_str(), Some("config/dynamic.yaml"));
    assert_eq!(client.poll_interval, Duration::from_secs(90));
}

#[test]
fn what_cannot_be_read_is_refused_with_a_reason() {
    let stores = "persistence:\n  visibilityStore: vis\n  datastores:\n    vis:\n      sql: {}\n";
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("template by header", format!("# enable-template\n{stores}").into()),
        (
            "template by value",
            stores.replace("Store: vis", "Store: \"{{ .Env.STORE }}\"").into(),
        ),
        (
            "template that is no YAML",
            format!("log:\n  {{{{ if x }}}}\n  a: b\n  {{{{ end }}}}\n{stores}").into(),
        ),
        ("several documents", format!("{stores}---\nlog: {{}}\n").into()),
        ("duplicate key at the top", format!("{stores}log: a\nlog: b\n").into()),
        (
            "duplicate key below",
            stores
                .replace(
                    "  visibilityStore: vis\n",
                    "  visibilityStore: vis\n  'visibilityStore': b\n",
                )
                .into(),
        ),
        (
            "duplicate key in flow style",
            format!("log: {{a: 1, a: 2}}\n{stores}").into(),
        ),
        (
            "duplicate merge key",
            format!("a: &a {{b: 1}}\nlog:\n  <<: *a\n  <<: *a\n{stores}").into(),
        ),
        ("tab", stores.replace("  visibilityStore", "\tvisibilityStore").into()),
        ("tab below", stores.replace("      sql", "    \tsql").into()),
        ("not UTF-8", [stores.as_bytes(), b"x: \xff\n"].concat()),
        (
            "UTF-16",
            "\u{feff}a: b".encode_utf16().flat_map(u16::to_le_bytes).collect(),
        ),
        ("lone carriage return", format!("{stores}log: a\rb: c\n").into()),
        ("unclosed bracket", format!("{stores}log: [a\n").into()),
        ("bad indentation", format!("{stores}log:\n    a: 1\n  b: 2\n").into()),
        ("unknown alias", format!("{stores}log: *nowhere\n").into()),
        ("alias of itself", format!("{stores}log: &a [*a]\n").into()),
        ("merge of itself", format!("{stores}log: &a {{<<: *a}}\n").into()),
        ("merge of a text", format!("{stores}log: {{<<: text}}\n").into()),
        (
            "nested too deep",
            format!("{stores}log: {}{}\n", "[".repeat(5000), "]".repeat(5000)).into(),
        ),
        ("no persistence", "log: {}\n".into()),
        ("empty", Vec::new()),
        ("only comments", "# nothing\n".into()),
        ("a list", "- persistence\n".into()),
        ("persistence is a text", "persistence: yes\n".into()),
        ("no datastores", "persistence:\n  visibilityStore: vis\n".into()),
        (
            "datastores empty",
            "persistence:\n  visibilityStore: vis\n  datastores:\n".into(),
        ),
        ("datastores is a list", "persistence:\n  datastores: [vis]\n".into()),
        (
            "datastore is a text",
            "persistence:\n  datastores:\n    vis: postgres\n".into(),
        ),
        (
            "store is a mapping",
            stores.replace("Store: vis", "Store: {a: b}").into(),
        ),
        (
            "shards is a text",
            stores
                .replace("  datastores:", "  numHistoryShards: many\n  datastores:")
                .into(),
        ),
        (
            "port too large",
            format!("{stores}services:\n  frontend:\n    rpc: {{grpcPort: 72330}}\n").into(),
        ),
    ];
    let all: Vec<String> = cases
        .iter()
        .map(|(case, bytes)| {
            let refusal = StaticConfig::parse("production.yaml", bytes).err();
            format!(
                "## {case}\n{}",
                refusal.map_or_else(|| panic!("{case}: accepted"), |r| r.to_string())
            )
        })
        .collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn braces_in_comments_are_no_template() {
    let text = "# {{ nothing }}\npersistence:\n  datastores:\n    vis:\n      sql: {} # {{ x }}\n";
    assert!(StaticConfig::parse("x", text.as_bytes()).is_ok());
    // The server looks for the header in the first kilobyte only.
    let late = format!("{}\n# enable-template\n{text}", "# ".repeat(600));
    assert!(StaticConfig::parse("x", late.as_bytes()).is_ok());
}

#[test]
fn a_dynamic_config_client_with_which_no_server_starts_is_refused() {
    let base = "persistence:\n  datastores:\n    vis:\n      sql: {}\n";
    let client = |lines: &str| format!("{base}dynamicConfigClient:\n{lines}");
    let cases = [
        ("none", base.to_owned()),
        ("null", format!("{base}dynamicConfigClient:\n")),
        ("interval 0", client("  filepath: a.yaml\n  pollInterval: 0\n")),
        ("interval \"0\"", client("  filepath: a.yaml\n  pollInterval: \"0\"\n")),
        ("interval 1s", client("  filepath: a.yaml\n  pollInterval: 1s\n")),
        ("interval 4.9s", client("  filepath: a.yaml\n  pollInterval: 4.9s\n")),
        (
            "interval 10 without unit",
            client("  filepath: a.yaml\n  pollInterval: 10\n"),
        ),
        (
            "interval in words",
            client("  filepath: a.yaml\n  pollInterval: ten seconds\n"),
        ),
        ("no interval", client("  filepath: a.yaml\n")),
        ("no path", client("  pollInterval: 10s\n")),
        ("a list", format!("{base}dynamicConfigClient: [a]\n")),
    ];
    let all: Vec<String> = cases
        .iter()
        .map(|(case, text)| {
            let config = StaticConfig::parse("production.yaml", text.as_bytes()).expect("parsed");
            format!("## {case}\n{}", config.dynamic_config_client().expect_err("a refusal"))
        })
        .collect();
    insta::assert_snapshot!(all.join("\n"));
    let five = StaticConfig::parse("x", client("  filepath: a.yaml\n  pollInterval: 5s\n").as_bytes()).expect("parsed");
    assert_eq!(
        five.dynamic_config_client().expect("a client").poll_interval,
        Duration::from_secs(5)
    );
}

#[test]
fn dynamic_configs_that_the_server_rejects_are_refused() {
    let cases = [
        ("a value without a list", "a.b: 1\n"),
        ("a list of texts", "a.b:\n- text\n"),
        ("constraints are a text", "a.b:\n- value: 1\n  constraints: all\n"),
        (
            "an unknown constraint",
            "a.b:\n- value: 1\n  constraints: {namspace: x}\n",
        ),
        (
            "a namespace that is a number",
            "a.b:\n- value: 1\n  constraints: {namespace: 7}\n",
        ),
        (
            "one key in two spellings",
            "system.secondaryVisibilityWritingMode:\n- value: off\nSystem.SecondaryVisibilityWritingMode:\n- value: dual\n",
        ),
        ("a duplicate key", "a.b:\n- value: 1\na.b:\n- value: 2\n"),
        ("a list", "- a\n"),
        ("a text", "text\n"),
        ("several documents", "a.b: []\n---\nc.d: []\n"),
    ];
    let all: Vec<String> = cases
        .iter()
        .map(|(case, text)| {
            let refusal = DynamicConfig::parse("dynamic.yaml", text.as_bytes()).err();
            format!(
                "## {case}\n{}",
                refusal.map_or_else(|| panic!("{case}: accepted"), |r| r.to_string())
            )
        })
        .collect();
    insta::assert_snapshot!(all.join("\n"));
}
