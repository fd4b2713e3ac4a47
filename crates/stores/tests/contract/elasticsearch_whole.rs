//! Copies of a whole index in its own order, while records go.

use crossfade_stores::Store;
use crossfade_visibility::contract::record;
use crossfade_visibility::copy::{Options, Outcome, Progress, Step, copy_whole};
use crossfade_visibility::ports::{Condemned, Error};
use crossfade_visibility::record::{Key, Record};
use reqwest::Method;
use serde_json::json;

use crate::clusters::Product;
use crate::opened;

const NAMESPACES: [&str; 2] = [
    "00000000-0000-4000-8000-00000000000a",
    "00000000-0000-4000-8000-00000000000b",
];

fn records(count: u32) -> Vec<Record> {
    (0..count).map(|n| record(NAMESPACES[n as usize % 2], n)).collect()
}

async fn copied(from: &Store, to: &Store, mut watch: impl FnMut(&Progress) -> Step + Send) -> Result<Outcome, Error> {
    let options = Options {
        page: 100,
        in_flight: 1,
    };
    copy_whole(&*from.read(), to.target(), options, &mut watch).await
}

async fn total(store: &Store) -> u64 {
    let counts = store.read().count(None).await.expect("counts");
    counts.values().map(|count| count.total()).sum()
}

/// Everything is carried, from one product into the other; stopped and begun anew, nothing is written twice.
#[tokio::test]
async fn a_whole_copy_carries_everything_and_may_be_stopped() {
    for (from, to) in [
        (Product::Elasticsearch, Product::OpenSearch),
        (Product::OpenSearch, Product::Elasticsearch),
    ] {
        let entry = from.shared().await.index("whole_from", "v13", json!({})).await;
        let source = opened(&entry).await;
        let target = opened(&to.shared().await.index("whole_to", "v13", json!({})).await).await;
        let all = records(1_050);
        source.write().put(&all).await.expect("put");
        let outcome = copied(&source, &target, |_| Step::Stop).await.expect("a copy");
        assert!(!outcome.finished && outcome.progress.written >= 100);
        let before = outcome.progress.written;
        let outcome = copied(&source, &target, |_| Step::Continue).await.expect("a copy");
        assert!(outcome.finished);
        assert_eq!((outcome.progress.scanned, outcome.progress.withdrawn), (1_050, 0));
        assert_eq!(outcome.progress.written + before, 1_050);
        let keys: Vec<Key> = all.iter().map(|record| record.key.clone()).collect();
        let (mut here, mut there) = (
            source.read().get(&keys).await.expect("records"),
            target.read().get(&keys).await.expect("records"),
        );
        here.sort_by(|a, b| a.key.cmp(&b.key));
        there.sort_by(|a, b| a.key.cmp(&b.key));
        assert!(here == there && here.len() == 1_050);
    }
}

/// What the source lost after the view of it was taken is not brought back.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_during_a_whole_copy_is_not_brought_back() {
    for (from, to) in [
        (Product::Elasticsearch, Product::OpenSearch),
        (Product::OpenSearch, Product::Elasticsearch),
    ] {
        let (source, target) = (
            opened(&from.shared().await.index("going_from", "v13", json!({})).await).await,
            opened(&to.shared().await.index("going_to", "v13", json!({})).await).await,
        );
        let all = records(1_000);
        source.write().put(&all).await.expect("put");
        let (sources, targets, runtime) = (source.clone(), target.clone(), tokio::runtime::Handle::current());
        let mut is_first = true;
        let watch = |_: &Progress| {
            if std::mem::take(&mut is_first) {
                tokio::task::block_in_place(|| {
                    runtime.block_on(delete_some_that_are_to_come(&sources, &targets, &all));
                });
            }
            Step::Continue
        };
        let outcome = copied(&source, &target, watch).await.expect("a copy");
        assert!(outcome.finished);
        assert_eq!((outcome.progress.scanned, outcome.progress.withdrawn), (1_000, 50));
        assert_eq!((total(&source).await, total(&target).await), (950, 950));
    }
}

async fn delete_some_that_are_to_come(source: &Store, target: &Store, all: &[Record]) {
    let there = target.read().versions_of(all).await.expect("versions");
    let condemned: Vec<Condemned> = all
        .iter()
        .filter(|record| !there.contains_key(&record.key))
        .take(50)
        .map(|record| Condemned {
            key: record.key.clone(),
            at_most: None,
        })
        .collect();
    assert_eq!(source.write().delete(&condemned).await.expect("delete"), 50);
}

/// A view that the cluster gave up is no end of the copy: the rest is read by keys.
#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_is_lost_is_done_without() {
    let node = Product::Elasticsearch.start(&[]).await;
    let entry = node.index("lost_from", "v13", json!({})).await;
    let (source, target) = (
        opened(&entry).await,
        opened(&node.index("lost_to", "v13", json!({})).await).await,
    );
    source.write().put(&records(1_000)).await.expect("put");
    let runtime = tokio::runtime::Handle::current();
    let mut is_first = true;
    let watch = |_: &Progress| {
        if std::mem::take(&mut is_first) {
            let forget = node.ask(Method::DELETE, "/_search/scroll/_all", None);
            tokio::task::block_in_place(|| runtime.block_on(forget));
        }
        Step::Continue
    };
    let outcome = copied(&source, &target, watch).await.expect("a copy");
    assert!(outcome.finished);
    assert_eq!((outcome.progress.written, total(&target).await), (1_000, 1_000));
}
