//! One driver against Elasticsearch 7.10 and OpenSearch 2, both real.

use std::time::{Duration, Instant};

use crossfade_stores::{OpenError, SchemaFault, SchemaState, Store, inspect, open};
use crossfade_visibility::compare::{self, compare};
use crossfade_visibility::contract::{self, record};
use crossfade_visibility::copy::{self, Step, copy};
use crossfade_visibility::ports::{Condemned, Error, Range, Rewrite};
use crossfade_visibility::record::{Key, Record, marker_record};
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use crate::clusters::Product;
use crate::opened;

const NAMESPACE: &str = "00000000-0000-4000-8000-00000000000a";

fn records(from: u32, count: u32) -> Vec<Record> {
    (from..from + count).map(|n| record(NAMESPACE, n)).collect()
}

async fn one(store: &Store, key: &Key) -> Option<Record> {
    let found = store.read().get(std::slice::from_ref(key)).await;
    found.unwrap_or_else(|error| panic!("{error}")).pop()
}

async fn all(store: &Store, page: usize) -> Vec<Key> {
    let (mut keys, mut range) = (Vec::new(), Range::default());
    loop {
        let page = store
            .read()
            .scan(&range, page)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        let Some(last) = page.last() else { return keys };
        range.after = Some(last.key.clone());
        keys.extend(page.into_iter().map(|record| record.key));
    }
}

fn index_of(entry: &Value) -> &str {
    entry["elasticsearch"]["indices"]["visibility"]
        .as_str()
        .expect("an index")
}

#[tokio::test]
async fn passes_the_contract_with_every_template() {
    for product in Product::BOTH {
        for template in ["v5", "v6", "v9", "v13"] {
            let entry = product
                .shared()
                .await
                .index(&format!("contract_{template}"), template, json!({}))
                .await;
            let store = opened(&entry).await;
            contract::all(store.target())
                .await
                .unwrap_or_else(|error| panic!("{product:?} {template}: {error}"));
        }
    }
}

/// What is written is what the server would write: the same id, the same version, fields at the top.
#[tokio::test]
async fn documents_are_the_servers() {
    for product in Product::BOTH {
        let node = product.shared().await;
        let entry = node
            .index("documents", "v13", json!({"CustomKeywordField": {"type": "keyword"}}))
            .await;
        let store = opened(&entry).await;
        let mut written = record(NAMESPACE, 1);
        written.task_key = Some("3~42".to_owned());
        written.version = Some(1_048_577);
        written.start_time = "2024-02-29T12:34:56.123456789Z".parse().expect("a time");
        written.search_attributes = json!({"CustomKeywordField": "x", "BuildIds": ["a", "b"]})
            .as_object()
            .cloned()
            .expect("a map");
        assert_eq!(store.write().put(std::slice::from_ref(&written)).await.expect("put"), 1);
        assert_eq!(one(&store, &written.key).await, Some(written.clone()));

        let id = format!("{}~{}", written.workflow_id, written.key.run_id);
        let query = json!({"version": true, "query": {"term": {"CustomKeywordField": "x"}}});
        let answer = node
            .ask(Method::POST, &format!("/{}/_search", index_of(&entry)), Some(query))
            .await;
        let hit = &answer["hits"]["hits"][0];
        assert_eq!((&hit["_id"], &hit["_version"]), (&json!(id), &json!(1_048_577)));
        assert_eq!(hit["_source"]["StartTime"], "2024-02-29T12:34:56.123456789Z");
        assert_eq!(hit["_source"]["ExecutionStatus"], "Failed");
        assert_eq!(hit["_source"]["VisibilityTaskKey"], "3~42");
        assert_eq!(hit["_source"]["MemoEncoding"], "Proto3");
    }
}

