//! What lies in the tables: as the server itself would have written it, and found by the server's own queries.

use crossfade_visibility::compare::{self, compare};
use crossfade_visibility::contract::record;
use crossfade_visibility::copy::Step;
use crossfade_visibility::ports::{Condemned, Range, Rewrite};
use crossfade_visibility::record::Record;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use serde_json::json;

use crate::fixture::{self, server};
use crate::{NAMESPACE, opened};

async fn number(conn: &mut Conn, sql: &str) -> i64 {
    let answered: Result<Option<i64>, _> = conn.query_first(sql).await;
    answered
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
        .expect("a row")
}

/// The generated columns, and the multi-valued indexes over them, hold what was written, in all three tables.
#[tokio::test]
async fn attributes_are_found_by_the_servers_own_columns() {
    let store = opened(&server().newest("columns")).await;
    let mut first = record(NAMESPACE, 1);
    first
        .search_attributes
        .insert("TemporalKeyword02".to_owned(), json!("component"));
    store.write().put(std::slice::from_ref(&first)).await.expect("put");
    let mut direct = server().connect("columns").await;
    let custom = "SELECT COUNT(*) FROM executions_visibility AS ev LEFT JOIN custom_search_attributes USING (namespace_id, run_id) \
                  LEFT JOIN chasm_search_attributes USING (namespace_id, run_id) WHERE ";
    for (condition, found) in [
        ("start_time = '2023-11-14 22:13:20.123457'", 1),
        ("close_time = '2023-11-14 22:14:50.123458'", 1),
        ("Keyword01 = 'it''s \"ü\" 50% \\\\ '", 1),
        ("Int01 = 9007199254740993", 1),
        ("Double01 = 0.1 AND Double02 = 3", 1),
        ("Bool01 = TRUE", 1),
        ("Datetime01 = '2024-02-29 12:34:56.123457'", 1),
        ("'c' MEMBER OF (KeywordList02)", 1),
        ("'b' MEMBER OF (KeywordList02)", 0),
        ("JSON_OVERLAPS(BuildIds, CAST('[\"unversioned\"]' AS JSON))", 1),
        ("TemporalKeyword02 = 'component'", 1),
        ("TemporalScheduledStartTime = '2024-02-29 12:34:56'", 1),
        (
            "ev._version = 11 AND custom_search_attributes._version = 11 AND chasm_search_attributes._version = 11",
            1,
        ),
    ] {
        assert_eq!(
            number(&mut direct, &format!("{custom}{condition}")).await,
            found,
            "{condition}"
        );
    }

    let mut later = first.clone();
    later.version = Some(99);
    later.search_attributes.insert("Keyword01".to_owned(), json!("later"));
    assert_eq!(store.write().put(std::slice::from_ref(&later)).await.expect("put"), 1);
    assert_eq!(number(&mut direct, &format!("{custom}Keyword01 = 'later'")).await, 1);
    assert_eq!(
        number(&mut direct, &format!("{custom}custom_search_attributes._version = 99")).await,
        1
    );
    let seen = store.read().get(&[later.key]).await.expect("get").pop().expect("it");
    let mut to = seen.clone();
    // Not all of them: TiDB loses entries of a multi-valued index when its column's source becomes NULL, and then refuses
    // to delete the row (error 8141).
    to.search_attributes.remove("Keyword01");
    let change = Rewrite { seen, to };
    assert_eq!(store.write().rewrite(&[change]).await.expect("rewrite"), 1);
    assert_eq!(number(&mut direct, &format!("{custom}Keyword01 IS NULL")).await, 1);
    let condemned = Condemned {
        key: first.key,
        at_most: Some(99),
    };
    assert_eq!(store.write().delete(&[condemned]).await.expect("delete"), 1);
    for table in [
        "executions_visibility",
        "custom_search_attributes",
        "chasm_search_attributes",
    ] {
        assert_eq!(
            number(&mut direct, &format!("SELECT COUNT(*) FROM {table}")).await,
            0,
            "{table}"
        );
    }
}

