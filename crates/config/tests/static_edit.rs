//! Edits of the static config, case by case: the file before, the edit, the diff.

use crossfade_config::{Edited, Refusal, SourceBecomes, StaticConfig, StaticEdit, edit_static, unified_diff};
use serde_json::{Value, json};

fn datastore() -> Value {
    json!({ "sql": {
        "pluginName": "postgres12", "databaseName": "vis2", "connectAddr": "127.0.0.1:5432", "connectProtocol": "tcp",
        "user": "temporal", "password": "s3cret!", "maxConns": 10, "connectAttributes": { "sslmode": "disable" },
    } })
}

fn attach() -> StaticEdit {
    StaticEdit::AttachSecondary {
        name: "vis2".to_owned(),
        datastore: datastore(),
    }
}

fn promote(source_becomes: SourceBecomes) -> StaticEdit {
    StaticEdit::Promote {
        source: "vis".to_owned(),
        target: "vis2".to_owned(),
        source_becomes,
    }
}

fn edit(before: &str, edit: &StaticEdit) -> Result<Edited, Refusal> {
    edit_static("production.yaml", before.as_bytes(), edit)
}

/// The diff of an edit, carriage returns made visible; whatever is edited is edited the same when done twice.
fn diff(before: &str, wanted: &StaticEdit) -> String {
    let after = edit(before, wanted).unwrap_or_else(|refusal| panic!("{refusal}"));
    let again = edit(after.text(), wanted).expect("again");
    assert!(
        !again.is_changed(),
        "twice is not once:\n{}",
        unified_diff("again", after.text(), again.text())
    );
    assert_eq!(after.is_changed(), after.text() != before);
    let diff = unified_diff("production.yaml", before, after.text());
    assert!(!diff.contains("s3cret"), "{diff}");
    diff.replace('\r', "␍")
}

fn refusal(before: &str, wanted: &StaticEdit) -> String {
    let refusal = edit(before, wanted).expect_err("a refusal");
    assert!(!refusal.to_string().contains("s3cret"), "{refusal}");
    assert!(!format!("{refusal:?}").contains("s3cret"), "{refusal:?}");
    refusal.to_string()
}

const PLAIN: &str = r#"# The production cluster.
log:
  level: info

persistence:
  defaultStore: default # executions
  visibilityStore: vis # lists
  numHistoryShards: 512
  datastores:
    default:
      sql:
        pluginName: postgres12
        databaseName: temporal
        connectAddr: "db:5432"
        connectProtocol: tcp
        password: old-password
    vis:
      sql:
        pluginName: postgres12
        databaseName: visibility
        connectAddr: "db:5432"
        connectProtocol: tcp
        password: old-password
    # replica:
    #   sql: {}

services: # all in one
  frontend:
    rpc:
      grpcPort: 7233
"#;

#[test]
fn attach_keeps_everything_around() {
    insta::assert_snapshot!(diff(PLAIN, &attach()));
}

#[test]
fn attach_follows_windows_line_endings() {
    insta::assert_snapshot!(diff(&PLAIN.replace('\n', "\r\n"), &attach()));
}

#[test]
fn attach_follows_an_indentation_of_four_and_quotes_and_a_missing_last_line_break() {
    let before = "persistence:\n    visibilityStore: \"vis\"\n    defaultStore: \"default\"\n    datastores:\n        \"default\":\n            sql: &db\n                pluginName: \"postgres12\"\n                databaseName: \"temporal\"\n        \"vis\":\n            sql:\n                <<: *db\n                databaseName: \"visibility\"";
    insta::assert_snapshot!(diff(before, &attach()));
}

#[test]
fn attach_works_in_flow_style() {
    let before = "persistence: {defaultStore: default, visibilityStore: vis, datastores: {default: {sql: {pluginName: sqlite}}, vis: {sql: {pluginName: sqlite}},}} # one line\nlog: {level: info}\n";
    insta::assert_snapshot!(diff(before, &attach()));
}

#[test]
fn attach_works_in_a_json_file() {
    let before = serde_json::to_string_pretty(&json!({ "persistence": {
        "defaultStore": "default", "visibilityStore": "vis",
        "datastores": { "default": { "sql": { "pluginName": "sqlite" } }, "vis": { "sql": { "pluginName": "sqlite" } } },
    } }))
    .expect("JSON");
    insta::assert_snapshot!(diff(&before, &attach()));
}

#[test]
fn attach_to_a_config_that_shares_its_connection_by_anchor() {
    let before = "x-sql: &sql\n  pluginName: postgres12\n  connectAddr: db:5432\n\npersistence:\n  datastores:\n    default: {sql: {<<: *sql, databaseName: temporal}}\n    vis:\n      sql:\n        <<: *sql\n        databaseName: visibility\n  visibilityStore: &v vis\n  defaultStore: default\n";
    insta::assert_snapshot!(diff(before, &attach()));
}