/// Ids are cut at 512 bytes, by servers up to 1.23 within a character: a document that is there already keeps its id.
#[tokio::test]
async fn a_cut_id_never_makes_a_second_document() {
    let node = Product::Elasticsearch.shared().await;
    let entry = node.index("cut", "v13", json!({})).await;
    let store = opened(&entry).await;
    let mut long = record(NAMESPACE, 1);
    long.workflow_id = format!("{}{}", "x", "ü".repeat(400));
    let run = &long.key.run_id;
    let other_id = format!("{}{}\u{fffd}~{run}", "x", "ü".repeat(235));
    let document =
        json!({"NamespaceId": NAMESPACE, "RunId": run, "WorkflowId": long.workflow_id, "ExecutionStatus": "Running"});
    let mut url = reqwest::Url::parse(&node.server.url()).expect("a URL");
    url.path_segments_mut()
        .expect("a base")
        .extend([index_of(&entry), "_doc", other_id.as_str()]);
    let path = format!("{}?version=5&version_type=external", url.path());
    node.ask(Method::PUT, &path, Some(document)).await;

    assert_eq!(store.write().put(std::slice::from_ref(&long)).await.expect("put"), 1);
    assert_eq!(all(&store, 10).await, [long.key.clone()]);
    let counts = store.read().count(None).await.expect("count");
    assert_eq!(counts[NAMESPACE].total(), 1);
    long.key.run_id = record(NAMESPACE, 2).key.run_id;
    assert_eq!(store.write().put(std::slice::from_ref(&long)).await.expect("put"), 1);
    assert_eq!(one(&store, &long.key).await, Some(long));
}

/// Look-ups see what anyone wrote or deleted before they began, whatever the index's refresh interval.
#[tokio::test]
async fn a_look_up_is_never_stale() {
    for product in Product::BOTH {
        let node = product.shared().await;
        let entry = node.index("stale", "v13", json!({})).await;
        let index = index_of(&entry);
        let never = json!({"index": {"refresh_interval": "-1"}});
        node.ask(Method::PUT, &format!("/{index}/_settings"), Some(never)).await;
        let (store, other) = (opened(&entry).await, opened(&entry).await);
        let written = records(1, 3);
        let keys: Vec<Key> = written.iter().map(|record| record.key.clone()).collect();
        assert!(store.read().versions(&keys).await.expect("versions").is_empty());
        other.write().put(&written).await.expect("put");
        assert_eq!(store.read().versions(&keys).await.expect("versions").len(), 3);
        let condemned = Condemned {
            key: keys[0].clone(),
            at_most: None,
        };
        assert_eq!(other.write().delete(&[condemned]).await.expect("delete"), 1);
        assert_eq!(store.read().versions(&keys).await.expect("versions").len(), 2);
        other.write().put(&records(4, 1)).await.expect("put");
        assert_eq!(store.read().count(None).await.expect("count")[NAMESPACE].total(), 3);
        let facts = inspect(&entry).await.expect("facts");
        assert!(
            facts
                .warnings
                .iter()
                .any(|warning| warning.contains("refresh_interval")),
            "{:?}",
            facts.warnings
        );
    }
}

/// Neither a put nor a rewrite brings back what was deleted after it was read, and neither overwrites a later version.
#[tokio::test]
async fn what_was_deleted_or_written_since_stays_so() {
    for product in Product::BOTH {
        let entry = product.shared().await.index("races", "v13", json!({})).await;
        let store = opened(&entry).await;
        let first = record(NAMESPACE, 1);
        store.write().put(std::slice::from_ref(&first)).await.expect("put");
        let seen = one(&store, &first.key).await.expect("it");
        // The server deletes at a version of its own, later than any before.
        let delete = json!({"delete": {"_id": format!("{}~{}", first.workflow_id, first.key.run_id), "version": 999, "version_type": "external"}});
        let bulk = |line: String| {
            let url = format!("http://{}/{}/_bulk", product_address(&entry), index_of(&entry));
            async move {
                let client = reqwest::Client::builder().no_proxy().build().expect("a client");
                let request = client
                    .post(url)
                    .header("content-type", "application/x-ndjson")
                    .body(line);
                assert!(request.send().await.expect("an answer").status().is_success());
            }
        };
        bulk(format!("{delete}\n")).await;
        assert_eq!(store.write().put(std::slice::from_ref(&first)).await.expect("put"), 0);
        let to = Record {
            status: 7,
            ..seen.clone()
        };
        assert_eq!(
            store
                .write()
                .rewrite(&[Rewrite { seen: seen.clone(), to }])
                .await
                .expect("rewrite"),
            0
        );
        assert_eq!(one(&store, &first.key).await, None);

        let second = record(NAMESPACE, 2);
        store.write().put(std::slice::from_ref(&second)).await.expect("put");
        let seen = one(&store, &second.key).await.expect("it");
        let later = Record {
            version: Some(1000),
            status: 2,
            ..second.clone()
        };
        store.write().put(std::slice::from_ref(&later)).await.expect("put");
        let to = Record {
            status: 7,
            ..seen.clone()
        };
        assert_eq!(
            store.write().rewrite(&[Rewrite { seen, to }]).await.expect("rewrite"),
            0
        );
        let at_most = Condemned {
            key: second.key.clone(),
            at_most: second.version,
        };
        assert_eq!(store.write().delete(&[at_most]).await.expect("delete"), 0);
        assert_eq!(one(&store, &second.key).await.map(|record| record.status), Some(2));
    }
}