/// The two tables of one record can disagree: a start leaves version 0 in the table of custom attributes, so that an
/// upsert from before it is refused by one and taken by the other. Queries then find what the record does not say. That
/// is drift, and repaired in both.
#[tokio::test]
async fn tables_that_disagree_are_drift_and_are_mended() {
    let store = opened(&server().newest("disagree")).await;
    let good = record(NAMESPACE, 1);
    store.write().put(std::slice::from_ref(&good)).await.expect("put");
    let source = opened(&server().newest("disagree_source")).await;
    source.write().put(std::slice::from_ref(&good)).await.expect("put");
    server().execute(
        "disagree",
        &["UPDATE custom_search_attributes SET search_attributes = JSON_SET(search_attributes, '$.Keyword01', 'older'), _version = 5"],
    );
    let run = async |repair: bool| {
        let (from, to, write) = (source.read(), store.read(), store.write());
        let range = Range::default();
        let options = compare::Options {
            pause: std::time::Duration::from_millis(10),
            ..compare::Options::default()
        };
        let mut watch = |_: &compare::Progress| Step::Continue;
        let done = compare(
            &*from,
            &*to,
            repair.then_some(&*write),
            &range,
            compare::Progress::default(),
            options,
            &mut watch,
        );
        done.await.expect("compare").progress.drift.different
    };
    let found = run(true).await;
    assert_eq!(found.sample[0].columns, ["search_attributes.Keyword01"]);
    assert_eq!(run(false).await.count, 0);
    assert_eq!(fixture::disagreeing("disagree").await, Vec::<String>::new());
}

/// The server deletes from its tables one after another; a write in between leaves attributes without a record.
#[tokio::test]
async fn a_delete_removes_attributes_whose_record_is_gone() {
    let store = opened(&server().newest("orphans")).await;
    let records: Vec<Record> = (0..3).map(|n| record(NAMESPACE, n)).collect();
    store.write().put(&records).await.expect("put");
    server().execute(
        "orphans",
        &[&format!(
            "DELETE FROM executions_visibility WHERE run_id <> '{}'",
            records[0].key.run_id
        )],
    );
    let condemned: Vec<Condemned> = records[1..]
        .iter()
        .map(|record| Condemned {
            key: record.key.clone(),
            at_most: None,
        })
        .collect();
    assert_eq!(store.write().delete(&condemned).await.expect("delete"), 0);
    let mut direct = server().connect("orphans").await;
    for table in [
        "executions_visibility",
        "custom_search_attributes",
        "chasm_search_attributes",
    ] {
        assert_eq!(
            number(&mut direct, &format!("SELECT COUNT(*) FROM {table}")).await,
            1,
            "{table}"
        );
    }
}

/// Pages and look-ups go by the primary key and read no more of it than they give.
#[tokio::test]
async fn pages_are_looked_up_in_the_primary_key() {
    let store = opened(&server().newest("plans")).await;
    let records: Vec<Record> = (0..600)
        .map(|n| record(&format!("{:08x}-0000-4000-8000-000000000000", n % 3), n))
        .collect();
    store.write().put(&records).await.expect("put");
    let mut direct = server().connect("plans").await;
    let after = "00000001-0000-4000-8000-000000000000";
    for condition in [
        format!("ev.namespace_id > '{after}' OR (ev.namespace_id = '{after}' AND ev.run_id > '8')"),
        format!("ev.namespace_id = '{after}' AND ev.run_id > '8'"),
        format!("(ev.namespace_id, ev.run_id) IN (('{after}', 'a'), ('{after}', 'b'))"),
    ] {
        let plan: Vec<(String, String, String, String, String)> = direct
            .query(format!(
                "EXPLAIN SELECT ev.run_id, custom.search_attributes FROM executions_visibility AS ev FORCE INDEX (PRIMARY) \
                 LEFT JOIN custom_search_attributes AS custom ON custom.namespace_id = ev.namespace_id AND custom.run_id = ev.run_id \
                 WHERE {condition} ORDER BY ev.namespace_id, ev.run_id LIMIT 10"
            ))
            .await
            .expect("a plan");
        let plan: Vec<String> = plan
            .into_iter()
            .map(|row| format!("{} {} {}", row.0, row.3, row.4))
            .collect();
        let whole = plan
            .iter()
            .filter(|step| step.contains("TableFullScan") && step.contains("table:ev"));
        assert_eq!(whole.count(), 0, "{plan:#?}");
    }
}
