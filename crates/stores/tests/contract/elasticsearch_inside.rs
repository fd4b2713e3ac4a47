//! Copies between two indices of one cluster, which moves the documents itself.

use crossfade_stores::Store;
use crossfade_visibility::contract::record;
use crossfade_visibility::copy::{Options, Outcome, Progress, Step, copy, copy_whole};
use crossfade_visibility::ports::{Condemned, Error, Range};
use crossfade_visibility::record::{Key, Record};
use reqwest::Method;
use serde_json::{Value, json};

use crate::clusters::{Node, Product};
use crate::opened;

const NAMESPACES: [&str; 2] = [
    "00000000-0000-4000-8000-00000000000a",
    "00000000-0000-4000-8000-00000000000b",
];

const PAGES: Options = Options {
    page: 100,
    in_flight: 3,
};

fn records(count: u32) -> Vec<Record> {
    (0..count).map(|n| record(NAMESPACES[n as usize % 2], n)).collect()
}

fn later(record: &Record, by: i64) -> Record {
    Record {
        version: record.version.map(|version| version + by),
        task_queue: format!("later by {by}"),
        ..record.clone()
    }
}

async fn pair(node: &Node, name: &str, fields: Value) -> (Store, Store) {
    let from = node.index(&format!("{name}_from"), "v13", json!({})).await;
    let to = node.index(&format!("{name}_to"), "v13", fields).await;
    (opened(&from).await, opened(&to).await)
}

async fn copied(from: &Store, to: &Store) -> Result<Outcome, Error> {
    let mut on = |_: &Progress| Step::Continue;
    copy_whole(&*from.read(), to.target(), PAGES, &mut on).await
}

async fn held(store: &Store, records: &[Record]) -> Vec<Record> {
    let keys: Vec<Key> = records.iter().map(|record| record.key.clone()).collect();
    let mut held = store.read().get(&keys).await.expect("records");
    held.sort_by(|a, b| a.key.cmp(&b.key));
    held
}

/// Whole, or by keys and slice by slice: what the target lacks or has older is there afterwards, what it has later stays.
#[tokio::test]
async fn a_cluster_takes_its_own_records_over() {
    for product in Product::BOTH {
        let node = product.shared().await;
        for by_keys in [false, true] {
            let name = if by_keys { "inside_keys" } else { "inside" };
            let (source, target) = pair(node, name, json!({})).await;
            let all = records(750);
            source.write().put(&all).await.expect("put");
            let (older, newer) = (later(&all[7], -1), later(&all[8], 1));
            target.write().put(&[older, newer.clone()]).await.expect("put");
            let outcome = match by_keys {
                false => copied(&source, &target).await.expect("a copy"),
                true => by_slices(&source, &target).await,
            };
            assert!(outcome.finished, "{product:?}");
            let progress = outcome.progress;
            assert_eq!((progress.scanned, progress.written, progress.withdrawn), (750, 749, 0));
            assert_eq!(progress.bytes, 0, "{product:?}: the records passed through us");
            let mut wanted = held(&source, &all).await;
            let changed = wanted.iter_mut().find(|record| record.key == newer.key);
            *changed.expect("it is there") = newer;
            assert!(held(&target, &all).await == wanted, "{product:?}");
            let again = copied(&source, &target).await.expect("a copy");
            assert_eq!((again.progress.scanned, again.progress.written), (750, 0));
        }
    }
}

/// One Namespace after the other, stopped after each page and gone on with.
async fn by_slices(source: &Store, target: &Store) -> Outcome {
    let mut all = Progress::default();
    for namespace in NAMESPACES {
        let slice = Range {
            namespace_id: Some(namespace.to_owned()),
            ..Range::default()
        };
        let mut outcome = Outcome {
            progress: Progress::default(),
            finished: false,
        };
        while !outcome.finished {
            let mut stop = |_: &Progress| Step::Stop;
            let from = outcome.progress;
            let pages = Options { in_flight: 1, ..PAGES };
            let copied = copy(&*source.read(), target.target(), &slice, from, pages, &mut stop).await;
            outcome = copied.expect("a copy");
        }
        all.scanned += outcome.progress.scanned;
        all.written += outcome.progress.written;
        all.bytes += outcome.progress.bytes;
    }
    Outcome {
        progress: all,
        finished: true,
    }
}

/// A document that the target's mapping refuses is named, with why, and the others of its page are there.
#[tokio::test]
async fn what_the_target_refuses_is_named() {
    let node = Product::Elasticsearch.shared().await;
    let (source, target) = pair(node, "inside_refused", json!({"Extra": {"type": "long"}})).await;
    let mut all = records(50);
    for at in [4, 30] {
        all[at].search_attributes.insert("Extra".to_owned(), json!("no number"));
    }
    source.write().put(&all).await.expect("put");
    let error = copied(&source, &target).await.expect_err("it is refused");
    let said = error.to_string();
    assert!(matches!(error, Error::Refused { .. }), "{said}");
    for at in [4, 30] {
        assert!(said.contains(&all[at].key.to_string()), "{said}");
    }
    assert!(said.contains("Extra") && !said.contains("no number"), "{said}");
    assert_eq!(held(&target, &all).await.len(), 48);
}