fn product_address(entry: &Value) -> &str {
    entry["elasticsearch"]["url"]["host"].as_str().expect("a host")
}

/// Keys that are no UUIDs, and Namespaces of very different sizes: every record once, in the order of the bytes.
#[tokio::test]
async fn scans_by_bytes_whatever_the_keys() {
    let entry = Product::OpenSearch.shared().await.index("odd", "v13", json!({})).await;
    let store = opened(&entry).await;
    let at = Timestamp::UNIX_EPOCH;
    let mut written: Vec<Record> = ["b", "A", "a", "B", "a-b", "ab", "Z", "é", "ffffffff-ffff", "0"]
        .iter()
        .map(|run| marker_record("n", "w", run, at))
        .collect();
    written.extend(records(0, 3000));
    written.extend((0..5).map(|n| record("temporal-system", n)));
    assert_eq!(store.write().put(&written).await.expect("put"), written.len() as u64);
    let mut expected: Vec<Key> = written.into_iter().map(|record| record.key).collect();
    expected.sort();
    for page in [7, 100, 1000, 20_000] {
        assert_eq!(all(&store, page).await, expected, "pages of {page}");
    }
}

/// A record that the mapping refuses is named with its field and without its content; all others are written.
#[tokio::test]
async fn names_the_record_that_is_refused() {
    for product in Product::BOTH {
        let fields = json!({"CustomIntField": {"type": "long"}, "CustomKeywordField": {"type": "keyword"}});
        let entry = product.shared().await.index("refused", "v13", fields).await;
        let store = opened(&entry).await;
        for (at, (field, value)) in [
            ("CustomIntField", json!("sensitive")),
            ("CustomKeywordField", json!("s".repeat(40_000))),
        ]
        .into_iter()
        .enumerate()
        {
            let mut batch = records(10 * at as u32, 5);
            batch[3].search_attributes = serde_json::Map::from_iter([(field.to_owned(), value)]);
            let error = store.write().put(&batch).await.expect_err("refused");
            let message = error.to_string();
            assert!(
                matches!(&error, Error::Refused { key, .. } if *key == batch[3].key),
                "{message}"
            );
            assert!(
                message.contains(field) && !message.contains("sensitive") && !message.contains("ssss"),
                "{message}"
            );
            assert!(!error.is_retryable());
            let keys: Vec<Key> = batch.iter().map(|record| record.key.clone()).collect();
            assert_eq!(store.read().versions(&keys).await.expect("versions").len(), 4);
        }
    }
}

