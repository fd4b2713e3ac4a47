//! Canaries reach every shard and leave nothing behind.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crossfade_cluster::canary::{self, Flock, shard_of};
use crossfade_cluster::{ExecutionStatus, Frontend};
use serde_json::json;

use crate::server::{NAMESPACE, Plan, SHARDS, Server, on_each_release, until};

on_each_release!(
    one_canary_on_each_shard_is_seen_in_the_store_and_removed,
    a_terminated_canary_keeps_its_run,
    a_canary_that_cannot_start_is_named,
    dead_letters_are_counted,
);

async fn flock(frontend: &Frontend, seed: &str) -> Flock {
    Flock {
        namespace: NAMESPACE.to_owned(),
        namespace_id: frontend
            .namespace(NAMESPACE)
            .await
            .expect("namespace")
            .expect("namespace")
            .id,
        seed: seed.to_owned(),
        shards: frontend.cluster().await.expect("cluster").history_shards,
        memo: BTreeMap::from([("why".to_owned(), json!({"proof": 1}))]),
        search_attributes: BTreeMap::from([("BuildIds".to_owned(), json!(["canary"]))]),
        lifetime: Duration::from_secs(600),
        at_once: 3,
    }
}

fn rows(server: &Server, seed: &str) -> BTreeSet<(String, String)> {
    let store = server.visibility();
    let mut rows = store
        .prepare("SELECT workflow_id, run_id FROM executions_visibility WHERE workflow_id LIKE ?1 || '-%'")
        .expect("query");
    let rows = rows
        .query_map([seed], |row| Ok((row.get(0)?, row.get(1)?)))
        .expect("rows");
    rows.collect::<Result<_, _>>().expect("rows")
}

