//! Every config file that the servers' own sources hold is edited right or refused with a reason, and the server agrees.
//!
//! The files are read where Go keeps the module sources; nothing of them is copied here.

mod real_server;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crossfade_config::{
    DynamicEdit, ReadsFromSecondary, Reason, Refusal, SourceBecomes, StaticConfig, StaticEdit, WritingMode,
    edit_dynamic, edit_static,
};
use real_server::{cache, load_static, validate_dynamic};
use serde_json::json;
use yaml_serde::Value;

const HOW_TO_GET_THE_SOURCES: &str = "no server sources found: run `cargo xtask servers` (it fetches and builds them into the \
                                      cache), or set CROSSFADE_SERVER_SOURCES to a ':' list of module folders such as \
                                      ~/go/pkg/mod/go.temporal.io/server@v1.30.8";

fn sources() -> Vec<PathBuf> {
    let named: Vec<PathBuf> = match std::env::var_os("CROSSFADE_SERVER_SOURCES") {
        Some(list) if !list.is_empty() => std::env::split_paths(&list).collect(),
        _ => fs::read_dir(cache())
            .into_iter()
            .flatten()
            .filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("module-dir")).ok())
            .map(|dir| PathBuf::from(dir.trim()))
            .collect(),
    };
    let sources: Vec<PathBuf> = named.into_iter().filter(|dir| dir.join("config").is_dir()).collect();
    assert!(!sources.is_empty(), "{HOW_TO_GET_THE_SOURCES}");
    sources
}

fn yaml_files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|e| Some(e.ok()?.path()))
        .collect();
    files.retain(|f| f.is_file() && f.extension().is_some_and(|e| e == "yaml" || e == "yml"));
    files.sort();
    files
}

fn static_files() -> Vec<PathBuf> {
    let dirs = ["config", "docker", "common/config"];
    sources()
        .iter()
        .flat_map(|source| dirs.map(|dir| yaml_files(&source.join(dir))))
        .flatten()
        .collect()
}

fn dynamic_files() -> Vec<PathBuf> {
    let dirs = [
        "config/dynamicconfig",
        "common/dynamicconfig/config",
        "docker/config/dynamicconfig",
    ];
    sources()
        .iter()
        .flat_map(|source| dirs.map(|dir| yaml_files(&source.join(dir))))
        .flatten()
        .collect()
}

fn parse(text: &str) -> Value {
    let mut value: Value = yaml_serde::from_str(text).expect("an edited file parses");
    value.apply_merge().expect("merge keys apply");
    value
}

/// Every line of `before` stands in `after`, in order.
fn assert_lines_kept(before: &str, after: &str, file: &Path) {
    let mut rest = after.split('\n');
    for line in before.split('\n') {
        assert!(rest.any(|l| l == line), "{}: lost the line {line:?}", file.display());
    }
}

fn datastore() -> serde_json::Value {
    json!({ "sql": {
        "pluginName": "postgres12", "databaseName": "new_visibility", "connectAddr": "db.example:5432",
        "connectProtocol": "tcp", "user": "temporal", "password": "p#s's: \"word\"", "maxConns": 20,
        "connectAttributes": { "sslmode": "disable" }, "tls": { "enabled": false },
    } })
}

fn reason_name(refusal: &Refusal) -> String {
    let shown = format!("{:?}", refusal.reason);
    shown.split([' ', '{', '(']).next().unwrap_or_default().to_owned()
}