/// An index that takes no writes is told from a busy cluster, with what to do.
#[tokio::test]
async fn a_read_only_index_says_what_to_do() {
    for product in Product::BOTH {
        let node = product.shared().await;
        let entry = node.index("blocked", "v13", json!({})).await;
        let store = opened(&entry).await;
        assert_eq!(inspect(&entry).await.expect("facts").writable, Some(Ok(())));
        let block = |value: Value| json!({"index": {"blocks": {"read_only_allow_delete": value}}});
        let settings = format!("/{}/_settings", index_of(&entry));
        node.ask(Method::PUT, &settings, Some(block(json!(true)))).await;
        let started = Instant::now();
        let error = store.write().put(&records(1, 2)).await.expect_err("blocked");
        assert!(
            matches!(error, Error::ReadOnly { .. }) && !error.is_retryable(),
            "{error:?}"
        );
        assert!(
            error.to_string().contains("index.blocks.read_only_allow_delete"),
            "{error}"
        );
        assert!(started.elapsed() < Duration::from_secs(2), "it is not tried again");
        let facts = inspect(&entry).await.expect("facts");
        assert!(
            matches!(&facts.writable, Some(Err(reason)) if reason.contains("block")),
            "{:?}",
            facts.writable
        );
        node.ask(Method::PUT, &settings, Some(block(Value::Null))).await;
        assert_eq!(store.write().put(&records(1, 2)).await.expect("put"), 2);
    }
}

/// An index that is gone is never made again by writing to it.
#[tokio::test]
async fn a_missing_index_is_told_and_not_made() {
    for product in Product::BOTH {
        let node = product.shared().await;
        let entry = node.index("gone", "v13", json!({})).await;
        let store = opened(&entry).await;
        let index = index_of(&entry).to_owned();
        node.ask(Method::DELETE, &format!("/{index}"), None).await;
        assert!(matches!(
            store.write().put(&records(1, 1)).await,
            Err(Error::Schema { .. })
        ));
        assert!(matches!(
            store.read().scan(&Range::default(), 1).await,
            Err(Error::Schema { .. })
        ));
        assert!(matches!(open(&entry).await, Err(OpenError::NoSchema { .. })));
        let facts = inspect(&entry).await.expect("facts");
        assert!(matches!(facts.schema, SchemaState::Absent) && facts.writable.is_none());
        let of_template = |warning: &String| warning.contains("template");
        assert!(!facts.warnings.iter().any(of_template), "{:?}", facts.warnings);
        let faults = facts.schema_faults("1.30.8").expect("known");
        assert!(matches!(&faults[..], [SchemaFault::Absent { .. }]), "{faults:?}");
        assert!(
            faults[0].to_string().contains("temporal-elasticsearch-tool"),
            "{}",
            faults[0]
        );
        let (status, _) = crate::clusters::request(&node.server.url(), Method::HEAD, &format!("/{index}"), None).await;
        assert_eq!(status, 404, "looking or writing must not make it");

        let mut unmatched = entry.clone();
        unmatched["elasticsearch"]["indices"]["visibility"] = json!("visibility");
        let warnings = inspect(&unmatched).await.expect("facts").warnings;
        assert!(
            warnings
                .iter()
                .any(|warning| warning.contains("temporal_visibility_v1*")),
            "{warnings:?}"
        );
    }
}

/// A server that wrote before the index was there made one without the template: recognised, with the remedy.
#[tokio::test]
async fn an_index_made_by_a_write_is_a_wrong_one() {
    for product in Product::BOTH {
        let node = product.shared().await;
        let document = json!({"NamespaceId": NAMESPACE, "RunId": "r", "WorkflowId": "w", "StartTime": "2024-01-01T00:00:00Z", "ExecutionStatus": "Running"});
        node.ask(Method::PUT, "/made_by_a_write/_doc/1", Some(document)).await;
        let entry = node.server.datastore("made_by_a_write");
        let error = open(&entry).await.expect_err("a wrong mapping");
        assert!(matches!(error, OpenError::WrongSchema { .. }), "{error:?}");
        assert!(error.to_string().contains("delete it"), "{error}");
        let facts = inspect(&entry).await.expect("facts");
        let faults = facts.schema_faults("1.30.8").expect("known");
        assert!(
            matches!(&faults[..], [SchemaFault::NotFromTemplate { .. }]),
            "{faults:?}"
        );
        assert_eq!(facts.schema.version().as_deref(), Some("of no known template"));
    }
}

