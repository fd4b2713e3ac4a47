//! Elasticsearch in trouble, and behind TLS: what is waited for, what is told, and what gets through.

use std::time::{Duration, Instant};

use crossfade_stores::{OpenError, Store, inspect, open};
use crossfade_visibility::contract::record;
use crossfade_visibility::ports::{Error, Range};
use crossfade_visibility::pressure::Level;
use crossfade_visibility::record::{Key, Record};
use reqwest::Method;
use serde_json::{Value, json};

use crate::clusters::{Node, Product};
use crate::encrypted::Front;
use crate::opened;

const NAMESPACE: &str = "00000000-0000-4000-8000-00000000000a";

fn records(from: u32, count: u32) -> Vec<Record> {
    (from..from + count).map(|n| record(NAMESPACE, n)).collect()
}

/// How many records a scan finds.
async fn scanned(store: &Store) -> usize {
    let (mut found, mut range) = (0, Range::default());
    loop {
        let page = store
            .read()
            .scan(&range, 1000)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        let Some(last) = page.last() else { return found };
        range.after = Some(last.key.clone());
        found += page.len();
    }
}

/// Puts as a job of ours does: what a store has no room for in the time of one call is put again.
async fn put_until_done(store: &Store, records: &[Record]) {
    let deadline = Instant::now() + Duration::from_secs(300);
    while let Err(error) = store.write().put(records).await {
        assert!(error.is_retryable(), "{error}");
        assert!(Instant::now() < deadline, "the node never had room: {error}");
    }
}

/// A node with a queue of one and one thread is overrun by several writers: each item is written in the end.
#[tokio::test]
async fn a_cluster_without_room_is_waited_for() {
    let node = Product::Elasticsearch
        .start(&[("thread_pool.write.queue_size", "1"), ("node.processors", "1")])
        .await;
    let entry = node.index("crowded", "v13", json!({})).await;
    let watched = opened(&entry).await;
    let gauge = watched.gauge().expect("a gauge");
    assert_eq!(gauge.look().await.expect("a look").level, Level::Calm);
    let writers = (0..12).map(|writer| {
        let entry = &entry;
        async move {
            let store = opened(entry).await;
            for batch in 0..4 {
                put_until_done(&store, &records(1000 * writer + 200 * batch, 200)).await;
            }
        }
    });
    futures::future::join_all(writers).await;
    let pools = node.ask(Method::GET, "/_nodes/stats/thread_pool", None).await;
    let pool = pools["nodes"]
        .as_object()
        .and_then(|nodes| nodes.values().next())
        .cloned()
        .unwrap_or_default();
    let rejected = pool.pointer("/thread_pool/write/rejected").and_then(Value::as_u64);
    assert!(
        rejected.is_some_and(|rejected| rejected > 0),
        "the test must overrun the node: {pool}"
    );
    let load = gauge.look().await.expect("a look");
    assert_eq!(load.level, Level::Over, "{load:?}");
    assert!(load.seen.contains("were rejected since the last look"), "{load:?}");
    assert_eq!(gauge.look().await.expect("a look").level, Level::Calm);
    assert_eq!(scanned(&opened(&entry).await).await, 12 * 4 * 200);
}

/// Requests that are too long for the node are cut until they fit; a document that alone is too long is named.
#[tokio::test]
async fn long_requests_are_cut_and_a_document_too_long_is_named() {
    for product in Product::BOTH {
        let node = product.start(&[("http.max_content_length", "256kb")]).await;
        let entry = node.index("long", "v13", json!({})).await;
        let store = opened(&entry).await;
        assert_eq!(inspect(&entry).await.expect("facts").limits.document, Some(256 << 10));
        let mut batch = records(0, 20);
        for record in &mut batch {
            record.memo = Some(vec![7; 60_000]);
        }
        assert_eq!(store.write().put(&batch).await.expect("put"), 20);
        batch[3].memo = Some(vec![7; 400_000]);
        for record in &mut batch {
            record.version = Some(1000);
        }
        let error = store.write().put(&batch).await.expect_err("too long");
        assert!(
            matches!(&error, Error::Refused { key, .. } if *key == batch[3].key),
            "{error}"
        );
        assert!(error.to_string().contains("bytes"), "{error}");
        let keys: Vec<Key> = batch.iter().map(|record| record.key.clone()).collect();
        let versions = store.read().versions(&keys).await.expect("versions");
        assert_eq!(versions.values().filter(|version| **version == Some(1000)).count(), 19);
    }
}

/// A killed node is unreachable at once, a frozen one is busy within the time of a call; both serve again afterwards.
#[tokio::test]
async fn a_node_that_is_killed_or_frozen_is_told_in_time() {
    let mut node = Product::Elasticsearch.start(&[]).await;
    let entry = node.index("down", "v13", json!({})).await;
    let store = opened(&entry).await;
    store.write().put(&records(0, 10)).await.expect("put");
    node.server.freeze().expect("freeze");
    let started = Instant::now();
    let error = store.write().put(&records(10, 1)).await.expect_err("frozen");
    assert!(matches!(error, Error::Busy { .. }) && error.is_retryable(), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(45), "{:?}", started.elapsed());
    node.server.thaw().expect("thaw");
    assert!(store.write().put(&records(10, 1)).await.expect("put") <= 1);

    node.server.kill().expect("kill");
    let started = Instant::now();
    let error = store
        .read()
        .versions(&[record(NAMESPACE, 1).key])
        .await
        .expect_err("killed");
    assert!(
        matches!(error, Error::Unreachable { .. }) && error.is_retryable(),
        "{error:?}"
    );
    assert!(started.elapsed() < Duration::from_secs(5));
    let unopened = open(&entry).await.expect_err("killed");
    assert!(
        matches!(unopened, OpenError::Unreachable { .. }) && unopened.is_retryable(),
        "{unopened:?}"
    );
    resume(&mut node).await;
    assert_eq!(scanned(&store).await, 11, "what was acknowledged is there");
}

