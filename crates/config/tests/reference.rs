//! The example of Temporal's own page "How to migrate Visibility database": Cassandra to Elasticsearch, with its keys and
//! names. On that page the indentation of the YAML is lost; here it stands correctly indented.
//!
//! Attaching and promoting give exactly what the page shows.

use crossfade_config::{
    DynamicEdit, ReadsFromSecondary, SourceBecomes, StaticConfig, StaticEdit, WritingMode, edit_dynamic, edit_static,
};
use serde_json::{Value, json};

const BEFORE: &str = include_str!("reference/before.yaml");

const ATTACHED: &str = include_str!("reference/attached.yaml");

const PROMOTED: &str = include_str!("reference/promoted.yaml");

const DUAL: &str = include_str!("reference/dynamic.yaml");

fn elasticsearch() -> Value {
    json!({ "elasticsearch": {
        "version": "v7", "logLevel": "error", "url": { "scheme": "http", "host": "127.0.0.1:9200" },
        "indices": { "visibility": "temporal_visibility_v1_dev" }, "closeIdleConnectionsInterval": "15s",
    } })
}

fn attach() -> StaticEdit {
    StaticEdit::AttachSecondary {
        name: "es-visibility".to_owned(),
        datastore: elasticsearch(),
    }
}

fn promote(source_becomes: SourceBecomes) -> StaticEdit {
    StaticEdit::Promote {
        source: "cass-visibility".to_owned(),
        target: "es-visibility".to_owned(),
        source_becomes,
    }
}

fn edited(before: &str, edit: &StaticEdit) -> String {
    edit_static("production.yaml", before.as_bytes(), edit)
        .unwrap_or_else(|refusal| panic!("{refusal}"))
        .text()
        .to_owned()
}

/// The page quotes some texts and others not; we quote all of a new entry as the file does. Nothing else may differ.
fn unquoted(text: &str) -> String {
    text.replace('"', "")
}

#[test]
fn attaching_and_promoting_give_what_the_page_shows() {
    let attached = edited(BEFORE, &attach());
    assert_eq!(unquoted(&attached), unquoted(ATTACHED));
    let promoted = edited(&attached, &promote(SourceBecomes::Removed));
    assert_eq!(unquoted(&promoted), unquoted(PROMOTED));
    // The page's own text, as a person would have typed it, is a file that we go on from.
    assert!(
        !edit_static("x.yaml", ATTACHED.as_bytes(), &attach())
            .expect("again")
            .is_changed()
    );
    assert_eq!(edited(ATTACHED, &promote(SourceBecomes::Removed)), PROMOTED);
    // Unless it is told otherwise, the old datastore stays defined.
    let kept = edited(ATTACHED, &promote(SourceBecomes::Defined));
    assert!(
        kept.contains("cass-visibility:") && !kept.contains("secondaryVisibilityStore"),
        "{kept}"
    );
}

#[test]
fn detaching_gives_the_file_back() {
    let detach = StaticEdit::DetachSecondary {
        name: "es-visibility".to_owned(),
        remove_datastore: true,
    };
    assert_eq!(edited(&edited(BEFORE, &attach()), &detach), BEFORE);
    assert_eq!(edited(ATTACHED, &detach), BEFORE);
}

#[test]
fn both_entries_are_read_as_they_stand() {
    let config = StaticConfig::parse("production.yaml", ATTACHED.as_bytes()).expect("parsed");
    let entry = |name: &str| config.datastore(name).map(|entry| entry.value.clone());
    assert_eq!(entry("es-visibility"), Some(elasticsearch()));
    assert_eq!(
        entry("cass-visibility"),
        Some(json!({ "cassandra": { "hosts": "127.0.0.1", "keyspace": "temporal_visibility" } }))
    );
}

#[test]
fn the_dynamic_config_is_the_pages_too() {
    let set = |everywhere| DynamicEdit::Set {
        writing_mode: WritingMode::Dual,
        reads: ReadsFromSecondary {
            everywhere,
            ..ReadsFromSecondary::default()
        },
    };
    let edit = |text: &str, edit: &DynamicEdit| {
        let edited = edit_dynamic("dynamic.yaml", text.as_bytes(), edit);
        edited.unwrap_or_else(|refusal| panic!("{refusal}")).text().to_owned()
    };
    assert!(
        !edit_dynamic("dynamic.yaml", DUAL.as_bytes(), &set(false))
            .expect("read")
            .is_changed()
    );
    assert_eq!(edit(DUAL, &set(true)), DUAL.replace("false", "true"));
    assert_eq!(edit(DUAL, &DynamicEdit::Remove), "");
}
