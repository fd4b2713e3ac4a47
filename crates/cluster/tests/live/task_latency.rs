//! How long visibility tasks take, read from a server's own metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use crossfade_cluster::canary::{self, Flock};
use crossfade_cluster::task_latency::{Latency, TaskLatency};
use e2e::servers::ports::free_ports;

use crate::cache::{Release, V1_23_1, V1_30_8};
use crate::server::{NAMESPACE, Plan, SHARDS, Server, until};

/// Runs canaries on a server with these settings of its metrics, and looks at them.
async fn seen(release: Release, settings: &str) {
    let port = free_ports(1).expect("a port")[0];
    let global = format!("  metrics:\n    prometheus:\n      listenAddress: \"127.0.0.1:{port}\"\n{settings}");
    let server = Server::start(Plan {
        global: &global,
        ..Plan::new(release)
    });
    let frontend = server.frontend().await;
    let mut watched = TaskLatency::of(&[format!("http://127.0.0.1:{port}/metrics")]).expect("a watcher");
    assert_eq!(
        watched.look().await.expect("a look"),
        None,
        "nothing to compare with yet"
    );
    let namespace = frontend.namespace(NAMESPACE).await.expect("answer").expect("namespace");
    let flock = Flock {
        namespace: NAMESPACE.to_owned(),
        namespace_id: namespace.id,
        seed: "latency".to_owned(),
        shards: SHARDS,
        memo: BTreeMap::new(),
        search_attributes: BTreeMap::new(),
        lifetime: Duration::from_secs(600),
        at_once: 4,
    };
    canary::start(&frontend, &flock).await.expect("canaries");
    let seen = std::cell::RefCell::new(Latency {
        mean: Duration::ZERO,
        tasks: 0,
    });
    let watched = tokio::sync::Mutex::new(watched);
    until("every canary's visibility task counted", async || {
        if let Some(since) = watched.lock().await.look().await.expect("a look") {
            let mut seen = seen.borrow_mut();
            seen.tasks += since.tasks;
            seen.mean = seen.mean.max(since.mean);
        }
        seen.borrow().tasks >= u64::from(SHARDS)
    })
    .await;
    let mean = seen.borrow().mean;
    // The wrong unit would make it a thousand times more, or less than any write takes.
    assert!(
        mean > Duration::from_micros(50) && mean < Duration::from_secs(20),
        "{mean:?}"
    );
    // The metrics end with the server.
    server.run("stop.sh");
    let error = watched.lock().await.look().await.expect_err("the server is gone");
    assert!(error.to_string().contains(&port.to_string()), "{error}");
}

#[tokio::test]
async fn by_the_usual_framework() {
    seen(V1_23_1, "").await;
}

#[tokio::test]
async fn in_milliseconds_by_the_other_framework() {
    seen(V1_30_8, "      framework: opentelemetry\n").await;
}

#[tokio::test]
async fn without_a_unit_in_the_name() {
    seen(V1_30_8, "      framework: opentelemetry\n    withoutUnitSuffix: true\n").await;
}