#[test]
fn static_config_files_are_edited_right_or_refused() {
    let mut edited = 0;
    let mut refused: BTreeMap<String, usize> = BTreeMap::new();
    for file in static_files() {
        let bytes = fs::read(&file).expect("readable");
        let attach = StaticEdit::AttachSecondary {
            name: "new-visibility".to_owned(),
            datastore: datastore(),
        };
        let attached = match edit_static(&file, &bytes, &attach) {
            Ok(attached) => attached,
            Err(refusal) => {
                let template = matches!(*refusal.reason, Reason::Template { .. });
                assert_eq!(refusal.by_hand.is_some(), template, "{refusal}");
                assert!(!refusal.to_string().contains("p#s's"), "a password is shown: {refusal}");
                *refused.entry(reason_name(&refusal)).or_default() += 1;
                // A file that is a config and no template has to be editable.
                let known = matches!(*refusal.reason, Reason::Template { .. } | Reason::Unexpected { .. });
                assert!(known, "{refusal}");
                continue;
            }
        };
        edited += 1;
        let before = String::from_utf8(bytes).expect("text");
        assert_lines_kept(&before, attached.text(), &file);
        let mut expected = parse(&before);
        expected["persistence"]["secondaryVisibilityStore"] = "new-visibility".into();
        expected["persistence"]["datastores"]["new-visibility"] = yaml_serde::to_value(datastore()).expect("a value");
        assert_eq!(parse(attached.text()), expected, "{}", file.display());

        let config = StaticConfig::parse(&file, attached.text().as_bytes()).expect("our own result parses");
        assert_eq!(config.datastore("new-visibility").map(|d| &d.value), Some(&datastore()));
        assert!(
            !config.edit(&attach).expect("again").is_changed(),
            "{}: attaching twice is once",
            file.display()
        );
        let detach = StaticEdit::DetachSecondary {
            name: "new-visibility".to_owned(),
            remove_datastore: true,
        };
        assert_eq!(
            config.edit(&detach).expect("detach").text(),
            before,
            "{}",
            file.display()
        );

        let source = config.visibility_store().expect("a store").value.clone();
        let promote = StaticEdit::Promote {
            source: source.clone(),
            target: "new-visibility".to_owned(),
            source_becomes: SourceBecomes::Defined,
        };
        let promoted = config.edit(&promote).expect("promote");
        let mut expected = parse(&before);
        expected["persistence"]["visibilityStore"] = "new-visibility".into();
        expected["persistence"]["datastores"]["new-visibility"] = yaml_serde::to_value(datastore()).expect("a value");
        assert_eq!(parse(promoted.text()), expected, "{}", file.display());
        let again = edit_static(&file, promoted.text().as_bytes(), &promote).expect("again");
        assert!(!again.is_changed(), "{}: promoting twice is once", file.display());
    }
    assert!(edited >= 12, "only {edited} files were edited; refused: {refused:?}");
    assert!(
        refused.contains_key("Template"),
        "no template was met; refused: {refused:?}"
    );
}

#[test]
fn dynamic_config_files_are_edited_right() {
    let mut edited = 0;
    for file in dynamic_files() {
        let bytes = fs::read(&file).expect("readable");
        let before = String::from_utf8(bytes.clone()).expect("text");
        let mut text = before.clone();
        let reads = |everywhere, staging: Option<bool>| ReadsFromSecondary {
            everywhere,
            namespaces: staging.map(|on| ("staging".to_owned(), on)).into_iter().collect(),
        };
        let steps = [
            DynamicEdit::Set {
                writing_mode: WritingMode::Off,
                reads: reads(false, None),
            },
            DynamicEdit::SetWritingMode(WritingMode::Dual),
            DynamicEdit::SetReads(reads(false, Some(true))),
            DynamicEdit::SetReads(reads(true, None)),
            DynamicEdit::Remove,
        ];
        for step in &steps {
            let next = edit_dynamic(&file, text.as_bytes(), step).unwrap_or_else(|refusal| panic!("{refusal}"));
            let again = edit_dynamic(&file, next.text().as_bytes(), step).expect("again");
            assert!(!again.is_changed(), "{}: {step:?} twice is once", file.display());
            if *step == DynamicEdit::Remove {
                assert_eq!(next.text(), before, "{}", file.display());
            } else {
                assert_lines_kept(&before, next.text(), &file);
                // One of the sources' own test files is wrong on purpose: there the server says the same as before.
                let said = validate_dynamic(next.text().as_bytes());
                assert_eq!(said, validate_dynamic(before.as_bytes()), "{}", file.display());
            }
            text = next.text().to_owned();
        }
        edited += 1;
    }
    assert!(edited >= 4, "only {edited} dynamic config files were found");
}

/// The server's own loader sees what was there plus the intended keys, for each file that it loads by itself.
#[test]
fn the_server_reads_the_edited_static_config_as_intended() {
    let mut agreed = 0;
    for file in static_files() {
        let bytes = fs::read(&file).expect("readable");
        let attach = StaticEdit::AttachSecondary {
            name: "new-visibility".to_owned(),
            datastore: datastore(),
        };
        let Ok(attached) = edit_static(&file, &bytes, &attach) else {
            continue;
        };
        let Ok(mut expected) = load_static(&bytes) else {
            continue;
        };
        let seen = load_static(attached.text().as_bytes()).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let added = seen["persistence"]["datastores"]["new-visibility"].clone();
        assert_eq!(
            added["sql"]["databaseName"].as_str(),
            Some("new_visibility"),
            "{}",
            file.display()
        );
        expected["persistence"]["secondaryVisibilityStore"] = "new-visibility".into();
        expected["persistence"]["datastores"]["new-visibility"] = added;
        assert_eq!(seen, expected, "{}", file.display());
        agreed += 1;
    }
    assert!(agreed >= 10, "the server loaded only {agreed} files");
}
