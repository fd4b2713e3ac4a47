//! What we read and write is what the real server reads, in files written as oddly as people write them.

mod real_server;
#[path = "real_server/start.rs"]
mod start;

use std::path::Path;

use crossfade_config::{
    DynamicConfig, DynamicEdit, ReadsFromSecondary, Refusal, SourceBecomes, StaticConfig, StaticEdit, WritingMode,
    edit_dynamic, edit_static,
};
use real_server::{load_static, validate_dynamic};
use serde_json::{Value, json};

const REST: &str = "
global:
  membership: {maxJoinDuration: 30s, broadcastAddress: \"127.0.0.1\"}
services:
  frontend: {rpc: {grpcPort: 7233, membershipPort: 6933, bindOnLocalHost: true}}
clusterMetadata:
  enableGlobalNamespace: false
  failoverVersionIncrement: 10
  masterClusterName: active
  currentClusterName: active
  clusterInformation:
    active: {enabled: true, initialFailoverVersion: 1, rpcName: frontend, rpcAddress: \"localhost:7233\"}
";

const PERSISTENCE: &str = "\
x-sql: &sql
  pluginName: sqlite
  databaseName: 0123
  connectAddr: &addr 1e3
  connectProtocol: tcp
  user: on
  connectAttributes: &attributes {setup: true, mode: 0x1F, empty: , tilde: ~, float: 1.50, text: 'it''s', plain: two words}
persistence:
  numHistoryShards: 4
  defaultStore: default
  visibilityStore: &vis vis
  datastores:
    default:
      sql: {<<: *sql, databaseName: \"tab\\t\\u00e9\", maxConns: 1}
    vis:
      sql:
        <<: [{databaseName: first, user: 12_3}, *sql]
        user: >-
          folded
          text
        serverName: *addr
        connectAttributes:
          <<: *attributes
          setup: |
            literal
              kept
          multi: \"a
            b\\
            c\"
";

/// Values that a person or a password generator may come up with.
const ODD: [&str; 24] = [
    "",
    "off",
    "on",
    "yes",
    "~",
    "null",
    "true",
    "0123",
    "1e3",
    "0x1F",
    "2020-01-01",
    ":",
    "a: b",
    "a #b",
    "'",
    "\"",
    "\\n",
    "é",
    "日本",
    "😀",
    "{{ x }}",
    "%",
    "@&*!|>",
    "\u{85}\u{2028}\u{feff}\u{7f}",
];

fn styles(text: &str) -> Vec<(&'static str, String)> {
    vec![
        ("as it is", text.to_owned()),
        ("Windows", text.replace('\n', "\r\n")),
        ("byte order mark", format!("\u{feff}{text}")),
        ("no last line break", text.trim_end().to_owned()),
        ("document marks", format!("%YAML 1.1\n---\n{text}...\n")),
    ]
}

fn attributes() -> Value {
    ODD.iter()
        .enumerate()
        .map(|(i, odd)| (format!("k{i}"), json!(odd)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[test]
fn static_configs_are_read_as_the_server_reads_them() {
    let text = format!("{PERSISTENCE}{REST}");
    for (style, text) in styles(&text) {
        let config = StaticConfig::parse("x.yaml", text.as_bytes()).unwrap_or_else(|r| panic!("{style}: {r}"));
        let loaded = load_static(text.as_bytes()).unwrap_or_else(|e| panic!("{style}: {e}"));
        for name in ["default", "vis"] {
            let ours = &config.datastore(name).expect("a datastore").value["sql"];
            let server = &loaded["persistence"]["datastores"][name]["sql"];
            for field in [
                "pluginName",
                "databaseName",
                "connectAddr",
                "connectProtocol",
                "user",
                "maxConns",
            ] {
                let ours = ours
                    .get(field)
                    .cloned()
                    .unwrap_or(if field == "maxConns" { json!(0) } else { json!("") });
                let server: Value = serde_json::to_value(&server[field]).expect("a value");
                assert_eq!(ours, server, "{style}: {name}.{field}");
            }
            let server: Value = serde_json::to_value(&server["connectAttributes"]).expect("a value");
            assert_eq!(ours["connectAttributes"], server, "{style}: {name}");
        }
    }
}

#[test]
fn static_edits_mean_to_the_server_what_was_intended() {
    let datastore = json!({ "sql": {
        "pluginName": "sqlite", "databaseName": "{{odd}} \"name\"", "connectAddr": "x:1", "connectProtocol": "tcp", "user": "off",
        "connectAttributes": attributes(), "maxConns": 7, "maxConnLifetime": "1h", "tls": { "enabled": false },
    } });
    let flow =
        "{\"persistence\": {numHistoryShards: 4, 'visibilityStore': 'vis', defaultStore: vis, datastores: {vis: {sql: \
                {pluginName: sqlite, databaseName: v, connectAddr: a, connectProtocol: tcp}},},},
 \"global\": {membership: {maxJoinDuration: 30s, broadcastAddress: \"127.0.0.1\"}}}\n";
    let mut texts = styles(&format!("{PERSISTENCE}{REST}"));
    texts.push(("flow", flow.to_owned()));
    for (style, text) in texts {
        let mut expected = load_static(text.as_bytes()).unwrap_or_else(|e| panic!("{style}: {e}"));
        let attach = StaticEdit::AttachSecondary {
            name: "new store".to_owned(),
            datastore: datastore.clone(),
        };
        let attached = edit_static("x.yaml", text.as_bytes(), &attach).unwrap_or_else(|r| panic!("{style}: {r}"));
        let seen =
            load_static(attached.text().as_bytes()).unwrap_or_else(|e| panic!("{style}: {e}\n{}", attached.text()));
        let added = seen["persistence"]["datastores"]["new store"].clone();
        assert_eq!(
            added["sql"]["databaseName"].as_str(),
            Some("{{odd}} \"name\""),
            "{style}"
        );
        assert_eq!(
            serde_json::to_value(&added["sql"]["connectAttributes"]).expect("a value"),
            attributes(),
            "{style}"
        );
        expected["persistence"]["secondaryVisibilityStore"] = "new store".into();
        expected["persistence"]["datastores"]["new store"] = added;
        assert_eq!(seen, expected, "{style}");

        let promote = StaticEdit::Promote {
            source: "vis".to_owned(),
            target: "new store".to_owned(),
            source_becomes: SourceBecomes::Secondary,
        };
        let promoted =
            edit_static("x.yaml", attached.text().as_bytes(), &promote).unwrap_or_else(|r| panic!("{style}: {r}"));
        expected["persistence"]["visibilityStore"] = "new store".into();
        expected["persistence"]["secondaryVisibilityStore"] = "vis".into();
        assert_eq!(
            load_static(promoted.text().as_bytes()).expect("loaded"),
            expected,
            "{style}"
        );
    }
}

/// What we refuse as unreadable, the server does not read either, or not as one could think.
#[test]
fn the_server_refuses_what_we_refuse() {
    let rest = format!("{PERSISTENCE}{REST}");
    let refused_by_both = [
        ("duplicate key", format!("{rest}log: {{}}\nlog: {{}}\n")),
        ("tab", rest.replace("  numHistoryShards", "\tnumHistoryShards")),
        ("unknown alias", format!("{rest}log: *nowhere\n")),
        ("merge of a text", format!("{rest}log: {{<<: text}}\n")),
        ("unclosed", format!("{rest}log: [\n")),
    ];
    for (case, text) in refused_by_both {
        assert!(load_static(text.as_bytes()).is_err(), "{case}");
        assert!(StaticConfig::parse("x.yaml", text.as_bytes()).is_err(), "{case}");
    }
    // Of several documents the server silently reads the first.
    let two = format!("{rest}---\npersistence: {{visibilityStore: other}}\n");
    assert_eq!(
        load_static(two.as_bytes()).expect("loaded"),
        load_static(rest.as_bytes()).expect("loaded")
    );
    assert!(StaticConfig::parse("x.yaml", two.as_bytes()).is_err());
}

#[test]
fn dynamic_configs_are_accepted_and_refused_as_the_server_does() {
    let fine = [
        "",
        "# nothing\n",
        "---\n",
        "{}\n",
        "null\n",
        "a.b:\n",
        "a.b: []\n",
        "a.b: null\n",
        "a.b:\n-\n",
        "a.b:\n- {}\n",
        "a.b:\n- value: 1\n  constraints:\n",
        "a.b:\n- value: 1\n  constraints: {NAMESPACE: x, shardid: 3, tasktype: Workflow}\n  other: thing\n",
        "x: &x\n- value: 1\na.b: *x\n",
        "a.b: [{value: {c: [1, {d: e}]}}]\n",
        "\u{feff}a.b:\r\n- value: 1\r\n",
    ];
    let wrong = [
        "a.b: 1\n",
        "a.b: {}\n",
        "a.b:\n- text\n",
        "a.b:\n- [1]\n",
        "a.b:\n- value: 1\n  constraints: all\n",
        "a.b:\n- constraints: [a]\n",
        "a.b:\n- constraints: {namspace: x}\n",
        "a.b:\n- constraints: {namespace: 7}\n",
        "a.b: []\na.b: []\n",
        "- a\n",
        "text\n",
        "a: [\n",
    ];
    let ours = |text: &str| -> Result<DynamicConfig, Refusal> { DynamicConfig::parse("x.yaml", text.as_bytes()) };
    for text in fine {
        assert!(validate_dynamic(text.as_bytes()).0, "the server refuses {text:?}");
        if let Err(refusal) = ours(text) {
            panic!("{text:?}: {refusal}");
        }
        let namespaces = [("odd {{name}}: x".to_owned(), true)].into();
        let edit = DynamicEdit::Set {
            writing_mode: WritingMode::Dual,
            reads: ReadsFromSecondary {
                everywhere: false,
                namespaces,
            },
        };
        // A file that is the word null has no place for keys.
        if text == "null\n" {
            continue;
        }
        let edited =
            edit_dynamic("x.yaml", text.as_bytes(), &edit).unwrap_or_else(|refusal| panic!("{text:?}: {refusal}"));
        let (accepted, said) = validate_dynamic(edited.text().as_bytes());
        assert!(accepted, "{text:?}: {said:?}");
        let about_ours: Vec<&String> = said
            .iter()
            .filter(|line| line.to_lowercase().contains("secondary"))
            .collect();
        assert!(about_ours.is_empty(), "{text:?}: {about_ours:?}");
    }
    for text in wrong {
        assert!(!validate_dynamic(text.as_bytes()).0, "the server takes {text:?}");
        assert!(ours(text).is_err(), "{text:?} is taken");
    }
}

const REFERENCE: &str = include_str!("reference/before.yaml");
const ELASTICSEARCH: &str = include_str!("reference/elasticsearch.yaml");

/// A file's `persistence` with what else a server needs to start, its main store in `folder`.
fn whole(persistence: &str, folder: &Path) -> String {
    let main = format!(
        "    main:\n      sql:\n        pluginName: sqlite\n        databaseName: {}\n        connectAddr: localhost\n        \
         connectProtocol: tcp\n        connectAttributes: {{mode: rwc, setup: \"true\", cache: private}}\n",
        folder.join("main.db").display()
    );
    persistence
        .replace("  defaultStore: default\n", "")
        .replace("    default:\n      sql:\n        pluginName: postgres12\n", "")
        .replace("services: {}\n", "")
        .replacen(
            "persistence:\n",
            "persistence:\n  numHistoryShards: 1\n  defaultStore: main\n",
            1,
        )
        .replacen("  datastores:\n", &format!("  datastores:\n{main}"), 1)
        + start::REST
}

fn edited(before: &str, edit: &StaticEdit) -> String {
    edit_static("x.yaml", before.as_bytes(), edit)
        .unwrap_or_else(|refusal| panic!("{refusal}"))
        .text()
        .to_owned()
}

/// 1.23.1, which the page about Cassandra to Elasticsearch is about, takes the edited file and looks for Cassandra; and
/// starts with the promoted one.
#[test]
fn the_server_takes_each_file_of_the_reference() {
    let folder = tempfile::tempdir().expect("a folder");
    let attach = StaticEdit::AttachSecondary {
        name: "es-visibility".to_owned(),
        datastore: json!({ "elasticsearch": {
            "version": "v7", "logLevel": "error", "url": { "scheme": "http", "host": "127.0.0.1:9200" },
            "indices": { "visibility": "temporal_visibility_v1_dev" }, "closeIdleConnectionsInterval": "15s",
        } }),
    };
    // Nobody listens on port 1.
    let before = REFERENCE.replace("cassandra:\n", "cassandra:\n        port: 1\n");
    let attached = edited(&whole(&before, folder.path()), &attach);
    let said = start::history_of_1_23(&attached, folder.path());
    assert!(
        said.contains("gocql: unable to dial control conn 127.0.0.1:1"),
        "{said}"
    );
    assert!(!said.contains("persistence config:"), "{said}");

    let promote = StaticEdit::Promote {
        source: "cass-visibility".to_owned(),
        target: "es-visibility".to_owned(),
        source_becomes: SourceBecomes::Removed,
    };
    let said = start::history_of_1_23(&edited(&attached, &promote), folder.path());
    assert!(
        said.contains(r#""visibility_index_name":"temporal_visibility_v1_dev""#),
        "{said}"
    );
    assert_eq!(said.matches("creating new visibility manager").count(), 1, "{said}");
}

/// Both ends of the versions read the second index as a second store: 1.23.1 makes it, 1.30.8 prints it.
#[test]
fn the_servers_read_the_second_index() {
    let folder = tempfile::tempdir().expect("a folder");
    let before = whole(ELASTICSEARCH, folder.path());
    let [source, target] = ["temporal_visibility_v1", "temporal_visibility_v2"].map(str::to_owned);
    let datastore = "es-visibility".to_owned();
    let attach = StaticEdit::AttachSecondaryIndex {
        datastore: datastore.clone(),
        index: target.clone(),
    };
    let attached = edited(&before, &attach);
    let said = start::history_of_1_23(&attached, folder.path());
    for index in [&source, &target] {
        let made = format!(r#""visibility_index_name":"{index}""#);
        assert!(said.contains(&made), "{index}: {said}");
    }
    let promote = StaticEdit::PromoteIndex {
        datastore,
        source: source.clone(),
        target: target.clone(),
        keep_source: false,
    };
    let promoted = edited(&attached, &promote);
    let said = start::history_of_1_23(&promoted, folder.path());
    assert!(said.contains(&target) && !said.contains(&source), "{said}");

    let load = |text: &str| load_static(text.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    let mut expected = load(&before);
    let indices = |config: &mut yaml_serde::Value, key: &str, index: &str| {
        config["persistence"]["datastores"]["es-visibility"]["elasticsearch"]["indices"][key] = index.into();
    };
    indices(&mut expected, "secondary_visibility", &target);
    assert_eq!(load(&attached), expected);
    let mut expected = load(&before);
    indices(&mut expected, "visibility", &target);
    assert_eq!(load(&promoted), expected);
}
