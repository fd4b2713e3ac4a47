//! Attributes that come under the users' own names are in the columns, whoever writes them and whenever.

use std::collections::BTreeMap;

use crossfade_stores::{AttributeFields, OpenError, rename_attributes};
use crossfade_visibility::contract::record;
use crossfade_visibility::record::Record;
use serde_json::{Value, json};

use crate::fixture::{self, postgres};
use crate::opened;

const NAMESPACE: &str = "00000000-0000-4000-8000-00000000000a";
const OTHER: &str = "00000000-0000-4000-8000-00000000000b";

fn fields(pairs: &[(&str, &str)]) -> AttributeFields {
    let pairs = pairs
        .iter()
        .map(|(name, field)| ((*name).to_owned(), (*field).to_owned()));
    BTreeMap::from([(NAMESPACE.to_owned(), pairs.collect())])
}

fn with(namespace: &str, number: u32, attributes: Value) -> Record {
    let mut record = record(namespace, number);
    record.search_attributes = serde_json::from_value(attributes).expect("an object");
    record
}

#[tokio::test]
async fn names_of_users_are_moved_into_columns_whoever_writes_them() {
    // That of server 1.23.1, without versions; and that of today, where a row is replaced by INSERT ... ON CONFLICT.
    for version in ["v1.4", "v1.13"] {
        let name = format!("renaming_{}", version.replace('.', "_"));
        let entry = postgres().visibility(&name, version);
        let store = opened(&entry).await;
        let put = async |record: &Record| store.write().put(std::slice::from_ref(record)).await.expect("put");
        let held = async |record: &Record| {
            let found = store.read().get(std::slice::from_ref(&record.key)).await.expect("get");
            Value::Object(found.into_iter().next().expect("it").search_attributes)
        };
        let every = fields(&[
            ("Paid", "Bool01"),
            ("OrderedAt", "Datetime02"),
            ("Price", "Double01"),
            ("Quantity", "Int03"),
            ("CustomerId", "Keyword10"),
            ("Tags", "KeywordList01"),
            ("Notes", "Text01"),
            // Whatever users think of.
            ("$names$ it's \"odd\" \\", "Keyword02"),
        ]);
        let named = json!({
            "Paid": true, "OrderedAt": "2024-02-29T12:34:56.123456789+01:00", "Price": 0.1,
            "Quantity": 9_007_199_254_740_993_i64, "CustomerId": "Zoë O'Brien", "Tags": ["a b", "c"],
            "Notes": "some words", "$names$ it's \"odd\" \\": "$", "BuildIds": ["unversioned"], "Keyword01": "set",
        });
        let moved = json!({
            "Bool01": true, "Datetime02": "2024-02-29T12:34:56.123456789+01:00", "Double01": 0.1,
            "Int03": 9_007_199_254_740_993_i64, "Keyword10": "Zoë O'Brien", "KeywordList01": ["a b", "c"],
            "Text01": "some words", "Keyword02": "$", "BuildIds": ["unversioned"], "Keyword01": "set",
        });
        // 1200 records, so that one statement does not see them all.
        let before: Vec<Record> = (0..1200).map(|number| with(NAMESPACE, number, named.clone())).collect();
        store.write().put(&before).await.expect("put");
        let others = with(OTHER, 1, named.clone());
        put(&others).await;
        assert_eq!(rename_attributes(&entry, &every).await.expect("made"), Some(1200));
        assert_eq!(rename_attributes(&entry, &every).await.expect("again"), Some(0));
        for record in [&before[0], &before[1199]] {
            assert_eq!(held(record).await, moved);
        }
        assert_eq!(held(&others).await, named, "another Namespace's");

        let fresh = with(NAMESPACE, 2000, named.clone());
        put(&fresh).await;
        assert_eq!(held(&fresh).await, moved);
        // As the server writes an execution that closes: over what is there.
        postgres().execute(
            &name,
            &format!(
                "INSERT INTO executions_visibility (namespace_id, run_id, start_time, execution_time, workflow_id, \
                 workflow_type_name, status, encoding, search_attributes) SELECT namespace_id, run_id, start_time, \
                 execution_time, workflow_id, workflow_type_name, 2, encoding, '{{\"CustomerId\": \"later\", \"Paid\": \
                 false}}' FROM executions_visibility WHERE run_id = '{}' ON CONFLICT (namespace_id, run_id) DO UPDATE \
                 SET status = excluded.status, search_attributes = excluded.search_attributes",
                fresh.key.run_id
            ),
        );
        assert_eq!(held(&fresh).await, json!({"Keyword10": "later", "Bool01": false}));
        // What was set since, by the column's name, is what counts.
        let mixed = with(
            NAMESPACE,
            2001,
            json!({"CustomerId": "old", "Keyword10": "new", "Paid": null}),
        );
        put(&mixed).await;
        assert_eq!(held(&mixed).await["Keyword10"], "new");
        assert_eq!(held(&mixed).await.get("CustomerId"), None);
        in_columns(&name);
    }
}