async fn resume(node: &mut Node) {
    let resumed = node.server.resume(&node.processes).await;
    resumed.unwrap_or_else(|error| panic!("{error:#}"));
}

/// The first node of a list is not there: the others are used, and one that answers is gone back to.
#[tokio::test]
async fn a_node_that_is_not_there_is_passed_over() {
    let node = Product::Elasticsearch.shared().await;
    let mut entry = node.index("several", "v13", json!({})).await;
    let there = entry["elasticsearch"]["url"].clone();
    entry["elasticsearch"]["urls"] = json!([{"scheme": "http", "host": "127.0.0.1:1"}, there]);
    for healthcheck in [false, true] {
        entry["elasticsearch"]["enableHealthcheck"] = json!(healthcheck);
        let store = opened(&entry).await;
        assert!(store.write().put(&records(0, 5)).await.expect("put") <= 5);
        assert_eq!(scanned(&store).await, 5);
    }
    entry["elasticsearch"]["urls"] = json!([{"scheme": "http", "host": "127.0.0.1:1"}]);
    let error = open(&entry).await.expect_err("nothing there");
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
}

/// The `tls` section means what it means to the server, beside a login: which certificate is taken, for which name, and
/// who we say we are. No message shows the password.
#[tokio::test]
async fn tls_and_login_are_as_the_entry_says() {
    let node = Product::Elasticsearch.shared().await;
    let plain = node.index("encrypted", "v13", json!({})).await;
    let front = Front::start(&node.server.address(), "elastic", "s3cret").await;
    let with = |tls: Value, password: &str| {
        let mut entry = plain.clone();
        entry["elasticsearch"]["url"] = json!({"scheme": "https", "host": front.address});
        entry["elasticsearch"]["username"] = json!("elastic");
        entry["elasticsearch"]["password"] = json!(password);
        entry["elasticsearch"]["tls"] = tls;
        entry
    };
    let file = |name: &str| front.file(name);
    let client = |mut section: Value| {
        section["enabled"] = json!(true);
        section["certFile"] = json!(file("client.pem"));
        section["keyData"] = json!(front.data("client.key"));
        section
    };
    let verified =
        |ca: &str, name: &str| client(json!({"enableHostVerification": true, "caFile": file(ca), "serverName": name}));

    let store = opened(&with(verified("ca.pem", "elasticsearch.test"), "s3cret")).await;
    assert!(store.write().put(&records(0, 5)).await.expect("put") <= 5);
    assert_eq!(scanned(&store).await, 5);
    assert_eq!(
        front.names(),
        [Some("elasticsearch.test".to_owned())],
        "the name is sent"
    );
    opened(&with(client(json!({})), "s3cret")).await;

    let message = |error: OpenError| {
        let message = format!("{error} {error:?}");
        assert!(!message.contains("s3cret") && !message.contains("wrong"), "{message}");
        message
    };
    for tls in [
        verified("other.pem", "elasticsearch.test"),
        verified("ca.pem", "another.test"),
        // The machine's own authorities do not know this one.
        client(json!({"enableHostVerification": true, "serverName": "elasticsearch.test"})),
        json!({"enabled": true}),
        verified("missing.pem", "elasticsearch.test"),
    ] {
        let error = open(&with(tls.clone(), "s3cret")).await.expect_err("refused");
        assert!(matches!(error, OpenError::Tls { .. }), "{tls}: {}", message(error));
    }
    let error = open(&with(client(json!({})), "wrong")).await.expect_err("refused");
    assert!(
        matches!(&error, OpenError::Rejected { user, .. } if user == "elastic"),
        "{}",
        message(error)
    );
    let mut clear = plain.clone();
    clear["elasticsearch"]["url"] = json!({"scheme": "http", "host": front.address});
    assert!(!open(&clear).await.expect_err("no TLS").to_string().is_empty());
}

/// What AWS would check is in every request, and nothing else of who we are.
#[tokio::test]
async fn requests_are_signed_when_the_entry_says_so() {
    let node = Product::OpenSearch.shared().await;
    let mut entry = node.index("signed", "v13", json!({})).await;
    entry["elasticsearch"]["aws-request-signing"] = json!({
        "enabled": true, "region": "eu-west-1", "credentialProvider": "static",
        "static": {"accessKeyID": "AKIDEXAMPLE", "secretAccessKey": "s3cret"},
    });
    let store = opened(&entry).await;
    assert_eq!(store.write().put(&records(0, 5)).await.expect("put"), 5);
    assert_eq!(scanned(&store).await, 5);
}