#[tokio::test]
async fn tells_facts_and_leaves_nothing_behind() {
    for product in Product::BOTH {
        let node = product.shared().await;
        let entry = node
            .index("facts", "v9", json!({"CustomIntField": {"type": "long"}}))
            .await;
        let facts = inspect(&entry).await.expect("facts");
        let engine = format!("{product:?} ");
        assert!(facts.engine.starts_with(&engine), "{}", facts.engine);
        assert_eq!(facts.writable, Some(Ok(())));
        assert_eq!(facts.records_estimate, Some(0));
        assert!(facts.bytes.is_some() && facts.free_bytes.is_some_and(|bytes| bytes > 0));
        assert!(facts.limits.document.is_some_and(|bytes| bytes > 0));
        assert_eq!(facts.schema_faults("1.29.1"), Some(Vec::new()));
        assert_eq!(facts.schema.version().as_deref(), Some("template v9"));
        let faults = facts.schema_faults("1.30.8").expect("known");
        assert!(matches!(&faults[..], [SchemaFault::MissingFields { .. }]), "{faults:?}");
        let SchemaState::Index { mapping } = &facts.schema else {
            panic!("an index")
        };
        assert_eq!(mapping.kind("CustomIntField"), Some("long"));
        assert!(
            opened(&entry)
                .await
                .read()
                .namespaces()
                .await
                .expect("namespaces")
                .is_empty(),
            "the probe stayed"
        );

        let mut alias = entry.clone();
        alias["elasticsearch"]["url"]["host"] = json!(product_address(&entry).replace("127.0.0.1", "localhost"));
        assert_eq!(inspect(&alias).await.expect("facts").identity, facts.identity);
        let other = node.index("other_facts", "v9", json!({})).await;
        assert_ne!(inspect(&other).await.expect("facts").identity, facts.identity);

        let mut sniffing = entry.clone();
        sniffing["elasticsearch"]["enableSniff"] = json!(true);
        sniffing["elasticsearch"]["enableHealthcheck"] = json!(true);
        assert_eq!(inspect(&sniffing).await.expect("facts").identity, facts.identity);
        assert!(
            opened(&sniffing)
                .await
                .describe()
                .contains("temporal_visibility_v1_facts")
        );
    }
}

/// Copying from one product to the other and comparing finds everything, and what is drifted.
#[tokio::test]
async fn copies_and_compares_between_the_products() {
    let from = opened(
        &Product::Elasticsearch
            .shared()
            .await
            .index("pair", "v13", json!({}))
            .await,
    )
    .await;
    let to = opened(&Product::OpenSearch.shared().await.index("pair", "v13", json!({})).await).await;
    let written = records(0, 2500);
    from.write().put(&written).await.expect("put");
    let mut go_on = |_: &copy::Progress| Step::Continue;
    let options = copy::Options::pages_of(500);
    let outcome = copy(
        &*from.read(),
        to.target(),
        &Range::default(),
        copy::Progress::default(),
        options,
        &mut go_on,
    )
    .await
    .expect("copy");
    assert_eq!((outcome.progress.written, outcome.progress.withdrawn), (2500, 0));
    let wrong = Record {
        task_queue: "wrong".to_owned(),
        version: Some(99_999),
        ..written[7].clone()
    };
    to.write().put(&[wrong]).await.expect("put");
    let extra = record(NAMESPACE, 5000);
    to.write().put(std::slice::from_ref(&extra)).await.expect("put");
    let options = compare::Options {
        pause: Duration::from_millis(10),
        ..compare::Options::default()
    };
    let mut go_on = |_: &compare::Progress| Step::Continue;
    let outcome = compare(
        &*from.read(),
        &*to.read(),
        Some(&*to.write()),
        &Range::default(),
        compare::Progress::default(),
        options,
        &mut go_on,
    )
    .await
    .expect("compare");
    let drift = &outcome.progress.drift;
    assert_eq!(
        (
            drift.missing.count,
            drift.stale.count,
            drift.different.count,
            drift.extra.count
        ),
        (0, 0, 1, 1)
    );
    assert_eq!(one(&to, &extra.key).await, None, "what is extra is removed");
}