/// The columns themselves, by which the server's queries find a record.
fn in_columns(database: &str) {
    postgres().execute(
        database,
        "DO $$ BEGIN ASSERT (SELECT COUNT(*) FROM executions_visibility WHERE Bool01 AND Datetime02 = \
         '2024-02-29 11:34:56.123457' AND Double01 = 0.1 AND Int03 = 9007199254740993 AND Keyword10 = 'Zoë O''Brien' AND \
         KeywordList01 @> '\"c\"' AND Text01 @@ 'words' AND Keyword02 = '$' AND Keyword01 = 'set') = 1200; END $$",
    );
}

#[tokio::test]
async fn a_value_that_its_column_refuses_stays_by_its_name_and_the_write_goes_on() {
    let entry = postgres().visibility("renaming_refused", "v1.4");
    let every = fields(&[
        ("Paid", "Bool01"),
        ("OrderedAt", "Datetime01"),
        ("Price", "Double01"),
        ("Quantity", "Int01"),
        ("CustomerId", "Keyword01"),
        ("Region", "Keyword02"),
        ("Notes", "Text01"),
    ]);
    assert_eq!(rename_attributes(&entry, &every).await.expect("made"), Some(0));
    let store = opened(&entry).await;
    let refused = json!({
        "Paid": "yes", "OrderedAt": "yesterday noon", "Price": 1e300, "Quantity": 1e40, "CustomerId": "x".repeat(256),
        "Notes": "'not closed",
    });
    let mut attributes = refused.clone();
    attributes["Region"] = json!("ü".repeat(255));
    let written = with(NAMESPACE, 1, attributes);
    store.write().put(std::slice::from_ref(&written)).await.expect("put");
    let found = store.read().get(std::slice::from_ref(&written.key)).await.expect("get");
    let mut expected = refused;
    expected["Keyword02"] = json!("ü".repeat(255));
    assert_eq!(Value::Object(found[0].search_attributes.clone()), expected);
}

#[tokio::test]
async fn names_that_change_are_taken_over_and_other_stores_are_left_alone() {
    let entry = postgres().visibility("renaming_changed", "v1.13");
    let name = |field| fields(&[("CustomerId", field)]);
    for field in ["Keyword01", "Keyword05"] {
        rename_attributes(&entry, &name(field)).await.expect("made");
        let store = opened(&entry).await;
        let number = if field == "Keyword01" { 1 } else { 2 };
        let written = with(NAMESPACE, number, json!({"CustomerId": "c"}));
        store.write().put(std::slice::from_ref(&written)).await.expect("put");
        let found = store.read().get(std::slice::from_ref(&written.key)).await.expect("get");
        assert_eq!(Value::Object(found[0].search_attributes.clone()), json!({ field: "c" }));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let other = fixture::sqlite(folder.path(), "visibility.db");
    assert_eq!(
        rename_attributes(&other, &name("Keyword01")).await.expect("asked"),
        None
    );

    let mut entry = postgres().visibility("renaming_rights", "v1.13");
    postgres().execute(
        "renaming_rights",
        "CREATE ROLE restricted LOGIN PASSWORD 'restricted'; GRANT SELECT, INSERT, UPDATE, DELETE ON executions_visibility TO restricted",
    );
    entry["sql"]["user"] = json!("restricted");
    entry["sql"]["password"] = json!("restricted");
    let refused = rename_attributes(&entry, &name("Keyword01")).await;
    assert!(matches!(refused, Err(OpenError::Denied { .. })), "{refused:?}");
    // What the problem's remedy says.
    postgres().execute(
        "renaming_rights",
        "GRANT CREATE ON SCHEMA public TO restricted; GRANT TRIGGER ON executions_visibility TO restricted",
    );
    assert_eq!(
        rename_attributes(&entry, &name("Keyword01")).await.expect("allowed"),
        Some(0)
    );
}