/// The cluster reads what the source was when it was refreshed last: a version later than the one that was listed, of a
/// record that is gone by then. It does not stay.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_after_a_later_write_is_not_brought_back() {
    let node = Product::Elasticsearch.shared().await;
    let (source, target) = pair(node, "inside_gone", json!({})).await;
    let settings = json!({"index": {"refresh_interval": "-1"}});
    let path = "/temporal_visibility_v1_inside_gone_from/_settings";
    node.ask(Method::PUT, path, Some(settings)).await;
    let all = records(300);
    source.write().put(&all).await.expect("put");
    let (sources, targets, runtime) = (source.clone(), target.clone(), tokio::runtime::Handle::current());
    let change = async {
        let there = targets.read().versions_of(&all).await.expect("versions");
        let to_come: Vec<&Record> = all.iter().filter(|record| !there.contains_key(&record.key)).collect();
        let updated: Vec<Record> = to_come.iter().map(|record| later(record, 2)).collect();
        sources.write().put(&updated).await.expect("put");
        let delete = updated.iter().map(|record| Condemned {
            key: record.key.clone(),
            at_most: None,
        });
        // A delete looks its documents up, and the index is refreshed for that: now the updates are seen, and not the delete.
        let deleted = sources.write().delete(&delete.collect::<Vec<_>>()).await;
        assert_eq!(deleted.expect("delete"), updated.len() as u64);
        updated
    };
    let (mut change, mut gone) = (Some(change), Vec::new());
    let mut watch = |_: &Progress| {
        if let Some(change) = change.take() {
            gone = tokio::task::block_in_place(|| runtime.block_on(change));
        }
        Step::Continue
    };
    let pages = Options { in_flight: 1, ..PAGES };
    let outcome = copy_whole(&*source.read(), target.target(), pages, &mut watch).await;
    let outcome = outcome.expect("a copy");
    assert!(outcome.finished);
    assert_eq!(gone.len(), 200);
    assert_eq!(held(&target, &gone).await, []);
    // Of the page that was next. Asking for it refreshed the source, and the others were not taken any more.
    assert_eq!(outcome.progress.withdrawn, 100);
    assert_eq!(held(&target, &all).await.len(), all.len() - gone.len());
}

/// Documents under ids that the server would not give them, or that had to be cut, go through us.
#[tokio::test]
async fn other_ids_are_carried_as_ever() {
    let node = Product::Elasticsearch.shared().await;
    let (source, target) = pair(node, "inside_ids", json!({})).await;
    let mut all = records(20);
    all[4].workflow_id = "ß".repeat(400);
    source.write().put(&all[..19]).await.expect("put");
    let by_hand = json!({
        "NamespaceId": all[19].key.namespace_id, "RunId": all[19].key.run_id, "WorkflowId": "by hand",
        "WorkflowType": "type", "ExecutionStatus": "Running", "StartTime": "2024-01-01T00:00:00Z",
        "ExecutionTime": "2024-01-01T00:00:00Z",
    });
    let path = "/temporal_visibility_v1_inside_ids_from/_doc/1?version=5&version_type=external&refresh=true";
    node.ask(Method::PUT, path, Some(by_hand)).await;
    let outcome = copied(&source, &target).await.expect("a copy");
    assert_eq!((outcome.progress.scanned, outcome.progress.written), (20, 20));
    assert!(outcome.progress.bytes > 0);
    assert!(held(&target, &all).await == held(&source, &all).await);
}

/// Only within one cluster, and only where no field means anything else.
#[tokio::test]
async fn nothing_else_is_taken_over() {
    let node = Product::Elasticsearch.shared().await;
    let other = Product::OpenSearch.shared().await;
    let source = opened(&node.index("inside_not_from", "v13", json!({})).await).await;
    let place = source.read().place().expect("a place");
    for (node, name, fields, taken) in [
        (node, "inside_not_same", json!({"Mine": {"type": "long"}}), true),
        (node, "inside_not_field", json!({"TaskQueue": {"type": "text"}}), false),
        (other, "inside_not_cluster", json!({}), false),
    ] {
        let target = opened(&node.index(name, "v13", fields).await).await;
        let takes = target.write().takes_from(&place).await.expect("an answer");
        assert_eq!(takes, taken, "{name}");
    }
    assert!(!source.write().takes_from(&place).await.expect("an answer"));
}