async fn one_canary_on_each_shard_is_seen_in_the_store_and_removed(server: &'static Server) {
    let frontend = server.frontend().await;
    let flock = flock(&frontend, "crossfade-canary-live").await;
    let keys = canary::start(&frontend, &flock).await.expect("started");
    assert_eq!(keys.len(), SHARDS as usize);

    for (at, key) in keys.iter().enumerate() {
        let ours = shard_of(&key.namespace_id, &key.workflow_id, SHARDS);
        let servers = frontend
            .shard_of_execution(NAMESPACE, &key.workflow_id, &key.run_id)
            .await
            .expect("shard");
        assert_eq!(
            (ours, servers),
            (at as u32 + 1, at as u32 + 1),
            "the server's rule is another one"
        );
        let shard = frontend.shard(servers).await.expect("shard");
        assert!(shard.range_id > 0 && shard.updated.is_some(), "{shard:?}");
    }

    let wanted: BTreeSet<_> = keys.iter().map(|k| (k.workflow_id.clone(), k.run_id.clone())).collect();
    until("all canaries in the store", async || {
        rows(server, &flock.seed) == wanted
    })
    .await;

    let again = canary::start(&frontend, &flock).await.expect("started again");
    assert_eq!(again, keys, "the same flock is the same runs");

    // 1.21.6 does not know STARTS_WITH.
    let query = format!(
        "WorkflowType = '{}' AND WorkflowId BETWEEN '{seed}-' AND '{seed}-~'",
        canary::WORKFLOW_TYPE,
        seed = flock.seed
    );
    assert_eq!(
        frontend.count(NAMESPACE, &query).await.expect("count"),
        u64::from(SHARDS)
    );
    let page = frontend.list_page(NAMESPACE, &query, 3, None).await.expect("page");
    assert_eq!(page.executions.len(), 3);
    let rest = frontend
        .list_page(NAMESPACE, &query, 3, page.next.as_deref())
        .await
        .expect("page");
    assert_eq!(rest.executions.len(), 1);
    let listed = frontend.list(NAMESPACE, &query, 100).await.expect("list");
    assert_eq!(listed.len(), SHARDS as usize);
    assert_eq!(frontend.list(NAMESPACE, &query, 2).await.expect("list").len(), 2);
    let one = &listed[0];
    assert_eq!(one.status, ExecutionStatus::Running);
    assert_eq!(one.memo_json("why"), Some(json!({"proof": 1})));
    assert_eq!(one.search_attributes["BuildIds"].data, br#"["canary"]"#);
    assert!(one.start_time.is_some() && one.close_time.is_none());

    let described = frontend
        .describe(NAMESPACE, &keys[0].workflow_id, Some(&keys[0].run_id))
        .await
        .expect("described");
    assert_eq!(described.expect("there").status, ExecutionStatus::Running);

    canary::remove(&frontend, NAMESPACE, &keys, 3).await.expect("removed");
    until("no canary in the store", async || rows(server, &flock.seed).is_empty()).await;
    until("no canary in the main store", async || {
        frontend
            .describe(NAMESPACE, &keys[0].workflow_id, None)
            .await
            .expect("described")
            .is_none()
    })
    .await;
    canary::remove(&frontend, NAMESPACE, &keys, 3)
        .await
        .expect("removed again");
}

async fn a_terminated_canary_keeps_its_run(server: &'static Server) {
    let frontend = server.frontend().await;
    let flock = flock(&frontend, "crossfade-canary-closed").await;
    let keys = canary::start(&frontend, &flock).await.expect("started");
    frontend
        .terminate(NAMESPACE, &keys[0].workflow_id, &keys[0].run_id, "test")
        .await
        .expect("terminated");
    frontend
        .terminate(NAMESPACE, &keys[0].workflow_id, &keys[0].run_id, "test")
        .await
        .expect("terminated again");
    assert_eq!(canary::start(&frontend, &flock).await.expect("started again"), keys);
    let closed = frontend
        .describe(NAMESPACE, &keys[0].workflow_id, None)
        .await
        .expect("described")
        .expect("there");
    assert_eq!(closed.status, ExecutionStatus::Terminated);
    canary::remove(&frontend, NAMESPACE, &keys, 4).await.expect("removed");
}

async fn a_canary_that_cannot_start_is_named(server: &'static Server) {
    let frontend = server.frontend().await;
    let mut flock = flock(&frontend, "crossfade-canary-refused").await;
    flock.search_attributes = BTreeMap::from([("NeverRegistered".to_owned(), json!("x"))]);
    let error = canary::start(&frontend, &flock).await.expect_err("refused");
    assert!(!error.is_transient(), "{error:?}");
    let said = error.to_string();
    assert!(
        said.contains("crossfade-canary-refused-") && said.contains("NeverRegistered"),
        "{said}"
    );
}

async fn dead_letters_are_counted(server: &'static Server) {
    // After a second failure a task is a dead letter. No other test has this: under load any task may fail twice.
    let server = Server::start(Plan {
        dynamic: "history.TaskDLQUnexpectedErrorAttempts:\n  - value: 2\n",
        ..Plan::new(server.release)
    });
    let frontend = server.frontend().await;
    let none = frontend.dead_letters().await.expect("asked");
    if server.release.minor < 23 {
        // These servers try for ever, and have none.
        assert_eq!(none, None);
        return;
    }
    let none = none.expect("this version has them");
    assert_eq!(none.visibility, 0);

    // Without its table each Visibility task fails; after the second failure it is a dead letter.
    let store = server.visibility();
    store.busy_timeout(Duration::from_secs(10)).expect("timeout");
    store
        .execute_batch("ALTER TABLE executions_visibility RENAME TO taken_away")
        .expect("renamed");
    let flock = flock(&frontend, "crossfade-canary-lost").await;
    let keys = canary::start(&frontend, &flock).await.expect("started");
    until("dead letters", async || {
        let found = frontend.dead_letters().await.expect("asked").expect("has them");
        found.visibility >= keys.len() as u64
    })
    .await;
    drop(store);
}