#[test]
fn attach_fills_an_empty_secondary() {
    for empty in ["", " \"\"", " null", " ~ # none"] {
        let before = format!(
            "persistence:\n  visibilityStore: vis\n  secondaryVisibilityStore:{empty}\n  datastores:\n    vis:\n      sql: {{}}\n"
        );
        let after = edit(&before, &attach()).expect("edited");
        assert!(
            after.text().contains("secondaryVisibilityStore: vis2")
                || after.text().contains("secondaryVisibilityStore: \"vis2\""),
            "{}",
            after.text()
        );
        assert_eq!(empty.contains("# none"), after.text().contains("# none"));
    }
}

#[test]
fn attach_after_a_block_scalar_that_keeps_its_blank_lines() {
    let before = "persistence:\n  visibilityStore: vis\n  datastores:\n    vis:\n      sql:\n        tls:\n          caData: |+\n            -----BEGIN-----\n            # not a comment\n\n\nlog:\n  level: info\n";
    insta::assert_snapshot!(diff(before, &attach()));
}

#[test]
fn attach_where_the_target_is_already_defined_alike() {
    let with = edit(
        PLAIN,
        &StaticEdit::AddDatastore {
            name: "vis2".to_owned(),
            datastore: datastore(),
        },
    )
    .expect("added");
    insta::assert_snapshot!(diff(with.text(), &attach()));
}

#[test]
fn promote_then_everything_that_the_source_may_become() {
    let attached = edit(PLAIN, &attach()).expect("attached");
    insta::assert_snapshot!(
        "promote_source_stays_defined",
        diff(attached.text(), &promote(SourceBecomes::Defined))
    );
    insta::assert_snapshot!(
        "promote_source_is_removed",
        diff(attached.text(), &promote(SourceBecomes::Removed))
    );
    insta::assert_snapshot!(
        "promote_source_becomes_secondary",
        diff(attached.text(), &promote(SourceBecomes::Secondary))
    );
}

#[test]
fn promote_in_flow_style() {
    let before = "{persistence: {visibilityStore: 'vis', secondaryVisibilityStore: 'vis2', datastores: {vis: {sql: {}}, vis2: {sql: {}}}}}";
    let after = edit(before, &promote(SourceBecomes::Removed)).expect("edited");
    assert_eq!(
        after.text(),
        "{persistence: {visibilityStore: 'vis2', datastores: {vis2: {sql: {}}}}}"
    );
}

#[test]
fn promote_replaces_an_alias_by_the_name() {
    let before = "x: &name vis\npersistence:\n  visibilityStore: *name\n  secondaryVisibilityStore: vis2\n  datastores:\n    vis:\n      sql: {}\n    vis2:\n      sql: {}\n";
    insta::assert_snapshot!(diff(before, &promote(SourceBecomes::Defined)));
}

#[test]
fn detach_gives_the_bytes_back() {
    for before in [
        PLAIN.to_owned(),
        PLAIN.replace('\n', "\r\n"),
        PLAIN.trim_end().to_owned(),
        format!("\u{feff}{PLAIN}"),
    ] {
        let attached = edit(&before, &attach()).expect("attached");
        let detach = StaticEdit::DetachSecondary {
            name: "vis2".to_owned(),
            remove_datastore: true,
        };
        assert_eq!(edit(attached.text(), &detach).expect("detached").text(), before);
    }
}

#[test]
fn what_is_shared_with_other_places_is_refused() {
    let stores = "datastores:\n    vis:\n      sql: {}\n";
    let cases = [
        (
            "persistence through an alias",
            format!("base: &base\n  visibilityStore: vis\n  {stores}persistence: *base\n"),
        ),
        (
            "persistence through a merge key at the top",
            "base: &base\n  persistence:\n    visibilityStore: vis\n    datastores:\n      vis:\n        sql: {}\n<<: *base\n".to_owned(),
        ),
        (
            "persistence used elsewhere",
            format!("persistence: &p\n  visibilityStore: vis\n  {stores}copy: *p\n"),
        ),
        (
            "datastores through an alias",
            "x: &stores\n  vis:\n    sql: {}\npersistence:\n  visibilityStore: vis\n  datastores: *stores\n".to_owned(),
        ),
        (
            "datastores through a merge key",
            "x: &base\n  datastores:\n    vis:\n      sql: {}\npersistence:\n  <<: *base\n  visibilityStore: vis\n"
                .to_owned(),
        ),
        (
            "datastores used elsewhere",
            "persistence:\n  visibilityStore: vis\n  datastores: &stores\n    vis:\n      sql: {}\nother: *stores\n"
                .to_owned(),
        ),
    ];
    let all: Vec<String> = cases
        .iter()
        .map(|(case, before)| format!("## {case}\n{}", refusal(before, &attach())))
        .collect();
    insta::assert_snapshot!(all.join("\n\n"));

    let anchored = "persistence:\n  visibilityStore: &v vis\n  secondaryVisibilityStore: vis2\n  datastores:\n    vis:\n      sql: {}\n    vis2:\n      sql: {}\nalso: *v\n";
    insta::assert_snapshot!(
        "an_anchored_name_used_elsewhere",
        refusal(anchored, &promote(SourceBecomes::Defined))
    );
    let inner = "persistence:\n  visibilityStore: vis2\n  datastores:\n    vis:\n      sql: &sql {pluginName: sqlite}\n    vis2:\n      sql: *sql\n";
    insta::assert_snapshot!(
        "a_removed_datastore_used_elsewhere",
        refusal(inner, &promote(SourceBecomes::Removed))
    );
}

#[test]
fn merged_keys_are_overridden_in_place() {
    let before = "x: &base\n  visibilityStore: vis\n  numHistoryShards: 4\npersistence:\n  <<: *base\n  datastores:\n    vis:\n      sql: {}\n    vis2:\n      sql: {}\n";
    insta::assert_snapshot!(diff(before, &promote(SourceBecomes::Defined)));
}

#[test]
fn what_does_not_fit_the_edit_is_refused() {
    let file = |persistence: &str| {
        format!(
            "persistence:\n{persistence}  datastores:\n    vis:\n      sql: {{pluginName: sqlite}}\n    vis2:\n      sql: {{password: s3cret!}}\n    es:\n      elasticsearch: {{indices: {{visibility: a, secondary_visibility: b}}}}\n"
        )
    };
    let cases = [
        ("target name taken", file("  visibilityStore: vis\n"), attach()),
        ("target is the primary", file("  visibilityStore: vis2\n"), attach()),
        (
            "target is the default store",
            file("  defaultStore: vis2\n  visibilityStore: vis\n"),
            attach(),
        ),
        ("no visibility store", file(""), attach()),
        (
            "another secondary",
            file("  visibilityStore: vis\n  secondaryVisibilityStore: vis3\n"),
            attach(),
        ),
        (
            "advanced store",
            file("  visibilityStore: vis\n  advancedVisibilityStore: es\n"),
            attach(),
        ),
        ("secondary index", file("  visibilityStore: es\n"), attach()),
        (
            "promote from elsewhere",
            file("  visibilityStore: es\n"),
            promote(SourceBecomes::Defined),
        ),
        (
            "promote what is not there",
            file("  visibilityStore: vis\n").replace("vis2", "vis4"),
            promote(SourceBecomes::Defined),
        ),
        (
            "remove what is in use",
            file("  defaultStore: vis\n  visibilityStore: vis\n  secondaryVisibilityStore: vis2\n"),
            promote(SourceBecomes::Removed),
        ),
        (
            "detach the primary",
            file("  visibilityStore: vis2\n"),
            StaticEdit::DetachSecondary {
                name: "vis2".to_owned(),
                remove_datastore: true,
            },
        ),
    ];
    let all: Vec<String> = cases
        .iter()
        .map(|(case, before, edit)| format!("## {case}\n{}", refusal(before, edit)))
        .collect();
    insta::assert_snapshot!(all.join("\n\n"));
}

#[test]
fn nothing_shown_for_debugging_holds_a_password() {
    let config = StaticConfig::parse("production.yaml", PLAIN.as_bytes()).expect("parsed");
    let edited = edit(PLAIN, &attach()).expect("edited");
    let shown = format!("{config:?} {edited:?} {:?}", attach());
    assert!(!shown.contains("s3cret") && !shown.contains("old-password"), "{shown}");
}

#[test]
fn attached_secrets_are_written_as_they_are() {
    let odd = json!({ "sql": { "password": "012\"'#: \u{1}é", "user": "on", "databaseName": "null", "list": [], "items": ["a", { "b": 1 }], "none": null, "pi": 3.5 } });
    let edit_ = StaticEdit::AttachSecondary {
        name: "odd name".to_owned(),
        datastore: odd.clone(),
    };
    let after = edit(PLAIN, &edit_).expect("edited");
    let config = StaticConfig::parse("x", after.text().as_bytes()).expect("parsed");
    assert_eq!(config.datastore("odd name").map(|d| &d.value), Some(&odd));
}
